//! BatchNormalization: Inference form; operands x, scale, bias, mean, variance.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, float, floats, infer_tensors, operand, refuse, result, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

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

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let parameter = |index| tensor(inputs, index).and_then(floats);
        let (scale, bias, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        let inner: usize = x.shape().iter().skip(2).product();
        let mut out = floats(x)?.to_vec();
        for (i, run) in out.chunks_mut(inner.max(1)).enumerate() {
            let c = i % scale.len();
            let factor = scale[c] / (variance[c] + self.epsilon).sqrt();
            run.iter_mut().for_each(|v| *v = (*v - mean[c]) * factor + bias[c]);
        }
        Ok(vec![Tensor::new(x.shape().to_vec(), Data::F32(out))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Normalize { epsilon: self.epsilon })
    }
}
