//! Products of inputs of eight or sixteen bits with packed int8 weights through `vmladava`: four channels of
//! two pixels at a time, or eight channels of one. Results take eight bits or sixteen.
//!
//! An output pixel is the sum over runs of consecutive inputs (one run for a dense layer, one
//! for each row of a window). Runs are cut into chunks of a vector; a last chunk that is not
//! full starts early, where the weights of what it repeats are zero, or reads inputs behind the run
//! that meet zeros, where the caller owns them.
//!
//! Stream of a group of channels, in bytes: for each chunk a weight of each channel for each input (inputs of
//! sixteen bits meet weights that are widened as they are loaded); then bias, multiplier and, where channels differ, negative shift of each channel, as words.
//! Groups follow each other, or the second begins within the first so that the last is full
//! ([`Gemm::overlaps`]).
//!
//! Bound of the inner loop: sixteen products an instruction and two cycles an instruction in the
//! multiply pipe make 8 MAC a cycle, and 4 of inputs of sixteen bits, of which an instruction multiplies eight;
//! for 4 x 2 accumulators 6 loads stand beside 8 products. Sums have 32 bits, as those of the portable loops.

use crate::asm::mve::Lane;
use crate::epilogue::Ending;
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Native};
use crate::mve::stream::{close, range, word, words};
use crate::tensor::DType;
use std::sync::Arc;

/// Bytes of a vector: its lanes, of int8 inputs.
pub const LANES: usize = 16;
/// Chunks that are spelled out; more become a loop.
const STRAIGHT: usize = 18;
/// Chunks of a run that are spelled out in a loop over runs.
const LONG: usize = 36;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    /// Types of inputs, weights and results: `I8` or `I16`; of weights only beside such inputs.
    pub operand: DType,
    pub weights: DType,
    pub result: DType,
    pub outputs: usize,
    pub pixels: usize,
    /// Inputs and results from one pixel to the next.
    pub x_step: usize,
    pub y_step: usize,
    pub runs: usize,
    /// Inputs of a run, and from one run to the next.
    pub run: usize,
    pub run_pitch: usize,
    /// Whether a chunk may read behind a run.
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
    pub(super) chunks: usize,
    pub(super) step: usize,
    pub(super) rest: usize,
}

/// What a group of eight sums is: channels times pixels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Four,
    Eight,
}

impl Shape {
    /// The lanes that hold a result each.
    pub(super) fn lane(self) -> Lane {
        if self == Shape::Eight { Lane::H } else { Lane::W }
    }
}

