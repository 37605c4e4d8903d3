//! Mul: Elementwise product with NumPy broadcasting.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elementwise product with NumPy broadcasting.
#[derive(Debug, Clone, PartialEq)]
pub struct Mul;

impl Operator for Mul {
    const NAME: &'static str = "Mul";
    const OPERANDS: usize = 2;

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
