//! Files that no exporter writes: each is refused with an error that names its place, none
//! makes the compiler panic, hang or take the machine's memory.

use secateur_compiler::error::Fault;
use secateur_compiler::onnx::import;
use secateur_compiler::{Error, passes};
use secateur_tests::onnx::{
    Dim, FLOAT, INT64, Message, Model, STRING, attr_float, attr_int, attr_ints, attr_str, attr_tensor, dims,
    floats, ints, node, port, tensor, wrap,
};
use secateur_tests::seeds;
use std::collections::BTreeMap;

/// Reads and rewrites a model, which must fail through the model's own fault.
#[track_caller]
fn refused(bytes: &[u8]) -> Error {
    let result = import(bytes, &BTreeMap::new()).and_then(|mut graph| {
        passes::run(&mut graph, &mut |_, _| {})?;
        passes::run_quantized(&mut graph, &mut |_, _| {})
    });
    let error = result.expect_err("this model is malformed");
    assert_eq!(error.fault, Fault::Model, "{error}");
    error
}

/// Refused with a text that holds all of `parts`: the place and the reason.
#[track_caller]
fn says(model: &Model, parts: &[&str]) {
    let text = refused(&model.bytes()).to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}

/// A model that only lacks what a test puts in.
fn relu() -> Model {
    Model {
        nodes: vec![node("act", "Relu", &["x"], &["y"], &[])],
        inputs: vec![port("x", FLOAT, &dims(&[1, 4]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 4]))],
        ..Model::default()
    }
}

/// A model of one node on `x` of `shape`.
fn one(op: &str, shape: &[i64], constants: &[Message], attrs: &[Message]) -> Model {
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let mut inputs = vec!["x"];
    inputs.extend(names.iter().map(String::as_str));
    Model {
        nodes: vec![node("bad", op, &inputs, &["y"], attrs)],
        initializers: constants.iter().zip(&names).map(|(m, n)| m.clone().str(8, n)).collect(),
        inputs: vec![port("x", FLOAT, &dims(shape))],
        outputs: vec![seeds::untyped("y")],
        ..Model::default()
    }
}

#[test]
fn truncated_at_every_byte() {
    for model in [seeds::network(), seeds::quantized(0.1)] {
        let bytes = model.bytes();
        // The operator set stands last, so that no shorter file is whole.
        for end in 0..bytes.len() {
            refused(&bytes[..end]);
        }
    }
}

#[test]
fn a_real_model_truncated() {
    let path = secateur_tests::repository().join("compiler/models/watch_cnn1d/model.onnx");
    let bytes = std::fs::read(path).expect("the bundled model");
    for end in (0..bytes.len()).step_by(997) {
        refused(&bytes[..end]);
    }
}

#[test]
fn random_bytes() {
    let mut state = 1u64;
    for len in 0..2000usize {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        refused(&bytes);
    }
}

#[test]
fn other_files() {
    assert!(refused(b"").to_string().contains("empty"));
    refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    refused(b"PK\x03\x04\x14\0\0\0");
    refused("{\"model\": 1}\n".as_bytes());
}

#[test]
fn groups_and_deep_nesting() {
    let model = relu();
    // A group in an unknown field of the graph, balanced and not.
    for group in [&[0xfbu8, 0x7f, 0xfc, 0x7f][..], &[0xfb, 0x7f]] {
        let mut graph = model.graph();
        graph.0.extend(group);
        let text = refused(&wrap(&graph, 13).0).to_string();
        assert!(text.contains("group") && text.contains("at byte"), "{text}");
    }
    // A hundred thousand opening groups: what exhausts the stack of the decoder alone.
    let text = refused(&vec![0x0b; 100_000]).to_string();
    assert!(text.contains("group"), "{text}");
    // If in If in If.
    let nested = (0..100).fold(model.graph(), |graph, i| {
        let branch = Message::new().str(1, "then_branch").message(6, &graph).int(20, 5);
        let outer = node(&format!("if{i}"), "If", &["x"], &["y"], &[branch]);
        Message::new().message(1, &outer).messages(12, &[port("y", FLOAT, &dims(&[1, 4]))])
    });
    let text = refused(&wrap(&nested, 13).0).to_string();
    assert!(text.contains("nest deeper"), "{text}");
}

