//! How near integer results are to the float meaning of a model: signal over error.
//!
//! In: small models of `tests/cases/int8`, and graphs built here. Law: 20 dB are the least that a
//! user may rely on, most cases have 30 and more; a model that brought its own quantization is
//! within one step of what its file says.

mod ranges;

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::error::Result;
use secateur_compiler::graph::{Graph, Patch, Quant, ValueId};
use secateur_compiler::ops::{self, Op};
use secateur_compiler::options::Optimize;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{from_port, to_port};
use secateur_compiler::tensor::{DType, Samples, Tensor};
use secateur_compiler::{Options, Silent, lower, quantize, schedule, targets};
use std::collections::BTreeSet;

/// A case compiled for the host, with its calibration samples if there are any.
fn case(name: &str, calibrate: bool) -> Result<Artifact> {
    let path = |end: &str| secateur_tests::repository().join(format!("tests/cases/int8/{name}{end}"));
    let model = std::fs::read(path(".onnx")).expect("a case");
    let samples = calibrate.then(|| read_samples(&path("_cal.npz")).expect("its calibration samples"));
    let options = Options { name: "small".into(), emit: Vec::new(), ..Options::default() };
    compile(&model, &targets::find("host").unwrap(), samples.as_ref(), &options, &mut Silent)
}

fn inputs(name: &str, graph: &Graph) -> Vec<Vec<Tensor>> {
    let path = secateur_tests::repository().join(format!("tests/cases/int8/{name}_x.npz"));
    let samples = read_samples(&path).expect("its samples");
    secateur_compiler::samples::split(&samples, graph, None).expect("samples that fit")
}

/// Real outputs of a program, all samples in a row, for each output.
fn real(program: &secateur_compiler::program::Program, samples: &[Vec<Tensor>]) -> Vec<Vec<f32>> {
    let mut machine = Machine::new(program).expect("a sound program");
    let mut all = vec![Vec::new(); program.outputs.len()];
    for sample in samples {
        let stored: Vec<Tensor> = sample.iter().zip(&program.inputs).map(|(t, p)| to_port(t, p)).collect();
        let results = machine.run(&stored).expect("a run");
        for ((all, t), p) in all.iter_mut().zip(&results).zip(&program.outputs) {
            all.extend(from_port(t, p).to_f32_vec());
        }
    }
    all
}

fn float(graph: &Graph, samples: &[Vec<Tensor>]) -> Vec<Vec<f32>> {
    let mut all = vec![Vec::new(); graph.outputs().len()];
    for sample in samples {
        for (all, t) in all.iter_mut().zip(secateur_compiler::graph::run(graph, sample).expect("a float run"))
        {
            all.extend(t.to_f32_vec());
        }
    }
    all
}

fn decibels(have: &[f32], want: &[f32]) -> f64 {
    assert_eq!(have.len(), want.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let signal: f64 = want.iter().map(|&w| square(w)).sum();
    let error: f64 = have.iter().zip(want).map(|(&h, &w)| square(h - w)).sum();
    10.0 * (signal / error).log10()
}

#[test]
fn calibrated_cases_keep_their_signal() {
    let cases = [
        ("int8_concat_two_convs", 35.0),
        ("int8_concat_cls_token", 30.0),
        ("int8_concat_tanh", 30.0),
        ("int8_softmax_wide", 25.0),
    ];
    for (name, least) in cases {
        let artifact = case(name, true).unwrap_or_else(|e| panic!("{name}: {e}"));
        let samples = inputs(name, &artifact.imported);
        let (have, want) = (real(&artifact.program, &samples), float(&artifact.imported, &samples));
        for (have, want) in have.iter().zip(&want) {
            let snr = decibels(have, want);
            assert!(snr >= least, "{name}: {snr:.1} dB");
        }
    }
}

#[test]
fn quantized_cases_are_within_one_step_of_their_file() {
    for name in ["qdq_gemm_transA", "qdq_pad_value", "qdq_reducemean_tanh"] {
        let artifact = case(name, false).unwrap_or_else(|e| panic!("{name}: {e}"));
        let samples = inputs(name, &artifact.imported);
        let (have, want) = (real(&artifact.program, &samples), float(&artifact.imported, &samples));
        for ((have, want), port) in have.iter().zip(&want).zip(&artifact.program.outputs) {
            // A result without a scale of its own is a float; it hangs on one step of its operand.
            let step = port.affine.map_or(0.01, |(scale, _)| scale * 1.01);
            let worst = have.iter().zip(want).map(|(h, w)| (h - w).abs()).fold(0.0, f32::max);
            assert!(worst <= step, "{name}: off by {worst}, a step is {step}");
        }
    }
    case("qoperator_conv", false).expect("QLinear operators are written as what they are made of");
}

#[test]
fn a_state_with_two_scales_is_warned_of() {
    let artifact = case("rnn_step_state", true).unwrap();
    let said: Vec<String> = artifact.report.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|w| w.contains("output `h_out` hands to input `h`")), "{said:?}");
    assert!(said.iter().any(|w| w.starts_with("tensor `h`: is joined with wider values")), "{said:?}");
}

