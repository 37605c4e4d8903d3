//! Gather: Elements of `x` along an axis by index.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elements of `x` along an axis by index.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    pub axis: usize,
}

impl Operator for Gather {
    const NAME: &'static str = "Gather";
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
