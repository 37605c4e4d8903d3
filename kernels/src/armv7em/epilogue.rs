//! How sums of int8 products become int8 results: multiply, round, shift, clamp, store.

use crate::asm::armv7em::{Block, Inst, Reg};
use crate::epilogue::Ending;

/// How the sums of a layer's channels are requantized.
#[derive(Debug, Clone, Copy)]
pub struct Rounding<'a> {
    pub multipliers: &'a [i32],
    /// Rounding constant and shift of each channel, as [`crate::arith::requant::high`] gives
    /// them.
    pub each: &'a [(i32, u32)],
}

impl Ending<'_> {
    pub fn rounding(&self) -> Rounding<'_> {
        Rounding { multipliers: self.multipliers, each: &self.each }
    }
}

impl Rounding<'_> {
    /// Appends a channel's multiplier and, where channels have their `own`, constant and shift.
    pub fn push(&self, stream: &mut Vec<i16>, c: usize, own: bool) {
        word(stream, self.multipliers[c]);
        if own {
            word(stream, self.each[c].0);
            word(stream, self.each[c].1 as i32);
        }
    }
}

/// Appends a word to a stream of 16-bit halves.
pub fn word(stream: &mut Vec<i16>, v: i32) {
    stream.extend([v as i16, (v >> 16) as i16]);
}

/// Where a block keeps what rounds a channel's sums.
pub enum Round {
    /// One constant in a register, one shift.
    Layer(Reg, u32),
    /// Constant and shift are words of the stream, from a byte offset on.
    Channel(Reg, u32),
}

/// Requantizes the sums of one channel, multiplied by `m`, and stores them, `step` bytes apart
/// from `y + at` on.
pub fn close(
    b: &mut Block,
    sums: &[Reg],
    m: Reg,
    round: Round,
    (y, at, step): (Reg, usize, usize),
    limits: (i32, i32),
) {
    let (constant, shift) = match round {
        Round::Layer(constant, _) => (constant, None),
        Round::Channel(w, from) => {
            let [constant, shift] = b.regs_n();
            b.push(Inst::Ldr(constant, w, from));
            b.push(Inst::Ldr(shift, w, from + 4));
            (constant, Some(shift))
        }
    };
    for &s in sums {
        b.push(Inst::Smmla(s, s, m, constant));
    }
    for (column, &s) in sums.iter().enumerate() {
        match (shift, &round) {
            (Some(shift), _) => {
                b.push(Inst::Asr(s, s, shift));
                b.push(Inst::Ssat(s, 8, s, 0));
            }
            (None, Round::Layer(_, sh) | Round::Channel(_, sh)) => b.push(Inst::Ssat(s, 8, s, *sh)),
        }
        if limits.0 > -128 {
            b.push(Inst::MaxImm(s, limits.0));
        }
        if limits.1 < 127 {
            b.push(Inst::MinImm(s, limits.1));
        }
        b.push(Inst::Strb(s, y, (at + step * column) as u32));
    }
}
