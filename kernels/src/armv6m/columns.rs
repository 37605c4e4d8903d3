//! Columns of inputs of a convolution: the windows of two output pixels, gathered tap by tap into the words
//! that products of [`crate::armv6m`] read.
//!
//! In: a convolution's sizes and the pixels of a tile. Out: the calls that fill a pair's words. Law: what no
//! input covers is gathered from an array of zero points.

use crate::armv6m::engine::{Made, gather};
use crate::armv6m::im2col;
use crate::error::Result;
use crate::kernel::{Buf, Expr, Kernel, KernelBuilder, Val};
use crate::problem::Geometry;
use std::sync::Arc;

/// What gathers the windows of two output pixels.
pub struct Columns<'a> {
    g: &'a Geometry,
    /// Pixels at once.
    pixels: usize,
    /// For a window and a row of it: their inputs lie side by side, and some are all inside.
    window: Option<Arc<Kernel>>,
    row: Option<Arc<Kernel>>,
    /// For one tap's channels.
    tap: Arc<Kernel>,
}

/// Where a window begins in the input, padding included.
#[derive(Clone, Copy)]
struct Corner {
    iy: Val,
    ix: Val,
}

impl<'a> Columns<'a> {
    pub fn new(g: &'a Geometry, tile: usize, (library, core): Made<'_>) -> Result<Columns<'a>> {
        let run = g.kernel[1] == 1 || (g.dilations[1] == 1 && g.x[3] == g.cin);
        let pitch = tile.div_ceil(2);
        let fits = |axis: usize| g.interior(axis).0 < g.interior(axis).1;
        let (n, step) = (g.kernel[1] * g.cin, g.dilations[0] * g.x[2]);
        let row = if run && fits(1) { Some(gather(n, pitch, (library, core))?) } else { None };
        let window = match (g.kernel[0], &row) {
            (1, _) | (_, None) => row.clone(),
            (rows, Some(_)) => Some(library.once(&("windows", n, rows, step, pitch), || {
                im2col::windows(n, (rows, step), pitch, core)
            })?),
        };
        let window = window.filter(|_| fits(0));
        Ok(Columns { g, pixels: tile, window, row, tap: gather(g.cin, pitch, (library, core))? })
    }

    /// The window of output pixel `p`.
    fn corner(&self, k: &mut KernelBuilder, p: Val) -> Corner {
        let g = self.g;
        // A quotient by the width, by a product: exact for as many pixels as there are.
        let (width, pixels) = (g.output[1], g.output[0] * g.output[1]);
        let (oy, ox) = if width.is_power_of_two() {
            let by = width.trailing_zeros() as i32;
            (k.let_("oy", p >> by), k.let_("ox", p & (width - 1)))
        } else if let Some((m, by)) = reciprocal(width, pixels) {
            let oy = k.let_("oy", (p * m) >> by);
            let ox = p - oy * width;
            // Where columns lie further apart than rows, the index is proven by bounds of its own.
            let crosswise = g.strides[0] * g.x[2] < g.strides[1] * g.x[3] * width;
            let mask = width.next_power_of_two() - 1;
            (oy, k.let_("ox", if crosswise { (ox & mask).min(width - 1) } else { ox }))
        } else {
            (k.let_("oy", p / width), k.let_("ox", p % width))
        };
        let iy = k.let_("iy", oy * g.strides[0] - g.pads[0]);
        Corner { iy, ix: k.let_("ix", ox * g.strides[1] - g.pads[1]) }
    }

    /// The words of pixels `first + 2 * pair` and the next one.
    pub fn pair(
        &self,
        k: &mut KernelBuilder,
        (x, acts, pad): (Buf, Buf, Option<Buf>),
        n: Val,
        first: Val,
        pair: Val,
    ) {
        let (g, pixels) = (self.g, self.g.output[0] * self.g.output[1]);
        let a = k.let_("a", first + pair * 2);
        let b = k.let_("b", if self.pixels.is_multiple_of(2) { a + 1 } else { (a + 1).min(pixels - 1) });
        let (a, b) = (self.corner(k, a), self.corner(k, b));
        let [high, wide] = [0, 1].map(|axis| (g.kernel[axis] - 1) * g.dilations[axis]);
        let base = n * g.x[0];
        let at = |y: Val, x: Expr| base.clone() + y * g.x[2] + x * g.x[3];
        let Some(window) = &self.window else { return self.rows(k, (x, acts, pad), (a, b), &base, pair) };
        let whole = |k: &mut KernelBuilder| {
            let (from, other) = (at(a.iy, a.ix.into()), at(b.iy, b.ix.into()));
            k.call(window, vec![x.from(from), x.from(other), acts.from(pair)]);
        };
        if pad.is_none() {
            return whole(k);
        }
        let inside = |c: Corner| {
            let row = c.iy.ge(0).and((c.iy + high).lt(g.input[0]));
            row.and(c.ix.ge(0)).and((c.ix + wide).lt(g.input[1]))
        };
        k.if_else(inside(a).and(inside(b)), whole, |k| {
            self.rows(k, (x, acts, pad), (a, b), &base, pair);
        });
    }

    /// The same row by row, some of them padding.
    fn rows(
        &self,
        k: &mut KernelBuilder,
        (x, acts, pad): (Buf, Buf, Option<Buf>),
        (a, b): (Corner, Corner),
        base: &Expr,
        pair: Val,
    ) {
        let g = self.g;
        let wide = (g.kernel[1] - 1) * g.dilations[1];
        k.for_("ky", 0, g.kernel[0], |k, ky| {
            let ya = k.let_("ya", a.iy + ky * g.dilations[0]);
            let yb = k.let_("yb", b.iy + ky * g.dilations[0]);
            let at = |y: Val, x: Expr| base.clone() + y * g.x[2] + x * g.x[3];
            let to = ky * (g.kernel[1] * g.cin * self.pixels.div_ceil(2)) + pair;
            let row_inside = |y: Val| y.ge(0).and(y.lt(g.input[0]));
            let whole = |k: &mut KernelBuilder, row: &Arc<Kernel>| {
                let (from, other) = (at(ya, a.ix.into()), at(yb, b.ix.into()));
                k.call(row, vec![x.from(from), x.from(other), acts.from(to.clone())]);
            };
            let taps = |k: &mut KernelBuilder| {
                k.for_("kx", 0, g.kernel[1], |k, kx| {
                    let xa = k.let_("xa", a.ix + kx * g.dilations[1]);
                    let xb = k.let_("xb", b.ix + kx * g.dilations[1]);
                    let to = acts.from(to.clone() + kx * (g.cin * self.pixels.div_ceil(2)));
                    let (from, other) = (x.from(at(ya, xa.into())), x.from(at(yb, xb.into())));
                    let Some(pad) = pad else { return k.call(&self.tap, vec![from, other, to]) };
                    let inside = |y: Val, x: Val| row_inside(y).and(x.ge(0)).and(x.lt(g.input[1]));
                    let call = |k: &mut KernelBuilder, a, b| k.call(&self.tap, vec![a, b, to.clone()]);
                    k.if_else(
                        inside(ya, xa),
                        |k| {
                            k.if_else(
                                inside(yb, xb),
                                |k| call(k, from.clone(), other.clone()),
                                |k| call(k, from.clone(), pad.from(0)),
                            );
                        },
                        |k| {
                            k.if_else(
                                inside(yb, xb),
                                |k| call(k, pad.from(0), other.clone()),
                                |k| call(k, pad.from(0), pad.from(0)),
                            );
                        },
                    );
                });
            };
            let Some(row) = &self.row else { return taps(k) };
            let inside = |y: Val, x: Val| row_inside(y).and(x.ge(0)).and((x + wide).lt(g.input[1]));
            k.if_else(inside(ya, a.ix).and(inside(yb, b.ix)), |k| whole(k, row), taps);
        });
    }
}

/// `p / width == (p * m) >> by` for all `p < pixels`, products within 31 bits.
fn reciprocal(width: usize, pixels: usize) -> Option<(usize, i32)> {
    (8..24).find_map(|by| {
        let m = (1usize << by) / width + 1;
        let exact = pixels * m < 1 << 31 && (0..pixels).all(|p| (p * m) >> by == p / width);
        exact.then_some((m, by))
    })
}
