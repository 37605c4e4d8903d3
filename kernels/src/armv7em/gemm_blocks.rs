//! Products with weights of which whole blocks are zero: one, two or four channels by four inputs, stored where
//! one of their weights is not.
//!
//! The columns of inputs are those of [`crate::armv7em::gemm`], up to eight sums at once: two columns of four
//! channels, four of two, eight of one. The weights of a block of two or four channels are two pairs of
//! inputs in [`Format::Packed`]; those of one channel are four bytes, of which the odd ones meet the second
//! pair. A group of channels is a head (biases), a control word, rounds of blocks, and a tail
//! (multipliers). The first round has one to four blocks, the others four; behind its blocks a round has a
//! byte for each of them: how far its inputs stand behind those of the block before, in steps of four inputs.
//! What is further away than a byte says is reached over blocks of zeros, and a group without any block has
//! one. The low half of the control word says where the first round would begin if it had four blocks, its high half
//! where the last round ends, in bytes from the group's first.
//! Less stands for a single channel ([`Form`]), where its bias and its blocks are few enough: the number of
//! blocks is in the bias's word, and steps take half a byte where hardly a block is further away.
//!
//! Bounds for a block, 32 products, on Cortex-M4: four channels take 30 cycles as without zeros (two
//! pairs of inputs), three for the step, its sum and one more place where loads begin anew, and a quarter of a round's
//! end (8): 35. Two channels take 36.3, as two columns at a time have room for their inputs. One channel loads two
//! words of inputs for every two products: 40 for eight columns, six for weights, their extension and the step: 48.3. Half
//! a byte takes one more to part, and leaves the words of every second round across two of memory's: one more.
//!
//! A group of four channels takes 67 cycles beside its blocks: 7 to load biases and control word, 4 to copy biases to
//! the second column, 4 to place the pointers, 5 to find the way into the first round, 43 to round, store and
//! go on. A direct product of 64 inputs takes some 540 for the same, so that zeros pay up to 82 blocks of 100. Each
//! hundredth more is 5.6 cycles: rounds of eight blocks would save 14 for 400 bytes of code more, a
//! pointer that moves while it loads one a round.
//!
//! Bytes of a channel of 1x4: 5 for each block, 8 beside (bias and number of blocks, multiplier), and 1.5 that fill the
//! last word of steps: words of weights that do not begin on a word cost a cycle each. Of 288 inputs a quarter is
//! 18 blocks, so 99.5 bytes of the 296 that a dense channel takes: 0.336; without what fills words 0.331. Half
//! a byte a step would come to 0.31, but the way from row to row of a window, some 250 steps, does not fit it: an
//! escape costs two cycles in each block, 160 for each byte that is saved.

use crate::armv7em::gemm::{Frame, Gemm, suffix};
use crate::armv7em::stream::{Format, Stream};
use crate::asm::armv7em::{Block, Cond, Inst, Label, Reg, Ror};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Native, Val};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

mod pack;

/// Sizes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The product with all its zeros; up to `8 / rows` columns, a power of two.
    pub gemm: Gemm,
    /// Channels of a block: 1, 2 or 4.
    pub rows: usize,
    pub form: Form,
    /// Blocks that are stored, and the halves of the stream.
    pub stored: usize,
    pub len: usize,
}

/// What stands beside the weights of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Biases, a control word, a byte for each step.
    Words,
    /// Of one channel: 24 bits of bias and the number of blocks in the low byte, and a byte for each step.
    Bytes,
    /// The same, and half a byte for each step.
    Halves,
}

/// Channels that blocks may have.
pub const ROWS: [usize; 3] = [4, 2, 1];
/// Inputs of a block.
const INPUTS: usize = 4;
/// Blocks of a round.
const ROUND: usize = 4;
/// Sums that registers hold.
const SUMS: usize = 8;

/// The most columns at once for blocks of so many channels.
pub fn most_columns(rows: usize) -> usize {
    SUMS / rows
}

