//! QuantizeLinear: Real to integer: saturate(round_half_even(x / scale) + zero_point). Operands x, scale, optional zero point.

use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};
use super::check::{at_most, dtype, float, floats, infer_tensors, operand, optional, refuse, result, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Real to integer: saturate(round_half_even(x / scale) + zero_point). Operands x, scale, optional zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeLinear {
    /// Set when scale is per channel.
    pub axis: Option<usize>,
    /// Of the result.
    pub dtype: DType,
}

impl Operator for QuantizeLinear {
    const NAME: &'static str = "QuantizeLinear";
    const OPERANDS: usize = 3;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let x = cx.operand(0)?;
        if cx.int_or("block_size", 0)? != 0 {
            return Err(refuse("quantizes in blocks (`block_size`), which is not supported")
                .help("supported are one scale per tensor or per channel"));
        }
        let axis = quant_axis(cx, x.shape, cx.operand(1)?.shape)?;
        let zero = cx.inputs.get(2).copied().flatten();
        let dtype = match (zero, cx.int_or("output_dtype", 0)?) {
            (Some(zero), _) => zero.dtype,
            (None, 0) => DType::U8,
            (None, code) => dtype(code)?,
        };
        Ok(QuantizeLinear { axis, dtype })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 3)?;
        let (x, scale) = (operand(inputs, 0)?, operand(inputs, 1)?);
        if !matches!(x.dtype, DType::F32 | DType::I32) {
            return Err(refuse(format!("the input has type {}, floats and i32 are defined", x.dtype)));
        }
        if !matches!(self.dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16) {
            return Err(refuse(format!("quantizes to {}, supported are i8, u8, i16 and u16", self.dtype)));
        }
        float(scale, "the scale")?;
        parameter(x.shape, scale, self.axis, "the scale")?;
        if let Some(zero) = optional(inputs, 2) {
            parameter(x.shape, zero, self.axis, "the zero point")?;
            if zero.dtype != self.dtype {
                return Err(refuse(format!("the zero point has type {}, the result {}", zero.dtype, self.dtype)));
            }
        }
        result(self.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let (x, scale) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let scale = floats(scale)?;
        let zero = inputs.get(2).copied().flatten().map(Tensor::to_i64_vec);
        let (lo, hi) = self.dtype.range().ok_or_else(|| refuse("quantizes to floats"))?;
        let (lo, hi) = (lo as i64, hi as i64);
        let channel = channels(x.shape(), self.axis);
        let out: Vec<i64> = (x.to_f32_vec().iter().enumerate())
            .map(|(i, &v)| {
                let c = channel(i);
                let zero = zero.as_ref().map_or(0, |z| z[c]);
                // `as` saturates; NaN becomes the zero point.
                let stored = (v / scale[c]).round_ties_even() as i64;
                stored.saturating_add(zero).clamp(lo, hi)
            })
            .collect();
        Ok(vec![Tensor::new(x.shape().to_vec(), Data::from_i64(self.dtype, &out))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::QuantizeLinear { axis: self.axis })
    }
}

/// The axis along which scale and zero point change; `None` for one of each.
pub(crate) fn quant_axis(cx: &ParseCx<'_>, x: &[usize], scale: &[usize]) -> Result<Option<usize>> {
    match scale {
        [] | [1] => Ok(None),
        [_] => Ok(Some(super::check::axis(cx.int_or("axis", 1)?, x.len())?)),
        _ => Err(refuse(format!("has scales of shape {scale:?}"))
            .help("supported are one scale per tensor or per channel")),
    }
}

/// Checks that scale or zero point has one element, or one per index of `axis`.
pub(crate) fn parameter(x: &[usize], p: Operand<'_>, axis: Option<usize>, what: &str) -> Result<()> {
    let fits = match axis {
        None => matches!(p.shape, [] | [1]),
        Some(axis) => x.get(axis).is_some_and(|&n| p.shape == [n]),
    };
    if !fits {
        return Err(refuse(format!("{what} of shape {:?} does not fit the input of shape {x:?}", p.shape)));
    }
    Ok(())
}

/// The channel of an element by its row-major index: where scale and zero point stand.
pub(crate) fn channels(shape: &[usize], axis: Option<usize>) -> impl Fn(usize) -> usize {
    let (inner, n) = axis.map_or((1, 1), |a| (shape[a + 1..].iter().product::<usize>(), shape[a]));
    move |i| i / inner % n
}
