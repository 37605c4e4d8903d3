//! A fully connected layer on one row of inputs: eight output channels at a time, two of them in
//! each multiplication.
//!
//! A word holds the weights of two channels for two inputs, as bytes `b0 b1 a0 a1` with 128
//! added. Masked and with 128 taken off both halves it is `b + a * 2^16`, and times an input both
//! products. Runs, their ends and their sums are those of [`crate::armv6m::gemm`].
//!
//! The stream begins with the numbers of inputs and of outputs, in which layers that share the code
//! differ. A group in words: the biases `a` and the biases `b` of its four pairs; for each segment
//! of up to 32 steps of two inputs, or of four where they come so, a word of flags and for each two
//! inputs a word of each pair; then what
//! [`Constants::words`] has of each channel. Missing channels are zeros, and so is a missing input.
//!
//! Where flash buys speed, a word is `b + a * 2^16` as it stands, for one input.
//!
//! Law: no run can leave 16 bits, whatever the inputs; a stream that cannot promise it is refused.

use crate::armv6m::round::{Constants, Form};
use crate::armv6m::runs::{Runs, pop_runs, push_sums};
use crate::asm::armv6m::{
    Code, Cond, Inst, LR, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, SP, mask, wide,
};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// Channels of a group, and pairs of them.
const GROUP: usize = 8;
const PAIRS: usize = GROUP / 2;
/// Steps of a segment: one for each bit of a word of flags.
const SEGMENT: usize = 32;
/// Inputs of a run for the prediction of cycles.
const RUN: f64 = 20.0;

/// Words before the first group's.
const HEAD: usize = 2;

/// Bytes of the frame: sums, then slots.
const TOTALS: u32 = 0;
const X: u32 = 32;
const END: u32 = 36;
const Y: u32 = 40;
const LAST: u32 = 44;
const AT: u32 = 48;
const W: u32 = 52;
const FRAME: u32 = 56;

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    pub inputs: usize,
    pub outputs: usize,
    pub form: Form,
    /// Whether weights take two bytes each.
    pub expanded: bool,
    /// Inputs of a step, 2 or 4: four weights at once may leave 16 bits.
    pub step: usize,
}

impl Dense {
    /// The constants of a channel are loaded beside two pointers, which leaves room for two pieces at most;
    /// inputs come in steps.
    pub fn fits(&self) -> bool {
        self.form.words() <= 4 && self.inputs.is_multiple_of(self.step)
    }
    /// Inputs of a segment.
    fn segment_len(&self) -> usize {
        self.step * SEGMENT
    }
    fn segments(&self) -> usize {
        self.inputs.div_ceil(self.segment_len())
    }
    /// Words of weights of two inputs.
    fn two(&self) -> usize {
        if self.expanded { 2 * PAIRS } else { PAIRS }
    }
    /// Words of the stream of a group.
    fn group(&self) -> usize {
        GROUP + self.segments() + self.two() * self.inputs / 2 + GROUP * self.form.words()
    }
    pub fn stream_len(&self) -> usize {
        HEAD + self.outputs.div_ceil(GROUP) * self.group()
    }

