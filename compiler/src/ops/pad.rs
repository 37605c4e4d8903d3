//! Pad: Pads with a constant, an edge, a reflection or a wrap.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// What stands beyond the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

/// Pads with a constant, an edge, a reflection or a wrap.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    pub mode: PadMode,
    /// Begin of each axis, then end of each; negative cuts.
    pub pads: Vec<i64>,
    /// For `PadMode::Constant`.
    pub value: f64,
}

impl Operator for Pad {
    const NAME: &'static str = "Pad";
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
