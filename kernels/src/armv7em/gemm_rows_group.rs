//! Four channels of two rows: products, requantization and stores.
//!
//! In: the stream of a group and two widened rows. Out: eight results. The first piece takes the
//! biases as addends; one pointer moves over the results of the first row, those of the
//! second stand a row's step on.

use crate::armv7em::gemm::GROUP;
use crate::armv7em::gemm_rows::{Dense, Frame};
use crate::armv7em::stream::Format;
use crate::asm::armv7em::{Block, Cond, Inst, Label, Reg, Ror};

/// Sums of A and of B, by pair of channels and row.
struct Sums {
    high: [[Reg; 2]; 2],
    low: [[Reg; 2]; 2],
}

impl Sums {
    /// Of a channel (A0, A1, B0, B1) and a row.
    fn at(&self, (channel, row): (usize, usize)) -> Reg {
        let of = if channel < 2 { &self.high } else { &self.low };
        of[channel % 2][row]
    }
    /// A product into one of them; the first of a channel takes the bias from the other row's.
    fn add(&self, b: &mut Block, (channel, row): (usize, usize), x: Reg, word: Reg, other: bool) {
        let sum = self.at((channel, row));
        let addend = if other { self.at((channel, 1 - row)) } else { sum };
        b.push(Inst::Smlad(sum, x, word, addend));
    }
}

/// Operands that pairs of inputs hand on: inputs of both rows, and two words of weights of
/// which the first is loaded.
struct Held {
    inputs: [Reg; 2],
    words: [Reg; 2],
}

impl Dense {
    /// Leaves the comparison that says whether there are more groups.
    pub fn group(&self, b: &mut Block, f: &Frame, w: Reg, pieces: &[Label]) {
        let sums = Sums { high: [b.regs_n(), b.regs_n()], low: [b.regs_n(), b.regs_n()] };
        let acts = b.reg();
        b.push(Inst::LdrSlot(acts, f.wide));
        let last = usize::from(self.ahead() && self.format == Format::Halves);
        // The row whose products come last starts in place from the bias.
        let [a0, a1, b0, b1] = [0, 1, 2, 3].map(|channel| sums.at((channel, last)));
        b.push(Inst::Ldr(b0, w, 4));
        b.push(Inst::Ldr(a1, w, 8));
        b.push(Inst::Ldr(b1, w, 12));
        let mut held = Held { inputs: b.regs_n(), words: b.regs_n() };
        if self.ahead() {
            b.push(Inst::Ldr(a0, w, 0));
            b.push(Inst::Ldr(held.words[0], w, 16));
            b.push(Inst::Ldr(held.inputs[0], acts, 0));
            b.push(Inst::Ldr(held.inputs[1], acts, 4));
            b.push(Inst::AddImm(w, w, 20));
            b.push(Inst::AddImm(acts, acts, 8));
        } else {
            b.push(Inst::LdrPost(a0, w, 16));
        }
        self.piece(b, (acts, w), &sums, &mut held, true);
        let more = self.pieces() - 1;
        if self.whole {
            (0..more).for_each(|_| self.piece(b, (acts, w), &sums, &mut held, false));
        } else {
            self.rounds(b, f, (acts, w), &sums, &mut held, pieces);
        }
        if self.ahead() {
            b.push(Inst::AddImm(w, w, -4));
        }
        self.finish(b, f, w, &sums);
    }

    /// All pieces but the first, entered where as many are left.
    fn rounds(
        &self,
        b: &mut Block,
        f: &Frame,
        at: (Reg, Reg),
        sums: &Sums,
        held: &mut Held,
        pieces: &[Label],
    ) {
        let more = self.pieces() - 1;
        let stop = b.reg();
        let rounds = more.div_ceil(self.round).max(1);
        b.push(Inst::Enter(f.enter, pieces[rounds * self.round - more]));
        let top = b.label(rounds as u64);
        for &piece in &pieces[..self.round] {
            b.place(piece);
            self.piece(b, at, sums, held, false);
        }
        b.place(pieces[self.round]);
        b.push(Inst::LdrSlot(stop, f.stop));
        b.push(Inst::Cmp(at.0, stop));
        b.push(Inst::BranchBack(Cond::Ne, top));
    }

    /// A piece of the product; the first of a group is opening.
    fn piece(&self, b: &mut Block, at: (Reg, Reg), sums: &Sums, held: &mut Held, opening: bool) {
        for pair in 0..2 * self.piece {
            let opening = opening && pair == 0;
            match (self.ahead(), self.format) {
                (true, Format::Halves) => halves_ahead(b, at, sums, held, opening),
                (true, _) => packed_ahead(b, at, sums, held, opening),
                (false, Format::Halves) => halves(b, at, sums, opening),
                (false, Format::Packed) => packed(b, at, sums, opening),
                (false, _) => plain(b, at, sums, opening),
            }
        }
    }

