//! Reductions over axes: means, maxima, ArgMax.
//!
//! In: an operand, a result, and the axes that disappear. Out: loops over the result around
//! loops over the axes. Quantized means are sums requantized once, by 1 / count with the
//! ratio of scales.

use super::copy::requantizing;
use super::elementwise::{affine_of_either, clamped, mapped, named};
use super::{Cx, View, requantized, ties_to_even};
use crate::arith::requant::{Output, multiplier};
use crate::error::Result;
use crate::kernel::{Access, CallArg, Expr, KernelBuilder, Ty, float, int, long};
use crate::kernels::axes::{Nest, signed};
use crate::kernels::call::Bind;
use crate::kernels::vector::{Averaging, RUN_LEAST, Run, Windows};
use crate::tensor::DType;

/// The two nests of a reduction: `outer` walks result and operand, `inner` the operand alone.
pub(crate) struct Reduction {
    pub outer: Nest,
    pub inner: Nest,
    /// Elements reduced to one.
    pub count: usize,
}

/// Splits the axes of `x`. The result has the kept axes, reduced ones of size one or gone.
pub(crate) fn split(x: &View, y: &View, axes: &[usize]) -> Reduction {
    let kept: Vec<usize> = (0..x.shape.len()).filter(|a| !axes.contains(a)).collect();
    let keepdims = y.shape.len() == x.shape.len();
    let pick = |of: &[usize], axes: &[usize]| -> Vec<usize> { axes.iter().map(|&a| of[a]).collect() };
    let y_strides = if keepdims { pick(&y.strides, &kept) } else { y.strides.clone() };
    let outer = Nest::new(&pick(&x.shape, &kept), &[signed(&y_strides), signed(&pick(&x.strides, &kept))]);
    let inner = Nest::new(&pick(&x.shape, axes), &[signed(&pick(&x.strides, axes))]);
    Reduction { outer, inner, count: axes.iter().map(|&a| x.shape[a]).product() }
}

/// The reduction as windows, one for each run of kept elements that lie side by side, and the
/// loops around them.
fn windows(r: &Reduction) -> Option<(Nest, Windows)> {
    let (outer, n) = r.outer.runs(RUN_LEAST)?;
    let positive = |s: &isize| usize::try_from(*s).ok();
    let pitch: Vec<usize> = r.inner.strides[0].iter().map(positive).collect::<Option<_>>()?;
    let (taps, pitch) = match (r.inner.dims.as_slice(), pitch.as_slice()) {
        ([], []) => ([1, 1], [0, 0]),
        (&[a], &[p]) => ([1, a], [0, p]),
        (&[a, b], &[p, q]) => ([a, b], [p, q]),
        _ => return None,
    };
    Some((outer, Windows::new(n, taps, pitch, 1, [0, 0])))
}

/// Elements whose sum, less as many zero points, fits 31 bits.
pub(super) fn most_summed(elem: DType) -> usize {
    if elem == DType::I16 { 1 << 14 } else { 1 << 22 }
}

/// The integers of a type of eight or sixteen bits.
pub(super) fn stored(elem: DType) -> (i32, i32) {
    if elem == DType::I16 { (i16::MIN.into(), i16::MAX.into()) } else { (-128, 127) }
}

