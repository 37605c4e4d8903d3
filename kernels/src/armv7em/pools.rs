//! Windows for cores with `sxtab16` and `sel`: means and maxima of int8 elements, four channels to
//! a word, a row of pixels a call.
//!
//! In: [`Windows`] and how a mean ends. Out: the instructions, or `None` where the sizes do not fit
//! them. Few taps of few channels are one straight line; else there are loops over channels,
//! and over taps.
//! Law: as the run's: any alignment, nothing is read or written beside the windows.

use crate::armv7em::elementwise::store;
use crate::asm::armv7em::{Block, Cond, Inst, Reg, Ror, Slot};
use crate::vector::Windows;
use std::cell::Cell;

/// Taps whose sum of int8 surely fits 16 bits.
const HALF_TAPS: usize = 255;
/// Taps of a window that stand one after another; more are in loops.
const STRAIGHT: usize = 12;
/// Words of taps in a straight line over all channels.
const LINE: usize = 24;
/// Loads side by side.
const BATCH: usize = 4;
/// Greatest offset of a load.
const REACH: usize = 4095;

/// How a mean ends.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    pub up: u32,
    pub sh: u32,
    pub limits: (i32, i32),
    pub even: Option<u32>,
}

/// Elements that are loaded at once: four, or one where there are fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Word,
    Byte,
}

impl Unit {
    fn of(n: usize) -> Unit {
        if n >= 4 { Unit::Word } else { Unit::Byte }
    }
    fn size(self) -> usize {
        if self == Unit::Word { 4 } else { 1 }
    }
}

/// A block under construction, with the words of its frame that hold the ends of its loops, by depth.
struct Code {
    b: Block,
    ends: [Option<Slot>; 4],
}

/// Depths of loops.
const PIXELS: usize = 0;
const CHANNELS: usize = 1;
const ROWS: usize = 2;
const COLUMNS: usize = 3;

