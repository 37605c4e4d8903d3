//! Softmax: exp(x) / sum(exp(x)) over `axis`; opset < 13 flattens from `axis` on.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, axis, float, floats, infer_tensors, operand, refuse, result, tensor};
use super::{Operand, Operator, ParseCx, ValueType, lanes, Lowering};

/// exp(x) / sum(exp(x)) over `axis`; opset < 13 flattens from `axis` on.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// First normalised axis.
    pub axis: usize,
    /// Normalise over all axes from `axis` on (opset < 13).
    pub flatten: bool,
}

impl Softmax {
    /// Scores, none more than `depth` below the greatest of its lane; zeros where all are minus infinity.
    pub(crate) fn raised(&self, x: &Tensor, depth: f32) -> Tensor {
        let (Some(values), true) = (x.as_f32(), self.axis < x.shape().len()) else { return x.clone() };
        let mut out = values.to_vec();
        lanes::for_each(&mut out, x.shape(), self.axis, self.flatten, |lane| {
            let most = lane.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            let least = if most == f32::NEG_INFINITY { 0.0 } else { most - depth };
            lane.iter_mut().for_each(|v| *v = if *v < least { least } else { *v });
        });
        Tensor::f32(x.shape(), out)
    }
}

impl Operator for Softmax {
    const NAME: &'static str = "Softmax";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let default = if cx.opset < 13 { 1 } else { -1 };
        let axis = axis(cx.int_or("axis", default)?, rank)?;
        // Over the last axis, both meanings are the same.
        Ok(Softmax { axis, flatten: cx.opset < 13 && axis + 1 < rank })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        if self.axis >= x.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, x.shape)));
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let mut out = floats(x)?.to_vec();
        lanes::for_each(&mut out, x.shape(), self.axis, self.flatten, |lane| {
            let max = lane.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
            lane.iter_mut().for_each(|v| *v = libm::expf(*v - max));
            let sum: f32 = lane.iter().sum();
            lane.iter_mut().for_each(|v| *v /= sum);
        });
        Ok(vec![Tensor::new(x.shape().to_vec(), Data::F32(out))?])
    }

    fn lowering(&self, inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        let end = if self.flatten { operand(inputs, 0)?.shape.len() } else { self.axis + 1 };
        let axes: Vec<usize> = (self.axis..end).collect();
        Ok(Lowering::Softmax { axes, log: false })
    }
}
