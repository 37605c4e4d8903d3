//! Convolutions over bands of widened rows: the input rows under some rows of outputs are widened
//! into the workspace, padding included as zeros, and multiplied with two output pixels at a
//! time, beside each other or one above the other.
//!
//! As many rows of outputs make a band as the workspace allows, so that few input rows are
//! widened twice; where not even one row fits, it is cut into tiles of columns. Inputs may lie
//! in any order: what is not channels last is gathered by plain loops.
//!
//! In: sizes and a product. Out: the way `gemm`. Law: the outputs are those of the portable
//! loops, bit by bit.

use crate::armv7em::engine::{Ending, Order, Packed, Weights, call_widen, dual, widen_kernel};
use crate::armv7em::gemm::{Gemm, ROUND};
use crate::armv7em::stream::Format;
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::library::Library;
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::{Product, reach_len};
use crate::tensor::DType;
use std::sync::Arc;

/// How a convolution is cut for the workspace.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Rows and columns of outputs of a band or tile; the last one may have fewer.
    pub rows: usize,
    pub columns: usize,
    /// Input rows and columns under it, padding included.
    tall: usize,
    wide: usize,
    /// 16-bit elements before a row's first column, so that its inputs begin on a word.
    base: usize,
    /// 16-bit elements from one widened row to the next.
    pitch: usize,
    /// Whether two pixels one above the other are multiplied at a time.
    upright: bool,
}

impl Cut {
    pub fn new(g: &Geometry, limit: usize) -> Cut {
        let span = |a: usize, n: usize| (n - 1) * g.strides[a] + (g.kernel[a] - 1) * g.dilations[a] + 1;
        let of = |rows: usize, columns: usize| {
            let (tall, wide) = (span(0, rows), span(1, columns));
            let base = g.pads[1] * g.cin % 2;
            // One more where a run has an odd number of inputs and reads a zero weight's.
            let pitch = (base + wide * g.cin + g.kernel[1] * g.cin % 2).next_multiple_of(4);
            // Pixels that are left without a neighbour, per band.
            let (beside, above) = (rows * (columns % 2), columns * (rows % 2));
            Cut { rows, columns, tall, wide, base, pitch, upright: above < beside }
        };
        let fits = |cut: &Cut| 2 * cut.tall * cut.pitch <= limit;
        let mut columns = g.output[1];
        while columns > 2 && !fits(&of(1, columns)) {
            columns = columns.div_ceil(2).next_multiple_of(2).min(columns - 1);
        }
        let mut rows = 1;
        while columns == g.output[1] && rows < g.output[0] && fits(&of(rows + 1, columns)) {
            rows += 1;
        }
        if columns % 2 == 1 && rows > 1 && rows < g.output[0] {
            rows -= rows % 2;
        }
        of(rows, columns)
    }
}

