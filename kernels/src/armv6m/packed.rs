//! Products of the core by how their weights are kept: all of them, or those that are not zero.
//!
//! In: a product and the pixels of a tile. Out: sizes and a stream. Law: a way that leaves zeros out
//! takes no more flash than one that keeps them, unless flash is to be spent.

use crate::armv6m::engine::Made;
use crate::armv6m::gemm::{Gemm, tile};
use crate::armv6m::gemm_sparse::{PIXELS, Sizes, Sparse};
use crate::armv6m::round::{Constants, Form, rounding};
use crate::asm::armv6m::wide;
use crate::call::Bind;
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::offer::{Want, Weights};
use crate::product::Product;
use crate::tensor::Data;
use secateur_targets::Cost;
use std::sync::Arc;

/// The variant that leaves out single weights that are zero.
pub const SPARSE: &str = "blocks1x1";
/// The same on tiles of planes.
pub const SPARSE_PLANES: &str = "blocks1x1-planes";

/// The variant's name.
pub fn way(weights: Weights) -> &'static str {
    match weights {
        Weights::All => "gemm",
        Weights::Sparse => SPARSE,
    }
}

/// A product whose weights are packed.
#[derive(Debug, Clone, Copy)]
pub enum Packed {
    All(Gemm),
    Sparse(Sparse),
}

impl Packed {
    /// Pixels of a call, and words of a tap.
    pub fn pixels(&self) -> usize {
        match self {
            Packed::All(gemm) => gemm.pixels,
            Packed::Sparse(sparse) => sparse.pixels,
        }
    }
    pub fn columns(&self) -> usize {
        self.pixels().div_ceil(2)
    }
    pub fn acts_len(&self) -> usize {
        match self {
            Packed::All(gemm) => gemm.acts_len(),
            Packed::Sparse(sparse) => sparse.acts,
        }
    }
    pub fn stream_len(&self) -> usize {
        match self {
            Packed::All(gemm) => gemm.stream_len(),
            Packed::Sparse(sparse) => sparse.len,
        }
    }
    pub fn kernel(&self, (library, core): Made<'_>) -> Result<Arc<Kernel>> {
        match self {
            Packed::All(gemm) => library.once(gemm, || gemm.kernel(core)),
            Packed::Sparse(sparse) => library.once(sparse, || sparse.kernel(core)),
        }
    }
}

/// Weights, biases that have the input's zero point in them, and how sums are requantized.
pub struct Folded {
    pub w: Vec<i32>,
    pub b: Vec<i32>,
    pub form: Form,
    pub constants: Vec<Constants>,
}

impl Folded {
    /// `None` for floats, and where no constants requantize the sums exactly.
    ///
    /// Errors: sums that leave 32 bits.
    pub fn of(product: &Product, core: &Cost) -> Result<Option<Folded>> {
        let reach = product.reach()?;
        let folded = product.clone().folded();
        let (Data::I32(w), Data::I32(b), Finish::Int(r)) = (folded.weights, folded.bias, &folded.finish)
        else {
            return Ok(None);
        };
        let found = rounding(r, &reach, wide(core));
        Ok(found.map(|(form, constants)| Folded { w, b, form, constants }))
    }
}

/// Sizes and packed weights of a product of `pixels` columns; `taps` as in [`Gemm::pack`].
/// `None` if its sums or weights do not fit. The input's zero point is folded into the bias.
pub fn packed(
    product: &Product,
    (pixels, step): (usize, usize),
    taps: &[usize],
    (want, core): (&Want<'_>, &Cost),
    weights: Weights,
) -> Result<Option<(Packed, Bind)>> {
    if weights == Weights::Sparse {
        let pixels = pixels.min(PIXELS);
        let columns = pixels.div_ceil(2);
        let places: Vec<(usize, usize)> = taps.iter().enumerate().map(|(j, &t)| (j * columns, t)).collect();
        return sparse(product, (taps.len() * columns, pixels, [2 * step, step]), &places, (want, core));
    }
    let Some(Folded { w, b, form, constants }) = Folded::of(product, core)? else { return Ok(None) };
    let (wide, outputs) = (wide(core), b.len());
    let gemm = Gemm { taps: taps.len(), outputs, pixels: pixels.min(tile(wide, outputs)), step, form, wide };
    let stream = gemm.pack(&w, &b, &constants, taps);
    Ok(stream.map(|s| (Packed::All(gemm), Bind::aligned("weights", Data::I32(s), 4))))
}

/// The same of weights that are not zero; `places` as in [`Sparse::pack`]. At `speed` alone they may take
/// more bytes than all.
pub fn sparse(
    product: &Product,
    (acts, pixels, steps): (usize, usize, [usize; 2]),
    places: &[(usize, usize)],
    (want, core): (&Want<'_>, &Cost),
) -> Result<Option<(Packed, Bind)>> {
    let Some(Folded { w, b, form, constants }) = Folded::of(product, core)? else { return Ok(None) };
    let all = Gemm { taps: places.len(), outputs: b.len(), pixels, step: 0, form, wide: wide(core) };
    let room = if want.policy.spends_flash() { usize::MAX } else { all.stream_len() };
    let found = Sparse::pack(&Sizes { acts, pixels, steps, form }, &w, &b, &constants, places);
    let found = found.filter(|(sparse, _)| sparse.len <= room);
    Ok(found.map(|(sparse, s)| (Packed::Sparse(sparse), Bind::aligned("weights", Data::I32(s), 4))))
}
