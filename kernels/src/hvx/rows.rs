//! Input rows under a band of output rows, padding included as the zero point, in the workspace.
//!
//! In: a convolution's sizes and a limit. Out: bands of rows and tiles of columns whose inputs
//! fit it, and the calls that bring them. Law: every byte that a window reads is written before,
//! and rows are brought from the first on, as each writes a little behind itself.

use crate::error::Result;
use crate::hvx::line::{Line, SLACK};
use crate::kernel::{Buf, CallArg, Kernel, KernelBuilder, Val};
use crate::library::Library;
use crate::problem::Geometry;
use std::sync::Arc;

/// Fewest output columns that a row is cut into.
const COLUMNS: usize = 4;

/// Where bands and tiles are cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Output rows and columns of a band's tile.
    pub rows: usize,
    pub columns: usize,
    /// First output column of each tile; the last one ends with the row and may compute some
    /// pixels again.
    pub firsts: Vec<usize>,
    /// Input rows in the workspace, and how many apart they are in the image.
    pub lines: usize,
    step: usize,
    /// Input columns of a line, bytes of a pixel there, and of a line.
    width: usize,
    pub pixel: usize,
    pub pitch: usize,
}

impl Cut {
    /// Tiles whose inputs take at most `limit` bytes with `pixel` for each of them, or the
    /// smallest there are.
    pub fn new(g: &Geometry, pixel: usize, limit: usize) -> Cut {
        let width = |columns: usize| (columns - 1) * g.strides[1] + (g.kernel[1] - 1) * g.dilations[1] + 1;
        // The rows of a dilated window are lines of their own.
        let apart = g.kernel[0] > 1 && g.dilations[0] > 1;
        let lines = |rows: usize| (rows - 1) * g.strides[0] + g.kernel[0];
        let bytes = |rows: usize, columns: usize| lines(rows) * width(columns) * pixel + SLACK;
        let mut columns = g.output[1];
        while columns > COLUMNS && bytes(1, columns) > limit {
            columns = columns.div_ceil(2);
        }
        let most = if apart { 1 } else { g.output[0] };
        let fitting = (1..=most).take_while(|&rows| bytes(rows, columns) <= limit).last().unwrap_or(1);
        // As even as they can be.
        let rows = g.output[0].div_ceil(g.output[0].div_ceil(fitting));
        let columns = g.output[1].div_ceil(g.output[1].div_ceil(columns));
        Cut {
            rows,
            columns,
            firsts: (0..g.output[1]).step_by(columns).map(|c| c.min(g.output[1] - columns)).collect(),
            lines: lines(rows),
            step: if apart { g.dilations[0] } else { 1 },
            width: width(columns),
            pixel,
            pitch: width(columns) * pixel,
        }
    }
    /// Bytes of the workspace.
    pub fn len(&self) -> usize {
        self.lines * self.pitch + SLACK
    }
    /// Output row at which a band begins; the last one ends with the image.
    pub fn bands(&self, g: &Geometry) -> (usize, usize) {
        (g.output[0].div_ceil(self.rows), g.output[0] - self.rows)
    }
}

/// Brings the inputs under a tile.
pub struct Filler<'a> {
    g: &'a Geometry,
    cut: &'a Cut,
    x: Buf,
    room: Buf,
    zero: Val,
    /// By tile: the first input column, and the kernel that brings a row from there on.
    lines: Vec<Option<(usize, Arc<Kernel>)>>,
    /// A line of padding.
    zeros: Arc<Kernel>,
}

impl<'a> Filler<'a> {
    /// `None` where a line is too long.
    pub fn new(
        g: &'a Geometry,
        cut: &'a Cut,
        (x, room, zero): (Buf, Buf, Val),
        library: &Library<'_>,
    ) -> Result<Option<Filler<'a>>> {
        let channels = g.groups * g.cin;
        let empty =
            Line { left: cut.pitch, pixels: 0, channels, from: g.x[3], to: cut.pixel, total: cut.pitch };
        let inside = |at: usize| at.clamp(g.pads[1], g.pads[1] + g.input[1]);
        let mut lines = Vec::new();
        for first in &cut.firsts {
            // In padded columns.
            let start = first * g.strides[1];
            let (from, to) = (inside(start), inside(start + cut.width));
            let line = Line { left: (from - start.min(from)) * cut.pixel, pixels: to - from, ..empty };
            lines.push(match to > from {
                true if !line.fits() => return Ok(None),
                true => Some((from - g.pads[1], library.once(&line, || line.kernel())?)),
                false => None,
            });
        }
        if !empty.fits() {
            return Ok(None);
        }
        Ok(Some(Filler { g, cut, x, room, zero, lines, zeros: library.once(&empty, || empty.kernel())? }))
    }
    /// The rows under the outputs of a tile from row `oy` on.
    pub fn fill(&self, k: &mut KernelBuilder, tile: usize, n: Val, oy: Val) {
        let g = self.g;
        k.for_("line", 0, self.cut.lines, |k, line| {
            let iy = k.let_("iy", oy * g.strides[0] + line * self.cut.step - g.pads[0]);
            let to = k.let_("to", line * self.cut.pitch);
            let zero = CallArg::Scalar(self.zero.into());
            let inside = |k: &mut KernelBuilder| match &self.lines[tile] {
                Some((first, kernel)) => {
                    let from = n * g.x[0] + iy * g.x[2] + first * g.x[3];
                    k.call(kernel, vec![self.x.from(from), self.room.from(to), zero.clone()]);
                }
                None => k.call(&self.zeros, vec![self.room.from(to), zero.clone()]),
            };
            if g.interior(0) == (0, g.output[0]) {
                return inside(k);
            }
            k.if_else(iy.ge(0).and(iy.lt(g.input[0])), inside, |k| {
                k.call(&self.zeros, vec![self.room.from(to), zero.clone()])
            });
        });
    }
}
