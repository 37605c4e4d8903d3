//! The int8 product in lanes of output channels with weights of which whole vectors are zero: four inputs of one
//! pixel meet the weights of 32 neighbouring channels, or none of them.
//!
//! As [`crate::hvx::gemm`], but for the order of channels, which are those of one group behind the other's, and that
//! a block takes its groups one after the other, as each has inputs of its own. Vectors that are not zero come in
//! twos; one of zeros fills up the last.
//!
//! Streams: the weights of each pass and group, vector by vector; for each vector how far its inputs stand behind
//! the window's first, and two more; for each pass what ends its sums, as `Gemm` has it, then a vector of words: bytes
//! of weights and of places before it, and for each group how often two vectors come.
//!
//! Bound for a vector and eight pixels of 32 channels: sixteen products, half of them for the offset, hold both pipes
//! for eight packets, and ten loads the slots for five; with channels to spare it is the loads that bind.

use crate::asm::hvx::{Code, Inst, R, V, VECTOR, native};
use crate::error::{Error, Result, Site};
use crate::hvx::gemm::{DOWN, Gemm, LANES, OFFSET};
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use std::sync::Arc;

/// A product of some passes over channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    pub of: Gemm,
    pub passes: usize,
    /// Vectors of all passes.
    pub stored: usize,
}

/// What [`Sparse::pack`] makes: weights, what ends the sums, places.
pub type Stream = (Vec<u8>, Vec<i32>, Vec<i32>);

