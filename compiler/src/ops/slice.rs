//! Slice: Strided cut; starts and steps as normalised per axis of the input.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Strided cut; starts and steps as normalised per axis of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Per input axis.
    pub starts: Vec<usize>,
    /// Per input axis; may be negative.
    pub steps: Vec<i64>,
    /// Result shape.
    pub sizes: Vec<usize>,
}

impl Operator for Slice {
    const NAME: &'static str = "Slice";
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
