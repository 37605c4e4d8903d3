//! Products of two values that the run brings: one of them is laid as weights are in flash, in the workspace.
//!
//! In: sizes, and how the second factor lies. Out: a kernel that lays it, and the product of dense layers
//! ([`crate::armv7em::engine`]) that reads what was laid. Law: what it lays is what [`Stream::pack`] would, of the
//! same weights without biases.

use crate::armv7em::engine::{Weights, any_ending, laid};
use crate::armv7em::epilogue::Rounding;
use crate::armv7em::stream::{Format, Stream};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val, int};
use crate::offer::{Live, Loaded, Want};
use crate::problem::Rows;
use crate::tensor::DType;
use std::sync::Arc;

/// The product; `None` where dense layers of these sizes have none.
pub(super) fn product(rows: &Rows, live: &Live, want: &Want<'_>) -> Result<Option<Loaded>> {
    let Some(greatest) = live.greatest(rows) else { return Ok(None) };
    // Pairs of weights share a half-word where both are -127 at least.
    let weights =
        if live.least == i32::from(i8::MIN) || live.w_zp != 0 { Weights::Sixteen } else { Weights::Eight };
    let Some(laid) = laid(rows, &greatest, want, weights)? else { return Ok(None) };
    let Some(ending) = any_ending(&greatest) else { return Ok(None) };
    let stream = (DType::I16, laid.stream.len());
    let layout = Layout { stream: laid.stream, taps: laid.taps, live: *live, inputs: rows.inputs.len };
    let pack = layout.kernel(ending.rounding())?;
    Ok(pack.map(|pack| Loaded::new(pack, stream, laid.candidate)))
}

/// How weights come, and how they shall lie.
struct Layout {
    stream: Stream,
    taps: Vec<Option<usize>>,
    live: Live,
    inputs: usize,
}

impl Layout {
    fn kernel(&self, rounding: Rounding<'_>) -> Result<Option<Arc<Kernel>>> {
        if self.stream.format == Format::Nibbles {
            return Ok(None);
        }
        let s = &self.stream;
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        if s.pack_head(&mut head, 0, &[]).is_none() {
            return Ok(None);
        }
        // Of full groups; a channel that is not there has results that nobody reads.
        s.pack_tail(&mut tail, 0, rounding);
        let [along, across] = self.live.strides;
        let mut k = KernelBuilder::new("lay_weights");
        let len = 1 + (self.inputs - 1) * along + (s.outputs - 1) * across;
        let from = k.buffer("weights", DType::I8, len, Access::Read);
        let to = k.buffer("stream", DType::I16, s.len(), Access::Write);
        let (groups, rest) = (s.outputs / s.group, s.outputs % s.group);
        let group = |k: &mut KernelBuilder, number: Expr, channels: usize| {
            let base = k.let_("base", number.clone() * s.group_len());
            let first = k.let_("first", number * (s.group * across));
            for (i, &half) in head.iter().enumerate() {
                k.store(to, base + i, int(half.into()));
            }
            self.pairs(k, (from, first), (to, base + head.len()), channels);
            for (i, &half) in tail.iter().enumerate() {
                k.store(to, base + (head.len() + s.pair_len() * s.pairs + i), int(half.into()));
            }
        };
        k.for_("group", 0, groups, |k, number| group(k, number.into(), s.group));
        if rest > 0 {
            group(&mut k, int(groups as i32), rest);
        }
        k.finish().map(Some)
    }

    /// Inputs that repeat the order of the first ones: four where they are parted, else two.
    fn period(&self) -> usize {
        let even = self.inputs.is_multiple_of(4);
        let four =
            even && self.taps.iter().enumerate().all(|(i, t)| *t == self.taps[i % 4].map(|t| t + i / 4 * 4));
        if four { 4 } else { 2 }
    }

