//! Recurrent layers as integers: near the floats, and the same bits on every engine and core.

use secateur_compiler::ops::Op;
use secateur_compiler::options::{Glob, LayerWish, Options, Pattern, Prune, Quantize, Share};
use secateur_compiler::tensor::{Data, Samples, Tensor};
use secateur_compiler::{Artifact, graph, onnx};
use secateur_tests::drawn::{Random, compiled, compiled_as, decibels, fed, same_bits, same_bits_as};
use secateur_tests::engines::evaluate;
use secateur_tests::onnx::{
    FLOAT, INT32, Message, Model, attr_float, attr_int, attr_ints, attr_str, dims, floats, ints, node, port,
    tensor,
};

/// What a layer has beside its sizes.
#[derive(Debug, Clone, Copy, Default)]
struct Form {
    op: &'static str,
    direction: &'static str,
    hidden: usize,
    reset_after: bool,
    coupled: bool,
    peepholes: bool,
    initial: bool,
    clip: bool,
    /// Steps of the sequences but the first, which has all.
    length: Option<usize>,
    /// Which result: 0 the sequence, 1 the state, 2 the cell.
    result: usize,
}

const GRU: Form = Form {
    op: "GRU",
    direction: "forward",
    hidden: 8,
    reset_after: true,
    coupled: false,
    peepholes: false,
    initial: false,
    clip: false,
    length: None,
    result: 0,
};
const LSTM: Form = Form { op: "LSTM", ..GRU };
const RNN: Form = Form { op: "RNN", ..GRU };

const FORMS: &[Form] = &[
    GRU,
    Form { reset_after: false, hidden: 7, ..GRU },
    Form { direction: "reverse", hidden: 12, result: 1, ..GRU },
    Form { direction: "bidirectional", initial: true, ..GRU },
    Form { length: Some(3), direction: "reverse", hidden: 5, ..GRU },
    Form { length: Some(2), reset_after: false, clip: true, result: 1, ..GRU },
    LSTM,
    Form { peepholes: true, hidden: 6, result: 2, ..LSTM },
    Form { direction: "bidirectional", initial: true, result: 1, ..LSTM },
    Form { coupled: true, peepholes: true, direction: "reverse", ..LSTM },
    Form { length: Some(4), clip: true, hidden: 9, initial: true, ..LSTM },
    RNN,
    Form { direction: "bidirectional", hidden: 3, length: Some(1), initial: true, ..RNN },
    Form { hidden: 1, result: 1, clip: true, ..RNN },
];

const STEPS: usize = 12;
const BATCH: usize = 2;
const WIDTH: usize = 6;

/// A layer on the input of a model.
fn model(form: &Form, seed: u64) -> Model {
    let mut random = Random(seed);
    let gates = match form.op {
        "GRU" => 3,
        "LSTM" => 4,
        _ => 1,
    };
    let directions = if form.direction == "bidirectional" { 2 } else { 1 };
    let (h, rows) = (form.hidden, gates * form.hidden);
    let mut initializers = Vec::new();
    let mut inputs = vec!["x"];
    let mut add = |name: &'static str, shape: &[usize], size: f32, inputs: &mut Vec<&str>| {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let len: i64 = shape.iter().product();
        initializers.push(floats(name, &shape, &random.floats(len as usize, size)));
        inputs.push(name);
    };
    add("w", &[directions, rows, WIDTH], 1.2, &mut inputs);
    add("r", &[directions, rows, h], 1.0, &mut inputs);
    add("b", &[directions, 2 * rows], 0.4, &mut inputs);
    inputs.push(if form.length.is_some() { "lengths" } else { "" });
    if form.initial {
        add("h0", &[directions, BATCH, h], 0.9, &mut inputs);
        if form.op == "LSTM" {
            add("c0", &[directions, BATCH, h], 1.5, &mut inputs);
        }
    }
    if form.peepholes {
        inputs.resize(7, "");
        add("p", &[directions, 3 * h], 0.7, &mut inputs);
    }
    let mut attrs = vec![attr_int("hidden_size", h as i64), attr_str("direction", form.direction)];
    attrs.extend((form.op == "GRU").then(|| attr_int("linear_before_reset", form.reset_after.into())));
    attrs.extend(form.coupled.then(|| attr_int("input_forget", 1)));
    attrs.extend(form.clip.then(|| attr_float("clip", 1.1)));
    if let Some(length) = form.length {
        let lengths: Vec<u8> = [STEPS as i32, length as i32].iter().flat_map(|n| n.to_le_bytes()).collect();
        initializers.push(tensor("lengths", INT32, &[BATCH as i64], &lengths));
    }
    let mut outputs = vec![""; form.result];
    outputs.push("y");
    let state = [directions as i64, BATCH as i64, h as i64];
    let sequence = [STEPS as i64, state[0], state[1], state[2]];
    let shape: &[i64] = if form.result == 0 { &sequence } else { &state };
    Model {
        nodes: vec![node("layer", form.op, &inputs, &outputs, &attrs)],
        initializers,
        inputs: vec![port("x", FLOAT, &dims(&[STEPS as i64, BATCH as i64, WIDTH as i64]))],
        outputs: vec![port("y", FLOAT, &dims(shape))],
        opset: 17,
    }
}

