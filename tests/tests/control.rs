//! Loops and branches on import: how often a loop turns is known, or it is refused with the reason; a branch
//! that is chosen at run time is computed with the other one. (What they compute: suites `field` and
//! `conformance`.)

use secateur_compiler::graph::{Graph, print, run, verify};
use secateur_compiler::onnx::import;
use secateur_compiler::tensor::{Data, Tensor};
use secateur_tests::onnx::{
    BOOL, Dim, FLOAT, INT64, Message, Model, attr_int, attr_ints, dims, floats, ints, node, port, tensor,
};
use secateur_tests::seeds::{inner, untyped};
use std::collections::BTreeMap;

fn read(model: &Model) -> Graph {
    let graph = import(&model.bytes(), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", print(&graph)));
    graph
}

#[track_caller]
fn refused(model: &Model, parts: &[&str]) {
    let error = import(&model.bytes(), &BTreeMap::new()).expect_err("this model is refused").to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in\n{error}");
    }
}

fn results(graph: &Graph, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    run(graph, inputs).unwrap_or_else(|e| panic!("{e}")).iter().map(Tensor::to_f64_vec).collect()
}

/// A body that gives on `nodes`' results `go`, `v` and `row` from `i`, `c` and `u`.
fn body(nodes: &[Message], initializers: &[Message]) -> Message {
    let inputs = [port("i", INT64, &[]), port("c", BOOL, &[]), port("u", FLOAT, &dims(&[2]))];
    let outputs = [port("go", BOOL, &[]), port("v", FLOAT, &dims(&[2])), port("row", FLOAT, &dims(&[2]))];
    inner("body", nodes, initializers, [&inputs, &outputs])
}

/// The usual body: `v = 2 u`, `row = v + x`, going on as the condition says.
fn doubling() -> Message {
    let nodes = [
        node("twice", "Mul", &["u", "two"], &["v"], &[]),
        node("sum", "Add", &["v", "x"], &["row"], &[]),
        node("on", "Identity", &["c"], &["go"], &[]),
    ];
    body(&nodes, &[floats("two", &[1], &[2.0])])
}

/// `y, rows = Loop(count, condition, x)` over an input of two floats.
fn looped(count: &str, condition: &str, body: Message) -> Model {
    Model {
        nodes: vec![node("loop", "Loop", &[count, condition, "x"], &["y", "rows"], &[body])],
        initializers: vec![
            ints("none", &[], &[0]),
            ints("less", &[], &[-3]),
            ints("three", &[1], &[3]),
            ints("many", &[], &[i64::MAX]),
            ints("two_counts", &[2], &[1, 2]),
            tensor("yes", BOOL, &[], &[1]),
            tensor("no", BOOL, &[1], &[0]),
        ],
        inputs: vec![
            port("x", FLOAT, &dims(&[2])),
            port("n", INT64, &[]),
            port("maybe", BOOL, &[]),
            port("real", FLOAT, &[]),
        ],
        outputs: vec![untyped("y"), untyped("rows")],
        opset: 13,
    }
}

fn given(x: [f32; 2]) -> Vec<Tensor> {
    let bool = Tensor::new(Vec::new(), Data::Bool(vec![true])).unwrap();
    vec![Tensor::f32(&[2], x.to_vec()), Tensor::i64(&[], vec![0]), bool, Tensor::f32(&[], vec![0.0])]
}

#[test]
fn a_loop_becomes_its_iterations() {
    let graph = read(&looped("three", "", doubling()));
    let names: Vec<&str> = graph.nodes().map(|(_, n)| n.name.as_str()).collect();
    for k in 0..3 {
        for inner in ["twice", "sum"] {
            assert!(names.contains(&format!("loop/{k}/{inner}").as_str()), "{names:?}");
        }
    }
    // What all iterations read stands once.
    let constants = graph.values().filter_map(|(_, v)| v.constant()?.as_f32().map(<[f32]>::to_vec));
    let constants = constants.filter(|v| *v == [2.0]);
    assert_eq!(constants.count(), 1);
    let found = results(&graph, &given([1.0, -1.0]));
    assert_eq!(found, [vec![8.0, -8.0], vec![3.0, -3.0, 5.0, -5.0, 9.0, -9.0]]);
    assert_eq!(graph[graph.outputs()[1]].shape, [3, 2]);
}

