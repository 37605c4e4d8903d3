//! What weights of four bits cost the whole network: one layer's at a time, all others as they are.
//!
//! In: a float graph and its samples. Out: for each layer whose weights can take four bits the damage to the
//! outputs, beside that of zeros ([`super::survey()`]) and in the same unit. Law: convolutions and dense layers are
//! rounded as quantization would (GPTQ); recurrent ones to the nearest, which is no better.

use super::survey::{Damage, Recorded, damage};
use crate::error::{Error, Fault, Result, Site};
use crate::graph::{Graph, NodeId};
use crate::least_squares::layers;
use crate::observe::Observer;
use crate::ops::Op;
use crate::quantize;
use crate::tensor::Tensor;

/// The damage for each such node, in the order of the graph, measured on those of the samples that `probes` names.
///
/// Errors: samples on which the model computes no finite numbers; that the observer stops it.
pub fn four_bits(
    graph: &Graph,
    inputs: &[Vec<Tensor>],
    probes: &[usize],
    observer: &mut dyn Observer,
) -> Result<Vec<(NodeId, Damage)>> {
    let recorded = Recorded::new(graph, inputs, probes)?;
    let want = recorded.outputs(graph);
    let (order, all) = (graph.topological(), layers(graph));
    let mut found = Vec::new();
    for (done, &id) in order.iter().enumerate() {
        observer.progress("survey", done, order.len());
        if observer.cancelled() {
            return Err(Error::new(Fault::Cancelled, Site::Whole, "stopped on request"));
        }
        let mut mine = all.iter().filter(|l| l.node == id);
        let (true, Some(layer)) = (quantize::can_take_four_bits(graph, id), mine.next()) else { continue };
        let operands: Vec<(usize, Tensor)> = if matches!(graph[id].op, Op::Recurrent(_)) {
            let mut operands: Vec<usize> =
                std::iter::once(layer.operand).chain(mine.map(|l| l.operand)).collect();
            operands.dedup();
            let weights = |at: usize| graph[id].inputs.get(at).copied().flatten();
            let stored = |at| Some((at, quantize::as_stored(graph[weights(at)?].constant()?, true)));
            operands.into_iter().filter_map(stored).collect()
        } else {
            let Some((read, given)) = recorded.around(graph, id, layer.input)? else { continue };
            quantize::solved_in_four_bits(graph, layer, &read, &given)?.to_vec()
        };
        let have = recorded.outputs_with(graph, &order, id, &operands)?;
        found.push((id, damage(graph, &want, &have)));
    }
    Ok(found)
}
