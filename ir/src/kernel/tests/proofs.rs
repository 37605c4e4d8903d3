//! What the prover accepts and refuses. Each accepted kernel stands beside one that is wrong
//! by one element.

use crate::kernel::{Access, Expr, Kernel, KernelBuilder, int};
use crate::program::prove_kernel;
use crate::tensor::DType;
use std::sync::Arc;

fn check(kernel: &Arc<Kernel>, accepted: bool) {
    match (prove_kernel(kernel), accepted) {
        (Ok(()), true) | (Err(_), false) => {}
        (Ok(()), false) => panic!("accepted:\n{}", crate::kernel::print(kernel)),
        (Err(e), true) => panic!("{e}\n{}", crate::kernel::print(kernel)),
    }
}

/// Builds with the exact length, then one element short.
fn exact(len: usize, build: impl Fn(usize) -> Arc<Kernel>) {
    check(&build(len), true);
    check(&build(len - 1), false);
}

#[test]
fn strided_loops() {
    exact(2 * 19 + 10 + 3 * 100 + 1, |len| {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, len, Access::Write);
        k.for_("i", 0, 4, |k, i| {
            k.for_step("j", 10, 49, 2, |k, j| k.store(x, i * 100 + j, 0));
        });
        k.finish().unwrap()
    });
}

/// A padded convolution whose guards stand on lets or on the same expression again.
#[test]
fn guarded_windows() {
    for by_let in [true, false] {
        let conv = |len: usize, lo: i32, hi: i32| {
            let (h, w, c) = (9, 7, 3);
            let mut k = KernelBuilder::new("conv");
            let x = k.buffer("x", DType::I8, len, Access::Read);
            let y = k.buffer("y", DType::I32, 5 * 4, Access::Write);
            k.for_("oy", 0, 5, |k, oy| {
                k.for_("ox", 0, 4, |k, ox| {
                    let acc = k.var("acc", 0);
                    k.for_("ky", 0, 3, |k, ky| {
                        let mut iy: Expr = oy * 2 + ky - 1;
                        if by_let {
                            iy = k.let_("iy", iy).into();
                        }
                        k.if_(iy.ge(lo).and(iy.lt(h + hi)), |k| {
                            k.for_("kx", 0, 3, |k, kx| {
                                let ix = ox * 2 + kx - 1;
                                k.if_(int(0).le(&ix).and(int(w).gt(&ix)), |k| {
                                    k.for_("ic", 0, c, |k, ic| {
                                        k.add_to(acc, x.at((&iy * w + &ix) * c + ic));
                                    });
                                });
                            });
                        });
                    });
                    k.store(y, oy * 4 + ox, acc);
                });
            });
            k.finish().unwrap()
        };
        check(&conv(9 * 7 * 3, 0, 0), true);
        check(&conv(9 * 7 * 3 - 1, 0, 0), false);
        check(&conv(9 * 7 * 3, -1, 0), false);
        check(&conv(9 * 7 * 3, 0, 1), false);
    }
}

/// Bounds of a loop that depend on an outer variable.
#[test]
fn loop_bounds_limit_sums() {
    for (slack, accepted) in [(0, true), (1, false)] {
        let mut k = KernelBuilder::new("pool");
        let x = k.buffer("x", DType::F32, 10, Access::Read);
        let y = k.buffer("y", DType::F32, 10, Access::Write);
        k.for_("ox", 0, 10, |k, ox| {
            let best = k.var("best", -1.0f32);
            let (lo, hi) = (int(0).max(int(1) - ox), int(3).min(int(11 + slack) - ox));
            k.for_("kx", lo, hi, |k, kx| k.set(best, best.max(x.at(ox + kx - 1))));
            k.store(y, ox, best);
        });
        check(&k.finish().unwrap(), accepted);
    }
}

#[test]
fn tables_and_element_ranges() {
    for (entries, offset, accepted) in [(256, 128, true), (255, 128, false), (256, 127, false)] {
        let mut k = KernelBuilder::new("lut");
        let x = k.buffer("x", DType::I8, 8, Access::Read);
        let table = k.buffer("table", DType::I8, entries, Access::Read);
        let y = k.buffer("y", DType::I8, 8, Access::Write);
        k.for_("i", 0, 8, |k, i| k.store(y, i, table.at(x.at(i) + offset)));
        check(&k.finish().unwrap(), accepted);
    }
}

