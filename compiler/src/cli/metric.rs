//! Metrics of `secateur eval`.

use super::labels::{self, Expected};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Metric {
    /// Share of samples whose largest output is the label.
    Top1,
    /// Share of samples whose largest output is the float model's.
    Agree,
    /// Mean squared error against the labels if given, else against the input where output and
    /// input have equal shapes (autoencoders), else against the float model.
    Mse,
    /// Mean cosine similarity with the float model's output.
    Cosine,
}

impl Metric {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Metric::Top1 => "top1",
            Metric::Agree => "agree",
            Metric::Mse => "mse",
            Metric::Cosine => "cosine",
        }
    }
    /// How much worse `engine` is than `float`, as a fraction: points lost for shares and
    /// cosine, relative growth for errors.
    pub(crate) fn drop(self, float: f64, engine: f64) -> f64 {
        match self {
            Metric::Mse if float > 0.0 => engine / float - 1.0,
            Metric::Mse => engine,
            _ => float - engine,
        }
    }
    pub(crate) fn show(self, v: f64) -> String {
        match self {
            Metric::Mse => format!("{v:.6}"),
            Metric::Cosine => format!("{v:.5}"),
            _ => format!("{:.2} %", v * 100.0),
        }
    }
    pub(crate) fn show_drop(self, v: f64) -> String {
        match self {
            Metric::Mse => format!("{:+.2} %", v * 100.0),
            Metric::Cosine => format!("{v:.5}"),
            _ => format!("{:.2} points", v * 100.0),
        }
    }
}

/// Labels as a metric reads them, one entry a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Labels {
    None,
    Classes(Vec<usize>),
    Targets(Vec<Vec<f64>>),
}

impl Labels {
    /// Checks the labels against what the metric needs.
    pub(crate) fn new(metric: Metric, labels: Option<&Tensor>, expected: &Expected) -> Result<Labels> {
        Ok(match (metric, labels) {
            (Metric::Top1, Some(labels)) => Labels::Classes(labels::classes(labels, expected)?),
            (Metric::Top1, None) => return Err(unlabelled()),
            (Metric::Mse, Some(labels)) => Labels::Targets(labels::targets(labels, expected)?),
            (_, None) => Labels::None,
            (Metric::Agree | Metric::Cosine, Some(_)) => {
                return Err(Error::option(
                    "labels",
                    format!("are not read by metric {}, which compares with the float model", metric.name()),
                )
                .help("leave `--labels` out, or measure `--metric top1` or `mse`"));
            }
        })
    }
}

fn unlabelled() -> Error {
    Error::option("metric", "top1 needs labels").help("give `--labels Y.npy`")
}

/// What the outputs are measured against: one row a sample.
#[derive(Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) labels: &'a Labels,
    /// First input and first float output of each sample, as real values.
    pub(crate) inputs: &'a [Vec<f64>],
    pub(crate) float: &'a [Vec<f64>],
}

/// Index of the largest element, the first of equals.
pub(crate) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// The metric of `outputs` (first output of each sample, real values).
pub(crate) fn measure(metric: Metric, outputs: &[Vec<f64>], reference: &Reference<'_>) -> Result<f64> {
    let n = outputs.len() as f64;
    match metric {
        Metric::Top1 => {
            let Labels::Classes(labels) = reference.labels else { return Err(unlabelled()) };
            let right = outputs.iter().zip(labels).filter(|(o, l)| class(o) == **l).count();
            Ok(right as f64 / n)
        }
        Metric::Agree => {
            let same = outputs.iter().zip(reference.float).filter(|(o, f)| class(o) == class(f)).count();
            Ok(same as f64 / n)
        }
        Metric::Cosine => {
            let sum: f64 = outputs.iter().zip(reference.float).map(|(o, f)| cosine(o, f)).sum();
            Ok(sum / n)
        }
        Metric::Mse => {
            let target = |i: usize| match reference.labels {
                Labels::Targets(targets) => &targets[i],
                _ if reference.inputs[i].len() == outputs[i].len() => &reference.inputs[i],
                _ => &reference.float[i],
            };
            let mut sum = 0.0;
            for (i, o) in outputs.iter().enumerate() {
                let t = target(i);
                sum += o.iter().zip(t).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / o.len().max(1) as f64;
            }
            Ok(sum / n)
        }
    }
}

/// The class that an output names: its largest element, or, for a single element (an ArgMax
/// inside the model), its value.
fn class(output: &[f64]) -> usize {
    if output.len() == 1 { output[0] as usize } else { argmax(output) }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let both = norm(a) * norm(b);
    if both > 0.0 { dot / both } else { f64::from(u8::from(norm(a) == norm(b))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_match_hand_worked_values() {
        let outputs = vec![vec![0.1, 0.9], vec![0.8, 0.2], vec![0.5, 0.5]];
        let float = vec![vec![0.0, 1.0], vec![0.0, 1.0], vec![1.0, 0.0]];
        let inputs = vec![vec![0.0]; 3];
        let labels = Labels::Classes(vec![1, 1, 1]);
        let reference = Reference { labels: &labels, inputs: &inputs, float: &float };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(measure(Metric::Top1, &outputs, &reference).unwrap(), 1.0 / 3.0);
        close(measure(Metric::Agree, &outputs, &reference).unwrap(), 2.0 / 3.0);
        let unlabelled = Reference { labels: &Labels::None, ..reference };
        close(measure(Metric::Mse, &outputs, &unlabelled).unwrap(), (0.01 + 0.64 + 0.25) / 3.0);
        assert!(measure(Metric::Top1, &outputs, &unlabelled).is_err());
        let targets = Labels::Targets(vec![vec![0.1, 0.9], vec![0.8, 0.2], vec![0.5, 1.5]]);
        let with_targets = Reference { labels: &targets, ..reference };
        close(measure(Metric::Mse, &outputs, &with_targets).unwrap(), 0.5 / 3.0);
        close(Metric::Mse.drop(2.0, 2.1), 0.05);
        close(Metric::Top1.drop(0.9, 0.88), 0.02);
    }
}
