//! Clip: x limited to [min, max].

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// x limited to [min, max].
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Operator for Clip {
    const NAME: &'static str = "Clip";
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
