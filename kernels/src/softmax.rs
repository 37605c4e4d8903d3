//! Rows of an integer Softmax, as cores' own kernels are asked for them.
//!
//! In: the length of a row and the numbers of its reciprocal. Out: sizes; what they mean is said where Softmax is
//! selected: `top` the greatest element, `e` the table's word at the distance `top - x`, `s` the sum of all `e`,
//! `q = numerator * 2^digits / (s >> beyond)` rounded down, and a result `(e * q >> 32 + rnd) >> sh` within int8.
//! Law: a native gives the same bits, by as many instructions for every row.

/// Sizes of `(x, exp, y)`: int8 elements, a table of 256 words of at most 2^30, of which the first is that, and results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub n: usize,
    /// Bits that the sum loses before it divides: as many as `n` has but one, so that 31 are left.
    pub beyond: u32,
    /// Less than `2^(30 - beyond)`.
    pub numerator: i32,
    pub digits: u32,
    pub rnd: i32,
    pub sh: u32,
}
