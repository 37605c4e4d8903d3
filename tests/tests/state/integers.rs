//! The same of integers: what states lose, and what they do not.

use super::{
    Random, all, cell, compiled, decibels, leaky, named, options, refusal, same_on_the_host, wander,
};
use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::cli::engine::{self, Engine};
use secateur_compiler::emit::File;
use secateur_compiler::graph;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::Quantize;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::to_port;
use secateur_compiler::samples::Sequences;
use secateur_compiler::tensor::Tensor;
use secateur_tests::engines::target;
use secateur_tests::onnx::{FLOAT, Model, UINT8, attr_int, dims, floats, ints, node, port, tensor};
use secateur_tests::{host, repository};

/// What a program holds in its first state after each step, in real numbers.
fn states(artifact: &Artifact, samples: &[Vec<Tensor>]) -> Vec<f64> {
    let mut machine = Machine::new(&artifact.program).unwrap();
    let state = artifact.program.states[0].buffer;
    let mut all = Vec::new();
    for sample in samples {
        let stored: Vec<Tensor> =
            sample.iter().zip(&artifact.program.inputs).map(|(t, p)| to_port(t, p)).collect();
        machine.run(&stored).unwrap_or_else(|e| panic!("{e}"));
        all.extend(machine.real(state).unwrap().to_f64_vec());
    }
    all
}

/// The same of the float model.
fn real_states(artifact: &Artifact, samples: &[Vec<Tensor>]) -> Vec<f64> {
    let mut samples = samples.to_vec();
    samples.push(samples[0].clone());
    let inputs = artifact.imported.inputs().len();
    let carried = graph::carried(&artifact.imported, samples, usize::MAX).unwrap();
    carried[1..].iter().flat_map(|s| s[inputs].to_f64_vec()).collect()
}

/// A cell whose state follows its input over some 56 steps, one step a run, and 9,600 runs without a reset.
#[test]
fn slow_states_stay_for_thousands_of_runs() {
    const LONG: usize = 9600;
    let model = cell("GRU", 1, (6, 2), true);
    let mut random = Random(31);
    let data = named("x", Tensor::f32(&[LONG, 1, 1, 2], wander(&mut random, LONG, 2)));
    let artifact = compiled(&model, "host", Some(&data), &options(&[("h", "h_out")], Quantize::Int8));
    assert_eq!(artifact.report.states[0].port.elem, "i16");
    let x = wander(&mut random, LONG, 2);
    let samples: Vec<Vec<Tensor>> = x.chunks(2).map(|x| vec![Tensor::f32(&[1, 1, 2], x.to_vec())]).collect();
    let (want, have) = (real_states(&artifact, &samples), states(&artifact, &samples));
    let found = decibels(&want, &have);
    let late = want.len() / 2..want.len();
    let drift = late.clone().map(|i| want[i] - have[i]).sum::<f64>().abs() / late.len() as f64;
    println!("{found:.1} dB of the state, {drift:.6} off in the second half's mean");
    assert!(found >= 40.0 && drift < 1e-3, "{found} {drift}");
    same_on_the_host(&artifact, &Sequences::one(samples));
}

/// With states of sixteen bits it makes no difference how many steps a run has.
#[test]
fn integer_cells_of_one_step_are_the_layer_over_all_steps() {
    const STEPS: usize = 120;
    for (op, ties) in [("GRU", &[("h", "h_out")][..]), ("LSTM", &[("h", "h_out"), ("c", "c_out")])] {
        let x = wander(&mut Random(13), STEPS, 2);
        let mut whole = cell(op, STEPS as i64, (6, 2), true);
        // From zero on.
        whole.inputs.truncate(1);
        whole.outputs.truncate(1);
        let zeros = ["h", "c"].map(|name| floats(name, &[1, 1, 6], &[0.0; 6]));
        whole.initializers.extend(zeros.into_iter().take(ties.len()));
        let data = named("x", Tensor::f32(&[1, STEPS, 1, 2], x.clone()));
        let whole = compiled(&whole, "host", Some(&data), &options(&[], Quantize::Int8));
        let want =
            same_on_the_host(&whole, &Sequences::one(vec![vec![Tensor::f32(&[STEPS, 1, 2], x.clone())]]));
        let data = named("x", Tensor::f32(&[STEPS, 1, 1, 2], x.clone()));
        let artifact =
            compiled(&cell(op, 1, (6, 2), true), "host", Some(&data), &options(ties, Quantize::Int8));
        assert!(artifact.report.states.iter().all(|s| s.port.elem == "i16"), "{:?}", artifact.report.states);
        assert_eq!(artifact.report.layers.iter().filter(|l| l.op == "Copy").count(), 0, "{op}");
        let samples = x.chunks(2).map(|x| vec![Tensor::f32(&[1, 1, 2], x.to_vec())]).collect();
        let (want, have) = (all(&want, 0), all(&same_on_the_host(&artifact, &Sequences::one(samples)), 0));
        // Beside a cell, the result has a scale of its own: both are the same sixteen bits, rounded.
        let scale = |a: &Artifact| f64::from(a.program.outputs[0].affine.map_or(0.0, |a| a.0));
        let (one, other) = (scale(&whole), scale(&artifact));
        let most = if one == other { 0.0 } else { 0.5001 * (one + other) };
        let off = want.iter().zip(&have).map(|(w, h)| (w - h).abs()).fold(0.0, f64::max);
        assert!(off <= most, "{op}: {off} off, at most {most}");
        assert_eq!(most == 0.0, op == "GRU");
    }
}

