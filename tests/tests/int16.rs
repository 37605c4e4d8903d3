//! Values that take sixteen bits in an int8 model (`--int16`): nearer to the floats, the same bits on every engine and
//! core, and refused where nothing has such a name.

use secateur_compiler::artifact::compile;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Glob, Options, Quantize};
use secateur_compiler::tensor::{DType, Samples, Tensor};
use secateur_tests::drawn::{Random, compiled_as, decibels, fed, same_bits_as};
use secateur_tests::engines::target;
use secateur_tests::onnx::{FLOAT, Model, attr_int, attr_ints, dims, floats, ints, node, port};

const SIZE: f32 = 2.0;

/// Two convolutions of which one follows the other, a residual that a mean in eight bits reads, and two dense layers
/// behind a function and what only moves values.
fn model() -> Model {
    let mut random = Random(3);
    let mut initializers = vec![ints("flat", &[2], &[1, 160])];
    let mut weights = |name: &str, shape: &[i64], size: f32| {
        let n = shape.iter().product::<i64>() as usize;
        initializers.push(floats(name, shape, &random.floats(n, size)));
    };
    weights("w1", &[8, 3, 5], 0.4);
    weights("b1", &[8], 0.5);
    weights("w2", &[8, 8, 3], 0.4);
    weights("w3", &[8, 8, 1], 0.4);
    weights("w4", &[160, 12], 0.15);
    weights("w5", &[12, 4], 0.4);
    let conv = |name: &str, inputs: &[&str], kernel: i64, stride: i64| {
        let attrs = [
            attr_ints("kernel_shape", &[kernel]),
            attr_ints("pads", &[kernel / 2, kernel / 2]),
            attr_ints("strides", &[stride]),
        ];
        node(name, "Conv", inputs, &[&format!("{name}.y")], &attrs)
    };
    let one = |name: &str, op: &str, inputs: &[&str], attrs: &[_]| {
        node(name, op, inputs, &[&format!("{name}.y")], attrs)
    };
    let nodes = vec![
        conv("first", &["x", "w1", "b1"], 5, 2),
        one("relu", "Relu", &["first.y"], &[]),
        conv("second", &["relu.y", "w2"], 3, 1),
        conv("beside", &["relu.y", "w3"], 1, 1),
        one("sum", "Add", &["second.y", "relu.y"], &[]),
        one("gate", "Sigmoid", &["beside.y"], &[]),
        one("turned", "Transpose", &["gate.y"], &[attr_ints("perm", &[0, 2, 1])]),
        one("row", "Reshape", &["turned.y", "flat"], &[]),
        one("hidden", "MatMul", &["row.y", "w4"], &[]),
        one("clipped", "Relu", &["hidden.y"], &[]),
        node("head", "MatMul", &["clipped.y", "w5"], &["y"], &[]),
        one("pool", "GlobalAveragePool", &["sum.y"], &[]),
        node("flattened", "Flatten", &["pool.y"], &["z"], &[attr_int("axis", 1)]),
    ];
    let outputs = vec![port("y", FLOAT, &dims(&[1, 4])), port("z", FLOAT, &dims(&[1, 8]))];
    Model { nodes, initializers, inputs: vec![port("x", FLOAT, &dims(&[1, 3, 40]))], outputs, opset: 17 }
}

fn calibration() -> Samples {
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), Tensor::f32(&[100, 1, 3, 40], Random(5).floats(100 * 120, SIZE)));
    samples
}

fn wide(names: &[&str]) -> Options {
    Options { int16: names.iter().map(|n| Glob((*n).to_owned())).collect(), ..Options::default() }
}

#[test]
fn results_come_near_the_floats() {
    let (bytes, samples) = (model().bytes(), calibration());
    let of = |names: &[&str]| {
        let artifact = compiled_as(&bytes, "cortex-m4", Some(&samples), &wide(names));
        let types =
            |ports: &[secateur_compiler::program::Port]| ports.iter().map(|p| p.elem).collect::<Vec<_>>();
        let ports = (types(&artifact.program.inputs), types(&artifact.program.outputs));
        (decibels(&artifact, &fed(&artifact, 20, 9, SIZE)), ports)
    };
    let (eight_bits, sixteen) = (DType::I8, DType::I16);
    let (eight, ports) = of(&[]);
    assert_eq!(ports, (vec![eight_bits], vec![eight_bits, eight_bits]));
    let (output, ports) = of(&["head"]);
    assert_eq!(ports, (vec![eight_bits], vec![sixteen, eight_bits]));
    let (all, ports) = of(&["*"]);
    assert_eq!(ports, (vec![sixteen], vec![sixteen, eight_bits]));
    println!("{eight:.1} dB, with the result in 16 bits {output:.1} dB, with all {all:.1} dB");
    assert!(output >= eight + 1.0 && all >= eight + 6.0, "{eight:.1} {output:.1} {all:.1}");
}

