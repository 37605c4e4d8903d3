//! HardSwish: x * HardSigmoid(x) with alpha 1/6 and beta 1/2.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, unary, Function, Lowering};

/// x * HardSigmoid(x) with alpha 1/6 and beta 1/2.
#[derive(Debug, Clone, PartialEq)]
pub struct HardSwish;

impl Operator for HardSwish {
    const NAME: &'static str = "HardSwish";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(HardSwish)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        unary::eval(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Unary { name: "hard_swish", function: Function::new(move |x| {
            let gate = (x.clone() * (1.0f32 / 6.0) + 0.5f32).clamp(0.0f32, 1.0f32);
            x * gate
        }) })
    }
}

impl unary::Unary for HardSwish {
    fn scalar(&self, x: f32) -> f32 {
        x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0)
    }
}