#[test]
fn unknown_operators_are_all_listed() {
    let mut model = relu();
    let custom = node("third", "Magic", &["b", "c"], &["y"], &[]).str(7, "com.acme");
    model.nodes = vec![
        node("first", "Frobnicate", &["x"], &["a"], &[]),
        node("fine", "Relu", &["a"], &["r"], &[]),
        node("", "Det", &["r"], &["b"], &[]),
        custom,
        node("ours", "Dense", &["b"], &["c"], &[]),
    ];
    let error = refused(&model.bytes());
    assert_eq!(error.others.len(), 3);
    says(
        &model,
        &[
            "node `first` (Frobnicate)",
            "node `Det:b` (Det)",
            "node `third` (com.acme.Magic)",
            "node `ours` (Dense)",
        ],
    );
}

#[test]
fn independent_mistakes_are_listed_together() {
    let mut model = relu();
    model.nodes = vec![
        node("a", "Softmax", &["x"], &["p"], &[attr_int("axis", 9)]),
        node("b", "Relu", &["p"], &["q"], &[]),
        node("c", "Concat", &["x", "x"], &["y"], &[]),
    ];
    let error = refused(&model.bytes());
    assert_eq!(error.others.len(), 1, "a consequence is no mistake of its own: {error}");
    says(&model, &["node `a` (Softmax)", "node `c` (Concat)"]);
}

#[test]
fn graphs_that_do_not_hang_together() {
    let mut cyclic = relu();
    cyclic.nodes = vec![node("p", "Add", &["x", "b"], &["a"], &[]), node("q", "Relu", &["a"], &["b"], &[])];
    cyclic.outputs = vec![seeds::untyped("b")];
    says(&cyclic, &["cycle", "(Add)"]);
    let mut own = relu();
    own.nodes = vec![node("p", "Relu", &["y"], &["y"], &[])];
    says(&own, &["node `p` (Relu)", "cycle"]);

    let mut missing = relu();
    missing.nodes = vec![node("p", "Relu", &["nowhere"], &["y"], &[])];
    says(&missing, &["node `p` (Relu)", "`nowhere`"]);
    let mut nothing = relu();
    nothing.nodes = vec![node("p", "Relu", &[], &["y"], &[])];
    says(&nothing, &["node `p` (Relu)", "input 0 is missing"]);
    let mut blind = relu();
    blind.nodes = vec![node("p", "Relu", &["x"], &[""], &[])];
    says(&blind, &["node `p` (Relu)", "no outputs"]);
    let mut output = relu();
    output.outputs = vec![seeds::untyped("lost")];
    says(&output, &["tensor `lost`"]);

    says(&Model::default(), &["empty"]);
    let mut silent = relu();
    silent.outputs.clear();
    says(&silent, &["no outputs"]);
    let text = refused(&Message::new().int(1, 8).0).to_string();
    assert!(text.contains("no graph"), "{text}");
}

#[test]
fn names_used_twice() {
    let mut twice = relu();
    twice.nodes.push(node("again", "Relu", &["x"], &["y"], &[]));
    says(&twice, &["`y`", "(Relu)"]);
    let mut shadow = relu();
    shadow.nodes = vec![node("p", "Relu", &["x"], &["x"], &[])];
    shadow.outputs = vec![seeds::untyped("x")];
    says(&shadow, &["node `p` (Relu)"]);
    let mut shadow = relu();
    shadow.initializers = vec![floats("y", &[1], &[0.0])];
    says(&shadow, &["`y`", "node `act`"]);
    let mut inputs = relu();
    inputs.inputs.push(port("x", FLOAT, &dims(&[1, 4])));
    says(&inputs, &["tensor `x`", "share"]);
    let mut constants = relu();
    constants.initializers = vec![floats("c", &[1], &[0.0]), floats("c", &[1], &[1.0])];
    says(&constants, &["tensor `c`", "share"]);
    let mut outputs = relu();
    outputs.outputs.push(seeds::untyped("y"));
    says(&outputs, &["tensor `y`", "twice"]);
    says(
        &one("Softmax", &[1, 4], &[], &[attr_int("axis", 0), attr_int("axis", 1)]),
        &["node `bad` (Softmax)", "`axis`", "twice"],
    );
}

