//! Int8 convolutions and dense layers through the instruction blocks of cores with `smlad`.
//!
//! A convolution widens the input rows under one row of outputs (or under a tile of it) into
//! the workspace, padding included as zeros, and multiplies two output pixels at a time; a
//! dense layer or pointwise convolution widens two rows of inputs at a time.
//!
//! In: sizes and a product. Out: the ways `gemm` and `depthwise` where they fit. Law: the outputs
//! are those of the portable loops, bit by bit.

use crate::arith::requant::{HIGH_SHIFT, Shift, high};
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Native, Val};
use crate::kernels::armv7em::depthwise::Depthwise;
use crate::kernels::armv7em::elementwise;
use crate::kernels::armv7em::epilogue::Rounding;
use crate::kernels::armv7em::gemm::{Gemm, MAX_SH, ROUND, SHORT};
use crate::kernels::armv7em::gemv8::Column;
use crate::kernels::armv7em::stream::Format;
use crate::kernels::armv7em::widen;
use crate::kernels::axes::nest;
use crate::kernels::call::{Bind, Call};
use crate::kernels::epilogue::Finish;
use crate::kernels::library::Library;
use crate::kernels::offer::{Candidate, DENSE4, Engine, Want};
use crate::kernels::problem::Geometry;
use crate::kernels::problem::Rows;
use crate::kernels::product::{Product, reach_len};
use crate::kernels::vector::Run;
use crate::tensor::{DType, Data};
use secateur_targets::{Pairing, Target};
use std::sync::Arc;

/// The engine.
#[derive(Debug)]
pub(crate) struct Dsp;

impl Engine for Dsp {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        // The rows of a depthwise convolution hold all channels.
        let limit = 2 * want.rows_limit;
        let mut ways = crate::kernels::armv7em::winograd::engine::ways(g, product, want)?;
        ways.extend(crate::kernels::armv7em::dw_engine::pairs(g, product, want)?);
        for weights in Weights::of(product) {
            ways.extend(crate::kernels::armv7em::bands::bands(g, product, want, weights)?);
        }
        if g.groups > 1 {
            ways.extend(depthwise(g, product, limit, want.library)?);
        }
        Ok(ways)
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let mut ways = crate::kernels::armv7em::rows::rows(rows, product, want)?;
        for weights in Weights::of(product) {
            if weights == Weights::Four || ways.is_empty() {
                ways.extend(dense(rows, product, want, weights)?);
            }
        }
        Ok(ways)
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        elementwise::block(run).iter().map(|b| b.native("dsp", &target.core)).collect()
    }
}

/// How widened inputs lie in the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// In fours, as the widening block parts them.
    Parted,
    /// As in memory.
    Natural,
}

impl Order {
    /// Runs of a multiple of four inputs can be parted.
    pub(crate) fn of(run: usize) -> Order {
        if run.is_multiple_of(4) { Order::Parted } else { Order::Natural }
    }
    pub(crate) fn position(self, i: usize) -> usize {
        if self == Order::Parted { widen::position(i) } else { i }
    }
}

/// The way a product ends, as the blocks need it.
pub(crate) struct Ending<'a> {
    /// The one shift of all channels, if there is one and the packed form has room for it.
    pub(crate) sh: Option<u32>,
    /// Its rounding constant.
    pub(crate) rnd: i32,
    pub(crate) multipliers: &'a [i32],
    pub(crate) each: Vec<(i32, u32)>,
    pub(crate) limits: (i32, i32),
}

impl Ending<'_> {
    pub(crate) fn of(product: &Product) -> Option<Ending<'_>> {
        let Finish::Int(r) = &product.finish else { return None };
        if r.least_shift() < HIGH_SHIFT {
            return None;
        }
        let each: Vec<(i32, u32)> = (0..r.m.len()).map(|c| high(r.at(c).s, r.out.zp)).collect();
        let (rnd, sh) = match r.shift {
            Shift::Layer(s) if s <= MAX_SH + 32 => (high(s, r.out.zp).0, Some(s - 32)),
            _ => (0, None),
        };
        Some(Ending { sh, rnd, multipliers: &r.m, each, limits: (r.out.lo, r.out.hi) })
    }
    pub(crate) fn rounding(&self) -> Rounding<'_> {
        Rounding { multipliers: self.multipliers, each: &self.each }
    }
}

/// Bits of a weight in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weights {
    Eight,
    Four,
}

