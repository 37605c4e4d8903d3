//! The blocked float product that calibration and the float meaning run on.
//!
//! In: a row-major left operand and a function that fills blocks of the right one (im2col, or a
//! copy). Out: the row-major product. Law: every element is the sum, in rising order, of sums of
//! [`RUN`] terms in rising order, whatever the blocking, so the result is the same on every machine.

/// Columns that one tile holds in registers, and rows.
const COLUMNS: usize = 8;
const ROWS: usize = 4;
/// Terms that are summed before they join the total: one long sum in single precision would lose
/// about as many bits as a reference that sums otherwise, and their difference twice that.
const RUN: usize = 64;
/// Elements of a block of the right operand: it should stay in the second-level cache.
const BLOCK: usize = 1 << 15;

/// `out[m, n] = a[m, k] * b[k, n]`, where `fill(first, columns, block, width)` writes columns
/// `first..first + columns` of `b` to the rows of `block`, which are `width` apart.
pub(crate) fn product(
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    mut fill: impl FnMut(usize, usize, &mut [f32], usize),
    out: &mut [f32],
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        out.fill(0.0);
        return;
    }
    let width = (BLOCK / k).clamp(COLUMNS, 512).min(n.next_multiple_of(COLUMNS)) / COLUMNS * COLUMNS;
    // Columns beyond the last stay zero: they are computed and dropped.
    let mut block = vec![0.0; k * width];
    for first in (0..n).step_by(width) {
        let columns = width.min(n - first);
        fill(first, columns, &mut block, width);
        for row in (0..m).step_by(ROWS) {
            for j in (0..columns).step_by(COLUMNS) {
                let keep = COLUMNS.min(columns - j);
                let mut store = |r: usize, tile: &[f32; COLUMNS]| {
                    let at = (row + r) * n + first + j;
                    out[at..at + keep].copy_from_slice(&tile[..keep]);
                };
                if row + ROWS <= m {
                    let tile = tile::<ROWS>(&a[row * k..(row + ROWS) * k], k, &block[j..], width);
                    tile.iter().enumerate().for_each(|(r, t)| store(r, t));
                } else {
                    for r in 0..m - row {
                        let tile = tile::<1>(&a[(row + r) * k..(row + r + 1) * k], k, &block[j..], width);
                        store(r, &tile[0]);
                    }
                }
            }
        }
    }
}

/// `R` rows by [`COLUMNS`] columns of the product.
fn tile<const R: usize>(a: &[f32], k: usize, b: &[f32], width: usize) -> [[f32; COLUMNS]; R] {
    let mut sum = [[0.0f32; COLUMNS]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|r| &a[r * k..(r + 1) * k]);
    for start in (0..k).step_by(RUN) {
        let mut acc = [[0.0f32; COLUMNS]; R];
        for i in start..k.min(start + RUN) {
            let (b, _) =
                b[i * width..].split_first_chunk::<COLUMNS>().expect("a block is a multiple of a tile wide");
            for r in 0..R {
                let x = rows[r][i];
                for c in 0..COLUMNS {
                    acc[r][c] += x * b[c];
                }
            }
        }
        for r in 0..R {
            for c in 0..COLUMNS {
                sum[r][c] += acc[r][c];
            }
        }
    }
    sum
}

/// A `fill` that copies from a row-major matrix of `n` columns.
pub(crate) fn copy(b: &[f32], n: usize) -> impl FnMut(usize, usize, &mut [f32], usize) {
    move |first, columns, block, width| {
        for (to, from) in block.chunks_mut(width).zip(b.chunks(n)) {
            to[..columns].copy_from_slice(&from[first..first + columns]);
        }
    }
}

/// A `fill` that reads a row-major matrix of `k` columns transposed.
pub(crate) fn transpose(b: &[f32], k: usize) -> impl FnMut(usize, usize, &mut [f32], usize) {
    move |first, columns, block, width| {
        for c in 0..columns {
            for (i, &v) in b[(first + c) * k..(first + c + 1) * k].iter().enumerate() {
                block[i * width + c] = v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_plain_triple_loop_at_every_border() {
        for (m, k, n) in [(1, 1, 1), (4, 3, 8), (5, 7, 9), (3, 5, 600), (9, 4100, 11), (2, 0, 3)] {
            let a: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| ((i * 53 % 97) as f32 - 48.0) / 32.0).collect();
            let mut plain = vec![0.0f32; m * n];
            for r in 0..m {
                for c in 0..n {
                    for i in 0..k {
                        plain[r * n + c] += a[r * k + i] * b[i * n + c];
                    }
                }
            }
            let mut out = vec![f32::NAN; m * n];
            product((m, k, n), &a, copy(&b, n), &mut out);
            assert_eq!(out, plain, "{m} {k} {n}");
            let turned: Vec<f32> =
                (0..n).flat_map(|c| (0..k).map(move |i| (i, c))).map(|(i, c)| b[i * n + c]).collect();
            out.fill(f32::NAN);
            product((m, k, n), &a, transpose(&turned, k), &mut out);
            assert_eq!(out, plain, "{m} {k} {n} transposed");
        }
    }
}
