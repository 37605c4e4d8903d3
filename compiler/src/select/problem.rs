//! Nodes as problems that kernels are asked for.
//!
//! In: a node, how its operands and result lie. Out: sizes, strides, weights and rounding, and what
//! the core's engine offers for them.

use super::{Cx, View};
use crate::error::Result;
use crate::graph::{Quant, Value};
use crate::kernels::decompose;
use crate::kernels::offer::{Candidate, Want};
use crate::kernels::problem::{Axis, Geometry, Rows, merge, pointwise};
use crate::kernels::product::Product;
use crate::kernels::registry::engine;
use crate::ops;
use crate::tensor::{DType, Tensor};

impl<'a> Cx<'a> {
    /// Whether values are all integers (`Some`: their codes) or all floats.
    pub(super) fn codes(&self, values: &[&'a Value]) -> Result<Option<Vec<&'a Quant>>> {
        self.codes_of(values, &[DType::I8])
    }

    /// The same of values of these types.
    fn codes_of(&self, values: &[&'a Value], types: &[DType]) -> Result<Option<Vec<&'a Quant>>> {
        let quants: Vec<&Quant> = values.iter().filter_map(|v| v.quant.as_ref()).collect();
        if quants.is_empty() {
            return Ok(None);
        }
        let mut activations = values.iter().filter(|v| v.constant().is_none());
        if values.len() != quants.len() || activations.any(|v| !types.contains(&v.stored())) {
            let states: Vec<String> =
                values.iter().map(|v| format!("`{}` is {}", v.name, v.stored())).collect();
            let why = format!("works on int8 or on float throughout, but {}", states.join(", "));
            return Err(self.unsupported(&why));
        }
        Ok(Some(quants))
    }

    /// The product of a node with constant weights (operand 1) and an optional constant bias.
    pub(super) fn product(&self, weights: &Tensor) -> Result<Product> {
        let (x, w, y) = (self.need(0)?, self.need(1)?, self.result()?);
        let bias = match self.operand(2) {
            None => None,
            Some(b) => match b.constant() {
                Some(t) => Some((t.as_ref(), b.quant.as_ref())),
                None => return Err(self.unsupported("its bias is computed at run time")),
            },
        };
        let clamp = self.clamp();
        match self.codes_of(&[x, w, y], &[DType::I8, DType::I16])? {
            None => {
                let bias = bias.map(|b| b.0.to_f32_vec());
                Ok(Product::float(&weights.to_f32_vec(), bias.as_deref(), w.shape[0], clamp))
            }
            Some(q) => self.here(Product::int((weights, q[1]), bias, q[0], q[2], clamp)),
        }
    }
}

/// The sizes of a convolution; weights `[M, C/group, k...]`.
pub(super) fn geometry(op: &ops::Conv, x: &View, w: &[usize], y: &View) -> Geometry {
    let flat = x.shape.len() == 3;
    // Height, width; a one-dimensional convolution is one row.
    let pair = |v: &[usize], missing: usize| if flat { [missing, v[0]] } else { [v[0], v[1]] };
    let strides = |view: &View| {
        let s = &view.strides;
        if flat { [s[0], s[1], 0, s[2]] } else { [s[0], s[1], s[2], s[3]] }
    };
    Geometry {
        batch: x.shape[0],
        groups: op.group,
        cin: w[1],
        cout: w[0] / op.group,
        input: pair(&x.shape[2..], 1),
        output: pair(&y.shape[2..], 1),
        kernel: pair(&w[2..], 1),
        strides: pair(&op.strides, 1),
        dilations: pair(&op.dilations, 1),
        pads: pair(&op.pads, 0),
        x: strides(x),
        y: strides(y),
    }
}

/// The rows of a dense layer: all axes but the last.
pub(super) fn rows(x: &View, y: &View) -> Rows {
    let last = x.shape.len() - 1;
    let axes: Vec<Axis> =
        (0..last).map(|i| Axis { len: x.shape[i], x: x.strides[i], y: y.strides[i] }).collect();
    Rows {
        rows: merge(&axes),
        inputs: Axis { len: x.shape[last], x: x.strides[last], y: 0 },
        outputs: Axis { len: y.shape[last], x: 0, y: y.strides[last] },
    }
}

/// What the core's engine offers for an integer convolution; a pointwise one is a dense layer of pixels.
pub(super) fn conv_offers(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let Some(engine) = engine(want.target()) else { return Ok(Vec::new()) };
    if !product.eight_bits() {
        return match pointwise(g) {
            Some(rows) => engine.wide(&rows, product, want),
            None => engine.wide_conv(g, product, want),
        };
    }
    decompose::ways(g, product, want, &|g, product| match pointwise(g) {
        Some(rows) => engine.dense(&rows, product, want),
        None => engine.conv(g, product, want),
    })
}

/// What the core's engine offers for an integer dense layer.
pub(super) fn dense_offers(rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let Some(engine) = engine(want.target()) else { return Ok(Vec::new()) };
    if product.eight_bits() { engine.dense(rows, product, want) } else { engine.wide(rows, product, want) }
}
