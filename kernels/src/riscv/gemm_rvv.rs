//! The int8 product and the depthwise convolution in vectors of output channels.
//!
//! A lane is an output channel; its sums for a few pixels stay in vector registers. A weight is
//! loaded once for all pixels: for each step one load and one extension of the channels' weights,
//! then a `vwmacc.vx` for each pixel with its input from a scalar register. A depthwise
//! convolution loads each channel's input beside its weight, `vwmacc.vv` multiplies them.
//!
//! Weights: for each step all channels side by side. Words: arrays over channels of biases,
//! multipliers and, where channels have shifts of their own, rounding constants and shifts.
//!
//! Law: a strip of channels is as long as the core's registers make it; 16-bit elements decide.

use crate::asm::riscv::{Block, Inst, Lmul, Pool, V, X, ZERO, argument};
use crate::error::Result;
use crate::kernel::{Expr, Kernel, KernelBuilder, Val};
use crate::riscv::gemm::{Params, REACH, Sizes};
use secateur_targets::Target;
use std::sync::Arc;

/// Steps spelled out between two branches.
const UNROLL: usize = 4;

/// Bits of a vector register that lengths of strips are chosen for.
pub const VLEN: usize = 128;

/// Most channels of a strip on registers of that length.
pub const STRIP: usize = 4 * VLEN / 16;

/// Registers of a strip's 16-bit elements: as few as hold the channels, at most four, so that
/// sums have eight.
pub fn group(channels: usize) -> Lmul {
    match channels {
        n if n <= VLEN / 16 => Lmul::M1,
        n if n <= 2 * VLEN / 16 => Lmul::M2,
        _ => Lmul::M4,
    }
}

/// Most pixels whose sums fit the registers.
pub fn pixels(channels: usize) -> usize {
    match group(channels) {
        Lmul::M4 => 3,
        Lmul::M2 => 6,
        _ => 8,
    }
}

pub(super) fn wider(lmul: Lmul) -> Lmul {
    match lmul {
        Lmul::M1 => Lmul::M2,
        Lmul::M2 => Lmul::M4,
        _ => Lmul::M8,
    }
}

/// The sums of so many pixels fill the registers from the top; the words that round them take the first
/// group, where weights and inputs stand before.
pub(super) fn sums(half: Lmul, pixels: usize) -> Vec<V> {
    (0..pixels).map(|q| V(32 - wider(half).registers() * (q as u8 + 1))).collect()
}

/// How the sums of a strip end, on elements of 32 bits at first.
pub(super) struct End {
    pub half: Lmul,
    /// Holds the number of channels.
    pub vl: X,
    /// Points at the multipliers; where channels have shifts of their own, at these behind it.
    pub words: X,
    /// Bytes from an array of words to the next.
    pub pitch: i32,
    /// Results.
    pub ys: X,
    /// Free, and free where a pitch is large.
    pub t: X,
    pub spoiled: X,
    /// The common rounding constant and shift.
    pub shift: Option<(X, X)>,
}

