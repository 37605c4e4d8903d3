//! Values that take sixteen bits because the user asked for it: signals of high dynamic range, and results whose
//! eighth bit is not enough.
//!
//! In: a graph whose values have `Quant`s of eight bits. Out: the named ones with sixteen, and a `Requantize` to the
//! eight that they had for each reader that wants them. Law: only what writes and reads sixteen bits directly is
//! widened: inputs and outputs of the model, convolutions and dense layers, sums and products of elements, what
//! LayerNormalization and means read, and what moves values between these. Other element-wise operators whose results
//! are named are computed in floats, whose results sixteen bits hold.

use super::calibrate::{decibels, full};
use super::forms::integer_form;
use super::ptq::Seen;
use super::states::moves;
use super::widths;
use super::wished::joined;
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId, ValueKind};
use crate::ops::{Op, PadMode, Requantize};
use crate::options::Glob;
use crate::tensor::DType;
use crate::warning::Warning;
use std::collections::{BTreeMap, BTreeSet};

/// How much more than samples held a value may hold: of sixteen bits one is well spent so.
const HEADROOM: f32 = 2.0;

/// Steps of a layer's sums in a step of its result, at least: finer ones hold nothing, and native kernels want
/// the high word of a product of 64 bits.
const SUMS: f32 = 4.2;

/// Stores values in sixteen bits that have such a name, or that a node of such a name computes, and warns of inputs
/// that want them. Gives the nodes that store results of floats.
///
/// Errors: a name that nothing has.
pub(super) fn widen(graph: &mut Graph, seen: &Seen, names: &[Glob]) -> Result<Vec<NodeId>> {
    // What reads a value is asked before it whether it takes sixteen bits.
    let order = graph.topological().into_iter().rev().flat_map(|id| graph[id].outputs.clone());
    let order: Vec<ValueId> = order.chain(graph.inputs().to_vec()).collect();
    let mut written = Vec::new();
    let mut refused: BTreeMap<ValueId, String> = BTreeMap::new();
    let mut matching: Vec<Vec<ValueId>> = Vec::new();
    for name in names {
        let all: Vec<ValueId> = order.iter().copied().filter(|v| named(graph, *v, name)).collect();
        if all.is_empty() {
            let text = format!("no value that is computed has a name like `{name}`");
            return Err(Error::option("int16", text)
                .help("names are those of inputs and nodes of the model; `inspect` lists them"));
        }
        matching.push(all);
    }
    let wide = |graph: &Graph, v: ValueId| graph[v].quant.as_ref().is_some_and(|q| q.dtype == DType::I16);
    for v in order.into_iter().filter(|v| matching.iter().flatten().any(|m| m == v)) {
        if wide(graph, v) {
            continue;
        }
        match Group::around(graph, v) {
            Ok(group) => written.extend(group.widen(graph, seen)),
            Err(why) => drop(refused.insert(v, why)),
        }
    }
    // A pattern takes what it can.
    for (name, all) in names.iter().zip(matching) {
        let first = all.iter().find_map(|v| Some((*v, refused.get(v)?)));
        if let (false, Some((v, why))) = (all.iter().any(|&v| wide(graph, v)), first) {
            let site = Site::Value(graph[v].name.clone());
            let warning =
                Warning::new(site, format!("keeps what it has in spite of `--int16 {name}`: {why}"));
            graph.warn(warning.help(
                "inputs of the model, results of convolutions and dense layers and of what works element by element \
                 can take 16 bits in an int8 model",
            ));
        }
    }
    for id in graph.topological().into_iter().filter(|id| written.contains(id)) {
        pass_floats(graph, id);
    }
    warn_of_inputs(graph, seen);
    Ok(written)
}

/// Takes out what stores results that nobody reads in sixteen bits, of what [`widen`] wrote.
pub(super) fn remove_unread(graph: &mut Graph, written: &[NodeId]) {
    for &id in written {
        let unread = |&v: &ValueId| graph.consumers(v).is_empty() && !graph.outputs().contains(&v);
        if graph[id].outputs.iter().all(unread) {
            Patch::new(graph).remove_node(id);
        }
    }
}

/// Decibels that eight bits keep of an input below which it is said that sixteen may be wanted: a signal of even
/// loudness keeps some 40.
const LOUD: f64 = 26.0;

/// Warns of inputs of which eight bits keep little.
fn warn_of_inputs(graph: &mut Graph, seen: &Seen) {
    let mut warnings = Vec::new();
    for &v in graph.inputs() {
        let (Some(quant), Some(Some(histogram))) = (&graph[v].quant, seen.histograms.get(v.index())) else {
            continue;
        };
        let kept = decibels(histogram, quant);
        if quant.dtype == DType::I8 && kept < LOUD {
            let (name, (lo, hi)) = (&graph[v].name, full(&[histogram]));
            let text = format!(
                "lies within {lo:.3} to {hi:.3}, but most of it is so much smaller that 8 bits keep {kept:.0} dB of it"
            );
            warnings.push(Warning::new(Site::Value(name.clone()), text).help(format!(
                "`--int16 {name}` stores it in 16 bits; `eval` and `compare` show whether that matters"
            )));
        }
    }
    warnings.into_iter().for_each(|w| graph.warn(w));
}

