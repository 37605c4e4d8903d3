//! Convolutions and dense layers whose inputs or results take sixteen bits.

use super::{PRODUCTS, convolutions, dilated, products};
use crate::arith::quant::{Clamp, Quant};
use crate::decompose;
use crate::library::Library;
use crate::options::Optimize;
use crate::policy::Policy;
use crate::problem::pointwise;
use crate::product::Product;
use crate::registry::engine;
use crate::tensor::{DType, Data, Tensor};
use crate::trial::{Random, geometry, hold_conv, hold_dense, want};
use std::collections::{BTreeMap, BTreeSet};

/// A product of random weights between values of these types, in some cases of four bits or with many zeros.
fn wide(random: &mut Random, (rows, taps): (usize, usize), types: (DType, DType), case: usize) -> Product {
    // As many and as great as 32 bits hold sums of.
    let most = (60_000 / taps as i64).clamp(1, 127);
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
        DType::I16 => Quant::per_tensor(DType::I16, far / 32768.0, 0),
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
    for (case, types) in TYPES.into_iter().cycle().take(6).enumerate() {
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
