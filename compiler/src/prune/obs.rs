//! Optimal Brain Surgeon on groups of weights: which group of a row costs least, one after the other.
//!
//! In: the inverse of a layer's Hessian, and weights that are optimal for it. Out: the order in which
//! groups go, with what each costs. Source: Hassibi and Stork, 1993, eq. 5, for groups and one row at a time
//! as in Frantar and Alistarh, Optimal Brain Compression, 2022, section 4; rows of one block share
//! the order, and a group's cost is the sum over them. Law: every sum has a fixed order, so the result
//! is the same on every machine.

use super::groups::Groups;
use std::ops::Range;

/// The order in which a group of rows loses its columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Groups of columns, first to go first.
    pub order: Vec<usize>,
    /// What each costs by weight; for OBS, the growth of the layer's mean square error.
    pub cost: Vec<f64>,
}

/// What is still there of one group of rows.
struct State {
    /// Inverse of the Hessian of the columns that are left: lower half, rows `width` long.
    inverse: Vec<f64>,
    width: usize,
    /// Weights of each row at these columns.
    weights: Vec<Vec<f64>>,
    /// Place of each living group, and its number.
    groups: Vec<(Range<usize>, usize)>,
    dead: Vec<bool>,
}

impl State {
    fn at(&self, i: usize, j: usize) -> f64 {
        self.inverse[i.max(j) * self.width + i.min(j)]
    }

    /// The Cholesky factor of a group's own block of the inverse, lower half.
    fn factor(&self, group: &Range<usize>, factor: &mut Vec<f64>) {
        let n = group.len();
        let largest = group.clone().fold(0.0, |m: f64, i| m.max(self.at(i, i)));
        factor.clear();
        factor.resize(n * n, 0.0);
        for i in 0..n {
            for j in 0..=i {
                let mut sum = self.at(group.start + i, group.start + j);
                for k in 0..j {
                    sum -= factor[i * n + k] * factor[j * n + k];
                }
                factor[i * n + j] = if i == j {
                    // What rounding took away comes back as a little more damping.
                    sum.max(largest * 1e-12).max(f64::MIN_POSITIVE).sqrt()
                } else {
                    sum / factor[j * n + j]
                };
            }
        }
    }

    /// What it costs to lose a group: the sum over rows of `w' B^-1 w`, B its block of the inverse.
    fn cost(&self, group: &Range<usize>, factor: &mut Vec<f64>, solved: &mut Vec<f64>) -> f64 {
        self.factor(group, factor);
        let mut cost = 0.0;
        for row in &self.weights {
            forward(factor, &row[group.clone()], solved);
            cost += solved.iter().map(|v| v * v).sum::<f64>();
        }
        cost
    }

    /// Takes a group away: its weights become zero, the others of each row and the inverse follow.
    fn remove(&mut self, group: &Range<usize>) {
        let (n, width) = (group.len(), self.width);
        let mut factor = Vec::new();
        self.factor(group, &mut factor);
        // L^-1 times the block's rows of the inverse, so that what goes is the product with its transpose.
        let mut part: Vec<Vec<f64>> =
            group.clone().map(|i| (0..width).map(|j| self.at(i, j)).collect()).collect();
        for i in 0..n {
            let (before, rest) = part.split_at_mut(i);
            for (k, other) in before.iter().enumerate() {
                let by = factor[i * n + k];
                rest[0].iter_mut().zip(other).for_each(|(v, o)| *v -= by * o);
            }
            let by = 1.0 / factor[i * n + i];
            rest[0].iter_mut().for_each(|v| *v *= by);
        }
        let mut solved = Vec::new();
        for row in &mut self.weights {
            forward(&factor, &row[group.clone()], &mut solved);
            subtract(row, &solved, &part, width);
            row[group.clone()].fill(0.0);
        }
        for i in group.clone() {
            self.dead[i] = true;
        }
        let mut by = vec![0.0; n];
        for i in (0..width).filter(|&i| !self.dead[i]) {
            by.iter_mut().zip(&part).for_each(|(b, p)| *b = p[i]);
            subtract(&mut self.inverse[i * width..i * width + i + 1], &by, &part, i + 1);
        }
    }

