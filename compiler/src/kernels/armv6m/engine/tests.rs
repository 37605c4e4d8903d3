//! The engine's ways against the plain loops, in the evaluator.

use super::*;
use crate::kernels::portable::conv::{self, Kernels};
use crate::kernels::portable::dense;
use crate::kernels::problem::Axis;
use crate::kernels::trial::{Random, product, run};

fn target() -> Target {
    secateur_targets::find("cortex-m0plus").unwrap()
}

fn made<'a>(library: &'a Library<'a>) -> Made<'a> {
    (library, library.core().cost.as_ref().unwrap())
}

fn geometry(
    (cin, cout): (usize, usize),
    input: [usize; 2],
    kernel: [usize; 2],
    more: [usize; 8],
) -> Geometry {
    let [sy, sx, dy, dx, top, left, bottom, right] = more;
    let out = |n: usize, pads: usize, k: usize, d: usize, s: usize| (n + pads - (k - 1) * d - 1) / s + 1;
    let output =
        [out(input[0], top + bottom, kernel[0], dy, sy), out(input[1], left + right, kernel[1], dx, sx)];
    let lay = |c: usize, [h, w]: [usize; 2]| [c * h * w, 1, w * c, c];
    Geometry {
        batch: 2,
        groups: 1,
        cin,
        cout,
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

#[test]
fn convolutions_equal_the_plain_loops() {
    let mut random = Random(41);
    let shapes = [
        geometry((16, 5), [5, 6], [3, 3], [1, 1, 1, 1, 1, 1, 1, 1]),
        geometry((3, 8), [9, 9], [3, 3], [2, 2, 1, 1, 0, 0, 1, 1]),
        geometry((1, 8), [11, 10], [10, 4], [2, 2, 1, 1, 4, 1, 5, 1]),
        geometry((3, 5), [4, 5], [2, 3], [3, 1, 1, 1, 1, 2, 0, 0]),
        geometry((8, 4), [1, 40], [1, 5], [1, 1, 1, 1, 0, 2, 0, 2]),
        geometry((16, 3), [6, 6], [1, 1], [2, 2, 1, 1, 0, 0, 0, 0]),
        geometry((7, 3), [9, 1], [5, 1], [1, 1, 2, 1, 4, 0, 4, 0]),
        geometry((5, 2), [3, 9], [2, 3], [1, 1, 1, 3, 1, 3, 0, 3]),
        geometry((30, 2), [3, 3], [3, 3], [1, 1, 1, 1, 0, 0, 0, 0]),
        // No window lies inside: higher or wider than the input.
        geometry((3, 2), [2, 3], [3, 1], [1, 2, 1, 1, 1, 0, 1, 0]),
        geometry((3, 2), [3, 2], [2, 3], [1, 1, 1, 1, 0, 1, 0, 1]),
    ];
    for (case, g) in shapes.iter().enumerate() {
        let product = product(&mut random, g.cout, g.cin * g.kernel[0] * g.kernel[1], case);
        let way = conv(g, &product, made(&Library::new(&target())))
            .unwrap()
            .unwrap_or_else(|| panic!("case {case}"));
        let plain = conv::conv(g, &product, Kernels::Packed).unwrap();
        for _ in 0..2 {
            let x = [Data::I8(random.bytes(g.x_len()))];
            let want = run(&plain, &x, DType::I8, g.y_len());
            assert_eq!(run(&way.call, &x, DType::I8, g.y_len()), want, "case {case}");
        }
    }
}

#[test]
fn depthwise_convolutions_equal_the_plain_loops() {
    let mut random = Random(43);
    let of = |c: usize, input, kernel, more| Geometry {
        groups: c,
        cin: 1,
        cout: 1,
        ..geometry((c, c), input, kernel, more)
    };
    let shapes = [
        of(8, [5, 5], [3, 3], [1, 1, 1, 1, 1, 1, 1, 1]),
        of(3, [7, 6], [3, 3], [2, 2, 1, 1, 0, 0, 1, 1]),
        of(5, [6, 9], [5, 5], [1, 1, 1, 1, 2, 2, 2, 2]),
        of(6, [1, 30], [1, 9], [1, 1, 1, 1, 0, 4, 0, 4]),
        of(4, [9, 1], [7, 1], [2, 1, 1, 1, 3, 0, 3, 0]),
        of(2, [8, 13], [3, 3], [1, 2, 2, 1, 2, 0, 2, 1]),
    ];
    let mut over = 0;
    for (case, g) in shapes.iter().enumerate() {
        let product = product(&mut random, g.groups, g.kernel[0] * g.kernel[1], case);
        let plain = conv::conv(g, &product, Kernels::Packed).unwrap();
        // In one piece, and in strips.
        for limit in [4096, 150] {
            let ways = depthwise(g, &product, limit, made(&Library::new(&target()))).unwrap();
            assert!(!ways.is_empty(), "case {case}");
            over += ways.iter().filter(|way| way.in_place()).count();
            let x = [Data::I8(random.bytes(g.x_len()))];
            let want = run(&plain, &x, DType::I8, g.y_len());
            for way in ways {
                let got = run(&way.call, &x, DType::I8, g.y_len());
                assert_eq!(got, want, "case {case}, {limit} bytes, {}", way.way);
            }
        }
    }
    assert!(over >= 2, "{over} in place");
}

#[test]
fn dense_layers_equal_the_plain_loops() {
    let mut random = Random(42);
    let axis = |len, x, y| Axis { len, x, y };
    let shapes = [
        Rows { rows: vec![], inputs: axis(70, 1, 0), outputs: axis(11, 0, 1) },
        Rows { rows: vec![axis(5, 64, 64)], inputs: axis(64, 1, 0), outputs: axis(6, 0, 1) },
        Rows { rows: vec![axis(19, 10, 3)], inputs: axis(10, 1, 0), outputs: axis(3, 0, 1) },
        Rows { rows: vec![axis(8, 70, 9)], inputs: axis(67, 1, 0), outputs: axis(2, 0, 1) },
        Rows { rows: vec![axis(2, 100, 40), axis(3, 20, 5)], inputs: axis(16, 1, 0), outputs: axis(5, 0, 1) },
    ];
    for (case, rows) in shapes.iter().enumerate() {
        let product = product(&mut random, rows.outputs.len, rows.inputs.len, case);
        let way = dense(rows, &product, made(&Library::new(&target())))
            .unwrap()
            .unwrap_or_else(|| panic!("case {case}"));
        let plain = dense::dense(rows, &product).unwrap();
        let (mut x_len, mut y_len) = (rows.inputs.len, rows.outputs.len);
        for a in &rows.rows {
            x_len += (a.len - 1) * a.x;
            y_len += (a.len - 1) * a.y;
        }
        let x = [Data::I8(random.bytes(x_len))];
        assert_eq!(run(&way.call, &x, DType::I8, y_len), run(&plain, &x, DType::I8, y_len), "case {case}");
    }
}
