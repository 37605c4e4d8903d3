//! Units against their functions, native forms against units, and products of sixteen bits against plain loops.

use super::*;
use crate::arith::quant::Quant;
use crate::call::{Bind, Call};
use crate::library::Library;
use crate::offer::{DENSE4, SPARSE};
use crate::options::Optimize;
use crate::policy::Policy;
use crate::problem::{Axis, Rows};
use crate::product::Product;
use crate::registry::engine;
use crate::tensor::Tensor;
use crate::trial::{Random, hold_dense, run, want};

const FORMS: [Unit; 6] = [
    Unit::GruAfter,
    Unit::GruReset,
    Unit::GruBefore,
    Unit::Lstm { coupled: false, peepholes: false },
    Unit::Lstm { coupled: true, peepholes: true },
    Unit::Rnn,
];

/// A kernel with one result: the state, from which all else can be told.
fn alone(units: &Units, native: Option<Native>) -> Arc<Kernel> {
    let inner = units.kernel(native).unwrap();
    let mut k = KernelBuilder::new("alone");
    let (rows, hidden) = (units.rows(), units.hidden);
    let gx = k.buffer("gx", DType::I16, rows, Access::Read);
    let gh = k.buffer("gh", DType::I16, rows, Access::Read);
    let start = k.buffer("start", DType::I16, hidden, Access::Read);
    let cells = k.buffer("cells", DType::I16, hidden, Access::Read);
    let table = k.buffer("table", DType::I16, TABLE, Access::Read);
    let peepholes = k.buffer("peepholes", DType::I16, 3 * hidden, Access::Read);
    let h = k.buffer("h", DType::I16, hidden, Access::ReadWrite);
    let h8 = k.buffer("h8", DType::I8, hidden, Access::ReadWrite);
    let cell = k.buffer("cell", DType::I16, hidden, Access::ReadWrite);
    // State, what products read of it, and cell.
    let y = k.buffer("y", DType::I16, 3 * hidden, Access::Write);
    k.for_("u", 0, hidden, |k, u| {
        k.store(h, u, start.at(u));
        k.store(cell, u, cells.at(u));
    });
    let mut args = vec![gx.from(0), gh.from(0), table.from(0), h.from(0), h8.from(0)];
    args.extend(units.has_cell().then(|| cell.from(0)));
    args.extend(units.has_peepholes().then(|| peepholes.from(0)));
    k.call(&inner, args);
    k.for_("u", 0, hidden, |k, u| {
        k.store(y, u, h.at(u));
        k.store(y, u + hidden, h8.at(u));
        k.store(y, u + 2 * hidden, cell.at(u));
    });
    k.finish().unwrap()
}

fn call(units: &Units, native: Option<Native>, peepholes: &[i16]) -> Call {
    let args = vec![
        Bind::Operand(0),
        Bind::Operand(1),
        Bind::Operand(2),
        Bind::Operand(3),
        Bind::aligned("table", table(), 4),
        Bind::aligned("peepholes", Data::I16(peepholes.to_vec()), 2),
        Bind::Workspace(0),
        Bind::Workspace(1024),
        Bind::Workspace(2048),
        Bind::Result(0),
    ];
    Call { kernel: alone(units, native), args }
}

