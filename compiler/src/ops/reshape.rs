//! Reshape: The same elements, row-major, under another shape.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, len, operand, refuse, result, size};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// The same elements, row-major, under another shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Reshape {
    /// Resolved: no 0 and no -1.
    pub shape: Vec<usize>,
}

impl Operator for Reshape {
    const NAME: &'static str = "Reshape";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let from = cx.operand(0)?.shape;
        let wish = cx.const_ints(1, "shape")?.ok_or_else(|| refuse("the target shape is missing"))?;
        let allowzero = cx.opset >= 14 && cx.int_or("allowzero", 0)? != 0;
        let mut shape = Vec::with_capacity(wish.len());
        let mut free = None;
        for (axis, &d) in wish.iter().enumerate() {
            shape.push(match d {
                -1 if free.is_none() => {
                    free = Some(axis);
                    1
                }
                -1 => return Err(refuse(format!("the target shape {wish:?} has more than one -1"))),
                0 if !allowzero => *from.get(axis).ok_or_else(|| {
                    refuse(format!("the target shape {wish:?} keeps axis {axis}, which {from:?} lacks"))
                })?,
                d => size(d, "a target size")?,
            });
        }
        if let Some(axis) = free {
            let (all, rest) = (len(from)?, len(&shape)?);
            if rest == 0 || all % rest != 0 {
                return Err(refuse(format!("shape {from:?} does not fill the target shape {wish:?}")));
            }
            shape[axis] = all / rest;
        }
        Ok(Reshape { shape })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        if len(x.shape)? != len(&self.shape)? {
            return Err(refuse(format!("shape {:?} cannot become {:?}", x.shape, self.shape)));
        }
        result(x.dtype, self.shape.clone())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![super::check::tensor(inputs, 0)?.reshaped(&self.shape)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reshape)
    }
}
