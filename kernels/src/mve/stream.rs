//! The words that end the sums of Helium's kernels, in streams of bytes: for each channel its bias, its
//! multiplier and, where channels have shifts of their own, its negative shift.
//!
//! Law: what packs a word and what reads it stand here, so that they agree.

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
