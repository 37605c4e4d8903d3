//! A branch of an If, an iteration of a loop, or a call of the model's own function: the nodes of the branch or
//! the body, ready to stand in the place of the node.
//!
//! Law: names that the branch defines become names of the graph around it that nothing else has,
//! and its results take the names of the node's. Names inside of graphs that stand in the branch mean what they
//! meant before.

use super::order::{name, order};
use super::proto::{Branch, RawNode, Stored};
use crate::error::{Error, Result, Site};
use crate::ops::check::refuse;
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// What replaces a node: initializers and nodes, in an order in which they can run.
pub(super) type Inlined = (Vec<(String, Result<Stored>)>, Vec<RawNode>);

/// The graph in an attribute of a node, taken out of it.
pub(super) fn take(node: &mut RawNode, attr: &str) -> Result<Branch> {
    let at = node.branches.iter().position(|b| b.attr == attr);
    at.map(|at| node.branches.swap_remove(at)).ok_or_else(|| refuse(format!("has no {attr}")))
}

/// The branch that a condition chooses, which has no inputs of its own.
pub(super) fn choice(node: &mut RawNode, condition: bool) -> Result<(Branch, &'static str)> {
    let attr = if condition { "then_branch" } else { "else_branch" };
    let branch = take(node, attr)?;
    if !branch.inputs.is_empty() {
        return Err(refuse(format!("the {attr} has inputs")));
    }
    Ok((branch, attr))
}

/// A name that nothing in `taken` has, and takes it.
pub(super) fn fresh(wish: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = wish.to_string();
    let mut count = 1;
    while !taken.insert(name.clone()) {
        count += 1;
        name = format!("{wish}.{count}");
    }
    name
}

/// Takes the initializers out of a body that will stand in many places, under names of the graph around it.
pub(super) fn hoist(
    body: &mut Branch,
    path: &str,
    taken: &mut BTreeSet<String>,
) -> Vec<(String, Result<Stored>)> {
    let mut names = BTreeMap::new();
    let initializers = std::mem::take(&mut body.initializers);
    let out = initializers.into_iter().map(|(name, tensor)| {
        let new = fresh(&format!("{path}/{name}"), taken);
        names.insert(name, new.clone());
        (new, tensor)
    });
    let out = out.collect();
    body.nodes.iter_mut().for_each(|n| renamed(n, &names));
    body.outputs.iter_mut().for_each(|n| change(n, &names));
    out
}

/// A body in place of a node: its inputs are those of the node, whose names join `taken`. `what` says what it
/// is.
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
    branch.check_names(what)?;
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
    for (i, inner) in branch.inputs.iter().enumerate().filter(|(_, inner)| !inner.is_empty()) {
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

fn change(name: &mut String, names: &BTreeMap<String, String>) {
    if let Some(new) = names.get(name) {
        name.clone_from(new);
    }
}

/// Gives a node, and the branches inside it, the new names.
fn renamed(node: &mut RawNode, names: &BTreeMap<String, String>) {
    node.inputs.iter_mut().chain(&mut node.outputs).for_each(|n| change(n, names));
    for branch in &mut node.branches {
        // Names that the inner branch defines itself are its own.
        let own: BTreeSet<String> = branch.defines().into_iter().map(String::from).collect();
        let mut seen: BTreeMap<String, String> =
            names.iter().filter(|(n, _)| !own.contains(*n)).map(|(a, b)| (a.clone(), b.clone())).collect();
        give_way(branch, &own, &mut seen);
        branch.nodes.iter_mut().for_each(|n| renamed(n, &seen));
        let given = branch.inputs.iter_mut().chain(branch.initializers.iter_mut().map(|(name, _)| name));
        given.chain(&mut branch.outputs).for_each(|n| change(n, &seen));
    }
}

/// Adds to `seen` other names for those of a branch that would hide a new name from it.
fn give_way(branch: &Branch, own: &BTreeSet<String>, seen: &mut BTreeMap<String, String>) {
    let new: BTreeSet<String> = seen.values().filter(|n| own.contains(*n)).cloned().collect();
    if new.is_empty() {
        return;
    }
    let mut used: BTreeSet<String> = own.iter().chain(seen.values()).cloned().collect();
    used.extend(branch.captures().into_iter().map(String::from));
    for name in new.into_iter().filter(|n| !n.is_empty()) {
        let other = fresh(&name, &mut used);
        seen.insert(name, other);
    }
}

/// A node that gives a value another name.
pub(super) fn copy(from: &str, to: &str, path: &str) -> RawNode {
    RawNode::plain(format!("{path}/{to}"), "Identity", &[from], vec![to.to_string()], Vec::new())
}

/// A condition that is known.
pub(super) fn condition(tensor: &Tensor) -> Result<bool> {
    match tensor.to_i64_vec()[..] {
        [v] if !tensor.dtype().is_float() => Ok(v != 0),
        _ => Err(Error::model(Site::Whole, "its condition is not one bool")),
    }
}
