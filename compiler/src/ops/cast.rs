//! Cast: Conversion to `to`.

use crate::error::Result;
use crate::tensor::{DType, Tensor};
use super::check::{at_most, dtype, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType};

/// Conversion to `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    pub to: DType,
}

impl Operator for Cast {
    const NAME: &'static str = "Cast";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let to = cx.int("to")?.ok_or_else(|| refuse("`to` is missing"))?;
        Ok(Cast { to: dtype(to)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        result(self.to, x.shape.to_vec())
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
