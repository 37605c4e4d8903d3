//! `secateur fit`: budgets and a chip in, what each layer gets out: zeros, their pattern, bits.
//!
//! In: a float model, its samples, budgets, and what accuracy may be lost. Out: a folder with the `secateur.toml` of
//! the best plan found, every plan that was tried (`fit.json`, `fit.svg`), and what each trial gave, so that a run that
//! was stopped goes on where it was. Law: samples that plans are measured on are none that they were made with; the
//! clock and the number of threads change nothing but the time.

mod choose;
mod jobs;
mod show;
mod trial;

use super::args::{FIT, Job, ModelArgs};
use super::metric::Metric;
use super::progress::Terminal;
use super::{config, data, engine, labels, output, print_json, signals, warn};
use crate::error::{Error, Fault, Result, Site};
use crate::fit::{self, Form, Limits, Plan, Survey};
use crate::kernels::offer::DENSE4;
use crate::options::{Budgets, Language, Options, Pattern, Place, Raw, Settings, Untyped};
use crate::prune;
use crate::report::SCHEMA;
use crate::tensor::Tensor;
use crate::warning::Warning;
use choose::{Goal, Verdict};
use clap::ValueEnum;
use secateur_targets::Target;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use trial::{Bench, Trial};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs<FIT>,
    /// Folder for `secateur.toml`, `fit.json`, `fit.svg` and the trials; made if it does not exist. Started again with
    /// the same, trials that are there are not repeated.
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["plan", "job", "collect"])]
    output: Option<PathBuf>,
    /// Accuracy that may be lost against the float model, on held-back samples: points of top1 or agree, per cent of mse.
    #[arg(long, value_name = "POINTS", allow_negative_numbers = true)]
    max_drop: Option<f64>,
    /// One class number, name or one-hot row a calibration sample (one target a sample for `mse`): .npy, or .csv.
    #[arg(long, value_name = "Y.npy|Y.csv")]
    labels: Option<PathBuf>,
    /// Names of the classes in the order of the model's outputs, for labels that are names.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    classes: Vec<String>,
    /// What to measure; top1 with labels, else agree.
    #[arg(long, value_enum)]
    metric: Option<Metric>,
    /// Patterns of zeros to choose among, instead of those that the core's kernels gain most by.
    #[arg(long = "patterns", value_name = "PATTERN,...", value_delimiter = ',', value_parser = pattern)]
    patterns: Vec<Pattern>,
    /// Plans to try at first; a third as many again close to the best.
    #[arg(long, value_name = "N", default_value_t = 24)]
    trials: usize,
    /// Plans that are tried at once.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Try nothing: write what would be tried first as jobs, each a file that any machine runs by itself.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    plan: Option<PathBuf>,
    /// Run one job of such a folder.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "plan", "model"])]
    job: Option<PathBuf>,
    /// End what was planned in a folder by what its jobs gave; what is missing is tried here.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "plan", "job", "model"])]
    collect: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is asked beside the options.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Asked {
    max_drop: Option<f64>,
    /// A metric by its name; `None`: top1 with labels, else agree.
    metric: Option<String>,
    /// Patterns by their words; none: those of the core.
    patterns: Vec<String>,
    trials: usize,
}

/// A model, its samples, and what is asked of it.
struct Search {
    model: PathBuf,
    settings: Settings,
    /// The options without budgets: what a plan takes is held against them here, and by `compile` in the end.
    job: Job,
    asked: Asked,
    goal: Goal,
    labels: Option<Tensor>,
}

fn pattern(text: &str) -> Result<Pattern, String> {
    let block = |p: &Pattern| *p != Pattern::Channels;
    Pattern::parse(text).filter(block).ok_or_else(|| "is no pattern of blocks, as 1x4, 4x4 or 2:4".to_owned())
}

/// Every so many samples one is held back to measure on.
const HELD_BACK: usize = 4;

