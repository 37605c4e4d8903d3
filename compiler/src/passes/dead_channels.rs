//! Lossless elimination of dead channels: those that hold one constant whatever the input is,
//! and those that nothing reads.
//!
//! Constants are found forwards: a convolution row whose accumulator, by intervals, always ends
//! at the same stored integer. What a constant channel adds to its readers goes into their
//! biases, exactly; where padding stands beside it, only real zero may go, because padded
//! places hold zero and not the constant. Then a greatest fixed point decides which channels
//! can leave everywhere at once: depthwise, elementwise and pooling nodes couple a channel of
//! their operands with the same channel of their result.
//! Law: every remaining value keeps its bits. In floats only exact zeros count as constants.

use crate::arith::requant::{Output, multiplier, requantize};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeId, Patch, Quant, ValueId};
use crate::ops::{Op, PadMode};
use crate::tensor::{DType, Data, Tensor, row_major_strides};
use std::collections::BTreeMap;

/// Where the channels of a value lie: `map[i]` is the channel of index `i` along `axis`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Channels {
    axis: usize,
    map: Vec<usize>,
    count: usize,
}

impl Channels {
    fn identity(axis: usize, count: usize) -> Self {
        Channels { axis, map: (0..count).collect(), count }
    }
}

/// How a node ties the channels of its operands to those of its result.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// Conv with one group, Dense: result channels are rows, operand channels are summed over.
    Product,
    /// Channel `c` of the result comes from channel `c` of every run-time operand alone.
    Same,
    /// No channel may leave.
    Wall,
}

struct Analysis {
    links: BTreeMap<NodeId, Link>,
    channels: Vec<Option<Channels>>,
    /// The stored number that a channel always holds (floats: only zero).
    constants: Vec<Vec<Option<i32>>>,
}

/// Counts of channels that kernels like are multiples of these: pairs of products, words, groups
/// of accumulators, vectors. Dead channels that fill a count up may stay.
const LIKED: [usize; 4] = [1, 4, 8, 16];

/// The graph as it stands, without its dead channels, and with some of them kept so that counts
/// are multiples of those that kernels like; nothing where no channel is dead. Forms differ.
pub(super) fn forms(graph: &Graph) -> Result<Vec<Graph>> {
    let found = analyse(graph);
    let all = removable(graph, &found);
    let mut sets: Vec<Vec<Vec<bool>>> = Vec::new();
    for multiple in LIKED {
        let dead = filled(graph, &found, all.clone(), multiple);
        if dead.iter().any(|d| d.contains(&true)) && !sets.contains(&dead) {
            sets.push(dead);
        }
    }
    let mut forms = Vec::new();
    for dead in &sets {
        if forms.is_empty() {
            forms.push(graph.clone());
        }
        let mut form = graph.clone();
        remove(&mut Patch::new(&mut form), &found, dead)?;
        forms.push(form);
    }
    Ok(forms)
}

