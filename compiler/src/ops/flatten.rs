//! Flatten: Reshape to two axes around `axis`.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Reshape to two axes around `axis`.
#[derive(Debug, Clone, PartialEq)]
pub struct Flatten {
    pub axis: usize,
}

impl Operator for Flatten {
    const NAME: &'static str = "Flatten";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len() as i64;
        let axis = cx.int_or("axis", 1)?;
        if axis < -rank || axis > rank {
            return Err(refuse(format!("axis {axis} does not exist in a tensor of {rank} axes")));
        }
        Ok(Flatten { axis: if axis < 0 { axis + rank } else { axis } as usize })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        if self.axis > x.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, x.shape)));
        }
        let (head, tail) = x.shape.split_at(self.axis);
        result(x.dtype, vec![super::check::len(head)?, super::check::len(tail)?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::relabel(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reshape)
    }
}
