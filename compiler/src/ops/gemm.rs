//! Gemm: `alpha * A' B' + beta * C`; operands A, B, optional C.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// `alpha * A' B' + beta * C`; operands A, B, optional C.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemm {
    pub alpha: f32,
    pub beta: f32,
    pub trans_a: bool,
    pub trans_b: bool,
}

impl Operator for Gemm {
    const NAME: &'static str = "Gemm";
    const OPERANDS: usize = 3;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Err(super::unwritten("parse"))
    }

    fn infer(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        Err(super::unwritten("infer"))
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
