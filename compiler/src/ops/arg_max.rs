//! ArgMax: Index of the largest element along an axis, as i64.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Index of the largest element along an axis, as i64.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgMax {
    pub axis: usize,
    pub keepdims: bool,
    pub select_last_index: bool,
}

impl Operator for ArgMax {
    const NAME: &'static str = "ArgMax";
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
