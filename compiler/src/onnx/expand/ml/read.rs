//! The lists of an ensemble of trees -> trees.
//!
//! In: the attributes of a node, lists of nodes in no order. Out: trees, whose branches lead on and whose
//! leaves have weights. Law: what an adversarial file holds is refused by what is wrong with it: a child that
//! does not exist, a tree without a root, a branch that leads back, lists of unlike lengths. Branches may meet:
//! LightGBM's questions for one of several categories do.

use super::super::build::Builder;
use super::{floats, ints, words};
use crate::error::Result;
use crate::ops::check::refuse;
use crate::ops::{Branch, Child, Test, Tree};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// An ensemble as its lists have it.
pub(super) struct Lists {
    pub(super) trees: Vec<Tree>,
    /// The targets that weights are for.
    pub(super) targets: BTreeSet<usize>,
    /// No weight is below zero.
    pub(super) positive: bool,
}

/// A node before its tree is walked.
enum Raw {
    Branch { feature: usize, test: Test, missing_passes: bool, yes: Key, no: Key },
    Leaf(Vec<(usize, f32)>),
}

/// What names a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// By tree and node.
    Node(i64, i64),
    /// By place in the list of branches, or of leaves.
    Branch(i64),
    Leaf(i64),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Node(tree, node) => write!(f, "node {node} of tree {tree}"),
            Key::Branch(i) => write!(f, "node {i}"),
            Key::Leaf(i) => write!(f, "leaf {i}"),
        }
    }
}

/// Refuses a list that is not as long as another; one that may be left out may be empty.
fn alike(name: &str, len: usize, other: &str, want: usize, optional: bool) -> Result<()> {
    if len == want || optional && len == 0 {
        return Ok(());
    }
    Err(refuse(format!("`{name}` has {len} entries and `{other}` has {want}")))
}

fn feature(key: Key, id: i64, features: usize) -> Result<usize> {
    usize::try_from(id).ok().filter(|&f| f < features).ok_or_else(|| {
        refuse(format!("{key} asks for feature {id}, and a row has {features}, counted from 0"))
    })
}

fn target(id: i64, targets: usize) -> Result<usize> {
    usize::try_from(id)
        .ok()
        .filter(|&t| t < targets)
        .ok_or_else(|| refuse(format!("a weight is for number {id} of {targets} results, counted from 0")))
}

/// Walks from a root on, and numbers what it meets: parents before children, also where branches meet.
fn walk(root: Key, nodes: &BTreeMap<Key, Raw>) -> Result<Tree> {
    enum Visit {
        Enter(Key, Option<Key>),
        Leave(Key),
    }
    // What was met, and of that the branches on the way to where the walk is.
    let (mut met, mut above) = (BTreeSet::new(), BTreeSet::new());
    // Children before parents, and the second child's before the first one's: turned around below.
    let (mut branches, mut leaves) = (Vec::new(), Vec::new());
    let mut next = vec![Visit::Enter(root, None)];
    while let Some(visit) = next.pop() {
        let (key, parent) = match visit {
            Visit::Enter(key, parent) => (key, parent),
            Visit::Leave(key) => {
                above.remove(&key);
                branches.push(key);
                continue;
            }
        };
        let from = || parent.map_or_else(|| "a root".to_string(), |p| p.to_string());
        if above.contains(&key) {
            return Err(refuse(format!("{} leads back to {key}", from())));
        }
        let Some(raw) = nodes.get(&key) else {
            return Err(refuse(format!("{} leads to {key}, which does not exist", from())));
        };
        if !met.insert(key) {
            continue;
        }
        match raw {
            Raw::Branch { yes, no, .. } => {
                above.insert(key);
                next.extend([Visit::Leave(key), Visit::Enter(*yes, Some(key)), Visit::Enter(*no, Some(key))]);
            }
            Raw::Leaf(weights) => leaves.push((key, weights.clone())),
        }
    }
    branches.reverse();
    leaves.reverse();
    let mut number: BTreeMap<Key, Child> =
        branches.iter().enumerate().map(|(i, key)| (*key, Child::Branch(i))).collect();
    number.extend(leaves.iter().enumerate().map(|(i, (key, _))| (*key, Child::Leaf(i))));
    let leaves = leaves.into_iter().map(|(_, weights)| weights).collect();
    let child = |key: &Key| number.get(key).copied().ok_or_else(|| refuse(format!("{key} does not exist")));
    let mut tree = Tree { root: child(&root)?, branches: Vec::with_capacity(branches.len()), leaves };
    for key in &branches {
        if let Some(Raw::Branch { feature, test, missing_passes, yes, no }) = nodes.get(key) {
            tree.branches.push(Branch {
                feature: *feature,
                test: test.clone(),
                missing_passes: *missing_passes,
                yes: child(yes)?,
                no: child(no)?,
            });
        }
    }
    Ok(tree)
}

