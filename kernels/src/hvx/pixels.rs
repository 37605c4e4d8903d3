//! A row of pixels through [`crate::hvx::gemm`]: a chunk of them at a time, whose results
//! are staged in the workspace where they do not fill whole vectors.
//!
//! Passes over up to 128 channels write one after the other. What the pass over the last channels
//! writes behind them comes first and is written over by the others.

use crate::call::Bind;
use crate::epilogue::Ending;
use crate::error::Result;
use crate::hvx::engine::{ALIGN, Bufs};
use crate::hvx::gemm::{Gemm, LANES};
use crate::hvx::gemm_sparse::Sparse;
use crate::hvx::line::Line;
use crate::kernel::{Buf, CallArg, Expr, Kernel, KernelBuilder, int};
use crate::offer::{Want, Weights};
use crate::product::Product;
use crate::tensor::Data;
use crate::vector::Run;
use std::sync::Arc;

/// Coefficients of all passes.
pub struct Packed {
    pub passes: usize,
    pub weights: Bind,
    /// Bytes of weights, and words of a pass that end its sums.
    pub lens: [usize; 2],
    pub tail: Bind,
    /// Places of inputs, and the product that they are for, where zeros are left out.
    pub kept: Option<(Bind, Sparse)>,
}

/// Packs a product: `taps[i]` says which of a row's weights input `i` of the window meets.
pub fn packed(sizes: &Gemm, product: &Product, taps: &[Option<usize>], kept: Weights) -> Option<Packed> {
    let folded = product.clone().folded();
    let ending = Ending::of(&folded.finish)?;
    let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return None };
    let (outputs, width) = (b.len(), sizes.width());
    let row = w.len() / outputs;
    if kept == Weights::Sparse {
        let weight = |o: usize, i: usize| taps[i].map_or(0, |tap| w[o * row + tap]);
        let words = |o: usize| [b[o]].into_iter().chain(ending.words(o)).collect();
        let (sparse, (weights, tail, places)) = Sparse::pack(*sizes, outputs, &weight, &words)?;
        return Some(Packed {
            passes: sparse.passes,
            weights: Bind::aligned("weights", Data::U8(weights), ALIGN),
            lens: [sparse.weights_len(), sparse.tail_len()],
            tail: Bind::aligned("tail", Data::I32(tail), ALIGN),
            kept: Some((Bind::data("places", Data::I32(places)), sparse)),
        });
    }
    let passes = outputs.div_ceil(width);
    let mut weights = vec![128u8; passes * sizes.weights_len()];
    let mut tail = vec![0i32; passes * sizes.tail_len()];
    for o in 0..outputs {
        let (pass, channel) = (o / width, o % width);
        for (i, tap) in taps.iter().enumerate() {
            let Some(tap) = tap else { continue };
            let stored = u8::try_from(w[o * row + tap].checked_add(128)?).ok()?;
            weights[pass * sizes.weights_len() + sizes.place(channel, i)] = stored;
        }
        let at = pass * sizes.tail_len() + sizes.tail_place(channel);
        for (i, v) in [b[o]].into_iter().chain(ending.words(o)).enumerate() {
            tail[at + i * LANES] = v;
        }
    }
    if sizes.spare {
        for pass in tail.chunks_exact_mut(sizes.tail_len()) {
            pass[4 * sizes.width()..].copy_from_slice(&Gemm::to_all());
        }
    }
    Some(Packed {
        passes,
        weights: Bind::aligned("weights", Data::U8(weights), ALIGN),
        lens: [passes * sizes.weights_len(), sizes.tail_len()],
        tail: Bind::aligned("tail", Data::I32(tail), ALIGN),
        kept: None,
    })
}

/// Groups of channels taken at once.
pub fn groups(outputs: usize) -> usize {
    outputs.div_ceil(LANES).next_power_of_two().min(4)
}

/// Whether every pass has a lane without a channel.
pub fn spare(outputs: usize) -> bool {
    let width = LANES * groups(outputs);
    outputs < width
}

/// Pixels that are taken together.
struct Chunk {
    pixels: usize,
    /// Blocks of several pixels, then single ones.
    parts: Vec<(Gemm, Arc<Kernel>)>,
    /// Brings the pixels to words.
    spread: Option<Arc<Kernel>>,
    /// Takes results from the stage: all pixels, or one, where they lie apart.
    copy: Option<(usize, Arc<Kernel>)>,
}

/// A row of pixels.
pub struct Pixels {
    outputs: usize,
    /// Elements from one pixel's channels to the next pixel's.
    y_pitch: usize,
    /// How many equal chunks there are, and the rest of the row.
    chunks: Vec<(usize, Chunk)>,
    /// Bytes of a spread pixel.
    pitch: usize,
    kept: Option<Sparse>,
}

