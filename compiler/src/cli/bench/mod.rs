//! `secateur bench`: one inference on the target's emulated core, counted.
//!
//! In: a model and a target. Out: instructions, modelled cycles, bytes moved and memory, in total
//! and by layer, beside what the compiler predicted. Law: the totals are of the code that
//! `compile` writes, unchanged; marks between layers are only in a second build, for the rows of
//! layers; a run whose outputs are not the evaluator's gives no figures.

mod compare;
mod counter;
mod inputs;
mod loops;
mod result;

use self::counter::Stretch;
use self::result::{Bench, Figures, Report, Row};
use super::args::{self, Job, ModelArgs};
use super::progress::Terminal;
use super::{data, engine, output, print_json, toolchain, warn};
use crate::artifact::Artifact;
use crate::emit::File;
use crate::error::{Error, Fault, Result, Site};
use crate::observe::Observer;
use crate::options::Language;
use crate::program::cost;
use crate::program::machine::Machine;
use crate::program::{Port, Program, to_port};
use crate::report::SCHEMA;
use crate::tensor::{DType, Data, Tensor};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Count the output in one language; both by default.
    #[arg(long, value_parser = args::language())]
    emit: Option<Language>,
    /// A sample to run, the first of a file; without one, random numbers of a fixed seed.
    #[arg(long, value_name = "X.npy|X.npz")]
    data: Option<PathBuf>,
    /// Count each layer too.
    #[arg(long)]
    per_layer: bool,
    /// Show the innermost loops, and what `llvm-mca` says of each.
    #[arg(long)]
    mca: bool,
    /// Fail if a figure is more than 1 % worse than in a file of `bench --json`.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Count N inputs instead, extreme and random ones, and fail unless an inference takes the same
    /// instructions for all of them.
    #[arg(
        long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..),
        conflicts_with_all = ["data", "per_layer", "mca", "compare"]
    )]
    inputs: Option<u32>,
    /// Print JSON, layers included.
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let languages = match args.emit {
        Some(language) => vec![language],
        None => vec![Language::C, Language::Rust],
    };
    let old = args.compare.as_deref().map(compare::read).transpose()?;
    let job = args.model.job()?.emitting(languages.clone());
    if job.target.core.emulator.is_none() {
        return Err(Error::option(
            "target",
            format!(
                "no emulator is known for the core of target `{}`, so nothing can be counted",
                job.target.name
            ),
        )
        .help(
            "name a chip with `--target`, for example `--target nrf52840`; `secateur targets` lists them",
        ));
    }
    let mut observer = Terminal::new();
    let artifact = engine::measured(&job, &mut observer)?;
    if let Some(n) = args.inputs {
        return constant(&artifact, &job, &languages, n as usize, args.json, observer);
    }
    let input = input(args, &job, &artifact)?;
    let mut report = Report { runs: Vec::new(), random: args.data.is_none(), notes: Vec::new() };
    for language in languages {
        match bench(&artifact, &job, language, &input, args, &mut observer) {
            Ok(run) => report.runs.push(run),
            // Nobody asked for Rust by name: without a compiler for it, C is enough.
            Err(e)
                if matches!(e.fault, Fault::Environment | Fault::Option)
                    && args.emit.is_none()
                    && !report.runs.is_empty() =>
            {
                report.notes.push(format!("{language:?} was not counted: {}", e.message));
            }
            Err(e) => return Err(e),
        }
    }
    drop(observer);
    warn(&artifact.report.warnings);
    let mut json = report.json();
    json["warnings"] = json!(artifact.report.warnings);
    let compared = match (&args.compare, old) {
        (Some(path), Some(old)) => Some(compare::compare(path, &old, &json)?),
        _ => None,
    };
    let (text, worse) = compared.unwrap_or_default();
    if args.json {
        print_json(&json)?;
    } else {
        output::print(&(report.table() + &text))?;
    }
    worse.map_or(Ok(()), Err)
}

/// Whether all inputs take the same instructions, in each language.
fn constant(
    artifact: &Artifact,
    job: &Job,
    languages: &[Language],
    inputs: usize,
    json: bool,
    mut observer: Terminal,
) -> Result<()> {
    let mut found = Vec::new();
    for &language in languages {
        found.push(inputs::run(artifact, job, language, inputs, &mut observer)?);
    }
    drop(observer);
    warn(&artifact.report.warnings);
    if json {
        let runs: Vec<_> = found.iter().map(|c| c.json(artifact)).collect();
        print_json(&json!({
            "schema": SCHEMA,
            "model": artifact.report.name,
            "target": artifact.report.target,
            "core": artifact.report.core,
            "runs": runs,
        }))?;
    } else {
        output::print(&found.iter().map(inputs::Counts::text).collect::<String>())?;
    }
    let refused = found.iter().filter_map(|c| c.refuse(artifact)).collect();
    Error::join(refused).map_or(Ok(()), Err)
}

