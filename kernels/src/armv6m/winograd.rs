//! Exact integer Winograd F(4x4, 3x3) on cores whose only product is 32 by 32 to 32 bits: one
//! multiplication for each of 36 products a channel, which stand for 144 of the direct
//! convolution. [`crate::armv7em::winograd::four`] has the mathematics.
//!
//! Four tiles at a time: [`Rows`] transforms six input rows vertically, [`Columns`] tiles side by
//! side horizontally, [`Sums`] multiplies them with one output channel, [`Back`] transforms that
//! back and requantizes.
//!
//! Orders: `T[column][pair of channels][i][2]` in 16-bit halves, `V[xi][channel][tile]` in words,
//! `U` of an output channel `[xi][channel]` in halves, sums `[xi][tile]` in words; `xi = 6 * j + i`.
//!
//! Transforms have integer factors alone, so that a word that holds `a + 65536 * b` transforms two
//! channels at once, whatever the signs. `T` holds [`BIAS`] more than the transform: never
//! negative, the halves of a word in memory are such a sum.

use crate::armv6m::round::Form;
use crate::armv7em::winograd::TILES;
use crate::armv7em::winograd::four::{LEFT, NINTH, PADDING, SIDE, XI, inputs, sixteen, wrapped};
use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder, Ty, Val, long};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

const R10: R = R(10);
const R11: R = R(11);

/// Vertical: `(first, rows, last, t)`; the four rows between stand in memory as ever. Any alignment
/// of the inputs will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Even.
    pub len: usize,
    /// Inputs from one row to the next.
    pub pitch: usize,
    /// Whether the fifth row is kept in place of the first.
    pub keeps: bool,
}

/// What `T` holds above the transform, whose magnitude is at most 1280.
pub const BIAS: i32 = 2048;
/// Halves of `T` of a pair of channels of a column.
const PAIR: usize = 2 * SIDE;

/// A number in both halves of a high register, by way of two low ones.
fn twofold(c: &mut Code, d: R, v: i32, [a, b]: [R; 2]) {
    c.constant(a, v.unsigned_abs());
    c.all([Inst::Lsl(b, a, 16), Inst::Add(a, a, b), Inst::Mov(d, a)]);
}

