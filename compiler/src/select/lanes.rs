//! Operators that walk along one axis, or by index: reductions, cumulative sums, TopK, scatters.
//!
//! In: places of any type that is not quantized; a scatter that only moves, of any type. Out: one kernel each. Law: one accumulator goes over the
//! elements in their order, in floats as in integers, which wrap to their width.

use super::elementwise::{clamped, named, wrapped};
use super::reduce::split;
use super::{Cx, View, copy, reduce};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder, Ty, float, int, long};
use crate::kernels::axes::{Nest, signed};
use crate::kernels::call::Bind;
use crate::ops::{Joining, Reduce, Reducing, Scan, ScatterFlat, TopK};
use crate::tensor::DType;

fn plain(cx: &Cx<'_>, places: &[&View]) -> Result<()> {
    match places.iter().all(|p| p.quant.is_none()) {
        true => Ok(()),
        false => {
            Err(cx
                .unsupported("is not computed on integers of 8 bits; this node's values have to stay floats"))
        }
    }
}

/// The sum or product of two elements.
fn joined(a: Expr, b: Expr, product: bool, elem: DType) -> Expr {
    match (elem.is_float(), product) {
        (true, true) => a * b,
        (true, false) => a + b,
        (false, true) => wrapped(a.i64() * b.i64(), elem),
        (false, false) => wrapped(a.i64() + b.i64(), elem),
    }
}

fn whole(value: i64, elem: DType) -> Expr {
    match Ty::of(elem) {
        Ty::F32 => float(value as f32),
        Ty::I32 => int(value as i32),
        Ty::I64 => long(value),
    }
}

/// Unsigned integers of 64 bits lie in signed ones: turned so that they compare as what they are.
fn ordered(x: Expr, elem: DType) -> Expr {
    if elem == DType::U64 { x ^ long(i64::MIN) } else { x }
}

/// A reduction over axes.
pub(crate) fn reduction(cx: &mut Cx<'_>, op: &Reduce) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    match op.function {
        Reducing::Max if y.quant.is_some() => return reduce::maximum(cx, &op.axes),
        Reducing::Sum if y.quant.is_some() => return reduce::mean(cx, &op.axes, Some(1)),
        _ => plain(cx, &[&x, &y])?,
    }
    let clamp = cx.clamp();
    let r = split(&x, &y, &op.axes);
    let name = ["sum", "prod", "reduce_max", "reduce_min"][op.function as usize];
    let mut k = KernelBuilder::new(named(name, y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    let elem = x.elem;
    r.outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let start = match op.function {
            Reducing::Sum => whole(0, elem),
            Reducing::Prod => whole(1, elem),
            Reducing::Max if elem.is_float() => float(f32::NEG_INFINITY),
            Reducing::Min if elem.is_float() => float(f32::INFINITY),
            _ => from.at(&at[1]),
        };
        let best = k.var("best", start);
        r.inner.write(k, &at[1..], &mut |k, at| {
            let v = from.at(&at[0]);
            match op.function {
                Reducing::Sum | Reducing::Prod => {
                    k.set(best, joined(best.into(), v, op.function == Reducing::Prod, elem));
                }
                ends => {
                    let v: Expr = k.let_("v", v).into();
                    let (p, q) = (ordered(v.clone(), elem), ordered(best.into(), elem));
                    let better = if ends == Reducing::Max { p.gt(q) } else { p.lt(q) };
                    // What is no number stays.
                    let better = if elem.is_float() { v.differs(v.clone()).or(better) } else { better };
                    k.set(best, better.select(v, best));
                }
            }
        });
        k.store(to, &at[0], clamped(best.into(), clamp, elem));
    });
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

