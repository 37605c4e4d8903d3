//! How a share of zeros is spread over layers.
//!
//! In: for each layer a curve of damage over weights removed, how often each of its weights is used, and how
//! many weights shall go in all. Out: how many go of each. Law: the next weights go where the damage is least
//! by what is saved; equal slopes in the order of the layers.

use crate::options::Spread;

/// A point of a curve: weights removed, damage.
pub type Step = (usize, f64);

/// What a layer loses.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub steps: Vec<Step>,
    /// Weights of the layer.
    pub weights: usize,
    /// Multiplications that each of its weights takes part in.
    pub uses: usize,
}

/// Parts into which the way from weights to multiplications is cut, and steps on that way and beyond it, where
/// layers with many weights and few multiplications are spared.
const PARTS: usize = 16;
const STEPS: usize = 4 * PARTS;

/// Share of all weights by which a split may miss what is asked for.
const SLACK: f64 = 0.005;

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

/// How many weights go of each layer, for `target` in all. Where multiplications count too, at least the
/// same share of them goes as of the weights, and of the ways there the one with the least damage is taken.
pub fn allocate(curves: &[Curve], target: usize, spread: Spread) -> Vec<usize> {
    let weights: usize = curves.iter().map(|c| c.weights).sum();
    let all: f64 = curves.iter().map(|c| (c.uses * c.weights) as f64).sum();
    let work = all * target as f64 / weights.max(1) as f64;
    // What a weight of a layer saves: its share of the weights and of the multiplications.
    let mixed = |step: usize, work: f64| {
        let part = step as f64 / PARTS as f64;
        let saved = |c: &Curve| (1.0 - part) / weights.max(1) as f64 + part * c.uses as f64 / all.max(1.0);
        split(curves, (target, work), &curves.iter().map(saved).collect::<Vec<_>>())
    };
    if spread == Spread::Weights {
        return mixed(0, 0.0).0;
    }
    let most = target as f64 + SLACK * weights as f64;
    let ways = (0..=STEPS).map(|step| mixed(step, work)).chain([alike(curves, target, weights)]);
    let exact = ways.filter(|(counts, _)| counts.iter().sum::<usize>() as f64 <= most);
    exact.min_by(|a, b| a.1.total_cmp(&b.1)).map_or_else(|| mixed(0, 0.0).0, |(counts, _)| counts)
}

/// The same share of each layer, which is as much of the multiplications; and the damage.
fn alike(curves: &[Curve], target: usize, weights: usize) -> (Vec<usize>, f64) {
    let (mut counts, mut sum, mut left) = (Vec::new(), 0.0, (target, weights));
    for curve in curves {
        // What rounding left over goes to those that follow.
        let count = (left.0 * curve.weights + left.1 / 2).checked_div(left.1).unwrap_or(0);
        let count = count.min(curve.weights);
        left = (left.0.saturating_sub(count), left.1 - curve.weights);
        let mut more = count;
        for pair in hull(&curve.steps).windows(2) {
            let taken = more.min(pair[1].0 - pair[0].0);
            sum += slope(pair[0], pair[1]) * taken as f64;
            more -= taken;
        }
        counts.push(count);
    }
    (counts, sum)
}

/// How many weights go of each layer when one of them saves so much, until so many weights and
/// multiplications are gone; and the damage.
fn split(curves: &[Curve], (weights, work): (usize, f64), saved: &[f64]) -> (Vec<usize>, f64) {
    let mut pieces: Vec<(f64, usize, usize, f64)> = Vec::new();
    for (layer, curve) in curves.iter().enumerate() {
        for pair in hull(&curve.steps).windows(2) {
            let damage = slope(pair[0], pair[1]);
            // Where nothing is lost, or something gained, what is saved does not divide it.
            let price = match saved[layer] {
                _ if damage <= 0.0 => damage,
                saved if saved > 0.0 => damage / saved,
                _ => f64::INFINITY,
            };
            pieces.push((price, layer, pair[1].0 - pair[0].0, damage));
        }
    }
    // Slopes rise along a hull, and the sort is stable: a layer's pieces stay in order.
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let (mut counts, mut sum) = (vec![0; curves.len()], 0.0);
    let (mut left, mut work) = (weights, work);
    for (_, layer, most, damage) in pieces {
        let uses = curves[layer].uses as f64;
        // So many weights of this layer make up for the multiplications.
        let by_work = if work > 0.0 && uses > 0.0 { libm::ceil(work / uses) as usize } else { 0 };
        let taken = most.min(left.max(by_work));
        counts[layer] += taken;
        left -= taken.min(left);
        work -= taken as f64 * uses;
        sum += damage * taken as f64;
    }
    (counts, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(steps: &[Step], uses: usize) -> Curve {
        Curve { steps: steps.to_vec(), weights: steps.last().map_or(0, |s| s.0), uses }
    }

    fn by_weights(curves: &[Curve], target: usize) -> Vec<usize> {
        allocate(curves, target, Spread::Weights)
    }

    #[test]
    fn zeros_go_where_they_cost_least() {
        let (cheap, dear) = (curve(&[(50, 0.1), (100, 1.0)], 1), curve(&[(50, 1.0), (100, 3.0)], 1));
        assert_eq!(by_weights(&[cheap.clone(), dear.clone()], 50), [50, 0]);
        assert_eq!(by_weights(&[dear.clone(), cheap.clone()], 100), [0, 100]);
        assert_eq!(by_weights(&[cheap.clone(), dear.clone()], 130), [100, 30]);
        assert_eq!(by_weights(&[cheap, dear], 500), [100, 100]);
        assert_eq!(by_weights(&[], 5), [0; 0]);
    }

    #[test]
    fn multiplications_go_as_weights_do() {
        // Most weights stand where little is computed.
        let (small, large) = (curve(&[(50, 1.0), (100, 3.0)], 16), curve(&[(200, 1.0), (400, 3.0)], 1));
        let curves = [small, large];
        assert_eq!(by_weights(&curves, 250), [0, 250]);
        assert_eq!(by_weights(&curves, 200), [0, 200]);
        // Half of 16 * 100 + 400 multiplications are 1000, which costs least as 50 of the first layer and a half.
        assert_eq!(allocate(&curves, 250, Spread::Both), [50, 200]);
        for target in [100, 300, 400, 450] {
            let counts = allocate(&curves, target, Spread::Both);
            let (weights, work) = (counts[0] + counts[1], 16 * counts[0] + counts[1]);
            assert!(weights >= target && weights <= target + 3, "{counts:?}");
            assert!(work * 500 >= target * 2000, "{counts:?}");
        }
        let flat = [curve(&[(10, 1.0)], 0), curve(&[(10, 1.0)], 3)];
        assert_eq!(allocate(&flat, 20, Spread::Both), [10, 10]);
        assert_eq!(allocate(&[], 20, Spread::Both), [0; 0]);
    }

    #[test]
    fn no_other_split_in_steps_is_better() {
        // Convex curves: the greedy split is the best one.
        let of = |by: f64| curve(&(1..=10).map(|n| (n, by * (n * n) as f64)).collect::<Vec<_>>(), 1);
        let curves = [of(1.0), of(2.5), of(0.4)];
        let cost = |split: &[usize]| -> f64 {
            split.iter().zip(&curves).map(|(&n, c)| if n == 0 { 0.0 } else { c.steps[n - 1].1 }).sum()
        };
        let found = by_weights(&curves, 15);
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
        assert_eq!(by_weights(&[curve(&[(10, 0.0)], 1), curve(&[(10, -0.1)], 1)], 10), [0, 10]);
    }
}
