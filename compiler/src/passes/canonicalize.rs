//! Canonical forms: what moves nothing goes away, what only renames axes is a `Reshape`, a
//! product with constant weights is a `Dense`, a pool over everything is a global pool.
//!
//! Later rooms then know one spelling of each.

use super::edit::{bypass, operand, plain_f32, renew_constant};
use crate::error::Result;
use crate::graph::{Clamp, Graph, NodeId, Patch, ValueId};
use crate::ops::{Add, Dense, GlobalAveragePool, GlobalMaxPool, Op, Reshape, Transpose};
use crate::tensor::{DType, Data, Tensor};

pub(super) fn canonicalize(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    loop {
        let mut round = 0;
        for id in patch.graph().topological() {
            round += usize::from(rewrite(patch, id)?);
        }
        // A dead reader would keep its operand from looking private.
        super::drop_dead::drop_dead(patch)?;
        if round == 0 {
            return Ok(changed);
        }
        changed += round;
    }
}

/// Brings one node one step nearer to its canonical form.
fn rewrite(patch: &mut Patch<'_>, id: NodeId) -> Result<bool> {
    let graph = patch.graph();
    let (Some(x), [y]) = (operand(graph, id, 0), graph[id].outputs.as_slice()) else {
        return Ok(matches!(graph[id].op, Op::Dropout(_)) && drop_mask(patch, id));
    };
    let y = *y;
    let same_shape = graph[x].shape == graph[y].shape;
    match graph[id].op.clone() {
        Op::Identity(_) | Op::Dropout(_) => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Flatten(_) => Ok(reshape(patch, id)),
        Op::Cast(cast) if cast.to == graph[x].dtype => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Expand(_) if same_shape => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Pad(pad) if pad.pads.iter().all(|&p| p == 0) => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Slice(slice) if same_shape && slice.steps.iter().all(|&s| s == 1) => {
            Ok(bypass(patch, id, x) || reshape(patch, id))
        }
        Op::Concat(_) if graph[id].inputs.len() == 1 => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Split(_) if same_shape => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Clip(clip) if clip.min.is_none() && clip.max.is_none() => {
            Ok(bypass(patch, id, x) || reshape(patch, id))
        }
        Op::Add(_) if adds_nothing(graph, id) && same_shape => Ok(bypass(patch, id, x) || reshape(patch, id)),
        Op::Reshape(_) => Ok((same_shape && bypass(patch, id, x)) || reshape_of_reshape(patch, id, x)),
        Op::Transpose(op) => Ok(transpose(patch, id, x, &op.perm)),
        Op::Gemm(_) => gemm(patch, id, x, y),
        Op::MatMul(_) => Ok(mat_mul(patch, id, x)),
        Op::ReduceMean(op) => {
            let rank = graph[x].shape.len();
            let spatial = rank > 2 && op.axes.iter().copied().eq(2..rank);
            Ok(spatial && global_pool(patch, id, GlobalAveragePool.into()))
        }
        Op::AveragePool(op) => {
            let all = op.kernel == graph[x].shape[2..]
                && op.pads.iter().all(|&p| p == 0)
                && op.dilations.iter().all(|&d| d == 1)
                && graph[y].shape[2..].iter().all(|&d| d == 1);
            Ok(all && global_pool(patch, id, GlobalAveragePool.into()))
        }
        Op::MaxPool(op) => {
            let all = op.kernel == graph[x].shape[2..]
                && op.pads.iter().all(|&p| p == 0)
                && op.dilations.iter().all(|&d| d == 1)
                && graph[y].shape[2..].iter().all(|&d| d == 1);
            Ok(all && global_pool(patch, id, GlobalMaxPool.into()))
        }
        _ => Ok(false),
    }
}

/// Whether an operand of a sum is zero, and the sum an output that nothing else reads: nobody then sees the sign of
/// a zero, which is all that the sum could change.
fn adds_nothing(graph: &Graph, id: NodeId) -> bool {
    let zero = operand(graph, id, 1).and_then(|c| plain_f32(graph, c));
    let zero = zero.is_some_and(|t| t.as_f32().is_some_and(|v| v.iter().all(|x| *x == 0.0)));
    zero && graph[id].outputs.iter().all(|&y| graph.consumers(y).is_empty())
}