/// Gives those who compute in floats what stands before a `Requantize` to sixteen bits.
fn pass_floats(graph: &mut Graph, id: NodeId) {
    let (Some(real), [stored]) = (graph[id].inputs[0], graph[id].outputs.as_slice()) else { return };
    let stored = *stored;
    let floats = |id: &NodeId| {
        let mut outputs = graph[*id].outputs.iter();
        !integer_form(&graph[*id].op) || outputs.any(|&v| stays_real(graph, v))
    };
    let readers: Vec<NodeId> = graph.consumers(stored).into_iter().filter(floats).collect();
    readers.into_iter().for_each(|reader| Patch::new(graph).redirect(reader, stored, real));
}

/// Whether a value without a `Quant` is a float because sixteen bits store it.
pub(super) fn stays_real(graph: &Graph, v: ValueId) -> bool {
    let wide = |id: &NodeId| {
        let stored = graph[*id].outputs.first().and_then(|&v| graph[v].quant.as_ref());
        matches!(graph[*id].op, Op::Requantize(_)) && stored.is_some_and(|q| q.dtype == DType::I16)
    };
    graph[v].quant.is_none() && graph.consumers(v).iter().any(wide)
}

/// Whether a real value of the run has that name, or its node has.
fn named(graph: &Graph, v: ValueId, name: &Glob) -> bool {
    let value = &graph[v];
    let real =
        value.dtype == DType::F32 && !matches!(value.kind, ValueKind::Constant(_) | ValueKind::State(_));
    let of = |id: NodeId| name.matches(&graph[id].name);
    real && (name.matches(&value.name) || graph.producer(v).is_some_and(of))
}

/// Whether a node is a layer of constant weights that integers compute, and reads that value as its input.
fn layer(graph: &Graph, id: NodeId) -> bool {
    let weights = graph[id].inputs.get(1).copied().flatten();
    matches!(graph[id].op, Op::Conv(_) | Op::Dense(_))
        && weights.is_some_and(|w| graph[w].constant().is_some())
}

/// Whether a node adds, subtracts or multiplies elements that are stored as integers.
fn sums(graph: &Graph, id: NodeId) -> bool {
    let stored = |&v: &ValueId| graph[v].quant.is_some() || graph[v].constant().is_some();
    matches!(graph[id].op, Op::Add(_) | Op::Sub(_) | Op::Mul(_))
        && graph[id].inputs.iter().flatten().all(stored)
}

/// Elements of a row of sixteen bits that a LayerNormalization takes, whatever their steps.
const ROW: usize = 1 << 9;

/// Whether a node normalizes rows that it takes in sixteen bits.
fn normalizes(graph: &Graph, id: NodeId) -> bool {
    matches!(graph[id].op, Op::Normalization(_))
        && widths::summed(graph, id).is_some_and(|count| count <= ROW)
}

/// Whether a node wants a value in eight bits.
fn narrow(graph: &Graph, id: NodeId, v: ValueId) -> bool {
    let reads_first = |id: NodeId| {
        let mut operands = graph[id].inputs.iter();
        operands.next() == Some(&Some(v)) && operands.all(|o| *o != Some(v))
    };
    let real = graph[id].outputs.iter().any(|&v| stays_real(graph, v));
    let summed = match &graph[id].op {
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) => true,
        op => {
            let most = if matches!(op, Op::Normalization(_)) { ROW } else { widths::SUMMED };
            reads_first(id) && widths::summed(graph, id).is_some_and(|count| count <= most)
        }
    };
    let takes = real || summed || carries(graph, id) || (layer(graph, id) && reads_first(id));
    integer_form(&graph[id].op) && !takes
}

/// Whether a node writes elements of its operand, of any size, to other places.
fn carries(graph: &Graph, id: NodeId) -> bool {
    let plain = |mode, value| mode != PadMode::Constant || value == 0.0;
    moves(graph, id)
        || matches!(&graph[id].op, Op::Pad(pad) if plain(pad.mode, pad.value)) && graph[id].clamp.is_none()
}

/// Values of one scale, between layers, inputs and outputs.
struct Group {
    values: BTreeSet<ValueId>,
    /// Those that floats compute from now on.
    real: Vec<ValueId>,
}

