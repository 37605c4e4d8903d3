//! The way `blocks1x16` of cores with Helium: layers of which whole blocks of sixteen weights are zero.
//!
//! In: sizes and a product. Out: a way, or none where channels do not come in such blocks, or enough of them are not
//! zero that all weights take no more flash. Law: the outputs are those of the portable loops, bit by bit.

use crate::axes::nest;
use crate::call::{Bind, Call};
use crate::epilogue::Ending;
use crate::error::Result;
use crate::kernel::{Access, Buf, CallArg, Expr, Kernel, KernelBuilder};
use crate::mve::gemm_sparse::{PIXELS, Sparse};
use crate::mve::rows::{InputRows, Lay};
use crate::offer::{Candidate, Want};
use crate::panel::direct;
use crate::problem::{Geometry, Rows};
use crate::product::Product;
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// The variant's name.
const WAY: &str = "blocks1x16";

/// Rows of so many pixels: whole turns, and what is left as one that ends with the row.
struct Row {
    sizes: Sparse,
    whole: Arc<Kernel>,
    rest: Option<(Arc<Kernel>, usize)>,
    weights: Bind,
}

impl Row {
    /// `of` has the sizes of a layer's windows; `taps` as in [`Sparse::pack`].
    fn new(
        of: Sparse,
        columns: usize,
        product: &Product,
        ending: &Ending<'_>,
        want: &Want<'_>,
        taps: &[usize],
    ) -> Result<Option<Row>> {
        let pixels = columns.min(PIXELS);
        let sizes = Sparse { pixels, turns: columns / pixels, ..of };
        let folded = product.clone().folded();
        let (Data::I32(w), Data::I32(b)) = (&folded.weights, &folded.bias) else { return Ok(None) };
        if !sizes.fits() {
            return Ok(None);
        }
        let found = Sparse::pack(&sizes, w, b, ending, taps);
        let Some((sizes, stream)) = found else { return Ok(None) };
        // All weights have the words behind them too.
        if 20 * sizes.stored + 4 * sizes.outputs > w.len() && !want.policy.spends_flash() {
            return Ok(None);
        }
        let kernel = |sizes: &Sparse| want.library.once(sizes, || sizes.kernel());
        let rest = match columns % pixels {
            0 => None,
            _ => Some((kernel(&Sparse { turns: 1, ..sizes })?, columns - pixels)),
        };
        let weights = Bind::aligned("weights", Data::I8(stream), 8);
        Ok(Some(Row { sizes, whole: kernel(&sizes)?, rest, weights }))
    }

    fn call(&self, k: &mut KernelBuilder, (acts, w, y, sums): (Buf, Buf, Buf, Buf), from: &Expr, to: &Expr) {
        let mut one = |kernel: &Arc<Kernel>, pixel: usize| {
            let from: CallArg = acts.from(from.clone() + pixel * self.sizes.x_step);
            let to = y.from(to.clone() + pixel * self.sizes.y_step);
            k.call(kernel, vec![from, w.from(0), to, sums.from(0)]);
        };
        one(&self.whole, 0);
        if let Some((kernel, pixel)) = &self.rest {
            one(kernel, *pixel);
        }
    }
}

/// What all layers have: sizes of a window and the ending.
fn sizes(ending: &Ending<'_>, outputs: usize, steps: [usize; 2], runs: [usize; 3]) -> Sparse {
    Sparse {
        outputs,
        pixels: 1,
        turns: 1,
        x_step: steps[0],
        y_step: steps[1],
        runs: runs[0],
        run: runs[1],
        run_pitch: runs[2],
        sh: ending.sh,
        zp: ending.zp,
        lo: ending.limits.0,
        hi: ending.limits.1,
        stored: 0,
    }
}

/// A dense layer or pointwise convolution.
pub fn dense(rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(&product.finish).filter(|_| product.zeros()) else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    if !rows.side_by_side() {
        return Ok(None);
    }
    let (outer, inner) = rows.split();
    // Words are loaded: every row begins at a multiple of four.
    if outer.iter().any(|a| !a.x.is_multiple_of(4)) {
        return Ok(None);
    }
    let of = sizes(&ending, outputs, [inner.x, inner.y], [1, inputs, 0]);
    let taps: Vec<usize> = (0..inputs).collect();
    let Some(row) = Row::new(of, inner.len, product, &ending, want, &taps)? else { return Ok(None) };
    let mut k = KernelBuilder::new("dense_s8_blocks");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, rows.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, row.sizes.len(), Access::Read);
    let sums = k.buffer("sums", DType::I32, row.sizes.sums_len(), Access::ReadWrite);
    nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| row.call(k, (x, w, y, sums), x0, y0));
    let workspace = 4 * row.sizes.sums_len();
    let args = vec![Bind::Operand(0), Bind::Result(0), row.weights, Bind::Workspace(0)];
    Ok(Some(Candidate { way: WAY, call: Call { kernel: k.finish()?, args }, workspace }))
}