/// Samples by which zeros are chosen where only sizes and cycles are asked.
const FEW: usize = 16;

/// Shares of zeros of plans for the whole model.
const WHOLE: [f64; 3] = [0.25, 0.5, 0.75];

pub(crate) fn main(args: &Args) -> Result<()> {
    if let Some(file) = &args.job {
        return output::print(&jobs::run(file)?);
    }
    let (search, folder) = match &args.collect {
        Some(folder) => (jobs::planned(folder)?, folder.clone()),
        None => {
            let asked = Asked {
                max_drop: args.max_drop,
                metric: args.metric.map(|metric| metric.name().to_owned()),
                patterns: args.patterns.iter().map(Pattern::to_string).collect(),
                trials: args.trials,
            };
            let given = args.labels.as_deref().map(data::read_labels).transpose()?;
            let labels = given.map(|given| labels::numbers(given, &args.classes)).transpose()?;
            let search = Search::new(&args.model, asked, labels.map(|(numbers, _)| numbers))?;
            (search, args.output.clone().or(args.plan.clone()).unwrap_or_default())
        }
    };
    if args.jobs == Some(0) {
        return Err(Error::option("jobs", "of 0 does nothing").help("give a number from 1"));
    }
    if let Some(folder) = &args.plan {
        return output::print(&jobs::plan(&search, folder)?);
    }
    search.run(&folder, args.jobs, args.json)
}

impl Search {
    /// Reads the model with its options and samples.
    ///
    /// Errors: those of reading; what cannot be meant.
    fn new(model: &ModelArgs<FIT>, asked: Asked, labels: Option<Tensor>) -> Result<Search> {
        let (settings, said) = model.named()?;
        refuse(&asked, &settings)?;
        let mut job = model.job_of((settings.clone(), said))?.emitting(vec![Language::C]);
        let goal = Goal { budgets: job.options.budgets, max_drop: asked.max_drop };
        (job.options.budgets, job.options.allow_overflow) = (Budgets::default(), true);
        clock(&job.target, &goal)?;
        Ok(Search { model: model.model.clone(), settings, job, asked, goal, labels })
    }

    fn metric(&self) -> Metric {
        let named = self.asked.metric.as_deref().and_then(|name| Metric::from_str(name, true).ok());
        named.unwrap_or(if self.labels.is_some() { Metric::Top1 } else { Metric::Agree })
    }

    /// What layers cost, and the plans to try first.
    fn first(&self, bench: &Bench<'_>, folder: &Path) -> Result<(Survey, Vec<Plan>)> {
        std::fs::create_dir_all(folder.join(trial::FOLDER))
            .map_err(|e| output::io_error(folder, "cannot be made", &e))?;
        let named: Vec<Pattern> =
            self.asked.patterns.iter().filter_map(|text| Pattern::parse(text)).collect();
        let patterns = if named.is_empty() { natives(&self.job.target.core) } else { named };
        let survey =
            bench.survey(&patterns, folder, &mut Terminal::new()).map_err(|e| self.job.refused(e))?;
        let mut plans = vec![Plan::dense(), Plan::whole(Form::FourBits)];
        for &pattern in &patterns {
            let shares = pattern.share().map_or(WHOLE.to_vec(), |share| vec![share]);
            plans.extend(shares.into_iter().map(|share| Plan::whole(Form::Zeros { pattern, share })));
        }
        let left = self.asked.trials.saturating_sub(plans.len()).max(4);
        plans.extend(fit::plans(&survey, &self.limits(), left));
        Ok((survey, plans))
    }