impl End {
    /// Requantizes and stores.
    pub(super) fn of(&self, b: &mut Block, s: &Sizes, sums: &[V]) {
        let (words, t) = (V(0), self.t);
        let each = |b: &mut Block, inst: &dyn Fn(V) -> Inst| sums.iter().for_each(|&sum| b.push(inst(sum)));
        b.push(Inst::Vle32(words, self.words));
        each(b, &|sum| Inst::Vmulh(sum, sum, words));
        match self.shift {
            Some((rnd, _)) => each(b, &|sum| Inst::VaddX(sum, sum, rnd)),
            None => {
                b.advance(self.words, self.pitch, self.spoiled);
                b.push(Inst::Vle32(words, self.words));
                each(b, &|sum| Inst::VaddV(sum, sum, words));
                b.advance(self.words, self.pitch, self.spoiled);
                b.push(Inst::Vle32(words, self.words));
                each(b, &|sum| Inst::VsraV(sum, sum, words));
            }
        }
        b.push(Inst::Vset(ZERO, self.vl, 16, self.half));
        match self.shift {
            Some((_, sh)) => each(b, &|sum| Inst::VnclipX(sum, sum, sh)),
            None => each(b, &|sum| Inst::Vnclip0(sum, sum)),
        }
        b.push(Inst::Vset(ZERO, self.vl, 8, self.half.narrower()));
        each(b, &|sum| Inst::Vnclip0(sum, sum));
        if s.lo > -128 {
            b.push(Inst::Li(t, s.lo));
            each(b, &|sum| Inst::VmaxX(sum, sum, t));
        }
        if s.hi < 127 {
            b.push(Inst::Li(t, s.hi));
            each(b, &|sum| Inst::VminX(sum, sum, t));
        }
        for (q, &sum) in sums.iter().enumerate() {
            if q > 0 {
                b.point(t, self.ys, (q * s.step) as i32);
            }
            b.push(Inst::Vse8(sum, if q == 0 { self.ys } else { t }));
        }
    }
}

/// What the lanes compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// Every channel from all inputs of the window.
    Product(Sizes),
    /// Every channel from its own inputs: a step of a run is a pixel of so many channels. The
    /// outputs of a call's pixel may be those of several neighbours.
    Depthwise(Sizes, usize),
}

impl Lanes {
    fn sizes(&self) -> &Sizes {
        let (Lanes::Product(s) | Lanes::Depthwise(s, _)) = self;
        s
    }
    /// Bytes of inputs from one step to the next.
    fn stride(&self) -> usize {
        match self {
            Lanes::Product(_) => 1,
            Lanes::Depthwise(_, channels) => *channels,
        }
    }
    /// Steps of a run.
    pub fn steps(&self) -> usize {
        match self {
            Lanes::Product(s) => s.run,
            Lanes::Depthwise(s, channels) => (s.run - s.outputs) / channels + 1,
        }
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        let s = self.sizes();
        (1..=pixels(s.outputs)).contains(&s.pixels)
            && (matches!(self, Lanes::Depthwise(..)) || (s.pixels - 1) * s.pitch + UNROLL <= REACH)
    }
    /// Bytes of weights.
    pub fn weights_len(&self) -> usize {
        self.sizes().runs * self.steps() * self.sizes().outputs
    }

