//! Requantization without a 64-bit product, for cores whose multiplier gives 32 bits.
//!
//! In: the exact rule of a channel and the range of its sums. Out: a sum that is first clamped
//! to the range in which the output changes, then multiplied by pieces of a multiplier whose
//! products fit 32 bits: `out = (a * m1 + (a * m0 >> p) + c) >> 24`, and
//! `a = max(min(sum - end, 0) + top, 0)`, without a branch.
//! Sums of up to about 16 bits need one piece only, those of many more need three. Wide code has
//! long products and takes the rule as it is where a layer has one shift.
//! The limits of the output are those of `a`, so that nothing is clamped afterwards.
//!
//! Law: every step of the staircase that the exact rule makes of the sum stays where it is; the
//! constants are found by that condition and checked against it, or there are none.

use crate::arith::requant::{HIGH_SHIFT, Multiplier, Output, Requant, Shift, high, requantize};
use crate::asm::armv6m::{Code, Inst, R, R0, R1, R3, R4, R5, R6, R7};
use crate::kernel::{Expr, KernelBuilder, Val};
use crate::rounding::requantized;

/// The last shift: it leaves the output's eight bits.
const SHIFT: u32 = 24;

/// How a layer's sums are requantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By multipliers of so many pieces, with the shift between pieces.
    Pieces { pieces: usize, p: u32 },
    /// By the high words of long products, a shift and limits: wide code only.
    High { sh: u32, lo: i32, hi: i32 },
}

/// The constants of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constants {
    /// Subtracted from the sum: the end of the range in which the output changes. `top` below it
    /// lies the last sum whose output is the least.
    pub end: i64,
    /// What stands in the stream: `top`, pieces with the most significant first, and `c`; or the
    /// multiplier and the rounding constant.
    pub words: Vec<i32>,
}

impl Form {
    /// Words of a channel's constants in a stream.
    pub fn words(&self) -> usize {
        match self {
            Form::Pieces { pieces, .. } => 2 + pieces,
            Form::High { .. } => 2,
        }
    }
    /// Where a channel's constants stand for [`Form::spell`].
    pub fn registers(&self) -> &'static [R] {
        &[R3, R4, R5, R6, R7][5 - self.words()..]
    }
    /// The meaning: the output of `sum`, from which `end` has been subtracted; `at` gives the words.
    pub fn meaning(&self, k: &mut KernelBuilder, sum: Val, at: &dyn Fn(usize) -> Expr) -> Expr {
        match *self {
            Form::High { sh, lo, hi } => requantized(sum, at(0), (at(1), sh as i32), (lo, hi)),
            Form::Pieces { pieces, p } => {
                let a = k.let_("a", (sum.min(0) + at(0)).max(0).i64());
                let mut v = a * (at(pieces).i64());
                for piece in (0..pieces - 1).rev() {
                    v = (v >> p as i32) + a * (at(1 + piece).i64());
                }
                ((v + at(1 + pieces).i64()) >> SHIFT as i32).i32()
            }
        }
    }
    /// The instructions: r0 holds the sum and then the output in its low byte; r1 and `spare` are
    /// used. The constants stand in [`Form::registers`].
    pub fn spell(&self, c: &mut Code, spare: R) {
        let words = self.registers();
        let p = match *self {
            Form::High { sh, lo, hi } => {
                c.all([Inst::Smull(R1, R0, R0, words[0]), Inst::Add(R0, R0, words[1])]);
                return crate::armv6m::elementwise::limit(c, (R0, R1), sh, (lo, hi), true);
            }
            Form::Pieces { p, .. } => p,
        };
        let (top, pieces, add) = (words[0], &words[1..words.len() - 1], words[words.len() - 1]);
        c.all([Inst::Asr(R1, R0, 31), Inst::And(R0, R1), Inst::Add(R0, R0, top)]);
        c.all([Inst::Asr(R1, R0, 31), Inst::Bic(R0, R1)]);
        if let [piece] = pieces {
            return c.all([Inst::Mul(R0, *piece), Inst::Add(R0, R0, add), Inst::Asr(R0, R0, SHIFT)]);
        }
        c.all([Inst::Mov(R1, R0), Inst::Mul(R1, pieces[pieces.len() - 1]), Inst::Lsr(R1, R1, p)]);
        for (i, &piece) in pieces[..pieces.len() - 1].iter().enumerate().rev() {
            if i > 0 {
                // The upper pieces need the sum once more.
                c.all([Inst::Mov(spare, R0), Inst::Mul(R0, piece), Inst::Add(R1, R1, R0)]);
                c.all([Inst::Lsr(R1, R1, p), Inst::Mov(R0, spare)]);
            } else {
                c.all([Inst::Mul(R0, piece), Inst::Add(R0, R0, R1)]);
            }
        }
        c.all([Inst::Add(R0, R0, add), Inst::Asr(R0, R0, SHIFT)]);
    }
}

