//! Mul: Elementwise product with NumPy broadcasting.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering, Arith};

/// Elementwise product with NumPy broadcasting.
#[derive(Debug, Clone, PartialEq)]
pub struct Mul;

impl Operator for Mul {
    const NAME: &'static str = "Mul";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 2;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Mul)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        broadcast::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        broadcast::eval(inputs, |x, y| x * y, |x, y| Some(x.wrapping_mul(y)))
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Binary(Arith::Mul))
    }
}
