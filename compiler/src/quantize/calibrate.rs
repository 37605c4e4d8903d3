//! Activation ranges: from intervals and from calibration data to scale and zero point.
//!
//! In: what a value was seen to hold, as a histogram. Out: a [`Quant`]. Law: histograms grow by
//! doubling their bin width, so they do not depend on the order of the samples.

use crate::graph::Quant;
use crate::tensor::DType;

/// The 8-bit affine quantization that covers `lo..=hi` and holds zero exactly. A range of no
/// width gives an arbitrary small scale.
pub(super) fn affine(lo: f32, hi: f32) -> Quant {
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let width = f64::from(hi) - f64::from(lo);
    let scale = (width / 255.0) as f32;
    if !(scale.is_finite() && scale >= 1e-30) {
        return Quant::per_tensor(DType::I8, 1.0 / 256.0, -128);
    }
    let zero = (-128.0 - f64::from(lo) / f64::from(scale)).round_ties_even().clamp(-128.0, 127.0);
    Quant::per_tensor(DType::I8, scale, zero as i32)
}

/// The real interval that a per-tensor quantization can hold.
pub(super) fn range(quant: &Quant) -> (f32, f32) {
    let real = |stored: i32| (stored - quant.zero_point[0]) as f32 * quant.scale[0];
    let (least, most) = quant.stored();
    (real(least), real(most))
}

/// Bins on each side of zero.
const HALF: usize = 4096;

/// How often a value fell where: bins of equal, power-of-two width around zero, and the exact
/// ends.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// Bin `i` holds `width * (i - HALF) ..  width * (i - HALF + 1)`.
    counts: Vec<u64>,
    width: f64,
    pub lo: f32,
    pub hi: f32,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram { counts: vec![0; 2 * HALF], width: libm::ldexp(1.0, -60), lo: f32::MAX, hi: f32::MIN }
    }

    fn reaches(&self, x: f32) -> bool {
        f64::from(x.abs()) < self.width * HALF as f64
    }

    /// Doubles the bin width: two neighbours become one.
    fn widen(&mut self) {
        let old = std::mem::replace(&mut self.counts, vec![0; 2 * HALF]);
        for (i, n) in old.into_iter().enumerate() {
            self.counts[HALF / 2 + i / 2] += n;
        }
        self.width *= 2.0;
    }

    /// Counts finite numbers.
    pub(super) fn add(&mut self, values: &[f32]) {
        for &x in values {
            self.lo = self.lo.min(x);
            self.hi = self.hi.max(x);
        }
        let far = self.lo.abs().max(self.hi.abs());
        while !self.reaches(far) && !values.is_empty() {
            self.widen();
        }
        let inverse = 1.0 / self.width;
        for &x in values {
            let bin = (f64::from(x) * inverse).floor() as i64 + HALF as i64;
            self.counts[bin.clamp(0, 2 * HALF as i64 - 1) as usize] += 1;
        }
    }

    /// The quantization of least square error.
    pub(super) fn quant(&self) -> Quant {
        shared(&[self])
    }

    /// [`shared_or`] of one.
    pub(super) fn quant_or(&self, known: Quant) -> Quant {
        shared_or(&[self], known, self.quant())
    }

    /// What lies below zero and what lies above, where there is any.
    pub(super) fn sides(&self) -> impl Iterator<Item = Histogram> {
        let side = |upper: bool| {
            let mut side = self.clone();
            let (lower, above) = side.counts.split_at_mut(HALF);
            if upper { lower } else { above }.fill(0);
            let (lo, hi) = (&mut side.lo, &mut side.hi);
            *if upper { lo } else { hi } = 0.0;
            side
        };
        [(self.lo < 0.0, side(false)), (self.hi > 0.0, side(true))]
            .into_iter()
            .filter_map(|(any, side)| any.then_some(side))
    }

    /// Mean and count of every occupied bin.
    fn occupied(&self) -> Vec<(f64, f64)> {
        let middle = |i: usize| (i as f64 - HALF as f64 + 0.5) * self.width;
        let bins = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        // Zero is common (Relu) and exact: its bin counts as zero when it is an end of the range.
        bins.map(|(i, &n)| {
            let x = if i == HALF && self.lo == 0.0 { 0.0 } else { middle(i) };
            (x.clamp(f64::from(self.lo), f64::from(self.hi)), n as f64)
        })
        .collect()
    }
}

