//! From options to what happens to each layer.
//!
//! In: a float graph's layers and the options. Out: a [`Plan`], or why the options cannot be meant. Law: a
//! pattern of names that matches nothing, and two options that contradict each other, are refused.

use super::survey::Task;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, ValueId};
use crate::least_squares::{Layer, layers};
use crate::options::{LayerWish, Options, Pattern, Prune, Score, Spread};
use secateur_targets::Core;
use std::collections::BTreeSet;

/// The pattern for cores that name none.
const PATTERN: Pattern = Pattern::Block { rows: 1, columns: 4 };

/// The pattern of zeros that a core's kernels gain most by.
pub fn native(core: &Core) -> Pattern {
    core.patterns.first().and_then(|text| Pattern::parse(text)).unwrap_or(PATTERN)
}

/// Layers at the ends that hold less than this share of all weights stay dense: they cost little, and much is
/// lost in them.
const ENDS: f64 = 0.125;

/// What happens to the layers that lose weights.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Layers whose share is said, by options or by their pattern, and the share.
    pub fixed: Vec<(Task, f64)>,
    /// Layers over which the rest is spread.
    pub free: Vec<Task>,
    /// The share of the free layers' weights that goes.
    pub sparsity: f64,
    pub spread: Spread,
}

impl Plan {
    /// Whether nothing at all changes.
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty() && (self.free.is_empty() || self.sparsity == 0.0)
    }
}

/// Layers that pruning may touch: those that are no grouped or depthwise convolution.
fn prunable(all: &[Layer]) -> impl Iterator<Item = &Layer> {
    all.iter().filter(|l| l.groups == 1)
}

/// Every layer that could lose weights, with the pattern and score that the options give it; without one, 1x4.
///
/// Errors: those of [`plan`], but for what is kept.
pub fn tasks(graph: &Graph, options: &Options) -> Result<Vec<Task>> {
    let all = layers(graph);
    known(&all, options)?;
    let prune = options.prune.unwrap_or_default();
    let score = prune.score.unwrap_or(Score::Obs);
    let task = |layer: &Layer| Task {
        layer: layer.clone(),
        pattern: pattern(layer, &prune, options, PATTERN),
        score,
        keep_zeros: options.keep_zeros,
    };
    Ok(prunable(&all).map(task).collect())
}

fn pattern(layer: &Layer, prune: &Prune, options: &Options, native: Pattern) -> Pattern {
    last(&options.patterns, layer).or(prune.pattern).unwrap_or(native)
}

/// Reads the options against a graph.
pub fn plan(graph: &Graph, options: &Options, native: Pattern) -> Result<Plan> {
    let all = layers(graph);
    known(&all, options)?;
    let prune = options.prune.unwrap_or_default();
    let spread = prune.spread.unwrap_or(Spread::Both);
    let mut plan = Plan { fixed: Vec::new(), free: Vec::new(), sparsity: 0.0, spread };
    if options.prune.is_none() && options.sparsities.is_empty() {
        unheard(options)?;
        return Ok(plan);
    }
    let global = share(&prune, options.prune.is_some())?;
    plan.sparsity = global.unwrap_or(0.0);
    let kept = kept(graph, &all, options);
    let score = prune.score.unwrap_or(Score::Obs);
    for layer in prunable(&all) {
        let own = last(&options.sparsities, layer).map(|s| s.0);
        let pattern = pattern(layer, &prune, options, native);
        let named = options.keep.as_ref().is_some_and(|k| k.iter().any(|g| layer.is_meant(g)));
        if named && own.is_some_and(|s| s > 0.0) {
            let why = format!("`{}` is to be kept, and to have a sparsity", layer.name);
            return Err(Error::option("sparsity", why).help("leave one of both out"));
        }
        if let (Some(own), Some(said)) = (own, pattern.share())
            && own > 0.0
            && (own - said).abs() > 1e-9
        {
            let why = format!("of `{}` is {own}, and pattern {pattern} leaves {said} of zeros", layer.name);
            return Err(
                Error::option("sparsity", why).help("leave the sparsity out, or name a pattern of blocks")
            );
        }
        let task = Task { layer: layer.clone(), pattern, score, keep_zeros: options.keep_zeros };
        match (own, pattern.share()) {
            (Some(0.0), _) => {}
            (Some(own), said) => plan.fixed.push((task, said.unwrap_or(own))),
            (None, _) if options.prune.is_none() || kept.contains(&layer.key()) => {}
            (None, Some(said)) => plan.fixed.push((task, said)),
            (None, None) => plan.free.push(task),
        }
    }
    if !plan.free.is_empty() && global.is_none() {
        return Err(Error::option(
            "prune",
            format!("says no sparsity, and pattern {native} has none of its own"),
        )
        .help("give the share of zeros: `--prune 0.6` or `--prune pattern=4x4,sparsity=0.6`"));
    }
    if plan.fixed.is_empty() && plan.free.is_empty() && plan.sparsity > 0.0 {
        return Err(Error::option("prune", "finds no layer that may lose weights")
            .help("only convolutions that are not grouped, and dense and recurrent layers with constant weights, do; `keep` says which stay dense"));
    }
    Ok(plan)
}

