//! Products of two values that the run brings, on Helium: one of them is laid as weights are in flash, in the
//! workspace.
//!
//! In: sizes, and how the second factor lies. Out: a kernel that lays it, and the product of dense layers that reads
//! what was laid. Law: what it lays is what [`Gemm::pack`] would, of the same weights without biases.

use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val, int};
use crate::mve::engine::laid;
use crate::mve::gemm::{Gemm, LANES};
use crate::mve::stream::words;
use crate::offer::{Live, Loaded, Want};
use crate::problem::Rows;
use crate::tensor::DType;
use std::sync::Arc;

/// The product; `None` where dense layers of these sizes have none, and where inputs have a zero point, which the
/// biases of weights in flash take back.
pub(super) fn product(rows: &Rows, live: &Live, want: &Want<'_>) -> Result<Option<Loaded>> {
    let Some(greatest) = live.greatest(rows).filter(|_| live.x_zp == 0) else { return Ok(None) };
    let Some((product, gemm)) = laid(rows, &greatest, want.library, false)? else { return Ok(None) };
    let Some(ending) = Ending::wide(&greatest.finish) else { return Ok(None) };
    let pack = kernel(&gemm, live.strides, &ending)?;
    Ok(Some(Loaded::new(pack, (DType::I8, gemm.stream_len()), product)))
}

/// Lays weights for a product of one run.
fn kernel(gemm: &Gemm, [along, across]: [usize; 2], ending: &Ending<'_>) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("lay_weights");
    let len = 1 + (gemm.run - 1) * along + (gemm.outputs - 1) * across;
    let from = k.buffer("weights", DType::I8, len, Access::Read);
    let to = k.buffer("stream", DType::I8, gemm.stream_len(), Access::Write);
    let one = words(&[0], ending, gemm.sh.is_some(), 0);
    let common = gemm.common();
    let group = |k: &mut KernelBuilder, number: Expr, channels: usize| {
        let base = k.let_("base", number.clone() * gemm.group_len());
        let channel = number * gemm.group();
        let channel = if common > 0 { (channel - common as i32).max(0) } else { channel };
        let first = k.let_("first", channel * across);
        for c in 0..gemm.chunks() {
            let start = gemm.start(c);
            // What a chunk that starts early repeats was counted before.
            let (lo, hi) = (LANES * c - start, LANES.min(gemm.run - start));
            for i in 0..gemm.group() {
                let (channel, at) = (gemm.channel(i), (c * gemm.group() + i) * LANES);
                let zeros = |k: &mut KernelBuilder, from: usize, end: usize| {
                    if from < end {
                        k.for_("lane", from, end, |k, lane| k.store(to, base + at + lane, int(0)));
                    }
                };
                if channel >= channels {
                    zeros(k, 0, LANES);
                    continue;
                }
                zeros(k, 0, lo);
                zeros(k, hi, LANES);
                let read = channel * across + start * along;
                lanes(k, (from, first, read, along), (to, base, at), (lo, hi));
            }
        }
        let mut at = gemm.weights_len();
        for word in &one {
            for _ in 0..gemm.group() {
                for byte in word.to_le_bytes() {
                    k.store(to, base + at, int((byte as i8).into()));
                    at += 1;
                }
            }
        }
    };
    // Groups that overlap are all full.
    let (whole, rest) = match common {
        0 => (gemm.outputs / gemm.group(), gemm.outputs % gemm.group()),
        _ => (gemm.groups(), 0),
    };
    k.for_("group", 0, whole, |k, number| group(k, number.into(), gemm.group()));
    if rest > 0 {
        group(&mut k, int(whole as i32), rest);
    }
    k.finish()
}

/// Some lanes of a vector.
fn lanes(
    k: &mut KernelBuilder,
    (from, first, read, along): (Buf, Val, usize, usize),
    (to, base, at): (Buf, Val, usize),
    (lo, hi): (usize, usize),
) {
    k.for_("lane", lo, hi, |k, lane| {
        let weight = from.at(first + read + lane * along).max(-127);
        k.store(to, base + at + lane, weight);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Output, Requant, Shift};
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
                for strides in [[1, inputs], [outputs, 1]] {
                    let by_output: Vec<i32> = (0..outputs * inputs)
                        .map(|i| {
                            i32::from(weights[i / inputs * strides[1] + i % inputs * strides[0]]).max(-127)
                        })
                        .collect();
                    let taps: Vec<usize> = (0..inputs).collect();
                    let want = gemm.pack(&by_output, &vec![0; outputs], &ending, &taps).unwrap();
                    let kernel = kernel(&gemm, strides, &ending).unwrap();
                    let call = Call { kernel, args: vec![Bind::Operand(0), Bind::Result(0)] };
                    let found = run(&call, &[Data::I8(weights.clone())], DType::I8, gemm.stream_len());
                    let Data::I8(found) = found else { panic!() };
                    // Words of channels that are not there may say anything.
                    let full = (outputs + gemm.common()) / gemm.group() * gemm.group_len();
                    let known = want.len().min(full + gemm.weights_len());
                    assert_eq!(found[..known], want[..known], "{pixels} {inputs} {outputs} {strides:?}");
                }
            }
        }
    }
}
