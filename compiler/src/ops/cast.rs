//! Cast: Conversion to `to`.

use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};
use super::check::{at_most, dtype, operand, refuse, result, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Conversion to `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    pub to: DType,
}

impl Operator for Cast {
    const NAME: &'static str = "Cast";
    const ELEMENTWISE: bool = true;
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let to = cx.int("to")?.ok_or_else(|| refuse("`to` is missing"))?;
        Ok(Cast { to: dtype(to)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        result(self.to, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        macro_rules! to {
            ($v:expr) => {
                match self.to {
                    DType::F32 => Data::F32($v.iter().map(|&x| x as f32).collect()),
                    DType::I8 => Data::I8($v.iter().map(|&x| x as i8).collect()),
                    DType::U8 => Data::U8($v.iter().map(|&x| x as u8).collect()),
                    DType::I16 => Data::I16($v.iter().map(|&x| x as i16).collect()),
                    DType::U16 => Data::U16($v.iter().map(|&x| x as u16).collect()),
                    DType::I32 => Data::I32($v.iter().map(|&x| x as i32).collect()),
                    DType::U32 => Data::U32($v.iter().map(|&x| x as u32).collect()),
                    DType::I64 => Data::I64($v.iter().map(|&x| x as i64).collect()),
                    DType::U64 => Data::U64($v.iter().map(|&x| x as u64).collect()),
                    DType::Bool => Data::Bool($v.iter().map(|&x| x as f64 != 0.0).collect()),
                }
            };
        }
        // Integers wrap, floats saturate: what `as` does, and what ONNX leaves open.
        let data = match x.data() {
            Data::F32(v) => to!(v),
            Data::I8(v) => to!(v),
            Data::U8(v) => to!(v),
            Data::I16(v) => to!(v),
            Data::U16(v) => to!(v),
            Data::I32(v) => to!(v),
            Data::U32(v) => to!(v),
            Data::I64(v) => to!(v),
            Data::U64(v) => to!(v),
            Data::Bool(v) => to!(v.iter().map(|&b| u8::from(b)).collect::<Vec<u8>>()),
        };
        Ok(vec![Tensor::new(x.shape().to_vec(), data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Cast)
    }
}
