//! Engine of Hexagon with HVX: convolutions and dense layers in lanes of output channels, depthwise
//! ones in lanes of neighbouring bytes.
//!
//! A convolution copies the input rows under a band of outputs into the workspace, padding
//! included as the zero point, and takes rows of outputs in blocks of pixels. Pixels that fill
//! whole words are read where they are where there is no padding.
//!
//! In: sizes and a product. Out: the ways `vector`, `blocks32x4` and `depthwise` where they fit. Law: the outputs
//! are those of the portable loops, bit by bit.

use crate::asm::hvx::native;
use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::hvx::elementwise;
use crate::hvx::gemm::{Gemm, LANES};
use crate::hvx::gemm_sparse::Sparse;
use crate::hvx::line::{Line, SLACK};
use crate::hvx::pixels::{Packed, Pixels, packed};
use crate::hvx::rows::{Filler, panel};
use crate::kernel::{Access, Buf, CallArg, KernelBuilder, Native, int};
use crate::offer::{Candidate, Engine, Want, Weights};
use crate::panel::direct;
use crate::problem::Geometry;
use crate::problem::Rows;
use crate::product::Product;
use crate::tensor::DType;
use crate::vector::Run;
use secateur_targets::Target;

/// The engine.
#[derive(Debug)]
pub struct Hvx;

impl Engine for Hvx {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        if g.groups > 1 {
            return Ok(crate::hvx::dw_engine::depthwise(g, product, want)?.into_iter().collect());
        }
        let ways = Weights::of(product).map(|kept| conv(g, product, want, kept));
        Ok(ways.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let ways = Weights::of(product).map(|kept| dense(rows, product, want, kept));
        Ok(ways.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
    fn run(&self, run: &Run, _target: &Target) -> Result<Vec<Native>> {
        elementwise::code(run).map(|code| native(&code)).into_iter().collect()
    }
}

/// The sizes and coefficients of a product, and what the way is called; without zeros only if that takes no more
/// flash, or flash may be spent.
fn coefficients(
    base: Gemm,
    product: &Product,
    taps: &[Option<usize>],
    kept: Weights,
    want: &Want<'_>,
) -> Option<(Gemm, Packed, &'static str)> {
    if kept == Weights::All {
        return Some((base, packed(&base, product, taps, kept)?, "vector"));
    }
    let base = Sparse::sizes(&base);
    let found = packed(&base, product, taps, kept)?;
    let (_, sparse) = found.kept.as_ref()?;
    let all = found.passes * base.weights_len();
    let fits = sparse.weights_len() + 4 * (sparse.places_len() + LANES * found.passes) <= all;
    (fits || want.policy.spends_flash()).then_some((base, found, "blocks32x4"))
}

/// Bytes that vectors are aligned to.
pub const ALIGN: usize = 128;

/// Buffers behind input and result.
#[derive(Clone, Copy)]
pub struct Bufs {
    pub w: Buf,
    pub tail: Buf,
    pub y: Buf,
    pub stage: Option<Buf>,
    /// Pixels at a step of whole words.
    pub spread: Option<Buf>,
    /// Of inputs, where zeros are left out.
    pub places: Option<Buf>,
}

/// A dense layer or pointwise convolution.
fn dense(rows: &Rows, product: &Product, want: &Want<'_>, kept: Weights) -> Result<Option<Candidate>> {
    let Finish::Int(r) = &product.finish else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if !rows.side_by_side() || inputs == 0 || outputs == 0 {
        return Ok(None);
    }
    let (outer, inner) = rows.split();
    // Words are read at multiples of four.
    let whole = inputs.is_multiple_of(4) && rows.rows.iter().all(|a| a.x.is_multiple_of(4));
    let pixel = inputs.next_multiple_of(4);
    let base = Gemm {
        runs: [1, 1],
        fours: pixel / 4,
        run_pitch: [0, 0],
        groups: crate::hvx::pixels::groups(outputs),
        pixels: 1,
        blocks: 1,
        pitch: if whole { inner.x } else { pixel },
        step: None,
        spare: crate::hvx::pixels::spare(outputs),
        lo: r.out.lo,
        hi: r.out.hi,
    };
    let taps: Vec<Option<usize>> = (0..pixel).map(|i| (i < inputs).then_some(i)).collect();
    let found = coefficients(base, product, &taps, kept, want);
    let Some((base, packed, way)) = found else { return Ok(None) };
    let spread = (!whole).then_some((inputs, inner.x));
    let row = Pixels::new(base, &packed, (inner.len, outputs, inner.y), spread, want)?;
    let Some(row) = row else { return Ok(None) };
    let mut k = KernelBuilder::new("dense_s8_vector");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, rows.y_len(), Access::Write);
    let (bufs, args, workspace) = declared(&mut k, &row, &packed, y, 0);
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| row.spell(k, (x, inner.x), x0, bufs, y0));
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace }))
}

