//! Depthwise convolutions over widened rows: the input rows under a row of outputs, or under a tile of
//! it, are widened into the workspace, padding included as zeros, and multiplied four channels and two
//! output columns at a time.
//!
//! In: sizes and a product. Out: the way `depthwise`, where channels lie side by side in fours. Law: the
//! outputs are those of the portable loops, bit by bit.

use crate::armv7em::depthwise::Depthwise;
use crate::armv7em::engine::{Ending, Order, call_widen, widen_kernel};
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::library::Library;
use crate::offer::Candidate;
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// How a convolution is cut for the workspace.
struct Tiling {
    /// Output columns of a tile; the last one may have fewer.
    columns: usize,
    tiles: usize,
    /// Input columns under a tile, padding included.
    width: usize,
    /// 16-bit elements from one widened row to the next.
    pitch: usize,
}

impl Tiling {
    /// Tiles whose widened rows take at most `limit` bytes, or the smallest there are.
    fn new(g: &Geometry, limit: usize) -> Tiling {
        let pixel = g.groups * g.cin;
        let of = |columns: usize| {
            let width = (columns - 1) * g.strides[1] + g.kernel[1];
            // One more where a run has an odd number of inputs and reads a zero weight's.
            let pitch = (width * pixel + g.kernel[1] * pixel % 2).next_multiple_of(4);
            Tiling { columns, tiles: g.output[1].div_ceil(columns), width, pitch }
        };
        let mut columns = g.output[1];
        while columns > 2 && 2 * g.kernel[0] * of(columns).pitch > limit {
            columns = columns.div_ceil(2).next_multiple_of(2).min(columns - 1);
        }
        of(columns)
    }
}

/// A depthwise convolution: one output channel per group, undilated columns.
pub(crate) fn depthwise(
    g: &Geometry,
    product: &Product,
    limit: usize,
    library: &Library<'_>,
) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(product) else { return Ok(None) };
    let (lo, hi) = ending.limits;
    let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return Ok(None) };
    // The taps of a row are written out: those of a single output are a row, whichever way they lie.
    let column = g.output == [1, 1] && g.kernel[1] == 1 && g.input[1] == 1 && g.pads[1] == 0;
    let lying = column.then(|| g.turned());
    let g = lying.as_ref().unwrap_or(g);
    let packed = g.x[1] == 1 && g.y[1] == 1 && (g.input[1] == 1 || g.x[3] == g.groups);
    let undilated = g.kernel[1] == 1 || g.dilations[1] == 1;
    if g.cin != 1 || g.cout != 1 || !g.groups.is_multiple_of(4) || !packed || !undilated {
        return Ok(None);
    }
    let tiling = Tiling::new(g, limit);
    let two = Depthwise {
        channels: g.groups,
        kernel: g.kernel,
        run_pitch: tiling.pitch,
        columns: 2,
        stride: g.strides[1],
        step: g.y[3],
        sh: ending.sh,
        lo,
        hi,
    };
    let one = Depthwise { columns: 1, step: 0, ..two };
    let two = if g.output[1] > 1 { two } else { one };
    if !one.fits() || !two.fits() {
        return Ok(None);
    }
    let Some(packed) = one.pack(w, b, ending.rounding()) else { return Ok(None) };
    let weights = Bind::aligned("weights", Data::I16(packed), 4);
    let of = |block: Depthwise| library.once(&block, || block.kernel(library.core()));
    let kernels = (of(one)?, of(two)?);
    let (order, stream, rnd) = (Order::Parted, one.stream_len(), ending.sh.map(|_| ending.rnd));
    let driver = Driver {
        g,
        tiling: &tiling,
        order,
        library,
        way: "depthwise",
        name: "depthwise_s8_rows",
        stream,
        kernels,
    };
    driver.spell(product.x_zp, weights, rnd).map(Some)
}

/// The loops around a block that turns widened rows into one or two output pixels.
struct Driver<'a> {
    g: &'a Geometry,
    tiling: &'a Tiling,
    order: Order,
    library: &'a Library<'a>,
    way: &'static str,
    name: &'static str,
    /// Halves of the packed coefficients.
    stream: usize,
    /// For one pixel and for two.
    kernels: (Arc<Kernel>, Arc<Kernel>),
}

