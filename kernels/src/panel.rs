//! How inputs are brought near: the input rows under a tile of outputs stand in the workspace, padding
//! included, while the tile is computed.
//!
//! In: a convolution's sizes and how large a tile is. Out: the loops over tiles, images, bands of rows
//! and the lines under each, around what a core writes a line by ([`Fill`]) and what it computes. A
//! panel under all outputs is the whole plane, one under whole rows a band, any other one a tile of it.
//!
//! Law: every element that a window reads is written before, from the input or as padding.

use crate::error::Result;
use crate::kernel::{Expr, KernelBuilder, Val};
use crate::problem::Geometry;

/// Where the inputs under a tile of outputs stand.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    pub g: &'a Geometry,
    /// Rows and columns of outputs of a tile.
    pub tile: [usize; 2],
    /// By axis whether the last tile is moved back to be whole, and computes some outputs again. Else
    /// it is smaller.
    pub whole: [bool; 2],
    /// Whether rows between those of a window are left out, which serves one row of outputs.
    pub apart: bool,
    /// Whether each column of a window has a line of its own.
    pub split: bool,
    /// Elements of the panel before the first column of the first line, and from line to line.
    pub base: usize,
    pub pitch: usize,
}

/// The columns of a line: padding, columns of the input from one on, padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub left: usize,
    pub from: usize,
    pub columns: usize,
    pub right: usize,
}

/// Neighbouring tiles of columns whose lines are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Tiles, output columns of each, and the first of all.
    pub tiles: usize,
    pub columns: usize,
    pub first: usize,
    /// The lines of an input row under the first tile.
    pub lines: Vec<Span>,
}

/// A tile of outputs at work.
pub struct Tile {
    pub rows: usize,
    pub columns: usize,
    /// Where its first output stands.
    pub y: Expr,
}

/// How a core writes a panel.
pub trait Fill {
    /// Writes what no line of these tiles overwrites: the padding beside them.
    ///
    /// Errors: those of a generator, as of the others.
    fn clear(&self, k: &mut KernelBuilder, part: &Part) -> Result<()>;
    /// Writes the line at element `to` of the panel, whose columns begin at element `from` of the input.
    fn line(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: Expr) -> Result<()>;
    /// Writes the same line as padding.
    fn padding(&self, k: &mut KernelBuilder, span: &Span, to: Expr) -> Result<()>;
    /// Goes on with the row at `to` of the panel when its lines are written.
    fn done(&self, _k: &mut KernelBuilder, _to: Expr) {}
}

impl Part {
    /// Whether some column of a line is padding.
    pub fn padded(&self) -> bool {
        self.lines.iter().any(|span| span.left + span.right > 0)
    }
}

impl Span {
    /// `width` columns from padded column `start` on.
    fn of(g: &Geometry, start: usize, width: usize) -> Span {
        let inside = |at: usize| at.clamp(g.pads[1], g.pads[1] + g.input[1]);
        let end = start + width;
        let (from, to) = (inside(start), inside(end));
        let left = from.min(end) - start.min(from);
        Span { left, from: from - g.pads[1], columns: to - from, right: width - left - (to - from) }
    }
}

impl<'a> Panel<'a> {
    /// Of tiles that are smaller where they do not fit, and of lines that follow each other.
    pub fn new(g: &'a Geometry, tile: [usize; 2]) -> Panel<'a> {
        let pitch = g.span(1, tile[1]) * g.pixel();
        Panel { g, tile, whole: [false; 2], apart: false, split: false, base: 0, pitch }
    }
    /// The same with a line for each column of a window.
    pub fn split(self) -> Panel<'a> {
        let panel = Panel { split: true, ..self };
        Panel { pitch: panel.width(self.tile[1]) * self.g.pixel(), ..panel }
    }
    /// Columns of a line under `columns` columns of outputs.
    fn width(&self, columns: usize) -> usize {
        if self.split { (columns - 1) * self.g.strides[1] + 1 } else { self.g.span(1, columns) }
    }
    /// Lines of a row.
    fn per_row(&self) -> usize {
        if self.split { self.g.kernel[1] } else { 1 }
    }
    /// Input rows under `rows` rows of outputs.
    pub fn rows(&self, rows: usize) -> usize {
        if self.apart { self.g.kernel[0] } else { self.g.span(0, rows) }
    }
    /// Elements that the rows under a tile take.
    pub fn len(&self) -> usize {
        self.rows(self.tile[0]) * self.per_row() * self.pitch
    }
    /// Tiles of columns by what their lines are like.
    pub fn parts(&self) -> Vec<Part> {
        let (g, all, size) = (self.g, self.g.output[1], self.tile[1]);
        let mut parts: Vec<Part> = Vec::new();
        for at in (0..all).step_by(size) {
            let first = if self.whole[1] { at.min(all - size) } else { at };
            let columns = size.min(all - first);
            let line = |i| Span::of(g, first * g.strides[1] + i * g.dilations[1], self.width(columns));
            let next = Part { tiles: 1, columns, first, lines: (0..self.per_row()).map(line).collect() };
            match parts.last_mut() {
                Some(last) if last.next(g.strides[1]) == next => last.tiles += 1,
                _ => parts.push(next),
            }
        }
        parts
    }

