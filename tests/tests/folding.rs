//! What is known at compile time needs no support: operators over constants, branches that are
//! decided, and nodes that no output needs. What runs is refused, inside of branches too.

use secateur_compiler::error::{Fault, Site};
use secateur_compiler::graph::{Graph, print, verify};
use secateur_compiler::onnx::{import, import_bound};
use secateur_compiler::options::{Number, Numbers};
use secateur_compiler::tensor::Tensor;
use secateur_tests::onnx::{
    BOOL, Dim, FLOAT, INT8, INT64, Message, Model, UINT8, attr_int, attr_str, dims, floats, ints, node, port,
    tensor,
};
use secateur_tests::seeds;
use std::collections::BTreeMap;

fn read(model: &Model) -> Graph {
    let graph = import(&model.bytes(), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", print(&graph)));
    graph
}

/// A model of one node over constants.
fn over(op: &str, constants: &[Message], attrs: &[Message]) -> Model {
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    Model {
        nodes: vec![node("folded", op, &inputs, &["y"], attrs)],
        initializers: constants.iter().zip(&names).map(|(m, n)| m.clone().str(8, n)).collect(),
        inputs: vec![port("x", FLOAT, &dims(&[1]))],
        outputs: vec![seeds::untyped("y")],
        opset: 13,
    }
}

#[track_caller]
fn gives(op: &str, constants: &[Message], attrs: &[Message], shape: &[usize], values: &[f64]) {
    let graph = read(&over(op, constants, attrs));
    let output = &graph[graph.outputs()[0]];
    let found: &Tensor = output.constant().unwrap_or_else(|| panic!("{op} is not folded"));
    assert_eq!((found.shape(), found.to_f64_vec().as_slice()), (shape, values), "{op}");
}

#[track_caller]
fn refused(model: &Model, parts: &[&str]) {
    let error = import(&model.bytes(), &BTreeMap::new()).expect_err("this model is refused").to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in\n{error}");
    }
}

fn vector(values: &[i64]) -> Message {
    ints("", &[values.len() as i64], values)
}

fn reals(values: &[f32]) -> Message {
    floats("", &[values.len() as i64], values)
}

fn bools(values: &[u8]) -> Message {
    tensor("", BOOL, &[values.len() as i64], values)
}

#[test]
fn comparisons_and_logic() {
    let (a, b) = (vector(&[1, 2, 3]), vector(&[2, 2, 2]));
    let two = |x: &Message, y: &Message| [x.clone(), y.clone()];
    gives("Equal", &two(&a, &b), &[], &[3], &[0.0, 1.0, 0.0]);
    gives("Less", &two(&a, &b), &[], &[3], &[1.0, 0.0, 0.0]);
    gives("LessOrEqual", &two(&a, &b), &[], &[3], &[1.0, 1.0, 0.0]);
    gives("Greater", &two(&a, &b), &[], &[3], &[0.0, 0.0, 1.0]);
    gives("GreaterOrEqual", &two(&a, &vector(&[2])), &[], &[3], &[0.0, 1.0, 1.0]);
    let (p, q) = (bools(&[0, 0, 1, 1]), bools(&[0, 1, 0, 1]));
    gives("And", &two(&p, &q), &[], &[4], &[0.0, 0.0, 0.0, 1.0]);
    gives("Or", &two(&p, &q), &[], &[4], &[0.0, 1.0, 1.0, 1.0]);
    gives("Xor", &two(&p, &q), &[], &[4], &[0.0, 1.0, 1.0, 0.0]);
    gives("Not", &[p], &[], &[4], &[1.0, 1.0, 0.0, 0.0]);
    gives("Where", &[bools(&[1, 0, 1]), a, b], &[], &[3], &[1.0, 2.0, 3.0]);
    refused(
        &over("Equal", &[vector(&[1]), reals(&[1.0])], &[]),
        &["node `folded` (Equal)", "different types"],
    );
}

