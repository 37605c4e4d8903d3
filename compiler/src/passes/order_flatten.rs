//! A flattened feature map in front of a dense layer is flattened in the order in which it
//! lies in memory, channels last; the columns of the weights follow.
//!
//! Convolutions and pools write channels-last. Flattening NCHW would move every element at run
//! time; permuting the weights moves them now.

use super::edit::{is_activation, operand, renew_constant};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Op, Transpose};
use crate::tensor::Tensor;

pub(super) fn order_flatten(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
        let Some((x, readers)) = found(patch.graph(), id) else { continue };
        let mut turned = Vec::new();
        for &reader in &readers {
            turned.extend(weights(patch.graph(), reader, x).map(|w| (reader, w)));
        }
        if turned.len() != readers.len() {
            continue;
        }
        for (reader, tensor) in turned {
            renew_constant(patch, reader, 1, tensor);
        }
        let v = &patch.graph()[x];
        let mut perm: Vec<usize> = (0..v.shape.len()).collect();
        perm.remove(1);
        perm.push(1);
        let shape: Vec<usize> = perm.iter().map(|&p| v.shape[p]).collect();
        let (name, dtype, quant) = (v.name.clone(), v.dtype, v.quant.clone());
        let last = patch.add_value(&format!("{name}:channels_last"), dtype, &shape);
        patch.set_quant(last, quant);
        patch.add_node(&format!("{name}:transpose"), Transpose { perm }.into(), vec![Some(x)], vec![last]);
        patch.node_mut(id).inputs[0] = Some(last);
        changed += 1;
    }
    Ok(changed)
}

/// A Reshape of a channels-last feature map to rows that only dense layers read: the map, and
/// the layers.
fn found(graph: &Graph, id: NodeId) -> Option<(ValueId, Vec<NodeId>)> {
    let Op::Reshape(_) = &graph[id].op else { return None };
    let (x, y) = (operand(graph, id, 0)?, graph[id].outputs[0]);
    let shape = &graph[x].shape;
    let row: usize = shape.get(1..)?.iter().product();
    let spatial: usize = shape.get(2..)?.iter().product();
    let flat = graph[y].shape.last() == Some(&row) && graph[y].shape.len() >= 2;
    if !flat || shape[1] == 1 || spatial <= 1 || !channels_last(graph, x) || graph.outputs().contains(&y) {
        return None;
    }
    let readers = graph.consumers(y);
    let dense = |&r: &NodeId| {
        matches!(graph[r].op, Op::Dense(_)) && graph[r].inputs.iter().filter(|v| **v == Some(y)).count() == 1
    };
    (!readers.is_empty() && readers.iter().all(dense)).then_some((x, readers))
}

/// Whether the value comes from a convolution or pool, through element-wise nodes.
fn channels_last(graph: &Graph, value: ValueId) -> bool {
    let Some(id) = graph.producer(value) else { return false };
    match graph[id].op {
        Op::Conv(_) | Op::MaxPool(_) | Op::AveragePool(_) => true,
        ref op if op.is_elementwise() => {
            let mut operands = graph[id].inputs.iter().flatten().copied();
            let operand = operands.find(|&v| is_activation(graph, v) && graph[v].shape == graph[value].shape);
            operand.is_some_and(|v| channels_last(graph, v))
        }
        _ => false,
    }
}

/// The weights of a dense layer with columns in channels-last order.
fn weights(graph: &Graph, dense: NodeId, x: ValueId) -> Option<Tensor> {
    let w = operand(graph, dense, 1)?;
    let v = &graph[w];
    if v.quant.as_ref().is_some_and(|q| q.axis == Some(1)) {
        return None;
    }
    let t = v.constant()?;
    let channels = graph[x].shape[1];
    let (rows, columns) = (t.shape()[0], t.shape()[1]);
    let turned = t.reshaped(&[rows, channels, columns / channels]).ok()?.transposed(&[0, 2, 1]);
    turned.reshaped(&[rows, columns]).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Dense, MaxPool, Relu, Reshape};

    fn pool() -> MaxPool {
        MaxPool {
            kernel: vec![1, 1],
            strides: vec![1, 1],
            pads: vec![0; 4],
            dilations: vec![1, 1],
            ceil_mode: false,
        }
    }

    #[test]
    fn columns_follow_the_order_in_memory() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 3, 4]);
        let w = b.noise("w", &[5, 24]);
        let p = b.node("p", pool(), &[x]);
        let r = b.node("r", Relu, &[p]);
        let f = b.node("f", Reshape { shape: vec![1, 24] }, &[r]);
        let y = b.node("y", Dense, &[f, w]);
        b.output(y);
        b.check(
            order_flatten,
            "in  %x: f32[1x2x3x4]
             %p: f32[1x2x3x4] = MaxPool { kernel: [1, 1], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ceil_mode: false }(%x)  # p
             %r: f32[1x2x3x4] = Relu(%p)  # r
             %r:channels_last: f32[1x3x4x2] = Transpose { perm: [0, 2, 3, 1] }(%r)  # r:transpose
             %f: f32[1x24] = Reshape { shape: [1, 24] }(%r:channels_last)  # f
             %y: f32[1x5] = Dense(%f, const %w: f32[5x24])  # y
             out %y",
        );
    }

    #[test]
    fn a_row_major_value_stays() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 3, 4]);
        let w = b.noise("w", &[5, 24]);
        let f = b.node("f", Reshape { shape: vec![1, 24] }, &[x]);
        let y = b.node("y", Dense, &[f, w]);
        b.output(y);
        b.check(
            order_flatten,
            "in  %x: f32[1x2x3x4]
             %f: f32[1x24] = Reshape { shape: [1, 24] }(%x)  # f
             %y: f32[1x5] = Dense(%f, const %w: f32[5x24])  # y
             out %y",
        );
    }
}