    /// Computes all outputs: writes the lines under each tile by `fill`, then calls `body`.
    ///
    /// Errors: those of `fill`.
    pub fn each(
        &self,
        k: &mut KernelBuilder,
        fill: &dyn Fill,
        body: &mut dyn FnMut(&mut KernelBuilder, &Tile),
    ) -> Result<()> {
        let g = self.g;
        let mut result = Ok(());
        for part in self.parts() {
            fill.clear(k, &part)?;
            k.for_("tile", 0, part.tiles, |k, tile| {
                k.for_("n", 0, g.batch, |k, n| {
                    self.bands(k, &mut |k, oy, rows| {
                        let ox = tile * part.columns + part.first;
                        let y = k.let_("y0", n * g.y[0] + oy * g.y[2] + ox * g.y[3]).into();
                        let filled = self.fill(k, fill, &part, (n, oy, tile), rows);
                        if result.is_ok() {
                            result = filled;
                        }
                        body(k, &Tile { rows, columns: part.columns, y });
                    });
                });
            });
        }
        result
    }
    /// Loops over bands of rows of outputs.
    fn bands(&self, k: &mut KernelBuilder, body: &mut dyn FnMut(&mut KernelBuilder, Val, usize)) {
        let (all, size) = (self.g.output[0], self.tile[0]);
        let bands = if self.whole[0] { all.div_ceil(size) } else { all / size };
        k.for_(if size == 1 { "oy" } else { "band" }, 0, bands, |k, band| {
            let oy: Expr = band * size;
            let oy = if bands * size > all { oy.min(all - size) } else { oy };
            let oy = k.let_("oy", oy);
            body(k, oy, size);
        });
        if bands * size < all {
            let oy = k.let_("oy", bands * size);
            body(k, oy, all - bands * size);
        }
    }
    /// Writes the lines under `rows` rows of outputs.
    fn fill(
        &self,
        k: &mut KernelBuilder,
        fill: &dyn Fill,
        part: &Part,
        (n, oy, tile): (Val, Val, Val),
        rows: usize,
    ) -> Result<()> {
        let g = self.g;
        let moved = tile * (part.columns * g.strides[1] * g.x[3]);
        let lines = || part.lines.iter().enumerate().map(|(i, span)| (i * self.pitch, span));
        let mut result = Ok(());
        k.for_("r", 0, self.rows(rows), |k, r| {
            let to = k.let_("to", r * (self.per_row() * self.pitch) + self.base);
            let iy = oy * g.strides[0] + r * if self.apart { g.dilations[0] } else { 1 } - g.pads[0];
            let inside = |k: &mut KernelBuilder, iy: Expr| {
                let row = n * g.x[0] + iy * g.x[2] + moved;
                lines().try_for_each(|(i, span)| fill.line(k, span, &row + span.from * g.x[3], to + i))
            };
            if g.interior(0) == (0, g.output[0]) {
                result = inside(k, iy);
            } else {
                let iy = k.let_("iy", iy);
                let mut outside = Ok(());
                k.if_else(
                    iy.ge(0).and(iy.lt(g.input[0])),
                    |k| result = inside(k, iy.into()),
                    |k| outside = lines().try_for_each(|(i, span)| fill.padding(k, span, to + i)),
                );
                if result.is_ok() {
                    result = outside;
                }
            }
            fill.done(k, to.into());
        });
        result
    }
}

