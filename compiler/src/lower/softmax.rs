//! Softmax and LogSoftmax over one axis or several.
//!
//! In: operand, result, normalised axes. Out: three passes per row: maximum, sum of
//! exponentials, result. Quantized rows use a table of exponentials by distance from the
//! maximum (30 bits), one division per row, and for the logarithm a table of 257 entries with
//! linear interpolation, wrong by less than 2e-6.

use super::elementwise::{affine, clamped};
use super::nest::{Nest, signed};
use super::{Cx, Loc};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder, float, int, long};
use crate::tensor::{DType, Data};

/// Fraction bits of the table of exponentials.
const EXP_BITS: u32 = 30;

/// Rows over the kept axes; both nests walk result and operand.
fn rows(x: &Loc, y: &Loc, axes: &[usize]) -> (Nest, Nest, usize) {
    let part = |reduced: bool| {
        let axes: Vec<usize> = (0..x.shape.len()).filter(|a| axes.contains(a) == reduced).collect();
        let pick = |of: &[usize]| -> Vec<usize> { axes.iter().map(|&a| of[a]).collect() };
        Nest::new(&pick(&x.shape), &[signed(&pick(&y.strides)), signed(&pick(&x.strides))])
    };
    (part(false), part(true), axes.iter().map(|&a| x.shape[a]).product())
}

/// Softmax over `axes`, or its logarithm.
pub(crate) fn softmax(cx: &mut Cx<'_>, axes: &[usize], log: bool) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    match (y.quant.is_some(), log) {
        (false, _) => single(cx, &x, &y, axes, log),
        (true, false) => quantized(cx, &x, &y, axes),
        (true, true) => quantized_log(cx, &x, &y, axes),
    }
}

fn single(cx: &mut Cx<'_>, x: &Loc, y: &Loc, axes: &[usize], log: bool) -> Result<()> {
    let clamp = cx.clamp();
    let (outer, inner, _) = rows(x, y, axes);
    let mut k = KernelBuilder::new(if log { "log_softmax_f32" } else { "softmax_f32" });
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::ReadWrite);
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let top = k.var("top", float(f32::MIN));
        inner.write(k, at, &mut |k, at| k.set(top, top.max(from.at(&at[1]))));
        let sum = k.var("sum", float(0.0));
        inner.write(k, at, &mut |k, at| {
            let e = k.let_("e", (from.at(&at[1]) - top).exp());
            if !log {
                k.store(to, &at[0], e);
            }
            k.add_to(sum, e);
        });
        let total = k.let_("total", if log { sum.log() } else { sum.into() });
        inner.write(k, at, &mut |k, at| {
            let value = if log { from.at(&at[1]) - top - total } else { to.at(&at[0]) / total };
            k.store(to, &at[0], clamped(value, clamp, DType::F32));
        });
    });
    cx.step(k.finish()?, vec![x.arg, y.arg])
}

/// `exp(-d * scale)` by distance `d`, with [`EXP_BITS`] fraction bits.
fn exponentials(scale: f64) -> Data {
    let one = f64::from(1u32 << EXP_BITS);
    Data::I32((0..256).map(|d| libm::rint(libm::exp(-f64::from(d) * scale) * one) as i32).collect())
}

/// Maximum and sum of exponentials of a row: `(top, sum)`, and the table's value of an element.
macro_rules! row {
    ($k:ident, $at:ident, $inner:ident, $from:ident, $table:ident => $top:ident, $sum:ident, $exp:ident) => {
        let $top = $k.var("top", int(-128));
        $inner.write($k, $at, &mut |k, at| k.set($top, $top.max($from.at(&at[1]))));
        // The distance is within 0..=255 by itself; the mask lets the proof see it.
        let $exp = |index: &Expr| $table.at(($top - $from.at(index)).and(255));
        let $sum = $k.var("sum", long(0));
        $inner.write($k, $at, &mut |k, at| k.add_to($sum, $exp(&at[1]).i64()));
    };
}

