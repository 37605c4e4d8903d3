//! Blocks of transformers: found in the operators that models spell them in, right in floats, near the floats in
//! integers, and the same bits on every engine and core.

use secateur_compiler::ops::Op;
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_compiler::{Artifact, graph};
use secateur_tests::drawn::{Random, compiled, decibels, fed, same_bits};
use secateur_tests::engines::evaluate;
use secateur_tests::onnx::{
    BOOL, FLOAT, Model, attr_float, attr_int, attr_ints, dims, floats, ints, node, port, tensor,
};

/// Which keys a query sees, and by which operators.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mask {
    None,
    /// None of those behind it, by a constant that is added.
    Causal,
    /// By a constant condition of a Where.
    Where,
    /// By an input that is added.
    Input,
}

#[derive(Debug, Clone, Copy)]
struct Form {
    steps: usize,
    heads: usize,
    depth: usize,
    mask: Mask,
    /// One node of operator set 17 instead of its parts.
    whole: bool,
    /// GELU by tanh instead of the error function.
    tanh: bool,
}

const SMALL: Form = Form { steps: 11, heads: 2, depth: 8, mask: Mask::None, whole: true, tanh: false };

const FORMS: &[Form] = &[
    SMALL,
    Form { mask: Mask::Causal, whole: false, ..SMALL },
    Form { steps: 7, heads: 3, depth: 5, mask: Mask::Where, ..SMALL },
    Form { steps: 24, heads: 2, depth: 32, mask: Mask::Input, whole: false, tanh: true },
    Form { steps: 1, heads: 1, depth: 4, ..SMALL },
    Form { steps: 33, heads: 1, depth: 20, mask: Mask::Causal, tanh: true, ..SMALL },
];

