//! GlobalMaxPool: Maximum over all spatial axes.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Maximum over all spatial axes.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    const NAME: &'static str = "GlobalMaxPool";
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
