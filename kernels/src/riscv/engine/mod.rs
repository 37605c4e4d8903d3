//! Engines `rv32` and `rvv`: int8 convolutions and dense layers on RISC-V cores, with and without
//! vectors.
//!
//! Both read inputs as the bytes that they are, with the zero point moved into the bias. So a
//! dense layer, a pointwise convolution and every other one without padding needs no workspace;
//! under padding the rows below one row of outputs (or a tile of it) are copied into the
//! workspace, between bytes of the zero point. Blocks of pixels that do not fill a row are
//! followed by one that ends with it and computes some pixels again.
//!
//! Windows whose columns lie apart (dilated, or in groups) have a line of the workspace for each.
//!
//! In: sizes and a product. Out: ways, or none where channels are not innermost or weights leave
//! eight bits. Law: the outputs are those of the
//! portable loops, bit by bit.

use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder, Native, Val};
use crate::offer::{Candidate, Engine, ROWS_LIMIT, Want, Weights};
use crate::panel;
use crate::problem::Geometry;
use crate::problem::Rows;
use crate::product::Product;
use crate::riscv::depthwise::Depthwise;
use crate::riscv::elementwise;
use crate::riscv::gemm::{self as product, Product as Scalar, Sizes};
use crate::riscv::gemm_rvv::{self, Lanes};
use crate::riscv::gemm_rvv_steps as steps;
use crate::riscv::rows::{Copier, panel};
use crate::riscv::swar_engine;
use crate::tensor::{DType, Data};
use crate::vector::Run;
use secateur_targets::Target;
use std::sync::Arc;

/// RISC-V, with vectors or without.
pub struct Riscv {
    pub vectors: bool,
}

impl Engine for Riscv {
    fn conv(&self, g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let g = &across(g);
        let mut ways = Vec::new();
        for weights in Weights::of(product).filter(|_| !self.vectors) {
            ways.extend(swar_engine::conv(g, product, want, weights)?);
        }
        for weights in self.weights(product) {
            ways.extend(conv(self, g, product, want, weights)?);
        }
        Ok(ways)
    }
    fn dense(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        let mut ways = Vec::new();
        for weights in Weights::of(product).filter(|_| !self.vectors) {
            ways.extend(swar_engine::dense(rows, product, want, weights)?);
        }
        for weights in self.weights(product) {
            ways.extend(dense(self, rows, product, want, weights)?);
        }
        Ok(ways)
    }
    fn wide(&self, rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
        if product.operand != DType::I8 || !product.finish.whole() {
            return Ok(Vec::new());
        }
        // Results of sixteen bits leave scalar registers alone.
        let scalar = Riscv { vectors: false };
        Ok(dense(&scalar, rows, product, want, Weights::All)?.into_iter().collect())
    }
    fn run(&self, run: &Run, target: &Target) -> Result<Vec<Native>> {
        Ok(elementwise::native(run, target)?.into_iter().collect())
    }
}

/// Steps between two branches: a branch costs less than the flash of spelling out more.
pub fn unroll(want: &Want<'_>) -> usize {
    if want.policy.spends_flash() { product::UNROLL } else { product::UNROLL / 2 }
}

/// A product as the kernels take it.
pub struct Packed {
    /// `[channels, taps]`.
    pub weights: Vec<i8>,
    /// By channel: biases, multipliers and, without a common shift, rounding constants and shifts.
    pub words: Vec<Vec<i32>>,
    /// The common rounding constant and shift.
    pub one: Option<(i32, i32)>,
    pub limits: (i32, i32),
    pub x_zp: i32,
}

impl Packed {
    pub fn of(product: &Product) -> Option<Packed> {
        let x_zp = product.x_zp;
        let product = product.clone().folded();
        let ending = Ending::of(&product.finish).or_else(|| Ending::wide(&product.finish))?;
        let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return None };
        let weights = w.iter().map(|&w| i8::try_from(w).ok()).collect::<Option<Vec<i8>>>()?;
        let one = ending.sh.map(|sh| (ending.rnd, sh as i32));
        let words = if one.is_some() { 1 } else { 3 };
        let word = |i: usize| (0..b.len()).map(|c| ending.words(c)[i]).collect();
        let words = [b.clone()].into_iter().chain((0..words).map(word)).collect();
        Some(Packed { weights, words, one, limits: ending.limits, x_zp })
    }
}