/// Numbers from -1 to 1.
struct Random(u64);
impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / 8_388_608.0) - 1.0
    }
    fn tensor(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let n = shape.iter().product();
        Tensor::f32(shape, (0..n).map(|_| self.next() * scale).collect())
    }
}

/// A graph of one input, and its samples.
fn built(
    shape: &[usize],
    scale: f32,
    write: &dyn Fn(&mut Patch<'_>, ValueId) -> Vec<ValueId>,
) -> (Graph, Vec<Vec<Tensor>>) {
    let mut graph = Graph::default();
    let mut patch = Patch::new(&mut graph);
    let x = patch.add_input("x", DType::F32, shape);
    for y in write(&mut patch, x) {
        patch.add_output(y);
    }
    let mut random = Random(7);
    let samples = (0..40).map(|_| vec![random.tensor(shape, scale)]).collect();
    (graph, samples)
}

fn node(
    patch: &mut Patch<'_>,
    name: &str,
    op: impl Into<Op>,
    inputs: &[ValueId],
    shape: &[usize],
) -> ValueId {
    let y = patch.add_value(name, DType::F32, shape);
    patch.add_node(name, op.into(), inputs.iter().map(|&v| Some(v)).collect(), vec![y]);
    y
}

fn stacked(samples: &[Vec<Tensor>]) -> Samples {
    let shape = [&[samples.len()], samples[0][0].shape()].concat();
    let all = samples.iter().flat_map(|s| s[0].to_f32_vec()).collect();
    let mut found = Samples::default();
    found.arrays.insert(String::new(), Tensor::f32(&shape, all));
    found
}

/// Outputs of a quantized graph by its program, and by its float meaning.
fn both(graph: &Graph, quantized: &Graph, samples: &[Vec<Tensor>]) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let host = targets::find("host").unwrap();
    let schedule = schedule::schedule(quantized, &host, Optimize::Balanced).unwrap();
    let program = lower::lower(quantized, &schedule).unwrap();
    secateur_compiler::program::prove(&program).unwrap();
    (real(&program, samples), float(graph, samples))
}

fn calibrated(graph: &Graph, samples: &[Vec<Tensor>]) -> Graph {
    let mut quantized = graph.clone();
    quantize::quantize(&mut quantized, &stacked(samples), &Options::default(), &BTreeSet::new(), &mut Silent)
        .unwrap();
    quantize::settle(&mut quantized).unwrap();
    quantized
}

/// A quantized input whose mean, without a scale of its own, is small beside it.
#[test]
fn a_mean_without_a_scale_keeps_its_value() {
    let pools: [(&str, fn() -> Op, [usize; 4]); 3] = [
        ("global", || ops::GlobalAveragePool.into(), [1, 3, 1, 1]),
        ("mean", || ops::ReduceMean { axes: vec![2, 3], keepdims: true }.into(), [1, 3, 1, 1]),
        ("tanh of mean", || ops::ReduceMean { axes: vec![2, 3], keepdims: true }.into(), [1, 3, 1, 1]),
    ];
    for (name, op, out) in pools {
        let (mut graph, samples) = built(&[1, 3, 20, 20], 4.0, &|p, x| {
            let m = node(p, "m", op(), &[x], &out);
            vec![if name.starts_with("tanh") { node(p, "y", ops::Tanh, &[m], &out) } else { m }]
        });
        let x = graph.inputs()[0];
        Patch::new(&mut graph).set_quant(x, Some(Quant::per_tensor(DType::I8, 8.0 / 255.0, 0)));
        for calibrate in [false, true] {
            let mut quantized = graph.clone();
            if calibrate {
                let used = quantize::complete(&mut quantized, &stacked(&samples), &mut Silent).unwrap();
                assert!(used, "{name}: a scale was missing");
            }
            quantize::settle(&mut quantized).unwrap();
            let (have, want) = both(&graph, &quantized, &samples);
            let snr = decibels(&have[0], &want[0]);
            assert!(snr >= 25.0, "{name}, calibrated {calibrate}: {snr:.1} dB");
            let integer = quantized[quantized.outputs()[0]].quant.is_some();
            assert_eq!(integer, calibrate, "{name}");
        }
    }
}