/// How a word of `nodes_modes` compares; none for a leaf.
fn test(mode: &str, value: f32) -> Result<Option<Test>> {
    Ok(Some(match mode {
        "BRANCH_LEQ" => Test::AtMost(value),
        "BRANCH_LT" => Test::Below(value),
        "BRANCH_GTE" => Test::AtLeast(value),
        "BRANCH_GT" => Test::Above(value),
        "BRANCH_EQ" => Test::Equal(value),
        "BRANCH_NEQ" => Test::Unequal(value),
        "LEAF" => return Ok(None),
        other => return Err(refuse(format!("`nodes_modes` has `{other}`"))),
    }))
}

/// The trees of a classifier or regressor; `what` is `class` or `target`.
pub(super) fn by_node(b: &Builder<'_>, what: &str, targets: usize, features: usize) -> Result<Lists> {
    let ids = ints(b, "nodes_nodeids")?;
    let list = |name: &str, optional: bool| -> Result<&[i64]> {
        let list = ints(b, name)?;
        alike(name, list.len(), "nodes_nodeids", ids.len(), optional).map(|()| list)
    };
    let trees = list("nodes_treeids", false)?;
    let features_of = list("nodes_featureids", false)?;
    let (yes, no) = (list("nodes_truenodeids", false)?, list("nodes_falsenodeids", false)?);
    let missing = list("nodes_missing_value_tracks_true", true)?;
    let modes = words(b, "nodes_modes")?;
    alike("nodes_modes", modes.len(), "nodes_nodeids", ids.len(), false)?;
    let values = floats(b, "nodes_values")?;
    alike("nodes_values", values.len(), "nodes_nodeids", ids.len(), false)?;
    let hits = floats(b, "nodes_hitrates")?;
    alike("nodes_hitrates", hits.len(), "nodes_nodeids", ids.len(), true)?;

    let (name, weights) = (format!("{what}_ids"), floats(b, &format!("{what}_weights"))?);
    let of_weight = ints(b, &name)?;
    let at = |part: &str| -> Result<&[i64]> {
        let other = format!("{what}_{part}");
        let list = ints(b, &other)?;
        alike(&other, list.len(), &name, of_weight.len(), false).map(|()| list)
    };
    let (weight_trees, weight_nodes) = (at("treeids")?, at("nodeids")?);
    alike(&format!("{what}_weights"), weights.len(), &name, of_weight.len(), false)?;
    let mut by_leaf: BTreeMap<Key, Vec<(usize, f32)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (((tree, node), id), weight) in weight_trees.iter().zip(weight_nodes).zip(of_weight).zip(&weights) {
        let target = target(*id, targets)?;
        seen.insert(target);
        by_leaf.entry(Key::Node(*tree, *node)).or_default().push((target, *weight));
    }

    let mut nodes: BTreeMap<Key, Raw> = BTreeMap::new();
    // Each tree's first node is its root.
    let mut roots: Vec<Key> = Vec::new();
    let mut known = BTreeSet::new();
    let mut children = BTreeSet::new();
    let places = trees.iter().zip(ids).zip(modes).zip(&values).zip(features_of).zip(yes).zip(no).enumerate();
    for (i, ((((((tree, node), mode), value), id), yes), no)) in places {
        let key = Key::Node(*tree, *node);
        if known.insert(*tree) {
            roots.push(key);
        }
        let raw = match test(mode, *value)? {
            None => Raw::Leaf(by_leaf.get(&key).cloned().unwrap_or_default()),
            Some(test) => {
                let (yes, no) = (Key::Node(*tree, *yes), Key::Node(*tree, *no));
                children.extend([yes, no]);
                let missing_passes = missing.get(i).is_some_and(|m| *m != 0);
                Raw::Branch { feature: feature(key, *id, features)?, test, missing_passes, yes, no }
            }
        };
        if nodes.insert(key, raw).is_some() {
            return Err(refuse(format!("{key} is given twice")));
        }
    }
    if let Some(key) = by_leaf.keys().find(|key| !nodes.contains_key(key)) {
        return Err(refuse(format!("a weight is for {key}, which does not exist")));
    }
    if let Some(key) = roots.iter().find(|key| children.contains(key)) {
        let Key::Node(tree, _) = key else { return Err(refuse("a tree has no root")) };
        return Err(refuse(format!("tree {tree} has no root: its first node, {key}, is a child of another")));
    }
    if roots.is_empty() {
        return Err(refuse("has no trees"));
    }
    let trees = roots.into_iter().map(|root| walk(root, &nodes)).collect::<Result<Vec<Tree>>>()?;
    if targets == 1 && by_leaf.values().any(|w| w.len() > 1) {
        return Err(refuse("a leaf has two weights for one result"));
    }
    Ok(Lists { trees, targets: seen, positive: weights.iter().all(|w| *w >= 0.0) })
}

