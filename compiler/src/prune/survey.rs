//! What each layer's zeros cost the whole network: one layer pruned at a time, all others as they are.
//!
//! In: a float graph, its samples, and the layers to ask about. Out: for each a curve of damage over weights
//! removed. Law: a layer is pruned as it would be in earnest, so what is measured is what one gets.

use super::groups::Groups;
use super::scores;
use crate::error::{Error, Fault, Result, Site};
use crate::graph::walk::Walk;
use crate::graph::{Graph, NodeId, ValueId, run_with};
use crate::least_squares::steps::steps;
use crate::least_squares::{Layer, Matrix, Moments, Solver, problem};
use crate::observe::Observer;
use crate::ops::{Op, limit};
use crate::options::{Pattern, Score};
use crate::parallel;
use crate::tensor::Tensor;
use serde::Serialize;
use std::collections::BTreeMap;

/// How one layer is pruned.
#[derive(Debug, Clone)]
pub struct Task {
    pub layer: Layer,
    pub pattern: Pattern,
    pub score: Score,
    /// Whether weights that are zero as they come stay so.
    pub keep_zeros: bool,
}

/// What the outputs of the network lose.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Damage {
    /// For allocation: the sum over outputs of the divergence (Kullback and Leibler) of probabilities, or of
    /// the square error against the variance.
    pub cost: f64,
    /// Root of the square error of all outputs against their variance.
    pub error: f64,
}

/// One layer at one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Weights that are zero.
    pub removed: usize,
    pub damage: Damage,
}

/// Every value of some samples.
pub(super) struct Recorded {
    values: Vec<BTreeMap<ValueId, Tensor>>,
}

impl Recorded {
    pub(super) fn new(graph: &Graph, inputs: &[Vec<Tensor>], probes: &[usize]) -> Result<Recorded> {
        let each = |i: usize| {
            let mut values = BTreeMap::new();
            run_with(graph, &inputs[probes[i]], &mut |v, tensor| {
                values.insert(v, tensor.clone());
            })?;
            Ok(values)
        };
        Ok(Recorded { values: parallel::map(probes.len(), each).into_iter().collect::<Result<_>>()? })
    }

    /// The outputs of each sample.
    pub(super) fn outputs(&self, graph: &Graph) -> Vec<Vec<Tensor>> {
        let of = |values: &BTreeMap<ValueId, Tensor>| {
            graph.outputs().iter().filter_map(|v| values.get(v).cloned()).collect()
        };
        self.values.iter().map(of).collect()
    }

    /// What a node of one input reads of each sample, and gives before its activation; `None`: its input is constant.
    pub(super) fn around(
        &self,
        graph: &Graph,
        id: NodeId,
        input: ValueId,
    ) -> Result<Option<(Vec<Tensor>, Vec<Tensor>)>> {
        let node = &graph[id];
        let one = |sample: usize| -> Result<Option<(Tensor, Tensor)>> {
            let recorded = &self.values[sample];
            let Some(read) = recorded.get(&input) else { return Ok(None) };
            let value = |v: ValueId| recorded.get(&v).or_else(|| graph[v].constant().map(|t| t.as_ref()));
            let operands: Vec<Option<&Tensor>> = node.inputs.iter().map(|v| v.and_then(value)).collect();
            let given = node.op.eval(&operands).map_err(|e| e.at(node.site()))?;
            Ok(given.into_iter().next().map(|given| (read.clone(), given)))
        };
        let all: Result<Option<Vec<_>>> = parallel::map(self.values.len(), one).into_iter().collect();
        Ok(all?.map(|pairs| pairs.into_iter().unzip()))
    }

