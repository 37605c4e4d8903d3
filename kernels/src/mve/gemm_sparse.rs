//! Products of int8 inputs with weights of which whole blocks are zero, sixteen inputs of one channel: up to eight pixels
//! at a time, one channel after the other, then the sums of all channels at once into results.
//!
//! Stream, in bytes: for each channel, in the order of its sums, a word that counts its blocks, and the blocks: a
//! word that says how far its inputs stand behind those of the window's first, and sixteen weights. A channel without any block has one of
//! zeros. Sums stand in eights: of each the even channels before the odd ones, which is how
//! vectors are narrowed. Behind the channels stand for each eight the biases, the multipliers and, where channels
//! differ, the negative shifts, as words.
//!
//! Bound for a block and eight pixels, 128 products: nine loads and eight products hold their pipes for two cycles
//! each, at once, and six scalar instructions come with them: 24 cycles. A channel begins and ends with 20 more, and eight
//! results take 24.

use crate::asm::mve::{At, Block, Inst, Item, Lane, Q, R, SP};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Native, Val};
use crate::mve::gemm::LANES;
use crate::mve::straight::advance;
use crate::mve::stream::{close, keep, limit, shift, word, words};
use crate::tensor::DType;
use std::sync::Arc;

/// Most pixels side by side: one for each register that sums.
pub const PIXELS: usize = 8;
/// Channels whose sums become results at once.
const GROUP: usize = 8;
/// Bytes of a block.
const BLOCK: usize = 4 + LANES;
/// Greatest offset of words from a pointer, and of a store.
const REACH: usize = 508;
const FAR: usize = 4095;

const SUMS: [R; PIXELS] = [R(0), R(2), R(4), R(6), R(8), R(10), R(12), R(14)];
/// Inputs of a block, the stream, blocks that are left, sums of a channel, inputs of the first pixel.
const X: R = R(1);
const W: R = R(3);
const LEFT: R = R(5);
const TO: R = R(7);
const FIRST: R = R(9);
const T: R = R(11);
/// Words of the frame.
const STREAM: i32 = 0;
const Y: i32 = 4;
const ROOM: i32 = 8;
const CHANNELS: i32 = 12;
const TURNS: i32 = 16;

/// Sizes of one call, with windows as in [`crate::mve::gemm::Gemm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    pub outputs: usize,
    /// Pixels side by side, and how often.
    pub pixels: usize,
    pub turns: usize,
    pub x_step: usize,
    pub y_step: usize,
    pub runs: usize,
    /// A multiple of the lanes.
    pub run: usize,
    pub run_pitch: usize,
    pub sh: Option<u32>,
    pub zp: i32,
    pub lo: i32,
    pub hi: i32,
    /// Blocks that are stored.
    pub stored: usize,
}

/// The channel of sum `i`.
fn channel(i: usize) -> usize {
    i / GROUP * GROUP + 2 * (i % 4) + i % GROUP / 4
}

impl Sparse {
    /// Whether there is a block of these sizes: words are loaded and stored at multiples of four.
    pub fn fits(&self) -> bool {
        (1..=PIXELS).contains(&self.pixels)
            && self.outputs.is_multiple_of(GROUP)
            && self.run.is_multiple_of(LANES)
            && (self.x_step.is_multiple_of(4) && self.run_pitch.is_multiple_of(4))
            && (self.pixels - 1) * self.x_step <= REACH
            && (self.pixels - 1) * 4 * self.outputs <= FAR
            && self.sh.is_none_or(|sh| (1..=22).contains(&sh))
    }
    fn words(&self) -> usize {
        if self.sh.is_some() { 2 } else { 3 }
    }
    /// Bytes of the stream, and of its part that has blocks.
    pub fn len(&self) -> usize {
        self.blocks_len() + 4 * self.words() * self.outputs
    }
    fn blocks_len(&self) -> usize {
        4 * self.outputs + BLOCK * self.stored
    }
    pub fn acts_len(&self) -> usize {
        (self.turns * self.pixels - 1) * self.x_step + (self.runs - 1) * self.run_pitch + self.run
    }
    pub fn y_len(&self) -> usize {
        (self.turns * self.pixels - 1) * self.y_step + self.outputs
    }
    /// Words of sums.
    pub fn sums_len(&self) -> usize {
        self.pixels * self.outputs
    }

