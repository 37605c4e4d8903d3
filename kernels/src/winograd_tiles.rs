//! What engines share that compute 3x3 convolutions with unit stride by tiles of outputs.
//!
//! In: sizes. Out: whether they fit, weights and biases for transforms, and the [`Walk`] over
//! rows of tiles: the input rows under one are transformed vertically, then groups of four
//! tiles are handed out. Where a size is no multiple, the last tiles overlap the ones before and
//! compute the same again.

use crate::armv7em::winograd::Tile;
use crate::armv7em::winograd::four::LEFT;
use crate::kernel::{Buf, CallArg, Expr, Kernel, KernelBuilder, Val};
use crate::problem::Geometry;
use secateur_targets::Target;
use std::sync::Arc;

/// A plain 3x3 convolution with unit stride over packed channels.
pub fn packed(g: &Geometry) -> bool {
    let plain = g.groups == 1 && g.kernel == [3, 3] && g.strides == [1, 1] && g.dilations == [1, 1];
    plain && g.x[1] == 1 && g.y[1] == 1 && g.x[3] == g.cin
}

/// Whether there is at most one row or column of padding on each side.
pub fn padded(g: &Geometry) -> bool {
    (0..2).all(|a| {
        g.pads[a] <= 1 && g.input[a] + g.pads[a] <= g.output[a] + 2 && g.input[a] + g.pads[a] > g.output[a]
    })
}

/// Whether results may take the place of inputs, `tall` rows of them after the other.
pub fn in_place(g: &Geometry, tall: usize) -> bool {
    let alike = g.cin == g.cout && g.input == g.output && g.x == g.y;
    alike && g.pads == [1, 1] && g.output[0].is_multiple_of(tall)
}

/// The taps of a filter.
pub fn filter(weights: &[i32], channels: usize, o: usize, c: usize) -> [i32; 9] {
    std::array::from_fn(|tap| weights[(o * channels + c) * 9 + tap])
}

/// Biases, less `base` of each output, for inputs that hold the zero point, if 64 times every
/// sum stays within 32 bits: what transforms by 4x4 tiles leave of their factor.
pub fn biases(
    weights: &[i32],
    bias: &[i32],
    zero: i32,
    taps: usize,
    base: impl Fn(usize) -> i64,
) -> Option<Vec<i64>> {
    let limit = i64::from(i32::MAX) >> LEFT;
    let of = |(o, (row, &bias)): (usize, (&[i32], &i32))| -> Option<i64> {
        if row.iter().any(|w| !(-128..=127).contains(w)) {
            return None;
        }
        let sum: i64 = row.iter().map(|&w| i64::from(w)).sum();
        let bias = i64::from(bias) - i64::from(zero) * sum - base(o);
        let [least, most] = [[127, -128], [-128, 127]].map(|[below, above]| {
            bias + row.iter().map(|&w| i64::from(w) * if w < 0 { below } else { above }).sum::<i64>()
        });
        (least >= -limit && most <= limit).then_some(bias)
    };
    weights.chunks(taps).zip(bias).enumerate().map(of).collect()
}

/// Whether `bytes` of weights take no more than a third of the chip's flash, if that is known:
/// other layers want some of it too.
pub fn stores(target: &Target, bytes: usize) -> bool {
    target.flash() == 0 || 3 * bytes as u64 <= target.flash()
}

/// A walk over rows of tiles.
pub struct Walk<'a> {
    pub g: &'a Geometry,
    pub tile: Tile,
    pub x: Buf,
    /// Transformed rows, each column [`Tile::side`] times the channels.
    pub t: Buf,
    /// A row of zero points, and one that keeps what results overwrite.
    pub edge: Buf,
    pub keep: Option<Buf>,
    pub zx: Val,
    /// `(first, second, last, t)`, for 2x2 tiles `(first, second, third, last, t, zx)`.
    pub rows: Arc<Kernel>,
}

/// Whether whole groups fit.
pub fn fits(g: &Geometry, tile: Tile) -> bool {
    let [tall, wide] = tile.group();
    packed(g) && padded(g) && g.output[0] >= tall && g.output[1] >= wide
}

/// Elements of transformed rows under one row of tiles.
pub fn band(g: &Geometry, tile: Tile) -> usize {
    tile.side() * (g.output[1] + 2) * g.cin
}

