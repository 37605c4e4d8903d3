//! Graphs of one meaning -> the one to compile.
//!
//! In: the forms that a pass offers, the first as it stands. Out: which one, with its schedule and
//! program. Passes know no target, so what a form costs is only known here: arena, flash and
//! predicted cycles of its program.
//!
//! Law: what a form takes more of one than the first form, as a share, is at most a twentieth of what
//! it saves of another; and none is taken that does not save as a whole.

use crate::error::{Error, Result, Site};
use crate::graph::Graph;
use crate::lower;
use crate::policy::Policy;
use crate::program::Program;
use crate::program::cost;
use crate::schedule::{self, Library, Schedule};
use secateur_targets::Target;
use std::collections::BTreeMap;

/// A form's schedule and program.
pub(crate) struct Plan {
    pub(crate) schedule: Schedule,
    pub(crate) program: Program,
}

/// Schedules and lowers.
pub(crate) fn plan(graph: &Graph, library: &Library<'_>, policy: Policy<'_>) -> Result<Plan> {
    let schedule = schedule::schedule_with(graph, library, policy)?;
    let program = lower::lower(graph, &schedule)?;
    Ok(Plan { schedule, program })
}

/// What a program takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Needs {
    /// Bytes of arena.
    pub arena: usize,
    /// Bytes of constants and of native kernels. Portable loops are the compiler's to size.
    pub flash: usize,
    /// Predicted; multiply-accumulates where the core has no cost table.
    pub cycles: f64,
}

impl Needs {
    pub fn of(program: &Program, target: &Target) -> Needs {
        let steps = || program.entries.iter().filter(|e| e.name == "run").flat_map(|e| &e.steps);
        let natives = steps().flat_map(|s| cost::natives(&s.kernel));
        let texts: BTreeMap<&str, usize> = natives.map(|n| (n.text.as_str(), n.bytes as usize)).collect();
        let constants: usize = program.constants.iter().map(|c| c.bytes.len()).sum();
        let cycles = match &target.core.cost {
            Some(core) => steps().map(|s| cost::count_step(s).cycles(core)).sum(),
            None => program.layers.iter().map(|l| l.macs).sum::<u64>() as f64,
        };
        Needs { arena: program.arena, flash: constants + texts.values().sum::<usize>(), cycles }
    }

    /// Whether this takes no more than another of anything, or only a little for much that it saves:
    /// a twentieth, each as a share of what the other takes.
    pub fn within(&self, other: &Needs) -> bool {
        let bytes = |own: usize, others: usize| own as f64 / others.max(1) as f64;
        let cycles = if other.cycles > 0.0 { self.cycles / other.cycles } else { 1.0 };
        let shares = [bytes(self.arena, other.arena), bytes(self.flash, other.flash), cycles];
        let saved = shares.iter().map(|share| 1.0 - share).fold(0.0, f64::max);
        shares.iter().all(|&share| share <= 1.0 + saved / 20.0)
    }

    /// What is to be least, as shares of what another takes.
    fn share(&self, of: &Needs, policy: Policy<'_>) -> f64 {
        let share = |a: f64, b: f64| if b > 0.0 { a / b } else { 1.0 };
        policy.share(
            share(self.cycles, of.cycles),
            share(self.flash as f64, of.flash as f64),
            share(self.arena as f64, of.arena as f64),
        )
    }
}

/// The best of several forms. A form that cannot be lowered is none, unless all cannot.
pub(crate) fn best(forms: &[Graph], library: &Library<'_>, policy: Policy<'_>) -> Result<(usize, Plan)> {
    let mut kept: Option<Needs> = None;
    let mut found: Option<(usize, Plan, Needs)> = None;
    let mut failed = None;
    for (i, form) in forms.iter().enumerate() {
        let plan = match plan(form, library, policy) {
            Ok(plan) => plan,
            Err(e) => {
                failed.get_or_insert(e);
                continue;
            }
        };
        let needs = Needs::of(&plan.program, library.target());
        let base = *kept.get_or_insert(needs);
        // A form with fewer channels comes before one that keeps some, unless that gains something.
        let (own, all) = (needs.share(&base, policy), base.share(&base, policy));
        let better = found.as_ref().is_none_or(|(first, _, best)| match first {
            0 => own <= all,
            _ => policy.gains(own, best.share(&base, policy)),
        });
        if needs.within(&base) && better {
            found = Some((i, plan, needs));
        }
    }
    match (found, failed) {
        (Some((i, plan, _)), _) => Ok((i, plan)),
        (None, Some(e)) => Err(e),
        (None, None) => Err(Error::internal(Site::Whole, "a pass offered no form of the graph")),
    }
}
