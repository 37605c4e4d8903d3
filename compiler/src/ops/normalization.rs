//! LayerNormalization and RMSNormalization, which passes make of the operators that models spell them in.
//!
//! Law: ours alone. Models' own nodes of these names are written in others on import, so that there is one
//! way to the fused form (`passes::fuse_normalization`).

use super::check::{float, floats, infer_tensors, operand, refuse, result, sorted_axes, tensor};
use super::{Lowering, Operand, Operator, ValueType};
use crate::error::Result;
use crate::tensor::{Data, Tensor};

/// `(x - mean) / sqrt(variance + epsilon)` over `axes` (Ba, Kiros and Hinton, 2016), or without the mean
/// `x / sqrt(mean(x^2) + epsilon)` (Zhang and Sennrich, 2019).
///
/// Operands: the input; optionally a scale and a bias, constants with one element for each place of the axes,
/// in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// Sorted, not empty.
    pub axes: Vec<usize>,
    pub epsilon: f32,
    /// Whether the mean is taken away.
    pub centred: bool,
}

/// How a row of sixteen bits is normalized: see `select::wide_norm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Bits behind the point of a normalized value.
    pub(crate) fraction: u32,
    /// `n^2` times epsilon in squared steps.
    pub(crate) extra: i64,
}

impl Normalization {
    /// Elements that are normalized together.
    pub fn count(&self, shape: &[usize]) -> usize {
        self.axes.iter().filter_map(|&a| shape.get(a)).product()
    }

    /// What integers of sixteen bits (or fewer) need for rows of `n`, whose scale and zero point are given; `None` where
    /// 62 bits do not hold `n` times a sum of squares with the bits that its root needs.
    pub(crate) fn span(&self, n: usize, (scale, zero): (f64, i32)) -> Option<Span> {
        let rows = (n as f64) * (n as f64);
        let extra = libm::rint(rows * f64::from(self.epsilon) / (scale * scale));
        let far = 32768.0 + if self.centred { 0.0 } else { f64::from(zero.abs()) };
        let most = rows * far * far + extra;
        // The square root of n, rounded up to a power of two: what a normalized value stays below.
        let whole = (0..=10).find(|&bits| n <= 1 << (2 * bits))?;
        let (_, bits) = libm::frexp(most);
        // How often the greatest one is doubled twice has to leave room for the shift that brings values up.
        let fraction = (28 - whole).min(24);
        let least = (62 - bits).div_euclid(2);
        (n > 0 && least >= 28 - fraction).then_some(Span { fraction: fraction as u32, extra: extra as i64 })
    }
}

impl Operator for Normalization {
    const NAME: &'static str = "Normalization";
    const OURS: bool = true;

    fn name(&self) -> &'static str {
        if self.centred { "LayerNormalization" } else { "RMSNormalization" }
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        super::check::at_most(inputs, 3)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        sorted_axes(&self.axes, x.shape.len())?;
        let count = self.count(x.shape);
        if count == 0 {
            return Err(refuse(format!("normalizes nothing: the input has shape {:?}", x.shape)));
        }
        for (i, what) in [(1, "the scale"), (2, "the bias")] {
            if let Some(Some(by)) = inputs.get(i) {
                float(*by, what)?;
                if by.shape != [count] {
                    return Err(refuse(format!("{what} has shape {:?}, not [{count}]", by.shape)));
                }
            }
        }
        result(x.dtype, x.shape.to_vec())
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        infer_tensors(self, inputs)?;
        let x = tensor(inputs, 0)?;
        let factors = |i: usize| inputs.get(i).copied().flatten().map(floats).transpose();
        let (scale, bias) = (factors(1)?, factors(2)?);
        let (shape, values) = (x.shape(), floats(x)?);
        let strides = crate::tensor::row_major_strides(shape);
        let places = |over: bool| -> Vec<usize> {
            let axes = (0..shape.len()).filter(|a| self.axes.contains(a) == over);
            axes.fold(vec![0], |places, a| {
                let along = |p: &usize| (0..shape[a]).map(|i| p + i * strides[a]).collect::<Vec<_>>();
                places.iter().flat_map(along).collect()
            })
        };
        let (rows, inner) = (places(false), places(true));
        let mut out = vec![0.0f32; values.len()];
        for row in rows {
            let at = |p: &usize| f64::from(values[row + p]);
            let n = inner.len() as f64;
            let mean = if self.centred { inner.iter().map(at).sum::<f64>() / n } else { 0.0 };
            let square = inner.iter().map(|p| (at(p) - mean) * (at(p) - mean)).sum::<f64>() / n;
            let deviation = libm::sqrt(square + f64::from(self.epsilon));
            for (i, p) in inner.iter().enumerate() {
                let gain = scale.map_or(1.0, |s| f64::from(s[i]));
                let moved = bias.map_or(0.0, |b| f64::from(b[i]));
                out[row + p] = ((at(p) - mean) / deviation * gain + moved) as f32;
            }
        }
        Ok(vec![Tensor::new(shape.to_vec(), Data::F32(out))?])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::LayerNormalization(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_normalized_along_any_axes() {
        let op = Normalization { axes: vec![1], epsilon: 0.0, centred: true };
        let x = Tensor::f32(&[2, 2, 1], vec![1.0, 3.0, -2.0, -4.0]);
        let y = op.eval(&[Some(&x), Some(&Tensor::f32(&[2], vec![2.0, 1.0]))]).unwrap();
        assert_eq!(y[0].as_f32().unwrap(), [-2.0, 1.0, 2.0, -1.0]);
        let first = Normalization { axes: vec![0], centred: false, ..op };
        let x = Tensor::f32(&[2, 1], vec![3.0, 4.0]);
        let y = first.eval(&[Some(&x), None, Some(&Tensor::f32(&[2], vec![1.0, 0.0]))]).unwrap();
        let root = 12.5f32.sqrt();
        assert_eq!(y[0].as_f32().unwrap(), [3.0 / root + 1.0, 4.0 / root]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let op = Normalization { axes: vec![1], epsilon: 0.0, centred: true };
        let x = Tensor::f32(&[2, 3], vec![0.0; 6]);
        assert!(op.eval(&[Some(&x), Some(&Tensor::f32(&[2], vec![1.0; 2]))]).is_err());
        assert!(op.eval(&[Some(&Tensor::f32(&[2, 0], vec![]))]).is_err());
        let far = Normalization { axes: vec![2], ..op };
        assert!(far.eval(&[Some(&x)]).is_err());
    }
}
