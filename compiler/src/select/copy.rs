//! Copies: operators that move elements without computing with them.
//!
//! In: places with strides. Out: kernels made of nests of loops, one nest for each box of
//! elements that is moved by one rule. Where source and result are quantized differently, the
//! elements pass through a table of 256 bytes.

use super::elementwise::{map_table, named};
use super::{Cx, View, quantize};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Ty, float, long};
use crate::kernels::axes::{Nest, broadcast, signed, step};
use crate::kernels::call::Bind;
use crate::kernels::vector::{RUN_LEAST, Run};
use crate::ops::PadMode;
use crate::tensor::{DType, row_major_strides};
use std::sync::Arc;

/// A box of elements that is moved by one affine rule on each side.
#[derive(Debug, Clone)]
struct Move {
    shape: Vec<usize>,
    from: usize,
    from_strides: Vec<isize>,
    to: usize,
    to_strides: Vec<isize>,
}

/// The table from one quantization to another, clamp included; `None` where nothing changes.
pub(crate) fn requantizing(cx: &mut Cx<'_>, from: &View, to: &View) -> Result<Option<Bind>> {
    if from.quant.is_none() && to.quant.is_none() {
        return Ok(None);
    }
    if from.quant == to.quant && cx.clamp().is_none() {
        return Ok(None);
    }
    map_table(cx, from, to, |x| Ok(x.to_vec())).map(Some)
}

/// Parameters of a copy between two places, and what it does to each element.
struct Port {
    x: Buf,
    table: Option<Buf>,
    y: Buf,
}

impl Port {
    fn value(&self, index: impl Into<Expr>) -> Expr {
        let value = self.x.at(index);
        match self.table {
            Some(table) => table.at(value + 128),
            None => value,
        }
    }
    /// What copies elements that lie side by side.
    fn run(&self, n: usize) -> Run {
        if self.table.is_some() { Run::Table { n } } else { Run::Copy { n } }
    }
    /// Calls the kernel of such a run.
    fn call(&self, k: &mut KernelBuilder, run: &Arc<Kernel>, from: &Expr, to: &Expr) {
        let table = self.table.map(|t| t.from(0));
        let args = [Some(self.x.from(from)), table, Some(self.y.from(to))];
        k.call(run, args.into_iter().flatten().collect());
    }
}

/// A kernel under construction that copies from one place to another, and its arguments.
fn between(cx: &mut Cx<'_>, name: &str, from: &View, to: &View) -> Result<(KernelBuilder, Port, Vec<Bind>)> {
    let map = requantizing(cx, from, to)?;
    let mut k = KernelBuilder::new(named(name, to.elem));
    let x = from.param(&mut k, "x", Access::Read);
    let table = map.as_ref().map(|_| k.buffer("table", to.elem, 256, Access::Read));
    let y = to.param(&mut k, "y", Access::Write);
    let args = [Some(from.arg.clone()), map, Some(to.arg.clone())].into_iter().flatten().collect();
    Ok((k, Port { x, table, y }, args))
}

/// All moves in one kernel.
fn run(cx: &mut Cx<'_>, name: &str, from: &View, to: &View, moves: &[Move]) -> Result<()> {
    let moves: Vec<&Move> = moves.iter().filter(|m| !m.shape.contains(&0)).collect();
    if moves.is_empty() {
        return Ok(());
    }
    let (mut k, port, args) = between(cx, name, from, to)?;
    for m in moves {
        let nest = Nest::new(&m.shape, &[m.to_strides.clone(), m.from_strides.clone()]);
        if to.elem == DType::I8
            && let Some((outer, n)) = nest.runs(RUN_LEAST)
            && let Some(run) = cx.native(port.run(n))?
        {
            outer.write(&mut k, &[m.to.into(), m.from.into()], &mut |k, at| {
                port.call(k, &run, &at[1], &at[0]);
            });
            continue;
        }
        nest.write(&mut k, &[m.to.into(), m.from.into()], &mut |k, at| {
            k.store(port.y, &at[0], port.value(&at[1]));
        });
    }
    cx.step(k, args)
}

/// The same elements in another layout, possibly quantized otherwise.
pub(crate) fn relayout(cx: &mut Cx<'_>, from: &View, to: &View) -> Result<()> {
    let all = Move {
        shape: to.shape.clone(),
        from: 0,
        from_strides: signed(&from.strides),
        to: 0,
        to_strides: signed(&to.strides),
    };
    run(cx, "copy", from, to, &[all])
}

