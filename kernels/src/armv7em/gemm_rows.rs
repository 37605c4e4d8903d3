//! A whole dense layer or pointwise convolution in one function that many layers share: two
//! rows of inputs at a time are widened and multiplied with four rows of weights at a time.
//!
//! Sizes, steps and constants are scalars of the call. The loops over inputs run in rounds of
//! equal pieces of code, a word of inputs each, and are entered where only as many pieces are left
//! as the number of inputs asks: neither a remainder nor a layer's length has code of its own.
//! An odd last row is computed twice; so are the outputs that the last four share with
//! the four before them.
//!
//! Weights lie as [`crate::armv7em::stream`] says. The widened rows lie interleaved: a pair of
//! the first row, the same pair of the second. Inputs beyond a row are widened zeros or
//! anything, their weights are zero.

use crate::armv7em::epilogue::Rounding;
use crate::armv7em::gemm::{GROUP, MAX_SH};
use crate::armv7em::stream::{Format, Stream};
use crate::armv7em::widen::position;
use crate::asm::armv7em::{Block, Cond, Inst, Label, Reg, Ror, Slot};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val};
use crate::tensor::DType;
use secateur_targets::Core;
use std::sync::Arc;

/// Sizes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    /// Rows of inputs.
    pub rows: usize,
    /// Inputs of a row, at least 4.
    pub inputs: usize,
    /// Outputs of a row, at least 4.
    pub outputs: usize,
    /// Elements from a row of inputs to the next, from a row of outputs to the next.
    pub steps: (usize, usize),
    /// How the weights lie; not [`Format::Nibbles`].
    pub format: Format,
    /// As [`Stream::sh`].
    pub sh: Option<u32>,
    /// Takes that shift as a scalar too, so that layers with other shifts share the code.
    pub any_shift: bool,
    pub lo: i32,
    pub hi: i32,
    /// Words of inputs of a piece of the product, and pieces of a round: powers of two.
    pub piece: usize,
    pub round: usize,
    /// Each pair of inputs loads what the next one begins with, for cores that start two
    /// instructions at once; not for the plain form of bytes.
    pub ahead: bool,
    /// The product has code for these very inputs, without a loop: shared by layers of as many.
    pub whole: bool,
}

/// Words of inputs per round of widening.
const WIDEN: usize = 4;

/// Where a call keeps what has no register.
pub struct Frame {
    x: Slot,
    w: Slot,
    y: Slot,
    pub wide: Slot,
    /// Steps of rows; both become zero before an odd last row.
    xs: Slot,
    pub ys: Slot,
    /// Rows that are left.
    left: Slot,
    /// Where the product's and the widening's loops are entered, and where they end.
    pub enter: Slot,
    enter_widen: Slot,
    pub stop: Slot,
    /// Bytes of whole words of a row but the last.
    most: Slot,
    /// Inputs that the last word lacks.
    lack: Slot,
    zero: Slot,
    /// The rounding constant, and that of channels A.
    pub round: Slot,
    pub round_high: Slot,
    pub shift: Slot,
    /// Result of the current channels.
    pub at: Slot,
    /// Outputs less four.
    span: Slot,
    /// Where the loop over channels ends; where whole fours end, and all.
    pub end: Slot,
    whole: Slot,
    all: Slot,
}

impl Dense {
    fn words(&self) -> usize {
        self.inputs.div_ceil(4)
    }
    /// Pieces of a row.
    pub fn pieces(&self) -> usize {
        self.words().div_ceil(self.piece)
    }
    fn groups(&self) -> usize {
        self.outputs.div_ceil(GROUP)
    }
    /// First channel of a group.
    fn first(&self, group: usize) -> usize {
        (group * GROUP).min(self.outputs - GROUP)
    }
    /// How the weights of a row lie.
    pub fn stream(&self) -> Stream {
        Stream {
            format: self.format,
            sh: self.sh,
            outputs: GROUP * self.groups(),
            group: GROUP,
            pairs: 2 * self.pieces() * self.piece,
        }
    }
    /// Halves of the workspace.
    pub fn wide_len(&self) -> usize {
        8 * self.pieces() * self.piece + if self.ahead() { 4 } else { 0 }
    }
    pub fn ahead(&self) -> bool {
        self.ahead && self.format != Format::Plain
    }
    /// Whether there is code for these sizes.
    pub fn fits(&self) -> bool {
        let powers = self.piece.is_power_of_two() && self.round.is_power_of_two();
        let shift = self.sh.is_none_or(|sh| (1..=MAX_SH).contains(&sh));
        powers && self.inputs >= 4 && self.outputs >= GROUP && self.rows > 0 && shift
    }

