//! F(4x4, 3x3): sixteen outputs from thirty-six products a channel instead of 144.
//!
//! In: what [`super`] says, with interpolation at 0, 1, -1, 2, -2 and infinity. Rows of `G` are
//! scaled to integers, each by its own factor, so that the output transform has powers of two
//! alone: with [`G`], [`AT`] and the usual `B^T`, `AT (sum of U * V) AT^T` is 576 times the sum
//! of the direct convolution. All that is computed modulo 2^32. The odd part of 576 goes by its
//! inverse modulo 2^32; what is left, 64 times the sum, must fit 32 bits, which is proven for
//! each layer before it is offered.
//!
//! Inputs are transformed as they are stored, the zero point within; the bias makes up for it,
//! and columns of padding hold the transform of zero points. So a transformed input is at most
//! [`MOST`] from zero.
//!
//! Orders, in 16-bit halves, channels in fours parted as `a c b d`: `T[column][pair of
//! channels][i][2]`, `V` and `U` as [`super`] has them with `xi = 6 * i + j`.

use crate::armv7em::widen::position;
use crate::armv7em::winograd::TILES;
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Ty, Val, long};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Products of a tile.
pub const XI: usize = 36;
/// Inputs along a side of a tile.
pub const SIDE: usize = 6;

/// From three taps to six. Times 24 / 4, 24 / -6 (twice), 24 / 24 (twice) and 12, the last being
/// half of 24: no element of `U` leaves 16 bits.
pub const G: [[i32; 3]; SIDE] = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 12]];
/// What the transforms multiply the sum by: 24 along each axis.
pub const FACTOR: i64 = 576;
/// The inverse of 9 modulo 2^32.
pub const NINTH: i32 = 954437177;
/// The power of two that stays in.
pub const LEFT: u32 = 6;
/// The same of a line: 24, the inverse of 3, and eight.
pub const LINE: i64 = 24;
pub const THIRD: i32 = -1431655765;
pub const LEFT_OF_LINE: u32 = 3;
/// Greatest magnitude of a transformed input: the magnitudes of a row of `B^T` add up to ten.
#[cfg(test)]
pub const MOST: i64 = 100 * 128;

/// `U` of one 3x3 filter, row-major.
pub fn transformed(g: [i32; 9]) -> [i32; XI] {
    let mut u = [0; XI];
    for (xi, u) in u.iter_mut().enumerate() {
        let (down, across) = (G[xi / SIDE], G[xi % SIDE]);
        *u = (0..9).map(|t| down[t / 3] * across[t % 3] * g[t]).sum();
    }
    u
}

/// `U` of three taps in a line.
pub fn transformed_line(g: [i32; 3]) -> [i32; SIDE] {
    G.map(|row| (0..3).map(|t| row[t] * g[t]).sum())
}

/// What a column (or row) of padding is transformed to, as a multiple of the zero point.
pub const PADDING: [i32; SIDE] = [0, -6, 0, 0, 0, 0];

/// `B^T d` in expressions.
pub fn inputs(d: &[Val]) -> [Expr; SIDE] {
    let [d0, d1, d2, d3, d4, d5] = [d[0], d[1], d[2], d[3], d[4], d[5]];
    [
        d0 * 4 - d2 * 5 + d4,
        d4 - d2 * 4 + (d3 - d1 * 4),
        d4 - d2 * 4 - (d3 - d1 * 4),
        d4 - d2 + (d3 - d1) * 2,
        d4 - d2 - (d3 - d1) * 2,
        d1 * 4 - d3 * 5 + d5,
    ]
}

/// Instructions that turn `d1`, `d3`, `d5` into the last of the six, which comes back first, and
/// into what the middle four need: `d3 - 4 d1` and `2 (d3 - d1)`. `d5` is kept where `stays`.
fn odd(b: &mut Block, [d1, d3, d5]: [Reg; 3], stays: bool) -> [Reg; 3] {
    let [twice, t] = b.regs_n();
    let last = if stays { b.reg() } else { d5 };
    b.push(Inst::Ssub16(last, d5, d3));
    b.push(Inst::Ssub16(d3, d3, d1));
    b.push(Inst::Sadd16(twice, d3, d3));
    b.push(Inst::Ssub16(last, last, twice));
    b.push(Inst::Ssub16(last, last, twice));
    b.push(Inst::Sadd16(t, d1, d1));
    b.push(Inst::Sadd16(d1, d1, t));
    b.push(Inst::Ssub16(d1, d3, d1));
    [last, d1, twice]
}

