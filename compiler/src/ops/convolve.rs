//! Float convolution: im2col into the blocked product, depthwise directly.
//!
//! In: x [N, C, H, W], weights [M, C/g, kh, kw], geometry. Out: [N, M, oh, ow]; one spatial axis
//! counts as H = 1.

use super::product::product;
use super::window::Plane;

/// The convolution without bias.
pub(crate) fn convolve(
    x: &[f32],
    w: &[f32],
    (batch, channels, filters, group): (usize, usize, usize, usize),
    plane: &Plane,
) -> Vec<f32> {
    let [ih, iw] = plane.input;
    let [kh, kw] = plane.kernel;
    let (pixels, taps, places) = (ih * iw, kh * kw, plane.out[0] * plane.out[1]);
    let (cg, mg) = (channels / group, filters / group);
    let mut out = vec![0.0; batch * filters * places];
    for n in 0..batch {
        for g in 0..group {
            let x = &x[(n * channels + g * cg) * pixels..][..cg * pixels];
            let w = &w[g * mg * cg * taps..][..mg * cg * taps];
            let out = &mut out[(n * filters + g * mg) * places..][..mg * places];
            if cg == 1 {
                for (w, out) in w.chunks(taps).zip(out.chunks_mut(places)) {
                    depthwise(x, w, plane, out);
                }
            } else {
                let fill = |first: usize, columns: usize, block: &mut [f32], width: usize| {
                    for (row, line) in block.chunks_mut(width).enumerate() {
                        let (c, ky, kx) = (row / taps, row / kw % kh, row % kw);
                        im2col(
                            &x[c * pixels..(c + 1) * pixels],
                            plane,
                            [ky, kx],
                            first,
                            &mut line[..columns],
                        );
                    }
                };
                product((mg, cg * taps, places), w, fill, out);
            }
        }
    }
    out
}

/// Outputs along `axis` whose tap `k` lies inside the input.
fn inside(plane: &Plane, axis: usize, k: usize) -> std::ops::Range<usize> {
    let (stride, pad, tap) = (plane.strides[axis], plane.begin[axis], k * plane.dilations[axis]);
    let first = pad.saturating_sub(tap).div_ceil(stride);
    // The last position p with p * stride + tap < input + pad.
    let end = (plane.input[axis] + pad).saturating_sub(tap).div_ceil(stride);
    let end = end.min(plane.out[axis]);
    first.min(end)..end
}

/// One row of im2col: what tap (ky, kx) reads at output positions `first..`.
fn im2col(x: &[f32], plane: &Plane, [ky, kx]: [usize; 2], first: usize, line: &mut [f32]) {
    let [_, iw] = plane.input;
    let ow = plane.out[1];
    let (rows, columns) = (inside(plane, 0, ky), inside(plane, 1, kx));
    let stride = plane.strides[1];
    line.fill(0.0);
    let last = first + line.len();
    for oy in first / ow..last.div_ceil(ow) {
        if !rows.contains(&oy) {
            continue;
        }
        let iy = oy * plane.strides[0] + ky * plane.dilations[0] - plane.begin[0];
        let from = columns.start.max(first.saturating_sub(oy * ow));
        let to = columns.end.min(last - oy * ow);
        if from >= to {
            continue;
        }
        let at = iy * iw + from * stride + kx * plane.dilations[1] - plane.begin[1];
        let target = &mut line[oy * ow + from - first..oy * ow + to - first];
        if stride == 1 {
            target.copy_from_slice(&x[at..at + to - from]);
        } else {
            target.iter_mut().zip(x[at..].iter().step_by(stride)).for_each(|(t, &v)| *t = v);
        }
    }
}

/// One channel by one filter.
fn depthwise(x: &[f32], w: &[f32], plane: &Plane, out: &mut [f32]) {
    let [_, iw] = plane.input;
    let [_, kw] = plane.kernel;
    let ow = plane.out[1];
    let stride = plane.strides[1];
    for (tap, &weight) in w.iter().enumerate() {
        let (ky, kx) = (tap / kw, tap % kw);
        let columns = inside(plane, 1, kx);
        if columns.is_empty() {
            continue;
        }
        for oy in inside(plane, 0, ky) {
            let iy = oy * plane.strides[0] + ky * plane.dilations[0] - plane.begin[0];
            let at = iy * iw + columns.start * stride + kx * plane.dilations[1] - plane.begin[1];
            let target = &mut out[oy * ow..][columns.clone()];
            if stride == 1 {
                let source = &x[at..at + target.len()];
                target.iter_mut().zip(source).for_each(|(t, &v)| *t += weight * v);
            } else {
                target.iter_mut().zip(x[at..].iter().step_by(stride)).for_each(|(t, &v)| *t += weight * v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: every tap of every output, with bounds looked at one by one.
    fn plain(
        x: &[f32],
        w: &[f32],
        (batch, channels, filters, group): (usize, usize, usize, usize),
        p: &Plane,
    ) -> Vec<f32> {
        let (cg, mg) = (channels / group, filters / group);
        let mut out = Vec::new();
        for (n, m) in (0..batch).flat_map(|n| (0..filters).map(move |m| (n, m))) {
            for (oy, ox) in (0..p.out[0]).flat_map(|y| (0..p.out[1]).map(move |x| (y, x))) {
                let mut sum = 0.0;
                for c in 0..cg {
                    for (ky, kx) in (0..p.kernel[0]).flat_map(|y| (0..p.kernel[1]).map(move |x| (y, x))) {
                        let iy = (oy * p.strides[0] + ky * p.dilations[0]).checked_sub(p.begin[0]);
                        let ix = (ox * p.strides[1] + kx * p.dilations[1]).checked_sub(p.begin[1]);
                        if let (Some(iy), Some(ix)) = (iy, ix)
                            && iy < p.input[0]
                            && ix < p.input[1]
                        {
                            let channel = n * channels + m / mg * cg + c;
                            sum += x[(channel * p.input[0] + iy) * p.input[1] + ix]
                                * w[((m * cg + c) * p.kernel[0] + ky) * p.kernel[1] + kx];
                        }
                    }
                }
                out.push(sum);
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_definition() {
        // Small integers: every sum is exact, so every order of operations gives the same.
        for (channels, filters, group) in [(3, 5, 1), (4, 4, 4), (4, 8, 4), (4, 6, 2)] {
            for (input, kernel, strides, dilations, begin, end) in [
                ([7, 9], [3, 3], [1, 1], [1, 1], [1, 1], [1, 1]),
                ([7, 9], [3, 2], [2, 3], [1, 2], [0, 2], [3, 1]),
                ([1, 40], [1, 9], [1, 2], [1, 3], [0, 12], [0, 12]),
                ([2, 2], [3, 3], [1, 1], [1, 1], [5, 4], [4, 5]),
            ] {
                let out = std::array::from_fn(|i| {
                    (input[i] + begin[i] + end[i] - (kernel[i] - 1) * dilations[i] - 1) / strides[i] + 1
                });
                let plane = Plane { input, out, kernel, strides, dilations, begin, end };
                let size = channels * input[0] * input[1] * 2;
                let x: Vec<f32> = (0..size).map(|i| (i * 29 % 17) as f32 - 8.0).collect();
                let size = filters * channels / group * kernel[0] * kernel[1];
                let w: Vec<f32> = (0..size).map(|i| (i * 31 % 13) as f32 - 6.0).collect();
                let dims = (2, channels, filters, group);
                assert_eq!(convolve(&x, &w, dims, &plane), plain(&x, &w, dims, &plane), "{dims:?} {plane:?}");
            }
        }
    }
}