fn calibration(count: usize, seed: u64) -> Samples {
    let mut samples = Samples::default();
    let values = Random(seed).floats(count * STEPS * BATCH * WIDTH, 1.5);
    samples.arrays.insert("x".to_owned(), Tensor::f32(&[count, STEPS, BATCH, WIDTH], values));
    samples
}

#[test]
fn integers_follow_floats() {
    let mut low = Vec::new();
    for (i, form) in FORMS.iter().enumerate() {
        let bytes = model(form, 77 + i as u64).bytes();
        let artifact = compiled(&bytes, "cortex-m4", Some(&calibration(24, 5)));
        // No step of it is left to floats.
        let layers = artifact.graph.nodes().filter(|(_, n)| matches!(n.op, Op::Recurrent(_)));
        for (_, node) in layers {
            assert!(node.outputs.iter().all(|&v| artifact.graph[v].quant.is_some()), "{form:?}");
        }
        let decibels = decibels(&artifact, &fed(&artifact, 12, 9, 1.5));
        println!("{decibels:5.1} dB {form:?}");
        if decibels < 30.0 {
            low.push(format!("{decibels:.1} dB {form:?}"));
        }
    }
    assert!(low.is_empty(), "{low:#?}");
}

/// GRU in both directions, LSTM backwards, GRU with lengths, RNN: one behind the other.
fn tower() -> Model {
    let mut random = Random(3);
    let mut initializers = Vec::new();
    let mut weights = |name: &str, op: &str, directions: usize, width: usize, h: usize| {
        let gates = ["RNN", "", "GRU", "LSTM"].iter().position(|&o| o == op).unwrap() + 1;
        let rows = gates * h;
        for (part, shape, size) in [
            ("w", vec![directions, rows, width], 1.0),
            ("r", vec![directions, rows, h], 1.0),
            ("b", vec![directions, 2 * rows], 0.3),
        ] {
            let len = shape.iter().product();
            let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            initializers.push(floats(&format!("{name}_{part}"), &shape, &random.floats(len, size)));
        }
    };
    weights("a", "GRU", 2, WIDTH, 8);
    weights("b", "LSTM", 1, 16, 12);
    weights("c", "GRU", 1, 12, 7);
    weights("d", "RNN", 1, 7, 5);
    initializers.push(floats("b_p", &[1, 36], &random.floats(36, 0.5)));
    let both: Vec<u8> = [STEPS as i32, 5].iter().flat_map(|n| n.to_le_bytes()).collect();
    initializers.push(tensor("lengths", INT32, &[2], &both));
    initializers.push(ints("two", &[3], &[STEPS as i64, BATCH as i64, 16]));
    initializers.push(ints("one", &[1], &[1]));
    let layer = |name: &str, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[Message]| {
        node(name, op, inputs, outputs, attrs)
    };
    let h = |n: i64| attr_int("hidden_size", n);
    let nodes = vec![
        layer(
            "a",
            "GRU",
            &["x", "a_w", "a_r", "a_b"],
            &["a"],
            &[h(8), attr_str("direction", "bidirectional"), attr_int("linear_before_reset", 1)],
        ),
        node("turn", "Transpose", &["a"], &["turned"], &[attr_ints("perm", &[0, 2, 1, 3])]),
        node("join", "Reshape", &["turned", "two"], &["a2"], &[]),
        layer(
            "b",
            "LSTM",
            &["a2", "b_w", "b_r", "b_b", "", "", "", "b_p"],
            &["b", "", "b_c"],
            &[h(12), attr_str("direction", "reverse")],
        ),
        node("b2", "Squeeze", &["b", "one"], &["b2"], &[]),
        layer("c", "GRU", &["b2", "c_w", "c_r", "c_b", "lengths"], &["c", "c_h"], &[h(7)]),
        node("c2", "Squeeze", &["c", "one"], &["c2"], &[]),
        layer("d", "RNN", &["c2", "d_w", "d_r", "d_b"], &["d"], &[h(5)]),
    ];
    Model {
        nodes,
        initializers,
        inputs: vec![port("x", FLOAT, &dims(&[STEPS as i64, BATCH as i64, WIDTH as i64]))],
        outputs: vec![
            port("d", FLOAT, &dims(&[STEPS as i64, 1, BATCH as i64, 5])),
            port("b_c", FLOAT, &dims(&[1, BATCH as i64, 12])),
            port("c_h", FLOAT, &dims(&[1, BATCH as i64, 7])),
        ],
        opset: 17,
    }
}