/// Instructions that turn `d0`, `d2`, `d4` and what [`odd`] left into the first five, each given
/// to `store` with its number as soon as it is there.
fn even(
    b: &mut Block,
    [d0, d2, d4]: [Reg; 3],
    [part, twice]: [Reg; 2],
    stays: bool,
    store: &dyn Fn(&mut Block, usize, Reg),
) {
    let diff = if stays { b.reg() } else { d4 };
    b.push(Inst::Ssub16(diff, d4, d2));
    b.push(Inst::Ssub16(d0, d0, d2));
    b.push(Inst::Sadd16(d0, d0, d0));
    b.push(Inst::Sadd16(d0, d0, d0));
    b.push(Inst::Sadd16(d0, d0, diff));
    store(b, 0, d0);
    let t = b.reg();
    b.push(Inst::Sadd16(t, d2, d2));
    b.push(Inst::Sadd16(d2, d2, t));
    b.push(Inst::Ssub16(d2, diff, d2));
    let s = b.reg();
    b.push(Inst::Sadd16(s, diff, twice));
    store(b, 3, s);
    b.push(Inst::Ssub16(twice, diff, twice));
    store(b, 4, twice);
    let s = b.reg();
    b.push(Inst::Sadd16(s, d2, part));
    store(b, 1, s);
    b.push(Inst::Ssub16(d2, d2, part));
    store(b, 2, d2);
}

/// Vertical: `(first, rows, last, t)`; the four rows between stand in memory as ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Inputs of a row, a multiple of four.
    pub len: usize,
    /// Inputs from one row to the next.
    pub pitch: usize,
    /// Whether the fifth row is kept in place of the first: four rows on, it is the first, and
    /// results may stand where it stood.
    pub keeps: bool,
}

impl Rows {
    pub fn fits(&self) -> bool {
        self.len.is_multiple_of(4) && 3 * self.pitch + 4 * 4 <= 4095
    }
    /// Halves of `T` that are reached.
    pub fn t_len(&self) -> usize {
        SIDE * self.len
    }
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("winograd4_s8_rows");
        let access = if self.keeps { Access::ReadWrite } else { Access::Read };
        let first = k.buffer("first", DType::I8, self.len, access);
        let rows = k.buffer("rows", DType::I8, 3 * self.pitch + self.len, Access::Read);
        let last = k.buffer("last", DType::I8, self.len, Access::Read);
        let t = k.buffer("t", DType::I16, self.t_len(), Access::Write);
        k.for_step("c", 0, self.len, 4, |k, c| {
            for lane in 0..4 {
                let at = k.let_("at", c + position(lane));
                let d: Vec<_> = (0..SIDE)
                    .map(|i| {
                        let from = match i {
                            0 => first.at(at),
                            5 => last.at(at),
                            _ => rows.at(at + (i - 1) * self.pitch),
                        };
                        k.let_(&format!("d{i}"), from)
                    })
                    .collect();
                for (i, v) in inputs(&d).into_iter().enumerate() {
                    k.store(t, c * SIDE + (lane / 2 * 2 * SIDE + 2 * i + lane % 2), v);
                }
                if self.keeps {
                    k.store(first, at, d[4]);
                }
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }
    pub fn block(&self) -> Block {
        let mut b = Block::new(4);
        let [first, rows, last, t] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let end = b.slot();
        let words = self.len / 4;
        let round = if words.is_multiple_of(2) { 2 } else { 1 };
        let stop = b.reg();
        b.push(Inst::Mov(stop, t));
        b.advance(stop, 2 * self.t_len() as i32);
        b.push(Inst::StrSlot(stop, end));
        let top = b.label((words / round) as u64);
        for word in 0..round as u32 {
            let w: [Reg; 5] = b.regs_n();
            for (i, &w) in w.iter().enumerate() {
                match i {
                    4 => b.push(Inst::Ldr(w, last, 4 * word)),
                    _ => b.push(Inst::Ldr(w, rows, (i * self.pitch) as u32 + 4 * word)),
                }
            }
            for (half, ror) in [Ror::R0, Ror::R8].into_iter().enumerate() {
                let at = |i: usize| 48 * word + (24 * half + 4 * i) as u32;
                let widen = |b: &mut Block, w: Reg| {
                    // The word itself is not needed any more after its second half.
                    let d = if half == 1 { w } else { b.reg() };
                    b.push(Inst::Sxtb16(d, w, ror));
                    d
                };
                let d = [w[0], w[2], w[4]].map(|w| widen(&mut b, w));
                let [r, part, twice] = odd(&mut b, d, false);
                b.push(Inst::Str(r, t, at(5)));
                let d0 = b.reg();
                b.push(Inst::Ldr(d0, first, 4 * word));
                if half == 1 && self.keeps {
                    b.push(Inst::Str(w[3], first, 4 * word));
                }
                b.push(Inst::Sxtb16(d0, d0, ror));
                let [d2, d4] = [w[1], w[3]].map(|w| widen(&mut b, w));
                even(&mut b, [d0, d2, d4], [part, twice], false, &|b, i, r| {
                    b.push(Inst::Str(r, t, at(i)));
                });
            }
        }
        for x in [first, rows, last] {
            b.advance(x, 4 * round as i32);
        }
        b.advance(t, 48 * round as i32);
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, end));
        b.push(Inst::Cmp(t, stop));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }
}

