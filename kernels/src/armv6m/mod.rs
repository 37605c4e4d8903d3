//! Kernels for Armv6-M (Cortex-M0+), and Armv7-M without DSP instructions (Cortex-M3).

pub mod columns;
pub mod dense;
pub mod dense_sparse;
pub mod depthwise;
pub mod elementwise;
pub mod engine;
pub mod gemm;
pub mod gemm_2ch;
pub mod gemm_sparse;
pub mod im2col;
pub mod packed;
pub mod plane;
pub mod planes;
pub mod round;
pub mod runs;
pub mod windows;
pub mod winograd;
pub mod winograd_engine;
