//! Depthwise 3x3 at stride 1 or 2 on vertical pairs, with all weights of a channel in
//! registers: columns slide by, and one or two sums are under way.
//!
//! An output needs three rows: a whole pair, and half of the pair below it (even rows) or above
//! it (odd rows). All even rows of a channel come first, then the odd ones with weights moved by
//! one row. How the coefficients lie is said by [`stream`].
//!
//! Where two instructions start at once, loads of later columns beside the products of earlier
//! ones need registers more than moves cost: bias, multiplier and rounding constant then wait
//! in floating-point registers.

use crate::armv7em::dw_rowpair::{BYTES, COLUMN, clamp, word};
use crate::asm::armv7em::{Block, Cond, Float, Inst, Reg, Slot};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::{Core, Pairing};
use std::sync::Arc;

mod stream;

pub use stream::{FORMS, Form};

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slide {
    /// At most [`crate::armv7em::dw_rowpair::GROUP`].
    pub channels: usize,
    /// 1 or 2, in both directions.
    pub stride: usize,
    /// Rows and columns of the result.
    pub rows: usize,
    pub outputs: usize,
    /// Columns from one pair of rows to the next: at least those with padding.
    pub pitch: usize,
    /// Columns of zeros before the input's, and the input's.
    pub left: usize,
    pub width: usize,
    /// Result elements from one column to the next, and from one row to the next.
    pub step: usize,
    pub row: usize,
    /// Whether the text knows the distance of results, at most 255: one instruction less each.
    pub known: bool,
    pub form: Form,
    /// Right shift after the high word of the product.
    pub sh: u32,
    pub lo: i32,
    pub hi: i32,
}

/// Outputs per turn of the loop over columns, and how many are rather written one by one.
const TURN: usize = 6;
const STRAIGHT: usize = 7;

/// Registers through a row.
struct Held {
    /// Bias, multiplier and rounding constant, where they have no register of their own.
    far: Option<[Float; 3]>,
    x: Reg,
    y: Reg,
    m: Reg,
    rnd: Reg,
    bias: Reg,
    /// Weights by column, then the two words of the odd row.
    w: [Reg; 3],
    v: Reg,
    u: Reg,
    sums: [Reg; 2],
}

impl Held {
    /// Bias, multiplier or rounding constant.
    fn constant(&self, b: &mut Block, which: usize) -> Reg {
        let Some(far) = self.far else { return [self.bias, self.m, self.rnd][which] };
        let r = b.reg();
        b.push(Inst::FloatFrom(r, far[which]));
        r
    }
}

impl Slide {
    /// Columns with padding.
    pub fn columns(&self) -> usize {
        (self.outputs - 1) * self.stride + 3
    }
    /// Rows of pairs.
    fn pairs(&self) -> usize {
        ((self.rows - 1) * self.stride + 3).div_ceil(2)
    }
    fn acts_len(&self) -> usize {
        ((self.pairs() - 1) * self.pitch + self.columns() - 1) * COLUMN + 2 * self.channels
    }
    pub fn stream_len(&self) -> usize {
        2 * self.form.words() * self.channels
    }
    /// Output rows that begin at the upper row of a pair, and at the lower.
    fn passes(&self) -> [usize; 2] {
        if self.stride == 1 { [self.rows.div_ceil(2), self.rows / 2] } else { [self.rows, 0] }
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        let straight = self.columns().min(16 + STRAIGHT + TURN) * BYTES;
        self.pitch * BYTES + straight <= 4095
            && self.step <= if self.known { 255 } else { i16::MAX as usize }
            && self.sh <= 31
    }

