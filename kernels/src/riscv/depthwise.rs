//! The int8 depthwise convolution for RV32IM: some neighbouring pixels of one channel at a time.
//!
//! For each row of the window the row's weights are loaded once for all pixels, and each input
//! once for all windows that it lies in. With eight pixels, a 3x3 window and stride 1 that is 39
//! loads and 72 products: two and a half instructions a product.
//!
//! Weights: channel by channel, row-major. Words: bias and multiplier of each channel, followed
//! by rounding constant and shift where channels have shifts of their own.

use crate::asm::riscv::{Block, Inst, Pool, SP, X, ZERO, argument};
use crate::error::Result;
use crate::kernel::{Kernel, KernelBuilder, Val};
use crate::riscv::gemm::{Close, REACH, Sizes};
use crate::tensor::DType;
use secateur_targets::Target;
use std::sync::Arc;

/// Registers that sums and a row of weights share.
const ROOM: usize = 14;

/// The depthwise convolution on scalar registers. A run of the sizes is a row of the window:
/// pixels of all channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    pub sizes: Sizes,
    /// Pixels from one window to the next.
    pub stride: usize,
}

impl Depthwise {
    /// Columns of a window.
    fn width(&self) -> usize {
        self.sizes.run / self.sizes.outputs
    }
    /// Columns under all windows of a block.
    fn columns(&self) -> usize {
        (self.sizes.pixels - 1) * self.stride + self.width()
    }
    /// Whether offsets and registers suffice.
    pub fn fits(&self) -> bool {
        let s = &self.sizes;
        s.pixels + self.width() <= ROOM
            && (self.columns() - 1) * s.outputs <= REACH
            && (s.pixels - 1) * s.step <= REACH
            && s.runs * self.width() <= REACH
    }
    /// Instructions of one channel of a block, nearly.
    pub fn price(&self) -> usize {
        let s = &self.sizes;
        s.runs * (self.width() + self.columns() + 2 * self.width() * s.pixels + 1) + 8 * s.pixels + 12
    }

    /// The kernel `(acts, w, c, y, rnd, sh)`, without the last two where channels have shifts of
    /// their own.
    pub fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        let s = &self.sizes;
        let mut k = KernelBuilder::new(format!("depthwise_s8_p{}", s.pixels));
        let taps = s.runs * self.width();
        let p = s.declare(&mut k, taps * s.outputs);
        k.for_("block", 0, s.blocks, |k, block| {
            k.for_("o", 0, s.outputs, |k, o| {
                let words = k.let_("words", o * s.words_each());
                let x0 = k.let_("x0", block * (s.pixels * s.pitch) + o);
                let bias = k.let_("bias", p.c.at(words));
                let sums: Vec<Val> = (0..s.pixels).map(|q| k.var(&format!("sum{q}"), bias)).collect();
                k.for_("r", 0, s.runs, |k, r| {
                    k.for_("i", 0, self.width(), |k, i| {
                        let from = k.let_("from", x0 + r * s.run_pitch + i * s.outputs);
                        let w = k.let_("weight", p.w.at(o * taps + r * self.width() + i));
                        for (q, &sum) in sums.iter().enumerate() {
                            k.add_to(sum, p.acts.at(from + q * s.pitch) * w);
                        }
                    });
                });
                let m = k.let_("m", p.c.at(words + 1));
                let rounding = p.rounding(words + 2, words + 3);
                for (q, &sum) in sums.iter().enumerate() {
                    let value = s.close(sum, m, &rounding);
                    k.store(p.y, block * (s.pixels * s.step) + o + q * s.step, value);
                }
            });
        });
        if let Some(block) = self.block(target).filter(|_| self.fits()) {
            k.native(block.native("rv32")?);
        }
        k.finish()
    }

    /// The instructions.
    fn block(&self, target: &Target) -> Option<Block> {
        let s = &self.sizes;
        let mut b = Block::new(target)?;
        let [x, w, c, y, rnd, sh] = [0, 1, 2, 3, 4, 5].map(argument);
        let mut pool = Pool::beside(6);
        let [lo, hi, end, row] = [(); 4].map(|()| pool.take());
        let sums = pool.take_n(s.pixels);
        let weights = pool.take_n(self.width());
        let inputs = pool.take_n(2);
        let products = pool.take_n(2);
        let t = products[0];
        let blocks = b.slot();
        let taps = (s.runs * self.width()) as i32;
        let channels = s.outputs as i32;
        b.push(Inst::Li(lo, s.lo));
        b.push(Inst::Li(hi, s.hi));
        if s.blocks > 1 {
            b.push(Inst::Li(t, s.blocks as i32));
            b.push(Inst::Sw(t, SP, blocks));
        }
        b.repeat(s.blocks, (t, ZERO), |b| {
            b.point(end, x, channels);
            b.repeat(s.outputs, (x, end), |b| {
                b.push(Inst::Lw(sums[0], c, 0));
                b.push(Inst::Mv(row, x));
                sums[1..].iter().for_each(|&sum| b.push(Inst::Mv(sum, sums[0])));
                for r in 0..s.runs {
                    for (i, &weight) in weights.iter().enumerate() {
                        b.push(Inst::Lb(weight, w, (r * self.width() + i) as i32));
                    }
                    self.row(b, row, &sums, &weights, &inputs, &products);
                    if r + 1 < s.runs {
                        b.advance(row, s.run_pitch as i32, t);
                    }
                }
                let m = weights[0];
                b.push(Inst::Lw(m, c, 4));
                if !s.one_shift {
                    b.push(Inst::Lw(rnd, c, 8));
                    b.push(Inst::Lw(sh, c, 12));
                }
                Close { m, rnd, sh, lo, hi, result: DType::I8 }.sums(b, &sums, y, (0, s.step));
                b.push(Inst::Addi(w, w, taps));
                b.push(Inst::Addi(c, c, 4 * s.words_each() as i32));
                b.push(Inst::Addi(y, y, 1));
                b.push(Inst::Addi(x, x, 1));
            });
            if s.blocks > 1 {
                b.advance(x, (s.pixels * s.pitch) as i32 - channels, t);
                b.advance(y, (s.pixels * s.step) as i32 - channels, t);
                b.advance(w, -taps * channels, t);
                b.advance(c, -4 * channels * s.words_each() as i32, t);
                b.push(Inst::Lw(t, SP, blocks));
                b.push(Inst::Addi(t, t, -1));
                b.push(Inst::Sw(t, SP, blocks));
            }
        });
        Some(b)
    }

    /// One row of all windows: the next input is loaded before the one at hand is used.
    fn row(&self, b: &mut Block, row: X, sums: &[X], weights: &[X], inputs: &[X], products: &[X]) {
        let at = |column: usize| (column * self.sizes.outputs) as i32;
        b.push(Inst::Lb(inputs[0], row, at(0)));
        for column in 0..self.columns() {
            if column + 1 < self.columns() {
                b.push(Inst::Lb(inputs[(column + 1) % 2], row, at(column + 1)));
            }
            let input = inputs[column % 2];
            // The windows that this column lies in.
            let met: Vec<(X, X)> = (0..sums.len())
                .filter_map(|q| {
                    let i = column.checked_sub(q * self.stride)?;
                    Some((sums[q], *weights.get(i)?))
                })
                .collect();
            for pair in met.chunks(2) {
                for (&(_, weight), &product) in pair.iter().zip(products) {
                    b.push(Inst::Mul(product, input, weight));
                }
                for (&(sum, _), &product) in pair.iter().zip(products) {
                    b.push(Inst::Add(sum, sum, product));
                }
            }
        }
    }
}
