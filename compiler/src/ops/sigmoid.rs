//! Sigmoid: 1 / (1 + exp(-x)).

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, unary, Function, Lowering};

/// 1 / (1 + exp(-x)).
#[derive(Debug, Clone, PartialEq)]
pub struct Sigmoid;

impl Operator for Sigmoid {
    const NAME: &'static str = "Sigmoid";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Sigmoid)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        unary::eval(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Unary { name: "sigmoid", function: Function::new(move |x| x.sigmoid()) })
    }
}

impl unary::Unary for Sigmoid {
    fn scalar(&self, x: f32) -> f32 {
        1.0 / (1.0 + libm::expf(-x))
    }
}
