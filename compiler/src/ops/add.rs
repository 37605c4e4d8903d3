//! Add: Elementwise sum with NumPy broadcasting.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elementwise sum with NumPy broadcasting.
#[derive(Debug, Clone, PartialEq)]
pub struct Add;

impl Operator for Add {
    const NAME: &'static str = "Add";
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
