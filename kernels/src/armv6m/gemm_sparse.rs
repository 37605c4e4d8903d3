//! Products with weights of which any are zero: up to eight pixels times all output channels, two products in
//! each multiplication, only for weights that are not zero.
//!
//! Words of inputs, runs and their sums are those of [`crate::armv6m::gemm`]. Inputs are as they lie: a
//! weight stands with the step to its words from behind those of the weight before, so that columns and
//! planes of pixels ([`crate::armv6m::planes`]) serve alike.
//!
//! The stream begins with what differs between layers that share the code: output channels, bytes from
//! the pixels of a word to those of the next one, and from the first to the second pixel of a word. An
//! output channel in words: the bias; for each segment of up to 32 runs a word with the bytes of its
//! weights, and these, two in a word; then [`Constants::words`]. A word of weights from the top bit on:
//! step (8 bits), weight, weight (8 bits each), whether a run ends here, step (7 bits). Steps have signs
//! and count units of the layer. What is further away than a step reaches is reached over weights of
//! zero.
//!
//! Bound for a word on Cortex-M0+, sixteen products: 2 cycles load it, 3 move each pointer, 2 make each
//! weight, 5 load each one's inputs, 8 multiply and add, and a branch takes 2: 40. A run ends with 32
//! cycles, where its sums are pushed (12) and popped (20). Trained layers have runs of two to three
//! words: 3.2 cycles a product.
//!
//! Law: no run can leave 16 bits, whatever the inputs; a stream that cannot promise it is refused.

use crate::armv6m::round::{Constants, Form};
use crate::armv6m::runs::{Runs, TOTALS, part_sums, push_sums, sum_up};
use crate::asm::armv6m::{Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// Greatest number of pixels of a call.
pub const PIXELS: usize = 8;
/// Most runs of a segment: the stack bounds it.
const SEGMENT: usize = 32;
/// Most words of a run.
const RUN: usize = 32;
/// Farthest steps of the two weights of a word.
const STEPS: [i64; 2] = [127, 63];

/// What a caller knows of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Words of inputs.
    pub acts: usize,
    /// At most [`PIXELS`].
    pub pixels: usize,
    /// Result elements from the pixels of a word to those of the next one, and from the first to the second
    /// pixel of a word.
    pub steps: [usize; 2],
    pub form: Form,
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    pub acts: usize,
    pub outputs: usize,
    pub pixels: usize,
    pub steps: [usize; 2],
    pub form: Form,
    /// Words of inputs in a unit of steps, as a shift.
    pub unit: u32,
    /// Segments of a channel, and most runs of one.
    pub segments: usize,
    pub runs: usize,
    /// Words of weights and runs of all channels, and words of the stream.
    pub words: usize,
    pub ends: usize,
    pub len: usize,
}

/// Words before the first channel's.
const HEAD: usize = 3;

/// Bytes of the frame: what runs are summed up in, then slots.
const ACTS: u32 = 32;
const Y: u32 = 36;
const LAST: u32 = 40;
const STEP: u32 = 44;
const SECOND: u32 = 48;
/// Where the inputs of the next segment begin, and segments that are left.
const AT: u32 = 52;
const LEFT: u32 = 56;
const FRAME: u32 = 60;

/// Two weights with their steps; a run that ends with them.
#[derive(Debug, Clone, Copy)]
struct Word {
    weights: [i32; 2],
    steps: [i64; 2],
    ends: bool,
}

impl Word {
    fn bits(&self) -> Option<u32> {
        let byte = |w: i32| i8::try_from(w).ok().map(|w| u32::from(w as u8));
        let [a, b] = self.weights;
        let steps = (self.steps[0] as u32) << 24 | self.steps[1] as u32 & 127;
        Some(steps | byte(a)? << 16 | byte(b)? << 8 | u32::from(self.ends) << 7)
    }
}

impl Sparse {
    fn columns(&self) -> usize {
        self.pixels.div_ceil(2)
    }

