//! Products with weights of which whole blocks are zero: four channels by four inputs, stored where one
//! of the sixteen is not.
//!
//! The columns of inputs are those of [`crate::armv7em::gemm`], the weights of a block those of two pairs of
//! inputs in its packed format. A group of four channels is a head (biases), a control word, rounds of
//! blocks, and a tail (multipliers). The first round has one to four blocks, the others four; behind its
//! blocks a round has a byte for each of them: how far its inputs stand behind those of the block before, in
//! steps of four inputs. What is further away than a byte says is reached over blocks of zeros, and a
//! group without any block has one. The control word holds the blocks of the first round and, from bit 16
//! on, the bytes of all rounds.
//!
//! Bound for a block and two columns on Cortex-M4, 32 products: the 30 cycles that two pairs of inputs of four
//! channels take without zeros, two for the step and one that adds it, and a quarter of a round's end (5):
//! 34.3.

use crate::armv7em::epilogue::{Rounding, word};
use crate::armv7em::gemm::{Frame, GROUP, Gemm};
use crate::armv7em::stream::{Format, Stream};
use crate::asm::armv7em::{Block, Cond, Inst, Reg};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Native, Val};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The product with all its zeros.
    pub gemm: Gemm,
    /// Blocks that are stored, and the halves of the stream.
    pub stored: usize,
    pub len: usize,
}

/// Inputs of a block, and halves of its weights.
pub const INPUTS: usize = 4;
const WEIGHTS: usize = 8;
/// Blocks of a round, and its halves.
const ROUND: usize = 4;
const ROUND_LEN: usize = ROUND * WEIGHTS + 2;
/// Farthest step between two blocks.
const STEP: usize = 255;
/// Share of the blocks, in hundredths, up to which the stream is offered.
const DENSE: usize = 92;

impl Blocks {
    fn stream(gemm: &Gemm) -> Stream {
        Stream { pairs: 0, ..gemm.stream() }
    }

    /// Blocks of the product, zeros and all.
    fn all(&self) -> usize {
        self.gemm.runs * self.gemm.pairs * 2 / INPUTS * (self.gemm.outputs / GROUP)
    }
    /// Whether enough blocks are zero for the others to take fewer cycles than all of them.
    pub fn pays(&self) -> bool {
        100 * self.stored <= DENSE * self.all()
    }

    /// Packs a layer, as [`Stream::pack`] does; `gemm` says the sizes. `None` where blocks do not fit them, or
    /// weights or sums do not fit the packed format.
    pub fn pack(
        gemm: &Gemm,
        weights: &[i32],
        bias: &[i32],
        rounding: Rounding<'_>,
        reach: &[(i32, i32)],
        taps: &[Option<usize>],
    ) -> Option<(Blocks, Vec<i16>)> {
        let gemm = Gemm { format: Format::Packed, ahead: false, ..*gemm };
        let stream = Self::stream(&gemm);
        let even = (2 * gemm.pairs).is_multiple_of(INPUTS) && gemm.run_pitch.is_multiple_of(INPUTS);
        if !even || !gemm.outputs.is_multiple_of(GROUP) || gemm.outputs == 0 || !stream.exact(reach) {
            return None;
        }
        let row = weights.len() / gemm.outputs;
        let all = gemm.runs * gemm.pairs * 2 / INPUTS;
        let of_run = gemm.pairs * 2 / INPUTS;
        let (mut packed, mut stored) = (Vec::new(), 0);
        for first in (0..gemm.outputs).step_by(GROUP) {
            let weight = |c: usize, j: usize| taps[j].map_or(0, |t| weights[(first + c) * row + t]);
            let zero = |n: &usize| (0..GROUP).all(|c| (0..INPUTS).all(|i| weight(c, INPUTS * n + i) == 0));
            // Blocks with their steps; `None` is one of zeros.
            let (mut blocks, mut at) = (Vec::new(), 0);
            for n in (0..all).filter(|n| !zero(n)) {
                let place = n / of_run * (gemm.run_pitch / INPUTS) + n % of_run;
                while place - at > STEP {
                    blocks.push((None, STEP));
                    at += STEP;
                }
                blocks.push((Some(n), place - at));
                at = place;
            }
            if blocks.is_empty() {
                blocks.push((None, 0));
            }
            stored += blocks.len();
            stream.pack_head(&mut packed, first, bias)?;
            let short = (blocks.len() - 1) % ROUND + 1;
            let rounds = blocks.len().div_ceil(ROUND);
            let bytes = 2 * (WEIGHTS * blocks.len() + 2 * rounds);
            word(&mut packed, short as i32 + (i32::from(u16::try_from(bytes).ok()?) << 16));
            let (head, others) = blocks.split_at(short);
            for round in std::iter::once(head).chain(others.chunks(ROUND)) {
                for (n, _) in round {
                    for pair in 0..2 {
                        let of = |c: usize, i: usize| n.map_or(0, |n| weight(c, INPUTS * n + 2 * pair + i));
                        stream.pack_pair(&mut packed, &of)?;
                    }
                }
                let mut steps = [0u8; ROUND];
                for (to, (_, step)) in steps[ROUND - round.len()..].iter_mut().zip(round) {
                    *to = u8::try_from(*step).ok()?;
                }
                word(&mut packed, i32::from_le_bytes(steps));
            }
            stream.pack_tail(&mut packed, first, rounding);
        }
        Some((Blocks { gemm, stored, len: packed.len() }, packed))
    }

