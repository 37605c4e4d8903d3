//! The products of transformed inputs and filters, their transform back, and requantization.
//!
//! Two output channels of four tiles at a time: eight sums in registers, for each pair of input
//! channels two words of `U` and four of `V`, in two groups of loads: 16 cycles on Cortex-M4 for
//! 16 multiplications, which stand for 36 of the direct convolution.

use crate::armv7em::epilogue::{Round, close};
use crate::armv7em::winograd::four;
use crate::armv7em::winograd::{TILES, Tile, pair_len};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Slot};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Ty, Val, long};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// `(v, u, y, m, rnd)`: `m` holds the words of sums in between, eight for each product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Products {
    pub tile: Tile,
    /// Input channels, a multiple of four.
    pub channels: usize,
    /// Output channels of a call, even.
    pub outputs: usize,
    /// Result elements from one pixel to the next, and from one row to the next.
    pub step: usize,
    pub row: usize,
    /// Right shift after the high word of the product of four times the sum.
    pub sh: u32,
    pub lo: i32,
    pub hi: i32,
    /// Pairs of channels that are spelled out before a loop.
    pub straight: usize,
}

/// Pairs per round of a loop over channels.
const ROUND: usize = 16;
impl Products {
    pub fn fits(&self) -> bool {
        let c = self.channels;
        let [rows, columns] = self.tile.outputs();
        c.is_multiple_of(4)
            && self.outputs.is_multiple_of(2)
            && (rows - 1) * self.row + (columns - 1) * self.step <= 4095
            && 8 * self.straight.max(ROUND) * self.spelled().1 <= 4095 - 8
            && (1..=22).contains(&self.sh)
    }
    pub fn v_len(&self) -> usize {
        self.tile.products() * TILES * self.channels
    }
    pub fn u_len(&self) -> usize {
        self.outputs / 2 * self.pair_len()
    }
    pub fn y_len(&self) -> usize {
        let ([rows, columns], across) = (self.tile.outputs(), self.tile.across());
        (rows * TILES / across - 1) * self.row + (columns * across - 1) * self.step + self.outputs
    }
    /// Words of sums.
    pub fn sums(&self) -> usize {
        self.tile.products() * 2 * TILES
    }
    fn pair_len(&self) -> usize {
        pair_len(self.tile.products(), self.channels)
    }
    /// Pairs that open a product, and products spelled out per round of their loop.
    fn spelled(&self) -> (usize, usize) {
        let pairs = self.channels / 2;
        match pairs {
            // What the loop does whole is not spelled out before it.
            n if n > self.straight => (n % ROUND, 1),
            n if n <= ROUND / 4 => (n, if self.tile == Tile::Line { 3 } else { 4 }),
            n if n <= ROUND / 2 => (n, 2),
            n => (n, 1),
        }
    }

    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let (c, products) = (self.channels, self.tile.products());
        let mut k = KernelBuilder::new(match self.tile {
            Tile::Two => "winograd_s8_products",
            Tile::Four { .. } => "winograd4_s8_products",
            Tile::Line => "winograd_line_s8_products",
        });
        let v = k.buffer("v", DType::I16, self.v_len(), Access::Read);
        let u = k.buffer("u", DType::I16, self.u_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let m = k.buffer("m", DType::I32, self.sums(), Access::ReadWrite);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        let word = |at: Expr| (u.at(&at) & 65535) + u.at(at + 1) * 65536;
        // Sums of larger tiles count modulo 2^32.
        let wraps = self.tile != Tile::Two;
        k.for_("pair", 0, self.outputs / 2, |k, pair| {
            let base = k.let_("base", pair * self.pair_len());
            k.for_("xi", 0, products, |k, xi| {
                let zero: Expr = if wraps { long(0) } else { 0.into() };
                let sums: Vec<Val> = (0..2 * TILES).map(|n| k.var(&format!("s{n}"), zero.clone())).collect();
                k.for_("i", 0, c / 2, |k, i| {
                    let (from, at) =
                        (k.let_("from", xi * (4 * c) + i * 8), k.let_("at", base + xi * (2 * c) + i * 4));
                    for half in 0..2usize {
                        let tiles: Vec<Val> = (0..TILES)
                            .map(|q| k.let_(&format!("v{half}{q}"), v.at(from + (2 * q + half))))
                            .collect();
                        for r in 0..2 {
                            let w = k.let_(&format!("u{half}{r}"), u.at(at + (2 * r + half)));
                            for (q, &x) in tiles.iter().enumerate() {
                                let product = if wraps { (x * w).cast(Ty::I64) } else { x * w };
                                k.add_to(sums[r * TILES + q], product);
                            }
                        }
                    }
                });
                for (n, &s) in sums.iter().enumerate() {
                    let sum = if wraps { four::wrapped(s) } else { s.into() };
                    k.store(m, xi * (2 * TILES) + n, sum);
                }
            });
            for r in 0..2usize {
                let end = base + (products * 2 * c + 4 * r);
                let bias = k.let_("bias", word(end.clone()));
                let by = k.let_("by", word(end + 2));
                let across = self.tile.across();
                k.for_("band", 0, TILES / across, |k, band| {
                    k.for_("tile", 0, across, |k, tile| {
                        let at = k.let_("at", band * across + tile);
                        let sums = self.sums_back(k, m, at + TILES * r, bias);
                        let [rows, columns] = self.tile.outputs();
                        let to = band * (rows * self.row) + tile * (columns * self.step) + pair * 2 + r;
                        let to = k.let_("to", to);
                        for (n, sum) in sums.into_iter().enumerate() {
                            let value = requantized(sum, by, (rnd, self.sh as i32), (self.lo, self.hi));
                            k.store(y, to + (n / columns * self.row + n % columns * self.step), value);
                        }
                    });
                });
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The outputs of a tile, transformed back, row by row, from sums that stand from `at` on.
    fn sums_back(&self, k: &mut KernelBuilder, m: Buf, at: Expr, bias: Val) -> Vec<Val> {
        if self.tile == Tile::Line {
            return four::line(k, &|j| {
                let v = m.at(&at + 2 * TILES * j).i64();
                if j == 1 { v + bias.i64() } else { v }
            });
        }
        if self.tile != Tile::Two {
            return four::sixteen(k, &|_, i, j| {
                let v = m.at(&at + 2 * TILES * (four::SIDE * i + j)).i64();
                if (i, j) == (1, 1) { v + bias.i64() } else { v }
            });
        }
        let s = |k: &mut KernelBuilder, i: usize, j: usize| {
            let v = m.at(&at + 2 * TILES * (4 * i + j));
            let v = if (i, j) == (1, 1) { v + bias } else { v };
            k.let_(&format!("s{i}{j}"), v)
        };
        let mut down: [Vec<Val>; 2] = [Vec::new(), Vec::new()];
        for j in 0..4 {
            let s: Vec<Val> = (0..4).map(|i| s(k, i, j)).collect();
            down[0].push(k.let_(&format!("a{j}"), s[0] + s[1] + s[2]));
            down[1].push(k.let_(&format!("b{j}"), s[1] - s[2] - s[3]));
        }
        let sums = down.iter().flat_map(|d| [d[0] + d[1] + d[2], d[1] - d[2] - d[3]]);
        sums.map(|sum| k.let_("sum", sum)).collect()
    }

    pub fn block(&self) -> Block {
        let c = self.channels as i32;
        let mut b = Block::new(4);
        let [v0, u0, y, m] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let frame =
            Frame { y: b.slot(), m: b.slot(), at: b.slot(), end: b.slot(), u: b.slot(), row: b.slot() };
        let products = self.tile.products();
        let (tiles, last) = (b.slot(), b.slot());
        b.push(Inst::StrSlot(y, frame.y));
        b.push(Inst::StrSlot(m, frame.m));
        b.push(Inst::StrSlot(m, frame.at));
        b.push(Inst::StrSlot(v0, tiles));
        b.push(Inst::StrSlot(u0, frame.u));
        let stop = b.reg();
        b.push(Inst::AddImm(stop, m, 4 * self.sums() as i32));
        b.push(Inst::StrSlot(stop, frame.end));
        let stop = b.reg();
        b.push(Inst::Mov(stop, u0));
        b.advance(stop, 2 * self.u_len() as i32);
        b.push(Inst::StrSlot(stop, last));
        let pairs = (self.outputs > 2).then(|| b.label(self.outputs as u64 / 2));
        // Pointers of their own in every round: the registers are needed in between.
        let [v, u] = b.regs_n();
        b.push(Inst::LdrSlot(u, frame.u));
        b.push(Inst::LdrSlot(v, tiles));
        let (opening, together) = self.spelled();
        let top = b.label((products / together) as u64);
        let rest = self.channels / 2 - opening;
        for product in 0..together {
            let sums: Vec<Reg> = (0..2 * TILES).map(|_| b.reg()).collect();
            let at = (product * opening) as u32;
            for pair in 0..opening as u32 {
                multiply(&mut b, (v, 16 * (at + pair)), (u, 8 * (at + pair)), &sums, pair == 0);
            }
            if opening == 0 {
                sums.iter().for_each(|&s| b.push(Inst::MovImm(s, 0)));
            }
            if rest > 0 {
                b.advance(v, 16 * opening as i32);
                b.advance(u, 8 * opening as i32);
                let stop = b.reg();
                b.push(Inst::Mov(stop, v));
                b.advance(stop, 16 * rest as i32);
                b.push(Inst::StrSlot(stop, frame.row));
                let top = b.label((rest / ROUND) as u64);
                for pair in 0..ROUND as u32 {
                    multiply(&mut b, (v, 16 * pair), (u, 8 * pair), &sums, false);
                }
                b.advance(v, 16 * ROUND as i32);
                b.advance(u, 8 * ROUND as i32);
                let stop = b.reg();
                b.push(Inst::LdrSlot(stop, frame.row));
                b.push(Inst::Cmp(v, stop));
                b.push(Inst::BranchBack(Cond::Ne, top));
            }
            let [at, end] = b.regs_n();
            b.push(Inst::LdrSlot(at, frame.at));
            if product + 1 == together {
                b.push(Inst::LdrSlot(end, frame.end));
            }
            for (n, &s) in sums.iter().enumerate() {
                b.push(Inst::Str(s, at, 4 * (2 * TILES * product + n) as u32));
            }
            if product + 1 == together {
                if rest == 0 {
                    b.advance(v, 8 * c * together as i32);
                    b.advance(u, 4 * c * together as i32);
                }
                b.push(Inst::AddImm(at, at, (8 * TILES * together) as i32));
                b.push(Inst::StrSlot(at, frame.at));
                b.push(Inst::Cmp(at, end));
            }
        }
        b.push(Inst::BranchBack(Cond::Ne, top));
        match self.tile {
            Tile::Two => self.outputs(&mut b, &frame, u),
            Tile::Four { .. } => self.outputs_of_four(&mut b, &frame, u),
            Tile::Line => self.outputs_of_line(&mut b, &frame, u),
        }
        let [u, stop] = b.regs_n();
        b.push(Inst::LdrSlot(u, frame.u));
        b.push(Inst::LdrSlot(stop, last));
        b.push(Inst::AddImm(u, u, 16));
        b.push(Inst::StrSlot(u, frame.u));
        if let Some(pairs) = pairs {
            b.push(Inst::Cmp(u, stop));
            b.push(Inst::BranchBack(Cond::Ne, pairs));
        }
        b
    }

    /// Transforms the sums back, requantizes and stores them; `u` stands at their ends.
    fn outputs(&self, b: &mut Block, frame: &Frame, u: Reg) {
        b.push(Inst::StrSlot(u, frame.u));
        let [p, y] = b.regs_n();
        b.push(Inst::LdrSlot(p, frame.m));
        b.push(Inst::StrSlot(p, frame.at));
        b.push(Inst::LdrSlot(y, frame.y));
        let next = b.reg();
        b.push(Inst::AddImm(next, y, 2));
        b.push(Inst::StrSlot(next, frame.y));
        let rnd = b.reg();
        b.push(Inst::LdrArg(rnd, 4));
        for r in 0..2u32 {
            let [ends, bias, by, stop] = b.regs_n();
            b.push(Inst::LdrSlot(ends, frame.u));
            b.push(Inst::Ldr(bias, ends, 8 * r));
            b.push(Inst::Ldr(by, ends, 8 * r + 4));
            b.push(Inst::AddImm(stop, p, 4 * TILES as i32));
            let top = b.label(TILES as u64);
            // Sums of the upper and the lower row of outputs, left and right.
            let mut sums: Vec<[Reg; 2]> = Vec::new();
            for j in 0..4 {
                let s: [Reg; 4] = b.regs_n();
                for (i, &s) in s.iter().enumerate() {
                    b.push(Inst::Ldr(s, p, 4 * (2 * TILES * (4 * i + j)) as u32));
                }
                if j == 1 {
                    b.push(Inst::Add(s[1], s[1], bias));
                }
                let (up, low) = (s[0], s[1]);
                b.push(Inst::Add(up, up, s[1]));
                b.push(Inst::Add(up, up, s[2]));
                b.push(Inst::Sub(low, low, s[2]));
                b.push(Inst::Sub(low, low, s[3]));
                for (row, part) in [up, low].into_iter().enumerate() {
                    if j == 0 {
                        sums.push([part; 2]);
                        continue;
                    }
                    let [left, right] = sums[row];
                    if j < 3 {
                        b.push(Inst::Add(left, left, part));
                    }
                    match j {
                        1 => sums[row][1] = part,
                        _ => b.push(Inst::Sub(right, right, part)),
                    }
                }
            }
            for row in 0..2 {
                let round = Round::Layer(rnd, self.sh);
                let at = (y, row * self.row, self.step);
                close(b, &sums[row], by, round, at, (self.lo, self.hi));
            }
            b.push(Inst::AddImm(p, p, 4));
            b.advance(y, 2 * self.step as i32);
            b.push(Inst::Cmp(p, stop));
            b.push(Inst::BranchBack(Cond::Ne, top));
            if r == 0 {
                b.advance(y, 1 - (2 * TILES * self.step) as i32);
            }
        }
    }

    /// The same for tiles of sixteen outputs, two rows of one after the other.
    fn outputs_of_four(&self, b: &mut Block, frame: &Frame, u: Reg) {
        let ([side, _], across) = (self.tile.outputs(), self.tile.across());
        let [bias, by, inverse, band, row] = [(); 5].map(|()| b.slot());
        let [p, nine] = b.regs_n();
        b.push(Inst::LdrSlot(p, frame.m));
        b.push(Inst::StrSlot(p, frame.at));
        b.push(Inst::StrSlot(u, frame.u));
        b.push(Inst::MovImm(nine, four::NINTH));
        b.push(Inst::StrSlot(nine, inverse));
        let each = b.label(2);
        let [u, t] = b.regs_n();
        b.push(Inst::LdrSlot(u, frame.u));
        for slot in [bias, by] {
            b.push(Inst::LdrPost(t, u, 4));
            b.push(Inst::StrSlot(t, slot));
        }
        b.push(Inst::StrSlot(u, frame.u));
        b.push(Inst::AddImm(t, p, 4 * TILES as i32));
        b.push(Inst::StrSlot(t, band));
        let bands = (across < TILES).then(|| b.label((TILES / across) as u64));
        let t = b.reg();
        b.push(Inst::AddImm(t, p, 4 * across as i32));
        b.push(Inst::StrSlot(t, row));
        let top = b.label(across as u64);
        for half in 0..2 {
            let sums = four::two_rows(b, half, p, 2 * TILES, &|b| {
                let t = b.reg();
                b.push(Inst::LdrSlot(t, bias));
                t
            });
            let [y, m, rnd, nine] = b.regs_n();
            b.push(Inst::LdrSlot(y, frame.y));
            b.push(Inst::LdrSlot(nine, inverse));
            b.push(Inst::LdrSlot(m, by));
            b.push(Inst::LdrArg(rnd, 4));
            for &s in sums.iter().flatten() {
                b.push(Inst::Mul(s, s, nine));
            }
            for (n, sums) in sums.iter().enumerate() {
                let at = (y, (2 * n + half) * self.row, self.step);
                close(b, sums, m, Round::Layer(rnd, self.sh), at, (self.lo, self.hi));
            }
            if half == 1 {
                b.advance(y, (side * self.step) as i32);
                b.push(Inst::StrSlot(y, frame.y));
            }
        }
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, row));
        b.push(Inst::AddImm(p, p, 4));
        b.push(Inst::Cmp(p, stop));
        b.push(Inst::BranchBack(Cond::Ne, top));
        let move_y = |b: &mut Block, by: i32| {
            let y = b.reg();
            b.push(Inst::LdrSlot(y, frame.y));
            b.advance(y, by);
            b.push(Inst::StrSlot(y, frame.y));
        };
        let wide = (side * across * self.step) as i32;
        if let Some(bands) = bands {
            move_y(b, (side * self.row) as i32 - wide);
            let stop = b.reg();
            b.push(Inst::LdrSlot(stop, band));
            b.push(Inst::Cmp(p, stop));
            b.push(Inst::BranchBack(Cond::Ne, bands));
            move_y(b, 1 - (side * TILES / across * self.row) as i32);
        } else {
            move_y(b, 1 - wide);
        }
        let end = b.reg();
        b.push(Inst::LdrSlot(end, frame.m));
        b.push(Inst::AddImm(end, end, 8 * TILES as i32));
        b.push(Inst::Cmp(p, end));
        b.push(Inst::BranchBack(Cond::Ne, each));
        let u = b.reg();
        b.push(Inst::LdrSlot(u, frame.u));
        b.push(Inst::AddImm(u, u, -16));
        b.push(Inst::StrSlot(u, frame.u));
    }

    /// The same for tiles of four outputs in a line.
    fn outputs_of_line(&self, b: &mut Block, frame: &Frame, u: Reg) {
        let across = self.tile.outputs()[1] * self.step;
        let ends = b.slot();
        b.push(Inst::StrSlot(u, frame.u));
        b.push(Inst::StrSlot(u, ends));
        let [p, y] = b.regs_n();
        b.push(Inst::LdrSlot(p, frame.m));
        b.push(Inst::StrSlot(p, frame.at));
        b.push(Inst::LdrSlot(y, frame.y));
        let next = b.reg();
        b.push(Inst::AddImm(next, y, 2));
        b.push(Inst::StrSlot(next, frame.y));
        let each = b.label(2);
        let [u, bias, by, rnd, third, stop] = b.regs_n();
        b.push(Inst::LdrSlot(u, ends));
        b.push(Inst::Ldr(bias, u, 0));
        b.push(Inst::Ldr(by, u, 4));
        b.push(Inst::AddImm(u, u, 8));
        b.push(Inst::StrSlot(u, ends));
        b.push(Inst::LdrArg(rnd, 4));
        b.push(Inst::MovImm(third, four::THIRD));
        b.push(Inst::AddImm(stop, p, 4 * TILES as i32));
        b.push(Inst::StrSlot(stop, frame.row));
        let top = b.label(TILES as u64);
        let m: [Reg; four::SIDE] = b.regs_n();
        for (j, &m) in m.iter().enumerate() {
            b.push(Inst::Ldr(m, p, (4 * 2 * TILES * j) as u32));
        }
        b.push(Inst::Add(m[1], m[1], bias));
        let sums = four::one_row(b, m);
        for &s in &sums {
            b.push(Inst::Mul(s, s, third));
        }
        close(b, &sums, by, Round::Layer(rnd, self.sh), (y, 0, self.step), (self.lo, self.hi));
        b.push(Inst::AddImm(p, p, 4));
        b.advance(y, across as i32);
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, frame.row));
        b.push(Inst::Cmp(p, stop));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b.advance(y, 1 - (TILES * across) as i32);
        let end = b.reg();
        b.push(Inst::LdrSlot(end, frame.m));
        b.push(Inst::AddImm(end, end, 8 * TILES as i32));
        b.push(Inst::Cmp(p, end));
        b.push(Inst::BranchBack(Cond::Ne, each));
    }
}

