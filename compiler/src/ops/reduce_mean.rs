//! ReduceMean: Mean over axes.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, axes, numeric, operand, refuse, result, result_shape, sorted_axes, tensor};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering};

/// Mean over axes.
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceMean {
    /// Normalised, sorted.
    pub axes: Vec<usize>,
    pub keepdims: bool,
}

impl Operator for ReduceMean {
    const NAME: &'static str = "ReduceMean";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let given = match cx.opset {
            ..18 => cx.ints("axes")?.map(<[i64]>::to_vec),
            _ => cx.const_ints(1, "axes")?,
        };
        let noop = cx.opset >= 18 && cx.int_or("noop_with_empty_axes", 0)? != 0;
        let axes = match given {
            Some(list) if !list.is_empty() => axes(&list, rank)?,
            _ if noop => Vec::new(),
            _ => (0..rank).collect(),
        };
        Ok(ReduceMean { axes, keepdims: cx.int_or("keepdims", 1)? != 0 })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        sorted_axes(&self.axes, x.shape.len())?;
        if self.axes.iter().any(|&a| x.shape[a] == 0) {
            return Err(refuse(format!("takes the mean of nothing: the input has shape {:?}", x.shape)));
        }
        let reduced = |a: &usize| self.axes.contains(a);
        let shape = (0..x.shape.len())
            .filter(|a| self.keepdims || !reduced(a))
            .map(|a| if reduced(&a) { 1 } else { x.shape[a] })
            .collect();
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let kept: Vec<usize> =
            (0..x.shape().len()).map(|a| if self.axes.contains(&a) { 1 } else { x.shape()[a] }).collect();
        let count: usize = self.axes.iter().map(|&a| x.shape()[a]).product();
        let strides = broadcast::strides(&kept, x.shape());
        let targets = broadcast::Walk::new(x.shape(), &strides, 0);
        let len = kept.iter().product();
        macro_rules! ints {
            ($v:expr, $ty:ty) => {{
                let mut sums = vec![0i128; len];
                targets.zip($v).for_each(|(at, &v)| sums[at] += i128::from(v));
                Data::from(sums.iter().map(|&s| (s / count as i128) as $ty).collect::<Vec<$ty>>())
            }};
        }
        let data = match x.data() {
            Data::F32(v) => {
                let mut sums = vec![0.0f64; len];
                targets.zip(v).for_each(|(at, &v)| sums[at] += f64::from(v));
                Data::F32(sums.iter().map(|&s| super::check::mean(s, count)).collect())
            }
            Data::I8(v) => ints!(v, i8),
            Data::U8(v) => ints!(v, u8),
            Data::I16(v) => ints!(v, i16),
            Data::U16(v) => ints!(v, u16),
            Data::I32(v) => ints!(v, i32),
            Data::U32(v) => ints!(v, u32),
            Data::I64(v) => ints!(v, i64),
            Data::U64(v) => ints!(v, u64),
            Data::Bool(_) => return Err(refuse("means are not defined for bool")),
        };
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Mean { axes: self.axes.clone() })
    }
}
