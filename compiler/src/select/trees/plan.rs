//! Trees as steps of one kind: whether the integer by which a feature compares is at most a limit.
//!
//! In: trees with questions of any kind. Out: for each tree its steps, how many are between the root and the
//! deepest leaf, and its leaves. Law: for every feature, what is no number included, the steps lead to the
//! leaf that the questions lead to.

use crate::ops::{Aggregate, Branch, Child, Test, Tree, TreeEnsemble};
use secateur_runtime::math::order;
use std::collections::BTreeMap;

/// One step of a walk: left where `order(feature) <= limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) feature: usize,
    pub(super) limit: i32,
    /// What is no number goes left, and not right, where its order would lead it.
    pub(super) missing_left: bool,
    pub(super) left: Child,
    pub(super) right: Child,
}

/// The steps of one tree; the first is its root. Leaves are positions in [`Self::leaves`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Walk {
    pub(super) steps: Vec<Step>,
    /// By leaf: the row of weights.
    pub(super) leaves: Vec<usize>,
    pub(super) depth: usize,
}

/// Rows of weights, each once, and the walk of each tree.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rows: Vec<Vec<(usize, f32)>>,
    pub(super) walks: Vec<Walk>,
}

/// The limits between intervals of a test's verdicts, ascending, and the verdicts: one more than limits.
fn verdicts(test: &Test) -> (Vec<i32>, Vec<bool>) {
    // Zeros compare alike, and the order tells them apart.
    let up_to = |t: f32| order(if t == 0.0 { 0.0 } else { t });
    let below = |t: f32| order(if t == 0.0 { -0.0 } else { t }) - 1;
    match test {
        Test::AtMost(t) | Test::Below(t) | Test::AtLeast(t) | Test::Above(t) | Test::Equal(t)
            if t.is_nan() =>
        {
            (Vec::new(), vec![false])
        }
        Test::Unequal(t) if t.is_nan() => (Vec::new(), vec![true]),
        Test::AtMost(t) => (vec![up_to(*t)], vec![true, false]),
        Test::Below(t) => (vec![below(*t)], vec![true, false]),
        Test::AtLeast(t) => (vec![below(*t)], vec![false, true]),
        Test::Above(t) => (vec![up_to(*t)], vec![false, true]),
        Test::Equal(t) => (vec![below(*t), up_to(*t)], vec![false, true, false]),
        Test::Unequal(t) => (vec![below(*t), up_to(*t)], vec![true, false, true]),
        Test::Among(list) => {
            let mut known: Vec<(i32, i32)> =
                list.iter().filter(|t| !t.is_nan()).map(|&t| (below(t), up_to(t))).collect();
            known.sort_unstable();
            known.dedup();
            let mut limits: Vec<i32> = Vec::new();
            for (first, last) in known {
                // Neighbours share a verdict.
                if limits.last() == Some(&first) {
                    limits.pop();
                } else {
                    limits.push(first);
                }
                limits.push(last);
            }
            let verdicts = (0..=limits.len()).map(|i| i % 2 == 1).collect();
            (limits, verdicts)
        }
    }
}

/// Steps written so far, children before their parents.
struct Writer {
    steps: Vec<Step>,
    depths: Vec<usize>,
}

impl Writer {
    fn depth(&self, child: Child) -> usize {
        match child {
            Child::Branch(i) => self.depths.get(i).copied().unwrap_or(0),
            Child::Leaf(_) => 0,
        }
    }

    fn step(&mut self, step: Step) -> Child {
        self.depths.push(1 + self.depth(step.left).max(self.depth(step.right)));
        self.steps.push(step);
        Child::Branch(self.steps.len() - 1)
    }

    /// The steps that find the interval of a feature.
    fn search(&mut self, feature: usize, limits: &[i32], ends: &[Child]) -> Option<Child> {
        let middle = limits.len() / 2;
        let Some(&limit) = limits.get(middle) else { return ends.first().copied() };
        let left = self.search(feature, limits.get(..middle)?, ends.get(..=middle)?)?;
        let right = self.search(feature, limits.get(middle + 1..)?, ends.get(middle + 1..)?)?;
        Some(self.step(Step { feature, limit, missing_left: false, left, right }))
    }

