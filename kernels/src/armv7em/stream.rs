//! How weights lie for the products of cores with `smlad`: a stream of 16-bit halves, one group of
//! output channels behind the other.
//!
//! A group has a head (a word for each bias), a part for every two inputs, and a tail (a word for
//! each multiplier and, where channels have their own, for each rounding constant and shift).
//! [`Stream`] is the one description: it packs a layer, and it says to the meaning of a kernel where
//! to find what it needs. Channels beyond the last are zeros.
//!
//! Law: a layer whose sums a kernel could get wrong is refused when it is packed.

use crate::armv7em::epilogue::{Rounding, word};
use crate::kernel::{Buf, Expr, KernelBuilder, Val};
use crate::rounding::requantized;

/// How the weights of two inputs lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Two channels A and B share a half, which holds `256 * a + b`: `smlad` with the word as it
    /// stands sums `256 * SA + SB`, and after one `sxtb16` that keeps the low bytes it sums `SB`. So
    /// weights cost a byte in flash and half an extension. Exact while every `|SA| < 2^23`: sums
    /// that wrap on the way there come back. Wants one shift for all channels.
    Packed,
    /// Bytes `b` and `a` of two channels side by side, each extended: any sums.
    Plain,
    /// A half for each weight: nothing is extended. For cores that start a load beside a product.
    Halves,
    /// Four channels share a half, each weight in `-8..=7`: from the top `w3`, then `w2 + 8`, `w1 + 8`
    /// and `w0 + 8`, so that a weight costs half a byte. The word as it stands sums all four, `uxtb16`
    /// the lower two, a mask one of them, and the difference is a shift away. What the 8 adds is eight
    /// times the sum of the inputs, taken from the biases once for a column. Exact while sums
    /// of channel 2 of a group stay within 2^23 and those of channel 3 within 2^19.
    Nibbles,
}

/// The stream of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    pub format: Format,
    /// Right shift of all channels after the high word of the product
    /// ([`crate::arith::requant::high`]); `None` where each has its own.
    pub sh: Option<u32>,
    pub outputs: usize,
    /// Channels of a group: even, and four for [`Format::Nibbles`].
    pub group: usize,
    /// Pairs of inputs of a channel.
    pub pairs: usize,
}

/// A word of a group's head or tail; channels are those of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// `256 * bias_A + bias_B` of channels A and A + 1.
    Joined(usize),
    Bias(usize),
    Multiplier(usize),
    Rounding(usize),
    Shift(usize),
}

impl Stream {
    /// Halves of a group's head.
    pub fn head_len(&self) -> usize {
        2 * self.group
    }
    /// Halves of the weights of two inputs.
    pub fn pair_len(&self) -> usize {
        match self.format {
            Format::Packed | Format::Plain => self.group,
            Format::Halves => 2 * self.group,
            Format::Nibbles => self.group / 2,
        }
    }
    /// Halves of a group's tail.
    pub fn tail_len(&self) -> usize {
        if self.sh.is_some() { 2 * self.group } else { 6 * self.group }
    }
    pub fn group_len(&self) -> usize {
        self.head_len() + self.pair_len() * self.pairs + self.tail_len()
    }
    /// Halves of the whole stream.
    pub fn len(&self) -> usize {
        self.outputs.div_ceil(self.group) * self.group_len()
    }

