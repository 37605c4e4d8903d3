//! Squeeze: Drops axes of length one.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, axes, operand, refuse, result, sorted_axes};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Drops axes of length one.
#[derive(Debug, Clone, PartialEq)]
pub struct Squeeze {
    /// Normalised, sorted.
    pub axes: Vec<usize>,
}

impl Operator for Squeeze {
    const NAME: &'static str = "Squeeze";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let shape = cx.operand(0)?.shape;
        let given = match cx.opset {
            ..13 => cx.ints("axes")?.map(<[i64]>::to_vec),
            _ => cx.const_ints(1, "axes")?,
        };
        let axes = match given {
            Some(list) => axes(&list, shape.len())?,
            None => (0..shape.len()).filter(|&a| shape[a] == 1).collect(),
        };
        Ok(Squeeze { axes })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        sorted_axes(&self.axes, x.shape.len())?;
        if let Some(a) = self.axes.iter().find(|&&a| x.shape[a] != 1) {
            return Err(refuse(format!("axis {a} of shape {:?} is not of length one", x.shape)));
        }
        let keep = (0..x.shape.len()).filter(|a| !self.axes.contains(a));
        result(x.dtype, keep.map(|a| x.shape[a]).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::relabel(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reshape)
    }
}
