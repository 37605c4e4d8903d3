//! Graph passes: an ordered, named list. One pass, one file, one line in [`PASSES`].
//!
//! A model that brought its own quantization has been absorbed before (`quantize::absorb`), so
//! values may carry a `quant`. Law: a pass that puts a value in another's place hands its
//! `quant` on; a constant with a `quant` holds integers, so no pass computes with its elements
//! (moving them is fine: a transposed weight moves `quant.axis` along).

mod affine;
mod canonicalize;
mod dead_channels;
mod drop_dead;
mod edit;
mod fold_affine;
mod fold_constants;
mod fold_pad;
mod fuse_activation;
mod merge_common;
mod order_flatten;
mod sink_transpose;
#[cfg(test)]
mod testing;

use crate::error::Result;
use crate::graph::{Graph, Patch};

/// A pass: rewrites the graph through the patch and says how many places it changed.
pub type Pass = fn(&mut Patch<'_>) -> Result<usize>;

/// Passes over the float (or just imported QDQ) graph, in the order in which they run; the list
/// reads aloud.
pub const PASSES: &[(&str, Pass)] = &[
    ("absorb-qdq", absorb_qdq),
    ("fold-constants", fold_constants::fold_constants),
    ("canonicalize", canonicalize::canonicalize),
    ("merge-common", merge_common::merge_common),
    ("sink-transpose", sink_transpose::sink_transpose),
    ("fold-affine", fold_affine::fold_affine),
    ("fuse-activation", fuse_activation::fuse_activation),
    ("fold-pad", fold_pad::fold_pad),
    ("order-flatten", order_flatten::order_flatten),
    ("drop-dead", drop_dead::drop_dead),
];

/// Passes over the graph once its values are quantized (or stay float).
pub const QUANTIZED_PASSES: &[(&str, Pass)] =
    &[("settle-quantization", settle_quantization), ("dead-channels", dead_channels::dead_channels)];

fn absorb_qdq(patch: &mut Patch<'_>) -> Result<usize> {
    crate::quantize::absorb(patch.graph_mut()).map(usize::from)
}

fn settle_quantization(patch: &mut Patch<'_>) -> Result<usize> {
    crate::quantize::settle(patch.graph_mut()).map(|()| 0)
}

/// Runs [`PASSES`], verifying the graph after each; `after(name, graph)` sees each result.
pub fn run(graph: &mut Graph, after: &mut dyn FnMut(&str, &Graph)) -> Result<()> {
    run_list(PASSES, graph, after)
}

/// Runs [`QUANTIZED_PASSES`] likewise.
pub fn run_quantized(graph: &mut Graph, after: &mut dyn FnMut(&str, &Graph)) -> Result<()> {
    run_list(QUANTIZED_PASSES, graph, after)
}

/// Names of all passes, for `--dump-after`.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    PASSES.iter().chain(QUANTIZED_PASSES).map(|(name, _)| *name)
}

fn run_list(list: &[(&str, Pass)], graph: &mut Graph, after: &mut dyn FnMut(&str, &Graph)) -> Result<()> {
    for (name, pass) in list {
        pass(&mut Patch::new(graph))?;
        crate::graph::verify(graph)?;
        after(name, graph);
    }
    Ok(())
}
