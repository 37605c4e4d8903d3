//! Classes: their labels, and the label of each row.

use super::super::build::{Builder, int};
use super::{ints, words};
use crate::error::Result;
use crate::ops::check::refuse;
use crate::tensor::{Data, Tensor};

/// The labels of a classifier, by class.
pub(super) struct Classes(Vec<i64>);

impl Classes {
    /// From attributes of these names. Names of classes are text: their numbers stand for them.
    pub(super) fn of(b: &mut Builder<'_>, integers: &str, strings: &str) -> Result<Classes> {
        let (names, labels) = (words(b, strings)?, ints(b, integers)?);
        if names.is_empty() {
            return match labels {
                [] => Err(refuse(format!("has no class labels: neither `{integers}` nor `{strings}`"))),
                labels => Ok(Classes(labels.to_vec())),
            };
        }
        b.names(names);
        Ok(Classes((0..names.len() as i64).collect()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
    pub(super) fn are(&self, labels: [i64; 2]) -> bool {
        self.0 == labels
    }
    /// The label of a class; 0 without it.
    pub(super) fn label(&self, class: usize) -> i64 {
        self.0.get(class).copied().unwrap_or(0)
    }

    /// The label of the greatest score of each row: `[rows, n]` -> `[rows]`.
    pub(super) fn greatest(&self, b: &mut Builder<'_>, scores: &str) -> String {
        let class = b.with("ArgMax", &[scores], vec![int("axis", 1), int("keepdims", 0)]);
        if self.0.iter().zip(0..).all(|(label, i)| *label == i) {
            return class;
        }
        let labels = b.ints(&self.0);
        b.gather(&labels, &class, 0)
    }
}

/// One of two labels, by whether a score `[rows, 1]` is above a limit: `[rows]`.
pub(super) fn above(
    b: &mut Builder<'_>,
    score: &str,
    limit: f32,
    rows: usize,
    [label, other]: [i64; 2],
) -> Result<String> {
    let limit = b.float(limit);
    let above = b.op("Greater", &[score, &limit]);
    let above = b.reshape(&above, &[rows]);
    let [label, other] = [label, other].map(|v| b.constant_label(v));
    Ok(b.op("Where", &[&above, &label?, &other?]))
}

impl Builder<'_> {
    /// A label without axes.
    fn constant_label(&mut self, label: i64) -> Result<String> {
        Ok(self.constant(Tensor::new(Vec::new(), Data::I64(vec![label]))?))
    }
}
