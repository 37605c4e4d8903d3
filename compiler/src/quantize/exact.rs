//! Which values stay real, because decision trees look at them or decide by them, or because they become whole numbers.
//!
//! In: a float graph. Out: by value, whether it keeps its precision. Law: a tree asks which side of a threshold
//! a feature is on, and rounding the feature may turn that round; so what comes from the model's inputs to a
//! tree without passing trained layers, and all that comes behind a tree, is computed in floats. So is what functions
//! of elements and moves make of other operators' results before a Cast to integers, which are indices and counts:
//! of 2.996 it leaves 2; and whole numbers before a comparison.

use super::forms::{carries, integer_form};
use crate::graph::{Graph, NodeId, ValueKind};
use crate::ops::recurrent::Spans;
use crate::ops::{Op, attention};
use crate::tensor::DType;

/// Whether a node multiplies by trained weights.
fn weighted(graph: &Graph, id: NodeId) -> bool {
    let constant = |v: &crate::graph::ValueId| graph[*v].constant().is_some();
    matches!(graph[id].op, Op::Conv(_) | Op::Dense(_) | Op::Gemm(_) | Op::MatMul(_) | Op::Recurrent(_))
        && graph[id].inputs.iter().take(2).flatten().any(constant)
}

/// Functions whose results are whole numbers.
const WHOLE: [&str; 3] = ["Ceil", "Floor", "Round"];

/// Functions that compare.
const COMPARES: [&str; 5] = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"];

/// By value index, whether it becomes an integer, element by element or by moves, and no layer computes it.
/// `multiplied` says which values lead to trained layers: an input among them keeps its eight bits.
fn counted(graph: &Graph, multiplied: &[bool]) -> Vec<bool> {
    let count = graph.values().count();
    let order = graph.topological();
    let function = |id: NodeId| if let Op::Map(map) = &graph[id].op { map.function } else { "" };
    let plain = |id: NodeId| {
        let op = &graph[id].op;
        (op.is_elementwise() || carries(op)) && !weighted(graph, id)
    };
    let mut whole = vec![false; count];
    for &id in &order {
        let all = |v: &crate::graph::ValueId| whole[v.index()] || graph[*v].constant().is_some();
        let is = WHOLE.contains(&function(id))
            || plain(id)
                && graph[id].inputs.iter().flatten().any(|v| whole[v.index()])
                && graph[id].inputs.iter().flatten().all(all);
        graph[id].outputs.iter().for_each(|v| whole[v.index()] = is);
    }
    let mut asked = vec![false; count];
    for &id in order.iter().rev() {
        let casts = matches!(&graph[id].op, Op::Cast(cast) if !cast.to.is_float() && cast.to != DType::Bool);
        let compares = COMPARES.contains(&function(id));
        let before = casts || plain(id) && graph[id].outputs.iter().any(|v| asked[v.index()]);
        for v in graph[id].inputs.iter().flatten() {
            asked[v.index()] |= before || compares && whole[v.index()];
        }
    }
    let stays = |v: crate::graph::ValueId| match graph.producer(v) {
        Some(id) => plain(id),
        None => matches!(graph[v].kind, ValueKind::Input) && !multiplied[v.index()],
    };
    graph.values().map(|(v, value)| asked[v.index()] && value.dtype == DType::F32 && stays(v)).collect()
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
    let counted = counted(graph, &multiplied);
    (0..count).map(|v| behind[v] || counted[v] || asked[v] && !trained[v] && !multiplied[v]).collect()
}

/// Whether some value of a float graph would be stored as integers.
pub fn worthwhile(graph: &Graph) -> bool {
    let exact = exact(graph);
    // Samples tell recurrent layers and attention of their integers later.
    let told = |id: NodeId| {
        let operand = |i: usize| graph[id].inputs.get(i).copied().flatten();
        let constant = |i: usize| operand(i).map(|v| graph[v].constant().is_some());
        let keys = operand(attention::KEYS).and_then(|v| graph[v].shape.last().copied());
        match &graph[id].op {
            Op::Recurrent(layer) => layer.integers(Spans::default(), &constant).is_some(),
            Op::Attention(_) => keys.is_some_and(|keys| keys <= attention::MOST_KEYS),
            _ => false,
        }
    };
    graph.values().any(|(v, value)| {
        let touched = |id: NodeId| integer_form(&graph[id].op) || told(id);
        value.dtype == DType::F32
            && !exact[v.index()]
            && !matches!(value.kind, ValueKind::Constant(_))
            && (graph.producer(v).is_some_and(touched) || graph.consumers(v).into_iter().any(touched))
    })
}
