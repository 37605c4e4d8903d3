//! `secateur eval`: the metric of the float model and of an engine side by side, and the drop.

use super::args::{Job, ModelArgs};
use super::data::csv::Labels as Given;
use super::engine::{self, Engine};
use super::labels::{self, Expected};
use super::metric::{self, Labels, Metric, Reference};
use super::progress::Terminal;
use super::{data, output, print_json, table, warn};
use crate::error::{Error, Result};
use crate::kernels::offer::SPARSE;
use crate::options::{Budgets, Leaf, Options, Quantize};
use crate::report::SCHEMA;
use crate::samples::Sequences;
use crate::tensor::Tensor;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Samples along the first axis (.npy, or .npz with one key an input), in rows (.csv), or a file each (.wav, a
    /// folder); with `--state`, steps of a sequence along
    /// the first, or sequences and their steps along the first two.
    #[arg(long, value_name = "X.npy|X.npz|X.csv|DIR")]
    data: PathBuf,
    /// One class number, name or one-hot row a sample (or one target array a sample, for `mse`): .npy, or .csv. Without
    /// it, the column of the data that `--labels-column` names.
    #[arg(long, value_name = "Y.npy|Y.csv")]
    labels: Option<PathBuf>,
    /// Names of the classes in the order of the model's outputs, for labels that are names; without it, in the order of
    /// the alphabet.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    classes: Vec<String>,
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
    /// Mean square errors of float model and engine, where there are no labels.
    mse: Option<[f64; 2]>,
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
    samples: &Sequences,
    labels: &Labels,
    metric: Metric,
    observer: &mut Terminal,
) -> Result<Outcome> {
    let first =
        |outputs: &[Vec<Tensor>]| -> Vec<Vec<f64>> { outputs.iter().map(|o| o[0].to_f64_vec()).collect() };
    let float = prepared.run(Engine::Float, target, samples, observer)?;
    let float = first(&float.real);
    let outputs = first(&prepared.run(engine, target, samples, observer)?.real);
    let inputs = first(&samples.samples);
    let reference = Reference { labels, inputs: &inputs, float: &float };
    let both = |metric| -> Result<[f64; 2]> {
        Ok([metric::measure(metric, &float, &reference)?, metric::measure(metric, &outputs, &reference)?])
    };
    let [of_float, of_engine] = both(metric)?;
    Ok(Outcome {
        metric,
        float: of_float,
        engine: of_engine,
        agree: metric::measure(Metric::Agree, &outputs, &reference)?,
        mse: if *labels == Labels::None { Some(both(Metric::Mse)?) } else { None },
        samples: samples.samples.len(),
    })
}