#[test]
fn every_core_gives_the_same_bits() {
    let (bytes, samples) = (tower().bytes(), calibration(24, 5));
    let cores = ["host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc"];
    let artifacts = same_bits(&bytes, &samples, &cores, 1.5);
    let layers = artifacts[2].report.layers.iter();
    let natives: Vec<&str> =
        layers.map(|l| l.family.as_str()).filter(|k| k.starts_with("recurrent")).collect();
    assert!(natives.len() >= 4, "{natives:?}");
}

/// GRU, LSTM and RNN one behind the other, of 32 inputs and as many steps as [`STEPS`].
fn wide_tower() -> Model {
    let mut random = Random(8);
    let (mut initializers, mut nodes, mut last) = (Vec::new(), Vec::new(), "x".to_owned());
    let mut width = 32;
    initializers.push(ints("one", &[1], &[1]));
    for (name, op, gates, h) in [("a", "GRU", 3, 48), ("b", "LSTM", 4, 32), ("c", "RNN", 1, 32)] {
        let mut weights = |part: &str, shape: &[usize], size: f32| {
            let values = random.floats(shape.iter().product(), size);
            let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            initializers.push(floats(&format!("{name}_{part}"), &shape, &values));
        };
        weights("w", &[1, gates * h, width], 0.5);
        weights("r", &[1, gates * h, h], 0.4);
        weights("b", &[1, 2 * gates * h], 0.2);
        let inputs = [last.clone(), format!("{name}_w"), format!("{name}_r"), format!("{name}_b")];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut attrs = vec![attr_int("hidden_size", h as i64)];
        attrs.extend((op == "GRU").then(|| attr_int("linear_before_reset", 1)));
        nodes.push(node(name, op, &inputs, &[name], &attrs));
        let flat = format!("{name}2");
        nodes.push(node(&flat, "Squeeze", &[name, "one"], &[&flat], &[]));
        (last, width) = (flat, h);
    }
    Model {
        nodes,
        initializers,
        inputs: vec![port("x", FLOAT, &dims(&[STEPS as i64, 1, 32]))],
        outputs: vec![port("c2", FLOAT, &dims(&[STEPS as i64, 1, 32]))],
        opset: 17,
    }
}

fn wide_calibration(count: usize) -> Samples {
    let mut samples = Samples::default();
    let values = Random(4).floats(count * STEPS * 32, 1.5);
    samples.arrays.insert("x".to_owned(), Tensor::f32(&[count, STEPS, 1, 32], values));
    samples
}

