//! Products of int8 inputs with packed int8 weights through `vmladava.s8`: four channels of two
//! pixels at a time, or eight channels of one.
//!
//! An output pixel is the sum over runs of consecutive inputs (one run for a dense layer, one
//! for each row of a window). Runs are cut into chunks of sixteen bytes; a last chunk that is not
//! full starts early, where the weights of what it repeats are zero, or reads bytes behind the run
//! that meet zeros, where the caller owns them.
//!
//! Stream of a group of channels, in bytes: for each chunk sixteen weights of each channel;
//! then bias, multiplier and, where channels differ, negative shift of each channel, as words.
//! Groups follow each other, or the second begins within the first so that the last is full
//! ([`Gemm::overlaps`]).
//!
//! Bound of the inner loop: sixteen products an instruction and two cycles an instruction in the
//! multiply pipe make 8 MAC a cycle; for 4 x 2 accumulators 6 loads stand beside 8 products.

use crate::asm::mve::{At, Block, Inst, Item, LR, Lane, P0, Q, R, SP};
use crate::epilogue::Ending;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Native};
use crate::mve::stream::{close, keep, limit, shift, word, words};
use crate::tensor::DType;
use std::sync::Arc;

/// Bytes of a vector.
pub const LANES: usize = 16;
/// Chunks that are spelled out; more become a loop.
const STRAIGHT: usize = 18;
/// Chunks of a run that are spelled out in a loop over runs.
const LONG: usize = 36;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    pub outputs: usize,
    pub pixels: usize,
    /// Input and result bytes from one pixel to the next.
    pub x_step: usize,
    pub y_step: usize,
    pub runs: usize,
    /// Inputs of a run, and from one run to the next.
    pub run: usize,
    pub run_pitch: usize,
    /// Whether up to fifteen bytes behind a run may be read.
    pub slack: bool,
    /// Whether two channels share a byte of weights, as `16 * a + b`: a vector as it stands sums `16 * SA +
    /// SB`, and shifted left by four bits `16 * SB`.
    pub four: bool,
    /// Right shift of all channels after the high word of the product; `None` where each has
    /// its own.
    pub sh: Option<u32>,
    pub zp: i32,
    pub lo: i32,
    pub hi: i32,
}

/// A loop over chunks: so many in a turn, inputs from one turn to the next, and chunks behind.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    pub turns: usize,
    chunks: usize,
    step: usize,
    rest: usize,
}

/// What a group of eight sums is: channels times pixels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Four,
    Eight,
}

/// A register that walks, and how far it is from where it started.
pub struct Walk {
    reg: R,
    at: i32,
}

impl Walk {
    pub fn new(reg: R) -> Walk {
        Walk { reg, at: 0 }
    }
    /// The address of `target`, where `next` is wanted afterwards. The register moves when the
    /// next address would be out of reach.
    pub fn to(&mut self, insts: &mut Vec<Inst>, target: i32, next: Option<i32>) -> At {
        if (target - self.at).abs() > 127 {
            self.jump(insts, target);
        }
        let by = target - self.at;
        match next {
            Some(next) if by != 0 && (next - self.at).abs() > 127 => {
                self.at = target;
                At::Before(self.reg, by)
            }
            _ => At::Offset(self.reg, by),
        }
    }
    pub fn jump(&mut self, insts: &mut Vec<Inst>, target: i32) {
        advance(insts, self.reg, target - self.at);
        self.at = target;
    }
}

/// Adds any constant; r2 is free where one is too large for an instruction.
pub fn advance(insts: &mut Vec<Inst>, reg: R, by: i32) {
    if by == 0 {
    } else if by.abs() <= 4095 {
        insts.push(Inst::AddImm(reg, reg, by));
    } else {
        insts.push(Inst::MovImm(R(2), by));
        insts.push(Inst::Add(reg, reg, R(2)));
    }
}

