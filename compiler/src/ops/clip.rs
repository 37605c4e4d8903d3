//! Clip: x limited to [min, max].

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, numeric, operand, refuse, result, scalar, tensor};
use super::{Operand, Operator, ParseCx, ValueType, unary, Lowering};

/// x limited to [min, max].
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Operator for Clip {
    const NAME: &'static str = "Clip";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        if cx.opset < 11 {
            let limit = |name| match cx.float_or(name, f32::NAN)? {
                v if v.is_nan() => Ok(None),
                v => Ok(Some(f64::from(v))),
            };
            return Ok(Clip { min: limit("min")?, max: limit("max")? });
        }
        let limit = |index, what| cx.const_tensor(index, what)?.map(|t| scalar(t, what)).transpose();
        Ok(Clip { min: limit(1, "min")?, max: limit(2, "max")? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        if [self.min, self.max].iter().flatten().any(|v| v.is_nan()) {
            return Err(refuse("a limit is not a number"));
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        limit(inputs, self.min, self.max)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Clip { min: self.min, max: self.max })
    }
}

impl unary::Unary for Clip {
    fn scalar(&self, x: f32) -> f32 {
        clip_f32(x, self.min, self.max)
    }
}

/// First the lower limit, then the upper: where they cross, the upper one wins, as in ONNX.
fn clip_f32(x: f32, min: Option<f64>, max: Option<f64>) -> f32 {
    let x = match min {
        Some(lo) if x < lo as f32 => lo as f32,
        _ => x,
    };
    match max {
        Some(hi) if x > hi as f32 => hi as f32,
        _ => x,
    }
}

/// Limits a tensor of any numeric type.
pub(crate) fn limit(
    inputs: &[Option<&Tensor>],
    min: Option<f64>,
    max: Option<f64>,
) -> Result<Vec<Tensor>> {
    let x = tensor(inputs, 0)?;
    macro_rules! ints {
        ($v:expr, $ty:ty) => {{
            // `as` saturates: a limit beyond the type limits nothing.
            let (lo, hi) = (min.map_or(<$ty>::MIN, |v| v as $ty), max.map_or(<$ty>::MAX, |v| v as $ty));
            Data::from($v.iter().map(|&x| x.max(lo).min(hi)).collect::<Vec<$ty>>())
        }};
    }
    let data = match x.data() {
        Data::F32(v) => Data::F32(v.iter().map(|&x| clip_f32(x, min, max)).collect()),
        Data::I8(v) => ints!(v, i8),
        Data::U8(v) => ints!(v, u8),
        Data::I16(v) => ints!(v, i16),
        Data::U16(v) => ints!(v, u16),
        Data::I32(v) => ints!(v, i32),
        Data::U32(v) => ints!(v, u32),
        Data::I64(v) => ints!(v, i64),
        Data::U64(v) => ints!(v, u64),
        Data::Bool(_) => return Err(refuse("limits are not defined for bool")),
    };
    Ok(vec![Tensor::new(x.shape().to_vec(), data)?])
}
