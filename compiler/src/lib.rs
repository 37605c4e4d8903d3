//! Secateur compiles a trained ONNX model into small, fast C and Rust for a named chip.
//!
//! A guided tour, in the order in which a model flows through the crate:
//!
//! 1. [`onnx`] turns bytes into a [`graph::Graph`]: SSA over typed ids, every shape known.
//! 2. [`passes`] rewrite the graph: fold, fuse, canonicalise, drop dead channels.
//! 3. [`quantize`] annotates values with [`graph::Quant`], from QDQ nodes or from calibration.
//! 4. `select` turns nodes into problems, asks `kernels` what the core offers for each, and makes
//!    finished calls of the answers; [`schedule`] chooses among them, and chooses memory layouts,
//!    order and placement.
//! 5. [`lower`] gives the chosen calls their places: a [`program::Program`] of kernels, constants,
//!    buffers and steps.
//! 6. [`program`] has its proof (intervals), its evaluator and its cost.
//! 7. [`emit`] prints a program as C or Rust; [`report`] tells what it needs.
//!
//! Below these stand [`kernel`], the language that all loops are written in, [`asm`], which makes
//! native texts of them for each instruction set, and [`arith`], the arithmetic of results.
//!
//! The library does no IO, reads no environment and prints nothing: files, caches, compilers
//! and emulators belong to the fronts (`cli`, `build`, the macro).
#![forbid(unsafe_code)]
// What clippy.toml lists: files, the environment, printing, order of hashes.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod artifact;
pub mod compare;
pub mod counts;
pub mod emit;
#[cfg(feature = "cli")]
pub mod fit;
pub mod graph;
pub mod least_squares;
pub mod lower;
pub mod npy;
pub mod observe;
pub mod onnx;
pub mod operators;
pub mod ops;
pub(crate) mod parallel;
pub mod passes;
pub mod prune;
pub mod quantize;
pub mod report;
pub mod samples;
pub mod schedule;
pub(crate) mod select;
pub mod weigh;

#[cfg(feature = "build")]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
pub mod build;
#[cfg(feature = "data")]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, unreachable_pub, unused_imports))]
mod files;

#[cfg(feature = "cli")]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
pub mod cli;

pub use secateur_ir::with_data;
pub(crate) use secateur_kernels as kernels;

/// Which compiler this is: its version, and in a checkout a hash of its sources. Two of one fingerprint
/// emit the same for the same input.
pub const FINGERPRINT: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("SECATEUR_SOURCES"));

pub use artifact::Artifact;
pub use emit::File;
pub use error::{Error, Result, Site};
#[cfg(feature = "data")]
pub use files::data;
pub use observe::{Observer, Silent};
pub use options::Options;
pub use secateur_ir::{arith, error, kernel, options, policy, program, tensor, warning};
pub use secateur_kernels::asm;
pub use secateur_targets as targets;
pub use tensor::{DType, Tensor};
pub use warning::Warning;
