//! Input rows under a row of outputs, padding included, as bytes in the workspace.
//!
//! In: a convolution's sizes. Out: tiles of outputs whose inputs fit a limit, and the loops that
//! bring these inputs. Law: every byte that a window reads is written before, by a copy or as
//! the zero point.

use crate::error::Result;
use crate::kernel::{Buf, Expr, Kernel, KernelBuilder, Val};
use crate::library::Library;
use crate::problem::Geometry;
use crate::vector::Run;
use std::sync::Arc;

/// Input columns that one run of all windows of a tile reads.
#[derive(Clone, Copy)]
struct Line {
    /// Columns of padding, copied from `from` on, of padding.
    left: usize,
    from: usize,
    copied: usize,
    right: usize,
}

/// Output columns from `first` on, and the inputs under them.
pub struct Tile {
    pub first: usize,
    /// One a row of the window, or one for each of its columns too.
    lines: Vec<Line>,
}

/// How a window is laid out in the workspace.
pub struct Tiling {
    pub tiles: Vec<Tile>,
    /// Output columns of a tile.
    pub columns: usize,
    /// Input columns of a line.
    pub width: usize,
    /// Lines of a row of the window.
    lines: usize,
}

impl Tiling {
    /// Tiles whose inputs take at most `limit` bytes, or the smallest there are. A `split` window
    /// has a line for each of its columns.
    pub fn new(g: &Geometry, split: bool, limit: usize) -> Tiling {
        let (lines, span) = if split { (g.kernel[1], 1) } else { (1, g.kernel[1]) };
        let taken =
            |columns: usize| g.kernel[0] * lines * ((columns - 1) * g.strides[1] + span) * g.groups * g.cin;
        let mut columns = g.output[1];
        while columns > 4 && taken(columns) > limit {
            columns = columns.div_ceil(2);
        }
        Tiling::of(g, split, columns)
    }
    /// Tiles of so many output columns.
    pub fn of(g: &Geometry, split: bool, columns: usize) -> Tiling {
        let (lines, span) = if split { (g.kernel[1], 1) } else { (1, g.kernel[1]) };
        let width = |columns: usize| (columns - 1) * g.strides[1] + span;
        let inside = |at: usize| at.clamp(g.pads[1], g.pads[1] + g.input[1]);
        let tile = |first: usize| {
            let line = |i: usize| {
                // In padded columns.
                let start = first * g.strides[1] + i * g.dilations[1];
                let end = start + width(columns);
                let (from, to) = (inside(start), inside(end));
                let left = from.min(end) - start.min(from);
                let copied = to - from;
                Line { left, from: from - g.pads[1], copied, right: end - start - left - copied }
            };
            Tile { first, lines: (0..lines).map(line).collect() }
        };
        // The last one ends with the row and may compute some pixels again.
        let tiles =
            (0..g.output[1]).step_by(columns).map(|first| tile(first.min(g.output[1] - columns))).collect();
        Tiling { tiles, columns, width: width(columns), lines }
    }
}

/// Whether pixels lie side by side, channels last.
pub fn side_by_side(g: &Geometry) -> bool {
    let pixel = g.groups * g.cin;
    (pixel == 1 || g.x[1] == 1) && (g.input[1] == 1 || g.x[3] == pixel)
}

/// Brings the inputs under a tile into the workspace, between bytes of the zero point.
pub struct Filler<'a> {
    g: &'a Geometry,
    tiling: &'a Tiling,
    x: Buf,
    room: Buf,
    zx: Val,
    /// By tile and line.
    copies: Vec<Vec<Option<Arc<Kernel>>>>,
    /// With one tile, padding beside the lines is written once: nothing overwrites it.
    pub once: bool,
}

impl<'a> Filler<'a> {
    pub fn new(
        g: &'a Geometry,
        tiling: &'a Tiling,
        (x, room, zx): (Buf, Buf, Val),
        library: &Library<'_>,
    ) -> Result<Filler<'a>> {
        let pixel = g.groups * g.cin;
        let copy = |line: &Line| match line.copied {
            n if n > 0 && side_by_side(g) => Run::Copy { n: n * pixel }.kernel(library),
            _ => Ok(None),
        };
        let copies: Result<Vec<Vec<_>>> =
            tiling.tiles.iter().map(|t| t.lines.iter().map(copy).collect()).collect();
        Ok(Filler { g, tiling, x, room, zx, copies: copies?, once: tiling.tiles.len() == 1 })
    }
    pub fn fill(&self, k: &mut KernelBuilder, from: Expr, n: usize) {
        if n > 0 {
            k.for_("i", 0, n, |k, i| k.store(self.room, &from + i, self.zx));
        }
    }
    pub fn tile(&self, k: &mut KernelBuilder, tile: usize, n: Val, oy: Val) {
        let g = self.g;
        k.for_("ky", 0, g.kernel[0], |k, ky| {
            let iy = k.let_("iy", oy * g.strides[0] + ky * g.dilations[0] - g.pads[0]);
            let pitch = self.tiling.width * g.groups * g.cin;
            let to = k.let_("to", ky * (self.tiling.lines * pitch));
            self.lines(k, tile, (n, iy), &to.into());
        });
    }
    /// The lines of input row `iy`, from `to` of the workspace on.
    pub fn lines(&self, k: &mut KernelBuilder, tile: usize, (n, iy): (Val, Val), to: &Expr) {
        let pitch = self.tiling.width * self.g.groups * self.g.cin;
        let lines = self.tiling.tiles[tile].lines.iter().zip(&self.copies[tile]);
        for (i, (line, copy)) in lines.enumerate() {
            self.line(k, line, copy.as_ref(), (n, iy), to + i * pitch);
        }
    }
    fn line(
        &self,
        k: &mut KernelBuilder,
        line: &Line,
        copy: Option<&Arc<Kernel>>,
        (n, iy): (Val, Val),
        to: Expr,
    ) {
        let (g, pixel) = (self.g, self.g.groups * self.g.cin);
        let [left, copied, right] = [line.left, line.copied, line.right].map(|columns| columns * pixel);
        let inside = |k: &mut KernelBuilder| {
            if !self.once {
                self.fill(k, to.clone(), left);
                self.fill(k, &to + (left + copied), right);
            }
            let across = if side_by_side(g) { pixel } else { g.x[3] };
            let from = n * g.x[0] + iy * g.x[2] + line.from * across;
            match copy {
                Some(copy) => k.call(copy, vec![self.x.from(from), self.room.from(&to + left)]),
                None if copied > 0 => {
                    let (from, to) = (k.let_("from", from), k.let_("first", &to + left));
                    k.for_("column", 0, line.copied, |k, column| {
                        let (from, to) = (from + column * across, to + column * pixel);
                        k.for_("c", 0, pixel, |k, c| {
                            k.store(self.room, &to + c, self.x.at(&from + c * g.x[1]));
                        });
                    });
                }
                None => {}
            }
        };
        if g.interior(0) == (0, g.output[0]) {
            return inside(k);
        }
        k.if_else(iy.ge(0).and(iy.lt(g.input[0])), inside, |k| match self.once {
            true => self.fill(k, &to + left, copied),
            false => self.fill(k, to.clone(), left + copied + right),
        });
    }
}
