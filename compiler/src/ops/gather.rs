//! Gather: Elements of `x` along an axis by index.

use crate::error::Result;
use crate::tensor::{Data, DType, Tensor};
use super::check::{at_most, axis, operand, refuse, result, result_shape, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Elements of `x` along an axis by index.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    pub axis: usize,
}

impl Operator for Gather {
    const NAME: &'static str = "Gather";
    const OPERANDS: usize = 2;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        Ok(Gather { axis: axis(cx.int_or("axis", 0)?, rank)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 2)?;
        let (x, index) = (operand(inputs, 0)?, operand(inputs, 1)?);
        if !matches!(index.dtype, DType::I32 | DType::I64) {
            return Err(refuse(format!("the indices have type {}, i32 and i64 are defined", index.dtype)));
        }
        if self.axis >= x.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, x.shape)));
        }
        let n = x.shape[self.axis];
        if index.data.is_some_and(|t| t.to_i64_vec().into_iter().any(|i| axis(i, n).is_err())) {
            return Err(refuse(format!("an index lies outside of {n} elements")));
        }
        let mut shape = x.shape[..self.axis].to_vec();
        shape.extend(index.shape);
        shape.extend(&x.shape[self.axis + 1..]);
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let (x, index) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let n = x.shape()[self.axis];
        let rows = index.to_i64_vec().into_iter().map(|i| axis(i, n)).collect::<Result<Vec<usize>>>();
        let rows = rows.map_err(|_| refuse(format!("an index lies outside of {n} elements")))?;
        let outer: usize = x.shape()[..self.axis].iter().product();
        let run: usize = x.shape()[self.axis + 1..].iter().product();
        let data = crate::with_data!(x.data(), v => {
            let mut out = Vec::with_capacity(outer * rows.len() * run);
            for o in 0..outer {
                for &row in &rows {
                    out.extend_from_slice(&v[(o * n + row) * run..][..run]);
                }
            }
            Data::from(out)
        });
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Gather { axis: self.axis })
    }
}
