//! Whether the iterations of a loop may run side by side: no two of them touch the same
//! element when one of them writes it.
//!
//! Addresses are compared as affine forms over slots that do not change. What is no such form,
//! or differs in an unknown way, counts as touching.

use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::program::machine::compile::{Compiler, Root, Vector};
use crate::program::machine::env::{Base, Mem};
use crate::program::machine::expr::{IntCode, IntKind};
use crate::program::machine::uniform::Int;

/// One load or store in the body of a loop.
pub(crate) struct Touch {
    store: bool,
    mem: Mem,
    /// Element index of the first lane.
    index: Option<Affine>,
    /// Stands in a loop inside the loop.
    looped: bool,
}

impl Compiler {
    /// Notes an access, while a loop is compiled in lanes.
    pub(crate) fn touch(&mut self, store: bool, mem: Mem, index: &IntCode) {
        let Some(vector) = &mut self.vector else { return };
        let index = match &index.kind {
            IntKind::Uniform(Int::Affine(a)) | IntKind::Linear(a, _) => Some(a.clone()),
            _ => None,
        };
        let looped = vector.inner > 0;
        vector.touches.push(Touch { store, mem, index, looped });
    }
}

/// Whether no iteration of the loop depends on another.
pub(crate) fn independent(vector: &Vector, roots: &[Root], ranges: &[Interval]) -> bool {
    let touches = &vector.touches;
    touches.iter().enumerate().filter(|(_, t)| t.store).all(|(i, store)| {
        touches.iter().enumerate().all(|(j, other)| {
            // Two stores are looked at once.
            (other.store && j < i) || apart(vector, roots, ranges, store, other, i == j)
        })
    })
}

fn apart(vector: &Vector, roots: &[Root], ranges: &[Interval], a: &Touch, b: &Touch, same: bool) -> bool {
    if a.mem.region != b.mem.region || (same && !a.looped) {
        // One store, once an iteration: lanes are stored in the order of iterations.
        return true;
    }
    let (size, other) = (a.mem.elem.size(), b.mem.elem.size());
    if let (Base::Fixed(x), Base::Fixed(y)) = (a.mem.base, b.mem.base)
        && (x + a.mem.len * size <= y || y + b.mem.len * other <= x)
    {
        return true;
    }
    if a.mem.base != b.mem.base || size != other {
        return false;
    }
    let forms =
        (a.index.as_ref().and_then(|f| expand(f, roots)), b.index.as_ref().and_then(|f| expand(f, roots)));
    let (Some(x), Some(y)) = forms else { return false };
    let of = |f: &Affine| f.terms.iter().find(|t| t.0 == vector.slot).map_or(0, |t| t.1);
    let distance = of(&x) * vector.step;
    if distance == 0 || of(&x) != of(&y) {
        return false;
    }
    // What varies inside of an iteration varies on both sides independently; the rest must cancel.
    let mut left = Interval::point(0);
    let mut outer = Affine::default();
    for (form, sign) in [(&x, 1), (&y, -1)] {
        left = left.plus(Interval::point(form.constant).scale(sign.into()));
        for &(slot, k) in form.terms.iter().filter(|t| t.0 != vector.slot) {
            if slot >= vector.first {
                left = left.plus(ranges[slot].scale(i128::from(k) * i128::from(sign)));
            } else {
                let term = Affine { terms: vec![(slot, k * sign)], constant: 0 };
                match outer.plus(&term) {
                    Some(sum) => outer = sum,
                    None => return false,
                }
            }
        }
    }
    let reach = i128::from(distance.unsigned_abs());
    outer.terms.is_empty() && left.lo > -reach && left.hi < reach
}

/// The form over slots that are no sums of others; `None` if one of them changes.
fn expand(form: &Affine, roots: &[Root]) -> Option<Affine> {
    let mut sum = Affine::constant(form.constant);
    for &(slot, k) in &form.terms {
        let term = match &roots[slot] {
            Root::Mutable => return None,
            Root::Symbol => Affine::symbol(slot),
            Root::Sum(a) => expand(a, roots)?,
        };
        sum = sum.plus(&term.scaled(k)?)?;
    }
    Some(sum)
}
