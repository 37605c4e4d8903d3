//! Operators that are made of others: on import, nodes of supported operators stand in their place.
//!
//! In: a node whose operands' types and shapes are known. Out: nodes and constants ([`build::Expanded`]), which
//! may be expanded again, or nothing where the node is one that runs as it is. Law: what is written here has the
//! meaning that ONNX gives the operator; its loops and its integers are those of the operators it is made of.

mod arithmetic;
mod attention;
pub(super) mod build;
mod einsum;
mod loss;
mod microsoft;
mod ml;
mod normalize;
mod places;
mod pool;
mod quantized;
mod recurrent;
mod resample;
mod scales;
mod signal;
mod volume;

use super::proto::RawNode;
use super::support::full_name;
use crate::error::Result;
use crate::ops::ParseCx;
use build::{Builder, Expanded};
use std::collections::BTreeSet;

type Expand = fn(Builder<'_>) -> Result<Expanded>;

/// By operator, what writes it.
const TABLE: &[(&str, Expand)] = &[
    ("AffineGrid", signal::affine_grid),
    ("ArgMin", arithmetic::arg_min),
    ("Attention", attention::attention),
    ("BlackmanWindow", signal::blackman),
    ("CastLike", arithmetic::cast_like),
    ("CenterCropPad", places::center_crop_pad),
    ("Col2Im", places::column_to_image),
    ("ConvInteger", quantized::conv_integer),
    ("ConvTranspose", resample::conv_transpose),
    ("DFT", signal::fourier),
    ("DepthToSpace", places::depth_to_space),
    ("DynamicQuantizeLinear", quantized::dynamic),
    ("Einsum", einsum::einsum),
    ("EyeLike", places::eye),
    ("GRU", recurrent::gru),
    ("GatherElements", places::gather_elements),
    ("GatherND", places::gather_nd),
    ("GridSample", signal::grid_sample),
    ("GroupNormalization", normalize::group),
    ("HammingWindow", signal::hamming),
    ("HannWindow", signal::hann),
    ("Hardmax", arithmetic::hardmax),
    ("InstanceNormalization", normalize::instance),
    ("LRN", normalize::local_response),
    ("LSTM", recurrent::lstm),
    ("LayerNormalization", normalize::layer),
    ("LpNormalization", normalize::norm),
    ("LpPool", normalize::pool),
    ("MatMulInteger", quantized::mat_mul_integer),
    ("MaxUnpool", places::max_unpool),
    ("MeanVarianceNormalization", normalize::mean_variance),
    ("MelWeightMatrix", signal::mel_weights),
    ("NegativeLogLikelihoodLoss", loss::negative_log_likelihood),
    ("OneHot", arithmetic::one_hot),
    ("QLinearConv", quantized::conv),
    ("QLinearMatMul", quantized::mat_mul),
    ("RMSNormalization", normalize::root_mean_square),
    ("RNN", recurrent::rnn),
    ("ReduceL1", arithmetic::reduce_l1),
    ("ReduceL2", arithmetic::reduce_l2),
    ("ReduceLogSum", arithmetic::reduce_log_sum),
    ("ReduceLogSumExp", arithmetic::reduce_log_sum_exp),
    ("ReduceSumSquare", arithmetic::reduce_sum_square),
    ("Resize", resample::resize),
    ("ReverseSequence", places::reverse_sequence),
    ("RotaryEmbedding", attention::rotary_embedding),
    ("STFT", signal::short_time_fourier),
    ("Scatter", places::scatter_elements),
    ("ScatterElements", places::scatter_elements),
    ("ScatterND", places::scatter_nd),
    ("SoftmaxCrossEntropyLoss", loss::softmax_cross_entropy),
    ("SpaceToDepth", places::space_to_depth),
    ("SwiGLU", arithmetic::swi_glu),
    ("TensorScatter", places::tensor_scatter),
    ("Tile", places::tile),
    ("Trilu", places::triangle),
    ("Upsample", resample::resize),
    ("com.microsoft.BiasGelu", microsoft::bias_gelu),
    ("com.microsoft.DequantizeLinear", scales::plain),
    ("com.microsoft.FastGelu", microsoft::fast_gelu),
    ("com.microsoft.Gelu", microsoft::gelu),
    ("com.microsoft.QGemm", quantized::gemm),
    ("com.microsoft.QLinearAdd", quantized::add),
    ("com.microsoft.QLinearAveragePool", quantized::average_pool),
    ("com.microsoft.QLinearConcat", quantized::concat),
    ("com.microsoft.QLinearGlobalAveragePool", quantized::global_average_pool),
    ("com.microsoft.QLinearLeakyRelu", quantized::leaky_relu),
    ("com.microsoft.QLinearMul", quantized::mul),
    ("com.microsoft.QLinearSigmoid", quantized::sigmoid),
    ("com.microsoft.QLinearSoftmax", quantized::softmax),
    ("com.microsoft.QuantizeLinear", scales::plain),
    ("com.microsoft.QuickGelu", microsoft::quick_gelu),
    ("com.microsoft.SkipLayerNormalization", microsoft::skip_layer),
    ("com.microsoft.SkipSimplifiedLayerNormalization", microsoft::skip_simplified_layer),
];

/// Operators that run as they are, but for some of their forms.
const FORMS: &[(&str, fn(&ParseCx<'_>) -> bool, Expand)] = &[
    ("AveragePool", volume::is_volume, volume::pool),
    ("Clip", arithmetic::has_live_limits, arithmetic::clip),
    ("Conv", volume::is_volume, volume::conv),
    ("DequantizeLinear", scales::has_blocks, scales::dequantize),
    ("Max", arithmetic::leads_with_constant, arithmetic::swap),
    ("MaxPool", pool::gives_places, pool::max_with_places),
    ("MaxPool", volume::is_volume, volume::pool),
    ("Min", arithmetic::leads_with_constant, arithmetic::swap),
    ("QuantizeLinear", scales::has_blocks, scales::quantize),
    ("Sum", arithmetic::leads_with_constant, arithmetic::swap),
];

/// Names of the operators that are always replaced.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().chain(ml::TABLE).map(|row| row.0)
}

/// What stands for a node; `None` where it stands for itself. `path` is its name, `taken` are the names of
/// the graph, which those of the new nodes join.
pub(super) fn expand(
    cx: ParseCx<'_>,
    node: &RawNode,
    path: String,
    taken: &mut BTreeSet<String>,
) -> Option<Result<Expanded>> {
    let name = full_name(node);
    let whole = TABLE.iter().chain(ml::TABLE).find(|row| row.0 == name).map(|row| row.1);
    let form = FORMS.iter().find(|row| row.0 == name && (row.1)(&cx)).map(|row| row.2);
    let write = whole.or(form)?;
    Some(write(Builder::new(cx, node, path, taken)))
}
