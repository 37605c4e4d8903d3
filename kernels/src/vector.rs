//! Runs: the innermost loops of operators without weights, over elements that lie side by side.
//!
//! In: what is done to `n` elements. Out: a small kernel whose body says it, with the native
//! texts that the engine of the core has for it; `None` where it has none, and the operator
//! keeps its loops in one piece.
//!
//! Law: a native reads and writes the elements in ascending order, each result after the
//! operands of its place, so that a result may lie over an operand. Any alignment will do.

use crate::arith::requant::{HIGH_SHIFT, Multiplier, high};
use crate::kernel::{Access, Expr, KernelBuilder};
use crate::rounding::{high_word, requantized};
use crate::tensor::DType;

/// Elements below which a call does not pay.
pub const RUN_LEAST: usize = 4;
/// Greatest coefficient of [`Run::Sum`].
pub const SUM_MOST: i32 = 1 << 20;

/// Windows of one size over a row of pixels, on channels that lie side by side: element `c` of
/// tap `(i, j)` of pixel `p` is `x[p * step[0] + i * pitch[0] + j * pitch[1] + c]`, and its result
/// `y[p * step[1] + c]`. Windows may overlap each other; `x` and `y` do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Channels.
    pub n: usize,
    /// Rows and columns of a window; the second alone where one walk reaches all taps.
    pub taps: [usize; 2],
    /// Elements from tap to tap; 0 along an axis of one tap.
    pub pitch: [usize; 2],
    pub pixels: usize,
    /// Elements from pixel to pixel, in operand and result; 0 where there is one pixel.
    pub step: [usize; 2],
}

impl Windows {
    /// In the form that needs the fewest loops: axes that walk on where another ends melt.
    pub fn new(n: usize, taps: [usize; 2], pitch: [usize; 2], pixels: usize, step: [usize; 2]) -> Windows {
        let mut w = Windows { n, taps, pitch, pixels, step };
        if w.taps[1] == 1 {
            w = Windows { taps: [1, taps[0]], pitch: [0, pitch[0]], ..w };
        } else if w.taps[0] > 1 && w.pitch[0] == w.taps[1] * w.pitch[1] {
            w = Windows { taps: [1, taps[0] * taps[1]], ..w };
        }
        for axis in 0..2 {
            if w.taps[axis] == 1 {
                w.pitch[axis] = 0;
            }
        }
        if w.step == [n, n] {
            w = Windows { n: n * pixels, pixels: 1, ..w };
        }
        if w.pixels == 1 {
            w.step = [0, 0];
        }
        w
    }
    /// Elements from the first that is read to the last.
    pub fn input(&self) -> usize {
        let taps: usize = (0..2).map(|a| (self.taps[a] - 1) * self.pitch[a]).sum();
        (self.pixels - 1) * self.step[0] + taps + self.n
    }
    /// Elements from the first that is written to the last.
    pub fn output(&self) -> usize {
        (self.pixels - 1) * self.step[1] + self.n
    }
    /// Calls `body(k, element of x, element of y)` per result; `body` writes the loops over taps
    /// by [`Windows::each`].
    fn places(&self, k: &mut KernelBuilder, body: &mut dyn FnMut(&mut KernelBuilder, Expr, Expr)) {
        k.for_("p", 0, self.pixels, |k, p| {
            k.for_("i", 0, self.n, |k, i| {
                body(k, p * self.step[0] + i, p * self.step[1] + i);
            });
        });
    }
    fn each(&self, k: &mut KernelBuilder, at: &Expr, body: &mut dyn FnMut(&mut KernelBuilder, Expr)) {
        k.for_("r", 0, self.taps[0], |k, r| {
            k.for_("c", 0, self.taps[1], |k, c| {
                body(k, r * self.pitch[0] + c * self.pitch[1] + at);
            });
        });
    }
}

