//! Convolutions of three taps along one axis, with unit stride, by exact integer Winograd F(4, 3):
//! four outputs from six products instead of twelve.
//!
//! A row (or a column, where it lies like one) is widened into the workspace, padding included
//! as zeros; then four tiles, sixteen outputs, at a time are transformed, multiplied, and
//! transformed back. Where the length is no multiple, the last tiles overlap the ones before.
//!
//! In: sizes and a product. Out: the way `winograd-line`, with transformed weights in flash
//! (four times the bytes), none where sizes or ranges do not fit. Law: the outputs are those of
//! the portable loops, bit by bit.

use crate::arith::requant::{MAX_SHIFT, high};
use crate::armv7em::engine::{Order, widen_kernel};
use crate::armv7em::winograd::engine::stored;
use crate::armv7em::winograd::four::{Columns, LEFT_OF_LINE, LINE, SIDE, transformed_line};
use crate::armv7em::winograd::{Products, TILES, Tile};
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, CallArg, KernelBuilder};
use crate::offer::{Candidate, Want};
use crate::problem::Geometry;
use crate::product::Product;
use crate::tensor::{DType, Data};
use crate::winograd_tiles::{Workspace, biases, stores};

/// Outputs of a group of tiles.
const WIDE: usize = 4 * TILES;

/// The way, if there is one.
pub fn way(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    if !want.policy.spends_flash() || !stores(want.target(), 2 * SIDE * g.cin * g.cout) {
        return Ok(None);
    }
    match g.kernel {
        [1, 3] => spell(g, product, want),
        [3, 1] => spell(&g.turned(), product, want),
        _ => Ok(None),
    }
}

