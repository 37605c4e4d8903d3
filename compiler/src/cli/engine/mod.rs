//! Engines: who computes a model's outputs. All but `Float` run the lowered program and are
//! bit-identical to each other.

use super::args::Job;
use super::toolchain;
use crate::artifact::Artifact;
use crate::error::Result;
use crate::graph::{Graph, Steps};
use crate::observe::Observer;
use crate::options::Language;
use crate::program::machine::Machine;
use crate::program::{as_declared, to_port};
use crate::samples::Sequences;
use crate::tensor::Tensor;
use crate::warning::Warning;
use clap::ValueEnum;
use secateur_targets::Target;

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The float meaning of the ONNX graph.
    Float,
    /// The evaluator of the lowered program.
    Eval,
    /// The emitted C, built with the host's compiler.
    C,
    /// The emitted Rust, built for the host.
    Rust,
    /// The emitted C on the target's emulated core.
    Emulator,
    /// The emitted Rust on the target's emulated core.
    EmulatorRust,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Engine::Float => "float",
            Engine::Eval => "eval",
            Engine::C => "c",
            Engine::Rust => "rust",
            Engine::Emulator => "emulator",
            Engine::EmulatorRust => "emulator-rust",
        }
    }
    /// The languages that the engine needs emitted.
    pub fn languages(self) -> Vec<Language> {
        match self {
            Engine::Float | Engine::Eval => Vec::new(),
            Engine::C | Engine::Emulator => vec![Language::C],
            Engine::Rust | Engine::EmulatorRust => vec![Language::Rust],
        }
    }
}

/// Outputs of many samples: `[sample][output]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// Names of the model's outputs.
    pub names: Vec<String>,
    /// As the model declares them: real values of float outputs, and integers in the model's own
    /// type of integer outputs. Every engine gives the same types.
    pub real: Vec<Vec<Tensor>>,
    /// As the program's ports hold them; the same as `real` for the float engine.
    pub stored: Vec<Vec<Tensor>>,
}

/// Runs samples (one list of real-valued inputs each, as `data::sequences` gives them); states begin anew with each
/// sequence.
pub fn run(
    engine: Engine,
    artifact: &Artifact,
    target: &Target,
    samples: &Sequences,
    observer: &mut dyn Observer,
) -> Result<Outputs> {
    if engine == Engine::Float {
        return float(&artifact.imported, samples, observer);
    }
    let program = &artifact.program;
    let port = |s: &Vec<Tensor>| s.iter().zip(&program.inputs).map(|(t, p)| to_port(t, p)).collect();
    let all: Vec<Vec<Tensor>> = samples.samples.iter().map(port).collect();
    let steps = if program.states.is_empty() { all.len() } else { samples.steps };
    let sequences: Vec<&[Vec<Tensor>]> = all.chunks(steps.max(1)).collect();
    let stored = match engine {
        Engine::Float => Vec::new(),
        Engine::Eval => {
            let mut machine = Machine::new(program)?;
            let mut outputs = Vec::with_capacity(all.len());
            for sequence in sequences {
                machine.init();
                for inputs in sequence {
                    observer.progress("evaluate", outputs.len(), all.len());
                    stop(observer)?;
                    outputs.push(machine.run(inputs)?);
                }
            }
            outputs
        }
        // Each takes all samples of a sequence in one process or one boot.
        Engine::C => toolchain::run_c(artifact, &sequences, observer)?,
        Engine::Rust => toolchain::run_rust(artifact, &sequences, observer)?,
        Engine::Emulator => toolchain::emulate_c(artifact, target, &sequences, observer)?,
        Engine::EmulatorRust => toolchain::emulate_rust(artifact, target, &sequences, observer)?,
    };
    let graph = &artifact.imported;
    let declared: Vec<_> = graph.results().iter().map(|&o| graph[o].dtype).collect();
    let ports = || program.outputs.iter().zip(&declared);
    let real = stored
        .iter()
        .map(|s| s.iter().zip(ports()).map(|(t, (port, &ty))| as_declared(t, port, ty)).collect())
        .collect();
    Ok(Outputs { names: program.outputs.iter().map(|p| p.name.clone()).collect(), real, stored })
}

