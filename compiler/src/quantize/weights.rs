//! Weights as integers of 8 or 4 bits: symmetric, one scale per output channel; and whose take 4.

use super::ptq::rounded_together;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Quant};
use crate::least_squares::Layer;
use crate::ops::Op;
use crate::options::{Options, Quantize};
use crate::tensor::{DType, Data, Tensor, row_major_strides};
use std::collections::BTreeSet;

/// Greatest symmetric weights of 8 bits, so that products of two int8 never need the 17th bit, and of 4.
pub(super) const EIGHT_BITS: i8 = 127;
pub(super) const FOUR_BITS: i8 = 7;

/// Stores real values with `quant`: round half to even, then saturate, to -127..127 for symmetric
/// weights of 8 bits.
pub(super) fn quantize(real: &Tensor, quant: &Quant) -> Tensor {
    let (mut lo, hi) = quant.dtype.range().unwrap_or((0, 0));
    if quant.dtype == DType::I8 && quant.axis.is_some() {
        lo = -i128::from(EIGHT_BITS);
    }
    within(real, quant, (lo, hi))
}

/// Stores weights symmetrically, `most` being the greatest.
pub(super) fn symmetric(real: &Tensor, quant: &Quant, most: i8) -> Tensor {
    within(real, quant, (-i128::from(most), most.into()))
}

fn within(real: &Tensor, quant: &Quant, (lo, hi): (i128, i128)) -> Tensor {
    let strides = row_major_strides(real.shape());
    let stored: Vec<i64> = real
        .to_f32_vec()
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let c = quant.axis.map_or(0, |a| (i / strides[a]) % real.shape()[a]);
            let q =
                (f64::from(x) / f64::from(quant.scale[c])).round_ties_even() + f64::from(quant.zero_point[c]);
            q.clamp(lo as f64, hi as f64) as i64
        })
        .collect();
    let data = Data::from_i64(quant.dtype, &stored);
    Tensor::new(real.shape().to_vec(), data).unwrap_or_else(|_| real.clone())
}

/// The real values that weights have once they are stored.
pub(crate) fn as_stored(real: &Tensor, four_bits: bool) -> Tensor {
    let most = if four_bits { FOUR_BITS } else { EIGHT_BITS };
    let quant = per_channel(real, most);
    quant.dequantize(&symmetric(real, &quant, most))
}

/// Whether a node's weights can take four bits: those of depthwise convolutions, which are few, stay in bytes.
pub(crate) fn can_take_four_bits(graph: &Graph, id: NodeId) -> bool {
    match (&graph[id].op, graph[id].inputs.get(1).copied().flatten()) {
        (Op::Conv(conv), Some(w)) => conv.group == 1 || graph[w].shape.get(1) != Some(&1),
        (Op::Dense(_), _) => true,
        (Op::Recurrent(layer), _) => layer.bounded(),
        _ => false,
    }
}

/// Nodes whose weights take four bits: by `w4a8` all that can but the first and the last with weights, where a model
/// is most sensitive, and those that `int4` names.
pub(crate) fn four_bit(graph: &Graph, options: &Options) -> BTreeSet<NodeId> {
    let weighted = |id: &NodeId| matches!(graph[*id].op, Op::Conv(_)) || can_take_four_bits(graph, *id);
    let nodes: Vec<NodeId> = graph.topological().into_iter().filter(weighted).collect();
    let inner = match options.quantize {
        Quantize::W4a8 => nodes.get(1..nodes.len().saturating_sub(1)).unwrap_or_default(),
        Quantize::Int8 | Quantize::None => &[],
    };
    let named = |id: &NodeId| options.int4.iter().any(|glob| glob.matches(&graph[*id].name));
    let all = nodes.iter().filter(|id| inner.contains(id) || named(id));
    all.copied().filter(|id| can_take_four_bits(graph, *id)).collect()
}

