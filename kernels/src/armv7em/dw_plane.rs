//! Depthwise convolution with any window on vertical pairs: several outputs of a row at a time,
//! whose sums stay in registers while weights and columns pass by.
//!
//! The window of an output covers whole pairs; where it begins or ends inside one, the weight
//! of the other half is zero. Outputs that begin at the upper row of a pair and those that begin
//! at the lower one have weights of their own: two passes.
//! Stream of a channel, in words: bias, multiplier, then constant and shift where each channel
//! has its own, then the weights of each pass by row of pairs and column.

use crate::armv7em::dw_rowpair::{BYTES, COLUMN, word};
use crate::armv7em::epilogue::{Round, Rounding, close, word as push_word};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Slot};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Outputs of one phase: those whose windows begin alike within a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Row of pairs and column under the first output, and where it is stored.
    pub pair: usize,
    pub column: usize,
    pub y: usize,
    /// Rows of outputs, and outputs in a row; without rows only the weights are there.
    pub rows: usize,
    pub outputs: usize,
}

/// Sizes of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// At most [`crate::armv7em::dw_rowpair::GROUP`].
    pub channels: usize,
    /// Rows of pairs and columns of the window, and columns from one tap to the next.
    pub window: [usize; 2],
    pub dilation: usize,
    /// Columns from one row of pairs to the next.
    pub pitch: usize,
    /// Rows of pairs from one row of outputs to the next, columns from one output to the next.
    pub strides: [usize; 2],
    pub passes: Vec<Pass>,
    /// Result elements from one output to the next, and from one row of a pass to the next.
    pub step: usize,
    pub row: usize,
    /// Right shift of all channels after the high word; `None` where each has its own.
    pub sh: Option<u32>,
    pub lo: i32,
    pub hi: i32,
}

/// Columns of weights that are in registers together.
const TAPS: usize = 5;

impl Plane {
    fn taps(&self) -> usize {
        self.window[0] * self.window[1]
    }
    /// Words before the weights.
    fn head(&self) -> usize {
        if self.sh.is_some() { 2 } else { 4 }
    }
    /// Words of the stream of a channel.
    fn stream(&self) -> usize {
        self.head() + self.passes.len() * self.taps()
    }
    pub fn stream_len(&self) -> usize {
        2 * self.stream() * self.channels
    }
    /// Rows of pairs of the group that outputs read, and halves of them.
    fn acts_len(&self) -> usize {
        let ends = self.passes.iter().filter(|p| p.rows > 0).map(|p| {
            let row = p.pair + (p.rows - 1) * self.strides[0] + self.window[0] - 1;
            let column = p.column + (p.outputs - 1) * self.strides[1] + (self.window[1] - 1) * self.dilation;
            (row * self.pitch + column) * COLUMN
        });
        ends.max().unwrap_or(0) + 2 * self.channels
    }
    fn y_len(&self) -> usize {
        let passes = self.passes.iter().filter(|p| p.rows > 0);
        let ends = passes.map(|p| p.y + (p.rows - 1) * self.row + (p.outputs - 1) * self.step);
        ends.max().unwrap_or(0) + self.channels
    }
    /// Columns of weights of one round, and outputs of one tile.
    fn block_of(&self) -> (usize, usize) {
        let taps = self.window[1].min(TAPS);
        (taps, if taps >= 4 { 4 } else { 6 })
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        let (_, tile) = self.block_of();
        let reach = (self.window[0] - 1) * self.pitch
            + (tile - 1) * self.strides[1]
            + (self.window[1] - 1) * self.dilation;
        reach * BYTES <= 4095
            && 4 * self.stream() <= 4095
            && (tile - 1) * self.step <= 4095
            && self.taps() <= 40
    }

    /// Packs weights by `(channel, pass, row of pairs, column, half)` of `channels` channels.
    pub fn pack(
        &self,
        channels: usize,
        weight: &dyn Fn(usize, usize, usize, usize, usize) -> i32,
        bias: &[i32],
        rounding: Rounding<'_>,
    ) -> Option<Vec<i16>> {
        let mut stream = Vec::new();
        for c in 0..channels {
            push_word(&mut stream, bias[c]);
            rounding.push(&mut stream, c, self.sh.is_none());
            for pass in 0..self.passes.len() {
                for row in 0..self.window[0] {
                    for column in 0..self.window[1] {
                        for half in 0..2 {
                            stream.push(i16::try_from(weight(c, pass, row, column, half)).ok()?);
                        }
                    }
                }
            }
        }
        Some(stream)
    }

