//! What several passes do to a graph: forward a value past a node, merge a node into the one
//! before it, read a plain constant.
//!
//! Law: a graph output keeps its name, and no value that carries a `Quant` is skipped unless
//! the one that takes its place carries the same.

use crate::graph::{Graph, NodeId, Patch, ValueId, ValueKind};
use crate::ops::Op;
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// The first operand of a node.
pub(super) fn operand(graph: &Graph, id: NodeId, index: usize) -> Option<ValueId> {
    graph[id].inputs.get(index).copied().flatten()
}

/// A constant of plain floats: no `Quant`, type f32.
pub(super) fn plain_f32(graph: &Graph, value: ValueId) -> Option<Arc<Tensor>> {
    let v = &graph[value];
    let t = v.constant().filter(|t| v.quant.is_none() && t.as_f32().is_some())?;
    Some(Arc::clone(t))
}

/// The only element of a plain constant.
pub(super) fn number(graph: &Graph, value: ValueId) -> Option<f32> {
    plain_f32(graph, value)?.as_f32().filter(|v| v.len() == 1).map(|v| v[0])
}

/// The node that computes a value as it is: real, its only result, neither quantized nor limited.
pub(super) fn plain_producer(graph: &Graph, value: ValueId) -> Option<NodeId> {
    let id = graph.producer(value)?;
    let plain = graph[value].quant.is_none() && graph[value].dtype == DType::F32;
    (plain && graph[id].clamp.is_none() && graph[id].outputs.len() == 1).then_some(id)
}

/// The number below which a node leaves nothing of its only operand.
pub(super) fn floor(graph: &Graph, id: NodeId) -> Option<f32> {
    match &graph[id].op {
        Op::Relu(_) => Some(0.0),
        Op::Map(map) if map.function == "Max" && graph[id].inputs.len() == 1 => {
            let mut numbers = map.tail.iter().flat_map(Tensor::to_f32_vec);
            let first = numbers.next()?;
            numbers.all(|v| v == first).then_some(first)
        }
        _ => None,
    }
}

/// What a value was before it got its shape.
pub(super) fn unshaped(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(id) = plain_producer(graph, value)
        && matches!(graph[id].op, Op::Reshape(_))
        && let Some(x) = operand(graph, id, 0)
    {
        value = x;
    }
    value
}

/// Whether the value is computed, by a node.
pub(super) fn is_activation(graph: &Graph, value: ValueId) -> bool {
    matches!(graph[value].kind, ValueKind::Activation)
}

/// The node that computes `value`, if one reader is all it has and its meaning may disappear
/// into that of `result`: no rounding of its own stands between.
pub(super) fn private_producer(graph: &Graph, value: ValueId, result: ValueId) -> Option<NodeId> {
    let v = &graph[value];
    if v.quant.is_some() && v.quant != graph[result].quant {
        return None;
    }
    graph.sole_reader(value)?;
    graph.producer(value).filter(|&id| graph[id].outputs.len() == 1)
}

/// Removes a node of one result whose result is its operand `x`; false when the graph's outputs
/// forbid it, because `x` is a port of its own.
pub(super) fn bypass(patch: &mut Patch<'_>, id: NodeId, x: ValueId) -> bool {
    let graph = patch.graph();
    let y = graph[id].outputs[0];
    if graph[x].quant != graph[y].quant || graph[x].dtype != graph[y].dtype || !graph[id].clamp.is_none() {
        return false;
    }
    if graph.outputs().contains(&y) {
        if graph.outputs().contains(&x) || !is_activation(graph, x) {
            return false;
        }
        patch.swap_names(x, y);
    }
    patch.remove_node(id);
    patch.replace_uses(y, x);
    true
}

/// `producer` computes the result of its only reader `id` instead, which goes away; the value
/// between them disappears.
pub(super) fn merge_into(patch: &mut Patch<'_>, producer: NodeId, id: NodeId) {
    let y = patch.graph()[id].outputs[0];
    patch.remove_node(id);
    patch.node_mut(producer).outputs[0] = y;
}

/// Gives a node another constant in place of its operand; a constant that others read stays
/// as it is for them.
pub(super) fn renew_constant(patch: &mut Patch<'_>, id: NodeId, index: usize, tensor: Tensor) {
    let graph = patch.graph();
    let old = operand(graph, id, index);
    if let Some(old) = old
        && graph[old].constant().is_some()
        && graph.sole_reader(old).is_some()
    {
        patch.set_constant(old, tensor);
        return;
    }
    let name = match old {
        Some(old) => graph[old].name.clone(),
        None => format!("{}:{index}", graph[id].name),
    };
    let like = old.map(|old| (graph[old].dtype, graph[old].quant.clone()));
    let value = patch.add_constant(&name, tensor);
    if let Some((dtype, quant)) = like {
        patch.set_dtype(value, dtype);
        patch.set_quant(value, quant);
    }
    let inputs = &mut patch.node_mut(id).inputs;
    while inputs.len() <= index {
        inputs.push(None);
    }
    inputs[index] = Some(value);
}
