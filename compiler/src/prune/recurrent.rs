//! Prunes the products of a recurrent node: with its inputs, then with its state.
//!
//! In: a pair of walks that have come to the node, and how many weights go of which product. Out: the node's new
//! weights, and its results with them. A product is a layer like others whose rows are the steps of the samples. What
//! the product with the state reads is the state that the node comes to with the weights it has by then, so that it
//! makes up for what the product with inputs lost, and, once it has its own zeros, for what these do to the state.
//! Law: targets are the sums of the dense network at the same steps.

use super::compress::{Pair, Pruned, error};
use super::survey::{Prepared, Task};
use crate::error::Result;
use crate::graph::NodeId;
use crate::least_squares::steps::{aims, steps};
use crate::least_squares::{Layer, Reads};
use crate::ops::Op;
use crate::quantize;
use crate::tensor::Tensor;

/// What a layer reads, and what it should give, by sample.
type Rows = (Vec<Tensor>, Vec<Tensor>);

impl Pair<'_> {
    /// Prunes the products of a node that `goals` name, solves the others anew where something before them has
    /// changed, and gives the results; `want` is what the first of them should be.
    pub(super) fn recurrent(
        &mut self,
        id: NodeId,
        layers: &[&Layer],
        goals: &[(Task, f64)],
        want: &[Tensor],
    ) -> Result<(Option<Pruned>, Vec<Vec<Tensor>>)> {
        let samples = want.len();
        let mut touched = self.float[id].inputs.iter().flatten().any(|v| self.changed.contains(v));
        let mut pruned: Option<Pruned> = None;
        for layer in layers {
            let goal = goals.iter().find(|(task, _)| task.layer.key() == layer.key());
            let Some((task, share)) = goal else {
                if touched {
                    let (read, aim) = self.rows(layer, layers, samples)?;
                    let tensors = self.solved(layer, &read, &aim)?;
                    self.replace(layer, tensors);
                }
                continue;
            };
            touched = true;
            let (read, aim) = self.rows(layer, layers, samples)?;
            let found = Prepared::new(&self.float, task, &read, &aim)?;
            let removed = self.take(task, *share, &found);
            let all = pruned.get_or_insert_with(|| Pruned {
                layer: layer.node_name.clone(),
                pattern: task.pattern,
                removed: 0,
                weights: layers.iter().map(|l| l.weights()).sum(),
                error: 0.0,
            });
            all.removed += removed;
        }
        let have = self.walk.eval(self.graph, id, samples, &self.held(layers))?;
        if let Some(pruned) = &mut pruned {
            pruned.error = error(want, &have[0]);
        }
        Ok((pruned, have))
    }

    /// The rows of a layer with the weights that its node has by now.
    fn rows(&self, layer: &Layer, layers: &[&Layer], samples: usize) -> Result<Rows> {
        let want = steps(&self.exact, &self.dense, layer, samples, &[])?;
        let have = steps(&self.walk, self.graph, layer, samples, &self.held(layers))?;
        let aims = aims(self.graph, layer, &want, &have);
        Ok((have.into_iter().map(|s| s.read).collect(), aims))
    }

    /// The node's weights as an integer network stores them, where it does.
    fn held(&self, layers: &[&Layer]) -> Vec<(usize, Tensor)> {
        let stored = |layer: &&&Layer| {
            let integers = self.storage.ranges.contains_key(&layer.input);
            integers && matches!(&self.float[layer.node].op, Op::Recurrent(op) if op.bounded())
        };
        // Rows of one operand count once.
        let whole = layers.iter().filter(stored).filter(|l| l.reads != Reads::Reset);
        let held = whole.filter_map(|layer| {
            let weights = self.graph[layer.node].inputs.get(layer.operand).copied().flatten()?;
            let four_bits = self.storage.four_bits.contains(&layer.node);
            Some((layer.operand, quantize::as_stored(self.graph[weights].constant()?, four_bits)))
        });
        held.collect()
    }
}

#[cfg(test)]
mod tests;
