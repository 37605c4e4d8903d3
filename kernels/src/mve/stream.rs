//! The words that end the sums of Helium's kernels, in streams of bytes: for each channel its bias, its
//! multiplier and, where channels have shifts of their own, its negative shift.
//!
//! Law: what packs a word and what reads it stand here, so that they agree.

use crate::asm::mve::{Half, Inst, Lane, Q, R};
use crate::epilogue::Ending;
use crate::kernel::{Buf, Expr, KernelBuilder, Val};
use crate::rounding::requantized;

/// The words of a channel; `one`: whether all share a shift.
pub fn words(bias: &[i32], ending: &Ending<'_>, one: bool, c: usize) -> Vec<i32> {
    let [m, _, sh] = ending.words(c);
    let all = [bias[c], m, -sh];
    all[..if one { 2 } else { 3 }].to_vec()
}

/// The word whose bytes begin at `at`.
pub fn word(w: Buf, at: Expr) -> Expr {
    let byte = |n: usize| w.at(&at + n) & 255;
    byte(0) + byte(1) * 256 + byte(2) * 65536 + w.at(&at + 3) * 16_777_216
}

/// What the sum of a channel with these words becomes; `sh`: the shift of all.
pub fn close(
    k: &mut KernelBuilder,
    sum: Val,
    word: &dyn Fn(usize) -> Expr,
    (sh, zp): (Option<u32>, i32),
    limits: (i32, i32),
) -> Expr {
    let (round, shift): (Expr, Expr) = match sh {
        Some(sh) => (((zp << sh) + (1 << (sh - 1))).into(), (sh as i32).into()),
        None => {
            // A shift has five bits, which the mask says to the proof.
            let sh = k.let_("sh", (-word(2)) & 31);
            ((Expr::from(1) << ((sh + 31) & 31)) + (Expr::from(zp) << sh), sh.into())
        }
    };
    let m = k.let_("m", word(1));
    requantized(sum, m, (round, shift), limits)
}

/// Zero point of the results in half-words, the least and the greatest of them in bytes.
pub const ZERO: Q = Q(6);
pub const LEAST: Q = Q(7);
pub const GREATEST: Q = Q(5);

/// Puts them there, where they are needed, by way of r0.
pub fn keep(insts: &mut Vec<Inst>, zp: i32, (lo, hi): (i32, i32)) {
    insts.extend([Inst::MovImm(R(0), zp & 0xffff), Inst::Dup(Lane::H, ZERO, R(0))]);
    for (limit, q, least) in [(lo, LEAST, -128), (hi, GREATEST, 127)] {
        if limit != least {
            insts.extend([Inst::MovImm(R(0), limit & 0xff), Inst::Dup(Lane::B, q, R(0))]);
        }
    }
}

/// High words of products become half-words, all in the first vector: shifted by the shift of all, or by those that
/// `own` rounds by.
pub fn shift(insts: &mut Vec<Inst>, [a, b]: [Q; 2], sh: Option<u32>, own: impl FnOnce(&mut Vec<Inst>)) {
    match sh {
        Some(sh) if sh <= 16 => {
            insts.push(Inst::NarrowShift(Lane::W, Half::Bottom, a, a, sh));
            return insts.push(Inst::NarrowShift(Lane::W, Half::Top, a, b, sh));
        }
        Some(sh) => insts.extend([Inst::ShrRound(a, a, sh), Inst::ShrRound(b, b, sh)]),
        None => own(insts),
    }
    insts.push(Inst::Narrow(Lane::W, Half::Bottom, a, a));
    insts.push(Inst::Narrow(Lane::W, Half::Top, a, b));
}

/// Half-words become results.
pub fn limit(insts: &mut Vec<Inst>, a: Q, (lo, hi): (i32, i32)) {
    insts.push(Inst::QAdd(Lane::H, a, a, ZERO));
    insts.push(Inst::Narrow(Lane::H, Half::Bottom, a, a));
    if lo > -128 {
        insts.push(Inst::Max(Lane::B, a, a, LEAST));
    }
    if hi < 127 {
        insts.push(Inst::Min(Lane::B, a, a, GREATEST));
    }
}
