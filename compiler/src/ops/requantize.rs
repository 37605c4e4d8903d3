//! Requantize: Ours: the same real value stored with another `Quant`; identity in float.

use crate::error::Result;
use crate::tensor::Tensor;
use super::{Operand, Operator, ValueType, Lowering, unary};

/// Ours: the same real value stored with another `Quant`; identity in float.
///
/// Integer to integer changes the scale (and applies `Node::clamp`: a Relu between two
/// scales is one). Where one side has no `Quant` it is the border between integers and floats:
/// saturate(round_half_even(x / scale) + zero_point) one way, (q - zero_point) * scale the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Requantize;

impl Operator for Requantize {
    const NAME: &'static str = "Requantize";
    const OURS: bool = true;
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        unary::infer(inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::relabel(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Requantize)
    }
}
