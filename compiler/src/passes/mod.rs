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
mod fuse_attention;
mod fuse_chain;
mod fuse_normalization;
mod fuse_softmax;
mod merge_common;
mod order_flatten;
mod sink_transpose;
#[cfg(test)]
pub(crate) mod testing;

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
    ("fuse-softmax", fuse_softmax::fuse_softmax),
    ("fuse-attention", fuse_attention::fuse_attention),
    ("fuse-normalization", fuse_normalization::fuse_normalization),
    ("sink-transpose", sink_transpose::sink_transpose),
    ("fold-affine", fold_affine::fold_affine),
    ("fuse-activation", fuse_activation::fuse_activation),
    ("fold-pad", fold_pad::fold_pad),
    ("fuse-chain", fuse_chain::fuse_chain),
    ("order-flatten", order_flatten::order_flatten),
    ("drop-dead", drop_dead::drop_dead),
];

/// Passes over the graph once its values are quantized (or stay float). [`DEAD_CHANNELS`] follows.
pub const QUANTIZED_PASSES: &[(&str, Pass)] = &[("settle-quantization", settle_quantization)];

/// The pass that does not change the graph but offers forms of it, whose costs only a target knows.
pub const DEAD_CHANNELS: &str = "dead-channels";

/// Says which of some forms of one graph to go on with; the first is the graph as it stands, the
/// second has no dead channel left.
pub type Weigh<'a> = dyn FnMut(&[Graph]) -> Result<usize> + 'a;

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

/// Runs [`QUANTIZED_PASSES`] likewise, and removes every dead channel.
pub fn run_quantized(graph: &mut Graph, after: &mut dyn FnMut(&str, &Graph)) -> Result<()> {
    run_quantized_by(graph, &mut |_| Ok(1), after)
}

/// Runs [`QUANTIZED_PASSES`] likewise, and goes on with the form that `weigh` names where there
/// are dead channels; it is not asked where there are none.
pub fn run_quantized_by(
    graph: &mut Graph,
    weigh: &mut Weigh<'_>,
    after: &mut dyn FnMut(&str, &Graph),
) -> Result<()> {
    run_list(QUANTIZED_PASSES, graph, after)?;
    let mut forms = dead_channels::forms(graph)?;
    if !forms.is_empty() {
        forms.iter().try_for_each(crate::graph::verify)?;
        let which = weigh(&forms)?;
        if which < forms.len() {
            *graph = forms.swap_remove(which);
        }
    }
    after(DEAD_CHANNELS, graph);
    Ok(())
}

/// Names of all passes, for `--dump-after`.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    PASSES.iter().chain(QUANTIZED_PASSES).map(|(name, _)| *name).chain([DEAD_CHANNELS])
}

fn run_list(list: &[(&str, Pass)], graph: &mut Graph, after: &mut dyn FnMut(&str, &Graph)) -> Result<()> {
    for (name, pass) in list {
        pass(&mut Patch::new(graph))?;
        crate::graph::verify(graph)?;
        after(name, graph);
    }
    Ok(())
}