/// A window of a row of output pixels, before pixels are grouped.
#[derive(Clone, Copy)]
struct Window {
    runs: usize,
    run: usize,
    run_pitch: usize,
    outputs: usize,
    pitch: usize,
    step: usize,
    /// If every channel sees its own inputs alone.
    depthwise: Option<Alone>,
}

/// A depthwise window.
#[derive(Clone, Copy)]
struct Alone {
    /// Columns from one window to the next.
    stride: usize,
    channels: usize,
}

impl Window {
    /// Steps of a run.
    fn steps(&self) -> usize {
        self.depthwise.map_or(self.run, |d| (self.run - self.outputs) / d.channels + 1)
    }
    /// The outputs of `n` neighbouring depthwise windows as those of one, so that few channels
    /// fill long vectors.
    fn of_neighbours(&self, n: usize) -> Window {
        let wider = Window {
            run: self.run + (n - 1) * self.outputs,
            outputs: n * self.outputs,
            pitch: n * self.pitch,
            step: n * self.step,
            ..*self
        };
        if n == 1 { *self } else { wider }
    }
}

/// The kernel that computes a block of pixels, by what it computes.
#[derive(Debug)]
enum Block {
    Scalar(Scalar),
    Depthwise(Depthwise),
    Lanes(Lanes),
}

impl Block {
    fn kernel(&self, target: &Target) -> Result<Arc<Kernel>> {
        match self {
            Block::Scalar(k) => k.kernel(target),
            Block::Depthwise(k) => k.kernel(target),
            Block::Lanes(k) => k.kernel(target),
        }
    }
}

/// A row of pixels as calls: of whole blocks at once, or where these do not fill it of one block
/// after the other, the last one moved back so that it ends with the row.
struct RowOf {
    way: &'static str,
    kernel: Arc<Kernel>,
    /// How many calls, pixels of each, and the first pixel of the last one.
    calls: usize,
    pixels: usize,
    last: usize,
    weights: Vec<i8>,
    words: Vec<i32>,
}

