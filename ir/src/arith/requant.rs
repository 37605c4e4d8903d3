//! Requantization: from an i32 accumulator to the stored output integer.
//!
//! In: real multipliers (input scale * weight scale / output scale) and the range of each
//! channel's accumulator. Out: 31-bit integer multipliers and shifts, and the rule itself as
//! an integer function.
//!
//! Law: `out = clamp(zp + ((acc * m + (1 << (s - 1))) >> s))`, one rounding, half up, on every
//! core. A layer gets one shift for all channels: the first of the usual ones that provably changes no output, or
//! moves what is rounded by at most a 4,096th of a step.

use crate::arith::quant::{Clamp, Quant};
use crate::error::{Error, Result, Site};

/// Greatest shift in use. It keeps the zero point, moved up by `s - 32`, and the high word of
/// the product within 31 bits together, so that one 32-bit addition serves both.
pub const MAX_SHIFT: u32 = 54;
/// From this shift on the rule needs only the high word of the product: the rounding constant
/// `1 << (s - 1)` is then a multiple of 2^32, and flooring twice equals flooring once.
pub const HIGH_SHIFT: u32 = 33;

/// Shifts that layers share where they can, so that native kernels, which hold the shift as a
/// constant, are the same function: the first has room for multipliers from 2^-14 to 1/4, which is nearly all that
/// models have.
const USUAL_SHIFTS: [u32; 4] = [HIGH_SHIFT, 36, 39, 42];

/// `real ~ m / 2^s`, `1 <= m < 2^31`, `1 <= s <= MAX_SHIFT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multiplier {
    pub m: i32,
    pub s: u32,
}

/// The nearest multiplier of full precision (31 bits, fewer only below 2^-23).
///
/// Errors: `real` is not finite and positive, or at least 2^30.
pub fn multiplier(real: f64) -> Result<Multiplier> {
    if !(real > 0.0 && real < f64::from(1u32 << 30)) {
        return Err(Error::model(
            Site::Whole,
            format!("the quotient of scales {real:e} cannot be a fixed-point multiplier"),
        )
        .help("scales must be positive and finite, and not further apart than 2^30"));
    }
    let (_, exponent) = libm::frexp(real);
    // real in [2^(exponent-1), 2^exponent), so real * 2^(31-exponent) fills 31 bits.
    let mut s = (31 - exponent).clamp(1, MAX_SHIFT as i32) as u32;
    let mut m = libm::rint(libm::ldexp(real, s as i32));
    if m >= f64::from(1u32 << 31) {
        s -= 1;
        m = libm::rint(libm::ldexp(real, s as i32));
    }
    Ok(Multiplier { m: (m as i64).clamp(1, i64::from(i32::MAX)) as i32, s: s.max(1) })
}

/// The rule.
pub fn requantize(acc: i32, by: Multiplier, zp: i32, lo: i32, hi: i32) -> i32 {
    let scaled = (i64::from(acc) * i64::from(by.m) + (1i64 << (by.s - 1))) >> by.s;
    (scaled + i64::from(zp)).clamp(i64::from(lo), i64::from(hi)) as i32
}

/// Where outputs go: zero point and integer limits (fused activation included).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub zp: i32,
    pub lo: i32,
    pub hi: i32,
}

impl Output {
    /// Limits of an integer result with a fused activation: the integers that the real limits
    /// quantize to (half to even, as QuantizeLinear rounds), within those of its type.
    pub fn new(quant: &Quant, clamp: Clamp) -> Result<Output> {
        let ([scale], [zp]) = (quant.scale.as_slice(), quant.zero_point.as_slice()) else {
            return Err(Error::model(Site::Whole, "an activation is quantized per channel")
                .help("only weights may be quantized per channel"));
        };
        let (least, most) = quant.stored();
        let limit = |real: f32| -> i32 {
            if real.is_infinite() {
                return if real < 0.0 { least } else { most };
            }
            let q = f64::from(libm::rintf(real / scale)) + f64::from(*zp);
            q.clamp(least.into(), most.into()) as i32
        };
        Ok(Output { zp: *zp, lo: limit(clamp.lo), hi: limit(clamp.hi) })
    }
}

/// Multipliers and shifts of a layer, one per output channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requant {
    pub m: Vec<i32>,
    pub shift: Shift,
    pub out: Output,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shift {
    /// One for all channels.
    Layer(u32),
    Channel(Vec<u32>),
}