#[test]
fn a_loop_of_other_operators_has_one_scale() {
    let mut random = Random(41);
    let data = named("x", Tensor::f32(&[4, 60, 3], random.floats(4 * 60 * 3, 1.0)));
    let artifact = compiled(&leaky(), "host", Some(&data), &options(&[("h", "h_out")], Quantize::Int8));
    let graph = &artifact.graph;
    assert_eq!(graph[graph.states()[0]].quant, graph[graph.nexts()[0]].quant);
    assert_eq!(artifact.report.states[0].port.elem, "i8");
    let samples: Vec<Vec<Tensor>> =
        (0..300).map(|_| vec![Tensor::f32(&[1, 3], random.floats(3, 1.0))]).collect();
    let found = decibels(&real_states(&artifact, &samples), &states(&artifact, &samples));
    println!("{found:.1} dB");
    assert!(found >= 20.0, "{found}");
    same_on_the_host(&artifact, &Sequences { samples, steps: 100 });
}

/// A cell that joins its input with its state, which keeps its own scale: the input's is three times as wide.
#[test]
fn a_joined_state_keeps_its_scale() {
    let path = |end: &str| repository().join(format!("tests/cases/int8/rnn_step_state{end}"));
    let bytes = std::fs::read(path(".onnx")).unwrap();
    let mut data = read_samples(&path("_cal.npz")).unwrap();
    data.arrays.remove("h");
    let options = options(&[("h", "h_out")], Quantize::Int8);
    let artifact = compile(&bytes, &target("host"), Some(&data), &options, &mut Silent).unwrap();
    assert_eq!(artifact.report.states[0].port.scale, Some(1.0 / 128.0));
    let mut random = Random(19);
    let samples: Vec<Vec<Tensor>> =
        (0..300).map(|_| vec![Tensor::f32(&[1, 6], random.floats(6, 2.0))]).collect();
    let found = decibels(&real_states(&artifact, &samples), &states(&artifact, &samples));
    println!("{found:.1} dB");
    assert!(found >= 25.0, "{found}");
    same_on_the_host(&artifact, &Sequences::one(samples));
}

/// Both states of an LSTM in one port, the new one read by a layer of eight bits too; on an emulated core.
#[test]
fn states_joined_in_one_port_keep_sixteen_bits() {
    let base = cell("LSTM", 1, (8, 4), true);
    let mut random = Random(77);
    let mut initializers = base.initializers;
    initializers.push(ints("halves", &[2], &[1, 1]));
    initializers.push(ints("flat", &[2], &[1, 8]));
    initializers.push(floats("head", &[2, 8], &random.floats(16, 0.7)));
    let nodes = vec![
        node("parts", "Split", &["state", "halves"], &["h", "c"], &[attr_int("axis", 0)]),
        base.nodes[0].clone(),
        node("join", "Concat", &["h_out", "c_out"], &["state_out"], &[attr_int("axis", 0)]),
        node("flatten", "Reshape", &["h_out", "flat"], &["hf"], &[]),
        node("head", "Gemm", &["hf", "head"], &["score"], &[attr_int("transB", 1)]),
    ];
    let state = dims(&[2, 1, 8]);
    let model = Model {
        nodes,
        initializers,
        inputs: vec![port("x", FLOAT, &dims(&[1, 1, 4])), port("state", FLOAT, &state)],
        outputs: vec![port("score", FLOAT, &dims(&[1, 2])), port("state_out", FLOAT, &state)],
        opset: 17,
    };
    let data = named("x", Tensor::f32(&[600, 1, 1, 4], wander(&mut random, 600, 4)));
    let ties = [("state", "state_out")];
    let samples: Vec<Vec<Tensor>> =
        wander(&mut random, 400, 4).chunks(4).map(|x| vec![Tensor::f32(&[1, 1, 4], x.to_vec())]).collect();
    let sequences = Sequences::one(samples);
    for on in ["host", "cortex-m4"] {
        let artifact = compiled(&model, on, Some(&data), &options(&ties, Quantize::Int8));
        assert_eq!(artifact.report.states[0].port.elem, "i16");
        assert_eq!(artifact.program.outputs[0].elem.name(), "i8");
        let found =
            decibels(&real_states(&artifact, &sequences.samples), &states(&artifact, &sequences.samples));
        println!("{found:.1} dB");
        assert!(found >= 34.0, "{found}");
        if on == "host" {
            same_on_the_host(&artifact, &sequences);
            continue;
        }
        let run = |e: Engine| {
            engine::run(e, &artifact, &target(on), &sequences, &mut Silent).unwrap_or_else(|e| panic!("{e}"))
        };
        let want = run(Engine::Eval);
        for other in [Engine::Emulator, Engine::EmulatorRust] {
            assert_eq!(run(other).stored, want.stored, "{other:?}");
        }
    }
}