/// The new state and cell by the functions' own meaning.
fn exact(units: &Units, u: usize, gx: &[i16], gh: &[i16], h: i16, c: i16, p: &[i16]) -> (f64, f64) {
    let one = libm::ldexp(1.0, units.fraction as i32);
    let x = |gate: usize| f64::from(gx[gate * units.hidden + u]) / one;
    let s = |gate: usize| f64::from(gh[gate * units.hidden + u]) / one;
    let limit = |v: f64| units.clip.map_or(v, |c| v.clamp(-f64::from(c) / one, f64::from(c) / one));
    let sigmoid = |v: f64| 1.0 / (1.0 + libm::exp(-limit(v)));
    let tanh = |v: f64| libm::tanh(limit(v));
    let (h, c) = (f64::from(h) / 32768.0, f64::from(c) / libm::ldexp(1.0, units.cell_bits as i32));
    let hole = |gate: usize, c: f64| match units.has_peepholes() {
        true => c * f64::from(p[gate * units.hidden + u]) / libm::ldexp(1.0, units.peephole_bits as i32),
        false => 0.0,
    };
    match units.unit {
        Unit::GruAfter | Unit::GruBefore => {
            let r = if units.unit == Unit::GruAfter { sigmoid(x(1) + s(1)) } else { 1.0 };
            let new = tanh(x(2) + r * s(2));
            let z = sigmoid(x(0) + s(0));
            (new + z * (h - new), 0.0)
        }
        Unit::GruReset => (h, 0.0),
        Unit::Lstm { coupled, .. } => {
            let i = sigmoid(x(0) + s(0) + hole(0, c));
            let f = if coupled { 1.0 - i } else { sigmoid(x(2) + s(2) + hole(2, c)) };
            let c = f * c + i * tanh(x(3) + s(3));
            (sigmoid(x(1) + s(1) + hole(1, c)) * libm::tanh(c), c)
        }
        Unit::Rnn => (tanh(x(0) + s(0)), 0.0),
    }
}

#[test]
fn units_are_near_their_functions_and_native_forms_are_exact() {
    let mut random = Random(11);
    for (case, unit) in FORMS.into_iter().cycle().take(4 * FORMS.len()).enumerate() {
        let units = Units {
            unit,
            hidden: [1, 2, 5, 8][case / FORMS.len()],
            fraction: [15, 5, 9, 12][case / FORMS.len()],
            narrow: [8, 3, 6, 7][case / FORMS.len()],
            cell_bits: [15, 12, 7, 14][case / FORMS.len()],
            peephole_bits: 13,
            clip: (case / FORMS.len() == 2).then_some(700),
        };
        let mut halves =
            |n: usize, most: i64| -> Vec<i16> { (0..n).map(|_| random.within(-most, most) as i16).collect() };
        let most = if case % 2 == 0 { 32767 } else { 3 << units.fraction };
        let (rows, hidden) = (units.rows(), units.hidden);
        let (gx, gh) = (halves(rows, most.min(32767)), halves(rows, most.min(32767)));
        let (h, c, p) = (halves(hidden, 32767), halves(hidden, 32767), halves(3 * hidden, 9000));
        let operands = [&gx, &gh, &h, &c].map(|v| Data::I16(v.clone()));
        let Data::I16(have) = run(&call(&units, None, &p), &operands, DType::I16, 3 * hidden) else {
            panic!("results of sixteen bits");
        };
        for u in 0..hidden {
            let (want, cell) = exact(&units, u, &gx, &gh, h[u], c[u], &p);
            // Within what the table's straight lines and sums of so many bits leave.
            let off = (f64::from(have[u]) / 32768.0 - want).abs();
            assert!(off < 2.5e-3, "case {case} {units:?}: {off}");
            if unit != Unit::GruReset {
                let half = 1 << (units.narrow - 1);
                let eight = ((i32::from(have[u]) + half) >> units.narrow).clamp(-128, 127);
                assert_eq!(i32::from(have[hidden + u]), eight);
            }
            if units.has_cell() {
                let one = libm::ldexp(1.0, units.cell_bits as i32);
                let want = (cell * one).clamp(-32768.0, 32767.0);
                assert!((f64::from(have[2 * hidden + u]) - want).abs() < 2e-3 * one + 1.0, "case {case}");
            }
        }
        for name in ["cortex-m4", "cortex-m33", "cortex-m7"] {
            let core = secateur_targets::core(name).unwrap();
            let Some(block) = crate::armv7em::recurrent::block(&units) else { continue };
            let native = block.native("dsp", &core).unwrap();
            let again = run(&call(&units, Some(native), &p), &operands, DType::I16, 3 * hidden);
            assert_eq!(again, Data::I16(have.clone()), "case {case} on {name}");
        }
    }
}

