//! Engine of Hexagon with HVX: convolutions and dense layers in lanes of output channels.
//!
//! A convolution copies the input rows under one row of outputs into the workspace, padding
//! included as the zero point, and takes the row of outputs in blocks of pixels; pointwise ones
//! read the input where it is.
//!
//! In: sizes and a product. Out: the way `vector` where it fits. Law: the outputs are those of
//! the portable loops, bit by bit.

mod depthwise;
mod rows;

use super::{Candidate, Engine, Want};
use crate::block::hvx::copy;
use crate::block::hvx::gemm::{Gemm, LANES};
use crate::error::Result;
use crate::kernel::{Access, Buf, Expr, Kernel, KernelBuilder, Val};
use crate::lower::conv::Geometry;
use crate::lower::dense::{Axis, Rows, nest};
use crate::lower::finish::Finish;
use crate::lower::product::{Product, reach_len};
use crate::lower::spelled::{Role, Spelled};
use crate::quantize::requant::{HIGH_SHIFT, high};
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// The engine.
#[derive(Debug)]
pub(crate) struct Hvx;

impl Engine for Hvx {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let way = if g.groups > 1 { depthwise::depthwise(g, product, want)? } else { conv(g, product)? };
        Ok(way.into_iter().collect())
    }
    fn dense(&self, rows: &Rows, product: &Product, _want: &Want<'_>) -> Result<Vec<Candidate>> {
        Ok(dense(rows, product)?.into_iter().collect())
    }
}

/// Bytes that vectors are aligned to.
const ALIGN: usize = 128;

/// Coefficients of all passes, each over one or two groups of channels.
struct Packed {
    passes: usize,
    weights: Role,
    tail: Role,
}

/// Packs a product: `taps[i]` says which of a row's weights input `i` of the window meets.
fn packed(sizes: &Gemm, product: &Product, taps: &[Option<usize>]) -> Option<Packed> {
    let Finish::Int(r) = &product.finish else { return None };
    let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return None };
    if r.least_shift() < HIGH_SHIFT {
        return None;
    }
    let (outputs, width) = (b.len(), LANES * sizes.groups);
    let row = w.len() / outputs;
    let passes = outputs.div_ceil(width);
    let mut weights = vec![128u8; passes * sizes.weights_len()];
    let mut tail = vec![0i32; passes * sizes.tail_len()];
    for o in 0..outputs {
        let (pass, lane) = (o / width, o % width);
        let mut bias = b[o];
        for (i, tap) in taps.iter().enumerate() {
            let Some(tap) = tap else { continue };
            let v = w[o * row + tap];
            bias = bias.checked_sub(v.checked_mul(product.x_zp)?)?;
            let stored = u8::try_from(v.checked_add(128)?).ok()?;
            weights[pass * sizes.weights_len() + sizes.place(lane, i)] = stored;
        }
        let by = r.at(o);
        let (round, shift) = high(by.s, r.out.zp);
        let at = pass * sizes.tail_len() + lane / LANES * 4 * LANES + lane % LANES;
        for (i, v) in [bias, by.m, round, shift as i32].into_iter().enumerate() {
            tail[at + i * LANES] = v;
        }
    }
    Some(Packed {
        passes,
        weights: Role::Data { name: "weights", data: Data::U8(weights), align: ALIGN },
        tail: Role::Data { name: "tail", data: Data::I32(tail), align: ALIGN },
    })
}

/// A row of pixels: the native kernels that take it, and where results are staged.
struct Line {
    pixels: usize,
    outputs: usize,
    /// Elements from one pixel's channels to the next pixel's.
    y_pitch: usize,
    passes: usize,
    blocks: Option<(Gemm, Arc<Kernel>)>,
    rest: Option<(Gemm, Arc<Kernel>)>,
}

/// Buffers of a driver.
#[derive(Clone, Copy)]
struct Bufs {
    w: Buf,
    tail: Buf,
    y: Buf,
    stage: Option<Buf>,
}

