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

use crate::armv7em::engine::{Order, Packed, Weights, any_ending, at_once, call_widen, dual, widen_kernel};
use crate::armv7em::gemm::{Gemm, ROUND};
use crate::armv7em::stream::Format;
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::library::Library;
use crate::offer::{Candidate, Want};
use crate::panel::{self, Fill, Panel, Part, Span};
use crate::problem::Geometry;
use crate::product::{Product, reach_len};
use crate::tensor::DType;
use std::sync::Arc;

/// The panel of tiles whose widened inputs take at most `limit` bytes, or of the smallest there are.
/// `apart`: as that of [`Panel`].
pub fn panel(g: &Geometry, apart: bool, limit: usize) -> Panel<'_> {
    let pixel = g.pixel();
    // The inputs of a row begin on a word.
    let base = g.pads[1] * pixel % 2;
    let of = |rows: usize, columns: usize| {
        // One more where a run has an odd number of inputs and reads a zero weight's.
        let pitch = (base + g.span(1, columns) * pixel + g.kernel[1] * pixel % 2).next_multiple_of(4);
        Panel { apart, base, pitch, ..Panel::new(g, [rows, columns]) }
    };
    let fits = |rows: usize, columns: usize| 2 * of(rows, columns).len() <= limit;
    let columns = panel::columns(g, 2, 2, |columns| fits(1, columns));
    let mut rows = match apart || columns < g.output[1] {
        true => 1,
        false => panel::rows(g, |rows| fits(rows, columns)),
    };
    if columns % 2 == 1 && rows > 1 && rows < g.output[0] {
        rows -= rows % 2;
    }
    of(rows, columns)
}

/// A convolution of one group.
pub fn bands(
    g: &Geometry,
    product: &Product,
    want: &Want<'_>,
    weights: Weights,
) -> Result<Option<Candidate>> {
    // Inputs of sixteen bits keep their zero point, which padding has too.
    let pad = if product.operand == DType::I16 { product.x_zp } else { 0 };
    let product = &product.clone().folded_wide();
    let Some(ending) = any_ending(product) else { return Ok(None) };
    let library = want.library;
    let [kh, kw] = g.kernel;
    let side_by_side = kw == 1 || g.dilations[1] == 1;
    let packed_y = g.cout == 1 || g.y[1] == 1;
    // Taps apart along the only row are runs of their own.
    if g.groups > 1 || !packed_y || kh * kw * g.cin < 4 || !(side_by_side || kh == 1) {
        return Ok(None);
    }
    let panel = panel(g, false, want.rows_limit);
    let order = match product.operand {
        DType::I8 if !g.side_by_side() => Order::Natural,
        operand => Order::of(operand, g.cin),
    };
    let (runs, run, run_pitch) = match side_by_side {
        true => (kh, kw * g.cin, panel.pitch * g.dilations[0]),
        false => (kw, g.cin, g.dilations[1] * g.cin),
    };
    let pairs = run.div_ceil(2);
    let [rows, columns] = panel.tile;
    // Pixels that are multiplied at once, beside each other or one above the other: two, whichever way fewer of
    // a tile are left without a neighbour, or more where blocks have few channels.
    let most = weights.most_columns();
    let upright = match most {
        2 => columns * (rows % 2) < rows * (columns % 2),
        _ => columns < most && rows > columns,
    };
    let together = if most == 2 { 2 } else { at_once(most, if upright { rows } else { columns }) };
    let (pitch, step) = match upright {
        true => (g.strides[0] * panel.pitch, g.y[2]),
        false => (g.strides[1] * g.cin, g.y[3]),
    };
    let (lo, hi) = ending.limits;
    let sizes = Gemm {
        runs,
        pairs,
        run_pitch,
        outputs: g.cout,
        columns: together,
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
    for run in g.taps().chunks(run) {
        taps.extend((0..2 * pairs).map(|i| run.get(order.position(i)).copied()));
    }
    let Some((packed, coefficients)) = Packed::new(&one, product, (&ending, want), weights, &taps)? else {
        return Ok(None);
    };
    let one = packed.gemm();

    // The last window may reach into what only zero weights meet.
    let last = (rows - 1) * g.strides[0] * panel.pitch + (columns - 1) * g.strides[1] * g.cin;
    let wide_len = panel.len().max(panel.base + last + one.acts_len()).next_multiple_of(4);
    let mut k = KernelBuilder::new(format!("conv_{}_gemm", product.suffix()));
    let x = k.buffer("x", order.elem(), g.x_len(), Access::Read);
    let y = k.buffer("y", product.finish.elem(), g.y_len(), Access::Write);
    let wide = k.buffer("wide", DType::I16, wide_len, Access::ReadWrite);
    let w = k.buffer("w", DType::I16, packed.len(), Access::Read);
    let zx = order.zero(&mut k);
    let rnd = one.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
    let widener = Widener { panel: &panel, order, x, wide, len: wide_len, zx, pad, library };
    let (gemm_one, gemm_several) = (packed.kernel(library)?, packed.of(&sizes).kernel(library)?);
    // All outputs of a tile of so many rows and columns.
    let multiply = |k: &mut KernelBuilder, rows: usize, columns: usize, y0: &Expr| {
        let call = |k: &mut KernelBuilder, gemm: &Arc<Kernel>, row: Expr, column: Expr| {
            let at = &row * (g.strides[0] * panel.pitch) + &column * (g.strides[1] * g.cin) + panel.base;
            let mut args = vec![wide.from(at), w.from(0), y.from(y0 + row * g.y[2] + column * g.y[3])];
            args.extend(rnd.map(|r| CallArg::Scalar(r.into())));
            k.call(gemm, args);
        };
        let (row_step, column_step) = if upright { (together, 1) } else { (1, together) };
        let (whole_rows, whole_columns) = (rows / row_step * row_step, columns / column_step * column_step);
        // What is left joins pixels that are done, where there are enough and it is more than one.
        let joins = |left: usize, len: usize| left > 1 && len >= together;
        k.for_step("row", 0, whole_rows, row_step as i32, |k, row| {
            k.for_step("column", 0, whole_columns, column_step as i32, |k, column| {
                call(k, &gemm_several, row.into(), column.into());
            });
            match columns - whole_columns {
                0 => {}
                1 => call(k, &gemm_one, row.into(), whole_columns.into()),
                left if joins(left, columns) => {
                    call(k, &gemm_several, row.into(), (columns - together).into())
                }
                _ => k.for_("column", whole_columns, columns, |k, column| {
                    call(k, &gemm_one, row.into(), column.into());
                }),
            }
        });
        let each = |k: &mut KernelBuilder, gemm: &Arc<Kernel>, row: usize| {
            k.for_("column", 0, columns, |k, column| call(k, gemm, row.into(), column.into()));
        };
        match rows - whole_rows {
            left if joins(left, rows) => each(k, &gemm_several, rows - together),
            _ => (whole_rows..rows).for_each(|row| each(k, &gemm_one, row)),
        }
    };
    panel.each(&mut k, &widener, &mut |k, tile| multiply(k, tile.rows, tile.columns, &tile.y))?;
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), coefficients];
    args.extend(zx.map(|_| Bind::Scalar(product.x_zp)));
    args.extend(one.sh.map(|_| Bind::Scalar(ending.rnd)));
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: weights.way(), call, workspace: 2 * wide_len }))
}

