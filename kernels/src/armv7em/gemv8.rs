//! The product of one column of widened inputs with eight rows of weights at a time, for dense
//! layers of one row on cores with `smlad`.
//!
//! One load of inputs serves eight channels, and what a group costs beside its products is
//! paid half as often as by [`crate::armv7em::gemm`]. Weights lie in groups of eight in the
//! [packed format](Format::Packed).
//!
//! Bounds for two inputs of eight channels, 16 products: 5 loads, 4 extensions and 8 `smlad`. On
//! Cortex-M4 the loads come in two runs, for there are four registers for operands: 19 cycles;
//! on Cortex-M33 17; on Cortex-M7, where loads stand beside products, 12.
//!
use crate::armv7em::epilogue::{Round, close, result};
use crate::armv7em::gemm::suffix;
use crate::armv7em::stream::{Format, Stream};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Pairs of inputs.
    pub pairs: usize,
    /// Output channels, a multiple of [`GROUP`].
    pub outputs: usize,
    /// Right shift of all channels, as [`crate::armv7em::gemm::Gemm::sh`].
    pub sh: u32,
    pub lo: i32,
    pub hi: i32,
    /// Pairs per round of the loop.
    pub round: usize,
}

/// Channels of a group, and pairs of them.
const GROUP: usize = 8;
const PAIRS: usize = GROUP / 2;

impl Column {
    pub fn stream(&self) -> Stream {
        let (sh, outputs, pairs) = (Some(self.sh), self.outputs, self.pairs);
        Stream { format: Format::Packed, sh, outputs, group: GROUP, pairs }
    }
    /// Whether there is code for these sizes.
    pub fn fits(&self) -> bool {
        let groups = self.outputs > 0 && self.outputs.is_multiple_of(GROUP);
        groups
            && self.pairs > 0
            && (1..=crate::armv7em::gemm::MAX_SH).contains(&self.sh)
            && (1..=64).contains(&self.round)
    }