impl Line {
    fn new(base: Gemm, pixels: usize, outputs: usize, y_pitch: usize, passes: usize) -> Result<Option<Line>> {
        let many = Gemm { pixels: 8 / base.groups, blocks: pixels / (8 / base.groups), ..base };
        let one = Gemm { pixels: 1, blocks: pixels % many.pixels, ..base };
        if !many.fits() {
            return Ok(None);
        }
        let kernel = |g: Gemm| -> Result<Option<(Gemm, Arc<Kernel>)>> {
            if g.blocks == 0 { Ok(None) } else { Ok(Some((g, g.kernel()?))) }
        };
        Ok(Some(Line { pixels, outputs, y_pitch, passes, blocks: kernel(many)?, rest: kernel(one)? }))
    }
    /// Whether whole blocks are stored where they belong.
    fn direct(&self, g: &Gemm) -> bool {
        g.pixels > 1 && self.passes == 1 && self.outputs == g.y_pitch() && self.y_pitch == self.outputs
    }
    fn parts(&self) -> impl Iterator<Item = &(Gemm, Arc<Kernel>)> {
        self.blocks.iter().chain(&self.rest)
    }
    /// Bytes that results are staged in.
    fn stage(&self) -> usize {
        self.parts().filter(|(g, _)| !self.direct(g)).map(|(g, _)| g.y_len()).max().unwrap_or(0)
    }
    /// The whole row, with windows from `acts[from]` on and results from `y[to]` on.
    fn spell(&self, k: &mut KernelBuilder, acts: Buf, from: &Expr, bufs: Bufs, to: &Expr) {
        let mut first = 0;
        for (g, kernel) in self.parts() {
            let x = from + first * g.pitch;
            let n = g.pixels * g.blocks;
            if self.direct(g) {
                k.call(kernel, vec![acts.from(x), bufs.w.from(0), bufs.tail.from(0), bufs.y.from(to)]);
            } else if let Some(stage) = bufs.stage {
                let width = LANES * g.groups;
                let whole = self.outputs / width;
                let y0 = to + first * self.y_pitch;
                let pass = |k: &mut KernelBuilder, pass: Expr, valid: usize| {
                    let w = bufs.w.from(&pass * g.weights_len());
                    let tail = bufs.tail.from(&pass * g.tail_len());
                    k.call(kernel, vec![acts.from(&x), w, tail, stage.from(0)]);
                    k.for_("p", 0, n, |k, p| {
                        k.for_("c", 0, valid, |k, c| {
                            let at = &y0 + p * self.y_pitch + &pass * width + c;
                            k.store(bufs.y, at, stage.at(p * g.y_pitch() + c));
                        });
                    });
                };
                k.for_("pass", 0, whole, |k, p| pass(k, p.into(), width));
                if !self.outputs.is_multiple_of(width) {
                    pass(k, whole.into(), self.outputs % width);
                }
            }
            first += n;
        }
        debug_assert_eq!(first, self.pixels);
    }
}

/// Groups of channels taken at once.
fn groups(outputs: usize) -> usize {
    if outputs > LANES { 2 } else { 1 }
}

