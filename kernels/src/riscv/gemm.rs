//! The blocked int8 product for RV32IM: some pixels times some output channels at a time, every
//! sum in a register, inputs and weights as bytes straight from memory.
//!
//! Each loaded input meets each loaded weight once: with four pixels and four channels a step
//! takes eight loads, sixteen `mul` and sixteen `add`, two and a half instructions a product.
//! The zero point of the input is part of the bias, so padding is an input like any other.
//!
//! Weights of a group of channels: for each step the channels' weights side by side. Words of a
//! group: biases, multipliers and, where channels have shifts of their own, rounding constants
//! and shifts. The last group has the channels that are left.
//!
//! Law: every input of the window is read, whatever stands there; sums wrap as the body's do.

use crate::asm::riscv::{Block, Inst, Pool, SP, X, argument};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val};
use crate::rounding::requantized;
use crate::tensor::DType;
use secateur_targets::Target;
use std::sync::Arc;

/// Sizes of one call: a row of output pixels. The vector kernels share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// A window is this many runs of inputs ...
    pub runs: usize,
    /// ... of this many bytes each ...
    pub run: usize,
    /// ... that begin this many apart.
    pub run_pitch: usize,
    /// Output channels.
    pub outputs: usize,
    /// Pixels computed side by side, and how often.
    pub pixels: usize,
    pub blocks: usize,
    /// Bytes from one pixel's window to the next one's.
    pub pitch: usize,
    /// Results from one pixel to the next.
    pub step: usize,
    /// Steps spelled out between two branches, at most [`UNROLL`].
    pub unroll: usize,
    /// Whether all channels share rounding constant and shift.
    pub one_shift: bool,
    pub lo: i32,
    pub hi: i32,
}

/// Greatest offset of a load or store.
pub const REACH: usize = 2047;

impl Sizes {
    /// Bytes of inputs that a call reaches into.
    pub fn acts_len(&self) -> usize {
        (self.runs - 1) * self.run_pitch + (self.blocks * self.pixels - 1) * self.pitch + self.run
    }
    /// Results that a call reaches into.
    pub fn y_len(&self) -> usize {
        (self.blocks * self.pixels - 1) * self.step + self.outputs
    }
    /// The type of results: 16 bits where 8 do not hold the limits.
    pub fn result(&self) -> DType {
        if self.lo < -128 || self.hi > 127 { DType::I16 } else { DType::I8 }
    }
    /// Words beside the weights.
    pub fn words_len(&self) -> usize {
        self.outputs * self.words_each()
    }
    pub fn words_each(&self) -> usize {
        if self.one_shift { 2 } else { 4 }
    }
    /// Declares the parameters: inputs, weights, words, results, and what rounds.
    pub fn declare(&self, k: &mut KernelBuilder, weights: usize) -> Params {
        Params {
            acts: k.buffer("acts", DType::I8, self.acts_len(), Access::Read),
            w: k.buffer("w", DType::I8, weights, Access::Read),
            c: k.buffer("c", DType::I32, self.words_len(), Access::Read),
            y: k.buffer("y", self.result(), self.y_len(), Access::Write),
            shift: self.one_shift.then(|| declare_shift(k)),
        }
    }
    /// The meaning of one pixel's sum of one channel becoming an output.
    pub fn close(&self, sum: Val, m: Val, (rnd, sh): &(Expr, Expr)) -> Expr {
        requantized(sum, m, (rnd.clone(), sh.clone()), (self.lo, self.hi))
    }
}

/// Rounding constant and shift of a whole layer.
pub fn declare_shift(k: &mut KernelBuilder) -> (Val, Val) {
    (k.scalar("rnd", i32::MIN, i32::MAX), k.scalar("sh", 1, 22))
}

/// Parameters of a product's kernel.
#[derive(Debug, Clone, Copy)]
pub struct Params {
    pub acts: Buf,
    pub w: Buf,
    pub c: Buf,
    pub y: Buf,
    pub shift: Option<(Val, Val)>,
}

impl Params {
    /// Rounding constant and shift: the layer's, or the words at `rnd` and `sh`.
    pub fn rounding(&self, rnd: Expr, sh: Expr) -> (Expr, Expr) {
        match self.shift {
            Some((rnd, sh)) => (rnd.into(), sh.into()),
            // A shift has five bits, which the mask says to the proof.
            None => (self.c.at(rnd), self.c.at(sh) & 31),
        }
    }
}

