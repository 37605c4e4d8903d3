//! The streams of products with blocks of zeros.
//!
//! In: weights, biases and multipliers of all channels. Out: sizes, and the stream that
//! [`super::Blocks::kernel`] reads. Law: what a form does not hold is refused.

use super::{Blocks, Form, INPUTS, ROUND};
use crate::armv7em::epilogue::{Rounding, word};
use crate::armv7em::gemm::Gemm;

impl Blocks {
    /// Packs a layer in the first form that it fits; in the one that takes less flash, unless that is to be spent.
    pub fn least(
        (rows, spends): (usize, bool),
        gemm: &Gemm,
        weights: &[i32],
        bias: &[i32],
        rounding: Rounding<'_>,
        reach: &[(i32, i32)],
        taps: &[Option<usize>],
    ) -> Option<(Blocks, Vec<i16>)> {
        let pack = |form| Blocks::pack((rows, form), gemm, weights, bias, rounding, reach, taps);
        let one = |form| if rows == 1 { pack(form) } else { None };
        let bytes = one(Form::Bytes).or_else(|| pack(Form::Words))?;
        let halves = if spends { None } else { one(Form::Halves) };
        // Of fifty blocks one may be of zeros.
        let pays = |(h, _): &(Blocks, _)| h.len < bytes.0.len && 50 * h.stored <= 51 * bytes.0.stored;
        Some(halves.filter(pays).unwrap_or(bytes))
    }

    /// Packs a layer, as [`Stream::pack`] does; `gemm` says the sizes. `None` where blocks do not fit them, or
    /// weights or sums do not fit the format.
    pub fn pack(
        (rows, form): (usize, Form),
        gemm: &Gemm,
        weights: &[i32],
        bias: &[i32],
        rounding: Rounding<'_>,
        reach: &[(i32, i32)],
        taps: &[Option<usize>],
    ) -> Option<(Blocks, Vec<i16>)> {
        let gemm = Self::sizes(rows, gemm);
        let mut found = Blocks { gemm, rows, form, stored: 0, len: 0 };
        let stream = found.stream();
        let even = (2 * gemm.pairs).is_multiple_of(INPUTS) && gemm.run_pitch.is_multiple_of(INPUTS);
        let whole = gemm.outputs.is_multiple_of(rows) && gemm.outputs > 0 && gemm.sh.is_some();
        if !even || !whole || !stream.exact(reach) {
            return None;
        }
        let row = weights.len() / gemm.outputs;
        let all = gemm.runs * gemm.pairs * 2 / INPUTS;
        let of_run = gemm.pairs * 2 / INPUTS;
        let mut packed = Vec::new();
        for first in (0..gemm.outputs).step_by(rows) {
            let weight = |c: usize, j: usize| taps[j].map_or(0, |t| weights[(first + c) * row + t]);
            let zero = |n: &usize| (0..rows).all(|c| (0..INPUTS).all(|i| weight(c, INPUTS * n + i) == 0));
            // Blocks with their steps; `None` is one of zeros.
            let (mut blocks, mut at) = (Vec::new(), 0);
            for n in (0..all).filter(|n| !zero(n)) {
                let place = n / of_run * (gemm.run_pitch / INPUTS) + n % of_run;
                while place - at > found.farthest() {
                    blocks.push((None, found.farthest()));
                    at += found.farthest();
                }
                blocks.push((Some(n), place - at));
                at = place;
            }
            if blocks.is_empty() {
                blocks.push((None, 0));
            }
            found.stored += blocks.len();
            let short = (blocks.len() - 1) % ROUND + 1;
            let rounds = blocks.len().div_ceil(ROUND);
            let bytes = 2 * (found.weights() * blocks.len() + found.steps() * rounds);
            if form == Form::Words {
                stream.pack_head(&mut packed, first, bias)?;
                let end = u16::try_from(2 * found.head() + bytes).ok()?;
                word(&mut packed, found.opening(short) & 0xffff | i32::from(end) << 16);
            } else {
                let room = 1i32 << 23;
                let bias = Some(bias[first]).filter(|b| (-room..room).contains(b))?;
                word(&mut packed, (bias << 8) + i32::from(u8::try_from(blocks.len()).ok()?));
            }
            let (head, others) = blocks.split_at(short);
            for round in std::iter::once(head).chain(others.chunks(ROUND)) {
                for (n, _) in round {
                    let of = |c: usize, i: usize| n.map_or(0, |n| weight(c, INPUTS * n + i));
                    found.pack_block(&mut packed, &of)?;
                }
                let mut steps = [0u8; ROUND];
                for (to, (_, step)) in steps[ROUND - round.len()..].iter_mut().zip(round) {
                    *to = u8::try_from(*step).ok()?;
                }
                if form == Form::Halves {
                    let halves = steps.iter().rev().fold(0u16, |all, &step| all << 4 | u16::from(step));
                    packed.push(halves as i16);
                } else {
                    word(&mut packed, i32::from_le_bytes(steps));
                }
            }
            stream.pack_tail(&mut packed, first, rounding);
        }
        found.len = packed.len();
        Some((found, packed))
    }

    /// Appends a block, of which `weight` gives that of a channel and an input.
    fn pack_block(&self, packed: &mut Vec<i16>, weight: &dyn Fn(usize, usize) -> i32) -> Option<()> {
        for pair in 0..2 {
            if self.rows > 1 {
                self.stream().pack_pair(packed, &|c, i| weight(c, 2 * pair + i))?;
            } else {
                let bytes = [weight(0, pair), weight(0, 2 + pair)].map(|w| i8::try_from(w).ok());
                packed.push(i16::from_le_bytes([bytes[0]? as u8, bytes[1]? as u8]));
            }
        }
        Some(())
    }
}