impl Riscv {
    fn sizes(&self, w: &Window, packed: &Packed, pixels: usize, blocks: usize, want: &Want<'_>) -> Sizes {
        Sizes {
            runs: w.runs,
            run: w.run,
            run_pitch: w.run_pitch,
            outputs: w.outputs,
            pixels,
            blocks,
            pitch: w.pitch,
            step: w.step,
            unroll: unroll(want),
            one_shift: packed.one.is_some(),
            lo: packed.limits.0,
            hi: packed.limits.1,
        }
    }
    /// The block of that many pixels, if it fits, and about how many instructions it takes.
    fn block(&self, w: &Window, sizes: Sizes) -> Option<(Block, usize)> {
        let p = sizes.pixels;
        let steps = w.runs * w.steps();
        match (self.vectors, w.depthwise) {
            (true, kind) => {
                let block = kind.map_or(Lanes::Product(sizes), |d| Lanes::Depthwise(sizes, d.channels));
                let strip = gemm_rvv::VLEN / 16 * gemm_rvv::group(w.outputs).registers() as usize;
                let each = if kind.is_some() { 3 + 4 * p } else { 4 + 2 * p };
                let price = w.outputs.div_ceil(strip) * (steps * each + 10 * p + 30);
                block.fits().then_some((Block::Lanes(block), price))
            }
            (false, Some(Alone { stride, .. })) => {
                let block = Depthwise { sizes, stride };
                block.fits().then(|| (Block::Depthwise(block), w.outputs * block.price()))
            }
            (false, None) => {
                let block = Scalar(sizes);
                let q = product::channels(p).min(w.outputs);
                let each = |q: usize| if q == 0 { 0 } else { steps * (p + q + 2 * p * q) + 9 * p * q + 30 };
                let price = w.outputs / q * each(q) + each(w.outputs % q);
                block.fits().then_some((Block::Scalar(block), price))
            }
        }
    }
    /// How a row of `n` pixels is computed with least instructions.
    fn row(
        &self,
        w: &Window,
        packed: &Packed,
        groups: usize,
        n: usize,
        want: &Want<'_>,
    ) -> Result<Option<RowOf>> {
        let dense = |d: &Alone| d.stride == 1 && [w.pitch, w.step] == [d.channels; 2];
        let most = match w.depthwise.filter(dense) {
            Some(d) if self.vectors => (gemm_rvv::STRIP / d.channels).clamp(1, n),
            _ => 1,
        };
        let block = |neighbours: usize, p: usize, blocks: usize| {
            let w = w.of_neighbours(neighbours);
            self.block(&w, self.sizes(&w, packed, p, blocks, want))
        };
        let mut best: Option<(usize, usize, usize)> = None;
        for neighbours in 1..=most {
            let outputs = neighbours * w.outputs;
            let pixels = if self.vectors { gemm_rvv::pixels(outputs) } else { 8 };
            for p in 1..=pixels.min(n / neighbours) {
                let Some((_, price)) = block(neighbours, p, 1) else { continue };
                let again = if n.is_multiple_of(p * neighbours) { 0 } else { 60 };
                let price = n.div_ceil(p * neighbours) * price + again;
                // The first of equals: fewer pixels, less code.
                if best.is_none_or(|b| price < b.0) {
                    best = Some((price, neighbours, p));
                }
            }
        }
        let Some((_, neighbours, p)) = best else { return Ok(None) };
        let pixels = p * neighbours;
        let (calls, blocks) = RowOf::split(n, pixels);
        let Some((whole, _)) = block(neighbours, p, blocks) else { return Ok(None) };
        // Taps in the order in which the window lies in memory are those of the packed rows.
        let taps = packed.weights.len() / (groups * w.outputs).max(1);
        let (mut weights, mut words) = (Vec::new(), Vec::new());
        for group in 0..groups {
            let channels = group * w.outputs..(group + 1) * w.outputs;
            let own = &packed.weights[channels.start * taps..channels.end * taps];
            let each: Vec<Vec<i32>> = packed.words.iter().map(|of| of[channels.clone()].to_vec()).collect();
            match &whole {
                Block::Scalar(k) => {
                    weights.extend(k.pack(own, taps));
                    words.extend(k.words(&each));
                }
                Block::Depthwise(_) => {
                    weights.extend(own);
                    words.extend((0..w.outputs).flat_map(|o| each.iter().map(move |of| of[o])));
                }
                Block::Lanes(_) => {
                    for t in 0..taps {
                        let tap: Vec<i8> = own.iter().skip(t).step_by(taps).copied().collect();
                        weights.extend(tap.repeat(neighbours));
                    }
                    each.iter().for_each(|of| words.extend(of.repeat(neighbours)));
                }
            }
        }
        let kernel = want.library.once(&whole, || whole.kernel(want.target()))?;
        let way = if w.depthwise.is_some() { "depthwise" } else { "product" };
        Ok(Some(RowOf { way, kernel, calls, pixels, last: n - blocks * pixels, weights, words }))
    }
    /// Bytes of scalar registers meet all weights, vectors steps that are not zero too.
    fn weights(&self, product: &Product) -> impl Iterator<Item = Weights> {
        Weights::of(product).filter(|&weights| self.vectors || weights == Weights::All)
    }
    /// The same by steps that are not zero, if they take no more flash than all or flash may be spent.
    fn row_of_steps(&self, w: &Window, packed: &Packed, n: usize, want: &Want<'_>) -> Result<Option<RowOf>> {
        let sizes = |p: usize| self.sizes(w, packed, p, RowOf::split(n, p).1, want);
        let spend = want.policy.spends_flash();
        let found = steps::best(n, (&packed.weights, &packed.words), &sizes, spend);
        let Some((way, (of, weights, words))) = found else { return Ok(None) };
        let kernel = want.library.once(&of, || of.kernel(want.target()))?;
        let pixels = of.sizes.pixels;
        let (calls, blocks) = RowOf::split(n, pixels);
        Ok(Some(RowOf { way, kernel, calls, pixels, last: n - blocks * pixels, weights, words }))
    }
}

