//! The engine's ways against the plain loops, in the evaluator.

use super::*;
use crate::kernels::offer::ROWS_LIMIT;
use crate::kernels::portable::conv::{self, Kernels};
use crate::kernels::portable::dense;
use crate::kernels::trial::{Random, geometry, product, run};

fn target() -> Target {
    secateur_targets::find("apollo510").unwrap()
}

/// The loops of the kernels against the plain ones, on random and extreme inputs.
fn alike(case: usize, call: &Call, plain: &Call, x_len: usize, y_len: usize, random: &mut Random) {
    for _ in 0..2 {
        let x = [Data::I8(random.bytes(x_len))];
        let want = run(plain, &x, DType::I8, y_len);
        assert_eq!(run(call, &x, DType::I8, y_len), want, "case {case}");
    }
}

#[test]
fn convolutions_equal_the_plain_loops() {
    let mut random = Random(51);
    let depthwise = |c: usize, input, kernel, more| Geometry {
        groups: c,
        cin: 1,
        cout: 1,
        ..geometry(c, c, input, kernel, more)
    };
    let shapes = [
        geometry(16, 16, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1]),
        geometry(4, 10, [6, 7], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(1, 8, [11, 10], [10, 4], [2, 2, 4, 1, 5, 1]),
        geometry(3, 8, [9, 9], [3, 3], [2, 2, 0, 0, 1, 1]),
        geometry(3, 5, [4, 5], [2, 3], [3, 1, 1, 2, 0, 0]),
        geometry(64, 6, [1, 41], [1, 3], [1, 2, 0, 2, 0, 0]),
        geometry(16, 32, [6, 6], [1, 1], [2, 2, 0, 0, 0, 0]),
        // Many chunks, in a loop over rows; few columns, so that parts of rows overlap.
        geometry(100, 9, [3, 23], [3, 3], [1, 1, 1, 1, 1, 1]),
        geometry(130, 3, [3, 7], [3, 3], [1, 1, 1, 1, 1, 1]),
        // A column, which becomes a row; and planes of one row.
        geometry(7, 3, [9, 1], [5, 1], [1, 1, 2, 0, 2, 0]),
        Geometry { x: [120, 20, 20, 1], ..geometry(6, 5, [1, 20], [1, 7], [1, 1, 0, 3, 0, 3]) },
        // Columns that follow each other, with windows of any shape.
        Geometry { x: [42, 1, 1, 6], ..geometry(1, 5, [6, 7], [3, 2], [2, 1, 1, 0, 1, 1]) },
        Geometry { x: [90, 1, 3, 18], ..geometry(3, 4, [6, 5], [2, 3], [1, 1, 0, 1, 1, 1]) },
        Geometry { x: [480, 1, 16, 96], ..depthwise(16, [6, 5], [3, 3], [1, 1, 1, 1, 1, 1]) },
        // Columns and rows that stand apart, and two samples.
        Geometry {
            dilations: [1, 3],
            output: [1, 20],
            y: [100, 1, 100, 5],
            ..geometry(24, 5, [1, 20], [1, 5], [1, 1, 0, 6, 0, 6])
        },
        Geometry {
            batch: 2,
            dilations: [2, 1],
            output: [3, 6],
            x: [240, 1, 48, 8],
            y: [72, 1, 24, 4],
            ..geometry(8, 4, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1])
        },
        // Depthwise: pixels that share vectors, planes that are not full, long columns.
        depthwise(8, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1]),
        depthwise(4, [7, 8], [3, 3], [1, 1, 1, 1, 1, 1]),
        depthwise(8, [7, 6], [3, 3], [2, 2, 0, 0, 1, 1]),
        depthwise(16, [6, 9], [5, 5], [1, 1, 2, 2, 2, 2]),
        depthwise(37, [5, 7], [3, 3], [1, 1, 1, 1, 1, 1]),
        depthwise(64, [1, 130], [1, 9], [1, 1, 0, 4, 0, 4]),
        depthwise(20, [19, 1], [15, 1], [1, 1, 7, 0, 7, 0]),
        depthwise(128, [4, 13], [3, 3], [3, 3, 1, 0, 0, 1]),
    ];
    for (case, g) in shapes.iter().enumerate() {
        let product = product(&mut random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], case);
        let plain = conv::conv(g, &product, Kernels::Packed).unwrap();
        let turned = turned(g).map(|g| (g, None)).or_else(|| columns_first(g, &product));
        let whole = product;
        let (g, product) = match &turned {
            Some((g, product)) => (g, product.as_ref().unwrap_or(&whole)),
            None => (g, &whole),
        };
        for limit in [ROWS_LIMIT, 600] {
            let way = match g.groups {
                1 => conv(g, product, limit, &Library::new(&target())),
                _ => by_channel(g, product, limit, &Library::new(&target())),
            };
            let way = way.unwrap().unwrap_or_else(|| panic!("case {case} does not fit"));
            assert!(way.workspace <= 2 * ROWS_LIMIT, "case {case}: {}", way.workspace);
            alike(case, &way.call, &plain, g.x_len(), g.y_len(), &mut random);
        }
    }
}