/// Multipliers of [`Run::Mean`], which only knows high words: smaller shifts are made greater by
/// multiplying by powers of two, the multipliers as far as 31 bits hold them, the sums by the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Averaging {
    pub m: Vec<i32>,
    pub rnd: i32,
    pub sh: u32,
    pub up: u32,
}

impl Averaging {
    /// For multipliers of one shift and sums of at most `most` differences of int8; `None` where
    /// 31 bits do not hold the sums.
    pub fn new(m: &[i32], s: u32, zp: i32, most: usize) -> Option<Averaging> {
        let missing = HIGH_SHIFT.saturating_sub(s);
        let room = m.iter().map(|m| m.leading_zeros() - 1).min()?.min(missing);
        let up = missing - room;
        if up > 22 || most > 1 << (22 - up) {
            return None;
        }
        let (rnd, sh) = high(s.max(HIGH_SHIFT), zp);
        Some(Averaging { m: m.iter().map(|m| m << room).collect(), rnd, sh, up })
    }
    /// For one multiplier, and what [`Run::Mean`] does to ties.
    pub fn one(by: Multiplier, zp: i32, most: usize) -> Option<(Averaging, Option<u32>)> {
        let even = (by.m == 1 << 30 && by.s > 30).then(|| by.s - 30);
        Averaging::new(&[by.m], by.s, zp, most).map(|a| (a, even))
    }
}

/// What is done to int8 elements, at least one; the parameters of the kernel in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// `(a, b, y, ma, mb, c)`: `clamp((a * ma + b * mb + c) >> shift, lo, hi)`, no sum beyond 31
    /// bits. Coefficients are within [`SUM_MOST`], `shift` within 12..=30.
    Sum { n: usize, shift: u32, lo: i32, hi: i32 },
    /// `(a, b, y, za, zb, m, rnd)`: `(a - za) * (b - zb)`, requantized by the high word and `sh`.
    Product { n: usize, sh: u32, lo: i32, hi: i32 },
    /// `(x, y, offset, m, rnd)`: by window and channel the sum of `offset` and the taps, times
    /// `1 << up`, requantized by the high word and `sh`. With `even`, the sum is first made one
    /// less where its quotient by `1 << even` is even, so that ties go to the even neighbour.
    Mean { windows: Windows, up: u32, sh: u32, lo: i32, hi: i32, even: Option<u32> },
    /// `(x, y)`: by window and channel the greatest tap.
    Max { windows: Windows },
    /// `(x, y)`: as they are.
    Copy { n: usize },
    /// `(x, table, y)`: by a table of 256 bytes from -128 on.
    Table { n: usize },
    /// `(x, sums)`: two words, the sum of the elements and that of their squares. At most 2^16.
    Moments { n: usize },
    /// `(x, scale, bias, y, by, less, m)`: of the high word `v` of `(x * by - less) * m`, of which sixteen bits count,
    /// `clamp((v * scale + bias) >> shift, lo, hi)`, with a scale of 16 and a bias of 32 bits for each element.
    Normalize { n: usize, shift: u32, lo: i32, hi: i32 },
}