/// Convolutions whose biases are as great as what eight bits of their inputs could add up to: no channel is dead.
#[test]
fn channels_live_by_sixteen_bits() {
    let mut random = Random(8);
    let mut initializers = Vec::new();
    let mut weights = |name: &str, shape: &[i64], size: f32| {
        let n = shape.iter().product::<i64>() as usize;
        initializers.push(floats(name, shape, &random.floats(n, size)));
    };
    weights("w1", &[12, 2, 3], 0.5);
    weights("b1", &[12], 1.0);
    weights("w2", &[12, 1, 3], 0.6);
    weights("b2", &[12], 1.0);
    weights("w3", &[9, 12, 1], 0.4);
    weights("b3", &[9], 1.0);
    weights("w4", &[5, 9, 1], 0.5);
    let mut nodes = Vec::new();
    for (i, group) in [(1, 1), (2, 12), (3, 1)] {
        let before = if i == 1 { "x".to_owned() } else { format!("r{}", i - 1) };
        let kernel = if i == 3 { 1 } else { 3 };
        let attrs = [
            attr_ints("kernel_shape", &[kernel]),
            attr_ints("pads", &[kernel / 2; 2]),
            attr_int("group", group),
        ];
        let inputs = [before, format!("w{i}"), format!("b{i}")];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        nodes.push(node(&format!("c{i}"), "Conv", &inputs, &[&format!("y{i}")], &attrs));
        nodes.push(node(&format!("a{i}"), "Relu", &[&format!("y{i}")], &[&format!("r{i}")], &[]));
    }
    nodes.push(node("c4", "Conv", &["r3", "w4"], &["y"], &[attr_ints("kernel_shape", &[1])]));
    let outputs = vec![port("y", FLOAT, &dims(&[1, 5, 30]))];
    let inputs = vec![port("x", FLOAT, &dims(&[1, 2, 30]))];
    let bytes = Model { nodes, initializers, inputs, outputs, opset: 17 }.bytes();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), Tensor::f32(&[100, 1, 2, 30], Random(5).floats(100 * 60, SIZE)));
    let of = |names: &[&str]| {
        let artifact = compiled_as(&bytes, "cortex-m4", Some(&samples), &wide(names));
        decibels(&artifact, &fed(&artifact, 20, 9, SIZE))
    };
    let (eight, all) = (of(&[]), of(&["*"]));
    assert!(all >= eight + 6.0, "{eight:.1} dB, {all:.1} dB with 16 bits");
}

#[test]
fn every_core_gives_the_same_bits() {
    let (bytes, samples) = (model().bytes(), calibration());
    let cores = ["host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc", "rv32imcv"];
    for names in [&["x", "head"][..], &["first", "gate"], &["*"]] {
        let artifacts = same_bits_as(&bytes, &samples, (&cores, SIZE), &wide(names));
        // Cores with `smlad` run their own kernels.
        for artifact in &artifacts[2..5] {
            let portable = artifact.report.layers.iter().filter(|l| l.macs > 0 && l.family == "portable");
            assert_eq!(portable.map(|l| l.name.as_str()).collect::<Vec<_>>(), [""; 0], "{names:?}");
        }
    }
}

#[test]
fn what_cannot_be_is_said() {
    let (bytes, samples) = (model().bytes(), calibration());
    let run = |names: &[&str]| {
        compile(
            &bytes,
            &target("host"),
            Some(&samples),
            &Options { name: "net".into(), ..wide(names) },
            &mut Silent,
        )
    };
    let refused = run(&["nothing*"]).unwrap_err().to_string();
    assert!(refused.contains("no value that is computed has a name like `nothing*`"), "{refused}");
    let warned = run(&["pool"]).unwrap().report.warnings;
    let said: Vec<String> = warned.iter().map(|w| w.to_string()).collect();
    assert!(said.iter().any(|w| w.contains("`pool` (GlobalAveragePool) gives 8 bits")), "{said:?}");
    let floats = Options { name: "net".into(), quantize: Quantize::None, ..wide(&["*"]) };
    let floats = compile(&bytes, &target("host"), None, &floats, &mut Silent).unwrap();
    assert!(floats.report.warnings.iter().any(|w| w.to_string().contains("has no use: only a float model")));
    assert!(run(&["*"]).unwrap().report.warnings.iter().all(|w| !w.to_string().contains("int16")));
}
