//! Kernels for Armv6-M (Cortex-M0+), and Armv7-M without DSP instructions (Cortex-M3).

pub(crate) mod dense;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod engine;
pub(crate) mod gemm;
pub(crate) mod gemm_2ch;
pub(crate) mod im2col;
pub(crate) mod plane;
pub(crate) mod round;
pub(crate) mod windows;
pub(crate) mod winograd;
pub(crate) mod winograd_engine;
