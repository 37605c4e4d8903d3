//! What the products of a recurrent node read and give at the steps of its samples.
//!
//! In: a walk that has come to the node, and operands that take the place of others. Out: for each sample the rows of
//! a layer, one for each step of each sequence of the batch, in the order in which they run. Law: two walks over the
//! same samples give rows in the same order, so that one of them can be held against the other.

use super::layers::{Layer, Reads};
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::walk::Walk;
use crate::ops::Op;
use crate::tensor::Tensor;

/// The rows of one sample.
#[derive(Debug)]
pub(crate) struct Steps {
    /// What the layer's product reads, `[steps, inputs]`.
    pub(crate) read: Tensor,
    /// The sums that it gives, bias included, `[steps, rows]`.
    pub(crate) given: Tensor,
    /// The sums of the same gates from the inputs of the node, `[steps, rows]`.
    pub(crate) from_inputs: Tensor,
}

/// The rows of a layer for every sample; `held` replaces operands by position.
///
/// Errors: those of the node's operator.
pub(crate) fn steps(
    walk: &Walk,
    graph: &Graph,
    layer: &Layer,
    samples: usize,
    held: &[(usize, Tensor)],
) -> Result<Vec<Steps>> {
    let Op::Recurrent(op) = &graph[layer.node].op else { return Ok(Vec::new()) };
    let rows = layer.first..layer.first + layer.sizes.rows;
    walk.each(graph, layer.node, samples, held, |operands| {
        let (mut read, mut given, mut from_inputs) = (Vec::new(), Vec::new(), Vec::new());
        op.trace_steps(operands, &mut |step| {
            let (x, sums) = match layer.reads {
                Reads::Input => (step.x, step.from_inputs),
                Reads::State => (step.h, step.from_state),
                Reads::Reset => (step.reset.unwrap_or_default(), step.from_state),
            };
            read.extend_from_slice(x);
            given.extend_from_slice(sums.get(rows.clone()).unwrap_or_default());
            from_inputs.extend_from_slice(step.from_inputs.get(rows.clone()).unwrap_or_default());
        })?;
        let table =
            |values: Vec<f32>, width: usize| Tensor::f32(&[values.len() / width.max(1), width], values);
        let (inputs, rows) = (layer.sizes.inputs, layer.sizes.rows);
        Ok(Steps {
            read: table(read, inputs),
            given: table(given, rows),
            from_inputs: table(from_inputs, rows),
        })
    })
}

/// What a layer should give where another network gives `have`: the sums of the dense one, `want`. Where a gate adds
/// up what inputs and state give it, the product with the state makes up for what the inputs' lost.
pub(crate) fn aims(graph: &Graph, layer: &Layer, want: &[Steps], have: &[Steps]) -> Vec<Tensor> {
    let Op::Recurrent(op) = &graph[layer.node].op else { return Vec::new() };
    // Behind the product of a reset gate, the two sums of the last gate stay apart.
    let apart = op.cell == crate::ops::recurrent::Cell::Gru { reset_after: true };
    let joined = if apart { 2 * op.hidden } else { usize::MAX };
    let aim = |(want, have): (&Steps, &Steps)| {
        let mut sums = want.given.to_f32_vec();
        if layer.reads != Reads::Input {
            let lost = want.from_inputs.as_f32().into_iter().flatten();
            let lost = lost.zip(have.from_inputs.as_f32().into_iter().flatten()).map(|(w, h)| w - h);
            let row = |i: usize| layer.first + i % layer.sizes.rows.max(1);
            let all = sums.iter_mut().zip(lost).enumerate().filter(|(i, _)| row(*i) < joined);
            all.for_each(|(_, (sum, lost))| *sum += lost);
        }
        Tensor::f32(want.given.shape(), sums)
    };
    want.iter().zip(have).map(aim).collect()
}
