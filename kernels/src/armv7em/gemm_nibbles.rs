//! Products with weights of four bits ([`Format::Nibbles`]).
//!
//! Of a word of weights `w3 w2 w1 w0`, of which the lower three are 8 more than they mean, four
//! products sum `w3 * 4096 + w2 * 256 + w1 * 16 + w0` (the word as it stands), `w1 * 16 + w0` (its low
//! bytes), `w2 * 256` and `w0` (under masks). So three instructions part four channels of two inputs,
//! which is as many as two words of the packed format need to be loaded and extended.
//!
//! Bound of the inner loop on Cortex-M4 for two inputs, four channels and two columns: 3 loads side by
//! side (4 cycles), 3 to part them and 8 `smlad`: 15 cycles for 16 MAC, as in the packed format.

use crate::armv7em::gemm::{Frame, Gemm};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror, Slot};

/// Pairs of inputs per round of summing them.
const ROUND: usize = 8;

impl Gemm {
    /// Sums the inputs of each column and keeps -8 times the sum: what a weight that is 8 too large
    /// adds, to be taken away.
    pub(super) fn offsets(&self, b: &mut Block, acts: Reg) -> Vec<Slot> {
        let [at, one, stop, end] = b.regs_n();
        let sums: Vec<Reg> = (0..self.columns).map(|_| b.reg()).collect();
        b.push(Inst::MovImm(one, 0x0001_0001));
        sums.iter().for_each(|&sum| b.push(Inst::MovImm(sum, 0)));
        b.push(Inst::Mov(at, acts));
        let add = |b: &mut Block, from: usize, pairs: usize| {
            for p in from..from + pairs {
                let inputs = self.inputs(b, at, 4 * p as u32);
                for (&sum, x) in sums.iter().zip(inputs) {
                    b.push(Inst::Smlad(sum, x, one, sum));
                }
            }
        };
        if self.runs > 1 {
            b.push(Inst::Mov(end, acts));
            b.advance(end, 2 * (self.runs * self.run_pitch) as i32);
        }
        let runs = b.label(self.runs as u64);
        let (rounds, rest) = (self.pairs / ROUND, self.pairs % ROUND);
        if rounds > 0 {
            b.push(Inst::Mov(stop, at));
            b.advance(stop, (4 * ROUND * rounds) as i32);
            let top = b.label(rounds as u64);
            add(b, 0, ROUND);
            b.advance(at, 4 * ROUND as i32);
            b.push(Inst::Cmp(at, stop));
            b.push(Inst::BranchBack(Cond::Ne, top));
        }
        add(b, 0, rest);
        if self.runs > 1 {
            b.advance(at, 2 * self.run_pitch as i32 - (4 * ROUND * rounds) as i32);
            b.push(Inst::Cmp(at, end));
            b.push(Inst::BranchBack(Cond::Ne, runs));
        }
        let kept = |sum: &Reg| {
            let slot = b.slot();
            b.push(Inst::Neg(*sum, *sum));
            b.push(Inst::LslImm(*sum, *sum, 3));
            b.push(Inst::StrSlot(*sum, slot));
            slot
        };
        sums.iter().map(kept).collect()
    }

    /// From the biases of four channels in the last column's registers to what the sums of all columns
    /// start from.
    pub(super) fn open_nibbles(&self, b: &mut Block, frame: &Frame, (high, low): (&[Reg], &[Reg])) {
        let q = self.columns;
        let of = |column: usize| [high[column], low[column], high[q + column], low[q + column]];
        let last = of(q - 1);
        b.push(Inst::AddLsl(last[1], last[0], last[1], 4));
        b.push(Inst::LslImm(last[2], last[2], 8));
        b.push(Inst::AddLsl(last[3], last[2], last[3], 12));
        b.push(Inst::Add(last[3], last[3], last[1]));
        for (column, &slot) in frame.offsets.iter().enumerate() {
            let [zero, one, two, three] = of(column);
            let offset = b.reg();
            b.push(Inst::LdrSlot(offset, slot));
            b.push(Inst::Add(zero, last[0], offset));
            b.push(Inst::Add(one, last[1], offset));
            b.push(Inst::AddLsl(one, one, offset, 4));
            b.push(Inst::AddLsl(two, last[2], offset, 8));
            b.push(Inst::Add(three, last[3], offset));
            b.push(Inst::AddLsl(three, three, offset, 4));
            b.push(Inst::AddLsl(three, three, offset, 8));
        }
    }

    /// `n` pairs of inputs.
    pub(super) fn nibble_pairs(
        &self,
        b: &mut Block,
        (acts, input): (Reg, u32),
        (w, weight): (Reg, u32),
        n: usize,
        (high, low): (&[Reg], &[Reg]),
    ) {
        let q = self.columns;
        for p in 0..n as u32 {
            let word = b.reg();
            b.push(Inst::Ldr(word, w, weight + 4 * p));
            let inputs = self.inputs(b, acts, input + 4 * p);
            let part = b.reg();
            self.sums(b, word, &inputs, &low[q..], false);
            b.push(Inst::Uxtb16(part, word, Ror::R0));
            self.sums(b, part, &inputs, &low[..q], false);
            let part = b.reg();
            b.push(Inst::MaskHigh(part, word, 15));
            self.sums(b, part, &inputs, &high[q..], false);
            b.push(Inst::MaskLow(word, word, 15));
            self.sums(b, word, &inputs, &high[..q], false);
        }
    }

    /// The sums of the four channels, apart.
    pub(super) fn part_nibbles(&self, b: &mut Block, (high, low): (&[Reg], &[Reg])) {
        let q = self.columns;
        for column in 0..q {
            let [zero, one, two, three] = [high[column], low[column], high[q + column], low[q + column]];
            b.push(Inst::Sub(three, three, one));
            b.push(Inst::Sub(three, three, two));
            b.push(Inst::Sub(one, one, zero));
            b.push(Inst::AsrImm(three, three, 12));
            b.push(Inst::AsrImm(two, two, 8));
            b.push(Inst::AsrImm(one, one, 4));
        }
    }
}
