//! Requantize: Ours: the same real value stored with another `Quant`; identity in float.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, float, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Ours: the same real value stored with another `Quant`; identity in float.
///
/// Integer to integer changes the scale (and applies `Node::clamp`: a Relu between two
/// scales is one). Where one side has no `Quant` it is the border between integers and floats:
/// saturate(round_half_even(x / scale) + zero_point) one way, (q - zero_point) * scale the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Requantize;

impl Operator for Requantize {
    const NAME: &'static str = "Requantize";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Err(refuse("is not an operator of ONNX"))
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::relabel(self, inputs)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Requantize)
    }
}
