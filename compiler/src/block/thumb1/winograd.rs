//! Exact integer Winograd F(4x4, 3x3) on cores whose only product is 32 by 32 to 32 bits: one
//! multiplication for each of 36 products a channel, which stand for 144 of the direct
//! convolution. [`crate::block::winograd::four`] has the mathematics.
//!
//! Four tiles at a time: [`Rows`] transforms six input rows vertically, [`Columns`] tiles side by
//! side horizontally, [`Sums`] multiplies them with one output channel, [`Back`] transforms that
//! back and requantizes.
//!
//! Orders: `T[column][channel][i]` in 16-bit halves, `V[xi][channel][tile]` in words, `U` of an
//! output channel `[xi][channel]` in halves, sums `[xi][tile]` in words; `xi = 6 * j + i`.

use super::round::Form;
use super::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask};
use crate::block::winograd::TILES;
use crate::block::winograd::four::{LEFT, NINTH, SIDE, XI, inputs, sixteen, wrapped};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder, Ty, Val, long};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

const R10: R = R(10);

/// Vertical: `(first, rows, last, t)`; the four rows between stand in memory as ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) len: usize,
    /// Inputs from one row to the next.
    pub(crate) pitch: usize,
    /// Whether the fifth row is kept in place of the first.
    pub(crate) keeps: bool,
}

impl Rows {
    pub(crate) fn kernel(&self) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("winograd4_s8_down");
        let access = if self.keeps { Access::ReadWrite } else { Access::Read };
        let first = k.buffer("first", DType::I8, self.len, access);
        let rows = k.buffer("rows", DType::I8, 3 * self.pitch + self.len, Access::Read);
        let last = k.buffer("last", DType::I8, self.len, Access::Read);
        let t = k.buffer("t", DType::I16, SIDE * self.len, Access::Write);
        k.for_("c", 0, self.len, |k, c| {
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
                k.store(t, c * SIDE + i, v);
            }
            if self.keeps {
                k.store(first, c, d[4]);
            }
        });
        k.finish()
    }
}

/// Horizontal: `(t, v)` for some tiles side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) channels: usize,
    /// Tiles side by side, of the [`TILES`] that are multiplied together.
    pub(crate) tiles: usize,
}

impl Columns {
    /// Words of `V` of a group of tiles.
    pub(crate) fn v_len(&self) -> usize {
        XI * TILES * self.channels
    }
    pub(crate) fn kernel(&self) -> Result<Arc<Kernel>> {
        let c = self.channels;
        let mut k = KernelBuilder::new("winograd4_s8_across");
        let t = k.buffer("t", DType::I16, (4 * self.tiles + 2) * SIDE * c, Access::Read);
        let v = k.buffer("v", DType::I32, self.v_len() - (TILES - self.tiles), Access::Write);
        k.for_("tile", 0, self.tiles, |k, tile| {
            k.for_("i", 0, SIDE, |k, i| {
                k.for_("channel", 0, c, |k, channel| {
                    let from = k.let_("from", tile * (4 * SIDE * c) + channel * SIDE + i);
                    let d: Vec<Val> =
                        (0..SIDE).map(|j| k.let_(&format!("d{j}"), t.at(from + j * SIDE * c))).collect();
                    let to = k.let_("to", i * (TILES * c) + channel * TILES + tile);
                    for (j, value) in inputs(&d).into_iter().enumerate() {
                        k.store(v, to + j * SIDE * TILES * c, value);
                    }
                });
            });
        });
        k.finish()
    }
}

/// The products of one output channel, summed up over input channels: `(v, u, m)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Even.
    pub(crate) channels: usize,
}

/// Words of sums.
pub(crate) const SUMS: usize = XI * TILES;

impl Sums {
    pub(crate) fn fits(&self) -> bool {
        self.channels.is_multiple_of(2)
    }
    pub(crate) fn u_len(&self) -> usize {
        XI * self.channels
    }
    pub(crate) fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
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
    pub(crate) fn code(&self) -> Code {
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
pub(crate) struct Back {
    pub(crate) tiles: usize,
    /// Result elements from one pixel to the next, and from one row to the next.
    pub(crate) step: usize,
    pub(crate) row: usize,
    pub(crate) form: Form,
}

/// Bytes of the frame: six words of each row of outputs, then slots.
const LINE: u32 = 24;
const Y: u32 = 96;
const BIAS: u32 = 100;
const WORDS: u32 = 104;
const P: u32 = 108;
const END: u32 = 112;
const FRAME: u32 = 116;

impl Back {
    pub(crate) fn fits(&self) -> bool {
        self.row >= 4 * self.step && self.row < 1 << 20
    }
    /// Words of constants of an output channel.
    pub(crate) fn words(&self) -> usize {
        1 + self.form.words()
    }
    pub(crate) fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
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
    pub(crate) fn code(&self) -> Code {
        let mut c = Code::new(FRAME, 0, true);
        c.all([Inst::Ldm(R1, mask(&[R3])), Inst::Str(R3, SP, BIAS), Inst::Str(R1, SP, WORDS)]);
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
                c.all([Inst::Ldr(R6, SP, BIAS), Inst::Add(R1, R1, R6)]);
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
    use super::super::simulate::output;
    use super::*;
    use crate::block::thumb1::round::rounding;
    use crate::lower::spelled::{Role, Spelled};
    use crate::lower::trial::{Random, run};
    use crate::quantize::requant::{Output, requant};
    use crate::tensor::Data;

    fn m0() -> Cost {
        secateur_targets::core("cortex-m0plus").unwrap().cost.unwrap()
    }
    fn words(v: &[i32]) -> Vec<u8> {
        v.iter().flat_map(|h| h.to_le_bytes()).collect()
    }

    #[test]
    fn sums_are_exact() {
        let mut random = Random(81);
        for channels in [2, 4, 6, 16, 24] {
            let s = Sums { channels };
            let v: Vec<i32> = (0..4 * XI * channels).map(|_| random.within(-12800, 12800) as i32).collect();
            let u: Vec<i16> = (0..s.u_len()).map(|_| random.within(-18432, 18432) as i16).collect();
            let args = (0..2).map(Role::Operand).chain([Role::Result]).collect();
            let call = Spelled { kernel: s.kernel(&m0()).unwrap(), args };
            let body = run(&call, &[Data::I32(v.clone()), Data::I16(u.clone())], DType::I32, SUMS);
            let u = u.iter().flat_map(|h| h.to_le_bytes()).collect();
            let code = output(s.code(), &[words(&v), u], 4 * SUMS, &[]);
            let Data::I32(body) = body else { panic!() };
            assert_eq!(words(&body), code, "{channels} channels");
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
            let args = (0..2).map(Role::Operand).chain([Role::Result]).collect();
            let call = Spelled { kernel: b.kernel(&m0()).unwrap(), args };
            let body = run(&call, &[Data::I32(m.clone()), Data::I32(w.clone())], DType::I8, y_len);
            let code = output(b.code(), &[words(&m), words(&w)], y_len, &[]);
            let Data::I8(body) = body else { panic!() };
            let body: Vec<u8> = body.iter().map(|&v| v as u8).collect();
            assert_eq!(body, code, "case {case}, {form:?}");
        }
    }
}
