//! DequantizeLinear: Integer to real: (x - zero_point) * scale. Operands x, scale, optional zero point.

use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};
use super::check::{at_most, float, floats, infer_tensors, operand, optional, refuse, result, same_dtype, tensor};
use super::quantize_linear::{channels, parameter, quant_axis};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Integer to real: (x - zero_point) * scale. Operands x, scale, optional zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct DequantizeLinear {
    /// Set when scale is per channel.
    pub axis: Option<usize>,
}

impl Operator for DequantizeLinear {
    const NAME: &'static str = "DequantizeLinear";
    const OPERANDS: usize = 3;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let x = cx.operand(0)?;
        if cx.int_or("block_size", 0)? != 0 {
            return Err(refuse("quantizes in blocks (`block_size`), which is not supported")
                .help("supported are one scale per tensor or per channel"));
        }
        let axis = quant_axis(cx, x.shape, cx.operand(1)?.shape)?;
        Ok(DequantizeLinear { axis })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 3)?;
        let (x, scale) = (operand(inputs, 0)?, operand(inputs, 1)?);
        if !matches!(x.dtype, DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32) {
            return Err(refuse(format!("the input has type {}, supported are i8, u8, i16, u16 and i32", x.dtype)));
        }
        float(scale, "the scale")?;
        parameter(x.shape, scale, self.axis, "the scale")?;
        if let Some(zero) = optional(inputs, 2) {
            parameter(x.shape, zero, self.axis, "the zero point")?;
            same_dtype(x, zero)?;
        }
        result(DType::F32, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let (x, scale) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let scale = floats(scale)?;
        let zero = inputs.get(2).copied().flatten().map(Tensor::to_i64_vec);
        let channel = channels(x.shape(), self.axis);
        let out = (x.to_i64_vec().iter().enumerate())
            .map(|(i, &v)| {
                let c = channel(i);
                (v - zero.as_ref().map_or(0, |z| z[c])) as f32 * scale[c]
            })
            .collect();
        Ok(vec![Tensor::new(x.shape().to_vec(), Data::F32(out))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::DequantizeLinear { axis: self.axis })
    }
}
