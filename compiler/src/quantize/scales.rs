//! Which scale each value gets from what calibration saw.
//!
//! In: the float graph and a histogram per value. Out: a `Quant` for every value that an integer
//! node computes or reads. Law: values that operators only move share one scale, and it covers
//! everything that is stored with it, constants included.

use super::calibrate::{Histogram, affine, full, range, shared, shared_or};
use super::exact::exact;
use super::forms::{carries, integer_form, joins, moved};
use super::ptq::Seen;
use super::settle::fixed;
use super::wished::joined;
use crate::graph::{Graph, Node, NodeId, Quant, ValueId, ValueKind};
use crate::ops::chain::Link;
use crate::ops::{Attention, Chain, Op, PadMode, Reducing, attention};
use crate::tensor::DType;
use std::collections::BTreeMap;

/// A quantization for every value that an integer node computes or reads; `needs` says by value index how far down
/// what leads to scores need reach.
pub(super) fn choose(graph: &Graph, seen: &Seen, needs: &[Option<f32>]) -> Vec<(ValueId, Quant)> {
    let class = tie(graph, seen);
    let exact = exact(graph);
    let mut members: BTreeMap<usize, Vec<ValueId>> = BTreeMap::new();
    for (v, value) in graph.values() {
        let touched = |id: NodeId| integer_form(&graph[id].op);
        let wanted = value.dtype == DType::F32
            && !exact[v.index()]
            && !matches!(value.kind, ValueKind::Constant(_))
            && (graph.producer(v).is_some_and(touched) || graph.consumers(v).into_iter().any(touched));
        if wanted {
            members.entry(class[v.index()]).or_default().push(v);
        }
    }
    let (decisive, compared, cut) = (decisive(graph), compared(graph), cut(graph));
    let mut chosen = Vec::new();
    for group in members.values() {
        // A scale known beforehand is that of what is computed, and of nothing moved to it; a state is what was
        // computed in the run before.
        let kept = |v: ValueId| matches!(graph[v].kind, ValueKind::State(_));
        let source = |v: &&ValueId| {
            !kept(**v)
                && graph.producer(**v).is_none_or(|p| {
                    let moved = graph[p].inputs.first().copied().flatten();
                    !tied(&graph[p].op)
                        || matches!(graph[p].op, Op::Pad(_))
                        || moved.is_some_and(|x| graph[x].constant().is_some())
                })
        };
        let known: Vec<Option<Quant>> = group
            .iter()
            .filter(source)
            .map(|&v| graph.producer(v).and_then(|p| fixed(&graph[p].op)))
            .collect();
        let whole = views(graph, seen, group);
        let one_side = |v: &ValueId| compared[v.index()] || cut[v.index()];
        let sides: Vec<Histogram> = match group.iter().any(one_side) {
            true => whole.iter().flat_map(|view| view.sides()).collect(),
            false => Vec::new(),
        };
        let views: Vec<&Histogram> = whole.into_iter().chain(&sides).collect();
        let (lo, hi) = full(&views);
        let wished = joined(group, &seen.ranges);
        let floors: Option<Vec<f32>> = group.iter().map(|v| needs[v.index()]).collect();
        let floor = floors.and_then(|all| all.into_iter().reduce(f32::min)).filter(|floor| lo < *floor);
        let quant = match (wished, masks(graph, group), known.first()) {
            (Some(range), ..) => affine(range.lo, range.hi),
            (None, Some(floor), _) => affine(lo.max(floor), hi.max(floor)),
            _ if floor.is_some_and(f32::is_finite) => affine(floor.unwrap_or(lo), hi),
            _ if group.iter().any(|v| decisive[v.index()]) => affine(lo, hi),
            (None, None, Some(Some(first))) if known.iter().all(|k| k.as_ref() == Some(first)) => {
                shared_or(&views, first.clone(), shared(&views))
            }
            _ => logits(graph, seen, group).unwrap_or_else(|| shared(&views)),
        };
        let quant =
            if multiplied(graph, group) || factor(graph, group, &quant) { symmetric(&quant) } else { quant };
        chosen.extend(group.iter().map(|&v| (v, quant.clone())));
    }
    chosen
}

/// What the one reader of a group wants that is a Softmax, however often the value is moved before it.
fn logits(graph: &Graph, seen: &Seen, group: &[ValueId]) -> Option<Quant> {
    match read(graph, group).as_slice() {
        [v] if group.contains(v) => seen.logits.get(v).cloned(),
        _ => None,
    }
}

