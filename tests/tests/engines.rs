//! Real models through every engine: evaluator, C and Rust on the host, C and Rust on the
//! emulated board give the same bits. Nothing is compared with itself: each engine has its own
//! compiler and its own arithmetic.

use secateur_compiler::artifact::Artifact;
use secateur_compiler::cli::toolchain::{Optimize, measure};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Quantize};
use secateur_compiler::tensor::Tensor;
use secateur_tests::engines::{built, compiled, evaluate, samples, target};
use secateur_tests::objects::broken_rules;
use secateur_tests::{full, zoo};

/// Quantized here, from a float model and calibration samples.
const CALIBRATED: &[&str] = &[
    "ours/watch_cnn1d/model.onnx",
    "ours/mitbih_cnn/model.onnx",
    "ours/watch_mbv3/model.onnx",
    "ours/fsdd_dscnn/model.onnx",
    "third_party/mlperf_ad_autoencoder/model.onnx",
    "third_party/mlperf_sww_streaming/model.onnx",
    "third_party/mlperf_kws_dscnn/model.onnx",
    "third_party/micro_kws_m/model.onnx",
    "third_party/st_mnv1_pruned/model.onnx",
    "third_party/st_mnv2_035_128/model.onnx",
    "third_party/st_yamnet256/model.onnx",
    "third_party/mlperf_vww_mobilenetv1/model.onnx",
    "third_party/mlperf_ic_resnet8/model.onnx",
];

/// Models that come quantized.
const QDQ: &[&str] = &[
    "third_party/mlperf_ad_autoencoder/model_int8_qdq.onnx",
    "third_party/mlperf_sww_streaming/model_int8_qdq.onnx",
    "third_party/mlperf_kws_dscnn/model_int8_qdq.onnx",
    "third_party/micro_kws_m/model_qdq.onnx",
    "third_party/tflm_micro_speech/model_int8_qdq.onnx",
    "third_party/mlperf_vendor_qdq/deep_autoencoder.onnx",
    "third_party/mlperf_vendor_qdq/kws_ref_model.onnx",
    "third_party/mlperf_vendor_qdq/resnet.onnx",
    "third_party/mlperf_vendor_qdq/mobilenet_v1.onnx",
    "third_party/mcunet_vww/model_int8_qdq.onnx",
    "third_party/mlperf_vww_mobilenetv1/model_int8_qdq.onnx",
    "third_party/mlperf_ic_resnet8/model_int8_qdq.onnx",
];

/// Fifty samples, or as many as take a second or two of emulation each; all fifty in the full run.
fn count(artifact: &Artifact) -> usize {
    let macs = artifact.report.total.macs.max(1);
    if full() { 50 } else { (30_000_000 / macs).clamp(2, 50) as usize }
}

fn differing(got: &[Vec<Tensor>], want: &[Vec<Tensor>]) -> usize {
    // Floats are compared by their bits, so that a zero's sign and every NaN count.
    let bits = |o: &[Tensor]| o.iter().map(|t| t.data().to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).filter(|(g, w)| bits(g) != bits(w)).count()
}

/// Compiles a model for `core`, runs it by every engine named and gives what differs from the
/// evaluator.
fn check(model: &str, core: &str, quantize: Quantize, engines: &[(Language, &str)]) -> Vec<String> {
    let Some(zoo) = zoo() else { return Vec::new() };
    let artifact = compiled(&zoo, model, &target(core), quantize);
    let inputs = samples(&zoo, model, &artifact, count(&artifact));
    let want = evaluate(&artifact, &inputs);
    let mut wrong = Vec::new();
    for &(language, on) in engines {
        let image = built(&artifact, language, &target(on), Optimize::Speed);
        let replies = image.run(0, &inputs, &mut Silent).unwrap_or_else(|e| panic!("{model}: {e}"));
        let differ = differing(&replies.outputs, &want);
        if differ > 0 {
            wrong.push(format!("{model}: {language:?} on {on}: {differ} of {} samples", inputs.len()));
        }
        if on != "host" {
            let integer = quantize != Quantize::None;
            let broken = broken_rules(image.file(), &target(on), integer);
            wrong.extend(broken.iter().map(|b| format!("{model}: {language:?}: {b}")));
        }
        if let Some(painted) = replies.stack {
            // What is announced is measured on C; Rust keeps the common limit.
            let bound = match language {
                Language::C => measure(&(&artifact).into(), &target(on))
                    .and_then(|m| m.stack)
                    .unwrap_or_else(|e| panic!("{e}")),
                Language::Rust => 1023,
            };
            if bound > 1023 || painted > bound {
                wrong.push(format!("{model}: {painted} bytes of stack on {on}, announced {bound}"));
            }
        }
    }
    wrong
}

const EVERYWHERE: [(Language, &str); 4] = [
    (Language::C, "host"),
    (Language::Rust, "host"),
    (Language::C, "cortex-m4"),
    (Language::Rust, "cortex-m4"),
];

fn all_alike(models: &[&str], quantize: Quantize) {
    let wrong: Vec<String> =
        models.iter().flat_map(|model| check(model, "cortex-m4", quantize, &EVERYWHERE)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn calibrated_models_give_the_same_bits_everywhere() {
    all_alike(CALIBRATED, Quantize::Int8);
}

#[test]
fn weights_of_four_bits_give_the_same_bits_everywhere() {
    let models = ["ours/watch_cnn1d/model.onnx", "third_party/mlperf_ic_resnet8/model.onnx"];
    all_alike(&models, Quantize::W4a8);
    let cores = ["cortex-m0plus", "cortex-m7", "cortex-m55"];
    let on = |core: &&str| check(models[0], core, Quantize::W4a8, &[(Language::C, core)]);
    let wrong: Vec<String> = cores.iter().flat_map(on).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imported_integer_models_give_the_same_bits_everywhere() {
    all_alike(QDQ, Quantize::Int8);
}

#[test]
fn float_models_give_the_same_bits_everywhere() {
    let models = ["ours/watch_cnn1d/model.onnx", "third_party/mlperf_kws_dscnn/model.onnx"];
    all_alike(&models, Quantize::None);
}

#[test]
fn every_core_gives_the_same_bits() {
    let models = ["ours/watch_cnn1d/model.onnx", "third_party/mlperf_kws_dscnn/model_int8_qdq.onnx"];
    let cores = ["cortex-m0plus", "cortex-m3", "cortex-m33", "cortex-m7", "cortex-m55"];
    let mut wrong = Vec::new();
    for model in models {
        for core in cores {
            wrong.extend(check(model, core, Quantize::Int8, &[(Language::C, core)]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