/// Along the second axis.
fn spell(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(&product.finish) else { return Ok(None) };
    let (Data::I32(weights), Data::I32(bias)) = (&product.weights, &product.bias) else { return Ok(None) };
    let Some(shift) = ending.sh.map(|sh| sh + 32) else { return Ok(None) };
    let plain = g.groups == 1 && g.strides == [1, 1] && g.dilations[1] == 1;
    let packed = g.x[1] == 1 && g.y[1] == 1 && g.x[3] == g.cin;
    let rows = g.pads[0] == 0 && g.input[0] == g.output[0];
    if !plain || !packed || !rows || g.output[1] < WIDE || shift + LEFT_OF_LINE > MAX_SHIFT {
        return Ok(None);
    }
    // Eight times every sum stays within 32 bits where 64 times does.
    if biases(weights, bias, product.x_zp, 3 * g.cin, |_| 0).is_none() {
        return Ok(None);
    }
    let (rnd, sh) = high(shift + LEFT_OF_LINE, ending.zp);
    let products = Products {
        tile: Tile::Line,
        channels: g.cin,
        outputs: g.cout,
        step: g.y[3],
        row: 0,
        sh,
        lo: ending.limits.0,
        hi: ending.limits.1,
        straight: 32,
    };
    let columns = Columns { rows: 1, channels: g.cin, tiles: TILES };
    if !columns.fits() || !products.fits() {
        return Ok(None);
    }
    let (library, core) = (want.library, want.core());
    let width = g.output[1] + 2;
    let read = g.input[1].min(width - g.pads[1].min(width));
    let (left, right) = (g.pads[1] * g.cin, (g.pads[1] + read) * g.cin);
    if read == 0 {
        return Ok(None);
    }
    let mut place = Workspace::default();
    let at =
        [place.take(2 * width * g.cin), place.take(2 * products.v_len()), place.take(4 * products.sums())];
    let mut k = KernelBuilder::new("conv_s8_winograd_line");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let t = k.buffer("t", DType::I16, width * g.cin, Access::ReadWrite);
    let v = k.buffer("v", DType::I16, products.v_len(), Access::ReadWrite);
    let m = k.buffer("m", DType::I32, products.sums(), Access::ReadWrite);
    let u = k.buffer("u", DType::I16, products.u_len(), Access::Read);
    let zx = k.scalar("zx", -128, 127);
    let round = k.scalar("rnd", i32::MIN, i32::MAX);
    let u_of = |o: usize, c: usize| {
        transformed_line(std::array::from_fn(|tap| weights[(o * g.cin + c) * 3 + tap])).to_vec()
    };
    let end_of = |o: usize| [(i64::from(bias[o]) * LINE) as i32, ending.multipliers[o]];
    let packed = stored(g.cin, g.cout, products.tile.products(), u_of, end_of);
    // A row is read before its outputs are written.
    let alike = g.cin == g.cout && g.input == g.output && g.x == g.y;
    let mut args = vec![Bind::Operand(0), if alike { Bind::ResultInPlace } else { Bind::Result(0) }];
    args.extend(at.map(Bind::Workspace));
    args.push(Bind::aligned("weights", packed, 4));
    args.extend([Bind::Scalar(product.x_zp), Bind::Scalar(rnd)]);

    for (from, to) in [(0, left), (right, width * g.cin)] {
        k.for_("i", from, to, |k, i| k.store(t, i, 0));
    }
    let widen = widen_kernel(read * g.cin, Order::Parted, library)?;
    let columns = library.once(&columns, || columns.kernel(core))?;
    let products = library.once(&products, || products.kernel(core))?;
    k.for_("n", 0, g.batch, |k, n| {
        k.for_("row", 0, g.output[0], |k, row| {
            let from = x.from(n * g.x[0] + row * g.x[2]);
            k.call(&widen, vec![from, t.from(left), CallArg::Scalar(zx.into())]);
            let y0 = k.let_("y0", n * g.y[0] + row * g.y[2]);
            k.for_("group", 0, g.output[1].div_ceil(WIDE), |k, group| {
                let ox = k.let_("ox", (group * WIDE).min(g.output[1] - WIDE));
                k.call(&columns, vec![t.from(ox * g.cin), v.from(0)]);
                let to = y.from(y0 + ox * g.y[3]);
                let round = CallArg::Scalar(round.into());
                k.call(&products, vec![v.from(0), u.from(0), to, m.from(0), round]);
            });
        });
    });
    let call = Call { kernel: k.finish()?, args };
    Ok(Some(Candidate { way: "winograd-line", call, workspace: place.end }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armv7em::engine::Dsp;
    use crate::library::Library;
    use crate::offer::Engine;
    use crate::options::Optimize;
    use crate::policy::Policy;
    use crate::trial::{Random, geometry, hold_conv, product, want};

    #[test]
    fn the_way_equals_the_plain_loops() {
        let target = secateur_targets::find("stm32l4r5").unwrap();
        let library = Library::new(&target);
        let want = want(&library, Policy::from(Optimize::Speed));
        let mut random = Random(55);
        let mut over = 0;
        let shapes = [
            geometry(4, 4, [1, 16], [1, 3], [1, 1, 0, 1, 0, 1]),
            geometry(8, 6, [1, 37], [1, 3], [1, 1, 0, 0, 0, 0]),
            geometry(24, 4, [1, 40], [1, 3], [1, 1, 0, 1, 0, 1]),
            // Paddings on one side, and wider than the window needs; columns; several rows.
            geometry(12, 2, [1, 20], [1, 3], [1, 1, 0, 2, 0, 0]),
            geometry(16, 8, [29, 1], [3, 1], [1, 1, 1, 0, 0, 0]),
            geometry(8, 8, [3, 18], [1, 3], [1, 1, 0, 1, 0, 1]),
        ];
        for (case, g) in shapes.iter().enumerate() {
            let product = product(&mut random, g.cout, 3 * g.cin, case % 2);
            let way = way(g, &product, &want).unwrap().expect("a way");
            over += 2 * usize::from(way.in_place());
            hold_conv(g, &product, &[way], &mut random);
        }
        assert!(over >= 4, "{over} runs in place");
        for g in [
            geometry(4, 4, [1, 15], [1, 3], [1, 1, 0, 1, 0, 1]),
            geometry(3, 4, [1, 16], [1, 3], [1, 1, 0, 1, 0, 1]),
            geometry(4, 4, [1, 40], [1, 3], [1, 2, 0, 1, 0, 1]),
            geometry(4, 4, [40, 2], [3, 1], [1, 1, 1, 0, 1, 0]),
        ] {
            let product = product(&mut random, g.cout, 3 * g.cin, 0);
            assert!(way(&g, &product, &want).unwrap().is_none(), "{g:?}");
        }
    }

    /// From sixteen channels on, and the more of them the more.
    #[test]
    fn products_are_half() {
        let mut random = Random(56);
        for chip in ["stm32l4r5", "stm32u575", "stm32h7a3"] {
            let target = secateur_targets::find(chip).unwrap();
            let library = Library::new(&target);
            let want = want(&library, Policy::from(Optimize::Speed));
            for (c, most) in [(16, 0.95), (32, 0.82), (64, 0.75)] {
                let g = geometry(c, c, [1, 32], [1, 3], [1, 1, 0, 1, 0, 1]);
                let product = product(&mut random, g.cout, 3 * g.cin, 0);
                let way = way(&g, &product, &want).unwrap().expect("a way").call.cycles(&target);
                let all = Dsp.conv(&g, &product, &want).unwrap();
                let others = all.iter().filter(|way| way.way != "winograd-line");
                let direct = others.map(|way| way.call.cycles(&target)).fold(f64::INFINITY, f64::min);
                assert!(way < most * direct, "{chip}, {c} channels: {way} of {direct}");
            }
        }
    }
}
