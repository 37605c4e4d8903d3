//! Split: Cuts along an axis.

use crate::error::Result;
use crate::tensor::{Tensor, row_major_strides};
use super::check::{at_most, axis, infer_tensors, operand, refuse, size, sizes, tensor, value_type};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering};

/// Cuts along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    pub axis: usize,
    pub sizes: Vec<usize>,
}

impl Operator for Split {
    const NAME: &'static str = "Split";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let shape = cx.operand(0)?.shape;
        let axis = axis(cx.int_or("axis", 0)?, shape.len())?;
        let given = match cx.opset {
            ..13 => cx.ints("split")?.map(<[i64]>::to_vec),
            _ => cx.const_ints(1, "sizes")?,
        };
        if let Some(list) = given {
            return Ok(Split { axis, sizes: sizes(&list, "a size")? });
        }
        let parts = match cx.int("num_outputs")? {
            Some(n) if cx.opset >= 18 => size(n, "num_outputs")?,
            _ => cx.outputs,
        };
        let whole = shape[axis];
        // Up to opset 17 the parts are equal; later the last one may be smaller.
        if parts == 0 || parts > whole.max(1) || (cx.opset < 18 && whole % parts != 0) {
            return Err(refuse(format!("{whole} elements cannot be cut into {parts} parts")));
        }
        let part = whole.div_ceil(parts);
        let sizes = (0..parts).map(|i| part.min(whole.saturating_sub(i * part))).collect();
        Ok(Split { axis, sizes })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        let whole = *x.shape.get(self.axis).ok_or_else(|| {
            refuse(format!("axis {} does not exist in shape {:?}", self.axis, x.shape))
        })?;
        let sum = self.sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s));
        if sum != Some(whole) {
            return Err(refuse(format!("sizes {:?} do not add up to {whole}", self.sizes)));
        }
        self.sizes
            .iter()
            .map(|&s| {
                let mut shape = x.shape.to_vec();
                shape[self.axis] = s;
                value_type(x.dtype, shape)
            })
            .collect()
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let types = infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let strides: Vec<isize> = row_major_strides(x.shape()).iter().map(|&s| s as isize).collect();
        let mut start = 0;
        types
            .iter()
            .map(|ty| {
                let part = broadcast::pick(x, &ty.shape, &strides, start * strides[self.axis] as usize);
                start += ty.shape[self.axis];
                part
            })
            .collect()
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Split { axis: self.axis })
    }
}