fn pruning(rows: usize) -> Options {
    let pattern = Some(Pattern::Block { rows, columns: 4 });
    let prune = Prune { sparsity: Some(Share(0.6)), pattern, ..Prune::default() };
    let sparsities = vec![LayerWish { layers: Glob("*".into()), value: Share(0.6) }];
    Options { prune: Some(prune), sparsities, onnx: true, ..Options::default() }
}

/// Pruned layers leave their zeros out where the core has kernels for that, and what they compute is the same on all.
#[test]
fn pruned_layers_give_the_same_bits() {
    let (bytes, samples) = (wide_tower().bytes(), wide_calibration(48));
    let sparse = ["cortex-m4", "cortex-m33", "cortex-m7"];
    let cores = [&["host"], sparse.as_slice(), &["cortex-m0plus", "cortex-m55", "rv32imc"]].concat();
    let artifacts = same_bits_as(&bytes, &samples, (&cores, 1.5), &pruning(4));
    for (artifact, core) in artifacts.iter().zip(&cores) {
        let layers: Vec<_> = artifact.report.layers.iter().filter(|l| l.pattern.is_some()).collect();
        assert_eq!(layers.len(), 3, "{core}");
        for layer in layers {
            assert!(
                layer.sparsity.is_some_and(|s| s > 0.3) && layer.live_macs < layer.macs,
                "{core} {layer:?}"
            );
            let left_out = layer.family.starts_with("blocks_recurrent");
            assert_eq!(left_out, sparse.contains(core), "{core}: {layer:?}");
            assert_eq!(layer.format.as_deref() != Some("dense"), left_out, "{core}: {layer:?}");
            if left_out {
                assert!(layer.cycles < layer.dense_cycles, "{core}: {layer:?}");
                assert!(Some(layer.weights) < layer.dense_weights, "{core}: {layer:?}");
            }
        }
    }
}

/// Weights of four bits in the layer that is neither the first nor the last: half the flash, near the floats, the same
/// bits everywhere; with zeros too.
#[test]
fn weights_of_four_bits_reach_recurrent_layers() {
    let (bytes, samples) = (wide_tower().bytes(), wide_calibration(48));
    let eight = compiled(&bytes, "cortex-m4", Some(&samples));
    let cores = ["host", "cortex-m4", "cortex-m7", "cortex-m55", "cortex-m0plus"];
    let four = Options { quantize: Quantize::W4a8, ..Options::default() };
    let both = Options { quantize: Quantize::W4a8, ..pruning(4) };
    let artifact = same_bits_as(&bytes, &samples, (&cores, 1.5), &four).swap_remove(1);
    let weights = |artifact: &Artifact| artifact.report.layers.iter().map(|l| l.weights).collect::<Vec<_>>();
    let (all, half) = (weights(&eight), weights(&artifact));
    assert_eq!((all[0], all[2]), (half[0], half[2]));
    assert!(10 * half[1] < 7 * all[1], "{half:?} of {all:?}");
    let decibels = decibels(&artifact, &fed(&artifact, 12, 9, 1.5));
    println!("{decibels:.1} dB");
    assert!(decibels > 20.0, "{decibels}");
    let pruned = same_bits_as(&bytes, &samples, (&cores[..2], 1.5), &both).swap_remove(1);
    assert!(pruned.report.layers.iter().all(|l| l.live_macs < l.macs));
}

/// What is written has the zeros, and means what the pruned floats mean.
#[test]
fn pruned_layers_come_back_from_onnx() {
    let (bytes, samples) = (wide_tower().bytes(), wide_calibration(48));
    let options = Options { quantize: Quantize::None, ..pruning(1) };
    let artifact = compiled_as(&bytes, "host", Some(&samples), &options);
    let again = onnx::import(&artifact.models[0].1, &Default::default()).unwrap();
    let (mut zeros, mut all) = (0, 0);
    for (_, node) in again.nodes().filter(|(_, n)| matches!(n.op, Op::Recurrent(_))) {
        // Weights of inputs, and of the state.
        for at in [1, 2] {
            let weights = again[node.inputs[at].unwrap()].constant().unwrap().to_f32_vec();
            zeros += weights.chunks(4).filter(|b| b.iter().all(|w| *w == 0.0)).count() * 4;
            all += weights.len();
        }
    }
    let share = artifact.report.total.sparsity.unwrap();
    assert!(
        (share - 0.6).abs() < 0.01 && (zeros as f64 / all as f64 - share).abs() < 1e-9,
        "{zeros} of {all}"
    );
    for x in fed(&artifact, 4, 3, 1.5).0 {
        let want = evaluate(&artifact, std::slice::from_ref(&x)).remove(0).remove(0).to_f64_vec();
        let have = graph::run(&again, &x).unwrap().remove(0).to_f64_vec();
        assert!(want.iter().zip(&have).all(|(w, h)| (w - h).abs() < 1e-5), "{want:?} {have:?}");
    }
}

