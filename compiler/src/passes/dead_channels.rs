//! Lossless elimination of dead channels: those that hold one constant whatever the input is,
//! and those that nothing reads.
//!
//! Constants are found forwards: a convolution row whose accumulator, by intervals, always ends
//! at the same stored integer. What a constant channel adds to its readers goes into their
//! biases, exactly; where padding stands beside it, only real zero may go, because padded
//! places hold zero and not the constant. Then a greatest fixed point decides which groups of
//! `graph::channels` can leave at once, and that room removes them.
//! Law: every remaining value keeps its bits. In floats only exact zeros count as constants.

use crate::arith::requant::{Output, multiplier, requantize};
use crate::error::{Error, Result};
use crate::graph::channels::{Along, Channels, Group, GroupId, Role, remove};
use crate::graph::{Graph, Node, NodeId, Patch, Quant, ValueId};
use crate::ops::{Op, PadMode};
use crate::tensor::{DType, Data, Tensor, row_major_strides};
use std::collections::{BTreeMap, BTreeSet};

/// Counts of channels that kernels like are multiples of these: pairs of products, words, groups
/// of accumulators, vectors. Dead channels that fill a count up may stay.
const LIKED: [usize; 4] = [1, 4, 8, 16];

struct Analysis {
    channels: Channels,
    /// By value and index along its axis of channels, the stored number that always stands there
    /// (floats: only zero).
    constants: Vec<Vec<Option<i32>>>,
    products: BTreeMap<NodeId, Weights>,
}

/// The graph as it stands, without its dead channels, and with some of them kept so that counts
/// are multiples of those that kernels like; nothing where no channel is dead. Forms differ.
pub(super) fn forms(graph: &Graph) -> Result<Vec<Graph>> {
    let found = analyse(graph);
    let all = removable(graph, &found);
    let mut sets: Vec<BTreeSet<GroupId>> = Vec::new();
    for multiple in LIKED {
        let dead = filled(graph, &found, all.clone(), multiple);
        if !dead.is_empty() && !sets.contains(&dead) {
            sets.push(dead);
        }
    }
    let mut forms = Vec::new();
    for dead in &sets {
        if forms.is_empty() {
            forms.push(graph.clone());
        }
        let mut form = graph.clone();
        let mut patch = Patch::new(&mut form);
        fold(&mut patch, &found, dead)?;
        remove(&mut patch, &found.channels, dead)?;
        forms.push(form);
    }
    Ok(forms)
}

/// Keeps dead channels until counts are multiples, or none are left to keep.
fn filled(
    graph: &Graph,
    found: &Analysis,
    mut dead: BTreeSet<GroupId>,
    multiple: usize,
) -> BTreeSet<GroupId> {
    if multiple == 1 {
        return dead;
    }
    loop {
        let mut changed = false;
        for along in found.alongs() {
            loop {
                let kept = along.groups.iter().filter(|g| !dead.contains(g)).count();
                let first = along.groups.iter().find(|g| dead.contains(g));
                match first {
                    Some(first) if !kept.is_multiple_of(multiple) => changed |= dead.remove(first),
                    _ => break,
                }
            }
        }
        if !changed {
            return dead;
        }
        // The rows of a kept channel read others, which are kept with it.
        dead = greatest(graph, found, dead);
    }
}

fn operand(node: &Node, i: usize) -> Option<ValueId> {
    node.inputs.get(i).copied().flatten()
}

fn zero(graph: &Graph, v: ValueId) -> i32 {
    graph[v].quant.as_ref().map_or(0, |q| q.zero_point[0])
}

/// Run-time operands, in order.
fn run_time(graph: &Graph, node: &Node) -> Vec<ValueId> {
    node.inputs.iter().flatten().copied().filter(|&v| graph[v].constant().is_none()).collect()
}

impl Analysis {
    /// The channels of all values that have some, in the order of the values.
    fn alongs(&self) -> impl Iterator<Item = &Along> {
        let values = (0..self.constants.len()).map(|v| ValueId(v as u32));
        values.filter_map(|v| self.channels.along(v).ok())
    }
}

fn analyse(graph: &Graph) -> Analysis {
    let count = graph.values().count();
    let channels = Channels::of(graph);
    let mut found = Analysis { channels, constants: vec![Vec::new(); count], products: BTreeMap::new() };
    for id in graph.topological() {
        let node = &graph[id];
        found.products.extend(weights(graph, node).map(|w| (id, w)));
        for &y in &node.outputs {
            let Ok(along) = found.channels.along(y) else { continue };
            let known = if node.outputs.len() == 1 { constants(graph, id, along, &found) } else { None };
            found.constants[y.index()] = known.unwrap_or_else(|| vec![None; along.groups.len()]);
        }
    }
    found
}

