//! Elementwise operators with NumPy broadcasting, in float, in integers, and quantized.
//!
//! In: operands and results as places. Out: one nest of loops per node. Any function of one
//! quantized operand is a table of 256 bytes, made by the operator's own float meaning;
//! quantized sums are integer with 20-bit multipliers, products go through the shared
//! requantization.

use super::normalize::scaled;
use super::{Cx, View, quantize, requantized, wide};
use crate::arith::requant::{HIGH_SHIFT, Multiplier, Output, high, multiplier};
use crate::error::Result;
use crate::graph::Clamp;
use crate::kernel::{Access, CallArg, Expr, KernelBuilder, Ty, float, instr, long};
use crate::kernels::axes::{Nest, broadcast, signed};
use crate::kernels::call::Bind;
use crate::kernels::rounding::requantize_instr;
use crate::kernels::vector::{RUN_LEAST, Run};
use crate::ops::Arith;
use crate::tensor::{DType, Data, Tensor};

/// `op_s8` and the like: the house's names of kernels.
pub(crate) fn named(op: &str, elem: DType) -> String {
    let suffix = match elem {
        DType::I8 => "s8",
        DType::I16 => "s16",
        DType::I32 => "s32",
        DType::I64 => "s64",
        other => other.name(),
    };
    format!("{op}_{suffix}")
}

/// The fused activation on a float or integer expression, in `max`, `min` order.
pub(crate) fn clamped(value: Expr, clamp: Clamp, elem: DType) -> Expr {
    let mut value = value;
    let lit = |x: f32| -> Expr {
        match Ty::of(elem) {
            Ty::F32 => float(x),
            _ => long(x as i64),
        }
    };
    if clamp.lo > f32::NEG_INFINITY {
        value = value.max(lit(clamp.lo));
    }
    if clamp.hi < f32::INFINITY {
        value = value.min(lit(clamp.hi));
    }
    value
}

/// A table of 256 bytes by `stored + 128`, for a function of reals between two quantized
/// values: dequantize, apply, clamp, quantize half to even, all in f32 as ONNX has it.
pub(crate) fn map_table(
    cx: &mut Cx<'_>,
    from: &View,
    to: &View,
    f: impl FnOnce(&[f32]) -> Result<Vec<f32>>,
) -> Result<Bind> {
    let (Some((si, zi)), Some((so, zo))) = (from.affine(), to.affine()) else {
        return Err(cx.unsupported("is quantized per channel or on one side only"));
    };
    if from.elem != DType::I8 || to.elem != DType::I8 {
        return Err(cx.unsupported("only 8-bit quantized values are supported"));
    }
    let clamp = cx.clamp();
    let reals: Vec<f32> = (-128..=127).map(|q| (q - zi) as f32 * si).collect();
    let stored = |y: f32| quantize(y.max(clamp.lo).min(clamp.hi), so, zo, -128, 127) as i8;
    let table = f(&reals)?.into_iter().map(stored).collect();
    Ok(cx.constant("table", Data::I8(table), 1))
}

/// One byte for another, by table.
pub(crate) fn mapped(cx: &mut Cx<'_>, x: &View, y: &View, table: Bind) -> Result<()> {
    let nest = Nest::new(&y.shape, &[signed(&y.strides), broadcast(&x.shape, &x.strides, &y.shape)]);
    let mut k = KernelBuilder::new("table_s8");
    let from = x.param(&mut k, "x", Access::Read);
    let map = k.buffer("table", DType::I8, 256, Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    if let Some((outer, n)) = nest.runs(RUN_LEAST)
        && let Some(run) = cx.native(Run::Table { n })?
    {
        outer.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
            k.call(&run, vec![from.from(&at[1]), map.from(0), to.from(&at[0])]);
        });
        return cx.step(k, vec![x.arg.clone(), table, y.arg.clone()]);
    }
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        k.store(to, &at[0], map.at(from.at(&at[1]) + 128));
    });
    cx.step(k, vec![x.arg.clone(), table, y.arg.clone()])
}

