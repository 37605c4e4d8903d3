//! Working memory that several models share.
//!
//! In: how many bytes. Out: the bytes, lent to one model at a time. Law: a model that needs more than there are is an error
//! of the build, so that nothing is checked at run time.

use crate::Aligned;

/// Working memory for models that run one after the other and were compiled with `arena = "shared"`.
///
/// ```
/// use secateur_runtime::{Arena, largest};
///
/// const WORDS: usize = 1200; // `Words::ARENA_BYTES` of a model
/// const MOTION: usize = 800;
/// let mut arena = Arena::<{ largest(&[WORDS, MOTION]) }>::new();
/// assert!(arena.lend::<MOTION>().len() >= MOTION);
/// ```
///
/// What a model keeps between runs is not in it, but in the model's own struct.
pub struct Arena<const BYTES: usize> {
    memory: Aligned<u64, [u8; BYTES]>,
}

impl<const BYTES: usize> Arena<BYTES> {
    /// Memory of zeros; it may stand in a `static`.
    pub const fn new() -> Self {
        Arena { memory: Aligned::new([0; BYTES]) }
    }
    /// All of it, aligned for every type, to a model that needs `NEED` bytes: more than there are do not compile.
    #[inline]
    pub const fn lend<const NEED: usize>(&mut self) -> &mut [u8] {
        const {
            assert!(
                NEED <= BYTES,
                "the shared arena is smaller than the `ARENA_BYTES` of a model that runs in it"
            )
        };
        self.memory.get_mut()
    }
}

impl<const BYTES: usize> Default for Arena<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the bytes.
impl<const BYTES: usize> core::fmt::Debug for Arena<BYTES> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Arena").field("bytes", &BYTES).finish_non_exhaustive()
    }
}

/// The largest of some sizes; 0 of none.
pub const fn largest(mut sizes: &[usize]) -> usize {
    let mut most = 0;
    while let [first, rest @ ..] = sizes {
        if *first > most {
            most = *first;
        }
        sizes = rest;
    }
    most
}
