//! Dense: Ours: fully connected with constant weights. Operands: x [..., K], w [N, K], optional bias [N]; result [..., N].

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Ours: fully connected with constant weights. Operands: x [..., K], w [N, K], optional bias [N]; result [..., N].
#[derive(Debug, Clone, PartialEq)]
pub struct Dense;

impl Operator for Dense {
    const NAME: &'static str = "Dense";
    const OPERANDS: usize = 3;

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
