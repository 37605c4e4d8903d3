//! The blocked int8 product for Armv7-M without `smlad`: six pixels times two output channels at a
//! time, two products in each multiply-accumulate.
//!
//! Words, runs and their sums are those of [`crate::armv6m::gemm`]; here any register multiplies, so that
//! inputs that are loaded once serve two channels, and a run begins with a product instead of
//! a sum. A run ends for both channels at once.
//!
//! The stream begins as that of [`crate::armv6m::gemm`]. Two channels in words: both biases; for each segment
//! of up to 40 taps a word of flags (from the top bit on, one for each two taps: a run ends
//! here), the weights, of one tap after the other both channels', four bytes in a word, and
//! the bytes that the runs take on the stack; then [`Constants::words`] of both. Of an odd number of
//! channels the last but one is done twice.
//!
//! Law: no run can leave 16 bits, whatever the inputs; a stream that cannot promise it is refused.

use crate::armv6m::gemm::{Gemm, HEAD};
use crate::armv6m::round::Constants;
use crate::armv6m::runs::{Runs, runs};
use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R8, R12, SP, mask};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// Greatest number of pixels of a call.
pub const PIXELS: usize = 6;
/// Taps of a segment: the stack bounds it.
const SEGMENT: usize = 40;
/// Taps of a run for the prediction of cycles.
const RUN: f64 = 5.0;

const R10: R = R(10);
const R11: R = R(11);

/// Bytes of the frame: sums of words and of their upper halves, then slots.
const ACTS: u32 = 48;
const END: u32 = 52;
const Y: u32 = 56;
const LAST: u32 = 60;
/// Where the inputs and the stream of what follows begin.
const AT: u32 = 64;
const W: u32 = 68;
const STEP: u32 = 72;
const FRAME: u32 = 76;

/// Both channels' sums: words, later those of all runs, and the upper halves, three each.
const WORDS: [R; 6] = [R(4), R(5), R(6), R(7), R(8), R(9)];
const UPPER: [R; 6] = [R0, R1, R2, R3, R10, R11];

/// Layer and sizes of a call.
#[derive(Debug, Clone, Copy)]
pub struct Pairs(pub Gemm);

impl Pairs {
    fn segments(&self) -> usize {
        self.0.padded().div_ceil(SEGMENT)
    }
    /// Words of two channels.
    pub fn pair(&self) -> usize {
        2 + 2 * self.segments() + self.0.padded() / 2 + 2 * self.0.form.words()
    }
    pub fn count(&self) -> usize {
        self.0.outputs.div_ceil(2)
    }
    fn first(&self, pair: usize) -> usize {
        (2 * pair).min(self.0.outputs - 2)
    }

    /// As [`Gemm::pack`].
    pub fn pack(
        &self,
        weights: &[i32],
        bias: &[i32],
        constants: &[Constants],
        taps: &[usize],
    ) -> Option<Vec<i32>> {
        let row = weights.len() / self.0.outputs;
        let mut stream = self.0.head();
        for pair in 0..self.count() {
            let both = [self.first(pair), self.first(pair) + 1];
            for o in both {
                stream.push(i32::try_from(i64::from(bias[o]) - constants[o].end).ok()?);
            }
            let weight = |o: usize, t: usize| taps.get(t).map_or(0, |&t| weights[o * row + t]);
            for from in (0..self.0.padded()).step_by(SEGMENT) {
                let until = self.0.padded().min(from + SEGMENT);
                let mut runs = Runs::new(2);
                for t in (from..until).step_by(2) {
                    runs.step(|lane| [weight(both[lane], t), weight(both[lane], t + 1)])?;
                }
                stream.push(runs.flags() as i32);
                for t in (from..until).step_by(2) {
                    let mut word = [0u8; 4];
                    let order = [(0, t), (1, t), (0, t + 1), (1, t + 1)];
                    for (byte, (lane, t)) in word.iter_mut().zip(order) {
                        *byte = i8::try_from(weight(both[lane], t)).ok()? as u8;
                    }
                    stream.push(i32::from_le_bytes(word));
                }
                stream.push((8 * self.0.columns() as u32 * runs.flags().count_ones()) as i32);
            }
            both.iter().for_each(|&o| stream.extend(&constants[o].words));
        }
        Some(stream)
    }