impl Gemm {
    fn shape(&self) -> Shape {
        if self.pixels == 1 { Shape::Eight } else { Shape::Four }
    }
    /// Whether results take sixteen bits; there is a block for one pixel then.
    pub fn wide(&self) -> bool {
        self.lo < -128 || self.hi > 127
    }
    /// The type of results.
    fn result(&self) -> DType {
        if self.wide() { DType::I16 } else { DType::I8 }
    }
    /// Channels of a group.
    pub fn group(&self) -> usize {
        if self.shape() == Shape::Eight { 8 } else { 4 }
    }
    pub fn groups(&self) -> usize {
        self.outputs.div_ceil(self.group())
    }
    /// Chunks of a run.
    pub(super) fn chunks(&self) -> usize {
        self.run.div_ceil(LANES)
    }
    /// Where chunk `c` of a run starts.
    pub(super) fn start(&self, c: usize) -> usize {
        if self.early() { (LANES * c).min(self.run - LANES) } else { LANES * c }
    }
    /// Whether a last chunk starts early.
    fn early(&self) -> bool {
        !self.slack && self.run > LANES
    }
    /// Whether the lanes of the one chunk are predicated.
    pub fn predicated(&self) -> bool {
        !self.slack && self.run < LANES
    }
    /// Words behind the weights for each channel.
    fn words(&self) -> usize {
        if self.sh.is_some() { 2 } else { 3 }
    }
    /// Vectors of weights of a chunk.
    fn vectors(&self) -> usize {
        if self.four { self.group() / 2 } else { self.group() }
    }
    pub fn weights_len(&self) -> usize {
        self.runs * self.chunks() * self.vectors() * LANES
    }
    pub fn group_len(&self) -> usize {
        self.weights_len() + 4 * self.words() * self.group()
    }
    /// Bytes of the whole stream.
    pub fn stream_len(&self) -> usize {
        self.groups() * self.group_len()
    }
    /// Inputs that a call may read.
    pub fn acts_len(&self) -> usize {
        let run = if self.slack { self.chunks() * LANES } else { self.run };
        (self.pixels - 1) * self.x_step + (self.runs - 1) * self.run_pitch + run
    }
    pub fn y_len(&self) -> usize {
        (self.pixels - 1) * self.y_step + self.outputs
    }
    /// How the chunks are looped over; `None` where there are too many.
    pub fn turns(&self) -> Option<Turns> {
        let chunks = self.chunks();
        let all = self.runs * chunks;
        if all <= STRAIGHT {
            return Some(Turns { turns: 1, chunks: all, step: 0, rest: 0 });
        }
        if self.runs > 1 {
            return (chunks <= LONG).then_some(Turns {
                turns: self.runs,
                chunks,
                step: self.run_pitch,
                rest: 0,
            });
        }
        // A last chunk that starts early stands alone.
        let whole = if self.early() { self.run / LANES } else { chunks };
        let even = (6..=STRAIGHT).rev().find(|&p| whole.is_multiple_of(p));
        let part = even.unwrap_or(8);
        let turns = whole / part;
        Some(Turns { turns, chunks: part, step: part * LANES, rest: chunks - turns * part })
    }
    /// Whether there is a block of these sizes.
    pub fn fits(&self) -> bool {
        let far = self.turns().is_some();
        let small = self.y_step <= 4095 && self.x_step < 1 << 20;
        // r2 is a sum while pointers walk.
        let near = (self.runs - 1) * self.run_pitch <= 4000 || self.runs == 1;
        let limits = self.sh.is_none_or(|sh| (1..=22).contains(&sh)) && (!self.wide() || self.pixels == 1);
        far && small && near && limits && self.run > 0 && self.outputs > 0 && self.pixels > 0
    }

    /// Whether the second group begins within the first, so that all are full: their common
    /// channels are computed twice, with one result. It pays where the inputs want the predicate
    /// that a group with fewer channels would want for its results, and only [`pipelined`] does it.
    ///
    /// [`pipelined`]: Self::pipelined
    pub fn overlaps(&self) -> bool {
        let ragged = self.shape() == Shape::Four && !self.outputs.is_multiple_of(4) && self.outputs > 4;
        ragged
            && !self.four
            && self.predicated()
            && self.runs == 1
            && self.has_registers()
            && self.x_step <= 2047
    }
    /// Channels of the first group that the second has too.
    pub fn common(&self) -> usize {
        if self.overlaps() { self.groups() * self.group() - self.outputs } else { 0 }
    }