    /// Packs a layer's coefficients; `None` if they do not fit the form.
    pub fn pack(
        &self,
        weights: &[i32],
        bias: &[i32],
        rounding: Rounding<'_>,
        reach: &[(i32, i32)],
    ) -> Option<Vec<i16>> {
        let channels: Vec<usize> = (0..self.groups())
            .flat_map(|g| (0..GROUP).map(move |c| (g, c)))
            .map(|(g, c)| self.first(g) + c)
            .collect();
        let row = |c: &usize| &weights[c * self.inputs..(c + 1) * self.inputs];
        let weights: Vec<i32> = channels.iter().flat_map(row).copied().collect();
        let bias: Vec<i32> = channels.iter().map(|&c| bias[c]).collect();
        let multipliers: Vec<i32> = channels.iter().map(|&c| rounding.multipliers[c]).collect();
        let each: Vec<(i32, u32)> = channels.iter().map(|&c| rounding.each[c]).collect();
        let taps: Vec<Option<usize>> = (0..4 * self.pieces() * self.piece)
            .map(|i| Some(position(i)).filter(|&p| p < self.inputs))
            .collect();
        let rounding = Rounding { multipliers: &multipliers, each: &each };
        self.stream().pack(&weights, &bias, rounding, reach, &taps)
    }

    /// The values of the kernel's scalars, in order.
    pub fn scalars(&self, zero: i32, round: i32) -> Vec<i32> {
        let sizes = [self.inputs, self.rows, self.steps.0, self.steps.1, self.outputs];
        let mut scalars = vec![zero, round];
        scalars.extend(sizes.map(|n| n as i32));
        scalars.extend(self.sh.filter(|_| self.any_shift).map(|sh| sh as i32));
        scalars
    }

    /// The kernel: `(x, w, y, wide)` and [`Dense::scalars`], its meaning as loops and its native
    /// form.
    pub fn kernel(&self, core: &Core) -> Result<Arc<Kernel>> {
        let mut k = KernelBuilder::new("dense_s8_rows");
        let x_len = (self.rows - 1) * self.steps.0 + self.inputs;
        let y_len = (self.rows - 1) * self.steps.1 + self.outputs;
        let x = k.buffer("x", DType::I8, x_len, Access::Read);
        let w = k.buffer("w", DType::I16, self.stream().len(), Access::Read);
        let y = k.buffer("y", DType::I8, y_len, Access::Write);
        let wide = k.buffer("wide", DType::I16, self.wide_len(), Access::ReadWrite);
        let zero = k.scalar("zx", -128, 127);
        let round = k.scalar("rnd", i32::MIN, i32::MAX);
        let names = ["inputs", "rows", "x_step", "y_step", "outputs", "shift"];
        for (name, value) in names.iter().zip(&self.scalars(0, 0)[2..]) {
            k.scalar(name, *value, *value);
        }
        k.for_("row", 0, self.rows, |k, row| {
            // The outputs may stand where the inputs do: a row is read before any is written.
            let from = k.let_("from", row * self.steps.0);
            k.for_("i", 0, self.inputs, |k, i| k.store(wide, i, x.at(from + i) - zero));
            let whole = self.outputs / GROUP;
            k.for_("group", 0, whole, |k, group| {
                let first = group * GROUP;
                self.body(k, (wide, w, y), round, row, group.into(), first);
            });
            if whole < self.groups() {
                let first = (self.outputs - GROUP).into();
                self.body(k, (wide, w, y), round, row, whole.into(), first);
            }
        });
        k.native(self.block()?.native("dsp", core)?);
        k.finish()
    }