/// Most steps spelled out between two branches.
pub const UNROLL: usize = 8;

/// Channels side by side with that many pixels: sixteen sums fill the registers.
pub fn channels(pixels: usize) -> usize {
    match pixels {
        1 | 2 => 8,
        3 => 5,
        4 => 4,
        _ => 3,
    }
}

/// Greatest number of pixels side by side.
pub const PIXELS: usize = 5;

/// The product on scalar registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product(pub Sizes);

impl Product {
    fn group(&self) -> usize {
        channels(self.0.pixels).min(self.0.outputs)
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        let s = &self.0;
        let last = s.pixels - 1;
        (1..=PIXELS).contains(&s.pixels)
            && last * s.pitch + UNROLL <= REACH
            && (last * s.step + self.group()) * s.result().size() <= REACH
    }

    /// Weights, `[outputs, taps]`, in the order of reading.
    pub fn pack(&self, weights: &[i8], taps: usize) -> Vec<i8> {
        let mut packed = Vec::with_capacity(weights.len());
        for group in weights.chunks(self.group() * taps) {
            packed.extend((0..taps).flat_map(|t| group.iter().skip(t).step_by(taps)));
        }
        packed
    }
    /// Words in the order of reading; `each`: arrays by channel, as many as there are words.
    pub fn words(&self, each: &[Vec<i32>]) -> Vec<i32> {
        let mut words = Vec::with_capacity(self.0.words_len());
        for first in (0..self.0.outputs).step_by(self.group()) {
            let group = first..(first + self.group()).min(self.0.outputs);
            each.iter().for_each(|of| words.extend(&of[group.clone()]));
        }
        words
    }

