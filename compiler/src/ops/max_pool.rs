//! MaxPool: Maximum over windows; the index output is not supported.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Maximum over windows; the index output is not supported.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    /// Begins, then ends.
    pub pads: Vec<usize>,
    pub dilations: Vec<usize>,
    pub ceil_mode: bool,
}

impl Operator for MaxPool {
    const NAME: &'static str = "MaxPool";
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
