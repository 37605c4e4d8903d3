//! Checks that a graph is well formed; runs between passes.

use super::{Graph, ValueKind};
use crate::error::{Error, Result, Site};

/// Refuses a graph with dangling ids, two producers of a value, a cycle, or a node whose
/// outputs disagree with its operator's own shape inference.
pub fn verify(graph: &Graph) -> Result<()> {
    let mut produced = vec![0u32; graph.values.len()];
    let mut read = vec![false; graph.values.len()];
    for (_, node) in graph.nodes() {
        for id in node.inputs.iter().flatten().chain(&node.outputs) {
            if id.index() >= graph.values.len() {
                return Err(Error::internal(node.site(), "refers to a value that does not exist"));
            }
        }
        for id in &node.outputs {
            produced[id.index()] += 1;
        }
        for id in node.inputs.iter().flatten() {
            read[id.index()] = true;
        }
    }
    for id in graph.outputs() {
        read[id.index()] = true;
    }
    for (id, value) in graph.values() {
        let n = produced[id.index()];
        let activation = matches!(value.kind, ValueKind::Activation);
        if n > 1 || (n == 1 && !activation) {
            return Err(Error::internal(Site::Value(value.name.clone()), "has more than one origin"));
        }
        if n == 0 && activation && read[id.index()] {
            return Err(Error::internal(Site::Value(value.name.clone()), "is read but nothing computes it"));
        }
        if let Some(t) = value.constant()
            && t.shape() != value.shape
        {
            return Err(Error::internal(Site::Value(value.name.clone()), "constant and shape disagree"));
        }
    }
    let states: Vec<_> =
        graph.values().filter(|(_, v)| matches!(v.kind, ValueKind::State(_))).map(|(id, _)| id).collect();
    if states.len() != graph.states.len() || states.iter().any(|id| !graph.states.contains(id)) {
        return Err(Error::internal(Site::Whole, "values that are kept and the list of states disagree"));
    }
    for (&state, &next) in graph.states().iter().zip(graph.nexts()) {
        let (state, next) = (&graph[state], &graph[next]);
        let holds = matches!(&state.kind, ValueKind::State(t) if t.shape() == state.shape && t.dtype() == state.dtype);
        if !holds || state.shape != next.shape || state.dtype != next.dtype {
            return Err(Error::internal(
                Site::Value(state.name.clone()),
                "a state and its next value disagree",
            ));
        }
    }
    if graph.outputs().len() < graph.states().len() || graph.outputs().iter().any(|v| states.contains(v)) {
        return Err(Error::internal(Site::Whole, "a state is an output, or has no next value"));
    }
    if graph.topological().len() != graph.nodes().count() {
        return Err(Error::internal(Site::Whole, "the graph has a cycle"));
    }
    for (id, node) in graph.nodes() {
        let operands = graph.operands(id);
        let types = node.op.infer(&operands).map_err(|e| e.at(node.site()))?;
        for (out, ty) in node.outputs.iter().zip(&types) {
            let value = &graph[*out];
            if value.shape != ty.shape {
                return Err(Error::internal(
                    node.site(),
                    format!(
                        "output `{}` has shape {:?}, the operator gives {:?}",
                        value.name, value.shape, ty.shape
                    ),
                ));
            }
        }
    }
    Ok(())
}