    /// The kernel `(acts, w, c, y, rnd, sh)`, without the last two where channels have shifts of
    /// their own.
    pub fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let s = &self.0;
        let results = if s.result() == DType::I16 { "s8_s16" } else { "s8" };
        let mut k = KernelBuilder::new(format!("product_{results}_p{}c{}", s.pixels, self.group()));
        let p = s.declare(&mut k, s.runs * s.run * s.outputs);
        let (whole, rest) = (s.outputs / self.group(), s.outputs % self.group());
        k.for_("block", 0, s.blocks, |k, block| {
            k.for_("group", 0, whole, |k, group| self.body(k, &p, block, group.into(), self.group()));
            if rest > 0 {
                self.body(k, &p, block, whole.into(), rest);
            }
        });
        if let Some(block) = self.block(target) {
            k.native(block.native("rv32")?);
        }
        k.finish()
    }

    /// The meaning of one group of channels.
    fn body(&self, k: &mut KernelBuilder, p: &Params, block: Val, group: Expr, n: usize) {
        let s = &self.0;
        let full = self.group();
        let words = k.let_("words", &group * (full * s.words_each()));
        let base = k.let_("base", &group * (full * s.runs * s.run));
        let x0 = k.let_("x0", block * (s.pixels * s.pitch));
        let mut sums: Vec<Vec<Val>> = Vec::new();
        for o in 0..n {
            let bias = k.let_(&format!("bias{o}"), p.c.at(words + o));
            sums.push((0..s.pixels).map(|q| k.var(&format!("sum{o}_{q}"), bias)).collect());
        }
        k.for_("r", 0, s.runs, |k, r| {
            k.for_("i", 0, s.run, |k, i| {
                let from = k.let_("from", x0 + r * s.run_pitch + i);
                let at = k.let_("at", base + r * (s.run * n) + i * n);
                let x: Vec<Val> =
                    (0..s.pixels).map(|q| k.let_(&format!("x{q}"), p.acts.at(from + q * s.pitch))).collect();
                for (o, sums) in sums.iter().enumerate() {
                    let w = k.let_("weight", p.w.at(at + o));
                    x.iter().zip(sums).for_each(|(&x, &sum)| k.add_to(sum, x * w));
                }
            });
        });
        for (o, sums) in sums.iter().enumerate() {
            let m = k.let_("m", p.c.at(words + (n + o)));
            let rounding = p.rounding(words + (2 * n + o), words + (3 * n + o));
            for (q, &sum) in sums.iter().enumerate() {
                let value = s.close(sum, m, &rounding);
                k.store(p.y, block * (s.pixels * s.step) + &group * full + (q * s.step + o), value);
            }
        }
    }

    /// The instructions.
    pub fn block(&self, target: &Target) -> Option<Block> {
        let s = &self.0;
        let mut b = Block::new(target)?;
        let (x, w) = (argument(0), argument(1));
        let slots = Slots::new(&mut b, s);
        let (whole, rest) = (s.outputs / self.group(), s.outputs % self.group());
        let mut pool = Pool::beside(2);
        let [t, t2] = [(); 2].map(|()| pool.take());
        b.counted(s.blocks, (t, slots.blocks), |b| {
            slots.begin(b, w, t);
            b.counted(whole, (t, slots.groups), |b| self.group_block(b, &slots, (x, w), self.group()));
            if rest > 0 {
                self.group_block(b, &slots, (x, w), rest);
            }
            if s.blocks > 1 {
                b.advance(x, (s.pixels * s.pitch) as i32, t);
                slots.next(b, s, [t, t2]);
            }
        });
        Some(b)
    }

    /// One group of channels: leaves `w` and the frame's words and results at the next group,
    /// `x` where it was.
    fn group_block(&self, b: &mut Block, slots: &Slots, (x, w): (X, X), n: usize) {
        let s = &self.0;
        let mut pool = Pool::beside(2);
        let sums: Vec<Vec<X>> = (0..n).map(|_| pool.take_n(s.pixels)).collect();
        let inputs = pool.take_n(s.pixels);
        let weights = pool.take_n(2);
        let products = pool.take_n(2);
        let c = inputs[0];
        b.push(Inst::Lw(c, SP, slots.c_now));
        for (o, sums) in sums.iter().enumerate() {
            b.push(Inst::Lw(sums[0], c, 4 * o as i32));
        }
        for sums in &sums {
            sums[1..].iter().for_each(|&sum| b.push(Inst::Mv(sum, sums[0])));
        }
        let step = Step { sums: &sums, inputs: &inputs, weights: &weights, products: &products };
        // A window that is one stretch of memory is one run.
        let (runs, run) = (s.runs, s.run);
        let most = s.unroll;
        let unroll = (3..=most).rev().find(|u| run.is_multiple_of(*u)).unwrap_or(most.min(run));
        let (turns, rest) = (run / unroll, run % unroll);
        let end = pool.take();
        let run_end = pool.take();
        if runs > 1 {
            b.point(run_end, x, (runs * s.run_pitch) as i32);
        }
        b.repeat(runs, (x, run_end), |b| {
            if turns > 1 {
                b.point(end, x, (turns * unroll) as i32);
            }
            b.repeat(turns, (x, end), |b| {
                self.steps(b, &step, (x, w), 0, unroll);
                b.push(Inst::Addi(w, w, (unroll * n) as i32));
                b.push(Inst::Addi(x, x, unroll as i32));
            });
            if rest > 0 {
                self.steps(b, &step, (x, w), 0, rest);
                b.push(Inst::Addi(w, w, (rest * n) as i32));
            }
            b.advance(x, s.run_pitch as i32 - (turns * unroll) as i32, products[0]);
        });
        b.advance(x, -((runs * s.run_pitch) as i32), products[0]);

        // Sums to results; what held inputs and weights is free.
        pool.give(&[end, run_end]);
        pool.give(&[inputs.as_slice(), &weights, &products].concat());
        let [c, y, m, rnd, sh, lo, hi] = [(); 7].map(|()| pool.take());
        b.push(Inst::Lw(c, SP, slots.c_now));
        b.push(Inst::Lw(y, SP, slots.y_now));
        if s.one_shift {
            b.push(Inst::Lw(rnd, SP, slots.rnd));
            b.push(Inst::Lw(sh, SP, slots.sh));
        }
        b.push(Inst::Li(lo, s.lo));
        b.push(Inst::Li(hi, s.hi));
        for (o, sums) in sums.iter().enumerate() {
            b.push(Inst::Lw(m, c, 4 * (n + o) as i32));
            if !s.one_shift {
                b.push(Inst::Lw(rnd, c, 4 * (2 * n + o) as i32));
                b.push(Inst::Lw(sh, c, 4 * (3 * n + o) as i32));
            }
            Close { m, rnd, sh, lo, hi, result: s.result() }.sums(b, sums, y, (o, s.step));
        }
        b.push(Inst::Addi(c, c, 4 * (n * s.words_each()) as i32));
        b.push(Inst::Addi(y, y, (n * s.result().size()) as i32));
        b.push(Inst::Sw(c, SP, slots.c_now));
        b.push(Inst::Sw(y, SP, slots.y_now));
    }

    /// `n` steps from byte offsets on: each input times each channel's weight. A weight is
    /// loaded before the one in use is done with, and no product is added at once.
    fn steps(&self, b: &mut Block, r: &Step<'_>, (x, w): (X, X), first: usize, n: usize) {
        let channels = r.sums.len();
        for i in first..first + n {
            for (q, &input) in r.inputs.iter().enumerate() {
                b.push(Inst::Lb(input, x, (q * self.0.pitch + i) as i32));
            }
            b.push(Inst::Lb(r.weights[0], w, (i * channels) as i32));
            for (o, sums) in r.sums.iter().enumerate() {
                if o + 1 < channels {
                    b.push(Inst::Lb(r.weights[(o + 1) % 2], w, (i * channels + o + 1) as i32));
                }
                let weight = r.weights[o % 2];
                for (sums, inputs) in sums.chunks(2).zip(r.inputs.chunks(2)) {
                    for (&product, &input) in r.products.iter().zip(inputs) {
                        b.push(Inst::Mul(product, input, weight));
                    }
                    for (&product, &sum) in r.products.iter().zip(sums) {
                        b.push(Inst::Add(sum, sum, product));
                    }
                }
            }
        }
    }
}

