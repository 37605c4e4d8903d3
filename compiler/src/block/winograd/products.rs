//! The products of transformed inputs and filters, their transform back, and requantization.
//!
//! Two output channels of four tiles at a time: eight sums in registers, for each pair of input
//! channels two words of `U` and four of `V`, in two groups of loads: 16 cycles on Cortex-M4 for
//! 16 multiplications, which stand for 36 of the direct convolution.

use super::super::{Block, Cond, Inst, Reg, Round, Slot, close};
use super::{TILES, XI, pair_len};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val, instr};
use crate::quantize::requant::requantize_high_instr;
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// `(v, u, y, m, rnd)`: `m` holds the 128 words of sums in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Products {
    /// Input channels, a multiple of four.
    pub(crate) channels: usize,
    /// Output channels of a call, even.
    pub(crate) outputs: usize,
    /// Result elements from one pixel to the next, and from one row to the next.
    pub(crate) step: usize,
    pub(crate) row: usize,
    /// Right shift after the high word of the product of four times the sum.
    pub(crate) sh: u32,
    pub(crate) lo: i32,
    pub(crate) hi: i32,
    /// Pairs of channels that are spelled out before a loop.
    pub(crate) straight: usize,
}

/// Pairs per round of a loop over channels.
const ROUND: usize = 16;
/// Words of sums.
pub(crate) const SUMS: usize = XI * 2 * TILES;

impl Products {
    pub(crate) fn fits(&self) -> bool {
        let c = self.channels;
        c.is_multiple_of(4)
            && self.outputs.is_multiple_of(2)
            && self.row + self.step <= 4095
            && 8 * self.straight.max(ROUND) * self.spelled().1 <= 4095 - 8
            && (1..=22).contains(&self.sh)
    }
    pub(crate) fn v_len(&self) -> usize {
        XI * TILES * self.channels
    }
    pub(crate) fn u_len(&self) -> usize {
        self.outputs / 2 * pair_len(self.channels)
    }
    pub(crate) fn y_len(&self) -> usize {
        self.row + (2 * TILES - 1) * self.step + self.outputs
    }
    /// Pairs that open a product, and products spelled out per round of their loop.
    fn spelled(&self) -> (usize, usize) {
        let pairs = self.channels / 2;
        match pairs {
            // What the loop does whole is not spelled out before it.
            n if n > self.straight => (n % ROUND, 1),
            n if n <= ROUND / 4 => (n, 4),
            n if n <= ROUND / 2 => (n, 2),
            n => (n, 1),
        }
    }

