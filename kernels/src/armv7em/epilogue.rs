//! How sums of int8 products become int8 results: multiply, round, shift, clamp, store.

use crate::asm::armv7em::{Block, Inst, Reg};
use crate::epilogue::Ending;
use crate::tensor::DType;

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

/// The type of results within limits: 16 bits where 8 do not hold them.
pub fn result(limits: (i32, i32)) -> DType {
    if limits.0 < -128 || limits.1 > 127 { DType::I16 } else { DType::I8 }
}

/// Whether [`close`] holds results of sixteen bits within these limits: those of the type, or none below zero.
pub fn holds_wide((lo, hi): (i32, i32)) -> bool {
    [i16::MIN.into(), 0].contains(&lo) && hi == i16::MAX.into()
}

/// Requantizes the sums of one channel, multiplied by `m`, and stores them, `step` results apart
/// from the one `at` behind `y` on.
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
    let wide = result(limits) == DType::I16;
    let bits = if wide { 16 } else { 8 };
    for (column, &s) in sums.iter().enumerate() {
        match (shift, &round) {
            (Some(shift), _) => {
                b.push(Inst::Asr(s, s, shift));
                b.push(Inst::Ssat(s, bits, s, 0));
            }
            (None, Round::Layer(_, sh) | Round::Channel(_, sh)) => b.push(Inst::Ssat(s, bits, s, *sh)),
        }
        if wide && limits.0 == 0 {
            b.push(Inst::MaxImm(s, 0));
        }
        if wide {
            b.push(Inst::Strh(s, y, 2 * (at + step * column) as u32));
            continue;
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