#[test]
fn shapes_that_cannot_be() {
    let with_input = |shape: &[i64]| Model { inputs: vec![port("x", FLOAT, &dims(shape))], ..relu() };
    says(&with_input(&[1, -4]), &["tensor `x`", "-4"]);
    says(&with_input(&[1, 1 << 40]), &["tensor `x`", "too large"]);
    says(&with_input(&[i64::MAX, i64::MAX, 4]), &["tensor `x`", "too large"]);
    says(&with_input(&[0, i64::MAX]), &["tensor `x`", "too large"]);
    let packed = Model { inputs: vec![port("x", 22, &dims(&[1, 4]))], ..relu() };
    says(&packed, &["tensor `x`", "int4", "constants only"]);
    let with_constant = |m: Message| Model { initializers: vec![m], ..relu() };
    says(&with_constant(tensor("c", FLOAT, &[-1], &[])), &["tensor `c`", "-1"]);
    says(&with_constant(tensor("c", FLOAT, &[1 << 60], &[])), &["tensor `c`", "too large"]);
    says(&with_constant(tensor("c", FLOAT, &[4], &[0; 15])), &["tensor `c`", "16 bytes", "holds 15"]);
    says(&with_constant(tensor("c", FLOAT, &[4], &[])), &["tensor `c`", "holds 0"]);
    says(&with_constant(tensor("c", STRING, &[1], &[])), &["tensor `c`", "needs 1 texts"]);
    // Two elements of four bits are a byte, three are two.
    says(&with_constant(tensor("c", 22, &[3], &[0])), &["tensor `c`", "2 bytes", "holds 1"]);
    says(&with_constant(tensor("c", 77, &[1], &[0])), &["tensor `c`", "77"]);
    let external = tensor("c", FLOAT, &[1], &[]).int(14, 1);
    let location = Message::new().str(1, "location").str(2, "weights.bin");
    says(&with_constant(external.message(13, &location)), &["tensor `c`", "weights.bin"]);
    let sparse = Message::new().message(1, &floats("s", &[1], &[1.0]));
    let text = refused(&wrap(&relu().graph().message(15, &sparse), 13).0).to_string();
    assert!(text.contains("tensor `s`") && text.contains("sparse"), "{text}");
}

