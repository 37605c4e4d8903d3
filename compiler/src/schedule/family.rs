//! Kernel families: which loop nest spells a node, and the workspace it needs.

use super::{Choice, Family, Layout};
use crate::graph::{Graph, NodeId};
use secateur_targets::Target;

/// The choice for a node that is not a mere view. `layouts` is by value index and final.
/// Instruction blocks are taken wherever they fit: they win on every shape measured.
pub(crate) fn choose(graph: &Graph, node: NodeId, layouts: &[Option<Layout>], target: &Target) -> Choice {
    match crate::lower::blocked_workspace(graph, node, layouts, target) {
        Some(workspace) => Choice { family: Family::GemmBlock, workspace },
        None => Choice { family: Family::Portable, workspace: 0 },
    }
}
