//! The blocked int8 product for cores whose only product is 32 by 32 to 32 bits: up to eight
//! pixels times all output channels, two products in each multiplication.
//!
//! A word holds the inputs of two pixels, `a + b * 2^16`. Times a weight it is both products;
//! summed, it is both sums as long as the lower one stays within 16 bits. So taps are summed in
//! *runs* whose weights are small enough together, which is known when the weights are packed.
//! At the end of a run the four sums are pushed on the stack; at the end of a segment they are
//! popped, and their rounded upper halves summed up: that is the sum `B` of the second pixel. The sum
//! of the words themselves, wrapping, is `A + B * 2^16`, which gives `A`.
//!
//! The stream begins with what differs between layers that share the code: bytes of inputs, output
//! channels, bytes from pixel to pixel. An output channel in words: the bias; for each segment of up to 64 taps a word
//! of flags (from the top bit on, one for each two taps: a run ends here) and the weights, four
//! in a word; then [`Constants::words`]. Taps are padded with zeros to a multiple of four.
//!
//! Law: no run can leave 16 bits, whatever the inputs; a stream that cannot promise it is refused.

use crate::armv6m::gemm_2ch::{self, Pairs};
use crate::armv6m::round::{Constants, Form};
use crate::armv6m::runs::{Runs, TOTALS, part_sums, push_sums, runs, sum_up};
use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R12, SP, mask};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// Greatest number of pixels of a call.
const PIXELS: usize = 8;
/// Taps of a segment: two for each bit of a word of flags.
const SEGMENT: usize = 64;
/// Taps of a run for the prediction of cycles; trained layers have five to eight.
const RUN: f64 = 6.0;

/// Pixels of a tile: where any register multiplies, two channels share fewer inputs.
pub fn tile(wide: bool, outputs: usize) -> usize {
    if wide && outputs > 1 { gemm_2ch::PIXELS } else { PIXELS }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    pub taps: usize,
    pub outputs: usize,
    /// At most those of a [`tile`].
    pub pixels: usize,
    /// Result elements from one pixel's channels to the next one's.
    pub step: usize,
    pub form: Form,
    /// For wide code: two channels at a time if there are as many.
    pub wide: bool,
}

/// Words before the first channel's.
pub const HEAD: usize = 3;

/// Bytes of the frame: what runs are summed up in, then slots.
const ACTS: u32 = 32;
const END: u32 = 36;
const Y: u32 = 40;
const LAST: u32 = 44;
/// Where the inputs of the next segment begin.
const AT: u32 = 48;
const STEP: u32 = 52;
const FRAME: u32 = 56;

impl Gemm {
    /// Taps with their padding.
    pub fn padded(&self) -> usize {
        self.taps.next_multiple_of(4)
    }
    /// Words of inputs for each tap.
    pub fn columns(&self) -> usize {
        self.pixels.div_ceil(2)
    }
    fn segments(&self) -> usize {
        self.padded().div_ceil(SEGMENT)
    }
    /// Words of the stream of one channel.
    fn channel(&self) -> usize {
        1 + self.segments() + self.padded() / 4 + self.form.words()
    }
    pub fn stream_len(&self) -> usize {
        HEAD + self.pairs().map_or(self.outputs * self.channel(), |p| p.count() * p.pair())
    }
    /// The form of two channels, where it is this layer's.
    fn pairs(&self) -> Option<Pairs> {
        (self.wide && self.outputs > 1).then_some(Pairs(*self))
    }
    /// What differs between layers that share the code.
    pub fn head(&self) -> Vec<i32> {
        [4 * self.acts_len(), self.outputs, self.step].map(|v| v as i32).to_vec()
    }
    /// Words of inputs.
    pub fn acts_len(&self) -> usize {
        self.padded() * self.columns()
    }