    /// Four channels of a row.
    fn body(
        &self,
        k: &mut KernelBuilder,
        (wide, w, y): (Buf, Buf, Buf),
        round: Val,
        row: Val,
        group: Expr,
        first: Expr,
    ) {
        let stream = self.stream();
        let base = k.let_("base", group * stream.group_len());
        let sums = stream.open(k, w, base, 1);
        let (head, pair) = (stream.head_len(), stream.pair_len());
        let input = |k: &mut KernelBuilder, at: Expr, i: usize, value: Expr| {
            let value = k.let_("v", value);
            let at = k.let_("at", at + (head + pair * (i / 2)));
            stream.add(k, (w, &at.into(), i % 2), &[value], &sums);
        };
        k.for_("word", 0, self.inputs / 4, |k, n| {
            for i in 0..4 {
                input(k, base + n * (2 * pair), i, wide.at(n * 4 + position(i)));
            }
        });
        let rest = self.inputs / 4 * 4;
        for i in (0..4).filter(|&i| rest + position(i) < self.inputs) {
            input(k, base + pair * rest / 2, i, wide.at(rest + position(i)));
        }
        for (c, sum) in sums.iter().enumerate() {
            let value = stream.close(k, (w, base, Some(round)), (c, sum[0]), (self.lo, self.hi));
            k.store(y, row * self.steps.1 + &first + c, value);
        }
    }

    /// The instructions.
    pub fn block(&self) -> Result<Block> {
        let mut b = Block::new(4);
        b.streams = true;
        let frame = Frame {
            x: b.slot(),
            w: b.slot(),
            y: b.slot(),
            wide: b.slot(),
            xs: b.slot(),
            ys: b.slot(),
            left: b.slot(),
            enter: b.slot(),
            enter_widen: b.slot(),
            stop: b.slot(),
            most: b.slot(),
            lack: b.slot(),
            zero: b.slot(),
            round: b.slot(),
            round_high: b.slot(),
            shift: b.slot(),
            at: b.slot(),
            span: b.slot(),
            end: b.slot(),
            whole: b.slot(),
            all: b.slot(),
        };
        // A product of its own needs no place to enter.
        let places = if self.whole { 0 } else { self.round + 1 };
        let pieces: Vec<Label> = (0..places).map(|_| b.ahead()).collect();
        let widens: Vec<Label> = (0..WIDEN + 1).map(|_| b.ahead()).collect();
        self.prologue(&mut b, &frame, pieces.first().copied(), widens[0]);

        let rows = b.label(self.rows.div_ceil(2) as u64);
        // An odd last row stands beside itself.
        let left = b.reg();
        b.push(Inst::LdrSlot(left, frame.left));
        b.push(Inst::SubsImm(left, left, 2));
        b.push(Inst::StrSlot(left, frame.left));
        let even = b.ahead();
        b.push(Inst::Branch(Cond::Ge, even));
        let none = b.reg();
        b.push(Inst::MovImm(none, 0));
        b.push(Inst::StrSlot(none, frame.xs));
        b.push(Inst::StrSlot(none, frame.ys));
        b.place(even);
        self.widen(&mut b, &frame, &widens);

        let [w, y, end] = b.regs_n();
        b.push(Inst::LdrSlot(w, frame.w));
        b.push(Inst::LdrSlot(y, frame.y));
        b.push(Inst::LdrSlot(end, frame.whole));
        b.push(Inst::StrSlot(y, frame.at));
        b.push(Inst::StrSlot(end, frame.end));
        let again = b.label(1);
        let groups = b.label(self.groups() as u64);
        self.group(&mut b, &frame, w, &pieces);
        b.push(Inst::BranchBack(Cond::Ne, groups));
        // The last four channels, where they share some with those before.
        let [at, last, span, end] = b.regs_n();
        b.push(Inst::LdrSlot(at, frame.at));
        b.push(Inst::LdrSlot(last, frame.y));
        b.push(Inst::LdrSlot(span, frame.span));
        b.push(Inst::LdrSlot(end, frame.all));
        b.push(Inst::Add(last, last, span));
        b.push(Inst::AddImm(at, at, -(GROUP as i32)));
        b.push(Inst::StrSlot(last, frame.at));
        b.push(Inst::StrSlot(end, frame.end));
        b.push(Inst::Cmp(at, last));
        b.push(Inst::BranchBack(Cond::Ne, again));
        let [y, ys, left] = b.regs_n();
        b.push(Inst::LdrSlot(y, frame.y));
        b.push(Inst::LdrSlot(ys, frame.ys));
        b.push(Inst::LdrSlot(left, frame.left));
        b.push(Inst::AddLsl(y, y, ys, 1));
        b.push(Inst::StrSlot(y, frame.y));
        b.push(Inst::CmpImm(left, 0));
        b.push(Inst::BranchBack(Cond::Gt, rows));
        Ok(b)
    }

