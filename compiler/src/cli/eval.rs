//! `secateur eval`: the metric of the float model and of an engine side by side, and the drop.

use super::args::ModelArgs;
use super::engine::{self, Engine};
use super::labels::Expected;
use super::metric::{self, Labels, Metric, Reference};
use super::progress::Terminal;
use super::{data, output, print_json, warn};
use crate::error::{Error, Result};
use crate::report::SCHEMA;
use crate::tensor::Tensor;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples along the first axis (.npy, or .npz with one key an input).
    #[arg(long, value_name = "X.npy|X.npz")]
    data: PathBuf,
    /// One class number or one-hot row a sample (or one target array a sample, for `mse`).
    #[arg(long, value_name = "Y.npy")]
    labels: Option<PathBuf>,
    /// What to measure; top1 with labels, else agree.
    #[arg(long, value_enum)]
    metric: Option<Metric>,
    /// Who computes.
    #[arg(long, value_enum, default_value = "c")]
    engine: Engine,
    /// Measure the first N samples only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `eval` found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) metric: Metric,
    pub(crate) float: f64,
    pub(crate) engine: f64,
    pub(crate) agree: f64,
    pub(crate) samples: usize,
}

impl Outcome {
    pub(crate) fn drop(&self) -> f64 {
        self.metric.drop(self.float, self.engine)
    }
}

/// Measures an engine against labels and the float meaning.
pub(crate) fn measure(
    prepared: &engine::Prepared,
    engine: Engine,
    target: &secateur_targets::Target,
    samples: &[Vec<Tensor>],
    labels: &Labels,
    metric: Metric,
    observer: &mut Terminal,
) -> Result<Outcome> {
    let first =
        |outputs: &[Vec<Tensor>]| -> Vec<Vec<f64>> { outputs.iter().map(|o| o[0].to_f64_vec()).collect() };
    let float = prepared.run(Engine::Float, target, samples, observer)?;
    let float = first(&float.real);
    let outputs = first(&prepared.run(engine, target, samples, observer)?.real);
    let inputs = first(samples);
    let reference = Reference { labels, inputs: &inputs, float: &float };
    Ok(Outcome {
        metric,
        float: metric::measure(metric, &float, &reference)?,
        engine: metric::measure(metric, &outputs, &reference)?,
        agree: metric::measure(Metric::Agree, &outputs, &reference)?,
        samples: samples.len(),
    })
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let job = args.model.job()?.emitting(args.engine.languages());
    let labels = args.labels.as_deref().map(data::read_npy).transpose()?;
    let metric = args.metric.unwrap_or(if labels.is_some() { Metric::Top1 } else { Metric::Agree });
    if metric == Metric::Top1 && labels.is_none() {
        return Err(Error::option("metric", "top1 needs labels").help("give `--labels Y.npy`"));
    }
    let samples = data::read_samples(&args.data)?;
    let mut observer = Terminal::new();
    let prepared = engine::prepare(&job, args.engine, &mut observer)?;
    let graph = prepared.graph();
    let total = samples.arrays.values().next().and_then(|a| a.shape().first().copied()).unwrap_or(0);
    let samples = data::split(&samples, graph, args.limit)?;
    let output = &graph[graph.outputs()[0]];
    let expected = Expected {
        samples: total,
        used: samples.len(),
        outputs: output.len(),
        float: output.dtype.is_float(),
    };
    let labels = Labels::new(metric, labels.as_ref(), &expected)?;
    let outcome = measure(&prepared, args.engine, &job.target, &samples, &labels, metric, &mut observer)?;
    drop(observer);
    warn(prepared.warnings());
    if args.json {
        return print_json(&json!({
            "schema": SCHEMA,
            "name": job.options.name,
            "target": job.target.name,
            "metric": metric.name(),
            "float": outcome.float,
            "engine": outcome.engine,
            "drop": outcome.drop(),
            "agree": outcome.agree,
            "samples": outcome.samples,
            "warnings": prepared.warnings(),
        }));
    }
    output::print(&text(&outcome, args.engine))
}

/// The outcome in three lines.
pub(crate) fn text(outcome: &Outcome, engine: Engine) -> String {
    let show = |v: f64| match outcome.metric {
        Metric::Mse => format!("{v:.6}"),
        Metric::Cosine => format!("{v:.5}"),
        _ => format!("{:.2} %", v * 100.0),
    };
    let drop = match outcome.metric {
        Metric::Mse => format!("{:+.2} %", outcome.drop() * 100.0),
        Metric::Cosine => format!("{:.5}", outcome.drop()),
        _ => format!("{:.2} points", outcome.drop() * 100.0),
    };
    format!(
        "{:<8} {} samples\nfloat    {}\n{:<8} {}   drop {drop}, same answer as float on {:.2} %\n",
        outcome.metric.name(),
        outcome.samples,
        show(outcome.float),
        engine.name(),
        show(outcome.engine),
        outcome.agree * 100.0,
    )
}
