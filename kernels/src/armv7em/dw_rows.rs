//! Depthwise convolutions over widened rows: the input rows under a row of outputs, or under a tile of
//! it, are widened into the workspace, padding included as zeros, and multiplied four channels and two
//! output columns at a time.
//!
//! In: sizes and a product. Out: the way `depthwise`, where channels lie side by side in fours. Law: the
//! outputs are those of the portable loops, bit by bit.

use crate::armv7em::bands::{Widener, panel};
use crate::armv7em::depthwise::Depthwise;
use crate::armv7em::engine::{Order, ending};
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, CallArg, Expr, Kernel, KernelBuilder};
use crate::library::Library;
use crate::offer::Candidate;
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// A depthwise convolution: one output channel per group, undilated columns.
pub(crate) fn depthwise(
    g: &Geometry,
    product: &Product,
    limit: usize,
    library: &Library<'_>,
) -> Result<Option<Candidate>> {
    let Some(ending) = ending(product) else { return Ok(None) };
    let (lo, hi) = ending.limits;
    let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return Ok(None) };
    // The taps of a row are written out: those of a single output are a row, whichever way they lie.
    let column = g.output == [1, 1] && g.kernel[1] == 1 && g.input[1] == 1 && g.pads[1] == 0;
    let lying = column.then(|| g.turned());
    let g = lying.as_ref().unwrap_or(g);
    let packed = g.x[1] == 1 && g.y[1] == 1 && g.side_by_side();
    let undilated = g.kernel[1] == 1 || g.dilations[1] == 1;
    if g.cin != 1 || g.cout != 1 || !g.groups.is_multiple_of(4) || !packed || !undilated {
        return Ok(None);
    }
    let panel = panel(g, true, limit);
    let two = Depthwise {
        channels: g.groups,
        kernel: g.kernel,
        run_pitch: panel.pitch,
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
    let (one_pixel, two_pixels) = (of(one)?, of(two)?);
    let wide_len = panel.len();
    let mut k = KernelBuilder::new("depthwise_s8_rows");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let wide = k.buffer("wide", DType::I16, wide_len, Access::ReadWrite);
    let w = k.buffer("w", DType::I16, one.stream_len(), Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let round = ending.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
    let widener = Widener {
        panel: &panel,
        order: Order::Parted,
        x,
        wide,
        len: wide_len,
        zx: Some(zx),
        pad: 0,
        library,
    };
    panel.each(&mut k, &widener, &mut |k, tile| {
        let call = |k: &mut KernelBuilder, block: &Arc<Kernel>, column: Expr| {
            let acts = wide.from(&column * (g.strides[1] * g.pixel()));
            let mut args = vec![acts, w.from(0), y.from(&tile.y + column * g.y[3])];
            args.extend(round.map(|r| CallArg::Scalar(r.into())));
            k.call(block, args);
        };
        let n = tile.columns;
        k.for_step("column", 0, n / 2 * 2, 2, |k, column| call(k, &two_pixels, column.into()));
        if n % 2 == 1 {
            call(k, &one_pixel, (n - 1).into());
        }
    })?;
    let mut args = vec![Bind::Operand(0), Bind::Result(0), Bind::Workspace(0), weights];
    args.push(Bind::Scalar(product.x_zp));
    args.extend(round.map(|_| Bind::Scalar(ending.rnd)));
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "depthwise", call, workspace: 2 * wide_len }))
}
