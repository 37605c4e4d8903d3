//! Convolutions and dense layers whose inputs or results take sixteen bits.

use super::{PRODUCTS, convolutions, dilated, products};
use crate::arith::quant::{Clamp, Quant};
use crate::arith::requant::{Output, Requant};
use crate::decompose;
use crate::epilogue::Finish;
use crate::library::Library;
use crate::options::Optimize;
use crate::policy::Policy;
use crate::portable::conv::{Kernels, conv};
use crate::problem::pointwise;
use crate::product::Product;
use crate::registry::engine;
use crate::tensor::{DType, Data, Tensor};
use crate::trial::{Random, geometry, hold_conv, hold_dense, run, want};
use std::collections::{BTreeMap, BTreeSet};

/// A product of random weights between values of these types, in some cases of four bits or with many zeros.
fn wide(random: &mut Random, (rows, taps): (usize, usize), types: (DType, DType), case: usize) -> Product {
    // Without a zero point, and with that of what a Relu leaves.
    let zero = case / 3 % 3;
    // As many and as great as 32 bits hold sums of.
    let most = (if zero == 0 { 60_000 } else { 30_000 } / taps as i64).clamp(1, 127);
    let (least, most) = if case == 1 { (-most.min(8), most.min(7)) } else { (-most, most) };
    let mut w: Vec<i8> = (0..rows * taps).map(|_| random.within(least, most) as i8).collect();
    // Stretches of zeros for kernels that leave them out.
    for four in w.chunks_mut(4 * taps).filter(|_| case % 3 == 2) {
        four.chunks_mut(taps).for_each(|row| row[taps / 4..].fill(0));
    }
    let w = Tensor::new(vec![rows, taps], Data::I8(w)).unwrap();
    let scale = |c: usize| 0.004 * if case % 3 == 2 { 1.0 + 0.3 * c as f32 } else { 1.0 };
    let code = Quant {
        dtype: DType::I8,
        scale: (0..rows).map(scale).collect(),
        zero_point: vec![0; rows],
        axis: Some(0),
    };
    let bias = Tensor::f32(&[rows], random.floats(rows));
    let of = |dtype, far: f32| match dtype {
        DType::I16 => Quant::per_tensor(DType::I16, far / 32768.0, [0, -32768, 900][zero]),
        _ => Quant::per_tensor(DType::I8, far / 128.0, [0, -128, 17][case % 3]),
    };
    let clamp = if case.is_multiple_of(2) { Clamp::NONE } else { Clamp { lo: 0.0, hi: f32::INFINITY } };
    // Steps of results are not finer than sums are, or the high word of a product does not hold them.
    let sums = if types.0 == DType::I8 { 4.2 * 256.0 * scale(rows - 1) } else { 0.0 };
    let reach = (0.3 * (taps as f32).sqrt()).max(sums);
    Product::int((&w, &code), Some((&bias, None)), &of(types.0, 1.0), &of(types.1, reach), clamp).unwrap()
}

const TYPES: [(DType, DType); 3] =
    [(DType::I16, DType::I8), (DType::I16, DType::I16), (DType::I8, DType::I16)];

/// Cores that have native kernels for them.
const CORES: [&str; 3] = ["cortex-m4", "cortex-m7", "cortex-m55"];

