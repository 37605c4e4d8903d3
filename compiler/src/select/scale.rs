//! The shared requantization as parameters of a kernel and an expression.

use crate::arith::requant::{MAX_SHIFT, Multiplier, Output, by_high_word, high};
use crate::kernel::{Expr, KernelBuilder, instr};
use crate::kernels::call::Bind;
use crate::kernels::rounding::{requantize_high_instr, requantize_instr};

/// Declares multiplier, shift and limits as the last scalars of a kernel, appends what they
/// are bound to, and gives the function from an I32 accumulator to the stored output. Equal
/// kernels with other numbers stay equal.
pub(crate) fn requantized(
    k: &mut KernelBuilder,
    args: &mut Vec<Bind>,
    by: Multiplier,
    out: Output,
) -> impl Fn(Expr) -> Expr + use<> {
    let narrow = [out.zp, out.lo, out.hi].iter().all(|v| (-128..=127).contains(v));
    let (least, most) = if narrow { (-128, 127) } else { (i16::MIN.into(), i16::MAX.into()) };
    let m = k.scalar("m", 1, i32::MAX);
    args.push(Bind::Scalar(by.m));
    let (instruction, first, second) = if by_high_word(by.s, out.zp) {
        let (rnd, sh) = high(by.s, out.zp);
        args.extend([Bind::Scalar(rnd), Bind::Scalar(sh as i32)]);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        (requantize_high_instr(), rnd, k.scalar("sh", 1, MAX_SHIFT as i32 - 32))
    } else {
        args.extend([Bind::Scalar(by.s as i32), Bind::Scalar(out.zp)]);
        let s = k.scalar("s", 1, MAX_SHIFT as i32);
        (requantize_instr(), s, k.scalar("zp", least, most))
    };
    args.extend([Bind::Scalar(out.lo), Bind::Scalar(out.hi)]);
    let (lo, hi) = (k.scalar("lo", least, most), k.scalar("hi", least, most));
    move |acc| instr(&instruction, vec![acc, m.into(), first.into(), second.into(), lo.into(), hi.into()])
}

/// The sum of a mean, so that the rule rounds ties to even. Dividing by a power of two makes
/// ties common (one mean in `2^k`), and ONNX's QuantizeLinear sends them to the even neighbour;
/// half up would send all of them upwards, which a dense layer after the mean adds up. Other
/// divisors leave the sum as it is.
pub(crate) fn ties_to_even(by: Multiplier, sum: Expr) -> Expr {
    if by.m != 1 << 30 || by.s <= 30 {
        return sum;
    }
    let k = by.s as i32 - 30;
    // One less if the quotient is even: that moves a tie below the half, and nothing else.
    sum.clone() - 1 + ((sum >> k) & 1)
}
