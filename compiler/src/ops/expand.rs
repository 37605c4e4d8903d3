//! Expand: Broadcast to a shape.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Broadcast to a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    /// Of the result.
    pub shape: Vec<usize>,
}

impl Operator for Expand {
    const NAME: &'static str = "Expand";
    const OPERANDS: usize = 1;

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