/// The mask of a Dropout at inference is all true.
fn drop_mask(patch: &mut Patch<'_>, id: NodeId) -> bool {
    let outputs = patch.graph()[id].outputs.clone();
    let [_, mask] = outputs.as_slice() else { return false };
    let shape = patch.graph()[*mask].shape.clone();
    let len = shape.iter().product();
    let Ok(ones) = Tensor::new(shape, Data::Bool(vec![true; len])) else { return false };
    patch.set_constant(*mask, ones);
    patch.node_mut(id).outputs.truncate(1);
    true
}

/// Turns a node that keeps the order of its elements into a Reshape.
fn reshape(patch: &mut Patch<'_>, id: NodeId) -> bool {
    let graph = patch.graph();
    let (Some(x), y) = (operand(graph, id, 0), graph[id].outputs[0]) else { return false };
    if graph[x].quant != graph[y].quant || matches!(graph[id].op, Op::Reshape(_)) {
        return false;
    }
    let shape = graph[y].shape.clone();
    let node = patch.node_mut(id);
    node.op = Reshape { shape }.into();
    node.inputs.truncate(1);
    true
}

/// A Reshape reads through the Reshape before it.
fn reshape_of_reshape(patch: &mut Patch<'_>, id: NodeId, x: ValueId) -> bool {
    let graph = patch.graph();
    let Some(before) = graph.producer(x) else { return false };
    let first = match &graph[before].op {
        Op::Reshape(_) if graph[before].clamp.is_none() => operand(graph, before, 0),
        _ => None,
    };
    match first {
        Some(first) if graph[first].quant == graph[x].quant => {
            patch.node_mut(id).inputs[0] = Some(first);
            true
        }
        _ => false,
    }
}

fn transpose(patch: &mut Patch<'_>, id: NodeId, x: ValueId, perm: &[usize]) -> bool {
    if perm.iter().copied().eq(0..perm.len()) && bypass(patch, id, x) {
        return true;
    }
    // Axes of one element have no place: moving them is a Reshape.
    let graph = patch.graph();
    let shape = &graph[x].shape;
    let moving: Vec<usize> = perm.iter().copied().filter(|&p| shape[p] != 1).collect();
    if moving.is_sorted() {
        return reshape(patch, id);
    }
    // Two transpositions are one.
    let Some(before) = graph.producer(x) else { return false };
    let Op::Transpose(first) = &graph[before].op else { return false };
    let Some(source) = operand(graph, before, 0).filter(|&s| graph[s].quant == graph[x].quant) else {
        return false;
    };
    let perm = perm.iter().map(|&p| first.perm[p]).collect();
    let node = patch.node_mut(id);
    node.op = Transpose { perm }.into();
    node.inputs = vec![Some(source)];
    true
}

/// A pool over all spatial axes; a Reshape follows where the original drops them.
fn global_pool(patch: &mut Patch<'_>, id: NodeId, op: Op) -> bool {
    let graph = patch.graph();
    let (Some(x), y) = (operand(graph, id, 0), graph[id].outputs[0]) else { return false };
    let mut kept = graph[x].shape.clone();
    kept[2..].fill(1);
    if graph[y].shape == kept {
        patch.node_mut(id).op = op;
        return true;
    }
    let (name, dtype, shape) = (graph[y].name.clone(), graph[y].dtype, graph[y].shape.clone());
    let quant = graph[y].quant.clone();
    let between = patch.add_value(&format!("{name}:pooled"), dtype, &kept);
    patch.set_quant(between, quant);
    let node = patch.node_mut(id);
    node.op = op;
    node.outputs = vec![between];
    patch.add_node(&format!("{name}:reshape"), Reshape { shape }.into(), vec![Some(between)], vec![y]);
    true
}

