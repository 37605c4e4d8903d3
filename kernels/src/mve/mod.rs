//! Kernels for Helium (Armv8.1-M with MVE, Cortex-M55).

pub mod copy;
pub mod depthwise;
pub mod elementwise;
pub mod engine;
pub mod gemm;
pub mod gemm_sparse;
mod live;
pub mod pipelined;
pub mod pools;
mod rows;
pub mod sparse_engine;
mod straight;
pub mod stream;
