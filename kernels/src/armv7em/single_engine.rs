//! Layers with single weights that are zero, on cores with `smlal`: up to eight pixels at a time become words of
//! two ([`crate::armv7em::join`]), which all output channels read ([`crate::armv7em::gemm_single`]).
//!
//! The words of a convolution stand by column, row and channel of the window: the taps of a pixel lie side by
//! side, and those of the next one begin a column later. What no input covers is the zero point.
//!
//! In: sizes and a product. Out: the way `blocks1x1` where it fits. Laws: the outputs are those of the portable
//! loops, bit by bit; unless flash is to be spent, the weights take no more of it than with their zeros.

use crate::armv7em::engine::ending;
use crate::armv7em::gemm_single::{COLUMNS, Single, Sizes};
use crate::armv7em::join::Join;
use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, KernelBuilder, Val};
use crate::library::Library;
use crate::offer::{Candidate, Want};
use crate::panel::{Panel, Span};
use crate::problem::{Geometry, Rows};
use crate::product::Product;
use crate::tensor::{DType, Data};
use std::ops::Range;

/// The variant that leaves out single weights that are zero.
pub const SINGLE: &str = "blocks1x1";

/// How many words hold the pixels of a call: of `len` in a row as few are computed twice as can be. `None` where
/// offsets between them, `pitch` words and `step` results, do not fit.
fn columns(len: usize, pitch: usize, step: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let of = |most: usize| {
        let calls = len.div_ceil(2 * most).max(1);
        let columns = len.div_ceil(2 * calls).min(len / 2);
        let sizes = Sizes { acts: 0, columns, pitch, step, sh: 1, lo: 0, hi: 0, round: 2 };
        (columns > 0 && sizes.fits()).then_some(columns)
    };
    let found = (1..=COLUMNS).rev().filter_map(of);
    found.clone().find(|&columns| fits(columns)).or(found.min())
}

/// A product whose weights are packed.
struct Packed {
    single: Single,
    stream: Bind,
    rnd: i32,
}

/// Packs a product for words as `sizes` says, whose ending is still to be filled in.
fn packed(product: &Product, sizes: Sizes, taps: &[usize], want: &Want<'_>) -> Result<Option<Packed>> {
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return Ok(None) };
    let Some(ending) = ending(&folded) else { return Ok(None) };
    let (Some(sh), (lo, hi)) = (ending.sh, ending.limits) else { return Ok(None) };
    let spends = want.policy.spends_flash();
    let sizes = Sizes { sh, lo, hi, round: if spends { 4 } else { 2 }, ..sizes };
    let found = Single::pack(&sizes, w, b, ending.rounding(), taps);
    // With their zeros, weights take a byte and channels eight.
    let all = w.len() + 8 * b.len();
    let found = found.filter(|(single, _)| single.pays(taps.len()) && (spends || 4 * single.len <= all));
    Ok(found.map(|(single, stream)| {
        let stream = Bind::aligned("weights", Data::I32(stream), 4);
        Packed { single, stream, rnd: ending.rnd }
    }))
}

