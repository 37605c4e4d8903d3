//! ConstantOfShape: A filled tensor; folded on import.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// A filled tensor; folded on import.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantOfShape {
    pub shape: Vec<usize>,
    /// One element.
    pub value: Tensor,
}

impl Operator for ConstantOfShape {
    const NAME: &'static str = "ConstantOfShape";
    const OPERANDS: usize = 0;

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
