//! Conv: Convolution over one or two spatial axes, NCHW / NCW; weights [M, C/group, k...]. Operands: x, w, optional bias.

use super::convolve::convolve;
use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, float, floats, operand, optional, refuse, result, result_shape, size, tensor};
use super::{Operand, Operator, ParseCx, ValueType, window, Lowering};

/// Convolution over one or two spatial axes, NCHW / NCW; weights [M, C/group, k...]. Operands: x, w, optional bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// One per spatial axis.
    pub strides: Vec<usize>,
    /// Begin of each spatial axis, then end of each; `auto_pad` is resolved by `parse`.
    pub pads: Vec<usize>,
    pub dilations: Vec<usize>,
    pub group: usize,
}

impl Operator for Conv {
    const NAME: &'static str = "Conv";
    const OPERANDS: usize = 3;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let (x, w) = (cx.operand(0)?, cx.operand(1)?);
        let input = window::spatial(x.shape)?;
        let kernel = w.shape.get(2..).unwrap_or(&[]);
        if let Some(stated) = cx.ints("kernel_shape")?
            && !stated.iter().map(|&k| k as u64).eq(kernel.iter().map(|&k| k as u64))
        {
            return Err(refuse(format!("`kernel_shape` is {stated:?}, but the weights have shape {:?}", w.shape)));
        }
        let window::Parsed { strides, pads, dilations } = window::parse(cx, input, kernel)?;
        Ok(Conv { strides, pads, dilations, group: size(cx.int_or("group", 1)?, "group")? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 3)?;
        let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
        float(x, "the input")?;
        float(w, "the weight")?;
        let input = window::spatial(x.shape)?;
        if w.shape.len() != x.shape.len() {
            return Err(refuse(format!("weights of shape {:?} do not fit an input of shape {:?}", w.shape, x.shape)));
        }
        let (channels, filters) = (x.shape[1], w.shape[0]);
        let fits = self.group > 0
            && channels > 0
            && filters > 0
            && filters.is_multiple_of(self.group)
            && w.shape[1].checked_mul(self.group) == Some(channels);
        if !fits {
            return Err(refuse(format!(
                "weights of shape {:?} and {} groups do not fit {channels} channels",
                w.shape, self.group
            )));
        }
        if let Some(bias) = optional(inputs, 2) {
            float(bias, "the bias")?;
            if bias.shape != [filters] {
                return Err(refuse(format!("a bias of shape {:?} does not fit {filters} filters", bias.shape)));
            }
        }
        let mut shape = vec![x.shape[0], filters];
        shape.extend(self.window(&w.shape[2..]).out(input)?);
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let (x, w) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let plane = self.window(&w.shape()[2..]).plane(&x.shape()[2..])?;
        let dims = (shape[0], x.shape()[1], shape[1], self.group);
        let mut out = convolve(floats(x)?, floats(w)?, dims, &plane);
        if let Some(bias) = inputs.get(2).copied().flatten() {
            let places = plane.out[0] * plane.out[1];
            for (channel, &b) in out.chunks_mut(places).zip(floats(bias)?.iter().cycle()) {
                channel.iter_mut().for_each(|v| *v += b);
            }
        }
        Ok(vec![Tensor::new(shape, Data::F32(out))?])
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
        let (Some(Some(w)), Some(y)) = (inputs.get(1), outputs.first()) else { return 0 };
        super::check::product(y.shape.iter().chain(w.shape.get(1..).unwrap_or(&[])))
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Conv(self))
    }
}

impl Conv {
    /// The window for weights whose spatial sizes are `kernel`.
    pub(crate) fn window<'a>(&'a self, kernel: &'a [usize]) -> window::Window<'a> {
        window::Window {
            kernel,
            strides: &self.strides,
            pads: &self.pads,
            dilations: &self.dilations,
            ceil_mode: false,
        }
    }
}