impl Weights {
    /// What the weights of a product fit.
    pub(crate) fn of(product: &Product) -> impl Iterator<Item = Weights> {
        [Weights::Eight].into_iter().chain(product.four_bits().then_some(Weights::Four))
    }
    /// The variant's name.
    pub(crate) fn way(self) -> &'static str {
        match self {
            Weights::Eight => "gemm",
            Weights::Four => DENSE4,
        }
    }
    /// Formats to try in this order, each with the one shift that it takes of all channels.
    pub(crate) fn formats(self, ending: &Ending<'_>, want: &Want<'_>) -> Vec<(Format, Option<u32>)> {
        match self {
            Weights::Four => vec![(Format::Nibbles, ending.sh)],
            // There weights of two bytes gain a sixth.
            Weights::Eight if dual(want) && want.policy.spends_flash() => vec![(Format::Halves, ending.sh)],
            Weights::Eight => vec![(Format::Packed, ending.sh), (Format::Plain, None)],
        }
    }
}

/// Packs a product for a block of these sizes in the first of the formats that its weights and sums
/// fit. `None` if they fit none.
pub(crate) fn packed(
    sizes: &Gemm,
    product: &Product,
    ending: &Ending<'_>,
    formats: &[(Format, Option<u32>)],
    taps: &[Option<usize>],
) -> Result<Option<(Gemm, Bind)>> {
    let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return Ok(None) };
    let reach = product.reach()?;
    for &(format, sh) in formats {
        let gemm = Gemm { format, sh, ..*sizes };
        if let Some(stream) = gemm.stream().pack(w, b, ending.rounding(), &reach, taps) {
            return Ok(Some((gemm, Bind::aligned("weights", Data::I16(stream), 4))));
        }
    }
    Ok(None)
}

/// Widens `n` inputs: the block where they part evenly, else a plain loop.
pub(crate) fn widen_kernel(n: usize, order: Order, library: &Library<'_>) -> Result<Arc<Kernel>> {
    let core = library.core();
    match order {
        Order::Parted => return library.once(&("widen", n), || widen::kernel(n, core)),
        Order::Natural if n >= 4 => return library.once(&("widen in order", n), || widen::natural(n, core)),
        Order::Natural => {}
    }
    let mut k = KernelBuilder::new("widen_s8");
    let x = k.buffer("x", DType::I8, n, Access::Read);
    let out = k.buffer("out", DType::I16, n, Access::Write);
    let zx = k.scalar("zx", -128, 127);
    k.for_("i", 0, n, |k, i| k.store(out, i, x.at(i) - zx));
    k.finish()
}

pub(crate) fn call_widen(k: &mut KernelBuilder, kernel: &Arc<Kernel>, from: CallArg, to: CallArg, zx: Val) {
    k.call(kernel, vec![from, to, CallArg::Scalar(zx.into())]);
}

/// Whether the core starts two instructions at once.
pub(crate) fn dual(want: &Want<'_>) -> bool {
    want.core().cost.as_ref().is_some_and(|c| c.pairing == Pairing::Dual)
}

/// Weights of a layer whose code counts more than its cycles.
const SMALL: usize = 1024;

