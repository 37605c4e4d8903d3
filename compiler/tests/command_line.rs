//! The binary as a user meets it: exit codes, clear errors, nothing half written.
//!
//! It stands in this package and not in `tests/`, because only here does Cargo say where the
//! binary is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_x.npy");
const LABELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_y.npy");

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    // Errors are wrapped at the width of the terminal; words matter, line ends do not.
    String::from_utf8_lossy(bytes)
        .replace(['│', '╰', '─', '▶', '×'], " ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs, expects a refusal with `code` whose text holds every one of `words`.
fn refused(args: &[&str], code: i32, words: &[&str]) {
    let out = secateur(args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: no `{word}` in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = std::fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                found.extend(files(&entry.path()));
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn wrong_usage_exits_with_two() {
    refused(&["compile"], 2, &["MODEL"]);
    refused(&["compile", MODEL, "--quantize", "int3", "-o", "x"], 2, &["int3"]);
    refused(&["compile", MODEL, "--dim", "n", "-o", "x"], 2, &["NAME=N"]);
    refused(&["compile", MODEL, "--calibrate", CALIBRATION, "--name", "1x", "-o", "x"], 2, &["name", "1x"]);
    refused(
        &["compile", MODEL, "--calibrate", CALIBRATION, "--dump-after", "x", "-o", "x"],
        2,
        &["dump-after", "import"],
    );
    refused(&["eval", MODEL, "--data", TEST, "--metric", "top1"], 2, &["--labels"]);
}

/// Every command with a model takes `--bind`, and says which inputs there are.
#[test]
fn a_bound_input_is_one_of_the_models() {
    let data = ["--data", TEST, "--labels", LABELS];
    let samples = ["--calibrate", CALIBRATION];
    let commands: [(&str, &[&str]); 7] = [
        ("inspect", &[]),
        ("compile", &["-o", "x"]),
        ("run", &["--input", TEST, "--engine", "float"]),
        ("eval", &data),
        ("compare", &samples),
        ("sensitivity", &samples),
        ("bench", &["--target", "nrf52840"]),
    ];
    for (command, more) in commands {
        let say = |bind: &str, words: &[&str]| {
            let mut args = vec![command, MODEL, "--bind", bind];
            args.extend(more);
            refused(&args, 2, words);
        };
        say("sr=16000", &["option `bind`", "no input `sr`", "its inputs are `imu`"]);
        say("imu=1,2", &["option `bind`", "the shape [1, 6, 128]: 768 numbers, not 2"]);
        say("imu=fast", &["--bind.imu", "a number, true or false"]);
    }
}

#[test]
fn operators_are_listed() {
    let out = secateur(&["operators"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let listed = text(&out.stdout);
    for words in ["Conv yes integers one to three spatial axes", "Exp yes table", "Range folded folded"] {
        assert!(listed.contains(words), "no `{words}` in: {listed}");
    }
    let out = secateur(&["operators", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let rows = value["operators"].as_array().unwrap();
    let row = rows.iter().find(|r| r["name"] == "QLinearAdd").unwrap();
    assert_eq!(
        (&row["domain"], &row["float"], &row["int8"]),
        (&"com.microsoft".into(), &true.into(), &"parts".into())
    );
    assert_eq!((value["schema"].as_u64(), row["limits"].as_str()), (Some(1), Some("")));
}

#[test]
fn refused_input_exits_with_one_and_names_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    fn with<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["compile", MODEL, "-o", out], more].concat()
    }
    let compile = |more| with(out, more);
    refused(&["compile", "missing.onnx", "-o", out], 1, &["missing.onnx"]);
    refused(&compile(&["--target", "nrf5284"]), 1, &["nrf5284", "nrf52840"]);
    refused(&compile(&["--target", "missing.toml"]), 1, &["missing.toml"]);
    refused(&compile(&[]), 2, &["calibrate"]);
    refused(&compile(&["--calibrate", "missing.npy"]), 1, &["missing.npy"]);
    refused(&compile(&["--calibrate", LABELS]), 1, &["imu", "[300]"]);
    refused(&compile(&["--calibrate", MODEL]), 1, &["model.onnx", ".npy"]);
    assert!(!Path::new(out).exists(), "a refused compilation made a folder");

    let broken = folder.path().join("broken.onnx");
    let bytes = std::fs::read(MODEL).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    refused(&["inspect", broken.to_str().unwrap()], 1, &[]);
    std::fs::write(&broken, b"").unwrap();
    refused(&["inspect", broken.to_str().unwrap()], 1, &[]);
}

#[test]
fn an_unwritable_folder_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let below = file.join("out");
    let args = ["compile", MODEL, "--calibrate", CALIBRATION, "-o", below.to_str().unwrap()];
    refused(&args, 1, &["out"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

/// A limit on file sizes stands in for a full disk: writes fail half way through.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |blocks: u32| {
        Command::new("bash")
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_secateur"))
            .args(["compile", MODEL, "--calibrate", CALIBRATION, "--emit", "c,rust", "-o"])
            .arg(&out)
            .output()
            .expect("bash starts")
    };
    let failed = run(8);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("cannot be written"), "{}", text(&failed.stderr));
    assert_eq!(files(&out), Vec::<PathBuf>::new());
    let done = run(1_000_000);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(!files(&out).is_empty());
}

#[test]
fn json_has_the_promised_keys_and_a_pipe_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let done =
        secateur(&["compile", MODEL, "--calibrate", CALIBRATION, "-o", out.to_str().unwrap(), "--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(text(&done.stderr), "", "progress in a pipe");
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["schema"], 1);
    for key in
        ["weights", "code", "arena", "arena_with_io", "arena_lower_bound", "stack", "macs", "live_macs"]
    {
        assert!(value["total"].get(key).is_some(), "no total.{key}");
    }
    assert_eq!(value["total"]["macs"], 840_128);
    assert!(value["layers"].as_array().is_some_and(|l| l.len() >= 5));

    let done = secateur(&[
        "eval",
        MODEL,
        "--calibrate",
        CALIBRATION,
        "--data",
        TEST,
        "--labels",
        LABELS,
        "--engine",
        "eval",
        "--limit",
        "20",
        "--json",
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["samples"], 20);
    assert_eq!(value["metric"], "top1");
    let number = |key: &str| value[key].as_f64().unwrap();
    assert!((number("float") - number("engine") - number("drop")).abs() < 1e-12);
}

/// Every command shows a warning on standard error, once, and in its JSON.
#[test]
fn warnings_are_shown_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let base = [MODEL, "--quantize", "none", "--calibrate", CALIBRATION];
    let commands: [&[&str]; 4] = [
        &["compile", "-o", out.to_str().unwrap(), "--json"],
        &["eval", "--data", TEST, "--engine", "eval", "--limit", "2", "--json"],
        &["compare", "--limit", "2", "--json"],
        &["run", "--input", TEST, "--engine", "eval", "--limit", "2"],
    ];
    for command in commands {
        let done = secateur(&[&command[..1], &base, &command[1..]].concat());
        let said = text(&done.stderr);
        assert!(done.status.success(), "{command:?}: {said}");
        let want =
            "warning: option `calibrate`: the model stays in floats, so the calibration samples are not used";
        assert_eq!(said.matches(want).count(), 1, "{command:?}: {said}");
        if command.contains(&"--json") {
            let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
            let warnings = value["warnings"].as_array().unwrap();
            assert_eq!(warnings.len(), 1, "{command:?}");
            assert_eq!(warnings[0]["place"], "option `calibrate`");
        }
    }
}

#[test]
fn run_writes_outputs_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("y.npz");
    let done = secateur(&[
        "run",
        MODEL,
        "--calibrate",
        CALIBRATION,
        "--input",
        TEST,
        "--limit",
        "3",
        "--engine",
        "eval",
        "--output",
        path.to_str().unwrap(),
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let arrays = secateur_compiler::cli::data::read_samples(&path).unwrap().arrays;
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["logits", "logits.raw"]);
    assert_eq!(arrays["logits"].shape(), [3, 7]);
    assert_eq!(arrays["logits.raw"].dtype(), secateur_compiler::DType::I8);
}

#[test]
fn compare_has_a_row_a_layer() {
    let done = secateur(&["compare", MODEL, "--calibrate", CALIBRATION, "--limit", "3", "--json"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let layers = value["layers"].as_array().unwrap();
    assert!(layers.len() >= 6, "{layers:?}");
    for layer in layers {
        // An int8 network that works keeps well over 10 dB everywhere.
        assert!(layer["snr_db"].as_f64().is_some_and(|v| v > 10.0), "{layer}");
        assert!(layer["cosine"].as_f64().is_some_and(|v| v > 0.95), "{layer}");
    }
}

/// Without samples and without a build, `inspect` tells what `compile` does with both; a chip too small is refused
/// after that, with what it lacks.
#[test]
fn inspect_tells_whether_a_model_fits_a_chip() {
    let json = |out: &Output| serde_json::from_slice::<serde_json::Value>(&out.stdout).expect("JSON");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let plain = json(&secateur(&["inspect", MODEL, "--json"]));
    assert!(plain.get("outlook").is_none(), "no chip is named");
    let inspected = json(&secateur(&["inspect", MODEL, "--target", "nrf52840", "--json"]));
    let (outlook, words) = (&inspected["outlook"], ["compile", MODEL, "--target", "nrf52840", "--json"]);
    let compiled = json(&secateur(&[&words[..], &["--calibrate", CALIBRATION, "-o", out]].concat()));
    assert_eq!(outlook["made_up_samples"], true);
    assert_eq!(outlook["total"]["code"], serde_json::Value::Null);
    for same in ["arena", "weights", "macs"] {
        assert_eq!(outlook["total"][same], compiled["total"][same], "{same}");
    }
    for (near, other) in [("cycles", "cycles"), ("predicted_code", "code")] {
        let of = |v: &serde_json::Value, key: &str| v["total"][key].as_f64().unwrap();
        let (a, b) = (of(outlook, near), of(&compiled, other));
        assert!((a / b - 1.0).abs() <= 0.05, "{near}: {a}, compiled {b}");
    }
    let text_of = |args: &[&str]| text(&secateur(args).stdout);
    let said = text_of(&["inspect", MODEL, "--target", "nrf52840"]);
    for words in [
        "on nrf52840, predicted without a build, with made-up samples:",
        "both together 3.",
        "a run, predicted",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    let small = ["inspect", MODEL, "--core", "cortex-m4", "--flash", "16K", "--ram", "64K"];
    refused(&small, 1, &["flash", "16384 B", "/f/f.5/f.5.0/Conv"]);
    assert!(text_of(&small).contains("both together 19"), "{}", text_of(&small));
    refused(&["inspect", MODEL, "--target", "nrf52840", "--max-ram", "4K"], 1, &["max-ram"]);
}

#[test]
fn inspect_tells_what_a_refused_model_is_made_of() {
    // One node, `Frobnicate`, of the default domain: ModelProto { ir_version, graph, opset }.
    let mut node = vec![0x0a, 1, b'x', 0x12, 1, b'y', 0x1a, 1, b'n', 0x22, 10];
    node.extend(b"Frobnicate");
    let mut graph = vec![0x0a, node.len() as u8];
    graph.extend(node);
    graph.extend([0x12, 1, b'g']);
    let mut model = vec![0x08, 8, 0x3a, graph.len() as u8];
    model.extend(graph);
    model.extend([0x42, 2, 0x10, 17]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, model).unwrap();
    let done = secateur(&["inspect", path.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stdout).contains("Frobnicate 1 operator is not supported"), "{}", text(&done.stdout));
    assert!(text(&done.stderr).contains("node `n` (Frobnicate)"), "{}", text(&done.stderr));
}

#[test]
fn files_of_an_earlier_compilation_go_and_those_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let names = || {
        let mut names: Vec<String> =
            files(&out).iter().map(|f| f.strip_prefix(&out).unwrap().display().to_string()).collect();
        // Headers of the runtime serve all models of a folder, and stay.
        names.retain(|n| !n.starts_with("secateur"));
        names.sort();
        names
    };
    let args = ["compile", MODEL, "--name", "net", "--target", "nrf52840", "-o", out.to_str().unwrap()];
    let compile = |more: &[&str]| secateur(&[&args[..], more].concat());
    let int8 = compile(&["--calibrate", CALIBRATION, "--emit", "c,rust"]);
    assert!(int8.status.success(), "{}", text(&int8.stderr));
    assert!(names().iter().any(|n| n.ends_with(".S")), "{:?}", names());
    std::fs::write(out.join("main.c"), "int main(void) { return 0; }\n").unwrap();

    let float = compile(&["--quantize", "none"]);
    assert!(float.status.success(), "{}", text(&float.stderr));
    assert_eq!(names(), ["main.c", "net.c", "net.h"]);
    assert!(text(&float.stdout).contains("net.rs, of an earlier compilation"), "{}", text(&float.stdout));

    std::fs::write(out.join("net.c"), "int mine;\n").unwrap();
    let before = std::fs::read(out.join("net.h")).unwrap();
    let int8 = [&args[..], &["--calibrate", CALIBRATION]].concat();
    refused(&int8, 1, &["net.c", "not written by Secateur"]);
    assert_eq!(std::fs::read(out.join("net.c")).unwrap(), b"int mine;\n");
    assert_eq!(std::fs::read(out.join("net.h")).unwrap(), before);
}

#[test]
fn files_of_two_compilations_do_not_build_together() {
    let folder = tempfile::tempdir().unwrap();
    let compile = |name: &str, level: &str| {
        let out = folder.path().join(name);
        let args = ["compile", MODEL, "--calibrate", CALIBRATION, "--name", "net", "--target", "nrf52840"];
        let done = secateur(&[&args[..], &["--optimize", level, "-o", out.to_str().unwrap()]].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        out
    };
    let (one, other) = (compile("one", "balanced"), compile("other", "size"));
    let sources: Vec<PathBuf> =
        files(&one).into_iter().filter(|f| f.extension().is_some_and(|e| e == "c" || e == "S")).collect();
    assert_eq!(sources.len(), 2);
    let preprocess = |file: &Path| Command::new("cc").arg("-E").arg(file).output().expect("cc starts");
    for file in &sources {
        let done = preprocess(file);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    std::fs::copy(other.join("net.h"), one.join("net.h")).unwrap();
    for file in &sources {
        let done = preprocess(file);
        assert!(!done.status.success() && text(&done.stderr).contains("different compilations"), "{file:?}");
    }
}
