//! What must hold of every case.
//!
//! In: a case, and onnxruntime where there is one. Out: the first thing that does not hold. Laws:
//! the float engine agrees with onnxruntime, the lowered float program with the float engine;
//! evaluator, C and Rust give the same bits; each int8 output has a signal-to-noise ratio of 20 dB
//! at least, or one of the [`REASONS`]; each layer of what onnxruntime's own quantizer makes of
//! the graph is within one step of onnxruntime.

use super::fidelity::{self, Noise, Outputs};
use super::witness::Witness;
use super::{Case, unstack};
use crate::mutate::Random;
use crate::single;
use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{self, Image, Model, Optimize};
use secateur_compiler::graph::{Graph, Value, ValueId, ValueKind};
use secateur_compiler::ops::Op;
use secateur_compiler::options::{Glob, Language, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{Port, from_port, to_port};
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::{DType, Samples, Tensor};
use secateur_compiler::{Error, Options, Silent, graph, onnx, quantize};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

/// The least signal-to-noise ratio of an int8 output, in decibels.
const DECIBELS: f64 = 20.0;
/// An output may have this many times the noise that 8 bits cost anyhow.
const NOISE: f64 = 2.5;
/// Samples that onnxruntime sees.
const SEEN: usize = 16;

/// Why an int8 output may be below 20 dB. There is no other reason.
pub const REASONS: [&str; 4] = [
    // The float output is zero on all samples, and no integer is more than a step off.
    "the output is zero",
    // With every value rounded to 8 bits over its own range and nothing else, the float model
    // itself has at least 1/2.5 of that noise: differences of near numbers, small divisors.
    "8 bits a value cost as much",
    // Integers (a decision by ArgMax or Cast) that differ no more often than such rounding makes
    // them, twice that and 5 % allowed.
    "decisions that 8 bits a value change as often",
    // As the second, where a value that a Concat joins has the steps of the joined range: one
    // scale serves all its operands (the compiler warns of it).
    "a Concat joins it with wider values",
];

/// A kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    Refused,
    Panics,
    Float,
    Engines,
    Fidelity,
    Quantizer,
}

/// What does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub check: Check,
    pub text: String,
}

/// What was counted on the way.
#[derive(Debug, Default)]
pub struct Tally {
    /// Int8 outputs, and those of them that needed a reason.
    pub outputs: usize,
    pub reasons: BTreeMap<&'static str, usize>,
    /// Cases that onnxruntime ran, and what it refused, by its own words.
    pub witnessed: usize,
    pub refused: BTreeMap<String, usize>,
    /// Layers of onnxruntime's quantizer, models of it, and layers without a counterpart.
    pub layers: usize,
    pub quantized: usize,
    pub apart: usize,
}

/// A case that was compiled, and what its programs gave in the evaluator.
#[derive(Debug)]
pub struct Compiled {
    pub seed: u64,
    pub int8: Program,
    pub float: Program,
}

/// An artifact with inputs and outputs as its ports hold them.
#[derive(Debug)]
pub struct Program {
    pub artifact: Artifact,
    pub inputs: Vec<Vec<Tensor>>,
    pub outputs: Outputs,
}

fn finding(check: Check, text: impl Into<String>) -> Finding {
    Finding { check, text: text.into() }
}

fn refused(what: &str) -> impl Fn(Error) -> Finding + '_ {
    move |e| finding(Check::Refused, format!("{what}: {e}"))
}

/// The chip that a seed compiles for: the host, or one whose kernels are others.
pub fn target(seed: u64) -> Target {
    let names =
        ["host", "nrf52840", "apollo510", "rp2040", "host", "esp32-c3", "stm32h7a3", "snapdragon-wear"];
    let name = names[(seed % names.len() as u64) as usize];
    targets::find(name).expect("the chip is known")
}

/// All checks of one case but those that need a compiler.
pub fn examine(
    case: &Case,
    seed: u64,
    witness: Option<&mut Witness>,
    tally: &mut Tally,
) -> Result<Compiled, Finding> {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| checked(case, seed, witness, tally)));
    caught.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("it panics");
        Err(finding(Check::Panics, text))
    })
}

