//! Div: Elementwise quotient with NumPy broadcasting.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ParseCx, ValueType, broadcast};

/// Elementwise quotient with NumPy broadcasting.
#[derive(Debug, Clone, PartialEq)]
pub struct Div;

impl Operator for Div {
    const NAME: &'static str = "Div";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 2;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Div)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        broadcast::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        broadcast::eval(inputs, |x, y| x / y, |x, y| x.checked_div(y))
    }

    fn lower(&self, cx: &mut crate::lower::Cx<'_>) -> Result<()> {
        crate::lower::binary(cx, crate::lower::Arith::Div)
    }
}