#[test]
fn dense_layers_equal_the_plain_loops() {
    let mut random = Random(52);
    let axis = |len, x, y| Axis { len, x, y };
    let of = |rows: &[Axis], inputs, outputs| Rows {
        rows: rows.to_vec(),
        inputs: axis(inputs, 1, 0),
        outputs: axis(outputs, 0, 1),
    };
    let shapes = [
        of(&[], 64, 12),
        of(&[], 37, 5),
        of(&[], 5, 3),
        of(&[], 400, 9),
        // Chunks beside a loop of eight, the last one early.
        of(&[], 505, 2),
        of(&[axis(5, 64, 64)], 64, 64),
        of(&[axis(4, 10, 3)], 10, 3),
        of(&[axis(3, 8, 16)], 8, 16),
        of(&[axis(7, 700, 6)], 700, 6),
        of(&[axis(2, 100, 40), axis(3, 20, 5)], 16, 5),
        // Groups that overlap by three, two and one channels: of an odd number of pixels, of
        // an even one, apart from each other.
        of(&[axis(5, 7, 13)], 7, 13),
        of(&[axis(6, 15, 6)], 15, 6),
        of(&[axis(2, 90, 70), axis(3, 20, 9)], 1, 7),
        of(&[axis(9, 11, 29)], 9, 27),
    ];
    for (case, rows) in shapes.iter().enumerate() {
        let product = product(&mut random, rows.outputs.len, rows.inputs.len, case);
        let way = dense(rows, &product, &Library::new(&target()))
            .unwrap()
            .unwrap_or_else(|| panic!("case {case} does not fit"));
        let plain = dense::dense(rows, &product).unwrap();
        let (mut x_len, mut y_len) = (rows.inputs.len, rows.outputs.len);
        for a in &rows.rows {
            x_len += (a.len - 1) * a.x;
            y_len += (a.len - 1) * a.y;
        }
        alike(case, &way.call, &plain, x_len, y_len, &mut random);
    }
}

/// Cycles a MAC that the prediction gives whole layers, against the ceiling of 1/8.
#[test]
fn large_layers_come_near_the_ceiling() {
    let mut random = Random(53);
    let cost = |g: &Geometry, random: &mut Random| {
        let product = product(random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], 0);
        let (target, limit) = (target(), ROWS_LIMIT);
        let way = match g.groups {
            1 => conv(g, &product, limit, &Library::new(&target)),
            _ => by_channel(g, &product, limit, &Library::new(&target)),
        };
        let macs = g.output[0] * g.output[1] * g.groups * g.cout * g.cin * g.kernel[0] * g.kernel[1];
        way.unwrap().unwrap().call.cycles(&target) / macs as f64
    };
    let window = geometry(64, 64, [8, 8], [3, 3], [1, 1, 1, 1, 1, 1]);
    let by = cost(&window, &mut random);
    assert!(by < 0.150, "{by}");
    let lanes = Geometry { groups: 64, cin: 1, cout: 1, ..window };
    let by = cost(&lanes, &mut random);
    assert!(by < 1.2, "{by}");
}