    /// The kernel `(acts, w, y, rnd)`: its meaning as loops and its native form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let result = result((self.lo, self.hi));
        let mut k = KernelBuilder::new(format!("gemv_{}_r8", suffix(result)));
        let acts = k.buffer("acts", DType::I16, 2 * self.pairs, Access::Read);
        let w = k.buffer("w", DType::I16, self.stream().len(), Access::Read);
        let y = k.buffer("y", result, self.outputs, Access::Write);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        let stream = self.stream();
        k.for_("group", 0, self.outputs / GROUP, |k, group| {
            let base = k.let_("base", group * stream.group_len());
            let sums = stream.open(k, w, base, 1);
            k.for_("p", 0, self.pairs, |k, p| {
                let at = k.let_("at", base + p * stream.pair_len() + stream.head_len());
                for input in 0..2usize {
                    let value = k.let_("v", acts.at(p * 2 + input));
                    stream.add(k, (w, &at.into(), input), &[value], &sums);
                }
            });
            for (c, sum) in sums.iter().enumerate() {
                let value = stream.close(k, (w, base, Some(rnd)), (c, sum[0]), (self.lo, self.hi));
                k.store(y, group * GROUP + c, value);
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(4);
        b.streams = true;
        let [acts, w, y, rnd] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let [at_acts, at_y, at_round, at_high, stop, end] = std::array::from_fn(|_| b.slot());
        let groups = self.outputs / GROUP;
        let (first, rounds) = match self.pairs {
            // One and a half rounds: shorter than a round and what is left.
            n if n <= self.round + self.round / 2 => (n, 0),
            n => (n % self.round, n / self.round),
        };
        b.push(Inst::StrSlot(acts, at_acts));
        b.push(Inst::StrSlot(y, at_y));
        b.push(Inst::StrSlot(rnd, at_round));
        // Of packed channels A 256 * SA remains: their constant is 2^8 larger.
        b.push(Inst::LslImm(rnd, rnd, 8));
        b.push(Inst::StrSlot(rnd, at_high));
        let past = |b: &mut Block, from: Reg, by: usize, slot| {
            let to = b.reg();
            b.push(Inst::Mov(to, from));
            b.advance(to, by as i32);
            b.push(Inst::StrSlot(to, slot));
        };
        if rounds > 0 {
            past(&mut b, acts, 4 * self.pairs, stop);
        }
        past(&mut b, w, 2 * self.stream().len(), end);
        let top = b.label(groups as u64);
        let high: [Reg; PAIRS] = b.regs_n();
        let low: [Reg; PAIRS] = b.regs_n();
        for (pair, (&a, &low)) in high.iter().zip(&low).enumerate() {
            b.push(Inst::Ldr(a, w, 8 * pair as u32));
            b.push(Inst::Ldr(low, w, 8 * pair as u32 + 4));
        }
        let acts = b.reg();
        b.push(Inst::LdrSlot(acts, at_acts));
        let mut at = 8 * PAIRS;
        for p in 0..first {
            pair(&mut b, (acts, 4 * p), (w, at + 4 * PAIRS * p), (&high, &low));
        }
        at += 4 * PAIRS * first;
        if rounds > 0 {
            b.advance(acts, 4 * first as i32);
            b.advance(w, at as i32);
            at = 0;
            let turn = b.label(rounds as u64);
            for p in 0..self.round {
                pair(&mut b, (acts, 4 * p), (w, 4 * PAIRS * p), (&high, &low));
            }
            b.advance(acts, 4 * self.round as i32);
            b.advance(w, (4 * PAIRS * self.round) as i32);
            let stop_at = b.reg();
            b.push(Inst::LdrSlot(stop_at, stop));
            b.push(Inst::Cmp(acts, stop_at));
            b.push(Inst::BranchBack(Cond::Ne, turn));
        }
        let [y, ends] = b.regs_n();
        for (second, sums) in [high, low].into_iter().enumerate() {
            let round = b.reg();
            for (number, sums) in sums.chunks(2).enumerate() {
                let m: [Reg; 2] = b.regs_n();
                let from = at + 2 * GROUP - 2 * GROUP * second + 8 * number;
                b.push(Inst::Ldr(m[0], w, from as u32));
                b.push(Inst::Ldr(m[1], w, from as u32 + 4));
                if number == 0 {
                    b.push(Inst::LdrSlot(round, if second == 0 { at_high } else { at_round }));
                    if second == 0 {
                        b.push(Inst::LdrSlot(y, at_y));
                        high.iter().zip(&low).for_each(|(&p, &s)| b.push(Inst::Sub(p, p, s)));
                    }
                } else if second == 1 {
                    b.push(Inst::LdrSlot(ends, end));
                }
                for (i, &sum) in sums.iter().enumerate() {
                    let by = Round::Layer(round, if second == 0 { self.sh + 8 } else { self.sh });
                    let to = (y, 2 * (2 * number + i) + second, 0);
                    close(&mut b, &[sum], m[i], by, to, (self.lo, self.hi));
                }
            }
        }
        b.advance(w, at as i32 + 4 * GROUP as i32);
        b.push(Inst::AddImm(y, y, (GROUP * result((self.lo, self.hi)).size()) as i32));
        b.push(Inst::StrSlot(y, at_y));
        b.push(Inst::Cmp(w, ends));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }
}

/// Two inputs of four packed pairs of channels. The fourth word takes the register of a word
/// that is done with.
fn pair(
    b: &mut Block,
    (acts, input): (Reg, usize),
    (w, weight): (Reg, usize),
    (high, low): (&[Reg; PAIRS], &[Reg; PAIRS]),
) {
    let x = b.reg();
    b.push(Inst::Ldr(x, acts, input as u32));
    for some in [0..PAIRS - 1, PAIRS - 1..PAIRS] {
        let words: Vec<Reg> = some.clone().map(|_| b.reg()).collect();
        for (n, &r) in some.clone().zip(&words) {
            b.push(Inst::Ldr(r, w, (weight + 4 * n) as u32));
        }
        for (n, &r) in some.clone().zip(&words) {
            b.push(Inst::Smlad(high[n], x, r, high[n]));
        }
        for &r in &words {
            b.push(Inst::Sxtb16(r, r, Ror::R0));
        }
        for (n, &r) in some.zip(&words) {
            b.push(Inst::Smlad(low[n], x, r, low[n]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, high, requantize};
    use crate::armv7em::epilogue::Rounding;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    const BASE: Column = Column { pairs: 8, outputs: 16, sh: 5, lo: -128, hi: 127, round: 16 };

    #[test]
    fn body_and_instructions_are_exact() {
        let sizes = [
            BASE,
            Column { pairs: 1, outputs: 8, ..BASE },
            Column { pairs: 24, outputs: 24, lo: -5, hi: 100, ..BASE },
            Column { pairs: 25, sh: 1, ..BASE },
            Column { pairs: 64, sh: 12, ..BASE },
            Column { pairs: 37, round: 4, ..BASE },
        ];
        let mut random = Random(23);
        for (case, g) in sizes.iter().enumerate() {
            let n = 2 * g.pairs;
            let w: Vec<i32> = (0..g.outputs * n).map(|_| random.within(-127, 127) as i32).collect();
            let bias: Vec<i32> = (0..g.outputs).map(|_| random.within(-90_000, 90_000) as i32).collect();
            let m: Vec<i32> =
                (0..g.outputs).map(|_| random.within(1 << 20, i32::MAX.into()) as i32).collect();
            let zp = [127, -128, -3][case % 3];
            let each = vec![high(g.sh + 32, zp); g.outputs];
            let acts: Vec<i16> = (0..n).map(|_| random.within(-255, 255) as i16).collect();
            let taps: Vec<Option<usize>> = (0..n).rev().map(Some).collect();
            let rounding = Rounding { multipliers: &m, each: &each };
            let reach = vec![(-(1 << 23) + 1, (1 << 23) - 1); g.outputs];
            assert!(g.stream().pack(&w, &bias, rounding, &[(0, 1 << 23)], &taps).is_none());
            let stream = g.stream().pack(&w, &bias, rounding, &reach, &taps).unwrap();
            assert_eq!(stream.len(), g.stream().len());
            let want: Vec<i8> = (0..g.outputs)
                .map(|o| {
                    let sum: i32 = (0..n).map(|j| i32::from(acts[j]) * w[o * n + n - 1 - j]).sum();
                    let by = Multiplier { m: m[o], s: g.sh + 32 };
                    requantize(sum + bias[o], by, zp, g.lo, g.hi) as i8
                })
                .collect();
            for name in ["cortex-m4", "cortex-m33", "cortex-m7"] {
                let core = secateur_targets::core(name).unwrap();
                let args = vec![
                    Bind::Operand(0),
                    Bind::aligned("w", Data::I16(stream.clone()), 4),
                    Bind::Result(0),
                    Bind::Scalar(each[0].0),
                ];
                let call = Call { kernel: g.kernel(&core).unwrap(), args };
                let body = run(&call, &[Data::I16(acts.clone())], DType::I8, g.outputs);
                assert_eq!(body, Data::I8(want.clone()), "case {case} on {name}");
            }
        }
    }

    #[test]
    fn cycles_stay_near_the_bound() {
        let g = Column { pairs: 64, outputs: 128, ..BASE };
        for (name, bound) in [("cortex-m4", 19), ("cortex-m33", 17), ("cortex-m7", 12)] {
            let core = secateur_targets::core(name).unwrap();
            let cycles = g.block().native("dsp", &core).unwrap().cycles;
            let inner = bound * 64 * 16;
            assert!(cycles < inner * 115 / 100, "{cycles} cycles on {name} against {inner}");
        }
    }
}