/// Keeps dead channels until counts are multiples, or none are left to keep.
fn filled(graph: &Graph, found: &Analysis, mut dead: Vec<Vec<bool>>, multiple: usize) -> Vec<Vec<bool>> {
    if multiple == 1 {
        return dead;
    }
    loop {
        let mut changed = false;
        for channels in &mut dead {
            while channels.contains(&true) {
                let kept = channels.iter().filter(|d| !**d).count();
                if kept.is_multiple_of(multiple) {
                    break;
                }
                if let Some(first) = channels.iter().position(|d| *d) {
                    channels[first] = false;
                    changed = true;
                }
            }
        }
        if !changed {
            return dead;
        }
        // Channels that are coupled with a kept one are kept, and those that its rows read.
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

fn is_depthwise(graph: &Graph, node: &Node) -> bool {
    let (Op::Conv(conv), Some(x), Some(w)) = (&node.op, operand(node, 0), operand(node, 1)) else {
        return false;
    };
    conv.group > 1 && graph[x].shape[1] == conv.group && graph[w].shape[0] == conv.group
}

fn analyse(graph: &Graph) -> Analysis {
    let count = graph.values().count();
    let mut found =
        Analysis { links: BTreeMap::new(), channels: vec![None; count], constants: vec![Vec::new(); count] };
    for id in graph.topological() {
        let node = &graph[id];
        let output = node.outputs[0];
        let (link, channels) = link(graph, node, &found);
        if let Some(channels) = channels {
            let known = constants(graph, node, &link, &channels, &found);
            found.constants[output.index()] = known.unwrap_or_else(|| vec![None; channels.count]);
            found.channels[output.index()] = Some(channels);
        }
        found.links.insert(id, link);
    }
    found
}

/// The link of a node and where the channels of its result lie.
fn link(graph: &Graph, node: &Node, found: &Analysis) -> (Link, Option<Channels>) {
    const WALL: (Link, Option<Channels>) = (Link::Wall, None);
    let shape = &graph[node.outputs[0]].shape;
    let live = run_time(graph, node);
    let Some(&x) = live.first() else { return WALL };
    if node.outputs.len() != 1 || graph[x].dtype != DType::F32 {
        return WALL;
    }
    let constant = |i: usize| operand(node, i).is_none_or(|v| graph[v].constant().is_some());
    match &node.op {
        Op::Conv(conv) if conv.group == 1 && constant(1) && constant(2) => {
            return (Link::Product, Some(Channels::identity(1, shape[1])));
        }
        Op::Dense(_) if constant(1) && constant(2) => {
            let axis = shape.len() - 1;
            return (Link::Product, Some(Channels::identity(axis, shape[axis])));
        }
        Op::Conv(_) if !(is_depthwise(graph, node) && constant(1) && constant(2)) => return WALL,
        _ => {}
    }
    let Some(from) = found.channels[x.index()].clone() else { return WALL };
    let at = match &node.op {
        Op::Conv(_) => (from == Channels::identity(1, from.count)).then_some(from),
        Op::AveragePool(_) | Op::MaxPool(_) | Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) => {
            (from.axis == 1).then_some(from)
        }
        Op::Requantize(_)
        | Op::Relu(_)
        | Op::Clip(_)
        | Op::LeakyRelu(_)
        | Op::HardSigmoid(_)
        | Op::HardSwish(_)
        | Op::Sigmoid(_)
        | Op::Tanh(_)
        | Op::Sqrt(_) => Some(from),
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) => {
            let coupled = live.iter().all(|v| {
                found.channels[v.index()].as_ref() == Some(&from) && graph[*v].shape.len() == shape.len()
            });
            (coupled && shape[from.axis] == from.map.len()).then_some(from)
        }
        Op::Pad(pad) => {
            let rank = shape.len();
            (pad.pads[from.axis] == 0 && pad.pads[rank + from.axis] == 0).then_some(from)
        }
        Op::ReduceMean(mean) if mean.axes.contains(&from.axis) => None,
        Op::ReduceMean(mean) => {
            let gone = if mean.keepdims { 0 } else { mean.axes.iter().filter(|&&a| a < from.axis).count() };
            Some(Channels { axis: from.axis - gone, ..from })
        }
        Op::Transpose(t) => t.perm.iter().position(|&p| p == from.axis).map(|axis| Channels { axis, ..from }),
        Op::Reshape(_) => through_reshape(&graph[x].shape, shape, &from),
        _ => None,
    };
    match at {
        Some(channels) => (Link::Same, Some(channels)),
        None => WALL,
    }
}

