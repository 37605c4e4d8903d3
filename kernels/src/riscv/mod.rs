//! Kernels for RISC-V: RV32IM, and the integer vectors of V.

pub mod depthwise;
pub mod elementwise;
pub mod engine;
pub mod gemm;
pub mod gemm_rvv;
pub mod gemm_rvv_steps;
pub mod gemm_sparse;
pub mod gemm_swar;
pub mod rows;
pub mod strips;
pub mod swar_engine;
