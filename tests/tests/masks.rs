//! Scores that masks close: what a mask adds or puts in their place, -1e4 or minus infinity, costs int8 models no
//! precision, and a query that sees no key gets what the model says, in floats and in integers.

use secateur_compiler::graph;
use secateur_compiler::onnx;
use secateur_compiler::program::from_port;
use secateur_compiler::tensor::{DType, Data, Samples, Tensor};
use secateur_tests::drawn::{Random, bits, compiled};
use secateur_tests::engines::{built, evaluate, target};
use secateur_tests::onnx::{BOOL, FLOAT, Model, attr_int, attr_str, dims, floats, node, port, tensor};

use secateur_compiler::cli::toolchain::Optimize;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::Language;
use secateur_compiler::program::to_port;
use std::collections::BTreeMap;

const KEYS: usize = 6;
const DEPTH: usize = 8;
const SHAPE: [usize; 4] = [1, 2, KEYS, DEPTH];

/// Drawn queries, keys, values and masks. A mask of queries and keys, or of keys, leaves each query the first key.
fn samples(model: &[(&str, DType, &[usize])], count: usize, close: &dyn Fn(usize, usize) -> bool) -> Samples {
    let mut random = Random(5);
    let mut all = Samples::default();
    for &(name, dtype, shape) in model {
        let n: usize = shape.iter().product();
        let data = match dtype {
            DType::Bool => Data::Bool(
                (0..count * n)
                    .map(|i| !close(i / n, i % n / KEYS) && (i % KEYS == 0 || random.draw() > 0.0))
                    .collect(),
            ),
            _ => Data::F32(random.floats(count * n, 1.7)),
        };
        let shape = [&[count], &shape[1..]].concat();
        all.arrays.insert(name.into(), Tensor::new(shape, data).expect("as many as drawn"));
    }
    all
}

/// Sample `i` of each input.
fn sample(all: &Samples, names: &[&str], i: usize) -> Vec<Tensor> {
    let one = |name: &&str| {
        let tensor = &all.arrays[*name];
        let shape = [&[1], &tensor.shape()[1..]].concat();
        let n: usize = shape.iter().product();
        let data = match tensor.data() {
            Data::F32(v) => Data::F32(v[i * n..(i + 1) * n].to_vec()),
            Data::Bool(v) => Data::Bool(v[i * n..(i + 1) * n].to_vec()),
            other => panic!("{other:?}"),
        };
        Tensor::new(shape, data).expect("a sample has the input's size")
    };
    names.iter().map(one).collect()
}

/// The outputs of the float model and of the int8 one, as real values by sample; C gives what the evaluator gives.
fn both(bytes: &[u8], samples: &Samples, names: &[&str], count: usize, label: &str) -> (Vec<f32>, Vec<f32>) {
    let artifact = compiled(bytes, "host", Some(samples));
    let inputs: Vec<Vec<Tensor>> = (0..count).map(|i| sample(samples, names, i)).collect();
    let ports = &artifact.program.inputs;
    let stored: Vec<Vec<Tensor>> =
        inputs.iter().map(|s| s.iter().zip(ports).map(|(t, port)| to_port(t, port)).collect()).collect();
    let have = evaluate(&artifact, &stored);
    let image = built(&artifact, Language::C, &target("host"), Optimize::Debug);
    let replies = image.run(0, &stored, &mut Silent).unwrap_or_else(|e| panic!("{label}: {e}"));
    assert_eq!(bits(&replies.outputs), bits(&have), "{label}: C");
    let real = |y: &Tensor| from_port(y, &artifact.program.outputs[0]).to_f32_vec();
    let float =
        |s: &Vec<Tensor>| graph::run(&artifact.imported, s).expect("the float model runs")[0].to_f32_vec();
    (inputs.iter().flat_map(float).collect(), have.iter().flat_map(|y| real(&y[0])).collect())
}

