//! 3x3 convolutions with unit stride by exact integer Winograd F(4x4, 3x3), one multiplication
//! for each product: 36 stand for 144 of the direct convolution.
//!
//! In: sizes and a product. Out: the ways `winograd-4x4` and `winograd-4x4-square` (four tiles
//! side by side, or two by two), with transformed weights of eight times the bytes, none where
//! sizes or ranges do not fit. Law: the outputs are those of the portable loops, bit by bit.

use crate::armv6m::engine::Made;
use crate::armv6m::round::rounding;
use crate::armv6m::winograd::{BIAS, Back, Columns, Rows, SUMS, Sums};
use crate::armv7em::winograd::Tile;
use crate::armv7em::winograd::four::{FACTOR, PADDING, SIDE, XI, transformed};
use crate::asm::armv6m::wide;
use crate::call::{Bind, Call};
use crate::epilogue::Finish;
use crate::error::Result;
use crate::kernel::{Access, Expr, KernelBuilder};
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use crate::winograd_tiles::{Walk, Workspace, band, biases, filter, fits, in_place, stores};
use secateur_targets::Cost;

/// The ways there are.
pub fn ways(g: &Geometry, product: &Product, want: &Want<'_>, core: &Cost) -> Result<Vec<Candidate>> {
    let mut ways = Vec::new();
    if !want.policy.saves_flash() && stores(want.target(), 2 * XI * g.cin * g.cout) {
        for (way, across) in [("winograd-4x4", 4), ("winograd-4x4-square", 2)] {
            ways.extend(spell(g, product, (want.library, core), way, Tile::Four { across })?);
        }
    }
    Ok(ways)
}

