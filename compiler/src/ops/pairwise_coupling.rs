//! PairwiseCoupling: shares of all classes from those of every two. Ours: what support vectors with probabilities
//! become on import.

use super::check::{at_most, float, floats, infer_tensors, operand, refuse, result, tensor};
use super::{Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;

/// `[rows, n * n]`, of which element `i * n + j` is the share of class i among i and j and those on the diagonal are
/// zeros, to shares `[rows, n]` whose sum is one: the second method of Wu, Lin and Weng (2004), by iteration, and as
/// many turns of it as libsvm and onnxruntime take.
#[derive(Debug, Clone, PartialEq)]
pub struct PairwiseCoupling;

impl PairwiseCoupling {
    /// Turns at most.
    pub(crate) const TURNS: usize = 100;

    /// What is near enough for `n` classes.
    pub(crate) fn near(n: usize) -> f32 {
        (0.005 / n as f64) as f32
    }

    /// The classes of a row of so many elements.
    pub(crate) fn classes(elements: usize) -> Option<usize> {
        (2..).take_while(|n| n * n <= elements).find(|n| n * n == elements)
    }

    fn row(r: &[f32], n: usize) -> Vec<f32> {
        let sizes: Vec<f32> =
            (0..n).map(|i| (0..n).fold(0.0, |s, j| s + r[j * n + i] * r[j * n + i])).collect();
        let q = |i: usize, j: usize| if i == j { sizes[i] } else { -(r[j * n + i] * r[i * n + j]) };
        let mut p = vec![1.0 / n as f32; n];
        for _ in 0..Self::TURNS {
            let mut qp: Vec<f32> = (0..n).map(|i| (0..n).fold(0.0, |s, j| s + q(i, j) * p[j])).collect();
            let mut pqp = p.iter().zip(&qp).fold(0.0, |s, (p, q)| s + p * q);
            let worst = qp.iter().fold(0.0f32, |m, q| if m < (q - pqp).abs() { (q - pqp).abs() } else { m });
            if worst < Self::near(n) {
                break;
            }
            for i in 0..n {
                let step = (pqp - qp[i]) / sizes[i];
                let whole = 1.0 + step;
                p[i] += step;
                pqp = (pqp + step * (step * sizes[i] + 2.0 * qp[i])) / whole / whole;
                for j in 0..n {
                    qp[j] = (qp[j] + step * q(i, j)) / whole;
                    p[j] /= whole;
                }
            }
        }
        p
    }
}

impl Operator for PairwiseCoupling {
    const NAME: &'static str = "PairwiseCoupling";
    const OURS: bool = true;
    const OPERANDS: usize = 1;

    fn parse(_cx: &ParseCx<'_>) -> Result<Self> {
        Ok(PairwiseCoupling)
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        let classes = match *x.shape {
            [rows, elements] => Self::classes(elements).map(|n| vec![rows, n]),
            _ => None,
        };
        let shape = classes.ok_or_else(|| refuse(format!("{:?} are no shares of every two classes", x.shape)))?;
        result(x.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let types = infer_tensors(self, inputs)?;
        let shape = types.into_iter().next().map_or(Vec::new(), |ty| ty.shape);
        let n = shape.last().copied().unwrap_or(0);
        let shares = floats(tensor(inputs, 0)?)?.chunks_exact((n * n).max(1)).flat_map(|r| Self::row(r, n));
        let shares: Vec<f32> = shares.collect();
        Ok(vec![Tensor::f32(&shape, shares)])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::PairwiseCoupling)
    }
}