impl Code {
    fn new(args: u32) -> Code {
        Code { b: Block::new(args), ends: [None; 4] }
    }
    fn push(&mut self, inst: Inst) {
        self.b.push(inst);
    }
    /// A loop of `turns`, which together move `walk` by so many bytes.
    fn turns(&mut self, depth: usize, walk: Reg, bytes: usize, turns: usize, body: impl FnOnce(&mut Code)) {
        if turns < 2 {
            if turns == 1 {
                body(self);
            }
            return;
        }
        let slot = match self.ends[depth] {
            Some(slot) => slot,
            None => *self.ends[depth].insert(self.b.slot()),
        };
        let end = self.b.reg();
        self.push(Inst::Mov(end, walk));
        self.b.advance(end, bytes as i32);
        self.push(Inst::StrSlot(end, slot));
        let top = self.b.label(turns as u64);
        body(self);
        let end = self.b.reg();
        self.push(Inst::LdrSlot(end, slot));
        self.push(Inst::Cmp(walk, end));
        self.push(Inst::BranchBack(Cond::Ne, top));
    }
    /// The loops over pixels and channels: `body(code, at)` does one unit of channels at the
    /// offset `at` from both pointers.
    fn pixels(&mut self, w: &Windows, (x, y): (Reg, Reg), body: &dyn Fn(&mut Code, usize)) {
        let unit = Unit::of(w.n).size();
        let units = w.n.div_ceil(unit);
        self.turns(PIXELS, y, w.pixels * w.step[1], w.pixels, |code| {
            let mut walked = 0;
            if units == 1 || units * w.taps[0] * w.taps[1] <= LINE {
                // The last unit stands back where there are not enough channels left.
                (0..units).for_each(|u| body(code, (unit * u).min(w.n - unit)));
            } else {
                let (whole, rest) = (w.n / unit, w.n % unit);
                walked = w.n as i32;
                if rest == 0 {
                    code.turns(CHANNELS, x, w.n, whole, |code| {
                        body(code, 0);
                        code.b.advance(x, unit as i32);
                        code.b.advance(y, unit as i32);
                    });
                } else {
                    // The first step is what is left over, so that one unit more ends with the last
                    // channel.
                    let (step, slot) = (code.b.reg(), code.b.slot());
                    code.push(Inst::MovImm(step, rest as i32));
                    code.push(Inst::StrSlot(step, slot));
                    code.turns(CHANNELS, x, w.n, whole + 1, |code| {
                        body(code, 0);
                        let step = code.b.reg();
                        code.push(Inst::LdrSlot(step, slot));
                        code.push(Inst::Add(x, x, step));
                        code.push(Inst::Add(y, y, step));
                        code.push(Inst::MovImm(step, unit as i32));
                        code.push(Inst::StrSlot(step, slot));
                    });
                }
            }
            if w.pixels > 1 {
                code.b.advance(x, w.step[0] as i32 - walked);
                code.b.advance(y, w.step[1] as i32 - walked);
            }
        });
    }
    /// Loads `rows` by `columns` taps at `x + at`, a few at once, and gives them to `add`.
    fn taps(
        &mut self,
        w: &Windows,
        [rows, columns]: [usize; 2],
        (x, at): (Reg, usize),
        add: &dyn Fn(&mut Code, &[Reg]),
    ) {
        let unit = Unit::of(w.n);
        let load = |code: &mut Code, from: Reg, places: &[usize]| {
            for places in places.chunks(BATCH) {
                let words: Vec<Reg> = places.iter().map(|_| code.b.reg()).collect();
                for (&word, &place) in words.iter().zip(places) {
                    code.push(match unit {
                        Unit::Word => Inst::Ldr(word, from, place as u32),
                        Unit::Byte => Inst::Ldrsb(word, from, place as u32),
                    });
                }
                add(code, &words);
            }
        };
        if straight(w, [rows, columns], at) {
            let place = |r: usize, c: usize| at + r * w.pitch[0] + c * w.pitch[1];
            let places: Vec<usize> =
                (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| place(r, c)).collect();
            return load(self, x, &places);
        }
        let p = self.b.reg();
        self.push(Inst::Mov(p, x));
        self.b.advance(p, at as i32);
        self.turns(ROWS, p, rows * w.pitch[0], rows, |code| {
            let together = columns <= STRAIGHT && (columns - 1) * w.pitch[1] <= REACH;
            let most = if together { columns } else { BATCH.min(columns) };
            let turn = (1..=most).rev().find(|t| (t - 1) * w.pitch[1] <= REACH).unwrap_or(1);
            let places: Vec<usize> = (0..turn).map(|c| c * w.pitch[1]).collect();
            let (turns, rest) = (columns / turn, columns % turn);
            let mut walked = 0;
            if turns > 1 {
                walked = turns * turn * w.pitch[1];
                code.turns(COLUMNS, p, walked, turns, |code| {
                    load(code, p, &places);
                    code.b.advance(p, (turn * w.pitch[1]) as i32);
                });
                load(code, p, &places[..rest]);
            } else {
                load(code, p, &places);
            }
            if rows > 1 {
                code.b.advance(p, w.pitch[0] as i32 - walked as i32);
            }
        });
    }
}

/// Whether taps stand one after another, all of them within reach of the first.
fn straight(w: &Windows, [rows, columns]: [usize; 2], at: usize) -> bool {
    let last = at + (rows - 1) * w.pitch[0] + (columns - 1) * w.pitch[1];
    rows * columns <= STRAIGHT && last <= REACH
}

/// `(x, y)`: by window and channel the greatest tap.
pub fn max(w: &Windows) -> Option<Block> {
    let mut code = Code::new(2);
    let (x, y) = (code.b.args[0], code.b.args[1]);
    code.pixels(w, (x, y), &|code, at| {
        let best = Cell::new(None);
        let looped = !straight(w, w.taps, at);
        if looped {
            let least = code.b.reg();
            code.push(Inst::MovImm(least, i32::from_le_bytes([0x80; 4])));
            best.set(Some(least));
        }
        code.taps(w, w.taps, (x, at), &|code, words| {
            let before = best.get();
            let mut now = before.unwrap_or(words[0]);
            for &word in words.iter().skip(usize::from(before.is_none())) {
                let next = code.b.reg();
                code.push(Inst::MaxBytes(next, now, word));
                now = next;
            }
            match before.filter(|_| looped) {
                // The next turn finds it where this one did.
                Some(best) => code.push(Inst::Mov(best, now)),
                None => best.set(Some(now)),
            }
        });
        let Some(best) = best.get() else { return };
        code.push(match Unit::of(w.n) {
            Unit::Word => Inst::Str(best, y, at as u32),
            Unit::Byte => Inst::Strb(best, y, at as u32),
        });
    });
    Some(code.b)
}

