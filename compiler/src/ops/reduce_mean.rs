//! ReduceMean: Mean over axes.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, axes, numeric, operand, refuse, result, sorted_axes};
use super::{Operand, Operator, ParseCx, ValueType};

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

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
