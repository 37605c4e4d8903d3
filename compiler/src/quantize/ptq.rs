//! Post-training int8: a float graph and calibration samples in, a graph with `Quant`s out.

use crate::artifact::Observer;
use crate::error::Result;
use crate::graph::Graph;
use crate::options::Options;
use crate::tensor::Samples;

/// Post-training quantization to int8: every activation and weight gets its `Quant`.
pub fn quantize(
    _graph: &mut Graph,
    _samples: &Samples,
    _options: &Options,
    _observer: &mut dyn Observer,
) -> Result<()> {
    Err(crate::ops::unwritten("quantize"))
}