    /// The channel of position `i` of a group's sums and words.
    pub(super) fn channel(&self, i: usize) -> usize {
        match self.shape() {
            Shape::Four => i,
            // The two vectors are interleaved when they are narrowed.
            Shape::Eight => 2 * (i % 4) + i / 4,
        }
    }

    /// Packs a layer: `taps[j]` says which of a channel's weights input `j` of the joined runs
    /// meets. `None` where a weight does not fit a byte.
    pub fn pack(
        &self,
        weights: &[i32],
        bias: &[i32],
        ending: &Ending<'_>,
        taps: &[usize],
    ) -> Option<Vec<i8>> {
        let row = weights.len() / self.outputs;
        let mut stream = Vec::with_capacity(self.stream_len());
        for group in 0..self.groups() {
            let first = (group * self.group()).saturating_sub(self.common());
            for (run, c) in (0..self.runs).flat_map(|r| (0..self.chunks()).map(move |c| (r, c))) {
                let weight = |i: usize, lane: usize| {
                    let (channel, at) = (first + self.channel(i), self.start(c) + lane);
                    // What a chunk that starts early repeats was counted before.
                    let once = at >= LANES * c && at < self.run && channel < self.outputs;
                    if once { weights[channel * row + taps[run * self.run + at]] } else { 0 }
                };
                for (i, lane) in (0..self.vectors()).flat_map(|i| (0..LANES).map(move |lane| (i, lane))) {
                    let w = match self.four {
                        true if !(-8..8).contains(&weight(2 * i + 1, lane)) => return None,
                        true => 16 * weight(2 * i, lane) + weight(2 * i + 1, lane),
                        false => weight(i, lane),
                    };
                    stream.push(i8::try_from(w).ok()?);
                }
            }
            for n in 0..self.words() {
                for i in 0..self.group() {
                    let channel = first + self.channel(i);
                    let known = channel < self.outputs;
                    let word = if known { words(bias, ending, self.sh.is_some(), channel)[n] } else { 0 };
                    stream.extend(word.to_le_bytes().map(|b| b as i8));
                }
            }
        }
        Some(stream)
    }