    pub(crate) fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let c = self.channels;
        let mut k = KernelBuilder::new("winograd_s8_products");
        let v = k.buffer("v", DType::I16, self.v_len(), Access::Read);
        let u = k.buffer("u", DType::I16, self.u_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let m = k.buffer("m", DType::I32, SUMS, Access::ReadWrite);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        let word = |at: Expr| (u.at(&at) & 65535) + u.at(at + 1) * 65536;
        k.for_("pair", 0, self.outputs / 2, |k, pair| {
            let base = k.let_("base", pair * pair_len(c));
            k.for_("xi", 0, XI, |k, xi| {
                let sums: Vec<Val> = (0..2 * TILES).map(|n| k.var(&format!("s{n}"), 0)).collect();
                k.for_("i", 0, c / 2, |k, i| {
                    let (from, at) =
                        (k.let_("from", xi * (4 * c) + i * 8), k.let_("at", base + xi * (2 * c) + i * 4));
                    for half in 0..2usize {
                        let tiles: Vec<Val> = (0..TILES)
                            .map(|q| k.let_(&format!("v{half}{q}"), v.at(from + (2 * q + half))))
                            .collect();
                        for r in 0..2 {
                            let w = k.let_(&format!("u{half}{r}"), u.at(at + (2 * r + half)));
                            for (q, &x) in tiles.iter().enumerate() {
                                k.add_to(sums[r * TILES + q], x * w);
                            }
                        }
                    }
                });
                for (n, &s) in sums.iter().enumerate() {
                    k.store(m, xi * (2 * TILES) + n, s);
                }
            });
            for r in 0..2usize {
                let end = base + (XI * 2 * c + 4 * r);
                let bias = k.let_("bias", word(end.clone()));
                let by = k.let_("by", word(end + 2));
                k.for_("tile", 0, TILES, |k, tile| {
                    let s = |k: &mut KernelBuilder, i: usize, j: usize| {
                        let v = m.at(tile + (2 * TILES * (4 * i + j) + TILES * r));
                        let v = if (i, j) == (1, 1) { v + bias } else { v };
                        k.let_(&format!("s{i}{j}"), v)
                    };
                    let mut down: [Vec<Val>; 2] = [Vec::new(), Vec::new()];
                    for j in 0..4 {
                        let s: Vec<Val> = (0..4).map(|i| s(k, i, j)).collect();
                        down[0].push(k.let_(&format!("a{j}"), s[0] + s[1] + s[2]));
                        down[1].push(k.let_(&format!("b{j}"), s[1] - s[2] - s[3]));
                    }
                    for (i, d) in down.iter().enumerate() {
                        for (j, sum) in [d[0] + d[1] + d[2], d[1] - d[2] - d[3]].into_iter().enumerate() {
                            let sum = k.let_("sum", sum);
                            let ends: [Expr; 4] =
                                [rnd.into(), (self.sh as i32).into(), self.lo.into(), self.hi.into()];
                            let args = [sum.into(), by.into()].into_iter().chain(ends).collect();
                            let value = instr(&requantize_high_instr(), args);
                            let to = pair * 2 + tile * (2 * self.step) + (r + i * self.row + j * self.step);
                            k.store(y, to, value);
                        }
                    }
                });
            }
        });
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    pub(super) fn block(&self) -> Block {
        let c = self.channels as i32;
        let mut b = Block::new(4);
        let [v0, u0, y, m] = [b.args[0], b.args[1], b.args[2], b.args[3]];
        let frame =
            Frame { y: b.slot(), m: b.slot(), at: b.slot(), end: b.slot(), u: b.slot(), row: b.slot() };
        let (tiles, last) = (b.slot(), b.slot());
        b.push(Inst::StrSlot(y, frame.y));
        b.push(Inst::StrSlot(m, frame.m));
        b.push(Inst::StrSlot(m, frame.at));
        b.push(Inst::StrSlot(v0, tiles));
        b.push(Inst::StrSlot(u0, frame.u));
        let stop = b.reg();
        b.push(Inst::AddImm(stop, m, 4 * SUMS as i32));
        b.push(Inst::StrSlot(stop, frame.end));
        let stop = b.reg();
        b.push(Inst::Mov(stop, u0));
        b.advance(stop, 2 * self.u_len() as i32);
        b.push(Inst::StrSlot(stop, last));
        let pairs = (self.outputs > 2).then(|| b.label(self.outputs as u64 / 2));
        // Pointers of their own in every round: the registers are needed in between.
        let [v, u] = b.regs_n();
        b.push(Inst::LdrSlot(u, frame.u));
        b.push(Inst::LdrSlot(v, tiles));
        let (opening, together) = self.spelled();
        let top = b.label((XI / together) as u64);
        let rest = self.channels / 2 - opening;
        for product in 0..together {
            let sums: Vec<Reg> = (0..2 * TILES).map(|_| b.reg()).collect();
            let at = (product * opening) as u32;
            for pair in 0..opening as u32 {
                multiply(&mut b, (v, 16 * (at + pair)), (u, 8 * (at + pair)), &sums, pair == 0);
            }
            if opening == 0 {
                sums.iter().for_each(|&s| b.push(Inst::MovImm(s, 0)));
            }
            if rest > 0 {
                b.advance(v, 16 * opening as i32);
                b.advance(u, 8 * opening as i32);
                let stop = b.reg();
                b.push(Inst::Mov(stop, v));
                b.advance(stop, 16 * rest as i32);
                b.push(Inst::StrSlot(stop, frame.row));
                let top = b.label((rest / ROUND) as u64);
                for pair in 0..ROUND as u32 {
                    multiply(&mut b, (v, 16 * pair), (u, 8 * pair), &sums, false);
                }
                b.advance(v, 16 * ROUND as i32);
                b.advance(u, 8 * ROUND as i32);
                let stop = b.reg();
                b.push(Inst::LdrSlot(stop, frame.row));
                b.push(Inst::Cmp(v, stop));
                b.push(Inst::BranchBack(Cond::Ne, top));
            }
            let [at, end] = b.regs_n();
            b.push(Inst::LdrSlot(at, frame.at));
            if product + 1 == together {
                b.push(Inst::LdrSlot(end, frame.end));
            }
            for (n, &s) in sums.iter().enumerate() {
                b.push(Inst::Str(s, at, 4 * (2 * TILES * product + n) as u32));
            }
            if product + 1 == together {
                if rest == 0 {
                    b.advance(v, 8 * c * together as i32);
                    b.advance(u, 4 * c * together as i32);
                }
                b.push(Inst::AddImm(at, at, (8 * TILES * together) as i32));
                b.push(Inst::StrSlot(at, frame.at));
                b.push(Inst::Cmp(at, end));
            }
        }
        b.push(Inst::BranchBack(Cond::Ne, top));
        self.outputs(&mut b, &frame, u);
        let [u, stop] = b.regs_n();
        b.push(Inst::LdrSlot(u, frame.u));
        b.push(Inst::LdrSlot(stop, last));
        b.push(Inst::AddImm(u, u, 16));
        b.push(Inst::StrSlot(u, frame.u));
        if let Some(pairs) = pairs {
            b.push(Inst::Cmp(u, stop));
            b.push(Inst::BranchBack(Cond::Ne, pairs));
        }
        b
    }

    /// Transforms the sums back, requantizes and stores them; `u` stands at their ends.
    fn outputs(&self, b: &mut Block, frame: &Frame, u: Reg) {
        b.push(Inst::StrSlot(u, frame.u));
        let [p, y] = b.regs_n();
        b.push(Inst::LdrSlot(p, frame.m));
        b.push(Inst::StrSlot(p, frame.at));
        b.push(Inst::LdrSlot(y, frame.y));
        let next = b.reg();
        b.push(Inst::AddImm(next, y, 2));
        b.push(Inst::StrSlot(next, frame.y));
        let rnd = b.reg();
        b.push(Inst::LdrArg(rnd, 4));
        for r in 0..2u32 {
            let [ends, bias, by, stop] = b.regs_n();
            b.push(Inst::LdrSlot(ends, frame.u));
            b.push(Inst::Ldr(bias, ends, 8 * r));
            b.push(Inst::Ldr(by, ends, 8 * r + 4));
            b.push(Inst::AddImm(stop, p, 4 * TILES as i32));
            let top = b.label(TILES as u64);
            // Sums of the upper and the lower row of outputs, left and right.
            let mut sums: Vec<[Reg; 2]> = Vec::new();
            for j in 0..4 {
                let s: [Reg; 4] = b.regs_n();
                for (i, &s) in s.iter().enumerate() {
                    b.push(Inst::Ldr(s, p, 4 * (2 * TILES * (4 * i + j)) as u32));
                }
                if j == 1 {
                    b.push(Inst::Add(s[1], s[1], bias));
                }
                let (up, low) = (s[0], s[1]);
                b.push(Inst::Add(up, up, s[1]));
                b.push(Inst::Add(up, up, s[2]));
                b.push(Inst::Sub(low, low, s[2]));
                b.push(Inst::Sub(low, low, s[3]));
                for (row, part) in [up, low].into_iter().enumerate() {
                    if j == 0 {
                        sums.push([part; 2]);
                        continue;
                    }
                    let [left, right] = sums[row];
                    if j < 3 {
                        b.push(Inst::Add(left, left, part));
                    }
                    match j {
                        1 => sums[row][1] = part,
                        _ => b.push(Inst::Sub(right, right, part)),
                    }
                }
            }
            for row in 0..2 {
                let round = Round::Layer(rnd, self.sh);
                let at = (y, row * self.row, self.step);
                close(b, &sums[row], by, round, at, (self.lo, self.hi));
            }
            b.push(Inst::AddImm(p, p, 4));
            b.advance(y, 2 * self.step as i32);
            b.push(Inst::Cmp(p, stop));
            b.push(Inst::BranchBack(Cond::Ne, top));
            if r == 0 {
                b.advance(y, 1 - (2 * TILES * self.step) as i32);
            }
        }
    }
}

/// One pair of input channels into eight sums.
fn multiply(b: &mut Block, (v, tiles): (Reg, u32), (u, filters): (Reg, u32), sums: &[Reg], first: bool) {
    let w: [Reg; 2] = b.regs_n();
    for (r, &w) in w.iter().enumerate() {
        b.push(Inst::Ldr(w, u, filters + 4 * r as u32));
    }
    for two in 0..TILES / 2 {
        let x: [Reg; 2] = b.regs_n();
        for (q, &x) in x.iter().enumerate() {
            b.push(Inst::Ldr(x, v, tiles + 4 * (2 * two + q) as u32));
        }
        for (r, &w) in w.iter().enumerate() {
            for (q, &x) in x.iter().enumerate() {
                let sum = sums[r * TILES + 2 * two + q];
                b.push(if first { Inst::Smuad(sum, x, w) } else { Inst::Smlad(sum, x, w, sum) });
            }
        }
    }
}

/// Words of the block's frame.
struct Frame {
    y: Slot,
    /// The sums, where the next ones go, and their end.
    m: Slot,
    at: Slot,
    end: Slot,
    /// The ends of two output channels.
    u: Slot,
    /// Where the loop over channels ends.
    row: Slot,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bytes, m4, native};
    use super::*;
    use crate::lower::spelled::{Role, Spelled};
    use crate::lower::trial::{Random, run};
    use crate::tensor::Data;

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(41);
        let base =
            Products { channels: 4, outputs: 2, step: 2, row: 16, sh: 3, lo: -128, hi: 127, straight: 32 };
        let sizes = [
            base,
            Products { channels: 8, outputs: 6, step: 7, row: 100, ..base },
            Products { channels: 16, outputs: 4, step: 4, row: 32, lo: -3, ..base },
            Products { channels: 32, outputs: 2, hi: 50, sh: 9, ..base },
            Products { channels: 64, ..base },
            Products { channels: 64, outputs: 4, step: 4, row: 40, straight: 16, ..base },
            Products { channels: 36, straight: 16, ..base },
        ];
        for (case, p) in sizes.iter().enumerate() {
            assert!(p.fits(), "case {case}");
            let v: Vec<i16> = (0..p.v_len()).map(|_| random.within(-1020, 1020) as i16).collect();
            let mut u: Vec<i16> = (0..p.u_len()).map(|_| random.within(-1143, 1143) as i16).collect();
            for pair in u.chunks_mut(pair_len(p.channels)) {
                let at = pair.len() - 8;
                for r in 0..2 {
                    let words = [random.within(-9000, 9000), random.within(1 << 20, i32::MAX.into())];
                    for (i, word) in words.into_iter().enumerate() {
                        pair[at + 4 * r + 2 * i] = word as i16;
                        pair[at + 4 * r + 2 * i + 1] = (word >> 16) as i16;
                    }
                }
            }
            let rnd = 5 << p.sh;
            let args =
                vec![Role::Operand(0), Role::Operand(1), Role::Result, Role::Workspace(0), Role::Scalar(rnd)];
            let call = Spelled { kernel: p.kernel(&m4()).unwrap(), args };
            let got = run(&call, &[Data::I16(v.clone()), Data::I16(u.clone())], DType::I8, p.y_len());
            let regions = vec![bytes(&v), bytes(&u), vec![0; p.y_len()], vec![0; 4 * SUMS]];
            let out = native(&p.block(), regions, &[rnd as u32]);
            let out = Data::I8(out[2].iter().map(|&b| b as i8).collect());
            assert_eq!(got, out, "case {case}");
        }
    }

    /// On Cortex-M4: 16 cycles for 16 products at 16 channels and more, and what the transform
    /// back and the loops add.
    #[test]
    fn cycles_stay_near_the_bound() {
        for (channels, most) in [(16, 0.64), (32, 0.56), (64, 0.50)] {
            let p = Products {
                channels,
                outputs: 16,
                step: 16,
                row: 512,
                sh: 5,
                lo: -128,
                hi: 127,
                straight: 32,
            };
            let whole = p.block().native("dsp", &m4()).unwrap().cycles;
            let macs = 9 * channels * 16 * 4 * TILES;
            let each = whole as f64 / macs as f64;
            assert!(each < most, "{channels} channels: {each} cycles a multiplication of the direct kernel");
        }
    }
}
