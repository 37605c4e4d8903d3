//! Input rows under a band of output rows, padding included as the zero point, in the workspace.
//!
//! In: a convolution's sizes and a limit. Out: a panel of whole bands and tiles whose inputs fit it, and
//! the calls that bring its lines. Law: as that of [`crate::panel`]; lines are brought from the first on,
//! as each writes [`SLACK`] bytes behind itself.

use crate::error::Result;
use crate::hvx::line::{Line, SLACK};
use crate::kernel::{Buf, CallArg, Expr, KernelBuilder, Val};
use crate::library::Library;
use crate::panel::{self, Fill, Panel, Part, Span};
use crate::problem::Geometry;

/// Fewest output columns that a row is cut into.
const COLUMNS: usize = 4;

/// The panel of tiles whose inputs take at most `limit` bytes, slack included, with `pixel` for each of
/// them, or of the smallest there are.
pub fn panel(g: &Geometry, pixel: usize, limit: usize) -> Panel<'_> {
    // The rows of a dilated window are lines of their own.
    let apart = g.kernel[0] > 1 && g.dilations[0] > 1;
    let of = |rows: usize, columns: usize| {
        let pitch = g.span(1, columns) * pixel;
        Panel { whole: [true; 2], apart, pitch, ..Panel::new(g, [rows, columns]) }
    };
    let fits = |rows: usize, columns: usize| of(rows, columns).len() + SLACK <= limit;
    let columns = panel::columns(g, 1, COLUMNS, |columns| fits(1, columns));
    let most = if apart { 1 } else { panel::rows(g, |rows| fits(rows, columns)) };
    // As even as they can be.
    of(g.output[0].div_ceil(g.output[0].div_ceil(most)), columns)
}

/// Brings the lines of a panel.
pub struct Filler<'a> {
    pub panel: &'a Panel<'a>,
    pub pixel: usize,
    pub x: Buf,
    pub room: Buf,
    pub zero: Val,
    pub library: &'a Library<'a>,
}

impl Filler<'_> {
    /// The line with columns as `span` has them, or one of padding.
    fn of(&self, span: Option<&Span>) -> Line {
        let (g, total) = (self.panel.g, self.panel.pitch);
        let (left, pixels) = match span {
            Some(span) if span.columns > 0 => (span.left * self.pixel, span.columns),
            _ => (total, 0),
        };
        Line { left, pixels, channels: g.pixel(), from: g.x[3], to: self.pixel, total }
    }
    /// Whether no line is too long.
    pub fn fits(&self) -> bool {
        let parts = self.panel.parts();
        self.of(None).fits() && parts.iter().flat_map(|p| &p.lines).all(|span| self.of(Some(span)).fits())
    }
}

impl Fill for Filler<'_> {
    /// Lines hold their padding.
    fn clear(&self, _k: &mut KernelBuilder, _part: &Part) -> Result<()> {
        Ok(())
    }
    fn line(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: Expr) -> Result<()> {
        let line = self.of(Some(span));
        if line.pixels == 0 {
            return self.padding(k, span, to);
        }
        let kernel = self.library.once(&line, || line.kernel())?;
        k.call(&kernel, vec![self.x.from(from), self.room.from(to), CallArg::Scalar(self.zero.into())]);
        Ok(())
    }
    fn padding(&self, k: &mut KernelBuilder, _span: &Span, to: Expr) -> Result<()> {
        let line = self.of(None);
        let kernel = self.library.once(&line, || line.kernel())?;
        k.call(&kernel, vec![self.room.from(to), CallArg::Scalar(self.zero.into())]);
        Ok(())
    }
}