    /// Packs the layer; refuses (`None`) weights and sums that do not fit.
    pub fn pack(&self, weights: &[i32], bias: &[i32], constants: &[Constants]) -> Option<Vec<i32>> {
        let mut stream = Vec::with_capacity(self.stream_len());
        stream.extend([self.inputs, self.outputs].map(|v| v as i32));
        let weight = |o: usize, i: usize| if o < self.outputs { weights[o * self.inputs + i] } else { 0 };
        for first in (0..self.outputs).step_by(GROUP) {
            for second in [1, 0] {
                for o in (first + second..).step_by(2).take(PAIRS) {
                    let bias = if o < self.outputs { i64::from(bias[o]) - constants[o].end } else { 0 };
                    stream.push(i32::try_from(bias).ok()?);
                }
            }
            for from in (0..self.inputs).step_by(self.segment_len()) {
                let until = self.inputs.min(from + self.segment_len());
                let mut runs = Runs::new(GROUP);
                for i in (from..until).step_by(self.step) {
                    // What is not of the step weighs nothing.
                    let at =
                        |lane: usize, j: usize| if j < self.step { weight(first + lane, i + j) } else { 0 };
                    runs.step(|lane| [at(lane, 0), at(lane, 1), at(lane, 2), at(lane, 3)])?;
                }
                stream.push(runs.flags() as i32);
                for i in (from..until).filter(|_| self.expanded) {
                    for pair in (first..).step_by(2).take(PAIRS) {
                        stream.push(weight(pair, i) + weight(pair + 1, i) * 65536);
                    }
                }
                for i in (from..until).step_by(2).filter(|_| !self.expanded) {
                    for pair in (first..).step_by(2).take(PAIRS) {
                        let mut word = [0u8; 4];
                        let lanes = [(pair, i), (pair, i + 1), (pair + 1, i), (pair + 1, i + 1)];
                        for (byte, (o, i)) in word.iter_mut().zip(lanes) {
                            *byte = (i8::try_from(weight(o, i)).ok()? as u8) ^ 128;
                        }
                        stream.push(i32::from_le_bytes(word));
                    }
                }
            }
            let none = vec![0; self.form.words()];
            for o in first..first + GROUP {
                stream.extend(constants.get(o).map_or(&none, |k| &k.words));
            }
        }
        Some(stream)
    }