#[test]
fn conditions_that_do_not_hold_are_not_used() {
    // `or` of the limits, the else branch of an `and`, and a condition on something else.
    for case in 0..4 {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, 4, Access::Write);
        k.for_("i", -2, 8, |k, i| {
            let (a, b) = (i.ge(0), i.lt(4));
            match case {
                0 => k.if_(a.or(b), |k| k.store(x, i, 0)),
                1 => k.if_else(a.and(b), |_| {}, |k| k.store(x, i, 0)),
                2 => k.if_(a.and((i + 1).lt(4)), |k| k.store(x, i + 1, 0)),
                _ => k.if_else(i.lt(0).or(i.ge(4)), |_| {}, |k| k.store(x, i, 0)),
            }
        });
        check(&k.finish().unwrap(), case >= 2);
    }
}

#[test]
fn refinements_end_with_their_block() {
    let mut k = KernelBuilder::new("k");
    let x = k.buffer("x", DType::I8, 4, Access::Write);
    k.for_("i", 0, 8, |k, i| {
        k.if_(i.lt(4), |k| k.store(x, i, 0));
        k.store(x, i, 0);
    });
    check(&k.finish().unwrap(), false);
}

#[test]
fn mutable_variables_are_as_wide_as_their_assignments() {
    for (most, accepted) in [(3, true), (4, false)] {
        let mut k = KernelBuilder::new("argmax");
        let x = k.buffer("x", DType::I8, 4, Access::Write);
        let best = k.var("best", 0);
        k.for_("i", 0, most + 1, |k, i| k.set(best, i));
        k.store(x, best, 1);
        check(&k.finish().unwrap(), accepted);
    }
    // A counter grows without a bound that the prover sees.
    let mut k = KernelBuilder::new("k");
    let x = k.buffer("x", DType::I8, 100, Access::Write);
    let n = k.var("n", 0);
    k.for_("i", 0, 4, |k, i| {
        k.store(x, n, i);
        k.add_to(n, 1);
    });
    check(&k.finish().unwrap(), false);
}

#[test]
fn what_may_wrap_is_unknown() {
    let mut k = KernelBuilder::new("k");
    let big = k.scalar("big", 0, i32::MAX);
    let x = k.buffer("x", DType::I8, 4, Access::Write);
    // The sum wraps to a negative number, which passes the guard.
    let sum = k.let_("sum", big + big);
    k.if_(sum.lt(4), |k| k.store(x, sum, 0));
    check(&k.finish().unwrap(), false);
}

#[test]
fn divisors_and_shifts() {
    for (lo, accepted) in [(1, true), (0, false)] {
        let mut k = KernelBuilder::new("k");
        let n = k.scalar("n", lo, 9);
        let x = k.buffer("x", DType::I32, 10, Access::Write);
        k.store(x, 0, int(7) / n);
        check(&k.finish().unwrap(), accepted);
    }
    for (hi, accepted) in [(31, true), (32, false)] {
        let mut k = KernelBuilder::new("k");
        let n = k.scalar("n", 0, hi);
        let x = k.buffer("x", DType::I32, 10, Access::Write);
        k.store(x, 0, int(-7) >> n);
        check(&k.finish().unwrap(), accepted);
    }
    // Coordinates from a flat index.
    exact(12, |len| {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, len, Access::Write);
        k.for_("i", 0, 12, |k, i| k.store(x, (i % 3) * 4 + i / 3, 0));
        k.finish().unwrap()
    });
}

#[test]
fn calls_fit() {
    let mut callee = KernelBuilder::new("callee");
    let a = callee.buffer("a", DType::I8, 10, Access::Write);
    let zero = callee.scalar("zero", -128, 127);
    callee.store(a, 9, zero);
    let callee = callee.finish().unwrap();
    for (len, zero, accepted) in [(40, 127, true), (39, 127, false), (40, 128, false)] {
        let mut k = KernelBuilder::new("k");
        let x = k.buffer("x", DType::I8, len, Access::Write);
        k.for_("i", 0, 4, |k, i| {
            k.call(&callee, vec![x.from(i * 10), crate::kernel::CallArg::Scalar(int(zero))]);
        });
        check(&k.finish().unwrap(), accepted);
    }
}
