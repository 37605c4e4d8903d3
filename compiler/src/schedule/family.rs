//! Kernel families: which loop nest spells a node, and the workspace it needs.

use super::{Choice, Family, Layout};
use crate::graph::{Graph, NodeId};
use crate::lower::candidates;
use crate::lower::native::{Candidate, ROWS_LIMIT, Want};
use crate::options::Optimize;
use secateur_targets::Target;

/// Growth of a layer's weights that `balanced` takes for speed: a quarter, and half a kilobyte.
const GROWTH: (usize, usize) = (4, 512);

/// The choice for a node that is not a mere view. `layouts` is by value index and final.
/// Where there are native ways one of them is taken: they win on every shape measured.
pub(crate) fn choose(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    target: &Target,
    optimize: Optimize,
) -> Choice {
    let want = Want { target, optimize, rows_limit: ROWS_LIMIT };
    match best(candidates(graph, node, layouts, &want), &want) {
        Some(way) => {
            let family = Family::Native { way: way.way, rows_limit: want.rows_limit };
            Choice { family, workspace: way.workspace }
        }
        None => Choice { family: Family::Portable, workspace: 0 },
    }
}

/// The way to take: by predicted cycles among those whose flash is worth it. The first of
/// equals, so that engines list what they like best first.
fn best(ways: Vec<Candidate>, want: &Want<'_>) -> Option<Candidate> {
    let least = ways.iter().map(Candidate::weights).min()?;
    let affordable = |way: &Candidate| match want.optimize {
        Optimize::Speed => true,
        Optimize::Balanced => way.weights() <= least + least / GROWTH.0 + GROWTH.1,
        Optimize::Size => true,
    };
    let key = |way: &Candidate| {
        // Predicted cycles are whole up to rounding; their order is what counts.
        let cycles = way.cycles(want.target) as u64;
        match want.optimize {
            Optimize::Size => (way.weights() as u64 + way.code() as u64, cycles),
            _ => (cycles, 0),
        }
    };
    ways.into_iter().filter(affordable).min_by_key(key)
}

/// The same family with less workspace, for a node that runs when memory is shortest: half
/// the size, which costs a little speed at the seams of more tiles. `None` where there is none.
pub(crate) fn smaller(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    target: &Target,
    optimize: Optimize,
    choice: &Choice,
) -> Option<Choice> {
    if !matches!(choice.family, Family::Native { .. }) {
        return None;
    }
    let want = Want { target, optimize, rows_limit: ROWS_LIMIT / 2 };
    let ways = candidates(graph, node, layouts, &want);
    let way = best(ways.into_iter().filter(|w| w.workspace < choice.workspace).collect(), &want)?;
    let family = Family::Native { way: way.way, rows_limit: want.rows_limit };
    Some(Choice { family, workspace: way.workspace })
}
