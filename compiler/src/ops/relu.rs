//! Relu: max(x, 0).

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, numeric, operand, result};
use super::{Operand, Operator, ParseCx, ValueType, clip, unary, Function, Lowering};

/// max(x, 0).
#[derive(Debug, Clone, PartialEq)]
pub struct Relu;

impl Operator for Relu {
    const NAME: &'static str = "Relu";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Relu)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        clip::limit(inputs, Some(0.0), None)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Unary { name: "relu", function: Function::new(move |x| x.max(0)) })
    }
}

impl unary::Unary for Relu {
    fn scalar(&self, x: f32) -> f32 {
        if x < 0.0 { 0.0 } else { x }
    }
}