    /// The kernel `(acts, w, y)`, with `rnd` where the layer has one shift.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("depthwise_s8_plane");
        let acts = k.buffer("acts", DType::I16, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let rnd = self.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
        k.for_("c", 0, self.channels, |k, c| {
            let base = k.let_("base", c * (2 * self.stream()));
            let bias = k.let_("bias", word(w, base.into()));
            let m = k.let_("m", word(w, base + 2));
            let (round, shift): (Expr, Expr) = match (self.sh, rnd) {
                (Some(sh), Some(rnd)) => (rnd.into(), (sh as i32).into()),
                _ => (word(w, base + 4), word(w, base + 6) & 31),
            };
            let (round, shift) = (k.let_("round", round), k.let_("shift", shift));
            for (pass, p) in self.passes.iter().enumerate().filter(|(_, p)| p.rows > 0) {
                let first = 2 * (self.head() + pass * self.taps());
                k.for_("i", 0, p.rows, |k, i| {
                    k.for_("x", 0, p.outputs, |k, x| {
                        let sum = k.var("sum", bias);
                        let at = i * (self.strides[0] * self.pitch * COLUMN)
                            + x * (self.strides[1] * COLUMN)
                            + c * 2
                            + (p.pair * self.pitch + p.column) * COLUMN;
                        let at = k.let_("at", at);
                        k.for_("r", 0, self.window[0], |k, r| {
                            k.for_("t", 0, self.window[1], |k, t| {
                                let from = at + r * (self.pitch * COLUMN) + t * (self.dilation * COLUMN);
                                let tap = base + r * (2 * self.window[1]) + t * 2 + first;
                                let (from, tap) = (k.let_("from", from), k.let_("tap", tap));
                                k.add_to(sum, acts.at(from) * w.at(tap));
                                k.add_to(sum, acts.at(from + 1) * w.at(tap + 1));
                            });
                        });
                        let value = requantized(sum, m, (round, shift), (self.lo, self.hi));
                        let to = i * self.row + x * self.step + c + p.y;
                        k.store(y, to, value);
                    });
                });
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(if self.sh.is_some() { 4 } else { 3 });
        b.streams = true;
        let (acts, w, y) = (b.args[0], b.args[1], b.args[2]);
        let slots = Slots { acts: b.slot(), y: b.slot(), at: b.slot(), rnd: b.slot(), end: b.slot() };
        let end = b.reg();
        b.push(Inst::StrSlot(acts, slots.acts));
        b.push(Inst::StrSlot(y, slots.y));
        if let Some(&rnd) = b.args.get(3) {
            b.push(Inst::StrSlot(rnd, slots.rnd));
        }
        b.push(Inst::Mov(end, w));
        b.advance(end, 2 * self.stream_len() as i32);
        b.push(Inst::StrSlot(end, slots.end));
        let top = b.label(self.channels as u64);
        for (i, pass) in self.passes.iter().enumerate().filter(|(_, p)| p.rows > 0) {
            self.pass(&mut b, w, &slots, i, pass);
        }
        let [acts, y, end] = b.regs_n();
        b.push(Inst::LdrSlot(acts, slots.acts));
        b.push(Inst::LdrSlot(y, slots.y));
        b.push(Inst::LdrSlot(end, slots.end));
        b.push(Inst::AddImm(acts, acts, 4));
        b.push(Inst::AddImm(y, y, 1));
        b.push(Inst::StrSlot(acts, slots.acts));
        b.push(Inst::StrSlot(y, slots.y));
        b.push(Inst::AddImm(w, w, 4 * self.stream() as i32));
        b.push(Inst::Cmp(w, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }

    fn pass(&self, b: &mut Block, w: Reg, slots: &Slots, pass: usize, p: &Pass) {
        let [x, y] = b.regs_n();
        b.push(Inst::LdrSlot(x, slots.acts));
        b.push(Inst::LdrSlot(y, slots.y));
        b.advance(x, ((p.pair * self.pitch + p.column) * BYTES) as i32);
        b.advance(y, p.y as i32);
        b.push(Inst::StrSlot(y, slots.at));
        let (_, tile) = self.block_of();
        let (tiles, rest) = (p.outputs / tile, p.outputs % tile);
        let rows = (p.rows > 1).then(|| {
            let (end, slot) = (b.reg(), b.slot());
            b.push(Inst::Mov(end, x));
            b.advance(end, (p.rows * self.strides[0] * self.pitch * BYTES) as i32);
            b.push(Inst::StrSlot(end, slot));
            (slot, b.label(p.rows as u64))
        });
        if tiles > 0 {
            let columns = (tiles > 1).then(|| {
                let (end, slot) = (b.reg(), b.slot());
                b.push(Inst::Mov(end, x));
                b.advance(end, (tiles * tile * self.strides[1] * BYTES) as i32);
                b.push(Inst::StrSlot(end, slot));
                (slot, b.label(tiles as u64))
            });
            self.tile(b, (x, w), slots, pass, tile);
            if let Some((slot, top)) = columns {
                let end = b.reg();
                b.push(Inst::LdrSlot(end, slot));
                b.push(Inst::Cmp(x, end));
                b.push(Inst::BranchBack(Cond::Ne, top));
            }
        }
        if rest > 0 {
            self.tile(b, (x, w), slots, pass, rest);
        }
        if let Some((slot, top)) = rows {
            let moved = p.outputs * self.strides[1];
            b.advance(x, (self.strides[0] * self.pitch * BYTES) as i32 - (moved * BYTES) as i32);
            let [y, end] = b.regs_n();
            b.push(Inst::LdrSlot(y, slots.at));
            b.push(Inst::LdrSlot(end, slot));
            b.advance(y, self.row as i32 - (p.outputs * self.step) as i32);
            b.push(Inst::StrSlot(y, slots.at));
            b.push(Inst::Cmp(x, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
    }

    /// `n` outputs of a row.
    fn tile(&self, b: &mut Block, (x, w): (Reg, Reg), slots: &Slots, pass: usize, n: usize) {
        let (taps, _) = self.block_of();
        let sums: Vec<Reg> = (0..n).map(|_| b.reg()).collect();
        let bias = b.reg();
        b.push(Inst::Ldr(bias, w, 0));
        let mut begun = vec![false; n];
        for row in 0..self.window[0] {
            for first in (0..self.window[1]).step_by(taps) {
                let count = taps.min(self.window[1] - first);
                let weights: Vec<Reg> = (0..count).map(|_| b.reg()).collect();
                for (i, &r) in weights.iter().enumerate() {
                    let tap = self.head() + pass * self.taps() + row * self.window[1] + first + i;
                    b.push(Inst::Ldr(r, w, 4 * tap as u32));
                }
                let width = (n - 1) * self.strides[1] + (count - 1) * self.dilation + 1;
                // Which outputs meet which weights at a column.
                let meets = |column: usize| -> Vec<(usize, usize)> {
                    let of = |t: usize| {
                        let q = column.checked_sub(t * self.dilation)?;
                        (q.is_multiple_of(self.strides[1]) && q / self.strides[1] < n)
                            .then(|| (q / self.strides[1], t))
                    };
                    (0..count).filter_map(of).collect()
                };
                let columns: Vec<usize> = (0..width).filter(|&c| !meets(c).is_empty()).collect();
                // Loads side by side, as far as there are registers.
                let together = if n + count + 6 <= 14 { 2 } else { 1 };
                for some in columns.chunks(together) {
                    let words: Vec<Reg> = some.iter().map(|_| b.reg()).collect();
                    for (&c, &r) in some.iter().zip(&words) {
                        let at = (row * self.pitch + first * self.dilation + c) * BYTES;
                        b.push(Inst::Ldr(r, x, at as u32));
                    }
                    for (&c, &r) in some.iter().zip(&words) {
                        for (q, t) in meets(c) {
                            let before = if begun[q] { sums[q] } else { bias };
                            begun[q] = true;
                            b.push(Inst::Smlad(sums[q], r, weights[t], before));
                        }
                    }
                }
            }
        }
        let [y, m] = b.regs_n();
        b.push(Inst::LdrSlot(y, slots.at));
        b.push(Inst::Ldr(m, w, 4));
        let round = match self.sh {
            Some(sh) => {
                let rnd = b.reg();
                b.push(Inst::LdrSlot(rnd, slots.rnd));
                Round::Layer(rnd, sh)
            }
            None => Round::Channel(w, 8),
        };
        close(b, &sums, m, round, (y, 0, self.step), (self.lo, self.hi));
        b.advance(y, (n * self.step) as i32);
        b.push(Inst::StrSlot(y, slots.at));
        b.push(Inst::AddImm(x, x, (n * self.strides[1] * BYTES) as i32));
    }
}

/// Where a block keeps what has no register.
struct Slots {
    acts: Slot,
    y: Slot,
    /// The next output.
    at: Slot,
    rnd: Slot,
    /// Of the stream.
    end: Slot,
}