    fn branch(&mut self, branch: &Branch, yes: Child, no: Child) -> Option<Child> {
        let (limits, verdicts) = verdicts(&branch.test);
        let end = |passes: bool| if passes { yes } else { no };
        let ends: Vec<Child> = verdicts.into_iter().map(end).collect();
        let missing = end(branch.missing_passes || branch.test.passes(f32::NAN));
        let feature = branch.feature;
        // Its order is above all limits.
        if ends.last() == Some(&missing) {
            return self.search(feature, &limits, &ends);
        }
        if let ([limit], [left, right]) = (limits.as_slice(), ends.as_slice()) {
            let (left, right) = (*left, *right);
            return Some(self.step(Step { feature, limit: *limit, missing_left: true, left, right }));
        }
        let left = self.search(feature, &limits, &ends)?;
        let limit = i32::MAX - 1;
        Some(self.step(Step { feature, limit, missing_left: false, left, right: missing }))
    }
}

/// The walk of a tree; `rows` has the row of weights of each leaf.
fn walk(tree: &Tree, rows: &[usize]) -> Option<Walk> {
    // Leaves of one row are one.
    let mut leaves: Vec<usize> = Vec::new();
    let mut places: BTreeMap<usize, usize> = BTreeMap::new();
    let mut of_leaf = Vec::with_capacity(rows.len());
    for &row in rows {
        let place = *places.entry(row).or_insert_with(|| {
            leaves.push(row);
            leaves.len() - 1
        });
        of_leaf.push(Child::Leaf(place));
    }
    let mut writer = Writer { steps: Vec::new(), depths: Vec::new() };
    let mut of_branch: Vec<Option<Child>> = vec![None; tree.branches.len()];
    let entry = |child: Child, of_branch: &[Option<Child>]| match child {
        Child::Branch(i) => of_branch.get(i).copied().flatten(),
        Child::Leaf(i) => of_leaf.get(i).copied(),
    };
    for (i, branch) in tree.branches.iter().enumerate().rev() {
        let (yes, no) = (entry(branch.yes, &of_branch)?, entry(branch.no, &of_branch)?);
        let at = if yes == no { yes } else { writer.branch(branch, yes, no)? };
        *of_branch.get_mut(i)? = Some(at);
    }
    let root = match entry(tree.root, &of_branch)? {
        // A tree without a question still takes a step.
        leaf @ Child::Leaf(_) => {
            writer.step(Step { feature: 0, limit: i32::MAX, missing_left: false, left: leaf, right: leaf })
        }
        branch @ Child::Branch(_) => branch,
    };
    let depth = writer.depth(root);
    // From the root on, and only what it leads to.
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    let mut order = Vec::new();
    let mut next = vec![root];
    while let Some(child) = next.pop() {
        let Child::Branch(i) = child else { continue };
        if number.contains_key(&i) {
            continue;
        }
        number.insert(i, order.len());
        let step = *writer.steps.get(i)?;
        order.push(step);
        next.extend([step.right, step.left]);
    }
    let renumbered = |child: Child| match child {
        Child::Branch(i) => number.get(&i).map(|&n| Child::Branch(n)),
        leaf @ Child::Leaf(_) => Some(leaf),
    };
    let steps = order
        .into_iter()
        .map(|s| Some(Step { left: renumbered(s.left)?, right: renumbered(s.right)?, ..s }))
        .collect::<Option<Vec<Step>>>()?;
    Some(Walk { steps, leaves, depth })
}