/// Horizontal: `(t, v)` for some tiles side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Rows of transformed inputs: [`SIDE`], or 1 where nothing is transformed vertically.
    pub rows: usize,
    /// A multiple of four.
    pub channels: usize,
    /// Tiles side by side, of the [`TILES`] that are multiplied together: 2 or 4.
    pub tiles: usize,
}

/// Columns, or products, that one pointer reaches.
const REACH: usize = 3;

impl Columns {
    pub fn fits(&self) -> bool {
        let pairs = self.channels / 2;
        let loads = (REACH - 1) * 4 * self.rows * pairs;
        let stores = (REACH - 1) * 4 * TILES * pairs + 4 * (self.tiles - 1);
        self.channels.is_multiple_of(4) && [2, 4].contains(&self.tiles) && loads.max(stores) <= 4095
    }
    pub fn t_len(&self) -> usize {
        (4 * self.tiles + 2) * self.rows * self.channels
    }
    /// Halves of `V` that are reached.
    pub fn v_len(&self) -> usize {
        SIDE * self.rows * TILES * self.channels - 2 * (TILES - self.tiles)
    }
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let (pairs, rows) = (self.channels / 2, self.rows);
        let mut k = KernelBuilder::new("winograd4_s8_columns");
        let t = k.buffer("t", DType::I16, self.t_len(), Access::Read);
        let v = k.buffer("v", DType::I16, self.v_len(), Access::Write);
        k.for_("i", 0, self.rows, |k, i| {
            k.for_("pair", 0, pairs, |k, pair| {
                k.for_("tile", 0, self.tiles, |k, tile| {
                    let from = k.let_("from", pair * (2 * rows) + i * 2 + tile * (8 * rows * pairs));
                    let to = k.let_("to", i * (2 * TILES * SIDE * pairs) + pair * (2 * TILES) + tile * 2);
                    for lane in 0..2usize {
                        let d: Vec<_> = (0..SIDE)
                            .map(|j| k.let_(&format!("d{j}"), t.at(from + (j * 2 * rows * pairs + lane))))
                            .collect();
                        for (j, value) in inputs(&d).into_iter().enumerate() {
                            k.store(v, to + (j * 2 * TILES * pairs + lane), value);
                        }
                    }
                });
            });
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }
    pub fn block(&self) -> Block {
        let pairs = self.channels / 2;
        // Bytes from one column of `T` to the next, and of `V` from one product to the next.
        let (column, product) = (4 * self.rows * pairs, 4 * TILES * pairs);
        let mut b = Block::new(2);
        let (row, all) = (b.slot(), b.slot());
        // Offsets of loads and stores end at 4095.
        let near = (4 * self.tiles + 1) * column <= 4095;
        let several = |b: &mut Block, first: Reg, each: usize, last: usize| {
            let mut bases = vec![first];
            if last > 4095 {
                let next = b.reg();
                b.push(Inst::Mov(next, first));
                b.advance(next, (REACH * each) as i32);
                bases.push(next);
            }
            bases
        };
        let (t, v) = (b.args[0], b.args[1]);
        let t = several(&mut b, t, column, if near { 0 } else { (SIDE - 1) * column });
        let v = several(&mut b, v, product, (SIDE - 1) * product + 4 * TILES);
        let stop = b.reg();
        b.push(Inst::AddImm(stop, t[0], (4 * self.rows) as i32));
        b.push(Inst::StrSlot(stop, all));
        let each = b.label(self.rows as u64);
        let stop = b.reg();
        b.push(Inst::Mov(stop, t[0]));
        b.advance(stop, column as i32);
        b.push(Inst::StrSlot(stop, row));
        let top = b.label(pairs as u64);
        let load = |b: &mut Block, tile: usize, n: usize| {
            let n = if near { 4 * tile + n } else { n };
            let (base, n) = if t.len() > 1 { (t[n / REACH], n % REACH) } else { (t[0], n) };
            let d = b.reg();
            b.push(Inst::Ldr(d, base, (n * column) as u32));
            d
        };
        let mut kept = [load(&mut b, 0, 0), load(&mut b, 0, 1)];
        for tile in 0..self.tiles {
            let [d0, d1] = kept;
            let [d2, d3, d4, d5] = [2, 3, 4, 5].map(|n| load(&mut b, tile, n));
            let store = |b: &mut Block, j: usize, r: Reg| {
                let (base, j) = if v.len() > 1 { (v[j / REACH], j % REACH) } else { (v[0], j) };
                b.push(Inst::Str(r, base, (j * product + 4 * tile) as u32));
            };
            let stays = tile + 1 < self.tiles;
            let [last, part, twice] = odd(&mut b, [d1, d3, d5], stays);
            store(&mut b, 5, last);
            even(&mut b, [d0, d2, d4], [part, twice], stays, &store);
            kept = [d4, d5];
            if !near && stays {
                t.iter().for_each(|&t| b.advance(t, 4 * column as i32));
            }
        }
        let back = if near { 0 } else { (self.tiles - 1) * 4 * column };
        t.iter().for_each(|&t| b.advance(t, (4 * self.rows) as i32 - back as i32));
        v.iter().for_each(|&v| b.advance(v, 4 * TILES as i32));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, row));
        b.push(Inst::Cmp(t[0], stop));
        b.push(Inst::BranchBack(Cond::Ne, top));
        v.iter().for_each(|&v| b.advance(v, ((SIDE - 1) * product) as i32));
        t.iter().for_each(|&t| b.advance(t, 4 - column as i32));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, all));
        // From `i` to the next it is four bytes.
        b.push(Inst::Cmp(t[0], stop));
        b.push(Inst::BranchBack(Cond::Ne, each));
        b
    }
}

