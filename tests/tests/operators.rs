//! What is said of operators by name is what becomes of a model of one node: in int8 it computes on integers
//! alone, or a float stands between.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{self, Optimize};
use secateur_compiler::graph::{Graph, print};
use secateur_compiler::observe::Silent;
use secateur_compiler::operators::{self, Int8, Supported};
use secateur_compiler::options::{Language, Options};
use secateur_compiler::tensor::{DType, Samples, Tensor};
use secateur_tests::drawn::{bits, fed};
use secateur_tests::engines::{evaluate, target};
use secateur_tests::onnx::{FLOAT, Message, Model, attr_int, dims, floats, ints, node, port};
use secateur_tests::seeds;

/// The graph that an int8 model of one input becomes.
fn compiled(name: &str, model: &Model, from: f32) -> Graph {
    artifact(name, model, from, "model", "host").graph
}

/// An int8 model of one input, calibrated where every function is defined.
fn artifact(name: &str, model: &Model, from: f32, called: &str, on: &str) -> Artifact {
    let input = secateur_compiler::onnx::import(&model.bytes(), &Default::default());
    let input = input.unwrap_or_else(|e| panic!("{name}: {e}"));
    let shape: Vec<usize> = [1].iter().chain(&input[input.inputs()[0]].shape).copied().collect();
    let ramp = (0..shape.iter().product::<usize>()).map(|i| from + (i * 37 % 100) as f32 / 125.0);
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), Tensor::f32(&shape, ramp.collect()));
    let emit = vec![Language::C, Language::Rust];
    let options = Options { name: called.into(), emit, ..Options::default() };
    let artifact = compile(&model.bytes(), &target(on), Some(&samples), &options, &mut Silent);
    artifact.unwrap_or_else(|e| panic!("{name} on {on}: {e}"))
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

/// Models of an operator on integers, by name, and where their samples begin: where the function and what it gives
/// are finite.
fn models(row: &Supported, seeds: &[(String, Model)]) -> Vec<(String, Model, f32)> {
    match row.int8 {
        Int8::Table => {
            let from = if row.name == "Acosh" { 1.1 } else { 0.1 };
            vec![(row.name.into(), one(row.name, 0), from)]
        }
        Int8::TableOrFloats => vec![(row.name.into(), one(row.name, 1), 0.1)],
        Int8::Integers => seeds
            .iter()
            .filter(|(name, _)| name == row.name)
            .map(|(name, model)| (name.clone(), model.clone()))
            .chain(special(row.name).map(|model| (row.name.to_string(), model)))
            .map(|(name, model)| {
                let from = if name == "Sqrt" { 0.1 } else { -0.4 };
                (name, model, from)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A model of an operator that the seeds have none of.
fn special(name: &str) -> Option<Model> {
    let ramp = |name: &str, shape: &[i64]| {
        let len = shape.iter().product::<i64>();
        floats(name, shape, &(0..len).map(|i| (i * 37 % 100) as f32 / 90.0 - 0.5).collect::<Vec<_>>())
    };
    let of = |shape: &[i64], inputs: &[&str], attrs: &[Message], initializers: Vec<Message>| Model {
        nodes: vec![node("n", name, inputs, &["y"], attrs)],
        initializers,
        inputs: vec![port("x", FLOAT, &dims(shape))],
        outputs: vec![seeds::untyped("y")],
        opset: 24,
    };
    Some(match name {
        "Attention" => of(&[1, 2, 6, 8], &["x", "x", "x"], &[], Vec::new()),
        "GRU" | "LSTM" | "RNN" => {
            let gates = [("GRU", 9), ("LSTM", 12), ("RNN", 3)].into_iter().find(|g| g.0 == name)?.1;
            let weights = vec![ramp("w", &[1, gates, 4]), ramp("r", &[1, gates, 3])];
            of(&[5, 1, 4], &["x", "w", "r"], &[attr_int("hidden_size", 3)], weights)
        }
        "LayerNormalization" | "RMSNormalization" => {
            of(&[1, 3, 8], &["x", "scale"], &[], vec![ramp("scale", &[8])])
        }
        "ReduceMax" | "ReduceSum" => of(&[1, 3, 8], &["x", "axes"], &[], vec![ints("axes", &[1], &[-1])]),
        _ => return None,
    })
}

/// A model of every operator that computes on integers gives the evaluator's bits in C and Rust on the host, and in C
/// on emulated cores of each kind.
#[test]
fn every_operator_gives_the_same_bits_on_every_core() {
    let seeds = seeds::all();
    let mut all = Vec::new();
    let mut missing = Vec::new();
    for row in operators::all() {
        let own = models(&row, &seeds);
        if own.is_empty() && row.int8 == Int8::Integers {
            missing.push(row.name);
        }
        all.extend(own);
    }
    assert!(missing.is_empty(), "no model of {missing:?} runs on cores");
    let cores = [
        ("host", &[Language::C, Language::Rust][..]),
        ("cortex-m0plus", &[Language::C]),
        ("cortex-m4", &[Language::C]),
        ("cortex-m55", &[Language::C]),
        ("rv32imc", &[Language::C]),
    ];
    let mut wrong = Vec::new();
    for (core, languages) in cores {
        // So many fit an image on each core.
        for group in all.chunks(16) {
            let artifacts: Vec<Artifact> = group
                .iter()
                .enumerate()
                .map(|(i, (name, model, from))| artifact(name, model, *from, &format!("m{i}"), core))
                .collect();
            let built: Vec<toolchain::Model<'_>> = artifacts.iter().map(|a| a.into()).collect();
            for &language in languages {
                let image = toolchain::build(language, &built, &target(core), Optimize::Debug)
                    .unwrap_or_else(|e| panic!("{language:?} on {core}: {e}"));
                for (i, (artifact, (name, ..))) in artifacts.iter().zip(group).enumerate() {
                    let (_, stored) = fed(artifact, 3, 11, 1.0);
                    let replies = image
                        .run(i, &stored, &mut Silent)
                        .unwrap_or_else(|e| panic!("{name} on {core}: {e}"));
                    if bits(&replies.outputs) != bits(&evaluate(artifact, &stored)) {
                        wrong.push(format!("{name}: {language:?} on {core}"));
                    }
                }
            }
        }
    }
    assert!(all.len() > 60, "{} models are run", all.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn forms_are_those_of_the_compiler() {
    let seeds = seeds::all();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for row in operators::all() {
        for (name, model, from) in models(&row, &seeds) {
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