#[test]
fn arithmetic() {
    let two = |x: &[i64], y: &[i64]| [vector(x), vector(y)];
    // The sign of the divisor, or with `fmod` that of the dividend.
    gives("Mod", &two(&[-4, 7, 5, -4], &[2, -3, 8, 3]), &[], &[4], &[0.0, -2.0, 5.0, 2.0]);
    gives("Mod", &two(&[-4, 7], &[3, -3]), &[attr_int("fmod", 1)], &[2], &[-1.0, 1.0]);
    gives("Max", &[vector(&[1, 5]), vector(&[3]), vector(&[2, 2])], &[], &[2], &[3.0, 5.0]);
    gives("Min", &two(&[1, 5], &[3, 3]), &[], &[2], &[1.0, 3.0]);
    gives("Sum", &two(&[1, 5], &[3, 3]), &[], &[2], &[4.0, 8.0]);
    gives("Pow", &two(&[2, -3], &[10, 3]), &[], &[2], &[1024.0, -27.0]);
    gives("Pow", &[reals(&[4.0]), reals(&[0.5])], &[], &[1], &[2.0]);
    gives("Neg", &[vector(&[1, -2])], &[], &[2], &[-1.0, 2.0]);
    gives("Abs", &[reals(&[1.5, -2.5])], &[], &[2], &[1.5, 2.5]);
    gives("Sign", &[reals(&[1.5, -2.5, 0.0])], &[], &[3], &[1.0, -1.0, 0.0]);
    gives("Floor", &[reals(&[1.5, -2.5])], &[], &[2], &[1.0, -3.0]);
    gives("Ceil", &[reals(&[1.5, -2.5])], &[], &[2], &[2.0, -2.0]);
    gives("Round", &[reals(&[1.5, 2.5, -2.5])], &[], &[3], &[2.0, 2.0, -2.0]);
    gives("Reciprocal", &[reals(&[4.0])], &[], &[1], &[0.25]);
    gives("Exp", &[reals(&[0.0])], &[], &[1], &[1.0]);
    gives("Log", &[reals(&[1.0])], &[], &[1], &[0.0]);
    gives("Erf", &[reals(&[0.0])], &[], &[1], &[0.0]);
    let square = |v: &[i64]| ints("", &[2, 2], v);
    gives("ReduceSum", &[square(&[1, 2, 3, 4]), vector(&[1])], &[], &[2, 1], &[3.0, 7.0]);
    gives("ReduceProd", &[square(&[1, 2, 3, 4])], &[attr_int("keepdims", 0)], &[], &[24.0]);
    gives("ReduceMax", &[square(&[1, 2, 3, 4])], &[], &[1, 1], &[4.0]);
    gives("ReduceMin", &[reals(&[1.0, -2.0])], &[], &[1], &[-2.0]);
    gives("CumSum", &[vector(&[1, 2, 3]), ints("", &[], &[0])], &[], &[3], &[1.0, 3.0, 6.0]);
    let back = [attr_int("exclusive", 1), attr_int("reverse", 1)];
    gives("CumSum", &[vector(&[1, 2, 3]), ints("", &[], &[0])], &back, &[3], &[5.0, 3.0, 0.0]);
    gives("CastLike", &[reals(&[1.9]), vector(&[0])], &[], &[1], &[1.0]);
    refused(&over("Mod", &two(&[1], &[0]), &[]), &["node `folded` (Mod)", "zero"]);
    refused(&over("Pow", &two(&[1 << 40], &[9]), &[]), &["node `folded` (Pow)", "exponent"]);
}

