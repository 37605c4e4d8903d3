//! Parts against the whole convolution, in the evaluator.

use super::*;
use crate::kernels::library::Library;
use crate::kernels::offer::ROWS_LIMIT;
use crate::kernels::portable::conv::{Kernels, conv};
use crate::kernels::registry::engine;
use crate::kernels::trial::{Random, product, run};
use crate::options::Optimize;
use crate::policy::Policy;

/// Channels of all groups; `more`: strides, pads at top, left, bottom, right, dilations.
fn geometry(
    [groups, cin, cout]: [usize; 3],
    input: [usize; 2],
    kernel: [usize; 2],
    [sy, sx, top, left, bottom, right, dy, dx]: [usize; 8],
) -> Geometry {
    let out = |n: usize, pads: usize, k: usize, s: usize, d: usize| (n + pads - (k - 1) * d - 1) / s + 1;
    let output =
        [out(input[0], top + bottom, kernel[0], sy, dy), out(input[1], left + right, kernel[1], sx, dx)];
    let lay = |c: usize, [h, w]: [usize; 2]| [c * h * w, 1, w * c, c];
    Geometry {
        batch: 1,
        groups,
        cin: cin / groups,
        cout: cout / groups,
        input,
        output,
        kernel,
        strides: [sy, sx],
        dilations: [dy, dx],
        pads: [top, left],
        x: lay(cin, input),
        y: lay(cout, output),
    }
}

const SAME: [usize; 8] = [1, 1, 1, 1, 1, 1, 1, 1];

/// Groups of several channels, of one that becomes several, and taps apart along both axes.
fn shapes() -> Vec<Geometry> {
    vec![
        geometry([2, 8, 6], [5, 5], [3, 3], SAME),
        geometry([4, 32, 64], [4, 6], [3, 3], [2, 2, 0, 0, 1, 1, 1, 1]),
        geometry([3, 12, 24], [3, 5], [1, 1], [1, 1, 0, 0, 0, 0, 1, 1]),
        geometry([2, 16, 16], [1, 20], [1, 5], [1, 1, 0, 2, 0, 2, 1, 1]),
        geometry([6, 6, 24], [5, 4], [3, 3], SAME),
        geometry([1, 8, 5], [7, 7], [3, 3], [1, 1, 2, 2, 2, 2, 2, 2]),
        geometry([1, 4, 8], [9, 8], [3, 2], [1, 1, 0, 0, 0, 0, 3, 2]),
        geometry([1, 16, 16], [11, 10], [3, 3], [2, 1, 3, 2, 2, 1, 3, 2]),
        geometry([8, 8, 8], [6, 7], [3, 3], [1, 1, 2, 2, 2, 2, 2, 2]),
        geometry([2, 8, 8], [6, 7], [3, 3], [1, 1, 2, 2, 2, 2, 2, 2]),
        Geometry {
            batch: 2,
            x: [240, 1, 48, 8],
            y: [280, 1, 56, 8],
            ..geometry([2, 8, 8], [5, 6], [3, 3], SAME)
        },
    ]
}

fn alike(core: &str) {
    let mut target = secateur_targets::find("stm32l4r5").unwrap();
    target.core = secateur_targets::core(core).unwrap();
    let want = Want {
        library: &Library::new(&target),
        policy: Policy::from(Optimize::Balanced),
        rows_limit: ROWS_LIMIT,
    };
    let engine = engine(&target).unwrap();
    let mut random = Random(77);
    for (case, g) in shapes().iter().enumerate() {
        let product = product(&mut random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], case);
        let found = ways(g, &product, &want, &|g, product| engine.conv(g, product, &want)).unwrap();
        assert!(!found.is_empty(), "{core}: {g:?} stays portable");
        let plain = conv(g, &product, Kernels::Packed).unwrap();
        let x = [Data::I8(random.bytes(g.x_len()))];
        let all = run(&plain, &x, DType::I8, g.y_len());
        for way in found {
            let got = run(&way.call, &x, DType::I8, g.y_len());
            assert_eq!(got, all, "{core}: {} of {g:?}", way.way);
        }
    }
}

#[test]
fn parts_equal_the_plain_loops() {
    for core in ["cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc", "rv32imcv", "hexagon-v67"] {
        alike(core);
    }
}
