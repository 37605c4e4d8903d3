//! Dense: Ours: fully connected with constant weights. Operands: x [..., K], w [N, K], optional bias [N]; result [..., N].

use super::product::{copy, product, transpose};
use crate::error::Result;
use crate::tensor::{Data, Tensor};
use super::check::{at_most, float, floats, operand, optional, refuse, result, result_shape, tensor};
use super::{Operand, Operator, ValueType, Lowering};

/// Ours: fully connected with constant weights. Operands: x [..., K], w [N, K], optional bias [N]; result [..., N].
#[derive(Debug, Clone, PartialEq)]
pub struct Dense;

impl Operator for Dense {
    const NAME: &'static str = "Dense";
    const OURS: bool = true;
    const OPERANDS: usize = 3;

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 3)?;
        let (x, w) = (operand(inputs, 0)?, operand(inputs, 1)?);
        float(x, "the input")?;
        float(w, "the weight")?;
        let (Some((&k, lead)), &[n, columns]) = (x.shape.split_last(), w.shape) else {
            return Err(refuse(format!("weights of shape {:?} do not fit an input of shape {:?}", w.shape, x.shape)));
        };
        if k != columns {
            return Err(refuse(format!("the input has {k} columns, the weights have {columns}")));
        }
        if let Some(bias) = optional(inputs, 2) {
            float(bias, "the bias")?;
            if bias.shape != [n] {
                return Err(refuse(format!("a bias of shape {:?} does not fit {n} outputs", bias.shape)));
            }
        }
        let mut shape = lead.to_vec();
        shape.push(n);
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let shape = result_shape(self, inputs)?;
        let (x, w) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let (n, k) = (w.shape()[0], w.shape()[1]);
        let rows = x.len().checked_div(k).unwrap_or_else(|| shape[..shape.len() - 1].iter().product());
        let mut out = vec![0.0; rows * n];
        // One row is the common case: weights then stand on the left, where they need no copy.
        if rows == 1 {
            product((n, k, 1), floats(w)?, copy(floats(x)?, 1), &mut out);
        } else {
            product((rows, k, n), floats(x)?, transpose(floats(w)?, k), &mut out);
        }
        if let Some(bias) = inputs.get(2).copied().flatten() {
            out.iter_mut().zip(floats(bias)?.iter().cycle()).for_each(|(v, &b)| *v += b);
        }
        Ok(vec![Tensor::new(shape, Data::F32(out))?])
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
        let (Some(Some(x)), Some(y)) = (inputs.first(), outputs.first()) else { return 0 };
        super::check::product(y.shape.iter().chain(x.shape.last()))
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Dense)
    }
}
