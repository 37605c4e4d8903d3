//! Which blocks depthwise convolutions meet.

use super::*;
use crate::options::Optimize;
use crate::policy::Policy;
use crate::tests::convolutions;
use crate::trial::{Random, product};

/// The shapes of the tests of all variants meet blocks of every kind.
#[test]
fn every_kind_of_block_is_met() {
    let target = secateur_targets::core_only("cortex-m4", 1 << 20, 1 << 18).unwrap();
    let mut random = Random(53);
    let (mut banded, mut kinds) = (0, [0; 4]);
    for (case, g) in convolutions().iter().filter(|g| g.depthwise()).enumerate() {
        for (rows_limit, optimize) in [(ROWS_LIMIT, Optimize::Balanced), (256, Optimize::Speed)] {
            let product = product(&mut random, g.groups, g.kernel[0] * g.kernel[1], case);
            let want = Want { library: &Library::new(&target), policy: Policy::from(optimize), rows_limit };
            if pairs(g, &product, &want).unwrap().is_empty() {
                continue;
            }
            let v = View::of(g, want.policy).unwrap();
            banded += usize::from(v.band(3 * rows_limit) < v.output[0]);
            kinds[match multiply(&v, v.output[0], &ending(&product).unwrap(), Form::Words) {
                Multiply::Slide(_) => 0,
                Multiply::Line(_) => 1,
                Multiply::Tiles(_) => 2,
                Multiply::Plane(_) => 3,
            }] += 1;
        }
    }
    assert!(banded >= 5 && kinds.iter().all(|&n| n >= 2), "{banded} in bands, {kinds:?}");
}
