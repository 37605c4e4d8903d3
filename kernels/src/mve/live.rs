//! Products of two values that the run brings, on Helium: one of them is laid as weights are in flash, in the
//! workspace.
//!
//! In: sizes, and how the second factor lies. Out: a kernel that lays it, and the product of dense layers that reads
//! what was laid; where both factors have a zero point, of half-words without it. Law: what it lays is what
//! [`Gemm::pack`] would, of the same weights.

use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val, int};
use crate::mve::copy;
use crate::mve::engine::{any_ending, laid};
use crate::mve::gemm::Gemm;
use crate::mve::stream::words;
use crate::offer::{Candidate, Live, Loaded, Want};
use crate::problem::Rows;
use crate::tensor::DType;
use std::sync::Arc;

/// The product; `None` where dense layers of these sizes have none.
pub(super) fn product(rows: &Rows, live: &Live, want: &Want<'_>) -> Result<Option<Loaded>> {
    let Some(greatest) = live.greatest(rows) else { return Ok(None) };
    let Some(ending) = any_ending(&greatest) else { return Ok(None) };
    if live.w_zp != 0 {
        return widened(rows, live, want, &ending);
    }
    let Some((product, gemm)) = laid(rows, &greatest, want.library, false)? else { return Ok(None) };
    let pack = kernel(&gemm, live, &ending)?;
    Ok(Some(Loaded::new(pack, (DType::I8, gemm.stream()), product)))
}

