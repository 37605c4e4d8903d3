//! The attribute as a user meets it: `cases/*.rs` compile, or are refused with the text beside
//! them on the argument at fault.

use std::path::{Path, PathBuf};

/// Puts the files that the cases name where trybuild puts the package of the cases.
fn models() {
    let exe = std::env::current_exe().expect("this test");
    let target: PathBuf = exe.ancestors().nth(3).expect("target/debug/deps/ui").into();
    let folder = target.join("tests/trybuild/secateur-ui-tests/models");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(&folder).expect("a folder");
    for (from, to) in [
        ("../../compiler/models/watch_cnn1d/model.onnx", "watch.onnx"),
        // Four of that model's calibration windows: enough, and quick without optimisation.
        ("models/calib.npy", "calib.npy"),
        ("models/wrong.npy", "wrong.npy"),
        ("models/unsupported.onnx", "unsupported.onnx"),
    ] {
        std::fs::copy(package.join(from), folder.join(to)).expect(from);
    }
}

#[test]
fn cases() {
    models();
    let t = trybuild::TestCases::new();
    t.pass("cases/compiles.rs");
    for case in [
        "missing_file",
        "unknown_target",
        "misspelt_option",
        "unsupported_operator",
        "calibration_shape",
        "no_calibration",
        "not_a_unit_struct",
    ] {
        t.compile_fail(format!("cases/{case}.rs"));
    }
}