/// A convolution of one group.
pub fn bands(
    g: &Geometry,
    product: &Product,
    want: &Want<'_>,
    weights: Weights,
) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(product) else { return Ok(None) };
    let library = want.library;
    let [kh, kw] = g.kernel;
    let side_by_side = kw == 1 || g.dilations[1] == 1;
    let packed_y = g.cout == 1 || g.y[1] == 1;
    // Taps apart along the only row are runs of their own.
    if g.groups > 1 || !packed_y || kh * kw * g.cin < 4 || !(side_by_side || kh == 1) {
        return Ok(None);
    }
    let cut = Cut::new(g, want.rows_limit);
    let close = (g.cin == 1 || g.x[1] == 1) && (g.input[1] == 1 || g.x[3] == g.cin);
    let order = if close { Order::of(g.cin) } else { Order::Natural };
    let (runs, run, run_pitch) = match side_by_side {
        true => (kh, kw * g.cin, cut.pitch * g.dilations[0]),
        false => (kw, g.cin, g.dilations[1] * g.cin),
    };
    let pairs = run.div_ceil(2);
    let (pitch, step) = match cut.upright {
        true => (g.strides[0] * cut.pitch, g.y[2]),
        false => (g.strides[1] * g.cin, g.y[3]),
    };
    let (lo, hi) = ending.limits;
    let sizes = Gemm {
        runs,
        pairs,
        run_pitch,
        outputs: g.cout,
        columns: 2,
        pitch,
        step,
        format: Format::Packed,
        sh: ending.sh,
        lo,
        hi,
        round: if want.policy.spends_flash() { ROUND } else { even_round(pairs) },
        ahead: dual(want),
    };
    let one = Gemm { columns: 1, pitch: 0, step: 0, ..sizes };
    if !one.fits() || !sizes.fits() {
        return Ok(None);
    }
    let mut taps = Vec::with_capacity(2 * runs * pairs);
    for r in 0..runs {
        taps.extend((0..2 * pairs).map(|i| {
            let i = Some(order.position(i)).filter(|&i| i < run)?;
            let (ky, kx) = if side_by_side { (r, i / g.cin) } else { (0, r) };
            Some((i % g.cin * kh + ky) * kw + kx)
        }));
    }
    let Some((packed, coefficients)) = Packed::new(&one, product, (&ending, want), weights, &taps)? else {
        return Ok(None);
    };
    let one = packed.gemm();

    // The last window may reach into what only zero weights meet.
    let last = (cut.rows - 1) * g.strides[0] * cut.pitch + (cut.columns - 1) * g.strides[1] * g.cin;
    let wide_len = (cut.tall * cut.pitch).max(cut.base + last + one.acts_len()).next_multiple_of(4);
    let mut k = KernelBuilder::new("conv_s8_gemm");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let wide = k.buffer("wide", DType::I16, wide_len, Access::ReadWrite);
    let w = k.buffer("w", DType::I16, packed.len(), Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let rnd = one.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
    let widener = Widener::new(g, cut, (close, order, library), (x, wide, zx))?;
    let (gemm_one, gemm_two) = (packed.kernel(library)?, packed.of(&sizes).kernel(library)?);
    // All outputs of a band or tile of so many rows and columns.
    let multiply = |k: &mut KernelBuilder, rows: usize, columns: usize, y0: &Expr| {
        let call = |k: &mut KernelBuilder, gemm: &Arc<Kernel>, row: Expr, column: Expr| {
            let at = &row * (g.strides[0] * cut.pitch) + &column * (g.strides[1] * g.cin) + cut.base;
            let mut args = vec![wide.from(at), w.from(0), y.from(y0 + row * g.y[2] + column * g.y[3])];
            args.extend(rnd.map(|r| CallArg::Scalar(r.into())));
            k.call(gemm, args);
        };
        let (row_step, column_step) = if cut.upright { (2, 1) } else { (1, 2) };
        let (whole_rows, whole_columns) = (rows / row_step * row_step, columns / column_step * column_step);
        k.for_step("row", 0, whole_rows, row_step as i32, |k, row| {
            k.for_step("column", 0, whole_columns, column_step as i32, |k, column| {
                call(k, &gemm_two, row.into(), column.into());
            });
            if whole_columns < columns {
                call(k, &gemm_one, row.into(), whole_columns.into());
            }
        });
        if whole_rows < rows {
            k.for_("column", 0, columns, |k, column| {
                call(k, &gemm_one, whole_rows.into(), column.into());
            });
        }
    };
    // Padding beside whole rows is written once; nothing overwrites it.
    k.for_("i", 0, wide_len, |k, i| k.store(wide, i, 0));
    k.for_("n", 0, g.batch, |k, n| {
        let band = |k: &mut KernelBuilder, band: Expr, rows: usize| {
            let oy = k.let_("oy", band * cut.rows);
            let y0 = k.let_("y0", n * g.y[0] + oy * g.y[2]);
            let tall = cut.tall - (cut.rows - rows) * g.strides[0];
            if cut.columns == g.output[1] {
                widener.whole(k, n, oy, tall);
                return multiply(k, rows, cut.columns, &y0.into());
            }
            pieces(k, "tile", g.output[1], cut.columns, &mut |k, tile, columns| {
                let ox = k.let_("ox", tile * cut.columns);
                widener.tile(k, n, oy, ox, tall);
                multiply(k, rows, columns, &(y0 + ox * g.y[3]));
            });
        };
        pieces(k, "band", g.output[0], cut.rows, &mut |k, at, rows| band(k, at, rows));
    });
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), coefficients];
    args.push(Bind::Scalar(product.x_zp));
    args.extend(one.sh.map(|_| Bind::Scalar(ending.rnd)));
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: weights.way(), call, workspace: 2 * wide_len }))
}

/// A round that divides a run where there is one, so that nothing is spelled out beside its loop.
fn even_round(pairs: usize) -> usize {
    let divides = |r: &usize| pairs > ROUND && pairs.is_multiple_of(*r);
    (ROUND / 2..=ROUND).rev().find(divides).unwrap_or(ROUND)
}

/// Runs `body(k, piece, size)` over `len` cut into pieces of `size`, the last one smaller.
fn pieces(
    k: &mut KernelBuilder,
    name: &str,
    len: usize,
    size: usize,
    body: &mut dyn FnMut(&mut KernelBuilder, Expr, usize),
) {
    let (full, rest) = (len / size, len % size);
    k.for_(name, 0, full, |k, at| body(k, at.into(), size));
    if rest > 0 {
        body(k, full.into(), rest);
    }
}

