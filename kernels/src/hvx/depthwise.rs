//! Depthwise convolution in lanes of neighbouring bytes: channels of one pixel, or of several
//! that lie side by side.
//!
//! Four taps of a channel stand side by side in a word, so that one instruction multiplies and
//! sums them: bytes of four vectors are paired twice, which leaves the channels of a block in
//! four vectors of words, every fourth one each, and the results are narrowed in the same order.
//!
//! Streams: the weights by four taps, then channel modulo four, then channel, then tap; bias
//! (zero point of the input folded in) and multiplier, four vectors of words each, then rounding
//! constant and shift: one vector each for all channels, or four.

use crate::asm::hvx::{Code, Inst, MAX_TURNS, Q, R, V, VECTOR, native};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::rounding::requantized;
use crate::tensor::DType;
use std::sync::Arc;

/// Words of a vector.
const WORDS: usize = VECTOR / 4;
/// Greatest window: it is spelled out.
const MOST_TAPS: usize = 64;
/// Fours of taps whose weights stay in registers.
const HELD: usize = 3;

/// Sizes of one call. Steps are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    /// Rows and columns of the window, and the steps from one to the next.
    pub kernel: [usize; 2],
    pub tap: [usize; 2],
    pub rows: usize,
    pub blocks: usize,
    /// Results of a block, at most a vector, and of the last block of a row.
    pub lanes: usize,
    pub last: usize,
    /// From one row (block) to the next.
    pub x: [usize; 2],
    pub y: [usize; 2],
    /// Whether one rounding constant and one shift serve all channels.
    pub one_shift: bool,
    pub lo: i32,
    pub hi: i32,
}

/// Rounding constant, limits and shift, where all channels share them.
const ROUND: V = V(16);
const LOW: V = V(17);
const HIGH: V = V(18);
const SHIFT: V = V(19);
/// Zero.
const ZERO: R = R(4);

impl Depthwise {
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
    fn fours(&self) -> usize {
        self.taps().div_ceil(4)
    }
    pub fn weights_len(&self) -> usize {
        self.fours() * 4 * VECTOR
    }
    /// Words of what ends the sums.
    pub fn tail_len(&self) -> usize {
        WORDS * if self.one_shift { 10 } else { 16 }
    }
    /// Where the weight of a tap and a lane stands.
    pub fn place(lane: usize, tap: usize) -> usize {
        ((tap / 4 * 4 + lane % 4) * WORDS + lane / 4) * 4 + tap % 4
    }
    /// Where bias (multiplier, rounding constant, shift: 1 to 3) of a lane stands in the tail.
    pub fn tail_place(&self, which: usize, lane: usize) -> usize {
        match which {
            0 | 1 => (4 * which + lane % 4) * WORDS + lane / 4,
            _ if self.one_shift => (6 + which) * WORDS + lane / 4,
            _ => (4 * which + lane % 4) * WORDS + lane / 4,
        }
    }
    fn row_len(&self) -> usize {
        (self.blocks - 1) * self.y[1] + self.last
    }
    /// Bytes read, whole vectors.
    pub fn x_len(&self) -> usize {
        (self.rows - 1) * self.x[0]
            + (self.blocks - 1) * self.x[1]
            + (self.kernel[0] - 1) * self.tap[0]
            + (self.kernel[1] - 1) * self.tap[1]
            + VECTOR
    }
    pub fn y_len(&self) -> usize {
        (self.rows - 1) * self.y[0] + self.row_len()
    }
    /// Blocks of a row that may be stored as whole vectors: what is too much is stored again.
    fn plain(&self) -> usize {
        if self.y[1] > self.lanes {
            return 0;
        }
        (0..self.blocks).take_while(|b| b * self.y[1] + VECTOR <= self.row_len()).count()
    }
    /// Whether offsets and turns fit the instructions.
    pub fn fits(&self) -> bool {
        const OFFSET: usize = 32_000;
        let reach = (self.kernel[0] - 1) * self.tap[0] + (self.kernel[1] - 1) * self.tap[1];
        self.taps() <= MOST_TAPS
            && (1..=MAX_TURNS).contains(&self.rows)
            && (1..=MAX_TURNS).contains(&self.blocks)
            && [self.x[0], self.y[0], reach, self.blocks * self.x[1], self.blocks * self.y[1]]
                .iter()
                .all(|&o| o <= OFFSET)
    }