impl Walk<'_> {
    /// Fills the row of zero points, and what padding is transformed to: `column` gets where in `T` some
    /// columns begin, and how many.
    pub fn padding(&self, k: &mut KernelBuilder, column: &dyn Fn(&mut KernelBuilder, usize, usize)) {
        let (g, band, column_len) = (self.g, band(self.g, self.tile), self.tile.side() * self.g.cin);
        k.for_("i", 0, g.input[1] * g.cin, |k, i| k.store(self.edge, i, self.zx));
        for (from, to) in [(0, g.pads[1]), (g.pads[1] + g.input[1], g.output[1] + 2)] {
            for b in (0..self.tile.bands()).filter(|_| to > from) {
                column(k, b * band + from * column_len, to - from);
            }
        }
    }

    /// Walks over an image after the other; `body` gets where the columns of a group begin in
    /// `T`, and its results in `y`.
    pub fn images(&self, k: &mut KernelBuilder, body: &mut dyn FnMut(&mut KernelBuilder, Val, Expr)) {
        let (g, zx) = (self.g, self.zx);
        let edge_len = g.input[1] * g.cin;
        let [tall, wide] = self.tile.group();
        k.for_("n", 0, g.batch, |k, n| {
            if let Some(keep) = self.keep {
                k.for_("i", 0, edge_len, |k, i| k.store(keep, i, zx));
            }
            let groups = g.output[0].div_ceil(tall);
            k.for_("down", 0, groups, |k, down| {
                self.transform(k, n, down, groups);
                let oy = k.let_("oy", (down * tall).min(g.output[0] - tall));
                let y0 = k.let_("y0", n * g.y[0] + oy * g.y[2]);
                k.for_("group", 0, g.output[1].div_ceil(wide), |k, group| {
                    let ox = k.let_("ox", (group * wide).min(g.output[1] - wide));
                    let from = k.let_("from", ox * (self.tile.side() * g.cin));
                    body(k, from, y0 + ox * g.y[3]);
                });
            });
        });
    }

    /// The rows of tiles of a group, vertically.
    fn transform(&self, k: &mut KernelBuilder, n: Val, down: Val, groups: usize) {
        let (g, tile) = (self.g, self.tile);
        let ([tall, _], side) = (tile.group(), tile.side());
        let (top, last) = (g.pads[0] as i32, tile.bands() - 1);
        // Whether the first input row of the group is inside, and the last.
        let all = |k: &mut KernelBuilder, start: Expr, inside: [bool; 2]| {
            for b in 0..=last {
                let row =
                    |i: usize| self.x.from(n * g.x[0] + (&start + (tile.outputs()[0] * b + i)) * g.x[2]);
                let first: CallArg = match self.keep {
                    Some(keep) => keep.from(0),
                    None if b > 0 || inside[0] => row(0),
                    None => self.edge.from(0),
                };
                let under = if b < last || inside[1] { row(side - 1) } else { self.edge.from(0) };
                let to = self.t.from(b * band(g, tile) + g.pads[1] * side * g.cin);
                k.call(
                    &self.rows,
                    match tile {
                        Tile::Two => vec![first, row(1), row(2), under, to, CallArg::Scalar(self.zx.into())],
                        _ => vec![first, row(1), under, to],
                    },
                );
            }
        };
        let at = |oy: usize| {
            let first = oy as i32 - top;
            let inside = |i: i32| (0..g.input[0] as i32).contains(&i);
            (first, [inside(first), inside(first + tall as i32 + 1)])
        };
        let ends = |k: &mut KernelBuilder| {
            let (upper, lower) = (at(0), at(g.output[0] - tall));
            if upper == lower {
                return all(k, upper.0.into(), upper.1);
            }
            k.if_else(down.lt(1), |k| all(k, upper.0.into(), upper.1), |k| all(k, lower.0.into(), lower.1));
        };
        if groups > 2 {
            let middle = down.ge(1).and(down.lt(groups - 1));
            k.if_else(middle, |k| all(k, down * tall - top, [true; 2]), ends);
        } else {
            ends(k);
        }
    }
}

/// Bytes of workspace, given out in order.
#[derive(Default)]
pub struct Workspace {
    pub end: usize,
}

impl Workspace {
    pub fn take(&mut self, bytes: usize) -> usize {
        let at = self.end;
        self.end += bytes.next_multiple_of(8);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_leave_flash_for_others() {
        let chip = |name| secateur_targets::find(name).unwrap();
        // 64 channels from 64: 288 KiB of 512 KiB, and of 2 MiB.
        let bytes = 72 * 64 * 64;
        assert!(!stores(&chip("nrf52832"), bytes));
        assert!(stores(&chip("nrf52832"), bytes / 2));
        assert!(stores(&chip("stm32l4r5"), bytes));
        assert!(stores(&chip("cortex-m4"), 100 * bytes));
    }

    #[test]
    fn sums_must_fit_what_is_left_of_a_word() {
        let of = |w: i32, bias: i32, zero: i32, base: i64| biases(&[w; 36], &[bias], zero, 36, |_| base);
        assert_eq!(of(1, 5, -128, 0), Some(vec![5 + 128 * 36]));
        assert_eq!(of(-128, 0, 127, -7), Some(vec![127 * 128 * 36 + 7]));
        let most = (1 << 25) - 1;
        assert!(of(1, most - 127 * 36, 0, 0).is_some());
        assert!(of(1, most - 127 * 36, 0, -1).is_none());
        assert!(of(1, 128 * 36 - most, 0, 0).is_some());
        assert!(of(1, 128 * 36 - most - 1, 0, 0).is_none());
        assert!(of(128, 0, 0, 0).is_none());
    }
}
