//! Pairs of rows: int8 rows of four channels to words of two rows each.
//!
//! Four inputs `a0 a1 a2 a3` of a row and `b0 b1 b2 b3` of the next become the words `a0 b0`,
//! `a1 b1`, `a2 b2`, `a3 b3`, the zero point subtracted. A row that is missing counts as zeros.

use super::{COLUMN, GROUP, given};
use crate::block::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PairRows {
    /// Columns to widen, and columns from one pair of rows to the next in the result.
    pub(crate) columns: usize,
    pub(crate) pitch: usize,
    /// Whether a pair without its upper row comes first, the number of whole pairs, and whether
    /// a pair without its lower row comes last.
    pub(crate) first: bool,
    pub(crate) both: usize,
    pub(crate) last: bool,
    /// Input elements from one column to the next, and from one row to the next.
    pub(crate) step: usize,
    pub(crate) row: usize,
}

/// Columns per turn of the loop.
const TURN: usize = 4;

impl PairRows {
    pub(crate) fn rows(&self) -> usize {
        usize::from(self.first) + 2 * self.both + usize::from(self.last)
    }
    fn pairs(&self) -> usize {
        usize::from(self.first) + self.both + usize::from(self.last)
    }

    /// The kernel `(x, out, zx, step, row)`.
    pub(crate) fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("pairs_s8");
        let (step, row) = (self.step, self.row);
        let x_len = (self.rows() - 1) * row + (self.columns - 1) * step + GROUP;
        let out_len = ((self.pairs() - 1) * self.pitch + self.columns) * COLUMN;
        let x = k.buffer("x", DType::I8, x_len, Access::Read);
        let out = k.buffer("out", DType::I16, out_len, Access::Write);
        let zx = k.scalar("zx", -128, 127);
        given(&mut k, "step", step);
        given(&mut k, "row", row);
        let above = usize::from(self.first);
        // Pairs from `pair` on; the upper and the lower row of each, from the first pair's on.
        let mut write = |n: usize, pair: usize, upper: Option<usize>, lower: Option<usize>| {
            k.for_("pair", 0, n, |k, i| {
                k.for_("column", 0, self.columns, |k, column| {
                    k.for_("c", 0, GROUP, |k, c| {
                        let to = (i * self.pitch + column + pair * self.pitch) * COLUMN + c * 2;
                        let to = k.let_("to", to);
                        let from = k.let_("from", i * (2 * row) + column * step + c);
                        let value = |at: Option<usize>| -> Expr {
                            at.map_or(0.into(), |at| x.at(from + at * row) - zx)
                        };
                        k.store(out, to, value(upper));
                        k.store(out, to + 1, value(lower));
                    });
                });
            });
        };
        if self.first {
            write(1, 0, None, Some(0));
        }
        if self.both > 0 {
            write(self.both, above, Some(above), Some(above + 1));
        }
        if self.last {
            write(1, above + self.both, Some(above + 2 * self.both), None);
        }
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The instructions.
    pub(crate) fn block(&self) -> Block {
        let mut b = Block::new(4);
        let [x, out, zx, step] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [row, both, z, minus] = b.regs_n();
        b.push(Inst::LdrArg(row, 4));
        let filler = (self.first || self.last).then(|| {
            // A word of zero points stands for a missing row.
            let [byte, ones, filler] = b.regs_n();
            b.push(Inst::Uxtb(byte, zx, 0));
            b.push(Inst::MovImm(ones, 0x0101_0101));
            b.push(Inst::Mul(filler, byte, ones));
            let slot = b.slot();
            b.push(Inst::StrSlot(filler, slot));
            slot
        });
        b.push(Inst::Neg(minus, zx));
        b.push(Inst::Pkhbt(z, minus, minus));
        b.push(Inst::Add(both, step, row));
        let at = At { x, out, step, row, both, z };
        // From behind the last column of a row to the next row, and of a pair to the next pair.
        let back = |b: &mut Block, rows: u32| {
            let [n, t] = b.regs_n();
            b.push(Inst::MovImm(n, self.columns as i32));
            b.push(Inst::Mls(t, n, step, x));
            match rows {
                1 => b.push(Inst::Add(x, t, row)),
                _ => b.push(Inst::AddLsl(x, t, row, 1)),
            }
            b.advance(out, (self.pitch - self.columns) as i32 * 2 * COLUMN as i32);
        };
        if self.first {
            self.row(&mut b, &at, Mode::Lower, filler);
            back(&mut b, 1);
        }
        if self.both > 0 {
            let looped = (self.both > 1).then(|| {
                let end = b.reg();
                let slot = b.slot();
                b.push(Inst::Mov(end, out));
                b.advance(end, (self.both * self.pitch * 2 * COLUMN) as i32);
                b.push(Inst::StrSlot(end, slot));
                (slot, b.label(self.both as u64))
            });
            self.row(&mut b, &at, Mode::Both, None);
            if looped.is_some() || self.last {
                back(&mut b, 2);
            }
            if let Some((slot, top)) = looped {
                let end = b.reg();
                b.push(Inst::LdrSlot(end, slot));
                b.push(Inst::Cmp(out, end));
                b.push(Inst::BranchBack(Cond::Ne, top));
            }
        }
        if self.last {
            self.row(&mut b, &at, Mode::Upper, filler);
        }
        b
    }

