//! The crate that users and emitted Rust name.
//!
//! In: nothing of its own. Out: the runtime that emitted code links with and, with the feature
//! `macros` (a default), the attribute `model` that compiles a model while the crate is built.
//! Law: what stands here is what emitted code may use; `ABI` counts its incompatible changes.
#![no_std]

pub use secateur_runtime::*;

#[cfg(feature = "macros")]
pub use secateur_macros::model;
