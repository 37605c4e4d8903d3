//! By how much a bias takes back the errors of what stands before it.
//!
//! In: what a layer computes in float and with integers, by sample. Out: what to add to each channel.
//! Law: on these samples, no reader of the layer is worse off.

use super::settle::limits;
use crate::graph::{Clamp, Graph, NodeId};
use crate::tensor::Tensor;

/// What the readers of a result see of it: what its activation lets through, and of that what a
/// Relu or a Clip does.
pub(super) fn seen_by_readers(graph: &Graph, id: NodeId) -> Vec<Clamp> {
    let (own, result) = (graph[id].clamp, graph[id].outputs[0]);
    let mut all = vec![own];
    all.extend(graph.consumers(result).iter().filter_map(|&r| limits(&graph[r].op)).map(|c| own.then(c)));
    all
}

/// What to add to each channel: the mean error where the first of the clamps lets the float result
/// through, unless the square error behind one of them grows by it. What is cut away has no say,
/// however wrong it is. `want` and `have` are before the clamps.
pub(super) fn shifts(want: &[Tensor], have: &[Tensor], axis: usize, clamps: &[Clamp]) -> Vec<f32> {
    let Some(shape) = want.first().map(Tensor::shape) else { return Vec::new() };
    let (channels, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>().max(1));
    let pairs = |visit: &mut dyn FnMut(usize, f64, f64)| {
        let runs = want.iter().zip(have).filter_map(|(a, b)| Some((a.as_f32()?, b.as_f32()?)));
        for (a, b) in runs {
            for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
                visit(i / inner % channels, f64::from(a), f64::from(b));
            }
        }
    };
    let ends = |c: &Clamp| (f64::from(c.lo), f64::from(c.hi));
    let (lo, hi) = ends(&clamps[0]);
    let mut errors = vec![(0f64, 0u64); channels];
    pairs(&mut |c, want, have| {
        if lo < want && want < hi {
            errors[c] = (errors[c].0 + want - have, errors[c].1 + 1);
        }
    });
    let mut shift: Vec<f32> = errors.iter().map(|&(sum, count)| (sum / count.max(1) as f64) as f32).collect();
    for (lo, hi) in clamps.iter().map(ends) {
        let mut gains = vec![0f64; channels];
        pairs(&mut |c, want, have| {
            let error = |x: f64| (x.max(lo).min(hi) - want.max(lo).min(hi)).powi(2);
            gains[c] += error(have) - error(have + f64::from(shift[c]));
        });
        shift.iter_mut().zip(gains).filter(|(_, gain)| *gain < 0.0).for_each(|(s, _)| *s = 0.0);
    }
    shift
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELU: Clamp = Clamp { lo: 0.0, hi: f32::INFINITY };

    /// One channel, one sample.
    fn shift(want: &[f32], have: &[f32], clamps: &[Clamp]) -> f32 {
        let tensor = |v: &[f32]| [Tensor::f32(&[1, 1, v.len()], v.to_vec())];
        shifts(&tensor(want), &tensor(have), 1, clamps)[0]
    }

    #[test]
    fn a_bias_takes_back_the_mean_error_of_its_channel() {
        assert_eq!(shift(&[1.0, -2.0], &[0.0, -2.5], &[Clamp::NONE]), 0.75);
        let tensor = |v: [f32; 4]| [Tensor::f32(&[1, 2, 2], v.to_vec())];
        let shift = shifts(&tensor([1.0, 2.0, 3.0, 4.0]), &tensor([0.0, 1.0, 5.0, 6.0]), 1, &[RELU]);
        assert_eq!(shift, [1.0, -2.0]);
    }

    #[test]
    fn what_the_activation_cuts_away_moves_no_bias() {
        assert_eq!(shift(&[-5.0, -5.0, 1.0], &[-9.0, -9.0, 1.0], &[RELU]), 0.0);
        assert_eq!(shift(&[-5.0, -5.0, 1.0], &[-9.0, -9.0, 0.5], &[RELU]), 0.5);
    }

    #[test]
    fn a_bias_that_would_make_the_error_greater_stays() {
        // Moved by the error of the one that passes, many that are zero would no longer be.
        let (mut want, mut have) = (vec![-0.1; 200], vec![-0.1; 200]);
        want.push(1.0);
        have.push(0.5);
        assert_eq!(shift(&want, &have, &[RELU]), 0.0);
        // The mean serves those who read the whole, and harms a Relu beside them.
        let (want, have) = ([-5.0, -5.0, 1.0], [-5.5, -5.5, 1.0]);
        assert!(shift(&want, &have, &[Clamp::NONE]) > 0.3);
        assert_eq!(shift(&want, &have, &[Clamp::NONE, RELU]), 0.0);
    }
}