impl Rows {
    pub fn fits(&self) -> bool {
        self.len.is_multiple_of(2) && self.pitch < 1 << 22
    }
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("winograd4_s8_down");
        let access = if self.keeps { Access::ReadWrite } else { Access::Read };
        let first = k.buffer("first", DType::I8, self.len, access);
        let rows = k.buffer("rows", DType::I8, 3 * self.pitch + self.len, Access::Read);
        let last = k.buffer("last", DType::I8, self.len, Access::Read);
        let t = k.buffer("t", DType::I16, SIDE * self.len, Access::Write);
        k.for_("pair", 0, self.len / 2, |k, pair| {
            k.for_("half", 0, 2, |k, half| {
                let c = k.let_("c", pair * 2 + half);
                let to = k.let_("to", pair * PAIR + half);
                let d: Vec<Val> = (0..SIDE)
                    .map(|i| {
                        let from = match i {
                            0 => first.at(c),
                            5 => last.at(c),
                            _ => rows.at(c + (i - 1) * self.pitch),
                        };
                        k.let_(&format!("d{i}"), from)
                    })
                    .collect();
                for (i, v) in inputs(&d).into_iter().enumerate() {
                    k.store(t, to + 2 * i, v + BIAS);
                }
                if self.keeps {
                    k.store(first, c, d[4]);
                }
            });
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r6 and r7 point to the second row at either channel of a pair, r5 to another row from
    /// there; r8 holds the bias twice, r9 two pitches, r10 how far the last row is, r11 the first,
    /// r12 a pitch; lr points to `T`.
    pub fn code(&self) -> Code {
        const KEPT: u32 = 0;
        const END: u32 = 4;
        let mut c = Code::new(8, 0, true);
        c.all([Inst::Mov(R6, R1), Inst::Mov(LR, R3), Inst::Sub(R2, R2, R1), Inst::Mov(R10, R2)]);
        c.all([Inst::Sub(R0, R0, R1), Inst::Mov(R11, R0), Inst::Mov(R7, R1), Inst::AddImm(R7, 1)]);
        c.constant(R3, self.len as u32);
        c.all([Inst::Add(R3, R3, R7), Inst::Str(R3, SP, END)]);
        c.constant(R3, self.pitch as u32);
        c.all([Inst::Mov(R12, R3), Inst::Lsl(R3, R3, 1), Inst::Mov(R9, R3)]);
        twofold(&mut c, R8, BIAS, [R3, R4]);
        // Two channels of the row r5 tells.
        let load = |c: &mut Code, d: R, by_way: R| {
            c.all([Inst::Ldrsb(d, R6, R5), Inst::Ldrsb(by_way, R7, R5)]);
            c.all([Inst::Lsl(by_way, by_way, 16), Inst::Add(d, d, by_way)]);
        };
        let next = c.here();
        c.times((self.len / 2) as f64, |c| {
            c.push(Inst::MovImm(R5, 0));
            load(c, R0, R4);
            c.push(Inst::Mov(R5, R9));
            load(c, R1, R4);
            c.push(Inst::Mov(R5, R10));
            load(c, R2, R4);
            // The sixth, then 2 (d3 - d1) in r3 and d3 - 4 d1 in r1.
            c.all([Inst::AddAny(R2, R8), Inst::Sub(R2, R2, R1), Inst::Sub(R3, R1, R0)]);
            c.all([Inst::Lsl(R3, R3, 1), Inst::Sub(R2, R2, R3), Inst::Sub(R2, R2, R3)]);
            c.all([Inst::Lsl(R0, R0, 2), Inst::Sub(R1, R1, R0)]);
            c.all([Inst::Mov(R5, LR), Inst::Str(R2, R5, 20), Inst::Mov(R5, R12)]);
            load(c, R0, R4);
            c.push(Inst::AddAny(R5, R9));
            load(c, R2, R4);
            c.push(Inst::AddAny(R2, R8));
            if self.keeps {
                c.push(Inst::Str(R2, SP, KEPT));
            }
            // d4 - 4 d2 in r4, d4 - d2 in r2.
            c.all([Inst::Lsl(R4, R0, 2), Inst::Sub(R4, R2, R4), Inst::Sub(R2, R2, R0)]);
            c.all([Inst::Add(R5, R4, R1), Inst::Sub(R4, R4, R1), Inst::Mov(R1, LR)]);
            c.all([Inst::Str(R5, R1, 4), Inst::Str(R4, R1, 8)]);
            c.all([Inst::Add(R5, R2, R3), Inst::Sub(R4, R2, R3)]);
            c.all([Inst::Str(R5, R1, 12), Inst::Str(R4, R1, 16), Inst::Mov(R5, R11)]);
            load(c, R3, R4);
            c.all([Inst::Sub(R3, R3, R0), Inst::Lsl(R3, R3, 2), Inst::Add(R3, R3, R2)]);
            c.all([Inst::Str(R3, R1, 0), Inst::AddImm(R1, 2 * PAIR as u32), Inst::Mov(LR, R1)]);
            if self.keeps {
                // The bias leaves the bytes as they are.
                c.all([Inst::Ldr(R2, SP, KEPT), Inst::StrbAt(R2, R6, R5)]);
                c.all([Inst::Lsr(R2, R2, 16), Inst::StrbAt(R2, R7, R5)]);
            }
            c.all([Inst::AddImm(R6, 2), Inst::AddImm(R7, 2)]);
            c.all([Inst::Ldr(R0, SP, END), Inst::Cmp(R7, R0), Inst::BranchIf(Cond::Ne, next)]);
        });
        c
    }
}

/// Horizontal: `(t, v)` for some tiles side by side, of what [`Rows`] and padding leave in `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    pub channels: usize,
    /// Tiles side by side, of the [`TILES`] that are multiplied together.
    pub tiles: usize,
}

impl Columns {
    /// Words of `V` of a group of tiles.
    pub fn v_len(&self) -> usize {
        XI * TILES * self.channels
    }
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let c = self.channels;
        let mut k = KernelBuilder::new("winograd4_s8_across");
        let t = k.buffer("t", DType::I16, (4 * self.tiles + 2) * SIDE * c, Access::Read);
        let v = k.buffer("v", DType::I32, self.v_len() - (TILES - self.tiles), Access::Write);
        k.for_("tile", 0, self.tiles, |k, tile| {
            k.for_("i", 0, SIDE, |k, i| {
                k.for_("pair", 0, c / 2, |k, pair| {
                    k.for_("half", 0, 2, |k, half| {
                        let from = k.let_("from", tile * (4 * SIDE * c) + pair * PAIR + i * 2 + half);
                        let d: Vec<Val> =
                            (0..SIDE).map(|j| k.let_(&format!("d{j}"), t.at(from + j * SIDE * c))).collect();
                        let to = k.let_("to", i * (TILES * c) + (pair * 2 + half) * TILES + tile);
                        for (j, value) in inputs(&d).into_iter().enumerate() {
                            // A constant is transformed as padding is.
                            let value = if PADDING[j] == 0 { value } else { value - PADDING[j] * BIAS };
                            k.store(v, to + j * SIDE * TILES * c, value);
                        }
                    });
                });
            });
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r6 points to `T`, and is kept in lr while it holds something else, r7 points to `V`; r8
    /// holds how far the next column is, r9 the next of six products, r10 the next pair of the
    /// first column from the last one's, r11 of the first product from behind the last one's, r12
    /// what makes up for the bias.
    pub fn code(&self) -> Code {
        const END: u32 = 0;
        const ALL: u32 = 4;
        const TILE: u32 = 8;
        let channels = self.channels as u32;
        let (column, line) = (2 * SIDE as u32 * channels, 4 * TILES as u32 * channels);
        let six = SIDE as u32 * line;
        let mut c = Code::new(12, 0, true);
        c.all([Inst::Mov(LR, R0), Inst::Mov(R7, R1), Inst::MovImm(R5, 0)]);
        for (high, v) in [(R8, column), (R9, six)] {
            c.constant(R3, v);
            c.push(Inst::Mov(high, R3));
        }
        for (high, less, v) in [(R10, 5 * column, 2 * PAIR as u32), (R11, 6 * six, 8 * TILES as u32)] {
            c.constant(R3, less);
            c.all([Inst::Sub(R3, R5, R3), Inst::AddImm(R3, v), Inst::Mov(high, R3)]);
        }
        twofold(&mut c, R12, -PADDING[1] * BIAS, [R3, R4]);
        c.all([Inst::AddImm(R1, 4 * self.tiles as u32), Inst::Str(R1, SP, TILE)]);
        let tile = c.here();
        c.times(self.tiles as f64, |c| {
            c.all([Inst::Mov(R6, R7), Inst::AddAny(R6, R9), Inst::Str(R6, SP, ALL), Inst::Mov(R6, R7)]);
            let row = c.here();
            c.times(SIDE as f64, |c| {
                c.constant(R5, line);
                c.all([Inst::Add(R6, R7, R5), Inst::Str(R6, SP, END)]);
                let next = c.here();
                c.times((self.channels / 2) as f64, |c| {
                    pair(c);
                    c.all([Inst::Ldr(R6, SP, END), Inst::Cmp(R7, R6), Inst::BranchIf(Cond::Ne, next)]);
                });
                // Back to the first pair of the column, and one on.
                c.constant(R5, column - 4);
                c.all([Inst::Mov(R6, LR), Inst::Sub(R6, R6, R5), Inst::Mov(LR, R6)]);
                c.all([Inst::Ldr(R6, SP, ALL), Inst::Cmp(R7, R6), Inst::BranchIf(Cond::Ne, row)]);
            });
            // Four columns on, less the six halves the rows went.
            c.constant(R5, 4 * column - 4 * SIDE as u32);
            c.all([Inst::AddAny(LR, R5), Inst::Mov(R5, R9), Inst::Sub(R7, R7, R5), Inst::AddImm(R7, 4)]);
            let done = c.label();
            c.all([Inst::Ldr(R6, SP, TILE), Inst::Cmp(R7, R6), Inst::BranchIf(Cond::Eq, done)]);
            c.push(Inst::Branch(tile));
            c.place(done);
        });
        c
    }
}

/// Two channels of a row of six columns, as [`Columns::code`] has them.
fn pair(c: &mut Code) {
    c.push(Inst::Mov(R6, LR));
    for (j, d) in [R0, R1, R2, R3, R4, R5].into_iter().enumerate() {
        c.push(Inst::Ldr(d, R6, 0));
        c.push(Inst::AddAny(R6, if j < 5 { R8 } else { R10 }));
    }
    c.push(Inst::Mov(LR, R6));
    // The sixth in r5, 2 (d3 - d1) in r6, d3 - 4 d1 in r3.
    c.all([Inst::Sub(R5, R5, R3), Inst::Sub(R6, R3, R1), Inst::Lsl(R6, R6, 1), Inst::Sub(R5, R5, R6)]);
    c.all([Inst::Sub(R5, R5, R6), Inst::Lsl(R1, R1, 2), Inst::Sub(R3, R3, R1)]);
    // d4 - 4 d2 in r1, d4 - d2 in r4, the first in r0.
    c.all([Inst::Lsl(R1, R2, 2), Inst::Sub(R1, R4, R1), Inst::Sub(R4, R4, R2), Inst::Sub(R0, R0, R2)]);
    c.all([Inst::Lsl(R0, R0, 2), Inst::Add(R0, R0, R4)]);
    c.all([Inst::Add(R2, R1, R3), Inst::AddAny(R2, R12), Inst::Sub(R1, R1, R3)]);
    c.all([Inst::Add(R3, R4, R6), Inst::Sub(R4, R4, R6)]);
    for d in [R0, R2, R1, R3, R4, R5] {
        c.all([Inst::Sxth(R6, d), Inst::Str(R6, R7, 0), Inst::Sub(d, d, R6), Inst::Asr(d, d, 16)]);
        c.all([Inst::Str(d, R7, 4 * TILES as u32), Inst::AddAny(R7, R9)]);
    }
    c.push(Inst::AddAny(R7, R11));
}

/// The products of one output channel, summed up over input channels: `(v, u, m)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// Even.
    pub channels: usize,
}

/// Words of sums.
pub const SUMS: usize = XI * TILES;

impl Sums {
    pub fn fits(&self) -> bool {
        self.channels.is_multiple_of(2)
    }
    pub fn u_len(&self) -> usize {
        XI * self.channels
    }
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let c = self.channels;
        let mut k = KernelBuilder::new("winograd4_s8_sums");
        let v = k.buffer("v", DType::I32, XI * TILES * c, Access::Read);
        let u = k.buffer("u", DType::I16, self.u_len(), Access::Read);
        let m = k.buffer("m", DType::I32, SUMS, Access::Write);
        k.for_("xi", 0, XI, |k, xi| {
            let sums: Vec<Val> = (0..TILES).map(|n| k.var(&format!("s{n}"), long(0))).collect();
            k.for_("i", 0, c, |k, i| {
                let at = k.let_("at", xi * c + i);
                let w = k.let_("w", u.at(at).i64());
                for (tile, &sum) in sums.iter().enumerate() {
                    k.add_to(sum, v.at(at * TILES + tile).i64() * w);
                }
            });
            for (tile, &sum) in sums.iter().enumerate() {
                k.store(m, xi * TILES + tile, wrapped(sum));
            }
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r0 points to `V`, r1 to `U`, r2 two weights, r3 one, r4-r7 products, r8-r11 sums, r12 where
    /// the channels of a product end, lr how far those of the next do.
    pub fn code(&self) -> Code {
        const M: u32 = 0;
        const END: u32 = 4;
        let pairs = self.channels / 2;
        let straight = [4, 2, 1].into_iter().find(|n| pairs.is_multiple_of(*n)).unwrap_or(1);
        let products = [R4, R5, R6, R7];
        let mut c = Code::new(8, 0, true);
        c.constant(R3, 4 * SUMS as u32);
        c.all([Inst::Str(R2, SP, M), Inst::Add(R3, R3, R2), Inst::Str(R3, SP, END)]);
        c.constant(R3, (4 * TILES * self.channels) as u32);
        c.all([Inst::Mov(LR, R3), Inst::Mov(R12, R0)]);
        let next = c.here();
        c.times(XI as f64, |c| {
            c.all([Inst::AddAny(R12, LR), Inst::MovImm(R3, 0)]);
            (0..TILES as u8).for_each(|i| c.push(Inst::Mov(R(8 + i), R3)));
            let top = c.here();
            c.times((pairs / straight) as f64, |c| {
                for _ in 0..straight {
                    c.all([Inst::Ldm(R1, mask(&[R2])), Inst::Sxth(R3, R2)]);
                    for half in 0..2 {
                        if half == 1 {
                            c.push(Inst::Asr(R3, R2, 16));
                        }
                        c.push(Inst::Ldm(R0, mask(&products)));
                        for (i, &r) in products.iter().enumerate() {
                            c.all([Inst::Mul(r, R3), Inst::AddAny(R(8 + i as u8), r)]);
                        }
                    }
                }
                c.all([Inst::Cmp(R0, R12), Inst::BranchIf(Cond::Ne, top)]);
            });
            for (i, &r) in products.iter().enumerate() {
                c.push(Inst::Mov(r, R(8 + i as u8)));
            }
            c.all([Inst::Ldr(R3, SP, M), Inst::Stm(R3, mask(&products)), Inst::Str(R3, SP, M)]);
            c.all([Inst::Ldr(R2, SP, END), Inst::Cmp(R3, R2), Inst::BranchIf(Cond::Ne, next)]);
        });
        c
    }
}

/// The outputs of one channel of some tiles side by side: `(m, w, y)`. `w` holds 576 times the
/// bias modulo 2^32, and what [`Form::words`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    pub tiles: usize,
    /// Result elements from one pixel to the next, and from one row to the next.
    pub step: usize,
    pub row: usize,
    pub form: Form,
}

/// Bytes of the frame: six words of each row of outputs, then slots.
const LINE: u32 = 24;
const Y: u32 = 96;
const START: u32 = 100;
const WORDS: u32 = 104;
const P: u32 = 108;
const END: u32 = 112;
const FRAME: u32 = 116;

impl Back {
    pub fn fits(&self) -> bool {
        self.row >= 4 * self.step && self.row < 1 << 20
    }
    /// Words of constants of an output channel.
    pub fn words(&self) -> usize {
        1 + self.form.words()
    }
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("winograd4_s8_back");
        let m = k.buffer("m", DType::I32, SUMS - (TILES - self.tiles), Access::Read);
        let w = k.buffer("w", DType::I32, self.words(), Access::Read);
        let y_len = 3 * self.row + (4 * self.tiles - 1) * self.step + 1;
        let y = k.buffer("y", DType::I8, y_len, Access::Write);
        k.for_("tile", 0, self.tiles, |k, tile| {
            let sums = sixteen(k, &|_, i, j| {
                let v = m.at(tile + TILES * (SIDE * j + i)).cast(Ty::I64);
                if (i, j) == (1, 1) { v + w.at(0).i64() } else { v }
            });
            for (n, sum) in sums.into_iter().enumerate() {
                let sum = k.let_("exact", sum >> LEFT as i32);
                let out = self.form.meaning(k, sum, &|i| w.at(1 + i));
                k.store(y, tile * (4 * self.step) + (n / 4 * self.row + n % 4 * self.step), out);
            }
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r8 holds the step, r9 what is left of a row behind four of them, r10 the inverse of nine.
    pub fn code(&self) -> Code {
        let mut c = Code::new(FRAME, 0, true);
        c.all([Inst::Ldm(R1, mask(&[R3])), Inst::Str(R3, SP, START), Inst::Str(R1, SP, WORDS)]);
        c.all([Inst::Str(R2, SP, Y), Inst::Mov(R7, R0), Inst::AddImm(R0, 4 * self.tiles as u32)]);
        c.push(Inst::Str(R0, SP, END));
        for (high, v) in [(R8, self.step), (R9, self.row - 4 * self.step), (R10, NINTH as usize)] {
            c.constant(R3, v as u32);
            c.push(Inst::Mov(high, R3));
        }
        let next = c.here();
        c.times(self.tiles as f64, |c| {
            self.one(c);
            let done = c.label();
            c.all([Inst::Ldr(R2, SP, Y), Inst::AddAny(R2, R8), Inst::AddAny(R2, R8)]);
            c.all([Inst::AddAny(R2, R8), Inst::AddAny(R2, R8), Inst::Str(R2, SP, Y)]);
            c.all([Inst::Ldr(R7, SP, P), Inst::Ldr(R0, SP, END), Inst::Cmp(R7, R0)]);
            c.all([Inst::BranchIf(Cond::Eq, done), Inst::Branch(next)]);
            c.place(done);
        });
        c
    }

    /// A tile whose sums r7 points to.
    fn one(&self, c: &mut Code) {
        let six = [R0, R1, R2, R3, R4, R5];
        // From six in r0-r5 to four in r0, r4, r2, r3.
        let four = |c: &mut Code| {
            c.all([Inst::Add(R6, R1, R2), Inst::Sub(R1, R1, R2), Inst::Add(R2, R3, R4)]);
            c.all([Inst::Sub(R3, R3, R4), Inst::Add(R0, R0, R6), Inst::Add(R0, R0, R2)]);
            c.all([Inst::Lsl(R2, R2, 2), Inst::Add(R2, R2, R6), Inst::Lsl(R3, R3, 1)]);
            c.all([Inst::Add(R4, R1, R3), Inst::Lsl(R3, R3, 2), Inst::Add(R3, R3, R1)]);
            c.all([Inst::Lsl(R5, R5, 1), Inst::Add(R3, R3, R5)]);
        };
        let results = [R0, R4, R2, R3];
        for j in 0..SIDE as u32 {
            for (i, &r) in six.iter().enumerate() {
                c.push(Inst::Ldr(r, R7, (4 * TILES * i) as u32));
            }
            if j == 1 {
                c.all([Inst::Ldr(R6, SP, START), Inst::Add(R1, R1, R6)]);
            }
            four(c);
            for (row, &r) in (0u32..).zip(&results) {
                c.push(Inst::Str(r, SP, LINE * row + 4 * j));
            }
            if j + 1 < SIDE as u32 {
                c.push(Inst::AddImm(R7, (4 * TILES * SIDE) as u32));
            }
        }
        // To the next tile.
        let back = (4 * TILES * SIDE * (SIDE - 1)) as u32 - 4;
        c.all([Inst::SubImm(R7, 255), Inst::SubImm(R7, back - 255), Inst::Str(R7, SP, P)]);
        c.push(Inst::AddSp(R7, 0));
        for row in 0..4 {
            c.push(Inst::Ldm(R7, mask(&six)));
            four(c);
            c.push(Inst::Mov(R1, R10));
            for (column, &r) in (0u32..).zip(&results) {
                c.all([Inst::Mul(r, R1), Inst::Str(r, SP, LINE * row + 4 * column)]);
            }
        }
        let words = self.form.registers();
        c.all([Inst::Ldr(R2, SP, WORDS), Inst::Ldm(R2, mask(words)), Inst::Ldr(R2, SP, Y)]);
        for row in 0..4 {
            for column in 0..4 {
                c.all([Inst::Ldr(R0, SP, LINE * row + 4 * column), Inst::Asr(R0, R0, LEFT)]);
                self.form.spell(c, R12);
                c.all([Inst::Strb(R0, R2, 0), Inst::AddAny(R2, R8)]);
            }
            c.push(Inst::AddAny(R2, R9));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Output, requant};
    use crate::armv6m::round::rounding;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, lending, run};

    fn m0() -> Cost {
        secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap()
    }
    #[test]
    fn rows_are_exact() {
        let mut random = Random(85);
        for (case, (len, pitch, keeps)) in
            [(2, 2, false), (12, 17, true), (48, 64, false), (96, 300, true)].into_iter().enumerate()
        {
            let rows = Rows { len, pitch, keeps };
            assert!(rows.fits());
            let mut inputs = [len, 3 * pitch + len, len].map(|n| random.bytes(n));
            if case == 2 {
                inputs.iter_mut().flatten().for_each(|v| *v = if *v < 0 { -128 } else { 127 });
            }
            let args = (0..3).map(Bind::Operand).chain([Bind::Result(0)]);
            let kept = keeps.then(|| inputs[1][3 * pitch..].to_vec());
            let kernel = rows.kernel(&m0()).unwrap();
            let (kernel, args, len) = match &kept {
                Some(kept) => {
                    (lending(&kernel), args.chain([Bind::Workspace(0)]).collect(), SIDE * len + kept.len())
                }
                None => (kernel, args.collect(), SIDE * len),
            };
            let Data::I16(t) = run(&Call { kernel, args }, &inputs.map(Data::I8), DType::I16, len) else {
                panic!()
            };
            let kept = kept.unwrap_or_default();
            assert!(t[len - kept.len()..].iter().zip(&kept).all(|(&t, &kept)| t == i16::from(kept)));
        }
    }

    #[test]
    fn columns_are_exact() {
        let mut random = Random(86);
        for (channels, tiles) in [(2, 4), (4, 2), (6, 4), (16, 2), (32, 4)] {
            let columns = Columns { channels, tiles };
            for ends in [false, true] {
                let t = (0..(4 * tiles + 2) * SIDE * channels).map(|_| {
                    let v = random.within(-1280, 1280) as i32;
                    (BIAS + if ends { 1280 * v.signum() } else { v }) as i16
                });
                let t: Vec<i16> = t.collect();
                let v_len = columns.v_len() - (TILES - tiles);
                let args = vec![Bind::Operand(0), Bind::Result(0)];
                let call = Call { kernel: columns.kernel(&m0()).unwrap(), args };
                run(&call, &[Data::I16(t)], DType::I32, v_len);
            }
        }
    }

    #[test]
    fn sums_are_exact() {
        let mut random = Random(81);
        for channels in [2, 4, 6, 16, 24] {
            let s = Sums { channels };
            let v: Vec<i32> = (0..4 * XI * channels).map(|_| random.within(-12800, 12800) as i32).collect();
            let u: Vec<i16> = (0..s.u_len()).map(|_| random.within(-18432, 18432) as i16).collect();
            let args = (0..2).map(Bind::Operand).chain([Bind::Result(0)]).collect();
            let call = Call { kernel: s.kernel(&m0()).unwrap(), args };
            run(&call, &[Data::I32(v), Data::I16(u)], DType::I32, SUMS);
        }
    }

    #[test]
    fn outputs_are_exact() {
        let mut random = Random(82);
        for (case, (tiles, step, row)) in [(4, 1, 16), (2, 3, 60), (4, 16, 512)].into_iter().enumerate() {
            let reach = [(-30_000 * (1 << (4 * case)), 20_000 * (1 << (4 * case)))];
            let out = Output { zp: -9, lo: -128, hi: 100 };
            let r = requant(&[0.005 / f64::from(1 << (4 * case))], &reach, out).unwrap();
            let (form, constants) = rounding(&r, &reach, false).unwrap();
            let b = Back { tiles, step, row, form };
            assert!(b.fits());
            let mut w = vec![random.within(-1 << 30, 1 << 30) as i32];
            w.extend(&constants[0].words);
            let m: Vec<i32> = (0..SUMS).map(|_| random.within(-1 << 31, (1 << 31) - 1) as i32).collect();
            let m = m[..SUMS - (TILES - tiles)].to_vec();
            let y_len = 3 * row + (4 * tiles - 1) * step + 1;
            let args = (0..2).map(Bind::Operand).chain([Bind::Result(0)]).collect();
            let call = Call { kernel: b.kernel(&m0()).unwrap(), args };
            run(&call, &[Data::I32(m), Data::I32(w)], DType::I8, y_len);
        }
    }
}
