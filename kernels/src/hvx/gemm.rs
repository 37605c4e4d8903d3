//! The int8 product in lanes of output channels: 32, 64 or 128 channels, eight, four or two pixels
//! (or one) at a time, requantized and stored.
//!
//! A lane is an output channel and holds four of its weights, offset to unsigned bytes. `vrmpy`
//! multiplies them with four inputs of one pixel, two in a packet. What the offset adds, 128 times
//! the sum of the inputs, is subtracted at the end: a lane without a channel has it, else it takes
//! another product with 128 in every byte.
//!
//! Neighbouring channels belong to different groups of 32, so that narrowing two vectors of sums
//! puts them side by side.
//!
//! Streams: the weights by four inputs, then group, then channel of the group; for each group four
//! vectors of words: bias (zero point of the input folded in), multiplier, rounding
//! constant, shift.

use crate::asm::hvx::{Code, Inst, MAX_TURNS, R, V, VECTOR, native};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Kernel, KernelBuilder};
use crate::rounding::requantized;
use crate::tensor::DType;
use std::sync::Arc;

/// Channels of a group: words of a vector.
pub const LANES: usize = 32;

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    /// A window is this many rows and columns of runs of inputs ...
    pub runs: [usize; 2],
    /// ... of this many fours each ...
    pub fours: usize,
    /// ... that begin this many bytes apart.
    pub run_pitch: [usize; 2],
    /// Groups of 32 channels: 1, 2 or 4.
    pub groups: usize,
    /// Pixels of a block: `8 / groups`, or 1.
    pub pixels: usize,
    pub blocks: usize,
    /// Bytes from one pixel's window to the next, a multiple of four.
    pub pitch: usize,
    /// Bytes from one pixel's results to the next's; what is stored behind the last one's channels
    /// means nothing, up to 128 bytes from its first. None: results fill vectors, of blocks of
    /// several pixels.
    pub step: Option<usize>,
    /// Whether the last lane has no channel: its weights are zeros, and so is its bias.
    pub spare: bool,
    pub lo: i32,
    pub hi: i32,
}

/// Fours that are spelled out before a loop is worth its packets, and those of one turn.
const STRAIGHT: usize = 20;
const TURN: usize = 4;

impl Gemm {
    pub fn width(&self) -> usize {
        LANES * self.groups
    }
    /// Bytes of weights of one call.
    pub fn weights_len(&self) -> usize {
        4 * self.width() * self.runs[0] * self.runs[1] * self.fours
    }
    /// Words of what ends the sums.
    pub fn tail_len(&self) -> usize {
        4 * self.width() + if self.spare { LANES } else { 0 }
    }
    /// What stands behind the tail of a call with a spare lane: how it is brought to all lanes.
    pub fn to_all() -> [i32; LANES] {
        std::array::from_fn(|lane| {
            let byte = 4 * (lane ^ (LANES - 1)) as u8;
            i32::from_le_bytes([byte; 4])
        })
    }
    /// Where a run begins.
    pub fn run_at(&self, run: usize) -> usize {
        run / self.runs[1] * self.run_pitch[0] + run % self.runs[1] * self.run_pitch[1]
    }
    pub fn all_runs(&self) -> usize {
        self.runs[0] * self.runs[1]
    }
    pub fn acts_len(&self) -> usize {
        self.run_at(self.all_runs() - 1) + (self.blocks * self.pixels - 1) * self.pitch + 4 * self.fours
    }
    /// Bytes that one call writes.
    pub fn y_len(&self) -> usize {
        let pixels = self.blocks * self.pixels;
        self.step.map_or(pixels * self.width(), |step| (pixels - 1) * step + VECTOR)
    }
    /// Whether offsets fit the instructions.
    pub fn fits(&self) -> bool {
        self.pitch * (self.pixels - 1) <= 4092 - 4 * TURN.max(STRAIGHT)
            && self.run_at(self.all_runs() - 1) <= 32_000
            && self.pitch * self.pixels <= 32_000
            && self.step.unwrap_or(0) <= 32_000
            && self.blocks.max(self.fours / TURN) <= MAX_TURNS
    }
    /// Where the weight of channel `c` of a call and input `i` of its window stands.
    pub fn place(&self, c: usize, i: usize) -> usize {
        ((i / 4 * self.groups + c % self.groups) * LANES + c / self.groups) * 4 + i % 4
    }
    /// Where the bias of channel `c` stands in the tail; multiplier, rounding constant and shift
    /// follow, each [`LANES`] further.
    pub fn tail_place(&self, c: usize) -> usize {
        c % self.groups * 4 * LANES + c / self.groups
    }

