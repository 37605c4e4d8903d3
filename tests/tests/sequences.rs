//! Sequences and optionals inside of a model: which values they hold is known on import, and what is taken out of
//! them is what was put in.

use secateur_compiler::graph::{Graph, run, verify};
use secateur_compiler::onnx::import;
use secateur_compiler::tensor::{Data, Tensor};
use secateur_tests::onnx::{BOOL, FLOAT, INT64, Message, Model, attr_int, dims, ints, node, port};
use secateur_tests::seeds::untyped;
use std::collections::BTreeMap;

/// Nodes over `x` of 2 x 3 floats, `w` of the same shape, `flag` and `n`, with some numbers by name.
fn model(nodes: &[Message]) -> Model {
    let numbers = [("zero", 0), ("one", 1), ("two", 2), ("last", -1), ("five", 5)];
    let mut initializers: Vec<Message> = numbers.iter().map(|(name, n)| ints(name, &[], &[*n])).collect();
    initializers.push(ints("one_two", &[2], &[1, 2]));
    Model {
        nodes: nodes.to_vec(),
        initializers,
        inputs: vec![
            port("x", FLOAT, &dims(&[2, 3])),
            port("w", FLOAT, &dims(&[2, 3])),
            port("flag", BOOL, &[]),
            port("n", INT64, &[]),
        ],
        outputs: vec![untyped("y")],
        opset: 17,
    }
}

fn read(nodes: &[Message]) -> Graph {
    let graph = import(&model(nodes).bytes(), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}"));
    graph
}

/// What `y` is for `x` = 0..6, `w` = 10..16 and the flag set.
fn gives(nodes: &[Message]) -> Vec<f64> {
    let graph = read(nodes);
    let ramp = |from: u8| Tensor::f32(&[2, 3], (0..6).map(|i| f32::from(from + i)).collect());
    let flag = Tensor::new(Vec::new(), Data::Bool(vec![true])).unwrap();
    let inputs = [ramp(0), ramp(10), flag, Tensor::i64(&[], vec![0])];
    run(&graph, &inputs).unwrap_or_else(|e| panic!("{e}"))[0].to_f64_vec()
}

#[track_caller]
fn refused(nodes: &[Message], parts: &[&str]) {
    let error = import(&model(nodes).bytes(), &BTreeMap::new()).expect_err("this is refused").to_string();
    parts.iter().for_each(|part| assert!(error.contains(part), "`{part}` is not in\n{error}"));
}

fn plain(op: &str, inputs: &[&str], output: &str) -> Message {
    node(&format!("n_{output}"), op, inputs, &[output], &[])
}

fn with(op: &str, inputs: &[&str], output: &str, attrs: &[(&str, i64)]) -> Message {
    let attrs: Vec<Message> = attrs.iter().map(|(name, v)| attr_int(name, *v)).collect();
    node(&format!("n_{output}"), op, inputs, &[output], &attrs)
}

fn inner(attr: &str, nodes: &[Message], inputs: &[&str], outputs: &[&str]) -> Message {
    let ports = |names: &[&str]| names.iter().map(|n| untyped(n)).collect::<Vec<_>>();
    let graph = Message::new().messages(1, nodes).str(2, attr);
    let graph = graph.messages(11, &ports(inputs)).messages(12, &ports(outputs));
    Message::new().str(1, attr).message(6, &graph).int(20, 5)
}

