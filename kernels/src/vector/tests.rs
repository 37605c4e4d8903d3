//! Every core's instructions against their meaning: odd sizes, extreme values, any alignment, and
//! results over operands.

use super::*;
use crate::call::{Bind, Call};
use crate::kernel::Kernel;
use crate::library::Library;
use crate::tensor::Data;
use crate::trial::{Random, run_anywhere};
use std::sync::Arc;

const CORES: [&str; 9] = [
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m33",
    "cortex-m7",
    "cortex-m55",
    "rv32imc",
    "rv32imcv",
    "hexagon-v67",
];

const LIMITS: [(i32, i32); 4] = [(-128, 127), (-5, 127), (-128, 90), (7, 60)];

/// The result of a run, which is the same on all cores. Operands that the law allows it are written
/// over as well.
fn alike(of: Run, operands: &[Vec<i8>], n: usize, scalars: &[i32]) -> Vec<i8> {
    let kernel = Arc::new(of.body().finish().unwrap().as_ref().clone());
    let mut kernels = vec![kernel];
    for name in CORES {
        let target = secateur_targets::find(name).unwrap();
        kernels.extend(of.kernel(&Library::new(&target)).unwrap());
    }
    assert_eq!(kernels.len(), 1 + CORES.len(), "{of:?} has loops alone on some core");
    let over = matches!(of, Run::Sum { .. } | Run::Product { .. } | Run::Table { .. });
    let data: Vec<Data> = operands.iter().cloned().map(Data::I8).collect();
    let results = kernels.into_iter().map(|kernel| {
        let mut args: Vec<Bind> = (0..operands.len()).map(Bind::Operand).collect();
        args.push(if over { Bind::ResultInPlace } else { Bind::Result(0) });
        args.extend(scalars.iter().map(|&s| Bind::Scalar(s)));
        run_anywhere(&Call { kernel, args }, &data, DType::I8, n)
    });
    let results: Vec<Data> = results.collect();
    results.iter().for_each(|r| assert_eq!(*r, results[0], "{of:?} {scalars:?}"));
    let Data::I8(first) = results[0].clone() else { panic!("not bytes") };
    first
}

#[test]
fn sums_and_products_are_exact() {
    let mut random = Random(40);
    for (case, n) in [1usize, 3, 4, 7, 8, 9, 15, 16, 64, 303].into_iter().enumerate() {
        let (lo, hi) = LIMITS[case % 4];
        for round in 0..3 {
            let x = [random.bytes(n), random.bytes(n)];
            let (ma, mb) =
                (random.within(0, SUM_MOST.into()), random.within(-i64::from(SUM_MOST), SUM_MOST.into()));
            let scalars = [ma as i32, mb as i32, random.within(-(4 << 28), 4 << 28) as i32];
            alike(Run::Sum { n, shift: [12, 20, 22][round], lo, hi }, &x, n, &scalars);
            let sh = [1, 5, 20][round];
            let zero = [-128, 127, 3][round];
            for m in [random.within(1 << 24, i32::MAX.into()) as i32, i32::MAX, 1 << 30, 1 | 5 << 16] {
                let scalars = [zero, [127, -128, 0][round], m, high(sh + 32, zero).0];
                alike(Run::Product { n, sh, lo, hi }, &x, n, &scalars);
            }
        }
    }
}

#[test]
fn tables_and_copies_are_exact() {
    let mut random = Random(42);
    let table: Vec<i8> = (0..256).map(|_| random.within(-128, 127) as i8).collect();
    for n in [1usize, 3, 4, 7, 8, 9, 15, 16, 17, 18, 31, 33, 64, 79, 203, 300] {
        let x = random.bytes(n);
        let want = alike(Run::Table { n }, &[x.clone(), table.clone()], n, &[]);
        let by_hand: Vec<i8> = x.iter().map(|&x| table[(i32::from(x) + 128) as usize]).collect();
        assert_eq!(want, by_hand);
        assert_eq!(alike(Run::Copy { n }, std::slice::from_ref(&x), n, &[]), x);
    }
}