/// What one quantization must hold, as error counts for it.
struct View {
    bins: Vec<(f64, f64)>,
    /// The error that the full range costs, or would on the average.
    base: f64,
}

fn views(all: &[&Histogram], full: &Quant) -> Vec<View> {
    let step = f64::from(full.scale[0]);
    all.iter()
        .map(|h| {
            let bins = h.occupied();
            // Zeros are exact.
            let count: f64 = bins.iter().filter(|(x, _)| *x != 0.0).map(|(_, n)| n).sum();
            let base = error(&bins, full, f64::INFINITY).max(count * step * step / 12.0);
            View { bins, base }
        })
        .collect()
}

/// How often a view may have the error that the full range costs it.
const WORSE: f64 = 2.0;

/// Sum of the views' errors, each against its base; infinite where clipping costs one too much.
fn cost(views: &[View], quant: &Quant, limit: f64) -> f64 {
    let mut sum = 0.0;
    for view in views.iter().filter(|v| v.base > 0.0) {
        let most = if views.len() > 1 { WORSE * view.base } else { limit * view.base };
        let e = error(&view.bins, quant, most);
        if e > most {
            return f64::INFINITY;
        }
        sum += e / view.base;
    }
    sum
}

/// The full range of what the views hold.
pub(super) fn full(all: &[&Histogram]) -> (f32, f32) {
    all.iter().fold((0.0, 0.0), |(lo, hi), h| (lo.min(h.lo), hi.max(h.hi)))
}

/// One quantization for several views of a value: of least square error, where none has more than
/// twice the error of the full range. Both ends are drawn in, one after the other, from that
/// (Banner et al., 2019, do the same for one symmetric end).
pub(super) fn shared(all: &[&Histogram]) -> Quant {
    let (lo, hi) = full(all);
    let full = affine(lo, hi);
    if hi - lo < 1e-30 {
        return full;
    }
    let views = views(all, &full);
    let mut best = (cost(&views, &full, f64::INFINITY), full, 1.0f32, 1.0f32);
    for _ in 0..2 {
        for end in 0..2 {
            if (end == 0 && lo == 0.0) || (end == 1 && hi == 0.0) {
                continue;
            }
            for step in 1..=40u8 {
                let keep = 1.0 - 0.02 * f32::from(step);
                let (l, h) = if end == 0 { (keep, best.3) } else { (best.2, keep) };
                let candidate = affine(lo * l, hi * h);
                let e = cost(&views, &candidate, best.0);
                if e < best.0 {
                    best = (e, candidate, l, h);
                }
            }
        }
    }
    best.1
}

/// The quantization `known` where it serves all views well: the error is 40 dB below the view, or
/// at most twice that of `best`. Else `best`.
pub(super) fn shared_or(all: &[&Histogram], known: Quant, best: Quant) -> Quant {
    if all.iter().all(|h| h.lo > h.hi) {
        return known;
    }
    let serves = |h: &&Histogram| {
        let bins = h.occupied();
        let (least, have) = (error(&bins, &best, f64::INFINITY), error(&bins, &known, f64::INFINITY));
        let signal: f64 = bins.iter().map(|&(x, n)| n * x * x).sum();
        have <= 2.0 * least || have * 1e4 <= signal
    };
    if all.iter().all(serves) { known } else { best }
}

/// What eight bits keep of a value within their range, in decibels; infinite of what was not seen or is zero. What lies
/// beyond was cut on purpose, as what a Relu behind the value leaves out.
pub(super) fn decibels(histogram: &Histogram, quant: &Quant) -> f64 {
    let (lo, hi) = range(quant);
    let within = |x: f64| x.clamp(f64::from(lo), f64::from(hi));
    let bins: Vec<(f64, f64)> = histogram.occupied().into_iter().map(|(x, n)| (within(x), n)).collect();
    let signal: f64 = bins.iter().map(|&(x, n)| n * x * x).sum();
    let noise = error(&bins, quant, f64::INFINITY);
    if signal > 0.0 && noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY }
}