#[test]
fn a_loop_that_never_turns_hands_through() {
    for (count, condition) in [("none", "yes"), ("less", ""), ("many", "no"), ("", "no")] {
        let mut model = looped(count, condition, doubling());
        let graph = read(&model);
        let rows = &graph[graph.outputs()[1]];
        assert_eq!((rows.shape.as_slice(), rows.constant().map(|t| t.len())), ([0, 2].as_slice(), Some(0)));
        assert_eq!(results(&graph, &given([1.0, 2.0]))[0], [1.0, 2.0]);
        // Of a shape that nobody says there is no empty value.
        let [inputs, outputs] = [["i", "c", "u"].map(untyped), ["go", "v", "row"].map(untyped)];
        let nodes = [node("", "Identity", &["u"], &["v"], &[]), node("", "Identity", &["c"], &["go"], &[])];
        let blind = inner("body", &nodes, &[floats("row", &[1], &[0.0])], [&inputs, &outputs]);
        model.nodes = vec![node("loop", "Loop", &[count, condition, "x"], &["y", "rows"], &[blind])];
        refused(&model, &["node `loop` (Loop)", "does not turn once", "`rows`"]);
        model.outputs.truncate(1);
        model.nodes[0] = node("loop", "Loop", &[count, condition, "x"], &["y"], &[doubling()]);
        read(&model);
    }
}

#[test]
fn a_loop_ends_by_a_condition_that_is_known() {
    // Goes on while 2 i < 5: four times.
    let nodes = [
        node("", "Add", &["i", "i"], &["ii"], &[]),
        node("", "Less", &["ii", "five"], &["go"], &[]),
        node("", "Neg", &["u"], &["v"], &[]),
        node("", "Add", &["u", "ones"], &["row"], &[]),
    ];
    let initializers = [ints("five", &[], &[5]), floats("ones", &[2], &[1.0, 1.0])];
    for count in ["many", ""] {
        let graph = read(&looped(count, "yes", body(&nodes, &initializers)));
        assert_eq!(graph[graph.outputs()[1]].shape, [4, 2]);
        assert_eq!(results(&graph, &given([1.0, 2.0]))[0], [1.0, 2.0]);
    }
    // What is decided after the last iteration need not be known.
    let mut late = nodes.clone();
    late[1] = node("", "Greater", &["u0", "zero"], &["go"], &[]);
    late[0] = node("", "ReduceSum", &["u"], &["u0"], &[attr_int("keepdims", 0)]);
    let initializers = [floats("zero", &[], &[0.0]), floats("ones", &[2], &[1.0, 1.0])];
    let mut model = looped("one", "yes", body(&late, &initializers));
    model.initializers.push(ints("one", &[], &[1]));
    assert_eq!(results(&read(&model), &given([1.0, 2.0]))[0], [-1.0, -2.0]);
    let model = looped("three", "yes", body(&late, &initializers));
    refused(&model, &["node `loop` (Loop): whether it goes on after 1 iterations", "help: Loop:"]);
}

#[test]
fn loops_inside_of_loops_have_names_of_their_own() {
    let innermost = inner(
        "body",
        &[
            // Names of the loops around it, and of the model.
            node("twice", "Add", &["u", "x"], &["v"], &[]),
            node("", "Cast", &["i"], &["two"], &[attr_int("to", FLOAT)]),
            node("", "Add", &["v", "two"], &["y"], &[]),
            node("", "Add", &["y", "outer_i"], &["z"], &[]),
            node("", "Identity", &["c"], &["go"], &[]),
        ],
        &[],
        [
            &[port("i", INT64, &[]), port("c", BOOL, &[]), port("u", FLOAT, &dims(&[2]))],
            &[port("go", BOOL, &[]), port("z", FLOAT, &dims(&[2]))],
        ],
    );
    let nodes = [
        node("", "Cast", &["i"], &["outer_i"], &[attr_int("to", FLOAT)]),
        node("loop", "Loop", &["two_turns", "", "u"], &["v"], &[innermost]),
        node("", "Sub", &["v", "u"], &["row"], &[]),
        node("", "Identity", &["c"], &["go"], &[]),
    ];
    let model = looped("three", "yes", body(&nodes, &[ints("two_turns", &[], &[2])]));
    let graph = read(&model);
    // Each outer turn k adds 2 x + 1 + 2 k.
    let found = results(&graph, &given([1.0, 10.0]));
    assert_eq!(found[1], [3.0, 21.0, 5.0, 23.0, 7.0, 25.0]);
    assert_eq!(found[0], [16.0, 79.0]);
}

