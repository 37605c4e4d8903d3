//! How what is kept between runs is stored.
//!
//! In: a graph with states. Out: the same, where each state and its next value are stored alike, in sixteen bits
//! where recurrent layers of integers alone write and read it, in floats where those of floats do. Law: a state keeps
//! the `Quant` that it has, and what its next value has otherwise is changed at the end of a run.
//!
//! A recurrent layer's own state has sixteen bits from the first step of a sequence to the last. Where a sequence
//! goes on in the next run, eight bits between would lose what is slow.

use crate::graph::{Graph, NodeId, Patch, Quant, ValueId, ValueKind};
use crate::ops::recurrent::{CELL, Part, STATE};
use crate::ops::{Op, Recurrent, Requantize};
use crate::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};

/// Puts a `Requantize` behind each next value that is stored otherwise than its state.
pub(super) fn rescale(graph: &mut Graph) {
    let first = graph.results().len();
    for (i, state) in graph.states().to_vec().into_iter().enumerate() {
        let Some(&next) = graph.outputs().get(first + i) else { continue };
        let (want, dtype) = (graph[state].quant.clone(), graph[state].dtype);
        if graph[next].quant == want {
            continue;
        }
        let (name, shape) = (format!("{}.kept", graph[state].name), graph[next].shape.clone());
        let mut patch = Patch::new(graph);
        let kept = patch.add_value(&name, dtype, &shape);
        patch.set_quant(kept, want);
        patch.add_node(&name, Requantize.into(), vec![Some(next)], vec![kept]);
        patch.swap_names(next, kept);
        patch.set_output(first + i, kept);
    }
}

/// What stands between recurrent layers and a state, on both sides of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    values: BTreeSet<ValueId>,
    /// Layers, with what each hands to the state or takes from it.
    ends: BTreeSet<(NodeId, bool)>,
}

/// Operators that move elements of any size.
pub(super) fn moves(graph: &Graph, id: NodeId) -> bool {
    let moves = matches!(
        graph[id].op,
        Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Identity(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Split(_)
            | Op::Gather(_)
            | Op::Concat(_)
    );
    moves && graph[id].clamp.is_none()
}

/// The recurrent layer of a node that integers may compute.
fn layer(graph: &Graph, id: NodeId) -> Option<&Recurrent> {
    let Op::Recurrent(layer) = &graph[id].op else { return None };
    let constant = |i: usize| Some(graph[graph[id].inputs.get(i).copied().flatten()?].constant().is_some());
    (graph[id].clamp.is_none() && layer.integers(Default::default(), &constant).is_some()).then_some(layer)
}

/// The part of a layer that a value is, where that is the end of its sequence.
fn part(graph: &Graph, id: NodeId, value: ValueId) -> Option<Part> {
    let part = *layer(graph, id)?.parts.get(graph[id].outputs.iter().position(|v| *v == value)?)?;
    let single = graph[value].shape.first() == Some(&1);
    (part != Part::Sequence || single).then_some(part)
}

/// What is moved from a state to layers that begin with it; `None` if anything else reads it.
fn read(graph: &Graph, state: ValueId, route: &mut Route) -> Option<()> {
    let mut next = vec![state];
    while let Some(v) = next.pop() {
        if graph.outputs().contains(&v) || !route.values.insert(v) {
            return None;
        }
        for id in graph.consumers(v) {
            let node = &graph[id];
            let at = |i: usize| node.inputs.get(i).copied().flatten() == Some(v);
            let begins =
                (at(STATE) || at(CELL)) && node.inputs.iter().filter(|x| **x == Some(v)).count() == 1;
            if begins && layer(graph, id).is_some() {
                route.ends.insert((id, at(CELL)));
            } else if moves(graph, id) && at(0) && !matches!(node.op, Op::Concat(_)) {
                next.extend(&node.outputs);
            } else {
                return None;
            }
        }
    }
    Some(())
}

/// The nodes that move the ends of sequences to a next value; `None` if it is made of anything else.
fn written(graph: &Graph, next: ValueId) -> Option<(Vec<NodeId>, BTreeSet<(NodeId, ValueId)>)> {
    let (mut movers, mut ends, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![next]);
    while let Some(v) = open.pop() {
        if graph[v].constant().is_some() {
            continue;
        }
        let id = graph.producer(v)?;
        if part(graph, id, v).is_some() {
            ends.insert((id, v));
        } else if moves(graph, id) {
            if movers.insert(id) {
                open.extend(graph[id].inputs.iter().flatten());
            }
        } else {
            return None;
        }
    }
    let order = graph.topological().into_iter().filter(|id| movers.contains(id)).collect();
    (!ends.is_empty()).then_some((order, ends))
}

/// Finds states that recurrent layers alone write and read, and gives each next value a way of its own from the
/// layers, which others do not read: those may have eight bits.
pub(super) fn apart(graph: &mut Graph) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let first = graph.results().len();
    for (i, state) in graph.states().to_vec().into_iter().enumerate() {
        let mut route = Route::default();
        let Some(&next) = graph.outputs().get(first + i) else { continue };
        if graph[state].dtype != DType::F32 || read(graph, state, &mut route).is_none() {
            continue;
        }
        let Some((movers, ends)) = written(graph, next) else { continue };
        let copied = copied(graph, &movers, &ends);
        let Some(&own) = copied.get(&next) else { continue };
        let mut patch = Patch::new(graph);
        patch.swap_names(next, own);
        patch.set_output(first + i, own);
        remove_unread(graph, &movers, &ends);
        let of_cell = |(id, v): &(NodeId, ValueId)| (*id, part(graph, *id, copied[v]) == Some(Part::Cell));
        route.ends.extend(ends.iter().map(of_cell));
        route.values.extend(copied.values());
        routes.push(route);
    }
    // Routes that meet in a value have one scale.
    let mut joined: Vec<Route> = Vec::new();
    for mut route in routes {
        for other in std::mem::take(&mut joined) {
            match other.values.is_disjoint(&route.values) {
                true => joined.push(other),
                false => {
                    route.values.extend(other.values);
                    route.ends.extend(other.ends);
                }
            }
        }
        joined.push(route);
    }
    joined
}

