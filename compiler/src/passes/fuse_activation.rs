//! Relu and Clip become the clamp of the node whose result they limit.
//!
//! Law: no rounding disappears: a value between with a `Quant` of its own is only skipped when
//! the result carries the same, where limiting before or after rounding is the same.

use super::edit::{bypass, merge_into, operand, private_producer};
use crate::error::Result;
use crate::graph::{Clamp, Graph, NodeId, Patch, ValueId};
use crate::ops::Op;
use crate::tensor::DType;

pub(super) fn fuse_activation(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
        let graph = patch.graph();
        let Some(clamp) = limits(&graph[id].op) else { continue };
        let (Some(x), y) = (operand(graph, id, 0), graph[id].outputs[0]) else { continue };
        // Limits of integers are not kept in a clamp of floats.
        if graph[y].dtype != DType::F32 {
            continue;
        }
        let Some((source, direct)) = source(graph, x, y) else { continue };
        let joined = graph[source].clamp.then(clamp).then(graph[id].clamp);
        if direct {
            merge_into(patch, source, id);
        } else {
            let own = std::mem::replace(&mut patch.node_mut(id).clamp, Clamp::NONE);
            if !bypass(patch, id, x) {
                patch.node_mut(id).clamp = own;
                continue;
            }
        }
        patch.node_mut(source).clamp = joined;
        changed += 1;
    }
    Ok(changed)
}

/// The interval of a limiting activation; `None` for other operators and empty intervals.
fn limits(op: &Op) -> Option<Clamp> {
    let clamp = match op {
        Op::Relu(_) => Clamp { lo: 0.0, hi: f32::INFINITY },
        Op::Clip(c) => Clamp {
            lo: c.min.map_or(f32::NEG_INFINITY, |v| v as f32),
            hi: c.max.map_or(f32::INFINITY, |v| v as f32),
        },
        _ => return None,
    };
    (clamp.lo <= clamp.hi).then_some(clamp)
}

/// The node that computes the value limited, through nodes that only move elements; and
/// whether it stands directly before.
fn source(graph: &Graph, x: ValueId, y: ValueId) -> Option<(NodeId, bool)> {
    let mut at = x;
    let mut direct = true;
    loop {
        let id = private_producer(graph, at, y)?;
        if takes_clamp(&graph[id].op) {
            return Some((id, direct));
        }
        // On the way through, every value keeps its place: all must be stored alike.
        if !matches!(graph[id].op, Op::Reshape(_) | Op::Transpose(_)) || graph[at].quant != graph[y].quant {
            return None;
        }
        at = operand(graph, id, 0)?;
        direct = false;
    }
}

/// Operators whose lowering limits its results.
fn takes_clamp(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::Dense(_)
            | Op::Gemm(_)
            | Op::MatMul(_)
            | Op::Add(_)
            | Op::Sub(_)
            | Op::Mul(_)
            | Op::Div(_)
            | Op::AveragePool(_)
            | Op::MaxPool(_)
            | Op::GlobalAveragePool(_)
            | Op::GlobalMaxPool(_)
            | Op::ReduceMean(_)
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Add, Clip, Relu, Reshape, Sigmoid};

    #[test]
    fn activations_become_the_clamp_of_their_source() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let s = b.node("s", Add, &[x, x]);
        let r = b.node("r", Relu, &[s]);
        let v = b.node("v", Reshape { shape: vec![2, 2] }, &[r]);
        let y = b.node("y", Clip { min: Some(-1.0), max: Some(0.5) }, &[v]);
        b.output(y);
        b.check(
            fuse_activation,
            "in  %x: f32[1x4]
             %r: f32[1x4] = Add(%x, %x) clamp[0, 0.5]  # s
             %y: f32[2x2] = Reshape { shape: [2, 2] }(%r)  # v
             out %y",
        );
    }

    #[test]
    fn a_value_with_other_readers_stays() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let s = b.node("s", Add, &[x, x]);
        let r = b.node("r", Relu, &[s]);
        let y = b.node("y", Add, &[s, r]);
        b.output(y);
        b.check(
            fuse_activation,
            "in  %x: f32[1x4]
             %s: f32[1x4] = Add(%x, %x)  # s
             %r: f32[1x4] = Relu(%s)  # r
             %y: f32[1x4] = Add(%s, %r)  # y
             out %y",
        );
    }

    #[test]
    fn roundings_are_not_skipped() {
        let build = |scale: f32| {
            let mut b = Build::new();
            let x = b.input("x", &[1, 4]);
            let s = b.node("s", Add, &[x, x]);
            let y = b.node("y", Relu, &[s]);
            b.quant(s, 0.1, 0);
            b.quant(y, scale, 0);
            b.output(y);
            b
        };
        build(0.2).check(
            fuse_activation,
            "in  %x: f32[1x4]
             %s: f32[1x4] i8(scale 1e-1, zero 0) = Add(%x, %x)  # s
             %y: f32[1x4] i8(scale 2e-1, zero 0) = Relu(%s)  # y
             out %y",
        );
        build(0.1).check(
            fuse_activation,
            "in  %x: f32[1x4]
             %y: f32[1x4] i8(scale 1e-1, zero 0) = Add(%x, %x) clamp[0, inf]  # s
             out %y",
        );
    }

    #[test]
    fn curves_and_empty_intervals_stay() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let s = b.node("s", Sigmoid, &[x]);
        let c = b.node("c", Clip { min: Some(0.6), max: None }, &[s]);
        let a = b.node("a", Add, &[c, x]);
        let y = b.node("y", Clip { min: Some(2.0), max: Some(1.0) }, &[a]);
        b.output(y);
        b.check(
            fuse_activation,
            "in  %x: f32[1x4]
             %s: f32[1x4] = Sigmoid(%x)  # s
             %c: f32[1x4] = Clip { min: Some(0.6), max: None }(%s)  # c
             %a: f32[1x4] = Add(%c, %x)  # a
             %y: f32[1x4] = Clip { min: Some(2.0), max: Some(1.0) }(%a)  # y
             out %y",
        );
    }
}
