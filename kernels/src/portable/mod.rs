//! Kernels for any core: loops for any shape, stride and type.

pub mod conv;
pub mod dense;
pub mod matmul;
