//! Ensembles of decision trees: the scores by one node, what they become by others.
//!
//! Law: labels and scores are onnxruntime's. It tells a class that no leaf on the way had a weight for from one
//! that is zero, and has rules of its own for two classes: with weights for one of them alone, the score is that
//! of the second class.

use super::super::build::{Builder, Expanded, attr};
use super::classes::{Classes, above};
use super::scores::Transform;
use super::{floats, read, rows};
use crate::error::Result;
use crate::ops::check::{refuse, size};
use crate::ops::{Aggregate, Attr, Tree, TreeEnsemble};

fn node(b: &mut Builder<'_>, x: &str, ensemble: TreeEnsemble) -> String {
    b.with("TreeEnsemble", &[x], vec![attr("ensemble", Attr::Ensemble(ensemble))])
}

fn scored(
    b: &mut Builder<'_>,
    x: &str,
    (targets, aggregate): (usize, Aggregate),
    trees: Vec<Tree>,
    base: Vec<f32>,
    transform: Transform,
) -> Result<String> {
    let based = targets > 1 && !base.is_empty();
    let ensemble = TreeEnsemble::new(targets, aggregate, trees, base)?;
    let scores = if based && !ensemble.always().iter().all(|a| *a) {
        // Where no leaf on the way had a weight for a result, onnxruntime adds no base value to it.
        let base = b.floats(&[targets], ensemble.base().to_vec())?;
        let got = got_weights(b, x, ensemble.counting());
        let none = b.float(0.0);
        let added = b.op("Where", &[&got, &base, &none]);
        let sums = node(b, x, ensemble.without_base());
        b.op("Add", &[&sums, &added])
    } else {
        node(b, x, ensemble)
    };
    Ok(if targets == 1 { transform.of_one(b, &scores) } else { transform.of_many(b, &scores) })
}

pub(super) fn regressor(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::named(&b)?;
    let targets = size(b.cx.int_or("n_targets", 1)?, "`n_targets`")?;
    let aggregate = match b.cx.str_or("aggregate_function", "SUM")? {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => return Err(refuse(format!("has the aggregate_function `{other}`"))),
    };
    let base = floats(&b, "base_values")?;
    let r = rows(&mut b)?;
    let trees = read::by_node(&b, "target", targets, r.features)?.trees;
    let y = scored(&mut b, &r.x, (targets, aggregate), trees, base, transform)?;
    b.finish(vec![y])
}

pub(super) fn ensemble(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::numbered(b.cx.int_or("post_transform", 0)?)?;
    let targets = size(b.cx.int_or("n_targets", 1)?, "`n_targets`")?;
    let aggregate = match b.cx.int_or("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(refuse(format!("has the aggregate_function {other}"))),
    };
    let r = rows(&mut b)?;
    let trees = read::by_list(&b, targets, r.features)?;
    let y = scored(&mut b, &r.x, (targets, aggregate), trees, Vec::new(), transform)?;
    b.finish(vec![y])
}

pub(super) fn classifier(mut b: Builder<'_>) -> Result<Expanded> {
    let transform = Transform::named(&b)?;
    let base = floats(&b, "base_values")?;
    let classes = Classes::of(&mut b, "classlabels_int64s", "classlabels_strings")?;
    let r = rows(&mut b)?;
    let lists = read::by_node(&b, "class", classes.count(), r.features)?;
    let (label, scores) = match classes.count() {
        1 => {
            if base.len() > 1 {
                return Err(refuse(format!("has {} base values for one class", base.len())));
            }
            let score = node(&mut b, &r.x, TreeEnsemble::new(1, Aggregate::Sum, lists.trees, base)?);
            let label = above(&mut b, &score, 0.0, r.rows, [1, 0])?;
            (label, transform.of_one(&mut b, &score))
        }
        2 => two(&mut b, &r, lists, &base, &classes, transform)?,
        count => {
            let whole = !base.is_empty();
            let ensemble = TreeEnsemble::new(count, Aggregate::Sum, lists.trees, base)?;
            let counting = (!whole && !ensemble.always().iter().all(|a| *a)).then(|| ensemble.counting());
            let scores = node(&mut b, &r.x, ensemble);
            // What got no weight is no candidate, not even among scores below zero.
            let candidates = match counting {
                None => scores.clone(),
                Some(counting) => {
                    let got = got_weights(&mut b, &r.x, counting);
                    let lowest = b.float(f32::NEG_INFINITY);
                    b.op("Where", &[&got, &scores, &lowest])
                }
            };
            (classes.greatest(&mut b, &candidates), transform.of_many(&mut b, &scores))
        }
    };
    b.finish(vec![label, scores])
}

