//! A fully connected layer on one row of inputs with weights of which any are zero: one output channel
//! after the other, only weights that are not zero.
//!
//! The stream begins with the number of outputs, in which layers that share the code differ. A channel in
//! words: the bias; the bytes of its weights; these, two in a word, from the top bit on: step, weight,
//! weight, step. A step has a sign and says how far the input stands behind that of the weight before.
//! What is further away is reached over weights of zero. Then come [`Constants::words`].
//!
//! Bound for a word on Cortex-M0+, two products: 2 cycles load it, 2 move each pointer, 2 make each
//! weight, 2 load each input, 2 multiply and add, and 3 close the loop: 10.5 a product, where
//! [`crate::armv6m::dense`] takes 3.6.

use crate::armv6m::round::{Constants, Form};
use crate::asm::armv6m::{Code, Cond, Inst, R, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R12, mask};
use crate::error::Result;
use crate::kernel::{Access, Expr, Kernel, KernelBuilder};
use crate::tensor::DType;
use secateur_targets::Cost;
use std::sync::Arc;

/// Farthest step.
const STEP: usize = 127;
/// Words before the first channel's.
const HEAD: usize = 1;
/// Where results go, and where they end.
const Y: R = R(10);
const END: R = R(11);

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenseSparse {
    pub inputs: usize,
    pub outputs: usize,
    pub form: Form,
    /// Words of weights of all channels, and words of the stream.
    pub words: usize,
    pub len: usize,
}

impl DenseSparse {
    /// Packs a layer of weights `[outputs, inputs]`; refuses (`None`) what does not fit.
    pub fn pack(
        form: Form,
        weights: &[i32],
        bias: &[i32],
        constants: &[Constants],
    ) -> Option<(DenseSparse, Vec<i32>)> {
        let (outputs, inputs) = (bias.len(), weights.len().checked_div(bias.len())?);
        let (mut stream, mut words) = (vec![i32::try_from(outputs).ok()?], 0);
        for (o, k) in constants.iter().enumerate() {
            let (mut all, mut at): (Vec<(u8, u8)>, usize) = (Vec::new(), 0);
            for (i, &w) in weights[o * inputs..][..inputs].iter().enumerate().filter(|(_, w)| **w != 0) {
                while i - at > STEP {
                    all.push((STEP as u8, 0));
                    at += STEP;
                }
                all.push(((i - at) as u8, i8::try_from(w).ok()? as u8));
                at = i;
            }
            if all.is_empty() || all.len() % 2 == 1 {
                all.resize((all.len() + 1).next_multiple_of(2), (0, 0));
            }
            stream.push(i32::try_from(i64::from(bias[o]) - k.end).ok()?);
            stream.push(u16::try_from(2 * all.len()).ok()?.into());
            for two in all.chunks(2) {
                stream.push(i32::from_be_bytes([two[0].0, two[0].1, two[1].1, two[1].0]));
            }
            words += all.len() / 2;
            stream.extend(&k.words);
        }
        Some((DenseSparse { inputs, outputs, form, words, len: stream.len() }, stream))
    }

