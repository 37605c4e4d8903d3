//! Constant folding: a node whose operands are all known is evaluated now.
//!
//! Law: only plain values are computed with; a constant with a `Quant` holds stored integers,
//! which mean something else. Those are moved (Transpose, Reshape), never changed.
//! DequantizeLinear stays for `quantize` to read.

use super::edit::operand;
use crate::error::Result;
use crate::graph::{NodeId, Patch, Quant};
use crate::ops::Op;
use crate::tensor::{Data, Tensor};

/// Constants larger than this are left to run time: folding must not blow up the weights.
const MAX_ELEMENTS: usize = 1 << 20;

pub(super) fn fold_constants(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
        if move_stored(patch, id) {
            changed += 1;
            continue;
        }
        let graph = patch.graph();
        let node = &graph[id];
        let plain = |v: &crate::graph::ValueId| graph[*v].quant.is_none();
        let known = node.inputs.iter().flatten().all(|v| graph[*v].constant().is_some() && plain(v));
        let small = node.outputs.iter().all(|v| graph[*v].len() <= MAX_ELEMENTS);
        if !known || !small || !node.outputs.iter().all(plain) || matches!(node.op, Op::DequantizeLinear(_)) {
            continue;
        }
        let operands: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|v| v.and_then(|v| graph[v].constant()).map(|t| t.as_ref())).collect();
        let results = node.op.eval(&operands).map_err(|e| e.at(node.site()))?;
        let clamp = node.clamp;
        let outputs = node.outputs.clone();
        patch.remove_node(id);
        for (value, tensor) in outputs.into_iter().zip(results) {
            let tensor = match tensor.as_f32() {
                Some(v) if !clamp.is_none() => {
                    let limited = v.iter().map(|x| x.max(clamp.lo).min(clamp.hi)).collect();
                    Tensor::new(tensor.shape().to_vec(), Data::F32(limited))?
                }
                _ => tensor,
            };
            patch.set_constant(value, tensor);
        }
        changed += 1;
    }
    Ok(changed)
}

/// Moves the stored integers of a constant now, and the axis of its scales with them.
fn move_stored(patch: &mut Patch<'_>, id: NodeId) -> bool {
    let graph = patch.graph();
    let (Some(x), [y]) = (operand(graph, id, 0), graph[id].outputs.as_slice()) else { return false };
    let (Some(t), Some(quant)) = (graph[x].constant(), &graph[x].quant) else { return false };
    if !graph[id].clamp.is_none() {
        return false;
    }
    let (y, shape) = (*y, &graph[*y].shape);
    let (moved, axis) = match (&graph[id].op, quant.axis) {
        (Op::Transpose(op), axis) => {
            let to = |a| op.perm.iter().position(|&p| p == a);
            (Ok(t.transposed(&op.perm)), axis.and_then(to))
        }
        (Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_), None) => {
            (t.reshaped(shape), None)
        }
        _ => return false,
    };
    let quant = Quant { axis, ..quant.clone() };
    let same = graph[y].quant.as_ref().is_none_or(|q| *q == quant);
    let (Ok(moved), true) = (moved, same) else { return false };
    patch.remove_node(id);
    patch.set_constant(y, moved);
    patch.set_quant(y, Some(quant));
    true
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::graph::Clamp;
    use crate::ops::{Add, MatMul, Tanh, Transpose};
    use crate::tensor::DType;

    #[test]
    fn known_operands_are_computed_clamp_included() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2]);
        let c = b.constant("c", &[2], &[1.0, -4.0]);
        let d = b.node("d", Add, &[c, c]);
        let id = b.patch().graph().producer(d).expect("just added");
        b.patch().node_mut(id).clamp = Clamp { lo: -3.0, hi: 3.0 };
        let y = b.node("y", Add, &[x, d]);
        b.output(y);
        let after = b.check(
            fold_constants,
            "in  %x: f32[1x2]\n %y: f32[1x2] = Add(%x, const %d: f32[2])  # y\n out %y",
        );
        let (_, d) = after.values().find(|(_, v)| v.name == "d").expect("it is still there");
        assert_eq!(d.constant().map(|t| t.to_f32_vec()), Some(vec![2.0, -3.0]));
    }

    #[test]
    fn stored_integers_stay() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2]);
        let c = b.constant("c", &[2], &[1.0, 2.0]);
        let t = b.node("t", Tanh, &[c]);
        b.quant(t, 0.1, 0);
        let y = b.node("y", Add, &[x, t]);
        b.output(y);
        b.check(
            fold_constants,
            "in  %x: f32[1x2]
             %t: f32[2] i8(scale 1e-1, zero 0) = Tanh(const %c: f32[2])  # t
             %y: f32[1x2] = Add(%x, %t)  # y
             out %y",
        );
    }

    #[test]
    fn stored_integers_move_with_their_scales() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 3]);
        let stored = Tensor::new(vec![2, 3], Data::I8(vec![1, 2, 3, 4, 5, 6])).expect("six elements");
        let w = b.patch().add_constant("w", stored);
        let quant = Quant { dtype: DType::I8, scale: vec![0.5, 0.25], zero_point: vec![0, 0], axis: Some(0) };
        b.patch().set_quant(w, Some(quant));
        b.patch().set_dtype(w, DType::F32);
        let t = b.node("t", Transpose { perm: vec![1, 0] }, &[w]);
        let y = b.node("y", MatMul, &[x, t]);
        b.output(y);
        b.check(
            fold_constants,
            "in  %x: f32[1x3]
             %y: f32[1x2] = MatMul(%x, const %t: f32[3x2] i8(per channel, axis 1, 2 scales))  # y
             out %y",
        );
    }
}
