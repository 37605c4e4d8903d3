//! Int8 convolutions and dense layers on cores with Helium.
//!
//! Inputs stay int8: the zero point is folded into the bias, and padding is rows of the
//! workspace that hold the zero point. What no Helium kernel takes goes to the blocks of the DSP
//! extension, which these cores have as well.
//!
//! In: sizes and a product. Out: ways. Law: the outputs are those of the portable loops, bit by bit.

use crate::arith::requant::{HIGH_SHIFT, Requant, Shift};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Native, Val};
use crate::kernels::armv7em::engine::Dsp;
use crate::kernels::axes::nest;
use crate::kernels::call::{Bind, Call};
use crate::kernels::epilogue::Finish;
use crate::kernels::mve::copy;
use crate::kernels::mve::depthwise::{self, Depthwise};
use crate::kernels::mve::elementwise;
use crate::kernels::mve::gemm::Gemm;
use crate::kernels::offer::{Candidate, Engine, Want};
use crate::kernels::problem::Geometry;
use crate::kernels::problem::{Axis, Rows};
use crate::kernels::product::{Product, reach_len};
use crate::kernels::vector::Run;
use crate::tensor::{DType, Data};
use secateur_targets::Target;
use std::sync::Arc;

/// The engine of cores with Helium.
#[derive(Debug)]
pub(crate) struct Helium;

impl Engine for Helium {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let limit = want.rows_limit;
        let turned = turned(g).map(|g| (g, None)).or_else(|| columns_first(g, product));
        let (g2, product2) = match &turned {
            Some((g2, product2)) => (g2, product2.as_ref().unwrap_or(product)),
            None => (g, product),
        };
        let way = if g.groups > 1 { by_channel(g2, product2, limit)? } else { conv(g2, product2, limit)? };
        match way {
            Some(way) => Ok(vec![way]),
            None => Dsp.conv(g, product, want),
        }
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        match dense(rows, product)? {
            Some(way) => Ok(vec![way]),
            None => Dsp.dense(rows, product, want),
        }
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        match elementwise::block(run) {
            Some(block) => Ok(vec![block.native()]),
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
fn dense(rows: &Rows, product: &Product) -> Result<Option<Candidate>> {
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
    let kernel = gemm.kernel()?;
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        k.call(&kernel, vec![x.from(x0), w.from(0), y.from(y0)]);
    });
    let call = Call { kernel: k.finish()?, args: vec![Bind::Operand(0), Bind::Result(0), weights] };
    Ok(Some(Candidate { way: "dot", call, workspace: 0 }))
}

