//! Kernels for Armv6-M (Cortex-M0+), and Armv7-M without DSP instructions (Cortex-M3).

pub mod dense;
pub mod depthwise;
pub mod elementwise;
pub mod engine;
pub mod gemm;
pub mod gemm_2ch;
pub mod im2col;
pub mod plane;
pub mod round;
pub mod windows;
pub mod winograd;
pub mod winograd_engine;