impl Blocks {
    /// As the kernels of these blocks take a product: each has its format of weights.
    pub fn sizes(rows: usize, gemm: &Gemm) -> Gemm {
        let format = if rows == 1 { Format::Plain } else { Format::Packed };
        Gemm { format, ahead: false, ..*gemm }
    }
    fn stream(&self) -> Stream {
        Stream { pairs: 0, group: self.rows, ..self.gemm.stream() }
    }
    /// Halves of a block's weights, and of a whole round.
    fn weights(&self) -> usize {
        self.rows * INPUTS / 2
    }
    /// Halves of a round's steps.
    fn steps(&self) -> usize {
        if self.form == Form::Halves { 1 } else { 2 }
    }
    fn round_len(&self) -> usize {
        ROUND * self.weights() + self.steps()
    }
    /// Halves of a group before its rounds.
    fn head(&self) -> usize {
        if self.form == Form::Words { self.stream().head_len() + 2 } else { 2 }
    }
    /// Bytes from a group's first to where its first round, of `short` blocks, would begin if it had as many as
    /// the others.
    fn opening(&self, short: usize) -> i32 {
        2 * self.head() as i32 - 2 * (self.weights() * (ROUND - short)) as i32
    }
    /// Farthest step between two blocks.
    fn farthest(&self) -> usize {
        if self.form == Form::Halves { 15 } else { 255 }
    }
    fn groups(&self) -> usize {
        self.gemm.outputs / self.rows
    }

    /// Blocks of the product, zeros and all.
    fn all(&self) -> usize {
        self.gemm.runs * self.gemm.pairs * 2 / INPUTS * self.groups()
    }
    /// Whether enough blocks are zero for the others to take fewer cycles than all of them: the share, in
    /// hundredths, that may be stored.
    pub fn pays(&self) -> bool {
        let most = match self.rows {
            4 => 92,
            2 => 88,
            _ => 66,
        };
        100 * self.stored <= most * self.all()
    }

