//! Every variant of every core against the plain loops: convolutions, dense layers and their kin of
//! many shapes, what each kernel means and what its instructions do.

use crate::call::Call;
use crate::decompose;
use crate::library::Library;
use crate::offer::{Candidate, ROWS_LIMIT, SPARSE, Want};
use crate::options::Optimize;
use crate::policy::Policy;
use crate::portable::conv::{Kernels, conv};
use crate::portable::dense::dense;
use crate::problem::{Axis, Geometry, Rows};
use crate::product::Product;
use crate::registry::engine;
use crate::tensor::{DType, Data};
use crate::trial::{Random, geometry, hold_conv, hold_dense, product, run, want};
use std::collections::BTreeSet;

mod break_even;
mod wide;

/// A core: how many of the shapes it leaves to portable loops at most, and the variants that it
/// must offer for some of them.
struct Core {
    name: &'static str,
    portable: usize,
    variants: &'static [&'static str],
}

const WINDOWS: &[Core] = &[
    Core { name: "cortex-m0plus", portable: 8, variants: THUMB },
    Core { name: "cortex-m3", portable: 8, variants: THUMB },
    Core { name: "cortex-m4", portable: 1, variants: DSP },
    Core { name: "cortex-m33", portable: 1, variants: DSP },
    Core { name: "cortex-m7", portable: 1, variants: DSP },
    Core { name: "cortex-m55", portable: 1, variants: &["dense4", "dot", "gemm", "lanes"] },
    Core { name: "rv32imc", portable: 1, variants: &["depthwise", "pairs", "product", "blocks1x1"] },
    Core { name: "rv32imcv", portable: 0, variants: &["blocks8x1", "depthwise", "product"] },
    Core { name: "hexagon-v67", portable: 6, variants: &["blocks32x4", "depthwise", "vector"] },
];

const THUMB: &[&str] = &[
    "depthwise",
    "depthwise-whole",
    "gemm",
    "blocks1x1",
    "blocks1x1-planes",
    "winograd-4x4",
    "winograd-4x4-square",
];

const DSP: &[&str] = &[
    "blocks1x1",
    "blocks4x4",
    "dense4",
    "depthwise",
    "gemm",
    "pairs",
    "pairs-whole",
    "winograd",
    "winograd-4x4",
    "winograd-4x4-square",
    "winograd-line",
    "winograd-made",
    "winograd-made-2",
    "winograd-made-4",
];

const PRODUCTS: &[Core] = &[
    Core { name: "cortex-m0plus", portable: 4, variants: &["dense", "dense-words", "gemm", "blocks1x1"] },
    Core { name: "cortex-m3", portable: 4, variants: &["dense", "dense-words", "gemm", "blocks1x1"] },
    Core {
        name: "cortex-m4",
        portable: 2,
        variants: &["blocks1x1", "blocks4x4", "dense4", "gemm", "rows", "rows_unrolled"],
    },
    Core {
        name: "cortex-m33",
        portable: 2,
        variants: &["blocks1x1", "blocks4x4", "dense4", "gemm", "rows", "rows_unrolled"],
    },
    Core {
        name: "cortex-m7",
        portable: 2,
        variants: &["blocks1x1", "blocks4x4", "dense4", "gemm", "rows", "rows_unrolled"],
    },
    Core { name: "cortex-m55", portable: 0, variants: &["dense4", "dot"] },
    Core { name: "rv32imc", portable: 0, variants: &["pairs", "product", "blocks1x1"] },
    Core { name: "rv32imcv", portable: 0, variants: &["blocks8x1", "product"] },
    Core { name: "hexagon-v67", portable: 0, variants: &["blocks32x4", "vector"] },
];

/// What is asked for: memory for input rows, and the aim.
const WANTS: [(usize, Optimize); 3] =
    [(ROWS_LIMIT, Optimize::Balanced), (256, Optimize::Speed), (600, Optimize::Size)];

const SAME: [usize; 6] = [1, 1, 1, 1, 1, 1];

fn depthwise(c: usize, input: [usize; 2], kernel: [usize; 2], more: [usize; 6]) -> Geometry {
    Geometry { groups: c, cin: 1, cout: 1, ..geometry(c, c, input, kernel, more) }
}

/// The same in several groups.
fn grouped(groups: usize, g: Geometry) -> Geometry {
    Geometry { cin: g.cin / groups, cout: g.cout / groups, groups, ..g }
}

