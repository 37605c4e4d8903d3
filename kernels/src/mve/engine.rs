//! Int8 convolutions and dense layers on cores with Helium.
//!
//! Inputs stay int8: the zero point is folded into the bias, and padding is rows of the
//! workspace that hold the zero point. What no Helium kernel takes goes to the blocks of the DSP
//! extension, which these cores have as well.
//!
//! In: sizes and a product. Out: ways. Law: the outputs are those of the portable loops, bit by bit.

use crate::arith::requant::{HIGH_SHIFT, Requant, Shift};
use crate::armv7em::engine::Dsp;
use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, KernelBuilder, Native, Val};
use crate::library::Library;
use crate::mve::copy;
use crate::mve::depthwise::{self, Depthwise};
use crate::mve::elementwise;
use crate::mve::gemm::Gemm;
use crate::offer::{Candidate, Engine, Want};
use crate::problem::Geometry;
use crate::problem::{Axis, Rows};
use crate::product::{Product, reach_len};
use crate::tensor::{DType, Data};
use crate::vector::Run;
use secateur_targets::Target;

/// The engine of cores with Helium.
#[derive(Debug)]
pub struct Helium;

impl Engine for Helium {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let limit = want.rows_limit;
        let turned = turned(g).map(|g| (g, None)).or_else(|| columns_first(g, product));
        let (g2, product2) = match &turned {
            Some((g2, product2)) => (g2, product2.as_ref().unwrap_or(product)),
            None => (g, product),
        };
        let way = match g.groups {
            1 => conv(g2, product2, limit, want.library)?,
            _ => by_channel(g2, product2, limit, want.library)?,
        };
        match way {
            Some(way) => Ok(vec![way]),
            None => Dsp.conv(g, product, want),
        }
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        match dense(rows, product, want.library)? {
            Some(way) => Ok(vec![way]),
            None => Dsp.dense(rows, product, want),
        }
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        match elementwise::block(run) {
            Some(block) => Ok(vec![block.native()?]),
            None => Dsp.run(run, target),
        }
    }
}

/// Rows for columns.
fn swapped(g: &Geometry) -> Geometry {
    let swap = |[a, b]: [usize; 2]| [b, a];
    Geometry {
        input: swap(g.input),
        output: swap(g.output),
        kernel: swap(g.kernel),
        strides: swap(g.strides),
        dilations: swap(g.dilations),
        pads: swap(g.pads),
        x: [g.x[0], g.x[1], g.x[3], g.x[2]],
        y: [g.y[0], g.y[1], g.y[3], g.y[2]],
        ..g.clone()
    }
}

/// The same convolution where pixels follow each other down a column in memory, as behind a
/// transposition: rows for columns, in the weights as well.
fn columns_first(g: &Geometry, product: &Product) -> Option<(Geometry, Option<Product>)> {
    let pixel = g.groups * g.cin;
    if g.x[2] != pixel || g.x[3] == pixel || g.input.contains(&1) {
        return None;
    }
    let Data::I32(w) = &product.weights else { return None };
    let [kh, kw] = g.kernel;
    let taps = (0..kw).flat_map(|x| (0..kh).map(move |y| y * kw + x));
    let weights = w.chunks(kh * kw).flat_map(|plane| taps.clone().map(|t| plane[t])).collect();
    Some((swapped(g), Some(Product { weights: Data::I32(weights), ..product.clone() })))
}

/// The same convolution with long rows: one column of rows becomes a row, and the channels of a
/// single row that stand one after another become rows of one channel.
fn turned(g: &Geometry) -> Option<Geometry> {
    let one = |axis: usize| g.input[axis] == 1 && g.kernel[axis] == 1 && g.output[axis] == 1;
    if one(1) && g.input[0] > 1 {
        return Some(swapped(g));
    }
    let apart = g.cin > 1 && g.groups == 1 && g.x[1] != 1 && g.x[3] == 1;
    (one(0) && apart && g.pads[0] == 0).then(|| Geometry {
        cin: 1,
        input: [g.cin, g.input[1]],
        kernel: [g.cin, g.kernel[1]],
        strides: [1, g.strides[1]],
        dilations: [1, g.dilations[1]],
        pads: [0, g.pads[1]],
        x: [g.x[0], 1, g.x[1], 1],
        ..g.clone()
    })
}

/// The way a product ends, as the kernels need it.
struct Ending<'a> {
    requant: &'a Requant,
    /// The one shift of all channels after the high word of the product.
    sh: Option<u32>,
    /// Each channel's.
    shifts: Vec<u32>,
}