/// Refuses patterns of `int4` that are for no layer whose weights can take four bits.
///
/// Errors: the first such pattern, with the layers that there are.
pub(super) fn heard(graph: &Graph, options: &Options) -> Result<()> {
    let layers: Vec<NodeId> =
        graph.topological().into_iter().filter(|id| can_take_four_bits(graph, *id)).collect();
    for glob in &options.int4 {
        if !layers.iter().any(|id| glob.matches(&graph[*id].name)) {
            let names: Vec<String> = layers.iter().map(|id| format!("`{}`", graph[*id].name)).collect();
            let why = format!("no layer whose weights can take 4 bits is called `{glob}`");
            return Err(
                Error::entry("int4", &glob.0, why).help(format!("the layers are {}", names.join(", ")))
            );
        }
    }
    Ok(())
}

/// Weights and bias of a convolution or dense layer, as operands of its node, as they are once its weights take four
/// bits: chosen for what it reads (`read`) and should give before its activation (`want`).
///
/// Errors: tensors that hold no finite numbers.
pub(crate) fn solved_in_four_bits(
    graph: &Graph,
    layer: &Layer,
    read: &[Tensor],
    want: &[Tensor],
) -> Result<[(usize, Tensor); 2]> {
    let most = FOUR_BITS;
    let steps = |real: &Tensor, _: &[f32]| per_channel(real, most);
    let (quant, stored, bias) = rounded_together(graph, (layer, read, want), most, &steps)?;
    Ok(layer.operands(graph, &quant.dequantize(&stored).to_f32_vec(), &bias))
}

/// Per-channel symmetric quantization along axis 0. For each channel the scale of least square
/// error among 21 from the full range down to 60 % of it: clipping one outlier often buys
/// resolution for all others. `most` is the greatest integer weight. A channel of zeros alone takes the greatest
/// scale of the others, so that its multiplier is none that they would not have.
pub(super) fn per_channel(real: &Tensor, most: i8) -> Quant {
    let most = f32::from(most);
    let channels = real.shape().first().copied().unwrap_or(1).max(1);
    let data = real.to_f32_vec();
    let row = data.len() / channels;
    let scale: Vec<Option<f32>> = (0..channels)
        .map(|c| {
            let row = &data[c * row..(c + 1) * row];
            let max = row.iter().fold(0f32, |m, x| m.max(x.abs()));
            if !(max.is_finite() && max / most >= f32::MIN_POSITIVE) {
                return None;
            }
            let mut best = (f64::INFINITY, max / most);
            for step in 0..=20u8 {
                let scale = max * (1.0 - 0.02 * f32::from(step)) / most;
                let error: f64 = row
                    .iter()
                    .map(|&x| {
                        let most = f64::from(most);
                        let q = (f64::from(x) / f64::from(scale)).round_ties_even().clamp(-most, most);
                        let e = q * f64::from(scale) - f64::from(x);
                        e * e
                    })
                    .sum();
                if error < best.0 {
                    best = (error, scale);
                }
            }
            Some(best.1)
        })
        .collect();
    let greatest = scale.iter().flatten().copied().reduce(f32::max).unwrap_or(1.0 / 128.0);
    let scale = scale.into_iter().map(|s| s.unwrap_or(greatest)).collect();
    Quant { dtype: DType::I8, zero_point: vec![0; channels], scale, axis: Some(0) }
}

/// Coarser scales for channels whose 32-bit sum could overflow: sum of |weights| times the
/// widest input, plus the bias, stays below 2^31.
pub(super) fn within_accumulator(real: &Tensor, mut quant: Quant, bias: &[f32], input: &Quant) -> Quant {
    let zero = input.zero_point[0];
    let (least, most) = input.stored();
    let widest = f64::from((least - zero).abs().max((most - zero).abs()));
    let data = real.to_f32_vec();
    let row = data.len() / quant.scale.len().max(1);
    for (c, scale) in quant.scale.iter_mut().enumerate() {
        let sum: f64 = data[c * row..(c + 1) * row].iter().map(|x| f64::from(x.abs())).sum();
        let offset = bias.get(c).map_or(0.0, |b| f64::from(b.abs())) / f64::from(input.scale[0]);
        // Rounding adds at most half a step per weight.
        while (sum / f64::from(*scale) + 0.5 * row as f64) * widest + offset / f64::from(*scale)
            > 2_000_000_000.0
            && *scale < 1e30
        {
            *scale *= 2.0;
        }
    }
    quant
}
