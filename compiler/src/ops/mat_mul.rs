//! MatMul: Matrix product with NumPy broadcasting of the leading axes.

use crate::error::Result;
use crate::tensor::Tensor;
use super::check::{at_most, numeric, operand, refuse, result, same_dtype};
use super::{Operand, Operator, ParseCx, ValueType, broadcast};

/// Matrix product with NumPy broadcasting of the leading axes.
#[derive(Debug, Clone, PartialEq)]
pub struct MatMul;

impl Operator for MatMul {
    const NAME: &'static str = "MatMul";
    const OPERANDS: usize = 2;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(MatMul)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 2)?;
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        numeric(a, "the first input")?;
        same_dtype(a, b)?;
        let Some(Plan { batch, m, n, .. }) = plan(a.shape, b.shape)? else {
            return Err(refuse(format!("shapes {:?} and {:?} do not multiply", a.shape, b.shape)));
        };
        let mut shape = batch;
        // An operand of one axis is a row or a column that leaves no axis behind.
        shape.extend((a.shape.len() > 1).then_some(m));
        shape.extend((b.shape.len() > 1).then_some(n));
        result(a.dtype, shape)
    }

    fn eval(&self, _inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        Err(super::unwritten("eval"))
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
        let (Some(Some(a)), Some(y)) = (inputs.first(), outputs.first()) else { return 0 };
        super::check::product(y.shape.iter().chain(a.shape.last()))
    }
}

/// A product of matrices: `batch` of `m x k` by `k x n`.
#[derive(Debug)]
pub(crate) struct Plan {
    pub batch: Vec<usize>,
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// How two shapes multiply; `None` if they do not.
pub(crate) fn plan(a: &[usize], b: &[usize]) -> Result<Option<Plan>> {
    let (batch_a, m, k) = match a {
        [] => return Ok(None),
        [k] => (&[][..], 1, *k),
        [batch @ .., m, k] => (batch, *m, *k),
    };
    let (batch_b, l, n) = match b {
        [] => return Ok(None),
        [l] => (&[][..], *l, 1),
        [batch @ .., l, n] => (batch, *l, *n),
    };
    if k != l {
        return Ok(None);
    }
    Ok(Some(Plan { batch: broadcast::shape(batch_a, batch_b)?, m, k, n }))
}
