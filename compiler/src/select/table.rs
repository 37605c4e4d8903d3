//! What an operator asks for, and who writes it.

use super::{
    Cx, attention, copy, coupling, elementwise, lanes, layer_norm, linear, map, normalize, pair, pool, quant,
    recurrent, reduce, softmax, trees,
};
use crate::error::Result;
use crate::ops::Lowering;

/// Appends the calls that compute the node, or what engines offer for it.
pub(super) fn select(cx: &mut Cx<'_>) -> Result<()> {
    let (graph, node) = (cx.graph, cx.node);
    match graph[node].op.lowering(&graph.operands(node))? {
        Lowering::Fold => {
            Err(cx.unsupported("can only be folded at compile time, and here it reads run-time data"))
        }
        Lowering::Reshape => copy::reshape(cx),
        Lowering::Transpose { perm } => copy::transpose(cx, perm),
        Lowering::Expand => copy::expand(cx),
        Lowering::Concat { axis } => copy::concat(cx, axis),
        Lowering::Split { axis } => copy::split(cx, axis),
        Lowering::Slice { starts, steps } => copy::slice(cx, starts, steps),
        Lowering::Pad { mode, pads, value } => copy::pad(cx, mode, pads, value),
        Lowering::Gather { axis } => copy::gather(cx, axis),
        Lowering::Unary { name, function } => elementwise::unary(cx, name, |x| function.of(x)),
        Lowering::Binary(op) => elementwise::binary(cx, op),
        Lowering::Map(op) => map::map(cx, op),
        Lowering::Chain(op) => map::chain(cx, op),
        Lowering::Reduce(op) => lanes::reduction(cx, op),
        Lowering::Scan(op) => lanes::scan(cx, op),
        Lowering::ScatterFlat(op) => lanes::scatter(cx, op),
        Lowering::TopK(op) => lanes::top_k(cx, op),
        Lowering::PairwiseCoupling => coupling::select(cx),
        Lowering::Trees(op) => trees::trees(cx, op),
        Lowering::Clip { min, max } => elementwise::clip(cx, min, max),
        Lowering::Mean { axes } => reduce::mean(cx, &axes, None),
        Lowering::Maximum { axes } => reduce::maximum(cx, &axes),
        Lowering::ArgMax { axis, last } => reduce::arg_max(cx, axis, last),
        Lowering::Softmax { axes, log } => softmax::softmax(cx, &axes, log),
        Lowering::Normalize { epsilon } => normalize::normalize(cx, epsilon),
        Lowering::Attention(op) => attention::attention(cx, op),
        Lowering::LayerNormalization(op) => layer_norm::layer_norm(cx, op),
        Lowering::MaxPool(window) => pool::max_pool(cx, &window),
        Lowering::AveragePool { window, count_include_pad } => {
            pool::average_pool(cx, &window, count_include_pad)
        }
        Lowering::Conv(op) => linear::select_conv(cx, op),
        Lowering::Dense => linear::select_dense(cx),
        Lowering::Gemm(op) => pair::select_gemm(cx, op),
        Lowering::MatMul => pair::select_matmul(cx),
        Lowering::Recurrent(op) => recurrent::select(cx, op),
        Lowering::Cast => quant::cast(cx),
        Lowering::QuantizeLinear { axis } => quant::quantize_linear(cx, axis),
        Lowering::DequantizeLinear { axis } => quant::dequantize_linear(cx, axis),
        Lowering::Requantize => quant::requantize(cx),
    }
}
