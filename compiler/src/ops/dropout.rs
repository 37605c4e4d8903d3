//! Dropout: Identity at inference; the mask output is all true.

use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};
use super::check::{at_most, operand, refuse, value_type};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Identity at inference; the mask output is all true.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout;

impl Operator for Dropout {
    const NAME: &'static str = "Dropout";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        // Training with a ratio of 0 drops nothing.
        let training = cx.opset >= 12
            && cx.const_tensor(2, "training_mode")?.is_some_and(|t| t.to_i64_vec().iter().any(|&v| v != 0));
        if training {
            let ratio = cx.const_tensor(1, "ratio")?.map_or(vec![0.5], Tensor::to_f64_vec);
            if ratio.iter().any(|&r| r != 0.0) {
                return Err(refuse("is in training mode").help("export the model for inference"));
            }
        }
        Ok(Dropout)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        Ok(vec![value_type(x.dtype, x.shape.to_vec())?, value_type(DType::Bool, x.shape.to_vec())?])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = super::check::tensor(inputs, 0)?;
        let mask = Tensor::new(x.shape().to_vec(), Data::Bool(vec![true; x.len()]))?;
        Ok(vec![x.clone(), mask])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Reshape)
    }
}
