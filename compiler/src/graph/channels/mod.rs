//! Which channels stand and fall together, and what goes with them.
//!
//! In: a graph, float or quantized. Out: for each value the axis along which its channels lie,
//! and groups: indices of values that can only leave at once, the parts of constants that go
//! with them, and why a group is fixed if it is. `remove` makes the smaller graph; a pass
//! decides what leaves, and nothing here asks whether results stay.
//!
//! Law: with every group that is not fixed, the graph without it is well formed, and whatever
//! remains is computed from what remains by the same operators.

mod couple;
mod remove;
#[cfg(test)]
mod tests;

pub use remove::remove;
pub(crate) use remove::select;

use crate::error::Site;
use crate::graph::{Graph, NodeId, ValueId};

/// A group of channels, by its number in the analysis that found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub(crate) u32);

impl GroupId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where the channels of a value lie: index `i` of `axis` belongs to `groups[i]`. A flattened
/// map has several indices of one group, one for each pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    pub axis: usize,
    pub groups: Vec<GroupId>,
}

/// Why channels cannot leave: the node or value that holds them, and a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    pub site: Site,
    pub why: String,
}

/// What a part of a constant is to the channel that it goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It computes the channel: rows of weights with their biases, filters of a grouped convolution.
    Row,
    /// It reads the channel: columns of weights.
    Column,
    /// It changes the channel: an operand of an element-wise node, a parameter of a
    /// normalization; or it is the channel, joined to others by a Concat.
    Parameter,
}

/// Indices along one axis of a node's constant operand, with their scales and zero points where
/// the constant has some for each index of that axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub node: NodeId,
    /// Which operand of the node.
    pub input: usize,
    pub axis: usize,
    /// Rising. Those of a flattened map that lies channels last are not one range.
    pub indices: Vec<usize>,
    pub role: Role,
}

/// Channels that can only leave at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The values that lose indices of their axis of channels, by id, and which.
    pub members: Vec<(ValueId, Vec<usize>)>,
    /// What constants lose, in the order of the nodes.
    pub parts: Vec<Part>,
    /// Why the group cannot leave, if so.
    pub fixed: Option<Fixed>,
}

/// What couples the channels of one graph. It holds for the graph that it was made of, until
/// nodes, shapes or the places of constants change.
#[derive(Debug, Clone)]
pub struct Channels {
    values: Vec<Result<Along, Fixed>>,
    groups: Vec<Group>,
}

impl Channels {
    /// Analyses a graph.
    pub fn of(graph: &Graph) -> Channels {
        couple::couple(graph)
    }
    /// The channels of a value, or why it has none that are known.
    pub fn along(&self, value: ValueId) -> Result<&Along, &Fixed> {
        self.values[value.index()].as_ref()
    }
    /// All groups, in the order of the values that they stand in.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.groups.iter().enumerate().map(|(i, g)| (GroupId(i as u32), g))
    }
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.index()]
    }
    /// The group of one channel of a value, given by its index along the axis of channels.
    pub fn group_of(&self, value: ValueId, index: usize) -> Option<GroupId> {
        self.along(value).ok()?.groups.get(index).copied()
    }
    /// The indices of a value's channels that are left when some groups leave; `None` where its
    /// channels are not known, so that all are left.
    pub fn kept(&self, value: ValueId, leaves: &dyn Fn(GroupId) -> bool) -> Option<Vec<usize>> {
        let along = self.along(value).ok()?;
        Some((0..along.groups.len()).filter(|&i| !leaves(along.groups[i])).collect())
    }
}