/// The stored limits and zero point of a node's result, if it is quantized.
fn output_of(graph: &Graph, node: &Node) -> Option<Output> {
    Output::new(graph[node.outputs[0]].quant.as_ref()?, node.clamp).ok()
}

/// What real zero becomes: the result's zero point within its limits; floats: zero if the clamp
/// leaves it.
fn zero_of(graph: &Graph, node: &Node) -> Option<i32> {
    match output_of(graph, node) {
        Some(out) => Some(out.zp.clamp(out.lo, out.hi)),
        None => (node.clamp.lo <= 0.0 && node.clamp.hi >= 0.0).then_some(0),
    }
}

/// Channels of a node's result that always hold the same number.
fn constants(graph: &Graph, id: NodeId, along: &Along, found: &Analysis) -> Option<Vec<Option<i32>>> {
    let node = &graph[id];
    let live = run_time(graph, node);
    let x = *live.first()?;
    let count = along.groups.len();
    // Of an operand whose channels are those of the result, one for one.
    let known = |v: ValueId, c: usize| -> Option<i32> {
        let own = &found.constants[v.index()];
        if own.len() == count { own[c] } else { None }
    };
    let zeros = |v: ValueId, c: usize| known(v, c) == Some(zero(graph, v));
    let each = |f: &dyn Fn(usize) -> Option<i32>| Some((0..count).map(f).collect());
    let same_quant = graph[x].quant == graph[node.outputs[0]].quant;
    // The number itself, within the limits.
    let limits = output_of(graph, node);
    let moved = |k: i32| limits.map_or_else(|| zero_of(graph, node), |l| Some(k.clamp(l.lo, l.hi)));
    match &node.op {
        Op::Conv(_) | Op::Dense(_) => rows(graph, id, found),
        Op::Transpose(_) | Op::MaxPool(_) | Op::GlobalMaxPool(_) if same_quant => {
            each(&|c| known(x, c).and_then(moved))
        }
        Op::Reshape(_) if same_quant => {
            let regrouped = through_reshape(graph, x, node.outputs[0], along, found)?;
            Some(regrouped.into_iter().map(|k| k.and_then(moved)).collect())
        }
        Op::Add(_) | Op::Sub(_) if live.len() == node.inputs.len() => {
            each(&|c| if live.iter().all(|&v| zeros(v, c)) { zero_of(graph, node) } else { None })
        }
        Op::Mul(_) if graph[x].quant.is_some() => {
            each(&|c| if live.iter().any(|&v| zeros(v, c)) { zero_of(graph, node) } else { None })
        }
        Op::Pad(pad) if pad.mode == PadMode::Constant && pad.value != 0.0 => None,
        Op::Requantize(_)
        | Op::Relu(_)
        | Op::LeakyRelu(_)
        | Op::HardSwish(_)
        | Op::Tanh(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool(_)
        | Op::ReduceMean(_)
        | Op::Pad(_) => each(&|c| if zeros(x, c) { zero_of(graph, node) } else { None }),
        _ => None,
    }
}

/// What always stands at the indices of a Reshape's result, by what stands at those of its operand.
fn through_reshape(
    graph: &Graph,
    x: ValueId,
    y: ValueId,
    to: &Along,
    found: &Analysis,
) -> Option<Vec<Option<i32>>> {
    let from = found.channels.along(x).ok()?;
    let place = |v: ValueId, along: &Along| {
        let shape = &graph[v].shape;
        (row_major_strides(shape)[along.axis], shape[along.axis])
    };
    let ((inner, count), (outer, len)) = (place(x, from), place(y, to));
    let mut known: Vec<Option<Option<i32>>> = vec![None; len];
    for i in 0..graph[x].len() {
        let k = found.constants[x.index()][i / inner % count];
        let at = &mut known[i / outer % len];
        *at = Some(if at.is_none_or(|other| other == k) { k } else { None });
    }
    Some(known.into_iter().map(Option::flatten).collect())
}

/// Weights of a Conv or Dense, read as integers (floats: as they are), zero point taken off.
struct Weights {
    values: Vec<f64>,
    rows: usize,
    /// Operand indices a row sums over, and taps of each.
    columns: usize,
    taps: usize,
    /// Rows of one group, which sum over the same indices.
    together: usize,
}

fn weights(graph: &Graph, node: &Node) -> Option<Weights> {
    let groups = match &node.op {
        Op::Conv(conv) => conv.group,
        Op::Dense(_) => 1,
        _ => return None,
    };
    let constant = |i: usize| operand(node, i).is_none_or(|v| graph[v].constant().is_some());
    let w = &graph[operand(node, 1)?];
    let tensor = w.constant().filter(|_| constant(2) && !constant(0))?;
    let (rows, columns) = (w.shape[0], w.shape[1]);
    let per_row = tensor.len() / rows.max(1);
    let zero = |row: usize| match &w.quant {
        None => 0.0,
        Some(q) => f64::from(q.zero_point[if q.axis.is_some() { row } else { 0 }]),
    };
    let values: Vec<f64> =
        tensor.to_f64_vec().iter().enumerate().map(|(i, v)| v - zero(i / per_row.max(1))).collect();
    Some(Weights { values, rows, columns, taps: per_row / columns.max(1), together: rows / groups.max(1) })
}

impl Weights {
    fn tap_values(&self, row: usize, column: usize) -> &[f64] {
        let at = (row * self.columns + column) * self.taps;
        &self.values[at..at + self.taps]
    }
    /// The index of the operand that a row's column reads.
    fn reads(&self, row: usize, column: usize) -> usize {
        row / self.together * self.columns + column
    }
}

fn padded(node: &Node) -> bool {
    matches!(&node.op, Op::Conv(c) if c.pads.iter().any(|&p| p > 0))
}

/// Rows of a Conv or Dense whose result is the same for every input.
fn rows(graph: &Graph, id: NodeId, found: &Analysis) -> Option<Vec<Option<i32>>> {
    let node = &graph[id];
    let x = operand(node, 0)?;
    let weights = found.products.get(&id)?;
    let bias = operand(node, 2).and_then(|b| graph[b].constant()).map(|t| t.to_f64_vec());
    let bias = |row: usize| bias.as_ref().map_or(0.0, |b| b[row]);
    let summed = if matches!(node.op, Op::Conv(_)) { 1 } else { graph[x].shape.len() - 1 };
    let known = |row: usize, column: usize| -> Option<i32> {
        found.channels.along(x).ok().filter(|along| along.axis == summed)?;
        found.constants[x.index()].get(weights.reads(row, column)).copied().flatten()
    };
    let (Some(xq), Some(yq), Some(out)) =
        (&graph[x].quant, &graph[node.outputs[0]].quant, output_of(graph, node))
    else {
        // Floats: nothing but zeros is summed, and what remains is zero.
        let row = |r: usize| {
            let zero = (0..weights.columns)
                .all(|c| known(r, c) == Some(0) || weights.tap_values(r, c).iter().all(|w| *w == 0.0));
            let left = (bias(r) as f32).max(node.clamp.lo).min(node.clamp.hi);
            (zero && left == 0.0).then_some(0)
        };
        return Some((0..weights.rows).map(row).collect());
    };
    let wq = graph[operand(node, 1)?].quant.as_ref()?;
    let row = |r: usize| -> Option<i32> {
        let (mut lo, mut hi) = (bias(r), bias(r));
        for c in 0..weights.columns {
            let zero = f64::from(xq.zero_point[0]);
            let (least, most) = xq.stored();
            let (mut least, mut most) = match known(r, c) {
                Some(k) => (f64::from(k) - zero, f64::from(k) - zero),
                None => (f64::from(least) - zero, f64::from(most) - zero),
            };
            if padded(node) {
                (least, most) = (least.min(0.0), most.max(0.0));
            }
            for &w in weights.tap_values(r, c) {
                lo += (w * least).min(w * most);
                hi += (w * least).max(w * most);
            }
        }
        let fits = |v: f64| (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&v);
        if !(fits(lo) && fits(hi)) {
            return None;
        }
        let scale = |q: &Quant| f64::from(q.scale[if q.axis.is_some() { r } else { 0 }]);
        let by = multiplier(scale(xq) * scale(wq) / f64::from(yq.scale[0])).ok()?;
        let ends = [lo, hi].map(|acc| requantize(acc as i32, by, out.zp, out.lo, out.hi));
        (ends[0] == ends[1]).then_some(ends[0])
    };
    Some((0..weights.rows).map(row).collect())
}

/// Whether the products that read a group can do without it: each index holds a constant that
/// goes into the bias, or meets nothing but zero weights in the rows that stay.
fn spared(graph: &Graph, found: &Analysis, group: &Group, dead: &BTreeSet<GroupId>) -> bool {
    group.parts.iter().filter(|s| s.role == Role::Column).all(|part| {
        let node = &graph[part.node];
        let (Some(weights), Some(x)) = (found.products.get(&part.node), operand(node, 0)) else {
            return false;
        };
        let stays = |row: usize| {
            let group = found.channels.group_of(node.outputs[0], row);
            group.is_none_or(|g| !dead.contains(&g))
        };
        part.indices.iter().all(|&column| {
            let folds = found.constants[x.index()][column]
                .is_some_and(|k| k == zero(graph, x) || (!padded(node) && graph[x].quant.is_some()));
            folds
                || (0..weights.rows)
                    .all(|r| !stays(r) || weights.tap_values(r, column).iter().all(|w| *w == 0.0))
        })
    })
}

/// The greatest set of groups that can leave together.
fn removable(graph: &Graph, found: &Analysis) -> BTreeSet<GroupId> {
    let free = found.channels.groups().filter(|(_, group)| group.fixed.is_none());
    greatest(graph, found, free.map(|(id, _)| id).collect())
}

/// The greatest part of a set of groups that can leave together.
fn greatest(graph: &Graph, found: &Analysis, mut dead: BTreeSet<GroupId>) -> BTreeSet<GroupId> {
    loop {
        let before = dead.len();
        for id in dead.clone().into_iter().rev() {
            if !spared(graph, found, found.channels.group(id), &dead) {
                dead.remove(&id);
            }
        }
        if dead.len() < before {
            continue;
        }
        // A value of no channels cannot be: its first one stays.
        let empty =
            found.alongs().find(|a| !a.groups.is_empty() && a.groups.iter().all(|g| dead.contains(g)));
        match empty {
            None => return dead,
            Some(along) => dead.remove(&along.groups[0]),
        };
    }
}

/// Adds what the leaving channels add to every row of a product to its bias.
fn fold(patch: &mut Patch<'_>, found: &Analysis, dead: &BTreeSet<GroupId>) -> Result<()> {
    let mut gone: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
    for part in dead.iter().flat_map(|&g| &found.channels.group(g).parts) {
        if part.role == Role::Column {
            gone.entry(part.node).or_default().extend(&part.indices);
        }
    }
    for (id, columns) in gone {
        let graph = patch.graph();
        let node = &graph[id];
        let (Some(weights), Some(x)) = (found.products.get(&id), operand(node, 0)) else { continue };
        let (Some(xq), Some(w)) = (&graph[x].quant, operand(node, 1)) else { continue };
        let constants = &found.constants[x.index()];
        let added: Vec<i64> = (0..weights.rows)
            .map(|row| {
                let terms = columns.iter().filter_map(|&c| {
                    let k = f64::from(constants[c]? - xq.zero_point[0]);
                    Some(k * weights.tap_values(row, c).iter().sum::<f64>())
                });
                terms.sum::<f64>() as i64
            })
            .collect();
        if added.iter().all(|&a| a == 0) {
            continue;
        }
        let bias = operand(node, 2);
        let old = bias.and_then(|b| graph[b].constant()).map(|t| t.to_i64_vec());
        let old = old.unwrap_or_else(|| vec![0; weights.rows]);
        let stays = |row: usize| {
            let group = found.channels.group_of(node.outputs[0], row);
            group.is_none_or(|g| !dead.contains(&g))
        };
        let sums: Vec<i64> =
            (0..weights.rows).map(|r| if stays(r) { old[r] + added[r] } else { old[r] }).collect();
        if sums.iter().any(|&s| i32::try_from(s).is_err()) {
            return Err(Error::model(
                node.site(),
                "its bias leaves 32 bits when constant inputs are folded in",
            ));
        }
        let quant = match bias {
            Some(b) => graph[b].quant.clone(),
            None => graph[w].quant.as_ref().map(|w| Quant {
                dtype: DType::I32,
                scale: w.scale.iter().map(|s| s * xq.scale[0]).collect(),
                zero_point: vec![0; w.scale.len()],
                axis: w.axis,
            }),
        };
        let name = bias.map_or(String::new(), |b| graph[b].name.clone());
        let tensor = Tensor::new(vec![sums.len()], Data::from_i64(DType::I32, &sums))?;
        let constant = patch.add_constant(&name, tensor);
        patch.set_dtype(constant, DType::F32);
        patch.set_quant(constant, quant);
        let inputs = &mut patch.node_mut(id).inputs;
        inputs.resize(3, None);
        inputs[2] = Some(constant);
    }
    Ok(())
}