    /// Packs a layer; `taps[j]` says which of a row's weights stands at tap `j`. Refuses (`None`)
    /// weights and sums that do not fit.
    pub fn pack(
        &self,
        weights: &[i32],
        bias: &[i32],
        constants: &[Constants],
        taps: &[usize],
    ) -> Option<Vec<i32>> {
        if let Some(pairs) = self.pairs() {
            return pairs.pack(weights, bias, constants, taps);
        }
        let row = weights.len() / self.outputs.max(1);
        let mut stream = self.head();
        for (o, k) in constants.iter().enumerate() {
            stream.push(i32::try_from(i64::from(bias[o]) - k.end).ok()?);
            let mut w: Vec<i32> = taps.iter().map(|&t| weights[o * row + t]).collect();
            w.resize(self.padded(), 0);
            for segment in w.chunks(SEGMENT) {
                let mut runs = Runs::new(1);
                for pair in segment.chunks(2) {
                    runs.step(|_| [pair[0], pair[1]])?;
                }
                stream.push(runs.flags() as i32);
                for four in segment.chunks(4) {
                    let mut word = [0u8; 4];
                    for (byte, &w) in word.iter_mut().zip(four) {
                        *byte = i8::try_from(w).ok()? as u8;
                    }
                    stream.push(i32::from_le_bytes(word));
                }
            }
            stream.extend(&k.words);
        }
        Some(stream)
    }

