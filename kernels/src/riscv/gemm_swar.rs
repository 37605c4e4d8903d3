//! The blocked int8 product for RV32IM with two products in each multiplication.
//!
//! A word holds the inputs of two pixels, `lo + hi * 2^16`. Times a weight it is both products, and
//! summed up it is both sums as long as the lower one stays within 16 bits. So taps are summed
//! in *stretches* whose weights are small enough together, which is known when they are packed.
//! A stretch begins at 2^15, which keeps its lower half positive; at its end the upper half is
//! added to the sum `A` of the upper pixel, and the whole word to `B`, wrapping. At last
//! `B - A * 2^16` is the sum of the lower pixel; what the stretches began with is in its bias.
//! With stretches of five taps that is 1.9 instructions a product against 2.5.
//!
//! Weights: as [`crate::riscv::gemm`] has them. Words of a group of channels: what `A` and `B` begin
//! with, multipliers and, where channels have shifts of their own, rounding constants and shifts;
//! then flags for each segment of up to 64 taps, from the top bit on, one for each two taps: a
//! stretch ends here.
//!
//! Law: no stretch can leave 16 bits, whatever the inputs; weights that cannot promise it are
//! refused.

use crate::asm::riscv::{Block, Inst, Pool, SP, X, argument};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::riscv::gemm::{Close, Params, REACH, Sizes, Slots, declare_shift};
use crate::tensor::DType;
use secateur_targets::Target;
use std::sync::Arc;

/// Sums of each kind that the registers hold.
const SUMS: usize = 6;
/// Most pairs of pixels side by side.
pub const PAIRS: usize = 2;
/// Taps of a segment: two for each bit of a word.
const SEGMENT: usize = 64;
/// Taps of a stretch for the prediction of cycles; trained layers have four to six.
const STRETCH: f64 = 5.0;
/// Taps of a stretch below which one product in a multiplication is as good.
const WORTH: usize = 3;
/// Where a stretch begins.
pub const MIDDLE: i32 = 1 << 15;

/// The product on pairs of pixels. In the sizes, runs, pitches and inputs are words, and `pixels`
/// are pairs: each has its second pixel `apart` results further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairs {
    pub sizes: Sizes,
    pub apart: usize,
}

impl Pairs {
    pub fn group(&self) -> usize {
        (SUMS / self.sizes.pixels).min(self.sizes.outputs)
    }
    /// Segments of a run and taps of each: alike and even, a few more than the run has where it
    /// does not divide. These have weights of zero, and read what comes next.
    fn parts(&self) -> (usize, usize) {
        let run = self.sizes.run;
        // In parts of a tap: loops of four have half the branches of those of two, and each
        // segment has a word of flags to fetch.
        let price = |&(n, len): &(usize, usize)| n * (len * if len.is_multiple_of(4) { 32 } else { 33 } + 13);
        let parts = (run.div_ceil(SEGMENT)..=run.div_ceil(4)).map(|n| (n, 2 * run.div_ceil(2 * n)));
        parts.min_by_key(price).unwrap_or((0, 0))
    }
    /// Taps of a run, those of no weight among them.
    fn run(&self) -> usize {
        let (n, len) = self.parts();
        n * len
    }
    fn segments(&self) -> usize {
        self.sizes.runs * self.parts().0
    }
    /// Words of inputs that a call reaches into.
    pub fn acts_len(&self) -> usize {
        self.sizes.acts_len() + self.beyond()
    }
    /// Words that a window reads behind its end.
    pub fn beyond(&self) -> usize {
        self.run() - self.sizes.run
    }
    /// Whether offsets fit the instructions, and segments words of flags.
    pub fn fits(&self) -> bool {
        let s = &self.sizes;
        (1..=PAIRS).contains(&s.pixels)
            && self.parts().1 >= 4
            && 4 * self.beyond() <= s.run
            && 4 * ((s.pixels - 1) * s.pitch + 8) <= REACH
            && (s.pixels - 1) * s.step + self.group() <= REACH
            && 4 * self.group_words(self.group()) <= REACH
    }
    fn words_each(&self) -> usize {
        if self.sizes.one_shift { 3 } else { 5 }
    }
    fn group_words(&self, channels: usize) -> usize {
        channels * self.words_each() + self.segments()
    }
    fn words_len(&self) -> usize {
        let (n, full) = (self.sizes.outputs, self.group());
        let rest = if n.is_multiple_of(full) { 0 } else { self.group_words(n % full) };
        n / full * self.group_words(full) + rest
    }

