//! Kernels for any core: loops for any shape, stride and type.

pub(crate) mod conv;
pub(crate) mod dense;
pub(crate) mod matmul;