/// A block with attention and a layer of two products, each behind a normalization and beside a residual.
fn model(form: &Form, seed: u64) -> Model {
    let Form { steps, heads, depth, mask, .. } = *form;
    let (width, mut random) = (heads * depth, Random(seed));
    let mut initializers = Vec::new();
    let mut nodes = Vec::new();
    let mut weights = |name: &str, shape: &[usize], size: f32, around: f32| {
        let data = random.floats(shape.iter().product(), size).iter().map(|v| v + around).collect::<Vec<_>>();
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        initializers.push(floats(name, &shape, &data));
    };
    let size = 1.7 / (width as f32).sqrt();
    for name in ["wq", "wk", "wv", "wo"] {
        weights(name, &[width, width], size, 0.0);
    }
    weights("w1", &[width, 2 * width], size, 0.0);
    weights("w2", &[2 * width, width], size, 0.0);
    for name in ["scale1", "scale2"] {
        weights(name, &[width], 0.4, 1.0);
    }
    weights("bias1", &[width], 0.3, 0.0);
    let number = |name: &str, v: f32| floats(name, &[], &[v]);
    initializers.extend([
        number("two", 2.0),
        number("three", 3.0),
        number("one", 1.0),
        number("half", 0.5),
        number("epsilon", 1e-5),
        number("root", (depth as f32).sqrt()),
        number("sqrt2", std::f32::consts::SQRT_2),
        number("cubic", 0.044_715),
        number("slope", 0.797_884_6),
        number("closed", -1e9),
        ints("apart", &[4], &[1, steps as i64, heads as i64, depth as i64]),
        ints("together", &[3], &[1, steps as i64, width as i64]),
    ]);
    let mut add = |op: &str, inputs: &[&str], output: &str, attrs: &[_]| {
        nodes.push(node(output, op, inputs, &[output], attrs));
    };
    let last = [attr_ints("axes", &[-1])];
    if form.whole {
        let attrs = [attr_int("axis", -1), attr_float("epsilon", 1e-5)];
        add("LayerNormalization", &["x", "scale1", "bias1"], "n1", &attrs);
    } else {
        add("ReduceMean", &["x"], "mean", &last);
        add("Sub", &["x", "mean"], "off", &[]);
        add("Pow", &["off", "two"], "square", &[]);
        add("ReduceMean", &["square"], "variance", &last);
        add("Add", &["variance", "epsilon"], "more", &[]);
        add("Sqrt", &["more"], "deviation", &[]);
        add("Div", &["off", "deviation"], "plain", &[]);
        add("Mul", &["plain", "scale1"], "scaled1", &[]);
        add("Add", &["scaled1", "bias1"], "n1", &[]);
    }
    for (w, perm) in [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])] {
        add("MatMul", &["n1", &format!("w{w}")], &format!("{w}1"), &[]);
        add("Reshape", &[&format!("{w}1"), "apart"], &format!("{w}2"), &[]);
        add("Transpose", &[&format!("{w}2")], w, &[attr_ints("perm", &perm)]);
    }
    add("MatMul", &["q", "k"], "product", &[]);
    add("Div", &["product", "root"], "scores", &[]);
    match mask {
        Mask::None => {}
        Mask::Causal | Mask::Input => add("Add", &["scores", "mask"], "masked", &[]),
        Mask::Where => add("Where", &["mask", "scores", "closed"], "masked", &[]),
    }
    let scores = if mask == Mask::None { "scores" } else { "masked" };
    add("Softmax", &[scores], "shares", &[attr_int("axis", -1)]);
    add("MatMul", &["shares", "v"], "seen", &[]);
    add("Transpose", &["seen"], "seen2", &[attr_ints("perm", &[0, 2, 1, 3])]);
    add("Reshape", &["seen2", "together"], "seen3", &[]);
    add("MatMul", &["seen3", "wo"], "attended", &[]);
    add("Add", &["x", "attended"], "residual", &[]);
    // The second one without a mean.
    add("Mul", &["residual", "residual"], "square2", &[]);
    add("ReduceMean", &["square2"], "variance2", &last);
    add("Add", &["epsilon", "variance2"], "more2", &[]);
    add("Sqrt", &["more2"], "deviation2", &[]);
    add("Reciprocal", &["deviation2"], "inverse", &[]);
    add("Mul", &["inverse", "residual"], "plain2", &[]);
    add("Mul", &["scale2", "plain2"], "n2", &[]);
    add("MatMul", &["n2", "w1"], "hidden", &[]);
    if form.tanh {
        add("Pow", &["hidden", "three"], "cube", &[]);
        add("Mul", &["cube", "cubic"], "bent", &[]);
        add("Add", &["hidden", "bent"], "sum", &[]);
        add("Mul", &["sum", "slope"], "steep", &[]);
        add("Tanh", &["steep"], "curve", &[]);
    } else {
        add("Div", &["hidden", "sqrt2"], "steep", &[]);
        add("Erf", &["steep"], "curve", &[]);
    }
    add("Add", &["curve", "one"], "share", &[]);
    add("Mul", &["hidden", "share"], "twice", &[]);
    add("Mul", &["twice", "half"], "gelu", &[]);
    add("MatMul", &["gelu", "w2"], "out", &[]);
    add("Add", &["residual", "out"], "y", &[]);
    let sizes = [1, steps as i64, width as i64];
    let mut inputs = vec![port("x", FLOAT, &dims(&sizes))];
    let square = [steps as i64, steps as i64];
    let open = |row: usize, key: usize| key <= row;
    let all = (0..steps).flat_map(|row| (0..steps).map(move |key| open(row, key)));
    match mask {
        Mask::None => {}
        Mask::Causal => {
            let data: Vec<f32> = all.map(|open| if open { 0.0 } else { f32::NEG_INFINITY }).collect();
            initializers.push(floats("mask", &square, &data));
        }
        Mask::Where => {
            initializers.push(tensor("mask", BOOL, &square, &all.map(u8::from).collect::<Vec<_>>()));
        }
        Mask::Input => inputs.push(port("mask", FLOAT, &dims(&[1, 1, 1, steps as i64]))),
    }
    Model { nodes, initializers, inputs, outputs: vec![port("y", FLOAT, &dims(&sizes))], opset: 17 }
}

const SIZE: f32 = 1.5;

fn calibration(form: &Form, count: usize) -> Samples {
    let (width, mut random) = (form.heads * form.depth, Random(5));
    let mut samples = Samples::default();
    let values = random.floats(count * form.steps * width, SIZE);
    samples.arrays.insert("x".to_owned(), Tensor::f32(&[count, 1, form.steps, width], values));
    if form.mask == Mask::Input {
        let values = random.floats(count * form.steps, SIZE);
        samples.arrays.insert("mask".to_owned(), Tensor::f32(&[count, 1, 1, 1, form.steps], values));
    }
    samples
}

