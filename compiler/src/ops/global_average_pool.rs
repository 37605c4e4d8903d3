//! GlobalAveragePool: Mean over all spatial axes.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, float, floats, operand, refuse, result, result_shape, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Mean over all spatial axes.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    const NAME: &'static str = "GlobalAveragePool";
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(GlobalAveragePool)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        if x.shape.len() < 3 || x.shape[2..].contains(&0) {
            return Err(refuse(format!("has an input of shape {:?} without spatial elements", x.shape)));
        }
        let mut shape = x.shape.to_vec();
        shape[2..].fill(1);
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let pixels: usize = x.shape()[2..].iter().product();
        let mean = |c: &[f32]| super::check::mean(c.iter().map(|&v| f64::from(v)).sum::<f64>(), pixels);
        let out = floats(x)?.chunks(pixels).map(mean).collect();
        Ok(vec![Tensor::new(shape, Data::F32(out))?])
    }

    fn lowering(&self, inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        let axes: Vec<usize> = (2..operand(inputs, 0)?.shape.len()).collect();
        Ok(Lowering::Mean { axes })
    }
}
