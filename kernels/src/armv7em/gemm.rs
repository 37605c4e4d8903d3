//! The blocked int8 product for cores with `smlad`: columns of widened inputs (one or two at
//! once) times four rows of weights at a time, requantized and stored.
//!
//! Weights lie as [`stream`](crate::armv7em::stream) says; sums stand in registers as their
//! format gives them until a group is done.

use crate::armv7em::epilogue::{Round, close, result};
use crate::armv7em::stream::{Format, Stream};
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror, Slot};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// How kernels are called by the type of their results.
pub fn suffix(result: DType) -> &'static str {
    if result == DType::I16 { "s8_s16" } else { "s8" }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    /// A column is this many runs of inputs (the rows of a convolution's window) ...
    pub runs: usize,
    /// ... of this many pairs each ...
    pub pairs: usize,
    /// ... that begin this many 16-bit elements apart.
    pub run_pitch: usize,
    /// Output channels.
    pub outputs: usize,
    /// Columns: 1 or 2.
    pub columns: usize,
    /// 16-bit elements from one column to the next.
    pub pitch: usize,
    /// Result elements from one column's channels to the next column's.
    pub step: usize,
    /// How the weights lie.
    pub format: Format,
    /// As [`Stream::sh`].
    pub sh: Option<u32>,
    pub lo: i32,
    pub hi: i32,
    /// Pairs per round of a loop, at least 1: [`ROUND`] where cycles count.
    pub round: usize,
    /// Each pair of inputs of two columns loads what the next one begins with, for cores that
    /// start two instructions at once.
    pub ahead: bool,
}

/// Channels of a group.
pub const GROUP: usize = 4;
/// Pairs per round of a loop within a run.
pub const ROUND: usize = 16;
/// The same for layers so small that their code counts more.
pub const SHORT: usize = 4;
/// Greatest `sh`: eight more must leave room for the zero point above it.
pub const MAX_SH: u32 = 14;

impl Gemm {
    pub fn stream(&self) -> Stream {
        Stream {
            format: self.format,
            sh: self.sh,
            outputs: self.outputs,
            group: GROUP,
            pairs: self.runs * self.pairs,
        }
    }
    fn packed(&self) -> bool {
        self.format == Format::Packed
    }
    fn pair_len(&self) -> usize {
        self.stream().pair_len()
    }
    /// Whether offsets fit the instructions and the shift leaves room.
    pub fn fits(&self) -> bool {
        let column = 2 * self.pitch * (self.columns - 1);
        let result = self.step * (self.columns - 1) * self.result().size();
        self.sh.is_none_or(|sh| (1..=MAX_SH).contains(&sh))
            && column + 8 * self.round <= 4095
            && result + GROUP * self.result().size() <= 4095
            && (self.runs == 1 || 4 * self.pairs <= 4095)
    }
    /// The type of its results.
    pub fn result(&self) -> DType {
        result((self.lo, self.hi))
    }
    /// Elements that the columns reach into.
    pub fn acts_len(&self) -> usize {
        (self.runs - 1) * self.run_pitch + (self.columns - 1) * self.pitch + 2 * self.pairs
    }
    /// Whether a column is spelled out whole.
    fn straight(&self, limit: usize) -> bool {
        let last = 2 * ((self.runs - 1) * self.run_pitch + (self.columns - 1) * self.pitch) + 4 * self.pairs;
        self.runs * self.pairs <= limit && last <= 4095
    }