/// With such tiles.
fn spell(
    g: &Geometry,
    product: &Product,
    (library, core): Made<'_>,
    way: &'static str,
    tile: Tile,
) -> Result<Option<Candidate>> {
    let (Data::I32(weights), Data::I32(bias)) = (&product.weights, &product.bias) else { return Ok(None) };
    let Finish::Int(requant) = &product.finish else { return Ok(None) };
    let sums = Sums { channels: g.cin };
    if !fits(g, tile) || !sums.fits() {
        return Ok(None);
    }
    let Some((form, constants)) = rounding(requant, &product.reach()?, wide(core)) else { return Ok(None) };
    let base = |o: usize| constants[o].end;
    let Some(biases) = biases(weights, bias, product.x_zp, 9 * g.cin, base) else { return Ok(None) };
    let back = Back { tiles: tile.across(), step: g.y[3], row: g.y[2], form };
    if !back.fits() {
        return Ok(None);
    }
    let keeps = in_place(g, tile.group()[0]);
    let rows = Rows { len: g.input[1] * g.cin, pitch: g.x[2], keeps };
    if !rows.fits() {
        return Ok(None);
    }
    let columns = Columns { channels: g.cin, tiles: tile.across() };
    let mut place = Workspace::default();
    let (band, bands) = (band(g, tile), tile.bands());
    let edge_len = g.input[1] * g.cin;
    let at = [
        place.take(2 * bands * band),
        place.take(4 * columns.v_len()),
        place.take(4 * SUMS),
        place.take(edge_len),
    ];
    let kept = keeps.then(|| place.take(edge_len));
    let mut k = KernelBuilder::new("conv_s8_winograd4");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let t = k.buffer("t", DType::I16, bands * band, Access::ReadWrite);
    let v = k.buffer("v", DType::I32, columns.v_len(), Access::ReadWrite);
    let m = k.buffer("m", DType::I32, SUMS, Access::ReadWrite);
    let edge = k.buffer("edge", DType::I8, edge_len, Access::ReadWrite);
    let keep = kept.map(|_| k.buffer("keep", DType::I8, edge_len, Access::ReadWrite));
    let u = k.buffer("u", DType::I16, g.cout * sums.u_len(), Access::Read);
    let ends = k.buffer("ends", DType::I32, g.cout * back.words(), Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let mut args = vec![Bind::Operand(0), if keeps { Bind::ResultInPlace } else { Bind::Result(0) }];
    args.extend(at.into_iter().chain(kept).map(Bind::Workspace));
    let (mut packed, mut words) = (vec![0i16; g.cout * sums.u_len()], Vec::new());
    for o in 0..g.cout {
        for c in 0..g.cin {
            for (xi, v) in transformed(filter(weights, g.cin, o, c)).into_iter().enumerate() {
                let turned = xi % SIDE * SIDE + xi / SIDE;
                packed[o * sums.u_len() + turned * g.cin + c] = v as i16;
            }
        }
        // 576 times the bias modulo 2^32.
        words.push((biases[o] * FACTOR) as i32);
        words.extend(&constants[o].words);
    }
    args.push(Bind::aligned("weights", Data::I16(packed), 4));
    args.push(Bind::aligned("ends", Data::I32(words), 4));
    args.push(Bind::Scalar(product.x_zp));

    let walk = Walk { g, tile, x, t, edge, keep, zx, rows: library.once(&rows, || rows.kernel(core))? };
    walk.padding(&mut k, &|k, from, n| {
        k.for_("pair", 0, n * g.cin / 2, |k, pair| {
            let at = k.let_("at", pair * (2 * SIDE) + from);
            for (i, &times) in PADDING.iter().flat_map(|times| [times; 2]).enumerate() {
                k.store(t, at + i, zx * times + BIAS);
            }
        });
    });
    let columns = library.once(&columns, || columns.kernel(core))?;
    let sums_of = library.once(&sums, || sums.kernel(core))?;
    let back_of = library.once(&back, || back.kernel(core))?;
    walk.images(&mut k, &mut |k, from, to| {
        for b in 0..bands {
            k.call(&columns, vec![t.from(from + b * band), v.from(tile.across() * b)]);
        }
        let to = k.let_("to", to);
        k.for_("channel", 0, g.cout, |k, channel| {
            k.call(&sums_of, vec![v.from(0), u.from(channel * sums.u_len()), m.from(0)]);
            for b in 0..bands {
                let to: Expr = to + channel + b * (4 * g.y[2]);
                k.call(
                    &back_of,
                    vec![m.from(tile.across() * b), ends.from(channel * back.words()), y.from(to)],
                );
            }
        });
    });
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way, call, workspace: place.end }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use crate::offer::Weights;
    use crate::options::Optimize;
    use crate::policy::Policy;
    use crate::trial::{Random, geometry, hold_conv, product, want};

    #[test]
    fn every_way_equals_the_plain_loops() {
        let target = secateur_targets::find("rp2040").unwrap();
        let library = Library::new(&target);
        let want = want(&library, Policy::from(Optimize::Speed));
        let core = target.core.cost.as_ref().unwrap();
        let mut random = Random(83);
        let same = [1, 1, 1, 1, 1, 1];
        let shapes = [
            geometry(2, 3, [4, 16], [3, 3], same),
            geometry(4, 4, [8, 8], [3, 3], same),
            geometry(6, 5, [5, 21], [3, 3], same),
            geometry(4, 2, [10, 19], [3, 3], [1, 1, 0, 1, 1, 0]),
            geometry(4, 7, [17, 10], [3, 3], [1, 1, 0, 0, 0, 0]),
            geometry(16, 1, [13, 18], [3, 3], [1, 1, 1, 0, 0, 1]),
        ];
        let mut seen = [0; 2];
        for (case, g) in shapes.iter().enumerate() {
            let product = product(&mut random, g.cout, 9 * g.cin, case);
            let ways = ways(g, &product, &want, core).unwrap();
            assert!(!ways.is_empty(), "case {case}");
            hold_conv(g, &product, &ways, &mut random);
            ways.iter().for_each(|way| seen[usize::from(way.way == "winograd-4x4")] += 2);
        }
        assert!(seen.iter().all(|&n| n >= 4), "{seen:?}");
    }

    /// Half the cycles of the direct convolution where tiles do not overlap.
    #[test]
    fn tiles_win() {
        let mut random = Random(84);
        for chip in ["rp2040", "cortex-m3"] {
            let target = secateur_targets::find(chip).unwrap();
            let library = Library::new(&target);
            let want = want(&library, Policy::from(Optimize::Speed));
            let core = target.core.cost.as_ref().unwrap();
            let shapes = [
                (geometry(16, 6, [7, 17], [3, 3], [1, 1, 1, 0, 1, 1]), "winograd-4x4", 0.7),
                (geometry(16, 8, [8, 10], [3, 3], [1, 1, 1, 0, 1, 0]), "winograd-4x4-square", 0.7),
                (geometry(32, 32, [16, 16], [3, 3], [1, 1, 1, 1, 1, 1]), "winograd-4x4", 0.5),
            ];
            for (g, best, most) in shapes {
                let product = product(&mut random, g.cout, 9 * g.cin, 0);
                let mut ways = ways(&g, &product, &want, core).unwrap();
                let direct = crate::armv6m::engine::conv(&g, &product, (&want, core), Weights::All)
                    .unwrap()
                    .unwrap()
                    .call
                    .cycles(&target);
                ways.sort_by_key(|way| way.call.cycles(&target) as u64);
                assert_eq!(ways[0].way, best, "{chip}: {g:?}");
                let part = ways[0].call.cycles(&target) / direct;
                assert!(part < most, "{chip}: {part} of the direct cycles, {g:?}");
            }
        }
    }
}
