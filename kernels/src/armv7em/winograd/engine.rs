//! 3x3 convolutions with unit stride by exact integer Winograd F(2x2, 3x3).
//!
//! Two rows of outputs at a time: four input rows are transformed vertically into the
//! workspace, then four tiles (eight outputs wide) at a time horizontally, multiplied, and
//! transformed back. Where the width is no multiple of eight, the last tiles overlap the ones
//! before and compute the same again.
//!
//! In: sizes and a product. Out: the way `winograd` with transformed weights in flash, and ways
//! `winograd-made` that transform int8 weights at run time, all output channels at once or in
//! parts; beside them those of [`four`], tiles of sixteen outputs, and of [`line`]. None where the sizes or the
//! ranges do not fit. Law: the outputs are those of the
//! portable loops, bit by bit.

use crate::arith::requant::{MAX_SHIFT, high};
use crate::armv7em::winograd::{
    Columns, Filters, MOST, Products, Rows, TWICE_G, Tile, XI, pair_len, transformed,
};
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, CallArg, Expr, Kernel, KernelBuilder};
use crate::library::Library;
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use crate::winograd_tiles::{Walk, Workspace, band, filter, fits, in_place};
use std::sync::Arc;

/// Names of the ways that make `U` at run time, by the number of parts.
const MADE: [(usize, &str); 5] = [
    (1, "winograd-made"),
    (2, "winograd-made-2"),
    (4, "winograd-made-4"),
    (8, "winograd-made-8"),
    (16, "winograd-made-16"),
];

/// The ways there are.
pub fn ways(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let mut ways = super::engine_4x4::ways(g, product, want)?;
    ways.extend(super::engine_1d::way(g, product, want)?);
    let Some(plan) = Plan::of(g, product, want) else { return Ok(ways) };
    if want.policy.spends_flash() {
        ways.extend(plan.spell("winograd", None)?);
    }
    for (parts, way) in MADE {
        if g.cout.is_multiple_of(2 * parts) && !want.policy.saves_flash() {
            ways.extend(plan.spell(way, Some(parts))?);
        }
    }
    Ok(ways)
}

/// What fits, with the constants of its end.
struct Plan<'a> {
    g: &'a Geometry,
    library: &'a Library<'a>,
    x_zp: i32,
    /// `U` by output, input channel and product.
    weights: &'a [i32],
    bias: &'a [i32],
    multipliers: &'a [i32],
    rows: Rows,
    columns: Columns,
    products: Products,
    rnd: i32,
}