    /// The kernel: `(acts, w, y, rnd)`, without `rnd` where channels have their own, its meaning as loops and its native form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let mut k = KernelBuilder::new(format!("gemm_{}_r4q{}", suffix(self.result()), self.columns));
        let acts = k.buffer("acts", DType::I16, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I16, self.stream().len(), Access::Read);
        let y = k.buffer("y", self.result(), (self.columns - 1) * self.step + self.outputs, Access::Write);
        let rnd = self.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
        let (whole, rest) = (self.outputs / GROUP, self.outputs % GROUP);
        k.for_("group", 0, whole, |k, group| self.body(k, (acts, w, y, rnd), group.into(), GROUP));
        if rest > 0 {
            self.body(&mut k, (acts, w, y, rnd), whole.into(), rest);
        }
        k.native(self.block().native("dsp", core)?);
        k.finish()
    }

    /// The meaning of one group of channels, `valid` of which exist.
    fn body(
        &self,
        k: &mut KernelBuilder,
        (acts, w, y, rnd): (Buf, Buf, Buf, Option<Val>),
        group: Expr,
        valid: usize,
    ) {
        let stream = self.stream();
        let base = k.let_("base", &group * stream.group_len());
        let sums = stream.open(k, w, base, self.columns);
        let (head, pair) = (stream.head_len(), stream.pair_len());
        k.for_("run", 0, self.runs, |k, run| {
            k.for_("p", 0, self.pairs, |k, p| {
                let at = k.let_("at", base + run * (pair * self.pairs) + p * pair + head);
                let from = k.let_("from", run * self.run_pitch + p * 2);
                for input in 0..2usize {
                    let values: Vec<Val> = (0..self.columns)
                        .map(|q| k.let_(&format!("x{input}{q}"), acts.at(from + (q * self.pitch + input))))
                        .collect();
                    stream.add(k, (w, &at.into(), input), &values, &sums);
                }
            });
        });
        for (c, columns) in sums.iter().enumerate().take(valid) {
            for (q, &sum) in columns.iter().enumerate() {
                let value = stream.close(k, (w, base, rnd), (c, sum), (self.lo, self.hi));
                k.store(y, &group * GROUP + (q * self.step + c), value);
            }
        }
    }

    /// The instructions.
    pub fn block(&self) -> Block {
        let mut b = Block::new(if self.sh.is_some() { 4 } else { 3 });
        b.streams = true;
        let [acts, w] = [b.args[0], b.args[1]];
        let (whole, rest) = (self.outputs / GROUP, self.outputs % GROUP);
        let mut frame = Frame::new(&mut b);
        if self.format == Format::Nibbles {
            frame.offsets = self.offsets(&mut b, acts);
        }
        if !self.straight(self.round) {
            // Where the loop over runs, or over the rounds of a single run, has come to its end.
            let whole = if self.runs > 1 { 2 * self.runs * self.run_pitch } else { 4 * self.pairs };
            let stop = b.reg();
            b.push(Inst::Mov(stop, acts));
            b.advance(stop, whole as i32);
            b.push(Inst::StrSlot(stop, frame.stop));
        }
        if whole > 1 {
            let end = b.reg();
            b.push(Inst::Mov(end, w));
            b.advance(end, (2 * self.stream().group_len() * whole) as i32);
            b.push(Inst::StrSlot(end, frame.end));
            let top = b.label(whole as u64);
            self.group(&mut b, &frame, acts, w, GROUP, 2 * self.round);
            let end = b.reg();
            b.push(Inst::LdrSlot(end, frame.end));
            b.push(Inst::Cmp(w, end));
            b.push(Inst::BranchBack(Cond::Ne, top));
        } else if whole == 1 {
            self.group(&mut b, &frame, acts, w, GROUP, 2 * self.round);
        }
        if rest > 0 {
            self.group(&mut b, &frame, acts, w, rest, self.round);
        }
        b
    }

    /// One group of channels; leaves `w` at the next group, `acts` where it was, and the
    /// result pointer of the frame one group on.
    fn group(&self, b: &mut Block, frame: &Frame, acts: Reg, w: Reg, valid: usize, straight: usize) {
        let q = self.columns;
        let high: Vec<Reg> = (0..2 * q).map(|_| b.reg()).collect();
        let low: Vec<Reg> = (0..2 * q).map(|_| b.reg()).collect();
        let sums = (high.as_slice(), low.as_slice());
        // The last column's sums start in place from the bias, the others take it as addend.
        for pair in 0..2 {
            b.push(Inst::Ldr(high[pair * q + q - 1], w, 8 * pair as u32));
            b.push(Inst::Ldr(low[pair * q + q - 1], w, 8 * pair as u32 + 4));
        }
        if self.format == Format::Nibbles {
            self.open_nibbles(b, frame, sums);
        }
        // The other columns of other formats take the bias as addend of their first product.
        let opening = self.format != Format::Nibbles;
        let mut at = 16;
        if self.straight(straight) && self.looks_ahead() {
            let pairs =
                (0..self.runs).flat_map(|r| (0..self.pairs).map(move |p| 2 * r * self.run_pitch + 4 * p));
            let pairs: Vec<u32> = pairs.map(|at| at as u32).collect();
            self.pairs_ahead(b, acts, &pairs, (w, at), sums, true);
            at += (2 * self.pair_len() * pairs.len()) as u32;
        } else if self.straight(straight) {
            for run in 0..self.runs {
                let from = (2 * run * self.run_pitch) as u32;
                self.pairs(b, (acts, from), (w, at), self.pairs, sums, opening && run == 0);
                at += (2 * self.pair_len() * self.pairs) as u32;
            }
        } else if self.runs == 1 {
            // Sums that start in place need no opening: what the loop does whole it does alone.
            let first = match self.pairs % self.round {
                0 if q == 1 => 0,
                _ => (self.pairs - 1) % self.round + 1,
            };
            self.pairs(b, (acts, 0), (w, at), first, sums, opening);
            b.advance(acts, 4 * first as i32);
            b.advance(w, at as i32 + (2 * self.pair_len() * first) as i32);
            self.rounds(b, (acts, w), frame.stop, (self.pairs - first) / self.round, sums);
            b.advance(acts, -4 * self.pairs as i32);
            at = 0;
        } else {
            for pair in (0..2).filter(|_| opening) {
                for column in 0..q - 1 {
                    b.push(Inst::Mov(high[pair * q + column], high[pair * q + q - 1]));
                    b.push(Inst::Mov(low[pair * q + column], low[pair * q + q - 1]));
                }
            }
            b.advance(w, at as i32);
            let top = b.label(self.runs as u64);
            let (first, rounds) = match self.pairs {
                // One and a half rounds: shorter than a round and what is left.
                n if n <= self.round + self.round / 2 => (n, 0),
                n => (n % self.round, n / self.round),
            };
            self.pairs(b, (acts, 0), (w, 0), first, sums, false);
            b.advance(w, (2 * self.pair_len() * first) as i32);
            if rounds > 0 {
                b.advance(acts, 4 * first as i32);
                let inner = b.reg();
                b.push(Inst::AddImm(inner, acts, (4 * self.round * rounds) as i32));
                b.push(Inst::StrSlot(inner, frame.inner));
                self.rounds(b, (acts, w), frame.inner, rounds, sums);
                b.advance(acts, 2 * self.run_pitch as i32 - 4 * self.pairs as i32);
            } else {
                b.advance(acts, 2 * self.run_pitch as i32);
            }
            self.repeat(b, acts, frame.stop, top);
            b.advance(acts, -2 * (self.runs * self.run_pitch) as i32);
            at = 0;
        }
        self.finish(b, frame, w, at, valid, sums);
    }

    /// A loop of whole rounds until `acts` reaches the address in `stop`.
    fn rounds(
        &self,
        b: &mut Block,
        (acts, w): (Reg, Reg),
        stop: Slot,
        rounds: usize,
        sums: (&[Reg], &[Reg]),
    ) {
        let top = b.label(rounds as u64);
        self.pairs(b, (acts, 0), (w, 0), self.round, sums, false);
        b.advance(acts, 4 * self.round as i32);
        b.advance(w, (2 * self.pair_len() * self.round) as i32);
        self.repeat(b, acts, stop, top);
    }

    fn repeat(&self, b: &mut Block, acts: Reg, stop: Slot, top: crate::asm::armv7em::Label) {
        let stop_at = b.reg();
        b.push(Inst::LdrSlot(stop_at, stop));
        b.push(Inst::Cmp(acts, stop_at));
        b.push(Inst::BranchBack(Cond::Ne, top));
    }

    /// `n` pairs of inputs, from pointers and byte offsets on.
    pub(super) fn pairs(
        &self,
        b: &mut Block,
        (acts, input): (Reg, u32),
        (w, weight): (Reg, u32),
        n: usize,
        (high, low): (&[Reg], &[Reg]),
        mut opening: bool,
    ) {
        if self.looks_ahead() {
            let pairs: Vec<u32> = (0..n).map(|p| input + 4 * p as u32).collect();
            return self.pairs_ahead(b, acts, &pairs, (w, weight), (high, low), opening);
        }
        match self.format {
            Format::Packed => {}
            Format::Plain => {
                return self.plain_pairs(b, (acts, input), (w, weight), n, (high, low), opening);
            }
            Format::Halves => return self.wide_pairs(b, (acts, input), (w, weight), n, (high, low), opening),
            Format::Nibbles => return self.nibble_pairs(b, (acts, input), (w, weight), n, (high, low)),
        }
        let q = self.columns;
        // Loads side by side cost one cycle less each: with one column there are registers for
        // two pairs' loads at once.
        let side_by_side = if q == 1 { 2 } else { 1 };
        for start in (0..n).step_by(side_by_side) {
            let mut loaded = Vec::new();
            for p in start..n.min(start + side_by_side) {
                let words: [Reg; 2] = b.regs_n();
                for (pair, &r) in words.iter().enumerate() {
                    b.push(Inst::Ldr(r, w, weight + (8 * p + 4 * pair) as u32));
                }
                loaded.push((words, self.inputs(b, acts, input + 4 * p as u32)));
            }
            for (words, inputs) in loaded {
                for (pair, &word) in words.iter().enumerate() {
                    self.sums(b, word, &inputs, &high[pair * q..][..q], opening);
                }
                let narrow: [Reg; 2] = b.regs_n();
                for (d, word) in narrow.into_iter().zip(words) {
                    b.push(Inst::Sxtb16(d, word, Ror::R0));
                }
                for (pair, &word) in narrow.iter().enumerate() {
                    self.sums(b, word, &inputs, &low[pair * q..][..q], opening);
                }
                opening = false;
            }
        }
    }

    /// The plain form: each pair's word is extended twice, so one is loaded at a time.
    fn plain_pairs(
        &self,
        b: &mut Block,
        (acts, input): (Reg, u32),
        (w, weight): (Reg, u32),
        n: usize,
        (high, low): (&[Reg], &[Reg]),
        mut opening: bool,
    ) {
        let q = self.columns;
        for p in 0..n {
            let mut inputs = Vec::new();
            for pair in 0..2 {
                let word = b.reg();
                b.push(Inst::Ldr(word, w, weight + (8 * p + 4 * pair) as u32));
                if pair == 0 {
                    inputs = self.inputs(b, acts, input + 4 * p as u32);
                }
                for (sums, ror) in [(high, Ror::R8), (low, Ror::R0)] {
                    let narrow = b.reg();
                    b.push(Inst::Sxtb16(narrow, word, ror));
                    self.sums(b, narrow, &inputs, &sums[pair * q..][..q], opening);
                }
            }
            opening = false;
        }
    }

    fn looks_ahead(&self) -> bool {
        self.ahead && self.columns == 2 && matches!(self.format, Format::Halves | Format::Packed)
    }

    /// Pairs of inputs of two columns at offsets from `acts`, ordered so that each load stands
    /// beside a product and comes two before its use: 10 cycles for 16 products in the packed
    /// form, 8 in halves, where a load and a product start at once.
    fn pairs_ahead(
        &self,
        b: &mut Block,
        acts: Reg,
        pairs: &[u32],
        (w, weight): (Reg, u32),
        (high, low): (&[Reg], &[Reg]),
        mut opening: bool,
    ) {
        let [x0, x1] = b.regs_n();
        let [mut u, mut v] = b.regs_n();
        let input = |b: &mut Block, x: Reg, p: usize, column: usize| {
            if let Some(&at) = pairs.get(p) {
                b.push(Inst::Ldr(x, acts, at + (2 * self.pitch * column) as u32));
            }
        };
        let bytes = 2 * self.pair_len();
        let word = |b: &mut Block, to: Reg, p: usize, n: usize| {
            if p < pairs.len() {
                b.push(Inst::Ldr(to, w, weight + (bytes * p + 4 * n) as u32));
            }
        };
        input(b, x0, 0, 0);
        word(b, u, 0, 0);
        input(b, x1, 0, 1);
        for p in 0..pairs.len() {
            // The second column's sum holds the bias at first.
            let add = |b: &mut Block, channel: usize, column: usize, x: Reg, word: Reg| {
                let sums = &if channel < 2 { high } else { low }[channel % 2 * 2..][..2];
                let addend = if opening { sums[1] } else { sums[column] };
                b.push(Inst::Smlad(sums[column], x, word, addend));
            };
            add(b, 0, 0, x0, u);
            word(b, v, p, 1);
            add(b, 0, 1, x1, u);
            if self.format == Format::Halves {
                word(b, u, p, 2);
                add(b, 1, 0, x0, v);
                add(b, 1, 1, x1, v);
                word(b, v, p, 3);
                add(b, 2, 0, x0, u);
                add(b, 3, 0, x0, v);
                input(b, x0, p + 1, 0);
                add(b, 3, 1, x1, v);
                word(b, v, p + 1, 0);
                add(b, 2, 1, x1, u);
                (u, v) = (v, u);
            } else {
                b.push(Inst::Sxtb16(u, u, Ror::R0));
                add(b, 1, 0, x0, v);
                add(b, 1, 1, x1, v);
                add(b, 2, 0, x0, u);
                b.push(Inst::Sxtb16(v, v, Ror::R0));
                add(b, 2, 1, x1, u);
                word(b, u, p + 1, 0);
                add(b, 3, 0, x0, v);
                input(b, x0, p + 1, 0);
                add(b, 3, 1, x1, v);
            }
            input(b, x1, p + 1, 1);
            opening = false;
        }
    }

    /// The halves form: nothing but loads and products.
    fn wide_pairs(
        &self,
        b: &mut Block,
        (acts, input): (Reg, u32),
        (w, weight): (Reg, u32),
        n: usize,
        (high, low): (&[Reg], &[Reg]),
        mut opening: bool,
    ) {
        let q = self.columns;
        for p in 0..n {
            let inputs = self.inputs(b, acts, input + 4 * p as u32);
            for channel in 0..GROUP {
                let word = b.reg();
                b.push(Inst::Ldr(word, w, weight + (16 * p + 4 * channel) as u32));
                let sums = if channel < 2 { high } else { low };
                self.sums(b, word, &inputs, &sums[channel % 2 * q..][..q], opening);
            }
            opening = false;
        }
    }

    /// Loads one pair of inputs of each column.
    pub(super) fn inputs(&self, b: &mut Block, acts: Reg, at: u32) -> Vec<Reg> {
        let inputs: Vec<Reg> = (0..self.columns).map(|_| b.reg()).collect();
        for (column, &r) in inputs.iter().enumerate() {
            b.push(Inst::Ldr(r, acts, at + (2 * self.pitch * column) as u32));
        }
        inputs
    }

    /// One word of weights into the sums of one channel; the first takes the bias as addend.
    pub(super) fn sums(&self, b: &mut Block, word: Reg, inputs: &[Reg], sums: &[Reg], opening: bool) {
        for (&sum, &input) in sums.iter().zip(inputs) {
            let addend = if opening { sums[sums.len() - 1] } else { sum };
            b.push(Inst::Smlad(sum, input, word, addend));
        }
    }

    /// Requantizes and stores the sums of a group, `high` of its even and `low` of its odd channels; `at` is the
    /// offset of the stream's tail.
    pub(super) fn finish(
        &self,
        b: &mut Block,
        frame: &Frame,
        w: Reg,
        at: u32,
        valid: usize,
        (high, low): (&[Reg], &[Reg]),
    ) {
        let q = self.columns;
        if self.format == Format::Nibbles {
            self.part_nibbles(b, (high, low));
        }
        let group = (high.len() + low.len()) / q;
        let y = b.reg();
        let limits = (self.lo, self.hi);
        if let Some(sh) = self.sh {
            // Of packed channels A 256 * SA remains: its constant and shift are 2^8 larger.
            let more = if self.packed() { 8 } else { 0 };
            for (first, sums) in [high, low].into_iter().enumerate().filter(|(_, s)| !s.is_empty()) {
                let mut round = b.reg();
                let m: Vec<Reg> = (0..sums.len() / q).map(|_| b.reg()).collect();
                let from = at + if first == 0 { (4 * low.len() / q) as u32 } else { 0 };
                for (n, &m) in m.iter().enumerate() {
                    b.push(Inst::Ldr(m, w, from + 4 * n as u32));
                }
                if first == 0 {
                    b.push(Inst::LdrSlot(y, frame.y));
                }
                b.push(Inst::LdrSlot(round, frame.rnd));
                if first == 0 && more > 0 {
                    let high_round = b.reg();
                    b.push(Inst::LslImm(high_round, round, more));
                    round = high_round;
                    for (&p, &s) in high.iter().zip(low) {
                        b.push(Inst::Sub(p, p, s));
                    }
                }
                let by = if first == 0 { sh + more } else { sh };
                for pair in (0..m.len()).filter(|pair| 2 * pair + first < valid) {
                    let round = Round::Layer(round, by);
                    close(
                        b,
                        &sums[pair * q..][..q],
                        m[pair],
                        round,
                        (y, 2 * pair + first, self.step),
                        limits,
                    );
                }
            }
        } else {
            b.push(Inst::LdrSlot(y, frame.y));
            for channel in 0..valid {
                let sums = if channel % 2 == 0 { high } else { low };
                let from = at + 12 * channel as u32;
                let m = b.reg();
                b.push(Inst::Ldr(m, w, from));
                let round = Round::Channel(w, from + 4);
                close(b, &sums[channel / 2 * q..][..q], m, round, (y, channel, self.step), limits);
            }
        }
        b.push(Inst::AddImm(y, y, (group * self.result().size()) as i32));
        b.push(Inst::StrSlot(y, frame.y));
        b.advance(w, at as i32 + 2 * Stream { group, ..self.stream() }.tail_len() as i32);
    }
}

/// Words of the block's frame.
pub(super) struct Frame {
    /// Where the next group's results go.
    y: Slot,
    rnd: Slot,
    /// Where the loop over a column ends, and the loop within a run.
    pub(super) stop: Slot,
    inner: Slot,
    /// End of the whole groups' stream.
    pub(super) end: Slot,
    /// What [`Gemm::offsets`] keeps.
    pub(super) offsets: Vec<Slot>,
}

impl Frame {
    /// Keeps the arguments: where results go and, where there is one, the layer's rounding constant.
    pub(super) fn new(b: &mut Block) -> Frame {
        let [y, rnd, stop, inner, end] = std::array::from_fn(|_| b.slot());
        let to = b.args[2];
        b.push(Inst::StrSlot(to, y));
        if let Some(&constant) = b.args.get(3) {
            b.push(Inst::StrSlot(constant, rnd));
        }
        Frame { y, rnd, stop, inner, end, offsets: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
