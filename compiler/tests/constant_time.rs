//! Every input takes the same instructions: `secateur bench --inputs N`, counted on the emulated
//! cores, C and Rust.
//!
//! `SECATEUR_FULL=1`: 1,000 inputs, all models and cores. Needs what `tests/setup` installs.

use std::path::{Path, PathBuf};
use std::process::Command;

const CORES: [&str; 5] = ["cortex-m4", "cortex-m0plus", "cortex-m33", "cortex-m7", "cortex-m55"];

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
    let (inputs, cores) = if full() { ("1000", &CORES[..]) } else { ("16", &CORES[..2]) };
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

/// What Cortex-M0+ computes with in C, on numbers around every edge, by a compiler of this machine.
#[test]
fn helpers_for_thumb_1_give_what_operators_give() {
    const PROGRAM: &str = r#"
#include "secateur.h"
static const int64_t edges[] = {0, 1, 2, 126, 127, 128, 255, 65534, 65535, 65536, 98304, 1073741824,
    INT32_MAX - 1, INT32_MAX, 4294967295, 4294967296, INT64_MAX - 1, INT64_MAX};
enum { EDGES = 2 * sizeof edges / sizeof edges[0] };
static int64_t edge(int i) { return i % 2 ? ~edges[i / 2] : edges[i / 2]; }
#define HOLD(what) do { if (!(what)) { return __LINE__; } } while (0)
int main(void)
{
    for (int i = 0; i < EDGES; i++) {
        for (int j = 0; j < EDGES; j++) {
            const int64_t a = edge(i), b = edge(j), least = b < a ? b : a, most = a < b ? b : a;
            const int32_t c = (int32_t)a, d = (int32_t)b, low = d < c ? d : c, high = c < d ? d : c;
            int64_t near;
            HOLD(secateur_mul64(a, b) == (int64_t)((uint64_t)a * (uint64_t)b));
            HOLD(secateur_product(c, d) == (int64_t)c * d);
            HOLD(secateur_min64(a, b) == least && secateur_max64(a, b) == most);
            HOLD(secateur_min(c, d) == low && secateur_max(c, d) == high);
            if (!__builtin_sub_overflow(a, b, &near)) {
                HOLD(secateur_min64_near(a, b) == least && secateur_max64_near(a, b) == most);
            }
            if ((int64_t)c - d == (int32_t)((int64_t)c - d)) {
                HOLD(secateur_min_near(c, d) == low && secateur_max_near(c, d) == high);
            }
        }
    }
    return 0;
}
"#;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("edges.c"), folder.path().join("edges"));
    std::fs::write(&source, PROGRAM).expect("it is written");
    for how in ["-USECATEUR_THUMB_1", "-DSECATEUR_THUMB_1"] {
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
        cc.args(["-std=gnu99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", how, "-I"]);
        cc.arg(here.join("../runtime/include")).arg("-o").arg(&program).arg(&source);
        assert!(cc.status().expect("a C compiler").success(), "{how}");
        let line = Command::new(&program).status().expect("it starts").code();
        assert_eq!(line, Some(0), "{how}: the condition on this line of the program does not hold");
    }
}
