//! Reductions, limits and choices made of element-wise operators.

use super::build::{Builder, Expanded, int};
use crate::error::Result;
use crate::ops::check::{axis, refuse, size};
use crate::ops::{ParseCx, reduced_axes};
use crate::tensor::{DType, Tensor};

/// Whether the first of two operands is the constant one: then they change places.
pub(super) fn leads_with_constant(cx: &ParseCx<'_>) -> bool {
    matches!(cx.inputs, [Some(a), Some(b)] if a.data.is_some() && b.data.is_none())
}

pub(super) fn swap(mut b: Builder<'_>) -> Result<Expanded> {
    let (first, second) = (b.input(0)?, b.input(1)?);
    let op = b.cx.op_type;
    let y = b.op(op, &[&second, &first]);
    b.finish(vec![y])
}

/// Whether a Clip's limits are computed.
pub(super) fn has_live_limits(cx: &ParseCx<'_>) -> bool {
    cx.inputs.iter().skip(1).flatten().any(|o| o.data.is_none())
}

pub(super) fn clip(mut b: Builder<'_>) -> Result<Expanded> {
    let mut y = b.input(0)?;
    for (i, op) in [(1, "Max"), (2, "Min")] {
        if b.optional(i).is_some() {
            let limit = b.input(i)?;
            y = b.op(op, &[&y, &limit]);
        }
    }
    b.finish(vec![y])
}

pub(super) fn cast_like(mut b: Builder<'_>) -> Result<Expanded> {
    let (x, to) = (b.input(0)?, b.operand(1)?.dtype);
    let y = b.cast(&x, to);
    b.finish(vec![y])
}

/// The least is the greatest of what runs the other way: negative floats, complements of integers.
pub(super) fn arg_min(mut b: Builder<'_>) -> Result<Expanded> {
    let x = b.input(0)?;
    let turned = if b.operand(0)?.dtype == DType::F32 { "Neg" } else { "BitwiseNot" };
    let turned = b.op(turned, &[&x]);
    let attrs = ["axis", "keepdims", "select_last_index"];
    let defaults = [0, 1, 0];
    let attrs = attrs.iter().zip(defaults).map(|(name, d)| Ok(int(name, b.cx.int_or(name, d)?)));
    let attrs = attrs.collect::<Result<Vec<_>>>()?;
    let y = b.with("ArgMax", &[&turned], attrs);
    b.finish(vec![y])
}

pub(super) fn swi_glu(mut b: Builder<'_>) -> Result<Expanded> {
    let (gate, x) = (b.input(0)?, b.input(1)?);
    if b.shape(0)? != b.shape(1)? {
        return Err(refuse("has operands of different shapes"));
    }
    let alpha = b.cx.float_or("alpha", 1.0)?;
    let gate = b.with("Swish", &[&gate], vec![super::build::attr("alpha", crate::ops::Attr::Float(alpha))]);
    let y = b.op("Mul", &[&gate, &x]);
    b.finish(vec![y])
}

/// What is left of reduced axes: ones, or nothing.
fn kept(b: &mut Builder<'_>, y: String, axes: &[usize]) -> Result<String> {
    if b.cx.int_or("keepdims", 1)? != 0 {
        return Ok(y);
    }
    let shape = b.shape(0)?;
    let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect();
    Ok(b.reshape(&y, &kept))
}

fn reduced(mut b: Builder<'_>, before: &[&str], square: bool, after: &[&str]) -> Result<Expanded> {
    let axes = reduced_axes(&b.cx)?;
    let mut y = b.input(0)?;
    if square {
        y = b.op("Mul", &[&y, &y]);
    }
    for op in before {
        y = b.op(op, &[&y]);
    }
    y = b.reduce("ReduceSum", &y, &axes);
    for op in after {
        y = b.op(op, &[&y]);
    }
    let y = kept(&mut b, y, &axes)?;
    b.finish(vec![y])
}

pub(super) fn reduce_l1(b: Builder<'_>) -> Result<Expanded> {
    reduced(b, &["Abs"], false, &[])
}

