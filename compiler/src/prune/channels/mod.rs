//! Structured pruning: whole channels leave, with all that computes them and all that reads them.
//!
//! In: a float graph, its samples, and which share of its channels goes. Out: the smaller graph, and what the
//! dense one had there, for the weights that stay to be solved towards it (`compress`). Channels that hang
//! together ([`crate::graph::channels`]) leave together; those leave whose readers can best make up for them.
//! Law: every family of channels loses the same share, unless options say otherwise, and keeps a multiple of
//! [`UNIT`]; what the model takes and gives stays.

#[cfg(test)]
mod tests;

use super::Pruned;
use super::obs;
use super::plan::{known, last, share};
use super::survey::clamp;
use crate::error::{Error, Fault, Result, Site};
use crate::graph::channels::{self, Channels, GroupId, Role};
use crate::graph::walk::Walk;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::least_squares::{Layer, Matrix, layers, problem};
use crate::observe::Observer;
use crate::options::{Options, Pattern, Score};
use crate::prune::groups::Groups;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// Kernels like counts of channels that are multiples of this.
const UNIT: usize = 4;

/// Whether options ask for whole channels.
pub(super) fn asked(options: &Options) -> bool {
    options.prune.is_some_and(|p| p.pattern == Some(Pattern::Channels))
}

/// Refuses channels as the pattern of single layers, and what does not go with channels.
pub(super) fn check(options: &Options) -> Result<()> {
    if let Some(wish) = options.patterns.iter().find(|w| w.value == Pattern::Channels || asked(options)) {
        let layers = wish.layers.to_string();
        return Err(match asked(options) {
            true => Error::entry("pattern", &layers, "is said of layers, and `prune` takes whole channels")
                .help("leave one of both out"),
            false => {
                Error::entry("pattern", &layers, "channels hang together over layers, and are no layer's own")
                    .help("say it for the model: `--prune pattern=channels,sparsity=0.5`")
            }
        });
    }
    if asked(options) && options.prune.and_then(|p| p.score).is_some_and(|score| score != Score::Obs) {
        return Err(Error::option("prune", "whole channels are chosen by score obs alone")
            .help("leave the score out"));
    }
    if asked(options) && options.keep_zeros {
        return Err(Error::option("keep-zeros", "is asked for, and `prune` takes whole channels")
            .help("leave one of both out: zeros in a pattern do not last where channels leave"));
    }
    Ok(())
}

/// A graph before channels left, and where.
pub(super) struct Lost {
    pub(super) dense: Graph,
    /// By value that lost some: the axis of its channels, and which are left.
    kept: BTreeMap<ValueId, (usize, Vec<usize>)>,
}

impl Lost {
    pub(super) fn values(&self) -> impl Iterator<Item = ValueId> {
        self.kept.keys().copied()
    }
    /// What is left of a value's tensors.
    pub(super) fn narrowed(&self, value: ValueId, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let Some((axis, kept)) = self.kept.get(&value) else { return Ok(tensors.to_vec()) };
        tensors.iter().map(|t| channels::select(t, *axis, kept)).collect()
    }
    /// What became of a layer, if it lost something.
    pub(super) fn outcome(&self, layer: &Layer, error: f64) -> Option<Pruned> {
        let had = weights(&self.dense, layer.node);
        let removed = had - layer.weights();
        let (layer, pattern) = (layer.name.clone(), Pattern::Channels);
        (removed > 0).then_some(Pruned { layer, pattern, removed, weights: had, error })
    }
}

fn weights(graph: &Graph, node: NodeId) -> usize {
    graph[node].inputs.get(1).copied().flatten().map_or(0, |w| graph[w].len())
}

/// Channels that the same layers compute: one goes as well as another.
struct Family<'a> {
    rows: Vec<&'a Layer>,
    groups: Vec<GroupId>,
    /// Channels that leave with each of the groups.
    each: usize,
}