    /// Reads the scalars and computes what depends on them alone.
    fn prologue(&self, b: &mut Block, f: &Frame, piece: Option<Label>, widen: Label) {
        for (n, slot) in [f.x, f.w, f.y, f.wide].into_iter().enumerate() {
            let arg = b.args[n];
            b.push(Inst::StrSlot(arg, slot));
        }
        let wide = b.args[3];
        let keep = |b: &mut Block, n: u32, slot: Slot| {
            let v = b.reg();
            b.push(Inst::LdrArg(v, n));
            b.push(Inst::StrSlot(v, slot));
            v
        };
        let zero = b.reg();
        b.push(Inst::LdrArg(zero, 4));
        b.push(Inst::Neg(zero, zero));
        b.push(Inst::Pkhbt(zero, zero, zero));
        b.push(Inst::StrSlot(zero, f.zero));
        let round = keep(b, 5, f.round);
        if self.format == Format::Packed {
            // Of packed channels A 256 * SA remains: their constant is 2^8 larger.
            b.push(Inst::LslImm(round, round, 8));
        }
        b.push(Inst::StrSlot(round, f.round_high));
        keep(b, 7, f.left);
        keep(b, 8, f.xs);
        keep(b, 9, f.ys);
        if self.any_shift && self.sh.is_some() {
            keep(b, 11, f.shift);
        }
        let [inputs, words, lack, bytes, stop] = b.regs_n();
        b.push(Inst::LdrArg(inputs, 6));
        b.push(Inst::AddImm(words, inputs, 3));
        b.push(Inst::LsrImm(words, words, 2));
        b.push(Inst::LslImm(bytes, words, 2));
        b.push(Inst::Sub(lack, bytes, inputs));
        b.push(Inst::StrSlot(lack, f.lack));
        b.push(Inst::AddImm(bytes, bytes, -4));
        b.push(Inst::StrSlot(bytes, f.most));
        let pieces = b.reg();
        let log = self.piece.trailing_zeros();
        b.push(Inst::AddImm(pieces, words, self.piece as i32 - 1));
        b.push(if log > 0 { Inst::LsrImm(pieces, pieces, log) } else { Inst::Mov(pieces, pieces) });
        b.push(Inst::LslImm(stop, pieces, 4 + log));
        let stream = b.reg();
        b.push(Inst::LslImm(stream, pieces, 4 + log + u32::from(self.format == Format::Halves)));
        // The bytes of a group's stream, and where the groups end.
        let [group, outputs, count, end] = b.regs_n();
        b.push(Inst::AddImm(group, stream, 2 * (self.stream().head_len() + self.stream().tail_len()) as i32));
        b.push(Inst::Add(stop, wide, stop));
        if self.ahead() {
            b.push(Inst::AddImm(stop, stop, 8));
        }
        b.push(Inst::StrSlot(stop, f.stop));
        b.push(Inst::LdrArg(outputs, 10));
        b.push(Inst::LsrImm(count, outputs, 2));
        b.push(Inst::Mla(end, count, group, b.args[1]));
        b.push(Inst::StrSlot(end, f.whole));
        b.push(Inst::AddImm(count, outputs, 3));
        b.push(Inst::LsrImm(count, count, 2));
        b.push(Inst::Mla(end, count, group, b.args[1]));
        b.push(Inst::StrSlot(end, f.all));
        b.push(Inst::AddImm(outputs, outputs, -(GROUP as i32)));
        b.push(Inst::StrSlot(outputs, f.span));
        // Pieces of the first round that are left out.
        let enter = |b: &mut Block, words: Reg, round: usize, size: u32, label: Label, slot: Slot| {
            let [skip, length, at, one] = b.regs_n();
            let log = round.trailing_zeros();
            b.push(Inst::AddImm(skip, words, round as i32 - 1));
            b.push(Inst::LsrImm(skip, skip, log));
            b.push(Inst::MaxImm(skip, 1));
            b.push(Inst::LslImm(skip, skip, log));
            b.push(Inst::Sub(skip, skip, words));
            b.push(Inst::MovImm(length, size as i32));
            b.push(Inst::Adr(at, label));
            b.push(Inst::Mla(at, skip, length, at));
            // The processor stays in Thumb state.
            b.push(Inst::MovImm(one, 1));
            b.push(Inst::Orr(at, at, one));
            b.push(Inst::StrSlot(at, slot));
        };
        if let Some(piece) = piece {
            // The first piece of a group has code of its own.
            b.push(Inst::AddImm(pieces, pieces, -1));
            enter(b, pieces, self.round, self.piece_size(), piece, f.enter);
        }
        b.push(Inst::AddImm(words, words, -1));
        enter(b, words, WIDEN, WIDEN_SIZE, widen, f.enter_widen);
    }

