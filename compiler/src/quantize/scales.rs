//! Which scale each value gets from what calibration saw.
//!
//! In: the float graph and a histogram per value. Out: a `Quant` for every value that an integer
//! node computes or reads. Law: values that operators only move share one scale, and it covers
//! everything that is stored with it, constants included.

use super::calibrate::Histogram;
use super::ptq::Seen;
use super::qdq::carries;
use super::settle::{fixed, integer_form};
use crate::graph::{Graph, NodeId, Quant, ValueId, ValueKind};
use crate::ops::Op;
use crate::tensor::DType;
use std::collections::BTreeMap;

/// A quantization for every value that an integer node computes or reads.
pub(super) fn choose(graph: &Graph, seen: &Seen, samples: usize) -> Vec<(ValueId, Quant)> {
    let class = tie(graph);
    let mut members: BTreeMap<usize, Vec<ValueId>> = BTreeMap::new();
    for (v, value) in graph.values() {
        let touched = |id: NodeId| integer_form(&graph[id].op);
        let wanted = value.dtype == DType::F32
            && !matches!(value.kind, ValueKind::Constant(_))
            && (graph.producer(v).is_some_and(touched) || graph.consumers(v).into_iter().any(touched));
        if wanted {
            members.entry(class[v.index()]).or_default().push(v);
        }
    }
    let mut chosen = Vec::new();
    for group in members.values() {
        // What is only moved adds nothing to the range, except a padding and what is moved out
        // of a constant.
        let source = |v: &&ValueId| {
            graph.producer(**v).is_none_or(|p| {
                let moved = graph[p].inputs.first().copied().flatten();
                !tied(&graph[p].op)
                    || matches!(graph[p].op, Op::Pad(_))
                    || moved.is_some_and(|x| graph[x].constant().is_some())
            })
        };
        let sources: Vec<ValueId> = group.iter().filter(source).copied().collect();
        let known: Vec<Option<Quant>> =
            sources.iter().map(|&v| graph.producer(v).and_then(|p| fixed(&graph[p].op))).collect();
        let mut all = Histogram::new();
        let cut = cut(graph, group);
        for v in if !cut.is_empty() {
            &cut
        } else if sources.is_empty() {
            group
        } else {
            &sources
        } {
            if let Some(h) = &seen.histograms[v.index()] {
                all.merge(h);
            }
        }
        // Operands of a Concat that are no members of the class are stored with its scale too.
        let joined = joined(graph, seen, group, samples);
        let alone = joined.is_empty();
        joined.iter().for_each(|h| all.merge(h));
        let quant = match known.first() {
            Some(Some(first)) if alone && known.iter().all(|k| k.as_ref() == Some(first)) => {
                all.quant_or(first.clone())
            }
            _ if group.len() == 1 && alone && seen.logits.contains_key(&group[0]) => {
                seen.logits[&group[0]].clone()
            }
            _ => all.quant(),
        };
        chosen.extend(group.iter().map(|&v| (v, quant.clone())));
    }
    chosen
}

/// The results that stand for a value which only Relu and Clip read: what they cut away needs no
/// steps, and a number beyond the range of the results saturates to what they would make of it.
fn cut(graph: &Graph, group: &[ValueId]) -> Vec<ValueId> {
    let [v] = group else { return Vec::new() };
    let readers = graph.consumers(*v);
    let cuts = |&r: &NodeId| matches!(graph[r].op, Op::Relu(_) | Op::Clip(_));
    if graph.outputs().contains(v) || !readers.iter().all(cuts) {
        return Vec::new();
    }
    readers.iter().map(|&r| graph[r].outputs[0]).collect()
}

/// What constants and results with a scale of their own bring to the classes that a Concat joins
/// them to: a constant counts once a sample.
fn joined(graph: &Graph, seen: &Seen, group: &[ValueId], samples: usize) -> Vec<Histogram> {
    let mut all = Vec::new();
    for &v in group {
        let Some(concat) = graph.producer(v).filter(|&p| matches!(graph[p].op, Op::Concat(_))) else {
            continue;
        };
        for &x in graph[concat].inputs.iter().flatten() {
            if let Some(real) = graph[x].real_constant() {
                let mut histogram = Histogram::new();
                histogram.add(&real.to_f32_vec());
                all.push(histogram.times(samples as u64));
            } else if keeps_own(graph, x)
                && let Some(Some(histogram)) = seen.histograms.get(x.index())
            {
                all.push(histogram.clone());
            }
        }
    }
    all
}

/// A bounded result (a probability, a gate) that others read too keeps its own scale and is
/// rescaled before a Concat joins it.
fn keeps_own(graph: &Graph, v: ValueId) -> bool {
    graph.producer(v).is_some_and(|p| fixed(&graph[p].op).is_some()) && graph.sole_reader(v).is_none()
}

/// Operators whose operands and results share one scale. A separate Relu or Clip does not: its
/// result has the smaller range.
fn tied(op: &Op) -> bool {
    carries(op) && !matches!(op, Op::Relu(_) | Op::Clip(_))
}

/// Classes of values that share a scale, by value index: union-find over moving operators.
fn tie(graph: &Graph) -> Vec<usize> {
    fn root(class: &mut [usize], mut i: usize) -> usize {
        while class[i] != i {
            class[i] = class[class[i]];
            i = class[i];
        }
        i
    }
    let mut class: Vec<usize> = (0..graph.values().count()).collect();
    for (_, node) in graph.nodes() {
        if !tied(&node.op) {
            continue;
        }
        let Some(&first) = node.outputs.first() else { continue };
        let concat = matches!(node.op, Op::Concat(_));
        let operands = node.inputs.iter().take(if concat { node.inputs.len() } else { 1 }).flatten();
        let joins = |v: &&ValueId| {
            let real = graph[**v].dtype == DType::F32 && graph[**v].constant().is_none();
            real && !(concat && keeps_own(graph, **v))
        };
        for v in operands.filter(joins).chain(&node.outputs) {
            let (a, b) = (root(&mut class, first.index()), root(&mut class, v.index()));
            class[a.max(b)] = a.min(b);
        }
    }
    (0..class.len()).map(|i| root(&mut class, i)).collect()
}
