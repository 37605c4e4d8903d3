//! A Pad in front of a convolution or pool becomes the pads of that node, where its value is
//! what the node itself takes beyond the border.

use super::edit::operand;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Op, Pad, PadMode, Transpose};

pub(super) fn fold_pad(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
        let graph = patch.graph();
        if !matches!(graph[id].op, Op::Pad(_)) {
            continue;
        }
        while behind_transpose(patch, id) {}
        let graph = patch.graph();
        let Op::Pad(pad) = &graph[id].op else { continue };
        let (Some(x), y) = (operand(graph, id, 0), graph[id].outputs[0]) else { continue };
        let Some((reader, 0)) = graph.sole_reader(y) else { continue };
        if graph[x].quant != graph[y].quant || !graph[id].clamp.is_none() {
            continue;
        }
        let Some(spatial) = spatial(pad) else { continue };
        let Some(op) = padded(graph, reader, x, pad.value, &spatial) else { continue };
        patch.remove_node(id);
        let node = patch.node_mut(reader);
        node.op = op;
        node.inputs[0] = Some(x);
        changed += 1;
    }
    Ok(changed)
}

/// Exchanges a Pad with the Transpose that alone reads it, which then stands before it.
fn behind_transpose(patch: &mut Patch<'_>, id: NodeId) -> bool {
    let graph = patch.graph();
    let (Op::Pad(pad), Some(x), y) = (&graph[id].op, operand(graph, id, 0), graph[id].outputs[0]) else {
        return false;
    };
    let Some((reader, 0)) = graph.sole_reader(y) else { return false };
    let Op::Transpose(Transpose { perm }) = &graph[reader].op else { return false };
    let z = graph[reader].outputs[0];
    if graph[x].quant != graph[y].quant || graph[y].quant != graph[z].quant {
        return false;
    }
    let (begins, ends) = pad.pads.split_at(perm.len());
    let pads = perm.iter().map(|&p| begins[p]).chain(perm.iter().map(|&p| ends[p])).collect();
    let moved = Pad { pads, ..pad.clone() };
    let shape: Vec<usize> = perm.iter().map(|&p| graph[x].shape[p]).collect();
    let (name, dtype, quant) = (graph[y].name.clone(), graph[x].dtype, graph[x].quant.clone());
    let before = patch.add_value(&format!("{name}:unpadded"), dtype, &shape);
    patch.set_quant(before, quant);
    let transpose = patch.node_mut(reader);
    transpose.inputs = vec![Some(x)];
    transpose.outputs = vec![before];
    let pad = patch.node_mut(id);
    pad.op = moved.into();
    pad.inputs = vec![Some(before)];
    pad.outputs = vec![z];
    true
}

/// The pads of the spatial axes, begins then ends, when nothing else is padded or cut.
fn spatial(pad: &Pad) -> Option<Vec<usize>> {
    let rank = pad.pads.len() / 2;
    if pad.mode != PadMode::Constant || rank < 3 {
        return None;
    }
    let (begins, ends) = pad.pads.split_at(rank);
    if begins[..2].iter().chain(&ends[..2]).any(|&p| p != 0) {
        return None;
    }
    begins[2..].iter().chain(&ends[2..]).map(|&p| usize::try_from(p).ok()).collect()
}

/// The reader's operator with the pads taken over; `None` where that would change its meaning.
fn padded(graph: &Graph, reader: NodeId, x: ValueId, value: f64, more: &[usize]) -> Option<Op> {
    let add = |pads: &[usize]| pads.iter().zip(more).map(|(a, b)| a + b).collect::<Vec<usize>>();
    match graph[reader].op.clone() {
        // A Conv takes zero beyond its border.
        Op::Conv(mut op) if value == 0.0 => {
            op.pads = add(&op.pads);
            Some(op.into())
        }
        // An average that counts its pads takes zeros; without own pads all of them are counted.
        Op::AveragePool(mut op) if value == 0.0 && !op.ceil_mode => {
            if !op.count_include_pad && op.pads.iter().any(|&p| p != 0) {
                return None;
            }
            op.pads = add(&op.pads);
            op.count_include_pad = true;
            inside(&op.kernel, &op.dilations, &op.pads).then(|| op.into())
        }
        // A maximum ignores its pads: the same as a value that never wins, in windows that hold
        // at least one element.
        Op::MaxPool(mut op) if !op.ceil_mode => {
            let least = graph.producer(x).map_or(f32::NEG_INFINITY, |p| graph[p].clamp.lo);
            if value > f64::from(least) {
                return None;
            }
            op.pads = add(&op.pads);
            inside(&op.kernel, &op.dilations, &op.pads).then(|| op.into())
        }
        _ => None,
    }
}

