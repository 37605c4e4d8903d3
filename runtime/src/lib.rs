//! What code emitted by Secateur needs at run time: views over memory, aligned constants,
//! float functions.
//!
//! In: addresses and lengths that the compiler has proven. Out: element access without checks
//! in release builds, with checks in debug builds.
//! Law: `no_std`, no allocation, no dependency, and no panic path in release builds.
#![no_std]

mod aligned;
mod arena;
mod choose;
pub mod math;
mod model;
mod number;
mod processor;
#[cfg(feature = "sources")]
pub mod sources;
mod view;

pub use aligned::Aligned;
pub use arena::{Arena, largest};
pub use choose::{max, max_near, max64, max64_near, min, min_near, min64, min64_near};
pub use model::{Affine, ElementType, Model, Port};
pub use number::{dequantize, div, div64, quantize, rem, rem64};
pub use processor::{has_dsp, has_helium};
pub use view::{Element, View, ViewMut};

/// Number of the contract between emitted code and this crate; emitted code asserts it.
pub const ABI: u32 = 2;
