//! Constant folding: a node whose operands are all known is evaluated now.
//!
//! Law: only plain values; a constant with a `Quant` holds stored integers, which mean
//! something else. DequantizeLinear stays for `quantize` to read.

use crate::error::Result;
use crate::graph::Patch;
use crate::ops::Op;
use crate::tensor::{Data, Tensor};

/// Constants larger than this are left to run time: folding must not blow up the weights.
const MAX_ELEMENTS: usize = 1 << 20;

pub(super) fn fold_constants(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
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

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::graph::Clamp;
    use crate::ops::{Add, Tanh};

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
}