fn decibels(want: &[f32], have: &[f32]) -> f64 {
    let power = |v: f32| f64::from(v) * f64::from(v);
    let signal: f64 = want.iter().map(|w| power(*w)).sum();
    let noise: f64 = want.iter().zip(have).map(|(w, h)| power(w - h)).sum();
    10.0 * (signal / noise).log10()
}

/// `softmax(mask(cap * tanh(q k / cap))) v`, which stays in its parts, as scores that are an output would.
fn capped(kind: &str, end: f32) -> Model {
    let mut m = Model { opset: 17, ..Model::default() };
    let mut add = |op: &str, inputs: &[&str], output: &str| {
        let attrs = if op == "Softmax" { vec![attr_int("axis", -1)] } else { Vec::new() };
        m.nodes.push(node(output, op, inputs, &[output], &attrs));
    };
    add("MatMul", &["q", "k"], "product");
    add("Mul", &["product", "scale"], "scaled");
    add("Tanh", &["scaled"], "bent");
    add("Mul", &["bent", "cap"], "scores");
    match kind {
        "added" => add("Add", &["scores", "mask"], "masked"),
        "chosen" => add("Where", &["causal", "scores", "end"], "masked"),
        _ => {
            add("Where", &["open", "zero", "end"], "bias");
            add("Add", &["scores", "bias"], "masked");
        }
    }
    add("Softmax", &["masked"], "shares");
    add("MatMul", &["shares", "v"], "y");
    let causal: Vec<bool> = (0..KEYS * KEYS).map(|i| i % KEYS <= i / KEYS).collect();
    let sizes = SHAPE.map(|n| n as i64);
    let square = [KEYS as i64; 2];
    for (name, shape) in [("q", sizes), ("k", [1, 2, DEPTH as i64, KEYS as i64]), ("v", sizes)] {
        m.inputs.push(port(name, FLOAT, &dims(&shape)));
    }
    let number = |name: &str, v: f32| floats(name, &[], &[v]);
    m.initializers = vec![number("scale", 0.1), number("cap", 4.0), number("end", end), number("zero", 0.0)];
    match kind {
        "added" => {
            let mask: Vec<f32> = causal.iter().map(|&open| if open { 0.0 } else { end }).collect();
            m.initializers.push(floats("mask", &square, &mask));
        }
        "chosen" => {
            let raw: Vec<u8> = causal.iter().map(|&open| open.into()).collect();
            m.initializers.push(tensor("causal", BOOL, &square, &raw));
        }
        _ => m.inputs.push(port("open", BOOL, &dims(&[1, 1, 1, KEYS as i64]))),
    }
    m.outputs.push(port("y", FLOAT, &dims(&sizes)));
    m
}

#[test]
fn closed_scores_take_no_steps_from_the_others() {
    for kind in ["added", "chosen", "run"] {
        for end in [-1e4, -1e9, f32::MIN, f32::NEG_INFINITY] {
            let label = format!("{kind}, {end}");
            let mut inputs: Vec<(&str, DType, &[usize])> = vec![
                ("q", DType::F32, &SHAPE),
                ("k", DType::F32, &[1, 2, DEPTH, KEYS]),
                ("v", DType::F32, &SHAPE),
            ];
            if kind == "run" {
                inputs.push(("open", DType::Bool, &[1, 1, 1, KEYS]));
            }
            let samples = samples(&inputs, 24, &|_, _| false);
            let names: Vec<&str> = inputs.iter().map(|i| i.0).collect();
            let (want, have) = both(&capped(kind, end).bytes(), &samples, &names, 24, &label);
            let snr = decibels(&want, &have);
            println!("{label}: {snr:.1} dB");
            assert!(snr > 29.0, "{label}: {snr:.1} dB");
        }
    }
}