/// Removes channels from a float graph.
///
/// Errors: as the options' other patterns have them; no channels that may leave.
pub(super) fn remove(
    graph: &mut Graph,
    inputs: &[Vec<Tensor>],
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Option<Lost>> {
    let all = layers(graph);
    known(&all, options)?;
    let found = Channels::of(graph);
    let families = families(&found, &all);
    let (mut losing, mut fixed) = (Vec::new(), None);
    for family in &families {
        let wanted = wish(family, options)?;
        let wall = family.groups.iter().find_map(|&g| found.group(g).fixed.as_ref());
        if let (Some(wall), Some(own)) = (wall, wanted.filter(|w| *w > 0.0)) {
            let why = format!("of `{}` is {own}, and its channels cannot leave: {}", family.name(), wall.why);
            return Err(Error::option("sparsity", why).help("leave it out, or say it for another layer"));
        }
        fixed = fixed.or(wall);
        let global = share(&options.prune.unwrap_or_default(), true)?.unwrap_or(0.0);
        let goes = if wall.is_some() { 0 } else { family.leaving(wanted.unwrap_or(global)) };
        if goes > 0 {
            losing.push((family, goes));
        }
    }
    let nothing = options.prune.and_then(|p| p.sparsity).is_some_and(|s| s.0 == 0.0);
    if losing.is_empty() && nothing && options.sparsities.iter().all(|w| w.value.0 == 0.0) {
        return Ok(None);
    }
    if losing.is_empty() {
        let why = match fixed.filter(|_| families.iter().all(|f| f.leaving(0.5) == 0)) {
            Some(wall) => format!("finds no channels that may leave: {}: {}", wall.site, wall.why),
            None => "finds no channels that may leave".to_owned(),
        };
        return Err(Error::option("prune", why).help(
            "channels are kept in fours, and those of the model's inputs and outputs stay; `keep` and `sparsity` \
             name layers that keep theirs",
        ));
    }
    let costs = costs(graph, &found, &losing, inputs, observer)?;
    let mut leave: BTreeSet<GroupId> = BTreeSet::new();
    for (family, goes) in &losing {
        let mut order = family.groups.clone();
        order.sort_by(|a, b| costs[a.index()].total_cmp(&costs[b.index()]).then(a.cmp(b)));
        leave.extend(&order[..*goes]);
    }
    let dense = graph.clone();
    channels::remove(&mut Patch::new(graph), &found, &leave)?;
    let gone = |g: GroupId| leave.contains(&g);
    let kept = dense.values().filter_map(|(v, _)| {
        let (along, kept) = (found.along(v).ok()?, found.kept(v, &gone)?);
        (kept.len() < along.groups.len()).then_some((v, (along.axis, kept)))
    });
    let kept = kept.collect();
    Ok(Some(Lost { kept, dense }))
}

/// Families in the order of their first groups.
fn families<'a>(found: &Channels, all: &'a [Layer]) -> Vec<Family<'a>> {
    let count = found.groups().count();
    let mut of: Vec<usize> = (0..count).collect();
    let mut rows: BTreeMap<NodeId, Vec<(usize, usize)>> = BTreeMap::new();
    for (id, group) in found.groups() {
        for part in group.parts.iter().filter(|p| p.role == Role::Row && p.input == 1) {
            rows.entry(part.node).or_default().push((id.index(), part.indices.len()));
        }
    }
    // The smallest number of a family stands for it.
    for groups in rows.values() {
        let joined: BTreeSet<usize> = groups.iter().map(|(g, _)| of[*g]).collect();
        let first = joined.iter().next().copied().unwrap_or(0);
        of.iter_mut().filter(|f| joined.contains(f)).for_each(|f| *f = first);
    }
    let mut families: BTreeMap<usize, Family<'a>> = BTreeMap::new();
    for layer in all {
        let Some(groups) = rows.get(&layer.node) else { continue };
        let family = families.entry(of[groups[0].0]).or_insert_with(|| Family {
            rows: Vec::new(),
            groups: Vec::new(),
            each: groups[0].1,
        });
        family.rows.push(layer);
        let more: Vec<GroupId> = groups.iter().map(|(g, _)| GroupId(*g as u32)).collect();
        family.groups.extend(more.iter().filter(|g| !family.groups.contains(g)).copied().collect::<Vec<_>>());
    }
    families.into_values().collect()
}

impl Family<'_> {
    fn name(&self) -> &str {
        self.rows.first().map_or("", |l| l.name.as_str())
    }
    /// How many groups go for a share: a multiple of [`UNIT`] channels stays, the nearest one, and at least that.
    fn leaving(&self, share: f64) -> usize {
        let all = self.groups.len();
        let unit = (UNIT / self.each.max(1)).max(1);
        let left = (1.0 - share) * all as f64 / unit as f64;
        let left = (left.round() as usize).max(1) * unit;
        if share > 0.0 { all.saturating_sub(left) } else { 0 }
    }
}

