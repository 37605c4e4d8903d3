//! Float operators that onnxruntime's optimizer writes, in the words of ONNX.

use super::build::{Builder, Expanded, attr};
use crate::error::Result;
use crate::ops::Attr;

fn activated(mut b: Builder<'_>, bias: bool, tanh: bool) -> Result<Expanded> {
    let mut x = b.input(0)?;
    if bias && b.optional(1).is_some() {
        let by = b.input(1)?;
        x = b.op("Add", &[&x, &by]);
    }
    let how = if tanh { "tanh" } else { "none" };
    let y = b.with("Gelu", &[&x], vec![attr("approximate", Attr::Str(how.into()))]);
    b.finish(vec![y])
}

pub(super) fn gelu(b: Builder<'_>) -> Result<Expanded> {
    activated(b, false, false)
}

pub(super) fn bias_gelu(b: Builder<'_>) -> Result<Expanded> {
    activated(b, true, false)
}

pub(super) fn fast_gelu(b: Builder<'_>) -> Result<Expanded> {
    activated(b, true, true)
}

pub(super) fn quick_gelu(mut b: Builder<'_>) -> Result<Expanded> {
    let (x, alpha) = (b.input(0)?, b.cx.float_or("alpha", 1.702)?);
    let y = b.with("Swish", &[&x], vec![attr("alpha", Attr::Float(alpha))]);
    b.finish(vec![y])
}

/// The sum of two inputs (and a bias), normalized.
fn skipped(mut b: Builder<'_>, simple: bool) -> Result<Expanded> {
    let (x, skip, scale) = (b.input(0)?, b.input(1)?, b.input(2)?);
    let mut sum = b.op("Add", &[&x, &skip]);
    let at = if simple { 3 } else { 4 };
    if b.optional(at).is_some() {
        let bias = b.input(at)?;
        sum = b.op("Add", &[&sum, &bias]);
    }
    let epsilon = vec![attr("epsilon", Attr::Float(b.cx.float_or("epsilon", 1e-5)?))];
    let y = if simple {
        b.with("RMSNormalization", &[&sum, &scale], epsilon)
    } else if b.optional(3).is_some() {
        let shift = b.input(3)?;
        b.with("LayerNormalization", &[&sum, &scale, &shift], epsilon)
    } else {
        b.with("LayerNormalization", &[&sum, &scale], epsilon)
    };
    if b.wanted(3) {
        let copies = [b.op("Identity", &[&sum]), b.op("Identity", &[&sum])];
        let [a, c] = copies;
        return if b.wanted(1) || b.wanted(2) {
            Err(crate::ops::check::refuse("gives its mean or deviation, which is not supported"))
        } else {
            b.finish(vec![y, a.clone(), a, c])
        };
    }
    b.finish(vec![y])
}

pub(super) fn skip_layer(b: Builder<'_>) -> Result<Expanded> {
    skipped(b, false)
}

pub(super) fn skip_simplified_layer(b: Builder<'_>) -> Result<Expanded> {
    skipped(b, true)
}
