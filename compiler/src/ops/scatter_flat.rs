//! ScatterFlat: a copy of a row of elements, some of them replaced or joined by index. Ours: what the
//! scatters of ONNX become on import.

use super::check::{at_most, axis, operand, refuse, result, result_shape, tensor};
use super::{Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};

/// Operands: `[n]` elements, `[m]` indices, `[m]` updates.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterFlat {
    pub reduction: Joining,
}

/// What becomes of an element that an update meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

impl Operator for ScatterFlat {
    const NAME: &'static str = "ScatterFlat";
    const OURS: bool = true;
    const OPERANDS: usize = 3;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let reduction = match cx.str_or("reduction", "none")? {
            "none" => Joining::Replace,
            "add" => Joining::Add,
            "mul" => Joining::Mul,
            "max" => Joining::Max,
            "min" => Joining::Min,
            other => return Err(refuse(format!("has the reduction `{other}`"))),
        };
        Ok(ScatterFlat { reduction })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 3)?;
        let (x, index, updates) = (operand(inputs, 0)?, operand(inputs, 1)?, operand(inputs, 2)?);
        if index.dtype != DType::I64 || updates.dtype != x.dtype {
            return Err(refuse(format!("takes indices of {}, and updates of {}", index.dtype, updates.dtype)));
        }
        if x.shape.len() != 1 || index.shape.len() != 1 || index.shape != updates.shape {
            return Err(refuse(format!("{:?} updates do not fit {:?} indices", updates.shape, index.shape)));
        }
        if x.dtype == DType::Bool && self.reduction != Joining::Replace {
            return Err(refuse("is not defined for bool"));
        }
        if x.shape[0] == 0 && index.shape[0] > 0 {
            return Err(refuse("an index lies outside of no elements"));
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let (x, index, updates) = (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?);
        let mut places = Vec::with_capacity(index.len());
        for i in index.to_i64_vec() {
            places.push(axis(i, shape[0]).map_err(|_| refuse(format!("an index lies outside of {} elements", shape[0])))?);
        }
        macro_rules! join {
            ($v:expr, $u:expr, $add:expr, $mul:expr) => {{
                let mut out = $v.clone();
                for (&at, &u) in places.iter().zip($u) {
                    let old = out[at];
                    out[at] = match self.reduction {
                        Joining::Replace => u,
                        Joining::Add => $add(old, u),
                        Joining::Mul => $mul(old, u),
                        Joining::Max => if u > old { u } else { old },
                        Joining::Min => if u < old { u } else { old },
                    };
                }
                Data::from(out)
            }};
        }
        macro_rules! ints {
            ($v:expr, $u:expr, $ty:ty) => {
                join!($v, $u, <$ty>::wrapping_add, <$ty>::wrapping_mul)
            };
        }
        let data = match (x.data(), updates.data()) {
            (Data::F32(v), Data::F32(u)) => join!(v, u, |a: f32, b: f32| a + b, |a: f32, b: f32| a * b),
            (Data::I8(v), Data::I8(u)) => ints!(v, u, i8),
            (Data::U8(v), Data::U8(u)) => ints!(v, u, u8),
            (Data::I16(v), Data::I16(u)) => ints!(v, u, i16),
            (Data::U16(v), Data::U16(u)) => ints!(v, u, u16),
            (Data::I32(v), Data::I32(u)) => ints!(v, u, i32),
            (Data::U32(v), Data::U32(u)) => ints!(v, u, u32),
            (Data::I64(v), Data::I64(u)) => ints!(v, u, i64),
            (Data::U64(v), Data::U64(u)) => ints!(v, u, u64),
            (Data::Bool(v), Data::Bool(u)) => join!(v, u, |_: bool, b: bool| b, |_: bool, b: bool| b),
            _ => return Err(refuse("the inputs have no common type")),
        };
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::ScatterFlat(self))
    }
}
