//! Dead code: nodes none of whose results is read, directly or through other such nodes, and results that a
//! recurrent layer need not keep.

use crate::error::Result;
use crate::graph::{NodeId, Patch};
use crate::ops::Op;

pub(super) fn drop_dead(patch: &mut Patch<'_>) -> Result<usize> {
    let graph = patch.graph();
    let mut live = vec![false; graph.values().count()];
    for v in graph.outputs() {
        live[v.index()] = true;
    }
    let mut dead = Vec::new();
    for &id in graph.topological().iter().rev() {
        let node = &graph[id];
        if node.outputs.iter().any(|v| live[v.index()]) {
            node.inputs.iter().flatten().for_each(|v| live[v.index()] = true);
        } else {
            dead.push(id);
        }
    }
    let mut dropped = dead.len();
    for id in dead {
        patch.remove_node(id);
    }
    let ids: Vec<NodeId> = patch.graph().nodes().map(|(id, _)| id).collect();
    for id in ids {
        dropped += unread_parts(patch, id, &live);
    }
    Ok(dropped)
}

/// Takes the results that nothing reads from a recurrent layer; how many.
fn unread_parts(patch: &mut Patch<'_>, id: NodeId, live: &[bool]) -> usize {
    let node = &patch.graph()[id];
    let Op::Recurrent(layer) = &node.op else { return 0 };
    let kept: Vec<usize> = (0..node.outputs.len()).filter(|&i| live[node.outputs[i].index()]).collect();
    let unread = layer.parts.len() - kept.len();
    if unread > 0 {
        let mut layer = layer.clone();
        layer.parts = kept.iter().filter_map(|&i| layer.parts.get(i).copied()).collect();
        let outputs = kept.iter().map(|&i| node.outputs[i]).collect();
        let node = patch.node_mut(id);
        (node.op, node.outputs) = (layer.into(), outputs);
    }
    unread
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Relu, Tanh};

    #[test]
    fn chains_that_nobody_reads_go() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let y = b.node("y", Relu, &[x]);
        let a = b.node("a", Tanh, &[y]);
        b.node("b", Tanh, &[a]);
        b.output(y);
        b.check(drop_dead, "in  %x: f32[1x4]\n %y: f32[1x4] = Relu(%x)  # y\n out %y");
    }
}