impl Group {
    /// Errors: why they cannot take sixteen bits.
    fn around(graph: &Graph, v: ValueId) -> std::result::Result<Group, String> {
        let mut all = BTreeSet::from([v]);
        let mut real = Vec::new();
        let mut next = vec![v];
        while let Some(v) = next.pop() {
            if graph[v].quant.is_none() {
                return Err("it is computed in floats".into());
            }
            let mut near: Vec<ValueId> = Vec::new();
            match graph.producer(v) {
                None if graph.inputs().contains(&v) => {}
                Some(p) if carries(graph, p) => near.extend(moved(graph, p)),
                Some(p) if layer(graph, p) || sums(graph, p) || !integer_form(&graph[p].op) => {}
                Some(p) if normalizes(graph, p) => {}
                Some(p)
                    if graph[p].op.is_elementwise() && !matches!(graph[p].op, Op::Relu(_) | Op::Clip(_)) =>
                {
                    real.push(v);
                }
                Some(p) => {
                    let node = &graph[p];
                    return Err(format!("`{}` ({}) gives 8 bits", node.name, node.op.name()));
                }
                None => return Err("it is a state or a constant".into()),
            }
            for reader in graph.consumers(v).into_iter().filter(|&r| carries(graph, r)) {
                near.extend(moved(graph, reader).into_iter().chain(graph[reader].outputs.iter().copied()));
            }
            next.extend(near.into_iter().filter(|&v| all.insert(v)));
        }
        let gains = |&v: &ValueId| {
            let wide = |&id: &NodeId| !narrow(graph, id, v) && !carries(graph, id);
            graph.outputs().contains(&v) || graph.consumers(v).iter().any(wide)
        };
        match all.iter().any(gains) {
            true => Ok(Group { values: all, real }),
            false => Err("all that read it take 8 bits".into()),
        }
    }

    /// Gives what stores results of floats.
    fn widen(self, graph: &mut Graph, seen: &Seen) -> Vec<NodeId> {
        let histograms: Vec<_> =
            self.values.iter().filter_map(|v| seen.histograms.get(v.index())?.as_ref()).collect();
        let wished = joined(&self.values, &seen.ranges);
        let (lo, hi, headroom) = match (wished, full(&histograms)) {
            (Some(range), _) => (range.lo, range.hi, 32768.0 / 32767.0),
            (None, (lo, hi)) => (lo, hi, HEADROOM),
        };
        let sums = self.values.iter().filter_map(|&v| sum_step(graph, v)).fold(0.0, f32::max);
        let step = (hi.max(-lo) * headroom / 32768.0).max(SUMS * sums);
        let scale = if step.is_normal() { step } else { 1.0 / 32768.0 };
        let wide = Quant::per_tensor(DType::I16, scale, 0);
        for &v in &self.values {
            let eight = graph[v].quant.clone();
            Patch::new(graph).set_quant(v, Some(wide.clone()));
            let readers: Vec<NodeId> =
                graph.consumers(v).into_iter().filter(|&id| narrow(graph, id, v)).collect();
            if readers.is_empty() {
                continue;
            }
            let (name, shape) = (format!("{}.narrow", graph[v].name), graph[v].shape.clone());
            let mut patch = Patch::new(graph);
            let copy = patch.add_value(&name, DType::F32, &shape);
            patch.set_quant(copy, eight);
            patch.add_node(&name, Requantize.into(), vec![Some(v)], vec![copy]);
            readers.into_iter().for_each(|reader| patch.redirect(reader, v, copy));
        }
        let store = |v: ValueId| {
            let id = graph.producer(v)?;
            let (name, shape) = (format!("{}.real", graph[v].name), graph[v].shape.clone());
            let mut patch = Patch::new(graph);
            let real = patch.add_value(&name, DType::F32, &shape);
            patch.node_mut(id).outputs.iter_mut().filter(|o| **o == v).for_each(|o| *o = real);
            Some(patch.add_node(&name, Requantize.into(), vec![Some(real)], vec![v]))
        };
        self.real.into_iter().filter_map(store).collect()
    }
}

/// The greatest step of the sums that become a value, where a layer computes it.
fn sum_step(graph: &Graph, v: ValueId) -> Option<f32> {
    let id = graph.producer(v).filter(|&id| layer(graph, id))?;
    let operand = |i: usize| graph[id].inputs.get(i).copied().flatten();
    let input = graph[operand(0)?].quant.as_ref()?;
    let weights = graph[operand(1)?].constant()?.to_f32_vec();
    let far = weights.iter().fold(0.0f32, |far, w| far.max(w.abs()));
    Some(input.scale.first()? * far / 127.0)
}

/// What a node moves.
fn moved(graph: &Graph, id: NodeId) -> Vec<ValueId> {
    let node = &graph[id];
    let count = if matches!(node.op, Op::Concat(_)) { node.inputs.len() } else { 1 };
    node.inputs.iter().take(count).flatten().copied().collect()
}