fn checked(
    case: &Case,
    seed: u64,
    witness: Option<&mut Witness>,
    tally: &mut Tally,
) -> Result<Compiled, Finding> {
    let bytes = case.bytes();
    let graph = onnx::import(&bytes, &BTreeMap::new()).map_err(refused("import"))?;
    let samples: Vec<Vec<Tensor>> = (0..case.samples()).map(|i| case.sample(i)).collect();
    let real: Outputs = samples
        .iter()
        .map(|s| graph::run(&graph, s))
        .collect::<Result<_, _>>()
        .map_err(refused("the float engine"))?;
    let shaken = fidelity::shaken(&graph, &samples).map_err(refused("the float engine"))?;
    let mut witness = witness;
    if let Some(witness) = witness.as_deref_mut() {
        agrees_with_onnxruntime(case, &bytes, (&real, &shaken), witness, tally)?;
    }
    let target = target(seed);
    let float = program(case, &bytes, seed, &target, Quantize::None, (&samples, false))?;
    let computed = float.real();
    let quantized = brings_quantization(&graph);
    if !quantized {
        near(case, &computed, (&real, &shaken), "the lowered float program")?;
    }
    // Every third one stores what it can in sixteen bits, but where a finer step decides what a coarse one cannot.
    let wide = seed % 3 == 2 && !fidelity::steps(&graph);
    let int8 = program(case, &bytes, seed, &target, Quantize::Int8, (&samples, wide))?;
    faithful(case, &graph, &samples, &real, &int8, tally)?;
    if let Some(witness) = witness.filter(|_| case.opset >= 13 && !quantized) {
        layers_of_the_quantizer(case, &bytes, seed, witness, tally)?;
    }
    Ok(Compiled { seed, int8, float })
}

/// Float outputs against others: a ten-thousandth of the greatest, and ten times what rounding
/// moves. Integers are equal where rounding does not decide.
fn near(
    case: &Case,
    have: &Outputs,
    (real, shaken): (&Outputs, &[Outputs]),
    who: &str,
) -> Result<(), Finding> {
    for (o, name) in case.outputs.iter().enumerate() {
        let column = |all: &Outputs| -> Vec<f64> { all.iter().flat_map(|s| s[o].to_f64_vec()).collect() };
        let have = column(have);
        let shaken: Vec<Vec<f64>> = shaken.iter().map(column).collect();
        let want = &column(real)[..have.len()];
        let greatest = |values: &mut dyn Iterator<Item = f64>| values.fold(0f64, |m, v| m.max(v.abs()));
        let moved = greatest(&mut shaken.iter().flat_map(|s| want.iter().zip(s)).map(|(a, b)| a - b));
        let integers = case.dtype(name) != DType::F32;
        let limit = if integers { 0.0 } else { 1e-4 * greatest(&mut want.iter().copied()) + 10.0 * moved };
        for (i, (a, b)) in have.iter().zip(want).enumerate() {
            let decided = integers && shaken.iter().any(|s| s[i] != *b);
            // A comparison with NaN is false, so that one alone is a finding.
            let same = a == b || (a.is_nan() && b.is_nan());
            if !((a - b).abs() <= limit || same || decided) {
                let text = format!("{who} gives {a} where the float engine gives {b}");
                return Err(finding(Check::Float, format!("output `{name}`, element {i}: {text}")));
            }
        }
    }
    Ok(())
}

fn brings_quantization(graph: &Graph) -> bool {
    graph.nodes().any(|(_, n)| matches!(n.op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_)))
}

/// The names of a case's inputs, in order.
fn names(case: &Case) -> Vec<String> {
    case.inputs.iter().map(|i| i.name.clone()).collect()
}

/// The first samples only.
fn few(case: &Case, count: usize) -> Samples {
    let mut case = case.clone();
    case.inputs.iter_mut().for_each(|i| i.samples.truncate(count));
    case.arrays()
}

