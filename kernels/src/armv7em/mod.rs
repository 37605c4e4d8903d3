//! Kernels for Armv7E-M and Armv8-M with DSP instructions (Cortex-M4, M7, M33).

pub mod bands;
pub mod depthwise;
pub mod dw_1d;
pub mod dw_3x3;
pub mod dw_engine;
pub mod dw_interleave;
pub mod dw_plane;
pub mod dw_rowpair;
mod dw_rows;
pub mod dw_tiles;
pub mod elementwise;
pub mod engine;
pub mod epilogue;
pub mod gemm;
pub mod gemm_blocks;
mod gemm_nibbles;
pub mod gemm_rows;
pub mod gemm_rows_group;
pub mod gemm_single;
pub mod gemv8;
pub mod join;
pub mod pools;
pub mod rows;
pub mod single_engine;
pub mod stream;
pub mod widen;
pub mod winograd;