    /// Packs a layer; `places` says for each tap where its words begin, ascending, and which of a row's
    /// weights it is. Refuses (`None`) weights and sums that do not fit.
    pub fn pack(
        sizes: &Sizes,
        weights: &[i32],
        bias: &[i32],
        constants: &[Constants],
        places: &[(usize, usize)],
    ) -> Option<(Sparse, Vec<i32>)> {
        let Sizes { acts, pixels, steps, form } = *sizes;
        let (outputs, columns) = (bias.len(), pixels.div_ceil(2));
        let all = places.iter().fold(columns, |all, (at, _)| all | at);
        let unit = all.trailing_zeros();
        let row = weights.len().checked_div(outputs)?;
        let channels: Vec<Vec<Word>> = (0..outputs)
            .map(|o| {
                let kept = places.iter().map(|&(at, t)| (at >> unit, weights[o * row + t]));
                words(kept.filter(|&(_, w)| w != 0), columns >> unit)
            })
            .collect::<Option<_>>()?;
        let runs = |words: &[Word]| words.iter().filter(|w| w.ends).count();
        let most = channels.iter().map(|words| runs(words)).max()?;
        let segments = most.div_ceil(SEGMENT);
        let mut stream = [outputs, steps[0], steps[1]].map(|v| v as i32).to_vec();
        let (mut stored, mut ends, mut longest) = (0, 0, 0);
        for (o, mut words) in channels.into_iter().enumerate() {
            while runs(&words) < segments {
                words.push(Word { weights: [0; 2], steps: [-((columns >> unit) as i64); 2], ends: true });
            }
            stored += words.len();
            ends += runs(&words);
            stream.push(i32::try_from(i64::from(bias[o]) - constants[o].end).ok()?);
            let (all, mut left) = (runs(&words), words.as_slice());
            for segment in 0..segments {
                // Runs of the segment, and the words that they are.
                let n = (segment + 1) * all / segments - segment * all / segments;
                longest = longest.max(n);
                let last = left.iter().enumerate().filter(|(_, w)| w.ends).nth(n - 1)?.0;
                let (these, others) = left.split_at(last + 1);
                stream.push(u16::try_from(4 * these.len()).ok()?.into());
                for word in these {
                    stream.push(word.bits()? as i32);
                }
                left = others;
            }
            stream.extend(&constants[o].words);
        }
        let sparse = Sparse {
            acts,
            outputs,
            pixels,
            steps,
            form,
            unit,
            segments,
            runs: longest,
            words: stored,
            ends,
            len: stream.len(),
        };
        Some((sparse, stream))
    }

