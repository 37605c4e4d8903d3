//! Identity: The operand itself.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, operand, result};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// The operand itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity;

impl Operator for Identity {
    const NAME: &'static str = "Identity";
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Identity)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::relabel(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reshape)
    }
}