/// How often an operator that was found stands in a graph.
fn found(artifact: &Artifact) -> [usize; 3] {
    let count = |of: &dyn Fn(&Op) -> bool| artifact.graph.nodes().filter(|(_, n)| of(&n.op)).count();
    [
        count(&|op| matches!(op, Op::Attention(_))),
        count(&|op| matches!(op, Op::Normalization(_))),
        count(&|op| matches!(op, Op::Chain(_))),
    ]
}

#[test]
fn what_is_spelled_is_found_and_right_in_floats() {
    for (i, form) in FORMS.iter().enumerate() {
        let bytes = model(form, 40 + i as u64).bytes();
        let artifact = compiled(&bytes, "host", None);
        assert_eq!(found(&artifact), [1, 2, 1], "{form:?}");
        let (real, stored) = fed(&artifact, 4, 9, SIZE);
        for (real, have) in real.iter().zip(evaluate(&artifact, &stored)) {
            let want = graph::run(&artifact.imported, real).unwrap()[0].to_f64_vec();
            let most = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (w, h) in want.iter().zip(have[0].to_f64_vec()) {
                assert!((w - h).abs() <= 1e-4 * most, "{form:?}: {h}, not {w}");
            }
        }
    }
}

#[test]
fn integers_follow_floats() {
    let mut low = Vec::new();
    for (i, form) in FORMS.iter().enumerate() {
        let bytes = model(form, 40 + i as u64).bytes();
        let artifact = compiled(&bytes, "cortex-m4", Some(&calibration(form, 100)));
        assert_eq!(found(&artifact), [1, 2, 1], "{form:?}");
        // No step of them is left to floats.
        let fused = |op: &Op| matches!(op, Op::Attention(_) | Op::Normalization(_) | Op::Chain(_));
        for (_, node) in artifact.graph.nodes().filter(|(_, n)| fused(&n.op)) {
            assert!(node.outputs.iter().all(|&v| artifact.graph[v].quant.is_some()), "{form:?}");
        }
        let decibels = decibels(&artifact, &fed(&artifact, 12, 9, SIZE));
        println!("{decibels:5.1} dB {form:?}");
        if decibels < 30.0 {
            low.push(format!("{decibels:.1} dB {form:?}"));
        }
    }
    assert!(low.is_empty(), "{low:#?}");
}

#[test]
fn every_core_gives_the_same_bits() {
    for (i, form) in [(1, &FORMS[1]), (2, &FORMS[2]), (3, &FORMS[3])] {
        let bytes = model(form, 40 + i).bytes();
        let cores = ["host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc"];
        let artifacts = same_bits(&bytes, &calibration(form, 30), &cores, SIZE);
        for artifact in &artifacts[2..5] {
            let layer = artifact.report.layers.iter().find(|l| l.op == "Attention").unwrap();
            assert_eq!(layer.family, "attention", "{form:?}");
        }
    }
}

/// How PyTorch's modules cut the results of one product into queries, keys and values, and where they scale.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// `unbind` of `[3, 1, heads, steps, depth]` (timm's ViT): a Gather each, queries scaled.
    Gathers,
    /// The same by one Split and a Squeeze each, as later exporters write `unbind`.
    Unbind,
    /// `split` along the last axis (GPT-2): scores divided, a causal Where.
    Split,
    /// The same with a mask that is added to what the Where leaves, as GPT-2 has one for sentences of unlike lengths.
    Masked,
    /// `chunk` as three Slices, queries and keys scaled by the fourth root (`scaled_dot_product_attention`).
    Slices,
    /// `nn.MultiheadAttention`: steps in front, heads beside the batch, queries scaled before they are turned.
    Packed,
}

const CUTS: [Cut; 6] = [Cut::Gathers, Cut::Unbind, Cut::Split, Cut::Masked, Cut::Slices, Cut::Packed];