    /// The kernel `(acts, w, y, rnd, ..scalars)`.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new(format!("depthwise_s8_slide{}", self.stride));
        let acts = k.buffer("acts", DType::I16, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.stream_len(), Access::Read);
        let y_len = (self.rows - 1) * self.row + (self.outputs - 1) * self.step + self.channels;
        let y = k.buffer("y", DType::I8, y_len, Access::Write);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        let names = ["step", "jump", "bytes", "row", "turns", "back", "even", "odd"];
        for (name, value) in names.into_iter().zip(self.scalars()) {
            k.scalar(name, value, value);
        }
        k.for_("c", 0, self.channels, |k, c| {
            let base = k.let_("base", c * (2 * self.form.words()));
            let (bias, weights) = self.form.channel(k, w, base);
            let m = k.let_("m", word(w, base + (2 * self.form.words() - 2)));
            for (pass, n) in self.passes().into_iter().enumerate() {
                let apart = if self.stride == 1 { 2 } else { 1 };
                k.for_("i", 0, n, |k, i| {
                    k.for_("x", 0, self.outputs, |k, x| {
                        let sum = k.var("sum", bias);
                        let pitch = self.pitch * COLUMN;
                        let at = k.let_("at", i * pitch + x * (self.stride * COLUMN) + c * 2);
                        for ky in 0..3 {
                            for kx in 0..3 {
                                let from = (pass + ky) / 2 * pitch + kx * COLUMN + (pass + ky) % 2;
                                k.add_to(sum, acts.at(at + from) * &weights[3 * ky + kx]);
                            }
                        }
                        let value = requantized(sum, m, (rnd, self.sh as i32), (self.lo, self.hi));
                        let to = i * (apart * self.row) + x * self.step + c + pass * self.row;
                        k.store(y, to, value);
                    });
                });
            }
        });
        k.native(self.block(self.far(core)).native("dsp", core)?);
        k.finish()
    }

    /// Whether a core gains by constants in floating-point registers: at stride 2, where one sum is
    /// under way, some 3 % only, for a tenth more code.
    fn far(&self, core: &Core) -> bool {
        self.stride == 1
            && core.features.iter().any(|f| f == "fpu")
            && core.cost.as_ref().is_some_and(|c| c.pairing == Pairing::Dual)
    }

    /// What a call passes behind `rnd`, so that the text is the same for many sizes: distance of
    /// results; from behind a row of them to the next of its pass; bytes of the stream;
    /// distance of rows; bytes that a row's loop moves by and from there to the next row; bytes
    /// of all rows of each pass.
    pub fn scalars(&self) -> [i32; 8] {
        let apart = if self.stride == 1 { 2 } else { 1 };
        let jump = (apart * self.row) as i32 - (self.outputs * self.step) as i32;
        let moved = self.moved();
        let pitch = self.pitch * BYTES;
        let [even, odd] = self.passes().map(|rows| (rows * pitch) as i32);
        let back = (pitch - moved) as i32;
        let bytes = 2 * self.stream_len() as i32;
        [self.step as i32, jump, bytes, self.row as i32, moved as i32, back, even, odd]
    }

    /// Outputs whose columns are like those of their neighbours: the first, and how many.
    fn steady(&self) -> (usize, usize) {
        let s = self.stride;
        let inside = |c: usize| c >= self.left && c < self.left + self.width;
        let begin = if s == 1 { 2 } else { 1 };
        let steady = |&x: &usize| x >= begin && (0..s).all(|i| inside(s * x + i));
        let mut all = (0..self.outputs).filter(steady);
        let first = all.next();
        (first.unwrap_or(0), first.map_or(0, |_| 1 + all.count()))
    }
    /// Turns of the loop over them.
    fn turns(&self) -> usize {
        let (_, n) = self.steady();
        if n > STRAIGHT { n / TURN } else { 0 }
    }
    /// Bytes by which the loop moves the input pointer.
    fn moved(&self) -> usize {
        self.turns() * TURN * self.stride * BYTES
    }

    /// The instructions, constants in floating-point registers if `far`.
    pub fn block(&self, far: bool) -> Block {
        let mut b = Block::new(4);
        b.streams = true;
        let [acts, w, y, rnd] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [acts_slot, w_slot, y_slot, end_slot] = [(); 4].map(|()| b.slot());
        let ends = [b.slot(), b.slot()];
        let bytes = b.reg();
        b.push(Inst::LdrArg(bytes, 6));
        b.push(Inst::Add(bytes, bytes, w));
        b.push(Inst::StrSlot(bytes, end_slot));
        b.push(Inst::StrSlot(acts, acts_slot));
        b.push(Inst::StrSlot(w, w_slot));
        b.push(Inst::StrSlot(y, y_slot));
        let (w, [m, bias, v, u]) = (b.regs_n(), b.regs_n());
        let far = far.then(|| [b.float(), b.float(), b.float()]);
        let held = Held { far, x: acts, y, m, rnd, bias, w, v, u, sums: b.regs_n() };
        if let Some([.., f]) = far {
            b.push(Inst::FloatTo(f, rnd));
        }
        let top = b.label(self.channels as u64);
        let [w, next] = b.regs_n();
        b.push(Inst::LdrSlot(w, w_slot));
        let words = [held.w[0], held.w[1], held.w[2], held.v, held.u, held.bias, held.m];
        self.form.load(&mut b, w, words);
        if let Some([bias, m, _]) = far {
            b.push(Inst::FloatTo(bias, held.bias));
            b.push(Inst::FloatTo(m, held.m));
        }
        b.push(Inst::AddImm(next, w, 4 * self.form.words() as i32));
        b.push(Inst::StrSlot(next, w_slot));
        let p = b.reg();
        b.push(Inst::LdrArg(p, 4));
        b.push(Inst::Pkhbt(held.u, held.u, p));
        let passes = self.passes();
        self.pass(&mut b, &held, 0, passes[0], ends);
        if passes[1] > 0 {
            // Weights one row down: the pair below meets rows 1 and 2, the row above it row 0.
            let (t, s) = (held.sums[0], held.sums[1]);
            let [p, q] = b.regs_n();
            b.push(Inst::Pkhbt(t, held.w[1], held.w[0]));
            b.push(Inst::Pkhtb(held.w[0], held.v, held.w[0], 16));
            b.push(Inst::LslImm(s, held.v, 16));
            b.push(Inst::Pkhtb(held.w[1], s, held.w[1], 16));
            b.push(Inst::LslImm(s, held.u, 16));
            b.push(Inst::LdrArg(p, 4));
            b.push(Inst::Pkhbt(q, held.w[2], p));
            b.push(Inst::Pkhtb(held.w[2], s, held.w[2], 16));
            b.push(Inst::Mov(held.v, t));
            b.push(Inst::Mov(held.u, q));
            b.push(Inst::LdrSlot(held.x, acts_slot));
            b.push(Inst::LdrSlot(held.y, y_slot));
            b.push(Inst::LdrArg(p, 7));
            b.push(Inst::Add(held.y, held.y, p));
            self.pass(&mut b, &held, 1, passes[1], ends);
        }
        b.push(Inst::LdrSlot(held.x, acts_slot));
        b.push(Inst::LdrSlot(held.y, y_slot));
        let [w, end] = b.regs_n();
        b.push(Inst::LdrSlot(w, w_slot));
        b.push(Inst::LdrSlot(end, end_slot));
        b.push(Inst::AddImm(held.x, held.x, 4));
        b.push(Inst::AddImm(held.y, held.y, 1));
        b.push(Inst::StrSlot(held.x, acts_slot));
        b.push(Inst::StrSlot(held.y, y_slot));
        b.push(Inst::Cmp(w, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }

    /// All rows of a pass; `ends` keep where its rows and the loop of a row end.
    fn pass(&self, b: &mut Block, held: &Held, pass: usize, rows: usize, ends: [Slot; 2]) {
        // No register is free but those of a pair.
        let p = b.reg();
        b.push(Inst::LdrArg(p, 10 + pass as u32));
        b.push(Inst::Add(p, p, held.x));
        b.push(Inst::StrSlot(p, ends[0]));
        let top = b.label(rows as u64);
        self.row(b, held, pass, ends[1]);
        let [p, q] = b.regs_n();
        if self.turns() > 0 {
            b.push(Inst::LdrArg(p, 9));
            b.push(Inst::LdrSlot(q, ends[0]));
            b.push(Inst::Add(held.x, held.x, p));
        } else {
            b.push(Inst::AddImm(held.x, held.x, (self.pitch * BYTES) as i32));
            b.push(Inst::LdrSlot(q, ends[0]));
        }
        b.push(Inst::LdrArg(p, 5));
        b.push(Inst::Add(held.y, held.y, p));
        b.push(Inst::Cmp(held.x, q));
        b.push(Inst::BranchBack(Cond::Ne, top));
    }

    /// One row of results.
    fn row(&self, b: &mut Block, held: &Held, pass: usize, stop: Slot) {
        let s = self.stride;
        let (first, steady) = self.steady();
        let (turns, from) = (self.turns(), first + steady % TURN);
        let mut moved = 0;
        let mut x = 0;
        while x < self.outputs {
            if turns > 0 && x == from {
                let end = b.reg();
                b.push(Inst::LdrArg(end, 8));
                b.push(Inst::Add(end, end, held.x));
                b.push(Inst::StrSlot(end, stop));
                let top = b.label(turns as u64);
                for i in 0..TURN {
                    (0..s).for_each(|c| self.column(b, held, pass, s * (x + i) + c, 0));
                }
                let end = b.reg();
                b.push(Inst::AddImm(held.x, held.x, (TURN * s * BYTES) as i32));
                b.push(Inst::LdrSlot(end, stop));
                b.push(Inst::Cmp(held.x, end));
                b.push(Inst::BranchBack(Cond::Ne, top));
                moved = self.moved();
                x += turns * TURN;
                continue;
            }
            (0..s).for_each(|c| self.column(b, held, pass, s * x + c, moved));
            x += 1;
        }
        for c in s * self.outputs..self.columns() {
            self.column(b, held, pass, c, moved);
        }
    }

    /// One column of pairs: what it ends, what it continues, what it begins.
    fn column(&self, b: &mut Block, held: &Held, pass: usize, c: usize, moved: usize) {
        let inside = c >= self.left && c < self.left + self.width;
        // Their own for each column, so that an order may load one early.
        let [p, q] = b.regs_n();
        if inside {
            let at = (c * BYTES - moved) as u32;
            b.push(Inst::Ldr(p, held.x, at));
            b.push(Inst::Ldr(q, held.x, at + (self.pitch * BYTES) as u32));
        }
        for kx in (0..3).rev() {
            let Some(x) = c.checked_sub(kx).filter(|x| x % self.stride == 0).map(|x| x / self.stride) else {
                continue;
            };
            if x >= self.outputs {
                continue;
            }
            let sum = held.sums[if self.stride == 1 { x % 2 } else { 0 }];
            // The first column inside begins the sum.
            let begun = (0..kx).any(|k| {
                let c = x * self.stride + k;
                c >= self.left && c < self.left + self.width
            });
            if inside {
                let before = if begun { sum } else { held.constant(b, 0) };
                if pass == 0 {
                    b.push(Inst::Smlad(sum, p, held.w[kx], before));
                    b.push(match kx {
                        0 => Inst::Smlabt(sum, q, held.v, sum),
                        1 => Inst::Smlabb(sum, q, held.v, sum),
                        _ => Inst::Smlabb(sum, q, held.u, sum),
                    });
                } else {
                    b.push(match kx {
                        0 => Inst::Smlatt(sum, p, held.v, before),
                        1 => Inst::Smlatb(sum, p, held.v, before),
                        _ => Inst::Smlatb(sum, p, held.u, before),
                    });
                    b.push(Inst::Smlad(sum, q, held.w[kx], sum));
                }
            }
            if kx == 2 {
                if !inside && !begun {
                    let bias = held.constant(b, 0);
                    b.push(Inst::Mov(sum, bias));
                }
                let (m, rnd) = (held.constant(b, 1), held.constant(b, 2));
                b.push(Inst::Smmla(sum, sum, m, rnd));
                clamp(b, sum, self.sh, (self.lo, self.hi));
                if self.known {
                    b.push(Inst::StrbPost(sum, held.y, self.step as i32));
                } else {
                    b.push(Inst::Strb(sum, held.y, 0));
                    b.push(Inst::AddAsr(held.y, held.y, held.u, 16));
                }
            }
        }
    }
}
