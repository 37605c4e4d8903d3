//! Dense layers and pointwise convolutions through one function that layers share
//! ([`crate::armv7em::gemm_rows`]).
//!
//! In: rows and a product. Out: a candidate, or none where the function has no code for the
//! sizes. Law: the outputs are those of the portable loops, bit by bit.

use crate::armv7em::engine::{bytes, ending};
use crate::armv7em::gemm_rows::Dense;
use crate::armv7em::stream::Format;
use crate::call::{Bind, Call};
use crate::error::Result;
use crate::kernel::{Access, CallArg, Kernel, KernelBuilder};
use crate::offer::{Candidate, UNROLLED, Want};
use crate::problem::{Axis, Rows, merge};
use crate::product::Product;
use crate::tensor::{DType, Data};
use std::sync::Arc;

/// Words of inputs whose product is ever spelled without a loop.
const WHOLE: usize = 16;

/// Two rows or more: by the function that serves any length, and by one for these inputs.
pub fn rows(rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let apart = !want.policy.saves_flash() && rows.inputs.len <= 4 * WHOLE;
    let ways = [Some(("rows", false)), Some((UNROLLED, true)).filter(|_| apart)];
    let ways = ways.into_iter().flatten().map(|named| way(rows, product, want, named));
    ways.filter_map(Result::transpose).collect()
}

fn way(
    rows: &Rows,
    product: &Product,
    want: &Want<'_>,
    (name, whole): (&'static str, bool),
) -> Result<Option<Candidate>> {
    let Some(ending) = ending(product) else { return Ok(None) };
    let (Data::I32(w), Data::I32(b)) = (&product.weights, &product.bias) else { return Ok(None) };
    let (inputs, outputs) = (rows.inputs.len, rows.outputs.len);
    let axes = merge(&rows.rows);
    let Some((inner, outer)) = axes.split_last() else { return Ok(None) };
    if rows.inputs.x != 1 || rows.outputs.y != 1 || inner.len < 2 {
        return Ok(None);
    }
    let (any_shift, unrolled) = want.policy.by_aim((false, 16), (false, 8), (true, 4));
    let dual = crate::armv7em::engine::dual(want);
    let reach = product.reach()?;
    let (lo, hi) = ending.limits;
    let sizes = Dense {
        rows: inner.len,
        inputs,
        outputs,
        steps: (inner.x, inner.y),
        format: Format::Packed,
        sh: ending.sh,
        any_shift,
        lo,
        hi,
        piece: 1,
        round: unrolled,
        ahead: dual,
        whole,
    };
    if !sizes.fits() {
        return Ok(None);
    }
    let packed = bytes(&ending, want).into_iter().find_map(|(format, sh)| {
        let sizes = Dense { format, sh, ..sizes };
        Some((sizes, sizes.pack(w, b, ending.rounding(), &reach)?))
    });
    let Some((sizes, stream)) = packed else { return Ok(None) };
    let kernel = want.library.once(&sizes, || sizes.kernel(want.core()))?;
    let scalars = sizes.scalars(product.x_zp, ending.rnd);
    let mut args = vec![
        Bind::Operand(0),
        Bind::aligned("weights", Data::I16(stream), 4),
        if rows.in_step() { Bind::ResultInPlace } else { Bind::Result(0) },
        Bind::Workspace(0),
    ];
    args.extend(scalars.iter().map(|&s| Bind::Scalar(s)));
    let kernel = if outer.is_empty() { kernel } else { nested(&sizes, rows, outer, &kernel)? };
    let workspace = 2 * sizes.wide_len();
    Ok(Some(Candidate { way: name, call: Call { kernel, args }, workspace }))
}

/// Calls the kernel for each of further rows of rows.
fn nested(sizes: &Dense, rows: &Rows, outer: &[Axis], kernel: &Arc<Kernel>) -> Result<Arc<Kernel>> {
    let mut k = KernelBuilder::new("dense_s8_nest");
    let x = k.buffer("x", DType::I8, rows.x_len(), Access::Read);
    let w = k.buffer("w", DType::I16, sizes.stream().len(), Access::Read);
    let y = k.buffer("y", DType::I8, rows.y_len(), Access::Write);
    let wide = k.buffer("wide", DType::I16, sizes.wide_len(), Access::ReadWrite);
    let scalars = k.like(kernel, 4);
    crate::axes::nest(&mut k, outer, 0.into(), 0.into(), &mut |k, x0, y0| {
        let mut args = vec![x.from(x0), w.from(0), y.from(y0), wide.from(0)];
        args.extend(scalars.iter().map(|&s| CallArg::Scalar(s.into())));
        k.call(kernel, args);
    });
    k.finish()
}
