//! Between integers and reals: QuantizeLinear, DequantizeLinear, Requantize, Cast.

use super::copy::relayout;
use super::elementwise::{clamped, named, wrapped};
use super::{Cx, View, requantized};
use crate::arith::requant::{Output, multiplier};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, KernelBuilder, Ty, float, int, long};
use crate::kernels::axes::{Nest, broadcast, signed};
use crate::tensor::DType;

/// Requantize: the same real value stored otherwise, clamped by what is fused into the node.
pub(crate) fn requantize(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    if x.quant.is_some() && y.quant.is_some() {
        return match (x.elem, y.elem) {
            (DType::I8, DType::I8) => relayout(cx, &x, &y),
            _ if x.quant == y.quant && clamp.is_none() => relayout(cx, &x, &y),
            _ => rescaled(cx, &x, &y),
        };
    }
    let nest = Nest::new(&y.shape, &[signed(&y.strides), signed(&x.strides)]);
    let name = match (&x.quant, &y.quant) {
        (None, Some(_)) => named("quantize", y.elem),
        (Some(_), None) => named("dequantize", x.elem),
        _ => named("copy", y.elem),
    };
    let refusal = cx.unsupported("is quantized per channel at run time");
    let (from, to) = (x.affine(), y.affine());
    if (x.quant.is_some() && from.is_none()) || (y.quant.is_some() && to.is_none()) {
        return Err(refusal);
    }
    let limits = y.limits(clamp);
    let mut k = KernelBuilder::new(name);
    let source = x.param(&mut k, "x", Access::Read);
    let result = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let v = source.at(&at[1]);
        let value = match (from, to) {
            (None, Some((scale, zero))) => quantized(v / scale, zero.into(), limits),
            (Some((scale, zero)), None) => clamped((v - zero).f32() * scale, clamp, DType::F32),
            _ => clamped(v, clamp, y.elem),
        };
        k.store(result, &at[0], value);
    });
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

/// Integers of one scale as those of another, of which one has sixteen bits: by the multiplier and shift of products.
fn rescaled(cx: &mut Cx<'_>, x: &View, y: &View) -> Result<()> {
    let (Some((from, zero)), Some((to, zp))) = (x.affine(), y.affine()) else {
        return Err(cx.unsupported("is quantized per channel at run time"));
    };
    let by = cx.here(multiplier(f64::from(from) / f64::from(to)))?;
    let (lo, hi) = y.limits(cx.clamp());
    let nest = Nest::new(&y.shape, &[signed(&y.strides), signed(&x.strides)]);
    let mut k = KernelBuilder::new(format!("rescale_{}_{}", x.elem, y.elem));
    let source = x.param(&mut k, "x", Access::Read);
    let result = y.param(&mut k, "y", Access::Write);
    let mut args = vec![x.arg.clone(), y.arg.clone()];
    let scaled = requantized(&mut k, &mut args, by, Output { zp, lo, hi });
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        k.store(result, &at[0], scaled(source.at(&at[1]) - zero));
    });
    cx.step(k, args)
}

/// `clamp(round_half_even(steps) + zero)`; limited before the cast, so that nothing overflows.
fn quantized(steps: Expr, zero: Expr, (lo, hi): (i32, i32)) -> Expr {
    let near = steps.round().clamp(-200_000.0f32, 200_000.0f32);
    (near.i32() + zero).clamp(lo, hi)
}

/// Walks of x, scale and zero point along the result.
fn walks(y: &View, x: &View, parameters: &[&View], axis: Option<usize>) -> Nest {
    let mut strides = vec![signed(&y.strides), signed(&x.strides)];
    for p in parameters {
        strides.push((0..y.shape.len()).map(|a| isize::from(axis == Some(a) && p.len() > 1)).collect());
    }
    Nest::new(&y.shape, &strides)
}

/// QuantizeLinear as a node of its own, scale and zero point from anywhere.
pub(crate) fn quantize_linear(cx: &mut Cx<'_>, axis: Option<usize>) -> Result<()> {
    if cx.output(0)?.quant.is_some() {
        return requantize(cx);
    }
    let (x, scale, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let zero = if cx.operand(2).is_some() { Some(cx.input(2)?) } else { None };
    let mut parameters = vec![&scale];
    parameters.extend(zero.as_ref());
    let nest = walks(&y, &x, &parameters, axis);
    let limits = y.elem.range().map_or((0, 0), |(lo, hi)| (lo as i32, hi as i32));
    let mut k = KernelBuilder::new(named("quantize_linear", y.elem));
    let source = x.param(&mut k, "x", Access::Read);
    let scales = scale.param(&mut k, "scale", Access::Read);
    let zeros: Option<Buf> = zero.as_ref().map(|z| z.param(&mut k, "zero", Access::Read));
    let result = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &vec![int(0); nest.strides.len()], &mut |k, at| {
        let steps = source.at(&at[1]).f32() / scales.at(&at[2]);
        let zero = zeros.map_or(int(0), |z| z.at(&at[3]));
        k.store(result, &at[0], quantized(steps, zero, limits));
    });
    let mut args = vec![x.arg.clone(), scale.arg.clone()];
    args.extend(zero.map(|z| z.arg.clone()));
    args.push(y.arg.clone());
    cx.step(k, args)
}