    /// The kernel `(acts, w, tail, y)`: its meaning as loops and its native form.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let mut k = KernelBuilder::new(format!("gemm_s8_c{}q{}", LANES * self.groups, self.pixels));
        let acts = k.buffer("acts", DType::I8, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::U8, self.weights_len(), Access::Read);
        let tail = k.buffer("tail", DType::I32, self.tail_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let step = self.step.unwrap_or(self.width());
        k.for_("pixel", 0, self.blocks * self.pixels, |k, pixel| {
            let from = k.let_("from", pixel * self.pitch);
            k.for_("group", 0, self.groups, |k, group| {
                k.for_("lane", 0, LANES, |k, lane| {
                    let at = k.let_("at", group * (4 * LANES) + lane);
                    let sum = k.var("sum", tail.at(at));
                    k.for_("row", 0, self.runs[0], |k, row| {
                        k.for_("column", 0, self.runs[1], |k, column| {
                            let run = k.let_("run", row * self.runs[1] + column);
                            let first =
                                k.let_("first", row * self.run_pitch[0] + column * self.run_pitch[1] + from);
                            k.for_("four", 0, self.fours, |k, four| {
                                let row = k.let_("row", (run * self.fours + four) * self.groups + group);
                                for i in 0..4usize {
                                    let x = acts.at(first + four * 4 + i);
                                    let w = w.at(row * (4 * LANES) + lane * 4 + i) - 128;
                                    k.add_to(sum, x * w);
                                }
                            });
                        });
                    });
                    let rounding = (tail.at(at + 2 * LANES), tail.at(at + 3 * LANES) & 31);
                    let value = requantized(sum, tail.at(at + LANES), rounding, (self.lo, self.hi));
                    k.store(y, pixel * step + lane * self.groups + group, value);
                });
            });
        });
        k.native(native(&self.code())?);
        k.finish()
    }