    /// The kernel `(acts, w, c, y, rnd, sh)`, without the last two where channels have shifts of
    /// their own.
    pub fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        let s = self.sizes();
        let kind = match self {
            Lanes::Product(_) => "product",
            Lanes::Depthwise(..) => "depthwise",
        };
        let mut k = KernelBuilder::new(format!("{kind}_s8_lanes_p{}", s.pixels));
        let p = s.declare(&mut k, self.weights_len());
        k.for_("block", 0, s.blocks, |k, block| {
            k.for_("o", 0, s.outputs, |k, o| self.body(k, &p, block, o));
        });
        if let Some(block) = self.block(target).filter(|_| self.fits()) {
            k.native(block.native("rvv")?);
        }
        k.finish()
    }

    /// The meaning of one channel of some pixels.
    fn body(&self, k: &mut KernelBuilder, p: &Params, block: Val, o: Val) {
        let s = self.sizes();
        let n = s.outputs;
        let x0 = k.let_("x0", block * (s.pixels * s.pitch));
        let bias = k.let_("bias", p.c.at(o));
        let sums: Vec<Val> = (0..s.pixels).map(|q| k.var(&format!("sum{q}"), bias)).collect();
        let steps = self.steps();
        k.for_("r", 0, s.runs, |k, r| {
            k.for_("i", 0, steps, |k, i| {
                let own: Expr = match self {
                    Lanes::Product(_) => 0.into(),
                    Lanes::Depthwise(..) => o.into(),
                };
                let from = k.let_("from", x0 + r * s.run_pitch + i * self.stride() + own);
                let w = k.let_("weight", p.w.at((r * steps + i) * n + o));
                for (q, &sum) in sums.iter().enumerate() {
                    k.add_to(sum, p.acts.at(from + q * s.pitch) * w);
                }
            });
        });
        let m = k.let_("m", p.c.at(o + n));
        let rounding = p.rounding(o + 2 * n, o + 3 * n);
        for (q, &sum) in sums.iter().enumerate() {
            let value = s.close(sum, m, &rounding);
            k.store(p.y, block * (s.pixels * s.step) + o + q * s.step, value);
        }
    }

    /// The instructions.
    pub fn block(&self, target: &Target) -> Option<Block> {
        let s = self.sizes();
        let mut b = Block::new(target)?;
        let half = group(s.outputs);
        let [x, w, c, y, rnd, sh] = [0, 1, 2, 3, 4, 5].map(argument);
        let mut pool = Pool::beside(if s.one_shift { 6 } else { 4 });
        let [xs, ws, cs, ys, left, vl, blocks, run_end] = [(); 8].map(|()| pool.take());
        let row = pool.take();
        b.push(Inst::RoundDown());
        b.push(Inst::Li(row, s.outputs as i32));
        if s.blocks > 1 {
            b.push(Inst::Li(blocks, s.blocks as i32));
        }
        let strips = s.outputs.div_ceil(VLEN / 16 * half.registers() as usize);
        b.repeat(s.blocks, (blocks, ZERO), |b| {
            for (to, from) in [(xs, x), (ws, w), (cs, c), (ys, y), (left, row)] {
                b.push(Inst::Mv(to, from));
            }
            // On longer registers there are fewer strips, so it is the count that ends this.
            let body = |b: &mut Block| {
                let at = Strip { xs, ws, cs, ys, left, vl, run_end, row, half };
                self.strip(b, &at, pool.clone(), s.one_shift.then_some((rnd, sh)));
            };
            match strips {
                1 => body(b),
                n => b.repeat(n, (left, ZERO), body),
            }
            if s.blocks > 1 {
                b.advance(x, (s.pixels * s.pitch) as i32, vl);
                b.advance(y, (s.pixels * s.step) as i32, vl);
                b.push(Inst::Addi(blocks, blocks, -1));
            }
        });
        Some(b)
    }

    /// One strip of channels; leaves pointers at the next one.
    fn strip(&self, b: &mut Block, at: &Strip, mut pool: Pool, shift: Option<(X, X)>) {
        let s = self.sizes();
        let (half, full) = (at.half, wider(at.half));
        let sums = sums(half, s.pixels);
        let [wk, xk, t] = [(); 3].map(|()| pool.take());

        b.push(Inst::Vset(at.vl, at.left, 32, full));
        b.push(Inst::Vle32(sums[0], at.cs));
        for &sum in &sums[1..] {
            b.push(Inst::VmvV(sum, sums[0]));
        }
        b.push(Inst::Vset(ZERO, at.vl, 16, half));
        b.push(Inst::Mv(wk, at.ws));
        b.push(Inst::Mv(xk, at.xs));
        match self {
            Lanes::Product(_) => self.product(b, at, &mut pool, (xk, wk), &sums),
            Lanes::Depthwise(..) => self.depthwise(b, at, &mut pool, (xk, wk), &sums),
        }

        b.push(Inst::Vset(ZERO, at.vl, 32, full));
        let pitch = 4 * s.outputs as i32;
        b.point(t, at.cs, pitch);
        let end = End { half, vl: at.vl, words: t, pitch, ys: at.ys, t, spoiled: wk, shift };
        end.of(b, s, &sums);
        b.push(Inst::Add(at.ys, at.ys, at.vl));
        b.push(Inst::Add(at.ws, at.ws, at.vl));
        if matches!(self, Lanes::Depthwise(..)) {
            b.push(Inst::Add(at.xs, at.xs, at.vl));
        }
        b.push(Inst::Slli(t, at.vl, 2));
        b.push(Inst::Add(at.cs, at.cs, t));
        b.push(Inst::Sub(at.left, at.left, at.vl));
    }

    /// The steps of a product: weights of step `i + 1` are loaded before those of `i` are used.
    fn product(&self, b: &mut Block, at: &Strip, pool: &mut Pool, (xk, wk): (X, X), sums: &[V]) {
        let s = self.sizes();
        let quarter = at.half.narrower().registers();
        // Bytes of two steps, then one step's weights extended.
        let bytes = [V(0), V(quarter)];
        let weights = V(2 * quarter);
        let inputs = pool.take_n(s.pixels);
        let (end, t) = (pool.take(), pool.take());
        let unroll = (2..=UNROLL).rev().find(|u| s.run.is_multiple_of(*u)).unwrap_or(UNROLL.min(s.run));
        let (turns, rest) = (s.run / unroll, s.run % unroll);
        let steps = |b: &mut Block, n: usize| {
            for i in 0..n {
                b.push(Inst::Vle8(bytes[i % 2], wk));
                b.push(Inst::Add(wk, wk, at.row));
                for (q, &input) in inputs.iter().enumerate() {
                    b.push(Inst::Lb(input, xk, (q * s.pitch + i) as i32));
                }
                b.push(Inst::Vsext2(weights, bytes[i % 2]));
                for (&sum, &input) in sums.iter().zip(&inputs) {
                    b.push(Inst::VwmaccX(sum, input, weights));
                }
            }
        };
        if s.runs > 1 {
            b.point(at.run_end, xk, (s.runs * s.run_pitch) as i32);
        }
        b.repeat(s.runs, (xk, at.run_end), |b| {
            if turns > 1 {
                b.point(end, xk, (turns * unroll) as i32);
            }
            b.repeat(turns, (xk, end), |b| {
                steps(b, unroll);
                b.push(Inst::Addi(xk, xk, unroll as i32));
            });
            steps(b, rest);
            if s.runs > 1 {
                b.advance(xk, s.run_pitch as i32 - (turns * unroll) as i32, t);
            }
        });
    }

    /// The taps of a depthwise convolution: a weight is loaded once for all pixels.
    fn depthwise(&self, b: &mut Block, at: &Strip, pool: &mut Pool, (xk, wk): (X, X), sums: &[V]) {
        let s = self.sizes();
        // Bytes may stand in the upper half of what they are extended to, if that is a register.
        let [weight, input] = match at.half {
            Lmul::M4 => [(V(0), V(2)), (V(4), V(6))],
            _ => [(V(0), V(1)), (V(2), V(3))],
        };
        let (p, t) = (pool.take(), pool.take());
        let steps = self.steps();
        let load = |b: &mut Block, (wide, bytes): (V, V), from: X| {
            b.push(Inst::Vle8(bytes, from));
            b.push(Inst::Vsext2(wide, bytes));
        };
        if s.runs > 1 {
            b.point(at.run_end, xk, (s.runs * s.run_pitch) as i32);
        }
        b.repeat(s.runs, (xk, at.run_end), |b| {
            for i in 0..steps {
                load(b, weight, wk);
                b.push(Inst::Add(wk, wk, at.row));
                for (q, &sum) in sums.iter().enumerate() {
                    let offset = i * self.stride() + q * s.pitch;
                    if offset > 0 {
                        b.point(p, xk, offset as i32);
                    }
                    load(b, input, if offset > 0 { p } else { xk });
                    b.push(Inst::VwmaccV(sum, input.0, weight.0));
                }
            }
            if s.runs > 1 {
                b.advance(xk, s.run_pitch as i32, t);
            }
        });
    }
}

/// Scalar registers of a strip.
struct Strip {
    xs: X,
    ws: X,
    cs: X,
    ys: X,
    left: X,
    vl: X,
    run_end: X,
    /// Holds the number of channels.
    row: X,
    half: Lmul,
}
