//! Scaled dot-product attention, which a pass makes of the operators that models spell it in.
//!
//! Law: ours alone, as [`Normalization`](super::Normalization) is: ONNX's own Attention and those of
//! `com.microsoft` are written in products and a Softmax on import, and `passes::fuse_attention` finds them all.

use super::check::{at_most, float, floats, operand, optional, refuse, result, tensor};
use super::mat_mul::{multiply, plan};
use super::{Add, Lowering, Operand, Operator, Softmax, ValueType, broadcast};
use crate::error::Result;
use crate::tensor::{DType, Data, Tensor};

/// Operands by place.
pub(crate) const QUERIES: usize = 0;
pub(crate) const KEYS: usize = 1;
pub(crate) const VALUES: usize = 2;
pub(crate) const MASK: usize = 3;

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mask {
    All,
    /// Operand [`MASK`] is added to the scores.
    Added,
    /// Operand [`MASK`] says where the score is `otherwise`: where it is not `kept`.
    Chosen { kept: bool, otherwise: f32 },
}

/// `softmax(queries * keys * scale, masked) * values` (Vaswani et al., 2017).
///
/// Operands: queries `[..., L, D]`, keys `[..., D, S]`, values `[..., S, E]`, leading axes broadcast; a mask that
/// broadcasts to `[..., L, S]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    pub scale: f32,
    pub mask: Mask,
    /// The greatest score before the mask, either sign, that samples have; integers need it.
    pub span: Option<f32>,
}

/// Keys that integers weigh: a query with the same answer for each of more would lose it in rounding.
pub(crate) const MOST_KEYS: usize = 512;

/// Bits behind the point of a score as a power of two.
const MOST_BITS: i32 = 8;
const LEAST_BITS: i32 = 4;

impl Attention {
    /// Bits behind the point of scores as powers of two, in 16 bits; `None` where they reach too far or were not
    /// seen.
    pub fn bits(&self) -> Option<u32> {
        let most = f64::from(self.span?) * std::f64::consts::LOG2_E * 1.25;
        if !most.is_finite() {
            return None;
        }
        let (_, exponent) = libm::frexp(most.max(1e-3) / 32767.0);
        let bits = (-exponent).min(MOST_BITS);
        (bits >= LEAST_BITS).then_some(bits as u32)
    }

    /// The least score that a mask need add: so far below the greatest that nothing is left of the key.
    pub fn floor(&self) -> Option<f32> {
        Some(-(2.0 * self.span? + 16.0))
    }

    /// Result and the greatest score before the mask, either sign.
    ///
    /// Errors: operands that do not fit.
    pub fn trace(&self, inputs: &[Option<&Tensor>]) -> Result<(Tensor, f32)> {
        let (q, k, v) = (tensor(inputs, QUERIES)?, tensor(inputs, KEYS)?, tensor(inputs, VALUES)?);
        let mut scores = multiply(q, k)?;
        let shape = scores.shape().to_vec();
        let scaled: Vec<f32> = floats(&scores)?.iter().map(|s| s * self.scale).collect();
        let span = scaled.iter().fold(0.0f32, |most, s| most.max(s.abs()));
        scores = Tensor::f32(&shape, scaled);
        match self.mask {
            Mask::All => {}
            Mask::Added => {
                let mut sum = Add.eval(&[Some(&scores), Some(tensor(inputs, MASK)?)])?;
                scores = sum.pop().ok_or_else(|| refuse("has no scores"))?;
            }
            Mask::Chosen { kept, otherwise } => {
                let mask = tensor(inputs, MASK)?;
                let Data::Bool(bits) = mask.data() else { return Err(refuse("has a mask that is not bool")) };
                let strides = broadcast::strides(mask.shape(), &shape);
                let places = broadcast::Walk::new(&shape, &strides, 0);
                let chosen = floats(&scores)?.iter().zip(places);
                let chosen: Vec<f32> =
                    chosen.map(|(&s, at)| if bits[at] == kept { s } else { otherwise }).collect();
                scores = Tensor::f32(&shape, chosen);
            }
        }
        if scores.shape() != shape.as_slice() {
            return Err(refuse("has a mask wider than its scores"));
        }
        let axis = shape.len().saturating_sub(1);
        let shares = Softmax { axis, flatten: false }.eval(&[Some(&scores)])?;
        let shares = shares.first().ok_or_else(|| refuse("has no scores"))?;
        Ok((multiply(shares, v)?, span))
    }
}

impl Operator for Attention {
    const NAME: &'static str = "FusedAttention";
    const OURS: bool = true;