/// Whether every window still holds an element: no pad as long as the kernel.
fn inside(kernel: &[usize], dilations: &[usize], pads: &[usize]) -> bool {
    let n = kernel.len();
    (0..n).all(|i| dilations[i] == 1 && pads[i] < kernel[i] && pads[n + i] < kernel[i])
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::graph::Clamp;
    use crate::ops::{Add, AveragePool, Conv, MaxPool};

    fn pad(pads: &[i64], value: f64) -> Pad {
        Pad { mode: PadMode::Constant, pads: pads.to_vec(), value }
    }

    #[test]
    fn zeros_before_a_convolution_also_through_a_transpose() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4, 4, 2]);
        let w = b.noise("w", &[3, 2, 3, 3]);
        let p = b.node("p", pad(&[0, 1, 2, 0, 0, 3, 4, 0], 0.0), &[x]);
        let t = b.node("t", Transpose { perm: vec![0, 3, 1, 2] }, &[p]);
        let conv = Conv { strides: vec![2, 2], pads: vec![1, 0, 0, 0], dilations: vec![1, 1], group: 1 };
        let y = b.node("y", conv, &[t, w]);
        b.output(y);
        b.check(
            fold_pad,
            "in  %x: f32[1x4x4x2]
             %p:unpadded: f32[1x2x4x4] = Transpose { perm: [0, 3, 1, 2] }(%x)  # t
             %y: f32[1x3x4x4] = Conv { strides: [2, 2], pads: [2, 2, 3, 4], dilations: [1, 1], group: 1 }(%p:unpadded, const %w: f32[3x2x3x3])  # y
             out %y",
        );
    }

    #[test]
    fn ones_stay() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 4]);
        let w = b.noise("w", &[3, 2, 3]);
        let p = b.node("p", pad(&[0, 0, 1, 0, 0, 1], 1.0), &[x]);
        let y =
            b.node("y", Conv { strides: vec![1], pads: vec![0, 0], dilations: vec![1], group: 1 }, &[p, w]);
        b.output(y);
        b.check(
            fold_pad,
            "in  %x: f32[1x2x4]
             %p: f32[1x2x6] = Pad { mode: Constant, pads: [0, 0, 1, 0, 0, 1], value: 1.0 }(%x)  # p
             %y: f32[1x3x4] = Conv { strides: [1], pads: [0, 0], dilations: [1], group: 1 }(%p, const %w: f32[3x2x3])  # y
             out %y",
        );
    }

    #[test]
    fn an_average_counts_the_zeros() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 4]);
        let p = b.node("p", pad(&[0, 0, 1, 0, 0, 1], 0.0), &[x]);
        let pool = AveragePool {
            kernel: vec![3],
            strides: vec![1],
            pads: vec![0, 0],
            dilations: vec![1],
            ceil_mode: false,
            count_include_pad: false,
        };
        let y = b.node("y", pool, &[p]);
        b.output(y);
        b.check(
            fold_pad,
            "in  %x: f32[1x2x4]
             %y: f32[1x2x4] = AveragePool { kernel: [3], strides: [1], pads: [1, 1], dilations: [1], ceil_mode: false, count_include_pad: true }(%x)  # y
             out %y",
        );
    }

    #[test]
    fn a_maximum_takes_only_what_never_wins() {
        let build = |lo: f32| {
            let mut b = Build::new();
            let x = b.input("x", &[1, 2, 4]);
            let s = b.node("s", Add, &[x, x]);
            let id = b.patch().graph().producer(s).expect("just added");
            b.patch().node_mut(id).clamp = Clamp { lo, hi: f32::INFINITY };
            let p = b.node("p", pad(&[0, 0, 1, 0, 0, 0], 0.0), &[s]);
            let pool = MaxPool {
                kernel: vec![2],
                strides: vec![2],
                pads: vec![0, 0],
                dilations: vec![1],
                ceil_mode: false,
            };
            let y = b.node("y", pool, &[p]);
            b.output(y);
            b
        };
        build(0.0).check(
            fold_pad,
            "in  %x: f32[1x2x4]
             %s: f32[1x2x4] = Add(%x, %x) clamp[0, inf]  # s
             %y: f32[1x2x2] = MaxPool { kernel: [2], strides: [2], pads: [1, 0], dilations: [1], ceil_mode: false }(%s)  # y
             out %y",
        );
        build(-1.0).check(
            fold_pad,
            "in  %x: f32[1x2x4]
             %s: f32[1x2x4] = Add(%x, %x) clamp[-1, inf]  # s
             %p: f32[1x2x5] = Pad { mode: Constant, pads: [0, 0, 1, 0, 0, 0], value: 0.0 }(%s)  # p
             %y: f32[1x2x2] = MaxPool { kernel: [2], strides: [2], pads: [0, 0], dilations: [1], ceil_mode: false }(%p)  # y
             out %y",
        );
    }
}