impl RowOf {
    /// Calls and blocks of each for `n` pixels by so many at a time.
    fn split(n: usize, pixels: usize) -> (usize, usize) {
        if n.is_multiple_of(pixels) { (1, n / pixels) } else { (n.div_ceil(pixels), 1) }
    }
}

/// Parameters of a layer's kernel that every row passes on.
struct Layer {
    y: Buf,
    w: Buf,
    c: Buf,
    shift: Option<(Val, Val)>,
    groups: usize,
}

impl Layer {
    fn declare(k: &mut KernelBuilder, y: Buf, row: &RowOf, groups: usize, one_shift: bool) -> Layer {
        Layer {
            y,
            groups,
            w: k.buffer("w", DType::I8, row.weights.len(), Access::Read),
            c: k.buffer("c", DType::I32, row.words.len(), Access::Read),
            shift: one_shift.then(|| product::declare_shift(k)),
        }
    }
    fn roles(row: &RowOf, packed: &Packed) -> Vec<Bind> {
        let mut roles = vec![
            Bind::aligned("weights", Data::I8(row.weights.clone()), 4),
            Bind::data("words", Data::I32(row.words.clone())),
        ];
        roles.extend(packed.one.into_iter().flat_map(|(rnd, sh)| [Bind::Scalar(rnd), Bind::Scalar(sh)]));
        roles
    }
    /// Calls a row: inputs from `x0` of `acts` on, each group `part` further, results from `y0` on.
    fn call(
        &self,
        k: &mut KernelBuilder,
        row: &RowOf,
        w: &Window,
        (acts, x0, part): (Buf, &Expr, usize),
        y0: &Expr,
    ) {
        let (weights, words) = (row.weights.len() / self.groups, row.words.len() / self.groups);
        k.for_("group", 0, self.groups, |k, group| {
            k.for_("call", 0, row.calls, |k, call| {
                let first = k.let_("pixel", (call * row.pixels).min(row.last));
                let mut args = vec![
                    acts.from(x0 + first * w.pitch + group * part),
                    self.w.from(group * weights),
                    self.c.from(group * words),
                    self.y.from(y0 + first * w.step + group * w.outputs),
                ];
                let shift = self.shift.iter().flat_map(|&(rnd, sh)| [rnd, sh]);
                args.extend(shift.map(|v| CallArg::Scalar(v.into())));
                k.call(&row.kernel, args);
            });
        });
    }
}

/// A dense layer or pointwise convolution, straight from memory.
fn dense(
    e: &Riscv,
    rows: &Rows,
    product: &Product,
    want: &Want<'_>,
    weights: Weights,
) -> Result<Option<Candidate>> {
    let Some(packed) = Packed::of(product) else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if !rows.side_by_side() || inputs == 0 || outputs == 0 {
        return Ok(None);
    }
    // Pixels are neighbours along the innermost axis of rows.
    let (outer, inner) = rows.split();
    let window = Window {
        runs: 1,
        run: inputs,
        run_pitch: 0,
        outputs,
        pitch: inner.x,
        step: inner.y,
        depthwise: None,
    };
    let row = match weights {
        Weights::All => e.row(&window, &packed, 1, inner.len, want)?,
        Weights::Sparse => e.row_of_steps(&window, &packed, inner.len, want)?,
    };
    let Some(row) = row else { return Ok(None) };

    let mut k = KernelBuilder::new(format!("dense_{}_blocks", product.suffix()));
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", product.finish.elem(), rows.y_len(), Access::Write);
    let layer = Layer::declare(&mut k, y, &row, 1, packed.one.is_some());
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        layer.call(k, &row, &window, (x, x0, 0), y0);
    });
    let mut args = vec![Bind::Operand(0), Bind::Result(0)];
    args.extend(Layer::roles(&row, &packed));
    Ok(Some(Candidate { way: row.way, call: Call { kernel: k.finish()?, args }, workspace: 0 }))
}