    /// Tries plans, and writes the best and all others.
    fn run(&self, folder: &Path, threads: Option<usize>, as_json: bool) -> Result<()> {
        let bench = Bench::new(self)?;
        let (survey, plans) = self.first(&bench, folder)?;
        let (limits, optimize) = (self.limits(), self.job.options.optimize);
        let mut trials = bench.run(&plans, &[], (threads, folder))?;
        // Sums leave out what code and masks cost: where trials show it, limits are moved by it and tried again.
        let more = self.asked.trials.div_ceil(3);
        let closer = choose::closer(&survey, &limits, &self.goal, &trials, optimize, more);
        trials.extend(bench.run(&closer, &trials, (threads, folder))?);

        let name = &self.job.options.name;
        let verdict = choose::choose(&trials, &self.goal, optimize);
        let found = self.settle(folder, &bench, &trials, &verdict);
        let chosen = found.as_ref().ok().map(|(number, _)| *number);
        show::write(folder, name, &bench, &survey, &trials, chosen)?;
        let (_, text) = found?;
        let options = folder.join("secateur.toml");
        output::write(&options, text.as_bytes())?;
        let mut warnings = bench.warnings.clone();
        let failed: Vec<&String> = trials.iter().filter_map(|t| t.result.as_ref().err()).collect();
        if let Some(why) = failed.first() {
            let text =
                format!("{} of {} plans could not be compiled or run: {why}", failed.len(), trials.len());
            warnings.push(Warning::new(Site::Whole, text));
        }
        warn(&warnings);
        if as_json {
            let mut value = show::json(name, &bench, &trials, chosen);
            value["schema"] = json!(SCHEMA);
            value["warnings"] = json!(warnings);
            return print_json(&value);
        }
        let mut text = show::table(&bench, &trials, chosen);
        text += &format!(
            "wrote {}: `secateur compile {} --config {}` compiles it\n",
            options.display(),
            self.model.display(),
            options.display()
        );
        output::print(&text)
    }

    /// Budgets as cycles and bytes.
    fn limits(&self) -> Limits {
        let per_cycle = |all: Option<f64>| all.map(|for_million| for_million / 1e6);
        let seconds = per_cycle(self.job.target.seconds(1_000_000));
        let joules = per_cycle(self.job.target.joules(1_000_000));
        let most = |budget: Option<f64>, each: Option<f64>| Some((budget? / each?) as u64);
        let budgets = &self.goal.budgets;
        let cycles = [most(budgets.latency, seconds), most(budgets.energy, joules)];
        Limits { cycles: cycles.into_iter().flatten().min(), flash: budgets.flash.map(|f| f as usize) }
    }

