//! Which values stay real, because decision trees look at them or decide by them.
//!
//! In: a float graph. Out: by value, whether it keeps its precision. Law: a tree asks which side of a threshold
//! a feature is on, and rounding the feature may turn that round; so what comes from the model's inputs to a
//! tree without passing trained layers, and all that comes behind a tree, is computed in floats.

use super::forms::integer_form;
use crate::graph::{Graph, NodeId, ValueKind};
use crate::ops::Op;
use crate::ops::recurrent::Spans;
use crate::tensor::DType;

/// Whether a node multiplies by trained weights.
fn weighted(graph: &Graph, id: NodeId) -> bool {
    let constant = |v: &crate::graph::ValueId| graph[*v].constant().is_some();
    matches!(graph[id].op, Op::Conv(_) | Op::Dense(_) | Op::Gemm(_) | Op::MatMul(_) | Op::Recurrent(_))
        && graph[id].inputs.iter().take(2).flatten().any(constant)
}

/// By value index, whether it stays real.
pub(super) fn exact(graph: &Graph) -> Vec<bool> {
    let count = graph.values().count();
    let (mut behind, mut trained) = (vec![false; count], vec![false; count]);
    let order = graph.topological();
    let any = |of: &[bool], id: NodeId| graph[id].inputs.iter().flatten().any(|v| of[v.index()]);
    for &id in &order {
        let tree = matches!(graph[id].op, Op::TreeEnsemble(_));
        let (after, learnt) = (tree || any(&behind, id), weighted(graph, id) || any(&trained, id));
        for v in &graph[id].outputs {
            behind[v.index()] = after;
            trained[v.index()] = learnt;
        }
    }
    // What trees read in the end, and what trained layers do.
    let (mut asked, mut multiplied) = (vec![false; count], vec![false; count]);
    for &id in order.iter().rev() {
        let tree = matches!(graph[id].op, Op::TreeEnsemble(_));
        let given = |of: &[bool]| graph[id].outputs.iter().any(|v| of[v.index()]);
        let (before, product) = (tree || given(&asked), weighted(graph, id) || !tree && given(&multiplied));
        for v in graph[id].inputs.iter().flatten() {
            asked[v.index()] |= before;
            multiplied[v.index()] |= product;
        }
    }
    (0..count).map(|v| behind[v] || asked[v] && !trained[v] && !multiplied[v]).collect()
}

/// Whether some value of a float graph would be stored as integers.
pub fn worthwhile(graph: &Graph) -> bool {
    let exact = exact(graph);
    // Samples tell recurrent layers of their integers later.
    let told = |id: NodeId| {
        let operand = |i: usize| graph[id].inputs.get(i).copied().flatten();
        let constant = |i: usize| operand(i).map(|v| graph[v].constant().is_some());
        matches!(&graph[id].op, Op::Recurrent(l) if l.integers(Spans::default(), &constant).is_some())
    };
    graph.values().any(|(v, value)| {
        let touched = |id: NodeId| integer_form(&graph[id].op) || told(id);
        value.dtype == DType::F32
            && !exact[v.index()]
            && !matches!(value.kind, ValueKind::Constant(_))
            && (graph.producer(v).is_some_and(touched) || graph.consumers(v).into_iter().any(touched))
    })
}
