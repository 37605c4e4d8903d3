//! Cases through the public entry: compiled without quantization, evaluated, emitted, built a
//! hundred at a time and run on this machine.

use crate::cases::Case;
use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{Image, Model, Optimize, build};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{from_port, to_port};
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::{DType, Data, Tensor};

/// Models in one C program, and in one Rust crate.
const BATCH: usize = 100;

/// A case that compiles, with what the evaluator gives for it.
pub(crate) struct Compiled<'a> {
    case: &'a Case,
    artifact: Artifact,
    inputs: Vec<Tensor>,
    /// As the ports hold them.
    outputs: Vec<Tensor>,
}

fn host() -> Target {
    targets::find("host").expect("the host is a target")
}

/// Compiles and evaluates every case.
pub(crate) fn all(cases: &[Case]) -> Vec<Result<Compiled<'_>, String>> {
    let target = host();
    cases.iter().enumerate().map(|(i, case)| Compiled::new(case, &format!("case_{i}"), &target)).collect()
}

/// What a port holds that is `half` lower than the integers of the model.
fn unsigned(held: &Tensor, dtype: DType, half: i64) -> Tensor {
    let values: Vec<i64> = held.to_i64_vec().iter().map(|v| v + half).collect();
    Tensor::new(held.shape().to_vec(), Data::from_i64(dtype, &values)).expect("as many")
}

impl<'a> Compiled<'a> {
    fn new(case: &'a Case, name: &str, target: &Target) -> Result<Self, String> {
        let options = Options {
            name: name.to_string(),
            quantize: Quantize::None,
            emit: vec![Language::C, Language::Rust],
            ..Options::default()
        };
        let artifact =
            compile(&case.model(), target, None, &options, &mut Silent).map_err(|e| e.to_string())?;
        let real = case.inputs()?;
        let ports = &artifact.program.inputs;
        let inputs: Vec<Tensor> = real.iter().zip(ports).map(|(t, p)| to_port(t, p)).collect();
        let mut machine = Machine::new(&artifact.program).map_err(|e| e.to_string())?;
        let outputs = machine.run(&inputs).map_err(|e| e.to_string())?;
        Ok(Compiled { case, artifact, inputs, outputs })
    }

    /// Whether the evaluator's results are the expected ones.
    pub(crate) fn check(&self) -> Result<(), String> {
        let expected = self.case.outputs();
        let ports = &self.artifact.program.outputs;
        let outputs = self.outputs.iter().zip(ports).zip(&expected);
        let real: Vec<Tensor> = outputs
            .map(|((t, port), expected)| match expected.dtype() {
                DType::F32 => from_port(t, port),
                // Unsigned integers of quantized models are held shifted by half of their range.
                DType::U8 if t.dtype() == DType::I8 => unsigned(t, expected.dtype(), 1 << 7),
                DType::U16 if t.dtype() == DType::I16 => unsigned(t, expected.dtype(), 1 << 15),
                _ => t.clone(),
            })
            .collect();
        self.case.compare(&real)
    }

    /// Whether emitted code gives what is expected, and bit for bit what the evaluator gives.
    fn agree(&self, image: &Image, index: usize) -> Result<(), String> {
        let replies =
            image.run(index, std::slice::from_ref(&self.inputs), &mut Silent).map_err(|e| e.to_string())?;
        let bytes = |t: &[Tensor]| t.iter().map(|t| t.data().to_le_bytes()).collect::<Vec<_>>();
        match replies.outputs.first() {
            Some(outputs) if bytes(outputs) == bytes(&self.outputs) => self.check(),
            other => Err(format!("gives {other:?}, the evaluator {:?}", self.outputs)),
        }
    }
}

/// Builds and runs what compiles, of every `step` cases one; the others count as the evaluator has them.
pub(crate) fn native(
    language: Language,
    step: usize,
    cases: &[Result<Compiled<'_>, String>],
) -> Vec<Result<(), String>> {
    let evaluated =
        |c: &Result<Compiled<'_>, String>| c.as_ref().map_err(Clone::clone).and_then(Compiled::check);
    let mut verdicts: Vec<Result<(), String>> = cases.iter().map(evaluated).collect();
    let ready = cases.iter().enumerate().filter_map(|(i, c)| Some((i, c.as_ref().ok()?)));
    let ready: Vec<(usize, &Compiled<'_>)> = ready.step_by(step).collect();
    for batch in ready.chunks(BATCH) {
        batch_verdicts(language, batch, &mut verdicts);
    }
    verdicts
}

/// One program for all; where that does not build, halves, to find out who is to blame.
fn batch_verdicts(language: Language, batch: &[(usize, &Compiled<'_>)], verdicts: &mut [Result<(), String>]) {
    let models: Vec<Model<'_>> = batch.iter().map(|(_, c)| (&c.artifact).into()).collect();
    match build(language, &models, &host(), Optimize::Debug) {
        Ok(image) => {
            for (index, (i, case)) in batch.iter().enumerate() {
                verdicts[*i] = case.agree(&image, index);
            }
        }
        Err(e) if batch.len() == 1 => verdicts[batch[0].0] = Err(e.to_string()),
        Err(_) => {
            let (a, b) = batch.split_at(batch.len() / 2);
            batch_verdicts(language, a, verdicts);
            batch_verdicts(language, b, verdicts);
        }
    }
}
