//! Add, Sub and Mul of which an operand or the result has sixteen bits.
//!
//! In: two quantized operands and a result, with their walks. Out: one nest of loops. With `a` and `b` less their zero
//! points and `sa`, `sb`, `so` the scales,
//!
//! - a sum is `zo + ((a * ua * ma + b * ub * mb + 2^31) >> 32)` in 64 bits, where `ua * ma` is `2^32 * sa / so` and
//!   `ua` a power of two that leaves 31 bits to either factor: the high word of two products;
//! - a product is requantized like those of layers, with two bits less where 32 do not hold it.
//!
//! Law: beside its one rounding, half up, no result leaves the real number by more than a 100th of its step.

use super::elementwise::{Pair, affine_of_either};
use super::reduce::stored;
use super::{Cx, View, requantized};
use crate::arith::requant::{Output, multiplier};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Val, long};
use crate::kernels::call::Bind;
use crate::ops::Arith;
use crate::tensor::DType;

/// The operator by name and types: what kernels are called.
fn named(op: &str, p: &Pair) -> String {
    format!("{op}_{}_{}_{}", p.a.elem, p.b.elem, p.y.elem)
}

/// Bits of an element less its zero point, and those of the power of two that it may be multiplied by.
fn room(elem: DType) -> (i32, i32) {
    if elem == DType::I16 { (16, 14) } else { (8, 22) }
}

/// Steps of the result in one of an operand, at most.
const APART: f64 = 4096.0;

/// Add, Sub or Mul.
pub(super) fn binary(cx: &mut Cx<'_>, op: Arith, p: &Pair) -> Result<()> {
    match op {
        Arith::Add => sum(cx, p, "add", 1.0),
        Arith::Sub => sum(cx, p, "sub", -1.0),
        Arith::Mul => product(cx, p),
        Arith::Div => Err(cx.unsupported("divides values of 16 bits")),
    }
}

/// A kernel under construction over the operands and the result, and what it is bound to.
fn between(name: String, p: &Pair) -> (KernelBuilder, [Buf; 3], Vec<Bind>) {
    let mut k = KernelBuilder::new(name);
    let a = p.a.param(&mut k, "a", Access::Read);
    let b = p.b.param(&mut k, "b", Access::Read);
    let y = p.y.param(&mut k, "y", Access::Write);
    (k, [a, b, y], vec![p.a.arg.clone(), p.b.arg.clone(), p.y.arg.clone()])
}

/// A scalar of the kernel, and its value.
fn scalar(
    k: &mut KernelBuilder,
    args: &mut Vec<Bind>,
    name: &str,
    value: i32,
    (least, most): (i32, i32),
) -> Val {
    args.push(Bind::Scalar(value));
    k.scalar(name, least, most)
}

/// The power of two and the multiplier that together are `2^32 * ratio`.
fn factors(ratio: f64, elem: DType) -> (i32, i32) {
    let (_, exponent) = libm::frexp(ratio);
    let unit = (exponent + 2).clamp(8, room(elem).1);
    let most = f64::from(i32::MAX);
    (1 << unit, libm::rint(libm::ldexp(ratio, 32 - unit)).clamp(-most, most) as i32)
}

fn sum(cx: &mut Cx<'_>, p: &Pair, name: &str, sign: f64) -> Result<()> {
    let of = |v: &View| affine_of_either(cx, v);
    let ((sa, za), (sb, zb), (so, zo)) = (of(&p.a)?, of(&p.b)?, of(&p.y)?);
    if sa / so >= APART || sb / so >= APART {
        return Err(cx.unsupported("the steps of an operand are 4,096 times those of the result"));
    }
    let limits = p.y.limits(cx.clamp());
    let (mut k, [a, b, y], mut args) = between(named(name, p), p);
    let mut term = |k: &mut KernelBuilder, name: &str, (zero, ratio): (i32, f64), elem: DType| {
        let (unit, by) = factors(ratio, elem);
        let zero = scalar(k, &mut args, &format!("z{name}"), zero, stored(elem));
        let unit = scalar(k, &mut args, &format!("u{name}"), unit, (1 << 8, 1 << room(elem).1));
        let by = scalar(k, &mut args, &format!("m{name}"), by, (-i32::MAX, i32::MAX));
        move |v: Expr| ((v - zero) * unit).i64() * Expr::from(by).i64()
    };
    let first = term(&mut k, "a", (za, sa / so), p.a.elem);
    let second = term(&mut k, "b", (zb, sign * sb / so), p.b.elem);
    let zero = scalar(&mut k, &mut args, "zp", zo, stored(p.y.elem));
    let low = scalar(&mut k, &mut args, "lo", limits.0, stored(p.y.elem));
    let high = scalar(&mut k, &mut args, "hi", limits.1, stored(p.y.elem));
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let total = first(a.at(&at[1])) + second(b.at(&at[2])) + long(1 << 31);
        k.store(y, &at[0], ((total >> 32).i32() + zero).clamp(low, high));
    });
    cx.step(k, args)
}

fn product(cx: &mut Cx<'_>, p: &Pair) -> Result<()> {
    let of = |v: &View| affine_of_either(cx, v);
    let ((sa, za), (sb, zb), (so, zp)) = (of(&p.a)?, of(&p.b)?, of(&p.y)?);
    let (lo, hi) = p.y.limits(cx.clamp());
    let far = |zero: i32, elem: DType| -i64::from(stored(elem).0) + i64::from(zero).abs();
    let whole = far(za, p.a.elem) * far(zb, p.b.elem) <= i64::from(i32::MAX);
    let real = sa * sb / so * if whole { 1.0 } else { 4.0 };
    let by = cx.here(multiplier(real))?;
    let name = named("mul", p);
    let (mut k, [a, b, y], mut args) = between(if whole { name } else { format!("{name}_long") }, p);
    let zero_a = scalar(&mut k, &mut args, "za", za, stored(p.a.elem));
    let zero_b = scalar(&mut k, &mut args, "zb", zb, stored(p.b.elem));
    let apply = requantized(&mut k, &mut args, by, Output { zp, lo, hi });
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let (a, b) = (a.at(&at[1]) - zero_a, b.at(&at[2]) - zero_b);
        let value = if whole { a * b } else { ((a.i64() * b.i64()) >> 2).i32() };
        k.store(y, &at[0], apply(value));
    });
    cx.step(k, args)
}
