//! Values that take sixteen bits because the user asked for it: signals of high dynamic range, and results whose
//! eighth bit is not enough.
//!
//! In: a graph whose values have `Quant`s of eight bits. Out: the named ones with sixteen, and a `Requantize` to the
//! eight that they had for each reader that wants them. Law: only what writes and reads sixteen bits directly is
//! widened: inputs and outputs of the model, convolutions and dense layers, and what moves values between these.

use super::calibrate::full;
use super::forms::integer_form;
use super::ptq::Seen;
use super::states::moves;
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId, ValueKind};
use crate::ops::{Op, Requantize};
use crate::options::Glob;
use crate::tensor::DType;
use crate::warning::Warning;
use std::collections::BTreeSet;

/// How much more than samples held a value may hold: of sixteen bits one is well spent so.
const HEADROOM: f32 = 2.0;

/// Steps of a layer's sums in a step of its result, at least: finer ones hold nothing, and native kernels want
/// the high word of a product of 64 bits.
const SUMS: f32 = 4.2;

/// Stores values in sixteen bits that have such a name, or that a node of such a name computes.
///
/// Errors: a name that nothing has.
pub(super) fn widen(graph: &mut Graph, seen: &Seen, names: &[Glob]) -> Result<()> {
    for name in names {
        let matching: Vec<ValueId> =
            graph.values().filter(|(v, _)| named(graph, *v, name)).map(|(v, _)| v).collect();
        if matching.is_empty() {
            let text = format!("no value that is computed has a name like `{name}`");
            return Err(Error::option("int16", text)
                .help("names are those of inputs and nodes of the model; `inspect` lists them"));
        }
        let mut refusals = Vec::new();
        let mut done = 0;
        for v in matching {
            if graph[v].quant.as_ref().is_some_and(|q| q.dtype == DType::I16) {
                done += 1;
                continue;
            }
            match Group::around(graph, v) {
                Ok(group) => {
                    group.widen(graph, seen);
                    done += 1;
                }
                Err(why) => refusals.push((v, why)),
            }
        }
        // A pattern takes what it can.
        if let (0, Some((v, why))) = (done, refusals.into_iter().next()) {
            let site = Site::Value(graph[v].name.clone());
            let warning =
                Warning::new(site, format!("keeps what it has in spite of `--int16 {name}`: {why}"));
            graph.warn(warning.help(
                "inputs of the model and results of convolutions and dense layers can take 16 bits in an int8 model",
            ));
        }
    }
    Ok(())
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

/// Values of one scale, between layers, inputs and outputs.
struct Group(BTreeSet<ValueId>);

impl Group {
    /// Errors: why they cannot take sixteen bits.
    fn around(graph: &Graph, v: ValueId) -> std::result::Result<Group, String> {
        let mut all = BTreeSet::from([v]);
        let mut next = vec![v];
        while let Some(v) = next.pop() {
            if graph[v].quant.is_none() {
                return Err("it is computed in floats".into());
            }
            let mut near: Vec<ValueId> = Vec::new();
            match graph.producer(v) {
                None if graph.inputs().contains(&v) => {}
                Some(p) if moves(graph, p) => near.extend(moved(graph, p)),
                Some(p) if layer(graph, p) => {}
                Some(p) => {
                    let node = &graph[p];
                    return Err(format!("`{}` ({}) gives 8 bits", node.name, node.op.name()));
                }
                None => return Err("it is a state or a constant".into()),
            }
            for reader in graph.consumers(v).into_iter().filter(|&r| moves(graph, r)) {
                near.extend(moved(graph, reader).into_iter().chain(graph[reader].outputs.iter().copied()));
            }
            next.extend(near.into_iter().filter(|&v| all.insert(v)));
        }
        Ok(Group(all))
    }

    fn widen(self, graph: &mut Graph, seen: &Seen) {
        let histograms: Vec<_> =
            self.0.iter().filter_map(|v| seen.histograms.get(v.index())?.as_ref()).collect();
        let (lo, hi) = full(&histograms);
        let sums = self.0.iter().filter_map(|&v| sum_step(graph, v)).fold(0.0, f32::max);
        let step = (hi.max(-lo) * HEADROOM / 32768.0).max(SUMS * sums);
        let scale = if step.is_normal() { step } else { 1.0 / 32768.0 };
        let wide = Quant::per_tensor(DType::I16, scale, 0);
        for &v in &self.0 {
            let eight = graph[v].quant.clone();
            Patch::new(graph).set_quant(v, Some(wide.clone()));
            let narrow = |id: &NodeId| {
                integer_form(&graph[*id].op)
                    && !moves(graph, *id)
                    && !(layer(graph, *id) && reads_first(graph, *id, v))
            };
            let readers: Vec<NodeId> = graph.consumers(v).into_iter().filter(narrow).collect();
            if readers.is_empty() {
                continue;
            }
            let (name, shape) = (format!("{}.narrow", graph[v].name), graph[v].shape.clone());
            let mut patch = Patch::new(graph);
            let copy = patch.add_value(&name, DType::F32, &shape);
            patch.set_quant(copy, eight);
            patch.add_node(&name, Requantize.into(), vec![Some(v)], vec![copy]);
            for id in readers {
                for operand in &mut patch.node_mut(id).inputs {
                    if *operand == Some(v) {
                        *operand = Some(copy);
                    }
                }
            }
        }
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

/// Whether a node reads a value as its first operand and nowhere else.
fn reads_first(graph: &Graph, id: NodeId, v: ValueId) -> bool {
    let mut operands = graph[id].inputs.iter();
    operands.next() == Some(&Some(v)) && operands.all(|o| *o != Some(v))
}

/// What a node moves.
fn moved(graph: &Graph, id: NodeId) -> Vec<ValueId> {
    let node = &graph[id];
    let count = if matches!(node.op, Op::Concat(_)) { node.inputs.len() } else { 1 };
    node.inputs.iter().take(count).flatten().copied().collect()
}
