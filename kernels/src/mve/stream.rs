//! The words that end the sums of Helium's kernels, in streams of bytes: for each channel its bias, its
//! multiplier and, where channels have shifts of their own, its negative shift.
//!
//! Law: what packs a word and what reads it stand here, so that they agree.

use crate::asm::mve::{Half, Inst, Lane, Q, R};
use crate::epilogue::Ending;
use crate::kernel::{Buf, Expr, KernelBuilder, Val};
use crate::rounding::requantized;
use crate::tensor::DType;

/// The words of a channel; `one`: whether all share a shift.
pub fn words(bias: &[i32], ending: &Ending<'_>, one: bool, c: usize) -> Vec<i32> {
    let [m, _, sh] = ending.words(c);
    let all = [bias[c], m, -sh];
    all[..if one { 2 } else { 3 }].to_vec()
}

/// The word that begins at `at` of a stream of bytes, or of half-words where elements have such a size.
pub fn word((w, size): (Buf, usize), at: Expr) -> Expr {
    if size == 2 {
        return (w.at(&at) & 65535) + w.at(at + 1) * 65536;
    }
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

/// Zero point of the results in half-words, the least and the greatest of them in their own lanes.
pub const ZERO: Q = Q(6);
pub const LEAST: Q = Q(7);
pub const GREATEST: Q = Q(5);

/// Least and greatest integer of a type of results, which no instruction has to keep to.
pub fn range(elem: DType) -> (i32, i32) {
    if elem == DType::I16 { (i16::MIN.into(), i16::MAX.into()) } else { (i8::MIN.into(), i8::MAX.into()) }
}

/// The lanes of results of a type.
pub fn lane(elem: DType) -> Lane {
    if elem == DType::I16 { Lane::H } else { Lane::B }
}

/// Puts them there, where they are needed, by way of r0; results of sixteen bits have no zero point here.
pub fn keep(insts: &mut Vec<Inst>, elem: DType, zp: i32, (lo, hi): (i32, i32)) {
    if elem != DType::I16 {
        insts.extend([Inst::MovImm(R(0), zp & 0xffff), Inst::Dup(Lane::H, ZERO, R(0))]);
    }
    let (least, most) = range(elem);
    for (limit, q, end) in [(lo, LEAST, least), (hi, GREATEST, most)] {
        if limit != end {
            insts.extend([held(elem, R(0), limit), Inst::Dup(lane(elem), q, R(0))]);
        }
    }
}

/// A limit in a register, as the lanes of results have it.
pub fn held(elem: DType, r: R, limit: i32) -> Inst {
    Inst::MovImm(r, limit & if elem == DType::I16 { 0xffff } else { 0xff })
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
pub fn limit(insts: &mut Vec<Inst>, elem: DType, a: Q, (lo, hi): (i32, i32)) {
    if elem != DType::I16 {
        insts.push(Inst::QAdd(Lane::H, a, a, ZERO));
        insts.push(Inst::Narrow(Lane::H, Half::Bottom, a, a));
    }
    let (least, most) = range(elem);
    if lo > least {
        insts.push(Inst::Max(lane(elem), a, a, LEAST));
    }
    if hi < most {
        insts.push(Inst::Min(lane(elem), a, a, GREATEST));
    }
}
