//! Prunes layer after layer: each sees what the pruned layers before it give.
//!
//! In: a float graph, how many weights go of which layer, and samples. Out: the graph with zeros, and what
//! became of each layer. Law: a layer's target is what the dense network computes, so that errors of the
//! layers before are made up for where they can be; layers without zeros behind pruned ones are solved anew
//! too.

use super::channels::Lost;
use super::survey::{Prepared, Task, best, clamp};
use crate::error::{Error, Fault, Result, Site};
use crate::graph::walk::Walk;
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId};
use crate::least_squares::{Layer, layers, problem};
use crate::observe::Observer;
use crate::ops::Op;
use crate::options::Pattern;
use crate::parallel;
use crate::quantize;
use crate::tensor::Tensor;
use crate::warning::Warning;
use std::collections::{BTreeMap, BTreeSet};

/// What became of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// Node name.
    pub layer: String,
    pub pattern: Pattern,
    /// Weights that are zero, and all of the layer.
    pub removed: usize,
    pub weights: usize,
    /// Root of the mean square error of the layer's output against its variance, all before it pruned too.
    pub error: f64,
}

/// How an integer network will store what it holds; nothing where all stays floats.
pub(super) struct Storage {
    pub(super) ranges: BTreeMap<ValueId, Quant>,
    /// Nodes whose weights take four bits.
    pub(super) four_bits: BTreeSet<NodeId>,
    /// Whether weights that are zero stay so.
    pub(super) keep_zeros: bool,
}

/// The graph that is pruned, beside the one whose outputs it should give.
pub(super) struct Pair<'a> {
    pub(super) dense: Graph,
    /// The graph that is pruned as it came.
    pub(super) float: Graph,
    pub(super) graph: &'a mut Graph,
    pub(super) exact: Walk,
    pub(super) walk: Walk,
    pub(super) storage: &'a Storage,
    /// Values that pruning has changed.
    pub(super) changed: BTreeSet<ValueId>,
}

/// Prunes in place. `goals` holds for each task the share of its layer that goes; `lost` says what channels the
/// graph has lost already.
pub(super) fn compress(
    graph: &mut Graph,
    lost: Option<&Lost>,
    goals: &[(Task, f64)],
    inputs: &[Vec<Tensor>],
    storage: &Storage,
    observer: &mut dyn Observer,
) -> Result<Vec<Pruned>> {
    let float = graph.clone();
    let dense = lost.map_or_else(|| float.clone(), |lost| lost.dense.clone());
    let (exact, walk) = (Walk::new(&dense, inputs), Walk::new(&float, inputs));
    let (order, all) = (float.topological(), layers(&float));
    let changed = lost.iter().flat_map(|lost| lost.values()).collect();
    let mut pair = Pair { dense, float, graph, exact, walk, storage, changed };
    pair.store_inputs();
    let mut done = Vec::new();
    for (step, &id) in order.iter().enumerate() {
        observer.progress("prune", step, order.len());
        if observer.cancelled() {
            return Err(Error::new(Fault::Cancelled, Site::Whole, "stopped on request"));
        }
        let mut want = pair.exact.eval(&pair.dense, id, inputs.len(), &[])?;
        let narrowed = match (lost, pair.float[id].outputs.first()) {
            (Some(lost), Some(&v)) => Some(lost.narrowed(v, &want[0])?),
            _ => None,
        };
        let aim = narrowed.as_deref().unwrap_or(&want[0]);
        let mine: Vec<&Layer> = all.iter().filter(|l| l.node == id).collect();
        let recurrent = matches!(pair.float[id].op, Op::Recurrent(_));
        let layer = mine.first().copied().filter(|_| !recurrent);
        let goal = goals.iter().find(|(task, _)| task.layer.node == id);
        let mut have = match (layer, goal) {
            _ if recurrent => {
                let (pruned, have) = pair.recurrent(id, &mine, goals, &want[0])?;
                done.extend(pruned);
                have
            }
            (_, Some((task, share))) => {
                let (pruned, have) = pair.prune(task, *share, aim, inputs.len())?;
                done.push(pruned);
                have
            }
            (Some(layer), None) if pair.changed.contains(&layer.input) => {
                pair.solve_anew(layer, aim, inputs.len())?
            }
            (Some(layer), None) => pair.eval(layer, inputs.len())?,
            (None, _) => pair.walk.eval(pair.graph, id, inputs.len(), &[])?,
        };
        if let (Some(lost), Some(layer)) = (lost, layer) {
            done.extend(lost.outcome(layer, error(aim, &have[0])));
        }
        clamp(&pair.dense, id, &mut want)?;
        clamp(&pair.float, id, &mut have)?;
        pair.advance(id, want, have);
    }
    Ok(done)
}

