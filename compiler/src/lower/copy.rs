//! Copies: everything that moves elements without computing with them.
//!
//! In: places with strides. Out: one nest of loops per copy. Where source and result are
//! quantized differently, the elements pass through a table of 256 bytes.

use super::elementwise::{map_table, named};
use super::nest::{Nest, signed};
use super::{Cx, Loc};
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder};
use crate::program::Arg;
use crate::tensor::row_major_strides;

/// What a copy reads or writes: a place, the element it starts at, and strides by axis.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'a> {
    pub loc: &'a Loc,
    pub base: usize,
    pub strides: Vec<isize>,
}

impl<'a> Walk<'a> {
    /// The whole of a place.
    pub(crate) fn all(loc: &'a Loc) -> Self {
        Walk { loc, base: 0, strides: signed(&loc.strides) }
    }
}

/// Copies `shape` elements from one walk to another, requantized where the two differ.
pub(crate) fn copy(cx: &mut Cx<'_>, shape: &[usize], from: &Walk<'_>, to: &Walk<'_>) -> Result<()> {
    if shape.contains(&0) {
        return Ok(());
    }
    let table = requantize(cx, from.loc, to.loc)?;
    let nest = Nest::new(shape, &[to.strides.clone(), from.strides.clone()]);
    let mut k = KernelBuilder::new(named("copy", from.loc.elem));
    let x = from.loc.param(&mut k, "x", Access::Read);
    let map = table.map(|_| k.buffer("table", to.loc.elem, 256, Access::Read));
    let y = to.loc.param(&mut k, "y", Access::Write);
    nest.write(&mut k, &[Expr::from(to.base), from.base.into()], &mut |k, at| {
        let value = x.at(&at[1]);
        let value = map.map_or(value.clone(), |map| map.at(value + 128));
        k.store(y, &at[0], value);
    });
    let args = [Some(from.loc.arg), table, Some(to.loc.arg)];
    cx.step(k.finish()?, args.into_iter().flatten().collect())
}

/// The same elements in another layout, possibly quantized otherwise.
pub(crate) fn relayout(cx: &mut Cx<'_>, from: &Loc, to: &Loc) -> Result<()> {
    copy(cx, &to.shape, &Walk::all(from), &Walk::all(to))
}

/// The table from one quantization to another; `None` where they agree.
fn requantize(cx: &mut Cx<'_>, from: &Loc, to: &Loc) -> Result<Option<Arg>> {
    if from.quant == to.quant && cx.clamp().is_none() {
        return Ok(None);
    }
    map_table(cx, from, to, |x| x.to_vec()).map(Some)
}

/// A Reshape that is no alias: both sides are walked in row-major order of their logical
/// shapes, over a common refinement of the two.
pub(crate) fn reshape(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let Some((shape, from, to)) = refine(&x, &y) else {
        return scatter(cx, &x, &y);
    };
    copy(cx, &shape, &Walk { loc: &x, base: 0, strides: from }, &Walk { loc: &y, base: 0, strides: to })
}

/// A Reshape by one loop over the row-major index, taken apart by division on both sides.
fn scatter(cx: &mut Cx<'_>, x: &Loc, y: &Loc) -> Result<()> {
    let table = requantize(cx, x, y)?;
    let mut k = KernelBuilder::new(named("reshape", x.elem));
    let from = x.param(&mut k, "x", Access::Read);
    let map = table.map(|_| k.buffer("table", y.elem, 256, Access::Read));
    let to = y.param(&mut k, "y", Access::Write);
    k.for_("i", 0, y.len(), |k, i| {
        let index = |loc: &Loc| {
            let mut sum = Expr::from(0);
            let rows = row_major_strides(&loc.shape);
            for (axis, &n) in loc.shape.iter().enumerate().filter(|(_, n)| **n != 1) {
                sum = sum + (i / rows[axis]) % n * loc.strides[axis];
            }
            sum
        };
        let value = from.at(index(x));
        let value = map.map_or(value.clone(), |map| map.at(value + 128));
        k.store(to, index(y), value);
    });
    let args = [Some(x.arg), table, Some(y.arg)];
    cx.step(k.finish()?, args.into_iter().flatten().collect())
}

/// A Transpose that is no alias.
pub(crate) fn transpose(cx: &mut Cx<'_>, perm: &[usize]) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let strides = perm.iter().map(|&p| x.strides[p] as isize).collect();
    copy(cx, &y.shape, &Walk { loc: &x, base: 0, strides }, &Walk::all(&y))
}

/// Splits the row-major index space of two shapes into axes on which both have a stride.
/// `None` when an axis of one straddles axes of the other without a common factor.
fn refine(x: &Loc, y: &Loc) -> Option<(Vec<usize>, Vec<isize>, Vec<isize>)> {
    // From the innermost axis outwards; `left` counts what remains of the current axes.
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