fn agrees_with_onnxruntime(
    case: &Case,
    bytes: &[u8],
    floats: (&Outputs, &[Outputs]),
    witness: &mut Witness,
    tally: &mut Tally,
) -> Result<(), Finding> {
    match witness.run(bytes, &names(case), &few(case, SEEN)) {
        Ok(arrays) => {
            tally.witnessed += 1;
            let columns: Vec<Vec<Tensor>> = arrays.iter().map(unstack).collect();
            let count = columns.first().map_or(0, Vec::len);
            let have: Outputs = (0..count).map(|i| columns.iter().map(|c| c[i].clone()).collect()).collect();
            for (have, want) in have[0].iter().zip(&floats.0[0]) {
                if (have.dtype(), have.shape()) != (want.dtype(), want.shape()) {
                    let text = format!("{:?} against {:?}", have.shape(), want.shape());
                    return Err(finding(Check::Float, format!("onnxruntime gives another shape: {text}")));
                }
            }
            near(case, &have, floats, "onnxruntime")
        }
        Err(why) => {
            let why: String = why.lines().next().unwrap_or_default().chars().take(160).collect();
            *tally.refused.entry(why).or_insert(0) += 1;
            Ok(())
        }
    }
}

fn program(
    case: &Case,
    bytes: &[u8],
    seed: u64,
    target: &Target,
    quantize: Quantize,
    (samples, wide): (&[Vec<Tensor>], bool),
) -> Result<Program, Finding> {
    let (prefix, what) =
        if quantize == Quantize::Int8 { ("int", "int8") } else { ("real", "the lowered float program") };
    let options = Options {
        name: format!("{prefix}{seed}"),
        quantize,
        int16: wide.then(|| Glob("*".into())).into_iter().collect(),
        emit: vec![Language::C, Language::Rust],
        ..Options::default()
    };
    let artifact =
        compile(bytes, target, Some(&case.arrays()), &options, &mut Silent).map_err(refused(what))?;
    let ports = &artifact.program.inputs;
    let inputs: Vec<Vec<Tensor>> =
        samples.iter().map(|s| s.iter().zip(ports).map(|(t, p)| to_port(t, p)).collect()).collect();
    let mut machine = Machine::new(&artifact.program).map_err(refused(what))?;
    let outputs =
        inputs.iter().map(|s| machine.run(s)).collect::<Result<Outputs, _>>().map_err(refused(what))?;
    Ok(Program { artifact, inputs, outputs })
}

impl Program {
    /// The outputs as real values.
    fn real(&self) -> Outputs {
        let ports = &self.artifact.program.outputs;
        // Integers of the model are no real numbers, whatever scale they have.
        let real = |(t, p): (&Tensor, &Port)| if p.real.is_float() { from_port(t, p) } else { t.clone() };
        self.outputs.iter().map(|s| s.iter().zip(ports).map(real).collect()).collect()
    }
}

/// Int8 outputs against float ones.
fn faithful(
    case: &Case,
    graph: &Graph,
    samples: &[Vec<Tensor>],
    real: &Outputs,
    int8: &Program,
    tally: &mut Tally,
) -> Result<(), Finding> {
    let have = int8.real();
    let mut ideal: Option<fidelity::Ideal> = None;
    for (o, name) in case.outputs.iter().enumerate() {
        tally.outputs += 1;
        let found = fidelity::noise(&have, real, o);
        let integers = case.dtype(name) != DType::F32;
        if if integers { found.differ == 0 } else { found.decibels() >= DECIBELS } {
            continue;
        }
        if ideal.is_none() {
            ideal = Some(fidelity::Ideal::of(graph, samples).map_err(refused("the float engine"))?);
        }
        let of = |which| ideal.as_ref().expect("just made").noise(which, real, o, integers);
        let (ideal, joined) = (of(0), of(1));
        let step = int8.artifact.program.outputs[o].affine.map(|(scale, _)| f64::from(scale));
        match reason(found, ideal, joined, integers, step) {
            Some(reason) => *tally.reasons.entry(reason).or_insert(0) += 1,
            None if integers => {
                let text = format!(
                    "{} of {} values differ, {} by rounding to 8 bits alone",
                    found.differ, found.count, ideal.differ
                );
                return Err(finding(Check::Fidelity, format!("output `{name}`: {text}")));
            }
            None => {
                let (a, b) = (found.decibels(), ideal.decibels());
                let text = format!("output `{name}`: {a:.1} dB, where 8 bits a value give {b:.1} dB");
                return Err(finding(Check::Fidelity, text));
            }
        }
    }
    Ok(())
}

