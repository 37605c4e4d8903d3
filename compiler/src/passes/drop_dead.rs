//! Dead code: nodes none of whose results is read, directly or through other such nodes.

use crate::error::Result;
use crate::graph::Patch;

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
    let dropped = dead.len();
    for id in dead {
        patch.remove_node(id);
    }
    Ok(dropped)
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
