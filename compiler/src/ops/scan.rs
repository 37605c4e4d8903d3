//! CumSum and CumProd: the sum or product of all elements before, along an axis.

use super::check::{at_most, axis, numeric, operand, refuse, result, result_shape, tensor};
use super::{Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::{Data, Tensor};

/// A cumulative sum or product.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// A product instead of a sum.
    pub product: bool,
    pub axis: usize,
    /// Without the element itself.
    pub exclusive: bool,
    /// From the last element on.
    pub reverse: bool,
}

impl Operator for Scan {
    const NAME: &'static str = "CumSum";
    const NAMES: &'static [&'static str] = &["CumSum", "CumProd"];
    const OPERANDS: usize = 1;

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.product)]
    }

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let Some([at]) = cx.const_ints(1, "axis")?.as_deref().map(|v| v.first_chunk::<1>().copied()).unwrap_or(None)
        else {
            return Err(refuse("the axis is no single number"));
        };
        Ok(Scan {
            product: cx.op_type == "CumProd",
            axis: axis(at, rank)?,
            exclusive: cx.int_or("exclusive", 0)? != 0,
            reverse: cx.int_or("reverse", 0)? != 0,
        })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        numeric(x, "the input")?;
        if self.axis >= x.shape.len() {
            return Err(refuse(format!("axis {} does not exist in shape {:?}", self.axis, x.shape)));
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let n = shape[self.axis];
        let inner: usize = shape[self.axis + 1..].iter().product();
        macro_rules! scan {
            ($v:expr, $zero:expr, $join:expr) => {{
                let mut out = $v.clone();
                for block in out.chunks_mut((n * inner).max(1)) {
                    for lane in 0..inner.min(block.len()) {
                        let mut sum = $zero;
                        for step in 0..n {
                            let place = if self.reverse { n - 1 - step } else { step };
                            let at = place * inner + lane;
                            let next = $join(sum, block[at]);
                            block[at] = if self.exclusive { sum } else { next };
                            sum = next;
                        }
                    }
                }
                out
            }};
        }
        macro_rules! ints {
            ($v:expr, $ty:ty) => {
                if self.product {
                    Data::from(scan!($v, 1 as $ty, <$ty>::wrapping_mul))
                } else {
                    Data::from(scan!($v, 0 as $ty, <$ty>::wrapping_add))
                }
            };
        }
        let data = match tensor(inputs, 0)?.data() {
            Data::F32(v) if self.product => Data::F32(scan!(v, 1.0f32, |a: f32, b: f32| a * b)),
            Data::F32(v) => Data::F32(scan!(v, 0.0f32, |a: f32, b: f32| a + b)),
            Data::I8(v) => ints!(v, i8),
            Data::U8(v) => ints!(v, u8),
            Data::I16(v) => ints!(v, i16),
            Data::U16(v) => ints!(v, u16),
            Data::I32(v) => ints!(v, i32),
            Data::U32(v) => ints!(v, u32),
            Data::I64(v) => ints!(v, i64),
            Data::U64(v) => ints!(v, u64),
            Data::Bool(_) => return Err(refuse("is not defined for bool")),
        };
        Ok(vec![Tensor::new(shape, data)?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Scan(self))
    }
}