fn stop(observer: &mut dyn Observer) -> Result<()> {
    if observer.cancelled() { Err(super::signals::cancelled()) } else { Ok(()) }
}

fn float(graph: &Graph, samples: &Sequences, observer: &mut dyn Observer) -> Result<Outputs> {
    let count = samples.samples.len();
    let mut real = Vec::with_capacity(count);
    let mut steps = Steps::new(graph);
    for sequence in samples.each() {
        steps.reset();
        for inputs in sequence {
            observer.progress("float", real.len(), count);
            stop(observer)?;
            real.push(steps.run(inputs)?);
        }
    }
    let names = graph.results().iter().map(|&o| graph[o].name.clone()).collect();
    Ok(Outputs { names, stored: real.clone(), real })
}

/// A model made ready for an engine: compiled, or only imported for the float engine.
#[derive(Debug)]
pub(crate) enum Prepared {
    Imported(Graph),
    Compiled(Box<Artifact>),
}

/// Compiles, and measures with the target's compiler where there is one. Whether the model fits
/// the chip is decided by all that is known then.
pub(crate) fn measured(job: &Job, observer: &mut dyn Observer) -> Result<Artifact> {
    let mut artifact = job.compile_to_measure(observer)?;
    measure(&mut artifact, &job.target)?;
    artifact.hold(job.options.allow_overflow).map_err(|e| job.settings.located(e))?;
    Ok(artifact)
}

/// Compiles what the engine needs: the float engine needs no calibration and no lowering.
pub(crate) fn prepare(job: &Job, engine: Engine, observer: &mut dyn Observer) -> Result<Prepared> {
    if engine == Engine::Float {
        let mut imported = crate::onnx::import_with(&job.model, &job.options).map_err(|e| job.refused(e))?;
        job.said.iter().cloned().for_each(|said| imported.warn(said));
        return Ok(Prepared::Imported(imported));
    }
    let artifact = match engine {
        // Who runs on the target must fit it, code and stack included.
        Engine::Emulator | Engine::EmulatorRust => measured(job, observer)?,
        _ => job.compile(&job.options, observer)?,
    };
    Ok(Prepared::Compiled(Box::new(artifact)))
}

impl Prepared {
    /// The imported model: its float meaning, its inputs.
    pub(crate) fn graph(&self) -> &Graph {
        match self {
            Prepared::Imported(graph) => graph,
            Prepared::Compiled(artifact) => &artifact.imported,
        }
    }
    /// What the user should know of it.
    pub(crate) fn warnings(&self) -> &[Warning] {
        match self {
            Prepared::Imported(graph) => graph.warnings(),
            Prepared::Compiled(artifact) => &artifact.report.warnings,
        }
    }
    pub(crate) fn run(
        &self,
        engine: Engine,
        target: &Target,
        samples: &Sequences,
        observer: &mut dyn Observer,
    ) -> Result<Outputs> {
        match self {
            Prepared::Compiled(artifact) => run(engine, artifact, target, samples, observer),
            // Only the float engine is prepared this way.
            Prepared::Imported(graph) => float(graph, samples, observer),
        }
    }
}

/// Fills in what only a compiler for the target can tell: code size and stack. What cannot be
/// measured stays unknown, and report and header say why.
pub fn measure(artifact: &mut Artifact, target: &Target) -> Result<()> {
    let files = artifact.emit(&[Language::C])?;
    let model = toolchain::Model { program: &artifact.program, files: &files };
    let measured = toolchain::measure(&model, target);
    // A compiler that was stopped with us is no news.
    super::signals::check()?;
    match measured {
        Ok(found) => artifact.measured(Some(found.code), found.stack.clone().ok(), found.stack.err()),
        Err(missing) => artifact.measured(None, None, Some(missing)),
    }
}
