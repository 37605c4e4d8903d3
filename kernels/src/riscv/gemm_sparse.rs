//! The int8 product for RV32IM with weights of which any are zero: up to six pairs of pixels times one output
//! channel after the other, two products in each multiplication, only for weights that are not zero.
//!
//! Words of inputs, stretches and their sums are those of [`crate::riscv::gemm_swar`]. The weights of
//! a channel come in twos, four bytes each: how many words the inputs of the first stand behind those of
//! the one before (0..=127, and the top bit where a stretch has ended), the same of the second (0..=255),
//! both weights. What is further away than a byte says is reached over weights of zero.
//!
//! Words of a channel: what the sums of upper pixels and of both begin with, bytes of its weights, multiplier
//! and, where channels have shifts of their own, rounding constant and shift.
//!
//! Bound for two weights and four pairs, sixteen products: five instructions read the weights, four move the
//! pointer, two are branches, and each pair takes a load, `mul` and `add`: 35; a stretch, five weights in
//! trained layers, ends with 18. That is 2.6 instructions a product, 2.2 of them in the loop.
//!
//! Law: no stretch can leave 16 bits, whatever the inputs; weights that cannot promise it are refused.

use crate::asm::riscv::{Block, Inst, Pool, SP, X, argument};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::riscv::gemm::{Close, Params, REACH, Sizes, Slots, declare_shift};
use crate::riscv::gemm_swar::MIDDLE;
use crate::tensor::DType;
use secateur_targets::Target;
use std::sync::Arc;

/// Most pairs of pixels side by side: their sums of three kinds fill the registers.
const PAIRS: usize = 6;
/// Farthest steps of the two weights of a word.
const STEPS: [usize; 2] = [127, 255];
/// Bytes of two weights.
const WORD: usize = 4;
/// Words of a stretch for the price of pairs.
const STRETCH: usize = 5;

/// The product on pairs of pixels. In the sizes, runs, pitches and inputs are words, and `pixels`
/// are pairs: each has its second pixel `apart` results further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    pub sizes: Sizes,
    pub apart: usize,
    /// Twos of weights of all channels, and stretches.
    pub stored: usize,
    pub stretches: usize,
}

/// Pairs side by side that take fewest instructions where a row has so many.
pub fn pairs(row: usize) -> usize {
    let price = |&n: &usize| row.div_ceil(n) * (STRETCH * (11 + 6 * n) + 2 * (2 + 4 * n));
    (1..=PAIRS.min(row)).min_by_key(price).unwrap_or(1)
}

/// Two weights with their steps; whether a stretch has ended before them.
struct Two {
    steps: [usize; 2],
    weights: [i8; 2],
    begins: bool,
}