/// The share that options say for a family, by the names of the layers that compute it.
fn wish(family: &Family<'_>, options: &Options) -> Result<Option<f64>> {
    let kept = |l: &&&Layer| options.keep.iter().flatten().any(|g| l.is_meant(g));
    let kept = family.rows.iter().find(kept);
    let own = |l: &&Layer| Some((l.name.clone(), last(&options.sparsities, l)?.0));
    let shares: Vec<(String, f64)> = family.rows.iter().filter_map(own).collect();
    for (name, share) in &shares {
        let (first, other) = &shares[0];
        if share != other {
            let why = format!(
                "`{first}` and `{name}` have their channels in common, and {other} and {share} of them go"
            );
            return Err(Error::option("sparsity", why).help("say the same for both, or for one alone"));
        }
        if let Some(kept) = kept.filter(|_| *share > 0.0) {
            let why = format!(
                "`{}` is to be kept, and `{name}`, whose channels are its own, to have a sparsity",
                kept.name
            );
            return Err(Error::option("sparsity", why).help("leave one of both out"));
        }
    }
    Ok(if kept.is_some() { Some(0.0) } else { shares.first().map(|s| s.1) })
}

/// What each group costs its readers: the sum over them of the share of their outputs' energy that is lost
/// when it goes in its turn, the others of its layer making up for it.
fn costs(
    graph: &Graph,
    found: &Channels,
    losing: &[(&Family<'_>, usize)],
    inputs: &[Vec<Tensor>],
    observer: &mut dyn Observer,
) -> Result<Vec<f64>> {
    let mut costs = vec![0.0; found.groups().count()];
    let all = layers(graph);
    let order = graph.topological();
    let mut walk = Walk::new(graph, inputs);
    for (done, &id) in order.iter().enumerate() {
        observer.progress("channels", done, order.len());
        if observer.cancelled() {
            return Err(Error::new(Fault::Cancelled, Site::Whole, "stopped on request"));
        }
        let mut results = walk.eval(graph, id, inputs.len(), &[])?;
        if let Some(layer) = all.iter().find(|l| l.node == id && l.groups == 1)
            && let Some(read) = &walk.live[layer.input.index()]
        {
            let groups: Vec<(GroupId, Vec<usize>)> = losing
                .iter()
                .flat_map(|(f, _)| &f.groups)
                .filter_map(|&g| columns(found, g, layer))
                .collect();
            if !groups.is_empty() {
                let (moments, trained, solver) = problem(graph, layer, 0, read, &results[0])?;
                let energy: f64 = moments.energy.iter().sum();
                let found = traced(&solver.inverse(), &solver.dense(&trained), &groups);
                for ((group, _), cost) in groups.iter().zip(found) {
                    costs[group.index()] += cost / energy.max(f64::MIN_POSITIVE);
                }
            }
        }
        clamp(graph, id, &mut results)?;
        walk.advance(graph, id, results);
    }
    Ok(costs)
}

/// The columns of a layer's matrix that read a group.
fn columns(found: &Channels, group: GroupId, layer: &Layer) -> Option<(GroupId, Vec<usize>)> {
    let reads = |p: &&channels::Part| p.node == layer.node && p.input == 1 && p.role == Role::Column;
    let parts = found.group(group).parts.iter().filter(reads);
    let indices: Vec<usize> = parts.flat_map(|p| p.indices.iter().copied()).collect();
    let sizes = layer.sizes;
    let at = |tap: usize| indices.iter().map(move |i| tap * sizes.inputs + i);
    (!indices.is_empty()).then(|| (group, (0..sizes.taps).flat_map(at).collect()))
}

/// What each group of columns costs all rows together when it goes in its turn, the cheapest first.
fn traced(inverse: &[f64], weights: &Matrix, groups: &[(GroupId, Vec<usize>)]) -> Vec<f64> {
    let n = weights.sizes.columns();
    let mut order: Vec<usize> = Vec::with_capacity(n);
    let mut runs = Vec::with_capacity(groups.len());
    for (_, columns) in groups {
        runs.push(order.len()..order.len() + columns.len());
        order.extend(columns);
    }
    let named: BTreeSet<usize> = order.iter().copied().collect();
    order.extend((0..n).filter(|c| !named.contains(c)));
    let inverse: Vec<f64> =
        order.iter().flat_map(|&i| order.iter().map(move |&j| inverse[i * n + j])).collect();
    let rows: Vec<Vec<f64>> =
        (0..weights.sizes.rows).map(|r| order.iter().map(|&c| weights.row(r)[c]).collect()).collect();
    let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    let all = 0..weights.sizes.rows;
    let asked = Groups { rows: vec![all], columns: runs.clone(), quotas: Vec::new() };
    let trace = obs::trace(&inverse, &rows, &asked);
    let (mut costs, mut most) = (vec![0.0; groups.len()], 0.0f64);
    for (&group, cost) in trace.order.iter().zip(&trace.cost) {
        // One that goes later costs no less than those before it.
        most = most.max(cost * (runs[group].len() * rows.len()) as f64);
        costs[group] = most;
    }
    costs
}
