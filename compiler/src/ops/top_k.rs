//! TopK: the greatest or least elements along an axis, and where they stand.

use super::check::{at_most, axis, numeric, operand, refuse, size, tensor, value_type};
use super::{Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use std::cmp::Ordering;
use crate::tensor::{Data, DType, Tensor};

/// The `k` greatest or least elements along an axis, in order; of equal ones the first come first.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    pub axis: usize,
    pub k: usize,
    pub largest: bool,
}

/// The places of the first `k` of `n` elements, one after the other, as kernels find them: numbers that compare with none
/// have no order that could be sorted by.
fn one_by_one(
    n: usize,
    k: usize,
    compare: &dyn Fn(usize, usize) -> Option<Ordering>,
) -> Vec<Option<usize>> {
    let mut found: Vec<Option<usize>> = Vec::with_capacity(k);
    for _ in 0..k {
        let last = found.last().copied().flatten();
        let mut best: Option<usize> = None;
        for i in 0..n {
            let before = |a: usize, b: usize| compare(a, b) == Some(Ordering::Less);
            let again = |l: usize| compare(i, l) == Some(Ordering::Equal) && i > l;
            let later = last.is_none_or(|l| again(l) || before(l, i));
            if later && best.is_none_or(|b| before(i, b)) {
                best = Some(i);
            }
        }
        found.push(best);
    }
    found
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
                let compare = |a: usize, b: usize| {
                    let (a, b) = if self.largest { (b, a) } else { (a, b) };
                    element(a).partial_cmp(element(b))
                };
                let order: Vec<Option<usize>> = match (0..n).any(|i| compare(i, i).is_none()) {
                    true => one_by_one(n, self.k, &compare),
                    false => {
                        let mut order: Vec<usize> = (0..n).collect();
                        order.sort_by(|&a, &b| compare(a, b).unwrap_or(Ordering::Equal));
                        order.into_iter().map(Some).collect()
                    }
                };
                for (j, i) in order.into_iter().take(self.k).enumerate() {
                    let to = (block * self.k + j) * inner + at;
                    out[to] = i.map_or_else(Default::default, |i| *element(i));
                    places[to] = i.unwrap_or(0) as i64;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Many, so that a sort would notice that they have no order.
    #[test]
    fn numbers_that_compare_with_none_are_passed_over() {
        let values = |i: usize| if i % 3 == 1 { f32::NAN } else { ((i * 37) % 101) as f32 };
        let x = Tensor::f32(&[100], (0..100).map(values).collect());
        for largest in [true, false] {
            let found = TopK { axis: 0, k: 3, largest }.eval(&[Some(&x)]).unwrap();
            let mut sorted: Vec<f32> = (0..100).map(values).filter(|v| !v.is_nan()).collect();
            sorted.sort_by(f32::total_cmp);
            if largest {
                sorted.reverse();
            }
            assert_eq!(found[0].to_f32_vec(), sorted[..3], "{largest}");
            let at = found[1].to_i64_vec();
            assert!(at.iter().zip(&sorted).all(|(&i, v)| values(i as usize) == *v), "{at:?}");
        }
        let none = Tensor::f32(&[2], vec![f32::NAN; 2]);
        let found = TopK { axis: 0, k: 2, largest: true }.eval(&[Some(&none)]).unwrap();
        assert_eq!(found[1].to_i64_vec(), [0, 0]);
    }
}