/// `alpha A B + beta C` with constant B: Dense, scaled now; C becomes the bias where it is one
/// number per column, else an Add behind.
fn gemm(patch: &mut Patch<'_>, id: NodeId, a: ValueId, y: ValueId) -> Result<bool> {
    let graph = patch.graph();
    let Op::Gemm(op) = graph[id].op.clone() else { return Ok(false) };
    let Some(b) = operand(graph, id, 1).and_then(|b| plain_f32(graph, b)) else { return Ok(false) };
    let c = match operand(graph, id, 2) {
        None => None,
        Some(c) => match plain_f32(graph, c) {
            Some(c) => Some(c),
            None => return Ok(false),
        },
    };
    if graph[a].constant().is_some() {
        return Ok(false);
    }
    let w = if op.trans_b { b.as_ref().clone() } else { b.transposed(&[1, 0]) };
    let n = w.shape()[0];
    let w = scaled(&w, op.alpha)?;
    let bias = match &c {
        None => None,
        Some(c) => match per_column(c, n) {
            Some(t) => Some(scaled(&t, op.beta)?),
            // A term that varies by row: Dense, then Add.
            None => {
                let between = split_off(patch, id, y);
                let c = scaled(c, op.beta)?;
                let name = patch.graph()[y].name.clone();
                let c = patch.add_constant(&format!("{name}:c"), c);
                let clamp = std::mem::replace(&mut patch.node_mut(id).clamp, Clamp::NONE);
                let add =
                    patch.add_node(&format!("{name}:add"), Add.into(), vec![Some(between), Some(c)], vec![y]);
                patch.node_mut(add).clamp = clamp;
                None
            }
        },
    };
    let name = patch.graph()[id].name.clone();
    let a = if op.trans_a {
        let (dtype, shape) = (patch.graph()[a].dtype, patch.graph()[a].shape.clone());
        let quant = patch.graph()[a].quant.clone();
        let turned = patch.add_value(&format!("{name}:a"), dtype, &[shape[1], shape[0]]);
        patch.set_quant(turned, quant);
        patch.add_node(
            &format!("{name}:transpose"),
            Transpose { perm: vec![1, 0] }.into(),
            vec![Some(a)],
            vec![turned],
        );
        turned
    } else {
        a
    };
    dense(patch, id, a, w, bias);
    Ok(true)
}

/// A new value of the type of `y` that node `id` gives in its place.
fn split_off(patch: &mut Patch<'_>, id: NodeId, y: ValueId) -> ValueId {
    let v = &patch.graph()[y];
    let (name, dtype, shape) = (format!("{}:product", v.name), v.dtype, v.shape.clone());
    let between = patch.add_value(&name, dtype, &shape);
    patch.node_mut(id).outputs = vec![between];
    between
}

fn dense(patch: &mut Patch<'_>, id: NodeId, x: ValueId, w: Tensor, bias: Option<Tensor>) {
    renew_constant(patch, id, 1, w);
    match bias {
        Some(bias) => renew_constant(patch, id, 2, bias),
        None => patch.node_mut(id).inputs.truncate(2),
    }
    let node = patch.node_mut(id);
    node.op = Dense.into();
    node.inputs[0] = Some(x);
}

/// MatMul with a constant matrix on the right.
fn mat_mul(patch: &mut Patch<'_>, id: NodeId, x: ValueId) -> bool {
    let graph = patch.graph();
    let Some(w) = operand(graph, id, 1).and_then(|b| plain_f32(graph, b)) else { return false };
    if w.shape().len() != 2 || graph[x].constant().is_some() || graph[x].dtype != DType::F32 {
        return false;
    }
    dense(patch, id, x, w.transposed(&[1, 0]), None);
    true
}

/// The constant as `[n]` if it has one number per column of an `[m, n]` result.
fn per_column(c: &Tensor, n: usize) -> Option<Tensor> {
    let v = c.as_f32()?;
    let rows_alike = c.shape().iter().rev().skip(1).all(|&d| d == 1);
    match v.len() {
        1 => Some(Tensor::f32(&[n], vec![v[0]; n])),
        len if len == n && rows_alike => Some(Tensor::f32(&[n], v.to_vec())),
        _ => None,
    }
}