/// A convolution, with at most `limit` bytes of input rows in the workspace where it can be.
fn conv(g: &Geometry, product: &Product, limit: usize) -> Result<Option<Candidate>> {
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
    let rows = InputRows::new(g, Lay::Linear, limit, narrow.unwrap_or(0), 1);
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
    let kernel = gemm.kernel()?;
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
            Some((k.buffer("columns", DType::I8, len, Access::ReadWrite), c.kernel()?))
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
fn by_channel(g: &Geometry, product: &Product, limit: usize) -> Result<Option<Candidate>> {
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
    let rows = InputRows::new(g, lay, limit, 0, share);
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
}

/// Bytes that a kernel may read behind the rows.
const SLACK: usize = 16;

impl<'a> InputRows<'a> {
    /// As many rows and columns as take at most `limit` bytes, with `each` more for every column,
    /// or the fewest there are. Columns come in multiples of `share`.
    fn new(g: &'a Geometry, lay: Lay, limit: usize, each: usize, share: usize) -> InputRows<'a> {
        let of = |columns: usize, tile: usize| {
            let one = InputRows { g, lay, pitch: 0, columns, tile };
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
        let all = copy::fill(self.len())?;
        k.call(&all, vec![rows.from(0), CallArg::Scalar(zero.into())]);
        let (first_column, left, columns) = self.inside(start);
        let (copy, fill, to) = match self.lay {
            Lay::Linear => {
                let len = (columns * self.pixel()).max(1);
                (copy::copy(len)?, copy::fill(len)?, left * self.pixel())
            }
            Lay::Planes => {
                let pitch = self.width() * depthwise::LANES;
                let planes = copy::Planes { pixels: columns.max(1), channels: self.pixel(), pitch };
                (planes.kernel()?, copy::fill(self.pitch)?, left * depthwise::LANES)
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
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.gather.kernel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::armv7em::engine::{tests::geometry, tests::product};
    use crate::kernels::offer::ROWS_LIMIT;
    use crate::kernels::portable::conv::{self, Kernels};
    use crate::kernels::portable::dense;
    use crate::kernels::trial::{Random, run};

    /// The loops of the kernels against the plain ones, on random and extreme inputs.
    fn alike(case: usize, call: &Call, plain: &Call, x_len: usize, y_len: usize, random: &mut Random) {
        for _ in 0..2 {
            let x = [Data::I8(random.bytes(x_len))];
            let want = run(plain, &x, DType::I8, y_len);
            assert_eq!(run(call, &x, DType::I8, y_len), want, "case {case}");
        }
    }

    #[test]
    fn convolutions_equal_the_plain_loops() {
        let mut random = Random(51);
        let depthwise = |c: usize, input, kernel, more| Geometry {
            groups: c,
            cin: 1,
            cout: 1,
            ..geometry(c, c, input, kernel, more)
        };
        let shapes = [
            geometry(16, 16, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1]),
            geometry(4, 10, [6, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
            geometry(1, 8, [11, 10], [10, 4], [2, 2, 4, 1, 5, 1]),
            geometry(3, 8, [9, 9], [3, 3], [2, 2, 0, 0, 1, 1]),
            geometry(3, 5, [4, 5], [2, 3], [3, 1, 1, 2, 0, 0]),
            geometry(64, 6, [1, 41], [1, 3], [1, 2, 0, 2, 0, 0]),
            geometry(16, 32, [6, 6], [1, 1], [2, 2, 0, 0, 0, 0]),
            // Many chunks, in a loop over rows; few columns, so that parts of rows overlap.
            geometry(100, 9, [3, 23], [3, 3], [1, 1, 1, 1, 1, 1]),
            geometry(130, 3, [3, 7], [3, 3], [1, 1, 1, 1, 1, 1]),
            // A column, which becomes a row; and planes of one row.
            geometry(7, 3, [9, 1], [5, 1], [1, 1, 2, 0, 2, 0]),
            Geometry { x: [120, 20, 20, 1], ..geometry(6, 5, [1, 20], [1, 7], [1, 1, 0, 3, 0, 3]) },
            // Columns that follow each other, with windows of any shape.
            Geometry { x: [42, 1, 1, 6], ..geometry(1, 5, [6, 7], [3, 2], [2, 1, 1, 0, 1, 1]) },
            Geometry { x: [90, 1, 3, 18], ..geometry(3, 4, [6, 5], [2, 3], [1, 1, 0, 1, 1, 1]) },
            Geometry { x: [480, 1, 16, 96], ..depthwise(16, [6, 5], [3, 3], [1, 1, 1, 1, 1, 1]) },
            // Columns and rows that stand apart, and two samples.
            Geometry {
                dilations: [1, 3],
                output: [1, 20],
                y: [100, 1, 100, 5],
                ..geometry(24, 5, [1, 20], [1, 5], [1, 1, 0, 6, 0, 6])
            },
            Geometry {
                batch: 2,
                dilations: [2, 1],
                output: [3, 6],
                x: [240, 1, 48, 8],
                y: [72, 1, 24, 4],
                ..geometry(8, 4, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1])
            },
            // Depthwise: pixels that share vectors, planes that are not full, long columns.
            depthwise(8, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1]),
            depthwise(4, [7, 8], [3, 3], [1, 1, 1, 1, 1, 1]),
            depthwise(8, [7, 6], [3, 3], [2, 2, 0, 0, 1, 1]),
            depthwise(16, [6, 9], [5, 5], [1, 1, 2, 2, 2, 2]),
            depthwise(37, [5, 7], [3, 3], [1, 1, 1, 1, 1, 1]),
            depthwise(64, [1, 130], [1, 9], [1, 1, 0, 4, 0, 4]),
            depthwise(20, [19, 1], [15, 1], [1, 1, 7, 0, 7, 0]),
            depthwise(128, [4, 13], [3, 3], [3, 3, 1, 0, 0, 1]),
        ];
        for (case, g) in shapes.iter().enumerate() {
            let product = product(&mut random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], case);
            let plain = conv::conv(g, &product, Kernels::Packed).unwrap();
            let turned = turned(g).map(|g| (g, None)).or_else(|| columns_first(g, &product));
            let whole = product;
            let (g, product) = match &turned {
                Some((g, product)) => (g, product.as_ref().unwrap_or(&whole)),
                None => (g, &whole),
            };
            for limit in [ROWS_LIMIT, 600] {
                let way = if g.groups > 1 { by_channel(g, product, limit) } else { conv(g, product, limit) };
                let way = way.unwrap().unwrap_or_else(|| panic!("case {case} does not fit"));
                assert!(way.workspace <= 2 * ROWS_LIMIT, "case {case}: {}", way.workspace);
                alike(case, &way.call, &plain, g.x_len(), g.y_len(), &mut random);
            }
        }
    }

    #[test]
    fn dense_layers_equal_the_plain_loops() {
        let mut random = Random(52);
        let axis = |len, x, y| Axis { len, x, y };
        let of = |rows: &[Axis], inputs, outputs| Rows {
            rows: rows.to_vec(),
            inputs: axis(inputs, 1, 0),
            outputs: axis(outputs, 0, 1),
        };
        let shapes = [
            of(&[], 64, 12),
            of(&[], 37, 5),
            of(&[], 5, 3),
            of(&[], 400, 9),
            // Chunks beside a loop of eight, the last one early.
            of(&[], 505, 2),
            of(&[axis(5, 64, 64)], 64, 64),
            of(&[axis(4, 10, 3)], 10, 3),
            of(&[axis(3, 8, 16)], 8, 16),
            of(&[axis(7, 700, 6)], 700, 6),
            of(&[axis(2, 100, 40), axis(3, 20, 5)], 16, 5),
            // Groups that overlap by three, two and one channels: of an odd number of pixels, of
            // an even one, apart from each other.
            of(&[axis(5, 7, 13)], 7, 13),
            of(&[axis(6, 15, 6)], 15, 6),
            of(&[axis(2, 90, 70), axis(3, 20, 9)], 1, 7),
            of(&[axis(9, 11, 29)], 9, 27),
        ];
        for (case, rows) in shapes.iter().enumerate() {
            let product = product(&mut random, rows.outputs.len, rows.inputs.len, case);
            let way = dense(rows, &product).unwrap().unwrap_or_else(|| panic!("case {case} does not fit"));
            let plain = dense::dense(rows, &product).unwrap();
            let (mut x_len, mut y_len) = (rows.inputs.len, rows.outputs.len);
            for a in &rows.rows {
                x_len += (a.len - 1) * a.x;
                y_len += (a.len - 1) * a.y;
            }
            alike(case, &way.call, &plain, x_len, y_len, &mut random);
        }
    }

    /// Cycles a MAC that the prediction gives whole layers, against the ceiling of 1/8.
    #[test]
    fn large_layers_come_near_the_ceiling() {
        let mut random = Random(53);
        let cost = |g: &Geometry, random: &mut Random| {
            let product = product(random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], 0);
            let way = match g.groups {
                1 => conv(g, &product, ROWS_LIMIT),
                _ => by_channel(g, &product, ROWS_LIMIT),
            };
            let target = secateur_targets::find("apollo510").unwrap();
            let macs = g.output[0] * g.output[1] * g.groups * g.cout * g.cin * g.kernel[0] * g.kernel[1];
            way.unwrap().unwrap().call.cycles(&target) / macs as f64
        };
        let window = geometry(64, 64, [8, 8], [3, 3], [1, 1, 1, 1, 1, 1]);
        let by = cost(&window, &mut random);
        assert!(by < 0.150, "{by}");
        let lanes = Geometry { groups: 64, cin: 1, cout: 1, ..window };
        let by = cost(&lanes, &mut random);
        assert!(by < 1.2, "{by}");
    }
}
