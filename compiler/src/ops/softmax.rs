//! Softmax: exp(x) / sum(exp(x)) over `axis`; opset < 13 flattens from `axis` on.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

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

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Err(super::unwritten("parse"))
    }

    fn infer(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        Err(super::unwritten("infer"))
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
