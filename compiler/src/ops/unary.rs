//! Operators that map every float by one function: Relu, Clip, Sigmoid and their kin.
//!
//! Law: [`Unary::scalar`] is the meaning; `eval` here and the int8 tables are made from it.

use super::check::{at_most, float, operand, result, tensor};
use super::{Op, Operand, ValueType};
use crate::error::Result;
use crate::tensor::{Data, Tensor};

/// An operator that is one function of one float.
pub trait Unary {
    fn scalar(&self, x: f32) -> f32;
}

impl Op {
    /// This operator as a function of one float, if it is one.
    pub fn unary(&self) -> Option<&dyn Unary> {
        Some(match self {
            Op::Relu(op) => op,
            Op::Clip(op) => op,
            Op::LeakyRelu(op) => op,
            Op::HardSigmoid(op) => op,
            Op::HardSwish(op) => op,
            Op::Sigmoid(op) => op,
            Op::Tanh(op) => op,
            Op::Sqrt(op) => op,
            _ => return None,
        })
    }
}

/// Types of an operator from floats to floats.
pub(crate) fn infer(inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
    at_most(inputs, 1)?;
    let x = operand(inputs, 0)?;
    float(x, "the input")?;
    result(x.dtype, x.shape.to_vec())
}

/// Applies the function to every element.
pub(crate) fn eval(op: &dyn Unary, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    let x = tensor(inputs, 0)?;
    let values = x.as_f32().ok_or_else(|| super::check::refuse("the input is not float"))?;
    let data = Data::F32(values.iter().map(|&v| op.scalar(v)).collect());
    Ok(vec![Tensor::new(x.shape().to_vec(), data)?])
}