    /// The first plan of the verdict that keeps its promise with all samples, and its `secateur.toml`.
    fn settle(
        &self,
        folder: &Path,
        bench: &Bench<'_>,
        trials: &[Trial],
        verdict: &Verdict,
    ) -> Result<(usize, String)> {
        let mut last = None;
        for &number in &verdict.keep {
            signals::check()?;
            let plan = &trials[number].plan;
            let mut job = self.job.clone();
            let options = plan.options(&job.options);
            job.options = Options { budgets: self.goal.budgets, allow_overflow: false, ..options };
            match engine::measured(&job, &mut Terminal::new()) {
                Ok(_) => return Ok((number, self.toml(folder, plan)?)),
                Err(e) if e.fault == Fault::Target => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        let why = || choose::unreachable(trials, verdict, &self.goal, bench);
        let error = last.unwrap_or_else(|| Error::new(Fault::Target, Site::Whole, why()));
        Err(error.help(choose::advice(bench)))
    }

    /// What compiles a plan, as a file of options: what was said, and the forms of its layers.
    fn toml(&self, folder: &Path, plan: &Plan) -> Result<String> {
        let mut own = Settings::default();
        let word = |text: &str| Raw { place: Place::Flag, value: Untyped::Word(text.to_owned()) };
        let entry = |layer: &str, text: &str| Untyped::Table(vec![(layer.to_owned(), word(text))]);
        let mut said: Vec<(&str, Untyped)> = Vec::new();
        match plan.whole {
            Some(Form::FourBits) => said.push(("quantize", word("w4a8").value)),
            Some(Form::Zeros { pattern, share }) => said.push(match pattern.share() {
                None => ("prune", word(&format!("pattern={pattern},sparsity={share}")).value),
                Some(_) => ("prune", word(&format!("pattern={pattern}")).value),
            }),
            Some(Form::Dense) | None => {}
        }
        for (layer, form) in &plan.layers {
            match *form {
                Form::Dense => {}
                Form::FourBits => {
                    said.push(("int4", Untyped::List(vec![word(layer)])));
                    said.push(("kernel", entry(layer, DENSE4)));
                }
                Form::Zeros { pattern, share } => {
                    said.push(("sparsity", entry(layer, &share.to_string())));
                    said.push(("pattern", entry(layer, &pattern.to_string())));
                }
            }
        }
        for (option, value) in said {
            own.set(option, option, &Raw { place: Place::Flag, value })
                .map_err(|e| Error::internal(Site::Option(option.to_owned()), e.message))?;
        }
        own.over(self.settings.clone());
        if !plan.prunes() {
            // Where there are no zeros, nothing can be said of them.
            (own.keep, own.augment) = (None, None);
        }
        let text = config::print(&own, &self.model);
        Ok(show::shortened(&text, plan, folder, &self.model))
    }
}

/// The patterns that a core names as its own.
fn natives(core: &secateur_targets::Core) -> Vec<Pattern> {
    let named = core.patterns.iter().filter_map(|text| Pattern::parse(text));
    let mut patterns: Vec<Pattern> = named.filter(|p| *p != Pattern::Channels).take(3).collect();
    if patterns.is_empty() {
        patterns.push(prune::native(core));
    }
    patterns
}

/// Refuses what cannot be meant before anything is tried.
fn refuse(asked: &Asked, settings: &Settings) -> Result<()> {
    let options = settings.options();
    for (name, given) in [
        ("prune", options.prune.is_some()),
        ("sparsity", !options.sparsities.is_empty()),
        ("pattern", !options.patterns.is_empty()),
        ("int4", !options.int4.is_empty()),
    ] {
        if given {
            return Err(Error::option(name, "is what `fit` finds").help(
                "leave it out; `--patterns` says which patterns to choose among, `--keep` which layers stay as they are",
            ));
        }
    }
    if let Some(drop) = asked.max_drop.filter(|drop| !drop.is_finite() || *drop < 0.0) {
        return Err(Error::option("max-drop", format!("of {drop} can never be kept"))
            .help("give points that may be lost, from 0 on"));
    }
    if asked.max_drop.is_none() && !options.budgets.any() {
        return Err(Error::option("max-drop", "is missing, and so is every budget: there is nothing to fit").help(
            "say what the model may take (`--max-flash 80K`, `--max-ram 24K`, `--max-latency 20ms`, `--max-energy 200uJ`), \
             what it may lose (`--max-drop 1.0`), or both",
        ));
    }
    for (name, budget) in [("max-flash", options.budgets.flash), ("max-ram", options.budgets.ram)] {
        if budget == Some(0) {
            return Err(Error::option(name, "of 0 bytes fits no model"));
        }
    }
    if asked.trials == 0 {
        return Err(Error::option("trials", "of 0 does nothing").help("give a number from 1"));
    }
    Ok(())
}

/// Refuses budgets of time and energy where the target tells neither.
fn clock(target: &Target, goal: &Goal) -> Result<()> {
    let counted = target.core.cost.is_some();
    for (option, asked, known) in [
        ("max-latency", goal.budgets.latency.is_some(), target.seconds(1)),
        ("max-energy", goal.budgets.energy.is_some(), target.joules(1)),
    ] {
        if asked && (known.is_none() || !counted) {
            return Err(Error::option(option, format!("on `{}` is not known", target.name))
                .help("name the chip, one whose file says it: `secateur targets` lists them"));
        }
    }
    Ok(())
}
