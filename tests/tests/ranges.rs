//! What the user says that inputs and outputs may hold, against what calibration saw.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Glob, Quantize, Range};
use secateur_compiler::tensor::{DType, Samples};
use secateur_compiler::{Error, Options, targets};
use secateur_tests::{npy, repository};

/// The bundled model with ranges for its ports, and values of 16 bits.
fn watch(ranges: &[(&str, f32, f32)], int16: &[&str], quantize: Quantize) -> Result<Artifact, Error> {
    let bundled = repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy(&bundled.join("calib.npy")));
    let options = Options {
        name: "watch".into(),
        quantize,
        ranges: ranges.iter().map(|&(port, lo, hi)| (port.to_owned(), Range { lo, hi })).collect(),
        int16: int16.iter().map(|glob| Glob((*glob).to_owned())).collect(),
        ..Options::default()
    };
    compile(&model, &targets::find("host").unwrap(), Some(&samples), &options, &mut Silent)
}

/// The least and greatest real number that a port holds, and one step.
fn holds(artifact: &Artifact, port: &str) -> (f32, f32, f32) {
    let program = &artifact.program;
    let port = program.inputs.iter().chain(&program.outputs).find(|p| p.name == port).unwrap();
    let ((scale, zero), (lo, hi)) = (port.affine.unwrap(), port.elem.range().unwrap());
    (scale * (lo as i32 - zero) as f32, scale * (hi as i32 - zero) as f32, scale)
}

#[test]
fn ports_hold_what_they_are_said_to() {
    let plain = watch(&[], &[], Quantize::Int8).unwrap();
    for range in [("imu", -40.0, 24.0), ("logits", -3.0, 90.0), ("imu", -0.5, 0.75), ("logits", 1.0, 20.0)] {
        let artifact = watch(&[range], &[], Quantize::Int8).unwrap();
        let (port, lo, hi) = (range.0, range.1.min(0.0), range.2);
        let (least, most, step) = holds(&artifact, port);
        assert!((least - lo).abs() <= step && (most - hi).abs() <= step, "{range:?}: {least} to {most}");
        assert!((step - (hi - lo) / 255.0).abs() < 1e-6 * hi, "{range:?}: {step}");
        let other = if port == "imu" { "logits" } else { "imu" };
        assert_eq!(holds(&artifact, other).2, holds(&plain, other).2, "{range:?}");
    }
}

#[test]
fn sixteen_bits_hold_the_range_around_zero() {
    let artifact = watch(&[("imu", -8.0, 4.0)], &["imu"], Quantize::Int8).unwrap();
    assert_eq!(artifact.program.inputs[0].elem, DType::I16);
    let (least, most, _) = holds(&artifact, "imu");
    assert!((least + 8.0).abs() < 1e-3 && (most - 8.0).abs() < 1e-3, "{least} to {most}");
}

#[test]
fn what_has_no_range_to_choose_is_told() {
    let said = watch(&[("gyro", -8.0, 8.0)], &[], Quantize::Int8).err().unwrap().to_string();
    assert!(said.contains("the model has no input or output `gyro`"), "{said}");
    let floats = watch(&[("imu", -8.0, 8.0)], &[], Quantize::None).unwrap();
    let warnings: Vec<String> = floats.report.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|w| w.contains("range") && w.contains("has no use")), "{warnings:?}");
}