impl Requant {
    pub fn at(&self, channel: usize) -> Multiplier {
        let s = match &self.shift {
            Shift::Layer(s) => *s,
            Shift::Channel(s) => s[channel],
        };
        Multiplier { m: self.m[channel], s }
    }
    /// What channel `channel` makes of an accumulator.
    pub fn apply(&self, channel: usize, acc: i32) -> i32 {
        requantize(acc, self.at(channel), self.out.zp, self.out.lo, self.out.hi)
    }
    /// Whether the high word of a product is enough in every channel.
    pub fn by_high_word(&self) -> bool {
        let serves = |s: &u32| by_high_word(*s, self.out.zp);
        match &self.shift {
            Shift::Layer(s) => serves(s),
            Shift::Channel(s) => s.iter().all(serves),
        }
    }
}

/// Multipliers for channels whose accumulators lie within `acc[c].0 ..= acc[c].1`.
///
/// The meaning is fixed by the full-precision multipliers. A common shift is taken when every channel has a multiplier
/// for it that maps each reachable accumulator to the same output, or one that moves no sum by more than [`MOST_MOVED`]
/// of a step before its rounding: the first of the usual shifts, else the least that a channel has. Layers of many
/// channels hardly have the former, and would each need native kernels of their own.
///
/// Errors: those of [`multiplier`].
pub fn requant(real: &[f64], acc: &[(i32, i32)], out: Output) -> Result<Requant> {
    let full = real.iter().map(|&r| multiplier(r)).collect::<Result<Vec<_>>>()?;
    let least = full.iter().map(|f| f.s).min().unwrap_or(MAX_SHIFT);
    let shared = |s: u32| -> Option<Requant> {
        let each = full.iter().zip(acc).map(|(&f, &range)| equivalent(f, s, range, out));
        let m = each.collect::<Option<Vec<i32>>>().or_else(|| near(real, acc, s, out, MOST_MOVED))?;
        Some(Requant { m, shift: Shift::Layer(s), out })
    };
    let usual = USUAL_SHIFTS.into_iter().filter(|&s| s <= least);
    Ok(usual.chain([least]).find_map(shared).unwrap_or_else(|| each(&full, out)))
}

/// A shift for each channel.
fn each(full: &[Multiplier], out: Output) -> Requant {
    let shift = Shift::Channel(full.iter().map(|f| f.s).collect());
    Requant { m: full.iter().map(|f| f.m).collect(), shift, out }
}

/// The nearest multipliers for a shift, if none of them moves a sum of its channel's range by more than `most` of
/// a step. Sums that are a step beyond the limits of the output do not count: they stay beyond.
fn near(real: &[f64], acc: &[(i32, i32)], s: u32, out: Output, most: f64) -> Option<Vec<i32>> {
    let steps = f64::from(out.hi.abs_diff(out.zp).max(out.lo.abs_diff(out.zp))) + 1.0;
    let each = real.iter().zip(acc).map(|(&real, &(lo, hi))| {
        let exact = libm::ldexp(real, s as i32);
        let m = libm::rint(exact).max(1.0);
        let sum = f64::from(lo).abs().max(f64::from(hi).abs()).min(steps / real);
        let off = libm::ldexp((m - exact).abs() * sum, -(s as i32));
        (off <= most && m <= f64::from(i32::MAX)).then_some(m as i32)
    });
    each.collect()
}

/// The usual shifts of results of sixteen bits, whose multipliers need more bits.
const WIDE_SHIFTS: [u32; 3] = [36, 39, 42];

/// How far [`requant`] may move a sum before its rounding, in steps, for the sake of a usual shift.
pub const MOST_MOVED: f64 = 1.0 / 4096.0;

/// By how much of a step a result may leave the real number beside its one rounding, by [`requant_wide`].
const MOST_OFF: f64 = 1.0 / 256.0;

/// The same for results of sixteen bits that only the compiler names, as the sums in a recurrent layer: one shift, a
/// usual one if possible, by which no result leaves the real number by more than a 256th of its step beside its
/// rounding. Shifts of each channel only where there is none.
///
/// Errors: those of [`multiplier`].
pub fn requant_wide(real: &[f64], acc: &[(i32, i32)], out: Output) -> Result<Requant> {
    let full = real.iter().map(|&r| multiplier(r)).collect::<Result<Vec<_>>>()?;
    let least = full.iter().map(|f| f.s).min().unwrap_or(MAX_SHIFT);
    let shared = |s: u32| -> Option<Requant> {
        Some(Requant { m: near(real, acc, s, out, MOST_OFF)?, shift: Shift::Layer(s), out })
    };
    let usual = WIDE_SHIFTS.into_iter().filter(|&s| s < least);
    Ok(usual.chain([least]).find_map(shared).unwrap_or_else(|| each(&full, out)))
}