/// The low 32 bits of a 64-bit value, signed.
pub fn wrapped(e: impl Into<Expr>) -> Expr {
    let e: Expr = e.into();
    (((e & long(0xffff_ffff)) ^ long(1 << 31)) - long(1 << 31)).i32()
}

/// `A^T m` in 64-bit expressions, six to four.
pub fn outputs(m: &[Val]) -> [Expr; 4] {
    let (s, d) = (m[1] + m[2], m[1] - m[2]);
    let (s2, d2) = (m[3] + m[4], m[3] - m[4]);
    [m[0] + &s + &s2, &d + &d2 * long(2), &s + &s2 * long(4), &d + &d2 * long(8) + m[5] * long(2)]
}

/// Sixteen outputs, row by row, `576` times the sums modulo 2^32 times the inverse of nine: `m`
/// gives the words of sums.
pub fn sixteen(k: &mut KernelBuilder, m: &dyn Fn(&mut KernelBuilder, usize, usize) -> Expr) -> Vec<Val> {
    let mut rows: [Vec<Val>; 4] = Default::default();
    for j in 0..SIDE {
        let column: Vec<Val> = (0..SIDE)
            .map(|i| {
                let e = m(k, i, j);
                k.let_(&format!("m{i}{j}"), e.cast(Ty::I64))
            })
            .collect();
        for (i, e) in outputs(&column).into_iter().enumerate() {
            rows[i].push(k.let_(&format!("r{i}{j}"), e));
        }
    }
    let mut all = Vec::new();
    for row in &rows {
        for e in outputs(row) {
            let nine = k.let_("nine", wrapped(e));
            all.push(k.let_("sum", wrapped(nine.i64() * long(NINTH.into()))));
        }
    }
    all
}

