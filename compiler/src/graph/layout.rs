//! Memory layouts: how a value lies, and what of it a view keeps.
//!
//! In: an order of axes, shapes. Out: strides, and the orders that a Transpose or a Reshape makes of
//! it without moving a byte. Law: a layout that a function here returns puts every element at the
//! place where it stands already.

/// How a value lies in memory: `order[i]` is the logical axis that is i-th in memory, slowest
/// first. Row-major is the identity; channels-last of NCHW is `[0, 2, 3, 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub order: Vec<usize>,
}

impl Layout {
    pub fn row_major(rank: usize) -> Self {
        Layout { order: (0..rank).collect() }
    }
    /// Batch, then spatial axes, then channels.
    pub fn channels_last(rank: usize) -> Self {
        let mut order: Vec<usize> = (0..rank).collect();
        if rank > 2 {
            order.remove(1);
            order.push(1);
        }
        Layout { order }
    }
    /// Stride of each logical axis, in elements.
    pub fn strides(&self, shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1;
        for &axis in self.order.iter().rev() {
            strides[axis] = step;
            step *= shape[axis];
        }
        strides
    }
    /// Whether two layouts put every element of `shape` at the same place.
    pub fn same(&self, other: &Layout, shape: &[usize]) -> bool {
        shape.contains(&0) || self.moving(shape).eq(other.moving(shape))
    }
    /// The order without axes of size one, which have no place.
    fn moving<'a>(&'a self, shape: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        self.order.iter().copied().filter(|&axis| shape[axis] != 1)
    }
}

/// The layout of `transpose(x, perm)` over the bytes of x.
pub(crate) fn transposed(x: &Layout, perm: &[usize]) -> Layout {
    let to = |axis: &usize| perm.iter().position(|p| p == axis).unwrap_or(*axis);
    Layout { order: x.order.iter().map(to).collect() }
}

/// The layout of x such that `transpose(x, perm)` over its bytes lies as `y`.
pub(crate) fn untransposed(y: &Layout, perm: &[usize]) -> Layout {
    Layout { order: y.order.iter().map(|&axis| perm[axis]).collect() }
}

/// The layout under which the bytes of a tensor `from`, lying as `layout`, are its reshape to
/// `to`; `None` when no order of axes says that.
///
/// Row-major reshape splits both shapes into the shortest runs of axes with equal products.
/// A run may move as a whole, but its own axes must stand together and in order.
pub(crate) fn reshaped(from: &[usize], layout: &Layout, to: &[usize]) -> Option<Layout> {
    if from.contains(&0) || to.contains(&0) {
        return Some(Layout::row_major(to.len()));
    }
    let moving: Vec<usize> = layout.moving(from).collect();
    let place = |axis: usize| moving.iter().position(|&a| a == axis);
    let ins: Vec<usize> = (0..from.len()).filter(|&a| from[a] != 1).collect();
    let outs: Vec<usize> = (0..to.len()).filter(|&a| to[a] != 1).collect();
    // (position in memory of the run, its axes in the result)
    let mut runs: Vec<(usize, Vec<usize>)> = Vec::new();
    let (mut i, mut o) = (0, 0);
    while i < ins.len() && o < outs.len() {
        let start = i;
        let (mut a, mut b) = (from[ins[i]], to[outs[o]]);
        let mut axes = vec![outs[o]];
        (i, o) = (i + 1, o + 1);
        while a != b {
            if a < b {
                a *= from[*ins.get(i)?];
                i += 1;
            } else {
                b *= to[*outs.get(o)?];
                axes.push(outs[o]);
                o += 1;
            }
        }
        let first = place(ins[start])?;
        for (k, &axis) in ins[start..i].iter().enumerate() {
            if place(axis)? != first + k {
                return None;
            }
        }
        runs.push((first, axes));
    }
    runs.sort();
    let mut order: Vec<usize> = (0..to.len()).filter(|&a| to[a] == 1).collect();
    order.extend(runs.into_iter().flat_map(|(_, axes)| axes));
    Some(Layout { order })
}

/// The order that remains when axes are dropped.
pub(crate) fn without(layout: &Layout, axes: &[usize]) -> Layout {
    let kept = layout.order.iter().filter(|a| !axes.contains(a));
    let order = kept.map(|&a| a - axes.iter().filter(|&&gone| gone < a).count()).collect();
    Layout { order }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(from: &[usize], layout: &[usize], to: &[usize]) -> Option<Vec<usize>> {
        reshaped(from, &Layout { order: layout.to_vec() }, to).map(|l| l.order)
    }

    #[test]
    fn reshape_moves_runs_of_axes_whole() {
        // Row-major stays row-major.
        assert_eq!(order(&[2, 3, 4], &[0, 1, 2], &[6, 4]), Some(vec![0, 1]));
        // Channels-last [1, C, H, W] to [1, C, H*W]: the pixels come first.
        assert_eq!(order(&[1, 3, 4, 5], &[0, 2, 3, 1], &[1, 3, 20]), Some(vec![0, 2, 1]));
        // Flattening channels into pixels needs a copy.
        assert_eq!(order(&[1, 3, 4, 5], &[0, 2, 3, 1], &[1, 60]), None);
        // With one pixel there is nothing to move.
        assert_eq!(order(&[1, 3, 1, 1], &[0, 2, 3, 1], &[1, 3]), Some(vec![0, 1]));
        // A split axis stays together.
        assert_eq!(order(&[6, 5], &[1, 0], &[2, 3, 5]), Some(vec![2, 0, 1]));
    }

    #[test]
    fn transposed_orders_invert() {
        let x = Layout { order: vec![0, 2, 3, 1] };
        let perm = [0, 2, 3, 1];
        let y = transposed(&x, &perm);
        assert_eq!(y, Layout::row_major(4));
        assert_eq!(untransposed(&y, &perm), x);
    }
}
