//! Graph + Target -> Schedule: every choice is made here and none later.
//!
//! Layouts, kernel families, workspaces, order of nodes, and the placement of buffers.

use crate::error::Result;
use crate::graph::{Graph, NodeId, ValueId};
use secateur_targets::Target;

/// How a value lies in memory: `order[i]` is the logical axis that is i-th in memory, slowest
/// first. Row-major is the identity; channels-last of NCHW is `[0, 2, 3, 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub order: Vec<usize>,
}

impl Layout {
    pub fn row_major(rank: usize) -> Self {
        Layout { order: (0..rank).collect() }
    }
    /// Batch, then spatial axes, then channels.
    pub fn channels_last(rank: usize) -> Self {
        let mut order: Vec<usize> = (0..rank).collect();
        if rank > 2 {
            order.remove(1);
            order.push(1);
        }
        Layout { order }
    }
    /// Stride of each logical axis, in elements.
    pub fn strides(&self, shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1;
        for &axis in self.order.iter().rev() {
            strides[axis] = step;
            step *= shape[axis];
        }
        strides
    }
}

/// Which loop nest spells a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Plain loops, any shape, stride and type.
    Portable,
    /// Blocked product over widened rows through an instruction block.
    GemmBlock,
    /// Nothing happens at run time: the result is the operand seen differently.
    Alias,
}

/// The choice for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub family: Family,
    /// Bytes of arena needed beside operands and results while the node runs.
    pub workspace: usize,
}

/// Nodes that run together. First only whole, one node a group; row by row comes later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub nodes: Vec<NodeId>,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Whole,
}

/// Where something stands in the arena and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// What it is: a storage class of values (aliases share one), or a node's workspace.
    pub what: Placed,
    /// Byte offset; meaningless for inputs and outputs of the caller.
    pub offset: usize,
    pub bytes: usize,
    /// First and last group (inclusive) during which it is live.
    pub live: (usize, usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    Values(Vec<ValueId>),
    Workspace(NodeId),
}

/// All choices for a graph on a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// By value index; `None` for constants.
    pub layouts: Vec<Option<Layout>>,
    /// By node index; `None` for removed nodes.
    pub choices: Vec<Option<Choice>>,
    /// In execution order.
    pub groups: Vec<Group>,
    pub placements: Vec<Placement>,
    /// Bytes.
    pub arena: usize,
    pub arena_lower_bound: usize,
}

/// Chooses for every node and value.
pub fn schedule(_graph: &Graph, _target: &Target) -> Result<Schedule> {
    Err(crate::ops::unwritten("schedule"))
}