fn scaled(t: &Tensor, by: f32) -> Result<Tensor> {
    if by == 1.0 {
        return Ok(t.clone());
    }
    let data = t.as_f32().unwrap_or(&[]).iter().map(|v| v * by).collect();
    Tensor::new(t.shape().to_vec(), Data::F32(data))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{AveragePool, Flatten, Gemm, Identity, MatMul, ReduceMean, Relu, Squeeze};

    #[test]
    fn what_moves_nothing_goes_and_outputs_keep_their_names() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let r = b.node("r", Relu, &[x]);
        let y = b.node("y", Identity, &[r]);
        b.output(y);
        b.check(canonicalize, "in  %x: f32[1x4]\n %y: f32[1x4] = Relu(%x)  # r\n out %y");
    }

    #[test]
    fn an_input_handed_to_an_output_is_a_copy() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let y = b.node("y", Identity, &[x]);
        b.output(y);
        b.check(
            canonicalize,
            "in  %x: f32[1x4]\n %y: f32[1x4] = Reshape { shape: [1, 4] }(%x)  # y\n out %y",
        );
    }

    #[test]
    fn views_become_one_reshape() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 3, 1, 2]);
        let s = b.node("s", Squeeze { axes: vec![2] }, &[x]);
        let f = b.node("f", Flatten { axis: 1 }, &[s]);
        let t = b.node("t", Transpose { perm: vec![1, 0] }, &[f]);
        b.output(t);
        b.check(
            canonicalize,
            "in  %x: f32[1x3x1x2]\n %t: f32[6x1] = Reshape { shape: [6, 1] }(%x)  # t\n out %t",
        );
    }

    #[test]
    fn transpositions_compose() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 3, 4]);
        let s = b.node("s", Transpose { perm: vec![1, 2, 0] }, &[x]);
        let t = b.node("t", Transpose { perm: vec![0, 2, 1] }, &[s]);
        let u = b.node("u", Transpose { perm: vec![2, 0, 1] }, &[s]);
        b.output(t);
        let u = b.node("v", Relu, &[u]);
        b.output(u);
        b.check(
            canonicalize,
            "in  %x: f32[2x3x4]
             %t: f32[3x2x4] = Transpose { perm: [1, 0, 2] }(%x)  # t
             %v: f32[2x3x4] = Relu(%x)  # v
             out %t
             out %v",
        );
    }

    #[test]
    fn gemm_becomes_dense_with_scaled_weights() {
        let mut b = Build::new();
        let x = b.input("x", &[4, 2]);
        let w = b.noise("w", &[4, 3]);
        let c = b.noise("c", &[1, 3]);
        let y = b.node("y", Gemm { alpha: 0.5, beta: 2.0, trans_a: true, trans_b: false }, &[x, w, c]);
        b.output(y);
        b.check(
            canonicalize,
            "in  %x: f32[4x2]
             %y:a: f32[2x4] = Transpose { perm: [1, 0] }(%x)  # y:transpose
             %y: f32[2x3] = Dense(%y:a, const %w: f32[3x4], const %c: f32[3])  # y
             out %y",
        );
    }

    #[test]
    fn a_term_by_row_is_added_behind() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 4]);
        let w = b.noise("w", &[3, 4]);
        let c = b.noise("c", &[2, 1]);
        let y = b.node("y", Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }, &[x, w, c]);
        b.output(y);
        b.check(
            canonicalize,
            "in  %x: f32[2x4]
             %y:product: f32[2x3] = Dense(%x, const %w: f32[3x4])  # y
             %y: f32[2x3] = Add(%y:product, const %y:c: f32[2x1])  # y:add
             out %y",
        );
    }

    #[test]
    fn a_product_with_constant_weights_is_dense() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 5, 4]);
        let w = b.noise("w", &[4, 3]);
        let y = b.node("y", MatMul, &[x, w]);
        b.output(y);
        b.check(
            canonicalize,
            "in  %x: f32[2x5x4]
             %y: f32[2x5x3] = Dense(%x, const %w: f32[3x4])  # y
             out %y",
        );
    }

    #[test]
    fn pools_over_everything_are_global() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 3, 4, 4]);
        let pool = AveragePool {
            kernel: vec![4, 4],
            strides: vec![4, 4],
            pads: vec![0; 4],
            dilations: vec![1, 1],
            ceil_mode: false,
            count_include_pad: false,
        };
        let p = b.node("p", pool, &[x]);
        let m = b.node("m", ReduceMean { axes: vec![2, 3], keepdims: false }, &[x]);
        b.output(p);
        b.output(m);
        b.check(
            canonicalize,
            "in  %x: f32[1x3x4x4]
             %p: f32[1x3x1x1] = GlobalAveragePool(%x)  # p
             %m:pooled: f32[1x3x1x1] = GlobalAveragePool(%x)  # m
             %m: f32[1x3] = Reshape { shape: [1, 3] }(%m:pooled)  # m:reshape
             out %p
             out %m",
        );
    }

    #[test]
    fn a_change_of_scale_stays() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let r = b.node("r", Relu, &[x]);
        let y = b.node("y", Identity, &[r]);
        b.output(y);
        b.quant(r, 0.1, 0);
        b.quant(y, 0.2, 0);
        b.check(
            canonicalize,
            "in  %x: f32[1x4]
             %r: f32[1x4] i8(scale 1e-1, zero 0) = Relu(%x)  # r
             %y: f32[1x4] i8(scale 2e-1, zero 0) = Identity(%r)  # y
             out %y",
        );
    }
}