    /// The kernel `(acts, w, y)`.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let q = self.columns();
        let mut k = KernelBuilder::new(format!("gemm_s8_sparse_q{}", self.pixels));
        let acts = k.buffer("acts", DType::I32, self.acts, Access::Read);
        let w = k.buffer("w", DType::I32, self.len, Access::Read);
        let y = k.buffer("y", DType::I8, self.reach(), Access::Write);
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize| at.max(0).min((self.len - room) as i32);
        let last = (self.acts - q) as i32;
        let next = k.var("next", HEAD);
        k.for_("channel", 0, self.outputs, |k, channel| {
            let base = k.let_("base", within(next.into(), 1));
            let bias = k.let_("bias", w.at(base));
            let sums: Vec<(Val, Val)> =
                (0..q).map(|q| (k.var(&format!("a{q}"), bias), k.var(&format!("b{q}"), bias))).collect();
            let at = k.var("at", 0);
            let from = k.var("from", base + 1);
            k.for_("segment", 0, self.segments, |k, _| {
                let control = k.let_("control", within(from.into(), 1));
                let words = k.let_("words", (w.at(control) & 65535) >> 2);
                k.for_("word", 0, words, |k, word| {
                    let v = k.let_("v", w.at(within(control + 1 + word, 1)));
                    for second in [false, true] {
                        let step = if second { ((v & 127) ^ 64) - 64 } else { v >> 24 };
                        let weight = ((v >> if second { 8 } else { 16 }) & 255) ^ 128;
                        let weight = k.let_("weight", weight - 128);
                        let place = k.let_("place", (at + step * (1 << self.unit)).max(0).min(last));
                        for (i, &(a, b)) in sums.iter().enumerate() {
                            let x = k.let_("x", acts.at(place + i));
                            let low = k.let_("low", ((x & 65535) ^ 32768) - 32768);
                            k.add_to(a, weight * low);
                            k.add_to(b, weight * ((x - low) >> 16));
                        }
                        k.set(at, place + q);
                    }
                });
                k.set(from, control + 1 + words);
            });
            let tail = k.let_("tail", within(from.into(), self.form.words()));
            for pixel in 0..self.pixels {
                let (a, b) = sums[pixel / 2];
                let sum = if pixel % 2 == 0 { a } else { b };
                let out = self.form.meaning(k, sum, &|i| w.at(tail + i));
                k.store(y, channel + (pixel / 2 * self.steps[0] + pixel % 2 * self.steps[1]), out);
            }
            k.set(next, tail + self.form.words());
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// Result elements from the first pixel's to the last one's channels.
    fn reach(&self) -> usize {
        let at = |pixel: usize| pixel / 2 * self.steps[0] + pixel % 2 * self.steps[1];
        (0..self.pixels).map(at).max().unwrap_or(0) + self.outputs
    }

    /// r0-r3 inputs, r4 two weights, r5 one, r6 points to inputs, r7 to the stream, r8-r11 sums of the
    /// run, r12 the end of the segment, lr the frame.
    pub fn code(&self) -> Code {
        let q = self.columns() as u32;
        let mut c = Code::new(FRAME, 4 * q * self.runs as u32, true);
        c.all([Inst::Str(R0, SP, ACTS), Inst::Str(R2, SP, Y), Inst::Ldm(R1, mask(&[R3, R4, R5]))]);
        c.all([Inst::Mov(R7, R1), Inst::Add(R2, R2, R3), Inst::Str(R2, SP, LAST)]);
        c.all([Inst::Str(R4, SP, STEP), Inst::Str(R5, SP, SECOND), Inst::Mov(LR, SP)]);
        let next = c.here();
        c.times(self.outputs as f64, |c| {
            self.one_channel(c);
            // The next channel, one byte on.
            c.all([Inst::Ldr(R0, SP, Y), Inst::AddImm(R0, 1), Inst::Str(R0, SP, Y), Inst::Mov(R7, R12)]);
            c.all([Inst::Ldr(R1, SP, LAST), Inst::Cmp(R0, R1)]);
            let done = c.label();
            c.all([Inst::BranchIf(Cond::Eq, done), Inst::Branch(next)]);
            c.place(done);
        });
        c
    }

    fn one_channel(&self, c: &mut Code) {
        let (q, single) = (self.columns() as u8, self.segments == 1);
        let n = self.segments as f64;
        // Both sums of every pair begin with the bias.
        c.all([Inst::Ldm(R7, mask(&[R5])), Inst::Str(R5, SP, TOTALS)]);
        if !single {
            c.all([Inst::Lsl(R0, R5, 16), Inst::Add(R0, R0, R5), Inst::Str(R0, SP, TOTALS + 16)]);
            for i in 1..u32::from(q) {
                c.all([Inst::Str(R5, SP, TOTALS + 4 * i), Inst::Str(R0, SP, TOTALS + 16 + 4 * i)]);
            }
            c.constant(R0, self.segments as u32);
            c.push(Inst::Str(R0, SP, LEFT));
        }
        c.push(Inst::Ldr(R6, SP, ACTS));
        let segment = c.here();
        let done = c.label();
        c.times(n, |c| {
            self.segment(c);
            self.sum_up(c, single);
            if !single {
                c.all([Inst::Ldr(R0, SP, LEFT), Inst::SubImm(R0, 1), Inst::Str(R0, SP, LEFT)]);
                c.push(Inst::BranchIf(Cond::Eq, done));
            }
        });
        if !single {
            c.times(n - 1.0, |c| {
                c.all([Inst::Mov(R0, SP), Inst::Stm(R0, mask(&[R4, R5, R6, R7]))]);
                (0..4).for_each(|i| c.push(Inst::Mov(R(1 + i), R(8 + i))));
                c.all([Inst::Stm(R0, mask(&[R1, R2, R3, R4])), Inst::Ldr(R6, SP, AT)]);
                c.all([Inst::Mov(R7, R12), Inst::Branch(segment)]);
            });
            c.place(done);
        }
        self.store(c);
    }

    /// The sums of a segment's runs, pushed on the stack.
    fn segment(&self, c: &mut Code) {
        let q = self.columns() as u8;
        let parts = (self.outputs * self.segments) as f64;
        let (words, runs) = (self.words as f64 / parts, self.ends as f64 / parts);
        let shift = self.unit + 2;
        let tap = |c: &mut Code, first: bool| {
            c.push(Inst::Ldm(R6, (1 << q) - 1));
            for i in 0..q {
                c.push(Inst::Mul(R(i), R5));
                c.push(if first { Inst::Mov(R(8 + i), R(i)) } else { Inst::AddAny(R(8 + i), R(i)) });
            }
        };
        // The last shift leaves in the carry whether a run ends here.
        let word = |c: &mut Code, first: bool| {
            c.all([Inst::Ldm(R7, mask(&[R4])), Inst::Asr(R0, R4, 24), Inst::Lsl(R0, R0, shift)]);
            c.all([Inst::Add(R6, R6, R0), Inst::Lsl(R5, R4, 8), Inst::Asr(R5, R5, 24)]);
            tap(c, first);
            c.all([Inst::Lsl(R0, R4, 25), Inst::Asr(R0, R0, 25 - shift), Inst::Add(R6, R6, R0)]);
            c.all([Inst::Sxth(R5, R4), Inst::Asr(R5, R5, 8)]);
            tap(c, false);
        };
        c.all([Inst::Ldm(R7, mask(&[R4])), Inst::Add(R4, R4, R7), Inst::Mov(R12, R4)]);
        let [begin, end] = [c.here(), c.label()];
        c.times(runs, |c| {
            word(c, true);
            c.push(Inst::BranchIf(Cond::Cs, end));
        });
        let top = c.here();
        c.times(words - runs, |c| {
            word(c, false);
            c.push(Inst::BranchIf(Cond::Cc, top));
        });
        c.place(end);
        c.times(runs, |c| {
            push_sums(c, q, false);
            c.all([Inst::Cmp(R7, R12), Inst::BranchIf(Cond::Ne, begin)]);
        });
    }

    /// Sums up the runs.
    fn sum_up(&self, c: &mut Code, single: bool) {
        let runs = self.ends as f64 / (self.outputs * self.segments) as f64;
        sum_up(c, self.columns() as u8, (LR, (!single).then_some(AT)), runs);
    }

    /// Requantizes and stores the channel's sums; r12 points to what the stream has for that.
    fn store(&self, c: &mut Code) {
        part_sums(c, self.columns() as u8);
        c.all([Inst::Mov(R2, R12), Inst::Ldm(R2, mask(self.form.registers())), Inst::Mov(R12, R2)]);
        c.all([Inst::Ldr(R2, SP, STEP), Inst::Mov(R8, R2), Inst::Ldr(R2, SP, Y)]);
        for second in 0..2 {
            // The second pixels lie apart from the first ones.
            let pixels: Vec<usize> = (second..self.pixels).step_by(2).collect();
            if second == 1 && !pixels.is_empty() {
                c.all([Inst::Ldr(R2, SP, Y), Inst::Ldr(R0, SP, SECOND), Inst::Add(R2, R2, R0)]);
            }
            for (i, &pixel) in pixels.iter().enumerate() {
                if i > 0 {
                    c.push(Inst::AddAny(R2, R8));
                }
                c.push(Inst::Ldr(R0, SP, TOTALS + 4 * pixel as u32));
                self.form.spell(c, R9);
                c.push(Inst::Strb(R0, R2, 0));
            }
        }
    }
}

/// The words of a channel: its weights by place, in units, ascending. `None` where sums leave 16 bits.
fn words(kept: impl Iterator<Item = (usize, i32)>, columns: usize) -> Option<Vec<Word>> {
    let (mut all, mut at): (Vec<(i32, i64)>, usize) = (Vec::new(), 0);
    for (place, weight) in kept {
        // From behind the words of the one before.
        while place as i64 - at as i64 > STEPS[all.len() % 2] {
            let step = STEPS[all.len() % 2];
            all.push((0, step));
            at += step as usize + columns;
        }
        all.push((weight, place as i64 - at as i64));
        at = place + columns;
    }
    if all.is_empty() {
        all.push((0, 0));
    }
    if all.len() % 2 == 1 {
        // The same inputs once more.
        all.push((0, -(columns as i64)));
    }
    let mut runs = Runs::new(1);
    let (mut words, mut length): (Vec<Word>, usize) = (Vec::new(), 0);
    for two in all.chunks(2) {
        let [(a, s), (b, t)] = [two[0], two[1]];
        if runs.step(|_| [a, b])? || length == RUN {
            words.last_mut()?.ends = true;
            (runs, length) = (Runs::new(1), 0);
            runs.step(|_| [a, b])?;
        }
        length += 1;
        words.push(Word { weights: [a, b], steps: [s, t], ends: false });
    }
    words.last_mut()?.ends = true;
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Output, requant};
    use crate::armv6m::round::rounding;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    /// What share of the weights is not zero, in hundredths, and how large they are.
    const FILLS: [(i64, i64); 5] = [(0, 127), (4, 127), (20, 127), (60, 1), (100, 127)];

    #[test]
    fn body_and_instructions_are_exact() {
        let mut random = Random(78);
        let mut seen = [0; 3];
        // Taps, outputs, pixels, words between those of two taps.
        let sizes =
            [(1, 1, 1usize, 0), (4, 3, 8, 0), (27, 8, 8, 2), (65, 3, 7, 0), (144, 3, 8, 3), (300, 2, 2, 0)];
        let sizes = sizes.into_iter().chain([(300, 4, 8, 0), (90, 5, 6, 600), (200, 2, 3, 1)]);
        for (case, (taps, outputs, pixels, apart)) in sizes.enumerate() {
            for (round, (share, most)) in FILLS.into_iter().enumerate() {
                let wide = (case + round) % 2 == 1;
                // Every second row of a layer that is not empty is full or empty.
                let row = |o: usize| match (round, o % 3) {
                    (0, _) | (_, 0) => share,
                    (_, 1) => 100 * (o as i64 % 2),
                    _ => share,
                };
                let w: Vec<i32> = (0..taps * outputs)
                    .map(|i| match random.within(0, 99) < row(i / taps) {
                        true => random.within(-most, most) as i32,
                        false => 0,
                    })
                    .collect();
                let bias: Vec<i32> = (0..outputs).map(|_| random.within(-9000, 9000) as i32).collect();
                let reach: Vec<(i32, i32)> = (0..outputs)
                    .map(|o| {
                        let all: i32 = w[o * taps..(o + 1) * taps].iter().map(|w| w.abs() * 128).sum();
                        (bias[o] - all, bias[o] + all)
                    })
                    .collect();
                let real: Vec<f64> = (0..outputs).map(|_| random.within(2, 300) as f64 / 1e5).collect();
                let zp = [-128, 127, 0, -3, 9][round];
                let r = requant(&real, &reach, Output { zp, lo: -128.max(zp - 200), hi: 127 }).unwrap();
                let (form, constants) = rounding(&r, &reach, wide).unwrap();
                let columns = pixels.div_ceil(2);
                let pitch = columns + apart;
                let places: Vec<(usize, usize)> = (0..taps).map(|t| (t * pitch, taps - 1 - t)).collect();
                // Pixels side by side, or the second ones behind all the first.
                let steps = [[2 * outputs + 4, outputs + 1], [outputs, 5 * outputs]][case % 2];
                let sizes = Sizes { acts: (taps - 1) * pitch + columns, pixels, steps, form };
                let (g, stream) = Sparse::pack(&sizes, &w, &bias, &constants, &places).unwrap();
                assert_eq!(stream.len(), g.len);
                seen[0] += usize::from(g.segments > 1);
                seen[1] += usize::from(g.words > w.iter().filter(|&&w| w != 0).count());
                seen[2] += usize::from(g.words < taps * outputs / 4);
                let x: Vec<Vec<i32>> = (0..2 * columns)
                    .map(|_| random.bytes(taps).iter().map(|&v| i32::from(v)).collect())
                    .collect();
                // What no tap reads must not show.
                let mut acts: Vec<i32> =
                    (0..g.acts).map(|_| random.within(i32::MIN.into(), i32::MAX.into()) as i32).collect();
                for t in 0..taps {
                    for q in 0..columns {
                        acts[t * pitch + q] = x[2 * q][t] + x[2 * q + 1][t] * 65536;
                    }
                }
                let name = if wide { "cortex-m3" } else { "cortex-m0plus" };
                let core = secateur_targets::core(name).unwrap().cost.unwrap();
                let call = Call {
                    kernel: g.kernel(&core).unwrap(),
                    args: vec![Bind::Operand(0), Bind::aligned("w", Data::I32(stream), 4), Bind::Result(0)],
                };
                let Data::I8(body) = run(&call, &[Data::I32(acts)], DType::I8, g.reach()) else { panic!() };
                for pixel in 0..pixels {
                    for o in 0..outputs {
                        let sum: i32 = (0..taps).map(|t| x[pixel][t] * w[o * taps + taps - 1 - t]).sum();
                        let want = r.apply(o, sum + bias[o]);
                        let at = pixel / 2 * steps[0] + pixel % 2 * steps[1] + o;
                        let says = format!("case {case} round {round} pixel {pixel} output {o}");
                        assert_eq!(i32::from(body[at]), want, "{says}");
                    }
                }
            }
        }
        assert!(seen.iter().all(|&n| n > 0), "several segments, fillers, few weights: {seen:?}");
    }
}
