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

/// Each budget holds to the byte and to the last digit: at what the report says it passes, below it fails.
#[test]
fn budgets_hold_exactly_and_say_what_would_fit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let compiled = |more: &[&str]| {
        let command = ["compile", MODEL, "-o", out.to_str().unwrap(), "--target", "nrf52840", "--json"];
        secateur(&[&command[..], &["--calibrate", CALIBRATION], more].concat())
    };
    let free = compiled(&[]);
    let report: serde_json::Value = serde_json::from_slice(&free.stdout).unwrap();
    let total = &report["total"];
    let number = |key: &str| total[key].as_u64().unwrap();
    let flash = number("weights") + total["code"].as_u64().unwrap_or_else(|| number("native_code"));
    let ram = number("arena") + total["stack"].as_u64().unwrap_or_else(|| number("native_stack"));
    let (time, energy) = (total["seconds"].as_f64().unwrap(), total["joules"].as_f64().unwrap());
    assert!((time - number("cycles") as f64 / 64e6).abs() < 1e-9, "64 MHz");
    assert!((energy - number("cycles") as f64 * 52.0 * 3.0 * 1e-12).abs() < 1e-9, "52 uA/MHz at 3 V");
    std::fs::remove_dir_all(&out).unwrap();
    let budgets = [
        ("--max-flash", flash.to_string(), (flash - 1).to_string(), "1 B too many; most take"),
        ("--max-ram", ram.to_string(), (ram - 1).to_string(), "1 B too many; the arena is fullest at"),
        ("--max-latency", format!("{time}s"), format!("{}s", time * 0.999), "too long; most take"),
        ("--max-energy", format!("{energy}J"), format!("{}J", energy * 0.999), "too much; most take"),
    ];
    for (budget, at, below, says) in &budgets {
        let done = compiled(&[budget, at]);
        assert_eq!(done.status.code(), Some(0), "{budget} {at}: {}", words(&done.stderr));
        std::fs::remove_dir_all(&out).unwrap();
        let done = compiled(&[budget, below]);
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{budget} {below}");
        let option = format!("option `{}`", &budget[2..]);
        // Where another aim fits, it costs no accuracy; what helps with flash does, and nothing helps with RAM.
        let advice = match *budget {
            "--max-flash" => "`--quantize w4a8` takes about",
            "--max-ram" => "`--optimize size` takes about",
            _ => "`--optimize speed` takes about",
        };
        for word in [option.as_str(), says, "(Conv)", advice] {
            assert!(said.contains(word), "{budget}: no `{word}` in: {said}");
        }
        assert!(!out.exists(), "{budget}: a refused compilation made a folder");
    }
    // All at once, whatever overflow is allowed; and what cannot be known is no pass.
    let all: Vec<&str> = budgets.iter().flat_map(|(budget, _, below, _)| [*budget, below.as_str()]).collect();
    let said = words(&compiled(&[&all[..], &["--allow-overflow"]].concat()).stderr);
    for (budget, ..) in &budgets {
        assert!(said.contains(&format!("option `{}`", &budget[2..])), "{budget}: {said}");
    }
    let unknown = ["compile", MODEL, "-o", out.to_str().unwrap(), "--calibrate", CALIBRATION];
    let said = words(&secateur(&[&unknown[..], &["--max-latency", "1s"]].concat()).stderr);
    assert!(said.contains("how long a run takes on `host` is not known"), "{said}");
    let said = words(&secateur(&[&unknown[..], &["--max-latency", "20"]].concat()).stderr);
    assert!(said.contains("takes a time, as \"20ms\", \"500us\" or \"1.5s\", not"), "{said}");
}

/// Where no aim fits, the fewest bits and zeros that do are named, and what is named fits.
#[test]
fn what_is_said_to_fit_fits() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let compiled = |more: &[&str]| {
        let command = ["compile", MODEL, "-o", out.to_str().unwrap(), "--target", "nrf52840", "--json"];
        secateur(&[&command[..], &["--calibrate", CALIBRATION], more].concat())
    };
    let report: serde_json::Value = serde_json::from_slice(&compiled(&[]).stdout).unwrap();
    let total = &report["total"];
    let flash = total["weights"].as_u64().unwrap()
        + total["code"].as_u64().unwrap_or_else(|| total["predicted_code"].as_u64().unwrap());
    let time = total["seconds"].as_f64().unwrap();
    let named = |budget: &[&str]| {
        let _ = std::fs::remove_dir_all(&out);
        let done = compiled(budget);
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{budget:?}: {said}");
        assert!(!out.exists(), "{budget:?}: a refused compilation made a folder");
        let parts = said.split('`').map(str::to_owned);
        let options = parts.filter(|p| p.starts_with("--prune ") || *p == "--quantize w4a8");
        (options.collect::<Vec<_>>(), said)
    };
    // Less flash than any aim takes: weights of four bits do, and zeros.
    let most = (flash * 4 / 5).to_string();
    let (options, said) = named(&["--max-flash", &most]);
    assert_eq!(options.len(), 2, "{said}");
    assert!(said.contains("by an estimate, which fits"), "{said}");
    for option in &options {
        let (name, value) = option.split_once(' ').unwrap();
        let done = compiled(&["--max-flash", &most, name, value]);
        assert_eq!(done.status.code(), Some(0), "{option}: {}", words(&done.stderr));
    }
    // Less time: zeros alone, as weights of four bits take longer.
    let (options, said) = named(&["--max-latency", &format!("{}s", time * 0.6)]);
    let [option] = &options[..] else { panic!("{options:?}: {said}") };
    let share: f64 = option.strip_prefix("--prune ").unwrap().parse().unwrap();
    assert!((0.2..0.95).contains(&share), "{said}");
    // More zeros than are there already, in the pattern that was asked for.
    let (options, said) =
        named(&["--prune", "pattern=2x4,sparsity=0.1", "--max-latency", &format!("{}s", time * 0.6)]);
    assert!(options.iter().any(|o| o.starts_with("--prune pattern=2x4,sparsity=0.")), "{said}");
    // What nothing helps is told, with all that there is.
    let (_, said) = named(&["--max-flash", "2K"]);
    for word in
        ["`--optimize size` takes", "`--quantize w4a8` takes", "`--prune 0.95` takes", "none of these fits"]
    {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}
