//! What samples saw inside of operators whose integers need more than the ranges of their results.
//!
//! In: the greatest values by node. Out: the same graph, whose recurrent layers and attention know them. Law: a node
//! that integers cannot serve is told nothing, and stays in floats.

use crate::graph::{Graph, NodeId, Patch};
use crate::ops::recurrent::Spans;
use crate::ops::{Op, attention};
use std::collections::BTreeMap;

/// Tells nodes what was seen inside of them.
pub(super) fn tell(graph: &mut Graph, spans: &BTreeMap<NodeId, Spans>, scores: &BTreeMap<NodeId, f32>) {
    for (&id, &spans) in spans {
        integers_of(graph, id, spans);
    }
    for (&id, &span) in scores {
        scores_of(graph, id, span);
    }
}

/// Tells a recurrent layer what its integers have to hold, where it can be computed on integers.
fn integers_of(graph: &mut Graph, id: NodeId, seen: Spans) {
    let Op::Recurrent(layer) = &graph[id].op else { return };
    let constant = |i: usize| {
        let operand = graph[id].inputs.get(i).copied().flatten();
        operand.map(|v| graph[v].constant().is_some())
    };
    let mut layer = layer.clone();
    layer.spans = layer.integers(seen, &constant);
    Patch::new(graph).node_mut(id).op = layer.into();
}

/// Tells attention how far its scores reach, where it can be computed on integers.
fn scores_of(graph: &mut Graph, id: NodeId, span: f32) {
    let keys = graph[id].inputs.get(attention::KEYS).copied().flatten();
    let few = keys.and_then(|v| graph[v].shape.last()).is_some_and(|&keys| keys <= attention::MOST_KEYS);
    if let Op::Attention(attention) = &mut Patch::new(graph).node_mut(id).op {
        attention.span = few.then_some(span);
    }
}
