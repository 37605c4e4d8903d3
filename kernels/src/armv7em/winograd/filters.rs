//! `U` from int8 weights, where it is made at run time instead of stored.

use crate::armv7em::winograd::{XI, pair_len};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// `(w, ends, u)`: weights `[pair of outputs][four channels][output][tap][channel]`, and for
/// each pair of outputs `4 * bias` and multiplier of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters {
    /// Input channels, a multiple of four.
    pub channels: usize,
    /// Output channels, even.
    pub outputs: usize,
}

impl Filters {
    pub fn fits(&self) -> bool {
        self.channels.is_multiple_of(4)
            && 2 * 2 * self.channels * (XI - 1) + 16 <= 4095
            && self.outputs.is_multiple_of(2)
    }
    pub fn w_len(&self) -> usize {
        9 * self.channels * self.outputs
    }
    pub fn ends_len(&self) -> usize {
        2 * self.outputs
    }
    pub fn u_len(&self) -> usize {
        self.outputs / 2 * pair_len(XI, self.channels)
    }
    /// Which weight of `[output][tap][channel]` stands at each place.
    pub fn order(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let fours = self.channels / 4;
        (0..self.w_len()).map(move |at| {
            let (lane, tap, r) = (at % 4, at / 4 % 9, at / 36 % 2);
            let (four, pair) = (at / 72 % fours, at / 72 / fours);
            (2 * pair + r, tap, 4 * four + lane)
        })
    }

    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let c = self.channels;
        let mut k = KernelBuilder::new("winograd_s8_filters");
        let w = k.buffer("w", DType::I8, self.w_len(), Access::Read);
        let ends = k.buffer("ends", DType::I32, self.ends_len(), Access::Read);
        let u = k.buffer("u", DType::I16, self.u_len(), Access::Write);
        k.for_("pair", 0, self.outputs / 2, |k, pair| {
            k.for_("four", 0, c / 4, |k, four| {
                k.for_("r", 0, 2, |k, r| {
                    for lane in 0..4usize {
                        let from = k.let_("from", (pair * (c / 4) + four) * 72 + r * 36 + lane);
                        let to = pair * pair_len(XI, c) + four * 8 + r * 2 + (lane % 2 * 4 + lane / 2);
                        let to = k.let_("to", to);
                        let g: Vec<Val> =
                            (0..9).map(|tap| k.let_(&format!("g{tap}"), w.at(from + 4 * tap))).collect();
                        for xi in 0..XI {
                            // Rows and columns of 2G: the outer taps alone twice, or all three.
                            let along = |at: usize, d: [crate::kernel::Expr; 3]| {
                                let [a, b, c] = d;
                                match at {
                                    0 => a * 2,
                                    1 => a + c + b,
                                    2 => a + c - b,
                                    _ => c * 2,
                                }
                            };
                            let down = [0, 1, 2].map(|x| along(xi / 4, [0, 3, 6].map(|y| g[y + x].into())));
                            k.store(u, to + xi * (2 * c), along(xi % 4, down));
                        }
                    }
                });
            });
            k.for_("end", 0, 4, |k, end| {
                let word = k.let_("word", ends.at(pair * 4 + end));
                let to = k.let_("to", pair * pair_len(XI, c) + end * 2 + XI * 2 * c);
                k.store(u, to, ((word & 65535) ^ 32768) - 32768);
                k.store(u, to + 1, word >> 16);
            });
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    pub fn block(&self) -> Block {
        let mut b = Block::new(3);
        let [w, ends, u] = [b.args[0], b.args[1], b.args[2]];
        let (keep, last, row, both_end) = (b.slot(), b.slot(), b.slot(), b.slot());
        let stop = b.reg();
        b.push(Inst::Mov(stop, w));
        b.advance(stop, self.w_len() as i32);
        b.push(Inst::StrSlot(stop, last));
        b.push(Inst::StrSlot(ends, keep));
        let pairs = b.label(self.outputs as u64 / 2);
        let stop = b.reg();
        b.push(Inst::Mov(stop, w));
        b.advance(stop, 18 * self.channels as i32);
        b.push(Inst::StrSlot(stop, row));
        let fours = b.label(self.channels as u64 / 4);
        let stop = b.reg();
        b.push(Inst::AddImm(stop, w, 72));
        b.push(Inst::StrSlot(stop, both_end));
        let both = b.label(2);
        // Even channels of the four first, then the odd ones: the same code, words shifted.
        let shift = b.reg();
        b.push(Inst::MovImm(shift, 0));
        let half = b.label(2);
        self.filter(&mut b, w, u, shift);
        b.push(Inst::AddImm(u, u, 8));
        b.push(Inst::AddImm(shift, shift, 8));
        b.push(Inst::CmpImm(shift, 16));
        b.push(Inst::BranchBack(Cond::Ne, half));
        b.push(Inst::AddImm(w, w, 36));
        b.push(Inst::AddImm(u, u, -12));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, both_end));
        b.push(Inst::Cmp(w, stop));
        b.push(Inst::BranchBack(Cond::Ne, both));
        b.push(Inst::AddImm(u, u, 8));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, row));
        b.push(Inst::Cmp(w, stop));
        b.push(Inst::BranchBack(Cond::Ne, fours));
        // All but the first of the sixteen products' words lie ahead.
        b.advance(u, ((XI - 1) * 4 * self.channels) as i32);
        let ends = b.reg();
        b.push(Inst::LdrSlot(ends, keep));
        let words: [Reg; 4] = b.regs_n();
        for (i, &word) in words.iter().enumerate() {
            b.push(Inst::Ldr(word, ends, 4 * i as u32));
        }
        for (i, &word) in words.iter().enumerate() {
            b.push(Inst::Str(word, u, 4 * i as u32));
        }
        b.push(Inst::AddImm(ends, ends, 16));
        b.push(Inst::StrSlot(ends, keep));
        b.push(Inst::AddImm(u, u, 16));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, last));
        b.push(Inst::Cmp(w, stop));
        b.push(Inst::BranchBack(Cond::Ne, pairs));
        b
    }

    /// Two channels of a filter: taps in halves, transformed down and then across.
    fn filter(&self, b: &mut Block, w: Reg, u: Reg, shift: Reg) {
        let row = |b: &mut Block, taps: u32| -> [Reg; 3] {
            let r: [Reg; 3] = b.regs_n();
            for (i, &r) in r.iter().enumerate() {
                b.push(Inst::Ldr(r, w, 4 * (taps + i as u32)));
            }
            for &r in &r {
                b.push(Inst::Lsr(r, r, shift));
                b.push(Inst::Sxtb16(r, r, Ror::R0));
            }
            r
        };
        let (top, bottom) = (row(b, 0), row(b, 6));
        for (i, r) in [(0, top), (3, bottom)] {
            let twice: [Reg; 3] = b.regs_n();
            for (&d, r) in twice.iter().zip(r) {
                b.push(Inst::Sadd16(d, r, r));
            }
            self.across(b, u, i, twice);
        }
        let s: [Reg; 3] = b.regs_n();
        for i in 0..3 {
            b.push(Inst::Sadd16(s[i], top[i], bottom[i]));
        }
        let middle = row(b, 3);
        let plus: [Reg; 3] = b.regs_n();
        for i in 0..3 {
            b.push(Inst::Sadd16(plus[i], s[i], middle[i]));
        }
        self.across(b, u, 1, plus);
        for i in 0..3 {
            b.push(Inst::Ssub16(s[i], s[i], middle[i]));
        }
        self.across(b, u, 2, s);
    }

    fn across(&self, b: &mut Block, u: Reg, i: usize, [x, y, z]: [Reg; 3]) {
        let to = |j: usize| (4 * self.channels * (4 * i + j)) as u32;
        let [s, p, q] = b.regs_n();
        b.push(Inst::Sadd16(s, x, z));
        b.push(Inst::Sadd16(x, x, x));
        b.push(Inst::Sadd16(z, z, z));
        b.push(Inst::Sadd16(p, s, y));
        b.push(Inst::Ssub16(q, s, y));
        for (j, r) in [x, p, q, z].into_iter().enumerate() {
            b.push(Inst::Str(r, u, to(j)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armv7em::winograd::tests::m4;
    use crate::armv7em::winograd::transformed;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(43);
        for (channels, outputs) in [(4, 2), (8, 6), (64, 4)] {
            let f = Filters { channels, outputs };
            assert!(f.fits());
            let w = random.bytes(f.w_len());
            let ends: Vec<i32> =
                (0..f.ends_len()).map(|_| random.within(i32::MIN.into(), i32::MAX.into()) as i32).collect();
            let args = vec![Bind::Operand(0), Bind::Operand(1), Bind::Result(0)];
            let call = Call { kernel: f.kernel(&m4()).unwrap(), args };
            let operands = [Data::I8(w.clone()), Data::I32(ends.clone())];
            let Data::I16(u) = run(&call, &operands, DType::I16, f.u_len()) else { panic!() };
            // Against the transform itself, through the order in which weights are given.
            let mut g = vec![[0; 9]; channels * outputs];
            for (at, (o, tap, c)) in f.order().enumerate() {
                g[o * channels + c][tap] = i32::from(w[at]);
            }
            for (o, c, xi) in [(0, 0, 5), (1, 1, 0), (outputs - 1, channels - 1, 15), (0, 2, 9)] {
                let at = o / 2 * pair_len(XI, channels) + xi * 2 * channels + c / 4 * 8 + c % 2 * 4;
                let got = u[at + o % 2 * 2 + c % 4 / 2];
                assert_eq!(i32::from(got), transformed(g[o * channels + c])[xi], "{o} {c} {xi}");
            }
        }
    }
}
