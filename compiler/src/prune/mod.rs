//! Pruning: zeros for the weights that a layer needs least, and new values for those that stay.
//!
//! In: a float graph and unlabelled calibration samples. Out: the same graph with zeros in a pattern.
//! Each layer is a least-squares problem ([`crate::least_squares`]) over what it reads once everything before it
//! is pruned, towards what it gives in the dense network (Frantar and Alistarh, Optimal Brain Compression,
//! 2022, with the dense network's outputs as targets). [`obs`] says which groups of weights cost least.
//! How many go of which layer follows from what the network's outputs lose ([`survey()`], [`allocate`]).
//! Law: no labels, no gradients, no chance: the same samples give the same bits on every machine.

pub mod allocate;
mod augment;
mod bits;
mod channels;
mod compress;
pub mod groups;
pub mod obs;
mod plan;
mod recurrent;
pub mod scores;
mod survey;

#[cfg(test)]
mod tests;

pub use bits::four_bits;
pub use compress::Pruned;
pub use plan::{Plan, native, plan, tasks};
pub use survey::{Damage, Listen, Point, Task, probes, survey};

use crate::error::{Error, Result};
use crate::graph::{Graph, verify};
use crate::least_squares;
use crate::observe::Observer;
use crate::options::{Options, Pattern, Quantize};
use crate::quantize;
use crate::samples;
use crate::tensor::{Samples, Tensor};
use std::collections::BTreeMap;

/// Levels at which a layer's curve is measured before zeros are spread over layers.
const LEVELS: [f64; 9] = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.9375, 1.0];

/// Samples on which they are measured, at most.
const PROBES: usize = 128;

/// What pruning did; no layers where nothing was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Layers that lost weights, in the order of the graph.
    pub layers: Vec<Pruned>,
    /// Share of zeros among the weights of all layers that could lose some: those that are kept do not count.
    pub sparsity: f64,
    /// Multiply-accumulates that have left with whole channels.
    pub removed_macs: u64,
}

/// Prunes a float graph as the options ask, in the `native` pattern of the core where they name none.
///
/// Errors: options that contradict the model or each other, no samples, samples that do not fit, values that
/// are no finite numbers on them.
pub fn prune(
    graph: &mut Graph,
    calibration: Option<&Samples>,
    (options, native): (&Options, Pattern),
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    if quantize::is_quantized(graph) && options.prunes() {
        return Err(Error::option(
            "prune",
            "the model brought its own quantization, and such a one is not pruned",
        )
        .help("prune the float model that it was made from"));
    }
    channels::check(options)?;
    if channels::asked(options) {
        return prune_channels(graph, calibration, options, observer);
    }
    let plan = plan(graph, options, native)?;
    if plan.is_empty() {
        return Ok(Outcome::default());
    }
    let samples = split(graph, calibration)?;
    let storage = storage(graph, &samples, options, observer)?;
    let inputs = altered(graph, &samples, options)?;
    let goals = goals(graph, &plan, (&inputs, samples.len()), observer)?;
    let layers = compress::compress(graph, None, &goals, &inputs, &storage, observer)?;
    verify(graph)?;
    let removed: usize = layers.iter().map(|l| l.removed).sum();
    let tasks = plan.fixed.iter().map(|(task, _)| task).chain(&plan.free);
    let weights: usize = tasks.map(|task| task.layer.weights()).sum();
    let sparsity = removed as f64 / weights.max(1) as f64;
    Ok(Outcome { layers, sparsity, removed_macs: 0 })
}

fn split(graph: &Graph, calibration: Option<&Samples>) -> Result<Vec<Vec<Tensor>>> {
    let samples = calibration.ok_or_else(|| {
        Error::option("prune", "needs calibration samples to choose zeros by")
            .help("give samples with `--calibrate X.npy`; they need no labels")
    })?;
    samples::carried(samples, graph)
}