    fn head(&self) -> Vec<Field> {
        let first = |c: usize| match (self.format, c % 2) {
            (Format::Packed, 0) => Field::Joined(c),
            _ => Field::Bias(c),
        };
        (0..self.group).map(first).collect()
    }
    fn tail(&self) -> Vec<Field> {
        let odd_first = (1..self.group).step_by(2).chain((0..self.group).step_by(2));
        match self.sh {
            Some(_) => odd_first.map(Field::Multiplier).collect(),
            None => {
                let own = |c| [Field::Multiplier(c), Field::Rounding(c), Field::Shift(c)];
                (0..self.group).flat_map(own).collect()
            }
        }
    }
    /// The channels of each half of a pair's part, and which of the two inputs it is for.
    pub(super) fn halves(&self) -> Vec<(Vec<usize>, usize)> {
        let (even, odd) = ((0..self.group).step_by(2), (1..self.group).step_by(2));
        let channels: Vec<Vec<usize>> = match self.format {
            Format::Packed | Format::Plain => even.map(|a| vec![a, a + 1]).collect(),
            Format::Halves => even.chain(odd).map(|c| vec![c]).collect(),
            Format::Nibbles => vec![(0..self.group).collect()],
        };
        channels.into_iter().flat_map(|c| [(c.clone(), 0), (c, 1)]).collect()
    }
    /// The half that holds these weights; `None` where they do not fit.
    fn joined(&self, weights: &[i32]) -> Option<i16> {
        let within = |n: i32, w: i32| (-n..n).contains(&w).then_some(w);
        match (self.format, weights) {
            (Format::Packed, &[a, b]) => i16::try_from(256 * a + within(128, b)?).ok(),
            (Format::Plain, &[a, b]) => {
                Some(i16::from_le_bytes([within(128, b)? as u8, within(128, a)? as u8]))
            }
            (Format::Halves, &[w]) => i16::try_from(w).ok(),
            (Format::Nibbles, w) => {
                let (top, others) = w.split_last()?;
                let digits = others.iter().rev().map(|&w| Some(within(8, w)? + 8));
                let digits = digits.collect::<Option<Vec<i32>>>()?;
                i16::try_from(digits.iter().fold(within(8, *top)?, |all, digit| 16 * all + digit)).ok()
            }
            _ => None,
        }
    }
    /// Whether sums within these bounds, one pair a channel, come out right.
    pub(super) fn exact(&self, reach: &[(i32, i32)]) -> bool {
        let within = |bits: u32, &(lo, hi): &(i32, i32)| lo > -(1 << bits) && hi < 1 << bits;
        reach.iter().enumerate().all(|(c, reach)| match self.format {
            // Only A is multiplied by 256, but its partner's sum rides on it.
            Format::Packed => self.sh.is_some() && within(23, reach),
            Format::Plain | Format::Halves => true,
            Format::Nibbles => within(if c % 4 == 3 { 19 } else { 23 }, reach),
        })
    }

    /// Packs one layer's coefficients: `weights` `[outputs, taps]`, of which `taps[j]` says which one
    /// input `j` of a channel meets (`None`: padding). `None` where sums, biases or weights do not fit.
    pub fn pack(
        &self,
        weights: &[i32],
        bias: &[i32],
        rounding: Rounding<'_>,
        reach: &[(i32, i32)],
        taps: &[Option<usize>],
    ) -> Option<Vec<i16>> {
        if !self.exact(reach) {
            return None;
        }
        let row = weights.len() / self.outputs.max(1);
        let weight = |o: usize, j: usize| match taps.get(j).copied().flatten() {
            Some(t) if o < self.outputs => weights[o * row + t],
            _ => 0,
        };
        let mut stream = Vec::with_capacity(self.len());
        for first in (0..self.outputs).step_by(self.group) {
            self.pack_head(&mut stream, first, bias)?;
            for p in 0..self.pairs {
                self.pack_pair(&mut stream, &|c, input| weight(first + c, 2 * p + input))?;
            }
            self.pack_tail(&mut stream, first, rounding);
        }
        Some(stream)
    }
    /// Appends the head of the group from channel `first` on.
    pub(super) fn pack_head(&self, stream: &mut Vec<i16>, first: usize, bias: &[i32]) -> Option<()> {
        let of = |c: usize| bias.get(first + c).copied().unwrap_or(0);
        for field in self.head() {
            let value = match field {
                Field::Joined(c) => of(c).checked_mul(256)?.checked_add(of(c + 1))?,
                Field::Bias(c) => of(c),
                _ => 0,
            };
            word(stream, value);
        }
        Some(())
    }
    /// Appends the part of two inputs, of which `weight` gives that of a channel of the group.
    pub(super) fn pack_pair(
        &self,
        stream: &mut Vec<i16>,
        weight: &dyn Fn(usize, usize) -> i32,
    ) -> Option<()> {
        for (channels, input) in self.halves() {
            let weights: Vec<i32> = channels.iter().map(|&c| weight(c, input)).collect();
            stream.push(self.joined(&weights)?);
        }
        Some(())
    }
    /// Appends the tail of the group from channel `first` on.
    pub(super) fn pack_tail(&self, stream: &mut Vec<i16>, first: usize, rounding: Rounding<'_>) {
        let own = |c: usize| rounding.each.get(first + c).copied().unwrap_or((0, 1));
        for field in self.tail() {
            let value = match field {
                Field::Multiplier(c) => rounding.multipliers.get(first + c).copied().unwrap_or(1),
                Field::Rounding(c) => own(c).0,
                Field::Shift(c) => own(c).1 as i32,
                _ => 0,
            };
            word(stream, value);
        }
    }