impl Ending<'_> {
    fn of(product: &Product) -> Option<Ending<'_>> {
        let Finish::Int(requant) = &product.finish else { return None };
        if requant.least_shift() < HIGH_SHIFT {
            return None;
        }
        let shifts = (0..requant.m.len()).map(|c| requant.at(c).s - 32).collect();
        let sh = match requant.shift {
            Shift::Layer(s) => Some(s - 32),
            Shift::Channel(_) => None,
        };
        Some(Ending { requant, sh, shifts })
    }
}

/// Packs a product for a kernel of these sizes; `taps[j]` is the weight that input `j` of a
/// pixel's runs meets. `None` where it does not fit.
fn packed(gemm: &Gemm, product: &Product, ending: &Ending<'_>, taps: &[usize]) -> Option<Bind> {
    if !gemm.fits() {
        return None;
    }
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return None };
    let stream = gemm.pack(w, b, &ending.requant.m, &ending.shifts, taps)?;
    Some(Bind::aligned("weights", Data::I8(stream), 8))
}

/// A dense layer or pointwise convolution: each run of rows is one call.
fn dense(rows: &Rows, product: &Product, library: &Library<'_>) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(product) else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if (inputs > 1 && rows.inputs.x != 1) || (outputs > 1 && rows.outputs.y != 1) {
        return Ok(None);
    }
    let (outer, inner) = match rows.rows.split_last() {
        Some((last, outer)) => (outer, *last),
        None => (&[][..], Axis { len: 1, x: 0, y: 0 }),
    };
    let gemm = Gemm {
        outputs,
        pixels: inner.len,
        x_step: inner.x,
        y_step: inner.y,
        runs: 1,
        run: inputs,
        run_pitch: 0,
        slack: false,
        sh: ending.sh,
        zp: ending.requant.out.zp,
        lo: ending.requant.out.lo,
        hi: ending.requant.out.hi,
    };
    let taps: Vec<usize> = (0..inputs).collect();
    let Some(weights) = packed(&gemm, product, &ending, &taps) else { return Ok(None) };
    let lens: Vec<usize> = outer.iter().map(|a| a.len).collect();
    let reach = |step: fn(&Axis) -> usize, last: usize| {
        reach_len(&lens, &outer.iter().map(step).collect::<Vec<_>>()) - 1 + last
    };
    let mut k = KernelBuilder::new("dense_s8_dot");
    let x = k.buffer("x", DType::I8, reach(|a| a.x, gemm.acts_len()), Access::Read);
    let y = k.buffer("y", DType::I8, reach(|a| a.y, gemm.y_len()), Access::Write);
    let w = k.buffer("w", DType::I8, gemm.stream_len(), Access::Read);
    let kernel = library.once(&gemm, || gemm.kernel())?;
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        k.call(&kernel, vec![x.from(x0), w.from(0), y.from(y0)]);
    });
    let call = Call { kernel: k.finish()?, args: vec![Bind::Operand(0), Bind::Result(0), weights] };
    Ok(Some(Candidate { way: "dot", call, workspace: 0 }))
}

