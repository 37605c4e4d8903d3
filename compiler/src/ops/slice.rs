//! Slice: Strided cut; starts and steps as normalised per axis of the input.

use crate::error::Result;
use crate::tensor::{Tensor, row_major_strides};
use super::check::{at_most, axis, infer_tensors, operand, refuse, result, tensor};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering};

/// Strided cut; starts and steps as normalised per axis of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Per input axis.
    pub starts: Vec<usize>,
    /// Per input axis; may be negative.
    pub steps: Vec<i64>,
    /// Result shape.
    pub sizes: Vec<usize>,
}

impl Operator for Slice {
    const NAME: &'static str = "Slice";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let shape = cx.operand(0)?.shape;
        let rank = shape.len();
        let (starts, ends, axes, steps) = if cx.opset < 10 {
            let list = |name| Ok(cx.ints(name)?.map(<[i64]>::to_vec));
            (list("starts")?, list("ends")?, list("axes")?, None)
        } else {
            let list = |i, what| cx.const_ints(i, what);
            (list(1, "starts")?, list(2, "ends")?, list(3, "axes")?, list(4, "steps")?)
        };
        let starts = starts.ok_or_else(|| refuse("the starts are missing"))?;
        let ends = ends.ok_or_else(|| refuse("the ends are missing"))?;
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()].iter().any(|&l| l != starts.len()) {
            return Err(refuse("starts, ends, axes and steps differ in number"));
        }
        let mut slice = Slice { starts: vec![0; rank], steps: vec![1; rank], sizes: shape.to_vec() };
        let mut seen = vec![false; rank];
        for i in 0..starts.len() {
            let a = axis(axes[i], rank)?;
            if std::mem::replace(&mut seen[a], true) {
                return Err(refuse(format!("axes {axes:?} name one axis twice")));
            }
            let (n, step) = (shape[a] as i128, i128::from(steps[i]));
            if step == 0 {
                return Err(refuse("a step is 0"));
            }
            let from_front = |v: i64| if v < 0 { i128::from(v) + n } else { i128::from(v) };
            // As NumPy: a backward slice may end before the first element.
            let (lo, hi) = if step > 0 { (0, n) } else { (-1, n - 1) };
            let start = from_front(starts[i]).clamp(lo.max(0).min(hi.max(0)), hi.max(0));
            let end = from_front(ends[i]).clamp(lo, hi.max(lo));
            let size = if step > 0 { (end - start + step - 1) / step } else { (start - end - step - 1) / -step };
            let size = if n == 0 { 0 } else { size.max(0) };
            slice.starts[a] = start as usize;
            slice.steps[a] = steps[i];
            slice.sizes[a] = size as usize;
        }
        Ok(slice)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        let rank = x.shape.len();
        if [self.starts.len(), self.steps.len(), self.sizes.len()].iter().any(|&l| l != rank) {
            return Err(refuse(format!("does not fit an input of {rank} axes")));
        }
        for a in 0..rank {
            let (start, size) = (self.starts[a] as i128, self.sizes[a] as i128);
            let last = (size - 1).checked_mul(i128::from(self.steps[a])).and_then(|v| v.checked_add(start));
            let inside = |v: i128| v >= 0 && v < x.shape[a] as i128;
            if size > 0 && !(inside(start) && last.is_some_and(inside)) {
                return Err(refuse(format!("reaches beyond axis {a} of shape {:?}", x.shape)));
            }
        }
        result(x.dtype, self.sizes.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        if self.sizes.contains(&0) {
            return Ok(vec![Tensor::zeros(x.dtype(), &self.sizes)]);
        }
        let own = row_major_strides(x.shape());
        let start = own.iter().zip(&self.starts).map(|(stride, start)| stride * start).sum();
        // A step that is taken at most once may be as wide as it likes.
        let stride = |a: usize| if self.sizes[a] > 1 { own[a] as isize * self.steps[a] as isize } else { 0 };
        let strides: Vec<isize> = (0..own.len()).map(stride).collect();
        Ok(vec![broadcast::pick(x, &self.sizes, &strides, start)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Slice { starts: &self.starts, steps: &self.steps })
    }
}