/// A pointwise convolution, or a dense layer of several rows.
pub fn dense(rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if !rows.side_by_side() || inputs == 0 || outputs == 0 {
        return Ok(None);
    }
    let (outer, inner) = rows.split();
    let Some(columns) = columns(inner.len, inputs, inner.y, |n| 4 * n * inputs <= want.rows_limit) else {
        return Ok(None);
    };
    let sizes = Sizes {
        acts: columns * inputs,
        columns,
        pitch: inputs,
        step: inner.y,
        sh: 1,
        lo: 0,
        hi: 0,
        round: 2,
    };
    let taps: Vec<usize> = (0..inputs).collect();
    let Some(Packed { single, stream, rnd }) = packed(product, sizes, &taps, want)? else { return Ok(None) };
    let library = want.library;
    let join = Join::new(inputs, columns, inner.x, inputs);
    let join = library.once(&join, || join.kernel(library.core()))?;
    let gemm = library.once(&single, || single.kernel(library.core()))?;

    let mut k = KernelBuilder::new("dense_s8_single");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, rows.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, sizes.acts, Access::ReadWrite);
    let w = k.buffer("w", DType::I32, single.len, Access::Read);
    let round = k.scalar("rnd", i32::MIN, i32::MAX);
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        groups(k, inner.len, columns, &mut |k, first| {
            let a = k.let_("a", x0 + first * inner.x);
            k.call(&join, vec![x.from(a), x.from(a + columns * inner.x), acts.from(0)]);
            let to = y.from(y0 + first * inner.y);
            k.call(&gemm, vec![acts.from(0), w.from(0), to, CallArg::Scalar(round.into())]);
        });
    });
    // A group that is moved back reads inputs again.
    let in_place = rows.in_step() && inner.len.is_multiple_of(2 * columns);
    let result = if in_place { Bind::ResultInPlace } else { Bind::Result(0) };
    let args = vec![Bind::Operand(0), result, Bind::Workspace(0), stream, Bind::Scalar(rnd)];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: SINGLE, call, workspace: 4 * sizes.acts }))
}

/// Loops over groups of pixels, the last one moved back so that it is whole; `body` gets the first pixel.
fn groups(k: &mut KernelBuilder, len: usize, columns: usize, body: &mut dyn FnMut(&mut KernelBuilder, Val)) {
    let size = 2 * columns;
    k.for_("group", 0, len.div_ceil(size), |k, group| {
        let first = k.let_("first", (group * size).min(len - size));
        body(k, first);
    });
}

/// A convolution of one group.
pub fn conv(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    let last = (g.cin == 1 || g.x[1] == 1) && (g.cout == 1 || g.y[1] == 1);
    if g.groups > 1 || !last || g.dilations != [1, 1] {
        return Ok(None);
    }
    // Pixels side by side, or one above the other where rows are short.
    let turned = g.output[1] < 2 * COLUMNS && g.output[0] > g.output[1];
    let weight = |c: usize, row: usize, column: usize| (c * g.kernel[0] + row) * g.kernel[1] + column;
    let g = &if turned { g.turned() } else { g.clone() };
    let [kh, kw] = g.kernel;
    // Words of a column of the window.
    let column = kh * g.cin;
    let words = |columns: usize| g.span(1, columns) * column;
    let pitch = g.strides[1] * column;
    let columns = columns(g.output[1], pitch, g.y[3], |n| 4 * words(n) <= want.rows_limit);
    let Some(columns) = columns else { return Ok(None) };
    let words = words(columns);
    let sizes = Sizes { acts: words, columns, pitch, step: g.y[3], sh: 1, lo: 0, hi: 0, round: 2 };
    let mut taps = Vec::with_capacity(kw * column);
    for (kx, ky) in (0..kw).flat_map(|kx| (0..kh).map(move |ky| (kx, ky))) {
        taps.extend((0..g.cin).map(|c| if turned { weight(c, kx, ky) } else { weight(c, ky, kx) }));
    }
    let Some(Packed { single, stream, rnd }) = packed(product, sizes, &taps, want)? else { return Ok(None) };
    let gemm = want.library.once(&single, || single.kernel(want.core()))?;

    let mut k = KernelBuilder::new("conv_s8_single");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let acts = k.buffer("acts", DType::I32, words, Access::ReadWrite);
    let w = k.buffer("w", DType::I32, single.len, Access::Read);
    let pad = k.buffer("pad", DType::I8, g.cin, Access::Read);
    let round = k.scalar("rnd", i32::MIN, i32::MAX);
    let line = Line { g, columns, column, x, acts, pad, library: want.library };
    let tiles = Panel { whole: [false, true], ..Panel::new(g, [1, 2 * columns]) };
    let mut result = Ok(());
    for part in tiles.parts() {
        k.for_("tile", 0, part.tiles, |k, tile| {
            let ox = k.let_("ox", tile * part.columns + part.first);
            // Inputs from those of the first tile.
            let moved = k.let_("moved", tile * (part.columns * g.strides[1] * g.x[3]));
            k.for_("n", 0, g.batch, |k, n| {
                k.for_("oy", 0, g.output[0], |k, oy| {
                    k.for_("ky", 0, kh, |k, ky| {
                        let iy = k.let_("iy", oy * g.strides[0] + ky - g.pads[0]);
                        let from = n * g.x[0] + iy * g.x[2] + moved;
                        let filled = line.write(k, &part.lines[0], iy, from, ky * g.cin);
                        if result.is_ok() {
                            result = filled;
                        }
                    });
                    let to = y.from(n * g.y[0] + oy * g.y[2] + ox * g.y[3]);
                    k.call(&gemm, vec![acts.from(0), w.from(0), to, CallArg::Scalar(round.into())]);
                });
            });
        });
    }
    result?;
    let padding = Bind::aligned("padding", Data::I8(vec![product.x_zp as i8; g.cin]), 1);
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), stream];
    args.extend([padding, Bind::Scalar(rnd)]);
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: SINGLE, call, workspace: 4 * words }))
}

