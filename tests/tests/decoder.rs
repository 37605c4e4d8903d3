//! Causal decoders that read one token a run and keep keys and values of those before, in every spelling that
//! exporters have for such a cache: as onnxruntime in floats, near that in integers, the same bits everywhere.
//!
//! In: `tests/decoder/NAME.onnx`, tokens to calibrate with and to try, and the logits that onnxruntime gives for the
//! latter step by step (`NAME.ref.npz`), all made by `make.py` there.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::cli::engine::{self, Engine};
use secateur_compiler::graph;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::samples::{self, Sequences};
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::drawn::{self, Random, decibels, fed, same_bits};
use secateur_tests::engines::{evaluate, target};
use secateur_tests::onnx::{FLOAT, INT8, Model, attr_int, attr_str, dims, floats, ints, node, port, tensor};
use std::path::PathBuf;

/// Each decoder, and whether the model counts its steps itself.
const DECODERS: [(&str, bool); 3] = [("scatter", true), ("ring", true), ("window", false)];

const LAYERS: usize = 2;

fn path(file: &str) -> PathBuf {
    secateur_tests::repository().join("tests/decoder").join(file)
}

fn read(file: &str) -> Samples {
    read_samples(&path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Sequences of tokens, each with its position where the caller counts.
fn tokens(file: &str, counts: bool) -> Samples {
    let mut samples = read(file);
    if !counts {
        let shape = samples.arrays["token"].shape().to_vec();
        let positions = (0..shape[0]).flat_map(|_| 0..shape[1] as i64).collect();
        samples.arrays.insert("position".into(), Tensor::i64(&[shape[0], shape[1], 1], positions));
    }
    samples
}

fn compiled(name: &str, counts: bool, on: &str, quantize: Quantize) -> Artifact {
    let bytes = std::fs::read(path(&format!("{name}.onnx"))).expect("a decoder");
    let mut states: Vec<(String, String)> = (0..LAYERS)
        .flat_map(|i| {
            ["key", "value"].map(|part| (format!("past_{part}_{i}"), format!("present_{part}_{i}")))
        })
        .collect();
    states.extend(counts.then(|| ("position".to_owned(), "position_next".to_owned())));
    let emit = vec![Language::C, Language::Rust];
    let options = Options { name: "decoder".into(), quantize, states, emit, ..Options::default() };
    let samples = (quantize != Quantize::None).then(|| tokens("tokens.calib.npz", counts));
    compile(&bytes, &target(on), samples.as_ref(), &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The one sequence to try, for an artifact.
fn tried(artifact: &Artifact, counts: bool) -> Sequences {
    let sequences = samples::sequences(&tokens("tokens.npz", counts), &artifact.imported, None);
    let sequences = sequences.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((sequences.samples.len(), sequences.steps), (64, 64));
    sequences
}

fn run(engine: Engine, artifact: &Artifact, on: &str, sequences: &Sequences) -> engine::Outputs {
    engine::run(engine, artifact, &target(on), sequences, &mut Silent)
        .unwrap_or_else(|e| panic!("{} on {on}: {e}", engine.name()))
}

/// Logits of all steps, and those of onnxruntime.
fn logits(name: &str, outputs: &engine::Outputs) -> (Vec<f64>, Vec<f64>) {
    let have: Vec<f64> = outputs.real.iter().flat_map(|step| step[0].to_f64_vec()).collect();
    let want = read(&format!("{name}.ref.npz")).arrays["logits"].to_f64_vec();
    assert_eq!(have.len(), want.len(), "{name}");
    (have, want)
}

#[test]
fn floats_are_onnxruntimes() {
    for (name, counts) in DECODERS {
        let artifact = compiled(name, counts, "host", Quantize::None);
        let sequences = tried(&artifact, counts);
        let compiled = run(Engine::C, &artifact, "host", &sequences);
        assert_eq!(run(Engine::Eval, &artifact, "host", &sequences), compiled, "{name}");
        assert_eq!(run(Engine::Rust, &artifact, "host", &sequences), compiled, "{name}");
        for outputs in [run(Engine::Float, &artifact, "host", &sequences), compiled] {
            let (have, want) = logits(name, &outputs);
            let most = want.iter().fold(0.0f64, |most, w| most.max(w.abs()));
            let off = have.iter().zip(&want).fold(0.0f64, |off, (h, w)| off.max((h - w).abs()));
            println!("{name}: {:.1e} of the greatest logit", off / most);
            assert!(off <= 1e-4 * most, "{name}: {off}");
        }
    }
}

/// Also: a cache is stored as bytes, and nothing on its way is done in floats.
#[test]
fn integers_follow_floats() {
    for (name, counts) in DECODERS {
        let artifact = compiled(name, counts, "host", Quantize::Int8);
        let caches: Vec<_> =
            artifact.report.states.iter().filter(|s| s.port.name.starts_with("past")).collect();
        assert!(caches.len() == 2 * LAYERS && caches.iter().all(|s| s.port.elem == "i8"), "{caches:?}");
        let real: Vec<&str> =
            artifact.report.layers.iter().filter(|l| l.op == "Requantize").map(|l| &*l.name).collect();
        assert!(real.is_empty(), "{name}: {real:?}");
        let (have, want) = logits(name, &run(Engine::Eval, &artifact, "host", &tried(&artifact, counts)));
        let signal: f64 = want.iter().map(|w| w * w).sum();
        let noise: f64 = have.iter().zip(&want).map(|(h, w)| (h - w) * (h - w)).sum();
        let decibels = 10.0 * (signal / noise).log10();
        println!("{name}: {decibels:.1} dB");
        assert!(decibels >= 25.0, "{name}: {decibels:.1} dB");
    }
}

/// A cache for all steps, into which each puts its own keys: no second one beside it, and no copy.
#[test]
fn keys_are_put_where_the_cache_stands() {
    for quantize in [Quantize::None, Quantize::Int8] {
        let artifact = compiled("scatter", true, "cortex-m4", quantize);
        let size = if quantize == Quantize::None { 4 } else { 1 };
        let layers = &artifact.report.layers;
        let copied: Vec<&str> =
            layers.iter().filter(|l| l.name.contains("key") && l.op == "Copy").map(|l| &*l.name).collect();
        assert!(copied.is_empty(), "{copied:?}");
        // Nothing but the new keys is written, and the report says so.
        let ways: Vec<&str> = layers
            .iter()
            .filter(|l| l.name.contains("key") && l.op == "ScatterFlat")
            .map(|l| &*l.family)
            .collect();
        assert_eq!(ways, ["portable"; LAYERS]);
        // Four caches of 2,048 elements; the scatter of values turns one around, for which it needs one more.
        let (arena, kept) = (artifact.report.total.arena, artifact.report.total.states);
        assert_eq!(kept, 4 * 2048 * size + 8);
        println!("{arena} bytes with {kept} of states");
        assert!(arena <= kept + 2048 * size + 1000, "{arena} of which {kept}");
    }
}

fn same_on_every_core((name, counts): (&str, bool)) {
    let mut first = None;
    for on in ["host", "cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc"] {
        let artifact = compiled(name, counts, on, Quantize::Int8);
        let sequences = tried(&artifact, counts);
        let want = run(Engine::Eval, &artifact, on, &sequences).stored;
        assert_eq!(*first.get_or_insert(want.clone()), want, "{name}: the program for {on}");
        let others: &[Engine] = match on {
            "host" => &[Engine::C, Engine::Rust],
            "cortex-m4" => &[Engine::Emulator, Engine::EmulatorRust],
            _ => &[Engine::Emulator],
        };
        for &other in others {
            let have = run(other, &artifact, on, &sequences).stored;
            assert_eq!(have, want, "{name}: {} on {on}", other.name());
        }
    }
}

#[test]
fn a_scattered_cache_is_the_same_on_every_core() {
    same_on_every_core(DECODERS[0]);
}

#[test]
fn a_ring_is_the_same_on_every_core() {
    same_on_every_core(DECODERS[1]);
}

#[test]
fn a_window_is_the_same_on_every_core() {
    same_on_every_core(DECODERS[2]);
}

/// Updates of a row by constant indices, one from the end and one that comes twice: the row an input, or zeros.
fn scattered(reduction: &str, zeros: bool) -> Model {
    let mut model = Model {
        nodes: vec![node(
            "y",
            "ScatterElements",
            &["x", "places", "u"],
            &["y"],
            &[attr_int("axis", 1), attr_str("reduction", reduction)],
        )],
        initializers: vec![ints("places", &[1, 4], &[-1, 2, 2, 0])],
        inputs: vec![port("u", FLOAT, &dims(&[1, 4]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 8]))],
        opset: 18,
    };
    match zeros {
        true => model.initializers.push(floats("x", &[1, 8], &[0.0; 8])),
        false => model.inputs.push(port("x", FLOAT, &dims(&[1, 8]))),
    }
    model
}

#[test]
fn scatters_that_only_move_compute_on_integers() {
    for (reduction, zeros) in
        [("none", false), ("none", true), ("max", false), ("max", true), ("min", false), ("add", false)]
    {
        let bytes = scattered(reduction, zeros).bytes();
        let (mut random, mut samples) = (Random(5), Samples::default());
        samples.arrays.insert("u".into(), Tensor::f32(&[60, 1, 4], random.floats(240, 3.0)));
        if !zeros {
            samples.arrays.insert("x".into(), Tensor::f32(&[60, 1, 8], random.floats(480, 3.0)));
        }
        let artifacts = same_bits(&bytes, &samples, &["host", "cortex-m4"], 3.0);
        let real = artifacts[0].report.layers.iter().filter(|l| l.op == "Requantize").count();
        assert_eq!(real > 0, reduction == "add", "{reduction} {zeros}");
        let found = decibels(&artifacts[0], &fed(&artifacts[0], 12, 9, 3.0));
        println!("{found:.1} dB {reduction} {zeros}");
        assert!(found >= 40.0, "{found:.1} dB {reduction} {zeros}");
    }
}

/// Row, updates and result each with a scale of the model's own: both operands are rescaled before they are joined,
/// as a QuantizeLinear behind a scatter of real numbers would.
#[test]
fn a_scatter_keeps_the_scales_that_a_model_brings() {
    let q =
        |name: &str, from: &str, to: &str, s: &str| node(name, "QuantizeLinear", &[from, s, "z"], &[to], &[]);
    let dq = |name: &str, from: &str, to: &str, s: &str| {
        node(name, "DequantizeLinear", &[from, s, "z"], &[to], &[])
    };
    let mut model = scattered("none", false);
    model.nodes = vec![
        q("qx", "x", "xq", "coarse"),
        dq("dx", "xq", "xr", "coarse"),
        q("qu", "u", "uq", "fine"),
        dq("du", "uq", "ur", "fine"),
        node("s", "ScatterElements", &["xr", "places", "ur"], &["sr"], &[attr_int("axis", 1)]),
        q("qs", "sr", "sq", "middle"),
        dq("ds", "sq", "y", "middle"),
    ];
    for (name, scale) in [("coarse", 0.5), ("fine", 0.01), ("middle", 0.0625)] {
        model.initializers.push(floats(name, &[], &[scale]));
    }
    model.initializers.push(tensor("z", INT8, &[], &[3]));
    let artifact = drawn::compiled(&model.bytes(), "host", None);
    let (real, stored) = fed(&artifact, 12, 9, 5.0);
    let have = evaluate(&artifact, &stored);
    for (real, have) in real.iter().zip(&have) {
        let want = graph::run(&artifact.imported, real).unwrap()[0].to_f64_vec();
        let have: Vec<f64> = have[0].to_f64_vec().iter().map(|v| (v - 3.0) * 0.0625).collect();
        assert_eq!(have, want);
    }
}