    /// Limits the results of one channel and stores them; `y` then moves by `by`.
    fn store(&self, b: &mut Block, sums: [Reg; 2], (y, step): (Reg, Reg), by: i32) {
        for s in sums {
            if self.lo > -128 {
                b.push(Inst::MaxImm(s, self.lo));
            }
            if self.hi < 127 {
                b.push(Inst::MinImm(s, self.hi));
            }
        }
        b.push(Inst::StrbAt(sums[1], y, step, 0));
        b.push(Inst::StrbPost(sums[0], y, by));
    }

    /// Requantizes and stores.
    fn finish(&self, b: &mut Block, f: &Frame, w: Reg, sums: &Sums) {
        let [y, step, end] = b.regs_n();
        if let Some(sh) = self.sh {
            let more = if self.format == Format::Packed { 8 } else { 0 };
            // With a shift in a register there is none left for two multipliers.
            let beside = if self.any_shift { 1 } else { 2 };
            for (half, of) in [&sums.high, &sums.low].into_iter().enumerate() {
                let round = b.reg();
                let mut by = None;
                for (number, of) in of.chunks(beside).enumerate() {
                    let m: Vec<Reg> = of.iter().map(|_| b.reg()).collect();
                    let at = 8 - 8 * half as u32 + 4 * (number * beside) as u32;
                    match m[..] {
                        // The last multipliers of the stream to be read are the first of its tail.
                        [m, last] if half == 1 => {
                            b.push(Inst::Ldr(last, w, 4));
                            b.push(Inst::LdrPost(m, w, 16));
                        }
                        _ => (m.iter().zip([at, at + 4])).for_each(|(&m, at)| b.push(Inst::Ldr(m, w, at))),
                    }
                    if number == 0 {
                        if half == 0 {
                            b.push(Inst::LdrSlot(y, f.at));
                            b.push(Inst::LdrSlot(step, f.ys));
                        }
                        b.push(Inst::LdrSlot(round, if half == 0 { f.round_high } else { f.round }));
                        if self.any_shift {
                            let shift = b.reg();
                            b.push(Inst::LdrSlot(shift, f.shift));
                            if half == 0 && more > 0 {
                                b.push(Inst::AddImm(shift, shift, more));
                            }
                            by = Some(shift);
                        }
                        if half == 0 && more > 0 {
                            let sums = sums.high.iter().zip(&sums.low).flat_map(|(p, s)| p.iter().zip(s));
                            sums.for_each(|(&p, &s)| b.push(Inst::Sub(p, p, s)));
                        }
                        if half == 1 && beside == 2 {
                            b.push(Inst::LdrSlot(end, f.end));
                        }
                    }
                    for (of, &m) in of.iter().zip(&m) {
                        of.iter().for_each(|&s| b.push(Inst::Smmla(s, s, m, round)));
                    }
                    for (i, of) in of.iter().enumerate() {
                        for &s in of {
                            match by {
                                Some(by) => {
                                    b.push(Inst::Asr(s, s, by));
                                    b.push(Inst::Ssat(s, 8, s, 0));
                                }
                                None if half == 0 => b.push(Inst::Ssat(s, 8, s, sh + more as u32)),
                                None => b.push(Inst::Ssat(s, 8, s, sh)),
                            }
                        }
                        // Channels 0, 2, 1, 3, and on to the next group.
                        let by = [[2, -1], [2, 1]][half][number * beside + i];
                        self.store(b, *of, (y, step), by);
                    }
                }
            }
            if beside == 1 {
                b.push(Inst::AddImm(w, w, 16));
                b.push(Inst::LdrSlot(end, f.end));
            }
        } else {
            b.push(Inst::LdrSlot(y, f.at));
            b.push(Inst::LdrSlot(step, f.ys));
            for channel in 0..GROUP as u32 {
                let of = if channel % 2 == 0 { sums.high } else { sums.low }[channel as usize / 2];
                let [m, constant, by] = b.regs_n();
                b.push(Inst::Ldr(m, w, 12 * channel));
                b.push(Inst::Ldr(constant, w, 12 * channel + 4));
                b.push(Inst::Ldr(by, w, 12 * channel + 8));
                of.iter().for_each(|&s| b.push(Inst::Smmla(s, s, m, constant)));
                for s in of {
                    b.push(Inst::Asr(s, s, by));
                    b.push(Inst::Ssat(s, 8, s, 0));
                }
                self.store(b, of, (y, step), 1);
            }
            b.push(Inst::AddImm(w, w, 2 * self.stream().tail_len() as i32));
            b.push(Inst::LdrSlot(end, f.end));
        }
        b.push(Inst::StrSlot(y, f.at));
        b.push(Inst::Cmp(w, end));
    }
}

/// Two inputs of a channel into the sums of two rows; the first ones take the bias, which stands in
/// the first row's sum.
fn sums_of(b: &mut Block, sums: [Reg; 2], inputs: [Reg; 2], word: Reg, opening: bool) {
    b.push(Inst::Smlad(sums[1], inputs[1], word, sums[usize::from(!opening)]));
    b.push(Inst::Smlad(sums[0], inputs[0], word, sums[0]));
}

