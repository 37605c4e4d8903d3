//! Activation ranges: from intervals and from calibration data to scale and zero point.

use crate::graph::Quant;
use crate::tensor::DType;

/// The 8-bit affine quantization that covers `lo..=hi` and holds zero exactly. A range of no
/// width gives an arbitrary small scale.
pub(super) fn affine(lo: f32, hi: f32) -> Quant {
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let width = f64::from(hi) - f64::from(lo);
    let scale = (width / 255.0) as f32;
    if !(scale.is_finite() && scale >= 1e-30) {
        return Quant::per_tensor(DType::I8, 1.0 / 256.0, -128);
    }
    let zero = libm::rint(-128.0 - f64::from(lo) / f64::from(scale)).clamp(-128.0, 127.0);
    Quant::per_tensor(DType::I8, scale, zero as i32)
}

/// The real interval that a per-tensor 8-bit quantization can hold.
pub(super) fn range(quant: &Quant) -> (f32, f32) {
    let real = |stored: i32| (stored - quant.zero_point[0]) as f32 * quant.scale[0];
    (real(-128), real(127))
}