/// `h_out = h + x / 2` in a model that brings its own scales: ports of integers, or of floats.
fn brought(integers: bool, (read, written): (f32, f32)) -> Model {
    let scale = |name: &str, v: f32| floats(name, &[], &[v]);
    let zero = |name: &str, v: u8| tensor(name, UINT8, &[], &[v]);
    let q =
        |name: &str, from: &str, to: &str, s: &str| node(name, "QuantizeLinear", &[from, s, "z"], &[to], &[]);
    let dq = |name: &str, from: &str, to: &str, s: &str| {
        node(name, "DequantizeLinear", &[from, s, "z"], &[to], &[])
    };
    let mut nodes = vec![q("qx", "x", "x_q", "half"), dq("dx", "x_q", "x_r", "half")];
    if !integers {
        nodes.push(q("qh", "h", "h_q", "read"));
    }
    nodes.extend([
        dq("dh", if integers { "h" } else { "h_q" }, "h_r", "read"),
        node("add", "Add", &["h_r", "x_r"], &["sum"], &[]),
        q("qs", "sum", if integers { "h_out" } else { "s_q" }, "written"),
        dq("ds", if integers { "h_out" } else { "s_q" }, if integers { "y" } else { "h_out" }, "written"),
    ]);
    if !integers {
        nodes.push(node("y", "Relu", &["h_out"], &["y"], &[]));
    }
    let elem = if integers { UINT8 } else { FLOAT };
    Model {
        nodes,
        initializers: vec![
            scale("half", 0.5),
            scale("read", read),
            scale("written", written),
            zero("z", 100),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 2])), port("h", elem, &dims(&[1, 2]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 2])), port("h_out", elem, &dims(&[1, 2]))],
        opset: 13,
    }
}

#[test]
fn models_that_bring_scales_keep_them() {
    let samples: Vec<Vec<Tensor>> =
        [2.0, -1.0, 4.0, 0.5, -6.0].map(|v| vec![Tensor::f32(&[1, 2], vec![v, -v])]).into();
    let sequences = Sequences::one(samples.clone());
    let of = |model: &Model| compiled(model, "host", None, &options(&[("h", "h_out")], Quantize::Int8));
    for (integers, scales) in
        [(true, (0.5, 0.5)), (false, (0.5, 0.5)), (false, (0.5, 0.25)), (false, (0.25, 0.5))]
    {
        let artifact = of(&brought(integers, scales));
        let mut steps = graph::Steps::new(&artifact.imported);
        let have = same_on_the_host(&artifact, &sequences);
        for (sample, have) in samples.iter().zip(&have) {
            let want = steps.run(sample).unwrap();
            assert!(want[0].to_f64_vec() == have[0].to_f64_vec(), "{integers} {scales:?}");
        }
        // Zero, which integers store as their zero point.
        let text =
            artifact.files.iter().find(|f| f.path == "net.c").map(|f| f.text.as_str()).unwrap_or_default();
        assert!(text.contains("] = 228U;"), "100 less 128, as a byte");
    }
    let said = refusal(&brought(true, (0.5, 0.25)), &options(&[("h", "h_out")], Quantize::Int8));
    assert!(said.contains("`h_out`") && said.contains("scale 0.25") && said.contains("scale 0.5"), "{said}");
}