/// Callers may bring masks of floats that close by minus infinity; anything else that is infinite is refused.
#[test]
fn masks_that_are_inputs_close_by_minus_infinity() {
    let mask: [usize; 4] = [1, 1, KEYS, KEYS];
    let inputs: [(&str, DType, &[usize]); 4] = [
        ("q", DType::F32, &SHAPE),
        ("k", DType::F32, &[1, 2, DEPTH, KEYS]),
        ("v", DType::F32, &SHAPE),
        ("mask", DType::F32, &mask),
    ];
    let names = inputs.map(|i| i.0);
    for end in [-1e4, f32::NEG_INFINITY] {
        let mut m = capped("added", end);
        m.initializers.pop();
        m.inputs.push(port("mask", FLOAT, &dims(&mask.map(|n| n as i64))));
        let mut drawn = samples(&inputs, 24, &|_, _| false);
        let mut random = Random(9);
        let count = 24 * KEYS * KEYS;
        let closed: Vec<f32> =
            (0..count).map(|i| if i % KEYS == 0 || random.draw() > 0.0 { 0.0 } else { end }).collect();
        let closed = Tensor::f32(&[24, 1, KEYS, KEYS], closed);
        drawn.arrays.insert("mask".into(), closed);
        let (want, have) = both(&m.bytes(), &drawn, &names, 24, &format!("brought, {end}"));
        let snr = decibels(&want, &have);
        println!("brought, {end}: {snr:.1} dB");
        assert!(snr > 29.0, "brought, {end}: {snr:.1} dB");

        let graph = onnx::import(&m.bytes(), &BTreeMap::new()).expect("the model is read");
        for (name, odd) in [("q", f32::NEG_INFINITY), ("mask", f32::INFINITY), ("mask", f32::NAN)] {
            let mut wrong = drawn.clone();
            let array = &wrong.arrays[name];
            let mut values = array.to_f32_vec();
            values[7] = odd;
            let array = Tensor::f32(array.shape(), values);
            wrong.arrays.insert(name.into(), array);
            let error =
                secateur_compiler::samples::split(&wrong, &graph, None).expect_err("no number").to_string();
            let says = format!("tensor `{name}`: sample 0 of the data holds {odd}");
            assert!(error.contains(&says), "{error}");
        }
    }
}

/// Zeros for queries without a key: as ONNX's operator has it, and as PyTorch's exporter writes it.
#[test]
fn queries_without_keys_get_zeros() {
    let mask = [1usize, 1, KEYS, KEYS];
    for whole in [true, false] {
        let mut m = Model { opset: if whole { 23 } else { 17 }, ..Model::default() };
        let sizes = SHAPE.map(|n| n as i64);
        let keys = if whole { sizes } else { [1, 2, DEPTH as i64, KEYS as i64] };
        for (name, shape) in [("q", sizes), ("k", keys), ("v", sizes)] {
            m.inputs.push(port(name, FLOAT, &dims(&shape)));
        }
        m.inputs.push(port("open", BOOL, &dims(&mask.map(|n| n as i64))));
        m.outputs.push(port("y", FLOAT, &dims(&sizes)));
        let mut add = |op: &str, inputs: &[&str], output: &str| {
            let attrs = if op == "Softmax" { vec![attr_int("axis", -1)] } else { Vec::new() };
            m.nodes.push(node(output, op, inputs, &[output], &attrs));
        };
        if whole {
            add("Attention", &["q", "k", "v", "open"], "y");
        } else {
            add("Mul", &["q", "scale"], "scaled");
            add("MatMul", &["scaled", "k"], "scores");
            add("Where", &["open", "zero", "end"], "bias");
            add("Add", &["scores", "bias"], "masked");
            add("Softmax", &["masked"], "shares");
            add("IsNaN", &["shares"], "missing");
            add("Where", &["missing", "zero", "shares"], "filled");
            add("MatMul", &["filled", "v"], "y");
            let number = |name: &str, v: f32| floats(name, &[], &[v]);
            m.initializers =
                vec![number("scale", 0.35), number("zero", 0.0), number("end", f32::NEG_INFINITY)];
        }
        let keys = keys.map(|n| n as usize);
        let inputs: [(&str, DType, &[usize]); 4] = [
            ("q", DType::F32, &SHAPE),
            ("k", DType::F32, &keys),
            ("v", DType::F32, &SHAPE),
            ("open", DType::Bool, &mask),
        ];
        // Query 2 of every third sample sees nothing.
        let closed = |sample: usize, query: usize| sample.is_multiple_of(3) && query == 2;
        let samples = samples(&inputs, 24, &closed);
        let bytes = m.bytes();
        let artifact = compiled(&bytes, "host", Some(&samples));
        let fused = artifact.graph.nodes().any(|(_, n)| n.op.name() == "Attention");
        assert!(fused, "whole {whole}: {}", graph::print(&artifact.graph));
        assert!(artifact.report.warnings.is_empty(), "{:?}", artifact.report.warnings);
        let names = inputs.map(|i| i.0);
        let (want, have) = both(&bytes, &samples, &names, 24, &format!("whole {whole}"));
        let snr = decibels(&want, &have);
        assert!(snr > 29.0, "whole {whole}: {snr:.1} dB");
        let size = KEYS * DEPTH;
        for (i, (w, h)) in want.iter().zip(&have).enumerate() {
            if closed(i / (2 * size), i % size / DEPTH) {
                assert!(*w == 0.0 && *h == 0.0, "whole {whole}, element {i}: {w} and {h}");
            }
        }
    }
}