/// A dense layer or pointwise convolution.
pub(crate) fn dense(
    rows: &Rows,
    product: &Product,
    want: &Want<'_>,
    weights: Weights,
) -> Result<Option<Candidate>> {
    let (library, core) = (want.library, want.core());
    let Some(ending) = Ending::of(product) else { return Ok(None) };
    let (lo, hi) = ending.limits;
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let unit = (inputs == 1 || rows.inputs.x == 1) && (outputs == 1 || rows.outputs.y == 1);
    if !unit || inputs < 4 {
        return Ok(None);
    }
    let order = Order::of(inputs);
    let pitch = inputs.next_multiple_of(2);
    // Pairs of rows are taken along the innermost axis of rows.
    let (outer, inner) = match rows.rows.split_last() {
        Some((last, outer)) => (outer, *last),
        None => (&[][..], crate::kernels::problem::Axis { len: 1, x: 0, y: 0 }),
    };
    let two = Gemm {
        runs: 1,
        pairs: pitch / 2,
        run_pitch: 0,
        outputs,
        columns: 2,
        pitch,
        step: inner.y,
        format: Format::Packed,
        sh: ending.sh,
        lo,
        hi,
        round: if !want.policy.spends_flash() && inputs * outputs < SMALL { SHORT } else { ROUND },
        ahead: dual(want),
    };
    let one = Gemm { columns: 1, pitch: 0, step: 0, ..two };
    let pairs = if inner.len > 1 && two.fits() { inner.len / 2 } else { 0 };
    let taps: Vec<Option<usize>> =
        (0..pitch).map(|i| Some(order.position(i)).filter(|&p| p < inputs)).collect();
    let formats = weights.formats(&ending, want);
    let packed = packed(&one, product, &ending, &formats, &taps)?.filter(|p| p.0.fits());
    let Some((one, stream)) = packed else { return Ok(None) };
    let two = Gemm { format: one.format, sh: one.sh, ..two };
    // A single row: eight channels share each load of inputs.
    let alone = pairs == 0 && matches!(one.format, Format::Packed | Format::Plain);
    let eight = if alone { column(&one, product, (&ending, want), &taps)? } else { None };
    let (eight, coefficients) = eight.map_or((None, stream), |(eight, stream)| (Some(eight), stream));

    let axes = |step: fn(&crate::kernels::problem::Axis) -> usize, last: (usize, usize)| {
        let mut lens: Vec<usize> = rows.rows.iter().map(|a| a.len).collect();
        let mut steps: Vec<usize> = rows.rows.iter().map(step).collect();
        lens.push(last.0);
        steps.push(last.1);
        reach_len(&lens, &steps)
    };
    let columns = if pairs > 0 { 2 } else { 1 };
    let mut k = KernelBuilder::new("dense_s8_gemm");
    let x = k.buffer("x", DType::I8, axes(|a| a.x, (inputs, 1)), Access::Read);
    let y = k.buffer("y", DType::I8, axes(|a| a.y, (outputs, 1)), Access::Write);
    let wide = k.buffer("wide", DType::I16, columns * pitch, Access::ReadWrite);
    let len = eight.map_or(one.stream(), |eight| eight.stream()).len();
    let w = k.buffer("w", DType::I16, len, Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let round = one.sh.map(|_| k.scalar("rnd", i32::MIN, i32::MAX));
    let widen_one = widen_kernel(inputs, order, library)?;
    let close = order == Order::Parted && inner.x == inputs;
    let widen_two = if pairs > 0 && close { Some(widen_kernel(2 * inputs, order, library)?) } else { None };
    let gemm_two = if pairs > 0 { Some(library.once(&two, || two.kernel(core))?) } else { None };
    let gemm_one = match eight {
        Some(eight) => library.once(&eight, || eight.kernel(core))?,
        None => library.once(&one, || one.kernel(core))?,
    };
    let product_of = |k: &mut KernelBuilder, gemm: &Arc<Kernel>, to: Expr| {
        let mut args = vec![wide.from(0), w.from(0), y.from(to)];
        args.extend(round.map(|r| CallArg::Scalar(r.into())));
        k.call(gemm, args);
    };
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        if let Some(gemm) = &gemm_two {
            k.for_("pair", 0, pairs, |k, pair| {
                let from = k.let_("from", x0 + pair * (2 * inner.x));
                match &widen_two {
                    Some(both) => call_widen(k, both, x.from(from), wide.from(0), zx),
                    None => {
                        call_widen(k, &widen_one, x.from(from), wide.from(0), zx);
                        call_widen(k, &widen_one, x.from(from + inner.x), wide.from(pitch), zx);
                    }
                }
                product_of(k, gemm, y0 + pair * (2 * inner.y));
            });
        }
        k.for_("row", 2 * pairs, inner.len, |k, row| {
            call_widen(k, &widen_one, x.from(x0 + row * inner.x), wide.from(0), zx);
            product_of(k, &gemm_one, y0 + row * inner.y);
        });
    });
    let result = if rows.in_step() { Bind::ResultInPlace } else { Bind::Result(0) };
    let mut args =
        vec![Bind::Operand(0), result, Bind::Workspace(0), coefficients, Bind::Scalar(product.x_zp)];
    args.extend(round.map(|_| Bind::Scalar(ending.rnd)));
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: weights.way(), call, workspace: 2 * columns * pitch }))
}

/// The product of one column by eight channels at a time, and its coefficients, if they fit.
fn column(
    one: &Gemm,
    product: &Product,
    (ending, want): (&Ending<'_>, &Want<'_>),
    taps: &[Option<usize>],
) -> Result<Option<(Column, Bind)>> {
    let (Data::I32(w), Data::I32(b), Some(sh)) = (&product.weights, &product.bias, one.sh) else {
        return Ok(None);
    };
    // At speed a loop of twice the length saves another hundredth.
    let round = if want.policy.spends_flash() { 2 * one.round } else { one.round };
    let eight = Column { pairs: one.pairs, outputs: one.outputs, sh, lo: one.lo, hi: one.hi, round };
    if !eight.fits() {
        return Ok(None);
    }
    let stream = eight.stream().pack(w, b, ending.rounding(), &product.reach()?, taps);
    Ok(stream.map(|s| (eight, Bind::aligned("weights", Data::I16(s), 4))))
}

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
fn depthwise(
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
