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

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Add, Relu, Tanh};

    #[test]
    fn equal_nodes_become_one_down_the_graph() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let r = b.node("r", Relu, &[x]);
        let s = b.node("s", Relu, &[x]);
        let t = b.node("t", Tanh, &[r]);
        let u = b.node("u", Tanh, &[s]);
        let y = b.node("y", Add, &[t, u]);
        b.output(y);
        b.check(
            merge_common,
            "in  %x: f32[1x4]
             %r: f32[1x4] = Relu(%x)  # r
             %t: f32[1x4] = Tanh(%r)  # t
             %y: f32[1x4] = Add(%t, %t)  # y
             out %y",
        );
    }

    #[test]
    fn results_stored_differently_stay_apart() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let r = b.node("r", Relu, &[x]);
        let s = b.node("s", Relu, &[x]);
        b.quant(r, 0.1, 0);
        b.quant(s, 0.2, 0);
        let y = b.node("y", Add, &[r, s]);
        b.output(y);
        b.check(
            merge_common,
            "in  %x: f32[1x4]
             %r: f32[1x4] i8(scale 1e-1, zero 0) = Relu(%x)  # r
             %s: f32[1x4] i8(scale 2e-1, zero 0) = Relu(%x)  # s
             %y: f32[1x4] = Add(%r, %s)  # y
             out %y",
        );
    }
}
