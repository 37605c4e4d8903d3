//! The transforms of inputs: vertical over four rows while they are widened, then horizontal
//! over four tiles.
//!
//! Law: [`Rows`] subtracts the zero point, so padding is a row of zero points and, in `T`,
//! columns of zeros.

use crate::armv7em::widen::position;
use crate::armv7em::winograd::{TILES, XI};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Vertical: `(x0, x1, x2, x3, t, zx)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Inputs of a row, a multiple of four.
    pub len: usize,
    /// Whether `x2` is kept in place of `x0`: two rows on, it is the first of the four, and
    /// results may stand where it stood.
    pub keeps: bool,
}

impl Rows {
    pub fn fits(&self) -> bool {
        self.len.is_multiple_of(4)
    }
    /// Halves of `T` that are reached.
    pub fn t_len(&self) -> usize {
        4 * self.len
    }
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("winograd_s8_rows");
        let x: [_; 4] = std::array::from_fn(|i| {
            let access = if i == 0 && self.keeps { Access::ReadWrite } else { Access::Read };
            k.buffer(&format!("x{i}"), DType::I8, self.len, access)
        });
        let t = k.buffer("t", DType::I16, self.t_len(), Access::Write);
        let zx = k.scalar("zx", -128, 127);
        k.for_step("c", 0, self.len, 4, |k, c| {
            for half in 0..4 {
                let d: Vec<_> =
                    (0..4).map(|i| k.let_(&format!("d{i}"), x[i].at(c + position(half)) - zx)).collect();
                let sums = [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]];
                for (i, sum) in sums.into_iter().enumerate() {
                    k.store(t, c * 4 + (4 * i + half), sum);
                }
                if self.keeps {
                    k.store(x[0], c + position(half), x[2].at(c + position(half)));
                }
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }
    pub fn block(&self) -> Block {
        let mut b = Block::new(4);
        let x = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [t, twice, z, zx] = b.regs_n();
        let end = b.slot();
        b.push(Inst::LdrArg(t, 4));
        b.push(Inst::LdrArg(zx, 5));
        // The sum of two rows still holds both zero points.
        b.push(Inst::Neg(zx, zx));
        b.push(Inst::Add(twice, zx, zx));
        b.push(Inst::Pkhbt(z, twice, twice));
        let words = self.len / 4;
        let round = (1..=4usize).rev().find(|r| words.is_multiple_of(*r)).unwrap_or(1);
        let rounds = words / round;
        let stop = b.reg();
        b.push(Inst::Mov(stop, t));
        b.advance(stop, 8 * self.len as i32);
        b.push(Inst::StrSlot(stop, end));
        let top = (rounds > 1).then(|| b.label(rounds as u64));
        for word in 0..round {
            word_of(&mut b, x, t, z, word as u32, self.keeps);
        }
        if let Some(top) = top {
            for x in x {
                b.advance(x, 4 * round as i32);
            }
            b.advance(t, 32 * round as i32);
            let stop = b.reg();
            b.push(Inst::LdrSlot(stop, end));
            b.push(Inst::Cmp(t, stop));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        b
    }
}

/// Four inputs of each row.
fn word_of(b: &mut Block, x: [Reg; 4], t: Reg, z: Reg, word: u32, keeps: bool) {
    let loaded: [Reg; 4] = b.regs_n();
    for (&w, x) in loaded.iter().zip(x) {
        b.push(Inst::Ldr(w, x, 4 * word));
    }
    if keeps {
        b.push(Inst::Str(loaded[2], x[0], 4 * word));
    }
    for (half, ror) in [Ror::R0, Ror::R8].into_iter().enumerate() {
        let d: [Reg; 4] = b.regs_n();
        for (&d, w) in d.iter().zip(loaded) {
            b.push(Inst::Sxtb16(d, w, ror));
        }
        let at = |i: usize| 32 * word + (8 * i + 4 * half) as u32;
        // Stored as soon as it can be: there is one register for the sum, and no more.
        let s = b.reg();
        b.push(Inst::Ssub16(d[3], d[1], d[3]));
        b.push(Inst::Str(d[3], t, at(3)));
        b.push(Inst::Ssub16(d[0], d[0], d[2]));
        b.push(Inst::Str(d[0], t, at(0)));
        b.push(Inst::Sadd16(s, d[1], d[2]));
        b.push(Inst::Ssub16(d[2], d[2], d[1]));
        b.push(Inst::Sadd16(s, s, z));
        b.push(Inst::Str(s, t, at(1)));
        b.push(Inst::Str(d[2], t, at(2)));
    }
}

/// Horizontal: `(t, v)` for four tiles, ten columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// A multiple of four.
    pub channels: usize,
    /// Fours of channels that are spelled out at a time, where that divides them.
    pub unroll: usize,
}

/// Columns that one pointer reaches.
const REACH: usize = 4;

impl Columns {
    pub fn fits(&self) -> bool {
        let c = self.channels;
        c.is_multiple_of(4) && 3 * 8 * c + 32 * self.unroll <= 4095
    }
    pub fn t_len(&self) -> usize {
        (2 * TILES + 2) * 4 * self.channels
    }
    pub fn v_len(&self) -> usize {
        XI * TILES * self.channels
    }
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let c = self.channels;
        let mut k = KernelBuilder::new("winograd_s8_columns");
        let t = k.buffer("t", DType::I16, self.t_len(), Access::Read);
        let v = k.buffer("v", DType::I16, self.v_len(), Access::Write);
        k.for_("i", 0, 4, |k, i| {
            k.for_("four", 0, c / 4, |k, four| {
                for lane in 0..4usize {
                    k.for_("tile", 0, TILES, |k, tile| {
                        let from = k.let_("from", four * 16 + i * 4 + tile * (8 * c) + lane);
                        let d: Vec<_> =
                            (0..4).map(|j| k.let_(&format!("d{j}"), t.at(from + j * 4 * c))).collect();
                        let to = i * (16 * c) + four * 16 + tile * 2 + (lane / 2 * 8 + lane % 2);
                        let to = k.let_("to", to);
                        let sums = [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]];
                        for (j, sum) in sums.into_iter().enumerate() {
                            k.store(v, to + j * (4 * c), sum);
                        }
                    });
                }
            });
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }
    pub fn block(&self) -> Block {
        let c = self.channels;
        let mut b = Block::new(2);
        let [t, v] = [b.args[0], b.args[1]];
        let (row, all) = (b.slot(), b.slot());
        let fours = c / 4;
        let round = (1..=self.unroll).rev().find(|r| fours.is_multiple_of(*r)).unwrap_or(1);
        // Offsets of loads end at 4095: several pointers share the columns.
        let near = (2 * TILES + 1) * 8 * c + 32 * round <= 4095;
        let mut t = vec![t];
        while !near && t.len() * REACH < 2 * TILES + 2 {
            let next = b.reg();
            b.push(Inst::Mov(next, t[t.len() - 1]));
            b.advance(next, (REACH * 8 * c) as i32);
            t.push(next);
        }
        let stop = b.reg();
        b.push(Inst::Mov(stop, t[0]));
        b.advance(stop, (8 * c + 3 * 8) as i32);
        b.push(Inst::StrSlot(stop, all));
        let each = b.label(4);
        let stop = b.reg();
        b.push(Inst::Mov(stop, t[0]));
        b.advance(stop, 8 * c as i32);
        b.push(Inst::StrSlot(stop, row));
        let top = (fours > round).then(|| b.label((fours / round) as u64));
        for four in 0..round {
            for half in 0..2 {
                self.pair(&mut b, (&t, (32 * four + 4 * half) as u32), (v, (32 * four + 16 * half) as u32));
            }
        }
        t.iter().for_each(|&t| b.advance(t, 32 * round as i32));
        b.advance(v, 32 * round as i32);
        if let Some(top) = top {
            let stop = b.reg();
            b.push(Inst::LdrSlot(stop, row));
            b.push(Inst::Cmp(t[0], stop));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, all));
        b.advance(v, (3 * 8 * c) as i32);
        b.push(Inst::Cmp(t[0], stop));
        t.iter().for_each(|&t| b.advance(t, 8 - 8 * c as i32));
        b.push(Inst::BranchBack(Cond::Ne, each));
        b
    }
    /// One pair of channels of four tiles; two columns stay in registers from tile to tile.
    fn pair(&self, b: &mut Block, (t, from): (&[Reg], u32), (v, to): (Reg, u32)) {
        let column = |b: &mut Block, n: usize| {
            let (base, n) = if t.len() > 1 { (t[n / REACH], n % REACH) } else { (t[0], n) };
            let d = b.reg();
            b.push(Inst::Ldr(d, base, (8 * n * self.channels) as u32 + from));
            d
        };
        let (mut d0, mut d1) = (column(b, 0), column(b, 1));
        for tile in 0..TILES {
            let (d2, d3) = (column(b, 2 * tile + 2), column(b, 2 * tile + 3));
            let [s, e, f] = b.regs_n();
            b.push(Inst::Ssub16(d0, d0, d2));
            b.push(Inst::Sadd16(s, d1, d2));
            b.push(Inst::Ssub16(e, d2, d1));
            b.push(Inst::Ssub16(f, d1, d3));
            for (j, r) in [d0, s, e, f].into_iter().enumerate() {
                b.push(Inst::Str(r, v, (8 * j * self.channels + 4 * tile) as u32 + to));
            }
            (d0, d1) = (d2, d3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armv7em::winograd::tests::m4;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, lending, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(42);
        for (len, zx, keeps) in [(4, 0, false), (24, -128, true), (64, 127, false), (36, 7, true)] {
            let rows = Rows { len, keeps };
            let x: Vec<Vec<i8>> = (0..4).map(|_| random.bytes(len)).collect();
            let operands: Vec<Data> = x.iter().cloned().map(Data::I8).collect();
            let kernel = rows.kernel(&m4()).unwrap();
            let mut args: Vec<Bind> = (0..4).map(Bind::Operand).collect();
            args.extend([Bind::Result(0), Bind::Workspace(0), Bind::Scalar(zx)]);
            let call = Call { kernel: lending(&kernel), args };
            let Data::I16(t) = run(&call, &operands, DType::I16, rows.t_len() + len) else { panic!() };
            let kept = &x[if keeps { 2 } else { 0 }];
            assert!(t[rows.t_len()..].iter().zip(kept).all(|(&t, &kept)| t == i16::from(kept)));
            let d = |i: usize| i16::from(x[i][position(1)]) - zx as i16;
            assert_eq!([t[1], t[5]], [d(0) - d(2), d(1) + d(2)]);
            assert_eq!([t[9], t[13]], [d(2) - d(1), d(1) - d(3)]);
        }
        for (channels, unroll) in [(4, 1), (8, 2), (16, 2), (64, 1), (12, 2), (128, 1)] {
            let columns = Columns { channels, unroll };
            assert!(columns.fits());
            let t: Vec<i16> = (0..columns.t_len()).map(|_| random.within(-510, 510) as i16).collect();
            let call = Call {
                kernel: columns.kernel(&m4()).unwrap(),
                args: vec![Bind::Operand(0), Bind::Result(0)],
            };
            run(&call, &[Data::I16(t)], DType::I16, columns.v_len());
        }
    }
}