#[test]
fn claims_that_the_graph_contradicts() {
    let claim = |elem: i64, shape: &[Dim<'_>]| Model { outputs: vec![port("y", elem, shape)], ..relu() };
    says(&claim(INT64, &dims(&[1, 4])), &["tensor `y`", "i64"]);
    // Exporters guess shapes: what the nodes give holds, and that is told.
    for (shape, declared) in [(vec![1, 5], "[1, 5]"), (vec![4], "[4]")] {
        let graph = import(&claim(FLOAT, &dims(&shape)).bytes(), &BTreeMap::new());
        let graph = graph.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(graph[graph.outputs()[0]].shape, [1, 4]);
        let told: Vec<String> = graph.warnings().iter().map(ToString::to_string).collect();
        let says = format!("declared with shape {declared}, but the graph computes [1, 4]");
        assert!(told.iter().any(|w| w.contains("tensor `y`") && w.contains(&says)), "{told:?}");
    }
}

#[test]
fn sizes_that_explode() {
    let expand = |shape: &[i64]| one("Expand", &[1], &[ints("", &[shape.len() as i64], shape)], &[]);
    says(&expand(&[1 << 20, 1 << 20]), &["node `bad` (Expand)"]);
    says(&expand(&[-5]), &["node `bad` (Expand)"]);
    let mut filled = relu();
    filled.nodes = vec![
        node("fill", "ConstantOfShape", &["s"], &["f"], &[]),
        node("add", "Add", &["x", "f"], &["y"], &[]),
    ];
    for (shape, why) in [([1i64 << 40, 1 << 40], "fill"), ([1 << 13, 1 << 12], "fill"), ([-1, 4], "fill")] {
        filled.initializers = vec![ints("s", &[2], &shape)];
        says(&filled, &[&format!("node `{why}` (ConstantOfShape)")]);
    }
    let pads = ints("", &[4], &[0, 1 << 50, 0, 1 << 50]);
    says(&one("Pad", &[1, 4], &[pads], &[]), &["node `bad` (Pad)"]);
    let huge = [attr_ints("kernel_shape", &[3]), attr_ints("pads", &[i64::MAX, i64::MAX])];
    says(&one("MaxPool", &[1, 1, 4], &[], &huge), &["node `bad` (MaxPool)"]);
    let far = [attr_ints("dilations", &[i64::MAX])];
    says(&one("Conv", &[1, 1, 4], &[floats("", &[1, 1, 2], &[1.0, 1.0])], &far), &["node `bad` (Conv)"]);
}

#[test]
fn parameters_that_make_no_sense() {
    let w = || floats("", &[2, 1, 3], &[0.5; 6]);
    let conv = |attrs: &[Message]| one("Conv", &[1, 1, 8], &[w()], attrs);
    says(&conv(&[attr_ints("strides", &[0])]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_ints("strides", &[1, 1])]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_ints("dilations", &[-1])]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_ints("pads", &[-1, 0])]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_int("group", 0)]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_int("group", 3)]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_ints("kernel_shape", &[5])]), &["node `bad` (Conv)"]);
    says(&conv(&[attr_str("auto_pad", "SOMETIMES")]), &["node `bad` (Conv)", "SOMETIMES"]);
    says(&conv(&[attr_float("group", 1.0)]), &["node `bad` (Conv)", "`group`"]);
    says(&one("Conv", &[1, 4, 8], &[w()], &[]), &["node `bad` (Conv)"]);
    says(&one("Conv", &[1, 1, 8], &[ints("", &[2, 1, 3], &[1; 6])], &[]), &["node `bad` (Conv)"]);
    says(&one("Transpose", &[2, 3], &[], &[attr_ints("perm", &[0, 0])]), &["node `bad` (Transpose)"]);
    says(&one("Transpose", &[2, 3], &[], &[attr_ints("perm", &[0, 7])]), &["node `bad` (Transpose)"]);
    says(&one("Reshape", &[2, 3], &[ints("", &[2], &[-1, -1])], &[]), &["node `bad` (Reshape)"]);
    says(&one("Reshape", &[2, 3], &[ints("", &[1], &[7])], &[]), &["node `bad` (Reshape)"]);
    says(&one("Reshape", &[2, 3], &[ints("", &[3], &[0, 0, 0])], &[]), &["node `bad` (Reshape)"]);
    says(&one("Gather", &[2, 3], &[ints("", &[1], &[5])], &[]), &["node `bad` (Gather)"]);
    says(&one("Split", &[2, 3], &[ints("", &[1], &[9])], &[]), &["node `bad` (Split)"]);
    says(&one("Add", &[2, 3], &[floats("", &[4], &[0.0; 4])], &[]), &["node `bad` (Add)"]);
    says(&one("Add", &[2, 3], &[ints("", &[3], &[0; 3])], &[]), &["node `bad` (Add)"]);
    says(&one("Clip", &[2], &[floats("", &[], &[f32::NAN])], &[]), &["node `bad` (Clip)"]);
    says(&one("Cast", &[2], &[], &[attr_int("to", STRING)]), &["node `bad` (Cast)"]);
    says(&one("ReduceMean", &[2, 3], &[], &[attr_ints("axes", &[1, -1])]), &["node `bad` (ReduceMean)"]);
    let mut run_time = one("Reshape", &[2, 3], &[], &[]);
    run_time.nodes = vec![node("bad", "Reshape", &["x", "s"], &["y"], &[])];
    run_time.inputs.push(port("s", INT64, &dims(&[2])));
    says(&run_time, &["node `bad` (Reshape)", "not a constant"]);
}