/// Attention whose queries, keys and values one dense layer gives, and the layer behind it.
fn packed(cut: Cut, seed: u64) -> Model {
    let (steps, heads, depth) = (9usize, 3usize, 8usize);
    let (width, mut random) = (heads * depth, Random(seed));
    let size = 1.7 / (width as f32).sqrt();
    let [s, h, d, w] = [steps, heads, depth, width].map(|n| n as i64);
    let mut initializers = vec![
        floats("wqkv", &[w, 3 * w], &random.floats(3 * width * width, 1.5 * size)),
        floats("bqkv", &[3 * w], &random.floats(3 * width, 0.2)),
        floats("wo", &[w, w], &random.floats(width * width, size)),
        floats("scale", &[], &[(depth as f32).powf(-0.5)]),
        floats("half_scale", &[], &[(depth as f32).powf(-0.25)]),
        floats("root", &[], &[(depth as f32).sqrt()]),
        floats("closed", &[], &[f32::MIN]),
        ints("apart", &[4], &[1, s, h, d]),
        ints("together", &[3], &[1, s, w]),
        ints("parts", &[5], &[1, s, 3, h, d]),
        ints("thirds", &[3], &[w, w, w]),
        ints("ones", &[3], &[1, 1, 1]),
        ints("zero", &[1], &[0]),
        ints("last", &[1], &[-1]),
        ints("steps_first", &[4], &[s, 1, 3, w]),
        ints("beside", &[3], &[s, h, d]),
        ints("back", &[2], &[s, w]),
        ints("three", &[1], &[-2]),
    ];
    for i in 0..4i64 {
        initializers.push(ints(&format!("i{i}"), &[], &[i]));
        initializers.push(ints(&format!("at{i}"), &[1], &[i * w]));
    }
    let causal: Vec<u8> =
        (0..steps).flat_map(|row| (0..steps).map(move |key| u8::from(key <= row))).collect();
    initializers.push(tensor("causal", BOOL, &[1, 1, s, s], &causal));
    let mut nodes = Vec::new();
    let mut add = |op: &str, inputs: &[&str], outputs: &[&str], attrs: &[_]| {
        nodes.push(node(outputs[0], op, inputs, outputs, attrs));
    };
    let perm = |axes: &[i64]| [attr_ints("perm", axes)];
    add("MatMul", &["x", "wqkv"], &["product"], &[]);
    add("Add", &["product", "bqkv"], &["qkv"], &[]);
    let names = ["q", "k", "v"];
    match cut {
        Cut::Gathers | Cut::Unbind => {
            add("Reshape", &["qkv", "parts"], &["qkv5"], &[]);
            add("Transpose", &["qkv5"], &["turned"], &perm(&[2, 0, 3, 1, 4]));
            if cut == Cut::Gathers {
                for (i, name) in names.iter().enumerate() {
                    add("Gather", &["turned", &format!("i{i}")], &[name], &[attr_int("axis", 0)]);
                }
            } else {
                add("Split", &["turned", "ones"], &["q1", "k1", "v1"], &[attr_int("axis", 0)]);
                for name in names {
                    add("Squeeze", &[&format!("{name}1"), "zero"], &[name], &[]);
                }
            }
            add("Mul", &["q", "scale"], &["qs"], &[]);
            add("Transpose", &["k"], &["kt"], &perm(&[0, 1, 3, 2]));
            add("MatMul", &["qs", "kt"], &["scores"], &[]);
        }
        Cut::Split | Cut::Masked | Cut::Slices => {
            if cut != Cut::Slices {
                add("Split", &["qkv", "thirds"], &["q1", "k1", "v1"], &[attr_int("axis", 2)]);
            } else {
                for (i, name) in names.iter().enumerate() {
                    let (from, to) = (format!("at{i}"), format!("at{}", i + 1));
                    add("Slice", &["qkv", &from, &to, "last"], &[&format!("{name}1")], &[]);
                }
            }
            for name in names {
                add("Reshape", &[&format!("{name}1"), "apart"], &[&format!("{name}2")], &[]);
                let turned: &[i64] = if name == "k" { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] };
                let to = if name == "k" { "kt" } else { name };
                add("Transpose", &[&format!("{name}2")], &[to], &perm(turned));
            }
            if cut != Cut::Slices {
                add("MatMul", &["q", "kt"], &["raw"], &[]);
                add("Div", &["raw", "root"], &["free"], &[]);
                let to = if cut == Cut::Masked { "seen_behind" } else { "scores" };
                add("Where", &["causal", "free", "closed"], &[to], &[]);
                if cut == Cut::Masked {
                    add("Add", &["seen_behind", "mask"], &["scores"], &[]);
                }
            } else {
                add("Mul", &["q", "half_scale"], &["qs"], &[]);
                add("Mul", &["kt", "half_scale"], &["ks"], &[]);
                add("MatMul", &["qs", "ks"], &["scores"], &[]);
            }
        }
        Cut::Packed => {
            add("Reshape", &["qkv", "steps_first"], &["qkv4"], &[]);
            add("Unsqueeze", &["qkv4", "zero"], &["qkv5"], &[]);
            add("Transpose", &["qkv5"], &["turned"], &perm(&[3, 1, 2, 0, 4]));
            add("Squeeze", &["turned", "three"], &["parted"], &[]);
            for (i, name) in names.iter().enumerate() {
                add("Gather", &["parted", &format!("i{i}")], &[&format!("{name}1")], &[attr_int("axis", 0)]);
            }
            add("Mul", &["q1", "scale"], &["q1s"], &[]);
            for (name, from) in [("q", "q1s"), ("k", "k1"), ("v", "v1")] {
                add("Reshape", &[from, "beside"], &[&format!("{name}2")], &[]);
                add("Transpose", &[&format!("{name}2")], &[name], &perm(&[1, 0, 2]));
            }
            add("Transpose", &["k"], &["kt"], &perm(&[0, 2, 1]));
            add("MatMul", &["q", "kt"], &["scores"], &[]);
        }
    }
    add("Softmax", &["scores"], &["shares"], &[attr_int("axis", -1)]);
    add("MatMul", &["shares", "v"], &["seen"], &[]);
    let (turned, shape): (&[i64], _) = match cut {
        Cut::Packed => (&[1, 0, 2], "back"),
        _ => (&[0, 2, 1, 3], "together"),
    };
    add("Transpose", &["seen"], &["seen2"], &perm(turned));
    add("Reshape", &["seen2", shape], &["seen3"], &[]);
    add("MatMul", &["seen3", "wo"], &["y"], &[]);
    let sizes: &[i64] = if cut == Cut::Packed { &[s, w] } else { &[1, s, w] };
    let shape = if cut == Cut::Packed { [s, 1, w] } else { [1, s, w] };
    let mut inputs = vec![port("x", FLOAT, &dims(&shape))];
    if cut == Cut::Masked {
        inputs.push(port("mask", FLOAT, &dims(&[1, 1, 1, s])));
    }
    Model { nodes, initializers, inputs, outputs: vec![port("y", FLOAT, &dims(sizes))], opset: 17 }
}