impl Sparse {
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        let (s, last) = (&self.sizes, self.sizes.pixels - 1);
        (1..=PAIRS).contains(&s.pixels) && 4 * last * s.pitch <= REACH && last * s.step <= REACH
    }
    /// Words of a channel.
    fn words_each(&self) -> usize {
        if self.sizes.one_shift { 4 } else { 6 }
    }

    /// Weights, `[outputs, taps]`, and words in the order of reading, with the product whose stream they
    /// are. `each`: biases, multipliers and maybe more, by channel. `None` if two weights alone can leave
    /// 16 bits.
    pub fn pack(
        sizes: &Sizes,
        apart: usize,
        weights: &[i8],
        each: &[Vec<i32>],
    ) -> Option<(Sparse, Vec<i8>, Vec<i32>)> {
        let taps = sizes.runs * sizes.run;
        let (mut packed, mut words, mut stretches) = (Vec::new(), Vec::new(), 0);
        for (o, row) in weights.chunks(taps).enumerate() {
            let places = (0..taps).map(|t| t / sizes.run * sizes.run_pitch + t % sizes.run);
            let twos = twos(places.zip(row.iter().copied()).filter(|&(_, w)| w != 0))?;
            let ends = 1 + twos.iter().filter(|two| two.begins).count();
            let begun = (ends as i32).wrapping_mul(MIDDLE);
            let bytes = u16::try_from(WORD * twos.len()).ok()?;
            let bias = each[0][o];
            words.extend([bias, bias.wrapping_mul(65537).wrapping_sub(begun), bytes.into()]);
            words.extend(each[1..].iter().map(|of| of[o]));
            stretches += ends;
            for Two { steps, weights, begins } in twos {
                let first = steps[0] as u8 | u8::from(begins) << 7;
                packed.extend([first as i8, steps[1] as u8 as i8, weights[0], weights[1]]);
            }
        }
        let sparse = Sparse { sizes: *sizes, apart, stored: packed.len() / WORD, stretches };
        Some((sparse, packed, words))
    }

    /// The kernel `(acts, w, c, y, rnd, sh)`, without the last two where channels have shifts of
    /// their own.
    pub fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        let s = &self.sizes;
        let mut k = KernelBuilder::new(format!("product_s8_sparse{}", s.pixels));
        let len = WORD * self.stored;
        let p = Params {
            acts: k.buffer("acts", DType::I32, s.acts_len(), Access::Read),
            w: k.buffer("w", DType::I8, len, Access::Read),
            c: k.buffer("c", DType::I32, s.outputs * self.words_each(), Access::Read),
            y: k.buffer("y", DType::I8, s.y_len() + self.apart, Access::Write),
            shift: s.one_shift.then(|| declare_shift(&mut k)),
        };
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr| at.max(0).min((len - WORD) as i32);
        let last = ((s.runs - 1) * s.run_pitch + s.run - 1) as i32;
        k.for_("block", 0, s.blocks, |k, block| {
            let x0 = k.let_("x0", block * (s.pixels * s.pitch));
            let next = k.var("next", 0);
            k.for_("channel", 0, s.outputs, |k, channel| {
                let words = k.let_("words", channel * self.words_each());
                let bias = k.let_("bias", p.c.at(words));
                let bytes = k.let_("bytes", p.c.at(words + 2) & 65535);
                let sums: Vec<(Val, Val)> = (0..s.pixels)
                    .map(|q| (k.var(&format!("lo{q}"), bias), k.var(&format!("hi{q}"), bias)))
                    .collect();
                let at = k.var("at", 0);
                let base = k.let_("base", next);
                k.for_("two", 0, bytes >> 2, |k, two| {
                    let from = k.let_("from", within(base + two * WORD));
                    for half in 0..2 {
                        let step = p.w.at(from + half) & [127, 255][half];
                        let place = k.let_("place", (at + step).max(0).min(last));
                        let weight = k.let_("weight", p.w.at(from + (2 + half)));
                        for (q, &(lo, hi)) in sums.iter().enumerate() {
                            let both = k.let_("both", p.acts.at(x0 + place + q * s.pitch));
                            let low = k.let_("low", ((both & 255) ^ 128) - 128);
                            k.add_to(lo, weight * low);
                            k.add_to(hi, weight * ((both - low) >> 16));
                        }
                        k.set(at, place);
                    }
                });
                k.set(next, base + bytes);
                let m = k.let_("m", p.c.at(words + 3));
                let rounding = p.rounding(words + 4, words + 5);
                for (q, &(lo, hi)) in sums.iter().enumerate() {
                    for (sum, apart) in [(lo, 0), (hi, self.apart)] {
                        let value = s.close(sum, m, &rounding);
                        let to = block * (s.pixels * s.step) + channel + (q * s.step + apart);
                        k.store(p.y, to, value);
                    }
                }
            });
        });
        if let Some(block) = self.block(target) {
            k.native(block.native("rv32")?);
        }
        k.finish()
    }

    /// The instructions.
    fn block(&self, target: &Target) -> Option<Block> {
        let s = &self.sizes;
        let mut b = Block::new(target)?;
        let (x, w) = (argument(0), argument(1));
        let slots = Slots::new(&mut b, s);
        // Inputs move with the steps of each channel.
        let first = b.slot();
        b.push(Inst::Sw(x, SP, first));
        let mut pool = Pool::beside(2);
        let [t, t2] = [(); 2].map(|()| pool.take());
        b.counted(s.blocks, (t, slots.blocks), |b| {
            slots.begin(b, w, t);
            b.counted(s.outputs, (t, slots.groups), |b| self.channel(b, (&slots, first), (x, w)));
            if s.blocks > 1 {
                b.push(Inst::Lw(t2, SP, first));
                b.advance(t2, (4 * s.pixels * s.pitch) as i32, t);
                b.push(Inst::Sw(t2, SP, first));
                slots.next(b, s, [t, t2]);
            }
        });
        Some(b)
    }

    /// One channel: leaves `w` and the frame's words and results at the next one.
    fn channel(&self, b: &mut Block, (slots, first): (&Slots, i32), (x, w): (X, X)) {
        let (s, n) = (&self.sizes, self.sizes.pixels);
        let mut pool = Pool::beside(2);
        let (upper, both, sums) = (pool.take_n(n), pool.take_n(n), pool.take_n(n));
        let [end, weight, second, step] = [(); 4].map(|()| pool.take());
        let inputs = pool.take_n(n.min(4));
        let c = inputs[0];
        b.push(Inst::Lw(c, SP, slots.c_now));
        b.push(Inst::Lw(x, SP, first));
        b.push(Inst::Lw(upper[0], c, 0));
        b.push(Inst::Lw(both[0], c, 4));
        b.push(Inst::Lw(end, c, 8));
        for sums in [&upper, &both] {
            sums[1..].iter().for_each(|&r| b.push(Inst::Mv(r, sums[0])));
        }
        sums.iter().for_each(|&r| b.push(Inst::Li(r, MIDDLE)));
        b.push(Inst::Add(end, end, w));
        // Ends a stretch.
        let close = |b: &mut Block| {
            for ((&sum, &upper), &both) in sums.iter().zip(&upper).zip(&both) {
                b.push(Inst::Srai(inputs[0], sum, 16));
                b.push(Inst::Add(both, both, sum));
                b.push(Inst::Add(upper, upper, inputs[0]));
            }
        };
        let tap = |b: &mut Block, step: X, weight: X| {
            b.push(Inst::Slli(step, step, 2));
            b.push(Inst::Add(x, x, step));
            for (first, sums) in sums.chunks(inputs.len()).enumerate() {
                for (i, (&input, _)) in inputs.iter().zip(sums).enumerate() {
                    b.push(Inst::Lw(input, x, 4 * ((first * inputs.len() + i) * s.pitch) as i32));
                }
                inputs.iter().zip(sums).for_each(|(&input, _)| b.push(Inst::Mul(input, input, weight)));
                inputs.iter().zip(sums).for_each(|(&input, &sum)| b.push(Inst::Add(sum, sum, input)));
            }
        };
        let top = b.label();
        b.push(Inst::Label(top));
        b.sometimes(self.stored as f64 / s.outputs as f64, |b| {
            b.push(Inst::Lb(step, w, 0));
            b.push(Inst::Lb(weight, w, 2));
            let on = b.label();
            b.push(Inst::BgezOn(step, on));
            b.sometimes((self.stretches - s.outputs) as f64 / self.stored as f64, |b| {
                close(b);
                sums.iter().for_each(|&sum| b.push(Inst::Li(sum, MIDDLE)));
                b.push(Inst::Addi(step, step, 128));
            });
            b.push(Inst::Label(on));
            tap(b, step, weight);
            b.push(Inst::Lbu(second, w, 1));
            b.push(Inst::Lb(weight, w, 3));
            b.push(Inst::Addi(w, w, WORD as i32));
            tap(b, second, weight);
            b.push(Inst::BneBack(w, end, top));
        });
        close(b);

        // What held stretches, inputs and weights is free.
        pool.give(&[inputs.as_slice(), &[end, weight, second, step], &sums].concat());
        let [c, y, second, m, rnd, sh, lo, hi] = [(); 8].map(|()| pool.take());
        b.push(Inst::Lw(c, SP, slots.c_now));
        b.push(Inst::Lw(y, SP, slots.y_now));
        b.push(Inst::Lw(m, c, 12));
        let (from, at) = if s.one_shift { (SP, [slots.rnd, slots.sh]) } else { (c, [16, 20]) };
        b.push(Inst::Lw(rnd, from, at[0]));
        b.push(Inst::Lw(sh, from, at[1]));
        b.point(second, y, self.apart as i32);
        b.push(Inst::Li(lo, s.lo));
        b.push(Inst::Li(hi, s.hi));
        b.push(Inst::Addi(c, c, 4 * self.words_each() as i32));
        b.push(Inst::Sw(c, SP, slots.c_now));
        // The lower pixels' sums take the place of both.
        for (&upper, &both) in upper.iter().zip(&both) {
            b.push(Inst::Slli(c, upper, 16));
            b.push(Inst::Sub(both, both, c));
        }
        for (sums, y) in [(&both, y), (&upper, second)] {
            Close { m, rnd, sh, lo, hi, result: DType::I8 }.sums(b, sums, y, (0, s.step));
        }
        b.push(Inst::Addi(y, y, 1));
        b.push(Inst::Sw(y, SP, slots.y_now));
    }
}

