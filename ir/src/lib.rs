//! What the Secateur compiler is built on: errors, tensors, options and what they ask for, the
//! arithmetic of results, the loop language that all kernels are written in, and the lowered program
//! with its proof, evaluator and cost.
//!
//! A crate of its own so that a change of a kernel does not build this again. Its items are the
//! compiler's own: `secateur-compiler` names again what is for users, and only that is kept stable.
//!
//! Law: knows no model, no operator and no instruction.
#![forbid(unsafe_code)]
// What clippy.toml lists: files, the environment, printing, order of hashes.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]
// Few of these are ever printed.
#![allow(missing_debug_implementations)]

pub mod arith;
pub mod error;
pub mod kernel;
pub mod options;
pub mod policy;
pub mod program;
pub mod tensor;
pub mod warning;

pub use error::Error;