#[test]
fn packed_queries_keys_and_values_are_found() {
    let mut low = Vec::new();
    for (i, cut) in CUTS.into_iter().enumerate() {
        let bytes = packed(cut, 60 + i as u64).bytes();
        let artifact = compiled(&bytes, "host", None);
        let (real, stored) = fed(&artifact, 4, 9, SIZE);
        for (real, have) in real.iter().zip(evaluate(&artifact, &stored)) {
            let want = graph::run(&artifact.imported, real).unwrap()[0].to_f64_vec();
            let most = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (w, h) in want.iter().zip(have[0].to_f64_vec()) {
                assert!((w - h).abs() <= 1e-4 * most, "{cut:?}: {h}, not {w}");
            }
        }
        let mut samples = Samples::default();
        let mut random = Random(5);
        for port in &artifact.program.inputs {
            let shape = [&[100], port.shape.as_slice()].concat();
            let values = random.floats(shape.iter().product(), SIZE);
            samples.arrays.insert(port.name.clone(), Tensor::f32(&shape, values));
        }
        let int8 = compiled(&bytes, "cortex-m4", Some(&samples));
        for artifact in [&artifact, &int8] {
            // One attention, whose scale is its own: nothing multiplies elements beside it.
            assert_eq!(found(artifact), [1, 0, 0], "{cut:?}");
            let multiplies = |op: &Op| matches!(op, Op::Mul(_) | Op::Div(_) | Op::MatMul(_) | Op::Softmax(_));
            let beside = artifact.graph.nodes().filter(|(_, n)| multiplies(&n.op));
            assert_eq!(beside.map(|(_, n)| n.name.as_str()).collect::<Vec<_>>(), [""; 0], "{cut:?}");
        }
        // But for a mask that is chosen at run time.
        let mut floats =
            int8.graph.nodes().filter(|(_, n)| n.outputs.iter().any(|&v| int8.graph[v].quant.is_none()));
        assert!(cut == Cut::Masked || floats.next().is_none(), "{cut:?}");
        let decibels = decibels(&int8, &fed(&int8, 12, 9, SIZE));
        println!("{decibels:5.1} dB {cut:?}");
        if decibels < 30.0 {
            low.push(format!("{decibels:.1} dB {cut:?}"));
        }
    }
    assert!(low.is_empty(), "{low:#?}");
}