/// A convolution, with at most `limit` bytes of input rows in the workspace where it can be.
fn conv(g: &Geometry, product: &Product, limit: usize, library: &Library<'_>) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(product) else { return Ok(None) };
    let [kh, kw] = g.kernel;
    let run = kw * g.cin;
    let channels_last = (g.cin == 1 || g.x[1] == 1) && (g.input[1] == 1 || g.x[3] == g.cin);
    let packed_y = g.cout == 1 || g.y[1] == 1;
    // The columns of a window that stand apart are runs of their own, in one row.
    let apart = kw > 1 && g.dilations[1] != 1;
    if g.groups > 1 || (apart && kh > 1) || !channels_last || !packed_y {
        return Ok(None);
    }
    let direct = !g.padded();
    let narrow = if run < 16 && !apart { Columns::pitch(g) } else { None };
    let rows = InputRows::new(g, Lay::Linear, limit, (narrow.unwrap_or(0), 1), library);
    let columns = narrow.and_then(|pitch| Columns::new(&rows, pitch));
    let gemm = Gemm {
        outputs: g.cout,
        pixels: if direct && columns.is_none() { g.output[1] } else { rows.columns },
        x_step: g.strides[1] * g.cin,
        y_step: g.y[3],
        runs: kh,
        run,
        run_pitch: g.dilations[0] * if direct { g.x[2] } else { rows.pitch },
        slack: !direct,
        sh: ending.sh,
        zp: ending.requant.out.zp,
        lo: ending.requant.out.lo,
        hi: ending.requant.out.hi,
    };
    let gemm = match &columns {
        Some(c) => Gemm { x_step: c.pitch, runs: 1, run: kh * run, run_pitch: 0, slack: true, ..gemm },
        None if apart => Gemm { runs: kw, run: g.cin, run_pitch: g.dilations[1] * g.cin, ..gemm },
        None => gemm,
    };
    // Inputs come by row, column and channel; weights stand by channel, row and column.
    let taps: Vec<usize> = (0..kh * run)
        .map(|j| {
            let (ky, kx, ic) = (j / run, j % run / g.cin, j % g.cin);
            (ic * kh + ky) * kw + kx
        })
        .collect();
    let Some(weights) = packed(&gemm, product, &ending, &taps) else { return Ok(None) };
    let kernel = library.once(&gemm, || gemm.kernel())?;
    let mut k = KernelBuilder::new("conv_s8_dot");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, gemm.stream_len(), Access::Read);
    let mut args = vec![Bind::Operand(0), Bind::Result(0), weights];
    if direct && columns.is_none() {
        k.for_("n", 0, g.batch, |k, n| {
            k.for_("oy", 0, g.output[0], |k, oy| {
                let from = n * g.x[0] + oy * (g.strides[0] * g.x[2]);
                k.call(&kernel, vec![x.from(from), w.from(0), y.from(n * g.y[0] + oy * g.y[2])]);
            });
        });
        let call = Call { kernel: k.finish()?, args };
        return Ok(Some(Candidate { way: "dot", call, workspace: 0 }));
    }
    let space = rows.len();
    let buffer = k.buffer("rows", DType::I8, space, Access::ReadWrite);
    args.push(Bind::Workspace(0));
    let mut workspace = space;
    let columns = match &columns {
        Some(c) => {
            let at = space.next_multiple_of(8);
            let len = c.len(&gemm);
            workspace = at + len;
            args.push(Bind::Workspace(at));
            Some((
                k.buffer("columns", DType::I8, len, Access::ReadWrite),
                library.once(&c.gather, || c.gather.kernel())?,
            ))
        }
        None => None,
    };
    rows.each(&mut k, (x, buffer), product.x_zp, &|k, from, to| match &columns {
        Some((c, gather)) => {
            k.call(gather, vec![buffer.from(from), c.from(0)]);
            k.call(&kernel, vec![c.from(0), w.from(0), y.from(to)]);
        }
        None => k.call(&kernel, vec![buffer.from(from), w.from(0), y.from(to)]),
    })?;
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "dot", call, workspace }))
}

/// A depthwise convolution: one output channel per group.
fn by_channel(
    g: &Geometry,
    product: &Product,
    limit: usize,
    library: &Library<'_>,
) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(product) else { return Ok(None) };
    let channels = g.groups;
    let packed = g.x[1] == 1 && g.y[1] == 1 && (g.input[1] == 1 || g.x[3] == channels);
    if g.cin != 1 || g.cout != 1 || !packed {
        return Ok(None);
    }
    let folded = product.clone().folded();
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return Ok(None) };
    let [kh, kw] = g.kernel;
    let Some(groups) = depthwise::groups(w, kh * kw) else { return Ok(None) };
    // Few channels share vectors with the next pixels'.
    let share = depthwise::LANES / channels.min(depthwise::LANES);
    let even = share * channels == depthwise::LANES;
    let alike = g.strides[1] == 1 && g.y[3] == channels && g.output[1].is_multiple_of(share);
    let joined = even && (share == 1 || alike);
    let (share, column) = if joined { (share, channels) } else { (1, depthwise::LANES) };
    let lay = if joined { Lay::Linear } else { Lay::Planes };
    let rows = InputRows::new(g, lay, limit, (0, share), library);
    let call = Depthwise {
        channels,
        pixels: rows.columns,
        kernel: g.kernel,
        row_pitch: g.dilations[0] * rows.pitch,
        column: g.dilations[1] * column,
        plane_pitch: rows.width() * depthwise::LANES,
        x_step: g.strides[1] * column,
        y_step: g.y[3],
        share,
        groups,
        sh: ending.sh,
        zp: ending.requant.out.zp,
        lo: ending.requant.out.lo,
        hi: ending.requant.out.hi,
    };
    if !call.fits() {
        return Ok(None);
    }
    let Some(stream) = call.pack(w, b, &ending.requant.m, &ending.shifts) else { return Ok(None) };
    let kernel = call.kernel()?;
    let mut k = KernelBuilder::new("depthwise_s8_planes");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, stream.len(), Access::Read);
    let buffer = k.buffer("rows", DType::I8, rows.len(), Access::ReadWrite);
    rows.each(&mut k, (x, buffer), product.x_zp, &|k, from, to| {
        k.call(&kernel, vec![buffer.from(from), w.from(0), y.from(to)]);
    })?;
    let weights = Bind::aligned("weights", Data::I8(stream), 8);
    let args = vec![Bind::Operand(0), Bind::Result(0), weights, Bind::Workspace(0)];
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "lanes", call, workspace: rows.len() }))
}

