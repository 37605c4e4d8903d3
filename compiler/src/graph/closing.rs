//! Values that close scores: masks that are added to what a Softmax reads, or chosen in its place.
//!
//! In: a graph. Out: which of its values do that and nothing else. Law: where such a value is minus infinity, no share of
//! a Softmax is anything but zero for it, and no other value sees it.

use super::{Graph, NodeId, ValueId};
use crate::ops::attention::{MASK, Mask};
use crate::ops::{Op, PadMode, Reducing};

/// Whether a node's results are elements of its operand at that place, chosen or moved.
pub(crate) fn hands_on(op: &Op, place: usize) -> bool {
    match op {
        Op::Map(map) if map.function == "Where" => place > 0,
        Op::Concat(_) => true,
        Op::Reduce(reduce) => reduce.function == Reducing::Max,
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Transpose(_) => place == 0,
        Op::Identity(_) | Op::Slice(_) | Op::Split(_) | Op::Gather(_) | Op::Expand(_) => place == 0,
        Op::Pad(pad) => place == 0 && pad.mode == PadMode::Constant,
        _ => false,
    }
}

/// Whether a node asks whether a value is minus infinity, which is all that it wants to know.
pub(crate) fn asks_for_open(graph: &Graph, id: NodeId) -> bool {
    let infinite = |v: &ValueId| {
        let known = graph[*v].constant().and_then(|t| t.as_f32());
        known.is_some_and(|all| all.iter().all(|x| *x == f32::NEG_INFINITY))
    };
    matches!(&graph[id].op, Op::Map(map) if ["Greater", "Equal"].contains(&map.function))
        && graph[id].inputs.iter().flatten().any(infinite)
}

/// The readers of values with the places where they read, in an order in which each reader's results came before.
pub(crate) fn backwards(graph: &Graph) -> impl Iterator<Item = (NodeId, usize, ValueId)> + '_ {
    graph.topological().into_iter().rev().flat_map(|id| {
        let operands = graph[id].inputs.iter().enumerate();
        operands.filter_map(|(place, v)| Some((id, place, (*v)?))).collect::<Vec<_>>()
    })
}

/// By value index, whether it leads to the scores of a Softmax, or to the mask of an attention, and nowhere else, by
/// sums, choices and moves.
pub(crate) fn closing(graph: &Graph) -> Vec<bool> {
    let mut leads: Vec<Option<bool>> = vec![None; graph.values().count()];
    for (id, place, v) in backwards(graph) {
        let on = |o: &ValueId| leads[o.index()] == Some(true) && !graph.outputs().contains(o);
        let fits = match &graph[id].op {
            Op::Softmax(_) => softmax(graph, v).is_some(),
            Op::Attention(attention) => place == MASK && attention.mask == Mask::Added,
            Op::Map(map) if map.function != "Where" => asks_for_open(graph, id),
            op => (hands_on(op, place) || matches!(op, Op::Add(_))) && graph[id].outputs.iter().all(on),
        };
        let before = leads[v.index()].unwrap_or(true);
        leads[v.index()] = Some(before && fits);
    }
    let port = |v: ValueId| graph.outputs().contains(&v);
    graph.values().map(|(v, _)| leads[v.index()] == Some(true) && !port(v)).collect()
}

/// The Softmax that alone reads a value.
pub(crate) fn softmax(graph: &Graph, v: ValueId) -> Option<NodeId> {
    let [id] = graph.consumers(v)[..] else { return None };
    (matches!(graph[id].op, Op::Softmax(_)) && !graph.outputs().contains(&v)).then_some(id)
}
