//! Depthwise convolution along one axis on pairs of neighbours, with all weights of a channel in
//! registers: the signal passes by pair after pair, and every pair ends the outputs it completes
//! before it begins others in their registers.
//!
//! In: a signal as [`super`] has it, pairs along it. Out: one output after another. An output
//! meets a pair with both taps, or with its first or last one alone. Stream of a channel, in
//! words: the weights `w[t] w[t + 1]` for every place `t` where a pair may lie (odd ones only at
//! stride 1), bias, multiplier.
//! Law: outputs take the registers of sums in turn, so a loop turns over as many outputs as
//! bring each back to its own.

use crate::armv7em::dw_rowpair::{BYTES, COLUMN, clamp, word};
use crate::armv7em::epilogue::{Rounding, word as push_word};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Slot};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// At most [`crate::armv7em::dw_rowpair::GROUP`].
    pub channels: usize,
    pub taps: usize,
    /// 1 or 2.
    pub stride: usize,
    pub outputs: usize,
    /// Result elements from one output to the next.
    pub step: usize,
    /// Right shift after the high word of the product.
    pub sh: u32,
    pub lo: i32,
    pub hi: i32,
}

/// Registers that hold neither weights nor sums: input, result, pair, bias, multiplier, rounding.
const OTHERS: usize = 6;
/// Outputs that a turn of the loop has at least, and pairs that are rather written one by one.
const TURN: usize = 6;
const STRAIGHT: usize = 8;

/// Registers through a channel.
struct Held {
    x: Reg,
    y: Reg,
    weights: Vec<Reg>,
    bias: Reg,
    m: Reg,
    rnd: Reg,
    sums: Vec<Reg>,
}

impl Line {
    /// Words of weights, by the place of their first tap over the stride.
    fn words(&self) -> usize {
        if self.stride == 1 { self.taps - 1 } else { self.taps.div_ceil(2) }
    }
    /// Outputs that are under way between two pairs.
    fn sums(&self) -> usize {
        ((self.taps - 1) / self.stride).max(1)
    }
    fn stream(&self) -> usize {
        self.words() + 2
    }
    pub fn stream_len(&self) -> usize {
        2 * self.stream() * self.channels
    }
    /// The last pair that is read.
    fn last(&self) -> usize {
        ((self.outputs - 1) * self.stride + self.taps - 1) / 2
    }
    fn acts_len(&self) -> usize {
        self.last() * COLUMN + 2 * self.channels
    }
    /// Whether there are registers and instructions for it.
    pub fn fits(&self) -> bool {
        (1..=2).contains(&self.stride)
            && self.taps >= 2
            && OTHERS + self.words() + self.sums() <= 14
            && self.step <= 4095
            && (1..=31).contains(&self.sh)
    }

    /// Packs weights `[channels, taps]`; `None` if one does not fit 16 bits.
    pub fn pack(&self, weights: &[i32], bias: &[i32], rounding: Rounding<'_>) -> Option<Vec<i16>> {
        let mut stream = Vec::new();
        for (c, w) in weights.chunks_exact(self.taps).enumerate() {
            for i in 0..self.words() {
                for tap in [i * self.stride, i * self.stride + 1] {
                    stream.push(i16::try_from(w.get(tap).copied().unwrap_or(0)).ok()?);
                }
            }
            push_word(&mut stream, bias[c]);
            push_word(&mut stream, rounding.multipliers[c]);
        }
        Some(stream)
    }

    /// Where a tap stands in the stream of a channel, in halves.
    fn half(&self, tap: usize) -> usize {
        match self.stride {
            1 if tap + 1 < self.taps => 2 * tap,
            1 => 2 * tap - 1,
            _ => tap,
        }
    }