/// A dense layer or pointwise convolution.
fn dense(rows: &Rows, product: &Product) -> Result<Option<Candidate>> {
    let Finish::Int(r) = &product.finish else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let unit = (inputs == 1 || rows.inputs.x == 1) && (outputs == 1 || rows.outputs.y == 1);
    if !unit || !inputs.is_multiple_of(4) || rows.rows.iter().any(|a| !a.x.is_multiple_of(4)) {
        return Ok(None);
    }
    let (outer, inner) = match rows.rows.split_last() {
        Some((last, outer)) => (outer, *last),
        None => (&[][..], Axis { len: 1, x: inputs, y: outputs }),
    };
    let base = Gemm {
        runs: 1,
        fours: inputs / 4,
        run_pitch: 0,
        groups: groups(outputs),
        pixels: 1,
        blocks: 1,
        pitch: inner.x,
        lo: r.out.lo,
        hi: r.out.hi,
    };
    let taps: Vec<Option<usize>> = (0..inputs).map(Some).collect();
    let Some(packed) = packed(&base, product, &taps) else { return Ok(None) };
    let Some(line) = Line::new(base, inner.len, outputs, inner.y, packed.passes)? else { return Ok(None) };
    let mut k = KernelBuilder::new("dense_s8_vector");
    let lens = |step: fn(&Axis) -> usize, last: (usize, usize)| {
        let mut lens: Vec<usize> = rows.rows.iter().map(|a| a.len).collect();
        let mut steps: Vec<usize> = rows.rows.iter().map(step).collect();
        lens.push(last.0);
        steps.push(last.1);
        reach_len(&lens, &steps)
    };
    let x = k.buffer("x", DType::I8, lens(|a| a.x, (inputs, 1)), Access::Read);
    let y = k.buffer("y", DType::I8, lens(|a| a.y, (outputs, 1)), Access::Write);
    let (bufs, args, workspace) = coefficients(&mut k, &line, &packed, &base, y, 0);
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| line.spell(k, x, x0, bufs, y0));
    let call = Spelled { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "vector", call, workspace }))
}

/// Declares coefficients and stage behind `x` and `y`; their arguments, and the bytes of workspace
/// when the stage begins at `from`.
fn coefficients(
    k: &mut KernelBuilder,
    line: &Line,
    packed: &Packed,
    sizes: &Gemm,
    y: Buf,
    from: usize,
) -> (Bufs, Vec<Role>, usize) {
    let w = k.buffer("w", DType::U8, packed.passes * sizes.weights_len(), Access::Read);
    let tail = k.buffer("tail", DType::I32, packed.passes * sizes.tail_len(), Access::Read);
    let mut args = vec![Role::Operand(0), Role::Result, packed.weights.clone(), packed.tail.clone()];
    let bytes = line.stage();
    let stage = (bytes > 0).then(|| {
        args.push(Role::Workspace(from));
        k.buffer("stage", DType::I8, bytes, Access::ReadWrite)
    });
    (Bufs { w, tail, y, stage }, args, from + bytes)
}

/// A convolution with one group and undilated columns.
fn conv(g: &Geometry, product: &Product) -> Result<Option<Candidate>> {
    let Finish::Int(r) = &product.finish else { return Ok(None) };
    let [kh, kw] = g.kernel;
    let packed_x = (g.cin == 1 || g.x[1] == 1) && (g.input[1] == 1 || g.x[3] == g.cin);
    let packed_y = g.cout == 1 || g.y[1] == 1;
    if g.groups > 1 || (kw > 1 && g.dilations[1] != 1) || !packed_x || !packed_y {
        return Ok(None);
    }
    // Windows of one pixel that always lie inside are read where they are.
    let in_place = g.kernel == [1, 1]
        && !g.padded()
        && g.cin.is_multiple_of(4)
        && g.x.iter().skip(2).chain([&g.x[0]]).all(|s| s.is_multiple_of(4));
    let pixel = g.cin.next_multiple_of(4);
    let width = (g.output[1] - 1) * g.strides[1] + kw;
    let pitch = width * pixel;
    let base = Gemm {
        runs: kh,
        fours: kw * pixel / 4,
        run_pitch: if in_place { 0 } else { pitch },
        groups: groups(g.cout),
        pixels: 1,
        blocks: 1,
        pitch: g.strides[1] * pixel,
        lo: r.out.lo,
        hi: r.out.hi,
    };
    let mut taps = Vec::with_capacity(kh * kw * pixel);
    for ky in 0..kh {
        for kx in 0..kw {
            taps.extend((0..pixel).map(|ic| (ic < g.cin).then_some((ic * kh + ky) * kw + kx)));
        }
    }
    let Some(packed) = packed(&base, product, &taps) else { return Ok(None) };
    let Some(line) = Line::new(base, g.output[1], g.cout, g.y[3], packed.passes)? else { return Ok(None) };
    let mut k = KernelBuilder::new("conv_s8_vector");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let rows_len = if in_place { 0 } else { kh * pitch };
    let stage_at = rows_len.next_multiple_of(8);
    let (bufs, mut args, workspace) = coefficients(&mut k, &line, &packed, &base, y, stage_at);
    let rows = (rows_len > 0).then(|| {
        args.push(Role::Workspace(0));
        k.buffer("rows", DType::I8, rows_len, Access::ReadWrite)
    });
    let zx = (rows_len > 0).then(|| {
        args.push(Role::Scalar(product.x_zp));
        k.scalar("zx", -128, 127)
    });
    let writer = match (rows, zx) {
        (Some(rows), Some(zx)) => Some(RowWriter::new(g, (x, rows, zx), pixel, pitch, width)?),
        _ => None,
    };
    // Padding beside rows is written once; nothing overwrites it.
    if let Some(w) = &writer {
        k.for_("i", 0, rows_len, |k, i| k.store(w.rows, i, w.zx));
    }
    k.for_("n", 0, g.batch, |k, n| {
        k.for_("oy", 0, g.output[0], |k, oy| {
            let to = k.let_("y0", n * g.y[0] + oy * g.y[2]);
            match &writer {
                Some(writer) => {
                    writer.fill(k, n, oy);
                    line.spell(k, writer.rows, &0.into(), bufs, &to.into());
                }
                None => {
                    let from = k.let_("x0", n * g.x[0] + oy * (g.strides[0] * g.x[2]));
                    line.spell(k, x, &from.into(), bufs, &to.into());
                }
            }
        });
    });
    let call = Spelled { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "vector", call, workspace }))
}

