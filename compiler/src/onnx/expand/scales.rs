//! QuantizeLinear and DequantizeLinear in the forms that are no layer of integers: a scale for each block of elements.
//!
//! In: such a node. Out: arithmetic on floats of the same meaning. Law: what is known stays known, so blocks of
//! stored weights become weights in floats, and are gone behind the import.

use super::build::{Builder, Expanded, attr};
use crate::error::Result;
use crate::ops::ParseCx;
use crate::ops::check::{axis, dtype, refuse};
use crate::tensor::DType;

/// The operators of these names that onnxruntime had before ONNX knew their types.
pub(super) fn plain(mut b: Builder<'_>) -> Result<Expanded> {
    let op = b.cx.op_type;
    let inputs = (0..b.cx.inputs.len()).map(|i| b.input(i)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let attrs = b.cx.attrs.iter().map(|(name, value)| attr(name, value.clone())).collect();
    let y = b.with(op, &inputs, attrs);
    b.finish(vec![y])
}

pub(super) fn has_blocks(cx: &ParseCx<'_>) -> bool {
    !matches!(cx.int_or("block_size", 0), Ok(0))
}

/// The parameters of a node whose blocks lie along an axis.
struct Blocks {
    axis: usize,
    /// By place along the axis, the block.
    places: Vec<i64>,
}

impl Blocks {
    fn of(b: &Builder<'_>) -> Result<Blocks> {
        let size = b.cx.int_or("block_size", 0)?;
        let size = usize::try_from(size).map_err(|_| refuse(format!("`block_size` is {size}")))?.max(1);
        let (x, scale) = (b.shape(0)?, b.shape(1)?);
        let axis = axis(b.cx.int_or("axis", 1)?, x.len())?;
        let mut want = x.clone();
        want[axis] = x[axis].div_ceil(size);
        if scale != want {
            return Err(refuse(format!(
                "has scales of shape {scale:?}; {want:?} fits an input of shape {x:?} in blocks of {size} along axis {axis}"
            )));
        }
        if let Some(zero) = b.optional(2).filter(|z| z.shape != want) {
            return Err(refuse(format!("has zero points of shape {:?}, and scales of {want:?}", zero.shape)));
        }
        Ok(Blocks { axis, places: (0..x[axis]).map(|i| (i / size) as i64).collect() })
    }

    /// A parameter of each block, for each element.
    fn each(&self, b: &mut Builder<'_>, parameter: &str) -> String {
        let places = b.ints(&self.places);
        b.gather(parameter, &places, self.axis)
    }

    /// The zero points of all elements as floats, if there are any.
    fn zeros(&self, b: &mut Builder<'_>) -> Result<Option<String>> {
        if b.optional(2).is_none() {
            return Ok(None);
        }
        let zero = b.input(2)?;
        let zero = b.cast(&zero, DType::F32);
        Ok(Some(self.each(b, &zero)))
    }
}

pub(super) fn dequantize(mut b: Builder<'_>) -> Result<Expanded> {
    let blocks = Blocks::of(&b)?;
    let x = b.operand(0)?;
    if !matches!(x.dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32) {
        return Err(refuse(format!(
            "the input has type {}, supported are i8, u8, i16, u16 and i32",
            x.dtype
        )));
    }
    if x.data.is_some() {
        b.warn(
            "has a scale for each block, so it becomes floats when the model is compiled; a layer on integers rounds \
             them once more, with a scale for each of its channels",
            "quantize with a scale for each channel to keep the integers as they are",
        );
    }
    let x = b.input(0)?;
    let mut real = b.cast(&x, DType::F32);
    if let Some(zeros) = blocks.zeros(&mut b)? {
        real = b.op("Sub", &[&real, &zeros]);
    }
    let scale = b.input(1)?;
    let scale = blocks.each(&mut b, &scale);
    let y = b.op("Mul", &[&real, &scale]);
    b.finish(vec![y])
}

/// Rounded half to even, then moved by the zero point, then limited: floats hold all of it exactly.
pub(super) fn quantize(mut b: Builder<'_>) -> Result<Expanded> {
    let blocks = Blocks::of(&b)?;
    let to = match (b.optional(2), b.cx.int_or("output_dtype", 0)?) {
        (Some(zero), _) => zero.dtype,
        (None, 0) => DType::U8,
        (None, code) => dtype(code)?,
    };
    if !matches!(to, DType::I8 | DType::U8 | DType::I16 | DType::U16) {
        return Err(refuse(format!("quantizes to {to}, supported are i8, u8, i16 and u16")));
    }
    let (lo, hi) = to.range().unwrap_or((0, 0));
    let (x, scale) = (b.input(0)?, b.input(1)?);
    let x = b.cast(&x, DType::F32);
    let scale = blocks.each(&mut b, &scale);
    let steps = b.op("Div", &[&x, &scale]);
    let mut steps = b.op("Round", &[&steps]);
    if let Some(zeros) = blocks.zeros(&mut b)? {
        steps = b.op("Add", &[&steps, &zeros]);
    }
    let (lo, hi) = (b.float(lo as f32), b.float(hi as f32));
    let limited = b.op("Clip", &[&steps, &lo, &hi]);
    let y = b.cast(&limited, to);
    b.finish(vec![y])
}