/// See [`REASONS`].
fn reason(
    found: Noise,
    ideal: Noise,
    joined: Noise,
    integers: bool,
    step: Option<f64>,
) -> Option<&'static str> {
    if integers {
        let allowed = 2.0 * ideal.differ.max(joined.differ) as f64 + 0.05 * ideal.count as f64;
        return (found.differ as f64 <= allowed).then_some(REASONS[2]);
    }
    if found.signal == 0.0 {
        let least = step.is_some_and(|step| found.noise <= found.count as f64 * step * step);
        return least.then_some(REASONS[0]);
    }
    if found.noise <= NOISE * ideal.noise {
        return Some(REASONS[1]);
    }
    (found.noise <= NOISE * joined.noise).then_some(REASONS[3])
}

/// onnxruntime quantizes the graph; each layer of it, given onnxruntime's integers, gives them
/// back within one step.
fn layers_of_the_quantizer(
    case: &Case,
    bytes: &[u8],
    seed: u64,
    witness: &mut Witness,
    tally: &mut Tally,
) -> Result<(), Finding> {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut settings: Vec<&str> = Vec::new();
    for word in ["per_channel", "unsigned", "symmetric", "sixteen"] {
        if random.below(2) == 0 {
            settings.push(word);
        }
    }
    let settings = settings.join(" ");
    let made = match witness.quantize(&settings, bytes, &names(case), &few(case, SEEN)) {
        Ok(made) => made,
        Err(why) => {
            let why: String = why.lines().next().unwrap_or_default().chars().take(120).collect();
            *tally.refused.entry(format!("quantizer: {why}")).or_insert(0) += 1;
            return Ok(());
        }
    };
    let fail = |what: String| finding(Check::Quantizer, format!("quantized with `{settings}`: {what}"));
    let host = targets::find("host").expect("the host is known");
    let mut graph = onnx::import(&made.model, &BTreeMap::new()).map_err(|e| fail(e.to_string()))?;
    if !brings_quantization(&graph) {
        // There was nothing in it that this quantizer knows.
        return Ok(());
    }
    let options = Options { name: "net".into(), ..Options::default() };
    compile(&made.model, &host, None, &options, &mut Silent).map_err(|e| fail(e.to_string()))?;
    quantize::absorb(&mut graph).map_err(|e| fail(e.to_string()))?;
    quantize::settle(&mut graph).map_err(|e| fail(e.to_string()))?;
    tally.quantized += 1;
    let given = few(case, SEEN);
    let array = |v: ValueId| {
        let name = &graph[v].name;
        made.tensors.get(name).or_else(|| given.arrays.get(name))
    };
    for id in graph.topological() {
        let node = &graph[id];
        let site = format!("`{}` {}", node.name, node.op.name());
        let known = |v: ValueId| array(v).is_some();
        if !node.outputs.iter().all(|&v| known(v)) {
            // What onnxruntime has no value for is judged with the layer that reads it.
            continue;
        }
        let Some(chain) = single::with_unknown(&graph, id, &known) else {
            tally.apart += 1;
            continue;
        };
        let (layer, fed) = single::alone(&graph, &chain);
        tally.layers += 1;
        let program = single::program(&layer, &host).map_err(|e| fail(format!("{site}: {e}")))?;
        let mut machine = Machine::new(&program).map_err(|e| fail(format!("{site}: {e}")))?;
        for i in 0..case.samples().min(3) {
            let stored = |v: ValueId| {
                let value = &graph[v];
                single::stored(array(v).expect("it was found"), i, &value.shape, value.quant.as_ref())
            };
            let inputs: Vec<Tensor> = fed.iter().map(|&v| stored(v)).collect();
            let results = machine.run(&inputs).map_err(|e| fail(format!("{site}: {e}")))?;
            // Where 8 bits hold what onnxruntime holds as a float, its results follow from other
            // operands; the float meaning of the layer, given these, is the reference then.
            let real = |v: ValueId| {
                let t = stored(v);
                graph[v].quant.as_ref().map_or(t.clone(), |q| q.dequantize(&t))
            };
            let reference = if fed.iter().any(|&v| rounded_here(&graph[v], array(v))) {
                let operands: Vec<Tensor> = fed.iter().map(|&v| real(v)).collect();
                Some(graph::run(&layer, &operands).map_err(|e| fail(format!("{site}: {e}")))?)
            } else {
                None
            };
            for (o, (have, &v)) in results.iter().zip(&node.outputs).enumerate() {
                let want = match &reference {
                    None => stored(v),
                    Some(all) => single::stored(&all[o], 0, &graph[v].shape, graph[v].quant.as_ref()),
                };
                let (off, unit) = if have.dtype().is_float() {
                    let (a, b) = (have.to_f32_vec(), want.to_f32_vec());
                    (f64::from(crate::relative_error(&a, &b)) / 1e-3, "thousandths")
                } else {
                    (single::steps(have, &want).into_iter().max().unwrap_or(0) as f64, "steps")
                };
                if off > 1.0 {
                    let to = &graph[v].name;
                    return Err(fail(format!("{site} is {off} {unit} off onnxruntime at `{to}`")));
                }
            }
        }
    }
    Ok(())
}

