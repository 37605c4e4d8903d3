//! The share of weights other than zero up to which leaving the others out takes no more cycles than a direct
//! product with all of them, by core and pattern: predicted cycles, which the emulators confirm.

use crate::library::Library;
use crate::offer::{Candidate, ROWS_LIMIT, SPARSE, Want};
use crate::options::Optimize;
use crate::policy::Policy;
use crate::problem::{Axis, Geometry, Rows};
use crate::product::Product;
use crate::program::cost::count_step;
use crate::registry::engine;
use crate::tensor::{DType, Data};
use crate::trial::{Placed, Random, geometry, product, program};
use secateur_targets::Target;

/// What is found, in hundredths.
const TABLE: &str = "
core           zeros    3x3  pointwise
cortex-m4      4x4       88         82
cortex-m4      2x4       86         78
cortex-m4      1x4       64         59
cortex-m4      1x1       50         50
cortex-m33     4x4       91         84
cortex-m7      4x4       79         74
cortex-m0plus  1x1       91         86
cortex-m3      1x1       80         75
rv32imc        1x1       91         91
";

/// A core and a pattern.
const CASES: &[(&str, (usize, usize))] = &[
    ("cortex-m4", (4, 4)),
    ("cortex-m4", (2, 4)),
    ("cortex-m4", (1, 4)),
    ("cortex-m4", (1, 1)),
    ("cortex-m33", (4, 4)),
    ("cortex-m7", (4, 4)),
    ("cortex-m0plus", (1, 1)),
    ("cortex-m3", (1, 1)),
    ("rv32imc", (1, 1)),
];

/// Ways that multiply every weight once: no Winograd.
const DIRECT: &[&str] = &["gemm", "rows", "rows_unrolled", "product"];

/// A layer: 32 channels of 16 by 16 pixels in windows of 3x3, or 64 to 128 channels of 12 by 12.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layer {
    Window,
    Pointwise,
}

impl Layer {
    /// Output channels, input channels, taps of the window.
    fn sizes(self) -> (usize, usize, usize) {
        match self {
            Layer::Window => (32, 32, 9),
            Layer::Pointwise => (128, 64, 1),
        }
    }
    fn window() -> Geometry {
        geometry(32, 32, [16, 16], [3, 3], [1, 1, 1, 1, 1, 1])
    }
    fn ways(self, product: &Product, target: &Target, aim: Optimize) -> Vec<Candidate> {
        let library = Library::new(target);
        let want = Want { library: &library, policy: Policy::from(aim), rows_limit: ROWS_LIMIT };
        let engine = engine(target).unwrap();
        let axis = |len, x, y| Axis { len, x, y };
        match self {
            Layer::Window => engine.conv(&Self::window(), product, &want).unwrap(),
            Layer::Pointwise => {
                let rows =
                    Rows { rows: vec![axis(144, 64, 128)], inputs: axis(64, 1, 0), outputs: axis(128, 0, 1) };
                engine.dense(&rows, product, &want).unwrap()
            }
        }
    }
    /// Inputs and outputs in memory.
    fn lens(self) -> (usize, usize) {
        match self {
            Layer::Window => (Self::window().x_len(), Self::window().y_len()),
            Layer::Pointwise => (144 * 64, 144 * 128),
        }
    }
    /// A product of which so many blocks in a hundred are not zero.
    fn product(self, (r, c): (usize, usize), density: usize) -> Product {
        let (outputs, inputs, taps) = self.sizes();
        let mut random = Random(83);
        let mut product = product(&mut random, outputs, inputs * taps, 0);
        let Data::I32(w) = &mut product.weights else { panic!("int8 weights") };
        // Trained weights are small more often than large.
        let size = |random: &mut Random| (0..3).map(|_| random.within(-42, 42) as i32).sum::<i32>();
        w.iter_mut().for_each(|w| *w = Some(size(&mut random)).filter(|&w| w != 0).unwrap_or(1));
        let (rows, columns) = (outputs / r, inputs / c);
        for block in 0..rows * columns * taps {
            let (row, column, tap) = (block / taps / columns * r, block / taps % columns * c, block % taps);
            if random.within(0, 99) >= density as i64 {
                for (o, i) in (row..row + r).flat_map(|o| (column..column + c).map(move |i| (o, i))) {
                    w[(o * inputs + i) * taps + tap] = 0;
                }
            }
        }
        product
    }
    /// Least predicted cycles of these ways, if some are there.
    fn cycles(
        self,
        product: &Product,
        (target, aim): (&Target, Optimize),
        of: impl Fn(&str) -> bool,
    ) -> Option<f64> {
        let core = target.core.cost.as_ref().unwrap();
        let (x, y) = self.lens();
        let cycles = |way: Candidate| {
            let p = program(&way.call, &[Data::I8(vec![0; x])], (DType::I8, y), Placed::apart());
            count_step(&p.entries[0].steps[0]).cycles(core)
        };
        let ways = self.ways(product, target, aim).into_iter().filter(|way| of(way.way));
        ways.map(cycles).reduce(f64::min)
    }
}

#[test]
fn break_even_densities() {
    let mut table = format!("\n{:14} {:5} {:>6} {:>10}\n", "core", "zeros", "3x3", "pointwise");
    for &(core, pattern) in CASES {
        let target = secateur_targets::core_only(core, 1 << 20, 1 << 18).unwrap();
        // Single weights are not to be kept for their flash, of which they take more from a half on.
        let aim = if pattern == (1, 1) { Optimize::Speed } else { Optimize::Balanced };
        let (asked, zeros) = ((&target, aim), format!("{}x{}", pattern.0, pattern.1));
        // On planes too.
        let variant = format!("{SPARSE}{zeros}");
        let found = [Layer::Window, Layer::Pointwise].map(|layer| {
            let all = layer.product(pattern, 100);
            let direct = layer.cycles(&all, asked, |way| DIRECT.contains(&way)).unwrap();
            let pays = |density: usize| {
                let some = layer.product(pattern, density);
                let cycles = layer.cycles(&some, asked, |way| way.starts_with(&variant));
                cycles.is_some_and(|cycles| cycles <= direct)
            };
            (1..=96).collect::<Vec<_>>().partition_point(|&i| pays(i))
        });
        table += &format!("{core:14} {zeros:5} {:>6} {:>10}\n", found[0], found[1]);
    }
    assert!(table == TABLE, "{table}");
}
