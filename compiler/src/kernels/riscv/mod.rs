//! Kernels for RISC-V: RV32IM, and the integer vectors of V.

pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod engine;
pub(crate) mod gemm;
pub(crate) mod gemm_rvv;
pub(crate) mod gemm_swar;
pub(crate) mod rows;
pub(crate) mod strips;
pub(crate) mod swar_engine;
