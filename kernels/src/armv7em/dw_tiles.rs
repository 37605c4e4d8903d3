//! Depthwise convolution with any window over rows and columns on vertical pairs: a tile of
//! outputs of a row at a time, whose sums stay in registers while weights and columns pass by.
//!
//! The window of an output covers whole pairs; where it begins or ends inside one, the weight
//! of the other half is zero. Outputs that begin at the upper row of a pair and those that begin
//! at the lower one have weights of their own: two passes over the same code. Stream of a channel,
//! in words, by pass: bias, multiplier, constant and shift where each channel has its own, the
//! weights by row of pairs and column.
//!
//! Law: the text holds the window, the stride along a row and the columns from row to row; how
//! many rows, tiles and channels there are and where results go are arguments, so that layers
//! share it. Where tiles do not divide a row the second one overlaps the first, and gives
//! the same results again.

use crate::armv7em::dw_rowpair::{BYTES, COLUMN, clamp, word};
use crate::armv7em::epilogue::{Rounding, word as push_word};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Slot};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// At most [`crate::armv7em::dw_rowpair::GROUP`].
    pub channels: usize,
    /// Rows of pairs and columns of the window, and columns from one tap to the next.
    pub window: [usize; 2],
    pub dilation: usize,
    /// Columns from one row of pairs to the next.
    pub pitch: usize,
    /// Rows of pairs from one row of a pass to the next, columns from one output to the next.
    pub strides: [usize; 2],
    /// Passes that have weights, 1 or 2, and rows of outputs of each.
    pub passes: usize,
    pub rows: [usize; 2],
    /// Rows of pairs, and result elements, to the first output of the second pass.
    pub second: (usize, usize),
    /// Outputs in a row.
    pub outputs: usize,
    /// Result elements from one output to the next, and from one row of a pass to the next.
    pub step: usize,
    pub row: usize,
    /// Whether the text knows the distance of results: one instruction less each.
    pub known: bool,
    /// Right shift of all channels after the high word; `None` where each has its own.
    pub sh: Option<u32>,
    pub lo: i32,
    pub hi: i32,
}

/// Columns of weights that are in registers together, at most.
const TAPS: usize = 5;
/// Cycles that a tile takes beside its products and loads.
const TILE: usize = 24;

impl Tiles {
    fn taps(&self) -> usize {
        self.window[0] * self.window[1]
    }
    /// Words of a pass before its weights, of a pass, and of the stream of a channel.
    fn head(&self) -> usize {
        if self.sh.is_some() { 2 } else { 4 }
    }
    fn pass(&self) -> usize {
        self.head() + self.taps()
    }
    fn stream(&self) -> usize {
        self.passes * self.pass()
    }
    pub fn stream_len(&self) -> usize {
        2 * self.stream() * self.channels
    }
    /// Columns of weights of a round: as even as they go.
    fn round(&self) -> usize {
        self.window[1].div_ceil(self.window[1].div_ceil(TAPS))
    }
    /// Outputs of a tile: two pointers, an input and the bias stand beside sums and weights.
    fn tile(&self) -> usize {
        let cycles = |n: usize| {
            let columns = (n - 1) * self.strides[1].min(self.round()) + self.round();
            let loads = self.window[1].div_ceil(self.round()) * columns * 2 + self.window[1];
            self.outputs.div_ceil(n) * (TILE + 4 * n + self.window[0] * (loads + n * self.window[1]))
        };
        let most = (14 - 4 - self.round()).min(self.outputs);
        (1..=most).rev().min_by_key(|&n| cycles(n)).unwrap_or(1)
    }
    fn tiles(&self) -> usize {
        self.outputs.div_ceil(self.tile())
    }
    /// Outputs that the second tile computes again.
    fn again(&self) -> usize {
        self.tiles() * self.tile() - self.outputs
    }
    fn acts_len(&self) -> usize {
        let ends = (0..2).filter(|&p| self.rows[p] > 0).map(|p| {
            let row = p * self.second.0 + (self.rows[p] - 1) * self.strides[0] + self.window[0] - 1;
            let column = (self.outputs - 1) * self.strides[1] + (self.window[1] - 1) * self.dilation;
            (row * self.pitch + column) * COLUMN
        });
        ends.max().unwrap_or(0) + 2 * self.channels
    }
    fn y_len(&self) -> usize {
        let ends = (0..2).filter(|&p| self.rows[p] > 0);
        let ends = ends.map(|p| p * self.second.1 + (self.rows[p] - 1) * self.row);
        ends.max().unwrap_or(0) + (self.outputs - 1) * self.step + self.channels
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        let reach = (self.window[0] - 1) * self.pitch
            + (self.tile() - 1) * self.strides[1]
            + (self.window[1] - 1) * self.dilation;
        reach * BYTES <= 4095
            && 4 * self.stream() <= 4095
            && (!self.known || self.tile() * self.step <= 4095)
            && self.taps() <= 40
            && self.rows[0] > 0
            && self.passes <= 2
            && self.sh.is_none_or(|sh| (1..=31).contains(&sh))
    }

