//! Products of two values that the run brings, and Softmax outside of attention: near the floats, the same bits on every
//! engine and core, and on cores with `smlad` or Helium by kernels of their own.

use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::drawn::{Random, compiled, decibels, fed, same_bits};
use secateur_tests::onnx::{FLOAT, Model, attr_int, attr_ints, dims, floats, node, port};

const SIZE: f32 = 1.0;

/// Products of heads, one whose second factor lies above zero, one that heads share, one of a turned factor, of a
/// vector, and Gemms; and Softmax of long rows, of columns and of few elements, of which no attention is made.
fn model() -> Model {
    let of = |name: &str, op: &str, inputs: &[&str], attrs: &[_]| node(name, op, inputs, &[name], attrs);
    let nodes = vec![
        of("scores", "MatMul", &["a", "b"], &[]),
        of("shares", "Sigmoid", &["scores"], &[]),
        of("values", "MatMul", &["shares", "v"], &[]),
        of("above", "MatMul", &["scores", "shares"], &[]),
        of("shared", "MatMul", &["values", "w"], &[]),
        of("turned", "Transpose", &["values"], &[attr_ints("perm", &[0, 2, 1])]),
        of("square", "MatMul", &["turned", "values"], &[]),
        of("vector", "MatMul", &["x", "w"], &[]),
        of("gram", "Gemm", &["w", "w"], &[attr_int("transA", 1)]),
        of("positive", "Relu", &["gram"], &[]),
        node("added", "Gemm", &["w", "positive", "c"], &["added"], &[]),
        of("rows", "Softmax", &["above"], &[]),
        of("columns", "Softmax", &["above"], &[attr_int("axis", 1)]),
        of("few", "Softmax", &["vector"], &[]),
    ];
    let inputs = [
        ("a", vec![2, 24, 32]),
        ("b", vec![2, 32, 24]),
        ("v", vec![2, 24, 32]),
        ("w", vec![32, 9]),
        ("x", vec![32]),
    ];
    let outputs = [
        ("above", vec![2, 24, 24]),
        ("shared", vec![2, 24, 9]),
        ("square", vec![2, 32, 32]),
        ("vector", vec![9]),
        ("added", vec![32, 9]),
        ("rows", vec![2, 24, 24]),
        ("columns", vec![2, 24, 24]),
        ("few", vec![9]),
    ];
    Model {
        nodes,
        initializers: vec![floats("c", &[9], &Random(4).floats(9, 0.5))],
        inputs: inputs.iter().map(|(name, shape)| port(name, FLOAT, &dims(shape))).collect(),
        outputs: outputs.iter().map(|(name, shape)| port(name, FLOAT, &dims(shape))).collect(),
        opset: 17,
    }
}

fn calibration() -> Samples {
    let (mut samples, mut random) = (Samples::default(), Random(8));
    let shapes: [(&str, &[usize]); 5] =
        [("a", &[2, 24, 32]), ("b", &[2, 32, 24]), ("v", &[2, 24, 32]), ("w", &[32, 9]), ("x", &[32])];
    for (name, shape) in shapes {
        let all: Vec<usize> = [30].iter().chain(shape).copied().collect();
        let data = random.floats(all.iter().product(), SIZE);
        samples.arrays.insert(name.to_owned(), Tensor::f32(&all, data));
    }
    samples
}

#[test]
fn every_core_gives_the_same_bits_near_the_floats() {
    let (bytes, samples) = (model().bytes(), calibration());
    let cores = ["host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc"];
    let artifacts = same_bits(&bytes, &samples, &cores, SIZE);
    let near = decibels(&artifacts[0], &fed(&artifacts[0], 6, 3, SIZE));
    assert!(near > 25.0, "{near:.1} dB");
}

/// Rows that lie side by side, where there are enough elements for its code.
#[test]
fn long_rows_of_softmax_have_a_kernel_of_their_own() {
    let (bytes, samples) = (model().bytes(), calibration());
    for core in ["cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55", "cortex-m0plus"] {
        let artifact = compiled(&bytes, core, Some(&samples));
        let layer = |name: &str| artifact.report.layers.iter().find(|l| l.name == name).unwrap();
        let own = core != "cortex-m0plus";
        assert_eq!(layer("rows").family == "softmax_row_s8", own, "{core}: {}", layer("rows").family);
        assert_eq!([layer("columns"), layer("few")].map(|l| l.family.as_str()), ["portable"; 2], "{core}");
        if core == "cortex-m4" {
            let by = layer("rows").cycles.unwrap() as f64 / (2.0 * 24.0 * 24.0);
            assert!(by < 18.0, "{by:.1} cycles an element");
        }
    }
}

/// Predicted cycles a product of two elements, with all that lays one factor.
#[test]
fn the_kernels_of_dense_layers_compute_them() {
    let (bytes, samples) = (model().bytes(), calibration());
    for (core, own, most) in [("cortex-m4", "gemm", 2.5), ("cortex-m55", "dot", 0.75)] {
        let artifact = compiled(&bytes, core, Some(&samples));
        for name in ["scores", "values", "above", "shared", "square"] {
            let layer = artifact.report.layers.iter().find(|l| l.name == name).unwrap();
            let by = layer.cycles.unwrap() as f64 / layer.macs as f64;
            // Of one both factors have a zero point, of another the first factor is brought into rows.
            let most = if ["above", "square"].contains(&name) { most + 0.1 } else { most };
            assert!(layer.family == own && by <= most, "{core} {name}: {} {by}", layer.family);
        }
    }
}
