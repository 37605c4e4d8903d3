//! The float meaning of real models, and their float C and Rust, against onnxruntime's recorded
//! results.
//!
//! In: the zoo's models, test samples and reference outputs. Law: at most 1e-4 between the two,
//! the largest difference over the largest reference value of the sample. A few samples each by
//! default, all of them with `SECATEUR_FULL=1`.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::cli::toolchain::{Image, Model, Optimize, build};
use secateur_compiler::graph::run;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Number, Numbers, Options, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::samples::split;
use secateur_compiler::targets;
use secateur_compiler::tensor::Tensor;
use secateur_tests::{full, import, npy, relative_error, samples, zoo};
use std::collections::BTreeMap;

const MODELS: [&str; 13] = [
    "third_party/mlperf_kws_dscnn",
    "third_party/mlperf_ic_resnet8",
    "third_party/mlperf_vww_mobilenetv1",
    "third_party/mlperf_ad_autoencoder",
    "third_party/mlperf_sww_streaming",
    "third_party/micro_kws_m",
    "third_party/st_mnv1_pruned",
    "third_party/st_mnv2_035_128",
    "third_party/st_yamnet256",
    "ours/watch_cnn1d",
    "ours/watch_mbv3",
    "ours/mitbih_cnn",
    "ours/fsdd_dscnn",
];

/// The largest error of outputs over reference rows.
fn worst(outputs: &[Vec<Tensor>], reference: &Tensor) -> f32 {
    let row = reference.len() / reference.shape()[0];
    let rows = reference.as_f32().expect("a float reference").chunks(row);
    assert!(!outputs.is_empty());
    outputs.iter().zip(rows).fold(0.0, |worst, (y, expected)| {
        worst.max(relative_error(y[0].as_f32().expect("a float output"), expected))
    })
}