/// `(x, y, offset, m, rnd)`: by window and channel the mean.
pub fn mean(w: &Windows, end: Ending) -> Option<Block> {
    let chunks = chunks(w)?;
    if end.sh > 31 || chunks.len() > 8 {
        return None;
    }
    let mut code = Code::new(4);
    let [x, y, offset, m] = [0, 1, 2, 3].map(|i| code.b.args[i]);
    let unit = Unit::of(w.n);
    // What waits in the frame while loops over taps need the registers.
    let [offset_slot, m_slot] = [(); 2].map(|()| code.b.slot());
    code.push(Inst::StrSlot(offset, offset_slot));
    code.push(Inst::StrSlot(m, m_slot));
    code.pixels(w, (x, y), &|code, at| {
        let sums: Vec<Reg> = (0..unit.size()).map(|_| code.b.reg()).collect();
        let mut from = x;
        if chunks.len() > 1 {
            from = code.b.reg();
            code.push(Inst::Mov(from, x));
        }
        for (i, &chunk) in chunks.iter().enumerate() {
            let [even, odd] = code.b.regs_n();
            code.push(Inst::MovImm(even, 0));
            if unit == Unit::Word {
                code.push(Inst::MovImm(odd, 0));
            }
            code.taps(w, chunk, (from, at), &|code, words| {
                for &word in words {
                    match unit {
                        Unit::Word => {
                            code.push(Inst::Sxtab16(even, even, word, Ror::R0));
                            code.push(Inst::Sxtab16(odd, odd, word, Ror::R8));
                        }
                        Unit::Byte => code.push(Inst::Add(even, even, word)),
                    }
                }
            });
            if i + 1 < chunks.len() {
                let [rows, columns] = chunk;
                let walked = if w.taps[0] == 1 { columns * w.pitch[1] } else { rows * w.pitch[0] };
                code.b.advance(from, walked as i32);
            }
            if i == 0 {
                code.push(Inst::LdrSlot(sums[0], offset_slot));
            }
            // The first channel's sum is the offset until the others have taken it.
            for (c, &sum) in sums.iter().enumerate().rev() {
                let addend = if i == 0 { sums[0] } else { sum };
                code.push(match unit {
                    Unit::Byte => Inst::Add(sum, addend, even),
                    Unit::Word => Inst::Sxtah(sum, addend, [even, odd][c % 2], [Ror::R0, Ror::R16][c / 2]),
                });
            }
        }
        let [m, rnd] = code.b.regs_n();
        code.push(Inst::LdrSlot(m, m_slot));
        code.push(Inst::LdrArg(rnd, 4));
        for (c, &acc) in sums.iter().enumerate() {
            if let Some(by) = end.even {
                let bit = code.b.reg();
                code.push(Inst::Ubfx(bit, acc, by, 1));
                code.push(Inst::AddImm(acc, acc, -1));
                code.push(Inst::Add(acc, acc, bit));
            }
            if end.up > 0 {
                code.push(Inst::LslImm(acc, acc, end.up));
            }
            code.push(Inst::Smmla(acc, acc, m, rnd));
            store(&mut code.b, acc, end.sh, end.limits, y, (at + c) as u32);
        }
    });
    Some(code.b)
}

/// The taps in chunks whose sums fit 16 bits: rows and columns of each.
fn chunks(w: &Windows) -> Option<Vec<[usize; 2]>> {
    let cut = |n: usize, most: usize| (0..n).step_by(most).map(move |i| most.min(n - i));
    match w.taps {
        [1, columns] => Some(cut(columns, HALF_TAPS).map(|n| [1, n]).collect()),
        [rows, columns @ ..=HALF_TAPS] => {
            Some(cut(rows, HALF_TAPS / columns).map(|n| [n, columns]).collect())
        }
        _ => None,
    }
}