/// How the pixels of a row lie in the workspace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lay {
    /// As in the input.
    Linear,
    /// Sixteen channels of all pixels, then the next sixteen.
    Planes,
}

/// Input rows in the workspace, padding included, under a few rows of outputs or parts of them.
struct InputRows<'a> {
    g: &'a Geometry,
    lay: Lay,
    /// Bytes from one row to the next.
    pitch: usize,
    /// Output columns that are computed at once: all, or a part. The last part may overlap the
    /// one before it.
    columns: usize,
    /// Rows of outputs that are computed from one filling.
    tile: usize,
    library: &'a Library<'a>,
}

/// Bytes that a kernel may read behind the rows.
const SLACK: usize = 16;

impl<'a> InputRows<'a> {
    /// As many rows and columns as take at most `limit` bytes, with `each` more for every column,
    /// or the fewest there are. Columns come in multiples of `share`.
    fn new(
        g: &'a Geometry,
        lay: Lay,
        limit: usize,
        (each, share): (usize, usize),
        library: &'a Library<'a>,
    ) -> InputRows<'a> {
        let of = |columns: usize, tile: usize| {
            let one = InputRows { g, lay, pitch: 0, columns, tile, library };
            let pitch = match lay {
                Lay::Linear => (one.width() * one.pixel()).next_multiple_of(8),
                Lay::Planes => one.width() * one.pixel().next_multiple_of(16),
            };
            InputRows { pitch, ..one }
        };
        let fits = |rows: &InputRows<'_>| rows.len() + each * rows.columns <= limit;
        let all = g.output[1];
        let part = |parts: usize| all.div_ceil(parts).next_multiple_of(share.max(2)).min(all);
        let least = all.div_ceil(share.max(4)).max(1);
        let columns = (1..=least).map(part).find(|&c| fits(&of(c, 1))).unwrap_or(part(least));
        let rows = g.output[0];
        let most = (1..=rows).rev().find(|&t| fits(&of(columns, t))).unwrap_or(1);
        // Equal parts need no code for what remains.
        let equal = (1..=most).rev().find(|&t| rows.is_multiple_of(t) && 3 * t >= 2 * most);
        of(columns, equal.unwrap_or(most))
    }
    /// Channels of a pixel.
    fn pixel(&self) -> usize {
        self.g.groups * self.g.cin
    }
    /// Input columns under the output columns, padding included.
    fn width(&self) -> usize {
        let g = self.g;
        (self.columns - 1) * g.strides[1] + (g.kernel[1] - 1) * g.dilations[1] + 1
    }
    /// Rows that `tile` rows of outputs read.
    fn count(&self, tile: usize) -> usize {
        (tile - 1) * self.g.strides[0] + (self.g.kernel[0] - 1) * self.g.dilations[0] + 1
    }
    fn len(&self) -> usize {
        self.count(self.tile) * self.pitch + SLACK
    }
    /// For output columns from `start` on: the first input column that is read, how many columns
    /// of padding stand before it, and how many inputs are read.
    fn inside(&self, start: usize) -> (usize, usize, usize) {
        let (at, pad) = (start * self.g.strides[1], self.g.pads[1]);
        let (first, left) = (at.saturating_sub(pad), pad.saturating_sub(at).min(self.width()));
        (first, left, (self.width() - left).min(self.g.input[1].saturating_sub(first)))
    }

    /// Loops over the rows of outputs: fills the rows and runs `body` with the offset of the
    /// first row under each, and that of the results.
    fn each(
        &self,
        k: &mut KernelBuilder,
        (x, rows): (Buf, Buf),
        zero: i32,
        body: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) -> Result<()> {
        let g = self.g;
        let all = g.output[1];
        for start in (0..all).step_by(self.columns) {
            let start = start.min(all - self.columns);
            self.part(k, (x, rows), zero, start, body)?;
        }
        Ok(())
    }

    /// The output columns from `start` on.
    fn part(
        &self,
        k: &mut KernelBuilder,
        (x, rows): (Buf, Buf),
        zero: i32,
        start: usize,
        body: &dyn Fn(&mut KernelBuilder, Expr, Expr),
    ) -> Result<()> {
        let g = self.g;
        // Padding beside the inputs is written once; nothing overwrites it.
        let fill = |n: usize| self.library.once(&("fill", n), || copy::fill(n));
        let all = fill(self.len())?;
        k.call(&all, vec![rows.from(0), CallArg::Scalar(zero.into())]);
        let (first_column, left, columns) = self.inside(start);
        let (copy, fill, to) = match self.lay {
            Lay::Linear => {
                let len = (columns * self.pixel()).max(1);
                (self.library.once(&("copy", len), || copy::copy(len))?, fill(len)?, left * self.pixel())
            }
            Lay::Planes => {
                let pitch = self.width() * depthwise::LANES;
                let planes = copy::Planes { pixels: columns.max(1), channels: self.pixel(), pitch };
                (self.library.once(&planes, || planes.kernel())?, fill(self.pitch)?, left * depthwise::LANES)
            }
        };
        let whole = self.lay == Lay::Planes;
        let tile = |k: &mut KernelBuilder, n: Val, first: Expr, count: usize| {
            let first = k.let_("first", first);
            k.for_("r", 0, if columns == 0 { 0 } else { self.count(count) }, |k, r| {
                let row = k.let_("to", r * self.pitch);
                let iy = first * g.strides[0] + r - g.pads[0];
                let from = |iy: Expr| x.from(n * g.x[0] + iy * g.x[2] + first_column * self.pixel());
                if g.interior(0) == (0, g.output[0]) {
                    return k.call(&copy, vec![from(iy), rows.from(row + to)]);
                }
                let iy = k.let_("iy", iy);
                k.if_else(
                    iy.ge(0).and(iy.lt(g.input[0])),
                    |k| k.call(&copy, vec![from(iy.into()), rows.from(row + to)]),
                    |k| {
                        let from = row + if whole { 0 } else { to };
                        k.call(&fill, vec![rows.from(from), CallArg::Scalar(zero.into())]);
                    },
                );
            });
            k.for_("t", 0, count, |k, t| {
                let y = n * g.y[0] + (first + t) * g.y[2] + start * g.y[3];
                body(k, t * (g.strides[0] * self.pitch), y);
            });
        };
        k.for_("n", 0, g.batch, |k, n| {
            let (whole, rest) = (g.output[0] / self.tile, g.output[0] % self.tile);
            k.for_("tile", 0, whole, |k, i| tile(k, n, i * self.tile, self.tile));
            if rest > 0 {
                tile(k, n, (whole * self.tile).into(), rest);
            }
        });
        Ok(())
    }
}

