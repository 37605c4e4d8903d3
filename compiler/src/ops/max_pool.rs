//! MaxPool: Maximum over windows. (On import, its second result is written in other operators.)

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, numeric, operand, refuse, result, result_shape, tensor};
use super::{Operand, Operator, ParseCx, ValueType, window, Lowering};

/// Maximum over windows.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    /// Begins, then ends.
    pub pads: Vec<usize>,
    pub dilations: Vec<usize>,
    pub ceil_mode: bool,
}

impl Operator for MaxPool {
    const NAME: &'static str = "MaxPool";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        if cx.outputs > 1 {
            return Err(refuse("has a second output, the indices of the maxima, which is not supported"));
        }
        let x = cx.operand(0)?;
        let input = window::spatial(x.shape)?;
        let kernel = window::kernel_shape(cx)?;
        let window::Parsed { strides, pads, dilations } = window::parse(cx, input, &kernel)?;
        let ceil_mode = cx.int_or("ceil_mode", 0)? != 0;
        Ok(MaxPool { kernel, strides, pads, dilations, ceil_mode })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        let input = window::spatial(x.shape)?;
        let mut shape = x.shape[..2].to_vec();
        shape.extend(self.window().out(input)?);
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let plane = self.window().plane(&x.shape()[2..])?;
        macro_rules! ints {
            ($v:expr, $ty:ty) => {
                Data::from(plane.pool($v, |taps, _| taps.max().unwrap_or(<$ty>::MIN)))
            };
        }
        let data = match x.data() {
            Data::F32(v) => Data::F32(plane.pool(v, |taps, _| taps.fold(f32::NEG_INFINITY, maximum))),
            Data::I8(v) => ints!(v, i8),
            Data::U8(v) => ints!(v, u8),
            Data::I16(v) => ints!(v, i16),
            Data::U16(v) => ints!(v, u16),
            Data::I32(v) => ints!(v, i32),
            Data::U32(v) => ints!(v, u32),
            Data::I64(v) => ints!(v, i64),
            Data::U64(v) => ints!(v, u64),
            Data::Bool(_) => return Err(refuse("maxima are not defined for bool")),
        };
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::MaxPool(self.window()))
    }
}

impl MaxPool {
    pub(crate) fn window(&self) -> window::Window<'_> {
        window::Window {
            kernel: &self.kernel,
            strides: &self.strides,
            pads: &self.pads,
            dilations: &self.dilations,
            ceil_mode: self.ceil_mode,
        }
    }
}

/// The larger of two floats, by one comparison: what the kernels do.
pub(crate) fn maximum(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