/// A convolution, with at most `limit` bytes of input rows in the workspace where it can be.
pub fn conv(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Option<Candidate>> {
    let Some(ending) = Ending::of(&product.finish).filter(|_| product.zeros()) else { return Ok(None) };
    let [kh, kw] = g.kernel;
    let run = kw * g.cin;
    let packed_y = g.cout == 1 || g.y[1] == 1;
    let close = kw == 1 || g.dilations[1] == 1;
    if g.groups > 1 || !close || !g.side_by_side() || !packed_y || !g.cin.is_multiple_of(4) {
        return Ok(None);
    }
    let in_place = !g.padded();
    if in_place && ![g.x[0], g.x[2]].iter().all(|x| x.is_multiple_of(4)) {
        return Ok(None);
    }
    let rows = InputRows::new(g, (DType::I8, Lay::Linear), want.rows_limit, (0, 1), want.library);
    let columns = if in_place { g.output[1] } else { rows.panel.tile[1] };
    let run_pitch = g.dilations[0] * if in_place { g.x[2] } else { rows.panel.pitch };
    let of = sizes(&ending, g.cout, [g.strides[1] * g.cin, g.y[3]], [kh, run, run_pitch]);
    let Some(row) = Row::new(of, columns, product, &ending, want, &g.taps())? else { return Ok(None) };
    let mut k = KernelBuilder::new("conv_s8_blocks");
    let x = k.buffer("x", DType::I8, g.x_len(), Access::Read);
    let y = k.buffer("y", DType::I8, g.y_len(), Access::Write);
    let w = k.buffer("w", DType::I8, row.sizes.len(), Access::Read);
    let sums = k.buffer("sums", DType::I32, row.sizes.sums_len(), Access::ReadWrite);
    let mut args = vec![Bind::Operand(0), Bind::Result(0)];
    let mut workspace = 4 * row.sizes.sums_len();
    args.extend([row.weights.clone(), Bind::Workspace(0)]);
    if in_place {
        direct(&mut k, g, &mut |k, x0, y0| row.call(k, (x, w, y, sums), x0, y0));
    } else {
        let at = workspace.next_multiple_of(8);
        workspace = at + rows.len();
        let buffer = k.buffer("rows", DType::I8, rows.len(), Access::ReadWrite);
        args.push(Bind::Workspace(at));
        rows.each(&mut k, (x, buffer), product.x_zp, &|k, from, to| {
            row.call(k, (buffer, w, y, sums), &from, &to);
        })?;
    }
    Ok(Some(Candidate { way: WAY, call: Call { kernel: k.finish()?, args }, workspace }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use crate::options::Optimize;
    use crate::policy::Policy;
    use crate::problem::Axis;
    use crate::trial::{Random, geometry, hold_conv, hold_dense, product, want};

    /// Leaves one in so many blocks of sixteen channels at one tap.
    fn pruned(mut product: Product, (cin, taps): (usize, usize), every: usize) -> Product {
        let Data::I32(w) = &mut product.weights else { panic!() };
        for (i, w) in w.iter_mut().enumerate() {
            let (row, c, tap) = (i / (cin * taps), i / taps % cin, i % taps);
            if !(5 * row + c / 16 + tap).is_multiple_of(every) {
                *w = 0;
            }
        }
        product
    }

    #[test]
    fn every_way_equals_the_plain_loops() {
        let target = secateur_targets::find("cortex-m55").unwrap();
        let library = Library::new(&target);
        let want = want(&library, Policy::from(Optimize::Balanced));
        let mut random = Random(82);
        let windows = [
            geometry(16, 8, [5, 6], [3, 3], [1, 1, 1, 1, 1, 1]),
            geometry(32, 16, [9, 23], [3, 3], [2, 2, 0, 0, 1, 1]),
            geometry(16, 24, [4, 19], [3, 3], [1, 1, 0, 0, 0, 0]),
            geometry(48, 8, [1, 30], [1, 5], [1, 1, 0, 2, 0, 2]),
        ];
        for (case, g) in windows.iter().enumerate() {
            let taps = g.kernel[0] * g.kernel[1];
            for every in [4, 2, 1000] {
                let product = product(&mut random, g.cout, g.cin * taps, case);
                let product = pruned(product, (g.cin, taps), every);
                let way = conv(g, &product, &want).unwrap().unwrap();
                hold_conv(g, &product, &[way], &mut random);
            }
        }
        for (case, (inputs, outputs, pixels)) in
            [(64, 16, 21), (64, 8, 3), (128, 24, 1)].into_iter().enumerate()
        {
            let rows = Rows {
                rows: vec![Axis { len: pixels, x: inputs, y: outputs }],
                inputs: Axis { len: inputs, x: 1, y: 0 },
                outputs: Axis { len: outputs, x: 0, y: 1 },
            };
            let product = pruned(product(&mut random, outputs, inputs, case), (inputs, 1), 3);
            let way = dense(&rows, &product, &want).unwrap().unwrap();
            hold_dense(&rows, &product, &[way], &mut random);
        }
    }
}
