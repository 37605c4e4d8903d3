//! A walk over the nodes of a graph with all samples at each, in float.
//!
//! In: a graph and its inputs by sample, with the states behind them where it has some
//! ([`carried`](super::carried)). Out: the results of one node after the other. Law: only values
//! that some node still reads are kept, and a sample's results depend on that sample alone.

use super::{Graph, NodeId};
use crate::error::Result;
use crate::parallel;
use crate::tensor::Tensor;

/// The tensors of all samples for every value that is still needed.
pub(crate) struct Walk {
    pub(crate) live: Vec<Option<Vec<Tensor>>>,
    readers: Vec<usize>,
}

impl Walk {
    pub(crate) fn new(graph: &Graph, inputs: &[Vec<Tensor>]) -> Walk {
        let count = graph.values().count();
        let mut walk = Walk { live: vec![None; count], readers: vec![0; count] };
        for (_, node) in graph.nodes() {
            node.inputs.iter().flatten().for_each(|v| walk.readers[v.index()] += 1);
        }
        for (i, &v) in graph.inputs().iter().chain(graph.states()).enumerate() {
            walk.live[v.index()] = Some(inputs.iter().filter_map(|sample| sample.get(i).cloned()).collect());
        }
        walk
    }

    /// The results of a node for every sample, before its clamp; by output, then sample.
    /// `constants` replaces operands by position.
    pub(crate) fn eval(
        &self,
        graph: &Graph,
        id: NodeId,
        samples: usize,
        constants: &[(usize, Tensor)],
    ) -> Result<Vec<Vec<Tensor>>> {
        let node = &graph[id];
        let computed = self.each(graph, id, samples, constants, |operands| node.op.eval(operands))?;
        let mut results: Vec<Vec<Tensor>> = vec![Vec::with_capacity(samples); node.outputs.len()];
        for computed in computed {
            for (all, tensor) in results.iter_mut().zip(computed) {
                all.push(tensor);
            }
        }
        Ok(results)
    }

    /// What a function gives for the operands of a node, for every sample.
    pub(crate) fn each<T: Send>(
        &self,
        graph: &Graph,
        id: NodeId,
        samples: usize,
        constants: &[(usize, Tensor)],
        function: impl Fn(&[Option<&Tensor>]) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let node = &graph[id];
        let fixed: Vec<Option<std::borrow::Cow<'_, Tensor>>> =
            node.inputs.iter().map(|v| v.and_then(|v| graph[v].real_constant())).collect();
        let one = |sample: usize| {
            let mut operands: Vec<Option<&Tensor>> = Vec::with_capacity(node.inputs.len());
            for (v, constant) in node.inputs.iter().zip(&fixed) {
                operands.push(match v {
                    None => None,
                    Some(v) => constant
                        .as_deref()
                        .or_else(|| self.live[v.index()].as_ref().and_then(|all| all.get(sample))),
                });
            }
            for (position, tensor) in constants {
                operands.resize(operands.len().max(position + 1), None);
                operands[*position] = Some(tensor);
            }
            function(&operands).map_err(|e| e.at(node.site()))
        };
        parallel::map(samples, one).into_iter().collect()
    }

    /// Stores a node's results and drops operands that nothing reads any more.
    pub(crate) fn advance(&mut self, graph: &Graph, id: NodeId, results: Vec<Vec<Tensor>>) {
        for (v, tensors) in graph[id].outputs.iter().zip(results) {
            if self.readers[v.index()] > 0 {
                self.live[v.index()] = Some(tensors);
            }
        }
        for v in graph[id].inputs.iter().flatten() {
            // Constants that the walk itself made have no place here.
            let Some(left) = self.readers.get_mut(v.index()) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.live[v.index()] = None;
            }
        }
    }
}
