//! Quantizers that no layer of integers can take over: scales that the run computes, activations with a scale for each
//! channel.
//!
//! In: a graph as imported. Out: which QuantizeLinear and DequantizeLinear stay nodes of their own, from floats to
//! plain integers and back. Law: an integer tensor is taken over by all of its quantizers or by none, so none reads
//! plain integers as scaled ones.

use super::forms::{carries, moved};
use super::qdq::params;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::Op;
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

/// Says of the quantizers that stayed what becomes of the layers beside them.
pub fn warn_of_kept(graph: &mut Graph) {
    let stayed: Vec<NodeId> = graph.nodes().filter(|(_, n)| is_quantizer(&n.op)).map(|(id, _)| id).collect();
    let Some(&first) = stayed.first() else { return };
    let others = and_others(stayed.len() - 1);
    let text = format!(
        "has a scale for each channel or one that the run computes{others}: the layers beside it are computed in floats"
    );
    graph.warn(Warning::new(graph[first].site(), text).help(
        "quantize activations with one constant scale each, or give the float model and let Secateur calibrate it",
    ));
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ", as one other node has,".into(),
        n => format!(", as {n} other nodes have,"),
    }
}