/// An element-wise operator whose constant the model did not quantize computes with it as it is.
#[test]
fn constants_of_a_quantized_model_stay_what_they_are() {
    let ops: [(&str, fn() -> Op); 4] = [
        ("add", || ops::Add.into()),
        ("sub", || ops::Sub.into()),
        ("mul", || ops::Mul.into()),
        ("div", || ops::Div.into()),
    ];
    let shape = [1, 5, 7];
    // One wide and many narrow numbers: eight bits would spoil the narrow ones.
    let wide = [100.0f32, 0.013, -0.4, 1.7, 0.02];
    let even = [1.5f32, 0.7, -1.1, 2.0, 0.9];
    for (name, op) in ops {
        for constants in [&wide[..], &even, &even[..1]] {
            for first in [false, true] {
                let (mut graph, samples) = built(&shape, 3.0, &|p, x| {
                    let c = p.add_constant("c", Tensor::f32(&[constants.len(), 1], constants.to_vec()));
                    let operands = if first { [c, x] } else { [x, c] };
                    vec![node(p, "y", op(), &operands, &shape)]
                });
                let want = float(&graph, &samples);
                let far =
                    want[0].iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs())).min(200.0);
                let (x, y) = (graph.inputs()[0], graph.outputs()[0]);
                let scale = far / 127.0;
                let step = 3.0 / 120.0;
                let mut patch = Patch::new(&mut graph);
                patch.set_quant(x, Some(Quant::per_tensor(DType::I8, step, 3)));
                patch.set_quant(y, Some(Quant::per_tensor(DType::I8, scale, -1)));
                // Samples on the grid of the input, so that only the operator's own error is left.
                let samples: Vec<Vec<Tensor>> = samples
                    .iter()
                    .map(|s| {
                        let grid =
                            s[0].to_f32_vec().iter().map(|v| (v / step).round() * step + 0.0).collect();
                        vec![Tensor::f32(&shape, grid)]
                    })
                    .collect();
                let mut quantized = graph.clone();
                quantize::settle(&mut quantized).unwrap();
                let (have, want) = both(&graph, &quantized, &samples);
                for (h, w) in have[0].iter().zip(&want[0]) {
                    let w = w.clamp(-127.0 * scale, 128.0 * scale);
                    // 0 / 0 has no value.
                    let off = if w.is_nan() { 0.0 } else { (h - w).abs() / scale };
                    assert!(off <= 1.01, "{name} of {} constants, first {first}: {h} {w}", constants.len());
                }
            }
        }
    }
}

/// Ports that are one state by their names, or because nothing else fits.
#[test]
fn states_are_found_by_name_and_by_flow() {
    for (input, output, other) in [("h", "h_out", "y"), ("state1", "new_state1", "y"), ("a", "b", "y")] {
        let mut graph = Graph::default();
        let mut p = Patch::new(&mut graph);
        let x = p.add_input("x", DType::F32, &[1, 3]);
        let h = p.add_input(input, DType::F32, &[1, 4]);
        let all = node(&mut p, "all", ops::Concat { axis: 1 }, &[x, h], &[1, 7]);
        let w = p.add_constant("w", Random(5).tensor(&[4, 7], 0.4));
        let dense = node(&mut p, "dense", ops::Dense, &[all, w], &[1, 4]);
        let next = node(&mut p, output, ops::Tanh, &[dense], &[1, 4]);
        let head = p.add_constant("head", Random(6).tensor(&[2, 4], 0.4));
        let y = node(&mut p, other, ops::Dense, &[next, head], &[1, 2]);
        p.add_output(y);
        p.add_output(next);
        let mut random = Random(9);
        let mut column = |width: usize, scale: f32| random.tensor(&[30, 1, width], scale);
        let mut samples = Samples::default();
        samples.arrays.insert("x".into(), column(3, 5.0));
        samples.arrays.insert(input.into(), column(4, 1.0));
        quantize::quantize(&mut graph, &samples, &Options::default(), &BTreeSet::new(), &mut Silent).unwrap();
        quantize::warn_of_states(&mut graph);
        let said: Vec<String> = graph.warnings().iter().map(ToString::to_string).collect();
        let want = format!("output `{output}` hands to input `{input}`");
        assert!(said.iter().any(|w| w.contains(&want)), "{input}: {said:?}");
        assert!(said.iter().any(|w| w.contains("is joined with wider values")), "{input}: {said:?}");
    }
    // A network of one input and one output is no cell, whatever its shapes.
    let (graph, samples) = built(&[1, 4], 1.0, &|p, x| vec![node(p, "y", ops::Tanh, &[x], &[1, 4])]);
    let mut quantized = calibrated(&graph, &samples);
    quantize::warn_of_states(&mut quantized);
    assert_eq!(quantized.warnings(), []);
}