/// A function of one operand: by `f` on the loaded element, or by table when quantized.
pub(crate) fn unary(cx: &mut Cx<'_>, name: &str, f: impl Fn(Expr) -> Expr) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    if y.quant.is_some() {
        let op = &cx.node().op;
        let table = map_table(cx, &x, &y, |reals| meaning(op, |_| Some(reals)))?;
        return mapped(cx, &x, &y, table);
    }
    let clamp = cx.clamp();
    let nest = Nest::new(&y.shape, &[signed(&y.strides), signed(&x.strides)]);
    let mut k = KernelBuilder::new(named(name, y.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let to = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into(), 0.into()], &mut |k, at| {
        let value = k.let_("v", from.at(&at[1]));
        let value = f(value.into());
        k.store(to, &at[0], clamped(value, clamp, y.elem));
    });
    cx.step(k, vec![x.arg.clone(), y.arg.clone()])
}

/// Clip by limits in the type of the element; the lower one first, so that the upper one wins
/// where they cross. Limits beyond the type limit nothing.
pub(crate) fn clip(cx: &mut Cx<'_>, min: Option<f64>, max: Option<f64>) -> Result<()> {
    let elem = cx.output(0)?.elem;
    let lit = |v: f64| -> Expr {
        match elem.range() {
            None => float(v as f32),
            // `as` saturates; what u64 loads as is signed.
            Some((lo, hi)) => long((v as i128).clamp(lo, hi).min(i64::MAX.into()) as i64),
        }
    };
    unary(cx, "clip", |x: Expr| {
        let x = min.map_or(x.clone(), |lo| x.max(lit(lo)));
        max.map_or(x.clone(), |hi| x.min(lit(hi)))
    })
}

/// The operator's float meaning on vectors; `operand(i)` gives operand `i`.
fn meaning<'r>(op: &crate::ops::Op, operand: impl Fn(usize) -> Option<&'r [f32]>) -> Result<Vec<f32>> {
    let tensors: Vec<Tensor> = (0..)
        .map_while(|i| operand(i).filter(|_| i < 2))
        .map(|v| Tensor::f32(&[v.len()], v.to_vec()))
        .collect();
    // Operators of one operand refuse a second one.
    let count = if op.unary().is_some() { 1 } else { tensors.len() };
    let inputs: Vec<Option<&Tensor>> = tensors.iter().take(count).map(Some).collect();
    Ok(op.eval(&inputs)?.first().map_or(Vec::new(), Tensor::to_f32_vec))
}

impl Arith {
    fn name(self) -> &'static str {
        match self {
            Arith::Add => "add",
            Arith::Sub => "sub",
            Arith::Mul => "mul",
            Arith::Div => "div",
        }
    }
    fn apply(self, a: Expr, b: Expr) -> Expr {
        match self {
            Arith::Add => a + b,
            Arith::Sub => a - b,
            Arith::Mul => a * b,
            Arith::Div => a / b,
        }
    }
}

/// Two operands and a result with their walks melted into loops.
pub(super) struct Pair {
    pub(super) a: View,
    pub(super) b: View,
    pub(super) y: View,
    pub(super) nest: Nest,
}

/// Add, Sub, Mul or Div of two operands.
pub(crate) fn binary(cx: &mut Cx<'_>, op: Arith) -> Result<()> {
    let y = cx.output(0)?;
    if y.is_empty() {
        return Ok(());
    }
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let wide = y.quant.is_some() && op != Arith::Div && [&a, &b, &y].iter().any(|v| v.elem == DType::I16);
    if y.quant.is_some() && !wide && one_operand(cx, &y)? {
        return Ok(());
    }
    let nest = Nest::new(
        &y.shape,
        &[
            signed(&y.strides),
            broadcast(&a.shape, &a.strides, &y.shape),
            broadcast(&b.shape, &b.strides, &y.shape),
        ],
    );
    let pair = Pair { a, b, y, nest };
    if pair.y.quant.is_none() {
        return plain(cx, op, &pair);
    }
    if wide {
        return wide::binary(cx, op, &pair);
    }
    if let Some(real) = (0..2).find(|&i| [&pair.a, &pair.b][i].quant.is_none()) {
        return by_constant(cx, op, &pair, real);
    }
    match op {
        Arith::Add => sum(cx, &pair, 1.0),
        Arith::Sub => sum(cx, &pair, -1.0),
        Arith::Mul => product(cx, &pair),
        Arith::Div => quotient(cx, &pair),
    }
}

