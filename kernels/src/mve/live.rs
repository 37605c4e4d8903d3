//! Products of two values that the run brings, on Helium: one of them is laid as weights are in flash, in the
//! workspace.
//!
//! In: sizes, and how the second factor lies. Out: a kernel that lays it, and the product of dense layers that reads
//! what was laid. Law: what it lays is what [`Gemm::pack`] would, of the same weights without biases.

use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val, int};
use crate::mve::engine::{any_ending, laid};
use crate::mve::gemm::{Gemm, LANES};
use crate::mve::stream::words;
use crate::offer::{Live, Loaded, Want};
use crate::problem::Rows;
use crate::tensor::DType;
use std::sync::Arc;

/// The product; `None` where dense layers of these sizes have none, and where weights have a zero point, without which
/// eight bits do not hold them.
pub(super) fn product(rows: &Rows, live: &Live, want: &Want<'_>) -> Result<Option<Loaded>> {
    let Some(greatest) = live.greatest(rows).filter(|_| live.w_zp == 0) else { return Ok(None) };
    let Some((product, gemm)) = laid(rows, &greatest, want.library, false)? else { return Ok(None) };
    let Some(ending) = any_ending(&greatest) else { return Ok(None) };
    if gemm.runs != 1 {
        return Ok(None);
    }
    let pack = kernel(&gemm, live, &ending)?;
    Ok(Some(Loaded::new(pack, (DType::I8, gemm.stream_len()), product)))
}

/// The parameters of a kernel that lays weights.
struct Lay<'a> {
    gemm: &'a Gemm,
    live: &'a Live,
    from: Buf,
    to: Buf,
}

/// Lays weights for a product of one run. Biases take the inputs' zero point back.
fn kernel(gemm: &Gemm, live: &Live, ending: &Ending<'_>) -> Result<Arc<Kernel>> {
    let [along, across] = live.strides;
    let mut k = KernelBuilder::new("lay_weights");
    let len = 1 + (gemm.run - 1) * along + (gemm.outputs - 1) * across;
    let from = k.buffer("weights", DType::I8, len, Access::Read);
    let to = k.buffer("stream", DType::I8, gemm.stream_len(), Access::Write);
    let lay = Lay { gemm, live, from, to };
    // Those of a bias come from the weights.
    let words = words(&[0], ending, gemm.sh.is_some(), 0);
    let (group, common) = (gemm.group(), gemm.common());
    k.for_("group", 0, gemm.groups(), |k, number| {
        let base = k.let_("base", number * gemm.group_len());
        let first: Expr = number * group;
        let first = k.let_("first", if common > 0 { (first - common as i32).max(0) } else { first });
        // A channel that is not there has the weights of the last one, for results that nobody reads.
        let last = gemm.outputs as i32 - 1;
        let channels: Vec<Expr> = match gemm.ragged() {
            true => (0..group)
                .map(|i| {
                    let channel = (first + gemm.channel(i)).min(last);
                    k.let_("read", channel * across).into()
                })
                .collect(),
            false => {
                let read = k.let_("read", first * across);
                (0..group).map(|i| read + gemm.channel(i) * across).collect()
            }
        };
        let sums: Vec<Val> = match live.x_zp {
            0 => Vec::new(),
            _ => (0..group).map(|i| k.var(&format!("sum{i}"), int(0))).collect(),
        };
        lay.weights(k, (&channels, base), &sums);
        let tail = k.let_("tail", base + gemm.weights_len());
        for (n, &word) in words.iter().enumerate() {
            for i in 0..group {
                let at = 4 * (group * n + i);
                let word = match sums.get(i) {
                    Some(&sum) if n == 0 => k.let_("bias", sum * -live.x_zp).into(),
                    _ => int(word),
                };
                for byte in 0..4 {
                    // A byte with its sign.
                    let signed = (((word.clone() >> (8 * byte)) & 255) ^ 128) - 128;
                    k.store(to, tail + (at + byte as usize), signed);
                }
            }
        }
    });
    k.finish()
}

