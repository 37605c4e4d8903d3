//! What the prediction says of large layers.

use super::*;
use crate::arith::requant::{Output, Requant};
use crate::epilogue::Finish;
use crate::offer::ROWS_LIMIT;
use crate::trial::{Random, geometry, product};

fn target() -> Target {
    secateur_targets::find("apollo510").unwrap()
}

/// Cycles a MAC that the prediction gives whole layers, against the ceiling of 1/8.
#[test]
fn large_layers_come_near_the_ceiling() {
    let mut random = Random(53);
    let cost = |g: &Geometry, random: &mut Random| {
        let product = product(random, g.groups * g.cout, g.cin * g.kernel[0] * g.kernel[1], 0);
        let (target, limit) = (target(), ROWS_LIMIT);
        let way = match g.groups {
            1 => conv(g, &product, limit, &Library::new(&target), false),
            _ => by_channel(g, &product, limit, &Library::new(&target)),
        };
        let macs = g.output[0] * g.output[1] * g.groups * g.cout * g.cin * g.kernel[0] * g.kernel[1];
        way.unwrap().unwrap().call.cycles(&target) / macs as f64
    };
    let window = geometry(64, 64, [8, 8], [3, 3], [1, 1, 1, 1, 1, 1]);
    let by = cost(&window, &mut random);
    assert!(by < 0.150, "{by}");
    // Of inputs of sixteen bits, against their ceiling of 1/4.
    let halves = |g: &Geometry, result: DType, random: &mut Random| {
        let product = product(random, g.cout, g.cin * g.kernel[0] * g.kernel[1], 0);
        let Finish::Int(r) = product.finish else { panic!() };
        let finish = match result {
            DType::I16 => Finish::Wide(Requant { out: Output { zp: 0, lo: 0, hi: 32767 }, ..r }),
            _ => Finish::Int(r),
        };
        let product = Product { operand: DType::I16, x_zp: 0, finish, ..product };
        let (target, limit) = (target(), ROWS_LIMIT);
        let way = conv(g, &product, limit, &Library::new(&target), false).unwrap().unwrap();
        let macs = g.output[0] * g.output[1] * g.cout * g.cin * g.kernel[0] * g.kernel[1];
        way.call.cycles(&target) / macs as f64
    };
    let line = geometry(24, 32, [1, 64], [1, 5], [1, 2, 0, 2, 0, 2]);
    for (g, most) in [(&window, 0.28), (&line, 0.30)] {
        for result in [DType::I8, DType::I16] {
            let by = halves(g, result, &mut random);
            assert!(by < most, "{result}: {by}");
        }
    }
    let lanes = Geometry { groups: 64, cin: 1, cout: 1, ..window };
    let by = cost(&lanes, &mut random);
    assert!(by < 1.2, "{by}");
}
