//! Expand: Broadcast to a shape.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, operand, refuse, result, sizes};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering};

/// Broadcast to a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Expand {
    /// Of the result.
    pub shape: Vec<usize>,
}

impl Operator for Expand {
    const NAME: &'static str = "Expand";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let wish = cx.const_ints(1, "shape")?.ok_or_else(|| refuse("the target shape is missing"))?;
        Ok(Expand { shape: broadcast::shape(cx.operand(0)?.shape, &sizes(&wish, "a target size")?)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        if broadcast::shape(x.shape, &self.shape)? != self.shape {
            return Err(refuse(format!("shape {:?} does not expand to {:?}", x.shape, self.shape)));
        }
        result(x.dtype, self.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::infer_tensors(self, inputs)?;
        let x = super::check::tensor(inputs, 0)?;
        let strides = broadcast::strides(x.shape(), &self.shape);
        Ok(vec![broadcast::pick(x, &self.shape, &strides, 0)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Expand)
    }
}