/// A cell whose state follows its input over some 56 steps, and 9,600 steps without a reset: integers neither lose
/// what is slow nor drift away.
#[test]
fn slow_states_stay_for_thousands_of_steps() {
    const LONG: usize = 9600;
    let (h, mut random) = (6, Random(17));
    let mut bias = vec![0.0; 6 * h];
    bias[..h].fill(4.0);
    let r = random.floats(3 * h * h, 0.25);
    let initializers = vec![
        floats("w", &[1, 3 * h as i64, 2], &random.floats(6 * h, 0.8)),
        floats("r", &[1, 3 * h as i64, h as i64], &r),
        floats("b", &[1, 6 * h as i64], &bias),
    ];
    let attrs = [attr_int("hidden_size", h as i64), attr_int("linear_before_reset", 1)];
    let model = Model {
        nodes: vec![node("slow", "GRU", &["x", "w", "r", "b"], &["y"], &attrs)],
        initializers,
        inputs: vec![port("x", FLOAT, &dims(&[LONG as i64, 1, 2]))],
        outputs: vec![port("y", FLOAT, &dims(&[LONG as i64, 1, 1, h as i64]))],
        opset: 17,
    };
    let wander = |random: &mut Random| -> Vec<f32> {
        let mut at = [0.0f32; 2];
        let mut step = |i: usize| {
            at[i % 2] = 0.98 * at[i % 2] + 0.25 * random.draw();
            at[i % 2]
        };
        (0..2 * LONG).map(&mut step).collect()
    };
    let mut samples = Samples::default();
    samples.arrays.insert("x".to_owned(), Tensor::f32(&[1, LONG, 1, 2], wander(&mut random)));
    let artifact = compiled(&model.bytes(), "cortex-m4", Some(&samples));
    let real = Tensor::f32(&[LONG, 1, 2], wander(&mut random));
    let (port, out) = (&artifact.program.inputs[0], &artifact.program.outputs[0]);
    let (scale, zero) = port.affine.unwrap();
    let held = |x: &f32| ((x / scale).round_ties_even() as i64 + i64::from(zero)).clamp(-128, 127);
    let stored: Vec<i64> = real.as_f32().unwrap().iter().map(held).collect();
    let stored = Tensor::new(port.shape.clone(), Data::from_i64(port.elem, &stored)).unwrap();
    let have = evaluate(&artifact, &[vec![stored]]).remove(0).remove(0).to_i64_vec();
    let want = graph::run(&artifact.imported, &[real]).unwrap().remove(0).to_f64_vec();
    let (scale, zero) = out.affine.unwrap();
    let (mut signal, mut noise, mut late) = (0.0, 0.0, 0.0);
    for (i, (w, h)) in want.iter().zip(have).enumerate() {
        let off = w - f64::from(scale) * (h - i64::from(zero)) as f64;
        signal += w * w;
        noise += off * off;
        if i >= want.len() / 2 {
            late += off;
        }
    }
    // The result has 8 bits, whose rounding the state does not see.
    let rounding = want.len() as f64 * f64::from(scale).powi(2) / 12.0;
    let (whole, state) = (10.0 * (signal / noise).log10(), 10.0 * (signal / (noise - rounding)).log10());
    let drift = (late / (want.len() / 2) as f64).abs();
    println!(
        "{whole:.1} dB, {state:.1} dB without the result's rounding, {drift:.5} off in the second half's mean"
    );
    assert!(noise > rounding && state >= 40.0 && whole >= 37.0 && drift < 1e-3, "{whole} {state} {drift}");
}