/// A Pad writes its number with the scale of its result, which its operand need not hold.
#[test]
fn a_pad_writes_what_its_operand_cannot_hold() {
    let (mut graph, samples) = built(&[1, 2, 5], 0.25, &|p, x| {
        let pad = ops::Pad { mode: ops::PadMode::Constant, pads: vec![0, 0, 1, 0, 0, 2], value: -2.5 };
        vec![node(p, "y", pad, &[x], &[1, 2, 8])]
    });
    let (x, y) = (graph.inputs()[0], graph.outputs()[0]);
    let step = 2.75 / 255.0;
    let mut patch = Patch::new(&mut graph);
    patch.set_quant(x, Some(Quant::per_tensor(DType::I8, 0.5 / 255.0, 0)));
    patch.set_quant(y, Some(Quant::per_tensor(DType::I8, step, 104)));
    let mut quantized = graph.clone();
    quantize::settle(&mut quantized).unwrap();
    let (have, want) = both(&graph, &quantized, &samples);
    for (h, w) in have[0].iter().zip(&want[0]) {
        assert!((h - w).abs() <= step, "{h} {w}");
    }
}

/// A Gemm whose bias is no integer, because it is scaled: still one layer with scales of its own
/// for each channel.
#[test]
fn a_scaled_bias_stays_with_its_gemm() {
    use secateur_tests::onnx::{self as file, Model};
    let attrs = [file::attr_int("transB", 1), file::attr_float("alpha", 2.0), file::attr_float("beta", 0.25)];
    let model = Model {
        nodes: vec![
            file::node("qx", "QuantizeLinear", &["x", "sx", "z"], &["xq"], &[]),
            file::node("dx", "DequantizeLinear", &["xq", "sx", "z"], &["xf"], &[]),
            file::node("dw", "DequantizeLinear", &["wq", "sw", "zw"], &["wf"], &[file::attr_int("axis", 0)]),
            file::node("g", "Gemm", &["xf", "wf", "b"], &["m"], &attrs),
            file::node("qy", "QuantizeLinear", &["m", "sy", "z"], &["yq"], &[]),
            file::node("dy", "DequantizeLinear", &["yq", "sy", "z"], &["y"], &[]),
        ],
        initializers: vec![
            file::floats("sx", &[], &[0.02]),
            file::tensor("z", file::INT8, &[], &[0]),
            file::tensor("wq", file::INT8, &[2, 3], &[100, 156, 90, 20, 7, 240]),
            file::floats("sw", &[2], &[0.01, 0.001]),
            file::tensor("zw", file::INT8, &[2], &[0, 0]),
            file::floats("b", &[2], &[1.6, -0.8]),
            file::floats("sy", &[], &[0.05]),
        ],
        inputs: vec![file::port("x", file::FLOAT, &file::dims(&[1, 3]))],
        outputs: vec![file::port("y", file::FLOAT, &file::dims(&[1, 2]))],
        opset: 13,
    };
    let options = Options { name: "small".into(), emit: Vec::new(), ..Options::default() };
    let host = targets::find("host").unwrap();
    let artifact = compile(&model.bytes(), &host, None, &options, &mut Silent).unwrap();
    let mut random = Random(5);
    let samples: Vec<Vec<Tensor>> = (0..20).map(|_| vec![random.tensor(&[1, 3], 2.0)]).collect();
    let (have, want) = (real(&artifact.program, &samples), float(&artifact.imported, &samples));
    for (h, w) in have[0].iter().zip(&want[0]) {
        assert!((h - w).abs() <= 0.051, "{h} {w}");
    }
}

/// Rows of any length, around zero and far from it, with a mean and without.
#[test]
fn rows_of_any_length_are_normalized() {
    for n in [3usize, 64, 255, 256, 700, 1023, 1024, 3000] {
        for (away, centred) in [(0.0, true), (3.0, true), (0.0, false), (3.0, false)] {
            let shape = [2, n];
            let (graph, samples) = built(&shape, 1.0, &|p, x| {
                let away = p.add_constant("away", Tensor::f32(&[1], vec![away]));
                let x = node(p, "moved", ops::Add, &[x, away], &shape);
                let op = ops::Normalization { axes: vec![1], epsilon: 1e-5, centred };
                vec![node(p, "normal", op, &[x], &shape)]
            });
            let (have, want) = both(&graph, &calibrated(&graph, &samples), &samples);
            let snr = decibels(&have[0], &want[0]);
            assert!(snr >= 30.0, "{n} elements around {away}, centred {centred}: {snr:.1} dB");
        }
    }
}
