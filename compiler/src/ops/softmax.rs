//! Softmax: exp(x) / sum(exp(x)) over `axis`; opset < 13 flattens from `axis` on.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, axis, float, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType};

/// exp(x) / sum(exp(x)) over `axis`; opset < 13 flattens from `axis` on.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// First normalised axis.
    pub axis: usize,
    /// Normalise over all axes from `axis` on (opset < 13).
    pub flatten: bool,
}

impl Operator for Softmax {
    const NAME: &'static str = "Softmax";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let default = if cx.opset < 13 { 1 } else { -1 };
        let axis = axis(cx.int_or("axis", default)?, rank)?;
        // Over the last axis, both meanings are the same.
        Ok(Softmax { axis, flatten: cx.opset < 13 && axis + 1 < rank })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        if self.axis >= x.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, x.shape)));
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
