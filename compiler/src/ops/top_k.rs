//! TopK: the greatest or least elements along an axis, and where they stand.

use super::check::{at_most, axis, numeric, operand, refuse, size, tensor, value_type};
use super::{Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::{Data, DType, Tensor};

/// The `k` greatest or least elements along an axis, in order; of equal ones the first come first.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    pub axis: usize,
    pub k: usize,
    pub largest: bool,
}

impl Operator for TopK {
    const NAME: &'static str = "TopK";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let k = match cx.int("k")? {
            Some(k) => k,
            None => match cx.const_ints(1, "k")?.as_deref() {
                Some([k]) => *k,
                _ => return Err(refuse("k is no single number")),
            },
        };
        Ok(TopK {
            axis: axis(cx.int_or("axis", -1)?, rank)?,
            k: size(k, "k")?,
            largest: cx.int_or("largest", 1)? != 0,
        })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        if x.shape.get(self.axis).is_none_or(|&n| n < self.k) {
            return Err(refuse(format!("axis {} of shape {:?} has fewer than {} elements", self.axis, x.shape, self.k)));
        }
        let mut shape = x.shape.to_vec();
        shape[self.axis] = self.k;
        Ok(vec![value_type(x.dtype, shape.clone())?, value_type(DType::I64, shape)?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let types = super::check::infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let n = x.shape()[self.axis];
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let count: usize = types[0].shape.iter().product();
        let mut places = vec![0i64; count];
        let data = crate::with_data!(x.data(), v => {
            let mut out: Vec<_> = vec![Default::default(); count];
            for lane in 0..x.len().checked_div(n).unwrap_or(0) {
                let (block, at) = (lane / inner, lane % inner);
                let element = |i: usize| &v[(block * n + i) * inner + at];
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| {
                    let (a, b) = if self.largest { (b, a) } else { (a, b) };
                    element(a).partial_cmp(element(b)).unwrap_or(std::cmp::Ordering::Equal)
                });
                for (j, &i) in order.iter().take(self.k).enumerate() {
                    let to = (block * self.k + j) * inner + at;
                    out[to] = *element(i);
                    places[to] = i as i64;
                }
            }
            Data::from(out)
        });
        Ok(vec![Tensor::new(types[0].shape.clone(), data)?, Tensor::new(types[1].shape.clone(), Data::I64(places))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::TopK(self))
    }
}
