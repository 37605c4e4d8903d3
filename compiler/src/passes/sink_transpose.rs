//! Transpositions move towards the outputs, past whatever works the same on permuted axes, so
//! that opposite ones meet and cancel and folds find each other.
//!
//! What remains costs nothing where the layout of a value can express it; `schedule` decides.

use super::edit::operand;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId};
use crate::ops::{Concat, Op, Transpose};
use crate::tensor::Tensor;

pub(super) fn sink_transpose(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    loop {
        let mut round = 0;
        for id in patch.graph().topological() {
            // Sinking several removes nodes that the order still lists.
            if patch.graph().nodes().any(|(n, _)| n == id) {
                round += usize::from(sink(patch, id));
            }
        }
        round += super::canonicalize::canonicalize(patch)?;
        if round == 0 {
            return Ok(changed);
        }
        changed += round;
    }
}

/// A Transpose that only one operand of one node reads.
struct Found {
    id: NodeId,
    perm: Vec<usize>,
    source: ValueId,
}

/// The Transpose that computes `value`, if it may move past the only reader.
fn private_transpose(graph: &Graph, value: ValueId) -> Option<Found> {
    let id = graph.producer(value)?;
    let Op::Transpose(op) = &graph[id].op else { return None };
    let source = operand(graph, id, 0)?;
    graph.sole_reader(value)?;
    let movable = graph[source].quant == graph[value].quant && graph[id].clamp.is_none();
    movable.then(|| Found { id, perm: op.perm.clone(), source })
}

/// Moves the Transposes of a node's operands behind the node. The node is `reader`.
fn sink(patch: &mut Patch<'_>, reader: NodeId) -> bool {
    let graph = patch.graph();
    let node = &graph[reader];
    let &[y] = node.outputs.as_slice() else { return false };
    let Some(first) = node.inputs.iter().flatten().find_map(|&v| private_transpose(graph, v)) else {
        return false;
    };
    let perm = first.perm;
    // The operator as it works on the axes before the Transpose, and what is left to transpose.
    let Some((op, rest)) = permuted(&node.op, &perm) else { return false };
    let rank = perm.len();
    let mut inputs = Vec::new();
    let mut gone = Vec::new();
    for v in &node.inputs {
        let Some(v) = *v else { return false };
        match private_transpose(graph, v) {
            Some(t) if t.perm == perm => {
                gone.push(t.id);
                inputs.push(Input::Value(t.source));
            }
            _ => match permuted_constant(graph, v, &perm) {
                Some((tensor, quant)) => inputs.push(Input::Constant(v, tensor, quant)),
                None => return false,
            },
        }
    }
    if !matches!(node.op, Op::ReduceMean(_) | Op::ArgMax(_)) && graph[y].shape.len() != rank {
        return false;
    }
    // y = transpose(u, rest): axis i of y is axis rest[i] of u.
    let (name, dtype, quant) = (graph[y].name.clone(), graph[y].dtype, graph[y].quant.clone());
    let mut shape = vec![0; rest.len()];
    for (i, &axis) in rest.iter().enumerate() {
        shape[axis] = graph[y].shape[i];
    }
    let u = patch.add_value(&format!("{name}:before"), dtype, &shape);
    patch.set_quant(u, quant);
    let inputs = inputs
        .into_iter()
        .map(|input| match input {
            Input::Value(v) => Some(v),
            Input::Constant(v, tensor, quant) => {
                let (name, dtype) = (patch.graph()[v].name.clone(), patch.graph()[v].dtype);
                let c = patch.add_constant(&name, tensor);
                patch.set_dtype(c, dtype);
                patch.set_quant(c, quant);
                Some(c)
            }
        })
        .collect();
    gone.into_iter().for_each(|id| patch.remove_node(id));
    let node = patch.node_mut(reader);
    node.op = op;
    node.inputs = inputs;
    node.outputs = vec![u];
    patch.add_node(&format!("{name}:transpose"), Transpose { perm: rest }.into(), vec![Some(u)], vec![y]);
    true
}

enum Input {
    Value(ValueId),
    Constant(ValueId, Tensor, Option<Quant>),
}

/// The operator that gives the same on `x` as `op` on `transpose(x, perm)`, up to a final
/// transposition by the second result; `None` where there is none.
fn permuted(op: &Op, perm: &[usize]) -> Option<(Op, Vec<usize>)> {
    let rank = perm.len();
    let per_axis = |values: &[i64]| {
        let mut out = vec![0; rank];
        for (i, &axis) in perm.iter().enumerate() {
            out[axis] = values[i];
        }
        out
    };
    let sizes = |values: &[usize]| {
        let mut out = vec![0; rank];
        for (i, &axis) in perm.iter().enumerate() {
            out[axis] = values[i];
        }
        out
    };
    let op = match op.clone() {
        op if op.is_elementwise() => op,
        Op::Concat(op) => Concat { axis: perm[op.axis] }.into(),
        Op::Pad(mut op) => {
            let (begins, ends) = op.pads.split_at(rank);
            op.pads = [per_axis(begins), per_axis(ends)].concat();
            op.into()
        }
        Op::Slice(mut op) => {
            op.starts = sizes(&op.starts);
            op.sizes = sizes(&op.sizes);
            op.steps = per_axis(&op.steps);
            op.into()
        }
        Op::Softmax(mut op) if !op.flatten || op.axis + 1 == rank => {
            op.axis = perm[op.axis];
            op.flatten = false;
            op.into()
        }
        Op::LogSoftmax(mut op) if !op.flatten || op.axis + 1 == rank => {
            op.axis = perm[op.axis];
            op.flatten = false;
            op.into()
        }
        Op::ReduceMean(mut op) => {
            let dropped = if op.keepdims { Vec::new() } else { op.axes.clone() };
            op.axes = op.axes.iter().map(|&a| perm[a]).collect();
            op.axes.sort_unstable();
            return Some((op.into(), without(perm, &dropped)));
        }
        Op::ArgMax(mut op) => {
            let dropped = if op.keepdims { Vec::new() } else { vec![op.axis] };
            op.axis = perm[op.axis];
            return Some((op.into(), without(perm, &dropped)));
        }
        _ => return None,
    };
    Some((op, perm.to_vec()))
}

