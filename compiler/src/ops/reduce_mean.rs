//! ReduceMean: Mean over axes.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Mean over axes.
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceMean {
    /// Normalised, sorted.
    pub axes: Vec<usize>,
    pub keepdims: bool,
}

impl Operator for ReduceMean {
    const NAME: &'static str = "ReduceMean";
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
