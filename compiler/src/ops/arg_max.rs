//! ArgMax: Index of the largest element along an axis, as i64.

use crate::error::Result;
use crate::tensor::{DType, Tensor};
use super::check::{at_most, axis, numeric, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType};

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

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        Ok(ArgMax {
            axis: axis(cx.int_or("axis", 0)?, rank)?,
            keepdims: cx.int_or("keepdims", 1)? != 0,
            select_last_index: cx.int_or("select_last_index", 0)? != 0,
        })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        if x.shape.get(self.axis).is_none_or(|&n| n == 0) {
            return Err(refuse(format!("axis {} of an input of shape {:?} has no element", self.axis, x.shape)));
        }
        let mut shape = x.shape.to_vec();
        if self.keepdims {
            shape[self.axis] = 1;
        } else {
            shape.remove(self.axis);
        }
        result(DType::I64, shape)
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