/// The mean over axes, or the sum divided by another number than the count of elements.
pub(crate) fn mean(cx: &mut Cx<'_>, axes: &[usize], divisor: Option<usize>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let r = split(&x, &y, axes);
    if r.count == 0 {
        return Err(cx.unsupported("takes the mean of nothing"));
    }
    let clamp = cx.clamp();
    let mut k = KernelBuilder::new(named("mean", y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    let mut args = vec![x.arg.clone(), y.arg.clone()];
    if y.quant.is_none() {
        if !y.elem.is_float() {
            return Err(cx.unsupported("takes the mean of integers; cast them to float"));
        }
        r.outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
            let sum = k.var("sum", float(0.0));
            r.inner.write(k, &at[1..], &mut |k, at| k.add_to(sum, from.at(&at[0])));
            k.store(to, &at[0], clamped(sum / r.count as f32, clamp, DType::F32));
        });
        return cx.step(k, args);
    }
    let ((si, zi), (so, zo)) = (affine_of_either(cx, &x)?, affine_of_either(cx, &y)?);
    if r.count > most_summed(x.elem) {
        return Err(cx.unsupported("sums so many elements that they leave 32-bit accumulators"));
    }
    let (lo, hi) = y.limits(clamp);
    let by = multiplier(si / so / divisor.unwrap_or(r.count) as f64).map_err(|e| e.at(cx.node().site()))?;
    if x.elem == DType::I8
        && y.elem == DType::I8
        && let Some((outer, windows)) = windows(&r)
        && let Some((Averaging { m, rnd, sh, up }, even)) = Averaging::one(by, zo, r.count)
        && let Some(run) = cx.native(Run::Mean { windows, up, sh, lo, hi, even })?
    {
        let given = k.like(&run, 2);
        outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
            let mut args = vec![from.from(&at[1]), to.from(&at[0])];
            args.extend(given.iter().map(|&s| CallArg::Scalar(s.into())));
            k.call(&run, args);
        });
        args.extend([-zi * r.count as i32, m[0], rnd].map(Bind::Scalar));
        return cx.step(k, args);
    }
    let offset = k.scalar("offset", -(128 << 22), 128 << 22);
    args.push(Bind::Scalar(-zi * r.count as i32));
    let apply = requantized(&mut k, &mut args, by, Output { zp: zo, lo, hi });
    r.outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let sum = k.var("sum", offset);
        r.inner.write(k, &at[1..], &mut |k, at| k.add_to(sum, from.at(&at[0])));
        k.store(to, &at[0], apply(ties_to_even(by, sum.into())));
    });
    cx.step(k, args)
}

/// What is below every element: where a maximum starts.
pub(crate) fn lowest(elem: DType) -> Expr {
    match (Ty::of(elem), elem.range()) {
        (Ty::F32, _) | (_, None) => float(f32::MIN),
        (Ty::I32, Some((lo, _))) => int(lo as i32),
        (Ty::I64, Some((lo, _))) => long(lo as i64),
    }
}

/// The maximum over axes.
pub(crate) fn maximum(cx: &mut Cx<'_>, axes: &[usize]) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let r = split(&x, &y, axes);
    let clamp = cx.clamp();
    let table = requantizing(cx, &x, &y)?;
    if x.elem == DType::I8
        && y.quant.is_some()
        && let Some((outer, windows)) = windows(&r)
        && let Some(run) = cx.native(Run::Max { windows })?
    {
        let mut k = KernelBuilder::new("max_s8");
        let from = x.param(&mut k, "x", Access::Read);
        let to = y.param(&mut k, "y", Access::Write);
        outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
            k.call(&run, vec![from.from(&at[1]), to.from(&at[0])]);
        });
        cx.step(k, vec![x.arg.clone(), y.arg.clone()])?;
        return table.map_or(Ok(()), |table| mapped(cx, &y, &y, table));
    }
    let mut k = KernelBuilder::new(named("max", y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let map = table.as_ref().map(|_| k.buffer("table", y.elem, 256, Access::Read));
    let to = y.param(&mut k, "y", Access::Write);
    r.outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let best = k.var("best", lowest(x.elem));
        r.inner.write(k, &at[1..], &mut |k, at| k.set(best, best.max(from.at(&at[0]))));
        let value = match map {
            Some(map) => map.at(best.clamp(-128, 127) + 128),
            None if y.quant.is_some() => best.into(),
            None => clamped(best.into(), clamp, y.elem),
        };
        k.store(to, &at[0], value);
    });
    cx.step(k, [Some(x.arg.clone()), table, Some(y.arg.clone())].into_iter().flatten().collect())
}

/// The index of the greatest element along an axis; quantization keeps the order.
pub(crate) fn arg_max(cx: &mut Cx<'_>, axis: usize, last: bool) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let r = split(&x, &y, &[axis]);
    let (n, stride) = (x.shape[axis], x.strides[axis]);
    let mut k = KernelBuilder::new(named("arg_max", x.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    r.outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let best = k.var("best", from.at(&at[1]));
        let index = k.var("index", int(0));
        k.for_("i", 1, n, |k, i| {
            let v = k.let_("v", from.at(at[1].clone() + i * stride));
            let better = if last { v.ge(best) } else { v.gt(best) };
            k.if_(better, |k| {
                k.set(best, v);
                k.set(index, i);
            });
        });
        k.store(to, &at[0], index.i64());
    });
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}
