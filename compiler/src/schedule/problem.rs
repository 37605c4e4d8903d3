//! Nodes of the graph as problems that kernels are asked for.
//!
//! In: a node, the layouts of its operands and result. Out: sizes, strides, weights and rounding, and
//! the kernel variants that the core's engine offers for them.

use super::Layout;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Quant, Value};
use crate::kernels::decompose;
use crate::kernels::offer::{Candidate, Want};
use crate::kernels::problem::{Axis, Geometry, Rows, merge, pointwise};
use crate::kernels::product::Product;
use crate::kernels::registry::engine;
use crate::ops::{self, Op};
use crate::tensor::{DType, Tensor};

/// A node and its values, without places.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) node: NodeId,
}

impl<'a> At<'a> {
    pub(crate) fn unsupported(self, why: &str) -> Error {
        Error::model(self.graph[self.node].site(), why)
    }
    pub(crate) fn operand(self, i: usize) -> Option<&'a Value> {
        self.graph[self.node].inputs.get(i).copied().flatten().map(|v| &self.graph[v])
    }
    pub(crate) fn need(self, i: usize) -> Result<&'a Value> {
        self.operand(i).ok_or_else(|| self.unsupported(&format!("operand {i} is missing")))
    }
    pub(crate) fn result(self) -> Result<&'a Value> {
        match self.graph[self.node].outputs.first() {
            Some(&v) => Ok(&self.graph[v]),
            None => Err(self.unsupported("has no result")),
        }
    }
    pub(crate) fn here<T>(self, result: Result<T>) -> Result<T> {
        result.map_err(|e| e.at(self.graph[self.node].site()))
    }

    /// Whether values are all integers (`Some`: their codes) or all floats.
    pub(crate) fn codes(self, values: &[&'a Value]) -> Result<Option<Vec<&'a Quant>>> {
        let quants: Vec<&Quant> = values.iter().filter_map(|v| v.quant.as_ref()).collect();
        if quants.is_empty() {
            return Ok(None);
        }
        let mut activations = values.iter().filter(|v| v.constant().is_none());
        if values.len() != quants.len() || activations.any(|v| v.stored() != DType::I8) {
            let states: Vec<String> =
                values.iter().map(|v| format!("`{}` is {}", v.name, v.stored())).collect();
            let why = format!("works on int8 or on float throughout, but {}", states.join(", "));
            return Err(self.unsupported(&why));
        }
        Ok(Some(quants))
    }

    /// The product of a node with constant weights (operand 1) and an optional constant bias.
    pub(crate) fn product(self, weights: &Tensor) -> Result<Product> {
        let (x, w, y) = (self.need(0)?, self.need(1)?, self.result()?);
        let bias = match self.operand(2) {
            None => None,
            Some(b) => match b.constant() {
                Some(t) => Some((t.as_ref(), b.quant.as_ref())),
                None => return Err(self.unsupported("its bias is computed at run time")),
            },
        };
        let clamp = self.graph[self.node].clamp;
        match self.codes(&[x, w, y])? {
            None => {
                let bias = bias.map(|b| b.0.to_f32_vec());
                Ok(Product::float(&weights.to_f32_vec(), bias.as_deref(), w.shape[0], clamp))
            }
            Some(q) => self.here(Product::int((weights, q[1]), bias, q[0], q[2], clamp)),
        }
    }
}

/// How a value lies: logical shape, and strides in elements.
#[derive(Clone, Copy)]
pub(crate) struct Lay<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) strides: &'a [usize],
}

/// The sizes of a convolution between two places; weights `[M, C/group, k...]`.
pub(crate) fn geometry(op: &ops::Conv, x: Lay<'_>, w: &[usize], y: Lay<'_>) -> Geometry {
    let flat = x.shape.len() == 3;
    // Height, width; a one-dimensional convolution is one row.
    let pair = |v: &[usize], missing: usize| if flat { [missing, v[0]] } else { [v[0], v[1]] };
    let strides = |lay: Lay<'_>| {
        let s = lay.strides;
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
pub(crate) fn rows(x: Lay<'_>, y: Lay<'_>) -> Rows {
    let last = x.shape.len() - 1;
    let axes: Vec<Axis> =
        (0..last).map(|i| Axis { len: x.shape[i], x: x.strides[i], y: y.strides[i] }).collect();
    Rows {
        rows: merge(&axes),
        inputs: Axis { len: x.shape[last], x: x.strides[last], y: 0 },
        outputs: Axis { len: y.shape[last], x: 0, y: y.strides[last] },
    }
}

/// The native ways of a convolution; a pointwise one is a dense layer of pixels.
pub(crate) fn conv_ways(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let Some(engine) = engine(want.target) else { return Ok(Vec::new()) };
    decompose::ways(g, product, want, &|g, product| match pointwise(g) {
        Some(rows) => engine.dense(&rows, product, want),
        None => engine.conv(g, product, want),
    })
}

/// The native ways of a dense layer.
pub(crate) fn dense_ways(rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    engine(want.target).map_or_else(|| Ok(Vec::new()), |engine| engine.dense(rows, product, want))
}

/// The native ways in which the target's engine can spell a node; none where the portable loops
/// stay. `layouts` is by value index.
///
/// Errors: an engine failed to write a kernel that it has. What no engine takes is no error.
pub(crate) fn candidates(
    graph: &Graph,
    node: NodeId,
    layouts: &[Option<Layout>],
    want: &Want<'_>,
) -> Result<Vec<Candidate>> {
    let at = At { graph, node };
    let Some(asked) = asked(at, layouts, want) else { return Ok(Vec::new()) };
    // What cannot be lowered at all is refused when it is lowered.
    let Ok(product) = at.product(asked.weights) else { return Ok(Vec::new()) };
    let (x, y) = asked.lays();
    at.here(match &graph[node].op {
        Op::Conv(op) => conv_ways(&geometry(op, x, asked.shape, y), &product, want),
        Op::Dense(_) => dense_ways(&rows(x, y), &product, want),
        _ => Ok(Vec::new()),
    })
}

/// Operand, weights and result of a node that engines are asked for.
struct Asked<'a> {
    weights: &'a Tensor,
    /// Of the weights.
    shape: &'a [usize],
    x: (&'a [usize], Vec<usize>),
    y: (&'a [usize], Vec<usize>),
}

impl Asked<'_> {
    fn lays(&self) -> (Lay<'_>, Lay<'_>) {
        let (x, y) = (&self.x, &self.y);
        (Lay { shape: x.0, strides: &x.1 }, Lay { shape: y.0, strides: &y.1 })
    }
}

fn asked<'a>(at: At<'a>, layouts: &[Option<Layout>], want: &Want<'_>) -> Option<Asked<'a>> {
    engine(want.target)?;
    let (x, w, y) = (at.operand(0)?, at.operand(1)?, at.result().ok()?);
    let node = &at.graph[at.node];
    let linear = matches!(node.op, Op::Conv(_) | Op::Dense(_));
    if !linear || x.quant.is_none() || x.is_empty() || y.is_empty() {
        return None;
    }
    let strides = |i: Option<crate::graph::ValueId>, value: &Value| -> Option<Vec<usize>> {
        Some(layouts.get(i?.index())?.as_ref()?.strides(&value.shape))
    };
    let xs = strides(node.inputs.first().copied().flatten(), x)?;
    let ys = strides(node.outputs.first().copied(), y)?;
    Some(Asked { weights: w.constant()?, shape: &w.shape, x: (&x.shape, xs), y: (&y.shape, ys) })
}
