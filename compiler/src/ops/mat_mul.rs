//! MatMul: Matrix product with NumPy broadcasting of the leading axes.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Matrix product with NumPy broadcasting of the leading axes.
#[derive(Debug, Clone, PartialEq)]
pub struct MatMul;

impl Operator for MatMul {
    const NAME: &'static str = "MatMul";
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
