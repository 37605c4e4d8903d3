//! Constant: A constant; folded on import.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, refuse, result};
use super::{Attr, Operand, Operator, ParseCx, ValueType};

/// A constant; folded on import.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub value: Tensor,
}

impl Operator for Constant {
    const NAME: &'static str = "Constant";
    const OPERANDS: usize = 0;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let value = if let Some(t) = cx.tensor("value")? {
            t.clone()
        } else if let Some(v) = cx.int("value_int")? {
            Tensor::i64(&[], vec![v])
        } else if let Some(v) = cx.ints("value_ints")? {
            Tensor::i64(&[v.len()], v.to_vec())
        } else {
            match (cx.attrs.get("value_float"), cx.attrs.get("value_floats")) {
                (Some(Attr::Float(v)), _) => Tensor::f32(&[], vec![*v]),
                (_, Some(Attr::Floats(v))) => Tensor::f32(&[v.len()], v.clone()),
                _ => {
                    return Err(refuse("has no value that can be read")
                        .help("supported are value, value_int, value_ints, value_float and value_floats"));
                }
            }
        };
        Ok(Constant { value })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 0)?;
        result(self.value.dtype(), self.value.shape().to_vec())
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Ok(vec![self.value.clone()])
    }
}
