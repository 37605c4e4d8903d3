//! Depthwise convolution for cores with `smlabb`/`smlatt`: four channels at a time, one or two
//! output columns that share the inputs they have in common.
//!
//! Widened inputs and 16-bit weights stand in the order of the widening block: the words of
//! four channels hold channels 0 and 2, and 1 and 3. Stream of a group of four channels, in
//! 16-bit halves: four biases as words; four weights per tap; then multiplier, rounding
//! constant and shift of each channel as words, or the multipliers alone where a layer has one
//! shift.
//!
//! Law: sums are plain 32-bit sums; nothing wraps that the product did not prove.

use crate::armv7em::epilogue::{Round, Rounding, close, word};
use crate::armv7em::widen::position;
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Slot};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    /// A multiple of four.
    pub channels: usize,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// 16-bit elements from one widened row to the next.
    pub run_pitch: usize,
    /// Output columns: 1 or 2.
    pub columns: usize,
    /// Input columns from one output column to the next.
    pub stride: usize,
    /// Result elements from one output column to the next.
    pub step: usize,
    /// Right shift of all channels after the high word of the product
    /// ([`crate::arith::requant::high`]); `None` where each has its own.
    pub sh: Option<u32>,
    pub lo: i32,
    pub hi: i32,
}

const GROUP: usize = 4;

impl Depthwise {
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    fn group_len(&self) -> usize {
        8 + 4 * self.taps() + self.tail_len()
    }
    /// Halves of what ends the stream of a group.
    fn tail_len(&self) -> usize {
        if self.sh.is_some() { 8 } else { 24 }
    }
    /// Halves of the whole stream.
    pub fn stream_len(&self) -> usize {
        self.channels / GROUP * self.group_len()
    }
    /// Input columns under the output columns.
    fn width(&self) -> usize {
        (self.columns - 1) * self.stride + self.kernel[1]
    }
    fn acts_len(&self) -> usize {
        (self.kernel[0] - 1) * self.run_pitch + self.width() * self.channels
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        2 * self.width() * self.channels <= 4095
            && 8 * self.kernel[1] <= 4000
            && (self.columns - 1) * self.step + GROUP <= 4095
    }

    /// Packs weights `[channels, taps]`; `None` if one does not fit 16 bits.
    pub fn pack(&self, weights: &[i32], bias: &[i32], rounding: Rounding<'_>) -> Option<Vec<i16>> {
        let mut stream = Vec::with_capacity(self.stream_len());
        for first in (0..self.channels).step_by(GROUP) {
            bias[first..first + GROUP].iter().for_each(|&b| word(&mut stream, b));
            for tap in 0..self.taps() {
                for half in 0..GROUP {
                    let w = weights[(first + position(half)) * self.taps() + tap];
                    stream.push(i16::try_from(w).ok()?);
                }
            }
            for c in first..first + GROUP {
                rounding.push(&mut stream, c, self.sh.is_none());
            }
        }
        Some(stream)
    }

