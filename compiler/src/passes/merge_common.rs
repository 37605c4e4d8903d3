//! Common subexpressions: two nodes with one operator, the same operands and results stored
//! alike become one, and so do equal constants.

use super::edit::bypass;
use crate::error::Result;
use crate::graph::{NodeId, Patch, ValueId};
use crate::ops::Op;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn merge_common(patch: &mut Patch<'_>) -> Result<usize> {
    let mut merged = merge_constants(patch);
    let mut seen: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for id in patch.graph().topological() {
        let graph = patch.graph();
        let node = &graph[id];
        if node.outputs.len() != 1 {
            continue;
        }
        // The debug form of an operator prints every parameter, floats exactly; of trees only how many there are.
        let key = format!("{:?} {:?} {:?}", node.op, node.inputs, node.clamp);
        let twins = seen.entry(key).or_default();
        let y = &graph[node.outputs[0]];
        let twin = twins.iter().copied().find(|&t| {
            let other = &graph[graph[t].outputs[0]];
            let trees = matches!(node.op, Op::TreeEnsemble(_));
            other.quant == y.quant && other.dtype == y.dtype && (!trees || graph[t].op == node.op)
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

/// Constants of one type, shape, meaning and content become the first of them.
fn merge_constants(patch: &mut Patch<'_>) -> usize {
    let graph = patch.graph();
    let read: BTreeSet<ValueId> =
        graph.nodes().flat_map(|(_, node)| node.inputs.iter().flatten().copied()).collect();
    let mut first: BTreeMap<(String, Vec<u8>), ValueId> = BTreeMap::new();
    let mut twins = Vec::new();
    for id in read {
        let v = &graph[id];
        let Some(t) = v.constant() else { continue };
        if graph.outputs().contains(&id) {
            continue;
        }
        // The debug form prints every scale exactly.
        let key = (format!("{} {:?} {:?}", t.dtype(), v.shape, v.quant), t.data().to_le_bytes());
        match first.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(id);
            }
            Entry::Occupied(slot) => twins.push((id, *slot.get())),
        }
    }
    for &(twin, first) in &twins {
        patch.replace_uses(twin, first);
    }
    twins.len()
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

    #[test]
    fn equal_constants_become_one() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2]);
        let c = b.constant("c", &[2], &[1.0, 2.0]);
        let d = b.constant("d", &[2], &[1.0, 2.0]);
        let e = b.constant("e", &[1, 2], &[1.0, 2.0]);
        let p = b.node("p", Add, &[x, c]);
        let q = b.node("q", Add, &[x, d]);
        let r = b.node("r", Add, &[p, q]);
        let y = b.node("y", Add, &[r, e]);
        b.output(y);
        b.check(
            merge_common,
            "in  %x: f32[1x2]
             %p: f32[1x2] = Add(%x, const %c: f32[2])  # p
             %r: f32[1x2] = Add(%p, %p)  # r
             %y: f32[1x2] = Add(%r, const %e: f32[1x2])  # y
             out %y",
        );
    }
}