/// Copies the input rows under a row of outputs to the workspace.
struct RowWriter<'a> {
    g: &'a Geometry,
    x: Buf,
    rows: Buf,
    zx: Val,
    pixel: usize,
    pitch: usize,
    /// Input columns that some output reads.
    columns: usize,
    copy: Option<Arc<Kernel>>,
}

impl<'a> RowWriter<'a> {
    fn new(
        g: &'a Geometry,
        (x, rows, zx): (Buf, Buf, Val),
        pixel: usize,
        pitch: usize,
        width: usize,
    ) -> Result<RowWriter<'a>> {
        let columns = width.saturating_sub(g.pads[1]).min(g.input[1]);
        // Runs of whole words are copied by vectors.
        let words = pixel == g.cin && [g.x[0], g.x[2]].iter().all(|s| s.is_multiple_of(4));
        let copy = if words && columns > 0 { Some(copy::kernel(columns * pixel)?) } else { None };
        Ok(RowWriter { g, x, rows, zx, pixel, pitch, columns, copy })
    }
    fn fill(&self, k: &mut KernelBuilder, n: Val, oy: Val) {
        let g = self.g;
        let left = g.pads[1] * self.pixel;
        if self.columns == 0 {
            return;
        }
        let inside = |k: &mut KernelBuilder, iy: Expr, to: Val| {
            let from = n * g.x[0] + iy * g.x[2];
            match &self.copy {
                Some(copy) => k.call(copy, vec![self.x.from(from), self.rows.from(to + left)]),
                None => {
                    let from = k.let_("from", from);
                    k.for_("column", 0, self.columns, |k, column| {
                        k.for_("c", 0, g.cin, |k, c| {
                            let at = to + left + column * self.pixel + c;
                            k.store(self.rows, at, self.x.at(from + column * g.x[3] + c));
                        });
                    });
                }
            }
        };
        k.for_("ky", 0, g.kernel[0], |k, ky| {
            let to = k.let_("to", ky * self.pitch);
            let iy = oy * g.strides[0] + ky * g.dilations[0] - g.pads[0];
            if g.interior(0) == (0, g.output[0]) {
                return inside(k, iy, to);
            }
            let iy = k.let_("iy", iy);
            k.if_else(
                iy.ge(0).and(iy.lt(g.input[0])),
                |k| inside(k, iy.into(), to),
                |k| {
                    k.for_("i", left, left + self.columns * self.pixel, |k, i| {
                        k.store(self.rows, to + i, self.zx);
                    });
                },
            );
        });
    }
}
