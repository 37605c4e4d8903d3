//! Dropout: Identity at inference; the mask output is all true.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// Identity at inference; the mask output is all true.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout;

impl Operator for Dropout {
    const NAME: &'static str = "Dropout";
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