/// The form and the constants of every channel, whose sums lie within `reach`.
pub fn rounding(r: &Requant, reach: &[(i32, i32)], wide: bool) -> Option<(Form, Vec<Constants>)> {
    if let Shift::Layer(s) = r.shift
        && wide
        && (HIGH_SHIFT..=63).contains(&s)
    {
        let (rnd, sh) = high(s, r.out.zp);
        let form = Form::High { sh, lo: r.out.lo, hi: r.out.hi };
        let each = r.m.iter().map(|&m| Constants { end: 0, words: vec![m, rnd] });
        return Some((form, each.collect()));
    }
    let spans: Vec<Span> = (0..r.m.len()).map(|c| Span::of(r.at(c), reach[c], r.out)).collect();
    let bits = spans.iter().map(|s| 32 - s.top.leading_zeros()).max()?;
    for (pieces, most) in [(1, 0), (2, 14), (3, 12)] {
        let p = (32 - bits.min(31)).min(most);
        let constants: Option<Vec<Constants>> = spans.iter().map(|s| s.constants(pieces, p)).collect();
        if let Some(constants) = constants {
            return Some((Form::Pieces { pieces, p }, constants));
        }
    }
    None
}

/// The part of a channel's sums in which the output changes.
struct Span {
    by: Multiplier,
    out: Output,
    base: i64,
    top: u32,
}

impl Span {
    fn of(by: Multiplier, reach: (i32, i32), out: Output) -> Span {
        let (first, last) = (i64::from(reach.0), i64::from(reach.1));
        // The last sum below the first step: what lies further down has the same output.
        let base = (threshold(by, out, out.lo + 1) - 1).clamp(first, last);
        let top = threshold(by, out, out.hi).clamp(base, last);
        Span { by, out, base, top: (top - base) as u32 }
    }
    /// The output of a clamped sum.
    fn output(&self, a: u32) -> i32 {
        let sum = self.base + i64::from(a);
        requantize(sum as i32, self.by, self.out.zp, self.out.lo, self.out.hi)
    }
    /// Multiplier and rounding constant that keep each step in its place, if there are any.
    fn constants(&self, pieces: usize, p: u32) -> Option<Constants> {
        let s = SHIFT + p * (pieces as u32 - 1);
        let unit = s - SHIFT;
        let first = self.output(0);
        // (least `a` of an output, that output less the first one)
        let steps: Vec<(i128, i128)> = (first + 1..=self.output(self.top))
            .map(|q| {
                let a = threshold(self.by, self.out, q) - self.base;
                (i128::from(a), i128::from(q - first))
            })
            .collect();
        let made = |m: i128, c: i128| {
            let limit = |v: i128| i128::from(self.top) * v < 1 << 32;
            let piece = |i: u32| (m >> (p * i)) & ((1 << p) - 1);
            let upper = pieces as u32 - 1;
            let mut pieces = vec![m >> (p * upper)];
            pieces.extend((0..upper).rev().map(piece));
            // A middle piece takes the carry of the lower one on top.
            let fits = pieces[1..].iter().all(|&v| limit(v + 1)) && pieces[0] < 1 << 31;
            let c = c + (i128::from(first) << SHIFT);
            let c = i32::try_from(c).ok().filter(|_| fits)?;
            let mut words = vec![self.top as i32];
            words.extend(pieces.iter().map(|&v| v as i32));
            words.push(c);
            Some(Constants { end: self.base + i64::from(self.top), words })
        };
        if steps.is_empty() {
            return made(0, 0);
        }
        // The exact line through the sums, in units of 2^-24 of an output.
        let exact = i128::from(self.base) * i128::from(self.by.m) + (1i128 << (self.by.s - 1))
            - (i128::from(first - self.out.zp) << self.by.s);
        let near = scale(exact, SHIFT as i32 - self.by.s as i32);
        let sum = scale(i128::from(self.by.m), SHIFT as i32 - self.by.s as i32).max(16);
        // Around the exact constant, ever further, within what one more in the sum changes.
        let far =
            (0..128 - sum.leading_zeros()).flat_map(|i| [1i128 << i, -(1i128 << i), 3 << i, -(3i128 << i)]);
        for by in std::iter::once(0).chain(far) {
            let c = near + by;
            if !(0..1 << SHIFT).contains(&c) {
                continue;
            }
            let (mut least, mut most) = (0i128, i128::MAX);
            for &(a, q) in &steps {
                let want = (q << s) - (c << unit);
                least = least.max(-(-want).div_euclid(a));
                if a > 1 {
                    most = most.min((want - 1).div_euclid(a - 1));
                } else if want <= 0 {
                    most = -1;
                }
            }
            // Above the last step the output must not change again.
            let (last, q) = (i128::from(self.top), i128::from(self.output(self.top) - first) + 1);
            most = most.min(((q << s) - (c << unit) - 1).div_euclid(last));
            if least <= most {
                let nearest = scale(i128::from(self.by.m), s as i32 - self.by.s as i32);
                if let Some(made) = made(nearest.clamp(least, most), c) {
                    return Some(made);
                }
            }
        }
        None
    }
}

