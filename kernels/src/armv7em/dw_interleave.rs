//! Pairs of rows: int8 rows of four channels to words of two rows each.
//!
//! Four inputs `a0 a1 a2 a3` of a row and `b0 b1 b2 b3` of the next become the words `a0 b0`,
//! `a1 b1`, `a2 b2`, `a3 b3`, the zero point subtracted. A row that is missing counts as zeros.
//! The text knows the number of columns only by its remainder; all else are arguments. Pairs
//! with a row missing are few, at the edges: their text is short rather than fast.

use crate::armv7em::dw_rowpair::{BYTES, COLUMN, GROUP};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Which rows of a pair there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    Both,
    Upper,
    Lower,
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRows {
    pub there: There,
    /// Pairs of rows.
    pub pairs: usize,
    /// Columns to widen, and columns from one pair of rows to the next in the result.
    pub columns: usize,
    pub pitch: usize,
    /// Input elements from one column to the next, and from one row to the next.
    pub step: usize,
    pub row: usize,
}

impl PairRows {
    /// Columns per turn of the loop.
    fn turn(&self) -> usize {
        match self.there {
            There::Both => 4,
            _ if self.columns.is_multiple_of(2) => 2,
            _ => 1,
        }
    }
    /// Input rows from one pair to the next.
    fn rows(&self) -> usize {
        if self.there == There::Both { 2 } else { 1 }
    }
    pub fn x_len(&self) -> usize {
        (self.pairs * self.rows() - 1) * self.row + (self.columns - 1) * self.step + GROUP
    }
    pub fn out_len(&self) -> usize {
        ((self.pairs - 1) * self.pitch + self.columns) * COLUMN
    }
    /// What a call passes behind the zero point: distance of columns and rows, bytes from behind
    /// a row of inputs and a row of pairs to the next ones, bytes of all turns of a row,
    /// and of all rows of pairs.
    pub fn scalars(&self) -> [i32; 6] {
        let turns = self.columns / self.turn() * self.turn() * BYTES;
        let x_back = (self.rows() * self.row) as i32 - (self.columns * self.step) as i32;
        let out_back = ((self.pitch - self.columns) * BYTES) as i32;
        let all = (self.pairs * self.pitch * BYTES) as i32;
        [self.step as i32, self.row as i32, x_back, out_back, turns as i32, all]
    }

    /// The kernel `(x, out, zx, ..scalars)`.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("pairs_s8");
        let x = k.buffer("x", DType::I8, self.x_len(), Access::Read);
        let out = k.buffer("out", DType::I16, self.out_len(), Access::Write);
        let zx = k.scalar("zx", -128, 127);
        let names = ["step", "row", "x_back", "out_back", "turns", "all"];
        for (name, value) in names.into_iter().zip(self.scalars()) {
            k.scalar(name, value, value);
        }
        let (upper, lower) = match self.there {
            There::Both => (Some(0), Some(self.row)),
            There::Upper => (Some(0), None),
            There::Lower => (None, Some(0)),
        };
        k.for_("pair", 0, self.pairs, |k, pair| {
            k.for_("column", 0, self.columns, |k, column| {
                k.for_("c", 0, GROUP, |k, c| {
                    let to = k.let_("to", (pair * self.pitch + column) * COLUMN + c * 2);
                    let from = k.let_("from", pair * (self.rows() * self.row) + column * self.step + c);
                    let value = |at: Option<usize>| at.map_or(Expr::from(0), |at| x.at(from + at) - zx);
                    k.store(out, to, value(upper));
                    k.store(out, to + 1, value(lower));
                });
            });
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(4);
        b.streams = true;
        let [x, out, zx, step] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [row, z, minus] = b.regs_n();
        b.push(Inst::LdrArg(row, 4));
        let other = b.reg();
        if self.there == There::Both {
            b.push(Inst::Add(other, step, row));
        } else {
            // A word of zero points stands for the missing row.
            let [byte, ones] = b.regs_n();
            b.push(Inst::Uxtb(byte, zx, 0));
            b.push(Inst::MovImm(ones, 0x0101_0101));
            b.push(Inst::Mul(other, byte, ones));
        }
        b.push(Inst::Neg(minus, zx));
        b.push(Inst::Pkhbt(z, minus, minus));
        let at = At { there: self.there, x, out, step, row, other, z };
        // One pair of whole rows turns once: its text is that of many.
        let many = (self.there == There::Both || self.pairs > 1).then(|| {
            let (end, slot) = (b.reg(), b.slot());
            b.push(Inst::LdrArg(end, 8));
            b.push(Inst::Add(end, end, out));
            b.push(Inst::StrSlot(end, slot));
            (slot, b.label(self.pairs as u64))
        });
        let turn = self.turn();
        let turns = self.columns / turn;
        if turns > 0 {
            let end = b.reg();
            b.push(Inst::LdrArg(end, 7));
            b.push(Inst::Add(end, end, out));
            let top = b.label(turns as u64);
            for column in (0..turn).step_by(2) {
                at.columns(&mut b, 2.min(turn - column), column);
            }
            b.advance(out, (turn * BYTES) as i32);
            b.push(Inst::Cmp(out, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        let rest = self.columns % turn;
        for column in (0..rest).step_by(2) {
            at.columns(&mut b, 2.min(rest - column), column);
        }
        b.advance(out, (rest * BYTES) as i32);
        if let Some((slot, top)) = many {
            let [x_back, out_back, end] = b.regs_n();
            b.push(Inst::LdrArg(x_back, 5));
            b.push(Inst::LdrArg(out_back, 6));
            b.push(Inst::LdrSlot(end, slot));
            b.push(Inst::Add(x, x, x_back));
            b.push(Inst::Add(out, out, out_back));
            b.push(Inst::Cmp(out, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        b
    }
}

/// Where the block stands, and its constants.
struct At {
    there: There,
    x: Reg,
    out: Reg,
    step: Reg,
    row: Reg,
    /// `step + row`, or the word of a missing row.
    other: Reg,
    z: Reg,
}

impl At {
    /// One or two columns, written `column` columns behind `out`.
    fn columns(&self, b: &mut Block, n: usize, column: usize) {
        let mut words: Vec<[Reg; 2]> = Vec::new();
        for i in 0..n {
            let [first, second] = b.regs_n();
            match i {
                0 => b.push(Inst::Ldr(first, self.x, 0)),
                _ => b.push(Inst::LdrAt(first, self.x, self.step, 0)),
            }
            if self.there == There::Both {
                b.push(Inst::LdrAt(second, self.x, [self.row, self.other][i], 0));
            }
            words.push(match self.there {
                There::Both => [first, second],
                There::Upper => [first, self.other],
                There::Lower => [self.other, first],
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
            let to = ((column + i) * BYTES) as u32;
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
