//! Nodes of a model in an order in which they can run.
//!
//! In: nodes that name what they read and write. Out: indices in topological order.
//! Law: stable (model order wherever that already works); a cycle is refused by name.

use super::proto::RawNode;
use crate::error::{Error, Result, Site};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Topological order; reads of names that no node writes do not count.
pub(super) fn order(nodes: &[RawNode]) -> Result<Vec<usize>> {
    let mut writer: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|n| !n.is_empty()) {
            if writer.insert(name, i).is_some() {
                return Err(Error::model(site(node), format!("`{name}` is computed by two nodes")));
            }
        }
    }
    let mut waits = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for from in node.reads().filter_map(|name| writer.get(name)) {
            waits[i] += 1;
            readers[*from].push(i);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|&i| waits[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    // Walk backwards through waiting nodes until one repeats: that one is on a cycle.
    let mut seen = vec![false; nodes.len()];
    let mut at = (0..nodes.len()).find(|&i| waits[i] > 0).unwrap_or(0);
    while !seen[at] {
        seen[at] = true;
        let mut from = nodes[at].reads().filter_map(|name| writer.get(name));
        match from.find(|&&f| waits[f] > 0) {
            Some(&f) => at = f,
            None => break,
        }
    }
    Err(Error::model(site(&nodes[at]), "depends on its own result: the graph has a cycle"))
}

/// Where a node stands; a node without a name goes by its first output.
pub(super) fn site(node: &RawNode) -> Site {
    let op = match node.domain.as_str() {
        "" | "ai.onnx" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    };
    Site::Node { name: name(node), op }
}

/// The node's own name, else the operator and the first output.
pub(super) fn name(node: &RawNode) -> String {
    if !node.name.is_empty() {
        return node.name.clone();
    }
    let output = node.outputs.iter().find(|n| !n.is_empty()).map_or("", String::as_str);
    format!("{}:{output}", node.op_type)
}