/// A multiplier for shift `s` with the same output as `full` on every accumulator of `range`.
///
/// Outputs are a staircase in the accumulator: it is enough to keep each of its at most 255
/// steps where it is. Each step bounds the multiplier from both sides; any integer within all
/// bounds will do.
pub fn equivalent(full: Multiplier, s: u32, range: (i32, i32), out: Output) -> Option<i32> {
    if s == full.s {
        return Some(full.m);
    }
    let (first, last) = (i128::from(range.0), i128::from(range.1));
    let (mut least, mut most) = (1i128, i128::from(i32::MAX));
    // The smallest product that reaches `level` above the zero point, for a shift.
    let product = |level: i32, s: u32| (i128::from(level) << s) - (1i128 << (s - 1));
    for q in out.lo + 1..=out.hi {
        let level = q - out.zp;
        let step = div_ceil(product(level, full.s), i128::from(full.m));
        let want = product(level, s);
        // The first accumulator at or above the step must reach it: a * m >= want.
        let a = step.max(first);
        if a <= last {
            match a.signum() {
                1 => least = least.max(div_ceil(want, a)),
                -1 => most = most.min(div_ceil(-want + 1, -a) - 1),
                _ if want > 0 => return None,
                _ => {}
            }
        }
        // The last one below must not: a * m < want.
        let b = (step - 1).min(last);
        if b >= first {
            match b.signum() {
                1 => most = most.min(div_ceil(want, b) - 1),
                -1 => least = least.max(div_ceil(-want + 1, -b)),
                _ if want <= 0 => return None,
                _ => {}
            }
        }
    }
    if least > most {
        return None;
    }
    let nearest = if s < full.s {
        let by = full.s - s;
        (i128::from(full.m) + (1i128 << (by - 1))) >> by
    } else {
        i128::from(full.m) << (s - full.s)
    };
    Some(nearest.clamp(least, most) as i32)
}

/// Quotient rounded up, for a positive divisor.
fn div_ceil(a: i128, b: i128) -> i128 {
    -(-a).div_euclid(b)
}

/// Whether [`high`] serves a shift: the high word of a product, the rounding constant and the zero point, moved up,
/// fit 31 bits together. Zero points of eight bits always do.
pub fn by_high_word(s: u32, zp: i32) -> bool {
    (HIGH_SHIFT..=MAX_SHIFT).contains(&s) && i64::from(zp).abs() << (s - 32) <= 1 << 29
}