#[test]
fn layers_of_sixteen_bits_are_exact() {
    let mut random = Random(77);
    let mut found: BTreeMap<(&str, DType, DType), usize> = BTreeMap::new();
    let mut names = BTreeSet::new();
    let apart = dilated([1, 2], [0, 0], geometry(4, 5, [1, 20], [1, 3], [1, 1, 0, 0, 0, 0]));
    let shapes: Vec<_> = convolutions().into_iter().chain([apart]).filter(|g| g.groups == 1).collect();
    for (case, types) in TYPES.into_iter().cycle().take(9).enumerate() {
        for core in PRODUCTS.iter().filter(|core| CORES.contains(&core.name)) {
            let target =
                secateur_targets::all().unwrap().into_iter().find(|t| t.core.name == core.name).unwrap();
            let (library, engine) = (Library::new(&target), engine(&target).unwrap());
            let want = want(&library, Policy::from(Optimize::Balanced));
            for g in shapes.iter().skip(case % 2).step_by(2) {
                let taps = g.cin * g.kernel[0] * g.kernel[1];
                let product = wide(&mut random, (g.cout, taps), types, case);
                let ways = match pointwise(g) {
                    Some(rows) => engine.wide(&rows, &product, &want).unwrap(),
                    None => engine.wide_conv(g, &product, &want).unwrap(),
                };
                *found.entry((core.name, types.0, types.1)).or_default() += ways.len();
                names.extend(ways.iter().map(|way| (core.name, types.0, types.1, way.way)));
                hold_conv(g, &product, &ways, &mut random);
                // Parts of convolutions are made for eight bits.
                let parts = decompose::ways(g, &product, &want, &|_, _| Ok(Vec::new())).unwrap();
                assert!(parts.is_empty());
            }
            for rows in products() {
                let product = wide(&mut random, (rows.outputs.len, rows.inputs.len), types, case);
                let ways = engine.wide(&rows, &product, &want).unwrap();
                *found.entry((core.name, types.0, types.1)).or_default() += ways.len();
                hold_dense(&rows, &product, &ways, &mut random);
            }
        }
    }
    for core in CORES {
        for (x, y) in TYPES {
            let ways = found[&(core, x, y)];
            assert!(ways >= shapes.len(), "{core}, {x} to {y}: {ways}");
            let own = if core == "cortex-m55" { "dot" } else { "gemm" };
            assert!(names.contains(&(core, x, y, own)), "{core}, {x} to {y}: no {own}");
        }
    }
}

/// Zero points of sixteen bits on both sides, padding among them, against sums of 64 bits.
#[test]
fn zero_points_of_sixteen_bits_are_exact() {
    let mut random = Random(78);
    for (case, (zx, zy)) in
        [(0, 0), (-32768, 900), (32767, -32768), (1234, 0), (-9, 32767)].into_iter().enumerate()
    {
        for pad in [0, 1] {
            let g = geometry(3, 4, [1, 9], [1, 3], [1, 1, 0, pad, 0, pad]);
            let (rows, taps) = (g.cout, g.cin * 3);
            let w: Vec<i8> = (0..rows * taps).map(|_| random.within(-127, 127) as i8).collect();
            let weights = Tensor::new(vec![rows, taps], Data::I8(w.clone())).unwrap();
            let code =
                Quant { dtype: DType::I8, scale: vec![0.01; rows], zero_point: vec![0; rows], axis: Some(0) };
            let bias = random.floats(rows);
            // From steps that hold all sums to steps that most of them saturate, or that need a great shift.
            let (sx, sy) = (0.0001f32, [0.0005f32, 0.00001, 3.0, 0.002, 0.0001][case]);
            let (x_code, y_code) =
                (Quant::per_tensor(DType::I16, sx, zx), Quant::per_tensor(DType::I16, sy, zy));
            let given = Tensor::f32(&[rows], bias.clone());
            let clamp = if case % 2 == 0 { Clamp::NONE } else { Clamp { lo: 0.0, hi: 40.0 } };
            let product =
                Product::int((&weights, &code), Some((&given, None)), &x_code, &y_code, clamp).unwrap();
            let x: Vec<i16> = (0..g.x_len()).map(|_| random.within(-32768, 32767) as i16).collect();
            let call = conv(&g, &product, Kernels::Packed).unwrap();
            let Data::I16(y) = run(&call, &[Data::I16(x.clone())], DType::I16, g.y_len()) else { panic!() };
            for m in 0..rows {
                for ox in 0..g.output[1] {
                    let step = f64::from(sx) * f64::from(0.01f32);
                    let mut sum = libm::rint(f64::from(bias[m]) / step) as i64;
                    for c in 0..g.cin {
                        for kx in 0..3 {
                            let Some(ix) = (ox + kx).checked_sub(pad).filter(|ix| *ix < 9) else { continue };
                            let stored = i64::from(x[c * g.x[1] + ix * g.x[3]]) - i64::from(zx);
                            sum += stored * i64::from(w[m * taps + c * 3 + kx]);
                        }
                    }
                    let Finish::Wide(Requant { out: Output { lo, hi, .. }, .. }) = product.finish else {
                        panic!()
                    };
                    let want = sum as f64 * step / f64::from(sy) + f64::from(zy);
                    let want = want.clamp(lo.into(), hi.into());
                    let off = (f64::from(y[m * g.y[1] + ox * g.y[3]]) - want).abs();
                    assert!(off <= 0.5 + 1.0 / 256.0, "case {case}, padding {pad}: off by {off}");
                }
            }
        }
    }
}