impl Part {
    /// The tile behind these, if it is like them.
    fn next(&self, stride: usize) -> Part {
        let moved = |n: usize| n * self.columns;
        let of = |span: &Span| match span.columns {
            0 => *span,
            _ => Span { from: span.from + moved(self.tiles) * stride, ..*span },
        };
        let lines = self.lines.iter().map(of).collect();
        Part { tiles: 1, columns: self.columns, first: self.first + moved(self.tiles), lines }
    }
}

/// Loops over rows of outputs whose inputs are read where they are; `body` gets the offsets of the
/// first window and of its results.
pub fn direct(k: &mut KernelBuilder, g: &Geometry, body: &mut dyn FnMut(&mut KernelBuilder, &Expr, &Expr)) {
    k.for_("n", 0, g.batch, |k, n| {
        k.for_("oy", 0, g.output[0], |k, oy| {
            body(k, &(n * g.x[0] + oy * (g.strides[0] * g.x[2])), &(n * g.y[0] + oy * g.y[2]));
        });
    });
}

/// The most output columns of a tile that fit: all, or equal parts of them, of `share` columns or a
/// multiple, of about `least` where none fits.
pub fn columns(g: &Geometry, share: usize, least: usize, fits: impl Fn(usize) -> bool) -> usize {
    let part = |parts: usize| g.output[1].div_ceil(parts).next_multiple_of(share).min(g.output[1]);
    let most = g.output[1].div_ceil(least);
    (1..=most).map(part).find(|&columns| fits(columns)).unwrap_or(part(most))
}

/// The most rows of outputs of a band that fit, or one.
pub fn rows(g: &Geometry, fits: impl Fn(usize) -> bool) -> usize {
    (1..=g.output[0]).rev().find(|&rows| fits(rows)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Random, geometry};

    /// Where each column of a tile's lines comes from, written down one by one.
    fn plain(panel: &Panel<'_>, first: usize, columns: usize) -> Vec<Option<usize>> {
        let g = panel.g;
        let starts =
            if panel.split { (0..g.kernel[1]).map(|i| i * g.dilations[1]).collect() } else { vec![0] };
        let column = |at: usize| at.checked_sub(g.pads[1]).filter(|&at| at < g.input[1]);
        let line = |start: &usize| {
            let start = first * g.strides[1] + start;
            (start..start + panel.width(columns)).map(column).collect::<Vec<_>>()
        };
        starts.iter().flat_map(line).collect()
    }

    #[test]
    fn parts_say_where_each_column_of_each_tile_comes_from() {
        let mut random = Random(71);
        let mut of = |lo, hi| random.within(lo, hi) as usize;
        let mut merged = 0;
        for case in 0..3000 {
            let (width, kernel, pads) = (of(1, 40), of(1, 5), [of(0, 4), of(0, 4)]);
            let (stride, dilation) = (of(1, 3), of(1, 3));
            if width + pads[0] + pads[1] <= (kernel - 1) * dilation {
                continue;
            }
            let mut g = geometry(2, 2, [1, width], [1, kernel], [1, 1, 0, pads[0], 0, pads[1]]);
            let last = width + pads[0] + pads[1] - (kernel - 1) * dilation - 1;
            (g.strides[1], g.dilations[1], g.output[1]) = (stride, dilation, last / stride + 1);
            let tile = [1, of(1, g.output[1] as i64)];
            let panel = Panel { whole: [case % 2 == 0; 2], ..Panel::new(&g, tile) };
            let panel = if case % 3 == 0 { panel.split() } else { panel };
            let mut covered = 0;
            for part in panel.parts() {
                merged += part.tiles - 1;
                for tile in 0..part.tiles {
                    let first = part.first + tile * part.columns;
                    let column = |span: &Span, i: usize| {
                        let inside = i.checked_sub(span.left).filter(|&i| i < span.columns)?;
                        Some(span.from + tile * part.columns * stride + inside)
                    };
                    let line = |span: &Span| {
                        let width = span.left + span.columns + span.right;
                        (0..width).map(|i| column(span, i)).collect::<Vec<_>>()
                    };
                    let lines: Vec<_> = part.lines.iter().flat_map(line).collect();
                    assert_eq!(lines, plain(&panel, first, part.columns), "{panel:?}, tile at {first}");
                    assert!(first <= covered, "{panel:?} leaves out {covered}");
                    covered = first + part.columns;
                }
            }
            assert_eq!(covered, g.output[1], "{panel:?}");
        }
        assert!(merged > 1000, "{merged} tiles are like their neighbours");
    }
}