impl Pair<'_> {
    fn store_inputs(&mut self) {
        for &v in self.float.inputs().iter().chain(self.float.states()) {
            if let (Some(quant), Some(tensors)) =
                (self.storage.ranges.get(&v), &mut self.walk.live[v.index()])
            {
                *tensors = stored(tensors, quant);
            }
        }
    }

    /// The results of a layer with its weights as they will be stored.
    fn eval(&self, layer: &Layer, samples: usize) -> Result<Vec<Vec<Tensor>>> {
        let weights = self.graph[layer.node].inputs[1].and_then(|w| self.graph[w].constant());
        match weights.filter(|_| self.storage.ranges.contains_key(&layer.input)) {
            Some(weights) => {
                let four_bits = self.storage.four_bits.contains(&layer.node);
                let held = [(1, quantize::as_stored(weights, four_bits))];
                self.walk.eval(self.graph, layer.node, samples, &held)
            }
            None => self.walk.eval(self.graph, layer.node, samples, &[]),
        }
    }

    fn read(&self, layer: &Layer) -> Result<&[Tensor]> {
        let read = self.walk.live[layer.input.index()].as_deref();
        read.ok_or_else(|| {
            Error::internal(Site::Node { name: layer.name.clone(), op: String::new() }, "reads nothing")
        })
    }

    fn prune(
        &mut self,
        task: &Task,
        share: f64,
        want: &[Tensor],
        samples: usize,
    ) -> Result<(Pruned, Vec<Vec<Tensor>>)> {
        let layer = &task.layer;
        let found = Prepared::new(&self.float, task, self.read(layer)?, want)?;
        let removed = self.take(task, share, &found);
        let have = self.eval(layer, samples)?;
        let pruned = Pruned {
            layer: layer.name.clone(),
            pattern: task.pattern,
            removed,
            weights: layer.weights(),
            error: error(want, &have[0]),
        };
        Ok((pruned, have))
    }

    /// Gives a layer its weights with a share of zeros; how many those are.
    pub(super) fn take(&mut self, task: &Task, share: f64, found: &Prepared) -> usize {
        let layer = &task.layer;
        let (weights, removed) = found.pruned(share);
        let site = self.float[layer.node].site();
        let columns = layer.sizes.columns();
        if found.moments.count < columns {
            let text = format!(
                "the calibration samples give {} rows for {columns} weights a row, so damping decides much of them",
                found.moments.count
            );
            self.graph.warn(Warning::new(site.clone(), text).help("give more samples"));
        }
        if found.solver.raised {
            let text = "its inputs hang together so closely that the damping of its weights was raised";
            self.graph.warn(Warning::new(site, text));
        }
        let tensors = found.tensors(self.graph, layer, &weights);
        self.replace(layer, tensors);
        removed
    }

    /// New weights without zeros, for a layer that reads what pruning has changed.
    fn solve_anew(&mut self, layer: &Layer, want: &[Tensor], samples: usize) -> Result<Vec<Vec<Tensor>>> {
        let tensors = self.solved(layer, self.read(layer)?, want)?;
        self.replace(layer, tensors);
        self.eval(layer, samples)
    }

    /// Weights and bias of a layer that fit what it reads and should give, zeros only where they have to stay.
    pub(super) fn solved(
        &self,
        layer: &Layer,
        read: &[Tensor],
        want: &[Tensor],
    ) -> Result<[(usize, Tensor); 2]> {
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for group in 0..layer.groups {
            let (moments, trained, solver) = problem(&self.float, layer, group, read, want)?;
            let solved = best(&solver, &trained, self.storage.keep_zeros);
            bias.extend((0..layer.sizes.rows).map(|row| moments.bias(row, solved.row(row)) as f32));
            weights.extend(solved.to_onnx());
        }
        Ok(layer.operands(self.graph, &weights, &bias))
    }

    /// Gives a layer's node other operands.
    pub(super) fn replace(&mut self, layer: &Layer, tensors: [(usize, Tensor); 2]) {
        let node = &self.float[layer.node];
        let name = |at: usize| {
            let named = node.inputs.get(at).copied().flatten().map(|v| self.float[v].name.clone());
            named.unwrap_or_else(|| format!("{}.bias", node.name))
        };
        let tensors = tensors.map(|(at, tensor)| (at, name(at), tensor));
        let outputs = node.outputs.clone();
        let mut patch = Patch::new(self.graph);
        for (at, name, tensor) in tensors {
            let constant = patch.add_constant(&name, tensor);
            let node = patch.node_mut(layer.node);
            node.inputs.resize(node.inputs.len().max(at + 1), None);
            node.inputs[at] = Some(constant);
        }
        self.changed.extend(outputs);
    }

    /// Both walks go on; what an integer network would store is stored so.
    fn advance(&mut self, id: NodeId, want: Vec<Vec<Tensor>>, mut have: Vec<Vec<Tensor>>) {
        let node = &self.float[id];
        if node.inputs.iter().flatten().any(|v| self.changed.contains(v)) {
            self.changed.extend(node.outputs.iter().copied());
        }
        for (v, tensors) in node.outputs.iter().zip(&mut have) {
            if let Some(quant) = self.storage.ranges.get(v) {
                *tensors = stored(tensors, quant);
            }
        }
        self.exact.advance(&self.dense, id, want);
        self.walk.advance(&self.float, id, have);
    }
}

fn stored(tensors: &[Tensor], quant: &Quant) -> Vec<Tensor> {
    parallel::map(tensors.len(), |i| quantize::rounded(tensors[i].clone(), quant))
}

/// Root of the square error against the variance of what is wanted, by place in the tensor's channels alike.
pub(super) fn error(want: &[Tensor], have: &[Tensor]) -> f64 {
    let (mut sum, mut squares, mut off, mut count) = (0.0, 0.0, 0.0, 0usize);
    for (w, h) in want.iter().zip(have) {
        for (&w, &h) in w.as_f32().into_iter().flatten().zip(h.as_f32().into_iter().flatten()) {
            let (w, h) = (f64::from(w), f64::from(h));
            (sum, squares, off, count) = (sum + w, squares + w * w, off + (w - h) * (w - h), count + 1);
        }
    }
    let variance = squares - sum * sum / count.max(1) as f64;
    if off == 0.0 { 0.0 } else { (off / variance.max(f64::MIN_POSITIVE)).sqrt() }
}