impl Driver<'_> {
    fn spell(&self, x_zp: i32, weights: Bind, rnd: Option<i32>) -> Result<Candidate> {
        let (g, tiling) = (self.g, self.tiling);
        let wide_len = g.kernel[0] * tiling.pitch;
        let mut k = KernelBuilder::new(self.name);
        let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
        let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
        let wide = k.buffer("wide", DType::I16, wide_len, Access::ReadWrite);
        let w = k.buffer("w", DType::I16, self.stream, Access::Read);
        let zx = k.scalar("zx", -128, 127);
        let round = rnd.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
        let rows = RowWriter::new(g, tiling, (self.order, self.library), (x, wide, zx))?;
        // The first `n` pixels of a tile, two by two.
        let pixels = |k: &mut KernelBuilder, n: usize, y0: &Expr| {
            let call = |k: &mut KernelBuilder, block: &Arc<Kernel>, column: Expr| {
                let acts = wide.from(&column * (g.strides[1] * rows.pixel));
                let to = y.from(y0 + column * g.y[3]);
                let mut args = vec![acts, w.from(0), to];
                args.extend(round.map(|r| CallArg::Scalar(r.into())));
                k.call(block, args);
            };
            k.for_step("column", 0, n / 2 * 2, 2, |k, column| call(k, &self.kernels.1, column.into()));
            if n % 2 == 1 {
                call(k, &self.kernels.0, (n - 1).into());
            }
        };
        // Padding beside whole rows, if any, is written once; nothing overwrites it.
        let full = g.pads[1] == 0 && RowWriter::copied(g, tiling) * rows.pixel == tiling.pitch;
        if tiling.tiles == 1 && !full {
            k.for_("i", 0, wide_len, |k, i| k.store(wide, i, 0));
        }
        k.for_("n", 0, g.batch, |k, n| {
            k.for_("oy", 0, g.output[0], |k, oy| {
                let y0 = k.let_("y0", n * g.y[0] + oy * g.y[2]);
                if tiling.tiles == 1 {
                    rows.whole(k, n, oy);
                    return pixels(k, g.output[1], &y0.into());
                }
                let last = g.output[1] - (tiling.tiles - 1) * tiling.columns;
                let full = if last == tiling.columns { tiling.tiles } else { tiling.tiles - 1 };
                k.for_("tile", 0, full, |k, tile| {
                    rows.tile(k, n, oy, tile.into());
                    let y0 = k.let_("yt", y0 + tile * (tiling.columns * g.y[3]));
                    pixels(k, tiling.columns, &y0.into());
                });
                if full < tiling.tiles {
                    rows.tile(k, n, oy, full.into());
                    pixels(k, last, &(y0 + full * tiling.columns * g.y[3]));
                }
            });
        });
        let mut args =
            vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), weights, Bind::Scalar(x_zp)];
        args.extend(rnd.map(Bind::Scalar));
        let call = Call { kernel: k.finish()?, args };
        Ok(Candidate { way: self.way, call, workspace: 2 * wide_len })
    }
}

/// Fills the workspace with the widened input rows under a row of outputs.
struct RowWriter<'a> {
    g: &'a Geometry,
    tiling: &'a Tiling,
    x: Buf,
    wide: Buf,
    zx: Val,
    /// Channels of a pixel.
    pixel: usize,
    /// Widens a whole input row, or one pixel of a tile.
    widen: Arc<Kernel>,
}

impl<'a> RowWriter<'a> {
    fn new(
        g: &'a Geometry,
        tiling: &'a Tiling,
        (order, library): (Order, &Library<'_>),
        (x, wide, zx): (Buf, Buf, Val),
    ) -> Result<RowWriter<'a>> {
        let pixels = if tiling.tiles == 1 { Self::copied(g, tiling) } else { 1 };
        let pixel = g.groups * g.cin;
        Ok(RowWriter { g, tiling, x, wide, zx, pixel, widen: widen_kernel(pixels * pixel, order, library)? })
    }

    /// Input columns that some output of an untiled row reads.
    fn copied(g: &Geometry, tiling: &Tiling) -> usize {
        (tiling.width.saturating_sub(g.pads[1])).min(g.input[1])
    }

    /// Rows `oy * stride + ky * dilation - pad` for each `ky`; `inside` fills a row of the
    /// workspace from an offset of the input, rows outside the input become zeros.
    fn each(
        &self,
        k: &mut KernelBuilder,
        n: Val,
        oy: Val,
        (first, len): (usize, usize),
        inside: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) {
        let g = self.g;
        k.for_("ky", 0, g.kernel[0], |k, ky| {
            let to = k.let_("to", ky * self.tiling.pitch);
            let iy = oy * g.strides[0] + ky * g.dilations[0] - g.pads[0];
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
    fn whole(&self, k: &mut KernelBuilder, n: Val, oy: Val) {
        let (left, len) = (self.g.pads[1] * self.pixel, Self::copied(self.g, self.tiling) * self.pixel);
        if len == 0 {
            return;
        }
        self.each(k, n, oy, (left, len), &|k, from, to| {
            call_widen(k, &self.widen, self.x.from(from), self.wide.from(to + left), self.zx);
        });
    }

    /// The pixels under one tile, one by one.
    fn tile(&self, k: &mut KernelBuilder, n: Val, oy: Val, tile: Expr) {
        let (g, t) = (self.g, self.tiling);
        let start = k.let_("start", tile * (t.columns * g.strides[1]) - g.pads[1]);
        self.each(k, n, oy, (0, t.width * self.pixel), &|k, from, to| {
            let from = k.let_("from", from);
            k.for_("column", 0, t.width, |k, column| {
                let ix = k.let_("ix", start + column);
                let at = k.let_("at", &to + column * self.pixel);
                k.if_else(
                    ix.ge(0).and(ix.lt(g.input[1])),
                    |k| {
                        let pixel = self.x.from(from + ix * g.x[3]);
                        call_widen(k, &self.widen, pixel, self.wide.from(at), self.zx);
                    },
                    |k| k.for_("i", 0, self.pixel, |k, i| k.store(self.wide, at + i, 0)),
                );
            });
        });
    }
}
