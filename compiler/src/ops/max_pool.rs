//! MaxPool: Maximum over windows; the index output is not supported.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, numeric, operand, refuse, result};
use super::{Operand, Operator, ParseCx, ValueType, window};

/// Maximum over windows; the index output is not supported.
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
        if cx.int_or("storage_order", 0)? != 0 {
            return Err(refuse("has `storage_order` set, which only concerns the unsupported indices"));
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

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
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
