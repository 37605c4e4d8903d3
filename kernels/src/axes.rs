//! Loop nests over several strided operands of one shape.
//!
//! In: a shape, and for each operand its stride per axis (0 where it is broadcast, negative
//! where it runs backwards). Out: loops in the memory order of the first operand, with axes
//! that all operands walk alike melted into one.

use crate::kernel::{Expr, KernelBuilder};
use crate::problem::Axis;

/// The loops, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nest {
    pub dims: Vec<usize>,
    /// By operand, then by loop.
    pub strides: Vec<Vec<isize>>,
}

impl Nest {
    /// Sorts the axes by the stride of operand 0, drops those of size one, melts the rest.
    pub fn new(shape: &[usize], strides: &[Vec<isize>]) -> Nest {
        let mut axes: Vec<usize> = (0..shape.len()).filter(|&a| shape[a] != 1).collect();
        axes.sort_by_key(|&a| std::cmp::Reverse(strides.first().map_or(0, |s| s[a].unsigned_abs())));
        let mut nest = Nest { dims: Vec::new(), strides: vec![Vec::new(); strides.len()] };
        for axis in axes {
            let n = shape[axis];
            let melts = !nest.dims.is_empty()
                && strides
                    .iter()
                    .zip(&nest.strides)
                    .all(|(s, outer)| outer.last() == Some(&(s[axis] * n as isize)));
            if melts {
                if let Some(d) = nest.dims.last_mut() {
                    *d *= n;
                }
                for (s, outer) in strides.iter().zip(&mut nest.strides) {
                    if let Some(o) = outer.last_mut() {
                        *o = s[axis];
                    }
                }
            } else {
                nest.dims.push(n);
                for (s, outer) in strides.iter().zip(&mut nest.strides) {
                    outer.push(s[axis]);
                }
            }
        }
        nest
    }

    /// The loops around an innermost one that walks all operands side by side, and its length;
    /// `None` where there is none of at least `least` elements.
    pub fn runs(&self, least: usize) -> Option<(Nest, usize)> {
        let (&n, outer) = self.dims.split_last()?;
        if n < least || self.strides.iter().any(|s| s.last() != Some(&1)) {
            return None;
        }
        let strides = self.strides.iter().map(|s| s[..outer.len()].to_vec()).collect();
        Some((Nest { dims: outer.to_vec(), strides }, n))
    }

    /// Writes the loops around `body`, which gets each operand's index from its own base.
    pub fn write(
        &self,
        k: &mut KernelBuilder,
        bases: &[Expr],
        body: &mut dyn FnMut(&mut KernelBuilder, &[Expr]),
    ) {
        self.level(k, 0, bases.to_vec(), body);
    }

    fn level(
        &self,
        k: &mut KernelBuilder,
        depth: usize,
        at: Vec<Expr>,
        body: &mut dyn FnMut(&mut KernelBuilder, &[Expr]),
    ) {
        if depth == self.dims.len() {
            body(k, &at);
            return;
        }
        let name = ["i", "j", "l", "m", "n", "o", "p", "q"].get(depth).copied().unwrap_or("r");
        k.for_(name, 0, self.dims[depth], |k, i| {
            let next = at.into_iter().zip(&self.strides).map(|(e, s)| step(e, i.into(), s[depth]));
            self.level(k, depth + 1, next.collect(), body);
        });
    }
}

/// `base + i * stride`.
pub fn step(base: Expr, i: Expr, stride: isize) -> Expr {
    match stride {
        0 => base,
        s if s < 0 => base - i * s.unsigned_abs(),
        s => base + i * s.unsigned_abs(),
    }
}

/// Strides as the nest wants them.
pub fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&s| s as isize).collect()
}

/// Strides of an operand broadcast to `shape`, by NumPy's rule.
pub fn broadcast(from: &[usize], strides: &[usize], shape: &[usize]) -> Vec<isize> {
    let lead = shape.len().saturating_sub(from.len());
    (0..shape.len())
        .map(|axis| match axis.checked_sub(lead) {
            Some(a) if from[a] != 1 => strides[a] as isize,
            _ => 0,
        })
        .collect()
}

/// Loops over axes of rows; the body gets the offsets of the row in input and result.
pub fn nest(
    k: &mut KernelBuilder,
    axes: &[Axis],
    x0: Expr,
    y0: Expr,
    body: &mut dyn FnMut(&mut KernelBuilder, &Expr, &Expr),
) {
    match axes.split_first() {
        None => body(k, &x0, &y0),
        Some((axis, rest)) => k.for_("row", 0, axis.len, |k, r| {
            nest(k, rest, x0 + r * axis.x, y0 + r * axis.y, body);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_walks_melt_into_one_loop() {
        let rm = vec![12, 4, 1];
        let nest = Nest::new(&[2, 3, 4], &[rm.clone(), rm]);
        assert_eq!(nest.dims, vec![24]);
        // Channels-last result from a row-major operand: nothing melts but the pixels.
        let nest = Nest::new(&[1, 3, 4, 5], &[vec![60, 1, 15, 3], vec![60, 20, 5, 1]]);
        assert_eq!(nest.dims, vec![20, 3]);
        assert_eq!(nest.strides[1], vec![1, 20]);
        // A broadcast channel.
        let nest = Nest::new(&[1, 3, 4, 5], &[vec![60, 20, 5, 1], vec![0, 1, 0, 0]]);
        assert_eq!(nest.dims, vec![3, 20]);
    }
}
