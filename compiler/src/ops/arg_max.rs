//! ArgMax: Index of the largest element along an axis, as i64.

use crate::error::Result;
use crate::tensor::{Data, DType, Tensor};
use super::check::{at_most, axis, numeric, operand, refuse, result, result_shape, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Index of the largest element along an axis, as i64.
#[derive(Debug, Clone, PartialEq)]
pub struct ArgMax {
    pub axis: usize,
    pub keepdims: bool,
    pub select_last_index: bool,
}

impl Operator for ArgMax {
    const NAME: &'static str = "ArgMax";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        Ok(ArgMax {
            axis: axis(cx.int_or("axis", 0)?, rank)?,
            keepdims: cx.int_or("keepdims", 1)? != 0,
            select_last_index: cx.int_or("select_last_index", 0)? != 0,
        })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        if x.shape.get(self.axis).is_none_or(|&n| n == 0) {
            return Err(refuse(format!("axis {} of an input of shape {:?} has no element", self.axis, x.shape)));
        }
        let mut shape = x.shape.to_vec();
        if self.keepdims {
            shape[self.axis] = 1;
        } else {
            shape.remove(self.axis);
        }
        result(DType::I64, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let n = x.shape()[self.axis];
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let out = crate::with_data!(x.data(), v => self.positions(v, n, inner));
        Ok(vec![Tensor::new(shape, Data::I64(out))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::ArgMax { axis: self.axis, last: self.select_last_index })
    }
}

impl ArgMax {
    /// Where the largest of `n` elements stands, for lanes of elements `inner` apart.
    fn positions<T: PartialOrd>(&self, v: &[T], n: usize, inner: usize) -> Vec<i64> {
        let mut out = Vec::with_capacity(v.len() / n);
        for block in v.chunks((n * inner).max(1)) {
            for i in 0..inner {
                let mut best = 0;
                for j in 1..n {
                    let (new, old) = (&block[j * inner + i], &block[best * inner + i]);
                    if new > old || (self.select_last_index && new == old) {
                        best = j;
                    }
                }
                out.push(best as i64);
            }
        }
        out
    }
}