/// The axis of the new shape along which alone the channel changes, if there is one.
fn through_reshape(old: &[usize], new: &[usize], from: &Channels) -> Option<Channels> {
    let inner = row_major_strides(old)[from.axis];
    let total: usize = old.iter().product();
    let ids: Vec<usize> = (0..total).map(|i| from.map[i / inner % old[from.axis]]).collect();
    let strides = row_major_strides(new);
    (0..new.len()).find_map(|axis| {
        let map: Vec<usize> =
            (0..new[axis]).map(|i| ids.get(i * strides[axis]).copied()).collect::<Option<_>>()?;
        let fits = ids.iter().enumerate().all(|(i, &c)| map[i / strides[axis] % new[axis]] == c);
        fits.then_some(Channels { axis, map, count: from.count })
    })
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
fn constants(
    graph: &Graph,
    node: &Node,
    link: &Link,
    channels: &Channels,
    found: &Analysis,
) -> Option<Vec<Option<i32>>> {
    let live = run_time(graph, node);
    let x = *live.first()?;
    let known = &found.constants[x.index()];
    let zeros = |v: ValueId, c: usize| found.constants[v.index()].get(c) == Some(&Some(zero(graph, v)));
    let each = |f: &dyn Fn(usize) -> Option<i32>| Some((0..channels.count).map(f).collect());
    let same_quant = graph[x].quant == graph[node.outputs[0]].quant;
    match (&node.op, link) {
        (Op::Conv(_) | Op::Dense(_), _) => rows(graph, node, link, found),
        // Moved or maximised: the number itself, within the limits.
        (Op::Transpose(_) | Op::Reshape(_) | Op::MaxPool(_) | Op::GlobalMaxPool(_), _) if same_quant => {
            let limits = output_of(graph, node);
            each(&|c| {
                let k = known.get(c).copied().flatten()?;
                limits.map_or_else(|| zero_of(graph, node), |l| Some(k.clamp(l.lo, l.hi)))
            })
        }
        (Op::Add(_) | Op::Sub(_), _) if live.len() == node.inputs.len() => {
            each(&|c| if live.iter().all(|&v| zeros(v, c)) { zero_of(graph, node) } else { None })
        }
        (Op::Mul(_), _) if graph[x].quant.is_some() => {
            each(&|c| if live.iter().any(|&v| zeros(v, c)) { zero_of(graph, node) } else { None })
        }
        (Op::Pad(pad), _) if pad.mode == PadMode::Constant && pad.value != 0.0 => None,
        (
            Op::Requantize(_)
            | Op::Relu(_)
            | Op::LeakyRelu(_)
            | Op::HardSwish(_)
            | Op::Tanh(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool(_)
            | Op::ReduceMean(_)
            | Op::Pad(_),
            _,
        ) => each(&|c| if zeros(x, c) { zero_of(graph, node) } else { None }),
        _ => None,
    }
}

/// Weights of a product, read as integers (floats: as they are), zero point taken off.
struct Weights {
    values: Vec<f64>,
    rows: usize,
    /// Operand indices a row sums over (1 for depthwise), and taps of each.
    columns: usize,
    taps: usize,
}

fn weights(graph: &Graph, node: &Node) -> Option<Weights> {
    let w = &graph[operand(node, 1)?];
    let tensor = w.constant()?;
    let (rows, columns) = (w.shape[0], w.shape[1]);
    let per_row = tensor.len() / rows.max(1);
    let zero = |row: usize| match &w.quant {
        None => 0.0,
        Some(q) => f64::from(q.zero_point[if q.axis.is_some() { row } else { 0 }]),
    };
    let values: Vec<f64> =
        tensor.to_f64_vec().iter().enumerate().map(|(i, v)| v - zero(i / per_row.max(1))).collect();
    Some(Weights { values, rows, columns, taps: per_row / columns.max(1) })
}

impl Weights {
    fn tap_values(&self, row: usize, column: usize) -> &[f64] {
        let at = (row * self.columns + column) * self.taps;
        &self.values[at..at + self.taps]
    }
}

fn padded(node: &Node) -> bool {
    matches!(&node.op, Op::Conv(c) if c.pads.iter().any(|&p| p > 0))
}

/// Rows of a Conv or Dense whose result is the same for every input.
fn rows(graph: &Graph, node: &Node, link: &Link, found: &Analysis) -> Option<Vec<Option<i32>>> {
    let x = operand(node, 0)?;
    let weights = weights(graph, node)?;
    let bias = operand(node, 2).and_then(|b| graph[b].constant()).map(|t| t.to_f64_vec());
    let bias = |row: usize| bias.as_ref().map_or(0.0, |b| b[row]);
    let summed = if matches!(node.op, Op::Conv(_)) { 1 } else { graph[x].shape.len() - 1 };
    let known = |column: usize| -> Option<i32> {
        let channels = found.channels[x.index()].as_ref().filter(|c| c.axis == summed)?;
        found.constants[x.index()].get(*channels.map.get(column)?).copied().flatten()
    };
    let column = |row: usize, column: usize| if *link == Link::Same { row } else { column };
    let (Some(xq), Some(yq), Some(out)) =
        (&graph[x].quant, &graph[node.outputs[0]].quant, output_of(graph, node))
    else {
        // Floats: nothing but zeros is summed, and what remains is zero.
        let row = |r: usize| {
            let zero = (0..weights.columns).all(|c| {
                known(column(r, c)) == Some(0) || weights.tap_values(r, c).iter().all(|w| *w == 0.0)
            });
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
            let (mut least, mut most) = match known(column(r, c)) {
                Some(k) => (f64::from(k) - zero, f64::from(k) - zero),
                None => (-128.0 - zero, 127.0 - zero),
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

/// Whether a product can do without channel `c` of its operand: a constant that goes into the
/// bias, or nothing but zero weights in the rows that stay.
fn spares(
    graph: &Graph,
    node: &Node,
    weights: &Weights,
    c: usize,
    found: &Analysis,
    dead_rows: &[bool],
) -> bool {
    let Some(x) = operand(node, 0) else { return false };
    let Some(channels) = &found.channels[x.index()] else { return false };
    if let Some(k) = found.constants[x.index()].get(c).copied().flatten()
        && (k == zero(graph, x) || (!padded(node) && graph[x].quant.is_some()))
    {
        return true;
    }
    channels.map.iter().enumerate().filter(|(_, m)| **m == c).all(|(column, _)| {
        (0..weights.rows).all(|r| {
            dead_rows.get(r) == Some(&true) || weights.tap_values(r, column).iter().all(|w| *w == 0.0)
        })
    })
}

/// The greatest set of channels that can leave together, by value and channel.
fn removable(graph: &Graph, found: &Analysis) -> Vec<Vec<bool>> {
    let all = found.channels.iter().map(|c| c.as_ref().map_or(Vec::new(), |c| vec![true; c.count]));
    greatest(graph, found, all.collect())
}

/// The greatest part of a set of channels that can leave together.
fn greatest(graph: &Graph, found: &Analysis, mut dead: Vec<Vec<bool>>) -> Vec<Vec<bool>> {
    for v in graph.outputs() {
        dead[v.index()].fill(false);
    }
    let products: BTreeMap<NodeId, Weights> = graph
        .nodes()
        .filter(|(id, _)| found.links.get(id) == Some(&Link::Product))
        .filter_map(|(id, node)| Some((id, weights(graph, node)?)))
        .collect();
    loop {
        let mut changed = false;
        for id in graph.topological().into_iter().rev() {
            let node = &graph[id];
            let output = node.outputs[0];
            let axis_fits = |v: ValueId| match (&node.op, &found.channels[v.index()]) {
                (Op::Conv(_), Some(c)) => c.axis == 1,
                (Op::Dense(_), Some(c)) => c.axis + 1 == graph[v].shape.len(),
                _ => true,
            };
            for v in run_time(graph, node) {
                for c in 0..dead[v.index()].len() {
                    if !dead[v.index()][c] {
                        continue;
                    }
                    let may = match found.links.get(&id) {
                        Some(Link::Product) => {
                            axis_fits(v)
                                && products
                                    .get(&id)
                                    .is_some_and(|w| spares(graph, node, w, c, found, &dead[output.index()]))
                        }
                        Some(Link::Same) => dead[output.index()][c],
                        _ => false,
                    };
                    if !may {
                        dead[v.index()][c] = false;
                        changed = true;
                    }
                }
            }
            if found.links.get(&id) == Some(&Link::Same) {
                for c in 0..dead[output.index()].len() {
                    let with = run_time(graph, node).iter().all(|v| dead[v.index()].get(c) == Some(&true));
                    if dead[output.index()][c] && !with {
                        dead[output.index()][c] = false;
                        changed = true;
                    }
                }
            }
        }
        if changed {
            continue;
        }
        // A value of no channels cannot be: its first one stays.
        let empty = dead.iter().position(|d| !d.is_empty() && d.iter().all(|&x| x));
        match empty {
            None => return dead,
            Some(v) => dead[v][0] = false,
        }
    }
}

/// The indices along an axis that stay.
fn kept(channels: &Channels, dead: &[bool]) -> Vec<usize> {
    (0..channels.map.len()).filter(|&i| !dead[channels.map[i]]).collect()
}

/// The slices of a tensor at some indices of an axis.
fn select(tensor: &Tensor, axis: usize, keep: &[usize]) -> Result<Tensor> {
    let shape = tensor.shape();
    let inner = row_major_strides(shape)[axis];
    let outer: usize = shape[..axis].iter().product();
    let at: Vec<usize> = (0..outer)
        .flat_map(|o| keep.iter().flat_map(move |&k| (0..inner).map(move |i| (o, k, i))))
        .map(|(o, k, i)| (o * shape[axis] + k) * inner + i)
        .collect();
    let mut new = shape.to_vec();
    new[axis] = keep.len();
    Tensor::new(
        new,
        crate::with_data!(tensor.data(), v => Data::from(at.iter().map(|&i| v[i]).collect::<Vec<_>>())),
    )
}

/// A quantization after the same selection.
fn select_quant(quant: Option<&Quant>, axis: usize, keep: &[usize]) -> Option<Quant> {
    let q = quant?;
    if q.axis != Some(axis) {
        return Some(q.clone());
    }
    Some(Quant {
        dtype: q.dtype,
        scale: keep.iter().map(|&i| q.scale[i]).collect(),
        zero_point: keep.iter().map(|&i| q.zero_point[i]).collect(),
        axis: q.axis,
    })
}

fn replace_constant(patch: &mut Patch<'_>, id: NodeId, index: usize, tensor: Tensor, quant: Option<Quant>) {
    let name = patch.graph()[id].inputs[index].map_or(String::new(), |v| patch.graph()[v].name.clone());
    let constant = patch.add_constant(&name, tensor);
    patch.set_dtype(constant, DType::F32);
    patch.set_quant(constant, quant);
    patch.node_mut(id).inputs[index] = Some(constant);
}

fn remove(patch: &mut Patch<'_>, found: &Analysis, dead: &[Vec<bool>]) -> Result<usize> {
    let order = patch.graph().topological();
    for &id in &order {
        match found.links.get(&id) {
            Some(Link::Product) => shrink_product(patch, id, found, dead)?,
            Some(Link::Same) => shrink_same(patch, id, found, dead)?,
            _ => {}
        }
    }
    let mut removed = 0;
    for (index, channels) in found.channels.iter().enumerate() {
        let Some(channels) = channels else { continue };
        let keep = kept(channels, &dead[index]);
        if keep.len() == channels.map.len() {
            continue;
        }
        removed += channels.map.len() - keep.len();
        let Some((id, value)) = patch.graph().values().nth(index) else { continue };
        let mut shape = value.shape.clone();
        shape[channels.axis] = keep.len();
        patch.set_shape(id, &shape);
    }
    Ok(removed)
}

fn shrink_product(patch: &mut Patch<'_>, id: NodeId, found: &Analysis, dead: &[Vec<bool>]) -> Result<()> {
    let node = patch.graph()[id].clone();
    let (Some(x), Some(w)) = (operand(&node, 0), operand(&node, 1)) else { return Ok(()) };
    let output = node.outputs[0];
    let rows = match &found.channels[output.index()] {
        Some(channels) => kept(channels, &dead[output.index()]),
        None => return Ok(()),
    };
    let graph = patch.graph();
    let Some(old) = weights(graph, &node) else { return Ok(()) };
    let all: Vec<usize> = (0..old.columns).collect();
    let columns = match &found.channels[x.index()] {
        Some(channels) if dead[x.index()].contains(&true) => kept(channels, &dead[x.index()]),
        _ => all,
    };
    if rows.len() == old.rows && columns.len() == old.columns {
        return Ok(());
    }
    // What the leaving channels add to every row, in units of the bias.
    let mut added = vec![0f64; old.rows];
    if let Some(channels) = &found.channels[x.index()] {
        for (column, &c) in channels.map.iter().enumerate() {
            let gone = dead[x.index()].get(c) == Some(&true);
            if let (true, Some(k)) = (gone, found.constants[x.index()].get(c).copied().flatten()) {
                let k = f64::from(k - zero(graph, x));
                for (r, sum) in added.iter_mut().enumerate() {
                    *sum += k * old.tap_values(r, column).iter().sum::<f64>();
                }
            }
        }
    }
    let (wt, wq) = (graph[w].constant().cloned(), graph[w].quant.clone());
    let Some(wt) = wt else { return Ok(()) };
    let weights = select(&select(&wt, 0, &rows)?, 1, &columns)?;
    let wq = select_quant(wq.as_ref(), 0, &rows);
    let bias = operand(&node, 2);
    let stored = bias.and_then(|b| graph[b].constant().cloned());
    let bias_quant = match bias {
        Some(b) => select_quant(graph[b].quant.as_ref(), 0, &rows),
        None => graph[x].quant.as_ref().zip(wq.as_ref()).map(|(x, w)| Quant {
            dtype: DType::I32,
            scale: w.scale.iter().map(|s| s * x.scale[0]).collect(),
            zero_point: vec![0; w.scale.len()],
            axis: w.axis,
        }),
    };
    let integer = graph[x].quant.is_some();
    replace_constant(patch, id, 1, weights, wq);
    let folds = integer && added.iter().any(|a| *a != 0.0);
    if stored.is_none() && !folds {
        return Ok(());
    }
    let tensor = match (&stored, integer) {
        (Some(t), false) => select(t, 0, &rows)?,
        _ => {
            let old = stored.map(|t| t.to_i64_vec()).unwrap_or_else(|| vec![0; added.len()]);
            let sums: Vec<i64> = rows.iter().map(|&r| old[r] + added[r] as i64).collect();
            if sums.iter().any(|&s| i32::try_from(s).is_err()) {
                return Err(Error::model(
                    node.site(),
                    "its bias leaves 32 bits when constant inputs are folded in",
                ));
            }
            Tensor::new(vec![sums.len()], Data::from_i64(DType::I32, &sums))?
        }
    };
    patch.node_mut(id).inputs.resize(3, None);
    replace_constant(patch, id, 2, tensor, bias_quant);
    Ok(())
}

/// Coupled nodes: constant operands lose the same indices.
fn shrink_same(patch: &mut Patch<'_>, id: NodeId, found: &Analysis, dead: &[Vec<bool>]) -> Result<()> {
    let node = patch.graph()[id].clone();
    let output = node.outputs[0];
    let Some(channels) = &found.channels[output.index()] else { return Ok(()) };
    let keep = kept(channels, &dead[output.index()]);
    if keep.len() == channels.map.len() {
        return Ok(());
    }
    let rank = patch.graph()[output].shape.len();
    match &mut patch.node_mut(id).op {
        Op::Conv(conv) => conv.group = keep.len(),
        Op::Reshape(reshape) => reshape.shape[channels.axis] = keep.len(),
        _ => {}
    }
    for (i, v) in node.inputs.iter().enumerate() {
        let Some(v) = *v else { continue };
        let Some(tensor) = patch.graph()[v].constant().cloned() else { continue };
        // Weights and bias of a depthwise convolution lie along axis 0; other constants are
        // broadcast, aligned at the last axis.
        let axis = if matches!(node.op, Op::Conv(_)) {
            Some(0)
        } else {
            channels.axis.checked_sub(rank - tensor.shape().len())
        };
        let Some(axis) = axis.filter(|&a| tensor.shape().get(a) == Some(&channels.map.len())) else {
            continue;
        };
        let quant = select_quant(patch.graph()[v].quant.as_ref(), axis, &keep);
        let tensor = select(&tensor, axis, &keep)?;
        replace_constant(patch, id, i, tensor, quant);
    }
    Ok(())
}
