//! Both engines' ways against the plain loops, in the evaluator.

use crate::kernels::call::Call;
use crate::kernels::library::Library;
use crate::kernels::portable::conv::{self, Kernels};
use crate::kernels::portable::dense;
use crate::kernels::riscv::engine::*;
use crate::kernels::trial::{Random, geometry, product, run};
use crate::options::Optimize;
use crate::policy::Policy;

const ENGINES: [(Riscv, &str); 2] =
    [(Riscv { vectors: false }, "rv32imc"), (Riscv { vectors: true }, "rv32imcv")];

fn native(kernel: &Kernel) -> bool {
    let mut found = !kernel.native.is_empty();
    crate::kernel::visit(&kernel.body, &mut |s| {
        if let crate::kernel::Stmt::Call { kernel, .. } = s {
            found |= native(kernel);
        }
    });
    found
}

fn same(random: &mut Random, way: &Call, plain: &Call, (x, y): (usize, usize), says: &str) {
    assert!(native(&way.kernel), "{says}");
    for _ in 0..2 {
        let x = [Data::I8(random.bytes(x))];
        assert_eq!(run(way, &x, DType::I8, y), run(plain, &x, DType::I8, y), "{says}");
    }
}

#[test]
fn convolutions_equal_the_plain_loops() {
    let mut random = Random(61);
    let around = [1, 1, 1, 1, 1, 1];
    let mut shapes = vec![
        geometry(16, 16, [5, 6], [3, 3], around),
        geometry(4, 10, [6, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(1, 8, [11, 10], [10, 4], [2, 2, 4, 1, 5, 1]),
        geometry(3, 5, [4, 5], [2, 3], [3, 1, 1, 2, 0, 0]),
        geometry(7, 3, [9, 1], [5, 1], [1, 1, 2, 0, 2, 0]),
        geometry(16, 40, [6, 6], [1, 1], [2, 2, 0, 0, 0, 0]),
        // In tiles, the last one short; windows in the padding alone.
        geometry(40, 9, [3, 23], [3, 3], around),
        geometry(2, 6, [1, 2], [1, 5], [1, 1, 0, 4, 0, 4]),
    ];
    let depthwise = |c: usize, input, kernel, more| Geometry {
        groups: c,
        cin: 1,
        cout: 1,
        ..geometry(c, c, input, kernel, more)
    };
    shapes.push(depthwise(8, [5, 5], [3, 3], around));
    shapes.push(depthwise(17, [7, 6], [3, 3], [2, 2, 0, 0, 1, 1]));
    shapes.push(depthwise(3, [6, 9], [5, 5], [1, 1, 2, 2, 2, 2]));
    shapes.push(depthwise(64, [1, 30], [1, 9], [1, 1, 0, 4, 0, 4]));
    shapes.push(depthwise(128, [4, 13], [3, 3], [3, 3, 1, 0, 0, 1]));
    // Dilated along both axes, in groups, and two samples.
    let dilated = |g: Geometry, output, dilations| Geometry { dilations, output, ..g };
    let y = |c: usize, [h, w]: [usize; 2]| [c * h * w, 1, w * c, c];
    let g = geometry(8, 5, [7, 7], [3, 3], [1, 1, 2, 2, 2, 2]);
    shapes.push(Geometry { y: y(5, [7, 7]), ..dilated(g, [7, 7], [2, 2]) });
    let g = geometry(4, 4, [1, 14], [1, 3], [1, 1, 0, 4, 0, 4]);
    shapes.push(Geometry { y: y(4, [1, 14]), ..dilated(g, [1, 14], [1, 4]) });
    let g = depthwise(8, [6, 7], [3, 3], [1, 1, 2, 2, 2, 2]);
    shapes.push(Geometry { y: y(8, [6, 7]), ..dilated(g, [6, 7], [2, 2]) });
    let group =
        |groups: usize, g: Geometry| Geometry { cin: g.cin / groups, cout: g.cout / groups, groups, ..g };
    shapes.push(group(2, geometry(8, 6, [5, 5], [3, 3], around)));
    shapes.push(group(3, geometry(9, 12, [4, 5], [1, 1], [1, 1, 0, 0, 0, 0])));
    shapes.push(group(4, geometry(4, 8, [1, 9], [1, 3], [1, 1, 0, 0, 0, 0])));
    // Of one column, which is turned; channels first; columns first; pixels further apart than
    // their channels, with padding and without.
    shapes.push(depthwise(7, [19, 1], [5, 1], [1, 1, 2, 0, 2, 0]));
    // Few channels, so that neighbours fill vectors: rows that they divide, and not.
    shapes.push(depthwise(8, [4, 24], [3, 3], around));
    shapes.push(depthwise(5, [3, 15], [2, 3], [1, 1, 0, 1, 1, 1]));
    shapes.push(depthwise(12, [4, 2], [3, 1], [1, 1, 1, 0, 1, 0]));
    shapes.push(depthwise(20, [23, 1], [4, 1], [2, 1, 0, 0, 1, 0]));
    let g = geometry(6, 16, [1, 30], [1, 7], [1, 1, 0, 3, 0, 3]);
    shapes.push(Geometry { x: [180, 30, 30, 1], ..g });
    let g = geometry(3, 9, [8, 9], [3, 3], [1, 2, 0, 0, 0, 0]);
    shapes.push(Geometry { x: [216, 72, 1, 8], ..g });
    let g = depthwise(5, [6, 5], [3, 3], around);
    shapes.push(Geometry { x: [150, 30, 5, 1], ..g });
    let g = geometry(6, 11, [4, 7], [1, 1], [1, 1, 0, 0, 0, 0]);
    shapes.push(Geometry { x: [448, 1, 112, 16], y: [448, 1, 112, 16], ..g });
    let g = geometry(5, 6, [5, 7], [3, 3], around);
    shapes.push(Geometry { x: [525, 1, 105, 15], ..g });
    let g = geometry(8, 4, [5, 6], [3, 3], around);
    shapes.push(Geometry { batch: 2, x: [240, 1, 48, 8], y: [120, 1, 24, 4], ..g });
    for (case, g) in shapes.iter().enumerate() {
        let rows_limit = if case % 2 == 0 { ROWS_LIMIT } else { 256 };
        let product = product(&mut random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], case);
        let plain = conv::conv(g, &product, Kernels::Packed).unwrap();
        for (engine, name) in &ENGINES {
            let target = secateur_targets::find(name).unwrap();
            let want = Want {
                library: &Library::new(&target),
                policy: Policy::from(Optimize::Balanced),
                rows_limit,
            };
            let says = format!("case {case} on {name}: {g:?}");
            let ways = engine.conv(g, &product, &want).unwrap();
            assert!(!ways.is_empty(), "{says}");
            for way in ways {
                assert!(way.workspace <= 4 * ROWS_LIMIT, "{says}: {}", way.workspace);
                same(&mut random, &way.call, &plain, (g.x_len(), g.y_len()), &says);
            }
        }
    }
}

#[test]
fn dense_layers_equal_the_plain_loops() {
    let mut random = Random(62);
    let axis = |len, x, y| Axis { len, x, y };
    let rows = |rows: Vec<Axis>, inputs, outputs| Rows {
        rows,
        inputs: axis(inputs, 1, 0),
        outputs: axis(outputs, 0, 1),
    };
    let shapes = [
        rows(vec![], 64, 12),
        rows(vec![axis(5, 64, 64)], 64, 64),
        rows(vec![axis(4, 10, 3)], 10, 3),
        rows(vec![axis(13, 7, 9)], 7, 9),
        rows(vec![axis(2, 100, 80), axis(3, 20, 21)], 16, 21),
        rows(vec![], 300, 2),
        rows(vec![], 1, 1),
    ];
    for (case, rows) in shapes.iter().enumerate() {
        let product = product(&mut random, rows.outputs.len, rows.inputs.len, case);
        let plain = dense::dense(rows, &product).unwrap();
        let x: usize = rows.rows.iter().map(|a| (a.len - 1) * a.x).sum::<usize>() + rows.inputs.len;
        let y: usize = rows.rows.iter().map(|a| (a.len - 1) * a.y).sum::<usize>() + rows.outputs.len;
        for (engine, name) in &ENGINES {
            let target = secateur_targets::find(name).unwrap();
            let want = Want {
                library: &Library::new(&target),
                policy: Policy::from(Optimize::Balanced),
                rows_limit: ROWS_LIMIT,
            };
            let says = format!("case {case} on {name}");
            let ways = engine.dense(rows, &product, &want).unwrap();
            assert!(!ways.is_empty(), "{says}");
            ways.iter().for_each(|way| same(&mut random, &way.call, &plain, (x, y), &says));
        }
    }
}