/// The attention that reads a value, and at which place, where it computes on integers.
fn attention(graph: &Graph, reader: NodeId, v: ValueId) -> Option<(&Attention, usize)> {
    let Op::Attention(attention) = &graph[reader].op else { return None };
    let place = graph[reader].inputs.iter().position(|&operand| operand == Some(v))?;
    integer_form(&graph[reader].op).then_some((attention, place))
}

/// Whether two run-time values are multiplied: products are short where zero is in the middle of both.
fn multiplied(graph: &Graph, group: &[ValueId]) -> bool {
    group.iter().any(|&v| {
        let readers = graph.consumers(v);
        readers.iter().any(|&r| attention(graph, r, v).is_some_and(|(_, place)| place < attention::MASK))
    })
}

/// A range around zero that is so many times longer than the range of the values costs too much of their eight bits.
const SKEW: f32 = 1.5;

/// Whether a value is the second factor of a product of two run-time values that may lie around zero: kernels lay it as
/// weights are laid, which have no zero point.
fn factor(graph: &Graph, group: &[ValueId], quant: &Quant) -> bool {
    let (lo, hi) = range(quant);
    let second = |v: ValueId| {
        graph.consumers(v).into_iter().any(|r| {
            let node = &graph[r];
            let of = |i: usize| node.inputs.get(i).copied().flatten();
            let live = of(0).is_some_and(|x| graph[x].constant().is_none());
            matches!(node.op, Op::MatMul(_)) && live && of(1) == Some(v)
        })
    };
    2.0 * hi.max(-lo) <= SKEW * (hi - lo) && group.iter().any(|&v| second(v))
}

/// The same range around zero.
fn symmetric(quant: &Quant) -> Quant {
    let (lo, hi) = range(quant);
    let most = hi.max(-lo);
    if quant.zero_point == [0] || !most.is_normal() {
        return quant.clone();
    }
    Quant::per_tensor(DType::I8, most / 127.0, 0)
}

/// The least that a mask of attention need add, where a group is nothing else: below it no share is left of a key.
fn masks(graph: &Graph, group: &[ValueId]) -> Option<f32> {
    let mut floor: Option<f32> = None;
    for &v in group {
        for r in graph.consumers(v) {
            match attention(graph, r, v) {
                Some((attention, attention::MASK)) => {
                    let own = attention.floor()?;
                    floor = Some(floor.map_or(own, |f| f.min(own)));
                }
                None if tied(&graph[r].op) && graph[r].outputs.iter().all(|o| group.contains(o)) => {}
                _ => return None,
            }
        }
        if graph.outputs().contains(&v) {
            return None;
        }
    }
    floor
}

/// Functions that grow so fast that a clipped end is most of what they give.
const STEEP: [&str; 4] = ["Cosh", "Exp", "Pow", "Sinh"];

/// Functions that take that back.
const BOUNDED: [&str; 7] = ["Atan", "Erf", "HardSigmoid", "Log", "Sigmoid", "Softsign", "Tanh"];

/// Whether what a chain gives grows as its steepest step does.
fn steep(chain: &Chain) -> bool {
    let mut grown: Vec<bool> = Vec::with_capacity(chain.steps.len());
    for step in &chain.steps {
        let name = step.op.name();
        let before =
            step.links.iter().any(|link| matches!(link, Link::Step(i) if grown.get(*i) == Some(&true)));
        grown.push(STEEP.contains(&name) || (before && !BOUNDED.contains(&name)));
    }
    grown.last() == Some(&true)
}

/// By value index, whether a node decides by it, itself or behind element-wise operators: which is
/// the greatest, which whole number it reaches. A clipped end cannot tell, and the last of 256ths
/// is not one.
fn decisive(graph: &Graph) -> Vec<bool> {
    let mut decisive = vec![false; graph.values().count()];
    for id in graph.topological().into_iter().rev() {
        let node = &graph[id];
        let decides = match &node.op {
            Op::ArgMax(_) => true,
            Op::Cast(cast) => !cast.to.is_float(),
            // Of these the end says more than all the rest.
            Op::Map(map) if STEEP.contains(&map.function) => true,
            Op::Chain(chain) if steep(chain) => true,
            op => (op.is_elementwise() || carries(op)) && node.outputs.iter().any(|v| decisive[v.index()]),
        };
        for v in node.inputs.iter().flatten().filter(|_| decides) {
            decisive[v.index()] = true;
        }
    }
    decisive
}