/// `v * 2^by`, rounded down.
fn scale(v: i128, by: i32) -> i128 {
    if by >= 0 { v << by } else { v >> -by }
}

/// The smallest sum whose output, unlimited, is at least `q`.
fn threshold(by: Multiplier, out: Output, q: i32) -> i64 {
    let want = (i128::from(q - out.zp) << by.s) - (1i128 << (by.s - 1));
    let sum = -(-want).div_euclid(i128::from(by.m));
    sum.clamp(i128::from(i64::MIN >> 2), i128::from(i64::MAX >> 2)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{multiplier, requant};

    /// What the spelled pieces give.
    fn apply(form: Form, k: &Constants, sum: i64) -> i32 {
        let Form::Pieces { pieces, p } = form else { panic!("{form:?}") };
        let a = ((sum - k.end).min(0) + i64::from(k.words[0] as u32)).max(0) as u32;
        let all: Vec<u32> = k.words.iter().map(|&v| v as u32).collect();
        let (&last, upper) = all[1..=pieces].split_last().unwrap();
        let mut v = a.wrapping_mul(last);
        for &piece in upper.iter().rev() {
            v = (v >> p).wrapping_add(a.wrapping_mul(piece));
        }
        v.wrapping_add(all[pieces + 1]) as i32 >> SHIFT
    }

    #[test]
    fn outputs_are_those_of_the_rule() {
        let mut seed = 3u64;
        let mut found = [0; 3];
        for case in 0..120 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Some channels have a range too long for two pieces, or short enough for one.
            let real = [0.0004, 0.02, 4e-5, 0.0004][case as usize % 4] * (1.0 + (seed >> 50) as f64 / 500.0);
            let range = (-2_900_000 - case * 71, 2_700_000 + case);
            let out = Output {
                zp: [-128, 127, 0, -9][case as usize % 4],
                lo: if case % 5 == 0 { 0 } else { -128 },
                hi: if case % 3 == 0 { 100 } else { 127 },
            };
            // Of all 31 bits: multipliers for the usual shift need fewer pieces.
            let full = multiplier(real).unwrap();
            let r = Requant { m: vec![full.m], shift: Shift::Layer(full.s), out };
            let (form, k) = rounding(&r, &[range], false)
                .unwrap_or_else(|| panic!("{case} {real} {range:?} {out:?} {r:?}"));
            found[form.words() - 3] += 1;
            let mut at = i64::from(range.0);
            while at <= i64::from(range.1) {
                assert_eq!(apply(form, &k[0], at), r.apply(0, at as i32), "case {case} sum {at}");
                at += 1 + (at & 31);
            }
        }
        assert!(found.iter().all(|&n| n > 0), "of one, two and three pieces: {found:?}");
    }

    #[test]
    fn constant_and_steep_channels_keep_their_outputs() {
        for (real, range) in
            [(0.5, (-3, 900)), (3.0, (-100, 100)), (1e-9, (-100_000, 100_000)), (0.9, (500, 600))]
        {
            let out = Output { zp: 3, lo: -128, hi: 127 };
            let r = requant(&[real], &[range], out).unwrap();
            let Some((form, k)) = rounding(&r, &[range], false) else { continue };
            for sum in range.0..=range.1 {
                assert_eq!(apply(form, &k[0], sum.into()), r.apply(0, sum), "{real} {sum}");
            }
        }
    }
}
