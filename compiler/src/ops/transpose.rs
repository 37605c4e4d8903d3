//! Transpose: Output axis i is input axis perm[i].

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, operand, refuse, result, sizes};
use super::{Operand, Operator, ParseCx, ValueType, Lowering};

/// Output axis i is input axis perm[i].
#[derive(Debug, Clone, PartialEq)]
pub struct Transpose {
    pub perm: Vec<usize>,
}

impl Operator for Transpose {
    const NAME: &'static str = "Transpose";
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        let rank = cx.operand(0)?.shape.len();
        let perm = match cx.ints("perm")? {
            Some(perm) => sizes(perm, "perm")?,
            None => (0..rank).rev().collect(),
        };
        Ok(Transpose { perm })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.shape.len()) {
            return Err(refuse(format!("{:?} is no permutation of the axes of {:?}", self.perm, x.shape)));
        }
        result(x.dtype, self.perm.iter().map(|&p| x.shape[p]).collect())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::infer_tensors(self, inputs)?;
        Ok(vec![super::check::tensor(inputs, 0)?.transposed(&self.perm)])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Transpose { perm: &self.perm })
    }
}
