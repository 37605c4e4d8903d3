//! `--kernel 'GLOB=VARIANT'`: what runs is what was asked for, with the same results, and what there
//! is not is refused with what there is.

use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");

fn compile(more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    Command::new(env!("CARGO_BIN_EXE_secateur"))
        .args(["compile", MODEL, "--calibrate", CALIBRATION, "--target", "nrf52840", "--json", "-o"])
        .arg(out)
        .args(more)
        .output()
        .expect("the binary starts")
}

/// Operator and kernel variant of each layer.
fn kernels(done: &Output) -> Vec<(String, String)> {
    let said = String::from_utf8_lossy(&done.stderr);
    let report: serde_json::Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let layers = report["layers"].as_array().expect("a report has layers");
    let text = |layer: &serde_json::Value, key: &str| layer[key].as_str().unwrap_or_default().to_owned();
    layers.iter().map(|layer| (text(layer, "op"), text(layer, "family"))).collect()
}

#[test]
fn layers_run_what_was_asked_for() {
    let free = kernels(&compile(&[]));
    assert!(free.iter().any(|(op, variant)| op == "Conv" && variant != "portable"), "{free:?}");
    assert!(free.iter().any(|(op, variant)| op == "MaxPool" && variant != "portable"), "{free:?}");
    let all = kernels(&compile(&["--kernel", "*=portable"]));
    assert!(all.iter().all(|(_, variant)| ["portable", "alias"].contains(&variant.as_str())), "{all:?}");
    // The last of several wishes holds.
    let pools = kernels(&compile(&["--kernel", "*=max_run_s8", "--kernel", "*=portable", "--check"]));
    assert_eq!(pools, all);
}

#[test]
fn what_there_is_not_is_refused() {
    let said = |more: &[&str]| {
        let done = compile(more);
        assert_eq!(done.status.code(), Some(2), "{more:?}");
        let text = String::from_utf8_lossy(&done.stderr).replace(['│', '╰', '─', '▶', '×'], " ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let missing = said(&["--kernel", "*Conv*=winograd9"]);
    for word in ["option `kernel`", "`winograd9`", "(Conv)", "`portable`"] {
        assert!(missing.contains(word), "no {word} in: {missing}");
    }
    let nobody = said(&["--kernel", "nobody=portable"]);
    assert!(nobody.contains("`nobody`") && nobody.contains("MaxPool"), "{nobody}");
    let done = compile(&["--kernel", "portable"]);
    assert_eq!(done.status.code(), Some(2));
}
