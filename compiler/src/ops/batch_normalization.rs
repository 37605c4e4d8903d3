//! BatchNormalization: Inference form; operands x, scale, bias, mean, variance.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, float, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType};

/// Inference form; operands x, scale, bias, mean, variance.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormalization {
    pub epsilon: f32,
}

impl Operator for BatchNormalization {
    const NAME: &'static str = "BatchNormalization";
    const OPERANDS: usize = 5;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        if cx.int_or("training_mode", 0)? != 0 || cx.outputs > 1 {
            return Err(refuse("is in training mode").help("export the model for inference"));
        }
        if cx.int_or("spatial", 1)? != 1 {
            return Err(refuse("normalises every position by itself (`spatial` is 0), which is not supported"));
        }
        Ok(BatchNormalization { epsilon: cx.float_or("epsilon", 1e-5)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 5)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        let channels = match x.shape {
            [] => return Err(refuse("has an input without axes")),
            // A vector counts as one sample per element, of one channel.
            [_] => 1,
            [_, c, ..] => *c,
        };
        for (index, what) in ["scale", "bias", "mean", "variance"].iter().enumerate() {
            let p = operand(inputs, index + 1)?;
            float(p, what)?;
            if p.shape != [channels] {
                return Err(refuse(format!("{what} of shape {:?} does not fit {channels} channels", p.shape)));
            }
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
