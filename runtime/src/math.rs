//! Float functions with one result on every machine.
//!
//! In: any `f32`, infinities and NaN included. Out: the function's value to within about two
//! units in the last place; `sqrt`, `floor`, `round`, `min`, `max` and `abs` are exact.
//!
//! Law: only `+ - * /`, comparisons, bit operations and conversions, in a fixed order and never
//! fused, so that this file and its twin `include/secateur_math.h` give the same bits. Change
//! both together. (Which NaN comes out is not fixed: processors differ.)
//!
//! The polynomials are minimax fits made for this file (Lawson's iteration on Chebyshev nodes).

/// `ln 2`, split so that `k * LN2_HI` is exact for every exponent `k` of a float.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;

/// 2 to the `k`, for `-126 <= k <= 127`.
#[inline(always)]
fn pow2(k: i32) -> f32 {
    f32::from_bits(((k + 127) << 23) as u32)
}

/// The larger of two; the second if they compare neither way (NaN, zeros of both signs).
#[inline(always)]
pub fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller of two; the second if they compare neither way (NaN, zeros of both signs).
#[inline(always)]
pub fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Magnitude: the sign bit cleared, also of NaN.
#[inline(always)]
pub fn abs(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0x7fff_ffff)
}

/// The integer by which a float compares: a lesser float has a lesser one, zeros apart, of which the negative
/// one comes first. What is no number is `i32::MAX`, above everything.
#[inline(always)]
pub fn order(x: f32) -> i32 {
    let bits = x.to_bits();
    let magnitude = (bits & 0x7fff_ffff) as i32;
    if magnitude > 0x7f80_0000 {
        return i32::MAX;
    }
    // The greater the magnitude of a negative float, the lesser its complement.
    magnitude ^ -((bits >> 31) as i32)
}

/// Largest integer not above `x`; keeps the sign of zero.
#[inline]
pub fn floor(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - 127;
    if exponent >= 23 {
        return x; // already an integer, or not finite
    }
    if exponent < 0 {
        if bits & 0x7fff_ffff == 0 {
            return x;
        }
        return if bits >> 31 != 0 { -1.0 } else { 0.0 };
    }
    let below = 0x007f_ffffu32 >> exponent;
    if bits & below == 0 {
        return x;
    }
    // Adding one unit of the integer part to the bits of a negative number rounds it away.
    let up = if bits >> 31 != 0 { below } else { 0 };
    f32::from_bits(bits.wrapping_add(up) & !below)
}

/// Nearest integer, halves to the even one; keeps the sign of zero.
#[inline]
pub fn round_half_even(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) & 0xff) as i32 - 127;
    if exponent >= 23 {
        return x; // already an integer, or not finite
    }
    let sign = bits & 0x8000_0000;
    if exponent < -1 {
        return f32::from_bits(sign); // below one half
    }
    if exponent == -1 {
        // One half goes to zero, everything above it to one.
        return f32::from_bits(if bits & 0x007f_ffff == 0 { sign } else { sign | 0x3f80_0000 });
    }
    let below = 0x007f_ffffu32 >> exponent;
    let odd = (bits >> (23 - exponent)) & 1;
    // For 1 <= x < 2 that bit belongs to the exponent field, whose lowest bit is one: odd.
    let half = below >> 1;
    f32::from_bits(bits.wrapping_add(half + odd) & !below)
}