/// A channel's weights in twos, by place, ascending. `None` where two alone leave 16 bits.
fn twos(kept: impl Iterator<Item = (usize, i8)>) -> Option<Vec<Two>> {
    let (mut all, mut at): (Vec<(usize, i8)>, usize) = (Vec::new(), 0);
    for (place, weight) in kept {
        while place - at > STEPS[all.len() % 2] {
            at += STEPS[all.len() % 2];
            all.push((STEPS[all.len() % 2], 0));
        }
        all.push((place - at, weight));
        at = place;
    }
    if all.is_empty() || all.len() % 2 == 1 {
        all.resize((all.len() + 1).next_multiple_of(2), (0, 0));
    }
    // How far both halves can go, up and down.
    let (mut up, mut down) = (0, 0);
    let fits = |(up, down): (i32, i32)| up < MIDDLE && down >= -MIDDLE;
    let mut found: Vec<Two> = Vec::with_capacity(all.len() / 2);
    for two in all.chunks(2) {
        let [(a, v), (b, w)] = [two[0], two[1]];
        let ends = [v, w].map(|w| (i32::from(w) * 127, i32::from(w) * -128));
        let own = ends.iter().fold((0, 0), |(up, down), &(a, b)| (up + a.max(b), down + a.min(b)));
        let with = (up + own.0, down + own.1);
        let begins = !found.is_empty() && !fits(with);
        (up, down) = if begins { own } else { with };
        if !fits((up, down)) {
            return None;
        }
        found.push(Two { steps: [a, b], weights: [v, w], begins });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let target = secateur_targets::find("rv32imc").unwrap();
        let mut random = Random(79);
        // Runs, inputs of each, words between them; outputs, pairs, blocks.
        let sizes = [(1, 1, 1, 1, 1, 1), (3, 48, 288, 3, 4, 2), (1, 64, 64, 5, 6, 1), (3, 7, 900, 2, 3, 1)];
        let (mut ends, mut fillers) = (0, 0);
        for (case, (runs, run_len, run_pitch, outputs, pixels, blocks)) in sizes.into_iter().enumerate() {
            // What share of the weights is not zero, in hundredths, and how large they are.
            for (round, (share, most)) in
                [(0, 127), (4, 127), (25, 127), (100, 2), (100, 127)].into_iter().enumerate()
            {
                let taps = runs * run_len;
                let one_shift = (case + round) % 2 == 0;
                let sizes = Sizes {
                    runs,
                    run: run_len,
                    run_pitch,
                    outputs,
                    pixels,
                    blocks,
                    pitch: 5,
                    step: outputs + 1,
                    unroll: 4,
                    one_shift,
                    lo: -128 + 9 * case as i32,
                    hi: 127,
                };
                // A row is empty, another one full.
                let row = |o: usize| if o == 1 && round > 0 { [0, 100][case % 2] } else { share };
                let w: Vec<i8> = (0..outputs * taps)
                    .map(|i| match random.within(0, 99) < row(i / taps) {
                        true => random.within(-most, most) as i8,
                        false => 0,
                    })
                    .collect();
                let mut each: Vec<Vec<i32>> = vec![
                    (0..outputs).map(|_| random.within(-9000, 9000) as i32).collect(),
                    (0..outputs).map(|_| random.within(1 << 24, i32::MAX.into()) as i32).collect(),
                ];
                let (rnd, sh) = (1 << 6, 7);
                if !one_shift {
                    each.push((0..outputs).map(|o| (3 << (o + 4)) + 5).collect());
                    each.push((0..outputs).map(|o| o as i32 + 5).collect());
                }
                let apart = blocks * pixels * (outputs + 1);
                let (g, stream, words) = Sparse::pack(&sizes, apart, &w, &each).unwrap();
                assert!(g.fits());
                ends += usize::from(g.stretches > outputs);
                fillers += usize::from(2 * g.stored > w.iter().filter(|&&w| w != 0).count() + outputs + 1);
                // What no weight reads must not show.
                let x: Vec<[i8; 2]> =
                    (0..sizes.acts_len()).map(|_| [random.bytes(1)[0], random.bytes(1)[0]]).collect();
                let acts = x.iter().map(|[lo, hi]| i32::from(*lo) + i32::from(*hi) * 65536).collect();
                let mut args = vec![Bind::Operand(0), Bind::aligned("w", Data::I8(stream), 4)];
                args.extend([Bind::data("c", Data::I32(words)), Bind::Result(0)]);
                if one_shift {
                    args.extend([Bind::Scalar(rnd), Bind::Scalar(sh)]);
                }
                let call = Call { kernel: g.kernel(&target).unwrap(), args };
                let len = sizes.y_len() + apart;
                let Data::I8(body) = run(&call, &[Data::I32(acts)], DType::I8, len) else { panic!() };
                for (pixel, half, o) in (0..blocks * pixels)
                    .flat_map(|p| [0, 1].map(|h| (p, h)))
                    .flat_map(|(p, h)| (0..outputs).map(move |o| (p, h, o)))
                {
                    let mut sum = each[0][o];
                    for t in 0..taps {
                        let at = pixel * 5 + t / run_len * run_pitch + t % run_len;
                        sum += i32::from(w[o * taps + t]) * i32::from(x[at][half]);
                    }
                    let (rnd, sh) = if one_shift { (rnd, sh) } else { (each[2][o], each[3][o]) };
                    let high = ((i64::from(sum) * i64::from(each[1][o])) >> 32) as i32;
                    let want = ((high + rnd) >> sh).clamp(sizes.lo, sizes.hi);
                    let at = pixel * (outputs + 1) + half * apart + o;
                    assert_eq!(i32::from(body[at]), want, "case {case} round {round} {pixel} {half} {o}");
                }
            }
        }
        assert!(ends > 4 && fillers > 2, "{ends} with several stretches, {fillers} with fillers");
    }

    #[test]
    fn weights_that_leave_16_bits_are_refused() {
        assert!(twos([(0, -128), (1, -128)].into_iter()).is_none());
        assert!(twos([(0, -128), (1, 127)].into_iter()).is_some());
    }
}
