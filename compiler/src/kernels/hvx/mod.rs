//! Kernels for Hexagon with HVX.

pub(crate) mod depthwise;
pub(crate) mod dw_engine;
pub(crate) mod elementwise;
pub(crate) mod engine;
pub(crate) mod gemm;
pub(crate) mod line;
pub(crate) mod pixels;
pub(crate) mod rows;
