//! The int8 product in lanes of output channels: 32 or 64 channels, eight or four pixels (or
//! one) at a time, requantized and stored.
//!
//! A lane is an output channel and holds four of its weights, offset to unsigned bytes. `vrmpy`
//! multiplies them with four inputs of one pixel; a second one with 128 in every byte sums what
//! the offset adds, and is subtracted at the end. Two of them issue in a packet.
//!
//! Streams: the weights by four inputs, then group of 32 channels, then channel; for each group
//! four vectors of words: bias (zero point of the input folded in), multiplier, rounding
//! constant, shift.

use super::{Code, Inst, MAX_TURNS, R, V, native};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Kernel, KernelBuilder, instr};
use crate::quantize::requant::requantize_high_instr;
use crate::tensor::DType;
use std::sync::Arc;

/// Channels of a group: words of a vector.
pub(crate) const LANES: usize = 32;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gemm {
    /// A window is this many runs of inputs ...
    pub(crate) runs: usize,
    /// ... of this many fours each ...
    pub(crate) fours: usize,
    /// ... that begin this many bytes apart.
    pub(crate) run_pitch: usize,
    /// Groups of 32 channels: 1 or 2.
    pub(crate) groups: usize,
    /// Pixels of a block: `8 / groups`, or 1.
    pub(crate) pixels: usize,
    pub(crate) blocks: usize,
    /// Bytes from one pixel's window to the next, a multiple of four.
    pub(crate) pitch: usize,
    pub(crate) lo: i32,
    pub(crate) hi: i32,
}

/// Fours that are spelled out before a loop is worth its packets, and those of one turn.
const STRAIGHT: usize = 20;
const TURN: usize = 4;

impl Gemm {
    /// Bytes of weights of one call.
    pub(crate) fn weights_len(&self) -> usize {
        4 * LANES * self.groups * self.runs * self.fours
    }
    /// Words of what ends the sums.
    pub(crate) fn tail_len(&self) -> usize {
        4 * LANES * self.groups
    }
    pub(crate) fn acts_len(&self) -> usize {
        (self.runs - 1) * self.run_pitch + (self.blocks * self.pixels - 1) * self.pitch + 4 * self.fours
    }
    /// Groups of results in one block; repeated to four, which fill a vector.
    fn pieces(&self) -> usize {
        self.pixels * self.groups
    }
    fn stored(&self) -> usize {
        self.pieces().next_multiple_of(4)
    }
    /// Bytes of results of one call.
    pub(crate) fn y_len(&self) -> usize {
        self.blocks * self.stored() * LANES
    }
    /// Bytes of results from one pixel to the next.
    pub(crate) fn y_pitch(&self) -> usize {
        if self.pixels == 1 { self.stored() * LANES } else { self.groups * LANES }
    }
    /// Whether offsets fit the instructions.
    pub(crate) fn fits(&self) -> bool {
        self.pitch * (self.pixels - 1) <= 4092
            && self.run_pitch * (self.runs - 1) <= 32_000
            && self.pitch * self.pixels <= 32_000
            && self.blocks.max(self.fours / TURN) <= MAX_TURNS
    }
    /// Where the weight of channel lane `c` of a call and input `i` of its window stands.
    pub(crate) fn place(&self, c: usize, i: usize) -> usize {
        ((i / 4 * self.groups + c / LANES) * LANES + c % LANES) * 4 + i % 4
    }

