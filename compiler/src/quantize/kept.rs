//! Quantizers that no layer of integers can take over: 16 bits, scales that the run computes, activations with a
//! scale for each channel.
//!
//! In: a graph as imported. Out: which QuantizeLinear and DequantizeLinear stay nodes of their own, from floats to
//! plain integers and back; and, for a model that is calibrated anew, the graph without those of 16 bits. Law: an
//! integer tensor is taken over by all of its quantizers or by none, so none reads plain integers as scaled ones.

use super::forms::{carries, moved};
use super::qdq::{alias, params};
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Clip, Identity, Op};
use crate::tensor::DType;
use crate::warning::Warning;
use std::collections::BTreeSet;

/// The quantizers that stay, and the nodes between them that move plain integers.
pub(super) fn kept(graph: &Graph) -> BTreeSet<NodeId> {
    let mut kept: BTreeSet<NodeId> = BTreeSet::new();
    for (id, node) in graph.nodes() {
        if is_quantizer(&node.op) && matches!(params(graph, id), Ok(None)) {
            kept.insert(id);
        }
    }
    // What shares an integer tensor shares its fate.
    loop {
        let mut more = Vec::new();
        for &id in &kept {
            for v in integers(graph, id) {
                let touching = graph.producer(v).into_iter().chain(graph.consumers(v));
                more.extend(touching.filter(|&n| {
                    is_quantizer(&graph[n].op) && !parameter(graph, n, v)
                        || carries(&graph[n].op) && integers(graph, n).contains(&v)
                }));
            }
        }
        let before = kept.len();
        kept.extend(more);
        if kept.len() == before {
            return kept;
        }
    }
}

fn is_quantizer(op: &Op) -> bool {
    matches!(op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_))
}

/// Whether a quantizer reads a value as its scale or its zero point only.
fn parameter(graph: &Graph, id: NodeId, v: ValueId) -> bool {
    graph[id].inputs.first() != Some(&Some(v)) && !graph[id].outputs.contains(&v)
}

/// The integer tensors of the run that a quantizer gives or reads, or that a node moves.
fn integers(graph: &Graph, id: NodeId) -> Vec<ValueId> {
    let node = &graph[id];
    let all = moved(node).chain(node.outputs.iter().copied());
    all.filter(|&v| !graph[v].dtype.is_float() && graph[v].constant().is_none()).collect()
}

/// Says of the quantizers that stayed what becomes of them.
pub(super) fn warn_of_kept(graph: &mut Graph) {
    let stayed: Vec<NodeId> = graph.nodes().filter(|(_, n)| is_quantizer(&n.op)).map(|(id, _)| id).collect();
    let Some(&first) = stayed.first() else { return };
    let wide = stayed.iter().find_map(|&id| Some((id, graph[wide(graph, id)?].dtype)));
    let others = and_others(stayed.len() - 1);
    let (id, what) = match wide {
        Some((id, dtype)) => {
            (id, format!("has integers of 16 bits ({dtype}){others}, with which int8 code does not compute"))
        }
        None => (first, format!("has a scale for each channel or one that the run computes{others}")),
    };
    let text = format!("{what}: the layers beside it are computed in floats");
    graph.warn(Warning::new(graph[id].site(), text).help(
        "quantize activations to 8 bits with one constant scale each, or give the float model and let Secateur \
         calibrate it",
    ));
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ", as one other node has,".into(),
        n => format!(", as {n} other nodes have,"),
    }
}

/// The tensor of 16 bits of a quantizer.
fn wide(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let node = &graph[id];
    let v = match node.op {
        Op::QuantizeLinear(_) => node.outputs.first().copied(),
        Op::DequantizeLinear(_) => node.inputs.first().copied().flatten(),
        _ => None,
    };
    v.filter(|&v| matches!(graph[v].dtype, DType::I16 | DType::U16))
}

/// Takes the pairs of 16 bits out of a model none of whose activations is quantized otherwise: it is calibrated to 8
/// bits from the values before them. True: there were some, and the float passes have more to do.
///
/// What a pair cuts off stays cut off, by a Clip: at zero it may stand for a Relu.
pub fn without_wide(graph: &mut Graph) -> bool {
    let mut left_out = Vec::new();
    let quantizers = graph.nodes().filter(|(_, n)| matches!(n.op, Op::QuantizeLinear(_)));
    for id in quantizers.map(|(id, _)| id).collect::<Vec<_>>() {
        let Op::QuantizeLinear(quantizer) = &graph[id].op else { continue };
        let dtype = quantizer.dtype;
        let Some(q) = wide(graph, id).filter(|q| !graph.outputs().contains(q)) else { continue };
        let readers = graph.consumers(q);
        let parameters = |n: NodeId| {
            let constant = |i: usize| {
                let value = graph[n].inputs.get(i).copied().flatten();
                value.and_then(|v| graph[v].constant()).map(|t| t.to_f64_vec())
            };
            (constant(1), constant(2).unwrap_or_else(|| vec![0.0]))
        };
        let own = parameters(id);
        let same = |&n: &NodeId| {
            matches!(graph[n].op, Op::DequantizeLinear(_))
                && graph[n].inputs.first() == Some(&Some(q))
                && parameters(n) == own
        };
        let Some(x) = graph[id].inputs[0] else { continue };
        if readers.is_empty() || !readers.iter().all(same) || graph[x].dtype != DType::F32 {
            continue;
        }
        let (Some((lo, hi)), (Some([scale]), [zero])) = (dtype.range(), (own.0.as_deref(), own.1.as_slice()))
        else {
            continue;
        };
        let limit = |stored: i128| Some(f64::from((stored as f64 - zero) as f32 * *scale as f32));
        let clip = Clip { min: limit(lo), max: limit(hi) };
        left_out.push((graph[id].site(), dtype));
        let (name, shape) = (graph[id].name.clone(), graph[x].shape.clone());
        let mut patch = Patch::new(graph);
        let from = patch.add_value(&name, DType::F32, &shape);
        patch.add_node(&name, clip.into(), vec![Some(x)], vec![from]);
        for reader in readers {
            let y = graph[reader].outputs[0];
            if alias(graph, y, from) {
                Patch::new(graph).remove_node(reader);
            } else {
                // Two outputs are this value.
                let mut patch = Patch::new(graph);
                let node = patch.node_mut(reader);
                node.op = Identity.into();
                node.inputs = vec![Some(from)];
            }
        }
        Patch::new(graph).remove_node(id);
    }
    warn_of_kept(graph);
    let Some((site, dtype)) = left_out.first() else { return false };
    let text = format!(
        "has integers of 16 bits ({dtype}){}, with which int8 code does not compute: their values are calibrated to 8 \
         bits instead",
        and_others(left_out.len() - 1)
    );
    graph.warn(Warning::new(site.clone(), text).help(
        "`--quantize none` computes the model in floats, rounded to its 16 bits; `compare` shows what 8 bits lose",
    ));
    true
}
