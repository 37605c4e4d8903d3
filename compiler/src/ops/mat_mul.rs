//! MatMul: Matrix product with NumPy broadcasting of the leading axes.

use super::product::{copy, product};
use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, numeric, operand, refuse, result, same_dtype, tensor};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, Lowering};

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

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::infer_tensors(self, inputs)?;
        Ok(vec![multiply(tensor(inputs, 0)?, tensor(inputs, 1)?)?])
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
        let (Some(Some(a)), Some(y)) = (inputs.first(), outputs.first()) else { return 0 };
        super::check::product(y.shape.iter().chain(a.shape.last()))
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::MatMul)
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

/// The product of two tensors of one type.
pub(crate) fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let apart = || refuse(format!("shapes {:?} and {:?} do not multiply", a.shape(), b.shape()));
    let Plan { batch, m, k, n } = plan(a.shape(), b.shape())?.ok_or_else(apart)?;
    // Matrices are the elements that the walk over the leading axes meets.
    let matrices = |t: &Tensor, size: usize| -> Vec<usize> {
        let lead = &t.shape()[..t.shape().len().saturating_sub(2)];
        let strides = broadcast::strides(lead, &batch);
        broadcast::Walk::new(&batch, &strides, 0).map(|i| i * size).collect()
    };
    let pairs: Vec<(usize, usize)> = matrices(a, m * k).into_iter().zip(matrices(b, k * n)).collect();
    let mut shape = batch.clone();
    shape.extend((a.shape().len() > 1).then_some(m));
    shape.extend((b.shape().len() > 1).then_some(n));
    macro_rules! ints {
        ($a:expr, $b:expr, $ty:ty) => {{
            let mut out: Vec<$ty> = Vec::with_capacity(pairs.len() * m * n);
            for &(pa, pb) in &pairs {
                for (r, c) in (0..m).flat_map(|r| (0..n).map(move |c| (r, c))) {
                    let term = |i: usize| $a[pa + r * k + i].wrapping_mul($b[pb + i * n + c]);
                    out.push((0..k).fold(0, |sum: $ty, i| sum.wrapping_add(term(i))));
                }
            }
            Data::from(out)
        }};
    }
    let data = match (a.data(), b.data()) {
        (Data::F32(x), Data::F32(y)) => {
            let mut out = vec![0.0; pairs.len() * m * n];
            for (&(pa, pb), out) in pairs.iter().zip(out.chunks_mut((m * n).max(1))) {
                product((m, k, n), &x[pa..pa + m * k], copy(&y[pb..pb + k * n], n), out);
            }
            Data::F32(out)
        }
        (Data::I8(x), Data::I8(y)) => ints!(x, y, i8),
        (Data::U8(x), Data::U8(y)) => ints!(x, y, u8),
        (Data::I16(x), Data::I16(y)) => ints!(x, y, i16),
        (Data::U16(x), Data::U16(y)) => ints!(x, y, u16),
        (Data::I32(x), Data::I32(y)) => ints!(x, y, i32),
        (Data::U32(x), Data::U32(y)) => ints!(x, y, u32),
        (Data::I64(x), Data::I64(y)) => ints!(x, y, i64),
        (Data::U64(x), Data::U64(y)) => ints!(x, y, u64),
        _ => return Err(apart()),
    };
    Tensor::new(shape, data)
}