/// Fills the workspace with widened input rows.
struct Widener<'a> {
    g: &'a Geometry,
    cut: Cut,
    x: Buf,
    wide: Buf,
    zx: Val,
    /// Input columns of a whole row that some output reads.
    columns: usize,
    /// Widens those, or all columns of a tile.
    row: Arc<Kernel>,
    /// Widens one column at the edge of a tile.
    pixel: Arc<Kernel>,
}

impl<'a> Widener<'a> {
    fn new(
        g: &'a Geometry,
        cut: Cut,
        (close, order, library): (bool, Order, &Library<'_>),
        (x, wide, zx): (Buf, Buf, Val),
    ) -> Result<Widener<'a>> {
        let columns = match cut.columns == g.output[1] {
            true => cut.wide.saturating_sub(g.pads[1]).min(g.input[1]),
            false => cut.wide,
        };
        let of = |columns: usize| match close {
            true => widen_kernel(columns * g.cin, order, library),
            false => gather(g, columns),
        };
        Ok(Widener { g, cut, x, wide, zx, columns, row: of(columns.max(1))?, pixel: of(1)? })
    }

    /// Each of `tall` input rows under output row `oy`: `inside` fills a row of the workspace from
    /// an offset of the input, rows outside the input become zeros.
    fn each(
        &self,
        k: &mut KernelBuilder,
        (n, oy, tall): (Val, Val, usize),
        (first, len): (usize, usize),
        inside: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) {
        let g = self.g;
        k.for_("r", 0, tall, |k, r| {
            let to = k.let_("to", r * self.cut.pitch + self.cut.base);
            let iy = oy * g.strides[0] + r - g.pads[0];
            if g.interior(0) == (0, g.output[0]) {
                return inside(k, n * g.x[0] + iy * g.x[2], to.into());
            }
            let iy = k.let_("iy", iy);
            k.if_else(
                iy.ge(0).and(iy.lt(g.input[0])),
                |k| inside(k, n * g.x[0] + iy * g.x[2], to.into()),
                |k| k.for_("i", first, first + len, |k, i| k.store(self.wide, to + i, 0)),
            );
        });
    }

    /// Whole rows: one run each between paddings that are zero already.
    fn whole(&self, k: &mut KernelBuilder, n: Val, oy: Val, tall: usize) {
        let (left, len) = (self.g.pads[1] * self.g.cin, self.columns * self.g.cin);
        if len == 0 {
            return;
        }
        self.each(k, (n, oy, tall), (left, len), &|k, from, to| {
            call_widen(k, &self.row, self.x.from(from), self.wide.from(to + left), self.zx);
        });
    }

    /// The columns under a tile: one run where all lie inside, else one by one.
    fn tile(&self, k: &mut KernelBuilder, n: Val, oy: Val, ox: Val, tall: usize) {
        let (g, wide) = (self.g, self.cut.wide);
        let start = k.let_("start", ox * g.strides[1] - g.pads[1]);
        self.each(k, (n, oy, tall), (0, wide * g.cin), &|k, from, to| {
            let from = k.let_("from", from);
            let apart = |k: &mut KernelBuilder| {
                k.for_("column", 0, wide, |k, column| {
                    let ix = k.let_("ix", start + column);
                    let at = k.let_("at", &to + column * g.cin);
                    k.if_else(
                        ix.ge(0).and(ix.lt(g.input[1])),
                        |k| {
                            let pixel = self.x.from(from + ix * g.x[3]);
                            call_widen(k, &self.pixel, pixel, self.wide.from(at), self.zx);
                        },
                        |k| k.for_("i", 0, g.cin, |k, i| k.store(self.wide, at + i, 0)),
                    );
                });
            };
            if wide > g.input[1] {
                return apart(k);
            }
            k.if_else(
                start.ge(0).and(start.le(g.input[1] - wide)),
                |k| {
                    let row = self.x.from(from + start * g.x[3]);
                    call_widen(k, &self.row, row, self.wide.from(&to), self.zx);
                },
                apart,
            );
        });
    }
}

/// Widens columns whose channels or neighbours do not lie side by side.
fn gather(g: &Geometry, columns: usize) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("gather_s8");
    let x = k.buffer("x", DType::I8, reach_len(&[columns, g.cin], &[g.x[3], g.x[1]]), Access::Read);
    let out = k.buffer("out", DType::I16, columns * g.cin, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_("column", 0, columns, |k, column| {
        k.for_("c", 0, g.cin, |k, c| {
            k.store(out, column * g.cin + c, x.at(column * g.x[3] + c * g.x[1]) - zx);
        });
    });
    k.finish()
}