    /// Packs a layer; `taps` as in [`crate::mve::gemm::Gemm::pack`]. `None` where a weight does not fit a byte.
    pub fn pack(
        sizes: &Sparse,
        weights: &[i32],
        bias: &[i32],
        ending: &Ending<'_>,
        taps: &[usize],
    ) -> Option<(Sparse, Vec<i8>)> {
        let row = weights.len().checked_div(sizes.outputs)?;
        let (mut stream, mut stored) = (Vec::new(), 0);
        let push = |stream: &mut Vec<i8>, word: i32| stream.extend(word.to_le_bytes().map(|b| b as i8));
        for o in (0..sizes.outputs).map(channel) {
            let block = |b: usize| &taps[b * LANES..(b + 1) * LANES];
            let weight = |t: usize| weights[o * row + t];
            let all = 0..taps.len() / LANES;
            let mut kept: Vec<usize> = all.filter(|&b| block(b).iter().any(|&t| weight(t) != 0)).collect();
            if kept.is_empty() {
                kept.push(0);
            }
            push(&mut stream, kept.len() as i32);
            stored += kept.len();
            for b in kept {
                let at = b * LANES / sizes.run * sizes.run_pitch + b * LANES % sizes.run;
                push(&mut stream, i32::try_from(at).ok()?);
                for &t in block(b) {
                    stream.push(i8::try_from(weight(t)).ok()?);
                }
            }
        }
        for first in (0..sizes.outputs).step_by(GROUP) {
            for n in 0..sizes.words() {
                for i in first..first + GROUP {
                    push(&mut stream, words(bias, ending, sizes.sh.is_some(), channel(i))[n]);
                }
            }
        }
        let sparse = Sparse { stored, ..*sizes };
        Some((sparse, stream))
    }

