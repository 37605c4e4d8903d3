//! Sqrt: Square root; folded, or lowered in float.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, unary, Function, Lowering};

/// Square root; folded, or lowered in float.
#[derive(Debug, Clone, PartialEq)]
pub struct Sqrt;

impl Operator for Sqrt {
    const NAME: &'static str = "Sqrt";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Sqrt)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        unary::eval(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Unary { name: "sqrt", function: Function::new(move |x| x.sqrt()) })
    }
}

impl unary::Unary for Sqrt {
    fn scalar(&self, x: f32) -> f32 {
        x.sqrt()
    }
}
