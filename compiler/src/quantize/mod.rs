//! Calibration, schemes, rounding: graph -> graph with `Quant` on every integer value.
//!
//! Two ways in: absorption of QDQ nodes ([`absorb`], the first pass), and post-training
//! quantization from calibration samples ([`quantize`]). Both end in [`settle`].
//! Law: after [`settle`], a node computes either on integers throughout or on floats
//! throughout. A change of scale that an operator cannot make itself is a `Requantize` node, and
//! so is the step between integers and floats (one side of it then has no `Quant`).

mod bias;
mod calibrate;
mod closed;
mod correction;
mod equalize;
mod exact;
mod forms;
mod fuse;
mod inside;
mod kept;
mod ports;
mod ptq;
mod qdq;
mod recurrent;
mod scales;
mod settle;
mod states;
mod weights;
mod wide;
mod widths;
mod wished;

pub use equalize::{Scaled, equalize};
pub use exact::worthwhile;
pub use forms::{Form, form};
pub use kept::warn_of_kept;
pub use ports::warn_of_states;
pub use ptq::{complete, quantize};
pub(crate) use ptq::{ranges, rounded};
pub use qdq::absorb;
pub use settle::settle;
pub(crate) use weights::{as_stored, can_take_four_bits, four_bit, solved_in_four_bits};

use crate::graph::Graph;

/// Whether the model brought its own quantization: some activation carries a `Quant`.
pub fn is_quantized(graph: &Graph) -> bool {
    graph.values().any(|(_, v)| v.quant.is_some() && v.constant().is_none())
}
