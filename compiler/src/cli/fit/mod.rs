//! `secateur fit`: budgets and a chip in, what each layer gets out: zeros, their pattern, bits.
//!
//! In: a float model, its samples, budgets, and what accuracy may be lost. Out: a folder with the `secateur.toml` of
//! the best plan found, every plan that was tried (`fit.json`, `fit.svg`), and what each trial gave, so that a run that
//! was stopped goes on where it was. Law: samples that plans are measured on are none that they were made with; the
//! clock and the number of threads change nothing but the time.

mod choose;
mod show;
mod trial;

use super::args::ModelArgs;
use super::metric::Metric;
use super::progress::Terminal;
use super::{config, data, output, print_json, signals, warn};
use crate::error::{Error, Fault, Result, Site};
use crate::fit::{self, Form, Limits, Plan, Survey};
use crate::kernels::offer::DENSE4;
use crate::options::{Budgets, Options, Pattern, Place, Raw, Settings, Untyped};
use crate::prune;
use crate::report::SCHEMA;
use crate::warning::Warning;
use choose::{Goal, Verdict};
use serde_json::json;
use std::path::{Path, PathBuf};
use trial::{Bench, Trial};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder for `secateur.toml`, `fit.json`, `fit.svg` and the trials; made if it does not exist. Started again with
    /// the same, trials that are there are not repeated.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
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
    /// Print JSON.
    #[arg(long)]
    json: bool,
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
    let (settings, said) = args.model.named()?;
    refuse(args, &settings)?;
    let mut job = args.model.job_of((settings.clone(), said))?.emitting(vec![crate::options::Language::C]);
    let goal = Goal { budgets: job.options.budgets, max_drop: args.max_drop };
    // What a plan takes is held against the budgets here, and by `compile` in the end.
    (job.options.budgets, job.options.allow_overflow) = (Budgets::default(), true);
    let bench = Bench::new(&job, args)?;
    clock(&bench, &goal)?;
    std::fs::create_dir_all(args.output.join(trial::FOLDER))
        .map_err(|e| output::io_error(&args.output, "cannot be made", &e))?;
    let mut observer = Terminal::new();
    let patterns = match args.patterns.as_slice() {
        [] => natives(&job.target.core),
        named => named.to_vec(),
    };
    let survey = bench.survey(&patterns, &args.output, &mut observer).map_err(|e| job.refused(e))?;
    drop(observer);

    let mut whole = vec![Plan::dense(), Plan::whole(Form::FourBits)];
    for &pattern in &patterns {
        let shares = pattern.share().map_or(WHOLE.to_vec(), |share| vec![share]);
        whole.extend(shares.into_iter().map(|share| Plan::whole(Form::Zeros { pattern, share })));
    }
    let limits = limits(&bench, &goal);
    let left = args.trials.saturating_sub(whole.len()).max(4);
    whole.extend(fit::plans(&survey, &limits, left));
    let mut trials = bench.run(&whole, &[], (args.jobs, &args.output))?;
    // Sums leave out what code and masks cost: where trials show it, limits are moved by it and tried again.
    let closer =
        choose::closer(&survey, &limits, &goal, &trials, job.options.optimize, args.trials.div_ceil(3));
    trials.extend(bench.run(&closer, &trials, (args.jobs, &args.output))?);

    let verdict = choose::choose(&trials, &goal, job.options.optimize);
    let mut warnings = bench.warnings.clone();
    let found = settle(args, &settings, &bench, &trials, &verdict, &goal);
    let (chosen, text) = match found {
        Ok(found) => found,
        Err(error) => {
            show::write(&args.output, &job.options.name, &bench, &survey, &trials, None)?;
            return Err(error);
        }
    };
    show::write(&args.output, &job.options.name, &bench, &survey, &trials, Some(chosen))?;
    output::write(&args.output.join("secateur.toml"), text.as_bytes())?;
    let ran = trials.iter().filter_map(|t| t.result.as_ref().err());
    if let Some(why) = ran.clone().next() {
        let text = format!("{} of {} plans could not be compiled or run: {why}", ran.count(), trials.len());
        warnings.push(Warning::new(Site::Whole, text));
    }
    warn(&warnings);
    if args.json {
        let mut value = show::json(&job.options.name, &bench, &trials, Some(chosen));
        value["schema"] = json!(SCHEMA);
        value["warnings"] = json!(warnings);
        return print_json(&value);
    }
    let mut text = show::table(&bench, &trials, Some(chosen));
    text += &format!(
        "wrote {}: `secateur compile {} --config {}` compiles it\n",
        args.output.join("secateur.toml").display(),
        args.model.model.display(),
        args.output.join("secateur.toml").display()
    );
    output::print(&text)
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