impl Sparse {
    /// The sizes of a dense product for one of as many outputs that leaves zeros out.
    pub fn sizes(dense: &Gemm) -> Gemm {
        Gemm { spare: dense.spare && dense.groups == 1, ..*dense }
    }
    /// Packs a layer: `weight` gives that of a channel and an input of the window, `words` what ends a channel.
    /// `None` where a weight does not fit a byte.
    pub fn pack(
        of: Gemm,
        outputs: usize,
        weight: &dyn Fn(usize, usize) -> i32,
        words: &dyn Fn(usize) -> Vec<i32>,
    ) -> Option<(Sparse, Stream)> {
        let (mut weights, mut tail, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let passes = outputs.div_ceil(of.width());
        for pass in 0..passes {
            let mut head = vec![weights.len() as i32, 4 * places.len() as i32];
            for first in (0..of.groups).map(|g| pass * of.width() + g * LANES) {
                let channels = first.min(outputs)..(first + LANES).min(outputs);
                let mut vectors = 0usize;
                for four in 0..of.all_runs() * of.fours {
                    let mut vector = [128u8; VECTOR];
                    for (lane, c) in channels.clone().enumerate() {
                        for i in 0..4 {
                            vector[4 * lane + i] =
                                u8::try_from(weight(c, 4 * four + i).checked_add(128)?).ok()?;
                        }
                    }
                    if vector != [128; VECTOR] {
                        weights.extend(vector);
                        places.push((of.run_at(four / of.fours) + 4 * (four % of.fours)) as i32);
                        vectors += 1;
                    }
                }
                let turns = vectors.max(1).div_ceil(2);
                weights.resize(weights.len() + (2 * turns - vectors) * VECTOR, 128);
                places.resize(places.len() + 2 * turns - vectors, 0);
                head.push(turns as i32);
                let mut rows = vec![0; 4 * LANES];
                for (lane, c) in channels.enumerate() {
                    words(c).into_iter().enumerate().for_each(|(row, v)| rows[row * LANES + lane] = v);
                }
                tail.extend(rows);
            }
            if of.spare {
                tail.extend(Gemm::to_all());
            }
            head.resize(LANES, 0);
            tail.extend(head);
        }
        places.extend([0, 0]);
        let sparse = Sparse { of, passes, stored: weights.len() / VECTOR };
        Some((sparse, (weights, tail, places)))
    }

    /// Bytes of weights of all passes.
    pub fn weights_len(&self) -> usize {
        self.stored * VECTOR
    }
    pub fn places_len(&self) -> usize {
        self.stored + 2
    }
    /// Words of a pass that end its sums and say where it begins.
    pub fn tail_len(&self) -> usize {
        self.of.tail_len() + LANES
    }

    /// The kernel `(acts, w, tail, y, places)`, of which `w` and `places` are those of all passes.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        let g = &self.of;
        if !g.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let mut k = KernelBuilder::new(format!("gemm_s8_b32x4c{}q{}", g.width(), g.pixels));
        let acts = k.buffer("acts", DType::I8, g.acts_len(), Access::Read);
        let w = k.buffer("w", DType::U8, self.weights_len(), Access::Read);
        let tail = k.buffer("tail", DType::I32, self.tail_len(), Access::Read);
        let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
        let places = k.buffer("places", DType::I32, self.places_len(), Access::Read);
        // Places depend on the streams; the bounds, which none of ours meets, are for the proof.
        let within = |at: Expr, room: usize, all: usize| at.max(0).min((all - room) as i32);
        let window = g.run_at(g.all_runs() - 1) + 4 * g.fours;
        let head = g.tail_len();
        let step = g.step.unwrap_or(g.width());
        k.for_("pixel", 0, g.blocks * g.pixels, |k, pixel| {
            let from = k.let_("from", pixel * g.pitch);
            let first = k.var("first", tail.at(head) >> 7);
            let skipped = k.let_("skipped", (tail.at(head + 1) >> 2) - (tail.at(head) >> 7));
            k.for_("group", 0, g.groups, |k, group| {
                let vectors = k.let_("vectors", (tail.at(group + (head + 2)) & 65535) * 2);
                k.for_("lane", 0, LANES, |k, lane| {
                    let at = k.let_("at", group * (4 * LANES) + lane);
                    let sum = k.var("sum", tail.at(at));
                    k.for_("vector", 0, vectors, |k, vector| {
                        let n = k.let_("n", first + vector);
                        let place = places.at(within(n + skipped, 1, self.places_len()));
                        let place = k.let_("place", within(place, 4, window) + from);
                        let row = k.let_("row", within(n.into(), 1, self.stored) * VECTOR);
                        for i in 0..4usize {
                            let w = w.at(row + lane * 4 + i) - 128;
                            k.add_to(sum, acts.at(place + i) * w);
                        }
                    });
                    let rounding = (tail.at(at + 2 * LANES), tail.at(at + 3 * LANES) & 31);
                    let value = requantized(sum, tail.at(at + LANES), rounding, (g.lo, g.hi));
                    k.store(y, pixel * step + group * LANES + lane, value);
                });
                k.set(first, first + vectors);
            });
        });
        k.native(native(&self.code())?);
        k.finish()
    }

