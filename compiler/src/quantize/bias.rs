//! Biases of integer products, in the units of their sums.
//!
//! In: a Conv or Dense whose input and weights carry a `Quant`. Out: its bias as 32-bit integers.
//! Law: a bias fits 31 bits, beside inputs of sixteen bits 32, or its channel's weights take a coarser scale.

use super::settle::replace_operand;
use super::weights;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Quant};
use crate::ops::Op;
use crate::tensor::{DType, Data, Tensor};

/// Biases stand in units of input scale times weight scale, zero point 0, 32 bits. A channel
/// whose weights are so small that its bias would not fit takes a coarser weight scale.
pub(super) fn bias(graph: &mut Graph, id: NodeId) -> Result<()> {
    let node = &graph[id];
    if !matches!(node.op, Op::Conv(_) | Op::Dense(_)) {
        return Ok(());
    }
    let (Some(x), Some(w), Some(b)) =
        (node.inputs[0], node.inputs.get(1).copied().flatten(), node.inputs.get(2).copied().flatten())
    else {
        return Ok(());
    };
    let (Some(xq), Some(mut wq)) = (graph[x].quant.clone(), graph[w].quant.clone()) else { return Ok(()) };
    let (Some(wt), Some(bt)) = (graph[w].constant().cloned(), graph[b].constant().cloned()) else {
        return Err(Error::model(node.site(), "weights and bias must be constants"));
    };
    if wq.axis.is_some_and(|a| a != 0) {
        return Err(Error::model(node.site(), "weights must be quantized along the output channels"));
    }
    let n = graph[b].len();
    let want = |wq: &Quant| -> Vec<f32> {
        (0..n).map(|c| xq.scale[0] * wq.scale[if wq.axis.is_some() { c } else { 0 }]).collect()
    };
    let have = graph[b].quant.clone();
    if let Some(q) = &have
        && q.zero_point.iter().all(|&z| z == 0)
        && q.dtype == DType::I32
        && (0..n).all(|c| {
            let (a, b) = (q.scale[if q.axis.is_some() { c } else { 0 }], want(&wq)[c]);
            (a - b).abs() <= 2e-6 * b
        })
    {
        // The same up to the rounding of a product of two floats: the integers are exact.
        return Ok(());
    }
    let stored = bt.to_f64_vec();
    let real: Vec<f64> = (0..n)
        .map(|c| match &have {
            None => stored[c],
            Some(q) => {
                let i = if q.axis.is_some() { c } else { 0 };
                (stored[c] - f64::from(q.zero_point[i])) * f64::from(q.scale[i])
            }
        })
        .collect();
    // Beside inputs of sixteen bits sums are known to fit, bias included (`widths`).
    let limit = if xq.dtype == DType::I16 { f64::from(i32::MAX) } else { f64::from(1 << 30) };
    let mut rescaled = None;
    for c in 0..n {
        let scale = f64::from(want(&wq)[c]);
        if (real[c] / scale).abs() > limit {
            if wq.axis.is_none() {
                wq = Quant {
                    scale: vec![wq.scale[0]; n],
                    zero_point: vec![wq.zero_point[0]; n],
                    axis: Some(0),
                    dtype: wq.dtype,
                };
            }
            wq.scale[c] = ((real[c].abs() / limit) / f64::from(xq.scale[0]) * 1.001) as f32;
            rescaled = Some(());
        }
    }
    if rescaled.is_some() {
        let real_weights = graph[w].quant.as_ref().map(|q| q.dequantize(&wt));
        if let Some(real_weights) = real_weights {
            let stored = weights::quantize(&real_weights, &wq);
            replace_operand(graph, id, 1, stored, Some(wq.clone()));
        }
    }
    let scales = want(&wq);
    let ints: Vec<i64> = (0..n)
        .map(|c| (real[c] / f64::from(scales[c])).round_ties_even().clamp(-2147483648.0, 2147483647.0) as i64)
        .collect();
    let tensor = Tensor::new(vec![n], Data::from_i64(DType::I32, &ints))?;
    let quant = Quant { dtype: DType::I32, zero_point: vec![0; n], scale: scales, axis: Some(0) };
    replace_operand(graph, id, 2, tensor, Some(quant));
    Ok(())
}
