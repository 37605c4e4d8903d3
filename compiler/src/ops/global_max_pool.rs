//! GlobalMaxPool: Maximum over all spatial axes.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, numeric, operand, refuse, result, result_shape, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Maximum over all spatial axes.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    const NAME: &'static str = "GlobalMaxPool";
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(GlobalMaxPool)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
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
        let data = crate::with_data!(x.data(), v => Data::from(maxima(v, pixels)));
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        let axes: Vec<usize> = (2..operand(inputs, 0)?.shape.len()).collect();
        Ok(Lowering::Maximum { axes })
    }
}

/// The largest element of every run of `pixels`.
fn maxima<T: PartialOrd + Copy>(v: &[T], pixels: usize) -> Vec<T> {
    let larger = |a, &b| if b > a { b } else { a };
    v.chunks(pixels).map(|c| c[1..].iter().fold(c[0], larger)).collect()
}
