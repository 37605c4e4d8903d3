//! 3x3 convolutions with unit stride by exact integer Winograd F(4x4, 3x3).
//!
//! Four rows of outputs at a time, or twice four: six input rows are transformed vertically into
//! the workspace, then four tiles (sixteen outputs wide, or eight by eight) at a time
//! horizontally, multiplied, and transformed back. Where a size is no multiple, the last tiles
//! overlap the ones before and compute the same again.
//!
//! In: sizes and a product. Out: the ways `winograd-4x4` and `winograd-4x4-square`, with
//! transformed weights in flash (eight times the bytes), none where sizes or ranges do not fit.
//! Law: the outputs are those of the portable loops, bit by bit.

use crate::arith::requant::{MAX_SHIFT, high};
use crate::armv7em::winograd::engine::stored;
use crate::armv7em::winograd::four::{Columns, FACTOR, LEFT, PADDING, Rows, SIDE, XI, transformed};
use crate::armv7em::winograd::{Products, Tile};
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, KernelBuilder};
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use crate::winograd_tiles::{Walk, Workspace, band, biases, filter, fits, in_place, stores};

/// The ways there are.
pub fn ways(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    if !want.policy.spends_flash() || !stores(want.target(), 2 * XI * g.cin * g.cout) {
        return Ok(Vec::new());
    }
    let mut ways = Vec::new();
    for (way, across) in [("winograd-4x4", 4), ("winograd-4x4-square", 2)] {
        ways.extend(spell(g, product, want, way, Tile::Four { across })?);
    }
    Ok(ways)
}

/// With such tiles.
fn spell(
    g: &Geometry,
    product: &Product,
    want: &Want<'_>,
    way: &'static str,
    tile: Tile,
) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(&product.finish) else { return Ok(None) };
    let (Data::I32(weights), Data::I32(bias)) = (&product.weights, &product.bias) else { return Ok(None) };
    let Some(shift) = ending.sh.map(|sh| sh + 32) else { return Ok(None) };
    if !fits(g, tile) || shift + LEFT > MAX_SHIFT {
        return Ok(None);
    }
    let Some(biases) = biases(weights, bias, product.x_zp, 9 * g.cin, |_| 0) else { return Ok(None) };
    let (rnd, sh) = high(shift + LEFT, ending.zp);
    let products = Products {
        tile,
        channels: g.cin,
        outputs: g.cout,
        step: g.y[3],
        row: g.y[2],
        sh,
        lo: ending.limits.0,
        hi: ending.limits.1,
        straight: 32,
    };
    let keeps = in_place(g, tile.group()[0]);
    let rows = Rows { len: g.input[1] * g.cin, pitch: g.x[2], keeps };
    let columns = Columns { rows: SIDE, channels: g.cin, tiles: tile.across() };
    if !rows.fits() || !columns.fits() || !products.fits() {
        return Ok(None);
    }
    let (library, core) = (want.library, want.core());
    let mut place = Workspace::default();
    let (band, bands) = (band(g, tile), tile.bands());
    let edge_len = g.input[1] * g.cin;
    let at = [
        place.take(2 * bands * band),
        place.take(2 * products.v_len()),
        place.take(4 * products.sums()),
        place.take(edge_len),
    ];
    let kept = keeps.then(|| place.take(edge_len));
    let mut k = KernelBuilder::new("conv_s8_winograd4");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let t = k.buffer("t", DType::I16, bands * band, Access::ReadWrite);
    let v = k.buffer("v", DType::I16, products.v_len(), Access::ReadWrite);
    let m = k.buffer("m", DType::I32, products.sums(), Access::ReadWrite);
    let edge = k.buffer("edge", DType::I8, edge_len, Access::ReadWrite);
    let keep = kept.map(|_| k.buffer("keep", DType::I8, edge_len, Access::ReadWrite));
    let u = k.buffer("u", DType::I16, products.u_len(), Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let round = k.scalar("rnd", i32::MIN, i32::MAX);
    let u_of = |o: usize, c: usize| transformed(filter(weights, g.cin, o, c)).to_vec();
    // 576 times the bias modulo 2^32.
    let end_of = |o: usize| [(biases[o] * FACTOR) as i32, ending.multipliers[o]];
    let packed_u = stored(g.cin, g.cout, products.tile.products(), u_of, end_of);
    let mut args = vec![Bind::Operand(0), if keeps { Bind::ResultInPlace } else { Bind::Result(0) }];
    args.extend(at.into_iter().chain(kept).map(Bind::Workspace));
    args.push(Bind::aligned("weights", packed_u, 4));
    args.extend([Bind::Scalar(product.x_zp), Bind::Scalar(rnd)]);

    let walk = Walk { g, tile, x, t, edge, keep, zx, rows: library.once(&rows, || rows.kernel(core))? };
    walk.padding(&mut k, &|k, from, n| columns_of_padding(k, t, from, n * g.cin / 2, zx.into()));
    let columns = library.once(&columns, || columns.kernel(core))?;
    let products = library.once(&products, || products.kernel(core))?;
    walk.images(&mut k, &mut |k, from, to| {
        for b in 0..bands {
            k.call(&columns, vec![t.from(from + b * band), v.from(2 * tile.across() * b)]);
        }
        let round = CallArg::Scalar(round.into());
        k.call(&products, vec![v.from(0), u.from(0), y.from(to), m.from(0), round]);
    });
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace: place.end }))
}