    /// Weights, `[outputs, taps]`, and words in the order of reading. `each`: biases, multipliers
    /// and maybe more, by channel. `None` if two weights alone can leave 16 bits, or if
    /// stretches are too short to be worth it.
    pub fn pack(&self, weights: &[i8], each: &[Vec<i32>]) -> Option<(Vec<i8>, Vec<i32>)> {
        let (taps, full) = (self.sizes.runs * self.run(), self.group());
        let runs = weights.chunks(self.sizes.run);
        let weights: Vec<i8> = runs.flat_map(|run| [run, &vec![0; self.beyond()]].concat()).collect();
        let (mut packed, mut words) = (Vec::with_capacity(weights.len()), Vec::new());
        let (mut all, mut groups) = (0, 0);
        for (g, group) in weights.chunks(full * taps).enumerate() {
            packed.extend((0..taps).flat_map(|t| group.iter().skip(t).step_by(taps)));
            let rows: Vec<&[i8]> = group.chunks(taps).collect();
            let (flags, stretches) = self.flags(&rows)?;
            (all, groups) = (all + stretches, groups + 1);
            let channels = g * full..g * full + rows.len();
            let begun = (stretches as i32).wrapping_mul(MIDDLE);
            words.extend(&each[0][channels.clone()]);
            words.extend(each[0][channels.clone()].iter().map(|b| b.wrapping_mul(65537).wrapping_sub(begun)));
            each[1..].iter().for_each(|of| words.extend(&of[channels.clone()]));
            words.extend(flags);
        }
        (all * WORTH <= groups * taps).then_some((packed, words))
    }

    /// Where stretches end, and how many there are.
    fn flags(&self, rows: &[&[i8]]) -> Option<(Vec<i32>, usize)> {
        let (taps, segment) = (self.sizes.runs * self.run(), self.parts().1);
        // How far both halves can go, up and down, for each channel.
        let reach = |pair: &[i8]| {
            pair.iter().fold((0i32, 0i32), |(up, down), &w| {
                let (a, b) = (i32::from(w) * 127, i32::from(w) * -128);
                (up + a.max(b), down + a.min(b))
            })
        };
        let fits = |r: &(i32, i32)| r.0 < MIDDLE && r.1 >= -MIDDLE;
        let mut flags = vec![0u32; taps / segment];
        let mut so_far = vec![(0, 0); rows.len()];
        let mut stretches = 1;
        for step in 0..taps / 2 {
            let next: Vec<(i32, i32)> = rows.iter().map(|row| reach(&row[2 * step..2 * step + 2])).collect();
            let with: Vec<_> = so_far.iter().zip(&next).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect();
            if with.iter().all(fits) {
                so_far = with;
                continue;
            }
            if step == 0 || !next.iter().all(fits) {
                return None;
            }
            set(&mut flags, 2 * (step - 1), segment);
            stretches += 1;
            so_far = next;
        }
        set(&mut flags, taps - 2, segment);
        Some((flags.into_iter().map(|f| f as i32).collect(), stretches))
    }

