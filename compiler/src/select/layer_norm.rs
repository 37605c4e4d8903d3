//! LayerNormalization and RMSNormalization, in float and in integers.
//!
//! In: an operand, a result, the axes that are normalized together, constants of scale and bias. Out: one kernel
//! that walks over each row twice. With stored integers `q` of step `s` and zero point `z`, a row of `n` has
//!
//! - `S = sum(q)`, `V = max(1, n * sum(q^2) - S^2 + E)` with `E = round(n^2 * epsilon / s^2)`, so that
//!   `(n * q - S) / sqrt(V)` is the normalized value; without a mean `S = n * z` and `V = n * sum((q - z)^2) + E`;
//! - `1 / sqrt(V)` by a table of 64 and two steps of Newton's method, on `V * 4^e` of 29 or 30 bits;
//! - `x`, the value with [`fraction`] bits behind the point (of short rows rounded down), and
//!   `(x * G + B) >> shift` with a scale `G` of 16 and a bias `B` of 32 bits for each place of the row.
//!
//! Law: nothing here divides, and no branch or loop bound depends on data.

use super::composite::Composite;
use super::elementwise::{affine, clamped};
use super::{Cx, PORTABLE, View, wide_norm};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val, float, instr, int, long};
use crate::kernels::axes::{Nest, signed};
use crate::kernels::rounding::{high_word, requantize_instr};
use crate::kernels::vector::Run;
use crate::ops::Normalization;
use crate::tensor::{DType, Data, row_major_strides};
use std::sync::Arc;

/// Loops over the rows, by result and operand, and over a row, by result, operand and factor.
pub(super) fn nests(x: &View, y: &View, axes: &[usize]) -> (Nest, Nest) {
    let kept: Vec<usize> = (0..x.shape.len()).filter(|a| !axes.contains(a)).collect();
    let pick = |of: &[usize], axes: &[usize]| -> Vec<usize> { axes.iter().map(|&a| of[a]).collect() };
    let over = pick(&x.shape, axes);
    let outer = Nest::new(
        &pick(&x.shape, &kept),
        &[signed(&pick(&y.strides, &kept)), signed(&pick(&x.strides, &kept))],
    );
    let factors = signed(&row_major_strides(&over));
    let inner =
        Nest::new(&over, &[signed(&pick(&y.strides, axes)), signed(&pick(&x.strides, axes)), factors]);
    (outer, inner)
}

/// A constant factor of each place of a row; `None` where there is none.
fn factors(cx: &Cx<'_>, index: usize) -> Result<Option<Vec<f32>>> {
    let Some(value) = cx.operand(index) else { return Ok(None) };
    match value.real_constant() {
        Some(tensor) => Ok(Some(tensor.to_f32_vec())),
        None => Err(cx.unsupported(&format!("operand {index} is computed at run time"))),
    }
}

/// The node by one kernel.
pub(crate) fn layer_norm(cx: &mut Cx<'_>, op: &Normalization) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let (scale, bias) = (factors(cx, 1)?, factors(cx, 2)?);
    match y.quant {
        None => single(cx, op, (&x, &y), scale, bias),
        Some(_) if [x.elem, y.elem].contains(&DType::I16) => {
            wide_norm::layer_norm(cx, op, (&x, &y), scale, bias)
        }
        Some(_) => quantized(cx, op, (&x, &y), scale, bias),
    }
}

fn single(
    cx: &mut Cx<'_>,
    op: &Normalization,
    (x, y): (&View, &View),
    scale: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
) -> Result<()> {
    let (outer, inner) = nests(x, y, &op.axes);
    let (n, clamp) = (op.count(&x.shape), cx.clamp());
    let mut k = KernelBuilder::new(if op.centred { "layer_norm_f32" } else { "rms_norm_f32" });
    let from = x.param(&mut k, "x", Access::Read);
    let mut args = vec![x.arg.clone()];
    let mut constants = Vec::new();
    for (name, data) in [("scale", scale), ("bias", bias)] {
        constants.push(data.map(|data| {
            args.push(cx.constant(name, Data::F32(data), 4));
            k.buffer(name, DType::F32, n, Access::Read)
        }));
    }
    let to = y.param(&mut k, "y", Access::Write);
    args.push(y.arg.clone());
    outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let row = [at[0].clone(), at[1].clone(), int(0)];
        let mean: Expr = if op.centred {
            let sum = k.var("sum", float(0.0));
            inner.write(k, &row, &mut |k, at| k.add_to(sum, from.at(&at[1])));
            k.let_("mean", sum / n as f32).into()
        } else {
            float(0.0)
        };
        let off = |at: &Expr| if op.centred { from.at(at) - mean.clone() } else { from.at(at) };
        let squares = k.var("squares", float(0.0));
        inner.write(k, &row, &mut |k, at| {
            let off = k.let_("off", off(&at[1]));
            k.add_to(squares, off * off);
        });
        let deviation = k.let_("deviation", (squares / n as f32 + op.epsilon).sqrt());
        inner.write(k, &row, &mut |k, at| {
            let mut value = off(&at[1]) / deviation;
            if let Some(scale) = constants[0] {
                value = value * scale.at(&at[2]);
            }
            if let Some(bias) = constants[1] {
                value = value + bias.at(&at[2]);
            }
            k.store(to, &at[0], clamped(value, clamp, DType::F32));
        });
    });
    cx.step(k, args)
}

