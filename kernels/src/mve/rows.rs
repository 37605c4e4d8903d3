//! Input rows in the workspace of Helium's kernels, padding included as the zero point, and windows of
//! few inputs gathered from them.
//!
//! In: a convolution's sizes and a limit. Out: as many rows and columns as fit it, and the loops that
//! bring them. Law: every byte that a window reads is written before.

use crate::error::Result;
use crate::kernel::{Buf, CallArg, Expr, KernelBuilder, Val};
use crate::library::Library;
use crate::mve::copy;
use crate::mve::depthwise;
use crate::mve::gemm::Gemm;
use crate::problem::Geometry;

/// How the pixels of a row lie in the workspace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lay {
    /// As in the input.
    Linear,
    /// Sixteen channels of all pixels, then the next sixteen.
    Planes,
}

/// Input rows in the workspace, padding included, under a few rows of outputs or parts of them.
pub(crate) struct InputRows<'a> {
    pub(crate) g: &'a Geometry,
    lay: Lay,
    /// Bytes from one row to the next.
    pub(crate) pitch: usize,
    /// Output columns that are computed at once: all, or a part. The last part may overlap the
    /// one before it.
    pub(crate) columns: usize,
    /// Rows of outputs that are computed from one filling.
    tile: usize,
    library: &'a Library<'a>,
}

/// Bytes that a kernel may read behind the rows.
const SLACK: usize = 16;

impl<'a> InputRows<'a> {
    /// As many rows and columns as take at most `limit` bytes, with `each` more for every column,
    /// or the fewest there are. Columns come in multiples of `share`.
    pub(crate) fn new(
        g: &'a Geometry,
        lay: Lay,
        limit: usize,
        (each, share): (usize, usize),
        library: &'a Library<'a>,
    ) -> InputRows<'a> {
        let of = |columns: usize, tile: usize| {
            let one = InputRows { g, lay, pitch: 0, columns, tile, library };
            let pitch = match lay {
                Lay::Linear => (one.width() * one.pixel()).next_multiple_of(8),
                Lay::Planes => one.width() * one.pixel().next_multiple_of(16),
            };
            InputRows { pitch, ..one }
        };
        let fits = |rows: &InputRows<'_>| rows.len() + each * rows.columns <= limit;
        let all = g.output[1];
        let part = |parts: usize| all.div_ceil(parts).next_multiple_of(share.max(2)).min(all);
        let least = all.div_ceil(share.max(4)).max(1);
        let columns = (1..=least).map(part).find(|&c| fits(&of(c, 1))).unwrap_or(part(least));
        let rows = g.output[0];
        let most = (1..=rows).rev().find(|&t| fits(&of(columns, t))).unwrap_or(1);
        // Equal parts need no code for what remains.
        let equal = (1..=most).rev().find(|&t| rows.is_multiple_of(t) && 3 * t >= 2 * most);
        of(columns, equal.unwrap_or(most))
    }
    /// Channels of a pixel.
    fn pixel(&self) -> usize {
        self.g.groups * self.g.cin
    }
    /// Input columns under the output columns, padding included.
    pub(crate) fn width(&self) -> usize {
        let g = self.g;
        (self.columns - 1) * g.strides[1] + (g.kernel[1] - 1) * g.dilations[1] + 1
    }
    /// Rows that `tile` rows of outputs read.
    fn count(&self, tile: usize) -> usize {
        (tile - 1) * self.g.strides[0] + (self.g.kernel[0] - 1) * self.g.dilations[0] + 1
    }
    pub(crate) fn len(&self) -> usize {
        self.count(self.tile) * self.pitch + SLACK
    }
    /// For output columns from `start` on: the first input column that is read, how many columns
    /// of padding stand before it, and how many inputs are read.
    fn inside(&self, start: usize) -> (usize, usize, usize) {
        let (at, pad) = (start * self.g.strides[1], self.g.pads[1]);
        let (first, left) = (at.saturating_sub(pad), pad.saturating_sub(at).min(self.width()));
        (first, left, (self.width() - left).min(self.g.input[1].saturating_sub(first)))
    }

    /// Loops over the rows of outputs: fills the rows and runs `body` with the offset of the
    /// first row under each, and that of the results.
    pub(crate) fn each(
        &self,
        k: &mut KernelBuilder,
        (x, rows): (Buf, Buf),
        zero: i32,
        body: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) -> Result<()> {
        let g = self.g;
        let all = g.output[1];
        for start in (0..all).step_by(self.columns) {
            let start = start.min(all - self.columns);
            self.part(k, (x, rows), zero, start, body)?;
        }
        Ok(())
    }

    /// The output columns from `start` on.
    fn part(
        &self,
        k: &mut KernelBuilder,
        (x, rows): (Buf, Buf),
        zero: i32,
        start: usize,
        body: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) -> Result<()> {
        let g = self.g;
        // Padding beside the inputs is written once; nothing overwrites it.
        let fill = |n: usize| self.library.once(&("fill", n), || copy::fill(n));
        let all = fill(self.len())?;
        k.call(&all, vec![rows.from(0), CallArg::Scalar(zero.into())]);
        let (first_column, left, columns) = self.inside(start);
        let (copy, fill, to) = match self.lay {
            Lay::Linear => {
                let len = (columns * self.pixel()).max(1);
                (self.library.once(&("copy", len), || copy::copy(len))?, fill(len)?, left * self.pixel())
            }
            Lay::Planes => {
                let pitch = self.width() * depthwise::LANES;
                let planes = copy::Planes { pixels: columns.max(1), channels: self.pixel(), pitch };
                (self.library.once(&planes, || planes.kernel())?, fill(self.pitch)?, left * depthwise::LANES)
            }
        };
        let whole = self.lay == Lay::Planes;
        let tile = |k: &mut KernelBuilder, n: Val, first: Expr, count: usize| {
            let first = k.let_("first", first);
            k.for_("r", 0, if columns == 0 { 0 } else { self.count(count) }, |k, r| {
                let row = k.let_("to", r * self.pitch);
                let iy = first * g.strides[0] + r - g.pads[0];
                let from = |iy: Expr| x.from(n * g.x[0] + iy * g.x[2] + first_column * self.pixel());
                if g.interior(0) == (0, g.output[0]) {
                    return k.call(&copy, vec![from(iy), rows.from(row + to)]);
                }
                let iy = k.let_("iy", iy);
                k.if_else(
                    iy.ge(0).and(iy.lt(g.input[0])),
                    |k| k.call(&copy, vec![from(iy.into()), rows.from(row + to)]),
                    |k| {
                        let from = row + if whole { 0 } else { to };
                        k.call(&fill, vec![rows.from(from), CallArg::Scalar(zero.into())]);
                    },
                );
            });
            k.for_("t", 0, count, |k, t| {
                let y = n * g.y[0] + (first + t) * g.y[2] + start * g.y[3];
                body(k, t * (g.strides[0] * self.pitch), y);
            });
        };
        k.for_("n", 0, g.batch, |k, n| {
            let (whole, rest) = (g.output[0] / self.tile, g.output[0] % self.tile);
            k.for_("tile", 0, whole, |k, i| tile(k, n, i * self.tile, self.tile));
            if rest > 0 {
                tile(k, n, (whole * self.tile).into(), rest);
            }
        });
        Ok(())
    }
}