    /// The instructions. r0: window of the block's first pixel, r1: weights, r2: tail, r15: its
    /// second half, r3: results, r4: begin of the weights, r5: current run, r6: zero, r14: how far
    /// results are moved down, others: inputs.
    fn code(&self) -> Vec<Code> {
        let mut head = self.head();
        head.push(Inst::Mov(R(4), R(1)));
        let mut body = Vec::new();
        let mut line = Vec::new();
        for group in 0..self.groups {
            self.open(&mut line, group);
        }
        let whole = self.all_runs() * self.fours <= STRAIGHT;
        let mut next = Next::new(self);
        for run in 0..self.all_runs() {
            line.push(Inst::Add(R(5), R(0), self.run_at(run) as i32));
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
        line.push(Inst::Mov(R(1), R(4)));
        body.push(Code::Straight(line));
        let mut code = vec![Code::Straight(head)];
        code.extend(Code::repeated(self.blocks, body));
        code
    }
    /// What all blocks need in registers.
    pub(super) fn head(&self) -> Vec<Inst> {
        let mut head = match self.spare {
            true => {
                vec![Inst::Add(R(28), R(2), (4 * self.groups * VECTOR) as i32), Inst::Load(TO_ALL, R(28), 0)]
            }
            false => vec![Inst::Set(R(28), i32::from_le_bytes([128; 4])), Inst::Splat(OFFSET, R(28))],
        };
        if self.step.is_some() && self.groups < 4 {
            head.push(Inst::Set(DOWN, self.width() as i32));
        }
        if !self.held() {
            head.extend([Inst::Set(ZERO, 0), Inst::Add(R(15), R(2), 8 * VECTOR as i32)]);
        } else {
            for g in 0..self.groups {
                for (row, base) in TAIL.into_iter().enumerate() {
                    head.push(Inst::Load(V(base + g as u32), R(2), (4 * g + row) as i32));
                }
            }
        }
        for (limit, register, none) in [(self.lo, LOW, -128), (self.hi, HIGH, 127)] {
            if limit != none {
                head.push(Inst::Set(R(4), limit));
                head.push(Inst::SplatByte(register, R(4)));
            }
        }
        head
    }
    /// Sums of a group begin with their biases.
    pub(super) fn open(&self, line: &mut Vec<Inst>, group: usize) {
        for pixel in 0..self.pixels {
            let sum = self.sum(pixel, group);
            line.push(if self.held() {
                Inst::Copy(sum, V(TAIL[0] + group as u32))
            } else {
                self.load_tail(sum, group, 0)
            });
        }
    }

    /// Whether what ends the sums stays in registers.
    fn held(&self) -> bool {
        self.groups <= 2
    }
    fn load_tail(&self, v: V, group: usize, row: usize) -> Inst {
        let at = (4 * group + row) as i32;
        if at < 8 { Inst::Load(v, R(2), at) } else { Inst::Load(v, R(15), at - 8) }
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
                if self.spare {
                    continue;
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
        self.offset_to_all(line);
        self.end(line, true, &|line, first| self.pack(line, first));
    }
    /// Brings what the spare lane has summed to all lanes.
    pub(super) fn offset_to_all(&self, line: &mut Vec<Inst>) {
        if self.spare {
            let last = |pixel| self.sum(pixel, self.groups - 1);
            line.extend((0..self.pixels).map(|p| Inst::Exchange(self.offset(p), last(p), TO_ALL)));
        }
    }
    /// Requantizes sums, from which offsets may be to `subtract` yet, and stores what `pack` makes of those from a
    /// pixel on.
    pub(super) fn end(
        &self,
        line: &mut Vec<Inst>,
        subtract: bool,
        pack: &dyn Fn(&mut Vec<Inst>, usize) -> V,
    ) {
        let pairs: &[u32] = match self.groups {
            1 => &[16, 18],
            _ => &[12, 14, 16, 18],
        };
        for group in 0..self.groups {
            let g = group as u32;
            let tail = match self.held() {
                true => TAIL.map(|base| V(base + g)),
                false => [0, 20, 24, 10].map(|base| V(base + g % 2)),
            };
            if !self.held() {
                line.extend((1..4).map(|row| self.load_tail(tail[row], group, row)));
            }
            for pixel in 0..self.pixels {
                let sum = self.sum(pixel, group);
                let pair = V(pairs[(group * self.pixels + pixel) % pairs.len()]);
                if subtract {
                    line.push(Inst::SubWords(sum, sum, self.offset(pixel)));
                }
                line.push(Inst::MulLow(pair, sum, tail[1]));
                line.push(Inst::MulHighAdd(pair, sum, tail[1]));
                line.push(Inst::AddWords(sum, V(pair.0 + 1), tail[2]));
                line.push(Inst::ShiftRight(sum, sum, tail[3]));
            }
        }
        // A vector of bytes holds the channels of one, two or four pixels.
        let together = 4 / self.groups;
        for first in (0..self.pixels).step_by(together) {
            let packed = pack(line, first);
            if self.lo > -128 {
                line.push(Inst::MaxBytes(packed, packed, LOW));
            }
            if self.hi < 127 {
                line.push(Inst::MinBytes(packed, packed, HIGH));
            }
            let Some(step) = self.step else {
                line.push(Inst::StoreAny(R(3), (first / together) as i32, packed));
                continue;
            };
            let mut from = packed;
            for pixel in first..(first + together).min(self.pixels) {
                if pixel > first {
                    let moved = V(12 + pixel as u32 % 4);
                    line.push(Inst::RotateDown(moved, from, DOWN));
                    from = moved;
                }
                line.push(Inst::StoreAny(R(3), 0, from));
                line.push(Inst::Add(R(3), R(3), step as i32));
            }
        }
        if self.step.is_none() {
            line.push(Inst::Add(R(3), R(3), (self.pixels * self.width()) as i32));
        }
    }

    /// The results of the pixels from `first` on that fill a vector, as bytes; where the offsets
    /// were.
    fn pack(&self, line: &mut Vec<Inst>, first: usize) -> V {
        let sum = |pixel: usize, group: usize| self.sum((first + pixel).min(self.pixels - 1), group);
        match self.groups {
            1 => {
                let (low, high) = [(V(8), V(9)), (V(10), V(11))][first / 4];
                line.push(Inst::PackHalves(low, sum(1, 0), sum(0, 0)));
                line.push(Inst::PackHalves(high, sum(3, 0), sum(2, 0)));
                line.push(Inst::PackBytes(low, high, low));
                low
            }
            2 => {
                let (low, high) = [(V(8), V(9)), (V(10), V(11))][first / 2];
                line.push(Inst::NarrowWords(low, sum(0, 1), sum(0, 0)));
                line.push(Inst::NarrowWords(high, sum(1, 1), sum(1, 0)));
                line.push(Inst::PackBytes(low, high, low));
                low
            }
            _ => {
                let (low, high) = [(V(16), V(17)), (V(18), V(19))][first % 2];
                line.push(Inst::NarrowWords(low, sum(0, 2), sum(0, 0)));
                line.push(Inst::NarrowWords(high, sum(0, 3), sum(0, 1)));
                line.push(Inst::NarrowHalves(low, high, low, ZERO));
                low
            }
        }
    }

    pub(super) fn sum(&self, pixel: usize, group: usize) -> V {
        V((pixel * self.groups + group) as u32)
    }
    pub(super) fn offset(&self, pixel: usize) -> V {
        V(8 + pixel as u32)
    }
}

/// 128 in every byte.
pub(super) const OFFSET: V = V(31);
/// Or how the spare lane is brought to all.
const TO_ALL: V = V(31);
const LOW: V = V(28);
const HIGH: V = V(29);
const ZERO: R = R(6);
pub(super) const DOWN: R = R(14);
/// Bias, multiplier, rounding constant and shift of the first group.
const TAIL: [u32; 4] = [20, 22, 24, 26];

/// Registers taken in turn.
#[derive(Debug)]
struct Next {
    weights: Vec<u32>,
    inputs: Vec<u32>,
    taken: [usize; 2],
}

impl Next {
    fn new(g: &Gemm) -> Next {
        let mut inputs: Vec<u32> = (7..14).chain([28]).collect();
        if g.held() {
            inputs.extend([ZERO.0, 15]);
        }
        if g.step.is_none() {
            inputs.push(DOWN.0);
        }
        let weights = if g.held() { 16..20 } else { 16..28 };
        Next { weights: weights.collect(), inputs, taken: [0, 0] }
    }
    fn weight(&mut self) -> V {
        self.taken[0] += 1;
        V(self.weights[self.taken[0] % self.weights.len()])
    }
    fn input(&mut self) -> R {
        self.taken[1] += 1;
        R(self.inputs[self.taken[1] % self.inputs.len()])
    }
}
