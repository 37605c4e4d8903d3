//! The int8 product in vectors of output channels with weights that are zero for whole strips of channels: a
//! strip meets only inputs of which it has weights.
//!
//! A step is an input for the channels of a strip, as in [`crate::riscv::gemm_rvv`], with how its inputs end. Steps
//! that are not all zero come in twos; weights of zero fill up the last.
//!
//! Weights: strip by strip, for each step its channels side by side. Words of a strip: bytes of its places; biases;
//! places of the steps' inputs behind the window's first, two halves a word; multipliers and, where
//! channels have shifts of their own, rounding constants and shifts.
//!
//! Bound for a step and `p` pixels: a load and an addition find its inputs, one load, one addition and one extension
//! bring weights, each pixel takes a load and a product, and every other step a step of the pointer and a
//! branch: `6 + 2p` instructions against `3.5 + 2p` of a step of the dense kernel.
//!
//! Law: a strip's channels fill no more than the shortest registers hold, so that longer ones change nothing.

use crate::asm::riscv::{Block, Inst, Pool, V, X, ZERO, argument};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::riscv::gemm::{Params, REACH, Sizes, declare_shift};
use crate::riscv::gemm_rvv::{End, STRIP, group, pixels, sums, wider};
use crate::tensor::DType;
use secateur_targets::Target;
use std::sync::Arc;

/// Fewest channels of a strip.
const LEAST: usize = 4;

/// A product by steps that are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub sizes: Sizes,
    /// Channels of a strip, of which there are a whole number.
    pub width: usize,
    /// Steps of all strips.
    pub stored: usize,
}

/// The strips that so many channels can come in, and what a kernel of them is called: of few channels
/// leave more zeros out, of many have fewer steps.
fn strips(outputs: usize) -> impl Iterator<Item = (usize, &'static str)> {
    let kinds = [(STRIP / 2 + 1..=STRIP, "blocks32x1"), (STRIP / 4 + 1..=STRIP / 2, "blocks16x1")];
    let kinds = kinds.into_iter().chain([(LEAST..=STRIP / 4, "blocks8x1")]);
    kinds.filter_map(move |(widths, name)| {
        let width = widths.rev().find(|w| outputs.is_multiple_of(*w))?;
        Some((width, name))
    })
}

/// What [`Steps::pack`] makes: the product, weights and words.
pub type Stream = (Steps, Vec<i8>, Vec<i32>);