/// The same job with every weight, for a job that prunes; it need not keep the budgets, which zeros may be for.
fn dense(job: &Job) -> Option<Job> {
    let prunes = job.options.prunes();
    let mut kernels = job.options.kernels.clone();
    kernels.retain(|wish| !wish.variant.starts_with(SPARSE));
    prunes.then(|| {
        let options = job.options.clone().without_pruning();
        let options = Options { kernels, budgets: Budgets::default(), allow_overflow: true, ..options };
        Job { options, ..job.clone() }
    })
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let job = args.model.job()?.emitting(args.engine.languages());
    let read = job.data(&args.data)?;
    // The column is named to keep it out of the samples; these metrics read no labels.
    let unlabelled = matches!(args.metric, Some(Metric::Agree | Metric::Cosine));
    let labels = match (&args.labels, read.labels) {
        (Some(path), _) => Some(data::read_labels(path)?),
        (None, words) => words.filter(|_| !unlabelled).map(Given::Words),
    };
    if labels.is_none() && job.settings.labels_column.is_some() && args.metric.is_none() {
        return Err(Error::option("labels-column", format!("`{}` is no table", args.data.display()))
            .help("tables are .csv, .tsv and .txt files; labels of others are given with `--labels`"));
    }
    let (labels, names) = match labels {
        Some(labels) => {
            let (numbers, names) = labels::numbers(labels, &args.classes)?;
            (Some(numbers), names)
        }
        None => (None, Vec::new()),
    };
    if !names.is_empty() && !args.json {
        let named: Vec<String> = names.iter().enumerate().map(|(i, n)| format!("{i} {n}")).collect();
        output::print(&format!("classes: {}\n", named.join(", ")))?;
    }
    let metric = args.metric.unwrap_or(if labels.is_some() { Metric::Top1 } else { Metric::Agree });
    if metric == Metric::Top1 && labels.is_none() {
        return Err(Error::option("metric", "top1 needs labels").help("give `--labels Y.npy`"));
    }
    let samples = read.samples;
    let mut observer = Terminal::new();
    let prepared = engine::prepare(&job, args.engine, &mut observer)?;
    let dense = dense(&job).filter(|_| args.engine != Engine::Float);
    let dense = dense.map(|job| engine::prepare(&job, args.engine, &mut observer)).transpose()?;
    let graph = prepared.graph();
    let unread = data::warnings(&samples, graph);
    let total = data::split(&samples, graph, None)?.len();
    let samples = data::sequences(&samples, graph, args.limit)?;
    let output = &graph[graph.results()[0]];
    let expected = Expected {
        samples: total,
        used: samples.samples.len(),
        outputs: output.len(),
        float: output.dtype.is_float(),
    };
    let labels = Labels::new(metric, labels.as_ref(), &expected)?;
    let mut of = |prepared: &engine::Prepared| {
        measure(prepared, args.engine, &job.target, &samples, &labels, metric, &mut observer)
    };
    let (outcome, dense) = (of(&prepared)?, dense.as_ref().map(of).transpose()?);
    drop(observer);
    warn(prepared.warnings());
    warn(&unread);
    if args.json {
        let of = |outcome: &Outcome| {
            json!({
                "engine": outcome.engine,
                "drop": outcome.drop(),
                "agree": outcome.agree,
                "mse": outcome.mse.map(|m| m[1]),
            })
        };
        let mut value = of(&outcome);
        value["schema"] = json!(SCHEMA);
        value["name"] = json!(job.options.name);
        value["target"] = json!(job.target.name);
        value["metric"] = json!(metric.name());
        value["float"] = json!(outcome.float);
        value["float_mse"] = json!(outcome.mse.map(|m| m[0]));
        value["dense"] = json!(dense.as_ref().map(of));
        value["samples"] = json!(outcome.samples);
        value["warnings"] = json!(prepared.warnings());
        return print_json(&value);
    }
    let text = match dense {
        None => text(&outcome, args.engine),
        Some(dense) => beside(&dense, &outcome, args.engine, job.options.quantize),
    };
    output::print(&text)
}

/// The outcome in three lines.
pub(crate) fn text(outcome: &Outcome, engine: Engine) -> String {
    let metric = outcome.metric;
    format!(
        "{:<8} {} samples\nfloat    {}\n{:<8} {}   drop {}, same answer as float on {:.2} %\n",
        metric.name(),
        outcome.samples,
        metric.show(outcome.float),
        engine.name(),
        metric.show(outcome.engine),
        metric.show_drop(outcome.drop()),
        outcome.agree * 100.0,
    )
}

/// Float, dense and pruned side by side.
fn beside(dense: &Outcome, pruned: &Outcome, engine: Engine, quantize: Quantize) -> String {
    let metric = pruned.metric;
    let row = |name: &str, cells: [String; 3]| [name.to_owned()].into_iter().chain(cells).collect();
    let both = |of: &dyn Fn(&Outcome) -> String| [of(dense), of(pruned)];
    let three = |float: String, [dense, pruned]: [String; 2]| [float, dense, pruned];
    let mut rows: Vec<Vec<String>> = vec![
        row(metric.name(), three(metric.show(pruned.float), both(&|o| metric.show(o.engine)))),
        row("drop", three(String::new(), both(&|o| metric.show_drop(o.drop())))),
    ];
    if metric != Metric::Agree {
        let share = |o: &Outcome| Metric::Agree.show(o.agree);
        rows.push(row("same answer as float", three(String::new(), both(&share))));
    }
    if let Some([float, _]) = pruned.mse.filter(|_| metric != Metric::Mse) {
        let show = |v: f64| Metric::Mse.show(v);
        let of = |o: &Outcome| o.mse.map_or(String::new(), |m| show(m[1]));
        rows.push(row("mse", three(show(float), both(&of))));
    }
    let form = quantize.show().replace('"', "").replace("none", "float");
    let (dense, pruned_form) = (format!("dense {form}"), format!("pruned {form}"));
    let samples = format!("{} samples, {}", pruned.samples, engine.name());
    table::table(&[&samples, "float", &dense, &pruned_form], rows, 1)
}