/// The share for all layers, if one is said; a pattern that has its own takes no other.
pub(super) fn share(prune: &Prune, given: bool) -> Result<Option<f64>> {
    let own = prune.pattern.and_then(Pattern::share);
    match (prune.sparsity, own) {
        (Some(s), Some(own)) if s.0 > 0.0 && (s.0 - own).abs() > 1e-9 => {
            let pattern = prune.pattern.map(|p| p.to_string()).unwrap_or_default();
            Err(Error::option(
                "prune",
                format!("asks for sparsity {}, and pattern {pattern} leaves {own} of zeros", s.0),
            )
            .help("leave the sparsity out, or name a pattern of blocks, as 1x4"))
        }
        (None, None) if given && prune.pattern.is_some() => Err(Error::option("prune", "says no sparsity")
            .help("give the share of zeros: `--prune pattern=4x4,sparsity=0.6`")),
        (None, None) if given => {
            Err(Error::option("prune", "says no sparsity").help("give the share of zeros: `--prune 0.6`"))
        }
        (s, _) => Ok(s.map(|s| s.0)),
    }
}

pub(super) fn last<T: Copy>(wishes: &[LayerWish<T>], layer: &Layer) -> Option<T> {
    wishes.iter().rev().find(|w| layer.is_meant(&w.layers)).map(|w| w.value)
}

/// Every pattern of names is for a layer that there is.
pub(super) fn known(all: &[Layer], options: &Options) -> Result<()> {
    let any = |layers: &[&Layer], glob: &crate::options::Glob| layers.iter().any(|l| l.is_meant(glob));
    let (each, prunable): (Vec<&Layer>, Vec<&Layer>) = (all.iter().collect(), prunable(all).collect());
    let mut globs: Vec<(&str, &crate::options::Glob, &[&Layer])> = Vec::new();
    globs.extend(options.keep.iter().flatten().map(|g| ("keep", g, each.as_slice())));
    globs.extend(options.sparsities.iter().map(|w| ("sparsity", &w.layers, prunable.as_slice())));
    globs.extend(options.patterns.iter().map(|w| ("pattern", &w.layers, prunable.as_slice())));
    for (option, glob, layers) in globs {
        if !any(layers, glob) {
            let names: Vec<String> = layers.iter().map(|l| format!("`{}`", l.name)).collect();
            let why = format!("no layer that can be pruned is called `{glob}`");
            let help = match names.is_empty() {
                true => "the model has none".to_owned(),
                false => format!("the layers are {}", names.join(", ")),
            };
            return Err(Error::entry(option, &glob.to_string(), why).help(help));
        }
    }
    Ok(())
}

/// Options that say how to prune where nothing is pruned.
fn unheard(options: &Options) -> Result<()> {
    let said = if options.keep.is_some() {
        "keep"
    } else if !options.patterns.is_empty() {
        "pattern"
    } else if options.augment.is_some() {
        "augment"
    } else {
        return Ok(());
    };
    Err(Error::option(said, "is said, and nothing is pruned").help("say how much goes: `--prune 0.6`"))
}

/// Layers that stay dense: those that are named, or else small layers at both ends.
fn kept(graph: &Graph, all: &[Layer], options: &Options) -> BTreeSet<(NodeId, usize, usize)> {
    if let Some(globs) = &options.keep {
        let named = all.iter().filter(|l| globs.iter().any(|g| l.is_meant(g)));
        return named.map(Layer::key).collect();
    }
    let total: usize = all.iter().map(Layer::weights).sum();
    let weighted: BTreeSet<NodeId> = all.iter().map(|l| l.node).collect();
    let small = |l: &&Layer| (l.weights() as f64) < ENDS * total as f64;
    let (first, last) = ends(graph, &weighted);
    let at_end = |l: &&Layer| first.contains(&l.input) || last.contains(&l.output);
    all.iter().filter(at_end).filter(small).map(Layer::key).collect()
}

/// Values that come from the model's inputs, and values that go to its outputs, with no layer of weights in
/// between.
fn ends(graph: &Graph, weighted: &BTreeSet<NodeId>) -> (BTreeSet<ValueId>, BTreeSet<ValueId>) {
    let mut first: BTreeSet<ValueId> = graph.inputs().iter().chain(graph.states()).copied().collect();
    let mut last: BTreeSet<ValueId> = graph.outputs().iter().copied().collect();
    let order: Vec<NodeId> = graph.topological().into_iter().filter(|id| !weighted.contains(id)).collect();
    for node in order.iter().map(|id| &graph[*id]) {
        if node.inputs.iter().flatten().any(|v| first.contains(v)) {
            first.extend(node.outputs.iter().copied());
        }
    }
    for node in order.iter().rev().map(|id| &graph[*id]) {
        if node.outputs.iter().any(|v| last.contains(v)) {
            last.extend(node.inputs.iter().flatten().copied());
        }
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_cores_are_patterns() {
        for core in secateur_targets::all().unwrap().into_iter().map(|target| target.core) {
            for text in &core.patterns {
                let read = Pattern::parse(text).unwrap_or_else(|| panic!("{}: {text}", core.name));
                assert_eq!(read.to_string(), *text);
            }
            let first = core.patterns.first().map_or(PATTERN.to_string(), String::clone);
            assert_eq!(native(&core).to_string(), first, "{}", core.name);
        }
    }
}
