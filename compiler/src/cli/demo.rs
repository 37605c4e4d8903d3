//! `secateur demo`: a bundled wearable model, compiled, run and checked before your eyes.

use super::args::Job;
use super::engine::{self, Engine};
use super::eval;
use super::labels::Expected;
use super::metric::{Labels, Metric};
use super::progress::Terminal;
use super::{data, folder, output, table, warn};
use crate::error::{Error, Fault, Result, Site};
use crate::npy;
use crate::options::{Language, Options, Pattern, Prune, Settings, Share};
use crate::tensor::Samples;
use std::path::{Path, PathBuf};

const MODEL: &[u8] = include_bytes!("../../models/watch_cnn1d/model.onnx");
pub(super) const CALIBRATION: &[u8] = include_bytes!("../../models/watch_cnn1d/calib.npy");
const TEST: &[u8] = include_bytes!("../../models/watch_cnn1d/test_x.npy");
const LABELS: &[u8] = include_bytes!("../../models/watch_cnn1d/test_y.npy");

/// Samples that every engine must answer bit for bit alike.
const COMPARED: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to show; the tour if nothing is named.
    #[arg(value_enum)]
    what: Option<What>,
    /// Keep the emitted code in this folder.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// What there is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The same model dense and with three quarters of its weights zero: sizes, cycles, accuracy.
    Prune,
}

fn unnamed(bytes: &[u8]) -> Result<Samples> {
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy::read(bytes)?);
    Ok(samples)
}

/// The bundled model, to be compiled for a target and with options that the caller sets.
pub(super) fn bundled() -> Result<Job> {
    job(None)
}

fn job(prune: Option<Prune>) -> Result<Job> {
    let target = secateur_targets::find("nrf52840")
        .map_err(|e| Error::new(Fault::Internal, Site::Whole, e.to_string()))?;
    let emit = vec![Language::C, Language::Rust];
    let options = Options { name: "watch_cnn1d".into(), emit, prune, ..Options::default() };
    Ok(Job {
        model: MODEL.to_vec(),
        target,
        calibration: Some(unnamed(CALIBRATION)?),
        options,
        settings: Settings::default(),
        said: None,
    })
}

/// The share of zeros that `demo prune` shows, and how they lie.
const PRUNED: Prune = Prune {
    sparsity: Some(Share(0.75)),
    pattern: Some(Pattern::Block { rows: 4, columns: 4 }),
    score: None,
    spread: None,
};

/// Dense and pruned, side by side.
fn prune(folder: Option<&Path>) -> Result<()> {
    output::print(
        "watch_cnn1d: which of seven exercises, from a watch's motion sensor\n\
         float ONNX -> int8 for nrf52840 (Cortex-M4F, 64 MHz), with all weights and with a quarter of them, in\n\
         blocks of 4x4 (`--prune pattern=4x4,sparsity=0.75`)\n\n",
    )?;
    let mut observer = Terminal::new();
    let (mut columns, mut float): (Vec<Vec<String>>, String) = (Vec::new(), String::new());
    let mut files = Vec::new();
    let mut warnings = Vec::new();
    for prune in [None, Some(PRUNED)] {
        let job = job(prune)?;
        let artifact = engine::measured(&job, &mut observer)?;
        files.clone_from(&artifact.files);
        let (report, prepared) = (artifact.report.clone(), engine::Prepared::Compiled(Box::new(artifact)));
        warnings.extend_from_slice(prepared.warnings());
        // The emitted C is what ships; without a C compiler the evaluator stands in.
        let accuracy = match accuracy(&job, &prepared, Engine::C, &mut observer) {
            Err(e) if e.fault == Fault::Environment => {
                accuracy(&job, &prepared, Engine::Eval, &mut observer)?
            }
            other => other?,
        };
        let total = &report.total;
        let number = |n: usize| table::count(n as u64);
        let unknown = || "not measured".to_owned();
        float = format!("{:.2} %", accuracy.float * 100.0);
        columns.push(vec![
            number(total.weights),
            total.code.map_or_else(unknown, number),
            number(total.arena),
            total.stack.map_or_else(unknown, number),
            total.cycles.map_or_else(unknown, table::count),
            format!("{:.2} %", accuracy.engine * 100.0),
            format!("{:.2} %", accuracy.agree * 100.0),
        ]);
    }
    drop(observer);
    warn(&warnings);
    let names = [
        "flash: weights, B",
        "flash: code, B",
        "RAM: arena, B",
        "RAM: stack at most, B",
        "cycles, predicted",
        "accuracy",
        "same answer as float",
    ];
    let float = |name: &str| if name == "accuracy" { float.clone() } else { String::new() };
    let rows = names
        .iter()
        .enumerate()
        .map(|(i, name)| vec![(*name).to_owned(), float(name), columns[0][i].clone(), columns[1][i].clone()])
        .collect();
    let mut text = table::table(&["", "float", "dense int8", "pruned int8"], rows, 1);
    if let Some(folder) = folder {
        folder::replace(folder, "watch_cnn1d", &files)?;
        text += &format!("\nwrote {} files of the pruned model to {}\n", files.len(), folder.display());
    }
    output::print(&text)
}

