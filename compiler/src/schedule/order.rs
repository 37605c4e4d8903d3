//! Orders of the nodes worth trying: each is topological; the one that needs least memory wins.

use super::layout::Uses;
use crate::graph::{Graph, NodeId, ValueKind};

/// Valid orders without repeats; the first is the order of ids.
pub(crate) fn candidates(graph: &Graph, uses: &Uses) -> Vec<Vec<NodeId>> {
    let mut orders = vec![graph.topological()];
    let mut others = vec![depth_first(graph, uses)];
    // Quadratic in the nodes.
    if orders[0].len() <= 2000 {
        others.push(least_live(graph, uses));
    }
    for order in others {
        if !orders.contains(&order) {
            orders.push(order);
        }
    }
    orders
}

/// Finishes one branch before it starts the next: operands just before their reader.
fn depth_first(graph: &Graph, uses: &Uses) -> Vec<NodeId> {
    let mut done = vec![false; graph.nodes.len()];
    let mut order = Vec::new();
    let roots = graph.outputs().iter().filter_map(|v| uses.producer[v.index()]);
    // Nodes that no output needs still run, last.
    for root in roots.chain(graph.nodes().map(|(id, _)| id)) {
        // An explicit stack: a long chain must not end in a deep recursion.
        let mut stack = vec![(root, 0)];
        while let Some((id, next)) = stack.pop() {
            if done[id.index()] {
                continue;
            }
            let inputs = &graph[id].inputs;
            match (next..inputs.len()).find_map(|k| {
                let from = inputs[k].and_then(|v| uses.producer[v.index()])?;
                (!done[from.index()]).then_some((k, from))
            }) {
                Some((k, from)) => {
                    stack.push((id, k + 1));
                    stack.push((from, 0));
                }
                None => {
                    done[id.index()] = true;
                    order.push(id);
                }
            }
        }
    }
    order
}

/// At each step runs the ready node after which the fewest bytes are live; ties by id.
fn least_live(graph: &Graph, uses: &Uses) -> Vec<NodeId> {
    let bytes = |v: usize| graph.values[v].len() * graph.values[v].stored().size();
    let mut ready: Vec<bool> =
        graph.values.iter().map(|v| !matches!(v.kind, ValueKind::Activation)).collect();
    let mut readers: Vec<usize> = uses.consumers.iter().map(Vec::len).collect();
    let mut left: Vec<NodeId> = graph.topological();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let growth = |id: NodeId| {
            let node = &graph[id];
            let mut grown: i64 = node.outputs.iter().map(|v| bytes(v.index()) as i64).sum();
            let mut seen: Vec<usize> = Vec::new();
            for v in node.inputs.iter().flatten().map(|v| v.index()) {
                let dies = readers[v] == 1
                    && !uses.is_output[v]
                    && matches!(graph.values[v].kind, ValueKind::Activation | ValueKind::Input);
                if dies && !seen.contains(&v) {
                    seen.push(v);
                    grown -= bytes(v) as i64;
                }
            }
            grown
        };
        let runs = |id: &NodeId| graph[*id].inputs.iter().flatten().all(|v| ready[v.index()]);
        let Some(best) =
            (0..left.len()).filter(|&i| runs(&left[i])).min_by_key(|&i| (growth(left[i]), left[i]))
        else {
            break;
        };
        let id = left.remove(best);
        for v in &graph[id].outputs {
            ready[v.index()] = true;
        }
        let mut inputs: Vec<usize> = graph[id].inputs.iter().flatten().map(|v| v.index()).collect();
        inputs.sort();
        inputs.dedup();
        for v in inputs {
            readers[v] -= 1;
        }
        order.push(id);
    }
    order
}
