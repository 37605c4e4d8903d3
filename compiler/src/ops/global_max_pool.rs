//! GlobalMaxPool: Maximum over all spatial axes.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, numeric, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType};

/// Maximum over all spatial axes.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    const NAME: &'static str = "GlobalMaxPool";
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(GlobalMaxPool)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        if x.shape.len() < 3 || x.shape[2..].contains(&0) {
            return Err(refuse(format!("has an input of shape {:?} without spatial elements", x.shape)));
        }
        let mut shape = x.shape.to_vec();
        shape[2..].fill(1);
        result(x.dtype, shape)
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
