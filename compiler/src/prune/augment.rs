//! Altered copies of calibration samples, as the user says that they may be altered.
//!
//! In: the inputs of each sample, and [`Augment`]. Out: the samples, and behind them as many altered copies of
//! each as are asked for. Law: what happens to a copy depends on its number alone.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::options::Augment;
use crate::tensor::{Tensor, row_major_strides};

/// Numbers from 0 to below 1, evenly spread.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
    fn below(&mut self, n: usize) -> usize {
        ((self.next() * n as f64) as usize).min(n.saturating_sub(1))
    }
    /// Of mean 0 and variance 1, and never beyond 3.5: the sum of four.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.next()).sum();
        (sum - 2.0) * 3f64.sqrt()
    }
}

/// Samples with their altered copies.
///
/// Errors: an axis that a real input does not have.
pub(super) fn augment(graph: &Graph, samples: &[Vec<Tensor>], wish: &Augment) -> Result<Vec<Vec<Tensor>>> {
    let real: Vec<bool> = graph.inputs().iter().map(|&v| graph[v].dtype.is_float()).collect();
    for (&v, _) in graph.inputs().iter().zip(&real).filter(|(_, real)| **real) {
        let rank = graph[v].shape.len();
        let axes = wish.flips.iter().chain(wish.shifts.iter().map(|(axis, _)| axis));
        if let Some(axis) = axes.copied().find(|axis| *axis >= rank) {
            let why = format!(
                "names axis {axis}, and the last one of input `{}` is {}",
                graph[v].name,
                rank.max(1) - 1
            );
            return Err(Error::option("augment", why).help("axes are counted from 0, which is the batch"));
        }
    }
    let spread: Vec<f64> = (0..real.len()).map(|input| wish.noise * deviation(samples, input)).collect();
    let mut all = samples.to_vec();
    for copy in 0..wish.copies {
        for (number, sample) in samples.iter().enumerate() {
            let mut numbers = Numbers((copy * samples.len() + number) as u64);
            let altered = sample.iter().enumerate();
            let altered = altered.map(|(input, tensor)| match real.get(input).zip(spread.get(input)) {
                Some((true, &spread)) => alter(tensor, wish, spread, &mut numbers),
                // Integers; and what states hold.
                _ => tensor.clone(),
            });
            all.push(altered.collect());
        }
    }
    Ok(all)
}

/// The standard deviation of one input over all samples.
fn deviation(samples: &[Vec<Tensor>], input: usize) -> f64 {
    let values =
        || samples.iter().flat_map(|s| s[input].as_f32().into_iter().flatten()).map(|v| f64::from(*v));
    let count = values().count().max(1) as f64;
    let mean = values().sum::<f64>() / count;
    (values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count).sqrt()
}

fn alter(tensor: &Tensor, wish: &Augment, spread: f64, numbers: &mut Numbers) -> Tensor {
    let shape = tensor.shape();
    // By axis, where each place takes its value from.
    let mut from: Vec<Vec<usize>> = shape.iter().map(|&n| (0..n).collect()).collect();
    for &(axis, most) in &wish.shifts {
        let by = numbers.below(2 * most + 1) as isize - most as isize;
        let last = shape[axis].max(1) as isize - 1;
        from[axis].iter_mut().for_each(|i| *i = (*i as isize - by).clamp(0, last) as usize);
    }
    for &axis in &wish.flips {
        if numbers.below(2) == 1 {
            from[axis].reverse();
        }
    }
    let (strides, values) = (row_major_strides(shape), tensor.as_f32().unwrap_or_default());
    let altered = (0..values.len()).map(|at| {
        let place: usize = (0..shape.len()).map(|a| from[a][at / strides[a] % shape[a]] * strides[a]).sum();
        let noise = if spread > 0.0 { spread * numbers.normal() } else { 0.0 };
        values[place] + noise as f32
    });
    Tensor::f32(shape, altered.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(flips: &[usize], shifts: &[(usize, usize)], noise: f64) -> Augment {
        Augment { copies: 3, flips: flips.to_vec(), shifts: shifts.to_vec(), noise }
    }

    fn graph(shape: &[usize]) -> Graph {
        let mut graph = Graph::default();
        let mut patch = crate::graph::Patch::new(&mut graph);
        patch.add_input("x", crate::tensor::DType::F32, shape);
        graph
    }

    #[test]
    fn copies_are_flipped_and_shifted_as_the_edge_goes_on() {
        let x = Tensor::f32(&[1, 4], vec![1.0, 2.0, 3.0, 4.0]);
        let samples = vec![vec![x.clone()]; 20];
        let flipped = augment(&graph(&[1, 4]), &samples, &wish(&[1], &[], 0.0)).unwrap();
        assert_eq!(flipped.len(), 80);
        assert_eq!(flipped[..20], samples);
        let turned = Tensor::f32(&[1, 4], vec![4.0, 3.0, 2.0, 1.0]);
        assert!(flipped[20..].iter().all(|s| s[0] == x || s[0] == turned));
        assert!([&x, &turned].iter().all(|t| flipped[20..].iter().any(|s| s[0] == **t)));
        let shifted = augment(&graph(&[1, 4]), &samples, &wish(&[], &[(1, 1)], 0.0)).unwrap();
        let ways = [[1.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 4.0]];
        let ways = ways.map(|way| Tensor::f32(&[1, 4], way.to_vec()));
        assert!(shifted[20..].iter().all(|s| ways.contains(&s[0])));
        assert!(ways.iter().all(|way| shifted[20..].iter().any(|s| s[0] == *way)));
    }

    #[test]
    fn noise_has_the_size_that_is_asked_for() {
        let values =
            |sample: usize| (0..50).map(|i| ((sample * 31 + i * 17) % 23) as f32).collect::<Vec<_>>();
        let samples: Vec<Vec<Tensor>> = (0..40).map(|s| vec![Tensor::f32(&[1, 50], values(s))]).collect();
        let all = augment(&graph(&[1, 50]), &samples, &wish(&[], &[], 0.1)).unwrap();
        let off = all[40..].iter().enumerate().flat_map(|(n, altered)| {
            let (a, b) = (altered[0].to_f64_vec(), samples[n % 40][0].to_f64_vec());
            a.into_iter().zip(b).map(|(a, b)| (a - b) * (a - b)).collect::<Vec<_>>()
        });
        let off: Vec<f64> = off.collect();
        let root = (off.iter().sum::<f64>() / off.len() as f64).sqrt();
        let wanted = 0.1 * deviation(&samples, 0);
        assert!((root / wanted - 1.0).abs() < 0.05, "{root} against {wanted}");
    }

    #[test]
    fn an_axis_that_is_not_there_is_refused() {
        let samples = vec![vec![Tensor::f32(&[1, 4], vec![0.0; 4])]];
        let error = augment(&graph(&[1, 4]), &samples, &wish(&[2], &[], 0.0)).unwrap_err();
        assert!(error.to_string().contains("names axis 2, and the last one of input `x` is 1"), "{error}");
    }
}