    /// The weights of a group of which so many channels are there.
    fn pairs(
        &self,
        k: &mut KernelBuilder,
        (from, first): (Buf, Val),
        (to, at): (Buf, Expr),
        channels: usize,
    ) {
        let s = &self.stream;
        let [along, across] = self.live.strides;
        let period = self.period();
        let whole = self.inputs / period;
        let turn = |k: &mut KernelBuilder, number: Expr, taps: &[Option<usize>]| {
            let read = k.let_("read", first + number.clone() * (period * along));
            let write = k.let_("write", at.clone() + number * (s.pair_len() * period / 2));
            for (pair, taps) in taps.chunks(2).enumerate() {
                for (n, (of, input)) in s.halves().iter().enumerate() {
                    let weight = |c: usize| match taps.get(*input).copied().flatten() {
                        Some(t) if c < channels => self.live.weight(from.at(read + (t * along + c * across))),
                        _ => int(0),
                    };
                    let half = match (s.format, of.as_slice()) {
                        (Format::Packed, &[a, b]) => weight(a) * 256 + weight(b),
                        (Format::Plain, &[a, b]) => weight(a) * 256 + (weight(b) & 255),
                        (_, &[c, ..]) => weight(c),
                        _ => int(0),
                    };
                    k.store(to, write + (pair * s.pair_len() + n), half);
                }
            }
        };
        k.for_("turn", 0, whole, |k, number| turn(k, number.into(), &self.taps[..period]));
        if self.taps.len() > whole * period {
            let done = whole * period;
            let rest: Vec<Option<usize>> = self.taps[done..].iter().map(|t| t.map(|t| t - done)).collect();
            turn(k, int(whole as i32), &rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, Output};
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run};

    #[test]
    fn weights_are_laid_as_they_are_packed() {
        let mut random = Random(3);
        for (inputs, outputs, group) in
            [(32, 24, 4), (24, 30, 4), (6, 8, 8), (7, 5, 4), (1, 1, 4), (8, 16, 8)]
        {
            for (format, sh, least, w_zp) in [
                (Format::Packed, Some(3), -127, 0),
                (Format::Plain, None, -127, 0),
                (Format::Halves, Some(3), -127, 0),
                (Format::Halves, Some(3), -128, 0),
                (Format::Halves, None, -128, -128),
            ] {
                let pitch = usize::next_multiple_of(inputs, 2);
                let order = crate::armv7em::engine::Order::of(DType::I8, inputs);
                let taps: Vec<Option<usize>> =
                    (0..pitch).map(|i| Some(order.position(i)).filter(|&p| p < inputs)).collect();
                let stream = Stream { format, sh, outputs, group, pairs: pitch / 2 };
                let weights: Vec<i8> =
                    (0..inputs * outputs).map(|_| random.within(-128, 127) as i8).collect();
                // Once by rows of outputs, once by rows of inputs.
                for strides in [[1, inputs], [outputs, 1]] {
                    let by_output: Vec<i32> = (0..outputs * inputs)
                        .map(|i| {
                            let w = weights[i / inputs * strides[1] + i % inputs * strides[0]];
                            i32::from(w).max(least) - w_zp
                        })
                        .collect();
                    let (m, each) = (vec![1 << 30; outputs], vec![(4, 3); outputs]);
                    let rounding = Rounding { multipliers: &m, each: &each };
                    let reach = vec![(-100, 100); outputs];
                    let want = stream.pack(&by_output, &vec![0; outputs], rounding, &reach, &taps).unwrap();
                    let out = Output { zp: 0, lo: i16::MIN.into(), hi: i16::MAX.into() };
                    let by = Multiplier { m: 1 << 30, s: 35 };
                    let live = Live { strides, x_zp: 0, w_zp, least, by, out, result: DType::I16 };
                    let layout = Layout { stream, taps: taps.clone(), live, inputs };
                    let kernel = layout.kernel(rounding).unwrap().unwrap();
                    let call = Call { kernel, args: vec![Bind::Operand(0), Bind::Result(0)] };
                    let found = run(&call, &[Data::I8(weights.clone())], DType::I16, stream.len());
                    let Data::I16(found) = found else { panic!() };
                    // Tails of channels that are not there may say anything.
                    let full = outputs / group * stream.group_len();
                    assert_eq!(found[..full], want[..full], "{format:?} {inputs} {outputs} {strides:?}");
                    let weights =
                        stream.len().min(full + stream.head_len() + stream.pair_len() * stream.pairs);
                    assert_eq!(found[full..weights], want[full..weights], "{format:?} {inputs} {outputs}");
                }
            }
        }
    }
}