/// Floats as they are; integers wrap to the width of the result as in ONNX's references.
fn plain(cx: &mut Cx<'_>, op: Arith, p: &Pair) -> Result<()> {
    let clamp = cx.clamp();
    let elem = p.y.elem;
    let mut k = KernelBuilder::new(named(op.name(), elem));
    let x0 = p.a.param(&mut k, "a", Access::Read);
    let x1 = p.b.param(&mut k, "b", Access::Read);
    let to = p.y.param(&mut k, "y", Access::Write);
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let (a, b) = (x0.at(&at[1]), x1.at(&at[2]));
        if elem.is_float() {
            k.store(to, &at[0], clamped(op.apply(a, b), clamp, elem));
            return;
        }
        let wide = match op {
            // A zero divisor is the caller's mistake; any value may come out, but no trap.
            // Division by magnitude shows the proof that there is none.
            Arith::Div => {
                let d = k.let_("d", b.i64());
                let q = k.let_("q", a.i64() / d.max(-d).max(long(1)));
                d.lt(long(0)).select(-q, q)
            }
            _ => op.apply(a.i64(), b.i64()),
        };
        let value = clamped(wrapped(wide, elem), clamp, elem);
        k.store(to, &at[0], value);
    });
    cx.step(k, vec![p.a.arg.clone(), p.b.arg.clone(), p.y.arg.clone()])
}

/// An I64 expression reduced to what `elem` can hold, modulo its width, in the type that
/// stores to it take.
pub(crate) fn wrapped(value: Expr, elem: DType) -> Expr {
    let signed = |value: Expr, bits: u32| {
        let (mask, sign) = ((1i64 << bits) - 1, 1i64 << (bits - 1));
        ((value & long(mask)) ^ long(sign)) - long(sign)
    };
    match elem {
        DType::Bool => value.differs(long(0)),
        DType::I8 => signed(value, 8).i32(),
        DType::I16 => signed(value, 16).i32(),
        DType::I32 => signed(value, 32).i32(),
        DType::U8 => (value & long(0xff)).i32(),
        DType::U16 => (value & long(0xffff)).i32(),
        DType::U32 => value & long(0xffff_ffff),
        DType::I64 | DType::U64 => value,
        DType::F32 => value.f32(),
    }
}

/// A quantized function of one operand only (the other is one constant, or both are the same
/// value): a table. False when it is not one.
fn one_operand(cx: &mut Cx<'_>, y: &View) -> Result<bool> {
    let op = &cx.node().op;
    let real = |cx: &Cx<'_>, i: usize| -> Result<Option<f32>> {
        Ok(match cx.need(i)?.real_constant() {
            Some(t) if t.len() == 1 => t.to_f32_vec().first().copied(),
            _ => None,
        })
    };
    let (first, second) = (real(cx, 0)?, real(cx, 1)?);
    let same = cx.node().inputs[0] == cx.node().inputs[1];
    let (index, constant) = match (first, second) {
        (None, Some(c)) => (0, Some(vec![c; 256])),
        (Some(c), None) => (1, Some(vec![c; 256])),
        (None, None) if same => (0, None),
        _ => return Ok(false),
    };
    if cx.need(index)?.constant().is_some() {
        return Ok(false);
    }
    let x = cx.input(index)?;
    let table = map_table(cx, &x, y, |reals| {
        let other = constant.as_deref().unwrap_or(reals);
        meaning(op, |i| match i {
            i if i == index => Some(reals),
            0 | 1 => Some(other),
            _ => None,
        })
    })?;
    mapped(cx, &x, y, table)?;
    Ok(true)
}