    /// The outputs with other weights and bias, by operand, for one node: what stands behind it is computed anew.
    pub(super) fn outputs_with(
        &self,
        graph: &Graph,
        order: &[NodeId],
        changed: NodeId,
        weights: &[(usize, Tensor)],
    ) -> Result<Vec<Vec<Tensor>>> {
        let one = |sample: usize| -> Result<Vec<Tensor>> {
            let recorded = &self.values[sample];
            let mut fresh: BTreeMap<ValueId, Tensor> = BTreeMap::new();
            for &id in order {
                let node = &graph[id];
                let touched = node.inputs.iter().flatten().any(|v| fresh.contains_key(v));
                if id != changed && !touched {
                    continue;
                }
                let mut operands: Vec<Option<&Tensor>> = Vec::with_capacity(3);
                for v in &node.inputs {
                    operands.push(v.and_then(|v| {
                        fresh
                            .get(&v)
                            .or_else(|| recorded.get(&v))
                            .or_else(|| graph[v].constant().map(|t| t.as_ref()))
                    }));
                }
                for (at, tensor) in weights.iter().filter(|_| id == changed) {
                    operands.resize(operands.len().max(at + 1), None);
                    operands[*at] = Some(tensor);
                }
                let mut results = node.op.eval(&operands).map_err(|e| e.at(node.site()))?;
                if !node.clamp.is_none() {
                    let (lo, hi) = (f64::from(node.clamp.lo), f64::from(node.clamp.hi));
                    results = limit(&[results.first()], Some(lo), Some(hi))?;
                }
                fresh.extend(node.outputs.iter().copied().zip(results));
            }
            let found = graph.outputs().iter().filter_map(|v| fresh.get(v).or_else(|| recorded.get(v)));
            Ok(found.cloned().collect())
        };
        parallel::map(self.values.len(), one).into_iter().collect()
    }
}

/// How far outputs are from those that are wanted, both by sample.
pub(super) fn damage(graph: &Graph, want: &[Vec<Tensor>], have: &[Vec<Tensor>]) -> Damage {
    let (mut cost, mut error, mut energy) = (0.0, 0.0, 0.0);
    for (port, &v) in graph.outputs().iter().enumerate() {
        let pairs = || want.iter().zip(have).map(move |(w, h)| (w[port].to_f64_vec(), h[port].to_f64_vec()));
        let len = graph[v].len();
        let mut mean = vec![0.0; len];
        pairs().for_each(|(w, _)| mean.iter_mut().zip(w).for_each(|(m, x)| *m += x));
        mean.iter_mut().for_each(|m| *m /= want.len().max(1) as f64);
        let (mut off, mut spread, mut apart) = (0.0, 0.0, 0.0);
        for (w, h) in pairs() {
            for ((w, h), m) in w.iter().zip(&h).zip(&mean) {
                off += (w - h) * (w - h);
                spread += (w - m) * (w - m);
                // Probabilities that are next to nothing count for nothing.
                apart += w * (libm::log(w.max(1e-9)) - libm::log(h.max(1e-9)));
            }
        }
        let probabilities = graph.producer(v).is_some_and(|p| matches!(graph[p].op, Op::Softmax(_)));
        cost += if probabilities { apart / want.len().max(1) as f64 } else { ratio(off, spread) };
        (error, energy) = (error + off, energy + spread);
    }
    Damage { cost, error: ratio(error, energy).sqrt() }
}

/// `a / b`; nothing of nothing is nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b.max(f64::MIN_POSITIVE) }
}

/// What `survey` tells whoever listens, as it goes: the outputs of the probes by layer and level.
pub type Listen<'a> = dyn FnMut(&Task, f64, &[Vec<Tensor>]) -> Result<()> + 'a;

/// Numbers of `most` of `count` samples, evenly spread.
pub fn probes(count: usize, most: usize) -> Vec<usize> {
    let n = count.min(most);
    (0..n).map(|i| i * count / n).collect()
}