/// The sample to run, as the ports hold it.
fn input(args: &Args, job: &Job, artifact: &Artifact) -> Result<Vec<Tensor>> {
    let ports = &artifact.program.inputs;
    let Some(path) = &args.data else {
        let mut state = 0;
        return Ok(ports.iter().map(|p| random(p, &mut state)).collect());
    };
    let samples = job.data(path)?.samples;
    warn(&data::warnings(&samples, &artifact.imported));
    let samples = data::split(&samples, &artifact.imported, Some(1))?;
    let first = samples
        .first()
        .ok_or_else(|| Error::data(Site::File(path.display().to_string()), "holds no sample"))?;
    Ok(first.iter().zip(ports).map(|(t, p)| to_port(t, p)).collect())
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Numbers over the whole range of a quantized port; floats from -1 to 1; zeros where integers
/// may be indices.
fn random(port: &Port, state: &mut u64) -> Tensor {
    let mut bytes = Vec::with_capacity(port.bytes());
    for _ in 0..port.len() {
        let r = next(state);
        let element = match (port.elem, port.affine) {
            (DType::F32, _) => (((r >> 40) as f32 / 8_388_608.0) - 1.0).to_le_bytes().to_vec(),
            (elem, Some(_)) => r.to_le_bytes()[..elem.size()].to_vec(),
            (elem, None) => vec![0; elem.size()],
        };
        bytes.extend(element);
    }
    Tensor::new(port.shape.clone(), Data::from_le_bytes(port.elem, &bytes)).unwrap_or_else(|_| {
        // A port's shape and length agree.
        Tensor::zeros(port.elem, &port.shape)
    })
}

/// The layer of each mark: a layer is marked where its steps begin.
fn marks(program: &Program) -> Vec<usize> {
    let mut marks: Vec<usize> = Vec::new();
    for step in program.entries.iter().filter(|e| e.name == "run").flat_map(|e| &e.steps) {
        if marks.last() != Some(&step.layer) {
            marks.push(step.layer);
        }
    }
    marks
}

fn bench(
    artifact: &Artifact,
    job: &Job,
    language: Language,
    input: &[Tensor],
    args: &Args,
    observer: &mut dyn Observer,
) -> Result<Bench> {
    let program = &artifact.program;
    observer.progress("evaluate", 0, 0);
    let wanted = Machine::new(program)?.run(input)?;
    let mut count = |files: &[File]| {
        observer.progress("build", 0, 0);
        let model = toolchain::Model { program, files };
        let image = toolchain::build(language, &[model], &job.target, toolchain::Optimize::Speed)?;
        observer.progress("count", 0, 0);
        let (replies, profile, elf) = counter::count(&image, &job.target, input)?;
        if replies.outputs.first() != Some(&wanted) {
            return Err(Error::new(
                Fault::Internal,
                Site::Whole,
                format!("the emitted {language:?} on the emulator differs from the evaluator"),
            ));
        }
        Ok((replies, profile, elf, image))
    };
    let (replies, profile, elf, image) = count(&artifact.emit(&[language])?)?;
    let mut layers: Vec<Row> = artifact.report.layers.iter().map(Row::new).collect();
    predict(program, job, &mut layers);
    if args.per_layer || args.json {
        let (_, profile, ..) = count(&artifact.emit_marked(language)?)?;
        let marks = marks(program);
        if profile.stretches.len() != marks.len() + 1 {
            return Err(Error::internal(
                Site::Whole,
                "the counter met another number of marks than there are",
            ));
        }
        for (stretch, &layer) in profile.stretches[1..].iter().zip(&marks) {
            layers[layer].figures.counted.get_or_insert_with(Stretch::default).add(stretch);
        }
    }
    let mut loops = if args.mca { loops::loops(&profile, &elf) } else { Vec::new() };
    let silence = if args.mca { loops::ask_llvm(&mut loops, image.file(), &job.target.core)? } else { None };
    let total = &artifact.report.total;
    let code = match language {
        Language::C => total.code,
        Language::Rust => Some(result::rust_code(&elf)),
    };
    let stack = match language {
        Language::C => total.stack,
        // rustc states no frame sizes; what was touched is known.
        Language::Rust => replies.stack,
    };
    if let (Language::C, Some(bound), Some(touched)) = (language, stack, replies.stack)
        && touched > bound
    {
        return Err(Error::internal(
            Site::Whole,
            format!("the run wrote to {touched} bytes of stack, more than the bound of {bound}"),
        ));
    }
    let predicted = layers.iter().filter_map(|l| l.figures.predicted).reduce(|a, b| a + b);
    Ok(Bench {
        model: program.name.clone(),
        language,
        total: Figures {
            counted: Some(profile.total()),
            macs: total.macs,
            live_macs: total.live_macs,
            weights: total.weights,
            arena: total.arena,
            code,
            predicted,
        },
        stack,
        touched: replies.stack,
        unknown: profile.unknown,
        flash_lines: profile.flash_lines,
        layers,
        loops,
        silence,
        target: job.target.clone(),
        optimize: job.options.optimize,
    })
}

/// Adds the predicted cycles of each layer's steps.
fn predict(program: &Program, job: &Job, layers: &mut [Row]) {
    let Some(core) = &job.target.core.cost else { return };
    for step in program.entries.iter().filter(|e| e.name == "run").flat_map(|e| &e.steps) {
        if let Some(row) = layers.get_mut(step.layer) {
            *row.figures.predicted.get_or_insert(0.0) += cost::count_step(step).cycles(core);
            row.figures.code = Some(row.figures.code.unwrap_or(0) + cost::native_bytes(&step.kernel));
        }
    }
}