    /// The kernel: `(acts, w, y, rnd)`, without `rnd` where channels have their own, its meaning as loops and its native form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let [kh, kw] = self.kernel;
        let mut k = KernelBuilder::new(format!("depthwise_s8_c4q{}", self.columns));
        let acts = k.buffer("acts", DType::I16, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, (self.columns - 1) * self.step + self.channels, Access::Write);
        let rnd = self.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
        k.for_("group", 0, self.channels / GROUP, |k, group| {
            let base = k.let_("base", group * self.group_len());
            let word = |at: Expr| (w.at(&at) & 65535) + w.at(at + 1) * 65536;
            for half in 0..GROUP {
                let channel = position(half);
                let bias = k.let_("bias", word(base + 2 * channel));
                let tail = self.group_len() - self.tail_len();
                let (m, round, shift): (Expr, Expr, Expr) = match (self.sh, rnd) {
                    (Some(sh), Some(rnd)) => {
                        (word(base + (tail + 2 * channel)), rnd.into(), (sh as i32).into())
                    }
                    _ => {
                        let at = tail + 6 * channel;
                        // A shift has five bits, which the mask says to the proof.
                        (word(base + at), word(base + (at + 2)), w.at(base + (at + 4)) & 31)
                    }
                };
                let (m, round) = (k.let_("m", m), k.let_("round", round));
                let shift = k.let_("shift", shift);
                k.for_("q", 0, self.columns, |k, q| {
                    let sum = k.var("sum", bias);
                    let first = k.let_("first", q * (self.stride * self.channels) + group * GROUP + half);
                    k.for_("ky", 0, kh, |k, ky| {
                        k.for_("kx", 0, kw, |k, kx| {
                            let x = acts.at(first + ky * self.run_pitch + kx * self.channels);
                            let tap = ky * kw + kx;
                            k.add_to(sum, x * w.at(base + tap * GROUP + (8 + half)));
                        });
                    });
                    let value = requantized(sum, m, (round, shift), (self.lo, self.hi));
                    k.store(y, q * self.step + group * GROUP + channel, value);
                });
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let [kh, _] = self.kernel;
        let groups = self.channels / GROUP;
        let mut b = Block::new(if self.sh.is_some() { 4 } else { 3 });
        b.streams = true;
        let [acts, w, y] = [b.args[0], b.args[1], b.args[2]];
        let (y_slot, rnd_slot, end_slot, stop_slot) = (b.slot(), b.slot(), b.slot(), b.slot());
        b.push(Inst::StrSlot(y, y_slot));
        if let Some(&rnd) = b.args.get(3) {
            b.push(Inst::StrSlot(rnd, rnd_slot));
        }
        let end = b.reg();
        b.push(Inst::Mov(end, w));
        b.advance(end, 2 * self.stream_len() as i32);
        b.push(Inst::StrSlot(end, end_slot));
        let top = (groups > 1).then(|| b.label(groups as u64));

        // Sums by column, then channel.
        let sums: Vec<[Reg; GROUP]> = (0..self.columns).map(|_| b.regs_n()).collect();
        if kh > 1 {
            let stop = b.reg();
            b.push(Inst::Mov(stop, acts));
            b.advance(stop, 2 * (kh * self.run_pitch) as i32);
            b.push(Inst::StrSlot(stop, stop_slot));
        }
        for (c, &sum) in sums[0].iter().enumerate() {
            b.push(Inst::Ldr(sum, w, 4 * c as u32));
        }
        for other in &sums[1..] {
            for (&d, &s) in other.iter().zip(&sums[0]) {
                b.push(Inst::Mov(d, s));
            }
        }
        b.advance(w, 16);
        if kh > 1 {
            let row = b.label(kh as u64);
            self.row(&mut b, acts, w, &sums);
            b.advance(acts, 2 * self.run_pitch as i32);
            b.advance(w, 8 * self.kernel[1] as i32);
            let stop = b.reg();
            b.push(Inst::LdrSlot(stop, stop_slot));
            b.push(Inst::Cmp(acts, stop));
            b.push(Inst::BranchBack(Cond::Ne, row));
            b.advance(acts, 2 * GROUP as i32 - 2 * (kh * self.run_pitch) as i32);
        } else {
            self.row(&mut b, acts, w, &sums);
            b.advance(w, 8 * self.kernel[1] as i32);
            b.advance(acts, 2 * GROUP as i32);
        }
        self.finish(&mut b, w, (y_slot, rnd_slot), &sums);
        if let Some(top) = top {
            let end = b.reg();
            b.push(Inst::LdrSlot(end, end_slot));
            b.push(Inst::Cmp(w, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        b
    }

    /// One row of the window: each input column meets every output column that covers it.
    fn row(&self, b: &mut Block, acts: Reg, w: Reg, sums: &[[Reg; GROUP]]) {
        // The tap whose weights are in registers.
        let mut held: Option<(usize, [Reg; 2])> = None;
        for column in 0..self.width() {
            // Later output columns first: they use the tap that is held already.
            let covers = (0..self.columns).rev().filter_map(|q| {
                let tap = column.checked_sub(q * self.stride).filter(|&t| t < self.kernel[1])?;
                Some((q, tap))
            });
            let mut input: Option<[Reg; 2]> = None;
            for (q, tap) in covers {
                let weights = match held {
                    Some((t, weights)) if t == tap => weights,
                    _ => {
                        let weights = b.regs_n();
                        load(b, weights, w, 8 * tap as u32);
                        held = Some((tap, weights));
                        weights
                    }
                };
                let words = *input.get_or_insert_with(|| {
                    let words = b.regs_n();
                    load(b, words, acts, (2 * column * self.channels) as u32);
                    words
                });
                let s = sums[q];
                for half in 0..2 {
                    // Halves 0 and 1 of word 0 are channels 0 and 2, of word 1 channels 1 and 3.
                    let (lo, hi) = (s[position(2 * half)], s[position(2 * half + 1)]);
                    b.push(Inst::Smlabb(lo, words[half], weights[half], lo));
                    b.push(Inst::Smlatt(hi, words[half], weights[half], hi));
                }
            }
        }
    }

    /// Requantizes and stores four channels of each column; moves on to the next group.
    fn finish(&self, b: &mut Block, w: Reg, (y_slot, rnd_slot): (Slot, Slot), sums: &[[Reg; GROUP]]) {
        let y = b.reg();
        b.push(Inst::LdrSlot(y, y_slot));
        let round = self.sh.map(|sh| (b.reg(), sh));
        if let Some((round, _)) = round {
            b.push(Inst::LdrSlot(round, rnd_slot));
        }
        for channel in 0..GROUP {
            let m = b.reg();
            let sums: Vec<Reg> = sums.iter().map(|s| s[channel]).collect();
            let (at, round) = match round {
                Some((round, sh)) => (4 * channel as u32, Round::Layer(round, sh)),
                None => (12 * channel as u32, Round::Channel(w, 12 * channel as u32 + 4)),
            };
            b.push(Inst::Ldr(m, w, at));
            close(b, &sums, m, round, (y, channel, self.step), (self.lo, self.hi));
        }
        b.push(Inst::AddImm(y, y, GROUP as i32));
        b.push(Inst::StrSlot(y, y_slot));
        b.advance(w, 2 * self.tail_len() as i32);
    }
}

/// Two neighbouring words.
fn load(b: &mut Block, words: [Reg; 2], from: Reg, at: u32) {
    b.push(Inst::Ldr(words[0], from, at));
    b.push(Inst::Ldr(words[1], from, at + 4));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, high, requantize};
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let base = Depthwise {
            channels: 4,
            kernel: [3, 3],
            run_pitch: 40,
            columns: 2,
            stride: 1,
            step: 4,
            sh: Some(4),
            lo: -128,
            hi: 127,
        };
        let sizes = [
            base,
            Depthwise { columns: 1, ..base },
            Depthwise { channels: 16, run_pitch: 100, step: 16, stride: 2, lo: -20, hi: 100, ..base },
            Depthwise { channels: 8, kernel: [1, 9], run_pitch: 0, step: 8, ..base },
            Depthwise { channels: 8, kernel: [5, 2], run_pitch: 2100, stride: 3, step: 20, ..base },
            Depthwise { channels: 12, kernel: [7, 1], run_pitch: 24, step: 12, ..base },
        ];
        // Every size with one shift and with a shift for each channel.
        let each = sizes.map(|g| Depthwise { sh: None, ..g });
        let mut random = Random(8);
        for (case, g) in sizes.iter().chain(&each).enumerate() {
            for round in 0..3 {
                let taps = g.taps();
                let w: Vec<i32> = (0..g.channels * taps).map(|_| random.within(-255, 255) as i32).collect();
                let bias: Vec<i32> = (0..g.channels).map(|_| random.within(-90_000, 90_000) as i32).collect();
                let m: Vec<i32> =
                    (0..g.channels).map(|_| random.within(1 << 20, i32::MAX.into()) as i32).collect();
                let zx = [-128, 127, -3][round];
                let zp = [127, -128, 0][round];
                let acts: Vec<i16> = random.bytes(g.acts_len()).iter().map(|&v| i16::from(v) - zx).collect();
                let sh: Vec<u32> =
                    (0..g.channels).map(|_| g.sh.unwrap_or(random.within(1, 22) as u32)).collect();
                let each: Vec<(i32, u32)> = sh.iter().map(|sh| high(sh + 32, zp)).collect();
                let stream = g.pack(&w, &bias, Rounding { multipliers: &m, each: &each }).unwrap();
                assert_eq!(stream.len(), g.stream_len());
                let rnd = each[0].0;

                let y_len = (g.columns - 1) * g.step + g.channels;
                let mut args =
                    vec![Bind::Operand(0), Bind::aligned("w", Data::I16(stream), 4), Bind::Result(0)];
                args.extend(g.sh.map(|_| Bind::Scalar(rnd)));
                let call =
                    Call { kernel: g.kernel(&secateur_targets::core("cortex-m4").unwrap()).unwrap(), args };
                let Data::I8(body) = run(&call, &[Data::I16(acts.clone())], DType::I8, y_len) else {
                    panic!()
                };
                for q in 0..g.columns {
                    for c in 0..g.channels {
                        let half = c / 4 * 4 + position(c % 4);
                        let sum: i64 = (0..taps)
                            .map(|t| {
                                let (ky, kx) = (t / g.kernel[1], t % g.kernel[1]);
                                let at = ky * g.run_pitch + (q * g.stride + kx) * g.channels + half;
                                i64::from(acts[at]) * i64::from(w[c * taps + t])
                            })
                            .sum();
                        let by = Multiplier { m: m[c], s: sh[c] + 32 };
                        let want = requantize((sum + i64::from(bias[c])) as i32, by, zp, g.lo, g.hi);
                        let at = q * g.step + c;
                        assert_eq!(i32::from(body[at]), want, "case {case} round {round} channel {c}");
                    }
                }
            }
        }
    }
}