/// Measures every task at every level (shares of the layer's weights) on those of the samples that `probes`
/// names; patterns that say their share are measured at that alone. One curve a task, in their order.
pub fn survey(
    graph: &Graph,
    tasks: &[Task],
    levels: &[f64],
    inputs: &[Vec<Tensor>],
    probes: &[usize],
    observer: &mut dyn Observer,
    listen: &mut Listen<'_>,
) -> Result<Vec<Vec<Point>>> {
    let recorded = Recorded::new(graph, inputs, probes)?;
    let want = recorded.outputs(graph);
    let order = graph.topological();
    let mut walk = Walk::new(graph, inputs);
    let mut curves: Vec<Vec<Point>> = vec![Vec::new(); tasks.len()];
    for (done, &id) in order.iter().enumerate() {
        observer.progress("survey", done, order.len());
        if observer.cancelled() {
            return Err(Error::new(Fault::Cancelled, Site::Whole, "stopped on request"));
        }
        let mut results = walk.eval(graph, id, inputs.len(), &[])?;
        for (number, task) in tasks.iter().enumerate().filter(|(_, t)| t.layer.node == id) {
            let found = if matches!(graph[id].op, Op::Recurrent(_)) {
                let steps = steps(&walk, graph, &task.layer, inputs.len(), &[])?;
                let (read, given): (Vec<Tensor>, Vec<Tensor>) =
                    steps.into_iter().map(|s| (s.read, s.given)).unzip();
                Prepared::new(graph, task, &read, &given)?
            } else {
                let Some(read) = &walk.live[task.layer.input.index()] else { continue };
                Prepared::new(graph, task, read, &results[0])?
            };
            let shares: Vec<f64> = task.pattern.share().map_or(levels.to_vec(), |share| vec![share]);
            for share in shares {
                let (weights, removed) = found.pruned(share);
                let tensors = found.tensors(graph, &task.layer, &weights);
                let have = recorded.outputs_with(graph, &order, id, &tensors)?;
                listen(task, share, &have)?;
                curves[number].push(Point { removed, damage: damage(graph, &want, &have) });
            }
        }
        clamp(graph, id, &mut results)?;
        walk.advance(graph, id, results);
    }
    Ok(curves)
}

/// Applies a node's activation to its results.
pub(super) fn clamp(graph: &Graph, id: NodeId, results: &mut [Vec<Tensor>]) -> Result<()> {
    let clamp = graph[id].clamp;
    if clamp.is_none() {
        return Ok(());
    }
    let (lo, hi) = (f64::from(clamp.lo), f64::from(clamp.hi));
    for tensors in results {
        let limited = parallel::map(tensors.len(), |i| limit(&[Some(&tensors[i])], Some(lo), Some(hi)));
        *tensors = limited.into_iter().map(|t| t.map(|mut t| t.remove(0))).collect::<Result<_>>()?;
    }
    Ok(())
}

/// A layer with all that its pruning needs, for any share.
pub(super) struct Prepared {
    pub(super) moments: Moments,
    pub(super) solver: Solver,
    trained: Matrix,
    groups: Groups,
    traces: Vec<super::obs::Trace>,
    keep_zeros: bool,
}

/// The best weights before any is taken.
pub(super) fn best(solver: &Solver, trained: &Matrix, keep_zeros: bool) -> Matrix {
    if keep_zeros { solver.refit(&trained.nonzero(), trained) } else { solver.dense(trained) }
}

impl Prepared {
    pub(super) fn new(graph: &Graph, task: &Task, read: &[Tensor], want: &[Tensor]) -> Result<Prepared> {
        let layer = &task.layer;
        let (moments, trained, solver) = problem(graph, layer, 0, read, want)?;
        let groups = Groups::new(layer.sizes, task.pattern);
        let best = best(&solver, &trained, task.keep_zeros);
        let traces = scores::traces(task.score, &solver, &moments, &best, &groups);
        Ok(Prepared { moments, solver, trained, groups, traces, keep_zeros: task.keep_zeros })
    }

    /// The weights with a share of zeros, and how many that are.
    pub(super) fn pruned(&self, share: f64) -> (Matrix, usize) {
        let sizes = self.trained.sizes;
        let count = (share * sizes.weights() as f64).round() as usize;
        // A pattern with a rule of its own goes to its end.
        let count = if self.groups.quotas.is_empty() { count } else { usize::MAX };
        let mut kept = scores::kept(&self.traces, &self.groups, sizes.columns(), count);
        if self.keep_zeros {
            kept.iter_mut().zip(self.trained.nonzero()).for_each(|(kept, filled)| *kept &= filled);
        }
        (self.solver.refit(&kept, &self.trained), kept.iter().filter(|k| !**k).count())
    }

    /// Weights and bias as operands of the layer's node.
    pub(super) fn tensors(&self, graph: &Graph, layer: &Layer, weights: &Matrix) -> [(usize, Tensor); 2] {
        let bias = (0..layer.sizes.rows).map(|row| self.moments.bias(row, weights.row(row)) as f32);
        layer.operands(graph, &weights.to_onnx(), &bias.collect::<Vec<f32>>())
    }
}
