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
use crate::options::{Language, Options, Settings};
use crate::tensor::Samples;
use std::path::PathBuf;

const MODEL: &[u8] = include_bytes!("../../models/watch_cnn1d/model.onnx");
const CALIBRATION: &[u8] = include_bytes!("../../models/watch_cnn1d/calib.npy");
const TEST: &[u8] = include_bytes!("../../models/watch_cnn1d/test_x.npy");
const LABELS: &[u8] = include_bytes!("../../models/watch_cnn1d/test_y.npy");

/// Samples that every engine must answer bit for bit alike.
const COMPARED: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the emitted code in this folder.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

fn unnamed(bytes: &[u8]) -> Result<Samples> {
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy::read(bytes)?);
    Ok(samples)
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let target = secateur_targets::find("nrf52840")
        .map_err(|e| Error::new(Fault::Internal, Site::Whole, e.to_string()))?;
    let options =
        Options { name: "watch_cnn1d".into(), emit: vec![Language::C, Language::Rust], ..Options::default() };
    let job = Job {
        model: MODEL.to_vec(),
        target,
        calibration: Some(unnamed(CALIBRATION)?),
        options,
        settings: Settings::default(),
        said: None,
    };
    output::print(
        "watch_cnn1d: which of seven exercises, from a watch's motion sensor\n\
         float ONNX -> int8 for nrf52840 (Cortex-M4F, 64 MHz)\n\n",
    )?;

    let mut observer = Terminal::new();
    let artifact = engine::measured(&job, &mut observer)?;
    let samples = data::split(&unnamed(TEST)?, &artifact.imported, None)?;
    let labels = npy::read(LABELS)?;
    let mut text = table::report(&artifact.report);

    text += &format!("\nthe same bits from every engine, {COMPARED} samples:\n");
    let few = &samples[..COMPARED];
    let want = engine::run(Engine::Eval, &artifact, &job.target, few, &mut observer)?;
    let mut differing = Vec::new();
    // The emitted C is what ships; without a C compiler the evaluator stands in.
    let mut accuracy_engine = Engine::Eval;
    for engine in [Engine::C, Engine::Rust, Engine::Emulator, Engine::EmulatorRust] {
        let said = match engine::run(engine, &artifact, &job.target, few, &mut observer) {
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

    let output = &artifact.imported[artifact.imported.outputs()[0]];
    let expected = Expected {
        samples: samples.len(),
        used: samples.len(),
        outputs: output.len(),
        float: output.dtype.is_float(),
    };
    let labels = Labels::new(Metric::Top1, Some(&labels), &expected)?;
    let prepared = engine::Prepared::Compiled(Box::new(artifact));
    let outcome = eval::measure(
        &prepared,
        accuracy_engine,
        &job.target,
        &samples,
        &labels,
        Metric::Top1,
        &mut observer,
    )?;
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