/// A quantized operand and real constants, operand `real`: gain and offset for each of these.
fn by_constant(cx: &mut Cx<'_>, op: Arith, p: &Pair, real: usize) -> Result<()> {
    let c: Vec<f64> = match cx.need(real)?.constant() {
        Some(t) if t.dtype() == DType::F32 => t.to_f64_vec(),
        _ => return Err(cx.unsupported("computes with integers and with floats that only the run knows")),
    };
    let (gain, offset): (Vec<f64>, Vec<f64>) = c
        .iter()
        .map(|&c| match (op, real) {
            (Arith::Add, _) => (1.0, c),
            (Arith::Sub, 1) => (1.0, -c),
            (Arith::Sub, _) => (-1.0, c),
            (Arith::Mul, _) => (c, 0.0),
            (Arith::Div, _) => (1.0 / c, 0.0),
        })
        .unzip();
    if op == Arith::Div && real == 0 {
        return Err(cx.unsupported("divides a constant that is not stored as integers"));
    }
    let (x, constant) = if real == 1 { (&p.a, &p.b) } else { (&p.b, &p.a) };
    let walk = |loc: &View| broadcast(&loc.shape, &loc.strides, &p.y.shape);
    let nest = Nest::new(&p.y.shape, &[signed(&p.y.strides), walk(x), walk(constant)]);
    scaled(cx, &format!("{}_constant_s8", op.name()), x, &p.y, &nest, &gain, &offset)
}

/// Scale and zero point of a place of eight bits, or a refusal.
pub(crate) fn affine(cx: &Cx<'_>, loc: &View) -> Result<(f64, i32)> {
    match loc.affine() {
        Some((scale, zero)) if loc.elem == DType::I8 => Ok((f64::from(scale), zero)),
        _ => Err(cx.unsupported("only values quantized to 8 bits per tensor are supported")),
    }
}

/// The same of a place of eight or sixteen bits.
pub(crate) fn affine_of_either(cx: &Cx<'_>, loc: &View) -> Result<(f64, i32)> {
    match loc.affine() {
        Some((scale, zero)) if loc.elem == DType::I16 => Ok((f64::from(scale), zero)),
        _ => affine(cx, loc),
    }
}

/// Bits of a multiplier in the 32-bit sum: two products of 8 by 20 bits, their zero points,
/// the result's zero point shifted by at most 22 and the rounding constant fit 31 bits.
const SUM_BITS: i32 = 20;
const SUM_SHIFT: i32 = 22;

/// `(a * ma + b * mb + c) >> s`: zero points and rounding are in `c`.
fn sum(cx: &mut Cx<'_>, p: &Pair, sign: f64) -> Result<()> {
    let ((sa, za), (sb, zb), (so, zo)) = (affine(cx, &p.a)?, affine(cx, &p.b)?, affine(cx, &p.y)?);
    let (lo, hi) = p.y.limits(cx.clamp());
    let (ra, rb) = (sa / so, sign * sb / so);
    let (_, exponent) = libm::frexp(ra.max(rb.abs()));
    let s = (SUM_BITS - exponent).min(SUM_SHIFT);
    // Below this shift the rounding of the multipliers could be seen in the result.
    if s < 12 {
        return wide_sum(cx, p, ra, rb);
    }
    let scaled = |r: f64| libm::rint(libm::ldexp(r, s)) as i32;
    let (ma, mb) = (scaled(ra), scaled(rb));
    let c = (zo << s) + (1 << (s - 1)) - za * ma - zb * mb;
    if in_runs(cx, p, &|n| Run::Sum { n, shift: s as u32, lo, hi }, "add_s8", &[ma, mb, c])? {
        return Ok(());
    }
    let mut k = KernelBuilder::new("add_s8");
    let x0 = p.a.param(&mut k, "a", Access::Read);
    let x1 = p.b.param(&mut k, "b", Access::Read);
    let to = p.y.param(&mut k, "y", Access::Write);
    let most = 1 << SUM_BITS;
    let wa = k.scalar("ma", 0, most);
    let wb = k.scalar("mb", -most, most);
    let offset = k.scalar("c", -(5 << 28), 5 << 28);
    let shift = k.scalar("s", 12, SUM_SHIFT);
    let low = k.scalar("lo", -128, 127);
    let high = k.scalar("hi", -128, 127);
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let acc = x0.at(&at[1]) * wa + x1.at(&at[2]) * wb + offset;
        k.store(to, &at[0], (acc >> shift).clamp(low, high));
    });
    let mut args = vec![p.a.arg.clone(), p.b.arg.clone(), p.y.arg.clone()];
    args.extend([ma, mb, c, s, lo, hi].map(Bind::Scalar));
    cx.step(k, args)
}