/// Fills `T` from element `from` on with what zero points are transformed to, for `pairs` pairs
/// of channels.
fn columns_of_padding(k: &mut KernelBuilder, t: Buf, from: usize, pairs: usize, zx: Expr) {
    k.for_("pair", 0, pairs, |k, pair| {
        let at = k.let_("at", pair * (2 * SIDE) + from);
        for i in 0..2 * SIDE {
            k.store(t, at + i, &zx * PADDING[i / 2]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use crate::options::Optimize;
    use crate::policy::Policy;
    use crate::trial::{Random, geometry, hold_conv, product, want};

    #[test]
    fn every_way_equals_the_plain_loops() {
        let target = secateur_targets::find("stm32l4r5").unwrap();
        let library = Library::new(&target);
        let want = want(&library, Policy::from(Optimize::Speed));
        let mut random = Random(53);
        let same = [1, 1, 1, 1, 1, 1];
        let mut shapes = vec![
            geometry(4, 4, [4, 16], [3, 3], same),
            geometry(4, 4, [8, 8], [3, 3], same),
            // Odd sizes overlap; uneven paddings; columns that nobody reads.
            geometry(8, 6, [5, 21], [3, 3], same),
            geometry(4, 2, [10, 19], [3, 3], [1, 1, 0, 1, 1, 0]),
            geometry(12, 4, [9, 11], [3, 3], same),
            geometry(4, 8, [17, 10], [3, 3], [1, 1, 0, 0, 0, 0]),
            geometry(16, 4, [13, 18], [3, 3], [1, 1, 1, 0, 0, 1]),
            geometry(4, 4, [16, 16], [3, 3], same),
        ];
        shapes.push(Geometry {
            batch: 2,
            x: [8 * 40, 1, 40, 4],
            y: [8 * 100 * 8, 1, 60, 6],
            ..geometry(4, 4, [8, 8], [3, 3], same)
        });
        let (mut over, mut seen) = (0, [0; 2]);
        for (case, g) in shapes.iter().enumerate() {
            let product = product(&mut random, g.cout, 9 * g.cin, case % 2);
            let ways = ways(g, &product, &want).unwrap();
            assert!(!ways.is_empty(), "case {case}");
            hold_conv(g, &product, &ways, &mut random);
            for way in &ways {
                seen[usize::from(way.way == "winograd-4x4")] += 2;
                over += 2 * usize::from(way.in_place());
            }
        }
        assert!(over >= 6 && seen.iter().all(|&n| n >= 6), "{over} runs in place, {seen:?}");
    }

    /// From sixteen channels on, where tiles hardly overlap.
    #[test]
    fn larger_tiles_win_where_they_fit() {
        let mut random = Random(54);
        for core in ["stm32l4r5", "stm32u575", "stm32h7a3"] {
            let target = secateur_targets::find(core).unwrap();
            let library = Library::new(&target);
            let want = want(&library, Policy::from(Optimize::Speed));
            for (g, best) in [
                (geometry(16, 6, [7, 17], [3, 3], [1, 1, 1, 0, 1, 1]), "winograd-4x4"),
                (geometry(16, 8, [8, 10], [3, 3], [1, 1, 1, 0, 1, 0]), "winograd-4x4-square"),
                (geometry(64, 64, [8, 8], [3, 3], [1, 1, 1, 1, 1, 1]), "winograd-4x4-square"),
                (geometry(4, 4, [6, 8], [3, 3], [1, 1, 1, 1, 1, 1]), "winograd"),
            ] {
                let product = product(&mut random, g.cout, 9 * g.cin, 0);
                let mut ways = crate::armv7em::winograd::engine::ways(&g, &product, &want).unwrap();
                ways.sort_by_key(|way| way.call.cycles(&target) as u64);
                assert_eq!(ways[0].way, best, "{core}: {g:?}");
            }
        }
    }
}