impl Gemm {
    pub(super) fn shape(&self) -> Shape {
        if self.pixels == 1 { Shape::Eight } else { Shape::Four }
    }
    /// Whether inputs take sixteen bits, and whether results do.
    pub(super) fn halves(&self) -> bool {
        self.operand == DType::I16
    }
    pub(super) fn wide(&self) -> bool {
        self.result == DType::I16
    }
    /// Whether the results have a least that is not their type's, and a greatest.
    pub(super) fn limits(&self) -> [bool; 2] {
        let (least, most) = range(self.result);
        [self.lo > least, self.hi < most]
    }
    /// Whether weights are widened as they are loaded.
    pub(super) fn widens(&self) -> bool {
        self.operand != self.weights
    }
    /// Inputs of a chunk: those of a vector, and as many weights of a channel.
    pub(super) fn lanes(&self) -> usize {
        LANES / self.operand.size()
    }
    /// Bytes of a channel's weights of a chunk.
    pub(super) fn vector(&self) -> usize {
        self.lanes() * self.weights.size()
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
        self.run.div_ceil(self.lanes())
    }
    /// Where chunk `c` of a run starts.
    pub(super) fn start(&self, c: usize) -> usize {
        let at = self.lanes() * c;
        if self.early() { at.min(self.run - self.lanes()) } else { at }
    }
    /// Whether a last chunk starts early.
    fn early(&self) -> bool {
        !self.slack && self.run > self.lanes()
    }
    /// Whether the lanes of the one chunk are predicated.
    pub fn predicated(&self) -> bool {
        !self.slack && self.run < self.lanes()
    }
    /// Words behind the weights for each channel.
    pub(super) fn words(&self) -> usize {
        if self.sh.is_some() { 2 } else { 3 }
    }
    /// Vectors of weights of a chunk.
    pub(super) fn vectors(&self) -> usize {
        if self.four { self.group() / 2 } else { self.group() }
    }
    pub fn weights_len(&self) -> usize {
        self.runs * self.chunks() * self.vectors() * self.vector()
    }
    pub fn group_len(&self) -> usize {
        self.weights_len() + 4 * self.words() * self.group()
    }
    /// Bytes of the whole stream.
    pub fn stream_len(&self) -> usize {
        self.groups() * self.group_len()
    }
    /// Elements of the whole stream, which has the type of the weights.
    pub fn stream(&self) -> usize {
        self.stream_len() / self.weights.size()
    }
    /// Inputs that a call may read.
    pub fn acts_len(&self) -> usize {
        let run = if self.slack { self.chunks() * self.lanes() } else { self.run };
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
        let whole = if self.early() { self.run / self.lanes() } else { chunks };
        let even = (6..=STRAIGHT).rev().find(|&p| whole.is_multiple_of(p));
        let part = even.unwrap_or(8);
        let turns = whole / part;
        Some(Turns { turns, chunks: part, step: part * self.lanes(), rest: chunks - turns * part })
    }
    /// Whether there is a block of these sizes.
    pub fn fits(&self) -> bool {
        let far = self.turns().is_some();
        let small = self.y_step * self.result.size() <= 4095 && self.x_step < 1 << 19;
        // r2 is a sum while pointers walk.
        let near = (self.runs - 1) * self.run_pitch * self.operand.size() <= 4000 || self.runs == 1;
        let shifts = self.sh.is_none_or(|sh| (1..=22).contains(&sh));
        let known = !(self.four && self.halves()) && (self.halves() || self.weights == DType::I8);
        // Vectors narrow to sixteen bits before they add.
        let zero = !self.wide() || self.zp == 0;
        known && zero && far && small && near && shifts && self.run > 0 && self.outputs > 0 && self.pixels > 0
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
    /// meets. `None` where a weight does not fit a byte, or weights take more.
    pub fn pack(
        &self,
        weights: &[i32],
        bias: &[i32],
        ending: &Ending<'_>,
        taps: &[usize],
    ) -> Option<Vec<i8>> {
        if self.weights != DType::I8 {
            return None;
        }
        let row = weights.len() / self.outputs;
        let mut stream = Vec::with_capacity(self.stream_len());
        for group in 0..self.groups() {
            let first = (group * self.group()).saturating_sub(self.common());
            for (run, c) in (0..self.runs).flat_map(|r| (0..self.chunks()).map(move |c| (r, c))) {
                let weight = |i: usize, lane: usize| {
                    let (channel, at) = (first + self.channel(i), self.start(c) + lane);
                    // What a chunk that starts early repeats was counted before.
                    let once = at >= self.lanes() * c && at < self.run && channel < self.outputs;
                    if once { weights[channel * row + taps[run * self.run + at]] } else { 0 }
                };
                for (i, lane) in
                    (0..self.vectors()).flat_map(|i| (0..self.lanes()).map(move |lane| (i, lane)))
                {
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
        let types = match (self.operand, self.result) {
            (DType::I8, DType::I8) => "s8",
            (DType::I8, _) => "s8_s16",
            (_, DType::I8) => "s16_s8",
            _ => "s16",
        };
        let types = if self.weights == DType::I16 { format!("{types}_w16") } else { types.to_owned() };
        let sums = if self.shape() == Shape::Eight { "c8" } else { "c4p2" };
        let mut k = KernelBuilder::new(format!("dot_{types}_{sums}"));
        let acts = k.buffer("acts", self.operand, self.acts_len(), Access::Read);
        let w = k.buffer("w", self.weights, self.stream(), Access::Read);
        let y = k.buffer("y", self.result, self.y_len(), Access::Write);
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
                let size = self.weights.size();
                let base = k.let_("base", of * (self.group_len() / size));
                let i = k.let_("i", i);
                let words = self.weights_len() / size;
                let word = |n: usize| word((w, size), base + i * (4 / size) + (words + 4 / size * group * n));
                let sum = k.var("sum", word(0));
                k.for_("run", 0, self.runs, |k, run| {
                    k.for_("c", 0, chunks, |k, c| {
                        let start: Expr = c * self.lanes();
                        let last = self.run.saturating_sub(self.lanes());
                        let start = if self.early() { start.min(last as i32) } else { start };
                        let from = k.let_("from", p * self.x_step + run * self.run_pitch + start);
                        let vector: Expr = if self.four { i >> 1 } else { i.into() };
                        let all = self.vectors() * self.lanes();
                        let at = k.let_("at", base + (run * chunks + c) * all + vector * self.lanes());
                        let lanes = if self.predicated() { self.run } else { self.lanes() };
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
}

#[cfg(test)]
mod tests;