#[test]
fn rows_are_normalized_exactly() {
    let mut random = Random(43);
    for n in [1usize, 3, 4, 7, 8, 9, 15, 16, 23, 64, 303] {
        let x = Data::I8(random.bytes(n));
        let scale = Data::I16((0..n).map(|_| random.within(-32767, 32767) as i16).collect());
        let bias = Data::I32((0..n).map(|_| random.within(-(1 << 29), 1 << 29) as i32).collect());
        let forms = |run: Run| {
            let plain = Arc::new(run.body().finish().unwrap().as_ref().clone());
            let own = CORES.iter().filter_map(|name| {
                let target = secateur_targets::find(name).unwrap();
                run.kernel(&Library::new(&target)).unwrap()
            });
            let all: Vec<Arc<Kernel>> = [plain].into_iter().chain(own).collect();
            assert!(all.len() > 3, "{run:?} has loops alone");
            all
        };
        let mut results = Vec::new();
        for kernel in forms(Run::Moments { n }) {
            let args = vec![Bind::Operand(0), Bind::Result(0)];
            results.push(run_anywhere(&Call { kernel, args }, std::slice::from_ref(&x), DType::I32, 2));
        }
        results.iter().for_each(|r| assert_eq!(*r, results[0], "{n}"));
        for (lo, hi) in LIMITS {
            let shift = random.within(1, 30) as u32;
            // As rows have them: no value beyond sixteen bits.
            let (by, less) = (random.within(1, 1 << 20) as i32, random.within(-(1 << 26), 1 << 26) as i32);
            let m = random.within(1, 1 << 19) as i32;
            let mut results = Vec::new();
            for kernel in forms(Run::Normalize { n, shift, lo, hi }) {
                let mut args: Vec<Bind> = (0..3).map(Bind::Operand).collect();
                args.push(Bind::Result(0));
                args.extend([by, less, m].map(Bind::Scalar));
                let operands = [x.clone(), scale.clone(), bias.clone()];
                results.push(run_anywhere(&Call { kernel, args }, &operands, DType::I8, n));
            }
            results.iter().for_each(|r| assert_eq!(*r, results[0], "{n} {lo} {hi}"));
        }
    }
}

/// Channels, taps, pitches, pixels, steps.
fn windows() -> Vec<Windows> {
    let w = |n, taps, pitch, pixels, step| Windows::new(n, taps, pitch, pixels, step);
    vec![
        w(4, [1, 1], [0, 0], 1, [0, 0]),
        w(22, [1, 9], [0, 22], 1, [0, 0]),
        w(64, [1, 64], [0, 64], 1, [0, 0]),
        w(5, [1, 255], [0, 7], 1, [0, 0]),
        w(8, [1, 3], [0, 5000], 3, [16, 8]),
        w(7, [1, 49], [0, 1500], 1, [0, 0]),
        w(4, [1, 777], [0, 5], 1, [0, 0]),
        w(8, [2, 2], [64, 8], 4, [16, 8]),
        w(7, [3, 3], [70, 7], 3, [7, 7]),
        w(130, [2, 3], [1300, 130], 2, [390, 150]),
        w(36, [3, 3], [3000, 36], 3, [72, 36]),
        w(9, [4, 5], [90, 18], 2, [9, 9]),
        w(12, [17, 16], [400, 12], 2, [24, 12]),
        w(1, [5, 2], [40, 1], 7, [2, 1]),
        w(2, [1, 30], [0, 4], 2, [130, 5]),
        w(24, [6, 2], [5000, 24], 2, [24, 24]),
    ]
}

#[test]
fn means_are_exact() {
    let mut random = Random(41);
    for (case, w) in windows().into_iter().enumerate() {
        let taps = w.taps[0] * w.taps[1];
        for (round, &(lo, hi)) in LIMITS.iter().enumerate() {
            let even = [None, Some(2), Some(7), None][round];
            let (sh, up) = ([1, 3][case % 2], [0, 0, 3, 5][round]);
            let m = random.within(1 << 22, 1 << 28) as i32;
            let zp = [-128, 127, 0][case % 3];
            let scalars = [-zp * taps as i32, m, high(sh + 32, -zp - 1).0];
            let x = [random.bytes(w.input())];
            alike(Run::Mean { windows: w, up, sh, lo, hi, even }, &x, w.output(), &scalars);
        }
    }
}

#[test]
fn maxima_are_exact() {
    let mut random = Random(43);
    for w in windows() {
        let mut x = random.bytes(w.input());
        alike(Run::Max { windows: w }, &[x.clone()], w.output(), &[]);
        x.fill(-128);
        alike(Run::Max { windows: w }, &[x], w.output(), &[]);
    }
}
