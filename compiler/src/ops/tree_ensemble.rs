//! TreeEnsemble: decision trees over the features of a row, and what the leaves they lead to add up to. Ours:
//! what the ensembles of `ai.onnx.ml` become on import.
//!
//! In: `[rows, features]` floats, or one row without the first axis. Out: `[rows, targets]` floats. Law: trees
//! count in their order, in single precision; children stand behind their parents, so that every walk ends.

use super::check::{at_most, float, floats, infer_tensors, operand, refuse, result, tensor};
use super::{Attr, Lowering, Operand, Operator, ParseCx, ValueType};
use crate::error::Result;
use crate::tensor::Tensor;
use std::fmt;
use std::sync::Arc;

/// Decision trees. Operand: the features.
#[derive(Clone, PartialEq)]
pub struct TreeEnsemble {
    targets: usize,
    aggregate: Aggregate,
    trees: Arc<[Tree]>,
    /// One for each target, or none.
    base: Vec<f32>,
}

/// How a target's weights are joined; a target that no leaf has a weight for is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    /// The sum, divided by the number of trees.
    Average,
    Min,
    Max,
}

/// One decision tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    pub root: Child,
    /// Children that are branches stand behind their parents.
    pub branches: Vec<Branch>,
    /// By leaf: targets and weights.
    pub leaves: Vec<Vec<(usize, f32)>>,
}

/// Where a branch leads, by position in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Child {
    Branch(usize),
    Leaf(usize),
}

/// A question about one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    pub feature: usize,
    pub test: Test,
    /// Whether a feature that is no number passes, whatever the test says of it.
    pub missing_passes: bool,
    pub yes: Child,
    pub no: Child,
}

/// How a feature is compared with the threshold.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    AtMost(f32),
    Below(f32),
    AtLeast(f32),
    Above(f32),
    Equal(f32),
    Unequal(f32),
    /// Equal to one of many.
    Among(Vec<f32>),
}

impl Test {
    /// Whether a feature passes; what is no number is unequal to everything.
    pub fn passes(&self, x: f32) -> bool {
        match self {
            Test::AtMost(t) => x <= *t,
            Test::Below(t) => x < *t,
            Test::AtLeast(t) => x >= *t,
            Test::Above(t) => x > *t,
            Test::Equal(t) => x == *t,
            Test::Unequal(t) => x != *t,
            Test::Among(list) => list.contains(&x),
        }
    }
}

impl Tree {
    /// The leaf of a row; `None` where the row lacks a feature.
    fn leaf(&self, row: &[f32]) -> Option<usize> {
        let mut at = self.root;
        loop {
            let branch = match at {
                Child::Leaf(leaf) => return Some(leaf),
                Child::Branch(i) => self.branches.get(i)?,
            };
            let x = *row.get(branch.feature)?;
            let passes = branch.test.passes(x) || branch.missing_passes && x.is_nan();
            at = if passes { branch.yes } else { branch.no };
        }
    }

    fn check(&self, targets: usize) -> Result<()> {
        let stands = |child: Child, after: Option<usize>| match child {
            Child::Leaf(leaf) => leaf < self.leaves.len(),
            Child::Branch(i) => i < self.branches.len() && after.is_none_or(|a| i > a),
        };
        let within = self
            .branches
            .iter()
            .enumerate()
            .all(|(i, b)| stands(b.yes, Some(i)) && stands(b.no, Some(i)));
        if !within || !stands(self.root, None) {
            return Err(refuse("has a branch that leads nowhere, or back"));
        }
        if self.leaves.iter().flatten().any(|(target, _)| *target >= targets) {
            return Err(refuse(format!("has a weight for a target that is none of its {targets}")));
        }
        Ok(())
    }
}

impl TreeEnsemble {
    /// An ensemble; `base` is empty or has a number for each target.
    ///
    /// Errors: no tree or target, a number that is not finite, a child that does not stand behind its parent, a weight for what is no target.
    pub fn new(targets: usize, aggregate: Aggregate, trees: Vec<Tree>, base: Vec<f32>) -> Result<Self> {
        if trees.is_empty() || targets == 0 {
            return Err(refuse("has no trees, or no targets"));
        }
        if !base.is_empty() && base.len() != targets {
            return Err(refuse(format!("has {} base values for {targets} targets", base.len())));
        }
        let weights = trees.iter().flat_map(|t| &t.leaves).flatten().map(|(_, weight)| weight);
        if let Some(odd) = weights.chain(&base).find(|v| !v.is_finite()) {
            return Err(refuse(format!("has a weight or base value that is {odd}")));
        }
        trees.iter().try_for_each(|tree| tree.check(targets))?;
        Ok(TreeEnsemble { targets, aggregate, trees: trees.into(), base })
    }

