//! Outputs tied to inputs: what one run leaves, the next one finds, on every engine; and what is refused.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::engine::{self, Engine};
use secateur_compiler::graph;
use secateur_compiler::observe::Silent;
use secateur_compiler::onnx::import;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::samples::{self, Sequences};
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::engines::target;
use secateur_tests::onnx::{FLOAT, INT64, Model, attr_int, dims, floats, ints, node, port};
use std::collections::BTreeMap;

mod integers;

/// The same numbers on every machine, about within -1..=1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    fn floats(&mut self, n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|_| size * self.next()).collect()
    }
}

/// A state that follows its input slowly: `h_out = tanh(0.9 h + W x)`, `y = h_out + h`.
fn leaky() -> Model {
    let mut random = Random(5);
    Model {
        nodes: vec![
            node("in", "Gemm", &["x", "w"], &["wx"], &[attr_int("transB", 1)]),
            node("decay", "Mul", &["h", "most"], &["held"], &[]),
            node("sum", "Add", &["held", "wx"], &["sum"], &[]),
            node("bound", "Tanh", &["sum"], &["h_out"], &[]),
            node("out", "Add", &["h_out", "h"], &["y"], &[]),
        ],
        initializers: vec![floats("w", &[4, 3], &random.floats(12, 0.4)), floats("most", &[1], &[0.9])],
        inputs: vec![port("x", FLOAT, &dims(&[1, 3])), port("h", FLOAT, &dims(&[1, 4]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 4])), port("h_out", FLOAT, &dims(&[1, 4]))],
        opset: 13,
    }
}

/// A cell of a recurrent layer over so many steps, from inputs `x` and states to outputs `y` and states.
fn cell(op: &str, steps: i64, (hidden, width): (usize, usize), slow: bool) -> Model {
    let mut random = Random(17);
    let gates = if op == "LSTM" { 4 } else { 3 };
    let (h, rows) = (hidden as i64, gates * hidden);
    let mut bias = random.floats(2 * rows, if slow { 0.0 } else { 0.3 });
    if slow {
        // GRU: the share of the old state; LSTM: what the forget gate keeps.
        let from = if op == "LSTM" { 2 * hidden } else { 0 };
        bias[from..from + hidden].fill(4.0);
    }
    let r = random.floats(rows * hidden, 0.25);
    let mut inputs = vec!["x", "w", "r", "b", "", "h"];
    let mut outputs = vec!["y", "h_out"];
    let state = dims(&[1, 1, h]);
    let mut ports =
        (vec![port("x", FLOAT, &dims(&[steps, 1, width as i64])), port("h", FLOAT, &state)], Vec::new());
    ports.1.push(port("y", FLOAT, &dims(&[steps, 1, 1, h])));
    ports.1.push(port("h_out", FLOAT, &state));
    if op == "LSTM" {
        inputs.push("c");
        outputs.push("c_out");
        ports.0.push(port("c", FLOAT, &state));
        ports.1.push(port("c_out", FLOAT, &state));
    }
    let mut attrs = vec![attr_int("hidden_size", h)];
    attrs.extend((op == "GRU").then(|| attr_int("linear_before_reset", 1)));
    Model {
        nodes: vec![node("cell", op, &inputs, &outputs, &attrs)],
        initializers: vec![
            floats("w", &[1, rows as i64, width as i64], &random.floats(rows * width, 0.8)),
            floats("r", &[1, rows as i64, h], &r),
            floats("b", &[1, 2 * rows as i64], &bias),
        ],
        inputs: ports.0,
        outputs: ports.1,
        opset: 17,
    }
}

fn options(ties: &[(&str, &str)], quantize: Quantize) -> Options {
    let states = ties.iter().map(|(i, o)| ((*i).to_owned(), (*o).to_owned())).collect();
    let emit = vec![Language::C, Language::Rust];
    Options { name: "net".into(), quantize, states, emit, ..Options::default() }
}

fn named(name: &str, array: Tensor) -> Samples {
    let mut samples = Samples::default();
    samples.arrays.insert(name.to_owned(), array);
    samples
}

fn compiled(model: &Model, on: &str, samples: Option<&Samples>, options: &Options) -> Artifact {
    compile(&model.bytes(), &target(on), samples, options, &mut Silent).unwrap_or_else(|e| panic!("{e}"))
}