    fn name(&self) -> &'static str {
        "Attention"
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 4)?;
        let (q, k, v) = (operand(inputs, QUERIES)?, operand(inputs, KEYS)?, operand(inputs, VALUES)?);
        for (x, what) in [(q, "the queries"), (k, "the keys"), (v, "the values")] {
            float(x, what)?;
            if x.shape.len() < 2 {
                return Err(refuse(format!("{what} have shape {:?}, two axes at least are defined", x.shape)));
            }
        }
        let apart = |a: &[usize], b: &[usize]| refuse(format!("shapes {a:?} and {b:?} do not multiply"));
        let scores = plan(q.shape, k.shape)?.ok_or_else(|| apart(q.shape, k.shape))?;
        let mut shape = scores.batch.clone();
        shape.extend([scores.m, scores.n]);
        if scores.n == 0 || scores.k == 0 {
            return Err(refuse(format!("has no keys: they have shape {:?}", k.shape)));
        }
        match (self.mask, optional(inputs, MASK)) {
            (Mask::All, None) => {}
            (Mask::All, Some(_)) => return Err(refuse("has a mask that it does not read")),
            (_, None) => return Err(refuse("has no mask")),
            (mask, Some(m)) => {
                let wanted = if mask == Mask::Added { DType::F32 } else { DType::Bool };
                if m.dtype != wanted || broadcast::shape(&shape, m.shape)? != shape {
                    return Err(refuse(format!(
                        "has a mask of type {} and shape {:?} for scores of shape {shape:?}",
                        m.dtype, m.shape
                    )));
                }
            }
        }
        let out = plan(&shape, v.shape)?.ok_or_else(|| apart(&shape, v.shape))?;
        let mut shape = out.batch.clone();
        shape.extend([out.m, out.n]);
        result(q.dtype, shape)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        super::check::infer_tensors(self, inputs)?;
        Ok(vec![self.trace(inputs)?.0])
    }

    fn macs(&self, inputs: &[Option<Operand<'_>>], outputs: &[ValueType]) -> u64 {
        let (Some(q), Some(k), Some(y)) = (optional(inputs, QUERIES), optional(inputs, KEYS), outputs.first())
        else {
            return 0;
        };
        let (Some((&e, rows)), Some(&d), Some(&s)) =
            (y.shape.split_last(), q.shape.last(), k.shape.last())
        else {
            return 0;
        };
        let row = (d as u64).saturating_add(e as u64).saturating_mul(s as u64);
        super::check::product(rows).saturating_mul(row)
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Attention(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(shape: &[usize], seed: usize) -> Tensor {
        let n = shape.iter().product();
        Tensor::f32(shape, (0..n).map(|i| ((i * 37 + seed * 11) % 23) as f32 / 11.5 - 1.0).collect())
    }

    #[test]
    fn a_mask_chooses_as_adding_does() {
        let (q, k, v) = (noise(&[2, 3, 4], 1), noise(&[2, 4, 5], 2), noise(&[2, 5, 2], 3));
        let bits = [true, false, true, true, false];
        let chosen = Tensor::new(vec![5], Data::Bool(bits.to_vec())).unwrap();
        let added = Tensor::f32(&[5], bits.iter().map(|&b| if b { 0.0 } else { -1e9 }).collect());
        let of = |mask: Mask, m: &Tensor| {
            let op = Attention { scale: 0.5, mask, span: None };
            op.eval(&[Some(&q), Some(&k), Some(&v), Some(m)]).unwrap().remove(0)
        };
        let a = of(Mask::Added, &added);
        assert_eq!(a.shape(), [2, 3, 2]);
        assert_eq!(a, of(Mask::Chosen { kept: true, otherwise: f32::NEG_INFINITY }, &chosen));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (q, k, v) = (noise(&[3, 4], 1), noise(&[4, 5], 2), noise(&[5, 2], 3));
        let op = Attention { scale: 1.0, mask: Mask::All, span: None };
        assert!(op.eval(&[Some(&q), Some(&k), Some(&v)]).is_ok());
        assert!(op.eval(&[Some(&q), Some(&v), Some(&v)]).is_err());
        assert!(op.eval(&[Some(&q), Some(&k), Some(&q)]).is_err());
        assert!(op.eval(&[Some(&q), Some(&k), Some(&v), Some(&q)]).is_err());
        let masked = Attention { mask: Mask::Added, ..op };
        assert!(masked.eval(&[Some(&q), Some(&k), Some(&v), Some(&noise(&[2, 3, 5], 1))]).is_err());
        assert!(masked.eval(&[Some(&q), Some(&k), Some(&v)]).is_err());
    }

    #[test]
    fn scores_have_as_many_bits_as_fit() {
        let bits = |span: f32| Attention { scale: 1.0, mask: Mask::All, span: Some(span) }.bits();
        assert_eq!(bits(0.0), Some(8));
        assert_eq!(bits(70.0), Some(8));
        assert_eq!(bits(80.0), Some(7));
        assert_eq!(bits(1000.0), Some(4));
        assert_eq!(bits(3000.0), None);
        assert_eq!(bits(f32::INFINITY), None);
    }
}
