//! Kernel families: which loop nest spells a node, and the workspace it needs.

use super::{Choice, Family, Layout};
use crate::graph::{Graph, NodeId};
use crate::lower::{ROWS_LIMIT, blocked_workspace};
use secateur_targets::Target;

/// The choice for a node that is not a mere view. `layouts` is by value index and final.
/// Instruction blocks are taken wherever they fit: they win on every shape measured.
pub(crate) fn choose(graph: &Graph, node: NodeId, layouts: &[Option<Layout>], target: &Target) -> Choice {
    match blocked_workspace(graph, node, layouts, target, ROWS_LIMIT) {
        Some(workspace) => Choice { family: Family::GemmBlock, workspace },
        None => Choice { family: Family::Portable, workspace: 0 },
    }
}

/// The same family with less workspace, for a node that runs when memory is shortest: half
/// the size, which costs a little speed at the seams of more tiles. `None` where there is none.
pub(crate) fn smaller(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    target: &Target,
    choice: &Choice,
) -> Option<Choice> {
    if choice.family != Family::GemmBlock {
        return None;
    }
    let workspace = blocked_workspace(graph, node, layouts, target, ROWS_LIMIT / 2)?;
    (workspace < choice.workspace).then_some(Choice { family: Family::GemmBlock, workspace })
}