    /// The kernel `(x, w, y)`.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("dense_s8_r8");
        let x = k.buffer("x", DType::I8, self.inputs, Access::Read);
        let w = k.buffer("w", DType::I32, self.stream_len(), Access::Read);
        let y = k.buffer("y", DType::I8, self.outputs, Access::Write);
        let group = |k: &mut KernelBuilder, group: Expr, valid: usize| {
            let base = k.let_("base", &group * self.group() + HEAD);
            let sums: Vec<Val> = (0..GROUP)
                .map(|o| k.var(&format!("acc{o}"), w.at(base + (o / 2 + if o % 2 == 0 { PAIRS } else { 0 }))))
                .collect();
            let step = |k: &mut KernelBuilder, at: Expr, input: Expr| {
                let at = k.let_("at", at);
                let inputs = [k.let_("x0", x.at(&input)), k.let_("x1", x.at(input + 1))];
                for pair in 0..PAIRS {
                    if self.expanded {
                        for (i, &input) in inputs.iter().enumerate() {
                            let word = k.let_("word", w.at(at + (i * PAIRS + pair)));
                            let low = k.let_("low", ((word & 65535) ^ 32768) - 32768);
                            k.add_to(sums[2 * pair], input * low);
                            k.add_to(sums[2 * pair + 1], input * ((word - low) >> 16));
                        }
                        continue;
                    }
                    let word = k.let_("word", w.at(at + pair));
                    for (byte, second, input) in [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)] {
                        let weight = ((word >> (8 * byte)) & 255) - 128;
                        k.add_to(sums[2 * pair + second], inputs[input] * weight);
                    }
                }
            };
            let len = self.segment_len();
            let (whole, rest) = (self.inputs / len, self.inputs % len / 2);
            let (each, pitch) = (self.two(), 1 + self.two() * len / 2);
            k.for_("segment", 0, whole, |k, s| {
                k.for_("i", 0, len / 2, |k, i| {
                    step(k, base + s * pitch + i * each + (GROUP + 1), s * len + i * 2);
                });
            });
            k.for_("i", 0, rest, |k, i| {
                step(k, base + i * each + (GROUP + 1 + whole * pitch), i * 2 + len * whole);
            });
            let tail = self.group() - GROUP * self.form.words();
            for (o, &sum) in sums[..valid].iter().enumerate() {
                let at = tail + o * self.form.words();
                let out = self.form.meaning(k, sum, &|i| w.at(base + (at + i)));
                k.store(y, &group * GROUP + o, out);
            }
        };
        let (whole, rest) = (self.outputs / GROUP, self.outputs % GROUP);
        k.for_("group", 0, whole, |k, g| group(k, g.into(), GROUP));
        if rest > 0 {
            group(&mut k, whole.into(), rest);
        }
        k.native(self.code(wide(core)).finish(core)?);
        k.finish()
    }

    /// r0 and r1 inputs, r2 four weights, r3 two of them, r4 and r5 mask and offset or weights as well, r6 and r7 point
    /// to inputs and to the stream, r8-r11 sums of the run, r12 flags, lr the frame.
    pub fn code(&self, wide: bool) -> Code {
        let deepest = (4 * PAIRS * (self.inputs / self.step).min(SEGMENT)) as u32;
        let mut c = Code::new(FRAME, deepest, true);
        c.all([Inst::Str(R0, SP, X), Inst::Str(R2, SP, Y), Inst::Ldm(R1, mask(&[R3, R4]))]);
        c.all([Inst::Str(R1, SP, W), Inst::Add(R0, R0, R3), Inst::Str(R0, SP, END)]);
        c.all([Inst::Add(R2, R2, R4), Inst::Str(R2, SP, LAST), Inst::Mov(LR, SP)]);
        let next = c.here();
        c.times(self.outputs.div_ceil(GROUP) as f64, |c| {
            self.one_group(c, wide);
            c.all([Inst::Ldr(R1, SP, LAST), Inst::Cmp(R2, R1)]);
            let done = c.label();
            c.all([Inst::BranchIf(Cond::Eq, done), Inst::Branch(next)]);
            c.place(done);
        });
        c
    }

    fn one_group(&self, c: &mut Code, wide: bool) {
        let n = self.segments() as f64;
        let (high, low) = (mask(&[R4, R5, R6, R7]), mask(&[R0, R1, R2, R3]));
        // The sums begin with the biases: of the upper channels, and of both in a word.
        c.all([Inst::Ldr(R3, SP, W), Inst::Ldm(R3, high), Inst::Str(R3, SP, W)]);
        c.all([Inst::AddSp(R3, TOTALS), Inst::Stm(R3, high), Inst::Ldr(R3, SP, W)]);
        c.push(Inst::Ldm(R3, low));
        for i in 0..PAIRS as u8 {
            c.all([Inst::Lsl(R(4 + i), R(4 + i), 16), Inst::Add(R(i), R(i), R(4 + i))]);
        }
        c.all([Inst::AddSp(R4, TOTALS + 16), Inst::Stm(R4, low)]);
        c.all([Inst::Ldr(R7, SP, W), Inst::AddImm(R7, 16), Inst::Ldr(R6, SP, X)]);
        let segment = c.here();
        c.times(n, |c| {
            self.segment(c, self.inputs as f64 / n, wide);
            self.sum_up(c, self.inputs as f64 / n);
            let done = c.label();
            c.all([Inst::Ldr(R0, SP, AT), Inst::Ldr(R1, SP, END), Inst::Cmp(R0, R1)]);
            c.push(Inst::BranchIf(Cond::Eq, done));
            c.all([Inst::Mov(R0, SP), Inst::Stm(R0, high)]);
            (0..4).for_each(|i| c.push(Inst::Mov(R(1 + i), R(8 + i))));
            c.all([Inst::Stm(R0, mask(&[R1, R2, R3, R4])), Inst::Ldr(R6, SP, AT), Inst::Ldr(R7, SP, W)]);
            c.push(Inst::Branch(segment));
            c.place(done);
        });
        self.store(c);
    }

    fn segment(&self, c: &mut Code, inputs: f64, wide: bool) {
        let clear = |c: &mut Code| {
            c.push(Inst::MovImm(R0, 0));
            (8..12).for_each(|i| c.push(Inst::Mov(R(i), R0)));
        };
        clear(c);
        c.all([Inst::Ldm(R7, mask(&[R3])), Inst::Mov(R12, R3)]);
        if !self.expanded {
            c.all([Inst::MovImm(R5, 128), Inst::Lsl(R4, R5, 16), Inst::Add(R5, R5, R4)]);
            // 0x00ff00ff from 0x00800080.
            c.all([Inst::Lsl(R4, R5, 1), Inst::Lsr(R0, R5, 7), Inst::Sub(R4, R4, R0)]);
        }
        let two = |c: &mut Code| {
            c.all([Inst::MovImm(R3, 0), Inst::Ldrsb(R0, R6, R3)]);
            c.all([Inst::MovImm(R3, 1), Inst::Ldrsb(R1, R6, R3), Inst::AddImm(R6, 2)]);
            for input in [R0, R1].into_iter().filter(|_| self.expanded) {
                c.push(Inst::Ldm(R7, mask(&[R2, R3, R4, R5])));
                for i in 0..PAIRS as u8 {
                    c.all([Inst::Mul(R(2 + i), input), Inst::AddAny(R(8 + i), R(2 + i))]);
                }
            }
            for sum in (8..12).filter(|_| !self.expanded) {
                c.all([Inst::Ldm(R7, mask(&[R2])), Inst::Mov(R3, R2), Inst::And(R3, R4)]);
                c.all([Inst::Sub(R3, R3, R5), Inst::Mul(R3, R0), Inst::AddAny(R(sum), R3)]);
                c.all([Inst::Lsr(R2, R2, 8), Inst::And(R2, R4), Inst::Sub(R2, R2, R5)]);
                c.all([Inst::Mul(R2, R1), Inst::AddAny(R(sum), R2)]);
            }
        };
        let top = c.here();
        c.times(inputs / self.step as f64, |c| {
            (0..self.step / 2).for_each(|_| two(c));
            if wide {
                c.push(Inst::LslAny(R12, 1));
            } else {
                c.all([Inst::Mov(R3, R12), Inst::Lsl(R3, R3, 1), Inst::Mov(R12, R3)]);
            }
            c.push(Inst::BranchIf(Cond::Cc, top));
        });
        c.times((inputs / RUN).max(1.0), |c| {
            push_sums(c, PAIRS as u8, wide);
            clear(c);
            c.all([Inst::Mov(R3, R12), Inst::CmpImm(R3, 0), Inst::BranchIf(Cond::Ne, top)]);
        });
    }

    fn sum_up(&self, c: &mut Code, inputs: f64) {
        c.all([Inst::Mov(R0, LR), Inst::Str(R6, R0, AT), Inst::Str(R7, R0, W)]);
        c.all([Inst::Ldm(R0, mask(&[R4, R5, R6, R7])), Inst::Ldm(R0, mask(&[R0, R1, R2, R3]))]);
        (0..4).for_each(|i| c.push(Inst::Mov(R(8 + i), R(i))));
        pop_runs(c, PAIRS as u8, LR, (inputs / RUN).max(1.0));
    }

    /// Requantizes and stores the group's sums; r2 then points behind them.
    fn store(&self, c: &mut Code) {
        c.push(Inst::AddSp(R2, TOTALS));
        for i in 0..PAIRS as u8 {
            c.all([Inst::Mov(R0, R(8 + i)), Inst::Lsl(R1, R(4 + i), 16), Inst::Sub(R0, R0, R1)]);
            c.push(Inst::Stm(R2, mask(&[R0, R(4 + i)])));
        }
        // The end of the group, or of the layer.
        c.all([Inst::Ldr(R2, SP, Y), Inst::Ldr(R1, SP, LAST), Inst::Mov(R0, R2)]);
        c.all([Inst::AddImm(R0, GROUP as u32), Inst::Cmp(R0, R1)]);
        let whole = c.label();
        c.all([Inst::BranchIf(Cond::Ls, whole), Inst::Mov(R0, R1)]);
        c.place(whole);
        c.all([Inst::Mov(R8, R0), Inst::Ldr(R3, SP, W)]);
        // The sums are popped, which moves the stack pointer into the frame and back.
        let one = c.here();
        c.times(GROUP as f64, |c| {
            let words = self.form.registers();
            c.all([Inst::Pop(mask(&[R0])), Inst::Ldm(R3, mask(words))]);
            self.form.spell(c, R9);
            c.all([Inst::Strb(R0, R2, 0), Inst::AddImm(R2, 1), Inst::Cmp(R2, R8)]);
            c.push(Inst::BranchIf(Cond::Ne, one));
        });
        c.all([Inst::Mov(SP, LR), Inst::Str(R2, SP, Y), Inst::Str(R3, SP, W)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Output, requant};
    use crate::armv6m::round::rounding;
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn body_and_instructions_are_exact() {
        let cores = ["cortex-m0plus", "cortex-m3"];
        let cores = cores.map(|name| secateur_targets::core(name).unwrap().cost.unwrap());
        let mut random = Random(5);
        for (case, (inputs, outputs)) in
            [(2, 1), (64, 12), (66, 8), (130, 17), (640, 9), (20, 3), (130, 9)].into_iter().enumerate()
        {
            for (round, wide) in [(0, false), (1, true), (1, false), (2, false), (3, true), (3, false)] {
                let w: Vec<i32> = match round {
                    0 => random.bytes(inputs * outputs).iter().map(|&v| i32::from(v).max(-127)).collect(),
                    1 => vec![127; inputs * outputs],
                    2 => vec![-127; inputs * outputs],
                    _ => random.bytes(inputs * outputs).iter().map(|&v| i32::from(v) / 8).collect(),
                };
                let bias: Vec<i32> = (0..outputs).map(|_| random.within(-9000, 9000) as i32).collect();
                let reach: Vec<(i32, i32)> = (0..outputs)
                    .map(|o| {
                        let all: i32 = w[o * inputs..(o + 1) * inputs].iter().map(|w| w.abs() * 128).sum();
                        (bias[o] - all, bias[o] + all)
                    })
                    .collect();
                let real: Vec<f64> = (0..outputs).map(|_| random.within(60, 300) as f64 / 1e5).collect();
                let zp = [-128, 127, 0, -3][round];
                let out = Output { zp, lo: if case % 2 == 0 { -128 } else { zp }, hi: 127 };
                let r = requant(&real, &reach, out).unwrap();
                let (form, constants) = rounding(&r, &reach, wide).unwrap();
                let expanded = (case + round) % 2 == 1;
                let of = |step| Dense { inputs, outputs, form, expanded, step };
                // Four weights at the end of their range are refused.
                let packed = |d: Dense| d.fits().then(|| d.pack(&w, &bias, &constants)).flatten();
                let wide_step = packed(of(4)).is_some();
                if round > 0 {
                    assert_eq!(wide_step, round == 3 && inputs % 4 == 0, "case {case} round {round}");
                }
                let d = of(if wide_step { 4 } else { 2 });
                assert!(d.fits());
                let stream = d.pack(&w, &bias, &constants).unwrap();
                assert_eq!(stream.len(), d.stream_len());
                let x = random.bytes(inputs);
                // Code for any core of its form, and for cores with wide instructions.
                let any = matches!(form, Form::Pieces { .. });
                let cores = if any { &cores[..] } else { &cores[usize::from(wide)..][..1] };
                let of = |core| {
                    let args = vec![Bind::Operand(0), Bind::Operand(1), Bind::Result(0)];
                    let call = Call { kernel: d.kernel(core).unwrap(), args };
                    let operands = [Data::I8(x.clone()), Data::I32(stream.clone())];
                    run(&call, &operands, DType::I8, outputs)
                };
                let bodies: Vec<Data> = cores.iter().map(of).collect();
                let Data::I8(body) = &bodies[0] else { panic!() };
                assert!(bodies.iter().all(|b| *b == bodies[0]));
                for o in 0..outputs {
                    let sum: i32 = (0..inputs).map(|i| i32::from(x[i]) * w[o * inputs + i]).sum();
                    let want = r.apply(o, sum + bias[o]);
                    assert_eq!(i32::from(body[o]), want, "case {case} round {round} output {o}");
                }
            }
        }
    }
}