fn quantized(cx: &mut Cx<'_>, x: &Loc, y: &Loc, axes: &[usize]) -> Result<()> {
    let ((si, _), (so, zo)) = (affine(cx, x)?, affine(cx, y)?);
    let (lo, hi) = y.limits(cx.clamp());
    let (outer, inner, count) = rows(x, y, axes);
    if count > 1 << 20 {
        return Err(cx.unsupported("normalises more than 2^20 elements"));
    }
    // e * inverse < 2^30 * 2^31, with inverse = (2^t / so) / sum and sum >= 2^30.
    let (_, exponent) = libm::frexp(1.0 / so);
    let t = (60 - exponent).clamp(1, 60);
    if exponent > 56 {
        return Err(cx.unsupported("has a result scale below 2^-56"));
    }
    let dividend = libm::rint(libm::ldexp(1.0 / so, t)) as i64;
    let table = cx.constant("exp", exponentials(si), 4);
    let mut k = KernelBuilder::new("softmax_s8");
    let from = x.param(&mut k, "x", Access::Read);
    let exp = k.buffer("exp", DType::I32, 256, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        row!(k, at, inner, from, exp => top, sum, e);
        let inverse = k.let_("inverse", long(dividend) / sum.max(long(1 << 30)));
        inner.write(k, at, &mut |k, at| {
            let steps = (e(&at[1]).i64() * inverse + long(1 << (t - 1))) >> t;
            k.store(to, &at[0], (steps + long(zo.into())).clamp(long(lo.into()), long(hi.into())).i32());
        });
    });
    cx.step(k.finish()?, vec![x.arg, table, y.arg])
}

fn quantized_log(cx: &mut Cx<'_>, x: &Loc, y: &Loc, axes: &[usize]) -> Result<()> {
    let ((si, _), (so, zo)) = (affine(cx, x)?, affine(cx, y)?);
    let (lo, hi) = y.limits(cx.clamp());
    let (outer, inner, count) = rows(x, y, axes);
    if count > 1 << 20 {
        return Err(cx.unsupported("normalises more than 2^20 elements"));
    }
    let (_, exponent) = libm::frexp((1.0 / so).max(255.0 * si / so));
    let f = 30 - exponent;
    if !(1..=40).contains(&f) {
        return Err(cx.unsupported("has scales too far apart for 32-bit tables"));
    }
    let fixed = |v: f64| libm::rint(libm::ldexp(v / so, f));
    let logs: Vec<i32> = (0..=256).map(|i| fixed(libm::log(1.0 + f64::from(i) / 256.0)) as i32).collect();
    let ln2 = fixed(libm::log(2.0)) as i64;
    let m = fixed(si) as i64;
    let doublings = count.next_power_of_two().trailing_zeros() as usize + 1;
    let tables = [cx.constant("exp", exponentials(si), 4), cx.constant("log", Data::I32(logs), 4)];
    let mut k = KernelBuilder::new("log_softmax_s8");
    let from = x.param(&mut k, "x", Access::Read);
    let exp = k.buffer("exp", DType::I32, 256, Access::Read);
    let log = k.buffer("log", DType::I32, 257, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        row!(k, at, inner, from, exp => top, sum, e);
        // sum = mantissa * 2^halvings with the mantissa within one doubling of 2^30.
        let ln = k.var("ln", long(0));
        k.for_("i", 0, doublings, |k, _| {
            k.if_(sum.ge(long(1 << (EXP_BITS + 1))), |k| {
                k.set(sum, sum >> 1);
                k.add_to(ln, long(ln2));
            });
        });
        let rest = k.let_("rest", sum - long(1 << EXP_BITS));
        let slot = k.let_("slot", (rest >> (EXP_BITS - 8) as i32).and(long(255)).i32());
        let part = k.let_("part", rest.and(long((1 << (EXP_BITS - 8)) - 1)));
        let (base, next) = (log.at(slot).i64(), log.at(slot + 1).i64());
        k.add_to(ln, base.clone() + (((next - base) * part) >> (EXP_BITS - 8) as i32));
        inner.write(k, at, &mut |k, at| {
            let real = (from.at(&at[1]) - top).i64() * long(m) - ln;
            let steps = (real + long(1 << (f - 1))) >> f;
            k.store(to, &at[0], (steps + long(zo.into())).clamp(long(lo.into()), long(hi.into())).i32());
        });
    });
    cx.step(k.finish()?, vec![x.arg, tables[0], tables[1], y.arg])
}