/// A Reshape (or Flatten, Squeeze, Unsqueeze, Identity, Dropout) that is no alias: both sides
/// are walked in row-major order of their logical shapes, over a common refinement of the two.
pub(crate) fn reshape(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let Some((shape, from_strides, to_strides)) = refine(&x, &y) else {
        return scatter(cx, &x, &y);
    };
    run(cx, "copy", &x, &y, &[Move { shape, from: 0, from_strides, to: 0, to_strides }])
}

/// A Reshape by one loop over the row-major index, taken apart by division on both sides.
fn scatter(cx: &mut Cx<'_>, x: &View, y: &View) -> Result<()> {
    let (mut k, port, args) = between(cx, "reshape", x, y)?;
    k.for_("i", 0, y.len(), |k, i| {
        let index = |loc: &View| {
            let rows = row_major_strides(&loc.shape);
            let axes = (0..rows.len()).filter(|&a| loc.shape[a] != 1);
            axes.fold(Expr::from(0), |sum, a| sum + (i / rows[a]) % loc.shape[a] * loc.strides[a])
        };
        k.store(port.y, index(y), port.value(index(x)));
    });
    cx.step(k, args)
}

/// Splits the row-major index space of two shapes into axes on which both have a stride.
/// `None` when an axis of one straddles axes of the other without a common factor.
fn refine(x: &View, y: &View) -> Option<(Vec<usize>, Vec<isize>, Vec<isize>)> {
    // From the innermost axis outwards; `a` and `b` count what remains of the current axes.
    let (mut shape, mut from, mut to) = (Vec::new(), Vec::new(), Vec::new());
    let mut xs = x.shape.iter().zip(&x.strides).rev().filter(|(n, _)| **n != 1);
    let mut ys = y.shape.iter().zip(&y.strides).rev().filter(|(n, _)| **n != 1);
    let (mut a, mut sa, mut b, mut sb) = (1, 0, 1, 0);
    loop {
        if a == 1 {
            (a, sa) = xs.next().map_or((1, 0), |(&n, &s)| (n, s as isize));
        }
        if b == 1 {
            (b, sb) = ys.next().map_or((1, 0), |(&n, &s)| (n, s as isize));
        }
        if a == 1 && b == 1 {
            break;
        }
        let n = if a % b == 0 {
            b
        } else if b % a == 0 {
            a
        } else {
            return None;
        };
        if n == 1 {
            // One side is used up while the other is not: the counts differ.
            return None;
        }
        shape.push(n);
        from.push(sa);
        to.push(sb);
        (a, sa, b, sb) = (a / n, sa * n as isize, b / n, sb * n as isize);
    }
    shape.reverse();
    from.reverse();
    to.reverse();
    Some((shape, from, to))
}

/// A Transpose that is no alias.
pub(crate) fn transpose(cx: &mut Cx<'_>, perm: &[usize]) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let from_strides = perm.iter().map(|&p| x.strides[p] as isize).collect();
    let shape = y.shape.clone();
    run(cx, "copy", &x, &y, &[Move { shape, from: 0, from_strides, to: 0, to_strides: signed(&y.strides) }])
}

/// Expand: NumPy broadcasting to the result's shape.
pub(crate) fn expand(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let from_strides = broadcast(&x.shape, &x.strides, &y.shape);
    let shape = y.shape.clone();
    run(cx, "copy", &x, &y, &[Move { shape, from: 0, from_strides, to: 0, to_strides: signed(&y.strides) }])
}

/// Concat: each operand into its part of the result.
pub(crate) fn concat(cx: &mut Cx<'_>, axis: usize) -> Result<()> {
    let y = cx.output(0)?;
    let mut start = 0;
    for i in 0..cx.node().inputs.len() {
        let x = cx.input(i)?;
        let part = Move {
            shape: x.shape.clone(),
            from: 0,
            from_strides: signed(&x.strides),
            to: start * y.strides[axis],
            to_strides: signed(&y.strides),
        };
        run(cx, "copy", &x, &y, &[part])?;
        start += x.shape[axis];
    }
    Ok(())
}

/// Split: each result from its part of the operand.
pub(crate) fn split(cx: &mut Cx<'_>, axis: usize) -> Result<()> {
    let x = cx.input(0)?;
    let mut start = 0;
    for i in 0..cx.node().outputs.len() {
        let y = cx.output(i)?;
        let part = Move {
            shape: y.shape.clone(),
            from: start * x.strides[axis],
            from_strides: signed(&x.strides),
            to: 0,
            to_strides: signed(&y.strides),
        };
        run(cx, "copy", &x, &y, &[part])?;
        start += y.shape[axis];
    }
    Ok(())
}

