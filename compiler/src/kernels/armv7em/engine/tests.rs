//! The engine's ways against the plain loops, in the evaluator.

use super::*;
use crate::kernels::offer::ROWS_LIMIT;
use crate::kernels::portable::conv::{self, Kernels};
use crate::kernels::portable::dense;
use crate::kernels::problem::Axis;
use crate::kernels::trial::{Random, geometry, product, run};
use crate::options::Optimize;
use crate::policy::Policy;

fn conv(g: &Geometry, product: &Product, rows_limit: usize) -> Result<Option<Candidate>> {
    let target = secateur_targets::find("stm32l4r5").unwrap();
    let library = Library::new(&target);
    if g.groups > 1 {
        return depthwise(g, product, rows_limit, &library);
    }
    let optimize = crate::options::Optimize::Balanced;
    crate::kernels::armv7em::bands::bands(
        g,
        product,
        &Want { library: &library, policy: Policy::from(optimize), rows_limit },
    )
}

#[test]
fn convolutions_equal_the_plain_loops() {
    let mut random = Random(31);
    let mut shapes = vec![
        geometry(16, 16, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1]),
        geometry(4, 10, [6, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(1, 8, [11, 10], [10, 4], [2, 2, 4, 1, 5, 1]),
        geometry(3, 8, [9, 9], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(3, 5, [4, 5], [2, 3], [3, 1, 1, 2, 0, 0]),
        geometry(8, 4, [1, 40], [1, 5], [1, 1, 0, 2, 0, 2]),
        geometry(64, 6, [1, 41], [1, 3], [1, 2, 0, 2, 0, 0]),
        geometry(16, 32, [6, 6], [1, 1], [2, 2, 0, 0, 0, 0]),
        geometry(7, 3, [9, 1], [5, 1], [1, 1, 2, 0, 2, 0]),
        geometry(100, 9, [3, 23], [3, 3], [1, 1, 1, 1, 1, 1]),
    ];
    // An odd number of columns, so that pairs stand upright; channels first; columns first;
    // taps apart along the only row.
    shapes.push(geometry(4, 6, [9, 5], [3, 3], [1, 1, 1, 1, 1, 1]));
    shapes.push(geometry(2, 5, [12, 3], [3, 1], [2, 1, 1, 0, 0, 0]));
    let planes = geometry(6, 8, [1, 30], [1, 7], [1, 1, 0, 3, 0, 3]);
    shapes.push(Geometry { x: [180, 30, 30, 1], ..planes.clone() });
    shapes.push(Geometry { x: [180, 30, 30, 1], output: [1, 12], dilations: [1, 3], ..planes });
    let turned = geometry(1, 4, [8, 6], [3, 3], [2, 2, 0, 0, 1, 1]);
    shapes.push(Geometry { x: [48, 1, 1, 8], ..turned });
    shapes.push(Geometry { x: [8 * 40, 8, 320, 1], ..geometry(5, 4, [1, 40], [1, 9], [1, 2, 0, 4, 0, 4]) });
    // Depthwise: pairs of columns that overlap, strides, long windows, tiles.
    let depthwise = |c: usize, input, kernel, more| Geometry {
        groups: c,
        cin: 1,
        cout: 1,
        ..geometry(c, c, input, kernel, more)
    };
    shapes.push(depthwise(8, [5, 5], [3, 3], [1, 1, 1, 1, 1, 1]));
    shapes.push(depthwise(4, [7, 6], [3, 3], [2, 2, 0, 0, 1, 1]));
    shapes.push(depthwise(12, [6, 9], [5, 5], [1, 1, 2, 2, 2, 2]));
    shapes.push(depthwise(64, [1, 30], [1, 9], [1, 1, 0, 4, 0, 4]));
    shapes.push(depthwise(8, [9, 1], [7, 1], [2, 1, 3, 0, 3, 0]));
    shapes.push(depthwise(128, [4, 13], [3, 3], [3, 3, 1, 0, 0, 1]));
    // Dilated rows, and two samples.
    shapes.push(Geometry {
        batch: 2,
        dilations: [2, 1],
        output: [3, 6],
        x: [240, 1, 48, 8],
        y: [72, 1, 24, 4],
        ..geometry(8, 4, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1])
    });
    let (mut tiled, mut shifts) = (0, 0);
    for (case, g) in shapes.iter().enumerate() {
        let limit = if case % 2 == 0 { ROWS_LIMIT } else { 256 };
        let product = product(&mut random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], case);
        let blocked = conv(g, &product, limit).unwrap().unwrap_or_else(|| panic!("case {case} does not fit"));
        assert!(blocked.workspace <= 2 * ROWS_LIMIT, "case {case}");
        tiled += usize::from(crate::kernels::armv7em::bands::Cut::new(g, limit).tiles(g) > 1);
        shifts += usize::from(Ending::of(&product).unwrap().sh.is_none());
        let plain = conv::conv(g, &product, Kernels::Packed).unwrap();
        for _ in 0..2 {
            let x = [Data::I8(random.bytes(g.x_len()))];
            let want = run(&plain, &x, DType::I8, g.y_len());
            assert_eq!(run(&blocked.call, &x, DType::I8, g.y_len()), want, "case {case}");
        }
    }
    assert!(tiled >= 2, "{tiled} cases are tiled");
    assert!(shifts >= 2, "{shifts} cases have a shift for each channel");
}

#[test]
fn dense_layers_equal_the_plain_loops() {
    let target = secateur_targets::find("stm32l4r5").unwrap();
    let want = Want {
        library: &Library::new(&target),
        policy: Policy::from(Optimize::Balanced),
        rows_limit: ROWS_LIMIT,
    };
    let mut random = Random(32);
    let axis = |len, x, y| Axis { len, x, y };
    let shapes = [
        Rows { rows: vec![], inputs: axis(64, 1, 0), outputs: axis(12, 0, 1) },
        Rows { rows: vec![axis(5, 64, 64)], inputs: axis(64, 1, 0), outputs: axis(64, 0, 1) },
        Rows { rows: vec![axis(4, 10, 3)], inputs: axis(10, 1, 0), outputs: axis(3, 0, 1) },
        Rows { rows: vec![axis(3, 7, 9)], inputs: axis(7, 1, 0), outputs: axis(9, 0, 1) },
        Rows { rows: vec![axis(2, 100, 40), axis(3, 20, 5)], inputs: axis(16, 1, 0), outputs: axis(5, 0, 1) },
        Rows { rows: vec![], inputs: axis(300, 1, 0), outputs: axis(2, 0, 1) },
    ];
    for (case, rows) in shapes.iter().enumerate() {
        let product = product(&mut random, rows.outputs.len, rows.inputs.len, case);
        let blocked =
            dense(rows, &product, &want).unwrap().unwrap_or_else(|| panic!("case {case} does not fit"));
        let plain = dense::dense(rows, &product).unwrap();
        let (mut x_len, mut y_len) = (rows.inputs.len, rows.outputs.len);
        for a in &rows.rows {
            x_len += (a.len - 1) * a.x;
            y_len += (a.len - 1) * a.y;
        }
        for _ in 0..2 {
            let x = [Data::I8(random.bytes(x_len))];
            let want = run(&plain, &x, DType::I8, y_len);
            assert_eq!(run(&blocked.call, &x, DType::I8, y_len), want, "case {case}");
        }
    }
}
