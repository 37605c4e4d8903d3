//! ConstantOfShape: A filled tensor; folded on import.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, refuse, result, sizes};
use super::{Operand, Operator, ParseCx, ValueType};

/// A filled tensor; folded on import.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantOfShape {
    pub shape: Vec<usize>,
    /// One element.
    pub value: Tensor,
}

impl Operator for ConstantOfShape {
    const NAME: &'static str = "ConstantOfShape";
    const OPERANDS: usize = 0;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let shape = cx.const_ints(0, "shape")?.ok_or_else(|| refuse("the shape is missing"))?;
        let value = cx.tensor("value")?.cloned().unwrap_or_else(|| Tensor::f32(&[1], vec![0.0]));
        Ok(ConstantOfShape { shape: sizes(&shape, "a size")?, value })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 0)?;
        if self.value.len() != 1 {
            return Err(refuse(format!("the value has {} elements instead of one", self.value.len())));
        }
        result(self.value.dtype(), self.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::infer_tensors(self, inputs)?;
        let still = vec![0; self.shape.len()];
        Ok(vec![super::broadcast::pick(&self.value, &self.shape, &still, 0)?])
    }
}
