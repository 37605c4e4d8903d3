//! One plan compiled with some samples and measured on others.
//!
//! In: a plan. Out: what it takes of the chip and what it gives up, kept in a file named by a hash of all that decides
//! it. Law: a file that is damaged, or of something else, is as good as none.

use super::super::args::Job;
use super::super::engine::{self, Engine};
use super::super::labels::Expected;
use super::super::metric::{Labels, Metric, Reference};
use super::super::{data, output, signals};
use super::Search;
use crate::error::{Error, Fault, Result, Site};
use crate::fit::{self, Plan, Survey};
use crate::observe::Observer;
use crate::options::Pattern;
use crate::parallel;
use crate::report::Report;
use crate::samples::Sequences;
use crate::tensor::{Samples, Tensor};
use crate::warning::Warning;
use crate::{FINGERPRINT, onnx, samples};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Folder of the trials, in that of the output.
pub(super) const FOLDER: &str = "trials";

/// What a plan takes and gives up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Predicted for one run; `None`: the core has no cost table, or the chip no clock or current.
    pub(super) cycles: Option<u64>,
    pub(super) seconds: Option<f64>,
    pub(super) joules: Option<f64>,
    /// Bytes; code is measured where the target's compiler is there, else predicted.
    pub(super) weights: usize,
    pub(super) code: usize,
    pub(super) arena: usize,
    pub(super) stack: usize,
    /// Share of zeros among the weights that could be zero.
    pub(super) sparsity: Option<f64>,
    /// The metric on held-back samples, what is lost against the float model, and the share of samples with its answer.
    pub(super) metric: f64,
    pub(super) drop: f64,
    pub(super) agree: f64,
    /// Root of the square error of the first output against its variance.
    pub(super) error: f64,
}

impl Outcome {
    pub(super) fn flash(&self) -> usize {
        self.weights + self.code
    }
    pub(super) fn ram(&self) -> usize {
        self.arena + self.stack
    }
}

/// A plan, and what came of it, or why nothing did.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trial {
    pub(super) plan: Plan,
    pub(super) result: std::result::Result<Outcome, String>,
}

/// A model with the samples that plans are made with and those that they are measured on.
pub(super) struct Bench<'a> {
    pub(super) job: &'a Job,
    /// The same job with the first of these alone.
    made: Job,
    few: Samples,
    held: Sequences,
    pub(super) metric: Metric,
    labels: Labels,
    /// The float model's first output of each held-back sample, and the first input.
    float: Vec<Vec<f64>>,
    inputs: Vec<Vec<f64>>,
    /// The metric of the float model.
    pub(super) of_float: f64,
    pub(super) warnings: Vec<Warning>,
    /// Of all that a trial depends on but its plan.
    base: Vec<u8>,
}

/// Silence that hears signals.
struct Quiet;

impl Observer for Quiet {
    fn cancelled(&mut self) -> bool {
        signals::stopped()
    }
}

/// Samples of every array at some places of the first axis.
fn taken(samples: &Samples, places: &[usize]) -> Result<Samples> {
    let wrong = || Error::internal(Site::Whole, "samples that fit the model have no such place");
    samples::part(samples, |_| places.to_vec()).ok_or_else(wrong)
}

/// How many samples the first axes count.
fn count(samples: &Samples) -> Result<usize> {
    let mut counts = samples.arrays.values().map(|t| t.shape().first().copied().unwrap_or(0));
    let first = counts.next().unwrap_or(0);
    if counts.any(|other| other != first) {
        return Err(Error::data(Site::Whole, "the arrays have different numbers of samples"));
    }
    Ok(first)
}