/// Sum of squared errors that a quantization makes; stops early beyond `limit`.
fn error(bins: &[(f64, f64)], quant: &Quant, limit: f64) -> f64 {
    let (scale, zero) = (f64::from(quant.scale[0]), f64::from(quant.zero_point[0]));
    let inverse = 1.0 / scale;
    let mut sum = 0.0;
    for chunk in bins.chunks(256) {
        for &(x, n) in chunk {
            let q = (x * inverse).round_ties_even().clamp(-128.0 - zero, 127.0 - zero);
            let e = q * scale - x;
            sum += n * e * e;
        }
        if sum > limit {
            return sum;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_samples_does_not_matter() {
        let (a, b) = ([0.1f32, -3.0, 2.0, 1e-7], [100.0f32, 0.0, -0.5]);
        let (mut one, mut two) = (Histogram::new(), Histogram::new());
        one.add(&a);
        one.add(&b);
        two.add(&b);
        two.add(&a);
        assert_eq!(one.counts, two.counts);
        assert_eq!(one.width, two.width);
    }

    #[test]
    fn a_lone_outlier_is_clipped_and_a_flat_range_is_not() {
        let flat: Vec<f32> = (0..=1000).map(|i| i as f32 / 1000.0).collect();
        let mut h = Histogram::new();
        h.add(&flat);
        let (lo, hi) = range(&h.quant());
        assert!(lo == 0.0 && (0.98..=1.02).contains(&hi), "{lo} {hi}");
        for _ in 0..1000 {
            h.add(&flat);
        }
        h.add(&[3.0]);
        // Rounding costs 1e6 * (hi / 255)^2 / 12, clipping (3 - hi)^2: least at 1.3.
        let (_, hi) = range(&h.quant());
        assert!((1.2..=1.42).contains(&hi), "{hi}");
    }

    /// Readers of the rare end of a value, as Relu and maxima are, keep it.
    #[test]
    fn an_end_that_a_view_needs_is_not_clipped() {
        let (mut all, mut top) = (Histogram::new(), Histogram::new());
        for _ in 0..1000 {
            all.add(&(0..=1000).map(|i| i as f32 / 1000.0).collect::<Vec<_>>());
        }
        all.add(&[3.0]);
        top.add(&[0.0, 0.0, 3.0]);
        assert!(range(&all.quant()).1 < 1.5);
        let (_, hi) = range(&shared(&[&all, &top]));
        assert!((hi - 3.0).abs() <= 3.0 / 255.0, "{hi}");
    }

    #[test]
    fn a_rare_side_of_zero_is_kept_where_it_counts_for_itself() {
        let mut h = Histogram::new();
        for _ in 0..10 {
            h.add(&(0..=1000).map(|i| -3.0 * i as f32 / 1000.0).collect::<Vec<_>>());
        }
        h.add(&[0.1]);
        assert!(range(&h.quant()).1 < 0.1);
        let sides: Vec<Histogram> = h.sides().collect();
        assert_eq!(sides.iter().map(|s| (s.lo, s.hi)).collect::<Vec<_>>(), [(-3.0, 0.0), (0.0, 0.1)]);
        let views: Vec<&Histogram> = std::iter::once(&h).chain(&sides).collect();
        let (_, hi) = range(&shared(&views));
        assert!((hi - 0.1).abs() <= 0.5 * 3.1 / 255.0, "{hi}");
    }

    #[test]
    fn a_known_scale_gives_way_to_small_values() {
        let known = || Quant::per_tensor(DType::I8, 1.0 / 256.0, -128);
        let seen = |top: f32| {
            let mut h = Histogram::new();
            h.add(&(0..=1000).map(|i| top * i as f32 / 1000.0).collect::<Vec<_>>());
            h
        };
        assert_eq!(seen(1.0).quant_or(known()), known());
        assert_eq!(Histogram::new().quant_or(known()), known());
        let (_, hi) = range(&seen(0.02).quant_or(known()));
        assert!((0.018..=0.022).contains(&hi), "{hi}");
    }

    #[test]
    fn degenerate_ranges_have_a_scale() {
        for values in [&[][..], &[0.0, 0.0], &[1e-38], &[-1e-40, 0.0]] {
            let mut h = Histogram::new();
            h.add(values);
            let q = h.quant();
            assert!(q.scale[0] > 0.0 && q.scale[0].is_finite(), "{values:?} {q:?}");
        }
        let mut h = Histogram::new();
        h.add(&[-5.0, -4.0]);
        assert_eq!(h.quant().zero_point[0], 127);
    }
}
