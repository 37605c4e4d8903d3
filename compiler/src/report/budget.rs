//! Whether a model keeps what its user lets it take, and who is to blame where it does not.
//!
//! In: a report, measured or not, the budgets, and what the model would take by other options. Out: an error for each
//! budget that is broken, on its option, with the layers that take most and the option that would fit. Law: a budget that
//! cannot be checked is refused, never passed over.

use super::memory::{counted_flash, counted_ram, largest};
use super::{Report, memory};
use crate::error::{Error, Fault, Result, Site};
use crate::graph::Graph;
use crate::options::{Budgets, joules, seconds};
use crate::policy::Policy;
use crate::program::Program;
use crate::schedule::Library;
use crate::weigh::{self, Needs};
use secateur_targets::Target;

/// What the model takes by another option, as far as that is known without a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Rival {
    /// As the command line has it.
    pub option: String,
    /// Whether it was compiled with a part of the samples.
    pub estimate: bool,
    /// Bytes of weights and native kernels.
    pub flash: usize,
    pub arena: usize,
    pub seconds: Option<f64>,
    pub joules: Option<f64>,
}

impl Rival {
    fn new(option: String, needs: Needs, target: &Target) -> Rival {
        let cycles = target.core.cost.as_ref().map(|_| needs.cycles as u64);
        Rival {
            option,
            estimate: false,
            flash: needs.flash,
            arena: needs.arena,
            seconds: cycles.and_then(|cycles| target.seconds(cycles)),
            joules: cycles.and_then(|cycles| target.joules(cycles)),
        }
    }
    /// What a program takes that a part of the samples decided.
    pub(crate) fn estimate(option: String, program: &Program, target: &Target) -> Rival {
        Rival { estimate: true, ..Rival::new(option, Needs::of(program, target), target) }
    }
}

/// What a graph takes by each other aim that has a plan for it.
pub(crate) fn rivals(graph: &Graph, library: &Library<'_>, policy: Policy<'_>) -> Vec<Rival> {
    let target = library.target();
    let plans =
        policy.others().filter_map(|(aim, policy)| Some((aim, weigh::plan(graph, library, policy).ok()?)));
    let word = |aim: &str| format!("--optimize {aim}");
    plans.map(|(aim, plan)| Rival::new(word(aim), Needs::of(&plan.program, target), target)).collect()
}

/// How far a build may be from what is predicted of its bytes.
const BUILT: f64 = 1.1;

/// Whether a model breaks one of the budgets that can be checked, or may do so once it is built.
pub(crate) fn near(report: &Report, budgets: &Budgets) -> bool {
    let over = |most: Option<u64>, takes: u64| most.is_some_and(|most| takes as f64 * BUILT > most as f64);
    let longer =
        |most: Option<f64>, takes: Option<f64>| most.zip(takes).is_some_and(|(most, takes)| takes > most);
    over(budgets.flash, counted_flash(report).0)
        || over(budgets.ram, counted_ram(report).0)
        || longer(budgets.latency, report.total.seconds)
        || longer(budgets.energy, report.total.joules)
}

/// Whether what an option gives would fit.
pub(crate) fn fits(report: &Report, budgets: &Budgets, rival: &Rival) -> bool {
    let within =
        |most: Option<f64>, takes: Option<f64>| most.is_none_or(|most| takes.is_some_and(|t| t <= most));
    budgets.flash.is_none_or(|most| flash(report, rival) <= most)
        && budgets.ram.is_none_or(|most| ram(report, rival) <= most)
        && within(budgets.latency, rival.seconds)
        && within(budgets.energy, rival.joules)
}

/// Flash by another option. What stands around native kernels is about the same by every one.
fn flash(report: &Report, rival: &Rival) -> u64 {
    let around = report.total.known_code().saturating_sub(report.total.native_code);
    (rival.flash + around) as u64
}

fn ram(report: &Report, rival: &Rival) -> u64 {
    (rival.arena + report.total.stack.unwrap_or(report.total.native_stack)) as u64
}