/// Copies movers, and the results of layers that they read; by value, its copy.
fn copied(
    graph: &mut Graph,
    movers: &[NodeId],
    ends: &BTreeSet<(NodeId, ValueId)>,
) -> BTreeMap<ValueId, ValueId> {
    let mut copies = BTreeMap::new();
    let mut patch = Patch::new(graph);
    let like = |patch: &mut Patch<'_>, v: ValueId| {
        let value = &patch.graph()[v];
        let (name, dtype, shape) = (format!("{}.kept", value.name), value.dtype, value.shape.clone());
        patch.add_value(&name, dtype, &shape)
    };
    for &(id, v) in ends {
        let copy = like(&mut patch, v);
        copies.insert(v, copy);
        let node = patch.node_mut(id);
        let at = node.outputs.iter().position(|o| *o == v);
        if let (Some(at), Op::Recurrent(layer)) = (at, &mut node.op)
            && let Some(&part) = layer.parts.get(at)
        {
            layer.parts.push(part);
            node.outputs.push(copy);
        }
    }
    for &id in movers {
        let node = patch.graph()[id].clone();
        let outputs: Vec<ValueId> = node.outputs.iter().map(|&v| like(&mut patch, v)).collect();
        copies.extend(node.outputs.iter().copied().zip(outputs.iter().copied()));
        let inputs = node.inputs.iter().map(|v| v.map(|v| copies.get(&v).copied().unwrap_or(v))).collect();
        patch.add_node(&format!("{}.kept", node.name), node.op, inputs, outputs);
    }
    copies
}

/// Removes what nobody reads now that copies are read in its place.
fn remove_unread(graph: &mut Graph, movers: &[NodeId], ends: &BTreeSet<(NodeId, ValueId)>) {
    let read = |graph: &Graph, v: ValueId| graph.outputs().contains(&v) || !graph.consumers(v).is_empty();
    for &id in movers.iter().rev() {
        if !graph[id].outputs.iter().any(|&v| read(graph, v)) {
            Patch::new(graph).remove_node(id);
        }
    }
    for &(id, v) in ends {
        if read(graph, v) {
            continue;
        }
        let mut patch = Patch::new(graph);
        let node = patch.node_mut(id);
        if let (Some(at), Op::Recurrent(layer)) = (node.outputs.iter().position(|o| *o == v), &mut node.op) {
            layer.parts.remove(at);
            node.outputs.remove(at);
        }
    }
}

/// Stores routes in sixteen bits, with the finest step of a power of two that all of their layers' states fit; in
/// floats where floats compute all of the layers. Where they do some of them, a route stays as it is.
pub(super) fn widen(graph: &mut Graph, routes: &[Route]) {
    for route in routes {
        let bits = route.ends.iter().map(|&(id, cell)| match &graph[id].op {
            Op::Recurrent(layer) if layer.spans.is_some() => Some(if cell { layer.cell_bits() } else { 15 }),
            _ => None,
        });
        let bits: Vec<Option<u32>> = bits.collect();
        let quant =
            match bits.iter().copied().collect::<Option<Vec<u32>>>().and_then(|all| all.into_iter().min()) {
                Some(bits) => Some(Quant::per_tensor(DType::I16, libm::ldexpf(1.0, -(bits as i32)), 0)),
                None if bits.iter().all(Option::is_none) => None,
                None => continue,
            };
        for &v in &route.values {
            if !matches!(graph[v].kind, ValueKind::Constant(_)) {
                Patch::new(graph).set_quant(v, quant.clone());
            }
        }
    }
}