/// The product of a row of `n` pixels that takes fewest cycles, and what it is called: `sizes` has those of a call by
/// its pixels. Steps may `spend` more flash than all weights take, or none are found where they do.
pub fn best(
    n: usize,
    (weights, each): (&[i8], &[Vec<i32>]),
    sizes: &dyn Fn(usize) -> Sizes,
    spend: bool,
) -> Option<(&'static str, Stream)> {
    let mut best: Option<(usize, &'static str, Stream)> = None;
    for (width, way) in strips(sizes(1).outputs) {
        let Some(stream) = Steps::pack(&sizes(1), width, weights, each) else { continue };
        if stream.1.len() + 2 * stream.0.stored > weights.len() && !spend {
            continue;
        }
        for p in 1..=pixels(width).min(n) {
            let of = Steps { sizes: sizes(p), ..stream.0 };
            let again = if n.is_multiple_of(p) { 0 } else { 60 };
            let price = n.div_ceil(p) * of.price() + again;
            if of.fits() && best.as_ref().is_none_or(|b| price < b.0) {
                best = Some((price, way, (of, stream.1.clone(), stream.2.clone())));
            }
        }
    }
    best.map(|(_, way, stream)| (way, stream))
}

impl Steps {
    /// Weights, `[outputs, taps]`, and words in the order of reading. `each`: biases, multipliers and maybe more, by
    /// channel. `None` where a window is too long for places.
    pub fn pack(sizes: &Sizes, width: usize, weights: &[i8], each: &[Vec<i32>]) -> Option<Stream> {
        let taps = sizes.runs * sizes.run;
        let (mut packed, mut words, mut stored) = (Vec::new(), Vec::new(), 0);
        for (strip, rows) in weights.chunks(width * taps).enumerate() {
            let channels = strip * width..(strip + 1) * width;
            let step = |t: usize| rows.iter().skip(t).step_by(taps).copied();
            let kept: Vec<usize> = (0..taps).filter(|&t| step(t).any(|w| w != 0)).collect();
            let steps = kept.len().next_multiple_of(2).max(2);
            kept.iter().for_each(|&t| packed.extend(step(t)));
            packed.resize(packed.len() + (steps - kept.len()) * width, 0);
            let place = |t: usize| u16::try_from(t / sizes.run * sizes.run_pitch + t % sizes.run).ok();
            let mut places = kept.into_iter().map(place).collect::<Option<Vec<u16>>>()?;
            places.resize(steps, 0);
            words.push(i32::from(u16::try_from(2 * steps).ok()?));
            words.extend(&each[0][channels.clone()]);
            words.extend(places.chunks(2).map(|two| i32::from(two[0]) | i32::from(two[1]) << 16));
            each[1..].iter().for_each(|of| words.extend(&of[channels.clone()]));
            stored += steps;
        }
        Some((Steps { sizes: *sizes, width, stored }, packed, words))
    }

    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        (self.sizes.pixels - 1) * self.sizes.pitch <= REACH
    }
    fn strips(&self) -> usize {
        self.sizes.outputs / self.width
    }
    /// About how many cycles a block takes.
    pub fn price(&self) -> usize {
        let (p, n) = (self.sizes.pixels, group(self.width).registers() as usize);
        self.stored * (3 + n.div_ceil(2) + n + p * (1 + 2 * n)) + self.strips() * (14 * n * p + 30)
    }
    /// Words of all strips.
    fn words_len(&self) -> usize {
        self.strips() + self.stored / 2 + self.sizes.words_len()
    }

    /// The kernel `(acts, w, c, y, rnd, sh)`, without the last two where channels have shifts of
    /// their own.
    pub fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        let (s, width) = (&self.sizes, self.width);
        let mut k = KernelBuilder::new(format!("product_s8_steps{width}p{}", s.pixels));
        let p = Params {
            acts: k.buffer("acts", DType::I8, s.acts_len(), Access::Read),
            w: k.buffer("w", DType::I8, self.stored * width, Access::Read),
            c: k.buffer("c", DType::I32, self.words_len(), Access::Read),
            y: k.buffer("y", DType::I8, s.y_len(), Access::Write),
            shift: s.one_shift.then(|| declare_shift(&mut k)),
        };
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize, all: usize| at.max(0).min((all - room) as i32);
        let behind = width * (s.words_each() - 1);
        let words = |at: Expr, room: usize| within(at, room, self.words_len());
        let window = (s.runs - 1) * s.run_pitch + s.run;
        k.for_("block", 0, s.blocks, |k, block| {
            let x0 = k.let_("x0", block * (s.pixels * s.pitch));
            let (next, weights) = (k.var("next", 0), k.var("weights", 0));
            k.for_("strip", 0, self.strips(), |k, strip| {
                let base = k.let_("base", words(next.into(), 1 + width));
                let steps = k.let_("steps", (p.c.at(base) & 65535) >> 1);
                let end = k.let_("end", words(base + (1 + width) + (steps >> 1), behind));
                let first = k.let_("first", weights);
                k.for_("o", 0, width, |k, o| {
                    let bias = k.let_("bias", p.c.at(base + o + 1));
                    let sums: Vec<Val> = (0..s.pixels).map(|q| k.var(&format!("sum{q}"), bias)).collect();
                    k.for_("i", 0, steps, |k, i| {
                        let both = p.c.at(words(base + (1 + width) + (i >> 1), 1));
                        let place = k.let_("place", (both >> ((i & 1) << 4)) & 65535);
                        let from = k.let_("from", within(place.into(), 1, window) + x0);
                        let at = within(first + i * width, width, self.stored * width);
                        let w = k.let_("weight", p.w.at(at + o));
                        for (q, &sum) in sums.iter().enumerate() {
                            k.add_to(sum, p.acts.at(from + q * s.pitch) * w);
                        }
                    });
                    let m = k.let_("m", p.c.at(end + o));
                    let rounding = p.rounding(end + o + width, end + o + 2 * width);
                    for (q, &sum) in sums.iter().enumerate() {
                        let value = s.close(sum, m, &rounding);
                        k.store(p.y, block * (s.pixels * s.step) + strip * width + o + q * s.step, value);
                    }
                });
                k.set(next, end + behind);
                k.set(weights, first + steps * width);
            });
        });
        if let Some(block) = self.block(target) {
            k.native(block.native("rvv")?);
        }
        k.finish()
    }

    /// The instructions.
    fn block(&self, target: &Target) -> Option<Block> {
        let s = &self.sizes;
        let mut b = Block::new(target)?;
        let [x, w, c, y, rnd, sh] = [0, 1, 2, 3, 4, 5].map(argument);
        let mut pool = Pool::beside(if s.one_shift { 6 } else { 4 });
        let [ws, cs, ys, left, blocks, width, t] = [(); 7].map(|()| pool.take());
        b.push(Inst::RoundDown());
        b.push(Inst::Li(width, self.width as i32));
        if s.blocks > 1 {
            b.push(Inst::Li(blocks, s.blocks as i32));
        }
        b.repeat(s.blocks, (blocks, ZERO), |b| {
            for (to, from) in [(ws, w), (cs, c), (ys, y)] {
                b.push(Inst::Mv(to, from));
            }
            if self.strips() > 1 {
                b.push(Inst::Li(left, self.strips() as i32));
            }
            b.repeat(self.strips(), (left, ZERO), |b| {
                self.strip(
                    b,
                    &Strip { x, ws, cs, ys, width, t },
                    pool.clone(),
                    s.one_shift.then_some((rnd, sh)),
                );
                if self.strips() > 1 {
                    b.push(Inst::Add(ys, ys, width));
                    b.push(Inst::Addi(left, left, -1));
                }
            });
            if s.blocks > 1 {
                b.advance(x, (s.pixels * s.pitch) as i32, t);
                b.advance(y, (s.pixels * s.step) as i32, t);
                b.push(Inst::Addi(blocks, blocks, -1));
            }
        });
        Some(b)
    }

    /// One strip of channels; leaves pointers to weights and words at the next one.
    fn strip(&self, b: &mut Block, at: &Strip, mut pool: Pool, shift: Option<(X, X)>) {
        let (s, half) = (&self.sizes, group(self.width));
        let (cs, ws, width) = (at.cs, at.ws, at.width);
        let sums = sums(half, s.pixels);
        let quarter = half.narrower().registers();
        let (bytes, weights) = ([V(0), V(quarter)], V(2 * quarter));
        let [end, first, second] = [(); 3].map(|()| pool.take());
        let inputs = pool.take_n(s.pixels);

        b.push(Inst::Vset(ZERO, width, 32, wider(half)));
        b.push(Inst::Lw(end, cs, 0));
        b.push(Inst::Addi(cs, cs, 4));
        b.push(Inst::Vle32(sums[0], cs));
        b.advance(cs, 4 * self.width as i32, at.t);
        b.push(Inst::Add(end, end, cs));
        sums[1..].iter().for_each(|&sum| b.push(Inst::VmvV(sum, sums[0])));
        b.push(Inst::Vset(ZERO, width, 16, half));
        let top = b.label();
        b.push(Inst::Label(top));
        b.sometimes(self.stored as f64 / (2 * self.strips()) as f64, |b| {
            b.push(Inst::Lhu(first, cs, 0));
            b.push(Inst::Lhu(second, cs, 2));
            b.push(Inst::Addi(cs, cs, 4));
            for (from, bytes) in [first, second].into_iter().zip(bytes) {
                b.push(Inst::Vle8(bytes, ws));
                b.push(Inst::Add(from, from, at.x));
                b.push(Inst::Add(ws, ws, width));
            }
            for (from, bytes) in [first, second].into_iter().zip(bytes) {
                for (q, &input) in inputs.iter().enumerate() {
                    b.push(Inst::Lb(input, from, (q * s.pitch) as i32));
                }
                b.push(Inst::Vsext2(weights, bytes));
                for (&sum, &input) in sums.iter().zip(&inputs) {
                    b.push(Inst::VwmaccX(sum, input, weights));
                }
            }
            b.push(Inst::BneBack(cs, end, top));
        });
        b.push(Inst::Vset(ZERO, width, 32, wider(half)));
        let pitch = 4 * self.width as i32;
        let end = End { half, vl: width, words: cs, pitch, ys: at.ys, t: at.t, spoiled: first, shift };
        end.of(b, s, &sums);
        if self.strips() > 1 {
            b.advance(cs, pitch, at.t);
        }
    }
}

/// Scalar registers of a strip.
struct Strip {
    x: X,
    ws: X,
    cs: X,
    ys: X,
    /// Holds the number of its channels.
    width: X,
    t: X,
}
