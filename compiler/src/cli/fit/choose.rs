//! Which of the plans that were tried is the best, and where to look closer.
//!
//! In: trials, budgets, what may be lost. Out: plans in the order in which they serve, or which comes nearest. Law:
//! with a budget the plan that loses least is the best of those that keep it; with nothing but a drop, the plan that
//! takes least of the chip.

use super::trial::{Bench, Outcome, Trial};
use crate::fit::{self, Limits, Plan, Survey};
use crate::options::{Budgets, Optimize, Options, joules, seconds};
use crate::policy::Policy;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) budgets: Budgets,
    /// Points, or per cent where the metric is an error.
    pub(super) max_drop: Option<f64>,
}

/// Numbers of trials.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// Those that keep everything, the best first.
    pub(super) keep: Vec<usize>,
    /// The one that comes nearest, where none does.
    pub(super) nearest: Option<usize>,
}

/// By how much an outcome breaks each part of a goal, as a share of it; only what is broken.
fn broken(outcome: &Outcome, goal: &Goal) -> Vec<(&'static str, f64)> {
    let over = |most: Option<f64>, takes: Option<f64>| Some(takes? / most? - 1.0).filter(|over| *over > 0.0);
    let budgets = &goal.budgets;
    let parts = [
        ("max-flash", over(budgets.flash.map(|b| b as f64), Some(outcome.flash() as f64))),
        ("max-ram", over(budgets.ram.map(|b| b as f64), Some(outcome.ram() as f64))),
        ("max-latency", over(budgets.latency, outcome.seconds)),
        ("max-energy", over(budgets.energy, outcome.joules)),
        // A point of drop counts like a twentieth of a budget.
        (
            "max-drop",
            goal.max_drop.map(|most| (outcome.drop * 100.0 - most) / 20.0).filter(|over| *over > 1e-9),
        ),
    ];
    parts.into_iter().filter_map(|(name, over)| Some((name, over?))).collect()
}

/// What an outcome takes of cycles, flash and RAM, as shares of what the first trial takes.
fn share(outcome: &Outcome, of: &Outcome, optimize: Optimize) -> f64 {
    let options = Options { optimize, ..Options::default() };
    let part = |a: f64, b: f64| if b > 0.0 { a / b } else { 1.0 };
    Policy::from(&options).share(
        part(outcome.cycles.unwrap_or(0) as f64, of.cycles.unwrap_or(0) as f64),
        part(outcome.flash() as f64, of.flash() as f64),
        part(outcome.ram() as f64, of.ram() as f64),
    )
}

/// Trials that gave something, by their numbers.
fn done(trials: &[Trial]) -> impl Iterator<Item = (usize, &Outcome)> {
    trials.iter().enumerate().filter_map(|(number, trial)| Some((number, trial.result.as_ref().ok()?)))
}

/// Sorts those that keep the goal.
pub(super) fn choose(trials: &[Trial], goal: &Goal, optimize: Optimize) -> Verdict {
    let Some((_, first)) = done(trials).next() else { return Verdict { keep: Vec::new(), nearest: None } };
    let mut keep: Vec<(usize, &Outcome)> =
        done(trials).filter(|(_, outcome)| broken(outcome, goal).is_empty()).collect();
    let shares = |o: &Outcome| share(o, first, optimize);
    // A gain by chance is no reason to take a plan before another.
    let lost = |o: &Outcome| o.drop.max(0.0);
    keep.sort_by(|(_, a), (_, b)| {
        let less = match goal.budgets.any() {
            true => lost(a).total_cmp(&lost(b)).then(a.error.total_cmp(&b.error)),
            false => shares(a).total_cmp(&shares(b)),
        };
        less.then(shares(a).total_cmp(&shares(b)))
    });
    let worst = |o: &Outcome| broken(o, goal).iter().map(|(_, over)| *over).fold(0.0, f64::max);
    let nearest =
        done(trials).min_by(|(_, a), (_, b)| worst(a).total_cmp(&worst(b))).map(|(number, _)| number);
    Verdict { keep: keep.into_iter().map(|(number, _)| number).collect(), nearest }
}

