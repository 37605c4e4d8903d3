//! What is said of operators by name is what becomes of a model of one node: in int8 it computes on integers
//! alone, or a float stands between.

use secateur_compiler::artifact::compile;
use secateur_compiler::graph::{Graph, print};
use secateur_compiler::observe::Silent;
use secateur_compiler::operators::{self, Int8};
use secateur_compiler::options::Options;
use secateur_compiler::targets;
use secateur_compiler::tensor::{DType, Samples, Tensor};
use secateur_tests::onnx::{FLOAT, Model, dims, floats, node, port};
use secateur_tests::seeds;

/// The graph that an int8 model of one input becomes, calibrated where every function is defined.
fn compiled(name: &str, model: &Model, from: f32) -> Graph {
    let input = secateur_compiler::onnx::import(&model.bytes(), &Default::default());
    let input = input.unwrap_or_else(|e| panic!("{name}: {e}"));
    let shape: Vec<usize> = [1].iter().chain(&input[input.inputs()[0]].shape).copied().collect();
    let ramp = (0..shape.iter().product::<usize>()).map(|i| from + (i * 37 % 100) as f32 / 125.0);
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), Tensor::f32(&shape, ramp.collect()));
    let options = Options { name: "model".into(), ..Options::default() };
    let host = targets::find("host").expect("the host is a target");
    let artifact = compile(&model.bytes(), &host, Some(&samples), &options, &mut Silent);
    artifact.unwrap_or_else(|e| panic!("{name}: {e}")).graph
}

/// Whether no real number is held as a float.
fn on_integers(graph: &Graph) -> bool {
    let real = graph.values().filter(|(_, v)| v.dtype == DType::F32 && v.constant().is_none());
    let used = real.filter(|(id, _)| graph.producer(*id).is_some() || graph.inputs().contains(id));
    used.into_iter().all(|(_, v)| v.quant.is_some())
}

/// `y = op(x, constants)` of floats.
fn one(op: &str, more: usize) -> Model {
    let names = ["x", "a", "b"];
    let constants = names[1..=more].iter();
    Model {
        nodes: vec![node("n", op, &names[..=more], &["y"], &[])],
        initializers: constants.map(|n| floats(n, &[1], &[0.5])).collect(),
        inputs: vec![port("x", FLOAT, &dims(&[1, 8]))],
        outputs: vec![seeds::untyped("y")],
        opset: 24,
    }
}

#[test]
fn forms_are_those_of_the_compiler() {
    let seeds = seeds::all();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for row in operators::all() {
        let own: Vec<(String, Model, f32)> = match row.int8 {
            // Where the function and what it gives are finite.
            Int8::Table => {
                let from = if row.name == "Acosh" { 1.1 } else { 0.1 };
                vec![(row.name.into(), one(row.name, 0), from)]
            }
            Int8::TableOrFloats => vec![(row.name.into(), one(row.name, 1), 0.1)],
            Int8::Integers => seeds
                .iter()
                .filter(|(name, _)| name == row.name)
                .map(|(name, model)| (name.clone(), model.clone(), if name == "Sqrt" { 0.1 } else { -0.4 }))
                .collect(),
            _ => Vec::new(),
        };
        for (name, model, from) in own {
            let graph = compiled(&name, &model, from);
            tried += 1;
            if !on_integers(&graph) {
                wrong.push(format!("{name} is said to be {}, and is\n{}", row.int8.name(), print(&graph)));
            }
        }
    }
    // What stays in floats.
    for (op, model) in [("Greater", one("Greater", 1)), ("ReduceMin", one("ReduceMin", 0))] {
        let row = operators::all().into_iter().find(|r| r.name == op).expect("it is listed");
        assert_eq!(row.int8, Int8::Floats);
        let mut model = model;
        if op == "Greater" {
            model.nodes.push(node("w", "Where", &["y", "x", "a"], &["z"], &[]));
            model.outputs = vec![seeds::untyped("z")];
        }
        assert!(!on_integers(&compiled(op, &model, 0.1)), "{op}");
    }
    assert!(tried > 50, "{tried} are tried");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