    /// The kernel `(acts, w, y, rnd, ..scalars)`.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new(format!("depthwise_s8_line{}", self.stride));
        let acts = k.buffer("acts", DType::I16, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.stream_len(), Access::Read);
        let y_len = (self.outputs - 1) * self.step + self.channels;
        let y = k.buffer("y", DType::I8, y_len, Access::Write);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        for (name, value) in ["bytes", "turns"].into_iter().zip(self.scalars()) {
            k.scalar(name, value, value);
        }
        k.for_("c", 0, self.channels, |k, c| {
            let base = k.let_("base", c * (2 * self.stream()));
            let bias = k.let_("bias", word(w, base + 2 * self.words()));
            let m = k.let_("m", word(w, base + (2 * self.words() + 2)));
            k.for_("o", 0, self.outputs, |k, o| {
                let sum = k.var("sum", bias);
                for tap in 0..self.taps {
                    // Inputs of one parity are whole words apart.
                    let at = match self.stride {
                        1 => {
                            let i = k.let_("i", o + tap);
                            (i >> 1) * COLUMN + (i & 1) + c * 2
                        }
                        _ => o * COLUMN + c * 2 + (tap / 2 * COLUMN + tap % 2),
                    };
                    k.add_to(sum, acts.at(at) * w.at(base + self.half(tap)));
                }
                let value = requantized(sum, m, (rnd, self.sh as i32), (self.lo, self.hi));
                k.store(y, o * self.step + c, value);
            });
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// What a call passes behind `rnd`, so that the text is the same for many sizes: bytes of
    /// the stream, and of the pairs that the loop passes.
    pub fn scalars(&self) -> [i32; 2] {
        [2 * self.stream_len() as i32, (self.turns() * self.turn() * BYTES) as i32]
    }

    /// Pairs of a turn of the loop: those of a multiple of the outputs that bring every sum back
    /// to its register.
    fn turn(&self) -> usize {
        let (each, sums) = (2 / self.stride, self.sums());
        (1..).find(|p| p * each >= TURN && (p * each).is_multiple_of(sums)).unwrap_or(1)
    }
    /// Pairs that complete as many outputs as any: the first, and how many.
    fn steady(&self) -> (usize, usize) {
        let full = |j: &usize| {
            let (first, end) = self.completed(*j);
            first >= 0 && end <= self.outputs as i64
        };
        let first = (0..=self.last()).find(full).unwrap_or(0);
        (first, (first..=self.last()).take_while(|j| full(j)).count())
    }
    fn turns(&self) -> usize {
        let (_, n) = self.steady();
        if n > STRAIGHT { n / self.turn() } else { 0 }
    }
    /// Outputs whose last tap lies in pair `j`: the first, and the one behind the last.
    fn completed(&self, j: usize) -> (i64, i64) {
        let s = self.stride as i64;
        let first = 2 * j as i64 - (self.taps as i64 - 1);
        ((first + s - 1).div_euclid(s), (first + 1).div_euclid(s) + 1)
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(4);
        b.streams = true;
        let [acts, w, y, rnd] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [acts_slot, w_slot, y_slot, end_slot, stop] = [(); 5].map(|()| b.slot());
        let bytes = b.reg();
        b.push(Inst::LdrArg(bytes, 4));
        b.push(Inst::Add(bytes, bytes, w));
        b.push(Inst::StrSlot(bytes, end_slot));
        b.push(Inst::StrSlot(acts, acts_slot));
        b.push(Inst::StrSlot(w, w_slot));
        b.push(Inst::StrSlot(y, y_slot));
        let [bias, m] = b.regs_n();
        let weights = (0..self.words()).map(|_| b.reg()).collect();
        let sums = (0..self.sums()).map(|_| b.reg()).collect();
        let held = Held { x: acts, y, weights, bias, m, rnd, sums };
        let top = b.label(self.channels as u64);
        let w = b.reg();
        b.push(Inst::LdrSlot(w, w_slot));
        for (i, &r) in held.weights.iter().chain([&bias, &m]).enumerate() {
            b.push(Inst::Ldr(r, w, 4 * i as u32));
        }
        b.push(Inst::AddImm(w, w, 4 * self.stream() as i32));
        b.push(Inst::StrSlot(w, w_slot));
        self.signal(&mut b, &held, stop);
        b.push(Inst::LdrSlot(held.x, acts_slot));
        b.push(Inst::LdrSlot(held.y, y_slot));
        let [w, end] = b.regs_n();
        b.push(Inst::LdrSlot(w, w_slot));
        b.push(Inst::LdrSlot(end, end_slot));
        b.push(Inst::AddImm(held.x, held.x, 4));
        b.push(Inst::AddImm(held.y, held.y, 1));
        b.push(Inst::StrSlot(held.x, acts_slot));
        b.push(Inst::StrSlot(held.y, y_slot));
        b.push(Inst::Cmp(w, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }

    /// All pairs of a channel.
    fn signal(&self, b: &mut Block, held: &Held, stop: Slot) {
        let (first, steady) = self.steady();
        let (turns, turn) = (self.turns(), self.turn());
        let from = first + steady % turn;
        // Offsets stay small: the pointer moves on now and then.
        let mut moved = 0;
        let mut j = 0;
        while j <= self.last() {
            if turns > 0 && j == from {
                b.advance(held.x, ((j - moved) * BYTES) as i32);
                let end = b.reg();
                b.push(Inst::LdrArg(end, 5));
                b.push(Inst::Add(end, end, held.x));
                b.push(Inst::StrSlot(end, stop));
                let top = b.label(turns as u64);
                for i in 0..turn {
                    self.pair(b, held, j + i, i * BYTES, false);
                }
                let end = b.reg();
                b.push(Inst::AddImm(held.x, held.x, (turn * BYTES) as i32));
                b.push(Inst::LdrSlot(end, stop));
                b.push(Inst::Cmp(held.x, end));
                b.push(Inst::BranchBack(Cond::Ne, top));
                j += turns * turn;
                moved = j;
                continue;
            }
            self.pair(b, held, j, (j - moved) * BYTES, true);
            j += 1;
        }
    }

    /// One pair: outputs that it meets, earlier ones first. A loop cannot know which outputs are
    /// the last, so there `ends` is false and outputs begin that nobody completes.
    fn pair(&self, b: &mut Block, held: &Held, j: usize, at: usize, ends: bool) {
        let p = b.reg();
        b.push(Inst::Ldr(p, held.x, at as u32));
        let (s, taps) = (self.stride, self.taps);
        let (_, end) = self.completed(j);
        let first = (2 * j).saturating_sub(taps - 1).div_ceil(s);
        for o in first..=(2 * j + 1) / s {
            if ends && o >= self.outputs {
                break;
            }
            let sum = held.sums[o % self.sums()];
            let before = if o * s / 2 == j { held.bias } else { sum };
            // Taps of the upper and the lower half.
            let upper = (2 * j).checked_sub(o * s).filter(|&t| t < taps);
            let lower = (2 * j + 1).checked_sub(o * s).filter(|&t| t < taps);
            b.push(match (upper, lower) {
                (Some(t), Some(_)) => Inst::Smlad(sum, p, held.weights[t / s], before),
                (Some(t), None) => {
                    let half = self.half(t);
                    let w = held.weights[half / 2];
                    if half.is_multiple_of(2) {
                        Inst::Smlabb(sum, p, w, before)
                    } else {
                        Inst::Smlabt(sum, p, w, before)
                    }
                }
                (None, Some(t)) => Inst::Smlatb(sum, p, held.weights[t / s], before),
                (None, None) => continue,
            });
            if (o as i64) < end {
                b.push(Inst::Smmla(sum, sum, held.m, held.rnd));
                clamp(b, sum, self.sh, (self.lo, self.hi));
                if self.step <= 255 {
                    b.push(Inst::StrbPost(sum, held.y, self.step as i32));
                } else {
                    b.push(Inst::Strb(sum, held.y, 0));
                    b.push(Inst::AddImm(held.y, held.y, self.step as i32));
                }
            }
        }
    }
}