/// One pair of input channels into eight sums.
fn multiply(b: &mut Block, (v, tiles): (Reg, u32), (u, filters): (Reg, u32), sums: &[Reg], first: bool) {
    let w: [Reg; 2] = b.regs_n();
    for (r, &w) in w.iter().enumerate() {
        b.push(Inst::Ldr(w, u, filters + 4 * r as u32));
    }
    for two in 0..TILES / 2 {
        let x: [Reg; 2] = b.regs_n();
        for (q, &x) in x.iter().enumerate() {
            b.push(Inst::Ldr(x, v, tiles + 4 * (2 * two + q) as u32));
        }
        for (r, &w) in w.iter().enumerate() {
            for (q, &x) in x.iter().enumerate() {
                let sum = sums[r * TILES + 2 * two + q];
                b.push(if first { Inst::Smuad(sum, x, w) } else { Inst::Smlad(sum, x, w, sum) });
            }
        }
    }
}

/// Words of the block's frame.
struct Frame {
    y: Slot,
    /// The sums, where the next ones go, and their end.
    m: Slot,
    at: Slot,
    end: Slot,
    /// The ends of two output channels.
    u: Slot,
    /// Where the loop over channels ends.
    row: Slot,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armv7em::winograd::tests::m4;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn instructions_do_what_the_body_means() {
        let mut random = Random(41);
        let base = Products {
            tile: Tile::Two,
            channels: 4,
            outputs: 2,
            step: 2,
            row: 16,
            sh: 3,
            lo: -128,
            hi: 127,
            straight: 32,
        };
        let (line, square) = (Tile::Four { across: 4 }, Tile::Four { across: 2 });
        let sizes = [
            base,
            Products { channels: 8, outputs: 6, step: 7, row: 100, ..base },
            Products { channels: 16, outputs: 4, step: 4, row: 32, lo: -3, ..base },
            Products { channels: 32, outputs: 2, hi: 50, sh: 9, ..base },
            Products { channels: 64, ..base },
            Products { channels: 64, outputs: 4, step: 4, row: 40, straight: 16, ..base },
            Products { channels: 36, straight: 16, ..base },
            Products { tile: line, row: 40, ..base },
            Products { tile: square, outputs: 6, step: 7, row: 100, channels: 16, ..base },
            Products { tile: line, channels: 64, outputs: 4, step: 20, row: 1300, hi: 50, ..base },
            Products { tile: square, channels: 36, straight: 16, lo: -3, ..base },
            Products { tile: Tile::Line, ..base },
            Products { tile: Tile::Line, channels: 16, outputs: 6, step: 7, lo: -3, ..base },
            Products { tile: Tile::Line, channels: 64, outputs: 4, step: 1300, hi: 50, ..base },
            Products { tile: Tile::Line, channels: 36, straight: 16, ..base },
        ];
        for (case, p) in sizes.iter().enumerate() {
            assert!(p.fits(), "case {case}");
            let most = if p.tile == Tile::Two { (1020, 1143) } else { (four::MOST, 18432) };
            let v: Vec<i16> = (0..p.v_len()).map(|_| random.within(-most.0, most.0) as i16).collect();
            let mut u: Vec<i16> = (0..p.u_len()).map(|_| random.within(-most.1, most.1) as i16).collect();
            for pair in u.chunks_mut(p.pair_len()) {
                let at = pair.len() - 8;
                for r in 0..2 {
                    let words = [random.within(-9000, 9000), random.within(1 << 20, i32::MAX.into())];
                    for (i, word) in words.into_iter().enumerate() {
                        pair[at + 4 * r + 2 * i] = word as i16;
                        pair[at + 4 * r + 2 * i + 1] = (word >> 16) as i16;
                    }
                }
            }
            let rnd = 5 << p.sh;
            let args = vec![
                Bind::Operand(0),
                Bind::Operand(1),
                Bind::Result(0),
                Bind::Workspace(0),
                Bind::Scalar(rnd),
            ];
            let call = Call { kernel: p.kernel(&m4()).unwrap(), args };
            run(&call, &[Data::I16(v), Data::I16(u)], DType::I8, p.y_len());
        }
    }

    /// On Cortex-M4: 16 cycles for 16 products at 16 channels and more, and what the transform
    /// back and the loops add.
    #[test]
    fn cycles_stay_near_the_bound() {
        let four = Tile::Four { across: 4 };
        for (tile, channels, most) in [
            (Tile::Two, 16, 0.64),
            (Tile::Two, 32, 0.56),
            (Tile::Two, 64, 0.50),
            (four, 16, 0.41),
            (four, 32, 0.35),
            (four, 64, 0.30),
            (Tile::Line, 16, 0.82),
            (Tile::Line, 64, 0.60),
        ] {
            let p = Products {
                tile,
                channels,
                outputs: 16,
                step: 16,
                row: 512,
                sh: 5,
                lo: -128,
                hi: 127,
                straight: 32,
            };
            let whole = p.block().native("dsp", &m4()).unwrap().cycles;
            let [rows, columns] = tile.outputs();
            let taps = if tile == Tile::Line { 3 } else { 9 };
            let macs = taps * channels * 16 * rows * columns * TILES;
            let each = whole as f64 / macs as f64;
            assert!(each < most, "{channels} channels: {each} cycles a multiplication of the direct kernel");
        }
    }
}