/// The windows of a row of outputs, each one after the other, where a window's rows are short.
pub(crate) struct Columns {
    pub(crate) gather: copy::Gather,
    /// Bytes from one window to the next.
    pub(crate) pitch: usize,
}

impl Columns {
    /// Bytes from one window to the next; `None` where gathering saves nothing.
    pub(crate) fn pitch(g: &Geometry) -> Option<usize> {
        let [kh, kw] = g.kernel;
        let run = kw * g.cin;
        // Cycles of a pair of pixels: sixteen for each chunk of four channels, against eight for
        // each run.
        let saved = 16 * g.cout.div_ceil(4) * (kh - (kh * run).div_ceil(16));
        (saved > 8 * kh).then_some(((kh - 1) * run + 16).max((kh * run).next_multiple_of(16)))
    }
    pub(crate) fn new(rows: &InputRows<'_>, pitch: usize) -> Option<Columns> {
        let g = rows.g;
        let gather = copy::Gather {
            runs: g.kernel[0],
            run: g.kernel[1] * g.cin,
            from_pitch: rows.pitch * g.dilations[0],
            step: g.strides[1] * g.cin,
            count: rows.columns,
            to_pitch: pitch,
        };
        gather.fits().then_some(Columns { gather, pitch })
    }
    pub(crate) fn len(&self, gemm: &Gemm) -> usize {
        self.gather.result_len().max(gemm.acts_len())
    }
}
