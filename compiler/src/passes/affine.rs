//! A per-channel affine map folded into the convolution or dense layer before it.
//!
//! `scale * (W x + b) + shift` is `(scale W) x + (scale b + shift)`. Products and sums are made
//! in f64 and rounded once.

use super::edit::{merge_into, operand, plain_f32, private_producer, renew_constant};
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::Op;
use crate::tensor::Tensor;

/// One multiplier and one addend per channel.
pub(super) struct Affine {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

/// The axis of a Conv's or Dense's result along which its weights have rows.
pub(super) fn channel_axis(graph: &Graph, id: NodeId) -> Option<usize> {
    let rank = graph[graph[id].outputs[0]].shape.len();
    match graph[id].op {
        Op::Conv(_) => Some(1),
        Op::Dense(_) => rank.checked_sub(1),
        _ => None,
    }
}

/// The Conv or Dense that computes `x` for node `id` alone, with plain weights and no clamp,
/// so that an affine map along `axis` can be folded into it.
pub(super) fn foldable(graph: &Graph, id: NodeId, x: ValueId) -> Option<(NodeId, usize)> {
    let producer = private_producer(graph, x, graph[id].outputs[0])?;
    let axis = channel_axis(graph, producer)?;
    let node = &graph[producer];
    plain_f32(graph, operand(graph, producer, 1)?)?;
    if let Some(bias) = operand(graph, producer, 2) {
        plain_f32(graph, bias)?;
    }
    (node.clamp.is_none() && graph[x].quant.is_none()).then_some((producer, axis))
}

/// Scales weights and bias of `producer`, adds the shift, and lets it take the place of `id`.
pub(super) fn fold_into(patch: &mut Patch<'_>, producer: NodeId, id: NodeId, map: &Affine) {
    let graph = patch.graph();
    let constant = |i: usize| operand(graph, producer, i).and_then(|v| plain_f32(graph, v));
    let Some(w) = constant(1) else { return };
    let bias = constant(2);
    let values = w.as_f32().unwrap_or(&[]);
    let per_channel = (values.len() / map.scale.len().max(1)).max(1);
    let scaled: Vec<f32> =
        values.iter().enumerate().map(|(i, &v)| (f64::from(v) * map.scale[i / per_channel]) as f32).collect();
    let old = |c: usize| bias.as_ref().and_then(|b| b.as_f32()).map_or(0.0, |b| f64::from(b[c]));
    let shifted: Vec<f32> =
        (0..map.scale.len()).map(|c| (old(c) * map.scale[c] + map.shift[c]) as f32).collect();
    if map.scale.iter().any(|&s| s != 1.0) {
        let w = Tensor::f32(w.shape(), scaled);
        renew_constant(patch, producer, 1, w);
    }
    renew_constant(patch, producer, 2, Tensor::f32(&[shifted.len()], shifted));
    let clamp = patch.graph()[id].clamp;
    merge_into(patch, producer, id);
    patch.node_mut(producer).clamp = clamp;
}

/// The constant as one number per index of `axis` of `shape`; `None` when it varies along
/// another axis or would widen the result.
pub(super) fn per_channel(t: &Tensor, shape: &[usize], axis: usize) -> Option<Vec<f64>> {
    let v = t.as_f32()?;
    let n = shape[axis];
    let offset = shape.len().checked_sub(t.shape().len())?;
    let only_channel = t.shape().iter().enumerate().all(|(i, &d)| d == 1 || (i + offset == axis && d == n));
    if !only_channel {
        return None;
    }
    Some((0..n).map(|c| f64::from(if v.len() == 1 { v[0] } else { v[c] })).collect())
}
