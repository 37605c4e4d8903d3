//! HardSigmoid: max(0, min(1, alpha * x + beta)).

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, unary, Function, Lowering};

/// max(0, min(1, alpha * x + beta)).
#[derive(Debug, Clone, PartialEq)]
pub struct HardSigmoid {
    pub alpha: f32,
    pub beta: f32,
}

impl Operator for HardSigmoid {
    const NAME: &'static str = "HardSigmoid";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        Ok(HardSigmoid { alpha: cx.float_or("alpha", 0.2)?, beta: cx.float_or("beta", 0.5)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        unary::eval(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        let (alpha, beta) = (self.alpha, self.beta);
        Ok(Lowering::Unary { name: "hard_sigmoid", function: Function::new(move |x| (x * alpha + beta).clamp(0.0f32, 1.0f32)) })
    }
}

impl unary::Unary for HardSigmoid {
    fn scalar(&self, x: f32) -> f32 {
        (self.alpha * x + self.beta).clamp(0.0, 1.0)
    }
}