/// The operation by the core's native kernels, `scalars` behind the operands; false where it
/// has none or the operands do not lie side by side.
fn in_runs(
    cx: &mut Cx<'_>,
    p: &Pair,
    run: &dyn Fn(usize) -> Run,
    name: &str,
    scalars: &[i32],
) -> Result<bool> {
    let Some((outer, n)) = p.nest.runs(RUN_LEAST) else { return Ok(false) };
    let Some(kernel) = cx.native(run(n))? else { return Ok(false) };
    let mut k = KernelBuilder::new(name);
    let a = p.a.param(&mut k, "a", Access::Read);
    let b = p.b.param(&mut k, "b", Access::Read);
    let y = p.y.param(&mut k, "y", Access::Write);
    let given = k.like(&kernel, 3);
    outer.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let mut args = vec![a.from(&at[1]), b.from(&at[2]), y.from(&at[0])];
        args.extend(given.iter().map(|&s| CallArg::Scalar(s.into())));
        k.call(&kernel, args);
    });
    let mut args = vec![p.a.arg.clone(), p.b.arg.clone(), p.y.arg.clone()];
    args.extend(scalars.iter().map(|&s| Bind::Scalar(s)));
    cx.step(k, args)?;
    Ok(true)
}

/// The sum for scales more than 2^8 apart, in 64 bits.
fn wide_sum(cx: &mut Cx<'_>, p: &Pair, ra: f64, rb: f64) -> Result<()> {
    let ((_, za), (_, zb), (_, zo)) = (affine(cx, &p.a)?, affine(cx, &p.b)?, affine(cx, &p.y)?);
    let (lo, hi) = p.y.limits(cx.clamp());
    let (_, exponent) = libm::frexp(ra.max(rb.abs()));
    let s = 46 - exponent;
    if s < 1 {
        return Err(cx.unsupported("the scales of operand and result are more than 2^45 apart"));
    }
    let scaled = |r: f64| libm::rint(libm::ldexp(r, s)) as i64;
    let (ma, mb) = (scaled(ra), scaled(rb));
    let c = (1i64 << (s - 1)) - i64::from(za) * ma - i64::from(zb) * mb;
    let mut k = KernelBuilder::new("add_wide_s8");
    let x0 = p.a.param(&mut k, "a", Access::Read);
    let x1 = p.b.param(&mut k, "b", Access::Read);
    let to = p.y.param(&mut k, "y", Access::Write);
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let acc = x0.at(&at[1]).i64() * long(ma) + x1.at(&at[2]).i64() * long(mb) + long(c);
        let value = (acc >> s) + long(zo.into());
        k.store(to, &at[0], value.clamp(long(lo.into()), long(hi.into())).i32());
    });
    cx.step(k, vec![p.a.arg.clone(), p.b.arg.clone(), p.y.arg.clone()])
}