/// Whether the leaves of a row had a weight for each target: `[rows, targets]` bool.
fn got_weights(b: &mut Builder<'_>, x: &str, counting: TreeEnsemble) -> String {
    let counts = node(b, x, counting);
    let none = b.float(0.0);
    b.op("Greater", &[&counts, &none])
}

/// Scores of two classes, as far as they are known to have weights: `[rows, 1]` each.
struct Two {
    first: String,
    second: String,
    /// Whether every row has weights for it: always, or never.
    has_first: bool,
    has_second: bool,
}

/// The score that decides, and both scores.
fn decided(
    b: &mut Builder<'_>,
    two: &Two,
    base: &[f32],
    transform: Transform,
    shares: bool,
) -> Result<(String, String)> {
    let added = |b: &mut Builder<'_>, to: &str, value: f32| {
        let value = b.float(value);
        b.op("Add", &[to, &value])
    };
    // A class without weights is zero, whatever is added.
    let (mut first, mut second) = (two.first.clone(), two.second.clone());
    match (base, two.has_second) {
        ([], _) => {}
        ([only], _) if two.has_first => first = added(b, &first, *only),
        ([_, last], true) => {
            second = added(b, &first, *last);
            if two.has_first {
                first = b.op("Neg", &[&second]);
            }
        }
        ([value, _], false) if two.has_first => first = added(b, &first, *value),
        _ => {}
    }
    let decides = if two.has_second { second.clone() } else { first.clone() };
    let scores = if two.has_second || base.len() == 2 {
        let both = b.concat(&[&first, &second], 1);
        transform.of_many(b, &both)
    } else {
        transform.of_pair(b, &first, shares)?
    };
    Ok((decides, scores))
}

/// Label and scores of two classes.
fn two(
    b: &mut Builder<'_>,
    r: &super::Rows,
    lists: read::Lists,
    base: &[f32],
    classes: &Classes,
    transform: Transform,
) -> Result<(String, String)> {
    if base.len() > 2 {
        return Err(refuse(format!("has {} base values for two classes", base.len())));
    }
    let one_sided = lists.targets.len() == 1;
    let shares = one_sided && lists.positive;
    let (decides, scores) = if one_sided {
        let second = lists.targets.contains(&1);
        let mut trees = lists.trees;
        trees.iter_mut().flat_map(|t| &mut t.leaves).flatten().for_each(|(target, _)| *target = 0);
        let ensemble = TreeEnsemble::new(1, Aggregate::Sum, trees, Vec::new())?;
        if (second || !base.is_empty()) && !ensemble.always().iter().all(|a| *a) {
            return Err(sometimes());
        }
        let score = node(b, &r.x, ensemble);
        let none = b.floats(&[r.rows, 1], vec![0.0; r.rows])?;
        let (first, last) = if second { (none, score) } else { (score, none) };
        let two = Two { first, second: last, has_first: !second, has_second: second };
        decided(b, &two, base, transform, shares)?
    } else {
        let ensemble = TreeEnsemble::new(2, Aggregate::Sum, lists.trees, Vec::new())?;
        let always = ensemble.always();
        let counting = (!always.iter().all(|a| *a)).then(|| ensemble.counting());
        if counting.is_some() && !base.is_empty() {
            return Err(sometimes());
        }
        let sums = node(b, &r.x, ensemble);
        let [first, second] = [0, 1].map(|i| b.slice(&sums, 1, i, i + 1, 1));
        let mut two = Two { first, second, has_first: true, has_second: true };
        let with = decided(b, &two, base, transform, false)?;
        match counting {
            None => with,
            // Rows without a weight for the second class are judged by the first one.
            Some(counting) => {
                two.has_second = false;
                let without = decided(b, &two, base, transform, false)?;
                let got = got_weights(b, &r.x, counting);
                let got = b.slice(&got, 1, 1, 2, 1);
                (b.op("Where", &[&got, &with.0, &without.0]), b.op("Where", &[&got, &with.1, &without.1]))
            }
        }
    };
    let labels = if one_sided { [classes.label(1), classes.label(0)] } else { [1, 0] };
    if !one_sided && !classes.are([0, 1]) {
        b.warn(
            format!(
                "with weights for both of two classes its label is 1 or 0, as in onnxruntime, not {} or {}",
                classes.label(1),
                classes.label(0)
            ),
            "give weights for one of the classes alone, as skl2onnx does, or read the scores",
        );
    }
    let limit = if shares { 0.5 } else { 0.0 };
    Ok((above(b, &decides, limit, r.rows, labels)?, scores))
}

fn sometimes() -> crate::error::Error {
    refuse(
        "has leaves without a weight for the class that decides, and the standard does not say what stands for it",
    )
}