    /// Bytes of a piece of the product.
    fn piece_size(&self) -> u32 {
        let pair = if self.format == Format::Plain { 4 * 16 } else { 4 * 14 };
        2 * pair * self.piece as u32
    }

    /// Widens two rows.
    fn widen(&self, b: &mut Block, f: &Frame, labels: &[Label]) {
        let [x0, x1, xs, out, zero, stop, most] = b.regs_n();
        b.push(Inst::LdrSlot(x0, f.x));
        b.push(Inst::LdrSlot(xs, f.xs));
        b.push(Inst::LdrSlot(out, f.wide));
        b.push(Inst::LdrSlot(zero, f.zero));
        b.push(Inst::LdrSlot(most, f.most));
        b.push(Inst::Add(x1, x0, xs));
        b.push(Inst::Add(stop, x0, most));
        // Where the next two rows begin.
        b.push(Inst::AddLsl(xs, x0, xs, 1));
        b.push(Inst::StrSlot(xs, f.x));
        let spread = |b: &mut Block, u: Reg, v: Reg| {
            let [ue, ve, uo, vo] = b.regs_n();
            b.push(Inst::Sxtab16(ue, zero, u, Ror::R0));
            b.push(Inst::Sxtab16(ve, zero, v, Ror::R0));
            b.push(Inst::Sxtab16(uo, zero, u, Ror::R8));
            b.push(Inst::Sxtab16(vo, zero, v, Ror::R8));
            b.push(Inst::StrWide(ve, out, 4));
            b.push(Inst::StrWide(uo, out, 8));
            b.push(Inst::StrWide(vo, out, 12));
            b.push(Inst::StrPost(ue, out, 16));
        };
        let first = self.words() - 1;
        let rounds = first.div_ceil(WIDEN).max(1);
        b.push(Inst::Enter(f.enter_widen, labels[rounds * WIDEN - first]));
        let top = b.label(rounds as u64);
        for &label in &labels[..WIDEN] {
            b.place(label);
            let [u, v] = b.regs_n();
            b.push(Inst::LdrPost(u, x0, 4));
            b.push(Inst::LdrPost(v, x1, 4));
            spread(b, u, v);
        }
        b.place(labels[WIDEN]);
        b.push(Inst::Cmp(x0, stop));
        b.push(Inst::BranchBack(Cond::Ne, top));
        // The last word ends with the row.
        let [lack, u, v] = b.regs_n();
        b.push(Inst::LdrSlot(lack, f.lack));
        b.push(Inst::Sub(x0, x0, lack));
        b.push(Inst::Sub(x1, x1, lack));
        b.push(Inst::Ldr(u, x0, 0));
        b.push(Inst::Ldr(v, x1, 0));
        b.push(Inst::LslImm(lack, lack, 3));
        b.push(Inst::Lsr(u, u, lack));
        b.push(Inst::Lsr(v, v, lack));
        spread(b, u, v);
    }
}

