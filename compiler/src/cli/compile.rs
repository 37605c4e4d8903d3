//! `secateur compile`: writes the model's C or Rust and says what it needs.

use super::args::{COMPILE, Job, ModelArgs};
use super::progress::Terminal;
use super::{config, data, engine, folder, output, print_json, signals, table, warn};
use crate::artifact::Artifact;
use crate::error::{Error, Fault, Result, Site};
use crate::options::Language;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs<COMPILE>,
    /// Folder to write to; made if it does not exist.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Build the output and compare it with the evaluator on the calibration samples first.
    #[arg(long)]
    check: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Compile nothing: print what holds and where each value comes from, as a `secateur.toml`.
    #[arg(long)]
    print_config: bool,
}

/// How many calibration samples `--check` runs.
const CHECKED: usize = 20;

pub(crate) fn main(args: &Args) -> Result<()> {
    if args.print_config {
        let (settings, said) = args.model.named()?;
        warn(said.as_slice());
        config::target(&settings)?;
        return output::print(&config::print(&settings, &args.model.model));
    }
    let job = args.model.job()?;
    let folder = args
        .output
        .clone()
        .ok_or_else(|| Error::option("output", "is missing").help("name the folder to write to: `-o DIR`"))?;
    let mut observer = Terminal::new();
    let artifact = engine::measured(&job, &mut observer)?;
    if args.check {
        check(&artifact, &job, &mut observer)?;
    }
    drop(observer);
    warn(&artifact.report.warnings);
    let dumps = artifact
        .dumps
        .iter()
        .map(|(stage, text)| (format!("{}.{stage}.txt", job.options.name), text.clone().into_bytes()));
    let texts = artifact.files.iter().map(|f| (f.path.clone(), f.text.clone().into_bytes()));
    let files: Vec<(String, Vec<u8>)> = texts.chain(artifact.models.iter().cloned()).chain(dumps).collect();
    signals::check()?;
    let removed = folder::replace(&folder, &job.options.name, &files)?;
    if args.json {
        let mut value = json!(artifact.report);
        value["digest"] = json!(artifact.digest);
        value["files"] = files.iter().map(|f| json!(f.0)).collect();
        value["removed"] = json!(removed);
        return print_json(&value);
    }
    let mut text = table::report(&artifact.report);
    for (path, _) in &files {
        text += &format!("wrote {}\n", folder.join(path).display());
    }
    for path in &removed {
        text += &format!("removed {}, of an earlier compilation\n", folder.join(path).display());
    }
    output::print(&text)
}

/// Builds the output for the host and compares it, bit for bit, with the evaluator.
fn check(artifact: &Artifact, job: &Job, observer: &mut Terminal) -> Result<()> {
    let samples = match &job.calibration {
        Some(samples) => data::sequences(samples, &artifact.imported, Some(CHECKED))?,
        None => {
            return Err(Error::option("check", "needs samples to compare on")
                .help("give some with `--calibrate X.npy`"));
        }
    };
    let want = engine::run(engine::Engine::Eval, artifact, &job.target, &samples, observer)?;
    for language in &job.options.emit {
        let engine = match language {
            Language::C => engine::Engine::C,
            Language::Rust => engine::Engine::Rust,
        };
        let got = engine::run(engine, artifact, &job.target, &samples, observer)?;
        if let Some(sample) = (0..samples.samples.len()).find(|&i| got.stored[i] != want.stored[i]) {
            return Err(Error::new(
                Fault::Internal,
                Site::Whole,
                format!("the emitted {language:?} differs from the evaluator on calibration sample {sample}"),
            ));
        }
    }
    Ok(())
}
