//! QuantizeLinear: Real to integer: saturate(round_half_even(x / scale) + zero_point). Operands x, scale, optional zero point.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::{DType, Tensor};

/// Real to integer: saturate(round_half_even(x / scale) + zero_point). Operands x, scale, optional zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeLinear {
    /// Set when scale is per channel.
    pub axis: Option<usize>,
    /// Of the result.
    pub dtype: DType,
}

impl Operator for QuantizeLinear {
    const NAME: &'static str = "QuantizeLinear";
    const OPERANDS: usize = 3;

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
