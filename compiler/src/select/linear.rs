//! Conv and Dense of the graph -> products, and what computes them.
//!
//! In: a node and how its values lie. Out: what the core's engine offers for an int8 product with
//! constant weights; where it offers nothing, and for all others, the portable loops.

use super::Cx;
use super::problem::{conv_offers, dense_offers, geometry, rows};
use crate::error::Result;
use crate::kernels::call::Call;
use crate::kernels::offer::{Candidate, DENSE4};
use crate::kernels::portable::conv::{Kernels, conv};
use crate::kernels::portable::dense::dense;
use crate::kernels::problem::{Geometry, pointwise};
use crate::kernels::product::Product;
use crate::ops;

impl Cx<'_> {
    /// Appends a call of a kernel that knows no node.
    pub(super) fn call(&mut self, call: Result<Call>) -> Result<()> {
        let call = self.owned(self.here(call)?);
        self.calls.push(call);
        Ok(())
    }
}

impl Cx<'_> {
    /// Offers portable loops over weights of four bits beside what the engine offers, where it has no
    /// kernel for them itself; where it has nothing, they stand alone if flash is what counts.
    fn offer4(&mut self, product: &Product, call: impl FnOnce() -> Result<Call>) -> Result<()> {
        let known = self.offers.iter().any(|offer| offer.way == DENSE4);
        let wanted = !self.offers.is_empty() || self.want.policy.saves_flash();
        if product.four_bits() && !known && wanted {
            let call = self.here(call())?;
            self.offers.push(Candidate { way: DENSE4, call, workspace: 0 });
        }
        Ok(())
    }
}

/// Conv.
pub(super) fn select_conv(cx: &mut Cx<'_>, op: &ops::Conv) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let weights = cx.need(1)?;
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() || weights.is_empty() {
        return Err(cx.unsupported("convolves an empty tensor"));
    }
    let g = geometry(op, &x, &weights.shape, &y);
    let Some(w) = weights.constant() else {
        return run_time_weights(cx, &g);
    };
    let product = cx.product(w)?;
    let portable = |four: bool| match (pointwise(&g), four) {
        (Some(rows), four) => dense(&rows, &product, four),
        (None, false) => conv(&g, &product, Kernels::Packed),
        (None, true) => conv(&g, &product, Kernels::Packed4),
    };
    if x.quant.is_some() && !cx.portable {
        cx.offers = cx.here(conv_offers(&g, &product, &cx.want))?;
        cx.offer4(&product, || portable(true))?;
    }
    if cx.offers.is_empty() { cx.call(portable(false)) } else { Ok(()) }
}

/// A float convolution whose weights are computed at run time, row-major or not at all.
fn run_time_weights(cx: &mut Cx<'_>, g: &Geometry) -> Result<()> {
    if cx.codes(&[cx.need(0)?, cx.need(1)?, cx.result()?])?.is_some() {
        return Err(cx.unsupported("int8 weights must be known at compile time"));
    }
    let w = cx.input(1)?;
    if w.strides != crate::tensor::row_major_strides(&w.shape) {
        return Err(cx.unsupported("run-time weights must lie row-major"));
    }
    let rows = w.shape[0];
    // The weights only give sizes here; the kernel reads the operands.
    let product = Product::float(&vec![0.0; w.len()], None, rows, cx.clamp());
    let bias = cx.operand(2).is_some();
    cx.call(conv(g, &product, Kernels::Operands { bias }))
}

/// Dense.
pub(super) fn select_dense(cx: &mut Cx<'_>) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let weights = cx.need(1)?;
    let Some(w) = weights.constant() else {
        return Err(cx.unsupported("its weights are computed at run time"));
    };
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() {
        return Err(cx.unsupported("multiplies an empty tensor"));
    }
    let rows = rows(&x, &y);
    let product = cx.product(w)?;
    if x.quant.is_some() && !cx.portable {
        cx.offers = cx.here(dense_offers(&rows, &product, &cx.want))?;
        cx.offer4(&product, || dense(&rows, &product, true))?;
    }
    if cx.offers.is_empty() { cx.call(dense(&rows, &product, false)) } else { Ok(()) }
}
