//! How a share of zeros is spread over layers.
//!
//! In: for each layer a curve of damage over weights removed, and how many weights shall go in all. Out: how
//! many go of each. Law: the next weights go where the damage by weight is least; equal slopes in
//! the order of the layers.

/// A point of a curve: weights removed, damage.
pub type Step = (usize, f64);

/// The lower convex hull from no zeros at no damage on. What lies above it is never worth taking: a layer
/// between two of its points costs less than that.
fn hull(curve: &[Step]) -> Vec<Step> {
    let mut sorted: Vec<Step> = curve.iter().copied().filter(|(removed, _)| *removed > 0).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut hull: Vec<Step> = vec![(0, 0.0)];
    for point in sorted {
        if hull.last().is_some_and(|last| last.0 == point.0) {
            continue;
        }
        while let [.., a, b] = hull.as_slice() {
            if slope(*a, *b) <= slope(*b, point) {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

fn slope(a: Step, b: Step) -> f64 {
    (b.1 - a.1) / (b.0 - a.0).max(1) as f64
}

/// How many weights go of each layer, for `target` in all.
pub fn allocate(curves: &[Vec<Step>], target: usize) -> Vec<usize> {
    let mut pieces: Vec<(f64, usize, usize)> = Vec::new();
    for (layer, curve) in curves.iter().enumerate() {
        for pair in hull(curve).windows(2) {
            pieces.push((slope(pair[0], pair[1]), layer, pair[1].0 - pair[0].0));
        }
    }
    // Slopes rise along a hull, and the sort is stable: a layer's pieces stay in order.
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut counts, mut left) = (vec![0; curves.len()], target);
    for (_, layer, weights) in pieces {
        let taken = weights.min(left);
        counts[layer] += taken;
        left -= taken;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_go_where_they_cost_least() {
        let (cheap, dear) = (vec![(50, 0.1), (100, 1.0)], vec![(50, 1.0), (100, 3.0)]);
        assert_eq!(allocate(&[cheap.clone(), dear.clone()], 50), [50, 0]);
        assert_eq!(allocate(&[dear.clone(), cheap.clone()], 100), [0, 100]);
        assert_eq!(allocate(&[cheap.clone(), dear.clone()], 130), [100, 30]);
        assert_eq!(allocate(&[cheap, dear], 500), [100, 100]);
        assert_eq!(allocate(&[], 5), [0; 0]);
    }

    #[test]
    fn no_other_split_in_steps_is_better() {
        // Convex curves: the greedy split is the best one.
        let curve = |by: f64| (1..=10).map(|n| (n, by * (n * n) as f64)).collect::<Vec<_>>();
        let curves = [curve(1.0), curve(2.5), curve(0.4)];
        let cost = |split: &[usize]| -> f64 {
            split.iter().zip(&curves).map(|(&n, c)| if n == 0 { 0.0 } else { c[n - 1].1 }).sum()
        };
        let found = allocate(&curves, 15);
        assert_eq!(found.iter().sum::<usize>(), 15);
        for a in 0..=10usize {
            for b in 0..=10usize.min(15 - a) {
                if 15 - a - b <= 10 {
                    assert!(cost(&found) <= cost(&[a, b, 15 - a - b]) + 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_bump_is_passed_over_and_noise_below_zero_taken_first() {
        assert_eq!(hull(&[(1, 5.0), (2, 1.0), (2, 9.0), (4, 3.0)]), [(0, 0.0), (2, 1.0), (4, 3.0)]);
        assert_eq!(allocate(&[vec![(10, 0.0)], vec![(10, -0.1)]], 10), [0, 10]);
    }
}
