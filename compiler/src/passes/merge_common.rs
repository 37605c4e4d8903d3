//! Common subexpressions: two nodes with one operator, the same operands and results stored
//! alike become one.

use super::edit::bypass;
use crate::error::Result;
use crate::graph::{NodeId, Patch};
use std::collections::BTreeMap;

pub(super) fn merge_common(patch: &mut Patch<'_>) -> Result<usize> {
    let mut merged = 0;
    let mut seen: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for id in patch.graph().topological() {
        let graph = patch.graph();
        let node = &graph[id];
        if node.outputs.len() != 1 {
            continue;
        }
        // The debug form of an operator prints every parameter, floats exactly.
        let key = format!("{:?} {:?} {:?}", node.op, node.inputs, node.clamp);
        let twins = seen.entry(key).or_default();
        let y = &graph[node.outputs[0]];
        let twin = twins.iter().copied().find(|&t| {
            let other = &graph[graph[t].outputs[0]];
            other.quant == y.quant && other.dtype == y.dtype
        });
        let Some(twin) = twin else {
            twins.push(id);
            continue;
        };
        let x = graph[twin].outputs[0];
        let clamp = node.clamp;
        // The result is the twin's as it is: its clamp has been applied there.
        patch.node_mut(id).clamp = crate::graph::Clamp::NONE;
        if bypass(patch, id, x) {
            merged += 1;
        } else {
            patch.node_mut(id).clamp = clamp;
        }
    }
    Ok(merged)
}