    pub fn targets(&self) -> usize {
        self.targets
    }
    pub fn aggregate(&self) -> Aggregate {
        self.aggregate
    }
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }
    /// What is added to the targets at the end: one for each, or none.
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// By target, whether each row gets a weight for it, whatever it holds: whether all leaves of some tree have
    /// one.
    pub fn always(&self) -> Vec<bool> {
        let has = |leaf: &[(usize, f32)], target| leaf.iter().any(|(t, _)| *t == target);
        let whole = |tree: &Tree, target| tree.leaves.iter().all(|leaf| has(leaf, target));
        (0..self.targets).map(|target| self.trees.iter().any(|tree| whole(tree, target))).collect()
    }

    /// The ensemble that counts the weights of each target instead of adding them up.
    pub fn counting(&self) -> TreeEnsemble {
        let trees = self.trees.iter().map(|tree| {
            let ones = |leaf: &Vec<(usize, f32)>| leaf.iter().map(|(target, _)| (*target, 1.0)).collect();
            Tree { leaves: tree.leaves.iter().map(ones).collect(), ..tree.clone() }
        });
        TreeEnsemble { trees: trees.collect(), aggregate: Aggregate::Sum, base: Vec::new(), ..self.clone() }
    }

    /// The ensemble without what is added at the end.
    pub fn without_base(&self) -> TreeEnsemble {
        TreeEnsemble { base: Vec::new(), ..self.clone() }
    }

    fn row(&self, x: &[f32], y: &mut [f32], seen: &mut [bool]) -> Option<()> {
        y.fill(0.0);
        seen.fill(false);
        for tree in self.trees.iter() {
            for &(target, weight) in tree.leaves.get(tree.leaf(x)?)? {
                let (sum, seen) = (y.get_mut(target)?, seen.get_mut(target)?);
                *sum = match self.aggregate {
                    Aggregate::Sum | Aggregate::Average => *sum + weight,
                    Aggregate::Min if *seen && *sum < weight => *sum,
                    Aggregate::Max if *seen && *sum > weight => *sum,
                    Aggregate::Min | Aggregate::Max => weight,
                };
                *seen = true;
            }
        }
        if self.aggregate == Aggregate::Average {
            y.iter_mut().for_each(|v| *v /= self.trees.len() as f32);
        }
        y.iter_mut().zip(&self.base).for_each(|(v, base)| *v += base);
        Some(())
    }
}

/// Only how large it is: trees are long.
impl fmt::Debug for TreeEnsemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&Tree) -> usize| self.trees.iter().map(count).sum::<usize>();
        f.debug_struct("TreeEnsemble")
            .field("trees", &self.trees.len())
            .field("branches", &sum(|t| t.branches.len()))
            .field("leaves", &sum(|t| t.leaves.len()))
            .field("targets", &self.targets)
            .field("aggregate", &self.aggregate)
            .field("base", &self.base.len())
            .finish()
    }
}

impl Operator for TreeEnsemble {
    const NAME: &'static str = "TreeEnsemble";
    const OURS: bool = true;
    const OPERANDS: usize = 1;

    fn parse(cx: &ParseCx<'_>) -> Result<Self> {
        match cx.attrs.get("ensemble") {
            Some(Attr::Ensemble(ensemble)) => Ok(ensemble.clone()),
            _ => Err(refuse("brings no trees")),
        }
    }

