//! The lesser and the greater of two integers without a branch, for processors that have no other
//! instruction to choose by (Armv6-M), so that time does not depend on data.
//!
//! In: two integers; of `near` ones the difference fits their type. Out: what `Ord` gives.
//! Law: the twin of `secateur_min` and its kin in `secateur.h`. The sign of the difference masks it,
//! and the compiler, which would make a branch of it again, does not see through the mask.

/// Its argument; optimizers know nothing about it.
#[inline(always)]
fn hidden(mask: i32) -> i32 {
    #[cfg(target_arch = "arm")]
    {
        let mut mask = mask;
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) mask, options(pure, nomem, nostack, preserves_flags));
        }
        mask
    }
    #[cfg(not(target_arch = "arm"))]
    mask
}

/// `a` where `sign` is negative, else 0.
#[inline(always)]
fn masked(a: i32, sign: i32) -> i32 {
    a & hidden(sign >> 31)
}

/// As [`masked`].
#[inline(always)]
fn masked64(a: i64, sign: i64) -> i64 {
    let mask = u64::from(hidden((sign >> 63) as i32).cast_unsigned());
    a & (mask << 32 | mask).cast_signed()
}

/// Negative where `a < b`.
#[inline(always)]
fn less(a: i32, b: i32) -> i32 {
    ((i64::from(a) - i64::from(b)) >> 32) as i32
}

/// As [`less`]: the sign of the difference, turned round if that overflows.
#[inline(always)]
fn less64(a: i64, b: i64) -> i64 {
    let d = a.wrapping_sub(b);
    d ^ ((a ^ b) & (d ^ a))
}

#[inline(always)]
pub fn min(a: i32, b: i32) -> i32 {
    b.wrapping_add(masked(a.wrapping_sub(b), less(a, b)))
}

#[inline(always)]
pub fn max(a: i32, b: i32) -> i32 {
    a.wrapping_sub(masked(a.wrapping_sub(b), less(a, b)))
}

#[inline(always)]
pub fn min_near(a: i32, b: i32) -> i32 {
    let d = a - b;
    b + masked(d, d)
}

#[inline(always)]
pub fn max_near(a: i32, b: i32) -> i32 {
    let d = a - b;
    a - masked(d, d)
}

#[inline(always)]
pub fn min64(a: i64, b: i64) -> i64 {
    b.wrapping_add(masked64(a.wrapping_sub(b), less64(a, b)))
}

#[inline(always)]
pub fn max64(a: i64, b: i64) -> i64 {
    a.wrapping_sub(masked64(a.wrapping_sub(b), less64(a, b)))
}

#[inline(always)]
pub fn min64_near(a: i64, b: i64) -> i64 {
    let d = a - b;
    b + masked64(d, d)
}

#[inline(always)]
pub fn max64_near(a: i64, b: i64) -> i64 {
    let d = a - b;
    a - masked64(d, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_standard_library() {
        let all =
            [i32::MIN, i32::MIN + 1, -1 << 30, -129, -128, -1, 0, 1, 127, 1 << 30, i32::MAX - 1, i32::MAX];
        for (a, b) in all.iter().flat_map(|&a| all.map(|b| (a, b))) {
            assert_eq!((min(a, b), max(a, b)), (a.min(b), a.max(b)), "{a} {b}");
            if a.checked_sub(b).is_some() {
                assert_eq!((min_near(a, b), max_near(a, b)), (a.min(b), a.max(b)), "{a} {b}");
            }
            for shift in [0, 7, 31, 32] {
                let (a, b) = (i64::from(a) << shift, i64::from(b) << (shift / 2));
                for (a, b) in [(a, b), (b, a), (a, b ^ i64::MIN), (a, !a)] {
                    assert_eq!((min64(a, b), max64(a, b)), (a.min(b), a.max(b)), "{a} {b}");
                    if a.checked_sub(b).is_some() {
                        assert_eq!((min64_near(a, b), max64_near(a, b)), (a.min(b), a.max(b)), "{a} {b}");
                    }
                }
            }
        }
    }
}