impl<'a> Bench<'a> {
    /// Reads what is to be measured, and measures the float model.
    ///
    /// Errors: no samples or too few, labels that do not fit, a model that brought its own quantization.
    pub(super) fn new(search: &'a Search) -> Result<Bench<'a>> {
        let job = &search.job;
        let all = job.calibration.as_ref().ok_or_else(|| {
            Error::option("calibrate", "is missing: plans are made and measured on samples")
                .help("give some with `--calibrate X.npy`; they need no labels")
        })?;
        let graph = onnx::import_with(&job.model, &job.options).map_err(|e| job.refused(e))?;
        if crate::quantize::is_quantized(&graph) {
            let why =
                "the model brought its own quantization, and zeros and bits are chosen for float models";
            return Err(Error::model(Site::Whole, why).help("fit the float model that it was made from"));
        }
        // Samples that do not fit are refused before they are cut.
        let whole = data::sequences(all, &graph, None)?;
        let mut warnings = samples::warnings(all, &graph);
        // Arrays that no input reads may count anything.
        let mut read = all.clone();
        samples::unused(all, &graph).iter().for_each(|key| drop(read.arrays.remove(*key)));
        let all = &read;
        let total = count(all)?;
        if !graph.states().is_empty() && whole.steps == whole.samples.len() {
            return Err(Error::data(
                Site::Whole,
                "the samples are one sequence, of which none can be held back",
            )
            .help("give several, along an axis in front: [sequences, steps, ...]"));
        }
        let (made, held): (Vec<usize>, Vec<usize>) =
            (0..total).partition(|i| i % super::HELD_BACK != super::HELD_BACK - 1);
        if held.len() < 2 {
            let why = format!(
                "are {total}: one of {} is held back to measure on, which is too few",
                super::HELD_BACK
            );
            return Err(Error::option("calibrate", why).help("give some hundred; they need no labels"));
        }
        let held_samples = data::sequences(&taken(all, &held)?, &graph, None)?;
        let measured = held_samples.samples.len();
        if measured < 50 {
            let text = format!(
                "{measured} samples are held back to measure on, so one of them is {:.1} points of a drop",
                100.0 / measured as f64
            );
            warnings.push(Warning::new(Site::Option("calibrate".into()), text).help("give more samples"));
        }
        let (labels, metric) = (&search.labels, search.metric());
        let expected = |samples: usize| Expected {
            samples,
            used: samples,
            outputs: graph[graph.results()[0]].len(),
            float: graph[graph.results()[0]].dtype.is_float(),
        };
        let labels = Labels::new(metric, labels.as_ref(), &expected(whole.samples.len()))?;
        let steps = whole.samples.len() / total.max(1);
        let labels = match labels {
            Labels::None => Labels::None,
            Labels::Classes(all) => Labels::Classes(rows(&all, &held, steps)),
            Labels::Targets(all) => Labels::Targets(rows(&all, &held, steps)),
        };
        let made = taken(all, &made)?;
        let few = samples::first(&made, super::FEW).unwrap_or_else(|| made.clone());
        let float = engine::Prepared::Imported(graph);
        let outputs = float.run(Engine::Float, &job.target, &held_samples, &mut Quiet)?;
        let first = |all: &[Vec<Tensor>]| all.iter().map(|o| o[0].to_f64_vec()).collect::<Vec<_>>();
        let (float, inputs) = (first(&outputs.real), first(&held_samples.samples));
        let reference = Reference { labels: &labels, inputs: &inputs, float: &float };
        let of_float = super::super::metric::measure(metric, &float, &reference)?;
        let base = base(job, &made, &held_samples, &labels, metric);
        Ok(Bench {
            job,
            made: Job { calibration: Some(made), ..job.clone() },
            few,
            held: held_samples,
            metric,
            labels,
            float,
            inputs,
            of_float,
            warnings,
            base,
        })
    }

    /// How many samples are held back.
    pub(super) fn samples(&self) -> usize {
        self.held.samples.len()
    }

    /// What a trial of a plan is kept under.
    pub(super) fn key_of(&self, plan: &Plan) -> String {
        self.key(&format!("{:?}", plan.options(&self.made.options)))
    }

    fn key(&self, of: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.base);
        hash.update(of.as_bytes());
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// What each form of each layer costs; kept in the folder.
    pub(super) fn survey(
        &self,
        patterns: &[Pattern],
        folder: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Survey> {
        let key = self.key(&format!("survey {patterns:?}"));
        let path = folder.join(FOLDER).join(format!("survey-{}.json", &key[..16]));
        if let Some(survey) = load(&path, &key) {
            return Ok(survey);
        }
        let samples = self.made.calibration.as_ref().unwrap_or(&self.few);
        let job = &self.made;
        let survey =
            fit::survey(&job.model, &job.target, (samples, &self.few), &job.options, patterns, observer)?;
        save(&path, &key, &survey)?;
        Ok(survey)
    }

    /// Tries plans, but for those that were tried before; says how it goes on standard error.
    pub(super) fn run(
        &self,
        plans: &[Plan],
        known: &[Trial],
        (jobs, folder): (Option<usize>, &Path),
    ) -> Result<Vec<Trial>> {
        let mut fresh: Vec<&Plan> = Vec::new();
        for plan in plans {
            let same = |other: &Plan| other.layers == plan.layers && other.whole == plan.whole;
            if !known.iter().any(|t| same(&t.plan)) && !fresh.iter().any(|p| same(p)) {
                fresh.push(plan);
            }
        }
        let (begin, done, spent) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
        let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let results = parallel::map_on(jobs, fresh.len(), |number| {
            let plan = fresh[number];
            let key = self.key_of(plan);
            let path = file(folder, &key);
            let kept: Option<std::result::Result<Outcome, String>> = load(&path, &key);
            let again = kept.is_some();
            let result = match kept {
                Some(kept) => Ok(kept),
                None => self.try_one(plan).and_then(|result| save(&path, &key, &result).map(|()| result)),
            };
            let ended = done.fetch_add(1, Ordering::Relaxed) + 1;
            if !again {
                spent.fetch_add(1, Ordering::Relaxed);
                let each = begin.elapsed() / spent.load(Ordering::Relaxed).max(1) as u32;
                self.say(plan, &result, (ended, fresh.len()), each);
            }
            result
        });
        let trial = |(plan, result): (&Plan, Result<_>)| Ok(Trial { plan: plan.clone(), result: result? });
        fresh.into_iter().zip(results).map(trial).collect()
    }

    fn say(
        &self,
        plan: &Plan,
        result: &Result<std::result::Result<Outcome, String>>,
        (ended, all): (usize, usize),
        each: Duration,
    ) {
        let Ok(Ok(outcome)) = result else { return };
        let left = (each * (all - ended) as u32).as_secs();
        let time = if left < 90 { format!("{left} s") } else { format!("{} min", left.div_ceil(60)) };
        eprintln!(
            "{ended} of {all}: {} B of flash, {} cycles, drop {}; about {time} left  ({})",
            outcome.flash(),
            outcome.cycles.map_or_else(|| "unknown".to_owned(), |c| c.to_string()),
            self.metric.show_drop(outcome.drop),
            plan.summary(),
        );
    }

    /// Compiles and measures. What the compiler refuses is an outcome too; that this machine fails, or is told to
    /// stop, is not.
    fn try_one(&self, plan: &Plan) -> Result<std::result::Result<Outcome, String>> {
        let mut job = self.made.clone();
        job.options = plan.options(&job.options);
        match self.measure(&job) {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(e) if matches!(e.fault, Fault::Cancelled | Fault::Environment) => Err(e),
            Err(e) => Ok(Err(format!("{}: {}", e.site, e.message))),
        }
    }

    fn measure(&self, job: &Job) -> Result<Outcome> {
        let artifact = engine::measured(job, &mut Quiet)?;
        // The emitted C is what ships; without a C compiler the evaluator stands in.
        let run = |engine: Engine| engine::run(engine, &artifact, &job.target, &self.held, &mut Quiet);
        let outputs = match run(Engine::C) {
            Err(e) if e.fault == Fault::Environment => run(Engine::Eval)?,
            other => other?,
        };
        let outputs: Vec<Vec<f64>> = outputs.real.iter().map(|o| o[0].to_f64_vec()).collect();
        let reference = Reference { labels: &self.labels, inputs: &self.inputs, float: &self.float };
        let metric = super::super::metric::measure(self.metric, &outputs, &reference)?;
        let agree = super::super::metric::measure(Metric::Agree, &outputs, &reference)?;
        Ok(outcome(
            &artifact.report,
            metric,
            self.metric.drop(self.of_float, metric),
            (agree, error(&self.float, &outputs)),
        ))
    }
}

fn rows<T: Clone>(all: &[T], held: &[usize], steps: usize) -> Vec<T> {
    held.iter().flat_map(|&at| all[at * steps..(at + 1) * steps].to_vec()).collect()
}

fn outcome(report: &Report, metric: f64, drop: f64, (agree, error): (f64, f64)) -> Outcome {
    let total = &report.total;
    Outcome {
        cycles: total.cycles,
        seconds: total.seconds,
        joules: total.joules,
        weights: total.weights,
        code: total.known_code(),
        arena: total.arena,
        stack: total.stack.unwrap_or(total.native_stack),
        sparsity: total.sparsity,
        metric,
        drop,
        agree,
        error,
    }
}

/// Root of the square error against the variance of what is wanted.
fn error(want: &[Vec<f64>], have: &[Vec<f64>]) -> f64 {
    let numbers = want.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let mean = want.iter().flatten().sum::<f64>() / numbers;
    let spread: f64 = want.iter().flatten().map(|x| (x - mean) * (x - mean)).sum();
    let off: f64 = want.iter().flatten().zip(have.iter().flatten()).map(|(w, h)| (w - h) * (w - h)).sum();
    if off == 0.0 { 0.0 } else { (off / spread.max(f64::MIN_POSITIVE)).sqrt() }
}

/// A hash of everything but the plan: the compiler, model, target, samples, labels, metric.
fn base(job: &Job, made: &Samples, held: &Sequences, labels: &Labels, metric: Metric) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(FINGERPRINT.as_bytes());
    part(&job.model);
    part(format!("{:?} {:?} {labels:?} {metric:?}", job.target, job.options).as_bytes());
    for (name, tensor) in &made.arrays {
        part(format!("{name} {:?}", tensor.shape()).as_bytes());
        part(&tensor.data().to_le_bytes());
    }
    held.samples.iter().flatten().for_each(|tensor| part(&tensor.data().to_le_bytes()));
    hash.finalize().to_vec()
}

/// What a file of a trial holds, beside a hash of it.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: String,
    check: String,
    value: String,
}