fn product(cx: &mut Cx<'_>, p: &Pair) -> Result<()> {
    let ((sa, za), (sb, zb), (so, zo)) = (affine(cx, &p.a)?, affine(cx, &p.b)?, affine(cx, &p.y)?);
    let (lo, hi) = p.y.limits(cx.clamp());
    let by = multiplier(sa * sb / so).map_err(|e| e.at(cx.node().site()))?;
    if let Multiplier { m, s: s @ HIGH_SHIFT.. } = by {
        let (rnd, sh) = high(s, zo);
        if in_runs(cx, p, &|n| Run::Product { n, sh, lo, hi }, "mul_s8", &[za, zb, m, rnd])? {
            return Ok(());
        }
    }
    let mut k = KernelBuilder::new("mul_s8");
    let x0 = p.a.param(&mut k, "a", Access::Read);
    let x1 = p.b.param(&mut k, "b", Access::Read);
    let to = p.y.param(&mut k, "y", Access::Write);
    let zero_a = k.scalar("za", -128, 127);
    let zero_b = k.scalar("zb", -128, 127);
    let mut args =
        vec![p.a.arg.clone(), p.b.arg.clone(), p.y.arg.clone(), Bind::Scalar(za), Bind::Scalar(zb)];
    let apply = requantized(&mut k, &mut args, by, Output { zp: zo, lo, hi });
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let acc = (x0.at(&at[1]) - zero_a) * (x1.at(&at[2]) - zero_b);
        k.store(to, &at[0], apply(acc));
    });
    cx.step(k, args)
}

/// The quotient by a table of reciprocals, so that nothing divides and no branch depends on data.
/// With 23 fraction bits a dividend of 255 steps is wrong by less than 2e-5 of a step. A zero
/// divisor saturates by the sign of the dividend, as an infinite quotient does.
fn quotient(cx: &mut Cx<'_>, p: &Pair) -> Result<()> {
    const BITS: i32 = 23;
    let ((sb, zb), (so, zo)) = (affine(cx, &p.b)?, affine(cx, &p.y)?);
    let (sa, za) = match p.a.affine() {
        // A constant dividend of sixteen bits.
        Some((scale, zero)) if p.a.elem == DType::I16 => (f64::from(scale), zero),
        _ => affine(cx, &p.a)?,
    };
    let (lo, hi) = p.y.limits(cx.clamp());
    // What does not fit 31 bits is a quotient of 256 steps and more for every dividend but zero.
    let most = f64::from(i32::MAX);
    let reciprocal = |stored: i32| match stored - zb {
        0 => i32::MAX,
        d => libm::rint(libm::ldexp(sa / sb / so / f64::from(d), BITS)).clamp(-most, most) as i32,
    };
    let table = cx.constant("reciprocal", Data::I32((-128..=127).map(reciprocal).collect()), 4);
    let mut k = KernelBuilder::new("div_s8");
    let x0 = p.a.param(&mut k, "a", Access::Read);
    let x1 = p.b.param(&mut k, "b", Access::Read);
    let reciprocals = k.buffer("reciprocal", DType::I32, 256, Access::Read);
    let to = p.y.param(&mut k, "y", Access::Write);
    let zero = k.scalar("za", -128, 127);
    let out = [k.scalar("zp", -128, 127), k.scalar("lo", -128, 127), k.scalar("hi", -128, 127)];
    p.nest.write(&mut k, &[0.into(), 0.into(), 0.into()], &mut |k, at| {
        let by = reciprocals.at(x1.at(&at[2]) + 128);
        let mut all = vec![x0.at(&at[1]) - zero, by, BITS.into()];
        all.extend(out.iter().map(|&v| Expr::from(v)));
        k.store(to, &at[0], instr(&requantize_instr(), all));
    });
    let mut args = vec![p.a.arg.clone(), p.b.arg.clone(), table, p.y.arg.clone()];
    args.extend([za, zo, lo, hi].map(Bind::Scalar));
    cx.step(k, args)
}