/// A convolution: with one group or several, depthwise or not.
fn conv(
    e: &Riscv,
    g: &Geometry,
    product: &Product,
    want: &Want<'_>,
    weights: Weights,
) -> Result<Option<Candidate>> {
    let Some(packed) = Packed::of(product) else { return Ok(None) };
    let depthwise = g.groups > 1 && g.cin == 1 && g.cout == 1;
    let pixel = g.pixel();
    let [kh, kw] = g.kernel;
    if g.groups * g.cout > 1 && g.y[1] != 1 {
        return Ok(None);
    }
    // Groups that are computed one after the other, and what a window reads of a pixel.
    let (groups, part) = if depthwise { (1, pixel) } else { (g.groups, g.cin) };
    // The columns of a window lie apart: they are runs of their own.
    let split = kw > 1 && (g.dilations[1] != 1 || groups > 1);
    // Windows of one column find their channels wherever the next pixel is.
    let columns = g.side_by_side() || kw == 1 && !depthwise && (pixel == 1 || g.x[1] == 1);
    let direct = columns && !(g.padded() || split && kh > 1);
    let across = if direct && !g.side_by_side() { g.x[3] } else { pixel };
    // The model has taps behind channels; windows have channels behind taps.
    let packed = Packed { weights: channels_last(&packed.weights, g), ..packed };
    let panel = panel(g, split, tile_limit(want));
    let window = Window {
        runs: if split { kh * kw } else { kh },
        run: if split { part } else { kw * part },
        run_pitch: match (direct, split) {
            (true, true) => g.dilations[1] * across,
            (true, false) => g.dilations[0] * g.x[2],
            (false, _) => panel.pitch,
        },
        outputs: if depthwise { pixel } else { g.cout },
        pitch: g.strides[1] * across,
        step: g.y[3],
        depthwise: depthwise.then_some(Alone { stride: g.strides[1], channels: pixel }),
    };
    let pixels = if direct { g.output[1] } else { panel.tile[1] };
    let row = match weights {
        Weights::All => e.row(&window, &packed, groups, pixels, want)?,
        Weights::Sparse if groups == 1 && !depthwise => e.row_of_steps(&window, &packed, pixels, want)?,
        Weights::Sparse => None,
    };
    let Some(row) = row else { return Ok(None) };

    let mut k = KernelBuilder::new(if depthwise { "depthwise_s8_blocks" } else { "conv_s8_blocks" });
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let way = row.way;
    let layer = Layer::declare(&mut k, y, &row, groups, packed.one.is_some());
    let mut args = vec![Bind::Operand(0), Bind::Result(0)];
    args.extend(Layer::roles(&row, &packed));
    if direct {
        panel::direct(&mut k, g, &mut |k, x0, y0| layer.call(k, &row, &window, (x, x0, part), y0));
        let call = Call { kernel: k.finish()?, args };
        return Ok(Some(Candidate { way, call, workspace: 0 }));
    }
    let len = panel.len();
    let room = k.buffer("rows", DType::I8, len, Access::ReadWrite);
    let zx = k.scalar("zx", -128, 127);
    args.extend([Bind::Workspace(0), Bind::Scalar(packed.x_zp)]);
    let copier = Copier { g, x, room, len, lines: len / panel.pitch, zx, library: want.library };
    panel.each(&mut k, &copier, &mut |k, tile| {
        layer.call(k, &row, &window, (room, &0.into(), part), &tile.y);
    })?;
    Ok(Some(Candidate { way, call: Call { kernel: k.finish()?, args }, workspace: len }))
}

/// Bytes of inputs that a tile may have. Whole rows come first, as seams cost more here than where
/// inputs are widened; a schedule that is short of memory asks again with less.
fn tile_limit(want: &Want<'_>) -> usize {
    match want.rows_limit {
        ROWS_LIMIT.. => 4 * want.rows_limit,
        n if n >= ROWS_LIMIT / 2 => 2 * n,
        n => n,
    }
}

/// Blocks are neighbours along the columns: what has one column is turned to have one row.
fn across(g: &Geometry) -> Geometry {
    if [g.input[1], g.output[1], g.kernel[1]] != [1, 1, 1] || g.output[0] == 1 {
        return g.clone();
    }
    g.turned()
}

/// `[channel][ic][ky][kx]` to `[channel][ky][kx][ic]`.
pub fn channels_last(weights: &[i8], g: &Geometry) -> Vec<i8> {
    let taps = g.taps();
    weights.chunks(taps.len()).flat_map(|channel| taps.iter().map(|&tap| channel[tap])).collect()
}