/// The same with taps apart. `pads` follow the last row and column.
fn dilated(dilations: [usize; 2], behind: [usize; 2], g: Geometry) -> Geometry {
    let out = |a: usize| {
        let window = (g.kernel[a] - 1) * dilations[a] + 1;
        (g.input[a] + g.pads[a] + behind[a] - window) / g.strides[a] + 1
    };
    let (c, [h, w]) = (g.groups * g.cout, [out(0), out(1)]);
    Geometry { dilations, output: [h, w], y: [c * h * w, 1, w * c, c], ..g }
}

pub(crate) fn convolutions() -> Vec<Geometry> {
    let planes = geometry(6, 8, [1, 30], [1, 7], [1, 1, 0, 3, 0, 3]);
    vec![
        geometry(16, 16, [5, 6], [3, 3], SAME),
        geometry(4, 10, [6, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(1, 8, [11, 10], [10, 4], [2, 2, 4, 1, 5, 1]),
        geometry(3, 8, [9, 9], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(3, 5, [4, 5], [2, 3], [3, 1, 1, 2, 0, 0]),
        geometry(8, 4, [1, 40], [1, 5], [1, 1, 0, 2, 0, 2]),
        geometry(64, 6, [1, 41], [1, 3], [1, 2, 0, 2, 0, 0]),
        geometry(16, 40, [6, 6], [1, 1], [2, 2, 0, 0, 0, 0]),
        geometry(7, 3, [9, 1], [5, 1], [1, 1, 2, 0, 2, 0]),
        geometry(30, 2, [3, 3], [3, 3], [1, 1, 0, 0, 0, 0]),
        // In tiles, the last one short; many chunks; windows in the padding alone.
        geometry(100, 9, [3, 23], [3, 3], SAME),
        geometry(130, 3, [3, 7], [3, 3], SAME),
        geometry(2, 6, [1, 2], [1, 5], [1, 1, 0, 4, 0, 4]),
        // No window lies inside: higher or wider than the input.
        geometry(3, 2, [2, 3], [3, 1], [1, 2, 1, 0, 1, 0]),
        geometry(3, 2, [3, 2], [2, 3], [1, 1, 0, 1, 0, 1]),
        // An odd number of columns; channels first; columns first; pixels apart.
        geometry(4, 6, [9, 5], [3, 3], SAME),
        geometry(2, 5, [12, 3], [3, 1], [2, 1, 1, 0, 0, 0]),
        Geometry { x: [180, 30, 30, 1], ..planes.clone() },
        dilated([1, 3], [0, 3], Geometry { x: [180, 30, 30, 1], ..planes }),
        Geometry { x: [48, 1, 1, 8], ..geometry(1, 4, [8, 6], [3, 3], [2, 2, 0, 0, 1, 1]) },
        Geometry { x: [42, 1, 1, 6], ..geometry(1, 5, [6, 7], [3, 2], [2, 1, 1, 0, 1, 1]) },
        Geometry { x: [90, 1, 3, 18], ..geometry(3, 4, [6, 5], [2, 3], [1, 1, 0, 1, 1, 1]) },
        Geometry { x: [216, 72, 1, 8], ..geometry(3, 9, [8, 9], [3, 3], [1, 2, 0, 0, 0, 0]) },
        Geometry { x: [8 * 40, 8, 320, 1], ..geometry(5, 4, [1, 40], [1, 9], [1, 2, 0, 4, 0, 4]) },
        Geometry {
            x: [448, 1, 112, 16],
            y: [448, 1, 112, 16],
            ..geometry(6, 11, [4, 7], [1, 1], [1, 1, 0, 0, 0, 0])
        },
        Geometry { x: [525, 1, 105, 15], ..geometry(5, 6, [5, 7], [3, 3], SAME) },
        Geometry { batch: 2, x: [240, 1, 48, 8], y: [120, 1, 24, 4], ..geometry(8, 4, [5, 6], [3, 3], SAME) },
        // Taps apart.
        dilated([2, 2], [2, 2], geometry(8, 5, [7, 7], [3, 3], [1, 1, 2, 2, 2, 2])),
        dilated([1, 4], [0, 4], geometry(4, 4, [1, 14], [1, 3], [1, 1, 0, 4, 0, 4])),
        dilated([1, 3], [0, 6], geometry(24, 5, [1, 20], [1, 5], [1, 1, 0, 6, 0, 6])),
        dilated([3, 2], [0, 0], geometry(4, 8, [9, 8], [3, 2], [1, 1, 0, 0, 0, 0])),
        dilated([3, 2], [2, 1], geometry(16, 16, [11, 10], [3, 3], [2, 1, 3, 2, 2, 1])),
        dilated([2, 1], [1, 1], Geometry { batch: 2, ..geometry(8, 4, [5, 6], [3, 3], SAME) }),
        // Windows that Winograd takes: whole tiles, tiles that overlap, uneven paddings.
        geometry(4, 4, [4, 8], [3, 3], SAME),
        geometry(8, 6, [5, 13], [3, 3], SAME),
        geometry(12, 4, [9, 11], [3, 3], SAME),
        geometry(4, 8, [17, 10], [3, 3], [1, 1, 0, 0, 0, 0]),
        geometry(16, 4, [13, 18], [3, 3], [1, 1, 1, 0, 0, 1]),
        geometry(4, 4, [16, 16], [3, 3], SAME),
        Geometry {
            batch: 2,
            x: [8 * 40, 1, 40, 4],
            y: [8 * 100 * 8, 1, 60, 6],
            ..geometry(4, 4, [8, 8], [3, 3], SAME)
        },
        geometry(24, 4, [1, 40], [1, 3], [1, 1, 0, 1, 0, 1]),
        geometry(12, 2, [1, 20], [1, 3], [1, 1, 0, 2, 0, 0]),
        geometry(16, 8, [29, 1], [3, 1], [1, 1, 1, 0, 0, 0]),
        // Depthwise: windows of every kind, few channels, many, and what no vector divides.
        depthwise(8, [5, 5], [3, 3], SAME),
        depthwise(7, [9, 30], [3, 3], SAME),
        depthwise(5, [8, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
        depthwise(6, [7, 7], [3, 3], [2, 2, 1, 1, 1, 1]),
        depthwise(4, [2, 2], [3, 3], [1, 1, 2, 2, 2, 2]),
        depthwise(9, [6, 9], [5, 5], [1, 1, 2, 2, 2, 2]),
        depthwise(5, [11, 8], [5, 5], [2, 2, 1, 2, 2, 1]),
        depthwise(12, [1, 30], [1, 9], [1, 1, 0, 4, 0, 4]),
        depthwise(64, [1, 130], [1, 9], [1, 1, 0, 4, 0, 4]),
        depthwise(10, [1, 31], [1, 4], [1, 2, 0, 1, 0, 2]),
        depthwise(4, [19, 1], [7, 1], [3, 1, 3, 0, 3, 0]),
        depthwise(20, [19, 1], [15, 1], [1, 1, 7, 0, 7, 0]),
        depthwise(8, [9, 4], [7, 1], [2, 1, 3, 0, 3, 0]),
        depthwise(8, [4, 24], [1, 5], [1, 1, 0, 2, 0, 2]),
        depthwise(128, [4, 13], [3, 3], [3, 3, 1, 0, 0, 1]),
        depthwise(6, [5, 6], [2, 4], [1, 2, 0, 1, 1, 2]),
        depthwise(37, [5, 7], [3, 3], SAME),
        Geometry { x: [150, 30, 5, 1], ..depthwise(5, [6, 5], [3, 3], SAME) },
        Geometry { x: [480, 1, 16, 96], ..depthwise(16, [6, 5], [3, 3], SAME) },
        dilated([1, 2], [1, 1], Geometry { batch: 2, ..depthwise(8, [5, 6], [3, 3], SAME) }),
        dilated([2, 2], [2, 2], depthwise(8, [6, 7], [3, 3], [1, 1, 2, 2, 2, 2])),
        // Groups of several channels, and of one that becomes several.
        grouped(2, geometry(8, 6, [5, 5], [3, 3], SAME)),
        grouped(4, geometry(32, 64, [4, 6], [3, 3], [2, 2, 0, 0, 1, 1])),
        grouped(3, geometry(12, 24, [3, 5], [1, 1], [1, 1, 0, 0, 0, 0])),
        grouped(2, geometry(16, 16, [1, 20], [1, 5], [1, 1, 0, 2, 0, 2])),
        grouped(6, geometry(6, 24, [5, 4], [3, 3], SAME)),
        dilated([2, 2], [2, 2], grouped(2, geometry(8, 8, [6, 7], [3, 3], [1, 1, 2, 2, 2, 2]))),
        Geometry {
            batch: 2,
            x: [240, 1, 48, 8],
            y: [280, 1, 56, 8],
            ..grouped(2, geometry(8, 8, [5, 6], [3, 3], SAME))
        },
    ]
}

fn products() -> Vec<Rows> {
    let axis = |len, x, y| Axis { len, x, y };
    let of = |rows: &[Axis], inputs, outputs| Rows {
        rows: rows.to_vec(),
        inputs: axis(inputs, 1, 0),
        outputs: axis(outputs, 0, 1),
    };
    vec![
        of(&[], 64, 12),
        of(&[], 37, 5),
        of(&[], 5, 3),
        of(&[], 1, 1),
        of(&[], 300, 2),
        of(&[], 400, 9),
        of(&[], 505, 2),
        of(&[axis(5, 64, 64)], 64, 64),
        of(&[axis(4, 10, 3)], 10, 3),
        of(&[axis(13, 7, 9)], 7, 9),
        of(&[axis(3, 8, 16)], 8, 16),
        of(&[axis(8, 70, 9)], 67, 2),
        of(&[axis(7, 700, 6)], 700, 6),
        of(&[axis(2, 100, 80), axis(3, 20, 21)], 16, 21),
        of(&[axis(2, 100, 40), axis(3, 20, 5)], 16, 5),
        // Groups that overlap by three, two and one channels.
        of(&[axis(5, 7, 13)], 7, 13),
        of(&[axis(6, 15, 6)], 15, 6),
        of(&[axis(2, 90, 70), axis(3, 20, 9)], 1, 7),
        of(&[axis(9, 11, 29)], 9, 27),
    ]
}

/// What was tried on a core: variants, and shapes that none of its kernels takes, by number.
#[derive(Default)]
struct Tried {
    variants: BTreeSet<&'static str>,
    portable: BTreeSet<usize>,
}

impl Tried {
    fn hold(&mut self, case: usize, found: &[Candidate], plain: &Call, x: Vec<i8>, y: usize, says: &str) {
        if found.is_empty() {
            self.portable.insert(case);
        }
        let x = [Data::I8(x)];
        let result = run(plain, &x, DType::I8, y);
        for variant in found {
            self.variants.insert(variant.way);
            assert!(variant.workspace <= 5 * ROWS_LIMIT, "{}: {} {says}", variant.way, variant.workspace);
            assert_eq!(run(&variant.call, &x, DType::I8, y), result, "{}: {says}", variant.way);
        }
    }
    fn fits(&self, core: &Core) {
        let Core { name, portable, variants } = core;
        assert!(self.portable.len() <= *portable, "{name} leaves {:?} to loops", self.portable);
        assert!(variants.iter().all(|v| self.variants.contains(v)), "{name} offers {:?} only", self.variants);
    }
}

fn convolve(core: &str, seed: u64) -> Tried {
    let target = secateur_targets::core_only(core, 1 << 20, 1 << 18).unwrap();
    let engine = engine(&target).unwrap();
    let (mut random, mut tried) = (Random(seed), Tried::default());
    for (case, g) in convolutions().iter().enumerate() {
        for (n, (rows_limit, optimize)) in WANTS.into_iter().enumerate() {
            let want = Want { library: &Library::new(&target), policy: Policy::from(optimize), rows_limit };
            let product =
                product(&mut random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], case + n);
            let found = decompose::ways(g, &product, &want, &|g, p| engine.conv(g, p, &want)).unwrap();
            let plain = conv(g, &product, Kernels::Packed).unwrap();
            let x = random.bytes(g.x_len());
            tried.hold(
                case,
                &found,
                &plain,
                x,
                g.y_len(),
                &format!("{core}, {rows_limit}, case {case}: {g:?}"),
            );
        }
    }
    tried
}

fn multiply(core: &str, seed: u64) -> Tried {
    let target = secateur_targets::core_only(core, 1 << 20, 1 << 18).unwrap();
    let engine = engine(&target).unwrap();
    let (mut random, mut tried) = (Random(seed), Tried::default());
    for (case, rows) in products().iter().enumerate() {
        for (n, (rows_limit, optimize)) in WANTS.into_iter().enumerate() {
            let want = Want { library: &Library::new(&target), policy: Policy::from(optimize), rows_limit };
            let product = product(&mut random, rows.outputs.len, rows.inputs.len, case + n);
            let found = engine.dense(rows, &product, &want).unwrap();
            let plain = dense(rows, &product, false).unwrap();
            let reach = |of: fn(&Axis) -> usize| rows.rows.iter().map(|a| (a.len - 1) * of(a)).sum::<usize>();
            let x = random.bytes(reach(|a| a.x) + rows.inputs.len);
            let y = reach(|a| a.y) + rows.outputs.len;
            tried.hold(case, &found, &plain, x, y, &format!("{core}, case {case}: {rows:?}"));
        }
    }
    tried
}

#[test]
fn convolutions_equal_the_plain_loops() {
    WINDOWS.iter().for_each(|core| convolve(core.name, 61).fits(core));
}

#[test]
fn dense_layers_equal_the_plain_loops() {
    PRODUCTS.iter().for_each(|core| multiply(core.name, 62).fits(core));
}

/// How weights are zero.
#[derive(Debug, Clone, Copy)]
enum Zeros {
    All,
    AllButOne,
    /// Every other row; the others are full.
    Rows,
    /// Blocks of so many rows by inputs at one tap but one in four.
    Blocks([usize; 2]),
}

impl Zeros {
    fn of(self, mut product: Product, (taps, window): (usize, usize)) -> Product {
        let Data::I32(w) = &mut product.weights else { panic!() };
        let one = 2 * w.len() / 3;
        for (i, w) in w.iter_mut().enumerate() {
            let (row, c, tap) = (i / taps, i % taps / window, i % window);
            let kept = match self {
                Zeros::All => false,
                Zeros::AllButOne => i == one,
                Zeros::Rows => row % 2 > 0,
                Zeros::Blocks([r, n]) => (row / r + c / n + 3 * tap).is_multiple_of(4),
            };
            *w = if kept { *w } else { 0 };
        }
        product
    }
}

/// Each core that leaves zeros out does so in each of its patterns, and however few weights there are.
#[test]
fn what_leaves_zeros_out_equals_the_plain_loops() {
    let windows = [
        geometry(16, 48, [4, 5], [3, 3], SAME),
        geometry(32, 24, [1, 20], [1, 3], [1, 2, 0, 0, 0, 0]),
        geometry(32, 160, [1, 9], [1, 3], [1, 1, 0, 1, 0, 1]),
    ];
    let mut random = Random(63);
    for core in WINDOWS {
        let target = secateur_targets::core_only(core.name, 1 << 20, 1 << 18).unwrap();
        let engine = engine(&target).unwrap();
        let blocks = target.core.patterns.iter().map(|pattern| {
            let (rows, inputs) = pattern.split_once('x').unwrap();
            Zeros::Blocks([rows, inputs].map(|n| n.parse().unwrap()))
        });
        for zeros in blocks.chain([Zeros::All, Zeros::AllButOne, Zeros::Rows]) {
            let mut offered = 0;
            for (case, g) in windows.iter().enumerate() {
                let library = Library::new(&target);
                let want = want(&library, Policy::from(Optimize::Balanced));
                let window = g.kernel[0] * g.kernel[1];
                let axes = vec![Axis { len: 5, x: g.cin, y: g.cout }];
                let [inputs, outputs] = [g.cin, g.cout].map(|len| Axis { len, x: 1, y: 1 });
                let rows = Rows { rows: axes, inputs, outputs };
                let of =
                    zeros.of(product(&mut random, g.cout, g.cin * window, case), (g.cin * window, window));
                let sparse = |mut found: Vec<Candidate>| {
                    found.retain(|way| way.way.starts_with(SPARSE));
                    found
                };
                let found = sparse(engine.conv(g, &of, &want).unwrap());
                hold_conv(g, &of, &found, &mut random);
                offered += found.len();
                let of = zeros.of(product(&mut random, g.cout, g.cin, case), (g.cin, 1));
                let found = sparse(engine.dense(&rows, &of, &want).unwrap());
                hold_dense(&rows, &of, &found, &mut random);
                offered += found.len();
            }
            // In a pattern of its own, and where there is next to nothing to multiply.
            let expected = !target.core.patterns.is_empty() && !matches!(zeros, Zeros::Rows);
            assert!(!expected || offered > 0, "{}: {zeros:?} are multiplied", core.name);
        }
    }
}