    /// The kernel `(acts, w, y, sums)`.
    pub fn kernel(&self) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new(format!("dot_s8_b1x16p{}", self.pixels));
        let acts = k.buffer("acts", DType::I8, self.acts_len(), Access::Read);
        let w = k.buffer("w", DType::I8, self.len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.y_len(), Access::Write);
        let sums = k.buffer("sums", DType::I32, self.sums_len(), Access::ReadWrite);
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize| at.max(0).min((self.len() - room) as i32);
        let last = ((self.runs - 1) * self.run_pitch + self.run - LANES) as i32;
        k.for_("turn", 0, self.turns, |k, turn| {
            let x0 = k.let_("x0", turn * (self.pixels * self.x_step));
            let next = k.var("next", 0);
            k.for_("i", 0, self.outputs, |k, i| {
                let all: Vec<Val> = (0..self.pixels).map(|q| k.var(&format!("sum{q}"), 0)).collect();
                let base = k.let_("base", within(next.into(), 4));
                let blocks = k.let_("blocks", word((w, 1), base.into()) & 65535);
                k.for_("block", 0, blocks, |k, block| {
                    let from = k.let_("from", within(base + 4 + block * BLOCK, BLOCK));
                    let at = k.let_("at", word((w, 1), from.into()).max(0).min(last));
                    k.for_("lane", 0, LANES, |k, lane| {
                        let weight = k.let_("weight", w.at(from + 4 + lane));
                        for (q, &sum) in all.iter().enumerate() {
                            k.add_to(sum, weight * acts.at(x0 + at + lane + q * self.x_step));
                        }
                    });
                });
                for (q, &sum) in all.iter().enumerate() {
                    k.store(sums, i + q * self.outputs, sum);
                }
                k.set(next, base + 4 + blocks * BLOCK);
            });
            k.for_("q", 0, self.pixels, |k, q| {
                // Where the sum of a channel stands, and its words.
                k.for_("i", 0, self.outputs, |k, i| {
                    let (group, i) = (k.let_("group", i >> 3), k.let_("j", i & 7));
                    let c = group * GROUP + (i & 3) * 2 + (i >> 2);
                    let words = group * (4 * GROUP * self.words()) + i * 4;
                    let at = k.let_("at", words + self.blocks_len());
                    let of = |n: usize| word((w, 1), at + 4 * GROUP * n);
                    let sum = k.var("sum", sums.at(q * self.outputs + group * GROUP + i) + of(0));
                    let value = close(k, sum, &of, (self.sh, self.zp), (self.lo, self.hi));
                    k.store(y, turn * (self.pixels * self.y_step) + q * self.y_step + c, value);
                });
            });
        });
        k.native(self.native()?);
        k.finish()
    }

    /// The native form. Loops have whole numbers of turns, channels have blocks as their weights are: what
    /// a channel takes lies between.
    fn native(&self) -> Result<Native> {
        let (native, more) = (self.block(1).native()?, self.block(2).native()?);
        let blocks = self.stored as f64 / self.outputs as f64;
        let turn = (more.cycles - native.cycles) as f64;
        Ok(Native { cycles: native.cycles + ((blocks - 1.0) * turn).round() as u64, ..native })
    }

    /// The instructions, as if each channel had so many blocks.
    fn block(&self, blocks: u32) -> Block {
        let (n, outputs) = (self.pixels, self.outputs as i32);
        let mut b = Block { slots: 5, ..Block::default() };
        let mut entry = vec![Inst::Str(R(1), SP, STREAM), Inst::Str(R(2), SP, Y), Inst::Str(R(3), SP, ROOM)];
        entry.push(Inst::Mov(FIRST, R(0)));
        keep(&mut entry, DType::I8, self.zp, (self.lo, self.hi));
        if self.turns > 1 {
            entry.extend([Inst::MovImm(R(0), self.turns as i32), Inst::Str(R(0), SP, TURNS)]);
        }
        b.run(entry);
        let mut turn = Block::default();
        turn.run([
            Inst::Ldr(W, SP, STREAM),
            Inst::Ldr(TO, SP, ROOM),
            Inst::MovImm(T, outputs),
            Inst::Str(T, SP, CHANNELS),
        ]);
        // The sums of a channel.
        let mut one = Block::default();
        let mut begin = vec![Inst::Ldr(LEFT, W, 0), Inst::AddImm(W, W, 4)];
        begin.extend(SUMS[..n].iter().map(|&sum| Inst::MovImm(sum, 0)));
        one.run(begin);
        let mut add = vec![Inst::Ldr(T, W, 0), Inst::Add(X, FIRST, T)];
        add.push(Inst::LoadWords(WEIGHTS, W, 4));
        for (q, &sum) in SUMS[..n].iter().enumerate() {
            let input = INPUTS[q % INPUTS.len()];
            add.push(Inst::LoadWords(input, X, (q * self.x_step) as i32));
            add.push(Inst::DotAdd(Lane::B, sum, input, WEIGHTS));
        }
        add.push(Inst::AddImm(W, W, BLOCK as i32));
        let add = vec![Item::Run(add)];
        one.items.push(Item::Down { count: LEFT, step: 1, turns: blocks, body: add });
        let mut end: Vec<Inst> = SUMS[..n]
            .iter()
            .enumerate()
            .map(|(q, &sum)| Inst::Str(sum, TO, q as i32 * 4 * outputs))
            .collect();
        end.extend([Inst::AddImm(TO, TO, 4), Inst::Ldr(LEFT, SP, CHANNELS), Inst::AddImm(T, LEFT, -1)]);
        end.push(Inst::Str(T, SP, CHANNELS));
        one.run(end);
        turn.items.push(Item::Down { count: LEFT, step: 1, turns: outputs as u32, body: one.items });
        self.finish(&mut turn);
        if self.turns > 1 {
            let mut next = Vec::new();
            advance(&mut next, FIRST, (n * self.x_step) as i32);
            next.extend([Inst::Ldr(R(0), SP, TURNS), Inst::AddImm(R(4), R(0), -1)]);
            next.push(Inst::Str(R(4), SP, TURNS));
            turn.run(next);
            b.items.push(Item::Down { count: R(0), step: 1, turns: self.turns as u32, body: turn.items });
        } else {
            b.items.extend(turn.items);
        }
        b
    }

    /// Sums to results, pixel by pixel; `W` points behind the blocks.
    fn finish(&self, b: &mut Block) {
        let (sums, words, y, left) = (R(1), R(5), R(7), R(11));
        let bytes = 4 * GROUP as i32;
        b.run([Inst::Ldr(sums, SP, ROOM), Inst::Ldr(y, SP, Y), Inst::MovImm(R(0), self.pixels as i32)]);
        let (a, c, p, q) = (Q(0), Q(1), Q(2), Q(3));
        let mut eight = vec![Inst::LoadWords(a, sums, 0), Inst::LoadWords(c, sums, 16)];
        eight.push(Inst::AddImm(sums, sums, bytes));
        let both = |insts: &mut Vec<Inst>, n: i32, op: fn(Q, Q, Q) -> Inst| {
            insts.extend([Inst::LoadWords(p, words, n * bytes), Inst::LoadWords(q, words, n * bytes + 16)]);
            insts.extend([op(a, a, p), op(c, c, q)]);
        };
        both(&mut eight, 0, |d, a, b| Inst::AddLanes(Lane::W, d, a, b));
        both(&mut eight, 1, Inst::MulHigh);
        shift(&mut eight, [a, c], self.sh, |eight| both(eight, 2, Inst::RoundShift));
        eight.push(Inst::AddImm(words, words, self.words() as i32 * bytes));
        limit(&mut eight, DType::I8, a, (self.lo, self.hi));
        eight.push(Inst::StoreNarrow(Lane::H, a, At::After(y, GROUP as i32)));
        let groups = self.outputs / GROUP;
        let mut pixel = Block::default();
        pixel.run([Inst::Mov(words, W), Inst::MovImm(left, groups as i32)]);
        let eight = vec![Item::Run(eight)];
        pixel.items.push(Item::Down { count: left, step: 1, turns: groups as u32, body: eight });
        let mut next = Vec::new();
        advance(&mut next, y, self.y_step as i32 - self.outputs as i32);
        pixel.run(next);
        b.items.push(Item::Down { count: R(0), step: 1, turns: self.pixels as u32, body: pixel.items });
        b.run([Inst::Str(y, SP, Y)]);
    }
}

