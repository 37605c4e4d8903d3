//! Calibration, schemes, rounding: graph -> graph with `Quant` on every integer value.
//!
//! Two ways in: absorption of QDQ nodes (a pass, `qdq`), and post-training quantization from
//! calibration samples (`quantize`).

pub mod requant;

use crate::artifact::Observer;
use crate::error::Result;
use crate::graph::Graph;
use crate::options::Options;
use crate::tensor::Samples;

/// Whether the model brought its own quantization: some activation carries a `Quant`.
pub fn is_quantized(graph: &Graph) -> bool {
    graph.values().any(|(_, v)| v.quant.is_some() && v.constant().is_none())
}

/// Post-training quantization to int8: every activation and weight gets its `Quant`.
pub fn quantize(
    _graph: &mut Graph,
    _samples: &Samples,
    _options: &Options,
    _observer: &mut dyn Observer,
) -> Result<()> {
    Err(crate::ops::unwritten("quantize"))
}
