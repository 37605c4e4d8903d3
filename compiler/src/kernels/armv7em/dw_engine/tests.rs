//! Depthwise convolutions in pairs of rows against the plain loops, in the evaluator.

use super::*;
use crate::kernels::portable::conv::{Kernels, conv};
use crate::kernels::trial::{Random, geometry, product, run};
use crate::options::Optimize;
use crate::policy::Policy;

#[test]
fn depthwise_convolutions_equal_the_plain_loops() {
    let target = secateur_targets::core_only("cortex-m4", 1 << 20, 1 << 18).unwrap();
    let of = |c: usize, input, kernel, more| Geometry {
        groups: c,
        cin: 1,
        cout: 1,
        ..geometry(c, c, input, kernel, more)
    };
    let mut shapes = vec![
        of(8, [5, 5], [3, 3], [1, 1, 1, 1, 1, 1]),
        of(7, [9, 30], [3, 3], [1, 1, 1, 1, 1, 1]),
        of(5, [8, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
        of(6, [7, 7], [3, 3], [2, 2, 1, 1, 1, 1]),
        of(4, [3, 4], [3, 3], [1, 1, 0, 0, 0, 0]),
        of(4, [2, 2], [3, 3], [1, 1, 2, 2, 2, 2]),
        of(9, [6, 9], [5, 5], [1, 1, 2, 2, 2, 2]),
        of(5, [11, 8], [5, 5], [2, 2, 1, 2, 2, 1]),
        of(12, [1, 30], [1, 9], [1, 1, 0, 4, 0, 4]),
        of(10, [1, 31], [1, 4], [1, 2, 0, 1, 0, 2]),
        of(4, [19, 1], [7, 1], [3, 1, 3, 0, 3, 0]),
        of(8, [9, 4], [7, 1], [2, 1, 3, 0, 3, 0]),
        of(8, [4, 9], [1, 5], [1, 1, 0, 2, 0, 2]),
        of(11, [4, 13], [3, 3], [3, 3, 1, 0, 0, 1]),
        of(6, [5, 6], [2, 4], [1, 2, 0, 1, 1, 2]),
    ];
    // Dilated along one axis, and two samples.
    shapes.push(Geometry {
        batch: 2,
        dilations: [1, 2],
        output: [5, 4],
        x: [240, 1, 48, 8],
        y: [160, 1, 32, 8],
        ..of(8, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1])
    });
    let mut random = Random(53);
    let (mut banded, mut tiles, mut plane, mut ties, mut over) = (0, 0, 0, 0, 0);
    for (case, g) in shapes.iter().enumerate() {
        for (rows_limit, optimize) in [(ROWS_LIMIT, Optimize::Balanced), (128, Optimize::Speed)] {
            let product = product(&mut random, g.groups, g.kernel[0] * g.kernel[1], case);
            let want = Want { library: &Library::new(&target), policy: Policy::from(optimize), rows_limit };
            let ways = pairs(g, &product, &want).unwrap();
            assert!(!ways.is_empty(), "case {case} does not fit");
            over += ways.iter().filter(|way| way.in_place()).count();
            let v = View::of(g, want.policy).unwrap();
            banded += usize::from(v.band(3 * rows_limit) < v.output[0]);
            match multiply(&v, v.output[0], &Ending::of(&product).unwrap()) {
                Multiply::Tiles(_) => tiles += 1,
                Multiply::Plane(_) => plane += 1,
                _ => {}
            }
            ties += usize::from(Ending::of(&product).unwrap().sh.is_none());
            let plain = conv(g, &product, Kernels::Packed).unwrap();
            for _ in 0..2 {
                let x = [Data::I8(random.bytes(g.x_len()))];
                let want = run(&plain, &x, DType::I8, g.y_len());
                for way in &ways {
                    let got = run(&way.call, &x, DType::I8, g.y_len());
                    assert_eq!(got, want, "case {case} {} {g:?}", way.way);
                }
            }
        }
    }
    assert!(
        banded >= 5 && tiles >= 5 && plane >= 3 && ties >= 5 && over >= 4,
        "{banded} in bands, {tiles} by tiles, {plane} by planes, {ties} shifts, {over} in place"
    );
}
