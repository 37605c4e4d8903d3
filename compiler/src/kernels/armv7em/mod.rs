//! Kernels for Armv7E-M and Armv8-M with DSP instructions (Cortex-M4, M7, M33).

pub(crate) mod bands;
pub(crate) mod depthwise;
pub(crate) mod dw_1d;
pub(crate) mod dw_3x3;
pub(crate) mod dw_engine;
pub(crate) mod dw_interleave;
pub(crate) mod dw_plane;
pub(crate) mod dw_rowpair;
pub(crate) mod dw_tiles;
pub(crate) mod elementwise;
pub(crate) mod engine;
pub(crate) mod epilogue;
pub(crate) mod gemm;
mod gemm_nibbles;
pub(crate) mod gemm_rows;
pub(crate) mod gemm_rows_group;
pub(crate) mod gemv8;
pub(crate) mod pools;
pub(crate) mod rows;
pub(crate) mod stream;
pub(crate) mod widen;
pub(crate) mod winograd;