#[test]
fn loops_that_cannot_be_written_out_are_refused() {
    let says =
        |count: &str, condition: &str, parts: &[&str]| refused(&looped(count, condition, doubling()), parts);
    says(
        "n",
        "yes",
        &["node `loop` (Loop): how often it turns is computed at run time", "--bind NAME=VALUE"],
    );
    says("three", "maybe", &["node `loop` (Loop): how often it turns is computed at run time"]);
    says("", "", &["node `loop` (Loop)", "would never end"]);
    says("many", "yes", &["node `loop` (Loop)", "more than 4096 nodes"]);
    says("two_counts", "", &["node `loop` (Loop)", "not one whole number"]);
    says("yes", "", &["node `loop` (Loop)", "not one whole number"]);
    says("three", "two_counts", &["node `loop` (Loop)", "condition is not one bool"]);
    // What an unsupported operator inside would have been is said once, not for each iteration.
    let det = [
        node("d", "Det", &["u"], &["v"], &[]),
        node("", "Identity", &["u"], &["row"], &[]),
        node("", "Identity", &["c"], &["go"], &[]),
    ];
    let error = import(&looped("three", "", body(&det, &[])).bytes(), &BTreeMap::new()).unwrap_err();
    assert!(error.others.is_empty() && error.to_string().starts_with("node `loop/0/d` (Det)"), "{error}");
    // Inside of one that is refused, it is named too.
    let error = import(&looped("n", "", body(&det, &[])).bytes(), &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("(Loop)") && error.contains("node `loop/body/d` (Det)"), "{error}");
    // Nothing is wrong where nothing is needed.
    let mut model = looped("n", "", doubling());
    model.nodes.push(node("other", "Relu", &["x"], &["r"], &[]));
    model.outputs = vec![untyped("r")];
    read(&model);
}

#[test]
fn malformed_bodies_are_refused_at_their_node() {
    let says = |body: Message, parts: &[&str]| {
        let mut all = vec!["node `loop` (Loop)"];
        all.extend(parts);
        refused(&looped("three", "", body), &all);
    };
    let on = || node("", "Identity", &["c"], &["go"], &[]);
    let usual = || [port("i", INT64, &[]), port("c", BOOL, &[]), port("u", FLOAT, &dims(&[2]))];
    let with = |nodes: &[Message], inputs: &[Message], outputs: &[&str]| {
        let outputs: Vec<Message> = outputs.iter().map(|o| untyped(o)).collect();
        inner("body", nodes, &[], [inputs, &outputs])
    };
    says(attr_int("body", 1), &["has no body"]);
    says(with(&[on()], &usual()[..2], &["go", "c", "c"]), &["takes 2 inputs", "gives 3"]);
    says(with(&[on()], &usual(), &["go"]), &["gives 1 results"]);
    says(with(&[on()], &usual(), &["go", "u"]), &["gives 1 results beside the condition, the node 2"]);
    let hides = [on(), node("", "Neg", &["u"], &["u"], &[])];
    says(with(&hides, &usual(), &["go", "u", "u"]), &["two values with the name `u`"]);
    let same = [usual()[0].clone(), usual()[1].clone(), usual()[1].clone()];
    says(with(&[on()], &same, &["go", "c", "c"]), &["two values with the name `c`"]);
    let parts = |nodes: &[Message], outputs: &[&str], parts: &[&str]| {
        refused(&looped("three", "", with(nodes, &usual(), outputs)), parts);
    };
    parts(
        &[on()],
        &["go", "nowhere", "u"],
        &["`loop/0/loop/0/nowhere`", "reads `nowhere`, which nothing gives"],
    );
    let cyclic = [on(), node("p", "Neg", &["q"], &["r"], &[]), node("", "Neg", &["r"], &["q"], &[])];
    parts(&cyclic, &["go", "r", "q"], &["(Neg)", "cycle"]);
    let twice = [on(), node("p", "Neg", &["u"], &["r"], &[]), node("", "Abs", &["u"], &["r"], &[])];
    parts(&twice, &["go", "r", "r"], &["`r` is computed by two nodes"]);
    let lost = [on(), node("p", "Neg", &["lost"], &["r"], &[])];
    parts(&lost, &["go", "r", "u"], &["node `loop/0/p` (Neg)", "reads `lost`"]);
}