fn tensor<'a>(b: &Builder<'a>, name: &str) -> Result<Option<&'a Tensor>> {
    b.cx.tensor(name)
}

/// The trees of a `TreeEnsemble`, whose branches and leaves stand in lists of their own.
pub(super) fn by_list(b: &Builder<'_>, targets: usize, features: usize) -> Result<Vec<Tree>> {
    let need = |name: &str| -> Result<&Tensor> {
        tensor(b, name)?.ok_or_else(|| refuse(format!("attribute `{name}` is missing")))
    };
    let ids = ints(b, "nodes_featureids")?;
    let list = |name: &str, optional: bool| -> Result<&[i64]> {
        let list = ints(b, name)?;
        alike(name, list.len(), "nodes_featureids", ids.len(), optional).map(|()| list)
    };
    let (yes, no) = (list("nodes_truenodeids", false)?, list("nodes_falsenodeids", false)?);
    let (yes_leaf, no_leaf) = (list("nodes_trueleafs", false)?, list("nodes_falseleafs", false)?);
    let missing = list("nodes_missing_value_tracks_true", true)?;
    let modes = need("nodes_modes")?.to_i64_vec();
    alike("nodes_modes", modes.len(), "nodes_featureids", ids.len(), false)?;
    let splits = need("nodes_splits")?.to_f32_vec();
    alike("nodes_splits", splits.len(), "nodes_featureids", ids.len(), false)?;
    let sets = tensor(b, "membership_values")?.map(Tensor::to_f32_vec).unwrap_or_default();
    let mut sets = sets.split(|v| v.is_nan());

    let mut nodes: BTreeMap<Key, Raw> = BTreeMap::new();
    let places =
        ids.iter().zip(&modes).zip(&splits).zip(yes.iter().zip(yes_leaf)).zip(no.iter().zip(no_leaf));
    for (i, ((((id, mode), split), yes), no)) in (0i64..).zip(places) {
        let test = match mode {
            0 => Test::AtMost(*split),
            1 => Test::Below(*split),
            2 => Test::AtLeast(*split),
            3 => Test::Above(*split),
            4 => Test::Equal(*split),
            5 => Test::Unequal(*split),
            6 => Test::Among(
                sets.next().ok_or_else(|| refuse("`membership_values` has too few sets"))?.to_vec(),
            ),
            other => return Err(refuse(format!("`nodes_modes` has {other}"))),
        };
        let child = |(at, leaf): (&i64, &i64)| if *leaf != 0 { Key::Leaf(*at) } else { Key::Branch(*at) };
        let missing_passes = usize::try_from(i).ok().and_then(|i| missing.get(i)).is_some_and(|m| *m != 0);
        let feature = feature(Key::Branch(i), *id, features)?;
        let raw = Raw::Branch { feature, test, missing_passes, yes: child(yes), no: child(no) };
        nodes.insert(Key::Branch(i), raw);
    }
    let of_leaf = ints(b, "leaf_targetids")?;
    let weights = need("leaf_weights")?.to_f32_vec();
    alike("leaf_weights", weights.len(), "leaf_targetids", of_leaf.len(), false)?;
    for (i, (id, weight)) in (0i64..).zip(of_leaf.iter().zip(&weights)) {
        nodes.insert(Key::Leaf(i), Raw::Leaf(vec![(target(*id, targets)?, *weight)]));
    }
    let roots = ints(b, "tree_roots")?;
    if roots.is_empty() {
        return Err(refuse("has no trees"));
    }
    roots.iter().map(|&root| walk(Key::Branch(root), &nodes)).collect()
}
