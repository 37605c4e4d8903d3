//! Requantize: Ours: the same real value stored with another `Quant`; identity in float.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Ours: the same real value stored with another `Quant`; identity in float.
#[derive(Debug, Clone, PartialEq)]
pub struct Requantize;

impl Operator for Requantize {
    const NAME: &'static str = "Requantize";
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