/// What breaks the budgets.
///
/// Errors: each budget that is broken, and each that cannot be checked.
pub fn hold_budgets(report: &Report, budgets: &Budgets, rivals: &[Rival]) -> Result<()> {
    let total = &report.total;
    let mut errors = Vec::new();
    let mut refuse = |option: &str, message: String| {
        errors.push(Error::new(Fault::Target, Site::Option(option.into()), message));
    };
    let size = memory::size::<u64>;
    let (flash, counted) = counted_flash(report);
    if let Some(most) = budgets.flash.filter(|&most| flash > most) {
        let dearest = largest(report, |l| l.weights, "of weights");
        let over = size(flash - most);
        refuse(
            "max-flash",
            format!(
                "the model takes {} of flash ({counted}) and may take {}: {over} too many; most take {dearest}",
                size(flash),
                size(most)
            ),
        );
    }
    let (ram, counted) = counted_ram(report);
    if let Some(most) = budgets.ram.filter(|&most| ram > most) {
        let peak = largest(report, |l| l.live, "live");
        let over = size(ram - most);
        refuse(
            "max-ram",
            format!(
                "the model takes {} of RAM ({counted}) and may take {}: {over} too many; the arena is fullest at {peak}",
                size(ram),
                size(most)
            ),
        );
    }
    let unknown = |what: &str| match total.cycles {
        None => format!(
            "{what} on `{}` is not known: cycles of core `{}` are not predicted",
            report.target, report.core
        ),
        Some(_) => {
            format!("{what} on `{}` is not known: its file does not say what that needs", report.target)
        }
    };
    let slowest = || by_cycles(report);
    match (budgets.latency, total.seconds) {
        (Some(_), None) => refuse("max-latency", unknown("how long a run takes")),
        (Some(most), Some(takes)) if takes > most => refuse(
            "max-latency",
            format!(
                "a run is predicted to take {} ({} cycles) and may take {}: {} too long; most take {}",
                seconds(takes),
                total.cycles.unwrap_or(0),
                seconds(most),
                seconds(takes - most),
                slowest()
            ),
        ),
        _ => {}
    }
    match (budgets.energy, total.joules) {
        (Some(_), None) => refuse("max-energy", unknown("what a run takes of energy")),
        (Some(most), Some(takes)) if takes > most => refuse(
            "max-energy",
            format!(
                "a run is predicted to take {} and may take {}: {} too much; most take {}",
                joules(takes),
                joules(most),
                joules(takes - most),
                slowest()
            ),
        ),
        _ => {}
    }
    let blind = |budget: Option<f64>, takes: Option<f64>| budget.is_some() && takes.is_none();
    let advice = match blind(budgets.latency, total.seconds) || blind(budgets.energy, total.joules) {
        true => "name the chip, one whose file says these: `secateur targets` lists them".to_owned(),
        false => advice(report, budgets, rivals),
    };
    Error::join(errors).map_or(Ok(()), |e| Err(e.help(advice)))
}

/// Which options would fit, or that none does.
fn advice(report: &Report, budgets: &Budgets, rivals: &[Rival]) -> String {
    let less = "fewer weights (`--prune`) or bits (`--quantize w4a8`) take less";
    let told = |rival: &&Rival| {
        let time = rival.seconds.map_or_else(String::new, |s| format!(" and {}", seconds(s)));
        let estimate = if rival.estimate { " by an estimate" } else { "" };
        format!(
            "`{}` takes about {} of flash, {} of RAM{time}{estimate}",
            rival.option,
            memory::size(flash(report, rival)),
            memory::size(ram(report, rival))
        )
    };
    let fitting = |estimate: bool| {
        let fits = move |r: &&Rival| r.estimate == estimate && fits(report, budgets, r);
        rivals.iter().filter(fits).collect::<Vec<_>>()
    };
    // Another aim costs no accuracy; of what does, the user chooses.
    if let Some(aim) = fitting(false).first() {
        return format!("{}, which fits", told(aim));
    }
    let fitting: Vec<String> = fitting(true).iter().map(|r| format!("{}, which fits", told(r))).collect();
    if !fitting.is_empty() {
        return format!("{}; `secateur eval` says what it costs of accuracy", fitting.join("; "));
    }
    let mut all: Vec<String> = rivals.iter().map(|r| told(&r)).collect();
    match rivals.iter().any(|r| r.estimate) {
        true => all.push("none of these fits".to_owned()),
        false => all.push(less.to_owned()),
    }
    all.join("; ")
}

/// The layers with most cycles, by name.
fn by_cycles(report: &Report) -> String {
    let all = report.total.cycles.unwrap_or(0).max(1);
    let share = |own: u64| format!("{own} cycles, {} %", (own * 100 + all / 2) / all);
    memory::most(report, |l| l.cycles.unwrap_or(0), share)
}
