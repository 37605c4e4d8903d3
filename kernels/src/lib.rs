//! Kernels: what a core answers when it is asked to convolve, to multiply or to work on elements.
//!
//! In: a problem (sizes, strides, weights and how results are requantized), without operator, graph or
//! schedule. Out: kernel variants, each a finished call with its workspace and its price.
//! `portable` holds loops for any core; the other folders hold generators of native texts and the
//! engine that offers them; `asm` has the instructions of each set. Law: a native computes what its
//! portable body computes, bit by bit.
//!
//! A crate of its own so that a change elsewhere does not build this again. Its items are the
//! compiler's own, and no version keeps them.
#![forbid(unsafe_code)]
// What clippy.toml lists: files, the environment, printing, order of hashes.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
// For users of a public interface, which this is not: few of these are ever printed, `len` counts the
// elements of something that is never empty, and `next` is a generator's.
#![allow(missing_debug_implementations, clippy::len_without_is_empty, clippy::should_implement_trait)]

pub mod armv6m;
pub mod armv7em;
pub mod asm;
pub mod axes;
pub mod call;
pub mod decompose;
pub mod epilogue;
pub mod hvx;
pub mod library;
pub mod mve;
pub mod offer;
pub mod panel;
pub mod portable;
pub mod problem;
pub mod product;
pub mod recurrent;
pub mod registry;
pub mod riscv;
pub mod rounding;
pub mod softmax;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testing"))]
pub mod trial;
pub mod vector;
pub mod winograd_tiles;

#[cfg(test)]
use secateur_ir::options;
use secateur_ir::{arith, error, kernel, policy, program, tensor};