#[test]
fn what_was_put_in_is_taken_out() {
    let pair = || plain("SequenceConstruct", &["x", "w"], "s");
    let first: Vec<f64> = (0..6).map(f64::from).collect();
    let second: Vec<f64> = (10..16).map(f64::from).collect();
    assert_eq!(gives(&[pair(), plain("SequenceAt", &["s", "zero"], "y")]), first);
    assert_eq!(gives(&[pair(), plain("SequenceAt", &["s", "last"], "y")]), second);
    let inserted =
        [pair(), plain("SequenceInsert", &["s", "w", "zero"], "t"), plain("SequenceAt", &["t", "zero"], "y")];
    assert_eq!(gives(&inserted), second);
    let behind = [pair(), plain("SequenceInsert", &["s", "x"], "t"), plain("SequenceAt", &["t", "two"], "y")];
    assert_eq!(gives(&behind), first);
    let erased =
        [pair(), plain("SequenceErase", &["s", "zero"], "t"), plain("SequenceAt", &["t", "zero"], "y")];
    assert_eq!(gives(&erased), second);
    let count = [pair(), plain("SequenceErase", &["s"], "t"), plain("SequenceLength", &["t"], "y")];
    assert_eq!(gives(&count), [1.0]);
    assert_eq!(gives(&[plain("SequenceEmpty", &[], "s"), plain("SequenceLength", &["s"], "y")]), [0.0]);
    let side = [pair(), with("ConcatFromSequence", &["s"], "y", &[("axis", 1)])];
    assert_eq!(gives(&side)[..6], [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
    let stacked = [pair(), with("ConcatFromSequence", &["s"], "y", &[("axis", -1), ("new_axis", 1)])];
    assert_eq!(gives(&stacked)[..4], [0.0, 10.0, 1.0, 11.0]);
}

#[test]
fn a_value_parts_into_a_sequence() {
    let at = |position: &str| plain("SequenceAt", &["s", position], "y");
    let columns = |sizes: &[&str], attrs: &[(&str, i64)]| {
        let inputs = [&["x"], sizes].concat();
        with("SplitToSequence", &inputs, "s", &[&[("axis", 1)], attrs].concat())
    };
    assert_eq!(gives(&[columns(&[], &[]), at("two")]), [2.0, 5.0]);
    assert_eq!(read(&[columns(&[], &[]), at("two")]).values().filter(|(_, v)| v.shape == [2, 1]).count(), 4);
    assert_eq!(gives(&[columns(&[], &[("keepdims", 0)]), at("one"),]), [1.0, 4.0]);
    assert_eq!(gives(&[columns(&["two"], &[]), at("last")]), [2.0, 5.0]);
    assert_eq!(gives(&[columns(&["one_two"], &[]), at("one")]), [1.0, 2.0, 4.0, 5.0]);
    refused(&[columns(&["n"], &[]), at("one")], &["(SplitToSequence)", "computed at run time"]);
    refused(&[columns(&["zero"], &[]), at("one")], &["(SplitToSequence)", "no elements"]);
    let rows = with("SplitToSequence", &["x", "one_two"], "s", &[]);
    refused(&[rows, at("one")], &["(SplitToSequence)", "do not make an axis of 2"]);
}

#[test]
fn an_optional_is_what_it_holds_or_nothing() {
    let yes = [plain("Optional", &["x"], "o"), plain("OptionalHasElement", &["o"], "y")];
    assert_eq!(gives(&yes), [1.0]);
    let no = [plain("Optional", &[], "o"), plain("OptionalHasElement", &["o"], "y")];
    assert_eq!(gives(&no), [0.0]);
    assert_eq!(gives(&[plain("OptionalHasElement", &[], "y")]), [0.0]);
    let held = [plain("Optional", &["w"], "o"), plain("OptionalGetElement", &["o"], "y")];
    assert_eq!(gives(&held)[0], 10.0);
    let listed = [
        plain("SequenceConstruct", &["x", "w"], "s"),
        plain("Optional", &["s"], "o"),
        plain("OptionalGetElement", &["o"], "t"),
        plain("Identity", &["t"], "u"),
        plain("SequenceAt", &["u", "one"], "y"),
    ];
    assert_eq!(gives(&listed)[0], 10.0);
    let empty = [plain("Optional", &[], "o"), plain("OptionalGetElement", &["o"], "y")];
    refused(&empty, &["node `n_y` (OptionalGetElement)", "holds nothing"]);
    refused(
        &[plain("Optional", &[], "o"), plain("Neg", &["o"], "y")],
        &["node `n_y` (Neg)", "empty optional"],
    );
}

#[test]
fn sequences_go_through_bodies() {
    // A loop that collects, and a branch that only the run chooses.
    let turn = [plain("Identity", &["c"], "go"), plain("SequenceInsert", &["u", "x"], "v")];
    let body = inner("body", &turn, &["i", "c", "u"], &["go", "v"]);
    let collect = [
        plain("SequenceConstruct", &["w"], "s"),
        node("loop", "Loop", &["two", "", "s"], &["t"], &[body]),
        with("ConcatFromSequence", &["t"], "y", &[("axis", 0)]),
    ];
    let found = gives(&collect);
    assert_eq!((found.len(), found[0], found[6], found[12]), (18, 10.0, 0.0, 0.0));

    let branch = |attr: &str, all: &[&str]| inner(attr, &[plain("SequenceConstruct", all, "r")], &[], &["r"]);
    let choice = |other: &[&str]| {
        let branches = [branch("then_branch", &["x", "w"]), branch("else_branch", other)];
        [node("if", "If", &["flag"], &["s"], &branches), plain("SequenceAt", &["s", "one"], "y")]
    };
    assert_eq!(gives(&choice(&["w", "x"]))[0], 10.0);
    refused(&choice(&["w"]), &["node `if` (If)"]);

    let add = [plain("Add", &["a", "b"], "sum"), plain("Neg", &["a"], "less")];
    let map = |inputs: &[&str]| {
        let body = inner("body", &add, &["a", "b"], &["sum", "less"]);
        [
            plain("SequenceConstruct", &["x", "w"], "s"),
            plain("SequenceConstruct", &["x"], "short"),
            node("map", "SequenceMap", inputs, &["sums", "negs"], &[body]),
            plain("SequenceAt", &["sums", "one"], "y"),
        ]
    };
    assert_eq!(gives(&map(&["s", "x"]))[5], 20.0);
    assert_eq!(gives(&map(&["s", "s"]))[5], 30.0);
    refused(&map(&["s", "short"]), &["node `map` (SequenceMap)", "`short` has not 2 values"]);
    refused(&map(&["x", "s"]), &["node `map` (SequenceMap)", "`x` is no sequence"]);
}

#[test]
fn what_only_the_run_knows_is_refused() {
    let pair = || plain("SequenceConstruct", &["x", "w"], "s");
    let at = |position: &str| [pair(), plain("SequenceAt", &["s", position], "y")];
    refused(&at("n"), &["node `n_y` (SequenceAt)", "position `n` is not one whole number"]);
    refused(&at("five"), &["node `n_y` (SequenceAt)", "position 5 is none of 2"]);
    refused(&at("one_two"), &["(SequenceAt)", "not one whole number"]);
    refused(&[plain("SequenceAt", &["x", "zero"], "y")], &["(SequenceAt)", "`x` is no sequence"]);
    refused(&[pair(), plain("Neg", &["s"], "y")], &["node `n_y` (Neg)", "reads `s`, a sequence"]);
    refused(&[plain("SequenceConstruct", &["x", "w"], "y")], &["tensor `y`", "no tensor"]);
    refused(
        &[plain("SequenceConstruct", &["x", "lost"], "y")],
        &["(SequenceConstruct)", "`lost`, which nothing"],
    );
    let none = || plain("SequenceEmpty", &[], "s");
    refused(&[none(), plain("SequenceErase", &["s"], "y")], &["(SequenceErase)", "empty sequence"]);
    refused(&[none(), plain("ConcatFromSequence", &["s"], "y")], &["(ConcatFromSequence)", "empty sequence"]);
}