/// The product where weights have a zero point: without it they take sixteen bits, and so do inputs, of which rows are
/// widened before.
fn widened(rows: &Rows, live: &Live, want: &Want<'_>, ending: &Ending<'_>) -> Result<Option<Loaded>> {
    let (outer, inner) = rows.split();
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let gemm = Gemm {
        operand: DType::I16,
        weights: DType::I16,
        result: live.result,
        outputs,
        pixels: inner.len,
        x_step: inputs,
        y_step: inner.y,
        runs: 1,
        run: inputs,
        run_pitch: 0,
        slack: false,
        four: false,
        sh: ending.sh,
        zp: ending.zp,
        lo: ending.limits.0,
        hi: ending.limits.1,
    };
    if !rows.side_by_side() || !gemm.fits() {
        return Ok(None);
    }
    let library = want.library;
    let close = inner.x == inputs || inner.len == 1;
    let (n, turns) = if close { (inner.len * inputs, 1) } else { (inputs, inner.len) };
    let widen = library.once(&("widen", n), || copy::widen(n))?;
    let multiply = library.once(&gemm, || gemm.kernel())?;
    let mut k = KernelBuilder::new("dense_s8_w16_dot");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", live.result, rows.y_len(), Access::Write);
    let w = k.buffer("w", DType::I16, gemm.stream(), Access::Read);
    let wide = k.buffer("wide", DType::I16, inner.len * inputs, Access::ReadWrite);
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        k.for_("row", 0, turns, |k, row| {
            let zx = CallArg::Scalar(live.x_zp.into());
            k.call(&widen, vec![x.from(x0 + row * inner.x), wide.from(row * inputs), zx]);
        });
        k.call(&multiply, vec![wide.from(0), w.from(0), y.from(y0.clone())]);
    });
    let args = vec![Bind::Operand(0), Bind::Result(0), Bind::Operand(1), Bind::Workspace(0)];
    let call = Call { kernel: k.finish()?, args };
    let product = Candidate { way: "dot", call, workspace: 2 * inner.len * inputs };
    let pack = kernel(&gemm, &Live { x_zp: 0, ..*live }, ending)?;
    Ok(Some(Loaded { pack, stream: (DType::I16, gemm.stream()), product }))
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
    let to = k.buffer("stream", gemm.weights, gemm.stream(), Access::Write);
    let lay = Lay { gemm, live, from, to };
    // Those of a bias come from the weights.
    let words = words(&[0], ending, gemm.sh.is_some(), 0);
    let (group, common, size) = (gemm.group(), gemm.common(), gemm.weights.size());
    let bits = 8 * size as i32;
    k.for_("group", 0, gemm.groups(), |k, number| {
        let base = k.let_("base", number * (gemm.group_len() / size));
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
        let tail = k.let_("tail", base + gemm.weights_len() / size);
        for (n, &word) in words.iter().enumerate() {
            for i in 0..group {
                let at = 4 / size * (group * n + i);
                let word = match sums.get(i) {
                    Some(&sum) if n == 0 => k.let_("bias", sum * -live.x_zp).into(),
                    _ => int(word),
                };
                for part in 0..4 / size {
                    // An element with its sign.
                    let (mask, sign) = ((1 << bits) - 1, 1 << (bits - 1));
                    let signed = (((word.clone() >> (bits * part as i32)) & mask) ^ sign) - sign;
                    k.store(to, tail + (at + part), signed);
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
        let (run, most) = (self.gemm.run, self.gemm.lanes());
        let pitch = channels.len() * most;
        let along = self.live.strides[0];
        let (whole, rest) = (run / most, run % most);
        let one = |k: &mut KernelBuilder, i: usize, (read, at): (Expr, Expr)| {
            let weight = k.let_("weight", self.live.weight(self.from.at(&channels[i] + read)));
            k.store(self.to, at + i * most, weight);
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
                    (0..channels.len()).for_each(|i| k.store(self.to, at + i * most, int(0)));
                });
            }
        };
        k.for_("chunk", 0, whole, |k, chunk| {
            lanes(k, most, chunk * (most * along), base + chunk * pitch);
        });
        if rest > 0 {
            // A chunk that starts early begins with inputs that were counted before.
            let lane = most * whole - self.gemm.start(whole);
            let at = base + whole * pitch;
            zeros(k, (0, lane), &at);
            lanes(k, rest, int((most * whole * along) as i32), &at + lane);
            zeros(k, (lane + rest, most - lane - rest), &at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, Output, Requant, Shift, requantize};
    use crate::epilogue::Finish;
    use crate::library::Library;
    use crate::mve::gemm::LANES;
    use crate::options::Optimize;
    use crate::policy::Policy;
    use crate::problem::Axis;
    use crate::tensor::Data;
    use crate::trial::{Random, run, want};

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
                    weights: DType::I8,
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

    /// Of factors with every zero point, rows that lie apart among them.
    #[test]
    fn products_of_two_factors_are_exact() {
        let target = secateur_targets::find("cortex-m55").unwrap();
        let library = Library::new(&target);
        let want = want(&library, Policy::from(Optimize::Balanced));
        let mut random = Random(10);
        for (case, (m, inputs, outputs, apart)) in [
            (24, 32, 24, 0),
            (24, 24, 32, 0),
            (1, 40, 9, 0),
            (5, 7, 13, 3),
            (2, 8, 3, 0),
            (7, 300, 6, 5),
            (3, 1, 1, 0),
            (6, 15, 6, 0),
        ]
        .into_iter()
        .enumerate()
        {
            for (x_zp, w_zp) in [(0, 0), (-128, 0), (5, 127), (-128, -128), (127, -128)] {
                let rows = Rows {
                    rows: vec![Axis { len: m, x: inputs + apart, y: outputs }],
                    inputs: Axis { len: inputs, x: 1, y: 0 },
                    outputs: Axis { len: outputs, x: 0, y: 1 },
                };
                let strides = if case % 2 == 0 { [1, inputs] } else { [outputs, 1] };
                let (result, out) = match case % 3 {
                    0 => (DType::I16, Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() }),
                    1 => (DType::I8, Output { zp: -128, lo: -128, hi: 127 }),
                    _ => (DType::I8, Output { zp: 3, lo: -5, hi: 90 }),
                };
                let by = Multiplier { m: random.within(1 << 30, i32::MAX.into()) as i32, s: 40 };
                let live = Live { strides, x_zp, w_zp, least: -128, by, out, result };
                let Loaded { pack, stream, product } = product(&rows, &live, &want).unwrap().unwrap();
                let (x, w) = (random.bytes(rows.x_len()), random.bytes(inputs * outputs));
                let lay = Call { kernel: pack, args: vec![Bind::Operand(0), Bind::Result(0)] };
                let laid = run(&lay, &[Data::I8(w.clone())], stream.0, stream.1);
                let found = run(&product.call, &[Data::I8(x.clone()), laid], result, m * outputs);
                let mut wanted = Vec::new();
                for (row, o) in (0..m).flat_map(|row| (0..outputs).map(move |o| (row, o))) {
                    let factors = (0..inputs).map(|i| {
                        let w = i32::from(w[i * strides[0] + o * strides[1]]) - w_zp;
                        (i32::from(x[row * (inputs + apart) + i]) - x_zp) * w
                    });
                    wanted.push(i64::from(requantize(factors.sum(), by, out.zp, out.lo, out.hi)));
                }
                assert_eq!(found, Data::from_i64(result, &wanted), "case {case}, {x_zp} and {w_zp}");
            }
        }
    }
}