/// Accuracy on the bundled test samples.
fn accuracy(
    job: &Job,
    prepared: &engine::Prepared,
    engine: Engine,
    observer: &mut Terminal,
) -> Result<eval::Outcome> {
    let graph = prepared.graph();
    let samples = data::sequences(&unnamed(TEST)?, graph, None)?;
    let labels = npy::read(LABELS)?;
    let output = &graph[graph.results()[0]];
    let expected = Expected {
        samples: samples.samples.len(),
        used: samples.samples.len(),
        outputs: output.len(),
        float: output.dtype.is_float(),
    };
    let labels = Labels::new(Metric::Top1, Some(&labels), &expected)?;
    eval::measure(prepared, engine, &job.target, &samples, &labels, Metric::Top1, observer)
}

pub(crate) fn main(args: &Args) -> Result<()> {
    if args.what == Some(What::Prune) {
        return prune(args.output.as_deref());
    }
    let job = job(None)?;
    output::print(
        "watch_cnn1d: which of seven exercises, from a watch's motion sensor\n\
         float ONNX -> int8 for nrf52840 (Cortex-M4F, 64 MHz)\n\n",
    )?;

    let mut observer = Terminal::new();
    let artifact = engine::measured(&job, &mut observer)?;
    let few = data::sequences(&unnamed(TEST)?, &artifact.imported, Some(COMPARED))?;
    let mut text = table::report(&artifact.report);

    text += &format!("\nthe same bits from every engine, {COMPARED} samples:\n");
    let want = engine::run(Engine::Eval, &artifact, &job.target, &few, &mut observer)?;
    let mut differing = Vec::new();
    // The emitted C is what ships; without a C compiler the evaluator stands in.
    let mut accuracy_engine = Engine::Eval;
    for engine in [Engine::C, Engine::Rust, Engine::Emulator, Engine::EmulatorRust] {
        let said = match engine::run(engine, &artifact, &job.target, &few, &mut observer) {
            Ok(got) if got.stored == want.stored => {
                if engine == Engine::C {
                    accuracy_engine = Engine::C;
                }
                "identical to the evaluator".to_string()
            }
            Ok(_) => {
                differing.push(engine.name());
                "DIFFERS from the evaluator".to_string()
            }
            Err(e) if e.fault == Fault::Environment => format!("not run: {}", e.message),
            Err(e) => return Err(e),
        };
        text += &format!("  {:<14} {said}\n", engine.name());
    }

    let prepared = engine::Prepared::Compiled(Box::new(artifact));
    let outcome = accuracy(&job, &prepared, accuracy_engine, &mut observer)?;
    drop(observer);
    warn(prepared.warnings());
    text += "\n";
    text += &eval::text(&outcome, accuracy_engine);
    if let (Some(folder), engine::Prepared::Compiled(artifact)) = (&args.output, &prepared) {
        folder::replace(folder, "watch_cnn1d", &artifact.files)?;
        text += &format!("\nwrote {} files to {}\n", artifact.files.len(), folder.display());
    }
    output::print(&text)?;
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Fault::Internal,
        Site::Whole,
        format!("engines differ from the evaluator: {}", differing.join(", ")),
    ))
}
