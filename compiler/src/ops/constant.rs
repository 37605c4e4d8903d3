//! Constant: A constant; folded on import.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// A constant; folded on import.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub value: Tensor,
}

impl Operator for Constant {
    const NAME: &'static str = "Constant";
    const OPERANDS: usize = 0;

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
