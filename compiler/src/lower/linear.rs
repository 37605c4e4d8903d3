//! Conv, Dense, Gemm and MatMul of the graph -> products, and their calls -> steps.
//!
//! In: a node with its operands' places. Out: steps of the program. Law: the family was chosen
//! by the schedule; here it is only spelled.

use super::conv::{Geometry, Kernels, conv};
use super::dense::{Axis, Rows, dense, merge};
use super::finish::Finish;
use super::matmul::{Addend, Outer, Pair, matmul};
use super::native::{Candidate, Want, engine, named, parts};
use super::product::{Product, affine};
use super::spelled::{Role, Spelled};
use super::{Cx, Loc};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Quant, Value};
use crate::ops::{self, Op};
use crate::quantize::requant::{Output, requant};
use crate::schedule::{Family, Layout};
use crate::tensor::{DType, Data, Tensor};

/// Appends a spelled call, its roles bound to the node's operands and result.
fn emit(cx: &mut Cx<'_>, call: Spelled, operands: &[&Loc], result: &Loc) -> Result<()> {
    let mut args = Vec::with_capacity(call.args.len());
    for (role, param) in call.args.into_iter().zip(&call.kernel.params) {
        args.push(match role {
            Role::Operand(i) => operands[i].arg,
            Role::Result | Role::ResultInPlace => result.arg,
            Role::Scalar(v) => crate::program::Arg::Scalar(v),
            Role::Data { name, data, align } => {
                let name = format!("{} {name}", cx.node().name);
                cx.constant(&name, data, align)
            }
            Role::Workspace(offset) => {
                let crate::kernel::ParamKind::Buffer { elem, len, .. } = param.kind else {
                    return Err(cx.unsupported("a scalar was bound to the workspace"));
                };
                cx.workspace(elem, offset, len)?
            }
        });
    }
    cx.step(call.kernel, args)
}

/// A node and its values, without places.
#[derive(Clone, Copy)]
struct At<'a> {
    graph: &'a Graph,
    node: NodeId,
}