#[test]
fn units_take_few_cycles() {
    let core = secateur_targets::core("cortex-m4").unwrap();
    for (unit, most) in [(Unit::GruAfter, 60), (Unit::Lstm { coupled: false, peepholes: false }, 85)] {
        let units =
            Units { unit, hidden: 48, fraction: 11, narrow: 8, cell_bits: 13, peephole_bits: 15, clip: None };
        let cycles = crate::armv7em::recurrent::block(&units).unwrap().native("dsp", &core).unwrap().cycles;
        assert!(cycles < 48 * most, "{cycles} cycles for 48 of {unit:?}");
    }
}

#[test]
fn products_of_sixteen_bits_are_exact() {
    let mut random = Random(31);
    let mut found = std::collections::BTreeMap::new();
    let shapes = [
        (1, 8, 8),
        (1, 48, 144),
        (12, 6, 24),
        (3, 7, 9),
        (2, 12, 128),
        (1, 5, 12),
        (5, 33, 10),
        (1, 3, 7),
        (11, 32, 48),
    ];
    let mut special = std::collections::BTreeMap::new();
    for (case, (rows, inputs, outputs)) in shapes.into_iter().cycle().take(36).enumerate() {
        // Every fifth one's fit four bits.
        let most = if case % 5 == 4 { 7 } else { 127 };
        let mut w: Vec<i8> = (0..outputs * inputs).map(|_| random.within(-most, most) as i8).collect();
        // Blocks of four, two or one channel by four inputs, of which most are zero.
        let block = [0, 4, 2, 1][case % 4];
        for (row, at) in (0..outputs).flat_map(|row| (0..inputs).map(move |at| (row, at))) {
            let place = (row / block.max(1) * 31 + at / 4 * 17 + case) % 10;
            if block > 0 && place > 2 {
                w[row * inputs + at] = 0;
            }
        }
        let w = Tensor::new(vec![outputs, inputs], Data::I8(w)).unwrap();
        let scale: Vec<f32> = (0..outputs).map(|_| random.within(10, 90) as f32 / 1e4).collect();
        let scale = if case % 2 == 0 { vec![0.004; outputs] } else { scale };
        let code = Quant { dtype: DType::I8, scale, zero_point: vec![0; outputs], axis: Some(0) };
        let bias = Tensor::f32(&[outputs], random.floats(outputs));
        let x = Quant::per_tensor(DType::I8, 0.03, [0, -128, 17][case % 3]);
        let step = [1.0 / 4096.0, 1.0 / 256.0, 1.0 / 32.0][case % 3];
        let product = Product::wide((&w, &code), Some((&bias, None)), &x, step).unwrap();
        let axis = |len, x, y| Axis { len, x, y };
        let axes = if rows == 1 { Vec::new() } else { vec![axis(rows, inputs, outputs)] };
        let rows = Rows { rows: axes, inputs: axis(inputs, 1, 0), outputs: axis(outputs, 0, 1) };
        for target in secateur_targets::all().unwrap() {
            let library = Library::new(&target);
            let Some(engine) = engine(&target) else { continue };
            let ways =
                engine.wide(&rows, &product, &want(&library, Policy::from(Optimize::Balanced))).unwrap();
            *found.entry(target.core.name.clone()).or_insert(0) += ways.len();
            for way in ways.iter().filter(|way| way.way.starts_with(SPARSE) || way.way == DENSE4) {
                *special.entry((target.core.name.clone(), way.way)).or_insert(0) += 1;
            }
            hold_dense(&rows, &product, &ways, &mut random);
        }
    }
    for core in ["cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55", "rv32imc", "rv32imcv"] {
        assert!(found[core] >= 21, "{core}: {found:?}");
    }
    assert!(special.contains_key(&("cortex-m55".to_owned(), DENSE4)), "{special:?}");
    for core in ["cortex-m4", "cortex-m33", "cortex-m7"] {
        for way in ["blocks4x4", "blocks2x4", "blocks1x4", DENSE4] {
            let count = special.get(&(core.to_owned(), way)).copied().unwrap_or(0);
            assert!(count >= 2, "{core} {way}: {special:?}");
        }
    }
}