    /// Closes the gaps once a quarter is gone.
    fn compact(&mut self) {
        let living: Vec<usize> = (0..self.width).filter(|&i| !self.dead[i]).collect();
        if living.len() * 4 > self.width * 3 {
            return;
        }
        let width = living.len();
        let mut inverse = vec![0.0; width * width];
        for (i, &from) in living.iter().enumerate() {
            for (j, &column) in living[..=i].iter().enumerate() {
                inverse[i * width + j] = self.inverse[from * self.width + column];
            }
        }
        for row in &mut self.weights {
            *row = living.iter().map(|&i| row[i]).collect();
        }
        for (group, _) in &mut self.groups {
            let start = living.partition_point(|&i| i < group.start);
            *group = start..start + group.len();
        }
        (self.inverse, self.width, self.dead) = (inverse, width, vec![false; width]);
    }
}

/// `L^-1 v`, L the lower factor.
fn forward(factor: &[f64], v: &[f64], solved: &mut Vec<f64>) {
    let n = v.len();
    solved.clear();
    for i in 0..n {
        let mut sum = v[i];
        for k in 0..i {
            sum -= factor[i * n + k] * solved[k];
        }
        solved.push(sum / factor[i * n + i]);
    }
}

/// `row -= by * part`, over the first `width` columns; four rows of `part` at once.
fn subtract(row: &mut [f64], by: &[f64], part: &[Vec<f64>], width: usize) {
    let row = &mut row[..width];
    let mut k = 0;
    while k + 4 <= by.len() {
        let [a, b, c, d] = [by[k], by[k + 1], by[k + 2], by[k + 3]];
        let [p, q, r, s] =
            [&part[k][..width], &part[k + 1][..width], &part[k + 2][..width], &part[k + 3][..width]];
        for j in 0..width {
            row[j] -= (a * p[j] + b * q[j]) + (c * r[j] + d * s[j]);
        }
        k += 4;
    }
    for k in k..by.len() {
        let (a, p) = (by[k], &part[k][..width]);
        for j in 0..width {
            row[j] -= a * p[j];
        }
    }
}

/// Takes the groups of some rows away, the cheapest by weight first, to the last that may go. `inverse` is
/// square, `rows` are weights that are optimal for its Hessian.
pub fn trace(inverse: &[f64], rows: &[&[f64]], groups: &Groups) -> Trace {
    let width = rows.first().map_or(0, |r| r.len());
    let mut state = State {
        inverse: inverse.to_vec(),
        width,
        weights: rows.iter().map(|r| r.to_vec()).collect(),
        groups: groups.columns.iter().cloned().enumerate().map(|(i, g)| (g, i)).collect(),
        dead: vec![false; width],
    };
    let mut quotas = Quotas::new(groups);
    let mut trace = Trace::default();
    let (mut factor, mut solved) = (Vec::new(), Vec::new());
    loop {
        let mut best: Option<(f64, usize)> = None;
        for (place, (group, number)) in state.groups.iter().enumerate() {
            if !quotas.spares(*number) {
                continue;
            }
            let cost = state.cost(group, &mut factor, &mut solved) / (group.len() * rows.len()) as f64;
            // Of equals the first.
            if best.is_none_or(|(least, _)| cost.total_cmp(&least).is_lt()) {
                best = Some((cost, place));
            }
        }
        let Some((cost, place)) = best else { return trace };
        let (group, number) = state.groups.remove(place);
        state.remove(&group);
        state.compact();
        quotas.lose(number);
        trace.order.push(number);
        trace.cost.push(cost);
    }
}

/// How many each quota can still lose.
struct Quotas {
    /// By group of columns, the quota that it counts for.
    of: Vec<Option<usize>>,
    left: Vec<usize>,
}

impl Quotas {
    fn new(groups: &Groups) -> Quotas {
        let find =
            |group: &Range<usize>| groups.quotas.iter().position(|(run, _)| run.contains(&group.start));
        Quotas {
            of: groups.columns.iter().map(find).collect(),
            left: groups.quotas.iter().map(|(run, keep)| run.len() - keep).collect(),
        }
    }
    fn spares(&self, group: usize) -> bool {
        self.of[group].is_none_or(|q| self.left[q] > 0)
    }
    fn lose(&mut self, group: usize) {
        if let Some(q) = self.of[group] {
            self.left[q] -= 1;
        }
    }
}

/// The same for costs that do not change while groups go.
pub fn trace_fixed(costs: &[f64], groups: &Groups) -> Trace {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]).then(a.cmp(&b)));
    let mut quotas = Quotas::new(groups);
    order.retain(|&group| {
        let goes = quotas.spares(group);
        if goes {
            quotas.lose(group);
        }
        goes
    });
    let cost = order.iter().map(|&g| costs[g]).collect();
    Trace { order, cost }
}
