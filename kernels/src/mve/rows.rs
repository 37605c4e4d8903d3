//! Input rows in the workspace of Helium's kernels, padding included as the zero point, and windows of
//! few inputs gathered from them.
//!
//! In: a convolution's sizes and a limit. Out: as many rows and columns as fit it, and the loops that
//! bring them. Law: every byte that a window reads is written before.

use crate::error::Result;
use crate::kernel::{Buf, CallArg, Expr, KernelBuilder};
use crate::library::Library;
use crate::mve::copy;
use crate::mve::depthwise;
use crate::mve::gemm::Gemm;
use crate::panel::{self, Fill, Panel, Part, Span};
use crate::problem::Geometry;
use crate::tensor::DType;

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
    pub(crate) panel: Panel<'a>,
    /// Type of the inputs, by which all else counts.
    elem: DType,
    lay: Lay,
    library: &'a Library<'a>,
}

/// Inputs that a kernel may read behind the rows.
const SLACK: usize = 16;

impl<'a> InputRows<'a> {
    /// As many rows and columns as take at most `limit` bytes, with `each` more inputs for every column,
    /// or the fewest there are. Columns come in multiples of `share`.
    pub(crate) fn new(
        g: &'a Geometry,
        (elem, lay): (DType, Lay),
        limit: usize,
        (each, share): (usize, usize),
        library: &'a Library<'a>,
    ) -> InputRows<'a> {
        let of = |columns: usize, rows: usize| {
            let (width, pixel) = (g.span(1, columns), g.pixel());
            let pitch = match lay {
                Lay::Linear => (width * pixel).next_multiple_of(8),
                Lay::Planes => width * pixel.next_multiple_of(depthwise::LANES),
            };
            let panel = Panel { whole: [false, true], pitch, ..Panel::new(g, [rows, columns]) };
            InputRows { panel, elem, lay, library }
        };
        let fits =
            |columns: usize, rows: usize| (of(columns, rows).len() + each * columns) * elem.size() <= limit;
        let columns = panel::columns(g, share.max(2), share.max(4), |columns| fits(columns, 1));
        let most = panel::rows(g, |rows| fits(columns, rows));
        // Equal parts need no code for what remains.
        let equal = (1..=most).rev().find(|&t| g.output[0].is_multiple_of(t) && 3 * t >= 2 * most);
        of(columns, equal.unwrap_or(most))
    }
    pub(crate) fn len(&self) -> usize {
        self.panel.len() + SLACK
    }

    /// Loops over the rows of outputs: fills the rows and runs `body` with the offset of the
    /// first row under each, and that of the results.
    pub(crate) fn each(
        &self,
        k: &mut KernelBuilder,
        (x, room): (Buf, Buf),
        zero: i32,
        body: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) -> Result<()> {
        let Panel { g, pitch, .. } = self.panel;
        self.panel.each(k, &Filler { rows: self, x, room, zero }, &mut |k, tile| {
            k.for_("t", 0, tile.rows, |k, t| body(k, t * (g.strides[0] * pitch), &tile.y + t * g.y[2]));
        })
    }
}

/// Brings the lines of a panel.
struct Filler<'a> {
    rows: &'a InputRows<'a>,
    x: Buf,
    room: Buf,
    zero: i32,
}

impl Filler<'_> {
    fn zeros(&self, k: &mut KernelBuilder, to: Expr, n: usize) -> Result<()> {
        let elem = self.rows.elem;
        let fill = self.rows.library.once(&("fill", elem, n), || copy::fill(n, elem))?;
        k.call(&fill, vec![self.room.from(to), CallArg::Scalar(self.zero.into())]);
        Ok(())
    }
}

impl Fill for Filler<'_> {
    fn clear(&self, k: &mut KernelBuilder, _part: &Part) -> Result<()> {
        self.zeros(k, 0.into(), self.rows.len())
    }
    fn line(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: Expr) -> Result<()> {
        let (Panel { g, tile, .. }, library) = (self.rows.panel, self.rows.library);
        let pixels = span.columns;
        if pixels == 0 {
            return Ok(());
        }
        let (copy, left) = match self.rows.lay {
            Lay::Linear => {
                let len = pixels * g.pixel();
                let elem = self.rows.elem;
                let copy = library.once(&("copy", elem, len), || copy::copy(len, elem))?;
                (copy, span.left * g.pixel())
            }
            Lay::Planes => {
                let pitch = g.span(1, tile[1]) * depthwise::LANES;
                let planes = copy::Planes { pixels, channels: g.pixel(), pitch };
                (library.once(&planes, || planes.kernel())?, span.left * depthwise::LANES)
            }
        };
        k.call(&copy, vec![self.x.from(from), self.room.from(to + left)]);
        Ok(())
    }
    fn padding(&self, k: &mut KernelBuilder, span: &Span, to: Expr) -> Result<()> {
        let pixel = self.rows.panel.g.pixel();
        match self.rows.lay {
            _ if span.columns == 0 => Ok(()),
            Lay::Linear => self.zeros(k, to + span.left * pixel, span.columns * pixel),
            Lay::Planes => self.zeros(k, to, self.rows.panel.pitch),
        }
    }
}

/// The windows of a row of outputs, each one after the other, where a window's rows are short.
pub(crate) struct Columns {
    pub(crate) gather: copy::Gather,
    /// Inputs from one window to the next.
    pub(crate) pitch: usize,
}

impl Columns {
    /// Inputs from one window to the next, of so many to a vector; `None` where gathering saves nothing.
    pub(crate) fn pitch(g: &Geometry, lanes: usize) -> Option<usize> {
        let [kh, kw] = g.kernel;
        let run = kw * g.cin;
        // Cycles of a pair of pixels: sixteen for each chunk of four channels, against eight for
        // each run.
        let saved = 16 * g.cout.div_ceil(4) * (kh - (kh * run).div_ceil(lanes));
        (saved > 8 * kh).then_some(((kh - 1) * run + lanes).max((kh * run).next_multiple_of(lanes)))
    }
    pub(crate) fn new(panel: &Panel<'_>, elem: DType, pitch: usize) -> Option<Columns> {
        let g = panel.g;
        let gather = copy::Gather {
            elem,
            runs: g.kernel[0],
            run: g.kernel[1] * g.cin,
            from_pitch: panel.pitch * g.dilations[0],
            step: g.strides[1] * g.cin,
            count: panel.tile[1],
            to_pitch: pitch,
        };
        gather.fits().then_some(Columns { gather, pitch })
    }
    pub(crate) fn len(&self, gemm: &Gemm) -> usize {
        self.gather.result_len().max(gemm.acts_len())
    }
}