impl<'a> Plan<'a> {
    fn of(g: &'a Geometry, product: &'a Product, want: &Want<'a>) -> Option<Plan<'a>> {
        let ending = Ending::of(&product.finish)?;
        let (Data::I32(weights), Data::I32(bias)) = (&product.weights, &product.bias) else { return None };
        let shift = ending.sh? + 32;
        if !fits(g, Tile::Two) || shift + 2 > MAX_SHIFT {
            return None;
        }
        let c = g.cin;
        let (rnd, sh) = high(shift + 2, ending.zp);
        let products = Products {
            tile: Tile::Two,
            channels: c,
            outputs: g.cout,
            step: g.y[3],
            row: g.y[2],
            sh,
            lo: ending.limits.0,
            hi: ending.limits.1,
            straight: if want.policy.spends_flash() { 32 } else { 16 },
        };
        let rows = Rows { len: g.input[1] * c, keeps: in_place(g, 2) };
        let unroll = if want.policy.spends_flash() { 2 } else { 1 };
        let columns = Columns { channels: c, unroll };
        if !rows.fits() || !columns.fits() || !products.fits() {
            return None;
        }
        let narrow = weights.iter().all(|w| (-128..=127).contains(w));
        (narrow && within(weights, bias, c)).then_some(Plan {
            g,
            library: want.library,
            x_zp: product.x_zp,
            weights,
            bias,
            multipliers: ending.multipliers,
            rows,
            columns,
            products,
            rnd,
        })
    }

    /// The taps of a filter.
    fn filter(&self, o: usize, c: usize) -> [i32; 9] {
        filter(self.weights, self.g.cin, o, c)
    }
    /// What ends the filters of an output channel.
    fn end(&self, o: usize) -> [i32; 2] {
        [4 * self.bias[o], self.multipliers[o]]
    }
    /// `U` of all outputs.
    fn stored(&self) -> Data {
        let u = |o, c| transformed(self.filter(o, c)).to_vec();
        stored(self.g.cin, self.g.cout, XI, u, |o| self.end(o))
    }

    /// `parts`: into how many the output channels are cut whose `U` is made at run time.
    fn spell(&self, way: &'static str, parts: Option<usize>) -> Result<Option<Candidate>> {
        let (g, library, core) = (self.g, self.library, self.library.core());
        let outputs = g.cout / parts.unwrap_or(1);
        let products = Products { outputs, ..self.products };
        let filters = Filters { channels: g.cin, outputs };
        if parts.is_some() && !filters.fits() {
            return Ok(None);
        }
        let mut place = Workspace::default();
        let t_len = band(g, Tile::Two);
        let edge_len = g.input[1] * g.cin;
        // Outputs overwrite two of the four input rows that the next row of tiles reads: the
        // second of those is kept, the first of the four is the one kept before.
        let keeps = self.rows.keeps;
        let at = [
            place.take(2 * t_len),
            place.take(2 * self.columns.v_len()),
            place.take(4 * self.products.sums()),
            place.take(edge_len),
        ];
        let kept = keeps.then(|| place.take(edge_len));
        let mut k = KernelBuilder::new("conv_s8_winograd");
        let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
        let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
        let t = k.buffer("t", DType::I16, t_len, Access::ReadWrite);
        let v = k.buffer("v", DType::I16, self.columns.v_len(), Access::ReadWrite);
        let m = k.buffer("m", DType::I32, products.sums(), Access::ReadWrite);
        let edge = k.buffer("edge", DType::I8, edge_len, Access::ReadWrite);
        let keep = kept.map(|_| k.buffer("keep", DType::I8, edge_len, Access::ReadWrite));
        // Several parts read the input several times.
        let result = if keeps && parts.unwrap_or(1) == 1 { Bind::ResultInPlace } else { Bind::Result(0) };
        let mut args = vec![Bind::Operand(0), result];
        args.extend(at.into_iter().chain(kept).map(Bind::Workspace));
        let (u, made) = match parts {
            None => {
                args.push(Bind::aligned("weights", self.stored(), 4));
                (k.buffer("u", DType::I16, products.u_len(), Access::Read), None)
            }
            Some(parts) => {
                let all = Filters { channels: g.cin, outputs: g.cout };
                let w = k.buffer("w", DType::I8, all.w_len(), Access::Read);
                let ends = k.buffer("ends", DType::I32, all.ends_len(), Access::Read);
                let packed = all.order().map(|(o, tap, c)| self.filter(o, c)[tap] as i8).collect();
                args.push(Bind::aligned("weights", Data::I8(packed), 4));
                let words = (0..g.cout).flat_map(|o| self.end(o)).collect();
                args.push(Bind::aligned("ends", Data::I32(words), 4));
                args.push(Bind::Workspace(place.take(2 * filters.u_len())));
                let u = k.buffer("u", DType::I16, filters.u_len(), Access::ReadWrite);
                (u, Some((parts, library.once(&filters, || filters.kernel(core))?, w, ends)))
            }
        };
        let zx = k.scalar("zx", -128, 127);
        let rnd = k.scalar("rnd", i32::MIN, i32::MAX);
        args.extend([Bind::Scalar(self.x_zp), Bind::Scalar(self.rnd)]);

        let rows = library.once(&self.rows, || self.rows.kernel(core))?;
        let walk = Walk { g, tile: Tile::Two, x, t, edge, keep, zx, rows };
        walk.padding(&mut k, &|k, from, n| {
            k.for_("i", from, from + 4 * n * g.cin, |k, i| k.store(t, i, 0));
        });
        let columns = library.once(&self.columns, || self.columns.kernel(core))?;
        let products = library.once(&products, || products.kernel(core))?;
        let image = |k: &mut KernelBuilder, channel: Expr| {
            walk.images(k, &mut |k, from, to| {
                k.call(&columns, vec![t.from(from), v.from(0)]);
                let (to, round) = (y.from(to + &channel), CallArg::Scalar(rnd.into()));
                k.call(&products, vec![v.from(0), u.from(0), to, m.from(0), round]);
            });
        };
        match &made {
            None => image(&mut k, 0.into()),
            Some((parts, kernel, w, ends)) => k.for_("part", 0, *parts, |k, part| {
                let from = [w.from(part * filters.w_len()), ends.from(part * filters.ends_len()), u.from(0)];
                k.call(kernel, from.to_vec());
                image(k, part * outputs);
            }),
        }
        let kernel: Arc<Kernel> = k.finish()?;
        Ok(Some(Candidate { way, call: Call { kernel, args }, workspace: place.end }))
    }
}

/// `U` of all outputs in flash, and what ends the filters of each.
pub fn stored(
    channels: usize,
    outputs: usize,
    products: usize,
    of: impl Fn(usize, usize) -> Vec<i32>,
    end: impl Fn(usize) -> [i32; 2],
) -> Data {
    let len = pair_len(products, channels);
    let mut u = vec![0i16; outputs / 2 * len];
    for o in 0..outputs {
        let base = o / 2 * len;
        for i in 0..channels {
            let at = base + i / 4 * 8 + i % 2 * 4 + o % 2 * 2 + i % 4 / 2;
            for (xi, v) in of(o, i).into_iter().enumerate() {
                u[at + xi * 2 * channels] = v as i16;
            }
        }
        for (i, word) in end(o).into_iter().enumerate() {
            let at = base + len - 8 + o % 2 * 4 + 2 * i;
            (u[at], u[at + 1]) = (word as i16, (word >> 16) as i16);
        }
    }
    Data::I16(u)
}

/// Whether `4 * bias` and every sum on the way stay within 32 bits.
fn within(weights: &[i32], bias: &[i32], channels: usize) -> bool {
    let limit = i64::from(i32::MAX);
    weights.chunks(9 * channels).zip(bias).all(|(row, &bias)| {
        let mut sums = 4 * i64::from(bias).abs();
        for g in row.chunks_exact(9) {
            for down in TWICE_G {
                for across in TWICE_G {
                    let u: i32 = (0..9).map(|t| down[t / 3] * across[t % 3] * g[t]).sum();
                    sums += MOST * i64::from(u).abs();
                }
            }
        }
        sums <= limit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Optimize;
    use crate::policy::Policy;
    use crate::trial::{Random, geometry, hold_conv, product, want};

    #[test]
    fn every_way_equals_the_plain_loops() {
        let target = secateur_targets::find("stm32l4r5").unwrap();
        let mut random = Random(51);
        let same = [1, 1, 1, 1, 1, 1];
        let mut shapes = vec![
            geometry(4, 4, [4, 8], [3, 3], same),
            // Odd sizes overlap; uneven paddings; one row of tiles; columns that nobody reads.
            geometry(8, 6, [5, 13], [3, 3], same),
            geometry(4, 2, [4, 11], [3, 3], [1, 1, 0, 1, 1, 0]),
            geometry(12, 4, [2, 16], [3, 3], same),
            geometry(4, 8, [6, 10], [3, 3], [1, 1, 0, 0, 0, 0]),
            geometry(16, 4, [7, 9], [3, 3], [1, 1, 1, 0, 0, 1]),
        ];
        shapes.push(Geometry {
            batch: 2,
            x: [4 * 40, 1, 40, 4],
            y: [4 * 50 * 8, 1, 60, 6],
            ..geometry(4, 4, [4, 8], [3, 3], same)
        });
        let mut over = 0;
        for optimize in [Optimize::Speed, Optimize::Balanced] {
            let library = Library::new(&target);
            let want = want(&library, Policy::from(optimize));
            for (case, g) in shapes.iter().enumerate() {
                // The third kind of product has shifts by channel, which direct kernels serve.
                let product = product(&mut random, g.cout, 9 * g.cin, case % 2);
                let ways = ways(g, &product, &want).unwrap();
                assert!(ways.len() >= 2 - usize::from(optimize != Optimize::Speed), "case {case}");
                hold_conv(g, &product, &ways, &mut random);
                over += ways.iter().filter(|way| way.in_place()).count();
            }
        }
        assert!(over >= 3, "{over} runs in place");
    }

    #[test]
    fn what_does_not_fit_is_left_alone() {
        let target = secateur_targets::find("stm32l4r5").unwrap();
        let library = Library::new(&target);
        let want = want(&library, Policy::from(Optimize::Speed));
        let mut random = Random(52);
        let same = [1, 1, 1, 1, 1, 1];
        for g in [
            geometry(3, 4, [8, 8], [3, 3], same),
            geometry(4, 3, [8, 8], [3, 3], same),
            geometry(4, 4, [8, 7], [3, 3], same),
            geometry(4, 4, [8, 8], [3, 3], [2, 2, 1, 1, 1, 1]),
            geometry(4, 4, [8, 8], [5, 5], [1, 1, 2, 2, 2, 2]),
        ] {
            let product = product(&mut random, g.cout, g.kernel[0] * g.kernel[1] * g.cin, 0);
            assert!(ways(&g, &product, &want).unwrap().is_empty(), "{g:?}");
        }
        assert!(!within(&[127; 9 * 64], &[1 << 30], 64));
        assert!(!within(&[127; 9 * 2048], &[0], 2048));
        assert!(within(&[127; 9 * 128], &[1 << 20], 128));
    }
}
