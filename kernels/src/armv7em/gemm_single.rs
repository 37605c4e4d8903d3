//! Products with weights of which any are zero: up to eight pixels times all output channels, two products
//! in each multiplication, only for weights that are not zero.
//!
//! A word of inputs ([`crate::armv7em::join`]) holds those of two pixels: one plus 128 in its low byte, the other
//! in its high byte. `smlal` sums the products of words with a weight in 64 bits: `S + 2^24 * T`, both sums
//! exact while `|S| < 2^23`, which is refused where inputs could break it.
//!
//! The stream begins with the bytes behind its first word, so that layers share the code. A channel in words:
//! both sums of biases, `s + 2^24 * t`, of which 48 bits are kept and the others hold the bytes of its weights;
//! these, two in a word, from the low byte on: weight, step, weight, step; the multiplier. A step counts bytes
//! from the inputs of the weight before. What is further away is reached over weights of zero, and a channel
//! has one word at least.
//!
//! Bound for a weight and eight pixels on Cortex-M4: four words take 6 cycles in two pairs, four products 4, the
//! step and the extension 1 each, and half a word of weights 1: 13, and a turn of four weights takes 6 more.

use crate::armv7em::epilogue::{Round, Rounding, close};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Slot};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Native, Val};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// What a caller knows of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Words of inputs.
    pub acts: usize,
    /// Words of a tap that are multiplied, of two pixels each: 1 to [`COLUMNS`]. Those of word `i` are pixels `i`
    /// and `columns + i`.
    pub columns: usize,
    /// Words of inputs from one of them to the next.
    pub pitch: usize,
    /// Result elements from one pixel to the next.
    pub step: usize,
    /// Right shift of all channels after the high word of the product.
    pub sh: u32,
    pub lo: i32,
    pub hi: i32,
    /// Words of weights of a turn of the loop: 2 or 4.
    pub round: usize,
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Single {
    pub sizes: Sizes,
    pub outputs: usize,
    /// Words of weights of all channels, and words of the stream.
    pub words: usize,
    pub len: usize,
}

/// Most words of a tap.
pub const COLUMNS: usize = 4;
/// Greatest step, in words of inputs.
const STEP: usize = 63;
/// The share of weights, in hundredths, above which a product with all of them takes fewer cycles.
const MOST: usize = 60;
/// Words of a channel before its weights.
const HEAD: usize = 2;
/// The sum of a word's first pixels has so many bits.
const LANE: u32 = 24;

impl Sizes {
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        4 * (self.columns - 1) * self.pitch <= 4095 && (2 * self.columns - 1) * self.step <= 4095
    }
}

impl Single {
    /// Packs a layer; `taps` says which of a row's weights each word of a pixel's inputs meets. The biases have
    /// the input's zero point in them. `None` where weights or sums do not fit.
    pub fn pack(
        sizes: &Sizes,
        weights: &[i32],
        bias: &[i32],
        rounding: Rounding<'_>,
        taps: &[usize],
    ) -> Option<(Single, Vec<i32>)> {
        let outputs = bias.len();
        let row = weights.len().checked_div(outputs)?;
        let (mut stream, mut words) = (vec![0], 0);
        for (o, &b) in bias.iter().enumerate() {
            let (mut all, mut at): (Vec<[u8; 2]>, usize) = (Vec::new(), 0);
            // The sum of first pixels, with 128 in each input, and of second ones.
            let b = i64::from(b);
            let (mut first, mut from, mut to) = (b, b, b);
            for (place, &tap) in taps.iter().enumerate() {
                let w = i8::try_from(weights[o * row + tap]).ok()?;
                if w == 0 {
                    continue;
                }
                first -= 128 * i64::from(w);
                from += (127 * i64::from(w)).min(-128 * i64::from(w));
                to += (127 * i64::from(w)).max(-128 * i64::from(w));
                while place - at > STEP {
                    all.push([0, 4 * STEP as u8]);
                    at += STEP;
                }
                all.push([w as u8, 4 * (place - at) as u8]);
                at = place;
            }
            let lane = 1i64 << (LANE - 1);
            // The inputs of first pixels have the range of the others once 128 and its products are taken off.
            if from <= -lane || to >= lane || first.abs() >= lane {
                return None;
            }
            all.resize(all.len().max(1).next_multiple_of(2), [0, 0]);
            let start = (first + (b << LANE)) as u64;
            let bytes = u16::try_from(2 * all.len()).ok()?;
            stream.push(start as i32);
            stream.push((start >> 32) as u16 as i32 | i32::from(bytes) << 16);
            for two in all.chunks(2) {
                stream.push(i32::from_le_bytes([two[0][0], two[0][1], two[1][0], two[1][1]]));
            }
            words += all.len() / 2;
            stream.push(rounding.multipliers[o]);
        }
        stream[0] = i32::try_from(4 * (stream.len() - 1)).ok()?;
        Some((Single { sizes: *sizes, outputs, words, len: stream.len() }, stream))
    }