/// The same for four outputs in a line, `24` times the sums.
pub fn line(k: &mut KernelBuilder, m: &dyn Fn(usize) -> Expr) -> Vec<Val> {
    let m: Vec<Val> = (0..SIDE).map(|j| k.let_(&format!("m{j}"), m(j))).collect();
    let mut all = Vec::new();
    for e in outputs(&m) {
        let three = k.let_("three", wrapped(e));
        all.push(k.let_("sum", wrapped(three.i64() * long(THIRD.into()))));
    }
    all
}

/// Instructions of `A^T m`, six to four.
pub fn one_row(b: &mut Block, [m0, m1, m2, m3, m4, m5]: [Reg; SIDE]) -> [Reg; 4] {
    let sum = b.reg();
    b.push(Inst::Add(sum, m1, m2));
    b.push(Inst::Sub(m1, m1, m2));
    b.push(Inst::Add(m2, m3, m4));
    b.push(Inst::Sub(m3, m3, m4));
    b.push(Inst::Add(m0, m0, sum));
    b.push(Inst::Add(m0, m0, m2));
    b.push(Inst::AddLsl(sum, sum, m2, 2));
    b.push(Inst::AddLsl(m5, m1, m5, 1));
    b.push(Inst::AddLsl(m1, m1, m3, 1));
    b.push(Inst::AddLsl(m5, m5, m3, 3));
    [m0, m1, sum, m5]
}