/// Correctly rounded square root; NaN below zero.
#[inline]
pub fn sqrt(x: f32) -> f32 {
    let mut bits = x.to_bits();
    if bits & 0x7fff_ffff == 0 {
        return x;
    }
    if bits >= 0x7f80_0000 {
        // Plus infinity and NaN stay; everything negative has no root.
        return if bits == 0x7f80_0000 || bits & 0x7fff_ffff > 0x7f80_0000 { x } else { f32::NAN };
    }
    let mut exponent = (bits >> 23) as i32 - 127;
    if exponent == -127 {
        // Subnormal: bring the leading one to its place.
        let shift = bits.leading_zeros() as i32 - 8;
        bits <<= shift;
        exponent = -126 - shift;
    }
    let mut square = u64::from((bits & 0x007f_ffff) | 0x0080_0000) << 25;
    if exponent & 1 != 0 {
        square <<= 1;
    }
    // The greatest `root` with `root * root <= square`: 25 bits, the last one for rounding. It
    // is never a tie, since the square of an odd 25-bit number is odd and `square` is even.
    let (mut root, mut bit) = (0u32, 1u32 << 24);
    while bit != 0 {
        let tried = root | bit;
        if u64::from(tried) * u64::from(tried) <= square {
            root = tried;
        }
        bit >>= 1;
    }
    // The leading one of the root adds one to the exponent field.
    f32::from_bits((((exponent >> 1) + 126) << 23) as u32 + ((root + 1) >> 1))
}

/// e to the `x`. Overflows to infinity, underflows through the subnormals to zero.
#[inline]
pub fn exp(x: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    if x > 88.722_84 {
        return f32::INFINITY;
    }
    if x < -103.972_08 {
        return 0.0;
    }
    // x = k ln 2 + r, |r| <= ln 2 / 2
    let k = (x * core::f32::consts::LOG2_E + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    let kf = k as f32;
    let r = (x - kf * LN2_HI) - kf * LN2_LO;
    let p = 0.008_369_419 + r * 0.001_381_314_2;
    let p = 0.166_665_15 + r * (0.041_668_456 + r * p);
    let p = 0.499_999_94 + r * p;
    let y = 1.0 + (r + (r * r) * p);
    // In two steps: 2^k itself may be no normal number.
    let half = k >> 1;
    (y * pow2(half)) * pow2(k - half)
}

/// Natural logarithm; minus infinity at zero, NaN below.
#[inline]
pub fn log(x: f32) -> f32 {
    let mut bits = x.to_bits();
    if bits & 0x7fff_ffff == 0 {
        return f32::NEG_INFINITY;
    }
    if bits >= 0x7f80_0000 {
        return if bits == 0x7f80_0000 || bits & 0x7fff_ffff > 0x7f80_0000 { x } else { f32::NAN };
    }
    let mut k = 0;
    if bits < 0x0080_0000 {
        let shift = bits.leading_zeros() as i32 - 8;
        bits <<= shift;
        // The leading one now stands where the exponent field counts one.
        k = -shift;
    }
    // x = 2^k * m, sqrt(1/2) <= m < sqrt(2)
    bits = bits.wrapping_add(0x3f80_0000 - 0x3f35_04f3);
    k += (bits >> 23) as i32 - 127;
    let m = f32::from_bits((bits & 0x007f_ffff) + 0x3f35_04f3);
    let f = m - 1.0;
    let p = 0.127_664_83 + f * -0.076_222_286;
    let p = 0.142_015_47 + f * (-0.131_668_18 + f * p);
    let p = 0.200_012_13 + f * (-0.166_227_04 + f * p);
    let p = 0.333_333_3 + f * (-0.250_008_37 + f * p);
    let kf = k as f32;
    let square = f * f;
    let tail = (square * f) * p + kf * LN2_LO;
    let tail = tail - 0.5 * square;
    (f + tail) + kf * LN2_HI
}

/// Hyperbolic tangent; odd, exactly one from about 9.02 on.
#[inline]
pub fn tanh(x: f32) -> f32 {
    let a = abs(x);
    if a < 1.0e-4 {
        return x; // keeps the sign of zero
    }
    if a < 0.625 {
        let s = x * x;
        let p = -0.053_946_61 + s * (0.021_699_838 + s * (-0.008_175_184 + s * 0.002_140_870_3));
        let p = -0.333_333_3 + s * (0.133_332_04 + s * p);
        return x + (x * s) * p;
    }
    let t = if a > 9.1 { 1.0 } else { 1.0 - 2.0 / (exp(a + a) + 1.0) };
    if x < 0.0 {
        -t
    } else if x > 0.0 {
        t
    } else {
        x // NaN
    }
}

/// `1 / (1 + exp(-x))`.
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    if x < 0.0 {
        let e = exp(x);
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + exp(-x))
    }
}
