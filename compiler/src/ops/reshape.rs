//! Reshape: The same elements, row-major, under another shape.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// The same elements, row-major, under another shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// Resolved: no 0 and no -1.
    pub shape: Vec<usize>,
}

impl Operator for Reshape {
    const NAME: &'static str = "Reshape";
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