    /// The kernel `(acts, w, y)`.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let (g, words) = (&self.0, SEGMENT / 2);
        let mut k = KernelBuilder::new(format!("gemm_s8_r2q{}", g.pixels));
        let acts = k.buffer("acts", DType::I32, g.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I32, g.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, (g.pixels - 1) * g.step + g.outputs, Access::Write);
        k.for_("pair", 0, self.count(), |k, pair| {
            let base = k.let_("base", pair * self.pair() + HEAD);
            let first = k.let_("first", (pair * 2).min(g.outputs - 2));
            let sums: Vec<[(Val, Val); 2]> = (0..g.columns())
                .map(|q| {
                    [0, 1].map(|o| {
                        let bias = w.at(base + o);
                        (k.var(&format!("a{q}{o}"), bias.clone()), k.var(&format!("b{q}{o}"), bias))
                    })
                })
                .collect();
            let two = |k: &mut KernelBuilder, at: Expr, tap: Expr| {
                let word = k.let_("word", w.at(at));
                for j in 0..2usize {
                    for (q, both) in sums.iter().enumerate() {
                        let v = k.let_("v", acts.at((&tap + j) * g.columns() + q));
                        let low = k.let_("low", ((v & 65535) ^ 32768) - 32768);
                        let high = k.let_("high", (v - low) >> 16);
                        for (o, &(a, b)) in both.iter().enumerate() {
                            let weight = (((word >> (16 * j + 8 * o) as i32) & 255) ^ 128) - 128;
                            let weight = k.let_("weight", weight);
                            k.add_to(a, weight * low);
                            k.add_to(b, weight * high);
                        }
                    }
                }
            };
            let (whole, rest) = (g.padded() / SEGMENT, g.padded() % SEGMENT / 2);
            k.for_("segment", 0, whole, |k, s| {
                k.for_("i", 0, words, |k, i| {
                    two(k, base + s * (words + 2) + i + 3, s * SEGMENT + i * 2);
                });
            });
            k.for_("i", 0, rest, |k, i| {
                two(k, base + i + (whole * (words + 2) + 3), i * 2 + whole * SEGMENT);
            });
            let tail = self.pair() - 2 * g.form.words();
            for o in 0..2 {
                for pixel in 0..g.pixels {
                    let (a, b) = sums[pixel / 2][o];
                    let sum = if pixel % 2 == 0 { a } else { b };
                    let out = g.form.meaning(k, sum, &|i| w.at(base + (tail + o * g.form.words() + i)));
                    k.store(y, first + (o + pixel * g.step), out);
                }
            }
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r0-r2 inputs, r3 and r10 weights, r4-r9 sums of the run, r11 flags, r12 points to inputs, lr
    /// to the stream.
    pub fn code(&self) -> Code {
        let q = self.0.columns();
        let runs = (self.0.padded().min(SEGMENT) / 2) as u32;
        let mut c = Code::new(FRAME, 8 * q as u32 * runs, true);
        c.all([Inst::Str(R0, SP, ACTS), Inst::Str(R2, SP, Y), Inst::Ldm(R1, mask(&[R3, R4, R5]))]);
        c.all([Inst::Str(R1, SP, W), Inst::Add(R0, R0, R3), Inst::Str(R0, SP, END)]);
        c.all([Inst::Add(R2, R2, R4), Inst::Str(R2, SP, LAST), Inst::Str(R5, SP, STEP)]);
        let next = c.here();
        c.times(self.count() as f64, |c| {
            self.one_pair(c);
            // The next channels, moved back where one of them is missing.
            let (done, whole) = (c.label(), c.label());
            c.all([Inst::Ldr(R0, SP, Y), Inst::Ldr(R1, SP, LAST), Inst::AddImm(R0, 2)]);
            c.all([Inst::Cmp(R0, R1), Inst::BranchIf(Cond::Cs, done), Inst::SubImm(R1, 2)]);
            c.all([Inst::Cmp(R0, R1), Inst::BranchIf(Cond::Ls, whole), Inst::Mov(R0, R1)]);
            c.place(whole);
            c.all([Inst::Str(R0, SP, Y), Inst::Branch(next)]);
            c.place(done);
        });
        c
    }

    fn one_pair(&self, c: &mut Code) {
        let q = self.0.columns();
        let (words, upper) = (&WORDS[..2 * q], &UPPER[..2 * q]);
        // Both sums of every pair of pixels begin with the bias.
        c.all([Inst::Ldr(R1, SP, W), Inst::Ldm(R1, mask(&[R2, R3])), Inst::Mov(LR, R1)]);
        for (i, &word) in words.iter().enumerate() {
            c.push(Inst::Mov(word, [R2, R3][i / q]));
        }
        c.all([Inst::Mov(R12, SP), Inst::AddWide(R12, 24), Inst::StmAny(R12, mask(words))]);
        for bias in [R2, R3] {
            c.all([Inst::Lsl(R0, bias, 16), Inst::Add(bias, bias, R0)]);
        }
        for (i, &word) in words.iter().enumerate() {
            c.push(Inst::Mov(word, [R2, R3][i / q]));
        }
        c.all([Inst::Mov(R12, SP), Inst::StmAny(R12, mask(words)), Inst::LdrWide(R12, SP, ACTS)]);
        let segment = c.here();
        let n = self.segments() as f64;
        let done = c.label();
        c.times(n, |c| {
            let taps = self.0.padded() as f64 / n;
            self.segment(c, taps);
            self.sum_up(c, (taps / RUN).max(1.0));
            if n > 1.0 {
                c.all([Inst::LdrWide(R12, SP, AT), Inst::LdrWide(LR, SP, END), Inst::Cmp(R12, LR)]);
                c.push(Inst::BranchIf(Cond::Eq, done));
            }
        });
        if n > 1.0 {
            c.times(n - 1.0, |c| {
                c.all([Inst::Mov(R12, SP), Inst::StmAny(R12, mask(words)), Inst::Mov(R12, SP)]);
                c.all([Inst::AddWide(R12, 24), Inst::StmAny(R12, mask(upper))]);
                c.all([Inst::LdrWide(R12, SP, AT), Inst::LdrWide(LR, SP, W), Inst::Branch(segment)]);
            });
            c.place(done);
        }
        self.outputs(c);
    }

    /// The sums of a segment's runs, pushed on the stack.
    fn segment(&self, c: &mut Code, taps: f64) {
        let q = self.0.columns();
        let inputs = [R0, R1, R2];
        let two = |c: &mut Code, begins: bool| {
            for first in [begins, false] {
                c.all([Inst::LdrsbNext(R3, LR), Inst::LdrsbNext(R10, LR)]);
                c.push(match q {
                    1 => Inst::LoadNext(R0, R12),
                    _ => Inst::LdmAny(R12, mask(&inputs[..q])),
                });
                for (i, &sum) in WORDS[..2 * q].iter().enumerate() {
                    let (input, weight) = (inputs[i % q], [R3, R10][i / q]);
                    c.push(match first {
                        true => Inst::MulAny(sum, input, weight),
                        false => Inst::Mla(sum, input, weight, sum),
                    });
                }
            }
            c.push(Inst::LslAny(R11, 1));
        };
        // Of few pixels they all are low registers.
        let push = match q {
            3 => Inst::PushAny(mask(&WORDS)),
            _ => Inst::Push(mask(&WORDS[..2 * q])),
        };
        c.push(Inst::LoadNext(R11, LR));
        // A push does not touch the flags: none are left at the end of the segment.
        runs(c, (taps, RUN), [&two, &two], &|c| c.push(push), &|c, begin| {
            let over = c.label();
            c.all([Inst::BranchIf(Cond::Eq, over), Inst::Branch(begin)]);
            c.place(over);
        });
    }

    /// Sums up the runs.
    fn sum_up(&self, c: &mut Code, runs: f64) {
        let q = self.0.columns();
        let (words, upper) = (&WORDS[..2 * q], &UPPER[..2 * q]);
        // The frame lies above what the runs took.
        c.all([Inst::LoadNext(R3, LR), Inst::AddAny(R3, SP)]);
        c.all([Inst::Mov(R0, R12), Inst::Str(R0, R3, AT), Inst::Mov(R0, LR), Inst::Str(R0, R3, W)]);
        c.all([Inst::Mov(LR, R3), Inst::Mov(R12, R3), Inst::LdmAny(R12, mask(words)), Inst::Mov(R12, R3)]);
        c.all([Inst::AddWide(R12, 24), Inst::LdmAny(R12, mask(upper))]);
        let run = c.here();
        c.times(runs, |c| {
            for (&word, &half) in words.iter().zip(upper) {
                // The shift leaves the uppermost bit it drops in the carry: the half is rounded.
                c.all([Inst::LoadNext(R12, SP), Inst::AddAny(word, R12)]);
                c.all([Inst::AsrAny(R12, 16), Inst::AdcAny(half, R12)]);
            }
            c.all([Inst::Cmp(SP, LR), Inst::BranchIf(Cond::Ne, run)]);
        });
    }

    /// Requantizes and stores both channels' sums.
    fn outputs(&self, c: &mut Code) {
        let (g, q) = (&self.0, self.0.columns());
        for (i, (&word, &half)) in WORDS[..2 * q].iter().zip(&UPPER).enumerate() {
            c.push(Inst::SubLsl(word, half, 16));
            // A channel's pixels side by side.
            for (r, pixel) in [(word, 2 * (i % q)), (half, 2 * (i % q) + 1)] {
                let at = 4 * (2 * q * (i / q) + pixel) as u32;
                c.push(if r.0 < 8 { Inst::Str(r, SP, at) } else { Inst::StrWide(r, SP, at) });
            }
        }
        c.all([Inst::Ldr(R1, SP, STEP), Inst::Mov(R8, R1)]);
        for o in 0..2 {
            c.all([Inst::Ldr(R2, SP, W), Inst::Ldm(R2, mask(g.form.registers())), Inst::Str(R2, SP, W)]);
            c.push(Inst::Ldr(R2, SP, Y));
            if o > 0 {
                c.push(Inst::AddImm(R2, 1));
            }
            for pixel in 0..g.pixels {
                c.push(Inst::Ldr(R0, SP, 4 * (2 * q * o + pixel) as u32));
                g.form.spell(c, R12);
                c.push(Inst::Strb(R0, R2, 0));
                if pixel + 1 < g.pixels {
                    c.push(Inst::AddAny(R2, R8));
                }
            }
        }
    }
}
