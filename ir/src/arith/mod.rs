//! Fixed-point arithmetic that every integer result rests on, below everything that uses it.

pub mod quant;
pub mod requant;
