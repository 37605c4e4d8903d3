//! What compiled code runs in: memory, scalar slots, lane slots, and the first failure.
//!
//! Law: a failure never stops the host. It is noted with its site, a harmless value goes on,
//! and loops end at their next turn.

use crate::program::machine::memory::Memory;
use crate::tensor::DType;

/// Iterations that run side by side, at most.
pub(crate) const LANES: usize = 256;

/// Number of a place in the program that can fail: a kernel and a statement.
pub(crate) type Site = u32;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Index,
    Overflow,
    Divisor,
    Shift,
    Store,
    Slice,
    Scalar,
}

/// The first failure of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub site: Site,
    pub fault: Fault,
    /// The offending value, as far as one is known.
    pub value: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Env {
    pub memory: Memory,
    pub ints: Vec<i64>,
    pub floats: Vec<f32>,
    pub lane_ints: Vec<Vec<i64>>,
    pub lane_floats: Vec<Vec<f32>>,
    /// Lanes at work, at most [`LANES`].
    pub lanes: usize,
    pub failure: Option<Failure>,
}

impl Env {
    #[cold]
    pub(crate) fn fail(&mut self, site: Site, fault: Fault, value: i64) {
        if self.failure.is_none() {
            self.failure = Some(Failure { site, fault, value });
        }
    }
    /// The value, which must fit 32 bits.
    #[inline(always)]
    pub(crate) fn fit(&mut self, value: i64, site: Site) -> i64 {
        if i64::from(value as i32) != value {
            self.fail(site, Fault::Overflow, value);
            return 0;
        }
        value
    }
    /// The value, which must exist.
    #[inline(always)]
    pub(crate) fn some(&mut self, value: Option<i64>, site: Site) -> i64 {
        value.unwrap_or_else(|| {
            self.fail(site, Fault::Overflow, i64::MAX);
            0
        })
    }
}

/// Byte offset at which a buffer starts: known, or in a slot (slices of a called kernel).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Fixed(usize),
    Slot(usize),
}

/// A buffer parameter as code sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mem {
    pub region: usize,
    pub base: Base,
    /// Elements that the parameter declares.
    pub len: usize,
    pub elem: DType,
}

impl Mem {
    #[inline(always)]
    pub(crate) fn base(&self, env: &Env) -> usize {
        match self.base {
            Base::Fixed(at) => at,
            Base::Slot(slot) => env.ints[slot] as usize,
        }
    }
    /// Byte position of an element, if it is inside.
    #[inline(always)]
    pub(crate) fn at(&self, env: &Env, index: i64, size: usize) -> Option<usize> {
        if (index as u64) < self.len as u64 { Some(self.base(env) + index as usize * size) } else { None }
    }
    /// Byte position of the first of `n` elements `stride` apart, if all are inside.
    #[inline(always)]
    pub(crate) fn span(&self, env: &mut Env, first: i64, stride: i64, n: usize, site: Site) -> Option<usize> {
        let last = first + stride * (n as i64 - 1);
        let inside = |i: i64| (i as u64) < self.len as u64;
        if inside(first) && inside(last) {
            return Some(self.base(env) + first as usize * self.elem.size());
        }
        env.fail(site, Fault::Index, if inside(first) { last } else { first });
        None
    }
}