/// Rounding constant (zero point included) and remaining shift of `requantize_high`, where [`by_high_word`] says so.
pub fn high(s: u32, zp: i32) -> (i32, u32) {
    let sh = s - 32;
    ((zp << sh) + (1 << (sh - 1)), sh)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Output = Output { zp: -3, lo: -128, hi: 127 };

    /// Exact rational arithmetic: floor(acc * m / 2^s + 1/2).
    fn exact(acc: i64, m: i64, s: u32, out: Output) -> i32 {
        let num = i128::from(acc) * i128::from(m) * 2 + (1i128 << s);
        let q = num.div_euclid(1i128 << (s + 1)) + i128::from(out.zp);
        q.clamp(i128::from(out.lo), i128::from(out.hi)) as i32
    }

    #[test]
    fn multipliers_fill_31_bits_and_are_near() {
        for real in [1e-7, 0.00123, 0.2499999999, 0.25, 0.5, 0.9999999999, 1.0, 1.5, 300.0, 1e8] {
            let Multiplier { m, s } = multiplier(real).unwrap();
            assert!(m >= 1 << 30 && (1..=MAX_SHIFT).contains(&s), "{real}: {m} {s}");
            let error = (f64::from(m) / libm::ldexp(1.0, s as i32) - real).abs() / real;
            assert!(error <= 1.0 / f64::from(1u32 << 31), "{real}: {error:e}");
        }
        // Tiny ones keep what the greatest shift leaves, and never become zero.
        assert_eq!(multiplier(1e-30).unwrap(), Multiplier { m: 1, s: MAX_SHIFT });
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e9] {
            assert!(multiplier(bad).is_err());
        }
    }

    #[test]
    fn rule_is_one_rounding_half_up() {
        let by = Multiplier { m: 1 << 30, s: 31 };
        for (acc, want) in [(1, 1), (-1, 0), (3, 2), (-3, -1), (2, 1), (i32::MAX, 127), (i32::MIN, -128)] {
            assert_eq!(requantize(acc, by, 0, -128, 127), want);
        }
        let mut seed = 1u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let acc = (seed >> 32) as i32 >> (seed & 31);
            let by = Multiplier {
                m: ((seed >> 20) as i32 & i32::MAX).max(1),
                s: 1 + (seed >> 7) as u32 % MAX_SHIFT,
            };
            assert_eq!(
                requantize(acc, by, -3, -128, 127),
                exact(i64::from(acc), i64::from(by.m), by.s, FULL)
            );
            if by.s >= HIGH_SHIFT {
                let (rnd, sh) = high(by.s, -3);
                let word = ((i64::from(acc) * i64::from(by.m)) >> 32) as i32;
                let got = (word.checked_add(rnd).unwrap() >> sh).clamp(-128, 127);
                assert_eq!(got, requantize(acc, by, -3, -128, 127));
            }
        }
    }

    #[test]
    fn layers_share_the_first_usual_shift_and_hardly_an_output_changes() {
        let mut seed = 7u64;
        let (mut all, mut moved) = (0, 0);
        for case in 0..60 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let base = 0.002 + (seed >> 40) as f64 / 1e9;
            let real = [base, base * 0.37, base * 0.05, base * 0.011];
            let range = (-20_000 + case * 300, 15_000);
            let out = Output { zp: case - 30, lo: -128, hi: if case % 3 == 0 { 40 } else { 127 } };
            let r = requant(&real, &[range; 4], out).unwrap();
            assert_eq!(r.shift, Shift::Layer(USUAL_SHIFTS[0]), "case {case}");
            for (c, &real) in real.iter().enumerate() {
                let full = multiplier(real).unwrap();
                for acc in range.0..=range.1 {
                    let want = exact(i64::from(acc), i64::from(full.m), full.s, out);
                    let sum = f64::from(acc) * real + 0.5;
                    let tie = (sum - sum.round()).abs();
                    let got = r.apply(c, acc);
                    assert!(
                        got == want || tie <= MOST_MOVED,
                        "case {case} channel {c} acc {acc}: {got}, {want}"
                    );
                    (all, moved) = (all + 1, moved + i32::from(got != want));
                }
            }
        }
        assert!(moved * 20_000 < all, "{moved} of {all} outputs are others than by 31 bits");
    }

    #[test]
    fn long_sums_of_many_channels_share_a_usual_shift_and_move_no_sum_far() {
        let out = Output { zp: -5, lo: -128, hi: 127 };
        let channels = 200;
        let real: Vec<f64> = (0..channels).map(|c| 0.000_039 * (1.0 + f64::from(c) / 117.0)).collect();
        let range = (-4_000_000, 4_000_000);
        let r = requant(&real, &vec![range; real.len()], out).unwrap();
        assert_eq!(r.shift, Shift::Layer(33), "least is {}", multiplier(real[199]).unwrap().s);
        for (c, &real) in real.iter().enumerate() {
            for acc in (range.0..=range.1).step_by(613) {
                let exact = f64::from(acc) * real - 5.0;
                let want = (exact + 0.5).floor().clamp(-128.0, 127.0);
                let tie = (exact + 0.5 - (exact + 0.5).round()).abs();
                let got = f64::from(r.apply(c, acc));
                assert!(got == want || tie <= MOST_MOVED, "channel {c} acc {acc}: {got} for {exact}");
            }
        }
    }

    #[test]
    fn wide_results_share_a_shift_and_stay_near() {
        let out = Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() };
        for (case, base) in [0.02, 0.000_71, 0.3, 1.7, 3e-6].into_iter().enumerate() {
            let real = [base, base * 0.61, base * 0.023, base * 0.0007];
            let range = (-900_000, 700_000);
            let r = requant_wide(&real, &[range; 4], out).unwrap();
            assert!(matches!(r.shift, Shift::Layer(_)), "case {case}: {r:?}");
            for (c, &real) in real.iter().enumerate() {
                for acc in (range.0..=range.1).step_by(97) {
                    let want = (f64::from(acc) * real).clamp(-32768.0, 32767.0);
                    let off = (f64::from(r.apply(c, acc)) - want).abs();
                    assert!(off <= 0.5 + MOST_OFF, "case {case} channel {c} acc {acc}: {off}");
                }
            }
        }
        // One channel a million times as large as another leaves no shift for both.
        let r = requant_wide(&[3000.0, 3e-6], &[(-900_000, 900_000); 2], out).unwrap();
        assert!(matches!(r.shift, Shift::Channel(_)), "{r:?}");
    }

    #[test]
    fn impossible_shift_is_refused() {
        // A 10-bit multiplier cannot keep the steps of a 31-bit one over a million accumulators.
        let full = multiplier(0.000_123_456_789).unwrap();
        assert_eq!(equivalent(full, full.s - 21, (-1_000_000, 1_000_000), FULL), None);
    }

    #[test]
    fn limits_follow_the_activation() {
        let quant = Quant::per_tensor(crate::tensor::DType::I8, 0.05, -10);
        let all = Output::new(&quant, Clamp::NONE).unwrap();
        assert_eq!((all.lo, all.hi), (-128, 127));
        let relu6 = Output::new(&quant, Clamp { lo: 0.0, hi: 6.0 }).unwrap();
        assert_eq!((relu6.lo, relu6.hi), (-10, 110));
    }
}