/// Declares coefficients, stage and spread pixels behind `x` and `y`; their arguments, and the bytes
/// of workspace when these begin at `from`.
fn declared(
    k: &mut KernelBuilder,
    row: &Pixels,
    packed: &Packed,
    y: Buf,
    from: usize,
) -> (Bufs, Vec<Bind>, usize) {
    let [weights, tail] = packed.lens;
    let w = k.buffer("w", DType::U8, weights, Access::Read);
    let tail = k.buffer("tail", DType::I32, packed.passes * tail, Access::Read);
    let mut args = vec![Bind::Operand(0), Bind::Result(0), packed.weights.clone(), packed.tail.clone()];
    let places = packed.kept.as_ref().map(|(places, sparse)| {
        args.push(places.clone());
        k.buffer("places", DType::I32, sparse.places_len(), Access::Read)
    });
    let mut end = from;
    let mut room = |name: &str, bytes: usize| {
        (bytes > 0).then(|| {
            let at = end.next_multiple_of(8);
            args.push(Bind::Workspace(at));
            end = at + bytes;
            k.buffer(name, DType::I8, bytes, Access::ReadWrite)
        })
    };
    let stage = room("stage", row.stage());
    let spread = room("spread", row.spread());
    (Bufs { w, tail, y, stage, spread, places }, args, end)
}

