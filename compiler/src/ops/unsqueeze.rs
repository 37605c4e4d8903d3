//! Unsqueeze: Inserts axes of length one.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, axes, operand, refuse, result, sorted_axes};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Inserts axes of length one.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsqueeze {
    /// Positions in the result, sorted.
    pub axes: Vec<usize>,
}

impl Operator for Unsqueeze {
    const NAME: &'static str = "Unsqueeze";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let given = match cx.opset {
            ..13 => cx.ints("axes")?.map(<[i64]>::to_vec),
            _ => cx.const_ints(1, "axes")?,
        };
        let given = given.ok_or_else(|| refuse("the axes are missing"))?;
        Ok(Unsqueeze { axes: axes(&given, rank + given.len())? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        let rank = x.shape.len() + self.axes.len();
        sorted_axes(&self.axes, rank)?;
        let mut old = x.shape.iter().copied();
        let shape = (0..rank).map(|a| if self.axes.contains(&a) { 1 } else { old.next().unwrap_or(1) });
        result(x.dtype, shape.collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::relabel(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reshape)
    }
}
