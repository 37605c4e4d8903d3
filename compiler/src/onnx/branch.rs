//! An If with a condition that is known, or a call of the model's own function: the nodes of the branch or
//! the body, ready to stand in its place.
//!
//! Law: names that the branch defines become names of the graph around it that nothing else has,
//! and its results take the names of the If's.

use super::order::{name, order};
use super::proto::{Branch, RawNode};
use crate::error::{Error, Result, Site};
use crate::ops::check::refuse;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// What replaces an If: initializers and nodes, in an order in which they can run.
pub(super) type Inlined = (Vec<(String, Result<Tensor>)>, Vec<RawNode>);

/// The branch that `condition` chooses, in place of `node`. `taken`: names of the graph around it;
/// those of the branch join them.
pub(super) fn inline(mut node: RawNode, condition: bool, taken: &mut BTreeSet<String>) -> Result<Inlined> {
    let attr = if condition { "then_branch" } else { "else_branch" };
    let at = node.branches.iter().position(|b| b.attr == attr);
    let branch =
        at.map(|at| node.branches.swap_remove(at)).ok_or_else(|| refuse(format!("has no {attr}")))?;
    if !branch.inputs.is_empty() {
        return Err(refuse(format!("the {attr} has inputs")));
    }
    place(node, branch, attr, taken)
}

/// A body in place of a node: its inputs are those of the node. `what` says what it is.
pub(super) fn place(
    node: RawNode,
    branch: Branch,
    what: &str,
    taken: &mut BTreeSet<String>,
) -> Result<Inlined> {
    if node.inputs.len() > branch.inputs.len() && what == "function" {
        return Err(refuse(format!(
            "gives its {what} {} inputs, which takes {}",
            node.inputs.len(),
            branch.inputs.len()
        )));
    }
    if branch.outputs.len() < node.outputs.len()
        || branch.outputs.len() != node.outputs.len() && what != "function"
    {
        return Err(refuse(format!(
            "the {what} has {} outputs, the node {}",
            branch.outputs.len(),
            node.outputs.len()
        )));
    }
    let path = name(&node);
    let names = rename(&branch, &node, &path, taken);
    let order = order(&branch.nodes)?;
    let computed: BTreeSet<&str> = branch.nodes.iter().flat_map(|n| &n.outputs).map(String::as_str).collect();
    // A result that no node of the branch computes, or that is wanted twice, is copied.
    let mut copies = Vec::new();
    for (inner, outer) in branch.outputs.iter().zip(&node.outputs).filter(|(_, o)| !o.is_empty()) {
        let from = names.get(inner).unwrap_or(inner);
        if from != outer {
            copies.push(copy(from, outer, &path));
        } else if !computed.contains(inner.as_str()) {
            return Err(refuse(format!("the {what} gives `{inner}`, which nothing computes")));
        }
    }
    let initializers =
        branch.initializers.into_iter().map(|(n, t)| (names.get(&n).cloned().unwrap_or(n), t)).collect();
    let mut nodes: Vec<Option<RawNode>> = branch.nodes.into_iter().map(Some).collect();
    let mut out: Vec<RawNode> = Vec::with_capacity(nodes.len() + copies.len());
    for at in order {
        if let Some(mut inner) = nodes[at].take() {
            if !inner.name.is_empty() {
                inner.name = format!("{path}/{}", inner.name);
            }
            renamed(&mut inner, &names);
            out.push(inner);
        }
    }
    out.extend(copies);
    Ok((initializers, out))
}

/// The new name of everything that the branch defines.
fn rename(
    branch: &Branch,
    node: &RawNode,
    path: &str,
    taken: &mut BTreeSet<String>,
) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    // What a node leaves out is left out inside.
    for (i, inner) in branch.inputs.iter().enumerate() {
        names.insert(inner.clone(), node.inputs.get(i).cloned().unwrap_or_default());
    }
    let computed: BTreeSet<&str> = branch.nodes.iter().flat_map(|n| &n.outputs).map(String::as_str).collect();
    for (inner, outer) in branch.outputs.iter().zip(&node.outputs) {
        if computed.contains(inner.as_str()) && !outer.is_empty() {
            names.entry(inner.clone()).or_insert_with(|| outer.clone());
        }
    }
    for inner in branch.defines().into_iter().filter(|n| !n.is_empty()) {
        if names.contains_key(inner) {
            continue;
        }
        let mut fresh = inner.to_string();
        let mut count = 0;
        while taken.contains(&fresh) {
            fresh = if count == 0 { format!("{path}/{inner}") } else { format!("{path}/{inner}.{count}") };
            count += 1;
        }
        taken.insert(fresh.clone());
        names.insert(inner.to_string(), fresh);
    }
    names
}

/// Gives a node, and the branches inside it, the new names.
fn renamed(node: &mut RawNode, names: &BTreeMap<String, String>) {
    let change = |n: &mut String| {
        if let Some(new) = names.get(n) {
            n.clone_from(new);
        }
    };
    node.inputs.iter_mut().chain(&mut node.outputs).for_each(change);
    for branch in &mut node.branches {
        // Names that the inner branch defines itself are its own.
        let own: BTreeSet<String> = branch.defines().into_iter().map(String::from).collect();
        let seen: BTreeMap<String, String> =
            names.iter().filter(|(n, _)| !own.contains(*n)).map(|(a, b)| (a.clone(), b.clone())).collect();
        branch.nodes.iter_mut().for_each(|n| renamed(n, &seen));
        branch.outputs.iter_mut().for_each(|n| {
            if let Some(new) = seen.get(n) {
                n.clone_from(new);
            }
        });
    }
}

fn copy(from: &str, to: &str, path: &str) -> RawNode {
    RawNode {
        name: format!("{path}/{to}"),
        domain: String::new(),
        op_type: "Identity".into(),
        inputs: vec![from.to_string()],
        outputs: vec![to.to_string()],
        attrs: Ok(BTreeMap::new()),
        branches: Vec::new(),
        opset: None,
    }
}

/// The condition of an If, where it is known.
pub(super) fn condition(tensor: &Tensor) -> Result<bool> {
    match tensor.to_i64_vec()[..] {
        [v] if !tensor.dtype().is_float() => Ok(v != 0),
        _ => Err(Error::model(Site::Whole, "its condition is not one bool")),
    }
}
