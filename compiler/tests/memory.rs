//! A model that does not fit its chip is refused by every front, with who is to blame and by how
//! much; `--allow-overflow` goes on with a warning.

use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_x.npy");

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

/// Words of an output, whatever the width that errors were wrapped at.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(['│', '╰', '─', '▶', '×'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn with<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let small = ["--core", "cortex-m4", "--flash", "16K", "--ram", "2K", "--calibrate", CALIBRATION];
    [command, &small, more].concat()
}

#[test]
fn every_front_refuses_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let emulated = ["--engine", "emulator", "--limit", "1"];
    let fronts: [(&[&str], &[&str]); 6] = [
        (&["compile", MODEL], &["-o", out]),
        (&["run", MODEL], &["--input", TEST, "--limit", "1"]),
        (&["run", MODEL, "--input", TEST], &emulated),
        (&["eval", MODEL, "--data", TEST], &emulated),
        (&["compare", MODEL], &[]),
        (&["bench", MODEL], &["--emit", "c"]),
    ];
    for (command, more) in fronts {
        let args = with(command, more);
        let done = secateur(&args);
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {said}");
        for word in ["option `flash`", "option `ram`", "too many", "(Conv)", "--allow-overflow"] {
            assert!(said.contains(word), "{args:?}: no `{word}` in: {said}");
        }
        assert!(done.stdout.is_empty(), "{args:?}: {}", words(&done.stdout));
    }
    assert!(!Path::new(out).exists(), "a refused compilation made a folder");
}

#[test]
fn overflow_that_is_allowed_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = with(&["compile", MODEL, "-o", out.to_str().unwrap(), "--json"], &["--allow-overflow"]);
    let done = secateur(&args);
    let said = words(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("warning: option `flash`") && said.contains("too many"), "{said}");
    assert!(out.join("model.c").is_file());
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["memory"]["flash"], 16 << 10);
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(2), "{}", report["warnings"]);
    // What is let pass changes no byte: the digest is that of the same chip with room.
    let (weights, code) = (report["total"]["weights"].as_u64(), report["total"]["code"].as_u64());
    assert!(weights.unwrap() + code.unwrap_or(0) > 16 << 10);
}

/// The limit is exact: with the bytes that the report names the model is taken, with one less not.
#[test]
fn the_limit_is_what_the_report_counts() {
    let report = |flash: &str, ram: &str| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let args = [
            "compile",
            MODEL,
            "-o",
            out.to_str().unwrap(),
            "--json",
            "--calibrate",
            CALIBRATION,
            "--core",
            "cortex-m4",
            "--flash",
            flash,
            "--ram",
            ram,
        ];
        let done = secateur(&args);
        (done.status.code(), serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap_or_default())
    };
    let (code, roomy) = report("1M", "256K");
    assert_eq!(code, Some(0));
    let total = |key: &str| roomy["total"][key].as_u64();
    let flash = total("weights").unwrap() + total("code").or(total("native_code")).unwrap();
    let ram = total("arena").unwrap() + total("stack").or(total("native_stack")).unwrap();
    assert_eq!(report(&flash.to_string(), &ram.to_string()).0, Some(0));
    assert_eq!(report(&(flash - 1).to_string(), &ram.to_string()).0, Some(1));
    assert_eq!(report(&flash.to_string(), &(ram - 1).to_string()).0, Some(1));
}
