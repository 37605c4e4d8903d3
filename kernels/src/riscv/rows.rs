//! Input rows under a row of outputs, padding included, as bytes in the workspace.
//!
//! In: a convolution's sizes. Out: panels of whole tiles whose inputs fit a limit, and how their lines
//! are copied. Law: as that of [`crate::panel`], with the zero point as padding.

use crate::error::Result;
use crate::kernel::{Buf, Expr, KernelBuilder, Val};
use crate::library::Library;
use crate::panel::{Fill, Panel, Part, Span};
use crate::problem::Geometry;
use crate::vector::Run;

/// Fewest output columns that a row is cut into.
const COLUMNS: usize = 4;

/// The panel of tiles whose inputs take at most `limit` bytes, or of the smallest there are. A `split`
/// window has a line for each of its columns.
pub fn panel(g: &Geometry, split: bool, limit: usize) -> Panel<'_> {
    // By halves: a tile of a third takes more of the arena than it saves.
    let mut columns = g.output[1];
    while columns > COLUMNS && tiles(g, split, columns).len() > limit {
        columns = columns.div_ceil(2);
    }
    tiles(g, split, columns)
}

/// The panel of tiles of so many output columns.
pub fn tiles(g: &Geometry, split: bool, columns: usize) -> Panel<'_> {
    let panel = Panel { whole: [true; 2], apart: true, ..Panel::new(g, [1, columns]) };
    if split { panel.split() } else { panel }
}

/// Copies lines into a panel, or a place of its own, of so many bytes and lines.
pub struct Copier<'a> {
    pub g: &'a Geometry,
    pub x: Buf,
    pub room: Buf,
    pub len: usize,
    pub lines: usize,
    pub zx: Val,
    pub library: &'a Library<'a>,
}

impl Copier<'_> {
    fn zeros(&self, k: &mut KernelBuilder, from: Expr, n: usize) {
        k.for_("i", 0, n, |k, i| k.store(self.room, &from + i, self.zx));
    }
}

impl Fill for Copier<'_> {
    fn clear(&self, k: &mut KernelBuilder, part: &Part) -> Result<()> {
        let (pixel, pitch) = (self.g.pixel(), self.len / self.lines);
        if part.columns == self.g.output[1] || self.lines > part.lines.len() {
            // One tile, or several rows, which serve many tiles: a single loop is less code.
            if part.padded() {
                self.zeros(k, 0.into(), self.len);
            }
            return Ok(());
        }
        for (i, span) in part.lines.iter().enumerate() {
            let right = i * pitch + (span.left + span.columns) * pixel;
            self.zeros(k, (i * pitch).into(), span.left * pixel);
            self.zeros(k, right.into(), span.right * pixel);
        }
        Ok(())
    }
    fn line(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: Expr) -> Result<()> {
        let (g, pixel) = (self.g, self.g.pixel());
        let to = to + span.left * pixel;
        let copy = match span.columns {
            0 => return Ok(()),
            n if g.side_by_side() => Run::Copy { n: n * pixel }.kernel(self.library)?,
            _ => None,
        };
        if let Some(copy) = copy {
            k.call(&copy, vec![self.x.from(from), self.room.from(to)]);
            return Ok(());
        }
        let across = if g.side_by_side() { pixel } else { g.x[3] };
        let (from, to) = (k.let_("from", from), k.let_("first", to));
        k.for_("column", 0, span.columns, |k, column| {
            let (from, to) = (from + column * across, to + column * pixel);
            k.for_("c", 0, pixel, |k, c| k.store(self.room, &to + c, self.x.at(&from + c * g.x[1])));
        });
        Ok(())
    }
    fn padding(&self, k: &mut KernelBuilder, span: &Span, to: Expr) -> Result<()> {
        let pixel = self.g.pixel();
        self.zeros(k, to + span.left * pixel, span.columns * pixel);
        Ok(())
    }
}
