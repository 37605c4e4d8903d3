//! Kernel families: which loop nest spells a node, and the workspace it needs.

use super::storage::Crowded;
use super::{Choice, Family, Layout};
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::kernels::offer::{Candidate, ROWS_LIMIT, UNROLLED, Want};
use crate::options::Optimize;
use crate::schedule::problem::candidates;
use secateur_targets::Target;
use std::collections::BTreeMap;

/// Growth of a layer's weights that `balanced` takes for any gain: a quarter, and half a kilobyte.
const GROWTH: (usize, usize) = (4, 512);
/// Cycles that each byte beyond that must save. Transformed weights in flash save 6 a byte,
/// weights of depthwise windows in pairs some 40.
const PRICE: f64 = 24.0;

/// The choice for a node that is not a mere view. `layouts` is by value index and final.
/// Where there are native ways one of them is taken: they win on every shape measured.
pub(crate) fn choose(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    target: &Target,
    optimize: Optimize,
    code: &mut Code,
) -> Result<Choice> {
    let want = Want { target, optimize, rows_limit: ROWS_LIMIT };
    // The first of equals, so that engines list what they like best first.
    let mut ways = affordable(candidates(graph, node, layouts, &want)?, &want);
    ways.retain(|way| code.unrolled || way.way != UNROLLED);
    let best = ways.into_iter().min_by_key(|way| key(way, &want));
    Ok(best.map_or(Choice::PORTABLE, |way| {
        code.texts.extend(way.texts());
        taken(&way, &want)
    }))
}

/// Native code of the choices made so far.
pub(crate) struct Code {
    /// Whether ways are taken that have code of their own beside a shared function's.
    pub(crate) unrolled: bool,
    texts: BTreeMap<String, usize>,
}

impl Code {
    pub(crate) fn new(unrolled: bool) -> Code {
        Code { unrolled, texts: BTreeMap::new() }
    }
    /// Whether there is more than a model's native kernels should take.
    pub(crate) fn large(&self, optimize: Optimize) -> bool {
        let most = if optimize == Optimize::Speed { 18 << 10 } else { 11 << 10 };
        self.texts.values().sum::<usize>() > most
    }
}

/// Another native way for a node that runs when memory is shortest: the best of those that need
/// at most `room` bytes of workspace, else the one that needs least. `None` if none needs less
/// than the choice at hand. Where the result stands in its operand's place, it counts as
/// workspace of a way that cannot leave it there.
pub(crate) fn smaller(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    (target, optimize): (&Target, Optimize),
    choice: &Choice,
    Crowded { room, over, .. }: Crowded,
    unrolled: bool,
) -> Result<Option<Choice>> {
    let mut found: Option<((bool, u64, u64), Choice)> = None;
    // Rows are cut into ever more tiles, which costs a little speed at their seams.
    for rows_limit in (0..4).map(|halved| ROWS_LIMIT >> halved) {
        if found.as_ref().is_some_and(|best| !best.0.0) {
            break;
        }
        let want = Want { target, optimize, rows_limit };
        for way in affordable(candidates(graph, node, layouts, &want)?, &want) {
            let result = if way.in_place() { 0 } else { over };
            if way.workspace + result >= choice.workspace || (way.way == UNROLLED && !unrolled) {
                continue;
            }
            let needed = way.workspace.next_multiple_of(8) + result;
            let fits = needed <= room;
            let (first, second) = if fits { key(&way, &want) } else { (needed as u64, 0) };
            if found.as_ref().is_none_or(|best| (!fits, first, second) < best.0) {
                found = Some(((!fits, first, second), taken(&way, &want)));
            }
        }
    }
    Ok(found.map(|(_, choice)| choice))
}

/// Whether a choice that was made for another aim is there for this one too.
pub(crate) fn offers(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    (target, optimize): (&Target, Optimize),
    choice: &Choice,
) -> Result<bool> {
    let Family::Native { rows_limit, .. } = choice.family else { return Ok(false) };
    let want = Want { target, optimize, rows_limit };
    Ok(candidates(graph, node, layouts, &want)?.iter().any(|way| taken(way, &want) == *choice))
}

fn taken(way: &Candidate, want: &Want<'_>) -> Choice {
    Choice {
        family: Family::Native { way: way.way, rows_limit: want.rows_limit },
        workspace: way.workspace,
        in_place: way.in_place(),
    }
}

/// The ways whose flash is worth it.
fn affordable(mut ways: Vec<Candidate>, want: &Want<'_>) -> Vec<Candidate> {
    if want.optimize == Optimize::Balanced {
        let least = ways.iter().map(Candidate::weights).min().unwrap_or(0);
        let free = least + least / GROWTH.0 + GROWTH.1;
        let modest = ways.iter().filter(|way| way.weights() <= free);
        let modest_cycles = modest.map(|way| way.cycles(want.target)).fold(f64::INFINITY, f64::min);
        ways.retain(|way| {
            let more = way.weights().saturating_sub(free) as f64;
            more * PRICE <= (modest_cycles - way.cycles(want.target)).max(0.0)
        });
    }
    ways
}

/// What is to be least: predicted cycles, or flash.
fn key(way: &Candidate, want: &Want<'_>) -> (u64, u64) {
    // Predicted cycles are whole up to rounding; their order is what counts.
    let cycles = way.cycles(want.target) as u64;
    match want.optimize {
        Optimize::Size => (way.weights() as u64 + way.code() as u64, cycles),
        Optimize::Speed | Optimize::Balanced => (cycles, 0),
    }
}
