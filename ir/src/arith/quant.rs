//! How stored integers stand for real values, and the limits of a fused activation.

use crate::tensor::{DType, Tensor};

/// Affine quantization of a value: `real = scale * (stored - zero_point)`.
///
/// Per tensor when `axis` is `None` (one scale, one zero point), else one pair per index of
/// `axis`. Activations are `I8` here (`U8` models are shifted by 128 on import), and `I16` where sixteen bits are kept
/// or asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Quant {
    pub dtype: DType,
    pub scale: Vec<f32>,
    pub zero_point: Vec<i32>,
    pub axis: Option<usize>,
}

impl Quant {
    pub fn per_tensor(dtype: DType, scale: f32, zero_point: i32) -> Self {
        Quant { dtype, scale: vec![scale], zero_point: vec![zero_point], axis: None }
    }
    /// The least and the greatest integer of an activation that is stored so.
    pub fn stored(&self) -> (i32, i32) {
        match self.dtype {
            DType::I16 => (i16::MIN.into(), i16::MAX.into()),
            _ => (i8::MIN.into(), i8::MAX.into()),
        }
    }
    /// The real values of stored integers: `scale * (stored - zero_point)`, as f32.
    pub fn dequantize(&self, stored: &Tensor) -> Tensor {
        let strides = crate::tensor::row_major_strides(stored.shape());
        let channels = self.scale.len().max(1);
        let real = stored.to_i64_vec().into_iter().enumerate().map(|(i, q)| {
            let c = self.axis.map_or(0, |axis| (i / strides[axis]) % stored.shape()[axis]) % channels;
            (q - i64::from(self.zero_point[c])) as f32 * self.scale[c]
        });
        Tensor::f32(stored.shape(), real.collect())
    }
}

/// The interval that an activation function fused into its producer clamps to, in real units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    pub lo: f32,
    pub hi: f32,
}

impl Clamp {
    pub const NONE: Clamp = Clamp { lo: f32::NEG_INFINITY, hi: f32::INFINITY };
    pub fn is_none(self) -> bool {
        self == Clamp::NONE
    }
    /// First `self`, then `next`.
    pub fn then(self, next: Clamp) -> Clamp {
        Clamp { lo: self.lo.max(next.lo).min(next.hi), hi: self.hi.min(next.hi).max(next.lo) }
    }
}
