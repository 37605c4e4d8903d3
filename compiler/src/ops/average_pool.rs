//! AveragePool: Mean over windows.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, float, floats, operand, result, result_shape, tensor};
use super::{Operand, Operator, ParseCx, ValueType, window, Lowering};

/// Mean over windows.
#[derive(Debug, Clone, PartialEq)]
pub struct AveragePool {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    /// Begins, then ends.
    pub pads: Vec<usize>,
    pub dilations: Vec<usize>,
    pub ceil_mode: bool,
    pub count_include_pad: bool,
}

impl Operator for AveragePool {
    const NAME: &'static str = "AveragePool";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let x = cx.operand(0)?;
        let input = window::spatial(x.shape)?;
        let kernel = window::kernel_shape(cx)?;
        let window::Parsed { strides, pads, dilations } = window::parse(cx, input, &kernel)?;
        let ceil_mode = cx.int_or("ceil_mode", 0)? != 0;
        let count_include_pad = cx.int_or("count_include_pad", 0)? != 0;
        Ok(AveragePool { kernel, strides, pads, dilations, ceil_mode, count_include_pad })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        let input = window::spatial(x.shape)?;
        let mut shape = x.shape[..2].to_vec();
        shape.extend(self.window().out(input)?);
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let plane = self.window().plane(&x.shape()[2..])?;
        let out = plane.pool(floats(x)?, |taps, padded| {
            let (sum, inside) = taps.fold((0.0, 0usize), |(s, n), v| (s + f64::from(v), n + 1));
            let count = if self.count_include_pad { padded } else { inside };
            // A window that lies in the padding alone has no mean; ONNX leaves it open.
            if count == 0 { 0.0 } else { super::check::mean(sum, count) }
        });
        Ok(vec![Tensor::new(shape, Data::F32(out))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::AveragePool { window: self.window(), count_include_pad: self.count_include_pad })
    }
}

impl AveragePool {
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