/// What the evaluator, C and Rust of the host give: all the same.
fn same_on_the_host(artifact: &Artifact, sequences: &Sequences) -> Vec<Vec<Tensor>> {
    let on = target("host");
    let run =
        |e: Engine| engine::run(e, artifact, &on, sequences, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
    let want = run(Engine::Eval);
    for other in [Engine::C, Engine::Rust] {
        assert_eq!(run(other).stored, want.stored, "{other:?}");
    }
    want.real
}

fn decibels(want: &[f64], have: &[f64]) -> f64 {
    assert_eq!(want.len(), have.len());
    let signal: f64 = want.iter().map(|w| w * w).sum();
    let noise: f64 = want.iter().zip(have).map(|(w, h)| (w - h) * (w - h)).sum();
    10.0 * (signal / noise).log10()
}

fn all(outputs: &[Vec<Tensor>], index: usize) -> Vec<f64> {
    outputs.iter().flat_map(|o| o[index].to_f64_vec()).collect()
}

/// A slow wander of each of `width` inputs.
fn wander(random: &mut Random, steps: usize, width: usize) -> Vec<f32> {
    let mut at = vec![0.0f32; width];
    let mut step = |i: usize| {
        at[i % width] = 0.98 * at[i % width] + 0.25 * random.next();
        at[i % width]
    };
    (0..steps * width).map(&mut step).collect()
}

#[test]
fn floats_are_carried_from_run_to_run() {
    let artifact = compiled(&leaky(), "host", None, &options(&[("h", "h_out")], Quantize::None));
    let program = &artifact.program;
    assert_eq!((program.inputs.len(), program.outputs.len(), program.states.len()), (1, 1, 1));
    // Nothing to copy: the state is read for the last time before it is written.
    let (arena, report) = (artifact.report.total.arena, &artifact.report);
    assert_eq!(report.total.states, 16);
    assert_eq!(report.states[0].port.name, "h");
    assert_eq!(report.states[0].next, "h_out");
    assert!(arena >= 16 + 12, "{arena}");
    let mut random = Random(9);
    let samples: Vec<Vec<Tensor>> =
        (0..40).map(|_| vec![Tensor::f32(&[1, 3], random.floats(3, 1.0))]).collect();
    // By hand, with the ports that the model has.
    let plain = import(&leaky().bytes(), &BTreeMap::new()).unwrap();
    for steps in [40, 8] {
        let sequences = Sequences { samples: samples.clone(), steps };
        let have = same_on_the_host(&artifact, &sequences);
        let mut h = Tensor::f32(&[1, 4], vec![0.0; 4]);
        for (i, (sample, have)) in samples.iter().zip(&have).enumerate() {
            if i % steps == 0 {
                h = Tensor::f32(&[1, 4], vec![0.0; 4]);
            }
            let mut want = graph::run(&plain, &[sample[0].clone(), h]).unwrap();
            h = want.remove(1);
            for (w, g) in want[0].to_f64_vec().iter().zip(have[0].to_f64_vec()) {
                assert!((w - g).abs() < 1e-5, "step {i}: {w} {g}");
            }
        }
    }
}

#[test]
fn cells_of_one_step_are_the_layer_over_all_steps() {
    for (op, ties) in [("GRU", &[("h", "h_out")][..]), ("LSTM", &[("h", "h_out"), ("c", "c_out")])] {
        let whole = import(&cell(op, 60, (6, 2), false).bytes(), &BTreeMap::new()).unwrap();
        let x = Random(3).floats(60 * 2, 1.0);
        let mut inputs = vec![Tensor::f32(&[60, 1, 2], x.clone())];
        inputs.extend(ties.iter().map(|_| Tensor::f32(&[1, 1, 6], vec![0.0; 6])));
        let want = graph::run(&whole, &inputs).unwrap()[0].to_f64_vec();
        let samples = x.chunks(2).map(|x| vec![Tensor::f32(&[1, 1, 2], x.to_vec())]).collect();
        let artifact = compiled(&cell(op, 1, (6, 2), false), "host", None, &options(ties, Quantize::None));
        // Read when it begins and written when it ends: in one place.
        let copies = artifact.report.layers.iter().filter(|l| l.op == "Copy").count();
        assert_eq!(copies, 0, "{op}");
        let have = all(&same_on_the_host(&artifact, &Sequences::one(samples)), 0);
        for (w, h) in want.iter().zip(have) {
            assert!((w - h).abs() < 1e-4, "{op}: {w} {h}");
        }
    }
}

/// States that change places, go on one step later, or are read after their next value is known.
#[test]
fn states_that_depend_on_each_other_are_copied_apart() {
    let nodes = vec![
        node("a", "Identity", &["s"], &["t_out"], &[]),
        node("b", "Identity", &["t"], &["s_out"], &[]),
        node("c", "Add", &["x", "u"], &["u_out"], &[]),
        node("d", "Sub", &["u_out", "u"], &["v_out"], &[]),
        node("e", "Add", &["v", "s"], &["y"], &[]),
        node("f", "Identity", &["u"], &["old"], &[]),
    ];
    let shape = dims(&[1, 2]);
    let names = ["s", "t", "u", "v"];
    let outs = ["s_out", "t_out", "u_out", "v_out"];
    let mut inputs = vec![port("x", FLOAT, &shape)];
    inputs.extend(names.iter().map(|n| port(n, FLOAT, &shape)));
    let mut outputs = vec![port("y", FLOAT, &shape), port("old", FLOAT, &shape)];
    outputs.extend(outs.iter().map(|n| port(n, FLOAT, &shape)));
    // `s` begins as the model's own default.
    let initializers = vec![floats("s", &[1, 2], &[1.0, -1.0])];
    let model = Model { nodes, initializers, inputs, outputs, opset: 13 };
    let ties: Vec<(&str, &str)> = names.into_iter().zip(outs).collect();
    let artifact = compiled(&model, "host", None, &options(&ties, Quantize::None));
    let samples: Vec<Vec<Tensor>> = (0..6).map(|i| vec![Tensor::f32(&[1, 2], vec![i as f32, 1.0])]).collect();
    let have = same_on_the_host(&artifact, &Sequences::one(samples));
    // s and t change places; u sums x; v is the x of the run before.
    let sums = [0.0, 0.0, 1.0, 3.0, 6.0, 10.0];
    for (i, outputs) in have.iter().enumerate() {
        let s = if i % 2 == 0 { 1.0 } else { 0.0 };
        let v = if i == 0 { [0.0, 0.0] } else { [i as f64 - 1.0, 1.0] };
        assert_eq!(outputs[0].to_f64_vec(), [v[0] + s, v[1] - s], "y of step {i}");
        assert_eq!(outputs[1].to_f64_vec(), [sums[i], i as f64], "old of step {i}");
    }
}

fn refusal(model: &Model, options: &Options) -> String {
    compile(&model.bytes(), &target("host"), None, options, &mut Silent)
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn ties_that_do_not_fit_are_refused_by_name() {
    let base = || {
        let mut model = leaky();
        model.nodes.push(node("count", "Shape", &["x"], &["n_out"], &[]));
        model.nodes.push(node("short", "Slice", &["h_out", "zero", "two", "one"], &["short"], &[]));
        let constants = [("zero", 0), ("two", 2), ("one", 1)];
        model.initializers.extend(constants.map(|(name, v)| ints(name, &[1], &[v])));
        model.inputs.push(port("n", INT64, &dims(&[2])));
        model.inputs.push(port("hidden_2", FLOAT, &dims(&[1, 4])));
        model.nodes.push(node("use", "Add", &["hidden_2", "h_out"], &["more"], &[]));
        let more = [("short", FLOAT, vec![1, 2]), ("more", FLOAT, vec![1, 4])];
        model.outputs.extend(more.map(|(name, ty, shape)| port(name, ty, &dims(&shape))));
        model.outputs.push(port("n_out", INT64, &dims(&[2])));
        model.outputs.push(port("hidden_2", FLOAT, &dims(&[1, 4])));
        model
    };
    let cases: &[(&[(&str, &str)], &[&str])] = &[
        (&[("hh", "h_out")], &["no input `hh`", "its inputs are `x`, `h`"]),
        (&[("h", "hout")], &["no output `hout`", "did you mean `h_out`"]),
        (&[("h_out", "h")], &["no input `h_out`", "names the input first"]),
        (&[("h", "h_out"), ("h", "more")], &["`h` is tied to the output `h_out` and to `more`"]),
        (&[("h", "h_out"), ("hidden_2", "h_out")], &["`h_out` is tied to the inputs `h` and `hidden_2`"]),
        (&[("h", "short")], &["`h` is f32 of shape [1, 4]", "`short` f32 of shape [1, 2]"]),
        (&[("n", "h_out")], &["`n` is i64 of shape [2]", "`h_out` f32 of shape [1, 4]"]),
        (&[("h", "hidden_2")], &["the output `hidden_2` is the input `hidden_2`, handed through"]),
        (&[("hidden_2", "more")], &["the output `hidden_2` is the input `hidden_2`, handed through"]),
    ];
    for (ties, parts) in cases {
        let said = refusal(&base(), &options(ties, Quantize::None));
        for part in parts.iter().chain(&["option `state`"]) {
            assert!(said.contains(part), "{ties:?}: `{part}` is not in\n{said}");
        }
    }
    let numbers = secateur_compiler::options::Numbers(vec![secateur_compiler::options::Number::Whole(0); 4]);
    let bind = BTreeMap::from([("h".to_owned(), numbers)]);
    let said = refusal(&base(), &Options { bind, ..options(&[("h", "h_out")], Quantize::None) });
    assert!(said.contains("`h` is tied to the output `h_out`, and bound"), "{said}");
    let mut alone = leaky();
    alone.outputs.remove(0);
    let said = refusal(&alone, &options(&[("h", "h_out")], Quantize::None));
    assert!(said.contains("nothing is left to compute"), "{said}");
}

#[test]
fn data_are_steps_of_sequences() {
    let artifact = compiled(&leaky(), "host", None, &options(&[("h", "h_out")], Quantize::None));
    let graph = &artifact.imported;
    let cut = |shape: &[usize]| {
        let array = Tensor::f32(shape, vec![0.5; shape.iter().product()]);
        samples::sequences(&named("x", array), graph, None).map(|s| (s.samples.len(), s.steps))
    };
    assert_eq!(cut(&[12, 3]).unwrap(), (12, 12));
    assert_eq!(cut(&[12, 1, 3]).unwrap(), (12, 12));
    assert_eq!(cut(&[2, 6, 3]).unwrap(), (12, 6));
    assert_eq!(cut(&[2, 6, 1, 3]).unwrap(), (12, 6));
    let said = cut(&[2, 2, 2, 3]).unwrap_err().to_string();
    assert!(said.contains("`x`") && said.contains("sequences and steps"), "{said}");
    let mut both = named("x", Tensor::f32(&[2, 3], vec![0.0; 6]));
    both.arrays.insert("h".into(), Tensor::f32(&[2, 4], vec![0.0; 8]));
    let said = samples::split(&both, graph, None).unwrap_err().to_string();
    assert!(said.contains("`h`") && said.contains("--state"), "{said}");
    // A model without states has no sequences.
    let plain = import(&leaky().bytes(), &BTreeMap::new()).unwrap();
    let mut given = named("x", Tensor::f32(&[2, 6, 3], vec![0.0; 36]));
    given.arrays.insert("h".into(), Tensor::f32(&[2, 6, 4], vec![0.0; 48]));
    assert!(samples::split(&given, &plain, None).is_err());
    // What the states hold before each step stands behind the inputs, and begins anew with each sequence.
    let array = Tensor::f32(&[2, 3, 3], Random(2).floats(18, 1.0));
    let carried = samples::carried(&named("x", array), graph).unwrap();
    for (i, sample) in carried.iter().enumerate() {
        let zero = sample[1].to_f64_vec().iter().all(|v| *v == 0.0);
        assert_eq!((sample.len(), zero), (2, i % 3 == 0), "step {i}");
    }
}

#[test]
fn memory_counts_what_is_kept() {
    let wide = cell("GRU", 1, (64, 2), false);
    let kept = compiled(&wide, "cortex-m4", None, &options(&[("h", "h_out")], Quantize::None));
    let plain = compiled(&wide, "cortex-m4", None, &options(&[], Quantize::None));
    assert_eq!((kept.report.total.states, plain.report.total.states), (256, 0));
    // One state instead of two ports.
    assert!(kept.report.total.arena < plain.report.total.arena);
    let state = &kept.program.buffers[kept.program.states[0].buffer.0 as usize];
    assert_eq!(state.place, secateur_compiler::program::Place::State(0));
    let mut report = kept.report.clone();
    report.memory.ram = Some(300);
    let said = secateur_compiler::report::overflow(&report).expect("300 bytes are too few").to_string();
    assert!(said.contains("256 B of it kept between runs"), "{said}");
}