fn check(key: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(value.as_bytes());
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes what was found under its key.
pub(super) fn save<T: Serialize>(path: &Path, key: &str, found: &T) -> Result<()> {
    let internal = |e: serde_json::Error| Error::internal(Site::Whole, e.to_string());
    let value = serde_json::to_string(found).map_err(internal)?;
    let kept = Kept { key: key.to_owned(), check: check(key, &value), value };
    output::write(path, serde_json::to_string_pretty(&kept).map_err(internal)?.as_bytes())
}

/// The file of what came of a plan.
pub(super) fn file(folder: &Path, key: &str) -> PathBuf {
    folder.join(FOLDER).join(format!("{}.json", &key[..16]))
}

/// What a file holds, under whatever key; `None`: it is damaged, or something else.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let kept: Kept = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let whole = kept.check == check(&kept.key, &kept.value);
    serde_json::from_str(&kept.value).ok().filter(|_| whole)
}

/// What was found under this key; `None`, and a word on standard error, where the file holds something else.
pub(super) fn load<T: DeserializeOwned>(path: &Path, key: &str) -> Option<T> {
    let text = std::fs::read_to_string(path).ok()?;
    let kept: Option<Kept> = serde_json::from_str(&text).ok();
    let whole = kept.filter(|kept| kept.key == key && kept.check == check(key, &kept.value));
    let value = whole.and_then(|kept| serde_json::from_str(&kept.value).ok());
    if value.is_none() {
        eprintln!("note: {} is damaged, or of another run: it is made anew", path.display());
    }
    value
}
