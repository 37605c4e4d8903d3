//! The crate that users and emitted Rust name: the runtime, and with `macros` the attribute.
#![no_std]

pub use secateur_runtime::*;
