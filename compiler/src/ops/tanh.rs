//! Tanh: Hyperbolic tangent.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, unary, Function, Lowering};

/// Hyperbolic tangent.
#[derive(Debug, Clone, PartialEq)]
pub struct Tanh;

impl Operator for Tanh {
    const NAME: &'static str = "Tanh";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Tanh)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        unary::eval(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Unary { name: "tanh", function: Function::new(move |x| x.tanh()) })
    }
}

impl unary::Unary for Tanh {
    fn scalar(&self, x: f32) -> f32 {
        libm::tanhf(x)
    }
}
