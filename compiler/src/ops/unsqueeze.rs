//! Unsqueeze: Inserts axes of length one.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Inserts axes of length one.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsqueeze {
    /// Positions in the result, sorted.
    pub axes: Vec<usize>,
}

impl Operator for Unsqueeze {
    const NAME: &'static str = "Unsqueeze";
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