/// Bytes of a piece of widening.
const WIDEN_SIZE: u32 = 4 * 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::requant::{Multiplier, high, requantize};
    use crate::call::{Bind, Call};
    use crate::tensor::Data;
    use crate::trial::{Random, run_anywhere};

    #[test]
    fn body_and_instructions_are_exact() {
        let base = Dense {
            rows: 4,
            inputs: 16,
            outputs: 8,
            steps: (16, 8),
            sh: Some(5),
            any_shift: false,
            lo: -128,
            hi: 127,
            format: Format::Packed,
            piece: 1,
            round: 8,
            ahead: false,
            whole: false,
        };
        let sizes = [
            base,
            Dense { rows: 1, inputs: 4, outputs: 4, steps: (4, 4), ..base },
            Dense { rows: 3, inputs: 5, outputs: 5, steps: (5, 5), any_shift: true, ..base },
            Dense { rows: 5, inputs: 33, outputs: 14, steps: (40, 20), lo: -20, hi: 100, ..base },
            Dense {
                rows: 2,
                inputs: 67,
                outputs: 31,
                steps: (67, 31),
                round: 4,
                piece: 2,
                any_shift: true,
                ..base
            },
            Dense { rows: 7, inputs: 34, outputs: 9, steps: (34, 9), round: 2, piece: 4, ..base },
        ];
        let plain = sizes.map(|d| Dense { format: Format::Plain, sh: None, ..d });
        let wide = sizes.map(|d| Dense { format: Format::Halves, ..d });
        let both = wide.map(|d| Dense { sh: None, ..d });
        let mut random = Random(17);
        let narrow: Vec<Dense> = [sizes, plain, wide, both].concat();
        let ahead: Vec<Dense> = narrow.iter().map(|&d| Dense { ahead: true, ..d }).collect();
        let whole = narrow.iter().step_by(2).chain(ahead.iter().step_by(3));
        let whole: Vec<Dense> = whole.map(|&d| Dense { whole: true, ..d }).collect();
        for (case, d) in narrow.iter().chain(&ahead).chain(&whole).enumerate() {
            let (x_zp, zp) = ([-128, 127, 3][case % 3], [0, -128, 127, -9][case % 4]);
            let n = d.inputs;
            let w: Vec<i32> = (0..d.outputs * n).map(|_| random.within(-127, 127) as i32).collect();
            let bias: Vec<i32> = (0..d.outputs).map(|_| random.within(-90_000, 90_000) as i32).collect();
            let m: Vec<i32> =
                (0..d.outputs).map(|_| random.within(1 << 26, i32::MAX.into()) as i32).collect();
            let sh: Vec<u32> = (0..d.outputs).map(|_| d.sh.unwrap_or(random.within(1, 16) as u32)).collect();
            let each: Vec<(i32, u32)> = sh.iter().map(|s| high(s + 32, zp)).collect();
            let reach = vec![(-1 << 22, 1 << 22); d.outputs];
            let stream = d.pack(&w, &bias, Rounding { multipliers: &m, each: &each }, &reach).unwrap();
            assert_eq!(stream.len(), d.stream().len());
            let x = random.bytes((d.rows - 1) * d.steps.0 + n);
            let y_len = (d.rows - 1) * d.steps.1 + d.outputs;
            let scalars = d.scalars(x_zp, each[0].0);
            let mut args = vec![
                Bind::Operand(0),
                Bind::aligned("w", Data::I16(stream), 4),
                Bind::Result(0),
                Bind::Workspace(0),
            ];
            args.extend(scalars.iter().map(|&s| Bind::Scalar(s)));
            let m7 = secateur_targets::core("cortex-m7").unwrap();
            let call = Call { kernel: d.kernel(&m7).unwrap(), args };
            let Data::I8(body) = run_anywhere(&call, &[Data::I8(x.clone())], DType::I8, y_len) else {
                panic!()
            };
            for row in 0..d.rows {
                for c in 0..d.outputs {
                    let dot: i64 = (0..n)
                        .map(|i| {
                            let x = i64::from(x[row * d.steps.0 + i]) - i64::from(x_zp);
                            x * i64::from(w[c * n + i])
                        })
                        .sum();
                    let by = Multiplier { m: m[c], s: sh[c] + 32 };
                    let want = requantize((dot + i64::from(bias[c])) as i32, by, zp, d.lo, d.hi);
                    let at = row * d.steps.1 + c;
                    assert_eq!(i32::from(body[at]), want, "case {case} row {row} channel {c}");
                }
            }
        }
    }
}