/// Refuses what cannot be meant before anything is read.
fn refuse(args: &Args, settings: &Settings) -> Result<()> {
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
    if let Some(drop) = args.max_drop.filter(|drop| !drop.is_finite() || *drop < 0.0) {
        return Err(Error::option("max-drop", format!("of {drop} can never be kept"))
            .help("give points that may be lost, from 0 on"));
    }
    if args.max_drop.is_none() && !options.budgets.any() {
        return Err(Error::option("max-drop", "is missing, and so is every budget: there is nothing to fit").help(
            "say what the model may take (`--max-flash 80K`, `--max-ram 24K`, `--max-latency 20ms`, `--max-energy 200uJ`), \
             what it may lose (`--max-drop 1.0`), or both",
        ));
    }
    if options.budgets.flash == Some(0) || options.budgets.ram == Some(0) {
        return Err(Error::option(
            if options.budgets.flash == Some(0) { "max-flash" } else { "max-ram" },
            "of 0 bytes fits no model",
        ));
    }
    if args.trials == 0 || args.jobs == Some(0) {
        return Err(Error::option(if args.trials == 0 { "trials" } else { "jobs" }, "of 0 does nothing")
            .help("give a number from 1"));
    }
    Ok(())
}

/// Refuses budgets of time and energy where the target tells neither.
fn clock(bench: &Bench<'_>, goal: &Goal) -> Result<()> {
    let target = &bench.job.target;
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

/// Budgets as cycles and bytes.
fn limits(bench: &Bench<'_>, goal: &Goal) -> Limits {
    let per_cycle = |all: Option<f64>| all.map(|for_million| for_million / 1e6);
    let seconds = per_cycle(bench.job.target.seconds(1_000_000));
    let joules = per_cycle(bench.job.target.joules(1_000_000));
    let most = |budget: Option<f64>, each: Option<f64>| Some((budget? / each?) as u64);
    let cycles = [most(goal.budgets.latency, seconds), most(goal.budgets.energy, joules)];
    Limits { cycles: cycles.into_iter().flatten().min(), flash: goal.budgets.flash.map(|f| f as usize) }
}

/// The first plan of the verdict that keeps its promise with all samples, and its `secateur.toml`.
fn settle(
    args: &Args,
    settings: &Settings,
    bench: &Bench<'_>,
    trials: &[Trial],
    verdict: &Verdict,
    goal: &Goal,
) -> Result<(usize, String)> {
    let mut last = None;
    for &number in &verdict.keep {
        signals::check()?;
        let plan = &trials[number].plan;
        let mut job = bench.job.clone();
        job.options = Options { budgets: goal.budgets, allow_overflow: false, ..plan.options(&job.options) };
        match super::engine::measured(&job, &mut Terminal::new()) {
            Ok(_) => return Ok((number, toml(args, settings, plan)?)),
            Err(e) if e.fault == Fault::Target => last = Some(e),
            Err(e) => return Err(e),
        }
    }
    let error = Error::new(Fault::Target, Site::Whole, choose::unreachable(trials, verdict, goal, bench));
    Err(last.map_or(error, |e| e).help(choose::advice(trials, verdict, bench)))
}

/// What compiles a plan, as a file of options: what was said, and the forms of its layers.
fn toml(args: &Args, settings: &Settings, plan: &Plan) -> Result<String> {
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
    own.over(settings.clone());
    let text = config::print(&own, &args.model.model);
    Ok(show::shortened(&text, plan, &args.output, &args.model.model))
}

/// Where what the survey found is kept.
fn survey_file(folder: &Path, key: &str) -> PathBuf {
    folder.join(trial::FOLDER).join(format!("survey-{}.json", &key[..16]))
}

/// Saves or finds a survey again.
fn kept_survey(path: &Path, key: &str, make: impl FnOnce() -> Result<Survey>) -> Result<Survey> {
    if let Some(survey) = trial::load(path, key) {
        return Ok(survey);
    }
    let survey = make()?;
    trial::save(path, key, &survey)?;
    Ok(survey)
}

/// Labels of the calibration samples.
fn labels(args: &Args) -> Result<(Option<crate::tensor::Tensor>, Vec<String>)> {
    let Some(path) = &args.labels else { return Ok((None, Vec::new())) };
    let (numbers, names) = super::labels::numbers(data::read_labels(path)?, &args.classes)?;
    Ok((Some(numbers), names))
}