/// Slice: strided, backwards where the step is negative.
pub(crate) fn slice(cx: &mut Cx<'_>, starts: &[usize], steps: &[i64]) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let part = Move {
        shape: y.shape.clone(),
        from: starts.iter().zip(&x.strides).map(|(a, s)| a * s).sum(),
        // The step of an axis that gives one element may be anything and is never taken.
        from_strides: (0..x.shape.len())
            .map(|a| if y.shape[a] > 1 { x.strides[a] as isize * steps[a] as isize } else { 0 })
            .collect(),
        to: 0,
        to_strides: signed(&y.strides),
    };
    run(cx, "copy", &x, &y, &[part])
}

/// A run of an axis of the result: where it starts, how long it is, and where in the operand
/// its elements come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    to: usize,
    len: usize,
    from: usize,
    step: isize,
}

/// The runs of one padded axis of `n` elements; empty places of a constant pad have none.
fn spans(mode: PadMode, n: usize, begin: i64, end: i64) -> Vec<Span> {
    let total = n as i64 + begin + end;
    if total <= 0 || n == 0 {
        return Vec::new();
    }
    if mode == PadMode::Constant {
        let (first, last) = ((-begin).max(0), (n as i64).min(n as i64 + end));
        let len = (last - first).max(0) as usize;
        return vec![Span { to: begin.max(0) as usize, len, from: first as usize, step: 1 }];
    }
    let source = |i: i64| -> usize {
        let (i, n) = (i - begin, n as i64);
        let at = match mode {
            PadMode::Wrap => i.rem_euclid(n),
            PadMode::Reflect if n > 1 => {
                let i = i.rem_euclid(2 * (n - 1));
                i.min(2 * (n - 1) - i)
            }
            _ => i.clamp(0, n - 1),
        };
        at as usize
    };
    let mut spans: Vec<Span> = Vec::new();
    for i in 0..total {
        let from = source(i);
        if let Some(span) = spans.last_mut() {
            let last = span.from as isize + span.step * (span.len as isize - 1);
            let step = from as isize - last;
            if step.abs() <= 1 && (span.len == 1 || step == span.step) {
                (span.step, span.len) = (step, span.len + 1);
                continue;
            }
        }
        spans.push(Span { to: i as usize, len: 1, from, step: 0 });
    }
    spans
}

/// Pad in all modes: one box for each combination of runs.
pub(crate) fn pad(cx: &mut Cx<'_>, mode: PadMode, pads: &[i64], value: f64) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let rank = x.shape.len();
    if mode == PadMode::Constant && pads.iter().any(|&p| p > 0) {
        fill(cx, &y, value)?;
    }
    let start = Move { shape: Vec::new(), from: 0, from_strides: Vec::new(), to: 0, to_strides: Vec::new() };
    let mut moves = vec![start];
    for axis in 0..rank {
        let spans = spans(mode, x.shape[axis], pads[axis], pads[rank + axis]);
        let grown = moves.iter().flat_map(|m| {
            spans.iter().map(|span| {
                let mut m = m.clone();
                m.shape.push(span.len);
                m.from += span.from * x.strides[axis];
                m.from_strides.push(span.step * x.strides[axis] as isize);
                m.to += span.to * y.strides[axis];
                m.to_strides.push(y.strides[axis] as isize);
                m
            })
        });
        moves = grown.collect();
    }
    run(cx, "copy", &x, &y, &moves)
}

/// Fills a whole result with one real value.
fn fill(cx: &mut Cx<'_>, y: &View, value: f64) -> Result<()> {
    if y.is_empty() {
        return Ok(());
    }
    let clamp = cx.clamp();
    let real = (value as f32).max(clamp.lo).min(clamp.hi);
    let stored = match (y.affine(), Ty::of(y.elem)) {
        (Some((scale, zero)), _) => {
            let (lo, hi) = y.limits(crate::graph::Clamp::NONE);
            quantize(real, scale, zero, lo, hi).into()
        }
        (None, Ty::F32) => float(real),
        (None, _) => long(value as i64),
    };
    let nest = Nest::new(&y.shape, &[signed(&y.strides)]);
    let mut k = KernelBuilder::new(named("fill", y.elem));
    let to = y.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[0.into()], &mut |k, at| k.store(to, &at[0], stored.clone()));
    cx.step(k, vec![y.arg.clone()])
}