/// One pair of inputs of two rows times a packed pair of four channels.
fn packed(b: &mut Block, (acts, w): (Reg, Reg), sums: &Sums, opening: bool) {
    let words: [Reg; 2] = b.regs_n();
    let inputs: [Reg; 2] = b.regs_n();
    b.push(Inst::LdrWide(words[1], w, 4));
    b.push(Inst::LdrPost(words[0], w, 8));
    b.push(Inst::LdrWide(inputs[1], acts, 4));
    b.push(Inst::LdrPost(inputs[0], acts, 8));
    for (&sums, &word) in sums.high.iter().zip(&words) {
        sums_of(b, sums, inputs, word, opening);
    }
    let narrow: [Reg; 2] = b.regs_n();
    for (&d, &word) in narrow.iter().zip(&words) {
        b.push(Inst::Sxtb16(d, word, Ror::R0));
    }
    for (&sums, &word) in sums.low.iter().zip(&narrow) {
        sums_of(b, sums, inputs, word, opening);
    }
}

/// The plain form: each word is extended twice, so one is loaded at a time.
fn plain(b: &mut Block, (acts, w): (Reg, Reg), sums: &Sums, opening: bool) {
    let inputs: [Reg; 2] = b.regs_n();
    for pair in 0..2 {
        let word = b.reg();
        b.push(Inst::LdrPost(word, w, 4));
        if pair == 0 {
            b.push(Inst::LdrWide(inputs[1], acts, 4));
            b.push(Inst::LdrPost(inputs[0], acts, 8));
        }
        for (sums, ror) in [(sums.high[pair], Ror::R8), (sums.low[pair], Ror::R0)] {
            let narrow = b.reg();
            b.push(Inst::Sxtb16(narrow, word, ror));
            sums_of(b, sums, inputs, narrow, opening);
        }
    }
}

/// The halves form: loads and products.
fn halves(b: &mut Block, (acts, w): (Reg, Reg), sums: &Sums, opening: bool) {
    let inputs: [Reg; 2] = b.regs_n();
    b.push(Inst::LdrWide(inputs[1], acts, 4));
    b.push(Inst::LdrPost(inputs[0], acts, 8));
    for channel in 0..GROUP {
        let word = b.reg();
        b.push(Inst::LdrPost(word, w, 4));
        let of = if channel < 2 { &sums.high } else { &sums.low };
        sums_of(b, of[channel % 2], inputs, word, opening);
    }
}

/// The halves form, ordered so that each load stands beside a product and comes two before
/// its use: 8 cycles for 16 products.
fn halves_ahead(b: &mut Block, (acts, w): (Reg, Reg), sums: &Sums, held: &mut Held, opening: bool) {
    let ([x0, x1], [u, v]) = (held.inputs, held.words);
    // A pointer that a load moves is known as late as what it loads.
    sums.add(b, (0, 0), x0, u, opening);
    b.push(Inst::LdrWide(v, w, 4));
    sums.add(b, (0, 1), x1, u, false);
    b.push(Inst::LdrPost(u, w, 8));
    sums.add(b, (2, 0), x0, v, opening);
    sums.add(b, (2, 1), x1, v, false);
    b.push(Inst::LdrPost(v, w, 4));
    sums.add(b, (1, 0), x0, u, opening);
    sums.add(b, (3, 0), x0, v, opening);
    b.push(Inst::LdrPost(x0, acts, 4));
    sums.add(b, (3, 1), x1, v, false);
    b.push(Inst::LdrPost(v, w, 4));
    sums.add(b, (1, 1), x1, u, false);
    b.push(Inst::LdrPost(x1, acts, 4));
    held.words = [v, u];
}

/// The packed form in the same way: 10 cycles for 16 products.
fn packed_ahead(b: &mut Block, (acts, w): (Reg, Reg), sums: &Sums, held: &mut Held, opening: bool) {
    let ([x0, x1], [u, v]) = (held.inputs, held.words);
    sums.add(b, (0, 1), x1, u, opening);
    b.push(Inst::LdrPost(v, w, 4));
    sums.add(b, (0, 0), x0, u, false);
    b.push(Inst::Sxtb16(u, u, Ror::R0));
    sums.add(b, (1, 1), x1, v, opening);
    sums.add(b, (1, 0), x0, v, false);
    sums.add(b, (2, 1), x1, u, opening);
    b.push(Inst::Sxtb16(v, v, Ror::R0));
    sums.add(b, (2, 0), x0, u, false);
    b.push(Inst::LdrPost(u, w, 4));
    sums.add(b, (3, 1), x1, v, opening);
    b.push(Inst::LdrWide(x1, acts, 4));
    sums.add(b, (3, 0), x0, v, false);
    b.push(Inst::LdrPost(x0, acts, 8));
}
