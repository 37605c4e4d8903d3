//! LeakyRelu: x if x >= 0 else alpha * x.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, unary, Function, Lowering};

/// x if x >= 0 else alpha * x.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakyRelu {
    pub alpha: f32,
}

impl Operator for LeakyRelu {
    const NAME: &'static str = "LeakyRelu";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        Ok(LeakyRelu { alpha: cx.float_or("alpha", 0.01)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        unary::eval(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        let alpha = self.alpha;
        Ok(Lowering::Unary { name: "leaky_relu", function: Function::new(move |x| x.ge(0.0f32).select(&x, x.clone() * alpha)) })
    }
}

impl unary::Unary for LeakyRelu {
    fn scalar(&self, x: f32) -> f32 {
        if x >= 0.0 { x } else { self.alpha * x }
    }
}
