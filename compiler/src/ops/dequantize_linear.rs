//! DequantizeLinear: Integer to real: (x - zero_point) * scale. Operands x, scale, optional zero point.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Integer to real: (x - zero_point) * scale. Operands x, scale, optional zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct DequantizeLinear {
    /// Set when scale is per channel.
    pub axis: Option<usize>,
}

impl Operator for DequantizeLinear {
    const NAME: &'static str = "DequantizeLinear";
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