/// Bits behind the point of a normalized value of a row of `n`, which is below `sqrt(n)`: as many as sixteen bits
/// have room for. Without a mean it may be `sqrt(n)` itself, as if there were one more.
fn fraction(n: usize) -> u32 {
    let whole = (0..=10).find(|&bits| n <= 1 << (2 * bits)).unwrap_or(10);
    15 - whole
}

/// `2^30 / sqrt(v)` by the upper six bits of `v`, which has 29 or 30.
pub(super) fn roots() -> Data {
    let middle = |i: i32| f64::from(i.max(16)) + 0.5;
    Data::I32((0..64).map(|i| libm::rint(262_144.0 / libm::sqrt(middle(i))) as i32).collect())
}

/// What becomes of a normalized value: a scale of 16 and a bias of 32 bits for each place, and the shift behind.
struct Scaled {
    scale: Vec<i16>,
    bias: Vec<i32>,
    shift: u32,
}

/// In steps of the result: `gain` of what a unit is, `offset` of what is added, zero point included. Values that are
/// rounded down get half a step back.
fn scaled(gain: &[f64], offset: &[f64], fraction: u32, down: bool) -> Scaled {
    let most = |v: &[f64]| v.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    let (gain_most, offset_most) = (most(gain) / libm::ldexp(1.0, fraction as i32), most(offset));
    let fits = |shift: &u32| {
        let by = libm::ldexp(1.0, *shift as i32);
        gain_most * by <= 32767.0 && (offset_most + 1.0) * by <= libm::ldexp(1.0, 30) - 65536.0
    };
    let shift = (1..=30u32).rev().find(fits).unwrap_or(1);
    let integer =
        |g: &f64| libm::rint(libm::ldexp(*g, shift as i32 - fraction as i32)).clamp(-32767.0, 32767.0) as i16;
    let scale: Vec<i16> = gain.iter().map(integer).collect();
    let half = libm::ldexp(0.5, shift as i32);
    // A result far outside of its range stays there.
    let limit = libm::ldexp(1.0, 30);
    let bias = offset.iter().zip(&scale).map(|(o, g)| {
        let lost = if down { f64::from(*g) / 2.0 } else { 0.0 };
        libm::rint(libm::ldexp(*o, shift as i32) + half + lost).clamp(-limit, limit) as i32
    });
    let bias = bias.collect();
    Scaled { scale, bias, shift }
}

/// `2^30 / sqrt(v)` of a `v` of 29 or 30 bits.
pub(super) fn inverse_root(k: &mut KernelBuilder, v: Val, roots: Buf) -> Val {
    let mut y = k.let_("root", roots.at((v >> 24) & 63));
    for _ in 0..2 {
        // v * y^2 is 2^60 where y is right; half of what is missing, as a share, is what y lacks.
        let wide = k.let_("wide", y.i64());
        let near = k.let_("near", (v.i64() * wide) >> 16);
        let missing = k.let_("missing", (long(1 << 44) - near * wide) >> 14);
        y = k.let_("root", y + ((missing * wide) >> 31).i32());
    }
    y
}

/// Rows of so many are computed in 32 bits.
const SHORT: usize = 1023;

/// The numbers of an integer kernel.
struct Numbers {
    n: usize,
    centred: bool,
    zero: i32,
    /// `n^2` times epsilon in squared steps.
    extra: i64,
    /// Pairs of bits that are left out where `V` has more than 30: the last ones of a sum of many.
    cut: u32,
    /// Whether `V` fits 32 bits.
    narrow: bool,
    bits: u32,
    shift: u32,
    limits: (i32, i32),
}

