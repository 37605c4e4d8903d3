//! Integer division without a trap, and the border between real and stored numbers.

/// Quotient towards zero, wrapping. The compiler excludes a divisor of zero; the answer 0 keeps
/// a panic path out of the firmware.
#[inline(always)]
pub const fn div(a: i32, b: i32) -> i32 {
    if b == 0 { 0 } else { a.wrapping_div(b) }
}

/// Remainder with the sign of `a`, wrapping; 0 for a divisor of zero.
#[inline(always)]
pub const fn rem(a: i32, b: i32) -> i32 {
    if b == 0 { 0 } else { a.wrapping_rem(b) }
}

/// As [`div`].
#[inline(always)]
pub const fn div64(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { a.wrapping_div(b) }
}

/// As [`rem`].
#[inline(always)]
pub const fn rem64(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { a.wrapping_rem(b) }
}

/// The stored integer of a real value: `x / scale + zero_point`, half to even, saturated to
/// `lo..=hi` (ONNX QuantizeLinear). NaN gives the zero point.
#[inline]
pub fn quantize(x: f32, scale: f32, zero_point: i32, lo: i32, hi: i32) -> i32 {
    let q = i64::from(crate::math::round_half_even(x / scale) as i32) + i64::from(zero_point);
    if q < i64::from(lo) {
        lo
    } else if q > i64::from(hi) {
        hi
    } else {
        q as i32
    }
}

/// The real value of a stored integer: `(q - zero_point) * scale` (ONNX DequantizeLinear).
#[inline]
pub fn dequantize(q: i32, scale: f32, zero_point: i32) -> f32 {
    q.wrapping_sub(zero_point) as f32 * scale
}