impl Pixels {
    /// `n` pixels with so many outputs, so far apart; `spread`: inputs of a pixel and their step in
    /// memory, where words cannot be read.
    pub fn new(
        base: Gemm,
        packed: &Packed,
        (n, outputs, y_pitch): (usize, usize, usize),
        spread: Option<(usize, usize)>,
        want: &Want<'_>,
    ) -> Result<Option<Pixels>> {
        let kept = packed.kept.as_ref().map(|(_, sparse)| *sparse);
        let many = Gemm { pixels: 8 / base.groups, ..base };
        let pixels = if many.fits() { many.pixels } else { 1 };
        // Whole vectors of results may be stored where they belong.
        let direct =
            outputs.is_multiple_of(128) || pixels > 1 && outputs == base.width() && y_pitch == outputs;
        let bytes = if direct { 0 } else { outputs } + if spread.is_some() { base.pitch } else { 0 };
        let fitting = want.rows_limit.checked_div(bytes).unwrap_or(n).clamp(1, n);
        let most = if fitting > pixels { fitting - fitting % pixels } else { fitting };
        // As even as they can be.
        let even = n.div_ceil(n.div_ceil(most)).next_multiple_of(pixels).min(most);
        let each = if direct { most } else { even };
        let chunk = |n: usize| -> Result<Option<Chunk>> {
            // A rest that fills no vectors is staged.
            let direct = direct && (outputs.is_multiple_of(128) || n.is_multiple_of(pixels));
            let step = match direct {
                true if outputs.is_multiple_of(128) => Some(y_pitch),
                true => None,
                false => Some(outputs),
            };
            let mut parts = Vec::new();
            for (pixels, blocks) in [(pixels, n / pixels), (1, n % pixels)] {
                let sizes = Gemm { pixels, blocks, step, ..base };
                if blocks > 0 && !sizes.fits() {
                    return Ok(None);
                }
                if blocks > 0 {
                    let kernel = match kept {
                        None => want.library.once(&sizes, || sizes.kernel())?,
                        Some(kept) => {
                            let sparse = Sparse { of: sizes, ..kept };
                            want.library.once(&sparse, || sparse.kernel())?
                        }
                    };
                    parts.push((sizes, kernel));
                }
            }
            let spread = match spread {
                None => None,
                Some((channels, from)) => {
                    let to = base.pitch;
                    let line = Line { left: 0, pixels: n, channels, from, to, total: n * to };
                    if !line.fits() {
                        return Ok(None);
                    }
                    Some(want.library.once(&line, || line.kernel())?)
                }
            };
            let (times, run) = if y_pitch == outputs { (1, n * outputs) } else { (n, outputs) };
            let copy = match direct {
                true => None,
                false => match (Run::Copy { n: run }).kernel(want.library)? {
                    Some(kernel) => Some((times, kernel)),
                    None => return Ok(None),
                },
            };
            Ok(Some(Chunk { pixels: n, parts, spread, copy }))
        };
        let mut chunks = Vec::new();
        for (times, pixels) in [(n / each, each), (1, n % each)] {
            if pixels > 0 && times > 0 {
                let Some(chunk) = chunk(pixels)? else { return Ok(None) };
                chunks.push((times, chunk));
            }
        }
        Ok(Some(Pixels { outputs, y_pitch, chunks, pitch: base.pitch, kept }))
    }
    /// Bytes that results are staged in.
    pub fn stage(&self) -> usize {
        let of = |c: &Chunk| {
            let ends = c.parts.iter().scan(0, |first, (g, _)| {
                let at = *first * self.outputs;
                *first += g.pixels * g.blocks;
                // The last pass begins before the last channels.
                Some(at + self.outputs / g.width() * g.width() + g.y_len())
            });
            if c.copy.is_some() { ends.max().unwrap_or(0) } else { 0 }
        };
        self.chunks.iter().map(|(_, c)| of(c)).max().unwrap_or(0)
    }
    /// Bytes of spread pixels.
    pub fn spread(&self) -> usize {
        let of = |c: &Chunk| if c.spread.is_some() { c.pixels * self.pitch + LANES * 4 } else { 0 };
        self.chunks.iter().map(|(_, c)| of(c)).max().unwrap_or(0)
    }
    /// The whole row, with windows from `x[from]` on, `step` apart, and results from `y[to]` on.
    pub fn spell(&self, k: &mut KernelBuilder, (x, step): (Buf, usize), from: &Expr, bufs: Bufs, to: &Expr) {
        let mut first = 0;
        for (times, chunk) in &self.chunks {
            k.for_("chunk", 0, *times, |k, i| {
                let at = k.let_("at", i * chunk.pixels + first);
                self.chunk(k, chunk, (x, from + at * step), bufs, to + at * self.y_pitch);
            });
            first += times * chunk.pixels;
        }
    }
    fn chunk(&self, k: &mut KernelBuilder, chunk: &Chunk, (x, from): (Buf, Expr), bufs: Bufs, to: Expr) {
        let (acts, from) = match (&chunk.spread, bufs.spread) {
            (Some(kernel), Some(room)) => {
                // What fills the words meets no weight.
                k.call(kernel, vec![x.from(from), room.from(0), CallArg::Scalar(int(0))]);
                (room, 0.into())
            }
            _ => (x, from),
        };
        let stage = bufs.stage.filter(|_| chunk.copy.is_some());
        let mut first = 0;
        for (g, kernel) in &chunk.parts {
            let (whole, last) = (self.outputs / g.width(), self.outputs % g.width());
            let pass = |k: &mut KernelBuilder, pass: Expr| {
                let (weights, tail) = match &self.kept {
                    None => (g.weights_len(), g.tail_len()),
                    // A pass finds its weights itself.
                    Some(kept) => (0, kept.tail_len()),
                };
                let w = bufs.w.from(&pass * weights);
                let tail = bufs.tail.from(&pass * tail);
                let y = match stage {
                    Some(stage) => stage.from(pass * g.width() + first * self.outputs),
                    None => bufs.y.from(&to + first * self.y_pitch + pass * g.width()),
                };
                let mut args = vec![acts.from(&from + first * g.pitch), w, tail, y];
                args.extend(bufs.places.map(|places| places.from(0)));
                k.call(kernel, args);
            };
            if last > 0 {
                pass(k, whole.into());
            }
            k.for_("pass", 0, whole, |k, p| pass(k, p.into()));
            first += g.pixels * g.blocks;
        }
        if let (Some(stage), Some((times, copy))) = (stage, &chunk.copy) {
            k.for_("pixel", 0, *times, |k, p| {
                k.call(copy, vec![stage.from(p * self.outputs), bufs.y.from(&to + p * self.y_pitch)]);
            });
        }
    }
}