    /// One pair of rows; leaves the pointers behind its last column.
    fn row(&self, b: &mut Block, at: &At, mode: Mode, filler: Option<super::super::Slot>) {
        let filler = filler.map(|slot| {
            let filler = b.reg();
            b.push(Inst::LdrSlot(filler, slot));
            filler
        });
        let turns = self.columns / TURN;
        if turns > 1 {
            let end = b.reg();
            b.push(Inst::Mov(end, at.out));
            b.advance(end, (turns * TURN * 2 * COLUMN) as i32);
            let top = b.label(turns as u64);
            for pair in 0..TURN / 2 {
                at.columns(b, mode, filler, 2, 2 * pair);
            }
            b.advance(at.out, (TURN * 2 * COLUMN) as i32);
            b.push(Inst::Cmp(at.out, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        let rest = self.columns - if turns > 1 { turns * TURN } else { 0 };
        for column in (0..rest).step_by(2) {
            at.columns(b, mode, filler, 2.min(rest - column), column);
        }
        b.advance(at.out, (rest * 2 * COLUMN) as i32);
    }
}

/// Which rows of a pair there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Both,
    Upper,
    Lower,
}

/// Where the block stands, and its constants.
struct At {
    x: Reg,
    out: Reg,
    step: Reg,
    row: Reg,
    both: Reg,
    z: Reg,
}

impl At {
    /// One or two columns, written `column` columns behind `out`.
    fn columns(&self, b: &mut Block, mode: Mode, filler: Option<Reg>, n: usize, column: usize) {
        let mut words: Vec<[Reg; 2]> = Vec::new();
        for i in 0..n {
            let [upper, lower] = b.regs_n();
            let first = if mode == Mode::Lower { lower } else { upper };
            match i {
                0 => b.push(Inst::Ldr(first, self.x, 0)),
                _ => b.push(Inst::LdrAt(first, self.x, self.step, 0)),
            }
            if mode == Mode::Both {
                b.push(Inst::LdrAt(lower, self.x, [self.row, self.both][i], 0));
            }
            let missing = filler.unwrap_or(first);
            words.push(match mode {
                Mode::Both => [upper, lower],
                Mode::Upper => [upper, missing],
                Mode::Lower => [missing, lower],
            });
        }
        match n {
            1 => b.push(Inst::Add(self.x, self.x, self.step)),
            _ => b.push(Inst::AddLsl(self.x, self.x, self.step, 1)),
        }
        for (i, [upper, lower]) in words.into_iter().enumerate() {
            let [low, high] = b.regs_n();
            // Bytes `a0 a1 b0 b1`, and `a2 a3 b2 b3`.
            b.push(Inst::Pkhbt(low, upper, lower));
            b.push(Inst::Pkhtb(high, lower, upper, 16));
            let to = ((column + i) * 2 * COLUMN) as u32;
            for (half, from) in [low, high].into_iter().enumerate() {
                let v = b.reg();
                b.push(Inst::Sxtab16(v, self.z, from, Ror::R0));
                b.push(Inst::Str(v, self.out, to + 8 * half as u32));
                b.push(Inst::Sxtab16(from, self.z, from, Ror::R8));
                b.push(Inst::Str(from, self.out, to + 8 * half as u32 + 4));
            }
        }
    }
}
