//! What each group of weights is worth to a layer, and so in which order groups go.
//!
//! In: a layer's least-squares problem, its weights, groups and a score. Out: a [`Trace`] for each group
//! of rows. Law: a cost is by weight, so that a smaller group at the edge is not cheaper for its size.

use super::groups::Groups;
use super::obs::{self, Trace};
use crate::least_squares::{Matrix, Moments, Solver};
use crate::options::Score;
use crate::parallel;
use std::ops::Range;

/// The order in which the groups of a layer go, by group of rows.
pub fn traces(
    score: Score,
    solver: &Solver,
    moments: &Moments,
    weights: &Matrix,
    groups: &Groups,
) -> Vec<Trace> {
    if score == Score::Obs {
        let inverse = solver.inverse();
        return parallel::map(groups.rows.len(), |group| {
            let rows: Vec<&[f64]> = groups.rows[group].clone().map(|row| weights.row(row)).collect();
            obs::trace(&inverse, &rows, groups)
        });
    }
    parallel::map(groups.rows.len(), |group| {
        let rows = groups.rows[group].clone();
        let costs: Vec<f64> =
            groups.columns.iter().map(|g| cost(score, moments, weights, &rows, g)).collect();
        obs::trace_fixed(&costs, groups)
    })
}

/// The cost of one group by one of the scores that look at it alone.
fn cost(score: Score, moments: &Moments, weights: &Matrix, rows: &Range<usize>, group: &Range<usize>) -> f64 {
    let values = || rows.clone().flat_map(|row| &weights.row(row)[group.clone()]);
    let (size, n) = ((rows.len() * group.len()) as f64, moments.columns);
    let l1: f64 = values().map(|w| w.abs()).sum();
    let squares: f64 = values().map(|w| w * w).sum();
    match score {
        Score::L1 => l1 / size,
        Score::L2 => (squares / size).sqrt(),
        // Between 1 (one weight stands out) and the root of the number (all are alike).
        Score::Sensitivity if squares > 0.0 => l1 / squares.sqrt() / size.sqrt(),
        Score::Sensitivity => 0.0,
        Score::Contribution | Score::Obs => {
            let (mut own, mut all) = (0.0, 0.0);
            for row in rows.clone() {
                let w = &weights.row(row)[group.clone()];
                for (i, a) in group.clone().zip(w) {
                    own += group.clone().zip(w).map(|(j, b)| a * b * moments.hessian[i * n + j]).sum::<f64>();
                }
                all += moments.energy[row];
            }
            if all > 0.0 { own / all / group.len() as f64 } else { 0.0 }
        }
    }
}

/// Which weights stay when some of a layer go: each row loses its groups in its own order, and of all rows the
/// one goes next whose group costs least by weight. Costs count as shares of what a row loses once all
/// its groups are gone, as rows of small outputs may matter as much to the layers behind as those of
/// large ones. Of groups alike, the first row's. What goes is `count` weights, or as near as whole groups
/// come.
pub fn kept(traces: &[Trace], groups: &Groups, columns: usize, count: usize) -> Vec<bool> {
    let rows = groups.rows.iter().map(|r| r.end).max().unwrap_or(0);
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (row, trace) in traces.iter().enumerate() {
        // A later step cannot come before an earlier one of its row.
        let mut most = f64::NEG_INFINITY;
        let size = |group: usize| groups.columns[group].len() as f64;
        let all: f64 = trace.cost.iter().zip(&trace.order).map(|(cost, &group)| cost * size(group)).sum();
        for (step, &cost) in trace.cost.iter().enumerate() {
            most = most.max(cost);
            steps.push((most / all.max(1e-30), row, step));
        }
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut kept = vec![true; rows * columns];
    let mut gone = 0;
    for (_, row, step) in steps {
        let group = &groups.columns[traces[row].order[step]];
        let size = group.len() * groups.rows[row].len();
        // The last group goes if that comes nearer to the count.
        if gone + size > count && gone + size - count > count.saturating_sub(gone) {
            break;
        }
        for r in groups.rows[row].clone() {
            kept[r * columns..(r + 1) * columns][group.clone()].fill(false);
        }
        gone += size;
    }
    kept
}