/// The plan of an ensemble; `None` if a child leads nowhere, which none of an ensemble's does.
pub(super) fn plan(op: &TreeEnsemble) -> Option<Plan> {
    let adds = matches!(op.aggregate(), Aggregate::Sum | Aggregate::Average);
    let mut rows: Vec<Vec<(usize, f32)>> = Vec::new();
    let mut known: BTreeMap<Vec<(usize, u32)>, usize> = BTreeMap::new();
    let mut walks = Vec::with_capacity(op.trees().len());
    for tree in op.trees() {
        let mut of_leaf = Vec::with_capacity(tree.leaves.len());
        for leaf in &tree.leaves {
            // Adding nothing changes nothing.
            let row: Vec<(usize, f32)> = leaf.iter().copied().filter(|(_, w)| !adds || *w != 0.0).collect();
            let bits = row.iter().map(|(target, w)| (*target, w.to_bits())).collect();
            of_leaf.push(*known.entry(bits).or_insert_with(|| {
                rows.push(row);
                rows.len() - 1
            }));
        }
        walks.push(walk(tree, &of_leaf)?);
    }
    Some(Plan { rows, walks })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaf that the steps lead to.
    fn leaf(walk: &Walk, row: &[f32]) -> usize {
        let mut at = Child::Branch(0);
        for _ in 0..walk.depth {
            let Child::Branch(i) = at else { break };
            let step = walk.steps[i];
            let key = order(row[step.feature]);
            let left = key <= step.limit || (key == i32::MAX && step.missing_left);
            at = if left { step.left } else { step.right };
        }
        let Child::Leaf(leaf) = at else { panic!("no leaf within {} steps", walk.depth) };
        walk.leaves[leaf]
    }

    #[test]
    fn steps_lead_where_the_tests_do() {
        let values = [
            f32::NEG_INFINITY,
            -2.5,
            -1.0,
            -f32::MIN_POSITIVE,
            -0.0,
            0.0,
            1e-40,
            1.0,
            2.5,
            7.0,
            f32::INFINITY,
        ];
        let all = values.iter().copied().chain([f32::NAN, -f32::NAN]);
        let mut tests: Vec<Test> = vec![
            Test::Among(vec![]),
            Test::Among(vec![f32::NAN, 1.0, 0.0, -0.0, 7.0, 1.0, f32::INFINITY, -2.5]),
            // Neighbours.
            Test::Among(vec![1.0, f32::from_bits(1.0f32.to_bits() + 1), f32::NEG_INFINITY]),
        ];
        for t in all.clone() {
            let of = [Test::AtMost, Test::Below, Test::AtLeast, Test::Above, Test::Equal, Test::Unequal];
            tests.extend(of.map(|f| f(t)));
        }
        for test in tests {
            for missing_passes in [false, true] {
                let branch = |yes, no| Branch { feature: 0, test: test.clone(), missing_passes, yes, no };
                let tree = Tree {
                    root: Child::Branch(0),
                    branches: vec![
                        branch(Child::Branch(1), Child::Leaf(2)),
                        branch(Child::Leaf(0), Child::Leaf(1)),
                    ],
                    leaves: vec![vec![]; 3],
                };
                let walk = walk(&tree, &[0, 1, 2]).unwrap();
                for x in all.clone() {
                    let passes = test.passes(x) || missing_passes && x.is_nan();
                    let want = if passes { 0 } else { 2 };
                    assert_eq!(leaf(&walk, &[x]), want, "{test:?} of {x}, missing passes: {missing_passes}");
                }
            }
        }
    }

    #[test]
    fn rows_are_kept_once_and_nothing_is_added() {
        let branch = Branch {
            feature: 0,
            test: Test::AtMost(0.0),
            missing_passes: false,
            yes: Child::Leaf(0),
            no: Child::Leaf(1),
        };
        let leaves = vec![vec![(0, 0.5), (1, 0.0)], vec![(0, 0.5)]];
        let tree = Tree { root: Child::Branch(0), branches: vec![branch], leaves };
        let plan_of =
            |aggregate| plan(&TreeEnsemble::new(2, aggregate, vec![tree.clone()], vec![]).unwrap()).unwrap();
        let sum = plan_of(Aggregate::Sum);
        assert_eq!((sum.rows.len(), sum.walks[0].leaves.len(), sum.walks[0].depth), (1, 1, 1));
        assert_eq!(plan_of(Aggregate::Min).rows.len(), 2);
    }
}