    /// The kernel `(acts, w, tail, y)`: its meaning as loops and its native form.
    pub(crate) fn kernel(&self) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let mut k = KernelBuilder::new(format!("gemm_s8_c{}q{}", LANES * self.groups, self.pixels));
        let acts = k.buffer("acts", DType::I8, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::U8, self.weights_len(), Access::Read);
        let tail = k.buffer("tail", DType::I32, self.tail_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let copies = self.stored() / self.pieces();
        k.for_("block", 0, self.blocks, |k, block| {
            k.for_("pixel", 0, self.pixels, |k, pixel| {
                let from = k.let_("from", (block * self.pixels + pixel) * self.pitch);
                k.for_("group", 0, self.groups, |k, group| {
                    k.for_("lane", 0, LANES, |k, lane| {
                        let at = k.let_("at", group * (4 * LANES) + lane);
                        let sum = k.var("sum", tail.at(at));
                        k.for_("run", 0, self.runs, |k, run| {
                            k.for_("four", 0, self.fours, |k, four| {
                                let row = k.let_("row", (run * self.fours + four) * self.groups + group);
                                for i in 0..4usize {
                                    let x = acts.at(from + run * self.run_pitch + four * 4 + i);
                                    let w = w.at(row * (4 * LANES) + lane * 4 + i) - 128;
                                    k.add_to(sum, x * w);
                                }
                            });
                        });
                        let value = instr(
                            &requantize_high_instr(),
                            vec![
                                sum.into(),
                                tail.at(at + LANES),
                                tail.at(at + 2 * LANES),
                                tail.at(at + 3 * LANES) & 31,
                                self.lo.into(),
                                self.hi.into(),
                            ],
                        );
                        let value = k.let_("value", value);
                        for copy in 0..copies {
                            let piece =
                                block * self.stored() + pixel * self.groups + group + copy * self.pieces();
                            k.store(y, piece * LANES + lane, value);
                        }
                    });
                });
            });
        });
        k.native(native(&self.code()));
        k.finish()
    }

    fn sum(&self, pixel: usize, group: usize) -> V {
        V((pixel * self.groups + group) as u32)
    }
    fn offset(&self, pixel: usize) -> V {
        V(8 + pixel as u32)
    }

    /// The instructions. r0: window of the block's first pixel, r1: weights, r2: their begin
    /// (first the tail), r3: results, r4: limits, r5: current run, others: inputs.
    fn code(&self) -> Vec<Code> {
        let mut head = vec![Inst::Set(R(28), i32::from_le_bytes([128; 4])), Inst::Splat(OFFSET, R(28))];
        for g in 0..self.groups {
            for (row, base) in TAIL.into_iter().enumerate() {
                head.push(Inst::Load(V(base + g as u32), R(2), (4 * g + row) as i32));
            }
        }
        for (limit, register, none) in [(self.lo, LOW, -128), (self.hi, HIGH, 127)] {
            if limit != none {
                head.push(Inst::Set(R(4), i32::from_le_bytes([limit as u8; 4])));
                head.push(Inst::Splat(register, R(4)));
            }
        }
        head.push(Inst::Mov(R(2), R(1)));
        let mut body = Vec::new();
        let mut line = Vec::new();
        for pixel in 0..self.pixels {
            for group in 0..self.groups {
                line.push(Inst::Copy(self.sum(pixel, group), V(TAIL[0] + group as u32)));
            }
        }
        let whole = self.runs * self.fours <= STRAIGHT;
        let mut next = Next::default();
        for run in 0..self.runs {
            line.push(Inst::Add(R(5), R(0), (run * self.run_pitch) as i32));
            let straight = if whole || self.fours < 2 * TURN {
                self.fours
            } else if run == 0 {
                // The first four of all opens the sums of the offset.
                (self.fours - 1) % TURN + 1
            } else {
                self.fours % TURN
            };
            self.fours(&mut line, &mut next, straight, run == 0);
            let turns = (self.fours - straight) / TURN;
            if turns > 0 {
                body.push(Code::Straight(std::mem::take(&mut line)));
                let mut turn = Vec::new();
                self.fours(&mut turn, &mut next, TURN, false);
                body.push(Code::Loop { turns, body: vec![Code::Straight(turn)] });
            }
        }
        self.finish(&mut line);
        line.push(Inst::Add(R(0), R(0), (self.pixels * self.pitch) as i32));
        line.push(Inst::Mov(R(1), R(2)));
        body.push(Code::Straight(line));
        let mut code = vec![Code::Straight(head)];
        if self.blocks > 1 {
            code.push(Code::Loop { turns: self.blocks, body });
        } else {
            code.extend(body);
        }
        code
    }