/// Gather along an axis. One constant index is a plain copy; else the indices are read at run
/// time, negative ones counted from the end, and kept inside the axis.
pub(crate) fn gather(cx: &mut Cx<'_>, axis: usize) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let index = cx.need(1)?;
    let count = index.shape.len();
    let n = x.shape[axis];
    // Walks by axis of the result: those of x around those of the indices.
    let mut from: Vec<isize> = signed(&x.strides[..axis]);
    from.extend(vec![0; count]);
    from.extend(signed(&x.strides[axis + 1..]));
    if let Some([only]) = index.constant().map(|t| t.to_i64_vec()).as_deref() {
        let at = if *only < 0 { only + n as i64 } else { *only };
        let Some(at) = usize::try_from(at).ok().filter(|&at| at < n) else {
            return Err(cx.unsupported(&format!("index {only} is outside of an axis of {n}")));
        };
        let (shape, to_strides) = (y.shape.clone(), signed(&y.strides));
        let all = Move { shape, from: at * x.strides[axis], from_strides: from, to: 0, to_strides };
        return run(cx, "copy", &x, &y, &[all]);
    }
    let indices = cx.input(1)?;
    let mut walk = vec![0; axis];
    walk.extend(signed(&indices.strides));
    walk.extend(vec![0; x.shape.len() - axis - 1]);
    let nest = Nest::new(&y.shape, &[signed(&y.strides), from, walk]);
    let (mut k, port, mut args) = between(cx, "gather", &x, &y)?;
    let table = indices.param(&mut k, "indices", Access::Read);
    args.push(indices.arg.clone());
    let last = n as i64 - 1;
    let place = |k: &mut KernelBuilder, at: &[Expr]| {
        let raw = k.let_("raw", table.at(&at[2]).i64());
        // From the end where it is negative.
        let turned = raw + ((raw >> 63) & long(n as i64));
        let i = k.let_("index", turned.clamp(long(0), long(last)).i32());
        step(at[1].clone(), i.into(), x.strides[axis] as isize)
    };
    let origin = [0, 0, 0].map(Expr::from);
    // What one index takes lies side by side: one copy for each.
    if let Some((outer, n)) = side_by_side(&nest)
        && y.elem == DType::I8
        && let Some(run) = cx.native(port.run(n))?
    {
        outer.write(&mut k, &origin, &mut |k, at| {
            let from = place(k, at);
            port.call(k, &run, &from, &at[0]);
        });
        return cx.step(k, args);
    }
    nest.write(&mut k, &origin, &mut |k, at| {
        let from = place(k, at);
        k.store(port.y, &at[0], port.value(from));
    });
    cx.step(k, args)
}

/// The loops around an innermost one along which the result and what is taken lie side by side under one index, and
/// its length.
fn side_by_side(nest: &Nest) -> Option<(Nest, usize)> {
    let [to, from, index] = nest.strides.as_slice() else { return None };
    if index.last() != Some(&0) {
        return None;
    }
    let pair = Nest { dims: nest.dims.clone(), strides: vec![to.clone(), from.clone()] };
    let (mut outer, n) = pair.runs(RUN_LEAST)?;
    outer.strides.push(index[..outer.dims.len()].to_vec());
    Some((outer, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_axes_split_into_straight_runs() {
        let of = |mode, n, b, e| -> Vec<(usize, usize, usize, isize)> {
            spans(mode, n, b, e).iter().map(|s| (s.to, s.len, s.from, s.step)).collect()
        };
        assert_eq!(of(PadMode::Constant, 4, 2, 1), vec![(2, 4, 0, 1)]);
        assert_eq!(of(PadMode::Constant, 4, -1, -1), vec![(0, 2, 1, 1)]);
        assert_eq!(of(PadMode::Edge, 3, 2, 2), vec![(0, 3, 0, 0), (3, 2, 1, 1), (5, 2, 2, 0)]);
        assert_eq!(of(PadMode::Reflect, 3, 2, 1), vec![(0, 3, 2, -1), (3, 2, 1, 1), (5, 1, 1, 0)]);
        assert_eq!(of(PadMode::Wrap, 3, 1, 1), vec![(0, 1, 2, 0), (1, 3, 0, 1), (4, 1, 0, 0)]);
    }
}