/// Trials that no other beats in cycles, flash, RAM, drop and error at once: where few samples lose an answer, the
/// error of the outputs tells plans apart.
pub(super) fn front(trials: &[Trial]) -> Vec<usize> {
    let beats = |a: &Outcome, b: &Outcome| {
        let all = [
            (a.cycles.unwrap_or(0) as f64, b.cycles.unwrap_or(0) as f64),
            (a.flash() as f64, b.flash() as f64),
            (a.ram() as f64, b.ram() as f64),
            (a.drop, b.drop),
            (a.error, b.error),
        ];
        all.iter().all(|(a, b)| a <= b) && all.iter().any(|(a, b)| a < b)
    };
    let rivals: Vec<(usize, &Outcome)> = done(trials).collect();
    let best = rivals.iter().filter(|(_, own)| !rivals.iter().any(|(_, other)| beats(other, own)));
    let mut front: Vec<usize> = best.map(|(number, _)| *number).collect();
    front.sort_by_key(|&number| trials[number].result.as_ref().map_or(0, |o| o.cycles.unwrap_or(0)));
    front
}

/// Plans between those that were tried: with limits moved by what sums left out, and between the cheapest that loses
/// little enough and the next.
pub(super) fn closer(
    survey: &Survey,
    limits: &Limits,
    goal: &Goal,
    trials: &[Trial],
    optimize: Optimize,
    count: usize,
) -> Vec<Plan> {
    let off = |of: &dyn Fn(&Outcome, (u64, usize)) -> Option<f64>| {
        let pairs = trials.iter().filter_map(|t| of(t.result.as_ref().ok()?, t.plan.predicted?));
        let mut all: Vec<f64> = pairs.collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    };
    let cycles = off(&|o, (cycles, _)| Some(o.cycles? as f64 - cycles as f64));
    let flash = off(&|o, (_, flash)| Some(o.flash() as f64 - flash as f64));
    let moved = Limits {
        cycles: limits.cycles.map(|most| (most as f64 - cycles).max(0.0) as u64),
        flash: limits.flash.map(|most| (most as f64 - flash).max(0.0) as usize),
    };
    let mut plans = match moved == Limits::default() {
        true => Vec::new(),
        false => fit::plans(survey, &moved, count / 2),
    };
    // Between the cheapest that is good enough and the cheapest of those that are not.
    if goal.max_drop.is_some() && !goal.budgets.any() {
        let verdict = choose(trials, goal, optimize);
        let damage = |number: usize| fit::damage(survey, &trials[number].plan);
        let good = verdict.keep.iter().find_map(|&number| damage(number)).unwrap_or(0.0);
        let bad = done(trials)
            .filter(|(_, o)| !broken(o, goal).is_empty())
            .filter_map(|(number, _)| damage(number));
        let bad = bad.filter(|d| *d > good).fold(f64::INFINITY, f64::min);
        plans.extend(fit::between(survey, (good, bad), count));
    }
    plans
}

/// Why nothing serves.
pub(super) fn unreachable(trials: &[Trial], verdict: &Verdict, goal: &Goal, bench: &Bench<'_>) -> String {
    let Some((number, outcome)) = verdict.nearest.and_then(|n| Some((n, trials[n].result.as_ref().ok()?)))
    else {
        let why = trials.iter().find_map(|t| t.result.as_ref().err()).cloned().unwrap_or_default();
        return format!("none of {} plans could be compiled: {why}", trials.len());
    };
    let names: Vec<String> = broken(outcome, goal).iter().map(|(name, _)| format!("`--{name}`")).collect();
    format!(
        "none of {} plans keeps {}; the nearest ({}) takes {}",
        trials.len(),
        if names.is_empty() {
            "every budget once all samples are used".to_owned()
        } else {
            names.join(" and ")
        },
        trials[number].plan.summary(),
        takes(outcome, bench),
    )
}

/// What an outcome takes, in words.
fn takes(outcome: &Outcome, bench: &Bench<'_>) -> String {
    let mut words = vec![format!("{} B of flash", outcome.flash()), format!("{} B of RAM", outcome.ram())];
    words.extend(outcome.seconds.map(seconds));
    words.extend(outcome.joules.map(joules));
    format!("{} and loses {}", words.join(", "), bench.metric.show_drop(outcome.drop))
}

/// What may be done where nothing serves.
pub(super) fn advice(bench: &Bench<'_>) -> String {
    format!(
        "`fit.json` in the folder has every plan that was tried; another `--optimize`, more `--patterns` or a larger \
         `--max-drop` reach others ({} samples measured)",
        bench.samples()
    )
}