/// The permutation that remains when axes of the result are dropped.
fn without(perm: &[usize], dropped: &[usize]) -> Vec<usize> {
    let kept: Vec<usize> = (0..perm.len()).filter(|i| !dropped.contains(i)).map(|i| perm[i]).collect();
    kept.iter().map(|&axis| kept.iter().filter(|&&other| other < axis).count()).collect()
}

/// A constant such that `transpose(result, perm)` is the constant, its rank filled up in front.
fn permuted_constant(graph: &Graph, value: ValueId, perm: &[usize]) -> Option<(Tensor, Option<Quant>)> {
    let v = &graph[value];
    let t = v.constant()?;
    if t.len() == 1 && v.quant.as_ref().is_none_or(|q| q.axis.is_none()) {
        return Some((t.as_ref().clone(), v.quant.clone()));
    }
    let offset = perm.len().checked_sub(t.shape().len())?;
    let mut shape = vec![1; offset];
    shape.extend(t.shape());
    let mut inverse = vec![0; perm.len()];
    for (i, &axis) in perm.iter().enumerate() {
        inverse[axis] = i;
    }
    let quant = v.quant.clone().map(|q| Quant { axis: q.axis.map(|a| perm[a + offset]), ..q });
    Some((t.reshaped(&shape).ok()?.transposed(&inverse), quant))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Add, ArgMax, Pad, PadMode, ReduceMean, Relu, Softmax};

    fn turn(perm: &[usize]) -> Transpose {
        Transpose { perm: perm.to_vec() }
    }

    #[test]
    fn opposite_ones_meet_past_element_wise_nodes() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 3, 4]);
        let t = b.node("t", turn(&[0, 2, 3, 1]), &[x]);
        let bias = b.noise("bias", &[2]);
        let a = b.node("a", Add, &[t, bias]);
        let r = b.node("r", Relu, &[a]);
        let y = b.node("y", turn(&[0, 3, 1, 2]), &[r]);
        b.output(y);
        b.check(
            sink_transpose,
            "in  %x: f32[1x2x3x4]
             %a:before: f32[1x2x3x4] = Add(%x, const %bias.1: f32[1x2x1x1])  # a
             %y: f32[1x2x3x4] = Relu(%a:before)  # r
             out %y",
        );
    }

    #[test]
    fn axes_follow() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 3, 4]);
        let z = b.input("z", &[1, 2, 3, 4]);
        let t = b.node("t", turn(&[0, 2, 3, 1]), &[x]);
        let u = b.node("u", turn(&[0, 2, 3, 1]), &[z]);
        let c = b.node("c", Concat { axis: 3 }, &[t, u]);
        let pads = Pad { mode: PadMode::Constant, pads: vec![0, 1, 0, 0, 0, 0, 2, 0], value: 0.5 };
        let p = b.node("p", pads, &[c]);
        let s = b.node("s", Softmax { axis: 3, flatten: true }, &[p]);
        b.output(s);
        b.check(
            sink_transpose,
            "in  %x: f32[1x2x3x4]
             in  %z: f32[1x2x3x4]
             %c:before: f32[1x4x3x4] = Concat { axis: 1 }(%x, %z)  # c
             %p:before: f32[1x4x4x6] = Pad { mode: Constant, pads: [0, 0, 1, 0, 0, 0, 0, 2], value: 0.5 }(%c:before)  # p
             %s:before: f32[1x4x4x6] = Softmax { axis: 1, flatten: false }(%p:before)  # s
             %s: f32[1x4x6x4] = Transpose { perm: [0, 2, 3, 1] }(%s:before)  # s:transpose
             out %s",
        );
    }

    #[test]
    fn reductions_take_what_they_can() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 3, 4]);
        let t = b.node("t", turn(&[0, 2, 3, 1]), &[x]);
        let m = b.node("m", ReduceMean { axes: vec![1], keepdims: false }, &[t]);
        let a = b.node("a", ArgMax { axis: 1, keepdims: true, select_last_index: false }, &[m]);
        b.output(a);
        b.check(
            sink_transpose,
            "in  %x: f32[1x2x3x4]
             %m:before: f32[1x2x4] = ReduceMean { axes: [2], keepdims: false }(%x)  # m
             %a:before: i64[1x2x1] = ArgMax { axis: 2, keepdims: true, select_last_index: false }(%m:before)  # a
             %a: i64[1x1x2] = Reshape { shape: [1, 1, 2] }(%a:before)  # a:transpose
             out %a",
        );
    }

    #[test]
    fn one_that_others_read_stays() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 3]);
        let t = b.node("t", turn(&[1, 0]), &[x]);
        let r = b.node("r", Relu, &[t]);
        let y = b.node("y", Add, &[r, t]);
        b.output(y);
        b.check(
            sink_transpose,
            "in  %x: f32[2x3]
             %t: f32[3x2] = Transpose { perm: [1, 0] }(%x)  # t
             %r: f32[3x2] = Relu(%t)  # r
             %y: f32[3x2] = Add(%r, %t)  # y
             out %y",
        );
    }
}