impl<'a> At<'a> {
    fn of(cx: &Cx<'a>) -> At<'a> {
        At { graph: cx.graph, node: cx.node }
    }
    fn unsupported(self, why: &str) -> Error {
        Error::model(self.graph[self.node].site(), why)
    }
    fn operand(self, i: usize) -> Option<&'a Value> {
        self.graph[self.node].inputs.get(i).copied().flatten().map(|v| &self.graph[v])
    }
    fn need(self, i: usize) -> Result<&'a Value> {
        self.operand(i).ok_or_else(|| self.unsupported(&format!("operand {i} is missing")))
    }
    fn result(self) -> Result<&'a Value> {
        match self.graph[self.node].outputs.first() {
            Some(&v) => Ok(&self.graph[v]),
            None => Err(self.unsupported("has no result")),
        }
    }
    fn here<T>(self, result: Result<T>) -> Result<T> {
        result.map_err(|e| e.at(self.graph[self.node].site()))
    }

    /// Whether values are all integers (`Some`: their codes) or all floats.
    fn codes(self, values: &[&'a Value]) -> Result<Option<Vec<&'a Quant>>> {
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
    fn product(self, weights: &Tensor) -> Result<Product> {
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
struct Lay<'a> {
    shape: &'a [usize],
    strides: &'a [usize],
}

impl<'a> From<&'a Loc> for Lay<'a> {
    fn from(loc: &'a Loc) -> Lay<'a> {
        Lay { shape: &loc.shape, strides: &loc.strides }
    }
}

/// The sizes of a convolution between two places; weights `[M, C/group, k...]`.
fn geometry(op: &ops::Conv, x: Lay<'_>, w: &[usize], y: Lay<'_>) -> Geometry {
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

/// A convolution that is a matrix product of every pixel, or of every few: 1x1, no padding.
fn pointwise(g: &Geometry) -> Option<Rows> {
    let plain = g.kernel == [1, 1] && g.groups == 1 && !g.padded();
    plain.then(|| Rows {
        rows: merge(&[
            Axis { len: g.batch, x: g.x[0], y: g.y[0] },
            Axis { len: g.output[0], x: g.strides[0] * g.x[2], y: g.y[2] },
            Axis { len: g.output[1], x: g.strides[1] * g.x[3], y: g.y[3] },
        ]),
        inputs: Axis { len: g.cin, x: g.x[1], y: 0 },
        outputs: Axis { len: g.cout, x: 0, y: g.y[1] },
    })
}

/// Conv.
pub(crate) fn lower_conv(cx: &mut Cx<'_>, op: &ops::Conv) -> Result<()> {
    let (x, y) = (cx.input(0)?, cx.output(0)?);
    let weights = cx.need(1)?;
    if y.is_empty() {
        return Ok(());
    }
    if x.is_empty() || weights.is_empty() {
        return Err(cx.unsupported("convolves an empty tensor"));
    }
    let g = geometry(op, (&x).into(), &weights.shape, (&y).into());
    let Some(w) = weights.constant() else {
        return run_time_weights(cx, &g, &x, &y);
    };
    let product = At::of(cx).product(w)?;
    let call = match (pointwise(&g), cx.family()) {
        (_, Family::Native { way, rows_limit }) => named(conv_ways(&g, &product, &want(cx, rows_limit)), way),
        (Some(rows), _) => dense(&rows, &product),
        (None, _) => conv(&g, &product, Kernels::Packed),
    };
    let call = call.map_err(|e| e.at(cx.node().site()))?;
    emit(cx, call, &[&x], &y)
}

/// A float convolution whose weights are computed at run time, row-major or not at all.
fn run_time_weights(cx: &mut Cx<'_>, g: &Geometry, x: &Loc, y: &Loc) -> Result<()> {
    let at = At::of(cx);
    if at.codes(&[at.need(0)?, at.need(1)?, at.result()?])?.is_some() {
        return Err(cx.unsupported("int8 weights must be known at compile time"));
    }
    let w = cx.input(1)?;
    if w.strides != crate::tensor::row_major_strides(&w.shape) {
        return Err(cx.unsupported("run-time weights must lie row-major"));
    }
    let rows = w.shape[0];
    let b = if cx.operand(2).is_some() { Some(cx.input(2)?) } else { None };
    // The weights only give sizes here; the kernel reads the operands.
    let product = Product::float(&vec![0.0; w.len()], None, rows, cx.clamp());
    let call = conv(g, &product, Kernels::Operands { bias: b.is_some() })?;
    match &b {
        Some(b) => emit(cx, call, &[x, &w, b], y),
        None => emit(cx, call, &[x, &w], y),
    }
}

/// Dense.
pub(crate) fn lower_dense(cx: &mut Cx<'_>) -> Result<()> {
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
    let rows = rows((&x).into(), (&y).into());
    let product = At::of(cx).product(w)?;
    let call = match cx.family() {
        Family::Native { way, rows_limit } => named(dense_ways(&rows, &product, &want(cx, rows_limit)), way),
        _ => dense(&rows, &product),
    };
    let call = call.map_err(|e| e.at(cx.node().site()))?;
    emit(cx, call, &[&x], &y)
}

/// The rows of a dense layer: all axes but the last.
fn rows(x: Lay<'_>, y: Lay<'_>) -> Rows {
    let last = x.shape.len() - 1;
    let axes: Vec<Axis> =
        (0..last).map(|i| Axis { len: x.shape[i], x: x.strides[i], y: y.strides[i] }).collect();
    Rows {
        rows: merge(&axes),
        inputs: Axis { len: x.shape[last], x: x.strides[last], y: 0 },
        outputs: Axis { len: y.shape[last], x: 0, y: y.strides[last] },
    }
}

/// How two run-time factors end: one multiplier, or one per column of the second.
fn pair_finish(at: At<'_>, k: usize, n: usize, alpha: f32) -> Result<([i32; 2], Finish)> {
    let (a, b, y) = (at.need(0)?, at.need(1)?, at.result()?);
    let clamp = at.graph[at.node].clamp;
    let Some(q) = at.codes(&[a, b, y])? else { return Ok(([0, 0], Finish::Float(clamp))) };
    let (sa, za) = at.here(affine(q[0]))?;
    let (sy, _) = at.here(affine(q[2]))?;
    let zb = q[1].zero_point.first().copied().unwrap_or(0);
    let per_column = q[1].scale.len() == n && q[1].axis == Some(b.shape.len().saturating_sub(1));
    if (q[1].scale.len() > 1 && !per_column) || q[1].zero_point.iter().any(|&z| z != zb) {
        return Err(at.unsupported("its second factor is quantized along an axis that is summed over"));
    }
    if b.stored() != DType::I8 {
        return Err(at.unsupported("its second factor is not int8"));
    }
    let real: Vec<f64> = q[1].scale.iter().map(|&sb| sa * f64::from(sb) * f64::from(alpha) / sy).collect();
    let most = (k as i64 * 255 * 255 + 1).min(i64::from(i32::MAX)) as i32;
    let out = at.here(Output::new(q[2], clamp))?;
    let r = at.here(requant(&real, &vec![(-most, most); real.len()], out))?;
    Ok(([za, zb], Finish::Int(r)))
}

/// MatMul: matrices in the last two axes, the others broadcast; vectors are one row or column.
pub(crate) fn lower_matmul(cx: &mut Cx<'_>) -> Result<()> {
    let (a, b, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let axes = |loc: &Loc, row: bool| -> (Vec<(usize, usize)>, [(usize, usize); 2]) {
        let all: Vec<(usize, usize)> = loc.shape.iter().copied().zip(loc.strides.iter().copied()).collect();
        match all.split_last_chunk::<2>() {
            Some((outer, last)) => (outer.to_vec(), *last),
            None if row => (Vec::new(), [(1, 0), all[0]]),
            None => (Vec::new(), [all[0], (1, 0)]),
        }
    };
    let ((a_outer, [am, ak]), (b_outer, [bk, bn])) = (axes(&a, true), axes(&b, false));
    let (m, k, n) = (am.0, ak.0, bn.0);
    // Result axes after the batch: m unless `a` was a vector, n unless `b` was one.
    let (has_m, has_n) = (a.shape.len() > 1, b.shape.len() > 1);
    let inner = usize::from(has_m) + usize::from(has_n);
    let outer = y.shape.len() - inner;
    let ym = if has_m { y.strides[outer] } else { 0 };
    let yn = if has_n { y.strides[y.strides.len() - 1] } else { 0 };
    let broadcast = |axes: &[(usize, usize)], i: usize| -> usize {
        match (i + axes.len()).checked_sub(outer) {
            Some(j) if axes[j].0 != 1 => axes[j].1,
            _ => 0,
        }
    };
    let batch = (0..outer)
        .map(|i| Outer {
            len: y.shape[i],
            a: broadcast(&a_outer, i),
            b: broadcast(&b_outer, i),
            y: y.strides[i],
        })
        .collect();
    let (zero, finish) = pair_finish(At::of(cx), k, n, 1.0)?;
    let pair = Pair {
        batch,
        m,
        k,
        n,
        a: [am.1, ak.1],
        b: [bk.1, bn.1],
        y: [ym, yn],
        zero,
        alpha: 1.0,
        add: Addend::None,
        finish,
    };
    let call = matmul(&pair).map_err(|e| e.at(cx.node().site()))?;
    emit(cx, call, &[&a, &b], &y)
}

/// Gemm whose factors are both computed at run time (others became Dense).
pub(crate) fn lower_gemm(cx: &mut Cx<'_>, op: &ops::Gemm) -> Result<()> {
    let (a, b, y) = (cx.input(0)?, cx.input(1)?, cx.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let turn = |loc: &Loc, turned: bool| {
        let (s, d) = (&loc.strides, &loc.shape);
        if turned { ([d[1], d[0]], [s[1], s[0]]) } else { ([d[0], d[1]], [s[0], s[1]]) }
    };
    let (([m, k], sa), ([_, n], sb)) = (turn(&a, op.trans_a), turn(&b, op.trans_b));
    let (zero, finish) = pair_finish(At::of(cx), k, n, op.alpha)?;
    // An addend of lower rank lies along the last axes; axes of one repeat.
    let spread = |shape: &[usize], strides: &[usize]| -> [usize; 2] {
        let axis = |i: usize| match (i + shape.len()).checked_sub(2) {
            Some(j) if shape[j] != 1 => strides[j],
            _ => 0,
        };
        [axis(0), axis(1)]
    };
    let mut operands = vec![a, b];
    let add = match cx.operand(2).filter(|_| op.beta != 0.0) {
        None => Addend::None,
        Some(c) => match (&finish, c.constant()) {
            (Finish::Float(_), _) => {
                let c = cx.input(2)?;
                let strides = spread(&c.shape, &c.strides);
                operands.push(c);
                Addend::Operand(strides, op.beta)
            }
            (Finish::Int(r), Some(t)) if r.m.len() == 1 => {
                let step = product_step(cx, op.alpha)?;
                let scale = match &c.quant {
                    Some(q) => affine(q).map_err(|e| e.at(cx.node().site()))?,
                    None => (1.0, 0),
                };
                let units = t.to_f64_vec().into_iter().map(|v| {
                    let real = (v - f64::from(scale.1)) * scale.0 * f64::from(op.beta);
                    libm::rint(real / step) as i32
                });
                let strides = spread(&c.shape, &crate::tensor::row_major_strides(&c.shape));
                Addend::Constant(Data::I32(units.collect()), strides)
            }
            _ => return Err(cx.unsupported("an int8 addend must be constant, with one scale")),
        },
    };
    // Integers hold alpha in their multiplier.
    let alpha = if matches!(finish, Finish::Float(_)) { op.alpha } else { 1.0 };
    let strides = [y.strides[0], y.strides[1]];
    let pair = Pair { batch: Vec::new(), m, k, n, a: sa, b: sb, y: strides, zero, alpha, add, finish };
    let call = matmul(&pair).map_err(|e| e.at(cx.node().site()))?;
    let operands: Vec<&Loc> = operands.iter().collect();
    emit(cx, call, &operands, &y)
}

/// What one step of an integer product of the operands is worth, `alpha` included.
fn product_step(cx: &Cx<'_>, alpha: f32) -> Result<f64> {
    let mut step = f64::from(alpha);
    for i in 0..2 {
        if let Some(q) = &cx.need(i)?.quant {
            step *= affine(q).map_err(|e| e.at(cx.node().site()))?.0;
        }
    }
    Ok(step)
}

/// What the schedule let the chosen way spend.
fn want<'a>(cx: &Cx<'a>, rows_limit: usize) -> Want<'a> {
    Want { target: cx.target, optimize: cx.schedule.optimize, rows_limit }
}

/// The native ways of a convolution; a pointwise one is a dense layer of pixels.
fn conv_ways(g: &Geometry, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
    let Some(engine) = engine(want.target) else { return Ok(Vec::new()) };
    parts::ways(g, product, want, &|g, product| match pointwise(g) {
        Some(rows) => engine.dense(&rows, product, want),
        None => engine.conv(g, product, want),
    })
}

/// The native ways of a dense layer.
fn dense_ways(rows: &Rows, product: &Product, want: &Want<'_>) -> Result<Vec<Candidate>> {
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
