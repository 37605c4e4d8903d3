//! HardSwish: x * HardSigmoid(x) with alpha 1/6 and beta 1/2.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// x * HardSigmoid(x) with alpha 1/6 and beta 1/2.
#[derive(Debug, Clone, PartialEq)]
pub struct HardSwish;

impl Operator for HardSwish {
    const NAME: &'static str = "HardSwish";
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