/// A cumulative sum or product.
pub(crate) fn scan(cx: &mut Cx<'_>, op: &Scan) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    plain(cx, &[&x, &y])?;
    let kept: Vec<usize> = (0..x.shape.len()).filter(|&a| a != op.axis).collect();
    let pick = |of: &[usize]| -> Vec<usize> { kept.iter().map(|&a| of[a]).collect() };
    let nest = Nest::new(&pick(&x.shape), &[signed(&pick(&y.strides)), signed(&pick(&x.strides))]);
    let n = x.shape[op.axis];
    let (sx, sy) = (x.strides[op.axis], y.strides[op.axis]);
    let mut k = KernelBuilder::new(named(if op.product { "cum_prod" } else { "cum_sum" }, y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let sum = k.var("sum", whole(op.product.into(), x.elem));
        k.for_("step", 0, n, |k, i| {
            let place: Expr = if op.reverse { int(n as i32 - 1) - i } else { i.into() };
            let place = k.let_("place", place);
            let next =
                k.let_("next", joined(sum.into(), from.at(at[1].clone() + place * sx), op.product, x.elem));
            k.store(to, at[0].clone() + place * sy, if op.exclusive { sum } else { next });
            k.set(sum, next);
        });
    });
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

/// The greatest or least elements of each lane, one search for each: the best of those that come after the
/// last one in order.
pub(crate) fn top_k(cx: &mut Cx<'_>, op: &TopK) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let places = if cx.node().outputs.len() > 1 { Some(cx.output(1)?) } else { None };
    if y.is_empty() {
        return Ok(());
    }
    plain(cx, &[&x, &y])?;
    let kept: Vec<usize> = (0..x.shape.len()).filter(|&a| a != op.axis).collect();
    let pick = |of: &[usize]| -> Vec<usize> { kept.iter().map(|&a| of[a]).collect() };
    let mut strides = vec![signed(&pick(&y.strides)), signed(&pick(&x.strides))];
    strides.extend(places.iter().map(|p| signed(&pick(&p.strides))));
    let nest = Nest::new(&pick(&x.shape), &strides);
    let (n, elem) = (x.shape[op.axis], x.elem);
    let mut k = KernelBuilder::new(named("top_k", elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    let index = places.as_ref().map(|p| p.param(&mut k, "places", Access::Write));
    let bases = vec![int(0); strides.len()];
    nest.write(&mut k, &bases, &mut |k, at| {
        let element = |i: Expr| from.at(at[1].clone() + i * x.strides[op.axis]);
        let before = |a: Expr, b: Expr| {
            let (a, b) = (ordered(a, elem), ordered(b, elem));
            if op.largest { a.gt(b) } else { a.lt(b) }
        };
        let last = k.var("last", element(int(0)));
        let last_at = k.var("last_at", int(-1));
        k.for_("j", 0, op.k, |k, j| {
            let best = k.var("best", element(int(0)));
            let best_at = k.var("best_at", int(-1));
            k.for_("i", 0, n, |k, i| {
                let v: Expr = k.let_("v", element(i.into())).into();
                let later =
                    v.equals(last).and(i.gt(last_at)).or(before(last.into(), v.clone())).or(last_at.lt(0));
                let better = best_at.lt(0).or(before(v.clone(), best.into()));
                k.if_(later.and(better), |k| {
                    k.set(best, v);
                    k.set(best_at, i);
                });
            });
            // Numbers that compare with none are never found: the first place stands for them.
            let found = k.let_("found", best_at.max(0));
            k.store(to, at[0].clone() + j * y.strides[op.axis], best);
            if let (Some(index), Some(p)) = (index, &places) {
                k.store(index, at[2].clone() + j * p.strides[op.axis], found.i64());
            }
            k.set(last, best);
            k.set(last_at, best_at);
        });
    });
    let mut args = vec![x.arg.clone(), y.arg.clone()];
    args.extend(places.map(|p| p.arg));
    cx.step(k, args)
}

/// A copy, unless the elements stand there already, and then one update after the other.
pub(crate) fn scatter(cx: &mut Cx<'_>, op: &ScatterFlat) -> Result<()> {
    let (x, at, updates, y) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let moves = !matches!(op.reduction, Joining::Add | Joining::Mul) && cx.clamp().is_none();
    if !moves || x.quant != y.quant || updates.quant != y.quant {
        plain(cx, &[&x, &updates, &y])?;
    }
    let (n, m, elem) = (y.len(), updates.len(), y.elem);
    if m == 0 {
        return copy::relayout(cx, &x, &y);
    }
    copy::relayout(cx, &x, &View { arg: Bind::ResultCopied, ..y.clone() })?;
    let mut k = KernelBuilder::new(named("scatter", elem));
    let places = at.param(&mut k, "indices", Access::Read);
    let values = updates.param(&mut k, "updates", Access::Read);
    let to = y.param(&mut k, "y", Access::ReadWrite);
    k.for_("j", 0, m, |k, j| {
        let raw = k.let_("raw", places.at(j));
        // From the end where it is negative.
        let turned = raw + ((raw >> 63) & long(n as i64));
        let i = k.let_("index", turned.clamp(long(0), long(n as i64 - 1)).i32());
        let new: Expr = k.let_("new", values.at(j)).into();
        let value = match op.reduction {
            Joining::Replace => new,
            Joining::Add | Joining::Mul => joined(to.at(i), new, op.reduction == Joining::Mul, elem),
            ends => {
                let old: Expr = k.let_("old", to.at(i)).into();
                let (a, b) = (ordered(new.clone(), elem), ordered(old.clone(), elem));
                let better = if ends == Joining::Max { a.gt(b) } else { a.lt(b) };
                better.select(new, old)
            }
        };
        k.store(to, i, value);
    });
    cx.step(k, vec![at.arg.clone(), updates.arg.clone(), y.arg.clone()])
}