    /// The kernel `(acts, w, c, y, rnd, sh)`, without the last two where channels have shifts of
    /// their own.
    pub fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        let s = &self.sizes;
        let mut k = KernelBuilder::new(format!("product_s8_pairs{}c{}", s.pixels, self.group()));
        let taps = s.runs * self.run();
        let p = Params {
            acts: k.buffer("acts", DType::I32, self.acts_len(), Access::Read),
            w: k.buffer("w", DType::I8, taps * s.outputs, Access::Read),
            c: k.buffer("c", DType::I32, self.words_len(), Access::Read),
            y: k.buffer("y", DType::I8, s.y_len() + self.apart, Access::Write),
            shift: s.one_shift.then(|| declare_shift(&mut k)),
        };
        let (whole, rest) = (s.outputs / self.group(), s.outputs % self.group());
        k.for_("block", 0, s.blocks, |k, block| {
            k.for_("group", 0, whole, |k, group| self.body(k, &p, block, group.into(), self.group()));
            if rest > 0 {
                self.body(k, &p, block, whole.into(), rest);
            }
        });
        if let Some(block) = self.block(target).filter(|_| self.fits()) {
            k.native(block.native("rv32")?);
        }
        k.finish()
    }

    /// The meaning of one group of channels: sums of both halves, each on its own.
    fn body(&self, k: &mut KernelBuilder, p: &Params, block: Val, group: Expr, n: usize) {
        let s = &self.sizes;
        let full = self.group();
        let words = k.let_("words", &group * self.group_words(full));
        let base = k.let_("base", &group * (full * s.runs * self.run()));
        let x0 = k.let_("x0", block * (s.pixels * s.pitch));
        let mut sums: Vec<Vec<(Val, Val)>> = Vec::new();
        for o in 0..n {
            let bias = k.let_(&format!("bias{o}"), p.c.at(words + o));
            let pair = |q: usize, k: &mut KernelBuilder| {
                (k.var(&format!("lo{o}_{q}"), bias), k.var(&format!("hi{o}_{q}"), bias))
            };
            sums.push((0..s.pixels).map(|q| pair(q, k)).collect());
        }
        k.for_("r", 0, s.runs, |k, r| {
            k.for_("i", 0, self.run(), |k, i| {
                let from = k.let_("from", x0 + r * s.run_pitch + i);
                let at = k.let_("at", base + r * (self.run() * n) + i * n);
                let x: Vec<(Val, Val)> = (0..s.pixels)
                    .map(|q| {
                        let both = k.let_(&format!("x{q}"), p.acts.at(from + q * s.pitch));
                        let lo = k.let_(&format!("xl{q}"), ((both & 255) ^ 128) - 128);
                        (lo, k.let_(&format!("xh{q}"), (both - lo) >> 16))
                    })
                    .collect();
                for (o, sums) in sums.iter().enumerate() {
                    let w = k.let_("weight", p.w.at(at + o));
                    for (&(xl, xh), &(lo, hi)) in x.iter().zip(sums) {
                        k.add_to(lo, xl * w);
                        k.add_to(hi, xh * w);
                    }
                }
            });
        });
        for (o, sums) in sums.iter().enumerate() {
            let m = k.let_("m", p.c.at(words + (2 * n + o)));
            let rounding = p.rounding(words + (3 * n + o), words + (4 * n + o));
            for (q, &(lo, hi)) in sums.iter().enumerate() {
                for (sum, apart) in [(lo, 0), (hi, self.apart)] {
                    let value = s.close(sum, m, &rounding);
                    let at = block * (s.pixels * s.step) + &group * full + (q * s.step + o + apart);
                    k.store(p.y, at, value);
                }
            }
        }
    }

    /// The instructions.
    fn block(&self, target: &Target) -> Option<Block> {
        let s = &self.sizes;
        let mut b = Block::new(target)?;
        let (x, w) = (argument(0), argument(1));
        let slots = Slots::new(&mut b, s);
        let frame = Frame { slots, runs: b.slot(), segments: b.slot() };
        let slots = &frame.slots;
        let (whole, rest) = (s.outputs / self.group(), s.outputs % self.group());
        let mut pool = Pool::beside(2);
        let [t, t2] = [(); 2].map(|()| pool.take());
        b.counted(s.blocks, (t, slots.blocks), |b| {
            slots.begin(b, w, t);
            b.counted(whole, (t, slots.groups), |b| self.group_block(b, &frame, (x, w), self.group()));
            if rest > 0 {
                self.group_block(b, &frame, (x, w), rest);
            }
            if s.blocks > 1 {
                b.advance(x, (4 * s.pixels * s.pitch) as i32, t);
                slots.next(b, s, [t, t2]);
            }
        });
        Some(b)
    }

    /// One group of channels: leaves `w` and the frame's words and results at the next group,
    /// `x` where it was.
    fn group_block(&self, b: &mut Block, frame: &Frame, (x, w): (X, X), n: usize) {
        let s = &self.sizes;
        let (per_run, segment) = self.parts();
        let mut pool = Pool::beside(2);
        let by_channel = |pool: &mut Pool| (0..n).map(|_| pool.take_n(s.pixels)).collect::<Vec<_>>();
        let (upper, both, sums) = (by_channel(&mut pool), by_channel(&mut pool), by_channel(&mut pool));
        let inputs = pool.take_n(s.pixels);
        let weights = pool.take_n(2);
        let [p0, p1, flags, end] = [(); 4].map(|()| pool.take());
        let step = Step {
            upper: &upper,
            both: &both,
            sums: &sums,
            inputs: &inputs,
            weights: &weights,
            products: [p0, p1],
        };
        b.push(Inst::Lw(p0, SP, frame.slots.c_now));
        for o in 0..n {
            b.push(Inst::Lw(upper[o][0], p0, 4 * o as i32));
            b.push(Inst::Lw(both[o][0], p0, 4 * (n + o) as i32));
        }
        // Flags stand behind the words, whose pointer waits for the end.
        b.push(Inst::Addi(p0, p0, 4 * (n * self.words_each()) as i32));
        b.push(Inst::Sw(p0, SP, frame.slots.c_now));
        for o in 0..n {
            upper[o][1..].iter().for_each(|&r| b.push(Inst::Mv(r, upper[o][0])));
            both[o][1..].iter().for_each(|&r| b.push(Inst::Mv(r, both[o][0])));
            sums[o].iter().for_each(|&r| b.push(Inst::Li(r, MIDDLE)));
        }
        let fits = |u: &usize| *u <= s.unroll && segment.is_multiple_of(*u);
        let unroll = [8, 6, 4, 2].into_iter().find(fits).unwrap_or(2);
        b.counted(s.runs, (p0, frame.runs), |b| {
            b.counted(per_run, (p0, frame.segments), |b| {
                b.push(Inst::Lw(p0, SP, frame.slots.c_now));
                b.push(Inst::Lw(flags, p0, 0));
                b.push(Inst::Addi(p0, p0, 4));
                b.push(Inst::Sw(p0, SP, frame.slots.c_now));
                if segment > unroll {
                    b.point(end, x, 4 * segment as i32);
                }
                b.repeat(segment / unroll, (x, end), |b| {
                    for i in (0..unroll).step_by(2) {
                        self.taps(b, &step, (x, w), i);
                        self.end_of_stretch(b, &step, flags);
                    }
                    b.push(Inst::Addi(w, w, (unroll * n) as i32));
                    b.push(Inst::Addi(x, x, 4 * unroll as i32));
                });
            });
            b.advance(x, 4 * (s.run_pitch as i32 - self.run() as i32), p1);
        });
        b.advance(x, -4 * (s.runs * s.run_pitch) as i32, p1);

        // What held stretches, inputs and weights is free.
        pool.give(&[inputs.as_slice(), &weights, &[p0, p1, flags, end], &sums.concat()].concat());
        let [c, y, second, m, rnd, sh, lo, hi] = [(); 8].map(|()| pool.take());
        b.push(Inst::Lw(c, SP, frame.slots.c_now));
        let words = (n * self.words_each()) as i32;
        let back = -4 * (words + self.segments() as i32);
        b.push(Inst::Lw(y, SP, frame.slots.y_now));
        if s.one_shift {
            b.push(Inst::Lw(rnd, SP, frame.slots.rnd));
            b.push(Inst::Lw(sh, SP, frame.slots.sh));
        }
        b.point(second, y, self.apart as i32);
        b.push(Inst::Li(lo, s.lo));
        b.push(Inst::Li(hi, s.hi));
        for o in 0..n {
            // The lower pixel's sums take the place of both.
            for (&upper, &both) in upper[o].iter().zip(&both[o]) {
                b.push(Inst::Slli(m, upper, 16));
                b.push(Inst::Sub(both, both, m));
            }
            b.push(Inst::Lw(m, c, back + 4 * (2 * n + o) as i32));
            if !s.one_shift {
                b.push(Inst::Lw(rnd, c, back + 4 * (3 * n + o) as i32));
                b.push(Inst::Lw(sh, c, back + 4 * (4 * n + o) as i32));
            }
            for (sums, y) in [(&both[o], y), (&upper[o], second)] {
                Close { m, rnd, sh, lo, hi, result: DType::I8 }.sums(b, sums, y, (o, s.step));
            }
        }
        b.push(Inst::Addi(y, y, n as i32));
        b.push(Inst::Sw(y, SP, frame.slots.y_now));
    }

    /// Two taps from an offset on.
    fn taps(&self, b: &mut Block, r: &Step<'_>, (x, w): (X, X), first: usize) {
        let channels = r.sums.len();
        for i in [first, first + 1] {
            for (q, &input) in r.inputs.iter().enumerate() {
                b.push(Inst::Lw(input, x, 4 * (q * self.sizes.pitch + i) as i32));
            }
            b.push(Inst::Lb(r.weights[0], w, (i * channels) as i32));
            for (o, sums) in r.sums.iter().enumerate() {
                if o + 1 < channels {
                    b.push(Inst::Lb(r.weights[(o + 1) % 2], w, (i * channels + o + 1) as i32));
                }
                for (sums, inputs) in sums.chunks(2).zip(r.inputs.chunks(2)) {
                    for (&product, &input) in r.products.iter().zip(inputs) {
                        b.push(Inst::Mul(product, input, r.weights[o % 2]));
                    }
                    for (&product, &sum) in r.products.iter().zip(sums) {
                        b.push(Inst::Add(sum, sum, product));
                    }
                }
            }
        }
    }

    /// Ends the stretch if the top flag says so, and takes the next flag.
    fn end_of_stretch(&self, b: &mut Block, r: &Step<'_>, flags: X) {
        let on = b.label();
        b.push(Inst::BgezOn(flags, on));
        b.sometimes(2.0 / STRETCH, |b| {
            let t = r.products[0];
            for ((&sum, &upper), &both) in
                r.sums.iter().flatten().zip(r.upper.iter().flatten()).zip(r.both.iter().flatten())
            {
                b.push(Inst::Srai(t, sum, 16));
                b.push(Inst::Add(both, both, sum));
                b.push(Inst::Add(upper, upper, t));
                b.push(Inst::Li(sum, MIDDLE));
            }
        });
        b.push(Inst::Label(on));
        b.push(Inst::Slli(flags, flags, 1));
    }
}