    /// `n` fours of inputs of every pixel; the first may open the sums of the offset.
    fn fours(&self, line: &mut Vec<Inst>, next: &mut Next, n: usize, opens: bool) {
        for four in 0..n {
            let weights: Vec<V> = (0..self.groups).map(|_| next.weight()).collect();
            line.extend(weights.iter().map(|&w| Inst::LoadNext(w, R(1))));
            for pixel in 0..self.pixels {
                let x = next.input();
                line.push(Inst::LoadWord(x, R(5), (pixel * self.pitch + 4 * four) as i32));
                for (group, &w) in weights.iter().enumerate() {
                    line.push(Inst::DotAdd(self.sum(pixel, group), w, x));
                }
                let offset = self.offset(pixel);
                line.push(match opens && four == 0 {
                    true => Inst::Dot(offset, OFFSET, x),
                    false => Inst::DotAdd(offset, OFFSET, x),
                });
            }
        }
        if n > 0 {
            line.push(Inst::Add(R(5), R(5), 4 * n as i32));
        }
    }

    /// Requantizes and stores the sums of a block.
    fn finish(&self, line: &mut Vec<Inst>) {
        for pixel in 0..self.pixels {
            for group in 0..self.groups {
                let (sum, g) = (self.sum(pixel, group), group as u32);
                // Pairs where the weights were.
                let pair = PAIRS[(pixel * self.groups + group) % PAIRS.len()];
                line.push(Inst::SubWords(sum, sum, self.offset(pixel)));
                line.push(Inst::MulLow(pair, sum, V(TAIL[1] + g)));
                line.push(Inst::MulHighAdd(pair, sum, V(TAIL[1] + g)));
                line.push(Inst::AddWords(sum, V(pair.0 + 1), V(TAIL[2] + g)));
                line.push(Inst::ShiftRight(sum, sum, V(TAIL[3] + g)));
            }
        }
        let stored: Vec<V> = (0..self.stored()).map(|p| V((p % self.pieces()) as u32)).collect();
        for (i, four) in stored.chunks_exact(4).enumerate() {
            let [a, b, c, d] = [four[0], four[1], four[2], four[3]];
            // Where the sums of the pixels were offset.
            let (low, high) = (V(8 + 2 * i as u32), V(9 + 2 * i as u32));
            line.push(Inst::PackHalves(low, b, a));
            line.push(Inst::PackHalves(high, d, c));
            line.push(Inst::PackBytes(low, high, low));
            if self.lo > -128 {
                line.push(Inst::MaxBytes(low, low, LOW));
            }
            if self.hi < 127 {
                line.push(Inst::MinBytes(low, low, HIGH));
            }
            line.push(Inst::StoreAny(R(3), i as i32, low));
        }
        line.push(Inst::Add(R(3), R(3), (self.stored() * LANES) as i32));
    }
}

/// 128 in every byte.
const OFFSET: V = V(31);
const LOW: V = V(28);
const HIGH: V = V(29);
/// Bias, multiplier, rounding constant and shift of the first group.
const TAIL: [u32; 4] = [20, 22, 24, 26];
const PAIRS: [V; 2] = [V(16), V(18)];

/// Registers taken in turn.
#[derive(Debug, Default)]
struct Next {
    weights: u32,
    inputs: u32,
}

impl Next {
    fn weight(&mut self) -> V {
        self.weights = (self.weights + 1) % 4;
        V(16 + self.weights)
    }
    fn input(&mut self) -> R {
        self.inputs = (self.inputs + 1) % 11;
        R(if self.inputs == 10 { 28 } else { 6 + self.inputs })
    }
}