    /// The kernel `(x, w, y)`.
    pub fn kernel(&self, core: &Cost) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("dense_s8_sparse");
        let x = k.buffer("x", DType::I8, self.inputs, Access::Read);
        let w = k.buffer("w", DType::I32, self.len, Access::Read);
        let y = k.buffer("y", DType::I8, self.outputs, Access::Write);
        // Places depend on the stream; the bounds, which no stream of ours meets, are for the proof.
        let within = |at: Expr, room: usize| at.max(0).min((self.len - room) as i32);
        let next = k.var("next", HEAD);
        k.for_("channel", 0, self.outputs, |k, channel| {
            let base = k.let_("base", within(next.into(), 2));
            let sum = k.var("sum", w.at(base));
            let words = k.let_("words", (w.at(base + 1) & 65535) >> 2);
            let at = k.var("at", 0);
            k.for_("word", 0, words, |k, word| {
                let v = k.let_("v", w.at(within(base + 2 + word, 1)));
                for (step, weight) in [(v >> 24, v >> 16), (v.into(), v >> 8)] {
                    let [step, weight] = [step, weight].map(|b: Expr| ((b & 255) ^ 128) - 128);
                    let place = k.let_("place", (at + step).max(0).min(self.inputs as i32 - 1));
                    k.add_to(sum, x.at(place) * weight);
                    k.set(at, place);
                }
            });
            let tail = k.let_("tail", within(base + 2 + words, self.form.words()));
            let out = self.form.meaning(k, sum, &|i| w.at(tail + i));
            k.store(y, channel, out);
            k.set(next, tail + self.form.words());
        });
        k.native(self.code().finish(core)?);
        k.finish()
    }

    /// r0 a step, r1 an input, r2 zero, r3 the sum, r4 two weights, r5 one, r6 points to inputs, r7 to
    /// the stream, r8 to the first input, r10 to results, which end at r11; r12 is the end of the
    /// channel's weights.
    pub fn code(&self) -> Code {
        let mut c = Code::new(0, 0, true);
        c.all([Inst::Mov(R8, R0), Inst::Mov(R7, R1), Inst::Mov(Y, R2), Inst::Ldm(R7, mask(&[R3]))]);
        c.all([Inst::Add(R2, R2, R3), Inst::Mov(END, R2)]);
        let next = c.here();
        c.times(self.outputs as f64, |c| {
            c.all([Inst::Ldm(R7, mask(&[R3, R4])), Inst::Add(R4, R4, R7), Inst::Mov(R12, R4)]);
            c.all([Inst::Mov(R6, R8), Inst::MovImm(R2, 0)]);
            let top = c.here();
            c.times(self.words as f64 / self.outputs as f64, |c| {
                let tap = |c: &mut Code| {
                    c.all([Inst::Mul(R5, R1), Inst::Add(R3, R3, R5)]);
                };
                c.all([Inst::Ldm(R7, mask(&[R4])), Inst::Asr(R0, R4, 24), Inst::Add(R6, R6, R0)]);
                c.all([Inst::Ldrsb(R1, R6, R2), Inst::Lsl(R5, R4, 8), Inst::Asr(R5, R5, 24)]);
                tap(c);
                c.all([Inst::Sxtb(R0, R4), Inst::Add(R6, R6, R0), Inst::Ldrsb(R1, R6, R2)]);
                c.all([Inst::Sxth(R5, R4), Inst::Asr(R5, R5, 8)]);
                tap(c);
                c.all([Inst::Cmp(R7, R12), Inst::BranchIf(Cond::Ne, top)]);
            });
            c.all([Inst::Mov(R0, R3), Inst::Mov(R2, R7), Inst::Ldm(R2, mask(self.form.registers()))]);
            self.form.spell(c, R9);
            c.all([Inst::Mov(R7, R2), Inst::Mov(R1, Y), Inst::Strb(R0, R1, 0), Inst::AddImm(R1, 1)]);
            c.all([Inst::Mov(Y, R1), Inst::Cmp(R1, END), Inst::BranchIf(Cond::Ne, next)]);
        });
        c
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
        let mut random = Random(80);
        for (case, (inputs, outputs)) in
            [(1, 1), (64, 12), (640, 5), (37, 3), (900, 2)].into_iter().enumerate()
        {
            for (round, share) in [0, 1, 20, 100].into_iter().enumerate() {
                let wide = (case + round) % 2 == 1;
                let core = ["cortex-m0plus", "cortex-m3"][usize::from(wide)];
                let core = secateur_targets::core(core).unwrap().cost.unwrap();
                // Of some layers a row is empty, of others one is full.
                let row = |o: usize| if o == 1 && round > 0 { [0, 100][case % 2] } else { share };
                let w: Vec<i32> = (0..inputs * outputs)
                    .map(|i| match random.within(0, 99) < row(i / inputs) {
                        true => random.within(-128, 127) as i32,
                        false => 0,
                    })
                    .collect();
                let bias: Vec<i32> = (0..outputs).map(|_| random.within(-9000, 9000) as i32).collect();
                let reach: Vec<(i32, i32)> = (0..outputs)
                    .map(|o| {
                        let all: i32 = w[o * inputs..][..inputs].iter().map(|w| w.abs() * 128).sum();
                        (bias[o] - all, bias[o] + all)
                    })
                    .collect();
                let real: Vec<f64> = (0..outputs).map(|_| random.within(60, 300) as f64 / 1e5).collect();
                let out = Output { zp: [-128, 127, 0, -3][round], lo: -128, hi: 127 };
                let r = requant(&real, &reach, out).unwrap();
                let (form, constants) = rounding(&r, &reach, wide).unwrap();
                let (d, stream) = DenseSparse::pack(form, &w, &bias, &constants).unwrap();
                assert_eq!(stream.len(), d.len);
                let x = random.bytes(inputs);
                let args = vec![Bind::Operand(0), Bind::aligned("w", Data::I32(stream), 4), Bind::Result(0)];
                let call = Call { kernel: d.kernel(&core).unwrap(), args };
                let Data::I8(body) = run(&call, &[Data::I8(x.clone())], DType::I8, outputs) else { panic!() };
                for o in 0..outputs {
                    let sum: i32 = (0..inputs).map(|i| i32::from(x[i]) * w[o * inputs + i]).sum();
                    let want = r.apply(o, sum + bias[o]);
                    assert_eq!(i32::from(body[o]), want, "case {case} round {round} output {o}");
                }
            }
        }
    }
}