    /// The kernel `(acts, w, y, rnd)`: its meaning as loops and its native form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let g = &self.gemm;
        let name = format!("gemm_{}_b{}x4q{}", suffix(g.result()), self.rows, g.columns);
        let mut k = KernelBuilder::new(name);
        let acts = k.buffer("acts", DType::I16, g.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.len, Access::Read);
        let y = k.buffer("y", g.result(), (g.columns - 1) * g.step + g.outputs, Access::Write);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        let stream = self.stream();
        let (head, tail) = (self.head(), stream.tail_len());
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize| at.max(0).min((self.len - room) as i32);
        let last = (g.acts_len() - (g.columns - 1) * g.pitch - INPUTS) as i32;
        let (round_len, weights_len) = (self.round_len(), self.weights());
        let next = k.var("next", 0);
        k.for_("group", 0, self.groups(), |k, group| {
            let base = k.let_("base", within(next.into(), head));
            let (sums, short, bytes) = self.open(k, w, base);
            let first = k.let_("first", base + head);
            let at = k.var("at", 0);
            let rounds = k.let_("rounds", (bytes + (2 * round_len - 1) as i32) / (2 * round_len) as i32);
            k.for_("round", 0, rounds, |k, turn| {
                let opening = turn.equals(0);
                let blocks = k.let_("blocks", opening.select(short, ROUND as i32));
                let later = first + short * weights_len + self.steps() + (turn - 1) * round_len;
                let start = k.let_("start", opening.select(first, later));
                let steps = k.let_("steps", start + blocks * weights_len);
                k.for_("block", 0, blocks, |k, block| {
                    let byte = k.let_("byte", block - blocks + ROUND);
                    let step = match self.form {
                        Form::Halves => (w.at(within(steps.into(), 1)) >> ((byte & 3) << 2)) & 15,
                        _ => (w.at(within(steps + (byte >> 1), 1)) >> ((byte & 1) << 3)) & 255,
                    };
                    let step = k.let_("step", step);
                    k.set(at, (at + step * INPUTS).max(0).min(last));
                    let weights = k.let_("weights", within(start + block * weights_len, weights_len));
                    self.add(k, (acts, at), (w, weights), &sums);
                });
            });
            let behind = k.let_("behind", within(first + (bytes >> 1), tail));
            let base = k.let_("closing", behind - stream.head_len());
            for (c, columns) in sums.iter().enumerate() {
                for (q, &sum) in columns.iter().enumerate() {
                    let value = stream.close(k, (w, base, Some(rnd)), (c, sum), (g.lo, g.hi));
                    k.store(y, group * self.rows + (q * g.step + c), value);
                }
            }
            k.set(next, behind + tail);
        });
        k.native(self.native(core)?);
        k.finish()
    }

    /// The sums of a group that begins at `base`, the blocks of its first round, and the bytes of all.
    fn open(&self, k: &mut KernelBuilder, w: Buf, base: Val) -> (Vec<Vec<Val>>, Val, Val) {
        if self.form == Form::Words {
            let stream = self.stream();
            let sums = stream.open(k, w, base, self.gemm.columns);
            let control = stream.head_len();
            let missing = k.let_("missing", w.at(base + control) - self.opening(0));
            let short = k.let_("short", (missing >> (2 * self.weights()).trailing_zeros() as i32) & 7);
            let bytes = (w.at(base + (control + 1)) & 65535) - 2 * self.head() as i32;
            return (sums, short, k.let_("bytes", bytes));
        }
        let low = k.let_("low", w.at(base));
        let bias = k.let_("bias0", w.at(base + 1) * 256 + ((low >> 8) & 255));
        let sums = (0..self.gemm.columns).map(|q| k.var(&format!("sum0{q}"), bias)).collect();
        let blocks = k.let_("stored", low & 255);
        let short = k.let_("short", ((blocks + 3) & 3) + 1);
        let rounds = (blocks + 3) >> 2;
        let bytes = blocks * (2 * self.weights()) + rounds * (2 * self.steps());
        (vec![sums], short, k.let_("bytes", bytes))
    }

    /// The meaning of a block: its products with inputs from `at` on.
    fn add(
        &self,
        k: &mut KernelBuilder,
        (acts, at): (Buf, Val),
        (w, weights): (Buf, Val),
        sums: &[Vec<Val>],
    ) {
        let (g, stream) = (&self.gemm, self.stream());
        for input in 0..INPUTS {
            let values: Vec<Val> = (0..g.columns)
                .map(|q| k.let_(&format!("x{input}{q}"), acts.at(at + (q * g.pitch + input))))
                .collect();
            if self.rows > 1 {
                let pair = weights + input / 2 * stream.pair_len();
                stream.add(k, (w, &pair, input % 2), &values, sums);
                continue;
            }
            let half = k.let_("half", w.at(weights + input % 2));
            let low = ((half & 255) ^ 128) - 128;
            let weight = k.let_("weight", if input < 2 { low } else { half >> 8 });
            for (&sum, &value) in sums[0].iter().zip(&values) {
                k.add_to(sum, value * weight);
            }
        }
    }

    /// The native form. Loops have whole numbers of turns, blocks need not fill their rounds: what a round
    /// takes is the difference that one more makes.
    fn native(&self, core: &Core) -> Result<Native> {
        let (native, more) = (self.block(1).native("dsp", core)?, self.block(2).native("dsp", core)?);
        let rounds = self.stored as f64 / (ROUND * self.groups()) as f64;
        let turn = (more.cycles - native.cycles) as f64;
        Ok(Native { cycles: native.cycles + ((rounds - 1.0) * turn).round() as u64, ..native })
    }

    /// The instructions, as if a group had so many rounds.
    fn block(&self, rounds: u64) -> Block {
        let g = &self.gemm;
        let q = g.columns;
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

        let top = b.label(self.groups() as u64);
        // Sums of channels that share words of weights, and of those below them.
        let pairs = self.rows.div_ceil(2);
        let high: Vec<Reg> = (0..pairs * q).map(|_| b.reg()).collect();
        let low: Vec<Reg> = (0..self.rows / 2 * q).map(|_| b.reg()).collect();
        let blocks = b.reg();
        for pair in 0..pairs {
            let sums = [high.get(pair * q..), low.get(pair * q..)].into_iter().flatten();
            for (n, sums) in sums.filter(|s| !s.is_empty()).enumerate() {
                b.push(Inst::Ldr(sums[0], w, (8 * pair + 4 * n) as u32));
                if self.form != Form::Words {
                    b.push(Inst::Uxtb(blocks, sums[0], 0));
                    b.push(Inst::AsrImm(sums[0], sums[0], 8));
                }
                (1..q).for_each(|column| b.push(Inst::Mov(sums[column], sums[0])));
            }
        }
        // The first round ends where a whole one would.
        let bytes = 2 * self.weights();
        let [more, stop] = b.regs_n();
        b.push(Inst::LdrSlot(acts, base));
        // What tells first rounds of four, three, two blocks and one apart.
        let codes = if self.form == Form::Words {
            let control = b.reg();
            b.push(Inst::Ldr(control, w, 4 * self.rows as u32));
            b.push(Inst::AddLsr(stop, w, control, 16));
            b.push(Inst::Uxtb(more, control, 0));
            b.push(Inst::Sxtah(w, w, control, Ror::R0));
            [4, 3, 2, 1].map(|short| self.opening(short) as u8)
        } else {
            b.push(Inst::AddImm(w, w, 4));
            b.push(Inst::AddLsl(stop, w, blocks, bytes.trailing_zeros()));
            b.push(Inst::AddImm(more, blocks, ROUND as i32 - 1));
            b.push(Inst::LsrImm(blocks, more, ROUND.trailing_zeros()));
            b.push(Inst::AddLsl(stop, stop, blocks, (2 * self.steps()).trailing_zeros()));
            b.push(Inst::Ubfx(more, more, 0, ROUND.trailing_zeros()));
            b.push(Inst::AddLsl(w, w, more, bytes.trailing_zeros()));
            b.push(Inst::AddImm(w, w, -(((ROUND - 1) * bytes) as i32)));
            [3, 2, 1, 0]
        };
        b.push(Inst::StrSlot(stop, frame.stop));
        let enter: Vec<_> = (1..ROUND).map(|_| b.ahead()).collect();
        self.way_in(&mut b, more, codes, &enter);
        let turn = b.label(rounds);
        for block in 0..ROUND {
            if block > 0 {
                b.place(enter[block - 1]);
            }
            let weights = (bytes * block) as u32;
            if self.rows == 1 {
                self.one_channel(&mut b, acts, (w, weights, block), &high);
                continue;
            }
            self.step(&mut b, acts, w, block);
            match self.rows {
                2 => (0..2).for_each(|p| {
                    self.two_channels(&mut b, (acts, 4 * p), (w, weights + 4 * p), (&high, &low))
                }),
                _ => g.pairs(&mut b, (acts, 0), (w, weights), 2, (&high, &low), false),
            }
        }
        b.push(Inst::AddImm(w, w, 2 * self.round_len() as i32));
        let stop = b.reg();
        b.push(Inst::LdrSlot(stop, frame.stop));
        b.push(Inst::Cmp(w, stop));
        b.push(Inst::BranchBack(Cond::Ne, turn));
        g.finish(&mut b, &frame, w, 0, self.rows, (&high, &low));
        let end = b.reg();
        b.push(Inst::LdrSlot(end, frame.end));
        b.push(Inst::Cmp(w, end));
        b.push(Inst::BranchBack(Cond::Ne, top));
        b
    }

    /// Branches to where a round begins of which one, two or three blocks are left out; `codes` of rounds with none to
    /// three left out tell them apart. One comparison serves two of them, where a code is alone on one side of another.
    fn way_in(&self, b: &mut Block, code: Reg, codes: [u8; ROUND], enter: &[Label]) {
        let mut left: Vec<usize> = (1..ROUND).collect();
        let others = |pivot: usize| (0..ROUND).filter(move |&n| n != pivot);
        let alone = |pivot: usize, lower: bool| {
            let mut side = others(pivot).filter(|&n| (codes[n] < codes[pivot]) == lower);
            side.next().filter(|&n| n > 0 && side.next().is_none())
        };
        let found =
            (1..ROUND).flat_map(|pivot| [(pivot, true), (pivot, false)]).find_map(|(pivot, lower)| {
                alone(pivot, lower).map(|other| (pivot, other, if lower { Cond::Lo } else { Cond::Hs }))
            });
        if let Some((pivot, other, cond)) = found {
            b.push(Inst::CmpImm(code, codes[pivot].into()));
            b.push(Inst::Branch(Cond::Eq, enter[pivot - 1]));
            b.push(Inst::Branch(cond, enter[other - 1]));
            left.retain(|&n| n != pivot && n != other);
        }
        for n in left {
            b.push(Inst::CmpImm(code, codes[n].into()));
            b.push(Inst::Branch(Cond::Eq, enter[n - 1]));
        }
    }

    /// Moves the inputs on by the step of a round's block, which stands behind all its weights.
    fn step(&self, b: &mut Block, acts: Reg, w: Reg, block: usize) {
        let (step, from) = (b.reg(), 2 * self.weights() * ROUND);
        if self.form == Form::Halves {
            b.push(Inst::Ldrb(step, w, (from + block / 2) as u32));
            b.push(Inst::Ubfx(step, step, 4 * (block % 2) as u32, 4));
        } else {
            b.push(Inst::Ldrb(step, w, (from + block) as u32));
        }
        b.push(Inst::AddLsl(acts, acts, step, 3));
    }

    /// Two inputs of two channels, up to four columns: the word as it stands, and its low bytes, meet two columns at
    /// a time.
    fn two_channels(
        &self,
        b: &mut Block,
        (acts, input): (Reg, u32),
        (w, weight): (Reg, u32),
        (high, low): (&[Reg], &[Reg]),
    ) {
        let [word, narrow] = b.regs_n();
        b.push(Inst::Ldr(word, w, weight));
        for first in (0..self.gemm.columns).step_by(2) {
            let columns = first..self.gemm.columns.min(first + 2);
            let inputs: Vec<Reg> = columns.clone().map(|_| b.reg()).collect();
            for (column, &x) in columns.clone().zip(&inputs) {
                b.push(Inst::Ldr(x, acts, input + (2 * self.gemm.pitch * column) as u32));
            }
            if first == 0 {
                b.push(Inst::Sxtb16(narrow, word, Ror::R0));
            }
            for (word, sums) in [(word, high), (narrow, low)] {
                for (&sum, &x) in sums[columns.clone()].iter().zip(&inputs) {
                    b.push(Inst::Smlad(sum, x, word, sum));
                }
            }
        }
    }

    /// Four inputs of one channel, column by column.
    fn one_channel(&self, b: &mut Block, acts: Reg, (w, weight, block): (Reg, u32, usize), sums: &[Reg]) {
        let [first, second] = b.regs_n();
        b.push(Inst::Ldr(first, w, weight));
        self.step(b, acts, w, block);
        b.push(Inst::Sxtb16(second, first, Ror::R8));
        b.push(Inst::Sxtb16(first, first, Ror::R0));
        for (column, &sum) in sums.iter().enumerate() {
            let at = (2 * self.gemm.pitch * column) as u32;
            let [x, next] = b.regs_n();
            b.push(Inst::Ldr(x, acts, at));
            b.push(Inst::Ldr(next, acts, at + 4));
            b.push(Inst::Smlad(sum, x, first, sum));
            b.push(Inst::Smlad(sum, next, second, sum));
        }
    }
}

#[cfg(test)]
mod tests;
