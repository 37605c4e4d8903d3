//! Models built after what people report of this kind of tool: each gives the right values on
//! every engine, or is refused by name, place and what to do, by `inspect` and `compile` alike.
//!
//! In: `tests/field/NAME.onnx` with samples (`NAME.x.npz`) and onnxruntime's outputs without graph
//! optimisations (`NAME.ref.npz`; for `qlinear_conv_small`, whose sums its 8-bit products saturate on some
//! processors, those of ONNX's reference evaluator; for `same_upper_dilated`, which it refuses, those of the same
//! model with explicit pads). The table has one line a case.

use secateur_compiler::artifact::{Artifact, compile, supported};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::cli::toolchain::{Model, Optimize, build};
use secateur_compiler::error::{Error, Fault, Site};
use secateur_compiler::observe::Silent;
use secateur_compiler::onnx::embed;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{as_declared, to_port};
use secateur_compiler::samples;
use secateur_compiler::targets;
use secateur_compiler::tensor::{Samples, Tensor};
use std::path::PathBuf;

/// Models whose results are floats, of integers alone or of floats: within a tenth of a per mille of the reference, relative to its largest value.
const RIGHT: &[&str] = &[
    "argmax_ties",
    "attn_block",
    "avgpool_ceil_exclude_pad",
    "batch_from_reshape_dyn",
    "bn_mul_add",
    "conv1d_dilated_same",
    "conv_dilation_stride",
    "conv_kernel_gt_input",
    "convtranspose",
    "cumsum_topk",
    "expand_where_idiom",
    "external_weights",
    "floordiv_shape_slice",
    "fp16_weights",
    "gelu_decomposed",
    "gemm_alpha_beta",
    "global_max_mean_concat",
    "gru_reverse_clip",
    "gru_tf",
    "hardswish_hswish_div6",
    "if_constant",
    "if_runtime",
    "int64_ids",
    "ir10_opset23",
    "layernorm17",
    "local_functions",
    "loop_count",
    "loop_ends",
    "lstm_bidirectional",
    "lstm_coupled",
    "max_leaky",
    "maxpool_ceil",
    "maxpool_indices",
    "minmax_clip",
    "opset18_reduce_axes_input",
    "optional_empty_input",
    "pad_reflect",
    "pow2_layernorm",
    "prelu",
    "q_channel_activation",
    "q_int4_activation",
    "q_int4_blocks",
    "q_int4_weights_only",
    "q_live_scale",
    "q_no_output_qdq",
    "residual_stride2",
    "resize_nearest_concat",
    "rnn_activations",
    "same_upper_dilated",
    "scan_axes",
    "scan_batch8",
    "shape_cast_slice",
    "silu",
    "skl_linreg",
    "skl_logreg_nozip",
    "skl_mlp_nozip",
    "skl_rf",
    "skl_rf_nozip",
    "skl_tree",
    "softmax_opset11_axis1",
    "split_uneven18",
    "squeeze_excite_reducemean",
    "squeeze_noaxes",
    "state_passthrough",
    "stft_sqrt_pow_log",
    "two_outputs_shared",
    "zero_channels",
];

/// Quantized models, and the size of one step of the result: at most one from the reference.
const WITHIN_A_STEP: &[(&str, f64)] = &[
    ("q_avgpool_softmax", 1.0 / 256.0),
    ("q_dwconv_avgpool_add", 0.08),
    ("q_int16_act", 0.08),
    ("q_int16_mixed", 0.1),
    ("q_int4_weights", 0.08),
    ("q_int8_io", 1.0),
    ("q_matmul_axis1", 0.08),
    ("q_relu_dropped", 0.08),
    ("q_requant_chain", 0.08),
    ("q_sym_relu_kept", 0.08),
    ("q_u8_weights_zp", 0.08),
    ("q_uint16_microsoft", 0.0001),
    ("q_uint16_relu", 0.0001),
    ("q_weight_fakequant", 0.05),
    ("qlinear_conv_small", 0.1),
    ("quantize_round_sat", 1e-6),
];

/// Quantized models whose last layers are floats: the step of the last integers, how far one step
/// moves a result at most (the greatest weight on its way), and how many of the integers under a
/// result may be a step off, as onnxruntime multiplies in floats and rounds half to even.
const BEHIND_STEPS: &[(&str, f64, f64, f64)] = &[
    // Two 1x1 convolutions with a Tanh between: the greatest element of the product of their weights.
    ("q_mixed_float_middle", 0.08, 1.0153, 1.0),
    // One of 864 inputs of a Gemm: 127 times its scale.
    ("qdq_scalar_const_nodes", 0.05, 0.381, 2.0),
];

/// Models with what is not supported yet: what the refusal must say, and what its help.
const REFUSED: &[(&str, &[&str], &str)] = &[("q_int4_output", &["tensor `y`", "int4"], "8-bit")];