    /// The kernel: `(acts, w, y)`.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let name = match (self.shape(), self.wide()) {
            (Shape::Eight, true) => "dot_s8_s16_c8",
            (Shape::Eight, false) => "dot_s8_c8",
            (Shape::Four, _) => "dot_s8_c4p2",
        };
        let mut k = KernelBuilder::new(name);
        let acts = k.buffer("acts", DType::I8, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I8, self.stream_len(), Access::Read);
        let y = k.buffer("y", self.result(), self.y_len(), Access::Write);
        let (group, chunks) = (self.group(), self.chunks());
        k.for_("p", 0, self.pixels, |k, p| {
            k.for_("o", 0, self.outputs, |k, o| {
                let common = self.common();
                let (of, i) = match (common, group) {
                    (0, 4) => (o / group, o % 4),
                    (0, _) => (o / group, o % 8 / 2 + o % 2 * 4),
                    _ => {
                        let of = (o + common) / group;
                        let first = (of.clone() * group - common as i32).max(0);
                        // A group has four channels, which the mask says to the proof.
                        (of, (o - first) & 3)
                    }
                };
                let base = k.let_("base", of * self.group_len());
                let i = k.let_("i", i);
                let word = |n: usize| word(w, base + i * 4 + (self.weights_len() + 4 * group * n));
                let sum = k.var("sum", word(0));
                k.for_("run", 0, self.runs, |k, run| {
                    k.for_("c", 0, chunks, |k, c| {
                        let start: Expr = c * LANES;
                        let start = if self.early() { start.min((self.run - LANES) as i32) } else { start };
                        let from = k.let_("from", p * self.x_step + run * self.run_pitch + start);
                        let vector: Expr = if self.four { i >> 1 } else { i.into() };
                        let all = self.vectors() * LANES;
                        let at = k.let_("at", base + (run * chunks + c) * all + vector * LANES);
                        let lanes = if self.predicated() { self.run } else { LANES };
                        k.for_("lane", 0, lanes, |k, lane| {
                            let byte = k.let_("byte", w.at(at + lane));
                            if !self.four {
                                return k.add_to(sum, acts.at(from + lane) * byte);
                            }
                            let high = k.let_("high", (byte + 8) >> 4);
                            let low = k.let_("low", byte - high * 16);
                            k.add_to(sum, acts.at(from + lane) * (high + (low - high) * (i & 1)));
                        });
                    });
                });
                let value = close(k, sum, &word, (self.sh, self.zp), (self.lo, self.hi));
                k.store(y, p * self.y_step + o, value);
            });
        });
        let plain = (!self.overlaps()).then(|| self.block());
        let natives = [plain, self.pipelined()].into_iter().flatten().map(|b| b.native());
        let natives: Vec<Native> = natives.collect::<Result<_>>()?;
        if let Some(native) = natives.into_iter().min_by_key(|n| (n.cycles, n.bytes)) {
            k.native(native);
        }
        k.finish()
    }

    /// The instructions, one group of channels behind the other; for groups that do not overlap.
    fn block(&self) -> Block {
        let mut b = Block::default();
        let (x0, x1, y0, y1, w, count) = (R(1), R(3), R(7), R(5), R(9), R(11));
        let pairs = self.pixels.div_ceil(2);
        let four = self.shape() == Shape::Four;
        let mut entry = vec![Inst::Mov(w, R(1)), Inst::Mov(y0, R(2)), Inst::Mov(x0, R(0))];
        if four {
            entry.push(Inst::Mov(x1, x0));
            advance(&mut entry, x1, self.x_step as i32);
            entry.push(Inst::AddImm(y1, y0, self.y_step as i32));
        }
        if !self.wide() {
            keep(&mut entry, self.zp, (self.lo, self.hi));
        }
        if self.predicated() {
            entry.push(Inst::MovImm(R(0), self.run as i32));
            entry.push(Inst::Vctp(P0, Lane::B, R(0)));
        }
        if pairs > 1 {
            b.slots = 1;
            entry.push(Inst::MovImm(R(0), pairs as i32));
            entry.push(Inst::Str(R(0), SP, 0));
        }
        b.run(entry);
        let groups = self.groups();
        let turns = self.turns().map_or(1, |t| t.turns);
        let ragged = self.ragged();
        let mut body = Block::default();
        let low = turns == 1 && !ragged && groups > 1;
        if low {
            let mut insts = vec![Inst::Mov(count, LR)];
            self.group_insts(&mut body, &mut insts, Some(Inst::Mov(LR, count)));
            b_loop_low(&mut body, groups);
        } else {
            let mut enter = Vec::new();
            if ragged || groups > 1 {
                enter.push(Inst::MovImm(count, self.outputs as i32));
            }
            self.group_insts(&mut body, &mut Vec::new(), None);
            let inner = std::mem::take(&mut body.items);
            body.run(enter);
            if groups > 1 {
                let step = self.group() as i32;
                body.items.push(Item::Down { count, step, turns: groups as u32, body: inner });
            } else {
                body.items.extend(inner);
            }
        }
        if pairs > 1 {
            let mut next = Vec::new();
            next.push(Inst::Ldr(R(0), SP, 0));
            advance(&mut next, x0, 2 * self.x_step as i32);
            advance(&mut next, x1, 2 * self.x_step as i32);
            let stored = self.stored() as i32;
            advance(&mut next, y0, 2 * self.y_step as i32 - stored);
            advance(&mut next, y1, 2 * self.y_step as i32 - stored);
            advance(&mut next, w, -(self.stream_len() as i32));
            next.push(Inst::AddImm(R(4), R(0), -1));
            next.push(Inst::Str(R(4), SP, 0));
            body.run(next);
            if self.pixels % 2 == 1 {
                // The last pair takes the pixel before it again.
                let mut back = Vec::new();
                for reg in [x0, x1] {
                    advance(&mut back, reg, -(self.x_step as i32));
                }
                for reg in [y0, y1] {
                    advance(&mut back, reg, -(self.y_step as i32));
                }
                body.items.push(Item::IfOne { count: R(4), body: back });
            }
            b.items.push(Item::Down { count: R(0), step: 1, turns: pairs as u32, body: body.items });
        } else {
            b.items.extend(body.items);
        }
        b
    }

    /// Whether a group has fewer channels than the others.
    pub fn ragged(&self) -> bool {
        !self.outputs.is_multiple_of(self.group()) && !self.overlaps()
    }
    /// Bytes that a result pointer has moved behind the last group.
    fn stored(&self) -> usize {
        self.groups() * self.group()
    }

    /// The code of one group of channels: products, requantization, stores.
    fn group_insts(&self, b: &mut Block, insts: &mut Vec<Inst>, last: Option<Inst>) {
        let (x0, x1, w) = (R(1), R(3), R(9));
        let Some(Turns { turns, chunks: part, step, rest }) = self.turns() else { return };
        let (mut px, mut py, mut pw) = (Walk::new(x0), Walk::new(x1), Walk::new(w));
        let four = self.shape() == Shape::Four;
        let chunks = self.chunks();
        let looped = turns > 1;
        // Where the chunks of one turn start, and those behind the loop.
        let starts = match looped {
            true => (0..part).map(|c| self.start(c) as i32).collect(),
            false => self.starts(),
        };
        let last_starts: Vec<i32> = (chunks - rest..chunks).map(|c| self.start(c) as i32).collect();
        let accumulators = [0u8, 2, 4, 6, 8, 10, 12, 14].map(R);
        if self.predicated() && self.ragged() {
            // The results' predicate took the place of the inputs'.
            insts.extend([Inst::MovImm(R(0), self.run as i32), Inst::Vctp(P0, Lane::B, R(0))]);
        }
        if looped {
            insts.extend(accumulators.map(|r| Inst::MovImm(r, 0)));
            insts.push(Inst::MovImm(R(5), turns as i32));
            b.run(std::mem::take(insts));
        }
        let wide = (self.vectors() * LANES) as i32;
        let products = |insts: &mut Vec<Inst>, walks: [&mut Walk; 3], starts: &[i32], end: Option<i32>| {
            let [px, py, pw] = walks;
            for (c, &at) in starts.iter().enumerate() {
                let next = starts.get(c + 1).copied().or(end);
                let (a, b2) = if c % 2 == 0 { (Q(0), Q(1)) } else { (Q(2), Q(3)) };
                let input = |insts: &mut Vec<Inst>, q: Q, p: &mut Walk| {
                    let at = p.to(insts, at, next);
                    insts.push(if self.predicated() { Inst::LoadThen(P0, q, at) } else { Inst::Load(q, at) });
                };
                input(insts, a, px);
                if four {
                    input(insts, b2, py);
                }
                for j in 0..self.vectors() {
                    let q = self.weight_register(j);
                    let from = c as i32 * wide + (j * LANES) as i32;
                    let at = pw.to(insts, from, Some(from + LANES as i32));
                    insts.push(Inst::Load(q, at));
                    let dot = if looped || c > 0 { Inst::DotAdd } else { Inst::Dot };
                    let sums = |insts: &mut Vec<Inst>, channel: usize| {
                        insts.push(dot(accumulators[channel], a, q));
                        if four {
                            insts.push(dot(accumulators[4 + channel], b2, q));
                        }
                    };
                    if self.four {
                        sums(insts, 2 * j);
                        insts.push(Inst::ShlBytes(q, q, 4));
                        sums(insts, 2 * j + 1);
                    } else {
                        sums(insts, j);
                    }
                }
            }
        };
        if looped {
            products(insts, [&mut px, &mut py, &mut pw], &starts, Some(step as i32));
            px.jump(insts, step as i32);
            if four {
                py.jump(insts, step as i32);
            }
            pw.jump(insts, part as i32 * wide);
            let body = vec![Item::Run(std::mem::take(insts))];
            b.items.push(Item::Down { count: R(5), step: 1, turns: turns as u32, body });
            px.at = (turns * step) as i32;
            py.at = px.at;
            pw.at = 0;
            products(insts, [&mut px, &mut py, &mut pw], &last_starts, None);
            pw.at -= rest as i32 * wide;
        } else {
            products(insts, [&mut px, &mut py, &mut pw], &starts, None);
            pw.at -= self.weights_len() as i32;
        }
        for pair in accumulators.chunks(2).filter(|_| self.four) {
            insts.push(Inst::SubAsr(pair[0], pair[0], pair[1], 4));
            insts.push(Inst::AsrImm(pair[0], pair[0], 4));
            insts.push(Inst::AsrImm(pair[1], pair[1], 4));
        }
        self.finish(insts, &accumulators, &mut pw);
        px.jump(insts, 0);
        if four {
            py.jump(insts, 0);
        }
        insts.extend(last);
        b.run(std::mem::take(insts));
    }

    /// Where the chunks of all runs start.
    pub fn starts(&self) -> Vec<i32> {
        let run = |r: usize| (0..self.chunks()).map(move |c| (r * self.run_pitch + self.start(c)) as i32);
        (0..self.runs).flat_map(run).collect()
    }

    fn weight_register(&self, j: usize) -> Q {
        // q5 is free unless both limits are constants.
        if self.hi < 127 { Q(4) } else { [Q(4), Q(5)][j % 2] }
    }

    /// Requantizes and stores the sums of a group. `w` stands so that its bias is at 0.
    fn finish(&self, insts: &mut Vec<Inst>, acc: &[R; 8], w: &mut Walk) {
        let (y0, y1, count) = (R(7), R(5), R(11));
        let (a, b) = (Q(0), Q(1));
        for (q, of) in [(a, 0), (b, 4)] {
            insts.push(Inst::SetLanes(q, 0, acc[of], acc[of + 2]));
            insts.push(Inst::SetLanes(q, 1, acc[of + 1], acc[of + 3]));
        }
        let four = self.shape() == Shape::Four;
        let bytes = 4 * self.group() as i32;
        let end = bytes * self.words() as i32;
        // Words of the sums in the second vector stand behind those of the first.
        let second = if four { 0 } else { 16 };
        let words = |insts: &mut Vec<Inst>, w: &mut Walk, n: i32, op: fn(Q, Q, Q) -> Inst| {
            let (p, q) = (Q(2), Q(3));
            for (v, q, at) in [(a, p, n * bytes), (b, q, n * bytes + second)] {
                if v == a || !four {
                    let last = at + 16 == end;
                    let next = if last { end } else { at + 16 };
                    let from = w.to(insts, at, Some(next));
                    insts.push(Inst::Load(q, from));
                }
                let q = if four { p } else { q };
                insts.push(op(v, v, q));
            }
        };
        words(insts, w, 0, |d, a, b| Inst::AddLanes(Lane::W, d, a, b));
        words(insts, w, 1, Inst::MulHigh);
        shift(insts, [a, b], self.sh, |insts| words(insts, w, 2, Inst::RoundShift));
        w.jump(insts, end);
        if self.wide() {
            // Narrowed to half-words they are the results, eight side by side.
            let at = At::After(y0, 2 * self.group() as i32);
            if self.ragged() {
                insts.extend([Inst::Vctp(P0, Lane::H, count), Inst::StoreThen(P0, a, at)]);
            } else {
                insts.push(Inst::Store(a, at));
            }
            return;
        }
        limit(insts, a, (self.lo, self.hi));
        if four {
            insts.push(Inst::Shr(b, a, 16));
        }
        let ragged = self.ragged();
        if four && self.turns().is_some_and(|t| t.turns > 1) {
            insts.push(Inst::AddImm(y1, y0, self.y_step as i32));
        }
        let lane = if four { Lane::W } else { Lane::H };
        if ragged {
            insts.push(Inst::Vctp(P0, lane, count));
        }
        let mut store = |q, at| {
            insts.push(if ragged {
                Inst::StoreNarrowThen(P0, lane, q, at)
            } else {
                Inst::StoreNarrow(lane, q, at)
            });
        };
        store(a, At::After(y0, self.group() as i32));
        if four {
            store(b, At::After(y1, 4));
        }
    }
}

/// Turns the items of `b` into a loop that `lr` counts.
fn b_loop_low(b: &mut Block, turns: usize) {
    let body = std::mem::take(&mut b.items);
    b.items.push(Item::Low { turns: turns as u32, body });
}

#[cfg(test)]
mod tests;