/// A mask that the run brings is added, of floats and shorter than the keys: what is missing is closed.
#[test]
fn added_masks_close_too() {
    let mut m = Model { opset: 23, ..Model::default() };
    let sizes = SHAPE.map(|n| n as i64);
    for name in ["q", "k", "v"] {
        m.inputs.push(port(name, FLOAT, &dims(&sizes)));
    }
    m.inputs.push(port("mask", FLOAT, &dims(&[1, 1, KEYS as i64, 4])));
    m.outputs.push(port("y", FLOAT, &dims(&sizes)));
    let causal = [attr_int("is_causal", 1)];
    m.nodes.push(node("y", "Attention", &["q", "k", "v", "mask"], &["y"], &causal));
    let inputs: [(&str, DType, &[usize]); 4] = [
        ("q", DType::F32, &SHAPE),
        ("k", DType::F32, &SHAPE),
        ("v", DType::F32, &SHAPE),
        ("mask", DType::F32, &[1, 1, KEYS, 4]),
    ];
    let samples = samples(&inputs, 24, &|_, _| false);
    let (want, have) = both(&m.bytes(), &samples, &inputs.map(|i| i.0), 24, "added");
    let snr = decibels(&want, &have);
    assert!(snr > 29.0, "{snr:.1} dB");
}

/// The place that GridSample reads is a number of 16 elements and a fraction: eight bits of it would read elsewhere.
#[test]
fn indices_that_a_model_computes_are_not_rounded() {
    for mode in ["linear", "nearest", "cubic"] {
        let mut m = Model { opset: 20, ..Model::default() };
        m.inputs = vec![port("x", FLOAT, &dims(&[1, 2, 9, 16])), port("grid", FLOAT, &dims(&[1, 4, 5, 2]))];
        m.nodes.push(node("sample", "GridSample", &["x", "grid"], &["y"], &[attr_str("mode", mode)]));
        m.outputs.push(port("y", FLOAT, &dims(&[1, 2, 4, 5])));
        let (x, grid): (&[usize], &[usize]) = (&[1, 2, 9, 16], &[1, 4, 5, 2]);
        let samples = samples(&[("x", DType::F32, x), ("grid", DType::F32, grid)], 12, &|_, _| false);
        let (want, have) = both(&m.bytes(), &samples, &["x", "grid"], 12, mode);
        let snr = decibels(&want, &have);
        println!("{mode}: {snr:.1} dB");
        assert!(snr > 30.0, "{mode}: {snr:.1} dB");
    }
}
