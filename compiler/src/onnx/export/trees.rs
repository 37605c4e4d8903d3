//! Decision trees as a TreeEnsembleRegressor of `ai.onnx.ml`, whatever operator they came in.
//!
//! In: an ensemble. Out: the node whose lists read as the same trees. Law: a question for one of many numbers becomes
//! a question for each, as no older version of the domain has sets.

use super::super::write::{floats, int, ints, string, strings};
use super::Export;
use crate::error::Result;
use crate::ops::{Aggregate, Child, Test, Tree, TreeEnsemble};
use crate::tensor::{Data, Tensor};

/// The lists of a node, one entry for each branch or leaf, and for each weight.
#[derive(Default)]
struct Lists {
    trees: Vec<usize>,
    nodes: Vec<usize>,
    modes: Vec<&'static str>,
    values: Vec<f32>,
    features: Vec<usize>,
    yes: Vec<usize>,
    no: Vec<usize>,
    missing: Vec<usize>,
    weight_trees: Vec<usize>,
    weight_nodes: Vec<usize>,
    targets: Vec<usize>,
    weights: Vec<f32>,
}

/// The questions that say a test: to what they compare, and how.
fn questions(test: &Test) -> (&'static str, Vec<f32>) {
    match test {
        Test::AtMost(t) => ("BRANCH_LEQ", vec![*t]),
        Test::Below(t) => ("BRANCH_LT", vec![*t]),
        Test::AtLeast(t) => ("BRANCH_GTE", vec![*t]),
        Test::Above(t) => ("BRANCH_GT", vec![*t]),
        Test::Equal(t) => ("BRANCH_EQ", vec![*t]),
        Test::Unequal(t) => ("BRANCH_NEQ", vec![*t]),
        // Nothing equals what is no number.
        Test::Among(list) if list.is_empty() => ("BRANCH_EQ", vec![f32::NAN]),
        Test::Among(list) => ("BRANCH_EQ", list.clone()),
    }
}

impl Lists {
    fn node(&mut self, tree: usize, node: usize, mode: &'static str, value: f32) {
        self.trees.push(tree);
        self.nodes.push(node);
        self.modes.push(mode);
        self.values.push(value);
    }

    /// A tree, its root first.
    fn tree(&mut self, number: usize, tree: &Tree) {
        // A branch has a node for each of its questions; leaves stand behind all of them.
        let mut first = Vec::with_capacity(tree.branches.len());
        let mut next = 0;
        for branch in &tree.branches {
            first.push(next);
            next += questions(&branch.test).1.len();
        }
        let place = |child: Child| match child {
            Child::Branch(i) => first.get(i).copied().unwrap_or(0),
            Child::Leaf(i) => next + i,
        };
        for (branch, &first) in tree.branches.iter().zip(&first) {
            let (mode, values) = questions(&branch.test);
            for (i, value) in values.iter().enumerate() {
                let node = first + i;
                self.node(number, node, mode, *value);
                self.features.push(branch.feature);
                self.yes.push(place(branch.yes));
                self.no.push(if i + 1 < values.len() { node + 1 } else { place(branch.no) });
                self.missing.push(branch.missing_passes.into());
            }
        }
        for (i, leaf) in tree.leaves.iter().enumerate() {
            self.node(number, next + i, "LEAF", 0.0);
            for list in [&mut self.features, &mut self.yes, &mut self.no, &mut self.missing] {
                list.push(0);
            }
            for (target, weight) in leaf {
                self.weight_trees.push(number);
                self.weight_nodes.push(next + i);
                self.targets.push(*target);
                self.weights.push(*weight);
            }
        }
    }
}

impl Export<'_> {
    /// The node of an ensemble.
    pub(super) fn trees(
        &mut self,
        ensemble: &TreeEnsemble,
        name: &str,
        inputs: &[String],
        outputs: &[String],
    ) -> Result<()> {
        let mut lists = Lists::default();
        for (number, tree) in ensemble.trees().iter().enumerate() {
            lists.tree(number, tree);
        }
        let aggregate = match ensemble.aggregate() {
            Aggregate::Sum => "SUM",
            Aggregate::Average => "AVERAGE",
            Aggregate::Min => "MIN",
            Aggregate::Max => "MAX",
        };
        let mut attributes = vec![
            int("n_targets", ensemble.targets() as i64),
            string("aggregate_function", aggregate),
            ints("nodes_treeids", &lists.trees),
            ints("nodes_nodeids", &lists.nodes),
            strings("nodes_modes", &lists.modes),
            floats("nodes_values", &lists.values),
            ints("nodes_featureids", &lists.features),
            ints("nodes_truenodeids", &lists.yes),
            ints("nodes_falsenodeids", &lists.no),
            ints("nodes_missing_value_tracks_true", &lists.missing),
            ints("target_treeids", &lists.weight_trees),
            ints("target_nodeids", &lists.weight_nodes),
            ints("target_ids", &lists.targets),
            floats("target_weights", &lists.weights),
        ];
        const OPERATOR: &str = "TreeEnsembleRegressor";
        match ensemble.base() {
            [] => self.w.node_of_ml(OPERATOR, name, inputs, outputs, attributes),
            [base] => {
                attributes.push(floats("base_values", &[*base]));
                self.w.node_of_ml(OPERATOR, name, inputs, outputs, attributes);
            }
            // As an attribute they would not be added to results that no leaf on the way has a weight for.
            several => {
                let sums = self.w.fresh(&format!("{name}_sums"));
                self.w.node_of_ml(OPERATOR, &sums, inputs, std::slice::from_ref(&sums), attributes);
                let base = Tensor::new(vec![several.len()], Data::F32(several.to_vec()))?;
                let base = self.w.kept(&format!("{name}_base"), &base);
                self.w.node("Add", name, &[sums, base], outputs, Vec::new());
            }
        }
        Ok(())
    }
}