/// What a body captures and what a branch inside of it defines may have one name.
#[test]
fn names_inside_of_branches_stay_their_own() {
    // The body's operand `u` is the model's `x`, and its branch has an `x` of its own.
    let branch = |attr: &str, op: &str| {
        let nodes = [
            node("", "Constant", &[], &["x"], &[floats_attr(&[10.0, 20.0])]),
            node("", op, &["u", "x"], &["b"], &[]),
        ];
        inner(attr, &nodes, &[], [&[], &[untyped("b")]])
    };
    let branches = [branch("then_branch", "Add"), branch("else_branch", "Sub")];
    let nodes = [
        node("choice", "If", &["maybe"], &["v"], &branches),
        node("", "Identity", &["v"], &["row"], &[]),
        node("", "Identity", &["c"], &["go"], &[]),
    ];
    let mut model = looped("one", "", body(&nodes, &[]));
    model.initializers.push(ints("one", &[], &[1]));
    assert_eq!(results(&read(&model), &given([1.0, 2.0]))[0], [11.0, 22.0]);
}

fn floats_attr(values: &[f32]) -> Message {
    values.iter().fold(Message::new().str(1, "value_floats"), |m, v| m.float(7, *v)).int(20, 6)
}

/// An If over an input, whose branches give the constants or results of these nodes.
fn choice(condition: &str, then: &[Message], other: &[Message]) -> Model {
    let result = [untyped("r")];
    let branches =
        [inner("then_branch", then, &[], [&[], &result]), inner("else_branch", other, &[], [&[], &result])];
    let mut model = looped("three", "", doubling());
    model.nodes = vec![node("if", "If", &[condition], &["y"], &branches)];
    model.inputs.push(port("flags", BOOL, &dims(&[1, 1])));
    model.inputs.push(port("two", BOOL, &dims(&[2])));
    model.outputs.truncate(1);
    model
}

#[test]
fn both_branches_are_computed_and_one_is_taken() {
    let (then, other) = ([node("n", "Neg", &["x"], &["r"], &[])], [node("n", "Abs", &["x"], &["r"], &[])]);
    for condition in ["maybe", "flags"] {
        let graph = read(&choice(condition, &then, &other));
        let text = print(&graph);
        for part in ["if/then_branch/n", "if/else_branch/n", "Where"] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert_eq!(graph[graph.outputs()[0]].shape, [2]);
        for (chosen, want) in [(true, [-1.0, 2.0]), (false, [1.0, 2.0])] {
            let mut inputs = given([1.0, -2.0]);
            inputs[2] = Tensor::new(Vec::new(), Data::Bool(vec![chosen])).unwrap();
            inputs.push(Tensor::new(vec![1, 1], Data::Bool(vec![chosen])).unwrap());
            inputs.push(Tensor::new(vec![2], Data::Bool(vec![chosen; 2])).unwrap());
            assert_eq!(results(&graph, &inputs)[0], want, "{condition} {chosen}");
        }
    }
}

#[test]
fn branches_that_do_not_fit_are_refused() {
    let neg = [node("n", "Neg", &["x"], &["r"], &[])];
    let wide = [node("n", "Concat", &["x", "x"], &["r"], &[attr_int("axis", 0)])];
    refused(
        &choice("maybe", &neg, &wide),
        &["node `if` (If)", "`y` as f32 [2] and f32 [4]", "help: If: both branches are computed"],
    );
    let whole = [node("n", "Cast", &["x"], &["r"], &[attr_int("to", INT64)])];
    refused(&choice("maybe", &neg, &whole), &["node `if` (If)", "`y` as f32 [2] and i64 [2]"]);
    refused(&choice("two", &neg, &neg), &["node `if` (If)", "bool of shape [2], not one bool"]);
    refused(&choice("real", &neg, &neg), &["node `if` (If)", "f32 of shape [], not one bool"]);
    refused(&choice("", &neg, &neg), &["node `if` (If)", "condition is missing"]);
    let det = [node("d", "Det", &["x"], &["r"], &[])];
    refused(&choice("maybe", &neg, &det), &["node `if/else_branch/d` (Det)"]);
    let lost = [node("d", "Neg", &["lost"], &["r"], &[])];
    refused(&choice("maybe", &lost, &neg), &["node `if/then_branch/d` (Neg)", "reads `lost`"]);
    refused(&choice("maybe", &neg, &[]), &["`r`, which nothing"]);
}

/// `s, rows = Scan(s, x...)`, adding up what it reads.
fn scan(opset: i64, inputs: &[&str], attrs: &[Message]) -> Model {
    let nodes = [node("add", "Add", &["u", "v"], &["w"], &[]), node("", "Neg", &["w"], &["row"], &[])];
    let body = inner("body", &nodes, &[], [&["u", "v"].map(untyped), &["w", "row"].map(untyped)]);
    let attrs = [&[body], attrs].concat();
    Model {
        nodes: vec![node("scan", "Scan", inputs, &["y", "rows"], &attrs)],
        initializers: vec![ints("whole", &[2], &[3, 3]), ints("short", &[2], &[3, 2])],
        inputs: vec![
            port("s", FLOAT, &dims(&[2])),
            port("x", FLOAT, &dims(&[2, 3])),
            port("longer", FLOAT, &dims(&[4, 2])),
            port("states", FLOAT, &dims(&[2, 2])),
            port("batch", FLOAT, &dims(&[2, 3, 2])),
            port("three", FLOAT, &dims(&[3, 3, 2])),
        ],
        outputs: vec![untyped("y"), untyped("rows")],
        opset,
    }
}