const WEIGHTS: Q = Q(4);
/// Inputs of a block, in turn.
const INPUTS: [Q; 4] = [Q(0), Q(1), Q(2), Q(3)];
#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(81);
        // Runs, inputs of each, bytes between them; outputs, pixels, turns.
        let sizes =
            [(1, 16, 16, 8, 8, 1), (3, 96, 600, 16, 8, 2), (1, 64, 64, 24, 3, 3), (2, 48, 52, 8, 1, 1)];
        for (case, (runs, run_len, run_pitch, outputs, pixels, turns)) in sizes.into_iter().enumerate() {
            for (round, share) in [0, 6, 25, 100].into_iter().enumerate() {
                let one = (case + round) % 2 == 0;
                let sizes = Sparse {
                    outputs,
                    pixels,
                    turns,
                    x_step: 16,
                    y_step: outputs + 3 * case,
                    runs,
                    run: run_len,
                    run_pitch,
                    sh: one.then_some([7, 18][round / 2]),
                    zp: [-128, 3, 127, 0][round],
                    lo: -128 + 20 * (case as i32 % 2),
                    hi: 127 - 20 * (round as i32 % 2),
                    stored: 0,
                };
                assert!(sizes.fits());
                let taps = runs * run_len;
                let mut w: Vec<i32> = (0..outputs * taps).map(|_| random.within(-128, 127) as i32).collect();
                for (b, block) in w.chunks_mut(LANES).enumerate() {
                    // A row is empty, another one full.
                    let share = match b * LANES / taps {
                        1 if round > 0 => [0, 100][case % 2],
                        _ => share,
                    };
                    if random.within(0, 99) >= share {
                        block.fill(0);
                    }
                }
                let bias: Vec<i32> = (0..outputs).map(|_| random.within(-9000, 9000) as i32).collect();
                let m: Vec<i32> =
                    (0..outputs).map(|_| random.within(1 << 24, i32::MAX.into()) as i32).collect();
                let shifts: Vec<u32> = (0..outputs).map(|o| 5 + o as u32 % 9).collect();
                let order: Vec<usize> = (0..taps).collect();
                let ending = Ending {
                    multipliers: &m,
                    each: shifts.iter().map(|&sh| (0, sh)).collect(),
                    sh: sizes.sh,
                    rnd: 0,
                    zp: sizes.zp,
                    limits: (sizes.lo, sizes.hi),
                };
                let (g, stream) = Sparse::pack(&sizes, &w, &bias, &ending, &order).unwrap();
                assert_eq!(stream.len(), g.len());
                let x = random.bytes(g.acts_len());
                let args = vec![
                    Bind::Operand(0),
                    Bind::aligned("w", Data::I8(stream), 8),
                    Bind::Result(0),
                    Bind::Workspace(0),
                ];
                let call = Call { kernel: g.kernel().unwrap(), args };
                let Data::I8(body) = run(&call, &[Data::I8(x.clone())], DType::I8, g.y_len()) else {
                    panic!()
                };
                for (pixel, o) in (0..pixels * turns).flat_map(|p| (0..outputs).map(move |o| (p, o))) {
                    let mut sum = bias[o];
                    for t in 0..taps {
                        let at = pixel * 16 + t / run_len * run_pitch + t % run_len;
                        sum += w[o * taps + t] * i32::from(x[at]);
                    }
                    let sh = g.sh.unwrap_or(shifts[o]);
                    let high = (i64::from(sum) * i64::from(m[o])) >> 32;
                    let want = ((high + (1 << (sh - 1))) >> sh) + i64::from(g.zp);
                    let want = want.clamp(g.lo.into(), g.hi.into());
                    let got = body[pixel * g.y_step + o];
                    assert_eq!(i64::from(got), want, "case {case} round {round} pixel {pixel} output {o}");
                }
            }
        }
    }
}
