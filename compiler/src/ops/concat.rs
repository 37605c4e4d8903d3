//! Concat: Joins operands along an axis.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{axis, operand, refuse, result, same_dtype};
use super::{Operand, Operator, ParseCx, ValueType};

/// Joins operands along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    pub axis: usize,
}

impl Operator for Concat {
    const NAME: &'static str = "Concat";

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let given = cx.int("axis")?.ok_or_else(|| refuse("`axis` is missing"))?;
        Ok(Concat { axis: axis(given, rank)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        let first = operand(inputs, 0)?;
        if self.axis >= first.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, first.shape)));
        }
        let mut shape = first.shape.to_vec();
        for index in 1..inputs.len() {
            let x = operand(inputs, index)?;
            same_dtype(first, x)?;
            let fits = x.shape.len() == shape.len()
                && (0..shape.len()).all(|a| a == self.axis || x.shape[a] == shape[a]);
            if !fits {
                return Err(refuse(format!(
                    "shapes {:?} and {:?} do not join along axis {}",
                    first.shape, x.shape, self.axis
                )));
            }
            shape[self.axis] = shape[self.axis]
                .checked_add(x.shape[self.axis])
                .ok_or_else(|| refuse("the result is too large"))?;
        }
        result(first.dtype, shape)
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