impl Run {
    /// The meaning.
    pub fn body(&self) -> KernelBuilder {
        match *self {
            Run::Sum { n, shift, lo, hi } => {
                let mut k = KernelBuilder::new("sum_s8");
                let a = k.buffer("a", DType::I8, n, Access::Read);
                let b = k.buffer("b", DType::I8, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                let ma = k.scalar("ma", 0, SUM_MOST);
                let mb = k.scalar("mb", -SUM_MOST, SUM_MOST);
                let c = k.scalar("c", -(5 << 28), 5 << 28);
                k.for_("i", 0, n, |k, i| {
                    let acc = a.at(i) * ma + b.at(i) * mb + c;
                    k.store(y, i, (acc >> shift as i32).clamp(lo, hi));
                });
                k
            }
            Run::Product { n, sh, lo, hi } => {
                let mut k = KernelBuilder::new("product_s8");
                let a = k.buffer("a", DType::I8, n, Access::Read);
                let b = k.buffer("b", DType::I8, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                let (za, zb) = (k.scalar("za", -128, 127), k.scalar("zb", -128, 127));
                let m = k.scalar("m", 1, i32::MAX);
                let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
                k.for_("i", 0, n, |k, i| {
                    let acc = (a.at(i) - za) * (b.at(i) - zb);
                    k.store(y, i, requantized(acc, m, (rnd, sh as i32), (lo, hi)));
                });
                k
            }
            Run::Mean { windows: w, up, sh, lo, hi, even } => {
                let mut k = KernelBuilder::new("mean_s8");
                let x = k.buffer("x", DType::I8, w.input(), Access::Read);
                let y = k.buffer("y", DType::I8, w.output(), Access::Write);
                let offset = k.scalar("offset", -(128 << 22), 128 << 22);
                let m = k.scalar("m", 1, i32::MAX);
                let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
                w.places(&mut k, &mut |k, from, to| {
                    let sum = k.var("sum", offset);
                    w.each(k, &from, &mut |k, at| k.add_to(sum, x.at(at)));
                    if let Some(by) = even {
                        k.set(sum, sum - 1 + ((sum >> by as i32) & 1));
                    }
                    if up > 0 {
                        k.set(sum, sum << up as i32);
                    }
                    k.store(y, to, requantized(sum, m, (rnd, sh as i32), (lo, hi)));
                });
                k
            }
            Run::Max { windows: w } => {
                let mut k = KernelBuilder::new("max_run_s8");
                let x = k.buffer("x", DType::I8, w.input(), Access::Read);
                let y = k.buffer("y", DType::I8, w.output(), Access::Write);
                w.places(&mut k, &mut |k, from, to| {
                    let best = k.var("best", -128);
                    w.each(k, &from, &mut |k, at| k.set(best, best.max(x.at(at))));
                    k.store(y, to, best);
                });
                k
            }
            Run::Copy { n } => {
                let mut k = KernelBuilder::new("copy_run_s8");
                let x = k.buffer("x", DType::I8, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                k.for_("i", 0, n, |k, i| k.store(y, i, x.at(i)));
                k
            }
            Run::Table { n } => {
                let mut k = KernelBuilder::new("table_run_s8");
                let x = k.buffer("x", DType::I8, n, Access::Read);
                let table = k.buffer("table", DType::I8, 256, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                k.for_("i", 0, n, |k, i| k.store(y, i, table.at(x.at(i) + 128)));
                k
            }
            Run::Moments { n } => {
                let mut k = KernelBuilder::new("moments_s8");
                let x = k.buffer("x", DType::I8, n, Access::Read);
                let sums = k.buffer("sums", DType::I32, 2, Access::Write);
                let (sum, squares) = (k.var("sum", 0), k.var("squares", 0));
                k.for_("i", 0, n, |k, i| {
                    let v = k.let_("v", x.at(i));
                    k.add_to(sum, v);
                    k.add_to(squares, v * v);
                });
                k.store(sums, 0, sum);
                k.store(sums, 1, squares);
                k
            }
            Run::Normalize { n, shift, lo, hi } => {
                let mut k = KernelBuilder::new("normalize_s8");
                let x = k.buffer("x", DType::I8, n, Access::Read);
                let scale = k.buffer("scale", DType::I16, n, Access::Read);
                let bias = k.buffer("bias", DType::I32, n, Access::Read);
                let y = k.buffer("y", DType::I8, n, Access::Write);
                let [by, less, m] = ["by", "less", "m"].map(|name| k.scalar(name, i32::MIN, i32::MAX));
                k.for_("i", 0, n, |k, i| {
                    let v = k.let_("v", high_word(x.at(i) * by - less, m));
                    k.store(y, i, ((v * scale.at(i) + bias.at(i)) >> shift as i32).clamp(lo, hi));
                });
                k
            }
        }
    }
}

#[cfg(test)]
mod tests;
