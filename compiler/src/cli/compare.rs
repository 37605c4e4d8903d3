//! `secateur compare`: where float and integer results part, layer by layer.

use super::args::ModelArgs;
use super::progress::Terminal;
use super::{data, output, print_json, table, warn};
use crate::compare::{LayerError, compare};
use crate::error::{Error, Result};
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
    /// Compare on the first N samples only; of a model with states, on those of the first sequence.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let job = args.model.job()?.emitting(Vec::new());
    let samples = match (&args.data, &job.calibration) {
        (Some(path), _) => job.data(path)?.samples,
        (None, Some(samples)) => samples.clone(),
        (None, None) => {
            return Err(Error::option("data", "is missing").help("give samples with `--data X.npy`"));
        }
    };
    let mut observer = Terminal::new();
    let artifact = job.compile(&job.options, &mut observer)?;
    // Those of calibration samples are among the artifact's.
    let unread =
        args.data.iter().flat_map(|_| data::warnings(&samples, &artifact.imported)).collect::<Vec<_>>();
    let samples = data::sequences(&samples, &artifact.imported, Some(args.limit))?;
    let layers = compare(&artifact, samples.each().next().unwrap_or_default(), &mut observer)?;
    drop(observer);
    warn(&artifact.report.warnings);
    warn(&unread);
    if args.json {
        return print_json(&json!({
            "schema": SCHEMA,
            "name": job.options.name,
            "layers": layers,
            "warnings": artifact.report.warnings,
        }));
    }
    output::print(&text(&layers))
}

fn text(layers: &[LayerError]) -> String {
    let decibels = |snr: Option<f64>| snr.map_or("exact".to_string(), |v| format!("{v:.1}"));
    let rows = layers
        .iter()
        .map(|l| {
            let worst = l.worst_channel.as_ref();
            vec![
                table::name(&l.layer),
                l.op.clone(),
                decibels(l.snr_db),
                format!("{:.5}", l.cosine),
                format!("{:.4}", l.max_abs),
                worst.map_or("-".to_string(), |w| format!("{} ({:.1})", w.index, w.snr_db)),
            ]
        })
        .collect();
    table::table(&["layer", "operator", "SNR dB", "cosine", "largest error", "worst channel (dB)"], rows, 2)
}