/// Registers of a step.
struct Step<'a> {
    /// By channel and pixel.
    sums: &'a [Vec<X>],
    inputs: &'a [X],
    weights: &'a [X],
    products: &'a [X],
}

/// What ends sums: multiplier, rounding constant, shift, limits, and the type of results.
pub struct Close {
    pub m: X,
    pub rnd: X,
    pub sh: X,
    pub lo: X,
    pub hi: X,
    pub result: DType,
}

impl Close {
    /// Sums of pixels to results, from offset `at` of `y` on, `step` apart.
    pub fn sums(&self, b: &mut Block, sums: &[X], y: X, (at, step): (usize, usize)) {
        sums.iter().for_each(|&sum| b.push(Inst::Mulh(sum, sum, self.m)));
        sums.iter().for_each(|&sum| b.push(Inst::Add(sum, sum, self.rnd)));
        sums.iter().for_each(|&sum| b.push(Inst::Sra(sum, sum, self.sh)));
        for (q, &sum) in sums.iter().enumerate() {
            b.push(Inst::Max(sum, self.lo));
            b.push(Inst::Min(sum, self.hi));
            b.push(match self.result {
                DType::I16 => Inst::Sh(sum, y, 2 * (q * step + at) as i32),
                _ => Inst::Sb(sum, y, (q * step + at) as i32),
            });
        }
    }
}

/// Words of the frame that products keep: arguments, and where they are.
pub struct Slots {
    w: i32,
    c: i32,
    pub c_now: i32,
    /// Where a block's results begin, and the next group's.
    y: i32,
    pub y_now: i32,
    pub rnd: i32,
    pub sh: i32,
    pub groups: i32,
    pub blocks: i32,
}

impl Slots {
    /// Keeps all arguments but the first.
    pub fn new(b: &mut Block, s: &Sizes) -> Slots {
        let [w, c, c_now, y, y_now, rnd, sh, groups, blocks] = std::array::from_fn(|_| b.slot());
        let mut arguments = vec![(1, w), (2, c), (3, y)];
        if s.one_shift {
            arguments.extend([(4, rnd), (5, sh)]);
        }
        for (n, slot) in arguments {
            b.push(Inst::Sw(argument(n), SP, slot));
        }
        Slots { w, c, c_now, y, y_now, rnd, sh, groups, blocks }
    }
    /// Begins a block of pixels: with the first group's weights, words and results.
    pub fn begin(&self, b: &mut Block, w: X, t: X) {
        for (from, to) in [(self.c, self.c_now), (self.y, self.y_now)] {
            b.push(Inst::Lw(t, SP, from));
            b.push(Inst::Sw(t, SP, to));
        }
        b.push(Inst::Lw(w, SP, self.w));
    }
    /// Moves the results on to the next block.
    pub fn next(&self, b: &mut Block, s: &Sizes, [t, t2]: [X; 2]) {
        b.push(Inst::Lw(t2, SP, self.y));
        b.advance(t2, (s.pixels * s.step * s.result().size()) as i32, t);
        b.push(Inst::Sw(t2, SP, self.y));
    }
}
