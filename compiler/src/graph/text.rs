//! The stable text form of a graph, for `--dump-after` and snapshot tests.

use super::{Graph, Quant, ValueId, ValueKind};
use crate::ops::Op;
use std::fmt::Write;

/// Prints a graph, one node a line, in topological order.
pub fn print(graph: &Graph) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "graph {}", graph.name);
    for &id in graph.inputs() {
        let _ = writeln!(out, "  in  {}", typed(graph, id));
    }
    for &id in graph.states() {
        let _ = writeln!(out, "  state {}", typed(graph, id));
    }
    for id in graph.topological() {
        let node = &graph[id];
        let outs: Vec<String> = node.outputs.iter().map(|&v| typed(graph, v)).collect();
        let ins: Vec<String> = node
            .inputs
            .iter()
            .map(|v| match v {
                None => "_".to_string(),
                Some(v) if matches!(graph[*v].kind, ValueKind::Constant(_)) => {
                    format!("const {}", typed(graph, *v))
                }
                Some(v) => format!("%{}", graph[*v].name),
            })
            .collect();
        let _ = write!(out, "  {} = {}({})", outs.join(", "), op(&node.op), ins.join(", "));
        if !node.clamp.is_none() {
            let _ = write!(out, " clamp[{}, {}]", node.clamp.lo, node.clamp.hi);
        }
        let _ = writeln!(out, "  # {}", node.name);
    }
    for &id in graph.results() {
        let _ = writeln!(out, "  out %{}", graph[id].name);
    }
    for (&state, &next) in graph.states().iter().zip(graph.nexts()) {
        let _ = writeln!(out, "  next %{} is %{}", graph[state].name, graph[next].name);
    }
    out
}

/// The operator and its parameters: the inner half of the enum's debug form `Conv(Conv { .. })`.
fn op(op: &Op) -> String {
    let text = format!("{op:?}");
    match text.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')) {
        Some(inner) => inner.to_string(),
        None => text,
    }
}

fn typed(graph: &Graph, id: ValueId) -> String {
    let v = &graph[id];
    let dims: Vec<String> = v.shape.iter().map(ToString::to_string).collect();
    let quant = v.quant.as_ref().map_or(String::new(), quant);
    format!("%{}: {}[{}]{quant}", v.name, v.dtype, dims.join("x"))
}

fn quant(q: &Quant) -> String {
    match q.axis {
        None => format!(" {}(scale {:e}, zero {})", q.dtype, q.scale[0], q.zero_point[0]),
        Some(axis) => format!(" {}(per channel, axis {axis}, {} scales)", q.dtype, q.scale.len()),
    }
}