/// The samples, and behind them the altered copies that the options ask for.
pub(crate) fn altered(graph: &Graph, samples: &[Vec<Tensor>], options: &Options) -> Result<Vec<Vec<Tensor>>> {
    match &options.augment {
        Some(wish) => augment::augment(graph, samples, wish),
        None => Ok(samples.to_vec()),
    }
}

fn storage(
    graph: &Graph,
    inputs: &[Vec<Tensor>],
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<compress::Storage> {
    let ranges = match options.quantize {
        Quantize::None => BTreeMap::new(),
        Quantize::Int8 | Quantize::W4a8 => quantize::ranges(graph, inputs, observer)?,
    };
    let four_bits = quantize::four_bit(graph, options);
    Ok(compress::Storage { ranges, four_bits, keep_zeros: options.keep_zeros })
}

/// Takes whole channels, and solves what is left anew.
fn prune_channels(
    graph: &mut Graph,
    calibration: Option<&Samples>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let samples = split(graph, calibration)?;
    let storage = storage(graph, &samples, options, observer)?;
    let inputs = altered(graph, &samples, options)?;
    let Some(lost) = channels::remove(graph, &inputs, options, observer)? else {
        return Ok(Outcome::default());
    };
    verify(graph)?;
    let layers = compress::compress(graph, Some(&lost), &[], &inputs, &storage, observer)?;
    verify(graph)?;
    let removed: usize = layers.iter().map(|l| l.removed).sum();
    let weights: usize = least_squares::layers(&lost.dense).iter().map(|l| l.weights()).sum();
    let macs = |graph: &Graph| graph.nodes().map(|(id, _)| graph.macs(id)).sum::<u64>();
    let removed_macs = macs(&lost.dense).saturating_sub(macs(graph));
    Ok(Outcome { layers, sparsity: removed as f64 / weights.max(1) as f64, removed_macs })
}

/// Refuses options that are meant for `prune` alone where layers are asked about one by one.
pub fn by_layer(options: &Options) -> Result<()> {
    channels::check(options)?;
    if channels::asked(options) {
        return Err(Error::option(
            "prune",
            "whole channels hang together over layers, and cannot be asked about by layer",
        )
        .help("name a pattern of blocks, as `--prune pattern=4x4`"));
    }
    Ok(())
}

/// The share that each layer loses; what it costs is measured on some of the first `own` of the inputs.
fn goals(
    graph: &Graph,
    plan: &Plan,
    (inputs, own): (&[Vec<Tensor>], usize),
    observer: &mut dyn Observer,
) -> Result<Vec<(Task, f64)>> {
    let mut goals = plan.fixed.clone();
    if plan.sparsity == 0.0 {
        return Ok(goals);
    }
    if let [only] = plan.free.as_slice() {
        goals.push((only.clone(), plan.sparsity));
        return Ok(goals);
    }
    let probes = probes(own, PROBES);
    let curves = survey(graph, &plan.free, &LEVELS, inputs, &probes, observer, &mut |_, _, _| Ok(()))?;
    let curve = |(task, points): (&Task, &Vec<Point>)| allocate::Curve {
        steps: points.iter().map(|p| (p.removed, p.damage.cost)).collect(),
        weights: task.layer.weights(),
        uses: task.layer.places(graph),
    };
    let curves: Vec<allocate::Curve> = plan.free.iter().zip(&curves).map(curve).collect();
    let total: usize = curves.iter().map(|c| c.weights).sum();
    let target = (plan.sparsity * total as f64).round() as usize;
    let counts = allocate::allocate(&curves, target, plan.spread);
    let share = |task: &Task, count: usize| count as f64 / task.layer.weights() as f64;
    // Layers of which nothing goes are solved anew like those that are kept.
    let some = plan.free.iter().zip(counts).filter(|(_, count)| *count > 0);
    goals.extend(some.map(|(task, count)| (task.clone(), share(task, count))));
    Ok(goals)
}