    /// Whether enough weights are zero for the others to take fewer cycles than all of them.
    pub fn pays(&self, taps: usize) -> bool {
        100 * 2 * self.words <= MOST * taps * self.outputs
    }

    /// The kernel `(acts, w, y, rnd)`: its meaning as loops and its native form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let Sizes { columns, pitch, step, sh, lo, hi, .. } = self.sizes;
        let mut k = KernelBuilder::new(format!("gemm_s8_single_q{columns}"));
        let acts = k.buffer("acts", DType::I32, self.sizes.acts, Access::Read);
        let w = k.buffer("w", DType::I32, self.len, Access::Read);
        let y = k.buffer("y", DType::I8, (2 * columns - 1) * step + self.outputs, Access::Write);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize| at.max(0).min((self.len - room) as i32);
        let last = (self.sizes.acts - (columns - 1) * pitch - 1) as i32;
        let next = k.var("next", 1);
        k.for_("channel", 0, self.outputs, |k, channel| {
            let base = k.let_("base", within(next.into(), HEAD));
            let (low, high) = (k.let_("low", w.at(base)), k.let_("high", w.at(base + 1)));
            let first = k.let_("first", ((low & 0x00ff_ffff) ^ 0x0080_0000) - 0x0080_0000);
            // What the first sum borrows from the second, if it is negative, is in its upper bit.
            let second = ((high & 65535) ^ 32768) - 32768;
            let second = second * 256 + ((low >> LANE as i32) & 255) + ((low >> (LANE as i32 - 1)) & 1);
            let second = k.let_("second", second);
            let sums: Vec<(Val, Val)> = (0..columns)
                .map(|i| (k.var(&format!("a{i}"), first), k.var(&format!("b{i}"), second)))
                .collect();
            let words = k.let_("words", ((high >> 16) & 65535) >> 2);
            let at = k.var("at", 0);
            k.for_("word", 0, words, |k, word| {
                let v = k.let_("v", w.at(within(base + HEAD + word, 1)));
                for bits in [0, 16] {
                    let weight = k.let_("weight", (((v >> bits) & 255) ^ 128) - 128);
                    let place = at + ((v >> (bits + 8)) & 255) / 4;
                    k.set(at, place.max(0).min(last));
                    for (i, &(a, b)) in sums.iter().enumerate() {
                        let x = k.let_("x", acts.at(at + i * pitch));
                        k.add_to(a, weight * (x & 255));
                        k.add_to(b, weight * (x >> LANE as i32));
                    }
                }
            });
            let tail = k.let_("tail", within(base + HEAD + words, 1));
            let m = k.let_("m", w.at(tail));
            for (i, &(a, b)) in sums.iter().enumerate() {
                for (sum, pixel) in [(a, i), (b, columns + i)] {
                    let value = requantized(sum, m, (rnd, sh as i32), (lo, hi));
                    k.store(y, channel + pixel * step, value);
                }
            }
            k.set(next, tail + 1);
        });
        k.native(self.native(core)?);
        k.finish()
    }

    /// The native form. Loops have whole numbers of turns, channels need not: what the words of weights take is
    /// the difference that one more turn makes.
    fn native(&self, core: &Core) -> Result<Native> {
        let (native, more) = (self.block(1).native("dsp", core)?, self.block(2).native("dsp", core)?);
        let turns = self.words as f64 / (self.sizes.round * self.outputs) as f64;
        let cycles = native.cycles as f64 + (turns - 1.0) * (more.cycles - native.cycles) as f64;
        Ok(Native { cycles: cycles.round() as u64, ..native })
    }

    /// The instructions, as if a channel had so many turns.
    pub fn block(&self, turns: u64) -> Block {
        let Sizes { columns: q, pitch, round, .. } = self.sizes;
        let mut b = Block::new(4);
        b.streams = true;
        let [base, y, rnd, stop, end] = std::array::from_fn(|_| b.slot());
        let [from, w, to, constant] = [0, 1, 2, 3].map(|n| b.args[n]);
        b.push(Inst::StrSlot(from, base));
        b.push(Inst::StrSlot(to, y));
        b.push(Inst::StrSlot(constant, rnd));
        let bytes = b.reg();
        b.push(Inst::LdrPost(bytes, w, 4));
        b.push(Inst::Add(bytes, w, bytes));
        b.push(Inst::StrSlot(bytes, end));

        let top = b.label(self.outputs as u64);
        let sums: Vec<(Reg, Reg)> = (0..q).map(|_| (b.reg(), b.reg())).collect();
        let (low, high) = sums[0];
        let [acts, length] = b.regs_n();
        b.push(Inst::Ldr(low, w, 0));
        b.push(Inst::Ldr(high, w, 4));
        b.push(Inst::LdrSlot(acts, base));
        b.push(Inst::AddImm(w, w, 4 * HEAD as i32));
        b.push(Inst::LsrImm(length, high, 16));
        b.push(Inst::Sxth(high, high));
        for &(l, h) in &sums[1..] {
            b.push(Inst::Mov(l, low));
            b.push(Inst::Mov(h, high));
        }
        let past = b.reg();
        b.push(Inst::Add(past, w, length));
        b.push(Inst::StrSlot(past, stop));
        // The first turn may have fewer words.
        let part = b.reg();
        b.push(Inst::Ubfx(part, length, 2, round.trailing_zeros()));
        let enter: Vec<_> = (1..round).map(|_| b.ahead()).collect();
        for (n, &label) in enter.iter().enumerate() {
            b.push(Inst::CmpImm(part, (round - 1 - n) as u32));
            b.push(Inst::Branch(Cond::Eq, label));
        }
        let turn = b.label(turns);
        for word in 0..round {
            if word > 0 {
                b.place(enter[word - 1]);
            }
            let v = b.reg();
            b.push(Inst::LdrPost(v, w, 4));
            for byte in [0, 2] {
                let weight = b.reg();
                b.push(Inst::Uxtab(acts, acts, v, byte + 1));
                b.push(Inst::Sxtb(weight, v, byte));
                // Loads side by side cost one cycle less each: there are registers for two.
                for pair in (0..q).collect::<Vec<_>>().chunks(2) {
                    let inputs: Vec<Reg> = pair.iter().map(|_| b.reg()).collect();
                    for (&i, &x) in pair.iter().zip(&inputs) {
                        b.push(Inst::Ldr(x, acts, (4 * pitch * i) as u32));
                    }
                    for (&i, &x) in pair.iter().zip(&inputs) {
                        b.push(Inst::Smlal(sums[i].0, sums[i].1, x, weight));
                    }
                }
            }
        }
        let past = b.reg();
        b.push(Inst::LdrSlot(past, stop));
        b.push(Inst::Cmp(w, past));
        b.push(Inst::BranchBack(Cond::Ne, turn));
        self.finish(&mut b, w, (y, rnd), &sums);
        let past = b.reg();
        b.push(Inst::LdrSlot(past, end));
        b.push(Inst::Cmp(w, past));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }

    /// Parts the sums of a channel, requantizes and stores them.
    fn finish(&self, b: &mut Block, w: Reg, (y, rnd): (Slot, Slot), sums: &[(Reg, Reg)]) {
        let Sizes { columns, step, sh, lo, hi, .. } = self.sizes;
        let [m, to, round, high_round] = b.regs_n();
        b.push(Inst::LdrPost(m, w, 4));
        b.push(Inst::LdrSlot(to, y));
        b.push(Inst::LdrSlot(round, rnd));
        b.push(Inst::LslImm(high_round, round, 32 - LANE));
        for (i, &(low, high)) in sums.iter().enumerate() {
            // The first one is left as 2^8 times itself; the second gets back what it lent.
            let carried = b.reg();
            b.push(Inst::LsrImm(carried, low, LANE));
            b.push(Inst::AddLsl(high, carried, high, 32 - LANE));
            b.push(Inst::LslImm(low, low, 32 - LANE));
            b.push(Inst::AddLsr(high, high, low, 31));
            let first = Round::Layer(high_round, sh + 32 - LANE);
            close(b, &[low], m, first, (to, i * step, step), (lo, hi));
            close(b, &[high], m, Round::Layer(round, sh), (to, (columns + i) * step, step), (lo, hi));
        }
        b.push(Inst::AddImm(to, to, 1));
        b.push(Inst::StrSlot(to, y));
    }
}

#[cfg(test)]
mod tests;
