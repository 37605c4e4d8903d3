//! ReduceSum, ReduceProd, ReduceMax, ReduceMin: one value for all elements along axes.

use super::check::{at_most, axes, operand, refuse, result, sorted_axes};
use super::{Attr, Lowering, Operand, Operator, ParseCx, ValueType, fold};
use crate::error::Result;
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// A reduction over axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    pub function: Reducing,
    /// Normalised, sorted.
    pub axes: Vec<usize>,
    pub keepdims: bool,
}

/// What joins two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reducing {
    Sum,
    Prod,
    Max,
    Min,
}

/// The axes that a reduction names, by attribute or, in later operator sets, by its second input.
pub(crate) fn reduced_axes(cx: &ParseCx<'_>) -> Result<Vec<usize>> {
    let rank = cx.operand(0)?.shape.len();
    let given = match cx.ints("axes")? {
        Some(list) => Some(list.to_vec()),
        None => cx.const_ints(1, "axes")?,
    };
    let idle = cx.int_or("noop_with_empty_axes", 0)? != 0;
    match given {
        Some(list) if !list.is_empty() => axes(&list, rank),
        _ if idle => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

impl Operator for Reduce {
    const NAME: &'static str = "ReduceSum";
    const NAMES: &'static [&'static str] = &["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"];
    const OPERANDS: usize = 1;

    fn name(&self) -> &'static str {
        Self::NAMES[self.function as usize]
    }

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let function = match cx.op_type {
            "ReduceSum" => Reducing::Sum,
            "ReduceProd" => Reducing::Prod,
            "ReduceMax" => Reducing::Max,
            _ => Reducing::Min,
        };
        Ok(Reduce { function, axes: reduced_axes(cx)?, keepdims: cx.int_or("keepdims", 1)? != 0 })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        sorted_axes(&self.axes, x.shape.len())?;
        let ordered = matches!(self.function, Reducing::Max | Reducing::Min);
        if x.dtype == DType::Bool && !ordered {
            return Err(refuse("is not defined for bool"));
        }
        if ordered && x.dtype != DType::F32 && self.axes.iter().any(|&a| x.shape[a] == 0) {
            return Err(refuse(format!("reduces nothing: the input has shape {:?}", x.shape)));
        }
        let reduced = |a: &usize| self.axes.contains(a);
        let kept = (0..x.shape.len()).filter(|a| self.keepdims || !reduced(a));
        result(x.dtype, kept.map(|a| if reduced(&a) { 1 } else { x.shape[a] }).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::infer_tensors(self, inputs)?;
        let x = super::check::tensor(inputs, 0)?;
        let axes = self.axes.iter().map(|&a| a as i64).collect();
        let attrs = BTreeMap::from([
            ("axes".to_string(), Attr::Ints(axes)),
            ("keepdims".to_string(), Attr::Int(self.keepdims.into())),
            ("noop_with_empty_axes".to_string(), Attr::Int(1)),
        ]);
        let inputs = [Some(Operand { dtype: x.dtype(), shape: x.shape(), data: Some(x) })];
        let cx = ParseCx { op_type: Operator::name(self), opset: 21, attrs: &attrs, inputs: &inputs, outputs: 1 };
        fold::fold(&cx, super::check::MAX_ELEMENTS).ok_or_else(|| refuse("operator is not supported"))?
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reduce(self))
    }
}