    /// The kernel `(acts, w, y)`.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        if let Some(pairs) = self.pairs() {
            return pairs.kernel(core);
        }
        let mut k = KernelBuilder::new(format!("gemm_s8_r1q{}", self.pixels));
        let acts = k.buffer("acts", DType::I32, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I32, self.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, (self.pixels - 1) * self.step + self.outputs, Access::Write);
        k.for_("channel", 0, self.outputs, |k, channel| {
            let base = k.let_("base", channel * self.channel() + HEAD);
            let bias = k.let_("bias", w.at(base));
            let sums: Vec<(Val, Val)> = (0..self.columns())
                .map(|q| (k.var(&format!("a{q}"), bias), k.var(&format!("b{q}"), bias)))
                .collect();
            let four = |k: &mut KernelBuilder, at: Expr, tap: Expr| {
                let word = k.let_("word", w.at(at));
                for j in 0..4usize {
                    let weight = k.let_("weight", (((word >> (8 * j) as i32) & 255) ^ 128) - 128);
                    for (q, &(a, b)) in sums.iter().enumerate() {
                        let v = k.let_("v", acts.at((&tap + j) * self.columns() + q));
                        let low = k.let_("low", ((v & 65535) ^ 32768) - 32768);
                        k.add_to(a, weight * low);
                        k.add_to(b, weight * ((v - low) >> 16));
                    }
                }
            };
            let words = SEGMENT / 4;
            let (whole, rest) = (self.padded() / SEGMENT, self.padded() % SEGMENT / 4);
            k.for_("segment", 0, whole, |k, s| {
                k.for_("i", 0, words, |k, i| {
                    four(k, base + s * (words + 1) + i + 2, s * SEGMENT + i * 4);
                });
            });
            k.for_("i", 0, rest, |k, i| {
                four(k, base + i + (whole * (words + 1) + 2), i * 4 + whole * SEGMENT);
            });
            let tail = self.channel() - self.form.words();
            for pixel in 0..self.pixels {
                let (a, b) = sums[pixel / 2];
                let sum = if pixel % 2 == 0 { a } else { b };
                let out = self.form.meaning(k, sum, &|i| w.at(base + (tail + i)));
                k.store(y, channel + pixel * self.step, out);
            }
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r0-r3 inputs, r4 a weight, r5 four weights, r6 points to inputs, r7 flags, r8-r11 sums of the
    /// run, r12 the frame, lr points to the stream.
    pub fn code(&self) -> Code {
        if let Some(pairs) = self.pairs() {
            return pairs.code();
        }
        let (q, wide) = (self.columns(), self.wide);
        let runs = (self.padded().min(SEGMENT) / 2) as u32;
        let mut c = Code::new(FRAME, 4 * q as u32 * runs, true);
        c.all([Inst::Str(R0, SP, ACTS), Inst::Str(R2, SP, Y), Inst::Ldm(R1, mask(&[R3, R4, R5]))]);
        c.all([Inst::Mov(LR, R1), Inst::Add(R0, R0, R3), Inst::Str(R0, SP, END)]);
        c.all([Inst::Add(R2, R2, R4), Inst::Str(R2, SP, LAST), Inst::Str(R5, SP, STEP)]);
        let next = c.here();
        c.times(self.outputs as f64, |c| self.one_channel(c, wide));
        // The next channel, one byte on.
        c.times(self.outputs as f64, |c| {
            c.all([Inst::Ldr(R0, SP, Y), Inst::AddImm(R0, 1), Inst::Str(R0, SP, Y)]);
            c.all([Inst::Ldr(R1, SP, LAST), Inst::Cmp(R0, R1)]);
            let done = c.label();
            c.all([Inst::BranchIf(Cond::Eq, done), Inst::Branch(next)]);
            c.place(done);
        });
        c
    }

    fn one_channel(&self, c: &mut Code, wide: bool) {
        let single = self.segments() == 1;
        c.all([Inst::Mov(R12, SP), Inst::Mov(R4, LR), Inst::Ldm(R4, mask(&[R5, R7])), Inst::Mov(LR, R4)]);
        // Both sums of every pair begin with the bias.
        c.push(Inst::Str(R5, SP, TOTALS));
        if !single {
            c.all([Inst::Lsl(R0, R5, 16), Inst::Add(R0, R0, R5), Inst::Str(R0, SP, TOTALS + 16)]);
            for i in 1..self.columns() as u32 {
                c.all([Inst::Str(R5, SP, TOTALS + 4 * i), Inst::Str(R0, SP, TOTALS + 16 + 4 * i)]);
            }
        }
        c.push(Inst::Ldr(R6, SP, ACTS));
        let segment = c.here();
        let n = self.segments() as f64;
        c.times(n, |c| self.segment(c, self.padded() as f64 / n, wide));
        c.times(n, |c| self.sum_up(c, single, self.padded() as f64 / n));
        if !single {
            let done = c.label();
            c.times(n, |c| {
                c.all([Inst::Ldr(R0, SP, AT), Inst::Ldr(R1, SP, END), Inst::Cmp(R0, R1)]);
                c.push(Inst::BranchIf(Cond::Eq, done));
            });
            c.times(n - 1.0, |c| {
                c.all([Inst::Mov(R0, SP), Inst::Stm(R0, mask(&[R4, R5, R6, R7]))]);
                for i in 0..4 {
                    c.push(Inst::Mov(R(1 + i), R(8 + i)));
                }
                c.all([Inst::Stm(R0, mask(&[R1, R2, R3, R4])), Inst::Ldr(R6, SP, AT)]);
                c.all([Inst::Mov(R4, LR), Inst::Ldm(R4, mask(&[R7])), Inst::Mov(LR, R4)]);
                c.push(Inst::Branch(segment));
            });
            c.place(done);
        }
        self.outputs(c);
    }

    /// The sums of a segment's runs, pushed on the stack; r7 holds its flags.
    ///
    /// The loop over four taps stands there once for runs that go on and once, in halves, for those
    /// that begin: their first products are moved, not added.
    fn segment(&self, c: &mut Code, taps: f64, wide: bool) {
        let q = self.columns();
        let inputs = mask(&[R0, R1, R2, R3][..q]);
        let tap = |c: &mut Code, weight: R, first: bool| {
            c.push(Inst::Ldm(R6, inputs));
            for (input, sum) in (0..q as u8).map(|i| (R(i), R(8 + i))) {
                c.push(Inst::Mul(input, weight));
                c.push(if first { Inst::Mov(sum, input) } else { Inst::AddAny(sum, input) });
            }
        };
        // Two taps each; the flag that follows is then the carry.
        let first_two = |c: &mut Code, begins: bool| {
            if wide {
                c.push(Inst::LoadNext(R5, LR));
            } else {
                c.all([Inst::Mov(R4, LR), Inst::Ldm(R4, mask(&[R5])), Inst::Mov(LR, R4)]);
            }
            c.push(Inst::Sxtb(R4, R5));
            tap(c, R4, begins);
            c.all([Inst::Asr(R5, R5, 8), Inst::Sxtb(R4, R5)]);
            tap(c, R4, false);
            c.push(Inst::Lsl(R7, R7, 1));
        };
        let last_two = |c: &mut Code, begins: bool| {
            c.all([Inst::Asr(R5, R5, 8), Inst::Sxtb(R4, R5)]);
            tap(c, R4, begins);
            c.push(Inst::Asr(R5, R5, 8));
            tap(c, R5, false);
            c.push(Inst::Lsl(R7, R7, 1));
        };
        let push = |c: &mut Code| push_sums(c, q as u8, wide);
        // Neither moves nor stores touch the flags: none are left at the end of the segment.
        runs(c, (taps, RUN), [&first_two, &last_two], &push, &|c, begin| {
            c.push(Inst::BranchIf(Cond::Ne, begin));
        });
    }

    /// Sums up the runs.
    fn sum_up(&self, c: &mut Code, single: bool, taps: f64) {
        let at = (!single).then_some(AT);
        sum_up(c, self.columns() as u8, (R12, at), (taps / RUN).max(1.0));
    }

    /// Requantizes and stores the channel's sums.
    fn outputs(&self, c: &mut Code) {
        part_sums(c, self.columns() as u8);
        let words = self.form.registers();
        c.all([Inst::Mov(R2, LR), Inst::Ldm(R2, mask(words)), Inst::Mov(LR, R2)]);
        c.all([Inst::Ldr(R2, SP, STEP), Inst::Mov(R8, R2), Inst::Ldr(R2, SP, Y)]);
        for pixel in 0..self.pixels {
            c.push(Inst::Ldr(R0, SP, TOTALS + 4 * pixel as u32));
            self.form.spell(c, R12);
            c.push(Inst::Strb(R0, R2, 0));
            if pixel + 1 < self.pixels {
                c.push(Inst::AddAny(R2, R8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Output, requant};
    use crate::armv6m::round::rounding;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(77);
        let sizes = [
            (1, 1, 1),
            (4, 3, 8),
            (27, 8, 8),
            (40, 2, 5),
            (64, 4, 8),
            (65, 3, 7),
            (106, 2, 8),
            (144, 3, 8),
            (300, 2, 2),
            (128, 2, 3),
        ];
        for (case, (taps, outputs, pixels)) in sizes.into_iter().enumerate() {
            for (round, wide) in
                [(0, false), (0, true), (1, false), (1, true), (2, true), (3, false), (3, true)]
            {
                let w: Vec<i32> = match round {
                    0 => random.bytes(taps * outputs).iter().map(|&v| i32::from(v).max(-127)).collect(),
                    1 => vec![127; taps * outputs],
                    2 => vec![-127; taps * outputs],
                    _ => random.bytes(taps * outputs).iter().map(|&v| i32::from(v) / 4).collect(),
                };
                let bias: Vec<i32> = (0..outputs).map(|_| random.within(-9000, 9000) as i32).collect();
                let reach: Vec<(i32, i32)> = (0..outputs)
                    .map(|o| {
                        let all: i32 = w[o * taps..(o + 1) * taps].iter().map(|w| w.abs() * 128).sum();
                        (bias[o] - all, bias[o] + all)
                    })
                    .collect();
                let real: Vec<f64> = (0..outputs).map(|_| random.within(2, 300) as f64 / 1e5).collect();
                let zp = [-128, 127, 0, -3][round];
                let out = Output { zp, lo: if case % 2 == 0 { -128 } else { zp }, hi: 127 };
                let r = requant(&real, &reach, out).unwrap();
                let (form, constants) = rounding(&r, &reach, wide).unwrap();
                let pixels = pixels.min(tile(wide, outputs));
                let g = Gemm { taps, outputs, pixels, step: outputs + case % 3, form, wide };
                let order: Vec<usize> = (0..taps).rev().collect();
                let stream = g.pack(&w, &bias, &constants, &order).unwrap();
                assert_eq!(stream.len(), g.stream_len());
                let x: Vec<Vec<i32>> = (0..2 * g.columns())
                    .map(|_| random.bytes(taps).iter().map(|&v| i32::from(v)).collect())
                    .collect();
                let mut acts = vec![0; g.acts_len()];
                for t in 0..taps {
                    for q in 0..g.columns() {
                        acts[t * g.columns() + q] = x[2 * q][t] + x[2 * q + 1][t] * 65536;
                    }
                }
                let name = if wide { "cortex-m3" } else { "cortex-m0plus" };
                let core = secateur_targets::core(name).unwrap().cost.unwrap();
                let call = Call {
                    kernel: g.kernel(&core).unwrap(),
                    args: vec![Bind::Operand(0), Bind::aligned("w", Data::I32(stream), 4), Bind::Result(0)],
                };
                let y_len = (pixels - 1) * g.step + outputs;
                let Data::I8(body) = run(&call, &[Data::I32(acts)], DType::I8, y_len) else { panic!() };
                for pixel in 0..pixels {
                    for o in 0..outputs {
                        let sum: i32 = (0..taps).map(|t| x[pixel][t] * w[o * taps + taps - 1 - t]).sum();
                        let want = r.apply(o, sum + bias[o]);
                        let at = pixel * g.step + o;
                        let says = format!("case {case} round {round} pixel {pixel} output {o}");
                        assert_eq!(i32::from(body[at]), want, "{says}");
                    }
                }
            }
        }
    }
}