    /// The word of a field in the stream `w` of the group that begins at `base`.
    fn field(&self, w: Buf, base: Val, field: Field) -> Expr {
        let find = |fields: Vec<Field>| fields.iter().position(|&f| f == field);
        let behind = self.head_len() + self.pair_len() * self.pairs;
        let at = match find(self.head()) {
            Some(n) => 2 * n,
            None => behind + 2 * find(self.tail()).unwrap_or_default(),
        };
        let at = base + at;
        (w.at(&at) & 65535) + w.at(at + 1) * 65536
    }
    /// Declares the sums of a group, `[channel][column]`, which start from the biases.
    pub fn open(&self, k: &mut KernelBuilder, w: Buf, base: Val, columns: usize) -> Vec<Vec<Val>> {
        let mut sums = Vec::new();
        for c in 0..self.group {
            let bias = if self.format == Format::Packed && c % 2 == 0 {
                (self.field(w, base, Field::Joined(c)) - self.field(w, base, Field::Bias(c + 1))) >> 8
            } else {
                self.field(w, base, Field::Bias(c))
            };
            let bias = k.let_(&format!("bias{c}"), bias);
            sums.push((0..columns).map(|q| k.var(&format!("sum{c}{q}"), bias)).collect());
        }
        sums
    }
    /// Adds the products of one of two inputs, one value for each column, whose pair's part of the
    /// stream begins at `at`.
    pub fn add(
        &self,
        k: &mut KernelBuilder,
        (w, at, input): (Buf, &Expr, usize),
        values: &[Val],
        sums: &[Vec<Val>],
    ) {
        for (n, (channels, _)) in self.halves().iter().enumerate().filter(|(_, half)| half.1 == input) {
            let half = k.let_("half", w.at(at + n));
            let low_byte = |v: Expr| ((v & 255) ^ 128) - 128;
            let weights: Vec<Expr> = match self.format {
                Format::Packed => {
                    let low = k.let_("low", low_byte(half.into()));
                    vec![(half - low) >> 8, low.into()]
                }
                Format::Plain => vec![half >> 8, low_byte(half.into())],
                Format::Halves => vec![half.into()],
                Format::Nibbles => {
                    let digit = |c: usize| ((half >> (4 * c as i32)) & 15) - 8;
                    let top = channels.len() - 1;
                    (0..top).map(digit).chain([half >> (4 * top as i32)]).collect()
                }
            };
            for (&c, weight) in channels.iter().zip(weights) {
                let weight = k.let_("weight", weight);
                for (&sum, &value) in sums[c].iter().zip(values) {
                    k.add_to(sum, value * weight);
                }
            }
        }
    }
    /// What the sum of a channel becomes; `round` is the layer's rounding constant.
    pub fn close(
        &self,
        k: &mut KernelBuilder,
        (w, base, round): (Buf, Val, Option<Val>),
        (c, sum): (usize, Val),
        (lo, hi): (i32, i32),
    ) -> Expr {
        let m = k.let_("m", self.field(w, base, Field::Multiplier(c)));
        let (round, shift): (Expr, Expr) = match (self.sh, round) {
            (Some(sh), Some(round)) => (round.into(), (sh as i32).into()),
            // A shift has five bits, which the mask says to the proof.
            _ => (self.field(w, base, Field::Rounding(c)), self.field(w, base, Field::Shift(c)) & 31),
        };
        requantized(sum, m, (round, shift), (lo, hi))
    }
}
