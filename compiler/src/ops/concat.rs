//! Concat: Joins operands along an axis.

use crate::error::Result;
use crate::tensor::{DType, Data, Element, Tensor};
use super::check::{axis, operand, refuse, result, result_shape, same_dtype, tensor};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Joins operands along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    pub axis: usize,
}

impl Operator for Concat {
    const NAME: &'static str = "Concat";

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let given = cx.int("axis")?.ok_or_else(|| refuse("`axis` is missing"))?;
        Ok(Concat { axis: axis(given, rank)? })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        let first = operand(inputs, 0)?;
        if self.axis >= first.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, first.shape)));
        }
        let mut shape = first.shape.to_vec();
        for index in 1..inputs.len() {
            let x = operand(inputs, index)?;
            same_dtype(first, x)?;
            let fits = x.shape.len() == shape.len()
                && (0..shape.len()).all(|a| a == self.axis || x.shape[a] == shape[a]);
            if !fits {
                return Err(refuse(format!(
                    "shapes {:?} and {:?} do not join along axis {}",
                    first.shape, x.shape, self.axis
                )));
            }
            shape[self.axis] = shape[self.axis]
                .checked_add(x.shape[self.axis])
                .ok_or_else(|| refuse("the result is too large"))?;
        }
        result(first.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        fn join<T: Element>(parts: &[&Tensor], outer: usize, axis: usize) -> Vec<T> {
            let parts: Vec<(&[T], usize)> = parts
                .iter()
                .filter_map(|t| Some((T::of(t.data())?, t.shape()[axis..].iter().product())))
                .collect();
            (0..outer).flat_map(|i| parts.iter().flat_map(move |(v, run)| &v[i * run..(i + 1) * run])).copied().collect()
        }
        let shape = result_shape(self, inputs)?;
        let parts: Vec<&Tensor> = inputs.iter().flatten().copied().collect();
        let outer = shape[..self.axis].iter().product();
        let data = match tensor(inputs, 0)?.dtype() {
            DType::F32 => Data::F32(join(&parts, outer, self.axis)),
            DType::I8 => Data::I8(join(&parts, outer, self.axis)),
            DType::U8 => Data::U8(join(&parts, outer, self.axis)),
            DType::I16 => Data::I16(join(&parts, outer, self.axis)),
            DType::U16 => Data::U16(join(&parts, outer, self.axis)),
            DType::I32 => Data::I32(join(&parts, outer, self.axis)),
            DType::U32 => Data::U32(join(&parts, outer, self.axis)),
            DType::I64 => Data::I64(join(&parts, outer, self.axis)),
            DType::U64 => Data::U64(join(&parts, outer, self.axis)),
            DType::Bool => Data::Bool(join(&parts, outer, self.axis)),
        };
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Concat { axis: self.axis })
    }
}
