//! `secateur run`: feeds samples to a model and writes its outputs.

use super::args::ModelArgs;
use super::engine::{self, Engine};
use super::progress::Terminal;
use super::{data, output, table, warn};
use crate::error::Result;
use crate::tensor::{Data, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples along the first axis (.npy, or .npz with one key an input), in rows (.csv), or a file each (.wav, a
    /// folder); with `--state`, steps of a sequence along
    /// the first, or sequences and their steps along the first two.
    #[arg(long, value_name = "X.npy|X.npz|X.csv|DIR")]
    input: PathBuf,
    /// Where to write the outputs; without it, a summary is printed.
    #[arg(long, value_name = "Y.npz")]
    output: Option<PathBuf>,
    /// Who computes.
    #[arg(long, value_enum, default_value = "eval")]
    engine: Engine,
    /// Run the first N samples only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let job = args.model.job()?.emitting(args.engine.languages());
    let samples = job.data(&args.input)?.samples;
    let mut observer = Terminal::new();
    let prepared = engine::prepare(&job, args.engine, &mut observer)?;
    let unread = data::warnings(&samples, prepared.graph());
    let samples = data::sequences(&samples, prepared.graph(), args.limit)?;
    let outputs = prepared.run(args.engine, &job.target, &samples, &mut observer)?;
    drop(observer);
    warn(prepared.warnings());
    warn(&unread);

    // Sequences of equal length come as they were given.
    let (count, steps) = (samples.samples.len(), samples.steps);
    let axes = match count % steps {
        0 if count > steps => vec![count / steps, steps],
        _ => vec![count],
    };
    let mut arrays = BTreeMap::new();
    for (index, name) in outputs.names.iter().enumerate() {
        arrays.insert(name.clone(), stack(&outputs.real, index, &axes)?);
        // What the emitted code stores; the float engine runs none.
        let stored = args.engine != Engine::Float;
        if stored && outputs.stored.iter().all(|o| !o[index].dtype().is_float()) {
            arrays.insert(format!("{name}.raw"), stack(&outputs.stored, index, &axes)?);
        }
    }
    match &args.output {
        Some(path) => data::write_npz(path, &arrays),
        None => {
            let mut text = String::new();
            for (name, tensor) in &arrays {
                let (shape, values) = (table::shape(tensor.shape()), tensor.to_f64_vec());
                text += &format!("{name}: {} {shape}, {}\n", tensor.dtype(), extent(&values));
            }
            output::print(&text)
        }
    }
}

/// The least and the greatest of some values, and how many are no numbers.
fn extent(values: &[f64]) -> String {
    let numbers: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    let missing = values.len() - numbers.len();
    let (lo, hi) = numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    match (numbers.len(), missing) {
        (0, 0) => "empty".to_string(),
        (0, _) => format!("all {missing} values are NaN"),
        (_, 0) => format!("from {lo} to {hi}"),
        _ => format!("from {lo} to {hi}, {missing} of {} values are NaN", values.len()),
    }
}

/// Output `index` of all samples as one array; the first axes count samples. A batch axis of
/// one is replaced by them, as in the data that users hand over.
fn stack(outputs: &[Vec<Tensor>], index: usize, axes: &[usize]) -> Result<Tensor> {
    let first = &outputs[0][index];
    let inner = match first.shape() {
        [1, rest @ ..] => rest,
        all => all,
    };
    let shape: Vec<usize> = axes.iter().chain(inner).copied().collect();
    let bytes: Vec<u8> = outputs.iter().flat_map(|o| o[index].data().to_le_bytes()).collect();
    Tensor::new(shape, Data::from_le_bytes(first.dtype(), &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_no_numbers_are_counted() {
        assert_eq!(extent(&[1.5, -2.0]), "from -2 to 1.5");
        assert_eq!(extent(&[f64::NAN, 1.0, f64::NEG_INFINITY]), "from -inf to 1, 1 of 3 values are NaN");
        assert_eq!(extent(&[f64::NAN; 2]), "all 2 values are NaN");
        assert_eq!(extent(&[]), "empty");
    }
}