    fn infer(&self, inputs: &[Option<Operand<'_>>]) -> Result<Vec<ValueType>> {
        at_most(inputs, 1)?;
        let x = operand(inputs, 0)?;
        float(x, "the input")?;
        let (rows, features) = match *x.shape {
            [features] => (1, features),
            [rows, features] => (rows, features),
            _ => return Err(refuse(format!("the input has shape {:?} instead of rows of features", x.shape))),
        };
        let asked = self.trees.iter().flat_map(|t| &t.branches).map(|b| b.feature).max();
        if let Some(asked) = asked.filter(|&asked| asked >= features) {
            return Err(refuse(format!("asks for feature {asked}, and a row has {features}, counted from 0")));
        }
        result(x.dtype, vec![rows, self.targets])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let types = infer_tensors(self, inputs)?;
        let shape = types.into_iter().next().map(|t| t.shape).unwrap_or_default();
        let x = tensor(inputs, 0)?;
        let (values, features) = (floats(x)?, x.shape().last().copied().unwrap_or(0));
        let mut out = vec![0.0; shape.iter().product()];
        let mut seen = vec![false; self.targets];
        for (i, y) in out.chunks_mut(self.targets).enumerate() {
            let row = values.get(i * features..(i + 1) * features);
            let done = row.and_then(|row| self.row(row, y, &mut seen));
            done.ok_or_else(|| refuse("a row lacks a feature"))?;
        }
        Ok(vec![Tensor::f32(&shape, out)])
    }

    fn lowering(&self, _inputs: &[Option<Operand<'_>>]) -> Result<Lowering<'_>> {
        Ok(Lowering::Trees(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One branch on feature 0, with leaves of 1 and 2.
    fn stump(test: Test, missing_passes: bool) -> Tree {
        let branch = Branch { feature: 0, test, missing_passes, yes: Child::Leaf(0), no: Child::Leaf(1) };
        Tree {
            root: Child::Branch(0),
            branches: vec![branch],
            leaves: vec![vec![(0, 1.0)], vec![(0, 2.0)]],
        }
    }

    fn of(trees: Vec<Tree>, aggregate: Aggregate, x: f32) -> f32 {
        let ensemble = TreeEnsemble::new(1, aggregate, trees, vec![0.5]).unwrap();
        let x = Tensor::f32(&[1, 1], vec![x]);
        ensemble.eval(&[Some(&x)]).unwrap()[0].to_f32_vec()[0]
    }

    #[test]
    fn tests_are_those_of_floats() {
        for (test, passes) in [
            (Test::AtMost(3.0), [true, true, false]),
            (Test::Below(3.0), [true, false, false]),
            (Test::AtLeast(3.0), [false, true, true]),
            (Test::Above(3.0), [false, false, true]),
            (Test::Equal(3.0), [false, true, false]),
            (Test::Unequal(3.0), [true, false, true]),
            (Test::Among(vec![2.5, 3.0]), [false, true, false]),
        ] {
            for (x, passes) in [2.0, 3.0, 4.0].into_iter().zip(passes) {
                let want = if passes { 1.5 } else { 2.5 };
                assert_eq!(of(vec![stump(test.clone(), false)], Aggregate::Sum, x), want, "{test:?} of {x}");
            }
            let unequal = matches!(test, Test::Unequal(_));
            let nan = if unequal { 1.5 } else { 2.5 };
            assert_eq!(of(vec![stump(test.clone(), false)], Aggregate::Sum, f32::NAN), nan, "{test:?}");
            assert_eq!(of(vec![stump(test.clone(), true)], Aggregate::Sum, f32::NAN), 1.5, "{test:?}");
        }
    }

    #[test]
    fn leaves_are_joined_in_order() {
        let trees = || vec![stump(Test::AtMost(0.0), false), stump(Test::Above(0.0), false)];
        let all = [Aggregate::Sum, Aggregate::Average, Aggregate::Min, Aggregate::Max];
        assert_eq!(all.map(|a| of(trees(), a, 1.0)), [3.5, 2.0, 1.5, 2.5]);
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        let mut back = stump(Test::AtMost(0.0), false);
        back.branches[0].yes = Child::Branch(0);
        let mut far = stump(Test::AtMost(0.0), false);
        far.branches[0].no = Child::Leaf(2);
        let mut other = stump(Test::AtMost(0.0), false);
        other.leaves[0][0].0 = 1;
        for (tree, says) in [(back, "leads nowhere"), (far, "leads nowhere"), (other, "none of its 1")] {
            let error = TreeEnsemble::new(1, Aggregate::Sum, vec![tree], vec![]).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(TreeEnsemble::new(1, Aggregate::Sum, vec![], vec![]).is_err());
        let two = TreeEnsemble::new(1, Aggregate::Sum, vec![stump(Test::AtMost(0.0), false)], vec![0.0; 2]);
        assert!(two.unwrap_err().to_string().contains("base values"));
    }
}
