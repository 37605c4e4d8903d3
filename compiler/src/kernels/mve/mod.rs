//! Kernels for Helium (Armv8.1-M with MVE, Cortex-M55).

pub(crate) mod copy;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod engine;
pub(crate) mod gemm;
pub(crate) mod pipelined;
pub(crate) mod pools;
