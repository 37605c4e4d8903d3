//! Kernels for Hexagon with HVX.

pub mod depthwise;
pub mod dw_engine;
pub mod elementwise;
pub mod engine;
pub mod gemm;
pub mod gemm_sparse;
pub mod line;
pub mod pixels;
pub mod rows;
