//! Kernel families: which loop nest spells a node, and the workspace it needs.

use super::{Choice, Family, Layout};
use crate::graph::{Graph, NodeId};
use secateur_targets::Target;

/// The choice for a node that is not a mere view. `layouts` is by value index and final.
pub(crate) fn choose(_graph: &Graph, _node: NodeId, _layouts: &[Option<Layout>], _target: &Target) -> Choice {
    Choice { family: Family::Portable, workspace: 0 }
}