/// The windows of a row of outputs, each one after the other, where a window's rows are short.
struct Columns {
    gather: copy::Gather,
    /// Bytes from one window to the next.
    pitch: usize,
}

impl Columns {
    /// Bytes from one window to the next; `None` where gathering saves nothing.
    fn pitch(g: &Geometry) -> Option<usize> {
        let [kh, kw] = g.kernel;
        let run = kw * g.cin;
        // Cycles of a pair of pixels: sixteen for each chunk of four channels, against eight for
        // each run.
        let saved = 16 * g.cout.div_ceil(4) * (kh - (kh * run).div_ceil(16));
        (saved > 8 * kh).then_some(((kh - 1) * run + 16).max((kh * run).next_multiple_of(16)))
    }
    fn new(rows: &InputRows<'_>, pitch: usize) -> Option<Columns> {
        let g = rows.g;
        let gather = copy::Gather {
            runs: g.kernel[0],
            run: g.kernel[1] * g.cin,
            from_pitch: rows.pitch * g.dilations[0],
            step: g.strides[1] * g.cin,
            count: rows.columns,
            to_pitch: pitch,
        };
        gather.fits().then_some(Columns { gather, pitch })
    }
    fn len(&self, gemm: &Gemm) -> usize {
        self.gather.result_len().max(gemm.acts_len())
    }
}

#[cfg(test)]
mod tests;