/// A round that divides a run where there is one, so that nothing is spelled out beside its loop.
fn even_round(pairs: usize) -> usize {
    let divides = |r: &usize| pairs > ROUND && pairs.is_multiple_of(*r);
    (ROUND / 2..=ROUND).rev().find(divides).unwrap_or(ROUND)
}

/// Widens lines into `len` elements of a panel, with `pad` as padding: zeros, or the zero point of inputs of sixteen
/// bits, which stay as they are.
pub struct Widener<'a> {
    pub panel: &'a Panel<'a>,
    pub order: Order,
    pub x: Buf,
    pub wide: Buf,
    pub len: usize,
    pub zx: Option<Val>,
    pub pad: i32,
    pub library: &'a Library<'a>,
}

impl Fill for Widener<'_> {
    fn clear(&self, k: &mut KernelBuilder, part: &Part) -> Result<()> {
        let Panel { g, pitch, .. } = *self.panel;
        let full = part.lines.iter().all(|span| span.columns * g.pixel() == pitch);
        if !full || self.len > self.panel.len() {
            k.for_("i", 0, self.len, |k, i| k.store(self.wide, i, self.pad));
        }
        Ok(())
    }
    fn line(&self, k: &mut KernelBuilder, span: &Span, from: Expr, to: Expr) -> Result<()> {
        let g = self.panel.g;
        let kernel = match span.columns {
            0 => return Ok(()),
            n if g.side_by_side() => widen_kernel(n * g.pixel(), self.order, self.library)?,
            n => gather(g, n, self.order)?,
        };
        call_widen(k, &kernel, self.x.from(from), self.wide.from(to + span.left * g.pixel()), self.zx);
        Ok(())
    }
    fn padding(&self, k: &mut KernelBuilder, span: &Span, to: Expr) -> Result<()> {
        let pixel = self.panel.g.pixel();
        let first = span.left * pixel;
        k.for_("i", first, first + span.columns * pixel, |k, i| k.store(self.wide, &to + i, self.pad));
        Ok(())
    }
}

/// Widens columns whose channels or neighbours do not lie side by side.
fn gather(g: &Geometry, columns: usize, order: Order) -> Result<Arc<Kernel>> {
    let name = if order == Order::Wide { "gather_s16" } else { "gather_s8" };
    let mut k = KernelBuilder::new(name);
    let x = k.buffer("x", order.elem(), reach_len(&[columns, g.cin], &[g.x[3], g.x[1]]), Access::Read);
    let out = k.buffer("out", DType::I16, columns * g.cin, Access::Write);
    let zx = order.zero(&mut k);
    k.for_("column", 0, columns, |k, column| {
        k.for_("c", 0, g.cin, |k, c| {
            let v = x.at(column * g.x[3] + c * g.x[1]);
            k.store(out, column * g.cin + c, if let Some(zx) = zx { v - zx } else { v });
        });
    });
    k.finish()
}
