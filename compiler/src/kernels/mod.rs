//! Kernels: what a core answers when it is asked to convolve, to multiply or to work on elements.
//!
//! In: a problem (sizes, strides, weights and how results are requantized), without operator, graph or
//! schedule. Out: kernel variants, each a finished call with its workspace and its price.
//! `portable` holds loops for any core; the other folders hold generators of native texts and the
//! engine that offers them. Law: a native computes what its portable body computes, bit by bit.

pub(crate) mod armv6m;
pub(crate) mod armv7em;
pub(crate) mod axes;
pub(crate) mod call;
pub(crate) mod decompose;
pub(crate) mod epilogue;
pub(crate) mod hvx;
pub(crate) mod library;
pub(crate) mod mve;
pub(crate) mod offer;
pub(crate) mod portable;
pub(crate) mod problem;
pub(crate) mod product;
pub(crate) mod registry;
pub(crate) mod riscv;
pub(crate) mod rounding;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod trial;
pub(crate) mod vector;
pub(crate) mod winograd_tiles;
