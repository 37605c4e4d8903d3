//! The groups in which a layer's pattern lets its weights go.
//!
//! In: the shape of a layer's weights and a pattern. Out: groups of columns, and of rows that share
//! them. Law: columns stand tap by tap ([`Matrix`](crate::least_squares::Matrix)), so a group is a run of
//! them, and none crosses a tap.

use crate::least_squares::Sizes;
use crate::options::Pattern;
use std::ops::Range;

/// The groups of a layer under a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Rows that lose the same columns.
    pub rows: Vec<Range<usize>>,
    /// Columns that a row loses at once.
    pub columns: Vec<Range<usize>>,
    /// Columns among which a row keeps some, and how many; nothing where there is no such rule.
    pub quotas: Vec<(Range<usize>, usize)>,
}

fn runs(from: usize, len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(step.max(1)).map(move |at| from + at..from + (at + step).min(len))
}

impl Groups {
    pub fn new(sizes: Sizes, pattern: Pattern) -> Groups {
        let Sizes { rows, inputs, taps } = sizes;
        let at_taps = |step: usize| (0..taps).flat_map(move |tap| runs(tap * inputs, inputs, step));
        let row_groups = runs(0, rows, pattern.rows()).collect();
        match pattern {
            // They are no layer's own: see `channels`.
            Pattern::Channels => Groups { rows: row_groups, columns: Vec::new(), quotas: Vec::new() },
            Pattern::Block { columns, .. } => {
                Groups { rows: row_groups, columns: at_taps(columns).collect(), quotas: Vec::new() }
            }
            Pattern::Of { keep, of } => {
                // Of fewer inputs than the rule counts, the same share stays, rounded up.
                let quota = |run: Range<usize>| (run.clone(), (run.len() * keep).div_ceil(of));
                Groups {
                    rows: row_groups,
                    columns: at_taps(1).collect(),
                    quotas: at_taps(of).map(quota).collect(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_along_the_inputs_of_one_tap() {
        let sizes = Sizes { rows: 3, inputs: 5, taps: 2 };
        let groups = Groups::new(sizes, Pattern::Block { rows: 2, columns: 4 });
        assert_eq!(groups.rows, [0..2, 2..3]);
        assert_eq!(groups.columns, [0..4, 4..5, 5..9, 9..10]);
        let groups = Groups::new(sizes, Pattern::Of { keep: 2, of: 4 });
        assert_eq!(groups.columns.len(), 10);
        assert_eq!(groups.quotas, [(0..4, 2), (4..5, 1), (5..9, 2), (9..10, 1)]);
    }
}