pub(super) fn reduce_l2(b: Builder<'_>) -> Result<Expanded> {
    reduced(b, &[], true, &["Sqrt"])
}

pub(super) fn reduce_sum_square(b: Builder<'_>) -> Result<Expanded> {
    reduced(b, &[], true, &[])
}

pub(super) fn reduce_log_sum(b: Builder<'_>) -> Result<Expanded> {
    reduced(b, &[], false, &["Log"])
}

/// The greatest term is taken out, so that no exponential overflows.
pub(super) fn reduce_log_sum_exp(mut b: Builder<'_>) -> Result<Expanded> {
    let axes = reduced_axes(&b.cx)?;
    let x = b.input(0)?;
    let most = b.reduce("ReduceMax", &x, &axes);
    // Of minus infinity there is nothing to take out.
    let least = b.float(f32::MIN);
    let most = b.op("Max", &[&most, &least]);
    let rest = b.op("Sub", &[&x, &most]);
    let terms = b.op("Exp", &[&rest]);
    let sum = b.reduce("ReduceSum", &terms, &axes);
    let log = b.op("Log", &[&sum]);
    let y = b.op("Add", &[&log, &most]);
    let y = kept(&mut b, y, &axes)?;
    b.finish(vec![y])
}

/// `0..n` along one axis of so many.
pub(super) fn range_along(b: &mut Builder<'_>, n: usize, axis: usize, rank: usize) -> String {
    let mut shape = vec![1; rank];
    shape[axis] = n;
    b.constant(Tensor::i64(&shape, (0..n as i64).collect()))
}

/// One where the first of the greatest stands. Before operator set 13 all axes from one on are one.
pub(super) fn hardmax(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let flat = b.cx.opset < 13;
    let at = axis(b.cx.int_or("axis", if flat { 1 } else { -1 })?, shape.len())?;
    let mut x = b.input(0)?;
    let (rank, along, n) = if flat {
        let (rows, n) = (shape[..at].iter().product(), shape[at..].iter().product());
        x = b.reshape(&x, &[rows, n]);
        (2, 1, n)
    } else {
        (shape.len(), at, shape[at])
    };
    let best = b.with("ArgMax", &[&x], vec![int("axis", along as i64), int("keepdims", 1)]);
    let places = range_along(&mut b, n, along, rank);
    let one = b.op("Equal", &[&best, &places]);
    let mut y = b.cast(&one, DType::F32);
    if flat {
        y = b.reshape(&y, &shape);
    }
    b.finish(vec![y])
}

/// On where an index stands, off elsewhere; negative indices count from the end.
pub(super) fn one_hot(mut b: Builder<'_>) -> Result<Expanded> {
    let shape = b.shape(0)?;
    let depth = match b.cx.const_tensor(1, "depth")?.map(Tensor::to_i64_vec).as_deref() {
        Some([depth]) => size(*depth, "the depth")?,
        _ => return Err(refuse("the depth is no single number")),
    };
    let at = axis(b.cx.int_or("axis", -1)?, shape.len() + 1)?;
    let (x, values) = (b.input(0)?, b.input(2)?);
    let index = b.cast(&x, DType::I64);
    let mut wide = shape;
    wide.insert(at, 1);
    let index = b.reshape(&index, &wide);
    let (none, n) = (b.number(DType::I64, 0.0)?, b.number(DType::I64, depth as f64)?);
    let turned = b.op("Add", &[&index, &n]);
    let negative = b.op("Less", &[&index, &none]);
    let index = b.op("Where", &[&negative, &turned, &index]);
    let places = range_along(&mut b, depth, at, wide.len());
    let hot = b.op("Equal", &[&index, &places]);
    let (off, on) = (b.number(DType::I64, 0.0)?, b.number(DType::I64, 1.0)?);
    let (off, on) = (b.gather(&values, &off, 0), b.gather(&values, &on, 0));
    let y = b.op("Where", &[&hot, &on, &off]);
    b.finish(vec![y])
}