fn set(flags: &mut [u32], tap: usize, segment: usize) {
    flags[tap / segment] |= 1 << (31 - tap % segment / 2);
}

/// Registers of a step, by channel and pair.
struct Step<'a> {
    upper: &'a [Vec<X>],
    both: &'a [Vec<X>],
    sums: &'a [Vec<X>],
    inputs: &'a [X],
    weights: &'a [X],
    products: [X; 2],
}

/// Words of the frame: those of all products, and counts of loops.
struct Frame {
    slots: Slots,
    runs: i32,
    segments: i32,
}

/// The kernel `(a, b, out)`: `n` inputs of two pixels into words.
pub fn pair(n: usize, target: &Target) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("pair_s8");
    let a = k.buffer("a", DType::I8, n, Access::Read);
    let b = k.buffer("b", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I32, n, Access::Write);
    k.for_("i", 0, n, |k, i| k.store(out, i, a.at(i) + b.at(i) * 65536));
    if let Some(block) = pair_block(n, target) {
        k.native(block.native("rv32")?);
    }
    k.finish()
}

fn pair_block(n: usize, target: &Target) -> Option<Block> {
    let mut b = Block::new(target)?;
    let [lo, hi, out] = [0, 1, 2].map(argument);
    let mut pool = Pool::beside(3);
    let end = pool.take();
    let (lows, highs) = (pool.take_n(8), pool.take_n(8));
    let round = |b: &mut Block, n: usize| {
        for i in 0..n {
            b.push(Inst::Lb(highs[i], hi, i as i32));
            b.push(Inst::Lb(lows[i], lo, i as i32));
        }
        (0..n).for_each(|i| b.push(Inst::Slli(highs[i], highs[i], 16)));
        (0..n).for_each(|i| b.push(Inst::Add(lows[i], lows[i], highs[i])));
        (0..n).for_each(|i| b.push(Inst::Sw(lows[i], out, 4 * i as i32)));
        for (pointer, size) in [(hi, 1), (out, 4), (lo, 1)] {
            b.push(Inst::Addi(pointer, pointer, (size * n) as i32));
        }
    };
    crate::riscv::elementwise::rounds(&mut b, (lo, end), 1, n, round);
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(outputs: usize, runs: usize, run: usize) -> Pairs {
        let sizes = Sizes {
            runs,
            run,
            run_pitch: run,
            outputs,
            pixels: 2,
            blocks: 1,
            pitch: 4,
            step: outputs,
            unroll: 8,
            one_shift: true,
            lo: -128,
            hi: 127,
        };
        Pairs { sizes, apart: 100 }
    }

    #[test]
    fn stretches_end_before_they_leave_16_bits() {
        let p = of(2, 3, 96);
        assert!(p.fits());
        assert_eq!((p.parts(), p.segments()), ((2, 48), 6));
        let mut state = 5u32;
        let weights: Vec<i8> = (0..2 * 288)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 24) as i8).max(-127) / 2
            })
            .collect();
        let (_, words) = p.pack(&weights, &[vec![7, -9], vec![1, 1]]).unwrap();
        let flags = &words[6..];
        let ends = |step: usize| (flags[2 * step / 48] as u32) << (step % 24) >> 31 == 1;
        let mut stretches = 0;
        for row in weights.chunks(288) {
            let mut sums = [0i32; 4];
            for (step, pair) in row.chunks(2).enumerate() {
                for &w in pair {
                    let w = i32::from(w);
                    // Both constants, and the two inputs that go furthest.
                    let far = if w > 0 { [127, -128] } else { [-128, 127] };
                    for (sum, x) in sums.iter_mut().zip([127, -128, far[0], far[1]]) {
                        *sum += w * x;
                        assert!((-32768..32768).contains(sum));
                    }
                }
                if ends(step) {
                    sums = [0; 4];
                    stretches += 1;
                }
            }
            assert_eq!(sums, [0; 4], "the last stretch ends");
        }
        assert_eq!(words[2], 7 * 65537 - stretches / 2 * 32768);
        assert!(p.pack(&[-128; 576], &[vec![0; 2], vec![1; 2]]).is_none());
        // A tap more than the run has may be too many.
        assert_eq!((of(2, 1, 106).parts(), of(2, 1, 9).parts(), of(2, 3, 57).run()), ((3, 36), (1, 10), 58));
        assert!(of(2, 1, 9).fits() && of(2, 1, 5).fits() && !of(2, 1, 3).fits() && !of(2, 1, 2).fits());
    }
}