/// DequantizeLinear as a node of its own.
pub(crate) fn dequantize_linear(cx: &mut Cx<'_>, axis: Option<usize>) -> Result<()> {
    if cx.input(0)?.quant.is_some() {
        return requantize(cx);
    }
    let (x, scale, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let zero = if cx.operand(2).is_some() { Some(cx.input(2)?) } else { None };
    let mut parameters = vec![&scale];
    parameters.extend(zero.as_ref());
    let nest = walks(&y, &x, &parameters, axis);
    let mut k = KernelBuilder::new(named("dequantize_linear", x.elem));
    let source = x.param(&mut k, "x", Access::Read);
    let scales = scale.param(&mut k, "scale", Access::Read);
    let zeros: Option<Buf> = zero.as_ref().map(|z| z.param(&mut k, "zero", Access::Read));
    let result = y.param(&mut k, "y", Access::Write);
    // 32-bit integers need one bit more for the difference.
    let wide = x.elem.size() > 2;
    nest.write(&mut k, &vec![int(0); nest.strides.len()], &mut |k, at| {
        let mut v = source.at(&at[1]);
        if let Some(z) = zeros {
            let z = z.at(&at[3]);
            v = if wide { v.i64() - z.i64() } else { v - z };
        }
        k.store(result, &at[0], clamped(v.f32() * scales.at(&at[2]), clamp, DType::F32));
    });
    let mut args = vec![x.arg.clone(), scale.arg.clone()];
    args.extend(zero.map(|z| z.arg.clone()));
    args.push(y.arg.clone());
    cx.step(k, args)
}

/// Cast: floats truncate and saturate, integers wrap, anything but zero is true.
pub(crate) fn cast(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if x.quant.is_some() && y.quant.is_some() {
        return relayout(cx, &x, &y);
    }
    if x.quant.is_some() || y.quant.is_some() {
        return Err(cx.unsupported("casts between a quantized value and plain numbers"));
    }
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let nest = Nest::new(&y.shape, &[signed(&y.strides), broadcast(&x.shape, &x.strides, &y.shape)]);
    let mut k = KernelBuilder::new(format!("cast_{}_{}", x.elem, y.elem));
    let source = x.param(&mut k, "x", Access::Read);
    let result = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let v = k.let_("v", source.at(&at[1]));
        let value = converted(v.into(), x.elem, y.elem);
        k.store(result, &at[0], clamped(value, clamp, y.elem));
    });
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

fn converted(v: Expr, from: DType, to: DType) -> Expr {
    let zero = match Ty::of(from) {
        Ty::F32 => float(0.0),
        Ty::I64 => long(0),
        Ty::I32 => int(0),
    };
    match (from, to) {
        _ if from == to => v,
        (_, DType::Bool) => v.differs(zero),
        // The upper half of u64 is negative as loaded: halved, rounded, doubled.
        (DType::U64, DType::F32) => {
            let half = ((v.clone() >> 1) & long(i64::MAX)) | (v.clone() & long(1));
            v.lt(long(0)).select(half.f32() * 2.0f32, v.f32())
        }
        (_, DType::F32) => v.f32(),
        (DType::F32, DType::I64) => v.i64(),
        (DType::F32, DType::U64) => {
            let high = (v.clone() - 9_223_372_036_854_775_808.0f32).i64() ^ long(i64::MIN);
            let low = v.max(0.0f32).i64();
            v.ge(9_223_372_036_854_775_808.0f32).select(high, low)
        }
        (DType::F32, _) => {
            let (lo, hi) = to.range().map_or((0, 0), |(lo, hi)| (lo as i64, hi as i64));
            let value = v.i64().clamp(long(lo), long(hi));
            if Ty::of(to) == Ty::I32 { value.i32() } else { value }
        }
        _ => wrapped(v.i64(), to),
    }
}