/// Without a tie the warning names the flag; with it there is nothing to warn of.
#[test]
fn ports_of_two_scales_are_told_the_flag() {
    let mut random = Random(3);
    let mut data = named("x", Tensor::f32(&[64, 1, 3], random.floats(64 * 3, 3.0)));
    data.arrays.insert("h".into(), Tensor::f32(&[64, 1, 4], random.floats(64 * 4, 0.2)));
    let plain = compiled(&leaky(), "host", Some(&data), &options(&[], Quantize::Int8));
    let told = |a: &Artifact| {
        let helps = a.report.warnings.iter().filter_map(|w| w.help.clone());
        helps.filter(|help| help.contains("`--state h=h_out`")).count()
    };
    assert_eq!((told(&plain), plain.program.states.len()), (1, 0), "{:?}", plain.report.warnings);
    data.arrays.remove("h");
    let tied = compiled(&leaky(), "host", Some(&data), &options(&[("h", "h_out")], Quantize::Int8));
    assert_eq!(told(&tied), 0, "{:?}", tied.report.warnings);
}

/// A layer that integers cannot hold computes in floats, and so its state stays.
#[test]
fn layers_of_floats_keep_floats() {
    let mut random = Random(29);
    let mut model = cell("GRU", 1, (6, 2), true);
    // Beyond -1..=1, where integers end.
    model.initializers.push(floats("h", &[1, 1, 6], &[3.0; 6]));
    let data = named("x", Tensor::f32(&[300, 1, 1, 2], wander(&mut random, 300, 2)));
    let artifact = compiled(&model, "host", Some(&data), &options(&[("h", "h_out")], Quantize::Int8));
    assert_eq!(artifact.report.states[0].port.elem, "f32");
    let x = wander(&mut random, 300, 2);
    let samples: Vec<Vec<Tensor>> = x.chunks(2).map(|x| vec![Tensor::f32(&[1, 1, 2], x.to_vec())]).collect();
    let found = decibels(&real_states(&artifact, &samples), &states(&artifact, &samples));
    println!("{found:.1} dB");
    assert!(found >= 40.0, "{found}");
    same_on_the_host(&artifact, &Sequences::one(samples));
}

/// What the caller of emitted C reads in the state after each run is what the evaluator holds there.
#[test]
fn callers_read_the_state() {
    let mut random = Random(23);
    let data = named("x", Tensor::f32(&[200, 1, 1, 2], wander(&mut random, 200, 2)));
    let model = cell("GRU", 1, (6, 2), true);
    let artifact = compiled(&model, "host", Some(&data), &options(&[("h", "h_out")], Quantize::Int8));
    let mut machine = Machine::new(&artifact.program).unwrap();
    let (mut fed, mut want) = (Vec::new(), Vec::new());
    for x in wander(&mut random, 100, 2).chunks(2) {
        let stored = to_port(&Tensor::f32(&[1, 1, 2], x.to_vec()), &artifact.program.inputs[0]);
        fed.extend(stored.data().to_le_bytes());
        machine.run(&[stored]).unwrap();
        want.extend(machine.buffer(artifact.program.states[0].buffer).unwrap().to_le_bytes());
    }
    let main = "#include \"net.h\"\n#include <stdio.h>\nstatic net_arena arena;\nint main(void) {\n    \
        int8_t x[NET_X_LEN], y[NET_Y_LEN];\n    net_init(&arena);\n    \
        while (fread(x, 1, sizeof x, stdin) == sizeof x) {\n        net_run(&arena, x, y);\n        \
        (void)fwrite(net_state_h(&arena), sizeof(NET_STATE_H_TYPE), NET_STATE_H_LEN, stdout);\n    }\n    \
        return 0;\n}\n";
    let files: Vec<File> = artifact.files.iter().filter(|f| !f.path.ends_with(".rs")).cloned().collect();
    for cc in host::c_compilers() {
        assert!(host::build_and_run_c(cc, &files, main, "c", &fed) == want, "{cc}");
    }
}

#[test]
fn the_header_names_what_is_kept() {
    let mut random = Random(8);
    let data = named("x", Tensor::f32(&[200, 1, 1, 2], wander(&mut random, 200, 2)));
    let artifact = compiled(
        &cell("GRU", 1, (6, 2), true),
        "host",
        Some(&data),
        &options(&[("h", "h_out")], Quantize::Int8),
    );
    let header =
        artifact.files.iter().find(|f| f.path == "net.h").map(|f| f.text.as_str()).unwrap_or_default();
    let fixed = header.lines().filter(|l| !l.contains("DIGEST") && !l.contains("Digest of model"));
    insta::assert_snapshot!("header", fixed.map(|l| format!("{l}\n")).collect::<String>());
    let rust =
        artifact.files.iter().find(|f| f.path == "net.rs").map(|f| f.text.as_str()).unwrap_or_default();
    for part in
        ["pub fn state_h(&self) -> &[i16; 6]", "pub const fn reset(&mut self)", "pub const STATE_H_SCALE"]
    {
        assert!(rust.contains(part), "{part}");
    }
}