    /// Packs weights by `(channel, pass, row of pairs, column, half)`.
    pub fn pack(
        &self,
        weight: &dyn Fn(usize, usize, usize, usize, usize) -> i32,
        bias: &[i32],
        rounding: Rounding<'_>,
    ) -> Option<Vec<i16>> {
        let mut stream = Vec::new();
        for (c, &bias) in bias.iter().enumerate() {
            for pass in 0..self.passes {
                push_word(&mut stream, bias);
                rounding.push(&mut stream, c, self.sh.is_none());
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

    /// The kernel `(acts, w, y, rnd, ..scalars)`, without `rnd` where channels have their own.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("depthwise_s8_tiles");
        let acts = k.buffer("acts", DType::I16, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let rnd = self.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
        let names =
            ["bytes", "upper", "lower", "below", "x_back", "y_back", "wide", "step", "x_first", "y_first"];
        for (name, value) in names.into_iter().zip(self.scalars()) {
            k.scalar(name, value, value);
        }
        k.for_("c", 0, self.channels, |k, c| {
            for pass in (0..self.passes).filter(|&p| self.rows[p] > 0) {
                let base = k.let_("base", c * (2 * self.stream()) + pass * 2 * self.pass());
                let bias = k.let_("bias", word(w, base.into()));
                let m = k.let_("m", word(w, base + 2));
                let (round, shift): (Expr, Expr) = match (self.sh, rnd) {
                    (Some(sh), Some(rnd)) => (rnd.into(), (sh as i32).into()),
                    _ => (word(w, base + 4), word(w, base + 6) & 31),
                };
                let (round, shift) = (k.let_("round", round), k.let_("shift", shift));
                k.for_("i", 0, self.rows[pass], |k, i| {
                    k.for_("x", 0, self.outputs, |k, x| {
                        let sum = k.var("sum", bias);
                        let at = i * (self.strides[0] * self.pitch * COLUMN)
                            + x * (self.strides[1] * COLUMN)
                            + c * 2
                            + pass * self.second.0 * self.pitch * COLUMN;
                        let at = k.let_("at", at);
                        k.for_("r", 0, self.window[0], |k, r| {
                            k.for_("t", 0, self.window[1], |k, t| {
                                let from = at + r * (self.pitch * COLUMN) + t * (self.dilation * COLUMN);
                                let tap = base + r * (2 * self.window[1]) + t * 2 + 2 * self.head();
                                let (from, tap) = (k.let_("from", from), k.let_("tap", tap));
                                k.add_to(sum, acts.at(from) * w.at(tap));
                                k.add_to(sum, acts.at(from + 1) * w.at(tap + 1));
                            });
                        });
                        let value = requantized(sum, m, (round, shift), (self.lo, self.hi));
                        let to = i * self.row + x * self.step + c + pass * self.second.1;
                        k.store(y, to, value);
                    });
                });
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// What a call passes behind `rnd`: bytes of the stream; bytes of the rows of each pass;
    /// result elements to the second pass; bytes and elements from behind a row to the next of
    /// its pass; bytes of a row; distance of results; what input and result go back by before the
    /// second tile.
    pub fn scalars(&self) -> [i32; 10] {
        let (n, across) = (self.tiles() * self.tile(), self.strides[1] * BYTES);
        let down = self.strides[0] * self.pitch * BYTES;
        let rows = |p: usize| (self.rows[p] * down) as i32;
        let [upper, lower] = [rows(0), if self.passes > 1 { rows(1) } else { 0 }];
        let again = self.again();
        let wide = n - again;
        [
            2 * self.stream_len() as i32,
            upper,
            lower,
            self.second.1 as i32,
            down as i32 - (wide * across) as i32,
            self.row as i32 - (wide * self.step) as i32,
            (wide * across) as i32,
            self.step as i32,
            (again * across) as i32,
            (again * self.step) as i32,
        ]
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(4);
        b.streams = true;
        let [x, w, y, fourth] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [acts_slot, w_slot, y_slot, rnd_slot, end_slot, next_slot, rows_slot, wide_slot, at_slot] =
            [(); 9].map(|()| b.slot());
        let backs = [b.slot(), b.slot()];
        // Without a common constant every argument stands one place earlier.
        let first = if self.sh.is_some() { 4 } else { 3 };
        let bytes = if self.sh.is_some() {
            let bytes = b.reg();
            b.push(Inst::StrSlot(fourth, rnd_slot));
            b.push(Inst::LdrArg(bytes, first));
            bytes
        } else {
            fourth
        };
        b.push(Inst::StrSlot(x, acts_slot));
        b.push(Inst::StrSlot(w, w_slot));
        b.push(Inst::StrSlot(y, y_slot));
        b.push(Inst::Add(bytes, bytes, w));
        b.push(Inst::StrSlot(bytes, end_slot));
        let top = b.label(self.channels as u64);
        // No register lives through the rows but the two pointers.
        let [at, rows] = b.regs_n();
        b.push(Inst::LdrSlot(at, y_slot));
        b.push(Inst::LdrArg(rows, first + 1));
        b.push(Inst::StrSlot(at, at_slot));
        b.push(Inst::StrSlot(rows, rows_slot));
        if self.passes > 1 {
            let lower = b.reg();
            b.push(Inst::LdrArg(lower, first + 2));
            b.push(Inst::StrSlot(lower, next_slot));
        }
        // Both passes turn over the same rows: what switches them is counted once.
        let switch = b.label(1);
        let rows = b.reg();
        b.push(Inst::LdrSlot(rows, rows_slot));
        b.push(Inst::Add(rows, rows, x));
        b.push(Inst::StrSlot(rows, rows_slot));
        let all = self.rows[0] + if self.passes > 1 { self.rows[1] } else { 0 };
        let each = b.label(all as u64);
        let wide = b.reg();
        b.push(Inst::LdrArg(wide, first + 6));
        b.push(Inst::Add(wide, wide, x));
        b.push(Inst::StrSlot(wide, wide_slot));
        if self.again() > 0 {
            for (i, &slot) in backs.iter().enumerate() {
                let back = b.reg();
                b.push(Inst::LdrArg(back, first + 8 + i as u32));
                b.push(Inst::StrSlot(back, slot));
            }
        }
        let tile = b.label(self.tiles() as u64);
        let y = self.sums(&mut b, (x, w), (at_slot, rnd_slot), first + 7);
        b.push(Inst::AddImm(x, x, (self.tile() * self.strides[1] * BYTES) as i32));
        if self.again() > 0 {
            let [dx, dy, zero] = b.regs_n();
            b.push(Inst::LdrSlot(dx, backs[0]));
            b.push(Inst::LdrSlot(dy, backs[1]));
            b.push(Inst::MovImm(zero, 0));
            b.push(Inst::Sub(x, x, dx));
            b.push(Inst::Sub(y, y, dy));
            b.push(Inst::StrSlot(zero, backs[0]));
            b.push(Inst::StrSlot(zero, backs[1]));
        }
        b.push(Inst::StrSlot(y, at_slot));
        let wide = b.reg();
        b.push(Inst::LdrSlot(wide, wide_slot));
        b.push(Inst::Cmp(x, wide));
        b.push(Inst::BranchBack(Cond::Ne, tile));
        let [x_back, y_back, at, end] = b.regs_n();
        b.push(Inst::LdrArg(x_back, first + 4));
        b.push(Inst::LdrArg(y_back, first + 5));
        b.push(Inst::LdrSlot(at, at_slot));
        b.push(Inst::LdrSlot(end, rows_slot));
        b.push(Inst::Add(x, x, x_back));
        b.push(Inst::Add(at, at, y_back));
        b.push(Inst::StrSlot(at, at_slot));
        b.push(Inst::Cmp(x, end));
        b.push(Inst::BranchBack(Cond::Ne, each));
        let y = b.reg();
        b.push(Inst::LdrSlot(x, acts_slot));
        b.push(Inst::LdrSlot(y, y_slot));
        if self.passes > 1 {
            let [below, rows, none, to] = b.regs_n();
            b.push(Inst::LdrArg(below, first + 3));
            b.push(Inst::LdrSlot(rows, next_slot));
            b.push(Inst::StrSlot(rows, rows_slot));
            b.advance(x, (self.second.0 * self.pitch * BYTES) as i32);
            b.push(Inst::Add(to, y, below));
            b.push(Inst::StrSlot(to, at_slot));
            b.push(Inst::AddImm(w, w, 4 * self.pass() as i32));
            b.push(Inst::MovImm(none, 0));
            b.push(Inst::StrSlot(none, next_slot));
            b.push(Inst::CmpImm(rows, 0));
            b.push(Inst::BranchBack(Cond::Ne, switch));
            b.push(Inst::LdrSlot(x, acts_slot));
            b.push(Inst::LdrSlot(y, y_slot));
        }
        let end = b.reg();
        b.push(Inst::LdrSlot(w, w_slot));
        b.push(Inst::LdrSlot(end, end_slot));
        b.push(Inst::AddImm(x, x, 4));
        b.push(Inst::AddImm(y, y, 1));
        b.push(Inst::AddImm(w, w, 4 * self.stream() as i32));
        b.push(Inst::StrSlot(x, acts_slot));
        b.push(Inst::StrSlot(y, y_slot));
        b.push(Inst::StrSlot(w, w_slot));
        b.push(Inst::Cmp(w, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }

    /// The outputs of a tile; gives the place behind them.
    fn sums(
        &self,
        b: &mut Block,
        (x, w): (Reg, Reg),
        (at_slot, rnd_slot): (Slot, Slot),
        step_arg: u32,
    ) -> Reg {
        let n = self.tile();
        let sums: Vec<Reg> = (0..n).map(|_| b.reg()).collect();
        let bias = b.reg();
        b.push(Inst::Ldr(bias, w, 0));
        let mut begun = vec![false; n];
        for row in 0..self.window[0] {
            for first in (0..self.window[1]).step_by(self.round()) {
                let count = self.round().min(self.window[1] - first);
                let weights: Vec<Reg> = (0..count).map(|_| b.reg()).collect();
                for (i, &r) in weights.iter().enumerate() {
                    let tap = self.head() + row * self.window[1] + first + i;
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
                // Loads side by side, as far as there are registers: the bias needs none once
                // every sum has begun.
                let others = if begun.iter().all(|&b| b) { 3 } else { 4 };
                let together = if n + count + others < 14 { 2 } else { 1 };
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
        let [y, m, rnd] = b.regs_n();
        b.push(Inst::LdrSlot(y, at_slot));
        b.push(Inst::Ldr(m, w, 4));
        let shift = match self.sh {
            Some(_) => {
                b.push(Inst::LdrSlot(rnd, rnd_slot));
                None
            }
            None => {
                let shift = b.reg();
                b.push(Inst::Ldr(rnd, w, 8));
                b.push(Inst::Ldr(shift, w, 12));
                Some(shift)
            }
        };
        let step = (!self.known).then(|| b.reg());
        step.into_iter().for_each(|step| b.push(Inst::LdrArg(step, step_arg)));
        for &s in &sums {
            b.push(Inst::Smmla(s, s, m, rnd));
        }
        for (i, &s) in sums.iter().enumerate() {
            shift.into_iter().for_each(|shift| b.push(Inst::Asr(s, s, shift)));
            clamp(b, s, self.sh.unwrap_or(0), (self.lo, self.hi));
            match step {
                Some(step) => {
                    b.push(Inst::Strb(s, y, 0));
                    b.push(Inst::Add(y, y, step));
                }
                None => b.push(Inst::Strb(s, y, (i * self.step) as u32)),
            }
        }
        if self.known {
            b.advance(y, (n * self.step) as i32);
        }
        y
    }
}