/// By value index, whether a maximum or minimum over several elements reads what is computed from it element
/// by element: one side of zero alone may be what it finds, so each side counts for itself. What such a
/// maximum reads directly has its result for a view.
fn compared(graph: &Graph) -> Vec<bool> {
    let mut compared = vec![false; graph.values().count()];
    let mut picked = compared.clone();
    for id in graph.topological().into_iter().rev() {
        let node = &graph[id];
        let reaches = |marks: &[bool]| node.outputs.iter().any(|v| marks[v.index()]);
        let (picks, compares) = match &node.op {
            Op::MaxPool(_) | Op::GlobalMaxPool(_) => (true, reaches(&compared)),
            Op::Reduce(reduce) if reduce.function == Reducing::Max => (true, reaches(&compared)),
            Op::Reduce(reduce) => (false, reduce.function == Reducing::Min),
            Op::TopK(_) => (false, true),
            Op::Map(map) if ["Max", "Min"].contains(&map.function) => (false, true),
            Op::Relu(_) | Op::Clip(_) => (false, false),
            op if carries(op) => (reaches(&picked), reaches(&compared)),
            op => (false, op.is_elementwise() && (reaches(&picked) || reaches(&compared))),
        };
        for v in node.inputs.iter().flatten() {
            picked[v.index()] |= picks;
            compared[v.index()] |= compares;
        }
    }
    compared
}

/// By value index, whether a function of one operand reads it whose result a Relu or Clip cuts: one side of zero may
/// be all that is left of it, so each side counts for itself. What such a Relu reads directly has its result for a
/// view.
fn cut(graph: &Graph) -> Vec<bool> {
    let mut cut = vec![false; graph.values().count()];
    let mut behind = cut.clone();
    for id in graph.topological().into_iter().rev() {
        let node = &graph[id];
        let live = node.inputs.iter().flatten().filter(|&&v| graph[v].constant().is_none()).count();
        let reaches = node.outputs.iter().any(|v| cut[v.index()]) || !node.clamp.is_none();
        let (cuts, function) = match &node.op {
            Op::Relu(_) | Op::Clip(_) => (true, false),
            op if carries(op) => (reaches, false),
            op if op.is_elementwise() && live == 1 => (reaches, reaches),
            _ => (false, false),
        };
        for v in node.inputs.iter().flatten() {
            cut[v.index()] |= cuts;
            behind[v.index()] |= function;
        }
    }
    behind
}

/// What the readers of a group see of it, each with its own weight: a value as it is, or what Relu
/// and Clip leave of it.
fn views<'a>(graph: &Graph, seen: &'a Seen, group: &[ValueId]) -> Vec<&'a Histogram> {
    read(graph, group).iter().filter_map(|v| seen.histograms.get(v.index())?.as_ref()).collect()
}

/// The values of a group that something reads for itself. What is only moved to other members adds nothing.
fn read(graph: &Graph, group: &[ValueId]) -> Vec<ValueId> {
    let mut all: Vec<ValueId> = Vec::new();
    for &v in group {
        let readers = graph.consumers(v);
        let cuts = |r: &NodeId| matches!(graph[*r].op, Op::Relu(_) | Op::Clip(_));
        let within = |r: &NodeId| tied(&graph[*r].op) && graph[*r].outputs.iter().all(|o| group.contains(o));
        let whole = |r: &NodeId| !cuts(r) && !within(r);
        if readers.is_empty() || graph.outputs().contains(&v) || readers.iter().any(whole) {
            all.push(v);
        }
        // What they cut away needs no steps: beyond the range it saturates to the same result.
        all.extend(readers.iter().filter(|r| cuts(r)).map(|&r| graph[r].outputs[0]));
    }
    all
}

/// How many times coarser than alone a Concat or scatter may store what others read as well.
const COARSER: f32 = 8.0;

/// Whether an operand of a node that joins keeps its own scale and is rescaled before it: a bounded result (a
/// probability, a gate), or a value of a far smaller range, that others read too; and what is kept between runs, for
/// the steps of a loop's error add up. `together` are the values that share a scale with the operand before any joins.
fn keeps_own(graph: &Graph, node: &Node, v: ValueId, together: &[ValueId], seen: &Seen) -> bool {
    if graph.states().contains(&v) {
        return true;
    }
    if graph.producer(v).is_some_and(|p| fixed(&graph[p].op).is_some()) {
        return graph.sole_reader(v).is_none();
    }
    let step = |v: ValueId| Some(seen.histograms.get(v.index())?.as_ref()?.quant().scale[0]);
    let (Some(own), Some(wide)) = (step(v), node.outputs.first().and_then(|&y| step(y))) else {
        return false;
    };
    let others = |m: &ValueId| {
        let within =
            |r: &NodeId| tied(&graph[*r].op) && graph[*r].outputs.iter().all(|o| together.contains(o));
        let joined = |r: &NodeId| joins(&graph[*r].op) || within(r);
        graph.outputs().contains(m) || !graph.consumers(*m).iter().all(joined)
    };
    wide >= COARSER * own && together.iter().any(others)
}