#[test]
fn a_scan_turns_as_often_as_its_axis_is_long() {
    let ramp = |shape: &[usize]| {
        Tensor::f32(shape, (0..shape.iter().product::<usize>()).map(|i| i as f32).collect())
    };
    let inputs: Vec<Tensor> =
        [&[2usize][..], &[2, 3], &[4, 2], &[2, 2], &[2, 3, 2], &[3, 3, 2]].into_iter().map(ramp).collect();
    let one = attr_int("num_scan_inputs", 1);
    let ints = |name: &str, value: i64| attr_ints(name, &[value]);
    let attrs = [one.clone(), ints("scan_input_axes", -1), ints("scan_input_directions", 1)];
    let graph = read(&scan(16, &["s", "x"], &attrs));
    // From [0, 1], the columns [2, 5], [1, 4] and [0, 3].
    let rows = [-2.0, -6.0, -3.0, -10.0, -3.0, -13.0];
    assert_eq!(results(&graph, &inputs), [vec![3.0, 13.0], rows.to_vec()]);
    let attrs =
        [attrs.as_slice(), &[ints("scan_output_axes", 1), ints("scan_output_directions", 1)]].concat();
    let graph = read(&scan(16, &["s", "x"], &attrs));
    assert_eq!(graph[graph.outputs()[1]].shape, [2, 3]);
    assert_eq!(results(&graph, &inputs)[1], [-3.0, -3.0, -2.0, -13.0, -10.0, -6.0]);
    // The first operator set that had it, by sample.
    for lengths in ["", "whole"] {
        let graph = read(&scan(8, &[lengths, "states", "batch"], std::slice::from_ref(&one)));
        let found = results(&graph, &inputs);
        assert_eq!(found[0], [6.0, 10.0, 26.0, 30.0]);
        assert_eq!(graph[graph.outputs()[1]].shape, [2, 3, 2]);
    }

    let says = |opset: i64, inputs: &[&str], attrs: &[Message], part: &str| {
        refused(&scan(opset, inputs, attrs), &["node `scan` (Scan)", part]);
    };
    says(8, &["short", "states", "batch"], std::slice::from_ref(&one), "lengths of sequences");
    says(8, &["", "states", "three"], std::slice::from_ref(&one), "batches of different sizes");
    says(16, &["s", "x"], &[], "`num_scan_inputs` is missing");
    says(16, &["s", "x"], &[attr_int("num_scan_inputs", 3)], "`num_scan_inputs`");
    says(16, &["x", "longer"], &[attr_int("num_scan_inputs", 2)], "axes of different lengths");
    says(16, &["s", "x", "x"], std::slice::from_ref(&one), "body takes 2 inputs, of which the node gives 3");
    says(16, &["s", "x"], &[one.clone(), ints("scan_input_axes", 2)], "axis");
    says(16, &["s", "x"], &[one.clone(), ints("scan_input_directions", 2)], "direction 2");
    says(16, &["s", "x"], &[one, attr_ints("scan_output_axes", &[0, 0])], "`scan_output_axes` has 2 numbers");
}

/// A shape that grows from turn to turn is known each time.
#[test]
fn what_goes_on_may_grow() {
    let nodes = [
        node("", "Concat", &["u", "x"], &["v"], &[attr_int("axis", 0)]),
        node("", "ReduceSum", &["v"], &["row"], &[attr_int("keepdims", 0)]),
        node("", "Identity", &["c"], &["go"], &[]),
    ];
    let outputs = [port("go", BOOL, &[]), port("v", FLOAT, &[Dim::Unknown]), port("row", FLOAT, &[])];
    let inputs = [port("i", INT64, &[]), port("c", BOOL, &[]), port("u", FLOAT, &[Dim::Unknown])];
    let graph = read(&looped("three", "", inner("body", &nodes, &[], [&inputs, &outputs])));
    assert_eq!(results(&graph, &given([1.0, 2.0])), [[1.0, 2.0].repeat(4), vec![6.0, 9.0, 12.0]]);
}