/// What makes words of a row of inputs.
struct Line<'a> {
    g: &'a Geometry,
    columns: usize,
    /// Words of a column of the window.
    column: usize,
    x: Buf,
    acts: Buf,
    pad: Buf,
    library: &'a Library<'a>,
}

impl Line<'_> {
    /// Writes the words of input row `iy`, of which `span` says what is padding: from element `from` of the
    /// input, were it not, to word `to`.
    fn write(&self, k: &mut KernelBuilder, span: &Span, iy: Val, from: Expr, to: Expr) -> Result<()> {
        let g = self.g;
        let inputs = g.span(1, self.columns);
        if g.interior(0) == (0, g.output[0]) {
            return self.inside(k, span, from, &to);
        }
        let mut result = Ok(());
        k.if_else(
            iy.ge(0).and(iy.lt(g.input[0])),
            |k| result = self.inside(k, span, from, &to),
            |k| self.words(k, 0..inputs, [const { None }; 2], &to),
        );
        result
    }

    /// The same of a row inside.
    fn inside(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: &Expr) -> Result<()> {
        let g = self.g;
        let from = k.let_("from", from);
        // Where the input of a column stands, if it is none of the padding.
        let at = |column: usize| {
            let inside = column.checked_sub(span.left).filter(|&i| i < span.columns);
            inside.map(|i| (span.from + i) * g.x[3])
        };
        let pair = |i: usize| [at(i), at(i + self.columns * g.strides[1])];
        let kind = |i: usize| pair(i).map(|at| at.is_some());
        let inputs = g.span(1, self.columns);
        let mut first = 0;
        while first < inputs {
            let end = (first..inputs).find(|&i| kind(i) != kind(first)).unwrap_or(inputs);
            match pair(first) {
                [Some(a), Some(b)] => {
                    let join = Join::new(g.cin, end - first, g.x[3], self.column);
                    let join = self.library.once(&join, || join.kernel(self.library.core()))?;
                    let to = self.acts.from(to + first * self.column);
                    k.call(&join, vec![self.x.from(from + a), self.x.from(from + b), to]);
                }
                pair => self.words(k, first..end, pair.map(|at| at.map(|at| from + at)), to),
            }
            first = end;
        }
        Ok(())
    }

    /// Words of some columns of which one input at least is padding, where the other one stands at the first.
    fn words(&self, k: &mut KernelBuilder, columns: Range<usize>, pair: [Option<Expr>; 2], to: &Expr) {
        let g = self.g;
        k.for_("column", 0, columns.len(), |k, column| {
            k.for_("c", 0, g.cin, |k, c| {
                let of = |at: &Option<Expr>| match at {
                    Some(at) => self.x.at(at + column * g.x[3] + c),
                    None => self.pad.at(c),
                };
                let word = (of(&pair[0]) + 128) + of(&pair[1]) * (1 << 24);
                k.store(self.acts, to + column * self.column + (columns.start * self.column) + c, word);
            });
        });
    }
}