impl Lay<'_> {
    /// The weights of a group, of which those of each channel begin at one of `channels`, from `base` on; adds them to
    /// `sums` where there are any.
    fn weights(&self, k: &mut KernelBuilder, (channels, base): (&[Expr], Val), sums: &[Val]) {
        let run = self.gemm.run;
        let pitch = channels.len() * LANES;
        let along = self.live.strides[0];
        let (whole, rest) = (run / LANES, run % LANES);
        let one = |k: &mut KernelBuilder, i: usize, (read, at): (Expr, Expr)| {
            let weight = k.let_("weight", self.live.weight(self.from.at(&channels[i] + read)));
            k.store(self.to, at + i * LANES, weight);
            if let Some(&sum) = sums.get(i) {
                k.add_to(sum, weight);
            }
        };
        // So many inputs from `input` on go to the lanes from `at` on: channel by channel where those of a channel lie
        // side by side, which compilers know for a copy, else all channels of an input before the next input.
        let lanes = |k: &mut KernelBuilder, n: usize, input: Expr, at: Expr| match along {
            1 => (0..channels.len()).for_each(|i| {
                k.for_("lane", 0, n, |k, lane| one(k, i, (&input + lane, &at + lane)));
            }),
            _ => k.for_("lane", 0, n, |k, lane| {
                let (read, at) = (k.let_("from", &input + lane * along), k.let_("to", &at + lane));
                (0..channels.len()).for_each(|i| one(k, i, (read.into(), at.into())));
            }),
        };
        let zeros = |k: &mut KernelBuilder, (lane, n): (usize, usize), at: &Expr| {
            if n > 0 {
                k.for_("lane", lane, lane + n, |k, lane| {
                    let at = k.let_("to", at + lane);
                    (0..channels.len()).for_each(|i| k.store(self.to, at + i * LANES, int(0)));
                });
            }
        };
        k.for_("chunk", 0, whole, |k, chunk| {
            lanes(k, LANES, chunk * (LANES * along), base + chunk * pitch);
        });
        if rest > 0 {
            // A chunk that starts early begins with inputs that were counted before.
            let lane = LANES * whole - self.gemm.start(whole);
            let at = base + whole * pitch;
            zeros(k, (0, lane), &at);
            lanes(k, rest, int((LANES * whole * along) as i32), &at + lane);
            zeros(k, (lane + rest, LANES - lane - rest), &at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, Output, Requant, Shift};
    use crate::call::{Bind, Call};
    use crate::epilogue::Finish;
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn weights_are_laid_as_they_are_packed() {
        let mut random = Random(9);
        for (inputs, outputs) in [(32, 24), (24, 32), (7, 5), (9, 13), (16, 8), (40, 9), (1, 1), (64, 3)] {
            let m = vec![1 << 30; outputs];
            let out = Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() };
            let finish = Finish::Wide(Requant { m, shift: Shift::Layer(34), out });
            let ending = Ending::wide(&finish).unwrap();
            for pixels in [1, 6] {
                let gemm = Gemm {
                    operand: DType::I8,
                    result: DType::I16,
                    outputs,
                    pixels,
                    x_step: inputs,
                    y_step: outputs,
                    runs: 1,
                    run: inputs,
                    run_pitch: 0,
                    slack: false,
                    four: false,
                    sh: ending.sh,
                    zp: 0,
                    lo: i16::MIN.into(),
                    hi: i16::MAX.into(),
                };
                let weights: Vec<i8> =
                    (0..inputs * outputs).map(|_| random.within(-128, 127) as i8).collect();
                for (strides, x_zp, least) in [([1, inputs], 0, -127), ([outputs, 1], -128, -128)] {
                    let by = Multiplier { m: 1 << 30, s: 34 };
                    let live = Live { strides, x_zp, w_zp: 0, least, by, out, result: DType::I16 };
                    let weight =
                        |o: usize, i: usize| i32::from(weights[o * strides[1] + i * strides[0]]).max(least);
                    let of = |o: usize| (0..inputs).map(move |i| (o, i));
                    let by_output: Vec<i32> = (0..outputs).flat_map(of).map(|(o, i)| weight(o, i)).collect();
                    let bias: Vec<i32> =
                        by_output.chunks(inputs).map(|row| -x_zp * row.iter().sum::<i32>()).collect();
                    let taps: Vec<usize> = (0..inputs).collect();
                    let want = gemm.pack(&by_output, &bias, &ending, &taps).unwrap();
                    let kernel = kernel(&gemm, &live, &ending).unwrap();
                    let call = Call { kernel, args: vec![Bind::Operand(0), Bind::Result(0)] };
                    let found = run(&call, &[Data::I8(weights.clone())], DType::I8, gemm.stream_len());
                    let Data::I8(found) = found else { panic!() };
                    assert_eq!(found.len(), want.len());
                    for at in 0..want.len() {
                        let (number, inside) = (at / gemm.group_len(), at % gemm.group_len());
                        let i = match inside.checked_sub(gemm.weights_len()) {
                            Some(word) => word / 4 % gemm.group(),
                            None => inside / LANES % gemm.group(),
                        };
                        let first = (number * gemm.group()).saturating_sub(gemm.common());
                        // Channels that are not there may say anything.
                        if first + gemm.channel(i) < outputs {
                            assert_eq!(found[at], want[at], "{pixels} {inputs} {outputs} {strides:?} {at}");
                        }
                    }
                }
            }
        }
    }
}
