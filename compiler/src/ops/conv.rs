//! Conv: Convolution over one or two spatial axes, NCHW / NCW; weights [M, C/group, k...]. Operands: x, w, optional bias.

use super::{Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

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

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Err(super::unwritten("parse"))
    }

    fn infer(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        Err(super::unwritten("infer"))
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }
}
