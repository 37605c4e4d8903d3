//! Softmax and LogSoftmax over one axis or several.
//!
//! In: operand, result, normalised axes. Out: three passes per row: maximum, sum of
//! exponentials, result. Quantized rows use a table of exponentials by distance from the
//! maximum (30 bits), one reciprocal per row by sums alone, and for the logarithm a table of
//! 257 entries with linear interpolation, wrong by less than 2e-6. Law: nothing here divides, and
//! no branch or loop bound depends on data.

use super::elementwise::{affine, clamped};
use super::{Cx, View};
use crate::arith::requant::high;
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val, float, instr, int, long};
use crate::kernels::axes::{Nest, signed};
use crate::kernels::registry::engine;
use crate::kernels::rounding::requantize_high_instr;
use crate::kernels::softmax::Row;
use crate::tensor::{DType, Data};
use secateur_targets::Target;
use std::sync::Arc;

/// Fraction bits of the table of exponentials.
const EXP_BITS: u32 = 30;

/// Bits of a sum that may be left out in front of a division.
const MOST_BEYOND: u32 = 10;

/// Elements from which on a native form, which takes some 700 bytes, is worth its code.
const OWN: usize = 256;

/// Rows over the kept axes; both nests walk result and operand.
fn rows(x: &View, y: &View, axes: &[usize]) -> (Nest, Nest, usize) {
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

fn single(cx: &mut Cx<'_>, x: &View, y: &View, axes: &[usize], log: bool) -> Result<()> {
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
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

/// Entries that a shorter table of exponentials must spare: finding the place in it takes code.
const WORTH: usize = 32;

/// `exp(-d * scale)` by distance `d`, with [`EXP_BITS`] fraction bits.
fn exponentials(scale: f64) -> Vec<i32> {
    let one = f64::from(1u32 << EXP_BITS);
    (0..256).map(|d| libm::rint(libm::exp(-f64::from(d) * scale) * one) as i32).collect()
}

/// A table of exponentials up to the first that is zero, which stands for all beyond; whole where that spares little.
fn cut(mut all: Vec<i32>) -> Vec<i32> {
    if let Some(zero) = all.iter().position(|&e| e == 0).filter(|&zero| zero + 1 + WORTH <= all.len()) {
        all.truncate(zero + 1);
    }
    all
}

/// The place in a table of so many exponentials that belongs to a distance of 0 to 255.
fn place(distance: Expr, entries: usize) -> Expr {
    // The distance is within these limits by itself; the mask lets the proof see it.
    let distance = distance.and(255);
    let last = entries as i32 - 1;
    // The lesser one of two, without a branch on cores that have no conditional instruction.
    if last < 255 { (distance - last).min(0) + last } else { distance }
}

/// Maximum and sum of exponentials of a row: `(top, sum)`, and the table's value of an element.
macro_rules! row {
    ($k:ident, $at:ident, $inner:ident, $from:ident, $table:ident[$entries:expr] => $top:ident, $sum:ident, $exp:ident) => {
        let $top = $k.var("top", int(-128));
        // How far an element is above the maximum fits 32 bits whatever it is, which spares cores
        // without a conditional instruction a wide comparison.
        $inner.write($k, $at, &mut |k, at| k.set($top, $top + ($from.at(&at[1]) - $top).max(0)));
        let $exp = |index: &Expr| $table.at(place($top - $from.at(index), $entries));
        let $sum = $k.var("sum", long(0));
        $inner.write($k, $at, &mut |k, at| k.add_to($sum, $exp(&at[1]).i64()));
    };
}

fn quantized(cx: &mut Cx<'_>, x: &View, y: &View, axes: &[usize]) -> Result<()> {
    let ((si, _), (so, zo)) = (affine(cx, x)?, affine(cx, y)?);
    let (lo, hi) = y.limits(cx.clamp());
    let (outer, inner, count) = rows(x, y, axes);
    if count > 1 << 20 {
        return Err(cx.unsupported("normalises more than 2^20 elements"));
    }
    // exp * inverse / 2^t is the result in steps, wrong by less than 2^-17 of one where these digits
    // of the inverse fit.
    let (mantissa, exponent) = libm::frexp(1.0 / so);
    if !(-20..=27).contains(&exponent) {
        return Err(cx.unsupported("has a result scale below 2^-27 or above 2^20"));
    }
    let digits = (exponent + 17).clamp(1, 31);
    let (rnd, sh) = high((30 + digits - exponent) as u32, zo);
    let n = Numbers { count, mantissa, digits, rnd, sh, limits: (lo, hi) };
    let whole = inner.runs(1).is_some_and(|(apart, _)| apart.dims.is_empty());
    let pays = y.len() >= OWN && !cx.portable && !cx.want.policy.saves_flash();
    let native = if whole && pays { cx.here(n.row(cx.want.target()))? } else { None };
    let exps = exponentials(si);
    // Native rows look a distance up as it is.
    let exps = if native.is_some() { exps } else { cut(exps) };
    let entries = exps.len();
    let table = cx.constant("exp", Data::I32(exps), 4);
    let mut k = KernelBuilder::new("softmax_s8");
    let from = x.param(&mut k, "x", Access::Read);
    let exp = k.buffer("exp", DType::I32, entries, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| match &native {
        Some(row) => {
            k.call(row, vec![from.from(at[1].clone()), exp.from(0), to.from(at[0].clone())]);
        }
        None => n.spread(k, &inner, ([from, exp, to], entries), at),
    });
    cx.step(k, vec![x.arg.clone(), table, y.arg.clone()])
}

/// What rows of integers are made by: elements of a row, the inverse's mantissa and digits, and how results end.
struct Numbers {
    count: usize,
    mantissa: f64,
    digits: i32,
    rnd: i32,
    sh: u32,
    limits: (i32, i32),
}

impl Numbers {
    /// A row from operand and table to result.
    fn spread(
        &self,
        k: &mut KernelBuilder,
        inner: &Nest,
        ([from, exp, to], entries): ([Buf; 3], usize),
        at: &[Expr],
    ) {
        let (lo, hi) = self.limits;
        row!(k, at, inner, from, exp[entries] => top, sum, e);
        let inverse = inverse(k, sum, self.count, self.mantissa, self.digits as usize);
        inner.write(k, at, &mut |k, at| {
            let numbers = [self.rnd, self.sh as i32, lo, hi].map(Expr::from);
            let all = [e(&at[1]), inverse.clone()].into_iter().chain(numbers);
            k.store(to, &at[0], instr(&requantize_high_instr(), all.collect()));
        });
    }

    /// The kernel of a row whose elements lie side by side, where the core has a form of its own for it.
    fn row(&self, target: &Target) -> Result<Option<Arc<Kernel>>> {
        let (n, beyond) = (self.count, beyond(self.count));
        let (Some(engine), true) = (engine(target), beyond <= MOST_BEYOND && self.limits == (-128, 127))
        else {
            return Ok(None);
        };
        let numerator = numerator(self.mantissa, beyond);
        let row = Row { n, beyond, numerator, digits: self.digits as u32, rnd: self.rnd, sh: self.sh };
        let Some(native) = engine.softmax(&row, target)? else { return Ok(None) };
        let mut k = KernelBuilder::new("softmax_row_s8");
        let from = k.buffer("x", DType::I8, n, Access::Read);
        let exp = k.buffer("exp", DType::I32, 256, Access::Read);
        let to = k.buffer("y", DType::I8, n, Access::Write);
        let side_by_side = Nest { dims: vec![n], strides: vec![vec![1]; 2] };
        self.spread(&mut k, &side_by_side, ([from, exp, to], 256), &[0.into(), 0.into()]);
        k.native(native);
        k.finish().map(Some)
    }
}

/// A sum of 2^30 to 2^50 as `mantissa * 2^doublings` with the mantissa within 2^30..2^31: the
/// same instructions for every sum, as the position of its highest bit is found by halving.
fn normalized(k: &mut KernelBuilder, sum: Val, count: usize) -> (Val, Val) {
    let first = k.let_("high", (sum >> EXP_BITS as i32).i32() & 0x1f_ffff);
    let low = k.let_("low", (sum & long((1 << EXP_BITS) - 1)).i32());
    let (mut high, mut doublings) = (first, int(0));
    // `high` is at most `count`.
    let most = usize::BITS - count.max(1).leading_zeros() - 1;
    for bit in (0..5u32).rev().filter(|bit| most >> bit > 0) {
        // All ones if something stands above the bit, without a branch.
        let by = k.let_("by", (-(high >> (1i32 << bit)) >> 31) & (1i32 << bit));
        high = k.let_("high", high >> by);
        doublings = doublings + by;
    }
    let doublings = k.let_("doublings", doublings);
    // At most 20 doublings: the mask is for the proof.
    let left = k.let_("left", (int(EXP_BITS as i32) - doublings) & 31);
    let mantissa = (first << left) | (low >> doublings);
    (k.let_("mantissa", mantissa), doublings)
}

/// The bits beyond 31 of a sum of up to `count` exponentials.
fn beyond(count: usize) -> u32 {
    usize::BITS - count.max(1).leading_zeros() - 1
}

/// A mantissa below one, where a divisor has lost so many bits.
fn numerator(mantissa: f64, beyond: u32) -> i32 {
    let one = 1i32 << (EXP_BITS - beyond);
    (libm::rint(mantissa * f64::from(one)) as i32).min(one - 1)
}

/// `mantissa * 2^(30 + digits) / sum`, rounded down, of a sum of up to `count` exponentials and a
/// mantissa below one.
pub(super) fn inverse(k: &mut KernelBuilder, sum: Val, count: usize, mantissa: f64, digits: usize) -> Expr {
    let beyond = beyond(count);
    if beyond > MOST_BEYOND {
        // Too few bits would be left of a small sum.
        let (divisor, doublings) = normalized(k, sum, count);
        return Expr::from(quotient(k, divisor, mantissa, 0, digits)) >> doublings;
    }
    let divisor = k.let_("divisor", (sum >> beyond as i32).i32());
    quotient(k, divisor, mantissa, beyond, digits).into()
}

/// `mantissa * 2^(30 - beyond + digits) / divisor`, rounded down, of a divisor of 2^(30 - beyond) to
/// 2^31: one binary digit after the other, in 32 bits and with the same instructions for every one.
/// Once a row, its code counts for more than its cycles.
fn quotient(k: &mut KernelBuilder, divisor: Val, mantissa: f64, beyond: u32, digits: usize) -> Val {
    let first = numerator(mantissa, beyond);
    let (rest, found) = (k.var("rest", int(first)), k.var("found", int(0)));
    k.for_("digit", 0, digits, |k, _| {
        let off = k.let_("off", rest - divisor + rest);
        // All ones where the divisor does not fit.
        let below = k.let_("below", off >> 31);
        k.set(rest, off + (divisor & below));
        k.set(found, found + found + 1 + below);
    });
    found
}

fn quantized_log(cx: &mut Cx<'_>, x: &View, y: &View, axes: &[usize]) -> Result<()> {
    let ((si, _), (so, zo)) = (affine(cx, x)?, affine(cx, y)?);
    let (lo, hi) = y.limits(cx.clamp());
    let (outer, inner, count) = rows(x, y, axes);
    if count > 1 << 20 {
        return Err(cx.unsupported("normalises more than 2^20 elements"));
    }
    let (_, exponent) = libm::frexp((1.0 / so).max(255.0 * si / so));
    // Steps so fine that 32 bits do not reach far enough are counted several at a time: a result is zero then, or
    // beyond the range.
    let coarser = (exponent - 29).max(0);
    if coarser > 30 {
        return Err(cx.unsupported("has scales too far apart for 32-bit tables"));
    }
    let (so, f) = (libm::ldexp(so, coarser), (30 - exponent + coarser).min(40));
    let fixed = |v: f64| libm::rint(libm::ldexp(v / so, f));
    let logs: Vec<i32> = (0..=256).map(|i| fixed(libm::log(1.0 + f64::from(i) / 256.0)) as i32).collect();
    let ln2 = fixed(libm::log(2.0)) as i64;
    let m = fixed(si) as i64;
    let exps = cut(exponentials(si));
    let entries = exps.len();
    let [exps, lns] = [cx.constant("exp", Data::I32(exps), 4), cx.constant("log", Data::I32(logs), 4)];
    let mut k = KernelBuilder::new("log_softmax_s8");
    let from = x.param(&mut k, "x", Access::Read);
    let exp = k.buffer("exp", DType::I32, entries, Access::Read);
    let log = k.buffer("log", DType::I32, 257, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        row!(k, at, inner, from, exp[entries] => top, sum, e);
        let (mantissa, doublings) = normalized(k, sum, count);
        let ln = k.var("ln", doublings.i64() * long(ln2));
        let rest = k.let_("rest", mantissa - (1 << EXP_BITS));
        let slot = k.let_("slot", (rest >> (EXP_BITS - 8) as i32) & 255);
        let part = k.let_("part", (rest & ((1 << (EXP_BITS - 8)) - 1)).i64());
        let (base, next) = (log.at(slot).i64(), log.at(slot + 1).i64());
        k.add_to(ln, base.clone() + (((next - base) * part) >> (EXP_BITS - 8) as i32));
        inner.write(k, at, &mut |k, at| {
            let real = (from.at(&at[1]) - top).i64() * long(m) - ln;
            let steps = (real + long(1 << (f - 1))) >> f;
            let steps = if coarser > 0 { steps * long(1 << coarser) } else { steps };
            k.store(to, &at[0], (steps + long(zo.into())).clamp(long(lo.into()), long(hi.into())).i32());
        });
    });
    cx.step(k, vec![x.arg.clone(), exps, lns, y.arg.clone()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::call::{Bind, Call};
    use crate::kernels::trial::{Random, run};

    /// Rows of the cores that have a form of their own, in all its lengths and digits, against the loops: kernels are run
    /// both ways, and equal them only by a reciprocal that is exact.
    #[test]
    fn rows_of_cores_are_exact() {
        let mut random = Random(12);
        let mut found = 0;
        for (case, n) in [4usize, 5, 7, 8, 12, 15, 16, 17, 24, 31, 33, 63, 64, 100, 255, 1000, 2047]
            .into_iter()
            .enumerate()
        {
            for digits in [5, 17, 24, 26, 27, 28] {
                let mantissa = [0.5, 0.999_999, 0.7123, 0.501][(case + digits as usize) % 4];
                let exponent = digits - 17;
                let (rnd, sh) = high((30 + digits - exponent) as u32, [-128, 0, 5][case % 3]);
                let limits = (-128, 127);
                let numbers = Numbers { count: n, mantissa, digits, rnd, sh, limits };
                for core in ["cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55", "cortex-m0plus"] {
                    let target = secateur_targets::core_only(core, 1 << 20, 1 << 18).unwrap();
                    let Some(kernel) = numbers.row(&target).unwrap() else { continue };
                    found += 1;
                    // From a table that falls slowly to one that falls at once, so that sums reach both their ends.
                    for scale in [1e-9, 0.003, 0.05, 0.3, 20.0] {
                        let args = vec![
                            Bind::Operand(0),
                            Bind::data("exp", Data::I32(exponentials(scale))),
                            Bind::Result(0),
                        ];
                        let call = Call { kernel: kernel.clone(), args };
                        let Data::I8(y) = run(&call, &[Data::I8(random.bytes(n))], DType::I8, n) else {
                            panic!()
                        };
                        assert_eq!(y.len(), n);
                    }
                }
            }
        }
        assert!(found > 4 * 80, "{found} rows");
    }

    #[test]
    fn inverses_are_as_near_as_their_digits() {
        let mut random = Random(11);
        for count in [1, 2, 3, 12, 16, 255, 1000, 2047, 2048, 5000, 1 << 20] {
            // No sum is smaller than the exponential of zero, or greater than as many of those.
            let (least, most) = (1i64 << EXP_BITS, (count as i64) << EXP_BITS);
            let mut sums: Vec<i64> =
                (0..60).map(|i| random.within(least, least + ((most - least) >> (i % 20)))).collect();
            sums.extend([least, most, (least + 1).min(most), (most - 1).max(least)]);
            for (mantissa, digits) in [(0.5, 26), (0.7123, 26), (0.5, 1), (0.999_999_999_99, 31), (0.6, 17)] {
                let mut k = KernelBuilder::new("inverse");
                let x = k.buffer("x", DType::I64, sums.len(), Access::Read);
                let y = k.buffer("y", DType::I32, sums.len(), Access::Write);
                k.for_("i", 0, sums.len(), |k, i| {
                    let sum = k.var("sum", x.at(i));
                    let found = inverse(k, sum, count, mantissa, digits);
                    k.store(y, i, found);
                });
                let call =
                    Call { kernel: k.finish().unwrap(), args: vec![Bind::Operand(0), Bind::Result(0)] };
                let found = run(&call, &[Data::I64(sums.clone())], DType::I32, sums.len());
                let Data::I32(found) = found else { panic!() };
                for (&sum, &found) in sums.iter().zip(&found) {
                    let real = libm::ldexp(mantissa, 30 + digits as i32) / sum as f64;
                    let off = (f64::from(found) - real).abs();
                    assert!(
                        off <= 1.0 + real * libm::ldexp(2.0, -20),
                        "{count} {mantissa} {digits} {sum}: {found}, not {real}"
                    );
                }
            }
        }
    }
}
