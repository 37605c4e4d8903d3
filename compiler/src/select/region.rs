//! Regions of a result whose windows have one size: corners, edges and the interior.
//!
//! In: the axes of a window. Out: per region the runs of windows over rows of pixels, without a
//! question about borders; `None` where there are too many sizes, or windows without a tap.

use super::pool::Axis;
use super::{Cx, View};
use crate::error::Result;
use crate::kernel::{Buf, CallArg, Kernel, KernelBuilder};
use crate::kernels::vector::{Run, Windows};
use crate::tensor::DType;
use std::sync::Arc;

/// Sizes of windows beyond which a kernel for each would be too much code.
const SIZES: usize = 12;

/// Places of the result, one after another, whose windows reach alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First place and number of places.
    pub(crate) from: usize,
    pub(crate) len: usize,
    /// Input element of the first tap at the first place.
    pub(crate) first: usize,
    /// Taps inside the border.
    pub(crate) taps: usize,
    /// Taps that an average counts.
    pub(crate) count: usize,
}

/// The spans of an axis; `None` where a window has no tap inside.
pub(crate) fn spans(axis: &Axis, with_pad: bool) -> Option<Vec<Span>> {
    let mut spans: Vec<(usize, Span)> = Vec::new();
    for o in 0..axis.out {
        let at = |k: usize| o * axis.stride + k * axis.dilation;
        let inside = |&k: &usize| (axis.begin..axis.begin + axis.n).contains(&at(k));
        let skipped = (0..axis.taps).find(inside)?;
        let taps = (0..axis.taps).filter(inside).count();
        let counted = (0..axis.taps).filter(|&k| at(k) < axis.begin + axis.n + axis.end).count();
        let count = if with_pad { counted } else { taps };
        match spans.last_mut() {
            Some((k, s)) if *k == skipped && s.taps == taps && s.count == count => s.len += 1,
            _ => {
                let first = at(skipped) - axis.begin;
                spans.push((skipped, Span { from: o, len: 1, first, taps, count }));
            }
        }
    }
    Some(spans.into_iter().map(|(_, s)| s).collect())
}

/// A region, and the kernel for each of its rows or, without one for rows, for each pixel.
pub(crate) struct Region {
    rows: Span,
    columns: Span,
    kernel: Arc<Kernel>,
    /// Places of a row that one call does not reach.
    calls: usize,
}

impl Region {
    /// Taps that an average counts.
    pub(crate) fn count(&self) -> usize {
        self.rows.count * self.columns.count
    }
    /// Taps inside the border.
    pub(crate) fn taps(&self) -> usize {
        self.rows.taps * self.columns.taps
    }
}

/// Cuts the result into regions, each with the native kernel of `run`, where the core has one
/// for all of them.
pub(crate) fn regions(
    cx: &Cx<'_>,
    (x, y): (&View, &View),
    axes: &[Axis; 2],
    with_pad: bool,
    run: &dyn Fn(Windows) -> Run,
) -> Result<Option<Vec<Region>>> {
    let aside = |loc: &View| loc.elem == DType::I8 && (loc.strides[1] == 1 || loc.shape[1] == 1);
    let [Some(rows), Some(columns)] = axes.each_ref().map(|a| spans(a, with_pad)) else { return Ok(None) };
    if !aside(x) || !aside(y) {
        return Ok(None);
    }
    let mut regions = Vec::new();
    let mut kernels: Vec<(Windows, Arc<Kernel>)> = Vec::new();
    for &r in &rows {
        for &c in &columns {
            let pitch = axes.each_ref().map(|a| a.dilation * a.x_stride);
            let step = [axes[1].stride * axes[1].x_stride, axes[1].y_stride];
            let of = |pixels| Windows::new(y.shape[1], [r.taps, c.taps], pitch, pixels, step);
            let mut found = None;
            for (pixels, calls) in [(c.len, 1), (1, c.len)] {
                let windows = of(pixels);
                let known = kernels.iter().find(|k| k.0 == windows).map(|k| k.1.clone());
                let kernel = match known {
                    Some(kernel) => Some(kernel),
                    None => cx.native(run(windows))?.inspect(|k| kernels.push((windows, k.clone()))),
                };
                found = kernel.map(|kernel| Region { rows: r, columns: c, kernel, calls });
                if found.is_some() {
                    break;
                }
            }
            match found {
                Some(region) if kernels.len() <= SIZES => regions.push(region),
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(regions))
}

/// Writes the loops; `scalars` gives what a region's kernel gets behind operand and result.
pub(crate) fn write(
    k: &mut KernelBuilder,
    (x, from): (&View, Buf),
    (y, to): (&View, Buf),
    axes: &[Axis; 2],
    regions: &[Region],
    scalars: &dyn Fn(&Region) -> Vec<CallArg>,
) {
    let [high, wide] = axes;
    k.for_("b", 0, y.shape[0], |k, b| {
        for region in regions {
            let Region { rows, columns, kernel, calls } = region;
            k.for_("h", 0, rows.len, |k, h| {
                k.for_("w", 0, *calls, |k, w| {
                    let at = b * x.strides[0]
                        + (h * high.stride + rows.first) * high.x_stride
                        + (w * wide.stride + columns.first) * wide.x_stride;
                    let place = b * y.strides[0]
                        + (h + rows.from) * high.y_stride
                        + (w + columns.from) * wide.y_stride;
                    let mut args = vec![from.from(at), to.from(place)];
                    args.extend(scalars(region));
                    k.call(kernel, args);
                });
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(n: usize, out: usize, taps: usize, stride: usize, pads: [usize; 2], dilation: usize) -> Axis {
        let [begin, end] = pads;
        Axis { n, out, taps, stride, begin, end, dilation, x_stride: 1, y_stride: 1 }
    }

    #[test]
    fn spans_are_the_windows_one_by_one() {
        let cases = [
            axis(7, 7, 3, 1, [1, 1], 1),
            axis(8, 4, 3, 2, [0, 1], 1),
            axis(9, 3, 5, 3, [2, 0], 1),
            axis(11, 11, 3, 1, [3, 3], 3),
            axis(5, 3, 2, 2, [0, 0], 1),
            axis(2, 2, 5, 1, [2, 2], 1),
        ];
        for a in cases {
            let spans = spans(&a, false).unwrap();
            assert_eq!(spans.iter().map(|s| s.len).sum::<usize>(), a.out, "{a:?}");
            for s in &spans {
                for i in 0..s.len {
                    let got = (0..s.taps).map(|t| s.first + i * a.stride + t * a.dilation);
                    let all = (0..a.taps)
                        .filter_map(|t| ((s.from + i) * a.stride + t * a.dilation).checked_sub(a.begin));
                    let want: Vec<usize> = all.filter(|&e| e < a.n).collect();
                    assert_eq!(got.collect::<Vec<_>>(), want, "{a:?} {s:?}");
                }
            }
        }
        assert_eq!(spans(&axis(8, 8, 3, 1, [1, 1], 1), false).unwrap().len(), 3);
        // A window that lies in the padding alone has no tap.
        assert_eq!(spans(&axis(1, 2, 2, 1, [1, 2], 3), false), None);
    }

    #[test]
    fn padding_counts_where_it_should() {
        let counts = |with_pad| -> Vec<(usize, usize)> {
            let spans = spans(&axis(5, 3, 3, 2, [1, 1], 1), with_pad).unwrap();
            spans.iter().map(|s| (s.len, s.count)).collect()
        };
        assert_eq!(counts(false), [(1, 2), (1, 3), (1, 2)]);
        assert_eq!(counts(true), [(1, 3), (1, 3), (1, 3)]);
    }
}
