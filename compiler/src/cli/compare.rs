//! `secateur compare`: where float and integer results part, layer by layer.

use super::args::ModelArgs;
use super::progress::Terminal;
use super::{data, output, print_json};
use crate::artifact::compile;
use crate::error::{Error, Result};
use crate::quantize::compare;
use crate::report::SCHEMA;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples to compare on; the calibration samples by default.
    #[arg(long, value_name = "X.npy|X.npz")]
    data: Option<PathBuf>,
    /// Compare on the first N samples only.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let job = args.model.job()?.emitting(Vec::new());
    let samples = match (&args.data, &job.calibration) {
        (Some(path), _) => data::read_samples(path)?,
        (None, Some(samples)) => samples.clone(),
        (None, None) => {
            return Err(Error::option("data", "is missing").help("give samples with `--data X.npy`"));
        }
    };
    let mut observer = Terminal::new();
    let artifact =
        compile(&job.model, &job.target, job.calibration.as_ref(), &job.options, &mut observer)?;
    let samples = data::split(&samples, &artifact.imported, Some(args.limit))?;
    let layers = compare::compare(&artifact, &samples, &mut observer)?;
    drop(observer);
    if args.json {
        return print_json(&json!({ "schema": SCHEMA, "name": job.options.name, "layers": layers }));
    }
    output::print(&compare::table(&layers))
}
