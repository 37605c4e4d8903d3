//! Every input takes the same instructions: `secateur bench --inputs N`, counted on the emulated
//! cores, C and Rust.
//!
//! `SECATEUR_FULL=1`: 1,000 inputs, all models and cores. Needs what `tests/setup` installs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// On Cortex-M0+ clamps branch: docs/constant-time.md says so.
const CORES: [&str; 4] = ["cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55"];

/// Of the zoo, with calibration samples beside it where the model is float.
const ZOO: [&str; 8] = [
    "ours/watch_mbv3/model.onnx",
    "ours/mitbih_cnn/model.onnx",
    "ours/fsdd_dscnn/model.onnx",
    "third_party/mlperf_ad_autoencoder/model_int8_qdq.onnx",
    "third_party/mlperf_kws_dscnn/model_int8_qdq.onnx",
    "third_party/mlperf_ic_resnet8/model_int8_qdq.onnx",
    "third_party/mlperf_vww_mobilenetv1/model_int8_qdq.onnx",
    "third_party/mlperf_sww_streaming/model_int8_qdq.onnx",
];

fn full() -> bool {
    std::env::var_os("SECATEUR_FULL").is_some_and(|v| v == "1")
}

fn models() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![here.join("models/watch_cnn1d/model.onnx")];
    let zoo = std::env::var_os("SECATEUR_ZOO").map_or(here.join("../../shared/zoo"), PathBuf::from);
    if !zoo.is_dir() {
        eprintln!("skipped but for the bundled model: no models at {} (set SECATEUR_ZOO)", zoo.display());
    } else if full() {
        found.extend(ZOO.iter().map(|name| zoo.join(name)));
    } else {
        found.push(zoo.join(ZOO[0]));
    }
    found
}

#[test]
fn every_input_takes_the_same_instructions() {
    let (inputs, cores) = if full() { ("1000", &CORES[..]) } else { ("16", &["cortex-m4"][..]) };
    let mut broken = Vec::new();
    for model in models() {
        for core in cores {
            let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
            command.arg("bench").arg(&model).args(["--target", core, "--inputs", inputs]);
            let calibration = model.with_file_name("calib.npy");
            if calibration.is_file() {
                command.arg("--calibrate").arg(calibration);
            }
            let done = command.output().expect("the binary starts");
            println!("{core} {}: {}", model.display(), String::from_utf8_lossy(&done.stdout));
            if !done.status.success() {
                broken.push(format!("{core} {}: {}", model.display(), String::from_utf8_lossy(&done.stderr)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A model that must branch is marked, and its counts may differ: the check can fail.
#[test]
fn what_branches_is_seen_and_marked() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        command.arg("bench").arg(here.join("models/watch_cnn1d/model.onnx"));
        command.args(["--target", "cortex-m0plus", "--inputs", "4", "--emit", "c", "--json"]).args(more);
        let done = command.output().expect("the binary starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).expect("JSON")
    };
    // Software floats branch.
    let floats = run(&["--quantize", "none"]);
    let first = &floats["runs"][0];
    assert!(first["instructions_least"].as_u64() < first["instructions_most"].as_u64(), "{floats}");
    assert!(first["layers"].as_array().is_some_and(|l| !l.is_empty()), "{floats}");
}