#[test]
fn elements_moved_about() {
    let scalar = |v: i64| ints("", &[], &[v]);
    gives("Range", &[scalar(2), scalar(9), scalar(3)], &[], &[3], &[2.0, 5.0, 8.0]);
    gives("Range", &[scalar(3), scalar(0), scalar(-2)], &[], &[2], &[3.0, 1.0]);
    gives("Range", &[scalar(3), scalar(0), scalar(1)], &[], &[0], &[]);
    gives(
        "Tile",
        &[ints("", &[1, 2], &[1, 2]), vector(&[2, 2])],
        &[],
        &[2, 4],
        &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
    );
    gives("NonZero", &[ints("", &[2, 2], &[0, 1, 1, 0])], &[], &[2, 2], &[0.0, 1.0, 1.0, 0.0]);
    let three = || ints("", &[2, 3], &[1, 2, 3, 4, 5, 6]);
    gives("Trilu", &[three()], &[], &[2, 3], &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0]);
    gives("Trilu", &[three(), scalar(-1)], &[attr_int("upper", 0)], &[2, 3], &[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
    gives("EyeLike", &[three()], &[attr_int("k", 1)], &[2, 3], &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    gives(
        "OneHot",
        &[vector(&[2, -3]), scalar(3), vector(&[0, 7])],
        &[],
        &[2, 3],
        &[0.0, 0.0, 7.0, 7.0, 0.0, 0.0],
    );
    gives("GatherElements", &[three(), ints("", &[1, 3], &[1, 0, -1])], &[], &[1, 3], &[4.0, 2.0, 6.0]);
    gives("GatherND", &[three(), ints("", &[2, 1], &[1, 0])], &[], &[2, 3], &[4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    let update = [three(), ints("", &[1, 2], &[1, 2]), vector(&[9])];
    gives("ScatterND", &update, &[], &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]);
    let rows = [three(), ints("", &[1, 1], &[0]), ints("", &[1, 3], &[7, 8, 9])];
    gives("ScatterND", &rows, &[], &[2, 3], &[7.0, 8.0, 9.0, 4.0, 5.0, 6.0]);
    let along = [three(), ints("", &[2, 1], &[2, 0]), ints("", &[2, 1], &[8, 9])];
    gives("ScatterElements", &along, &[attr_int("axis", 1)], &[2, 3], &[1.0, 2.0, 8.0, 9.0, 5.0, 6.0]);
    refused(
        &over("ScatterND", &update, &[attr_str("reduction", "add")]),
        &["node `folded` (ScatterND)", "add"],
    );
    refused(&over("Range", &[scalar(0), scalar(i64::MAX), scalar(1)], &[]), &["node `folded` (Range)"]);
    refused(&over("Tile", &[three(), vector(&[1 << 20, 1 << 20])], &[]), &["node `folded` (Tile)"]);
    refused(&over("GatherND", &[three(), vector(&[5])], &[]), &["node `folded` (GatherND)", "index 5"]);
}

#[test]
fn the_size_of_what_runs_is_known() {
    let mut model = over("Size", &[], &[]);
    model.nodes = vec![node("size", "Size", &["x"], &["y"], &[])];
    model.inputs = vec![port("x", FLOAT, &dims(&[2, 5]))];
    let graph = read(&model);
    assert_eq!(graph[graph.outputs()[0]].constant().map(|t| t.to_i64_vec()), Some(vec![10]));
}

/// A branch: nodes, initializers and the name of its result.
fn branch(attr: &str, nodes: &[Message], initializers: &[Message], output: &str) -> Message {
    let graph = Message::new().messages(1, nodes).str(2, attr).messages(5, initializers);
    let graph = graph.message(12, &seeds::untyped(output));
    Message::new().str(1, attr).message(6, &graph).int(20, 5)
}

/// `If` over a constant, or over an input; both branches use the same names inside.
fn choice(condition: &str) -> Model {
    let then = [node("n", "Relu", &["x"], &["t"], &[]), node("m", "Add", &["t", "k"], &["r"], &[])];
    let other = [node("n", "Det", &["x"], &["t"], &[]), node("m", "Mul", &["t", "k"], &["r"], &[])];
    let branches = [
        branch("then_branch", &then, &[floats("k", &[1], &[2.0])], "r"),
        branch("else_branch", &other, &[floats("k", &[1], &[3.0])], "r"),
    ];
    Model {
        nodes: vec![
            node("t", "Relu", &["x"], &["t"], &[]),
            node("if", "If", &[condition], &["y"], &branches),
            node("sum", "Add", &["y", "t"], &["z"], &[]),
        ],
        initializers: vec![tensor("yes", BOOL, &[], &[1]), tensor("no", BOOL, &[], &[0])],
        inputs: vec![port("x", FLOAT, &dims(&[1, 4])), port("maybe", BOOL, &[])],
        outputs: vec![seeds::untyped("z")],
        opset: 13,
    }
}

#[test]
fn a_decided_branch_stands_in_the_place_of_its_if() {
    let text = print(&read(&choice("yes")));
    let lines: Vec<&str> = text.lines().skip(1).map(str::trim).filter(|l| !l.starts_with("in ")).collect();
    assert_eq!(
        lines,
        [
            "%t: f32[1x4] = Relu(%x)  # t",
            "%if/t: f32[1x4] = Relu(%x)  # if/n",
            "%y: f32[1x4] = Add(%if/t, const %k: f32[1])  # if/m",
            "%z: f32[1x4] = Add(%y, %t)  # sum",
            "out %z",
        ],
        "{text}"
    );
    refused(&choice("no"), &["node `if/n` (Det): operator is not supported"]);
}

#[test]
fn a_branch_may_hand_through_what_stands_around_it() {
    let mut model = choice("yes");
    let branches = [branch("then_branch", &[], &[], "x"), branch("else_branch", &[], &[], "x")];
    model.nodes[1] = node("if", "If", &["yes"], &["y"], &branches);
    let text = print(&read(&model));
    assert!(text.contains("%y: f32[1x4] = Identity(%x)"), "{text}");
    model.nodes[1] = node("if", "If", &["yes"], &["y"], &branches[1..]);
    refused(&model, &["node `if` (If)", "no then_branch"]);
    model.nodes[1] = node("if", "If", &["yes"], &["y", "second"], &branches);
    refused(&model, &["node `if` (If)", "1 outputs"]);
}

#[test]
fn undecided_branches_are_looked_into() {
    refused(&choice("maybe"), &["node `if/else_branch/n` (Det): operator is not supported", "help:"]);
}

#[test]
fn a_bound_input_decides_a_branch() {
    let bound = |given: &[(&str, &[Number])]| {
        let given = given.iter().map(|(name, all)| (name.to_string(), Numbers(all.to_vec()))).collect();
        import_bound(&choice("maybe").bytes(), &BTreeMap::new(), &given)
    };
    let graph = bound(&[("maybe", &[Number::Truth(true)])]).unwrap_or_else(|e| panic!("{e}"));
    verify(&graph).unwrap_or_else(|e| panic!("{e}\n{}", print(&graph)));
    // The input is gone, and the rest is as if the model had said so.
    let body = |graph: &Graph| -> Vec<String> {
        print(graph).lines().filter(|l| !l.trim().starts_with("in ")).map(String::from).collect()
    };
    assert_eq!(body(&graph), body(&read(&choice("yes"))));
    let inputs: Vec<&str> = graph.inputs().iter().map(|&v| graph[v].name.as_str()).collect();
    assert_eq!(inputs, ["x"]);

    let said = |given: &[(&str, &[Number])]| bound(given).expect_err("this is refused");
    let error = said(&[("maybe", &[Number::Whole(0)])]);
    assert!(error.to_string().contains("node `if/n` (Det)"), "{error}");
    for (given, words) in [
        (("sr", vec![Number::Whole(1)]), vec!["no input `sr`", "its inputs are `x`, `maybe`"]),
        (("maybe", vec![Number::Whole(1); 2]), vec!["`maybe` has the shape []: 1 numbers, not 2"]),
        (("maybe", vec![Number::Whole(2)]), vec!["type bool, true or false, which does not hold 2"]),
        (("x", vec![Number::Whole(1)]), vec!["the shape [1, 4]: 4 numbers, not 1", "row-major"]),
        (("x", vec![Number::Truth(true); 4]), vec!["type f32, which does not hold true"]),
    ] {
        let error = said(&[(given.0, &given.1)]);
        assert_eq!(error.fault, Fault::Option, "{error}");
        assert_eq!(error.site, Site::Entry { option: "bind".into(), name: given.0.into() });
        words.iter().for_each(|w| assert!(error.to_string().contains(w), "no `{w}` in {error}"));
    }
}

/// An input that has a value in the file holds it unless another is given, and integers hold what their type does.
#[test]
fn a_bound_input_holds_what_its_type_holds() {
    let model = |elem: i64| Model {
        nodes: vec![node("n", "Identity", &["c"], &["y"], &[])],
        inputs: vec![port("x", FLOAT, &dims(&[1])), port("c", elem, &[Dim::Named("n")])],
        outputs: vec![seeds::untyped("y")],
        ..Model::default()
    };
    let holds = |model: &Model, numbers: &[Number]| {
        let dims = BTreeMap::from([("n".to_string(), numbers.len())]);
        let bind = BTreeMap::from([("c".to_string(), Numbers(numbers.to_vec()))]);
        let graph = import_bound(&model.bytes(), &dims, &bind).map_err(|e| e.to_string())?;
        let value = &graph[graph.outputs()[0]];
        Ok::<_, String>(value.constant().expect("it is a constant").to_f64_vec())
    };
    let (whole, real) = (Number::Whole, Number::Real);
    assert_eq!(holds(&model(INT8), &[whole(-128), real(127.0)]), Ok(vec![-128.0, 127.0]));
    assert_eq!(holds(&model(UINT8), &[whole(255)]), Ok(vec![255.0]));
    assert_eq!(holds(&model(FLOAT), &[whole(16000), real(0.5)]), Ok(vec![16000.0, 0.5]));
    for (elem, wrong) in [(INT8, whole(128)), (UINT8, whole(-1)), (INT64, real(0.5)), (FLOAT, real(1e300))] {
        let said = holds(&model(elem), &[wrong]).expect_err("it does not fit");
        assert!(said.contains("which does not hold"), "{said}");
    }
    let mut given = model(INT64);
    given.inputs[1] = port("c", INT64, &dims(&[2]));
    given.initializers = vec![ints("c", &[2], &[1, 2])];
    assert_eq!(read(&given)[read(&given).outputs()[0]].constant().map(|t| t.to_i64_vec()), Some(vec![1, 2]));
    let bind = BTreeMap::from([("c".to_string(), Numbers(vec![whole(3), whole(4)]))]);
    let graph = import_bound(&given.bytes(), &BTreeMap::new(), &bind).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(graph[graph.outputs()[0]].constant().map(|t| t.to_i64_vec()), Some(vec![3, 4]));
}

#[test]
fn what_nothing_needs_is_not_refused() {
    let mut model = choice("yes");
    model.nodes.push(node("dead", "Frobnicate", &["x"], &["nothing"], &[]));
    model.nodes.push(node("too", "Det", &["nothing"], &["reads this"], &[]));
    read(&model);
    model.outputs.push(seeds::untyped("reads this"));
    refused(&model, &["node `dead` (Frobnicate)", "node `too` (Det)"]);
}

#[test]
fn constants_of_a_refused_node_are_not_blamed() {
    // Equal would fold, if its operand did not come from an operator that does not exist.
    let mut model = over("Frobnicate", &[vector(&[1])], &[]);
    model.nodes.push(node("equal", "Equal", &["y", "c0"], &["z"], &[]));
    model.outputs = vec![seeds::untyped("z")];
    let error = import(&model.bytes(), &BTreeMap::new()).expect_err("refused");
    assert!(error.others.is_empty() && error.to_string().contains("(Frobnicate)"), "{error}");
}

#[test]
fn many_nodes_of_one_kind_are_one_line() {
    let mut model = choice("yes");
    model.nodes =
        (0..5).map(|i| node(&format!("n{i}"), "Frobnicate", &["x"], &[&format!("v{i}")], &[])).collect();
    model.outputs = (0..5).map(|i| seeds::untyped(&format!("v{i}"))).collect();
    let error = import(&model.bytes(), &BTreeMap::new()).expect_err("refused");
    let first = error.to_string();
    let first = first.lines().next().unwrap_or_default();
    assert_eq!(first, "Frobnicate \u{d7}5: nodes `n0`, `n1`, `n2` and 2 more: operator is not supported");
}