#[test]
fn float_meaning() {
    let Some(zoo) = zoo() else { return };
    for name in MODELS {
        let folder = zoo.join(name);
        let graph = import(&folder.join("model.onnx"));
        let limit = if full() { None } else { Some(3) };
        let inputs = samples(npy(&folder.join("test_x.npy")), &graph, limit);
        let outputs: Vec<Vec<Tensor>> =
            inputs.iter().map(|x| run(&graph, x).unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
        let worst = worst(&outputs, &npy(&folder.join("test_ref.npy")));
        println!("{name}: {} samples, {worst:.1e}", inputs.len());
        assert!(worst <= 1e-4, "{name}: {worst:.2e}");
    }
}

#[test]
fn float_c_and_rust() {
    let Some(zoo) = zoo() else { return };
    let host = targets::find("host").expect("the host is a target");
    let compiled = |(i, name): (usize, &&str)| -> Artifact {
        let model = std::fs::read(zoo.join(name).join("model.onnx")).expect("a model");
        let options = Options {
            name: format!("model_{i}"),
            quantize: Quantize::None,
            emit: vec![Language::C, Language::Rust],
            ..Options::default()
        };
        compile(&model, &host, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let artifacts: Vec<Artifact> = MODELS.iter().enumerate().map(compiled).collect();
    let models: Vec<Model<'_>> = artifacts.iter().map(Model::from).collect();
    let c = build(Language::C, &models, &host, Optimize::Speed).unwrap_or_else(|e| panic!("C: {e}"));
    let rust = build(Language::Rust, &models, &host, Optimize::Speed).unwrap_or_else(|e| panic!("Rust: {e}"));
    for (i, name) in MODELS.iter().enumerate() {
        let folder = zoo.join(name);
        let limit = if full() { None } else { Some(3) };
        let inputs = samples(npy(&folder.join("test_x.npy")), &artifacts[i].imported, limit);
        let from = |image: &Image| {
            image.run(i, &inputs, &mut Silent).unwrap_or_else(|e| panic!("{name}: {e}")).outputs
        };
        let outputs = from(&c);
        assert_eq!(outputs, from(&rust), "{name}: C and Rust differ");
        let worst = worst(&outputs, &npy(&folder.join("test_ref.npy")));
        println!("{name}: C and Rust, {} samples, {worst:.1e}", inputs.len());
        assert!(worst <= 1e-4, "{name}: {worst:.2e}");
    }
}

/// A detector of speech whose rate of samples is an input, and which has a branch for each: bound, it is one branch.
#[test]
fn a_model_with_a_bound_input() {
    let Some(zoo) = zoo() else { return };
    let folder = zoo.join("third_party/silero_vad_if_op15");
    let model = std::fs::read(folder.join("model.onnx")).expect("a model");
    let options = Options {
        name: "vad".into(),
        quantize: Quantize::None,
        dims: BTreeMap::from([("sequence".into(), 576)]),
        bind: BTreeMap::from([("sr".into(), Numbers(vec![Number::Whole(16000)]))]),
        ..Options::default()
    };
    let host = targets::find("host").expect("the host is a target");
    let artifact = compile(&model, &host, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
    let read = |file: &str| read_samples(&folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let limit = if full() { None } else { Some(20) };
    let inputs = split(&read("test_x.npz"), &artifact.imported, limit).unwrap_or_else(|e| panic!("{e}"));
    let reference = read("test_ref.npz").arrays.remove("output").expect("its first output").to_f32_vec();
    let mut machine = Machine::new(&artifact.program).unwrap_or_else(|e| panic!("{e}"));
    for (input, &want) in inputs.iter().zip(&reference) {
        let float = run(&artifact.imported, input).unwrap_or_else(|e| panic!("{e}"));
        let compiled = machine.run(input).unwrap_or_else(|e| panic!("{e}"));
        for (who, have) in [("float", &float[0]), ("compiled", &compiled[0])] {
            let error = (have.to_f32_vec()[0] - want).abs();
            assert!(error <= 1e-4, "{who}: {error:.2e}");
        }
    }
}

/// A classifier of files by their bytes, which JAX wrote: labels equal on every sample there is.
#[test]
fn labels_of_files_are_those_of_onnxruntime() {
    let Some(zoo) = zoo() else { return };
    let folder = zoo.join("third_party/magika");
    let model = std::fs::read(folder.join("model.onnx")).expect("a model");
    let options = Options { name: "files".into(), quantize: Quantize::None, ..Options::default() };
    let host = targets::find("host").expect("the host is a target");
    let artifact = compile(&model, &host, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
    let inputs = samples(npy(&folder.join("test_x.npy")), &artifact.imported, None);
    let c = build(Language::C, &[Model::from(&artifact)], &host, Optimize::Speed);
    let c = c.unwrap_or_else(|e| panic!("C: {e}"));
    let outputs = c.run(0, &inputs, &mut Silent).unwrap_or_else(|e| panic!("{e}")).outputs;
    let reference = npy(&folder.join("test_ref.npy"));
    assert_eq!(outputs.len(), reference.shape()[0]);
    let worst = worst(&outputs, &reference);
    println!("{} samples, {worst:.1e}", outputs.len());
    assert!(worst <= 1e-4, "{worst:.2e}");
    let label = |scores: &[f32]| (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let rows = reference.as_f32().expect("a float reference").chunks(reference.shape()[1]);
    let different = outputs
        .iter()
        .zip(rows)
        .filter(|(have, want)| label(have[0].as_f32().expect("scores")) != label(want));
    assert_eq!(different.count(), 0);
}

#[test]
fn multiply_accumulates_are_those_of_the_models_papers() {
    let Some(zoo) = zoo() else { return };
    for (name, expected) in [
        ("third_party/mlperf_kws_dscnn", 2_656_768),
        ("third_party/mlperf_ic_resnet8", 12_501_632),
        ("third_party/mlperf_vww_mobilenetv1", 7_489_664),
        ("third_party/mlperf_ad_autoencoder", 264_192),
        ("third_party/mlperf_sww_streaming", 826_368),
        ("third_party/st_mnv2_035_128", 18_947_072),
        ("third_party/st_yamnet256", 23_902_720),
        ("ours/watch_cnn1d", 840_128),
        ("ours/watch_mbv3", 670_112),
    ] {
        let graph = import(&zoo.join(name).join("model.onnx"));
        let macs: u64 = graph
            .nodes()
            .map(|(id, node)| {
                let operands = graph.operands(id);
                node.op.macs(&operands, &node.op.infer(&operands).expect("an imported node"))
            })
            .sum();
        assert_eq!(macs, expected, "{name}");
    }
}