/// Whether a computed value is stored as integers here and is a float in the witness that they do not hold.
fn rounded_here(value: &Value, array: Option<&Tensor>) -> bool {
    let (Some(quant), Some(floats)) = (&value.quant, array.and_then(Tensor::as_f32)) else { return false };
    let inexact = |x: &f32| {
        let steps = x / quant.scale[0];
        (steps - steps.round()).abs() > 1e-3 + steps.abs() / 4_194_304.0
    };
    matches!(value.kind, ValueKind::Activation) && floats.iter().any(inexact)
}

/// Builds the programs of many cases in one go and compares what they give with the evaluator;
/// the seeds of those that differ.
pub fn builds(cases: &[&Compiled], language: Language) -> Vec<(u64, Finding)> {
    let host = targets::find("host").expect("the host is known");
    let programs: Vec<(u64, &Program)> =
        cases.iter().flat_map(|c| [(c.seed, &c.int8), (c.seed, &c.float)]).collect();
    let files: Vec<_> =
        programs.iter().map(|(_, p)| p.artifact.emit(&[language]).expect("it was emitted before")).collect();
    let models: Vec<Model<'_>> = programs
        .iter()
        .zip(&files)
        .map(|((_, p), files)| Model { program: &p.artifact.program, files })
        .collect();
    let image = match toolchain::build(language, &models, &host, Optimize::Debug) {
        Ok(image) => image,
        // One alone tells which it is.
        Err(_) if cases.len() > 1 => {
            return cases.iter().flat_map(|c| builds(std::slice::from_ref(c), language)).collect();
        }
        Err(e) => {
            let text = format!("emitted {language:?} does not build: {e}");
            return vec![(cases[0].seed, finding(Check::Engines, text))];
        }
    };
    let mut found = Vec::new();
    for (i, (seed, program)) in programs.iter().enumerate() {
        if let Err(text) = same_bits(&image, i, program) {
            found.push((*seed, finding(Check::Engines, format!("{language:?}: {text}"))));
        }
    }
    found
}

fn same_bits(image: &Image, model: usize, program: &Program) -> Result<(), String> {
    let name = &program.artifact.program.name;
    let replies = image.run(model, &program.inputs, &mut Silent).map_err(|e| format!("{name}: {e}"))?;
    for (i, (have, want)) in replies.outputs.iter().zip(&program.outputs).enumerate() {
        for (o, (have, want)) in have.iter().zip(want).enumerate() {
            let (a, b) = (have.data().to_le_bytes(), want.data().to_le_bytes());
            if let Some(at) = (0..b.len()).find(|&at| a.get(at) != Some(&b[at])) {
                let port = &program.artifact.program.outputs[o].name;
                return Err(format!("{name}: sample {i}, output `{port}` differs at byte {at}"));
            }
        }
    }
    Ok(())
}