    /// The kernel `(x, w, tail, y)`: its meaning as loops and its native form.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        if !self.fits() {
            return Err(Error::internal(Site::Whole, format!("no block for {self:?}")));
        }
        let mut k = KernelBuilder::new(format!("depthwise_s8_{}x{}", self.kernel[0], self.kernel[1]));
        let x = k.buffer("x", DType::I8, self.x_len(), Access::Read);
        let w = k.buffer("w", DType::I8, self.weights_len(), Access::Read);
        let tail = k.buffer("tail", DType::I32, self.tail_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let block = |k: &mut KernelBuilder, row: Val, block: Expr, lanes: usize| {
            let from = k.let_("from", row * self.x[0] + &block * self.x[1]);
            let to = k.let_("to", row * self.y[0] + block * self.y[1]);
            k.for_("lane", 0, lanes, |k, lane| {
                // Every fourth channel, and which of the four.
                let word = k.let_("word", lane >> 2);
                let part = k.let_("part", lane & 3);
                let of = |which: usize| match which {
                    2 | 3 if self.one_shift => tail.at(word + (6 + which) * WORDS),
                    _ => tail.at((part + 4 * which) * WORDS + word),
                };
                let sum = k.var("sum", of(0));
                for ky in 0..self.kernel[0] {
                    for kx in 0..self.kernel[1] {
                        let tap = ky * self.kernel[1] + kx;
                        let x = x.at(from + lane + (ky * self.tap[0] + kx * self.tap[1]));
                        let w = w.at(((part + tap / 4 * 4) * WORDS + word) * 4 + tap % 4);
                        k.add_to(sum, x * w);
                    }
                }
                k.store(y, to + lane, requantized(sum, of(1), (of(2), of(3) & 31), (self.lo, self.hi)));
            });
        };
        k.for_("row", 0, self.rows, |k, row| {
            k.for_("block", 0, self.blocks - 1, |k, b| block(k, row, b.into(), self.lanes));
            block(k, row, (self.blocks - 1).into(), self.last);
        });
        k.native(native(&self.code())?);
        k.finish()
    }

    /// The instructions. r0: first input of the block, r1: weights, r2: tail, r3: results, r15:
    /// second half of the tail, r5: weights in turn, others: addresses.
    fn code(&self) -> Vec<Code> {
        let held = self.fours() <= HELD;
        let mut head = vec![Inst::Set(ZERO, 0), Inst::Add(R(15), R(2), (8 * VECTOR) as i32)];
        if held {
            head.extend((0..4 * self.fours() as u32).map(|i| Inst::LoadNext(V(20 + i), R(1))));
        }
        if self.one_shift {
            head.extend([Inst::Load(ROUND, R(15), 0), Inst::Load(SHIFT, R(15), 1)]);
        }
        for (limit, register, none) in [(self.lo, LOW, -128), (self.hi, HIGH, 127)] {
            if limit != none {
                head.push(Inst::Set(R(6), limit));
                head.push(Inst::SplatByte(register, R(6)));
            }
        }
        let plain = self.plain();
        let mut row = Vec::new();
        let whole = self.blocks.saturating_sub(plain + 1);
        row.extend(Code::repeated(plain, vec![Code::Straight(self.block(held, None))]));
        row.extend(Code::repeated(whole, vec![Code::Straight(self.block(held, Some(self.lanes)))]));
        if plain < self.blocks {
            row.push(Code::Straight(self.block(held, Some(self.last))));
        }
        let back = |row: usize, block: usize| row as i32 - (self.blocks * block) as i32;
        row.push(Code::Straight(vec![
            Inst::Add(R(0), R(0), back(self.x[0], self.x[1])),
            Inst::Add(R(3), R(3), back(self.y[0], self.y[1])),
        ]));
        let rows = Code::repeated(self.rows, Code::joined(row));
        Code::joined([vec![Code::Straight(head)], rows].concat())
    }

    /// One block; `masked` are the lanes to be stored, where others must be left alone.
    fn block(&self, held: bool, masked: Option<usize>) -> Vec<Inst> {
        let mut line = Vec::new();
        line.extend((0..4).map(|i| Inst::Load(V(i), R(2), i as i32)));
        if !held {
            line.push(Inst::Mov(R(5), R(1)));
        }
        let offsets: Vec<usize> = (0..self.taps())
            .map(|t| t / self.kernel[1] * self.tap[0] + t % self.kernel[1] * self.tap[1])
            .collect();
        let mut address = 0;
        for (four, offsets) in offsets.chunks(4).enumerate() {
            let weights = 20 + 4 * (four % HELD) as u32;
            if !held {
                line.extend((0..4).map(|i| Inst::LoadNext(V(weights + i), R(5))));
            }
            let loads = 4 + 4 * (four % 2) as u32;
            for (i, &offset) in offsets.iter().enumerate() {
                // Nine registers in turn.
                let at = R(6 + address % 9);
                address += 1;
                line.push(Inst::Add(at, R(0), offset as i32));
                line.push(Inst::LoadAny(V(loads + i as u32), at, 0));
            }
            // Taps that there are not have no weight.
            let tap = |i: usize| V(loads + if i < offsets.len() { i as u32 } else { 0 });
            line.push(Inst::PairBytes(V(loads), tap(1), tap(0)));
            let second = V(loads + 2);
            // Where the first pair was loaded, its bytes are paired already.
            if offsets.len() > 2 {
                let other = if offsets.len() > 3 { tap(3) } else { tap(2) };
                line.push(Inst::PairBytes(second, other, tap(2)));
            }
            let high = |odd: u32| if offsets.len() > 2 { V(second.0 + odd) } else { V(loads + odd) };
            line.push(Inst::PairHalves(V(12), high(0), V(loads)));
            line.push(Inst::PairHalves(V(14), high(1), V(loads + 1)));
            for (sum, words) in [12, 14, 13, 15].into_iter().enumerate() {
                line.push(Inst::DotLanes(V(sum as u32), V(words), V(weights + sum as u32)));
            }
        }
        for i in 0..4 {
            let (sum, m, pair) = (V(i), V(12 + i), V(4 + 2 * i));
            line.push(Inst::Load(m, R(2), 4 + i as i32));
            line.push(Inst::MulLow(pair, sum, m));
            line.push(Inst::MulHighAdd(pair, sum, m));
            let (round, shift) = if self.one_shift { (ROUND, SHIFT) } else { (m, pair) };
            if !self.one_shift {
                line.push(Inst::Load(round, R(15), i as i32));
            }
            line.push(Inst::AddWords(sum, V(pair.0 + 1), round));
            if !self.one_shift {
                line.push(Inst::Load(shift, R(15), 4 + i as i32));
            }
            line.push(Inst::ShiftRight(sum, sum, shift));
        }
        line.push(Inst::NarrowWords(V(12), V(2), V(0)));
        line.push(Inst::NarrowWords(V(13), V(3), V(1)));
        line.push(Inst::NarrowHalves(V(14), V(13), V(12), ZERO));
        if self.lo > -128 {
            line.push(Inst::MaxBytes(V(14), V(14), LOW));
        }
        if self.hi < 127 {
            line.push(Inst::MinBytes(V(14), V(14), HIGH));
        }
        match masked {
            Some(n) if n < VECTOR => store_first(&mut line, V(14), R(3), n),
            _ => line.push(Inst::StoreAny(R(3), 0, V(14))),
        }
        line.push(Inst::Add(R(0), R(0), self.x[1] as i32));
        line.push(Inst::Add(R(3), R(3), self.y[1] as i32));
        line
    }
}

/// Stores the first `n` bytes of a vector, 1 to 128, at any address in `r0`..`r7` and no byte
/// beside them. Spoils the vector, r6 to r8, and q0 to q2.
pub fn store_first(line: &mut Vec<Inst>, v: V, at: R, n: usize) {
    let n = n as i32;
    let (end, second) = (R(6), R(7));
    line.push(Inst::And(end, at, VECTOR as i32 - 1));
    line.push(Inst::Add(end, end, n));
    // Where the bytes reach into the next aligned vector, all of this one's end is stored.
    line.push(Inst::Greater(end, VECTOR as i32));
    line.push(Inst::Kept(second, end));
    line.push(Inst::Dropped(end, end));
    line.push(Inst::RotateUp(v, v, at));
    line.push(Inst::First(Q(0), at));
    line.push(Inst::FirstOrAll(Q(1), end));
    line.push(Inst::First(Q(2), second));
    line.push(Inst::Without(Q(1), Q(1), Q(0)));
    line.push(Inst::StoreMasked(Q(1), at, v));
    line.push(Inst::Add(R(8), at, n - 1));
    line.push(Inst::StoreMasked(Q(2), R(8), v));
}