fn numbers(cx: &Cx<'_>, op: &Normalization, (x, y): (&View, &View)) -> Result<Numbers> {
    let (si, zero) = affine(cx, x)?;
    let n = op.count(&x.shape);
    if n > 1 << 20 {
        return Err(cx.unsupported("normalizes more than 2^20 elements"));
    }
    let squared = (n * n) as f64;
    let extra =
        libm::rint(squared * f64::from(op.epsilon) / (si * si)).clamp(0.0, libm::ldexp(1.0, 58)) as i64;
    // The greatest V: a row half at one end of the range and half at the other, or all as far from zero as can be.
    let reach = if op.centred { 128 } else { 255 };
    let most = (n * n) as i64 * reach * reach + extra;
    let cut = (0..16u32).find(|c| most >> (2 * c) < 1 << 30).unwrap_or(16);
    let narrow = most < 1 << 31 && (n as i64) * reach <= 1 << 15;
    Ok(Numbers {
        n,
        centred: op.centred,
        zero,
        extra,
        cut,
        narrow,
        bits: fraction(n + usize::from(!op.centred)),
        shift: 1,
        limits: y.limits(cx.clamp()),
    })
}

/// What a row is normalized by: `V` brought to 29 or 30 bits and how often it was doubled twice, then its root.
fn row(k: &mut KernelBuilder, (sum, squares): (Val, Expr), roots: Buf, n: &Numbers) -> (Val, Val) {
    let count = n.n as i32;
    let spread = match (n.narrow, n.centred) {
        (true, true) => squares * count - sum * sum + n.extra as i32,
        (true, false) => squares * count + n.extra as i32,
        (false, true) => squares * long(count.into()) - sum.i64() * sum.i64() + long(n.extra),
        (false, false) => squares * long(count.into()) + long(n.extra),
    };
    let spread = spread >> (2 * n.cut) as i32;
    let spread = if n.narrow { spread } else { spread.i32() };
    let mut v = k.let_("spread", spread.max(1));
    let mut doublings = int(0);
    for by in [16, 8, 4, 2] {
        let by = k.let_("by", ((v - (1 << (30 - by))) >> 31) & by);
        v = k.let_("spread", v << by);
        doublings = doublings + by;
    }
    let doublings = k.let_("doublings", (doublings >> 1) & 15);
    (inverse_root(k, v, roots), doublings)
}

fn quantized(
    cx: &mut Cx<'_>,
    op: &Normalization,
    (x, y): (&View, &View),
    scale: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
) -> Result<()> {
    let (so, zo) = affine(cx, y)?;
    let mut n = numbers(cx, op, (x, y))?;
    let (outer, inner) = nests(x, y, &op.axes);
    let of = |v: Option<Vec<f32>>, usual: f32| v.unwrap_or_else(|| vec![usual; n.n]);
    let gain: Vec<f64> = of(scale, 1.0).iter().map(|&g| f64::from(g) / so).collect();
    let offset: Vec<f64> = of(bias, 0.0).iter().map(|&b| f64::from(b) / so + f64::from(zo)).collect();
    let after = scaled(&gain, &offset, n.bits, n.n <= SHORT);
    n.shift = after.shift;

    let mut b = Composite::new(if op.centred { "layer_norm_s8" } else { "rms_norm_s8" });
    let from = b.port("x", x, Access::Read);
    let gains = b.data("scale", Data::I16(after.scale), 4);
    let biases = b.data("bias", Data::I32(after.bias), 4);
    let roots = b.data("roots", roots(), 4);
    let to = b.port("y", y, Access::Write);
    let run = native(cx, &inner, &n)?;
    let way = if run.is_some() { "norm" } else { PORTABLE };
    let sums = run.as_ref().map(|_| b.place("sums", DType::I32, 2));
    outer.write(&mut b.k, &[0.into(), 0.into()], &mut |k, at| {
        let first = [at[0].clone(), at[1].clone(), int(0)];
        let n_zero = if n.centred { 0 } else { n.zero };
        if let (Some((moments, normalize)), Some(sums)) = (&run, sums) {
            k.call(moments, vec![from.from(at[1].clone()), sums.from(0)]);
            let sum = k.let_("sum", sums.at(0));
            // Of squares of differences to the zero point, where no mean is taken away.
            let squares = sums.at(1) - sum * (2 * n_zero) + n.n as i32 * n_zero * n_zero;
            let squares = k.let_("squares", squares);
            let squares: Expr = if n.narrow { squares.into() } else { squares.i64() };
            let (inverse, doublings) = row(k, (sum, squares), roots, &n);
            let (by, less, m) = steps(k, (inverse, doublings), sum, &n);
            let scalars = [by, less, m].map(|v| CallArg::Scalar(v.into()));
            let mut args =
                vec![from.from(at[1].clone()), gains.from(0), biases.from(0), to.from(at[0].clone())];
            args.extend(scalars);
            k.call(normalize, args);
            return;
        }
        let sum = k.var("sum", int(0));
        let whole = |v: Expr| if n.narrow { v } else { v.i64() };
        let squares = k.var("squares", whole(int(0)));
        inner.write(k, &first, &mut |k, at| {
            let q = k.let_("q", from.at(&at[1]));
            k.add_to(sum, q);
            let off = if n_zero == 0 { q.into() } else { k.let_("off", q - n_zero).into() };
            let off: Expr = off;
            k.add_to(squares, whole(off.clone() * off));
        });
        let (inverse, doublings) = row(k, (sum, squares.into()), roots, &n);
        let total: Expr = if n.centred { sum.into() } else { int(n.n as i32 * n.zero) };
        if n.n <= SHORT {
            let (by, less, m) = steps(k, (inverse, doublings), sum, &n);
            inner.write(k, &first, &mut |k, at| {
                let off = k.let_("off", from.at(&at[1]) * by - less);
                let value = k.let_("value", high_word(off, m));
                let steps = (value * gains.at(&at[2]) + biases.at(&at[2])) >> n.shift as i32;
                k.store(to, &at[0], steps.clamp(n.limits.0, n.limits.1));
            });
            return;
        }
        let m = k.let_("m", inverse << 14);
        let shift = k.let_("shift", int((44 + n.cut - n.bits) as i32) - doublings);
        inner.write(k, &first, &mut |k, at| {
            let off = k.let_("off", from.at(&at[1]) * n.n as i32 - total.clone());
            let args = vec![off.into(), m.into(), shift.into(), int(0), int(-32767), int(32767)];
            let value = k.let_("value", instr(&requantize_instr(), args));
            let steps = (value * gains.at(&at[2]) + biases.at(&at[2])) >> n.shift as i32;
            k.store(to, &at[0], steps.clamp(n.limits.0, n.limits.1));
        });
    });
    let offer = cx.here(b.offer(way))?;
    cx.offers.push(offer);
    Ok(())
}

