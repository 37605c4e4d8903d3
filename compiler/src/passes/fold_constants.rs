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