/// Models whose own quantization 8 bits do not hold, so that they are calibrated like floats, and what their
/// warnings say.
const RECALIBRATED: &[(&str, &str)] = &[
    ("q_channel_activation", "a scale for each channel"),
    ("q_int4_blocks", "a scale for each block"),
    ("q_int4_weights_only", ""),
    ("q_live_scale", "one that the run computes"),
];

fn path(file: &str) -> PathBuf {
    secateur_tests::repository().join("tests/field").join(file)
}

fn model(name: &str) -> Vec<u8> {
    let read = |file: &str| std::fs::read(path(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let bytes = read(&format!("{name}.onnx"));
    embed(&bytes, &mut |file| Ok(read(file))).unwrap_or_else(|e| panic!("{name}: {e}")).into_owned()
}

fn arrays(file: &str) -> Samples {
    read_samples(&path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn compiled(name: &str, as_name: String, quantize: Quantize, calibration: Option<&Samples>) -> Artifact {
    let options = Options { name: as_name, quantize, emit: vec![Language::C], ..Options::default() };
    let host = targets::find("host").expect("the host is a target");
    compile(&model(name), &host, calibration, &options, &mut Silent).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A case: compiled as floats (or as its own integers), and, where it is a float model, as int8.
struct Case {
    name: &'static str,
    /// How far results may be from the reference, or `None` for 1e-4 of the largest value.
    step: Option<f64>,
    reference: Samples,
    samples: Vec<Vec<Tensor>>,
    plain: Artifact,
    int8: Option<Artifact>,
}

impl Case {
    fn new(index: usize, name: &'static str, step: Option<f64>) -> Case {
        let inputs = arrays(&format!("{name}.x.npz"));
        let plain = compiled(name, format!("case_{index}"), Quantize::None, None);
        let int8 = step
            .is_none()
            .then(|| compiled(name, format!("case_{index}_int8"), Quantize::Int8, Some(&inputs)));
        let samples =
            samples::split(&inputs, &plain.imported, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        Case { name, step, reference: arrays(&format!("{name}.ref.npz")), samples, plain, int8 }
    }

    /// Compares the outputs of all samples with the reference.
    fn compare(&self, who: &str, outputs: &[Vec<Tensor>], wrong: &mut Vec<String>) {
        let graph = &self.plain.imported;
        for (index, &output) in graph.outputs().iter().enumerate() {
            let name = &graph[output].name;
            let Some(want) = self.reference.arrays.get(name) else {
                wrong.push(format!("{}: the reference has no output `{name}`", self.name));
                continue;
            };
            let want = want.to_f64_vec();
            let got: Vec<f64> = outputs.iter().flat_map(|o| o[index].to_f64_vec()).collect();
            let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let allowed = self.step.map_or(1e-4 * largest, |s| s * 1.0001);
            let error = want.iter().zip(&got).map(|(a, b)| (a - b).abs());
            // `max` would lose a NaN, and with it the failure.
            let error = error.fold(0.0f64, |m, e| if e.is_nan() || e > m { e } else { m });
            let fits = want.len() == got.len() && error <= allowed;
            if !fits {
                wrong.push(format!(
                    "{} by {who}: `{name}` is off by {error}, {allowed} is allowed",
                    self.name
                ));
            }
        }
    }
}

fn stored(artifact: &Artifact, sample: &[Tensor]) -> Vec<Tensor> {
    sample.iter().zip(&artifact.program.inputs).map(|(t, port)| to_port(t, port)).collect()
}

fn declared(artifact: &Artifact, outputs: &[Tensor]) -> Vec<Tensor> {
    let graph = &artifact.imported;
    let ports = artifact.program.outputs.iter().zip(graph.outputs());
    outputs.iter().zip(ports).map(|(t, (port, &o))| as_declared(t, port, graph[o].dtype)).collect()
}

#[test]
fn right_values_on_every_engine() {
    let float = RIGHT.iter().map(|&name| (name, None));
    let all = float.chain(WITHIN_A_STEP.iter().map(|&(name, step)| (name, Some(step))));
    let all = all.chain(BEHIND_STEPS.iter().map(|&(name, step, gain, n)| (name, Some(n * step * gain))));
    let cases: Vec<Case> = all.enumerate().map(|(i, (name, step))| Case::new(i, name, step)).collect();
    let mut wrong = Vec::new();
    // One C program holds all of them.
    let artifacts: Vec<(&Case, &Artifact)> = cases
        .iter()
        .flat_map(|c| [Some(&c.plain), c.int8.as_ref()].into_iter().flatten().map(move |a| (c, a)))
        .collect();
    let models: Vec<Model<'_>> = artifacts.iter().map(|(_, a)| (*a).into()).collect();
    let host = targets::find("host").expect("the host is a target");
    let image = build(Language::C, &models, &host, Optimize::Debug).unwrap_or_else(|e| panic!("{e}"));
    for (index, (case, artifact)) in artifacts.iter().enumerate() {
        let inputs: Vec<Vec<Tensor>> = case.samples.iter().map(|s| stored(artifact, s)).collect();
        let mut machine = Machine::new(&artifact.program).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let want: Vec<Vec<Tensor>> =
            inputs.iter().map(|s| machine.run(s).unwrap_or_else(|e| panic!("{}: {e}", case.name))).collect();
        let got = image.run(index, &inputs, &mut Silent).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let bytes = |all: &[Vec<Tensor>]| -> Vec<Vec<u8>> {
            all.iter().flatten().map(|t| t.data().to_le_bytes()).collect()
        };
        if bytes(&got.outputs) != bytes(&want) {
            wrong.push(format!("{} ({}): C differs from the evaluator", case.name, artifact.program.name));
        }
        if std::ptr::eq(*artifact, &case.plain) {
            let run = |s: &Vec<Tensor>| {
                secateur_compiler::graph::run(&artifact.imported, s).unwrap_or_else(|e| panic!("{e}"))
            };
            case.compare("the float engine", &case.samples.iter().map(run).collect::<Vec<_>>(), &mut wrong);
            let real: Vec<Vec<Tensor>> = want.iter().map(|o| declared(artifact, o)).collect();
            case.compare("the evaluator and C", &real, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Integers of the compiler's own stay 28 dB near the reference, as they do for float models of this size, and
/// `inspect` warns in the words of `compile`.
#[test]
fn calibrated_where_8_bits_do_not_hold_what_the_model_brought() {
    let mut wrong = Vec::new();
    for (name, says) in RECALIBRATED {
        let case = Case::new(0, name, None);
        let int8 = case.int8.as_ref().unwrap_or_else(|| panic!("{name}: no int8"));
        let mut machine = Machine::new(&int8.program).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (mut signal, mut noise) = (0.0, 0.0);
        let want = case.reference.arrays["y"].to_f64_vec();
        let mut want = want.iter();
        for sample in &case.samples {
            let have = machine.run(&stored(int8, sample)).unwrap_or_else(|e| panic!("{name}: {e}"));
            for y in declared(int8, &have)[0].to_f64_vec() {
                let right = want.next().unwrap_or_else(|| panic!("{name}: the reference is shorter"));
                signal += right * right;
                noise += (y - right) * (y - right);
            }
        }
        let near = 10.0 * (signal / f64::max(noise, 1e-30)).log10();
        println!("{name}: {near:.1} dB");
        if near.is_nan() || near < 28.0 {
            wrong.push(format!("{name}: {near:.1} dB"));
        }
        let options = Options { name: "model".into(), ..Options::default() };
        let inspected = supported(&model(name), &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let warned = int8.report.warnings.iter().filter(|w| inspected.warnings().contains(w));
        let warned: Vec<String> = warned.map(ToString::to_string).collect();
        if warned.is_empty() != says.is_empty() || !warned.join("\n").contains(says) {
            wrong.push(format!("{name}: `{says}` is missing in {warned:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refused_alike_by_inspect_and_compile() {
    let host = targets::find("host").expect("the host is a target");
    let mut wrong = Vec::new();
    for (name, says, help) in REFUSED {
        let bytes = model(name);
        let inputs = arrays(&format!("{name}.x.npz"));
        for quantize in [Quantize::Int8, Quantize::None] {
            let options = Options { name: "model".into(), quantize, ..Options::default() };
            let inspected = supported(&bytes, &options).map(|_| ());
            let compiled = compile(&bytes, &host, Some(&inputs), &options, &mut Silent).map(|_| ());
            let (Err(inspected), Err(compiled)) = (inspected, compiled) else {
                wrong.push(format!("{name} is listed as refused, but is taken"));
                continue;
            };
            if inspected != compiled {
                wrong.push(format!("{name}: inspect says\n{inspected}\ncompile says\n{compiled}"));
            }
            wrong.extend(complaint(name, &compiled, says, help));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a refusal lacks: a place in each line, the words, a help line with its words.
fn complaint(name: &str, error: &Error, says: &[&str], help: &str) -> Option<String> {
    let all = || std::iter::once(error).chain(&error.others);
    let text = error.to_string();
    let helps = error.helps();
    let fits = all().all(|e| e.site != Site::Whole && e.fault == Fault::Model)
        && says.iter().all(|part| text.contains(part))
        && helps.iter().any(|h| h.contains(help));
    (!fits).then(|| format!("{name}: `{says:?}` or help `{help}` is missing, or a place, in\n{text}"))
}

#[test]
fn every_case_has_a_line() {
    let mut listed: Vec<&str> = RIGHT.to_vec();
    listed.extend(WITHIN_A_STEP.iter().map(|(n, _)| *n));
    listed.extend(BEHIND_STEPS.iter().map(|(n, ..)| *n));
    listed.extend(REFUSED.iter().map(|(n, ..)| *n));
    listed.sort_unstable();
    let mut found: Vec<String> = std::fs::read_dir(path(""))
        .expect("the folder of the cases")
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_suffix(".onnx").map(String::from))
        .collect();
    found.sort_unstable();
    assert_eq!(listed, found);
}