/// What makes a short row's values of its elements: `(x * by - less) * m`, whose high word has the bits wanted.
fn steps(k: &mut KernelBuilder, (inverse, doublings): (Val, Val), sum: Val, n: &Numbers) -> (Val, Val, Val) {
    let lift = n.bits as i32 - 12 - n.cut as i32;
    let up = k.let_("up", doublings + lift.max(0));
    let by = k.let_("scaled", int(n.n as i32) << up);
    let total: Expr = if n.centred { sum.into() } else { int(n.n as i32 * n.zero) };
    let less = k.let_("less", total << up);
    let m = k.let_("m", inverse << (14 + lift.min(0)));
    (by, less, m)
}

/// The native kernels of a row's sums and of its results, where the core has them and the row lies side by side.
fn native(cx: &Cx<'_>, inner: &Nest, n: &Numbers) -> Result<Option<(Arc<Kernel>, Arc<Kernel>)>> {
    let side_by_side = inner.dims == [n.n] && inner.strides.iter().all(|s| s == &[1]);
    if !side_by_side || n.n > SHORT {
        return Ok(None);
    }
    let (lo, hi) = n.limits;
    let Some(moments) = cx.native(Run::Moments { n: n.n })? else { return Ok(None) };
    let normalize = cx.native(Run::Normalize { n: n.n, shift: n.shift, lo, hi })?;
    Ok(normalize.map(|normalize| (moments, normalize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::call::{Bind, Call};
    use crate::kernels::trial::{Random, run};

    #[test]
    fn inverse_roots_are_right_to_sixteen_bits() {
        let mut random = Random(5);
        let mut values: Vec<i64> = (0..500).map(|_| random.within(1 << 28, (1 << 30) - 1)).collect();
        values.extend([1 << 28, (1 << 30) - 1, (1 << 28) + (1 << 24), (1 << 28) + (1 << 24) - 1]);
        let mut k = KernelBuilder::new("inverse_root");
        let x = k.buffer("x", DType::I32, values.len(), Access::Read);
        let table = k.buffer("roots", DType::I32, 64, Access::Read);
        let y = k.buffer("y", DType::I32, values.len(), Access::Write);
        k.for_("i", 0, values.len(), |k, i| {
            let v = k.let_("v", x.at(i));
            let root = inverse_root(k, v, table);
            k.store(y, i, root);
        });
        let args = vec![Bind::Operand(0), Bind::aligned("roots", roots(), 4), Bind::Result(0)];
        let call = Call { kernel: k.finish().unwrap(), args };
        let data = Data::I32(values.iter().map(|&v| v as i32).collect());
        let Data::I32(found) = run(&call, &[data], DType::I32, values.len()) else { panic!() };
        for (v, found) in values.iter().zip(found) {
            let real = libm::ldexp(1.0, 30) / libm::sqrt(*v as f64);
            assert!((f64::from(found) - real).abs() <= 1.5, "{v}: {found}, not {real}");
        }
    }

    #[test]
    fn a_fraction_leaves_room_for_the_greatest_value() {
        for (n, bits) in [(1, 15), (2, 14), (4, 14), (5, 13), (64, 12), (65, 11), (1024, 10), (1 << 20, 5)] {
            assert_eq!(fraction(n), bits, "{n}");
        }
    }
}