    /// The instructions. As in [`Gemm`], and r4: begin of the pass's weights, r5 and r6: inputs of the next two
    /// vectors, r13: begin of its places, r12: places in turn, r28: the next place, then turns.
    fn code(&self) -> Vec<Code> {
        let g = &self.of;
        let word = |n: usize| 4 * (g.tail_len() + n) as i32;
        let mut head = vec![Inst::LoadWord(R(5), R(2), word(1)), Inst::Sum(R(13), R(4), R(5))];
        head.extend(g.head());
        head.extend([Inst::LoadWord(R(5), R(2), word(0)), Inst::Sum(R(4), R(1), R(5))]);
        if !g.spare {
            head.extend([Inst::Set(R(28), 0), Inst::SplatByte(NOTHING, R(28))]);
        }
        let mut body = Vec::new();
        let mut line = vec![Inst::Mov(R(1), R(4)), Inst::Mov(R(12), R(13))];
        for (n, to) in [R(5), R(6)].into_iter().enumerate() {
            line.extend([Inst::LoadWord(R(28), R(12), 4 * n as i32), Inst::Sum(to, R(0), R(28))]);
        }
        line.push(Inst::Add(R(12), R(12), 8));
        line.extend(self.early());
        let about = self.stored as f64 / (2 * self.passes * g.groups) as f64;
        for group in 0..g.groups {
            g.open(&mut line, group);
            if !g.spare {
                line.extend((0..g.pixels).map(|pixel| Inst::Copy(g.offset(pixel), NOTHING)));
            }
            line.push(Inst::LoadWord(R(28), R(2), word(2 + group)));
            body.push(Code::Straight(std::mem::take(&mut line)));
            let turn = vec![Code::Straight(self.turn(group))];
            body.push(Code::Counted { count: R(28), about, body: turn });
            if !g.spare {
                let subtract =
                    |pixel| Inst::SubWords(g.sum(pixel, group), g.sum(pixel, group), g.offset(pixel));
                line.extend((0..g.pixels).map(subtract));
            }
        }
        g.offset_to_all(&mut line);
        g.end(&mut line, g.spare, &|line, first| self.following(line, first));
        line.push(Inst::Add(R(0), R(0), (g.pixels * g.pitch) as i32));
        body.push(Code::Straight(line));
        let mut code = vec![Code::Straight(head)];
        code.extend(Code::repeated(g.blocks, body));
        code
    }

    /// The first inputs of the next turn.
    fn early(&self) -> impl Iterator<Item = Inst> {
        let pitch = self.of.pitch as i32;
        EARLY.into_iter().take(self.of.pixels).zip(0..).map(move |(x, n)| Inst::LoadWord(x, R(5), n * pitch))
    }

    /// Two vectors of a group, then the first inputs of the next two.
    fn turn(&self, group: usize) -> Vec<Inst> {
        let g = &self.of;
        let mut inputs: Vec<u32> = (9..12).collect();
        inputs.extend((g.groups < 4).then_some(15));
        inputs.extend(g.step.is_none().then_some(DOWN.0));
        let mut inputs = inputs.into_iter().map(R).cycle();
        let mut line = Vec::new();
        for (n, (weights, from)) in [(V(16), R(5)), (V(17), R(6))].into_iter().enumerate() {
            line.push(Inst::LoadNext(weights, R(1)));
            for pixel in 0..g.pixels {
                let x = match EARLY.get(pixel).filter(|_| n == 0) {
                    Some(&x) => x,
                    None => {
                        let x = inputs.next().unwrap_or(EARLY[1]);
                        line.push(Inst::LoadWord(x, from, (pixel * g.pitch) as i32));
                        x
                    }
                };
                // The weights may be on their way yet.
                if !g.spare {
                    line.push(Inst::DotAdd(g.offset(pixel), OFFSET, x));
                }
                line.push(Inst::DotAdd(g.sum(pixel, group), weights, x));
            }
            line.push(Inst::LoadWord(R(28), R(12), 4 * n as i32));
            line.push(Inst::Sum(from, R(0), R(28)));
        }
        line.push(Inst::Add(R(12), R(12), 8));
        line.extend(self.early());
        line
    }

    /// The results of the pixels from `first` on that fill a vector, as bytes; where the offsets were.
    fn following(&self, line: &mut Vec<Inst>, first: usize) -> V {
        let first = first * self.of.groups;
        let last = self.of.pixels * self.of.groups - 1;
        let sum = |n: usize| V((first + n).min(last) as u32);
        let (low, high) = [(V(8), V(9)), (V(10), V(11))][first / 4];
        line.push(Inst::PackHalves(low, sum(1), sum(0)));
        line.push(Inst::PackHalves(high, sum(3), sum(2)));
        line.push(Inst::PackBytes(low, high, low));
        low
    }
}

/// Inputs that are loaded before a turn.
const EARLY: [R; 2] = [R(7), R(8)];
/// Zero in every byte.
const NOTHING: V = V(30);