    /// The kernel `(acts, w, y, rnd)`: its meaning as loops and its native form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let g = &self.gemm;
        let mut k = KernelBuilder::new(format!("gemm_s8_b4x4q{}", g.columns));
        let acts = k.buffer("acts", DType::I16, g.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.len, Access::Read);
        let y = k.buffer("y", DType::I8, (g.columns - 1) * g.step + g.outputs, Access::Write);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        let stream = Self::stream(g);
        let (head, tail) = (stream.head_len(), stream.tail_len());
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize| at.max(0).min((self.len - room) as i32);
        let last = (g.acts_len() - (g.columns - 1) * g.pitch - INPUTS) as i32;
        let next = k.var("next", 0);
        k.for_("group", 0, g.outputs / GROUP, |k, group| {
            let base = k.let_("base", within(next.into(), head + 2));
            let sums = stream.open(k, w, base, g.columns);
            let short = k.let_("short", w.at(base + head) & 7);
            let bytes = k.let_("bytes", w.at(base + (head + 1)) & 65535);
            let first = k.let_("first", base + (head + 2));
            let at = k.var("at", 0);
            let rounds = k.let_("rounds", (bytes + (2 * ROUND_LEN - 1) as i32) / (2 * ROUND_LEN) as i32);
            k.for_("round", 0, rounds, |k, round| {
                let opening = round.equals(0);
                let blocks = k.let_("blocks", opening.select(short, ROUND as i32));
                let later = first + short * WEIGHTS + 2 + (round - 1) * ROUND_LEN;
                let start = k.let_("start", opening.select(first, later));
                let steps = k.let_("steps", start + blocks * WEIGHTS);
                k.for_("block", 0, blocks, |k, block| {
                    let byte = k.let_("byte", block - blocks + ROUND);
                    let two = k.let_("two", w.at(within(steps + (byte >> 1), 1)));
                    let step = k.let_("step", (two >> ((byte & 1) << 3)) & 255);
                    k.set(at, (at + step * INPUTS).max(0).min(last));
                    let weights = k.let_("weights", within(start + block * WEIGHTS, WEIGHTS));
                    for input in 0..INPUTS {
                        let values: Vec<Val> = (0..g.columns)
                            .map(|q| k.let_(&format!("x{input}{q}"), acts.at(at + (q * g.pitch + input))))
                            .collect();
                        let pair = weights + input / 2 * stream.pair_len();
                        stream.add(k, (w, &pair, input % 2), &values, &sums);
                    }
                });
            });
            let behind = k.let_("behind", within(first + (bytes >> 1), tail));
            let base = k.let_("closing", behind - head);
            for (c, columns) in sums.iter().enumerate() {
                for (q, &sum) in columns.iter().enumerate() {
                    let value = stream.close(k, (w, base, Some(rnd)), (c, sum), (g.lo, g.hi));
                    k.store(y, group * GROUP + (q * g.step + c), value);
                }
            }
            k.set(next, behind + tail);
        });
        k.native(self.native(core)?);
        k.finish()
    }

    /// The native form. Loops have whole numbers of turns, blocks need not fill their rounds: what a round
    /// takes is the difference that one more makes.
    fn native(&self, core: &Core) -> Result<Native> {
        let (native, more) = (self.block(1).native("dsp", core)?, self.block(2).native("dsp", core)?);
        let rounds = self.stored as f64 / (ROUND * self.gemm.outputs / GROUP) as f64;
        let turn = (more.cycles - native.cycles) as f64;
        Ok(Native { cycles: native.cycles + ((rounds - 1.0) * turn).round() as u64, ..native })
    }

    /// The instructions, as if a group had so many rounds.
    fn block(&self, rounds: u64) -> Block {
        let g = &self.gemm;
        let (q, groups) = (g.columns, (g.outputs / GROUP) as u64);
        let mut b = Block::new(4);
        b.streams = true;
        let frame = Frame::new(&mut b);
        let (acts, w, base) = (b.reg(), b.args[1], b.slot());
        let from = b.args[0];
        b.push(Inst::StrSlot(from, base));
        let end = b.reg();
        b.push(Inst::Mov(end, w));
        b.advance(end, 2 * self.len as i32);
        b.push(Inst::StrSlot(end, frame.end));

        let top = b.label(groups);
        let high: Vec<Reg> = (0..2 * q).map(|_| b.reg()).collect();
        let low: Vec<Reg> = (0..2 * q).map(|_| b.reg()).collect();
        for pair in 0..2 {
            b.push(Inst::Ldr(high[pair * q], w, 8 * pair as u32));
            b.push(Inst::Ldr(low[pair * q], w, 8 * pair as u32 + 4));
            for column in 1..q {
                b.push(Inst::Mov(high[pair * q + column], high[pair * q]));
                b.push(Inst::Mov(low[pair * q + column], low[pair * q]));
            }
        }
        // The first round ends where a whole one would.
        let [control, stop] = b.regs_n();
        b.push(Inst::Ldr(control, w, 16));
        b.push(Inst::LdrSlot(acts, base));
        b.push(Inst::AddImm(w, w, 20));
        b.push(Inst::LsrImm(stop, control, 16));
        b.push(Inst::Add(stop, w, stop));
        b.push(Inst::StrSlot(stop, frame.stop));
        b.push(Inst::Uxtb(control, control, 0));
        b.push(Inst::AddLsl(w, w, control, 4));
        b.push(Inst::AddImm(w, w, -(2 * (ROUND * WEIGHTS) as i32)));
        let enter: [_; ROUND - 1] = std::array::from_fn(|_| b.ahead());
        for (n, &label) in enter.iter().enumerate() {
            b.push(Inst::CmpImm(control, (ROUND - 1 - n) as u32));
            b.push(Inst::Branch(Cond::Eq, label));
        }
        let turn = b.label(rounds);
        for block in 0..ROUND {
            if block > 0 {
                b.place(enter[block - 1]);
            }
            let step = b.reg();
            b.push(Inst::Ldrb(step, w, (2 * ROUND * WEIGHTS + block) as u32));
            b.push(Inst::AddLsl(acts, acts, step, 3));
            g.pairs(&mut b, (acts, 0), (w, (2 * WEIGHTS * block) as u32), 2, (&high, &low), false);
        }
        b.push(Inst::AddImm(w, w, 2 * ROUND_LEN as i32));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, frame.stop));
        b.push(Inst::Cmp(w, stop));
        b.push(Inst::BranchBack(Cond::Ne, turn));
        g.finish(&mut b, &frame, w, 0, GROUP, (&high, &low));
        let end = b.reg();
        b.push(Inst::LdrSlot(end, frame.end));
        b.push(Inst::Cmp(w, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, high, requantize};
    use crate::armv7em::gemm::ROUND as PAIRS;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    const BASE: Gemm = Gemm {
        runs: 1,
        run_pitch: 0,
        pairs: 32,
        outputs: 16,
        columns: 2,
        pitch: 64,
        step: 16,
        format: Format::Packed,
        sh: Some(5),
        lo: -128,
        hi: 127,
        round: PAIRS,
        ahead: false,
    };

    /// Weights of which so many blocks in a hundred are not zero.
    fn weights(random: &mut Random, g: &Gemm, share: i64) -> Vec<i32> {
        let row = 2 * g.runs * g.pairs;
        let mut w: Vec<i32> = (0..g.outputs * row).map(|_| random.within(-127, 127) as i32).collect();
        for (o, j) in
            (0..g.outputs).step_by(GROUP).flat_map(|o| (0..row).step_by(INPUTS).map(move |j| (o, j)))
        {
            if random.within(0, 99) >= share {
                (o..o + GROUP).for_each(|o| w[o * row + j..o * row + j + INPUTS].fill(0));
            }
        }
        w
    }

    #[test]
    fn body_and_instructions_are_exact() {
        let sizes = [
            BASE,
            Gemm { columns: 1, ..BASE },
            Gemm { pairs: 2, outputs: 4, lo: -9, hi: 88, ..BASE },
            Gemm { runs: 3, run_pitch: 136, pairs: 24, outputs: 8, pitch: 16, step: 9, ..BASE },
            // Rows that a step does not reach over.
            Gemm { runs: 3, run_pitch: 2000, pairs: 6, outputs: 4, pitch: 8, step: 40, ..BASE },
            Gemm { pairs: 320, outputs: 8, columns: 1, sh: Some(12), ..BASE },
        ];
        let mut random = Random(77);
        let m4 = secateur_targets::core("cortex-m4").unwrap();
        // Nothing, one block in a group or so, most of them.
        for (case, (g, share)) in sizes.iter().flat_map(|g| [0, 6, 30, 85].map(|s| (g, s))).enumerate() {
            let k = 2 * g.runs * g.pairs;
            let w = weights(&mut random, g, share);
            let bias: Vec<i32> = (0..g.outputs).map(|_| random.within(-90_000, 90_000) as i32).collect();
            let m: Vec<i32> =
                (0..g.outputs).map(|_| random.within(1 << 20, i32::MAX.into()) as i32).collect();
            let zp = [127, -128, -3][case % 3];
            let each = vec![high(g.sh.unwrap() + 32, zp); g.outputs];
            let rounding = Rounding { multipliers: &m, each: &each };
            let taps: Vec<Option<usize>> = (0..k).map(Some).collect();
            let reach = vec![(-(1 << 23) + 1, (1 << 23) - 1); g.outputs];
            let (blocks, stream) = Blocks::pack(g, &w, &bias, rounding, &reach, &taps).unwrap();
            assert!(share > 50 || blocks.all() < 10 || blocks.pays(), "case {case}: {blocks:?}");
            assert_eq!(stream.len(), blocks.len);
            let acts: Vec<i16> = (0..g.acts_len()).map(|_| random.within(-255, 255) as i16).collect();
            let args = vec![
                Bind::Operand(0),
                Bind::aligned("w", Data::I16(stream), 4),
                Bind::Result(0),
                Bind::Scalar(each[0].0),
            ];
            let y_len = (g.columns - 1) * g.step + g.outputs;
            let call = Call { kernel: blocks.kernel(&m4).unwrap(), args };
            let Data::I8(got) = run(&call, &[Data::I16(acts.clone())], DType::I8, y_len) else { panic!() };
            for (q, o) in (0..g.columns).flat_map(|q| (0..g.outputs).map(move |o| (q, o))) {
                let input =
                    |j: usize| acts[j / (2 * g.pairs) * g.run_pitch + j % (2 * g.pairs) + q * g.pitch];
                let sum: i32 = (0..k).map(|j| i32::from(input(j)) * w[o * k + j]).sum();
                if sum.abs() >= 1 << 23 {
                    continue;
                }
                let by = Multiplier { m: m[o], s: g.sh.unwrap() + 32 };
                let want = requantize(sum + bias[o], by, zp, g.lo, g.hi);
                assert_eq!(i32::from(got[q * g.step + o]), want, "case {case} column {q} output {o}");
            }
        }
    }

    /// The bound of the header, for three blocks in four of a window of 32 channels that are zero.
    #[test]
    fn cycles_stay_near_the_bound() {
        let g = Gemm { runs: 3, run_pitch: 1088, pairs: 48, outputs: 32, pitch: 32, step: 32, ..BASE };
        let stored = 18 * g.outputs / GROUP;
        let m4 = secateur_targets::core("cortex-m4").unwrap();
        let cycles = Blocks { gemm: g, stored, len: 4000 }.native(&m4).unwrap().cycles as f64;
        // What a group takes beside: sums that begin and end, and the way into its first round.
        let bound = 34.25 * stored as f64 + 90.0 * (g.outputs / GROUP) as f64;
        assert!(cycles < bound, "{cycles} against {bound}");
    }
}