/// Operators whose operands and results share one scale. A separate Relu or Clip does not: its
/// result has the smaller range.
fn tied(op: &Op) -> bool {
    carries(op) && !matches!(op, Op::Relu(_) | Op::Clip(_))
}

/// Whether a Pad writes what lies far from all that its operand holds: that would only make the
/// steps of the operand wide, for all who read it.
fn widens(graph: &Graph, node: &Node, seen: &Seen) -> bool {
    let (Op::Pad(pad), Some(Some(x))) = (&node.op, node.inputs.first()) else { return false };
    let Some(Some(own)) = seen.histograms.get(x.index()) else { return false };
    let ((lo, hi), value) = (full(&[own]), pad.value as f32);
    let known = graph.producer(*x).and_then(|p| fixed(&graph[p].op)).map_or((lo, hi), |q| range(&q));
    pad.mode == PadMode::Constant && !(lo.min(known.0) <= value && value <= hi.max(known.1))
}

/// Classes of values that share a scale, by value index: union-find over moving operators.
fn tie(graph: &Graph, seen: &Seen) -> Vec<usize> {
    fn root(class: &mut [usize], mut i: usize) -> usize {
        while class[i] != i {
            class[i] = class[class[i]];
            i = class[i];
        }
        i
    }
    let mut class: Vec<usize> = (0..graph.values().count()).collect();
    let (joining, moving): (Vec<&Node>, Vec<&Node>) = graph
        .nodes()
        .map(|(_, node)| node)
        .filter(|node| tied(&node.op) && !widens(graph, node, seen))
        .partition(|node| joins(&node.op));
    let real = |v: &ValueId| graph[*v].dtype == DType::F32 && graph[*v].constant().is_none();
    for node in moving {
        let Some(&first) = node.outputs.first() else { continue };
        for v in moved(node).filter(real).chain(node.outputs.iter().copied()) {
            let (a, b) = (root(&mut class, first.index()), root(&mut class, v.index()));
            class[a.max(b)] = a.min(b);
        }
    }
    let mut together: BTreeMap<usize, Vec<ValueId>> = BTreeMap::new();
    for (v, _) in graph.values() {
        together.entry(root(&mut class, v.index())).or_default().push(v);
    }
    let alone: Vec<usize> = (0..class.len()).map(|i| root(&mut class, i)).collect();
    for node in joining {
        let Some(&first) = node.outputs.first() else { continue };
        let shares = |v: &ValueId| {
            let own = together.get(&alone[v.index()]).map_or(&[][..], Vec::as_slice);
            real(v) && !keeps_own(graph, node, *v, own, seen)
        };
        for v in moved(node).filter(shares).chain(node.outputs.iter().copied()) {
            let (a, b) = (root(&mut class, first.index()), root(&mut class, v.index()));
            class[a.max(b)] = a.min(b);
        }
    }
    // What one run leaves the next one reads.
    for (state, next) in graph.states().iter().zip(graph.nexts()) {
        let (a, b) = (root(&mut class, state.index()), root(&mut class, next.index()));
        class[a.max(b)] = a.min(b);
    }
    (0..class.len()).map(|i| root(&mut class, i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::chain::Step;
    use crate::ops::{Map, Relu, Tanh};

    #[test]
    fn a_chain_is_steep_until_a_bounded_function_takes_it_back() {
        let sinh = || Op::from(Map { function: "Sinh", attrs: BTreeMap::new(), tail: Vec::new() });
        let chain = |ops: Vec<Op>| {
            let link = |i: usize| if i == 0 { Link::Input } else { Link::Step(i - 1) };
            let steps = ops.into_iter().enumerate().map(|(i, op)| Step { op, links: vec![link(i)] });
            Chain { steps: steps.collect() }
        };
        assert!(steep(&chain(vec![sinh(), Relu.into()])));
        assert!(steep(&chain(vec![Tanh.into(), sinh()])));
        assert!(!steep(&chain(vec![sinh(), Tanh.into(), Relu.into()])));
        assert!(!steep(&chain(vec![Relu.into(), Tanh.into()])));
    }
}