/// Two of the four rows of a tile's outputs, before they are divided: `0` the first and the
/// third, `1` the others. Sums of product `xi` of the tile stand at `p + 4 * step * xi`; `bias`
/// loads the word that is added to product (1, 1).
pub fn two_rows(
    b: &mut Block,
    half: usize,
    p: Reg,
    step: usize,
    bias: &dyn Fn(&mut Block) -> Reg,
) -> [[Reg; 4]; 2] {
    // Of a column: what makes the upper and the lower one of the two rows.
    let column = |b: &mut Block, j: usize| -> [Reg; 2] {
        let m: [Reg; 5] = b.regs_n();
        for (n, &m) in m.iter().enumerate() {
            b.push(Inst::Ldr(m, p, (4 * step * (SIDE * (n + half) + j)) as u32));
        }
        let added = (j == 1).then(|| bias(b));
        if let Some(added) = added {
            let one = m[1 - half];
            b.push(Inst::Add(one, one, added));
        }
        if half == 0 {
            let [m0, m1, m2, m3, m4] = m;
            b.push(Inst::Add(m1, m1, m2));
            b.push(Inst::Add(m3, m3, m4));
            b.push(Inst::Add(m0, m0, m1));
            b.push(Inst::Add(m0, m0, m3));
            b.push(Inst::AddLsl(m1, m1, m3, 2));
            [m0, m1]
        } else {
            let [m1, m2, m3, m4, m5] = m;
            b.push(Inst::Sub(m1, m1, m2));
            b.push(Inst::Sub(m3, m3, m4));
            b.push(Inst::AddLsl(m5, m1, m5, 1));
            b.push(Inst::AddLsl(m1, m1, m3, 1));
            b.push(Inst::AddLsl(m5, m5, m3, 3));
            [m1, m5]
        }
    };
    let one = column(b, 1);
    let two = column(b, 2);
    let near: [[Reg; 2]; 2] = [0, 1].map(|row| {
        let (sum, a, c) = (b.reg(), one[row], two[row]);
        b.push(Inst::Add(sum, a, c));
        b.push(Inst::Sub(a, a, c));
        [sum, a]
    });
    let three = column(b, 3);
    let four = column(b, 4);
    let four: [[Reg; 4]; 2] = [0, 1].map(|row| {
        let ([s, d], a, c, far) = (near[row], three[row], four[row], b.reg());
        b.push(Inst::Add(far, a, c));
        b.push(Inst::Sub(a, a, c));
        b.push(Inst::Add(c, s, far));
        b.push(Inst::AddLsl(s, s, far, 2));
        b.push(Inst::AddLsl(far, d, a, 1));
        b.push(Inst::AddLsl(d, d, a, 3));
        [c, far, s, d]
    });
    let none = column(b, 0);
    for row in 0..2 {
        b.push(Inst::Add(four[row][0], four[row][0], none[row]));
    }
    let last = column(b, 5);
    for row in 0..2 {
        b.push(Inst::AddLsl(four[row][3], four[row][3], last[row], 1));
    }
    four
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armv7em::winograd::tests::m4;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, lending, run};

    #[test]
    fn constants_belong_together() {
        assert_eq!(NINTH.wrapping_mul(9), 1);
        assert_eq!(FACTOR, 9 << LEFT);
        assert_eq!(THIRD.wrapping_mul(3), 1);
        assert_eq!(LINE, 3 << LEFT_OF_LINE);
        for w in [-128, 127] {
            for signs in 0..512 {
                let g = std::array::from_fn(|t| if signs >> t & 1 == 1 { w } else { -w - 1 });
                assert!(transformed(g).iter().all(|&u| i16::try_from(u).is_ok()));
            }
        }
    }

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(44);
        for (len, pitch, keeps) in [(4, 4, false), (24, 30, true), (64, 64, true), (36, 1359, false)] {
            let rows = Rows { len, pitch, keeps };
            assert!(rows.fits());
            let mut x = [random.bytes(len), random.bytes(3 * pitch + len), random.bytes(len)];
            x[1].iter_mut().step_by(3).for_each(|v| *v = -128);
            let kernel = rows.kernel(&m4()).unwrap();
            let mut args: Vec<Bind> = (0..3).map(Bind::Operand).collect();
            args.extend([Bind::Result(0), Bind::Workspace(0)]);
            let call = Call { kernel: lending(&kernel), args };
            let operands: Vec<Data> = x.iter().cloned().map(Data::I8).collect();
            let Data::I16(t) = run(&call, &operands, DType::I16, rows.t_len() + len) else { panic!() };
            let kept = if keeps { &x[1][3 * pitch..] } else { &x[0][..] };
            assert!(t[rows.t_len()..].iter().zip(kept).all(|(&t, &kept)| t == i16::from(kept)));
        }
        // Stores would reach too far.
        assert!(!Columns { rows: 1, channels: 256, tiles: 4 }.fits());
        let sizes = [(4, 4), (8, 2), (16, 4), (64, 2), (64, 4), (12, 4), (132, 4), (128, 2)];
        let both = sizes.into_iter().map(|(c, tiles)| (c, tiles, SIDE));
        for (channels, tiles, rows) in both.chain([(4, 4, 1), (24, 4, 1), (64, 4, 1), (252, 4, 1)]) {
            let columns = Columns { rows, channels, tiles };
            assert!(columns.fits());
            let t: Vec<i16> = (0..columns.t_len()).map(|_| random.within(-1280, 1280) as i16).collect();
            let call = Call {
                kernel: columns.kernel(&m4()).unwrap(),
                args: vec![Bind::Operand(0), Bind::Result(0)],
            };
            let Data::I16(v) = run(&call, &[Data::I16(t)], DType::I16, columns.v_len()) else { panic!() };
            assert!(v.iter().all(|&v| i64::from(v).abs() <= MOST));
        }
    }
}