/// A convolution with one group.
fn conv(g: &Geometry, product: &Product, want: &Want<'_>, kept: Weights) -> Result<Option<Candidate>> {
    let Finish::Int(r) = &product.finish else { return Ok(None) };
    let [kh, kw] = g.kernel;
    // Channels lie side by side; pixels may lie further apart.
    if (g.cin > 1 && g.x[1] != 1) || (g.cout > 1 && g.y[1] != 1) {
        return Ok(None);
    }
    let words = g.x.iter().skip(2).chain([&g.x[0], &g.cin]).all(|s| s.is_multiple_of(4));
    let in_place = !g.padded() && words && (g.side_by_side() || kw == 1);
    // Dilated columns are runs of their own.
    let apart = kw > 1 && g.dilations[1] != 1;
    // Pixels that fill no words: rows of windows are brought to words, not each pixel.
    let by_window = kw > 1 && !apart && !g.cin.is_multiple_of(4);
    let pixel = if by_window { g.cin } else { g.cin.next_multiple_of(4) };
    let window = (kw * pixel).next_multiple_of(4);
    // What a window's row takes beside the pixels themselves counts too.
    let share = if by_window { g.cin * g.strides[1] + window } else { 1 };
    let limit = if by_window { want.rows_limit * g.cin * g.strides[1] / share } else { want.rows_limit };
    let panel = panel(g, pixel, limit);
    let (pitch, row_pitch) = match (in_place, by_window) {
        (true, _) => (g.strides[1] * g.x[3], g.dilations[0] * g.x[2]),
        (_, true) => (window, panel.tile[1] * window),
        _ => (g.strides[1] * pixel, panel.pitch),
    };
    let base = Gemm {
        runs: [kh, if apart { kw } else { 1 }],
        fours: if apart { pixel / 4 } else { window / 4 },
        run_pitch: [
            row_pitch,
            if apart { g.dilations[1] * if in_place { g.x[3] } else { pixel } } else { 0 },
        ],
        groups: crate::hvx::pixels::groups(g.cout),
        pixels: 1,
        blocks: 1,
        pitch,
        step: None,
        spare: crate::hvx::pixels::spare(g.cout),
        lo: r.out.lo,
        hi: r.out.hi,
    };
    let mut taps = Vec::with_capacity(kh * kw * pixel);
    for row in g.taps().chunks(kw * g.cin) {
        for column in row.chunks(g.cin) {
            taps.extend((0..pixel).map(|c| column.get(c).copied()));
        }
        if !apart {
            taps.resize(taps.len().next_multiple_of(window), None);
        }
    }
    let found = coefficients(base, product, &taps, kept, want);
    let Some((base, packed, way)) = found else { return Ok(None) };
    let columns = if in_place { g.output[1] } else { panel.tile[1] };
    let Some(row) = Pixels::new(base, &packed, (columns, g.cout, g.y[3]), None, want)? else {
        return Ok(None);
    };
    let mut k = KernelBuilder::new("conv_s8_vector");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let rows_len = if in_place { 0 } else { panel.len() + SLACK };
    let (bufs, mut args, mut workspace) = declared(&mut k, &row, &packed, y, rows_len);
    let step = base.pitch;
    if in_place {
        direct(&mut k, g, &mut |k, x0, y0| {
            let (x0, y0) = (k.let_("x0", x0), k.let_("y0", y0));
            row.spell(k, (x, step), &x0.into(), bufs, &y0.into());
        });
        let call = Call { kernel: k.finish()?, args };
        return Ok(Some(Candidate { way, call, workspace }));
    }
    args.extend([Bind::Workspace(0), Bind::Scalar(product.x_zp)]);
    let room = k.buffer("rows", DType::I8, rows_len, Access::ReadWrite);
    let zero = k.scalar("zero", -128, 127);
    let filler = Filler { panel: &panel, pixel, x, room, zero, library: want.library };
    if !filler.fits() {
        return Ok(None);
    }
    let windows = match by_window {
        false => None,
        true => {
            let (pixels, channels) = (panel.tile[1], kw * pixel);
            let from = g.strides[1] * pixel;
            let line = Line { left: 0, pixels, channels, from, to: window, total: pixels * window };
            if !line.fits() {
                return Ok(None);
            }
            let bytes = panel.rows(panel.tile[0]) * line.total + SLACK;
            let at = workspace.next_multiple_of(8);
            args.push(Bind::Workspace(at));
            workspace = at + bytes;
            Some((
                k.buffer("windows", DType::I8, bytes, Access::ReadWrite),
                want.library.once(&line, || line.kernel())?,
            ))
        }
    };
    panel.each(&mut k, &filler, &mut |k, tile| {
        if let Some((windows, kernel)) = &windows {
            k.for_("line", 0, panel.rows(tile.rows), |k, line| {
                let from = room.from(line * panel.pitch);
                let to = windows.from(line * row_pitch);
                // What fills the words meets no weight.
                k.call(kernel, vec![from, to, CallArg::Scalar(int(0))]);
            });
        }
        let (acts, line) = windows.as_ref().map_or((room, panel.pitch), |w| (w.0, row_pitch));
        k.for_("row", 0, tile.rows, |k, r| {
            let to = k.let_("to", &tile.y + r * g.y[2]);
            let from = k.let_("from", r * (g.strides[0] * line));
            row.spell(k, (acts, step), &from.into(), bufs, &to.into());
        });
    })?;
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace }))
}