#[test]
fn quantizers_that_mean_nothing() {
    for scale in [f32::NAN, f32::INFINITY, 0.0, -0.1] {
        says(&seeds::quantized(scale), &["qx"]);
    }
    let mut two = seeds::quantized(0.1);
    two.nodes[1] = node("dx", "DequantizeLinear", &["xq", "sy", "zx"], &["xf"], &[]);
    says(&two, &["node `dx` (DequantizeLinear)", "one scale"]);
}

#[test]
fn attributes_that_hold_nothing() {
    let bare = |m: Message| {
        let mut model = relu();
        model.nodes =
            vec![node("k", "Constant", &[], &["c"], &[m]), node("add", "Add", &["x", "c"], &["y"], &[])];
        model
    };
    says(&bare(Message::new().str(1, "value").int(20, 4)), &["node `k` (Constant)", "holds none"]);
    says(&bare(Message::new().str(1, "value")), &["node `k` (Constant)", "no type"]);
    says(&bare(Message::new().str(1, "value").int(20, 99)), &["node `k` (Constant)", "99"]);
    says(&bare(attr_str("value_string", "x")), &["node `k` (Constant)"]);
    says(
        &bare(attr_tensor("value", &tensor("", STRING, &[0], &[]))),
        &["node `k` (Constant)", "a tensor of text"],
    );
    says(&bare(Message::new().str(1, "value_float").str(21, "of_a_function")), &["node `k` (Constant)"]);
    says(
        &bare(Message::new().str(1, "s").bytes(4, &[0xff, 0xfe]).int(20, 3)),
        &["node `k` (Constant)", "UTF-8"],
    );
}

#[test]
fn versions_that_are_unknown() {
    let graph = relu().graph();
    let with = |ir: i64, imports: &[(&str, i64)]| {
        let m = Message::new().int(1, ir).message(7, &graph);
        imports.iter().fold(m, |m, (d, v)| m.message(8, &Message::new().str(1, d).int(2, *v))).0
    };
    import(&with(8, &[("", 13)]), &BTreeMap::new()).expect("this one is fine");
    for (bytes, part) in [
        (with(0, &[("", 13)]), "IR version 0"),
        (with(999, &[("", 13)]), "IR version 999"),
        (with(8, &[]), "no version"),
        (with(8, &[("ai.onnx.ml", 1)]), "no version"),
        (with(8, &[("", 6)]), "operator set 6"),
        (with(8, &[("", i64::MAX)]), "operator set"),
        (with(8, &[("", 13), ("ai.onnx", 14)]), "twice"),
    ] {
        let text = refused(&bytes).to_string();
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_long_chain_in_reverse() {
    // Quadratic work on thousands of nodes would show as minutes here.
    let names: Vec<String> = (0..5000).map(|i| format!("v{i}")).collect();
    let nodes =
        (1..names.len()).rev().map(|i| node("", "Relu", &[&names[i - 1]], &[&names[i]], &[])).collect();
    let model = Model {
        nodes,
        inputs: vec![port("v0", FLOAT, &dims(&[2]))],
        outputs: vec![seeds::untyped("v4999")],
        ..Model::default()
    };
    let mut graph = import(&model.bytes(), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    passes::run(&mut graph, &mut |_, _| {}).unwrap_or_else(|e| panic!("{e}"));
}
