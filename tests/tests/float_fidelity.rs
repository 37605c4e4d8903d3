//! The float meaning of real models against onnxruntime's recorded results.
//!
//! In: the zoo's models, test samples and reference outputs. Law: at most 1e-4 between the two,
//! the largest difference over the largest reference value of the sample. A few samples each by
//! default, all of them with `SECATEUR_FULL=1`.

use secateur_compiler::ops::run;
use secateur_tests::{full, import, npy, relative_error, samples, zoo};

/// Fails if a model's float results are further than 1e-4 from the reference.
fn check(name: &str) {
    let Some(zoo) = zoo() else { return };
    let folder = zoo.join(name);
    let graph = import(&folder.join("model.onnx"));
    let limit = if full() { None } else { Some(3) };
    let inputs = samples(npy(&folder.join("test_x.npy")), &graph, limit);
    let reference = npy(&folder.join("test_ref.npy"));
    let row = reference.len() / reference.shape()[0];
    let mut worst = 0.0f32;
    for (x, expected) in inputs.iter().zip(reference.as_f32().expect("float").chunks(row)) {
        let y = run(&graph, x).unwrap_or_else(|e| panic!("{name}: {e}"));
        worst = worst.max(relative_error(y[0].as_f32().expect("a float output"), expected));
    }
    println!("{name}: {} samples, {worst:.1e}", inputs.len());
    assert!(worst <= 1e-4, "{name}: {worst:.2e}");
}

#[test]
fn keyword_spotting() {
    check("third_party/mlperf_kws_dscnn");
    check("third_party/micro_kws_m");
    check("third_party/mlperf_sww_streaming");
}

#[test]
fn images() {
    check("third_party/mlperf_ic_resnet8");
    check("third_party/mlperf_vww_mobilenetv1");
    check("third_party/st_mnv1_pruned");
    check("third_party/st_mnv2_035_128");
}

#[test]
fn sound() {
    check("third_party/mlperf_ad_autoencoder");
    check("third_party/st_yamnet256");
    check("ours/fsdd_dscnn");
}

#[test]
fn wearables() {
    check("ours/watch_cnn1d");
    check("ours/watch_mbv3");
    check("ours/mitbih_cnn");
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
