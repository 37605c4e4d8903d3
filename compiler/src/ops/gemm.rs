//! Gemm: `alpha * A' B' + beta * C`; operands A, B, optional C.

use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, floats, infer_tensors, numeric, operand, optional, refuse, result, same_dtype, tensor};
use super::{Operand, Operator, ParseCx, ValueType, broadcast, mat_mul, Lowering};

/// `alpha * A' B' + beta * C`; operands A, B, optional C.
#[derive(Debug, Clone, PartialEq)]
pub struct Gemm {
    pub alpha: f32,
    pub beta: f32,
    pub trans_a: bool,
    pub trans_b: bool,
}

impl Operator for Gemm {
    const NAME: &'static str = "Gemm";
    const OPERANDS: usize = 3;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        Ok(Gemm {
            alpha: cx.float_or("alpha", 1.0)?,
            beta: cx.float_or("beta", 1.0)?,
            trans_a: cx.int_or("transA", 0)? != 0,
            trans_b: cx.int_or("transB", 0)? != 0,
        })
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 3)?;
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        numeric(a, "the first input")?;
        same_dtype(a, b)?;
        let (&[a0, a1], &[b0, b1]) = (a.shape, b.shape) else {
            return Err(refuse(format!("takes matrices, not shapes {:?} and {:?}", a.shape, b.shape)));
        };
        let (m, k) = if self.trans_a { (a1, a0) } else { (a0, a1) };
        let (l, n) = if self.trans_b { (b1, b0) } else { (b0, b1) };
        if k != l {
            return Err(refuse(format!("sums {k} columns against {l} rows")));
        }
        if let Some(c) = optional(inputs, 2) {
            same_dtype(a, c)?;
            if c.shape.len() > 2 || broadcast::shape(c.shape, &[m, n])? != [m, n] {
                return Err(refuse(format!("a third input of shape {:?} does not broadcast to {m} x {n}", c.shape)));
            }
        }
        result(a.dtype, vec![m, n])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let types = infer_tensors(self, inputs)?;
        let turn = |t: &Tensor, trans: bool| if trans { t.transposed(&[1, 0]) } else { t.clone() };
        let a = turn(tensor(inputs, 0)?, self.trans_a);
        let b = turn(tensor(inputs, 1)?, self.trans_b);
        let mut y = mat_mul::multiply(&a, &b)?;
        let c = inputs.get(2).copied().flatten();
        if let Data::F32(v) = y.data() {
            let mut v = v.clone();
            let c = c.filter(|_| self.beta != 0.0).map(|c| Ok((broadcast::strides(c.shape(), y.shape()), floats(c)?)));
            if self.alpha != 1.0 {
                v.iter_mut().for_each(|v| *v *= self.alpha);
            }
            if let Some((strides, c)) = c.transpose()? {
                for (v, at) in v.iter_mut().zip(broadcast::Walk::new(y.shape(), &strides, 0)) {
                    *v += self.beta * c[at];
                }
            }
            y = Tensor::new(y.shape().to_vec(), Data::F32(v))?;
        } else {
            // Integer matrices: the factors are floats, so only whole ones make sense.
            if self.alpha != 1.0 || self.beta != 1.0 {
                return Err(refuse("scales integers by `alpha` or `beta`, which is not supported"));
            }
            if let Some(c) = c {
                y = broadcast::eval(&[Some(&y), Some(c)], |x, y| x + y, |x, y| Some(x + y))?.remove(0);
            }
        }
        debug_assert_eq!(y.shape(), types[0].shape);
        Ok(vec![y])
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
        let (Some(Some(a)), Some(y)) = (inputs.first(), outputs.first()) else { return 0 };
        let k = a.shape.get(usize::from(!self.trans_a)).copied().unwrap_or(0);
        super::check::product(y.shape.iter().chain([&k]))
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Gemm(self))
    }
}
