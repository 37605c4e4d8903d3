//! Layers with weights, pools, reductions and normalisations.

use super::Attr;
use super::generate::{Builder, Value};
use super::layers::activate;
use secateur_compiler::tensor::Tensor;

fn list(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|&v| v as i64).collect())
}

/// An axis of `rank`, counted from either end where the version allows it.
pub(super) fn spell_axis(b: &mut Builder, axis: usize, rank: usize) -> i64 {
    let back = b.opset() >= 13 && b.one_in(2);
    axis as i64 - if back { rank as i64 } else { 0 }
}

/// A window: what it adds to a node, and the shape that it leaves.
struct Window {
    kernel: Vec<usize>,
    attrs: Vec<(&'static str, Attr)>,
    out: Vec<usize>,
}

/// `pool`: padding stays smaller than the kernel, and a last window may be ragged.
fn window(b: &mut Builder, input: &[usize], pool: bool, dilated: bool) -> Option<Window> {
    let n = input.len();
    let (mut kernel, mut strides, mut dilations) = (vec![], vec![], vec![]);
    let (mut begins, mut ends) = (vec![0; n], vec![0; n]);
    for &size in input {
        let most = if pool { 4 } else { 5 };
        kernel.push(if b.one_in(3) { b.of(&[1, 3]) } else { b.between(1, most.min(size + 1)) });
        strides.push(b.of(&[1, 1, 1, 2, 3]));
        dilations.push(if dilated { b.of(&[1, 1, 2]) } else { 1 });
    }
    let auto = b.of(&["", "", "", "SAME_UPPER", "SAME_LOWER", "VALID"]);
    let auto = if auto.starts_with("SAME") && dilations.iter().any(|&d| d > 1) { "" } else { auto };
    let ceil = pool && auto.is_empty() && b.opset() >= 10 && b.one_in(3);
    // A window that lies in the padding alone has no maximum.
    let padded = !pool || dilations.iter().all(|&d| d == 1);
    if auto.is_empty() && padded && !b.one_in(3) {
        for a in 0..n {
            let most = if pool { kernel[a] - 1 } else { kernel[a] };
            (begins[a], ends[a]) = (b.below(most + 1), b.below(most + 1));
        }
    }
    let mut out = Vec::new();
    for a in 0..n {
        if auto.starts_with("SAME") {
            out.push(input[a].div_ceil(strides[a]));
            continue;
        }
        let extent = dilations[a] * (kernel[a] - 1) + 1;
        let free = (input[a] + begins[a] + ends[a]).checked_sub(extent)?;
        let mut size = free / strides[a] + 1;
        // A ragged last window counts if it begins before the padding at the end.
        if ceil && free % strides[a] > 0 && size * strides[a] < input[a] + begins[a] {
            size += 1;
        }
        out.push(size);
    }
    let mut attrs = vec![("kernel_shape", list(&kernel))];
    if strides.iter().any(|&s| s > 1) || b.one_in(4) {
        attrs.push(("strides", list(&strides)));
    }
    if dilations.iter().any(|&d| d > 1) {
        attrs.push(("dilations", list(&dilations)));
    }
    if !auto.is_empty() {
        attrs.push(("auto_pad", Attr::Str(auto)));
    } else if begins.iter().chain(&ends).any(|&p| p > 0) {
        attrs.push(("pads", list(&[begins, ends].concat())));
    }
    if ceil {
        attrs.push(("ceil_mode", Attr::Int(1)));
    }
    Some(Window { kernel, attrs, out })
}

/// Weights whose sums keep the size of their inputs; sometimes channels of different size.
fn weights(b: &mut Builder, shape: &[usize], fan: usize) -> String {
    let deviation = 1.0 / (fan.max(1) as f32).sqrt();
    let row: usize = shape[1..].iter().product();
    let uneven = b.one_in(4);
    let mut values = Vec::new();
    for _ in 0..shape[0] {
        let size = if uneven { b.of(&[1.0, 0.1, 3.0]) } else { 1.0 };
        values.extend((0..row).map(|_| size * deviation * b.normal()).collect::<Vec<_>>());
    }
    b.constant(Tensor::f32(shape, values))
}

fn convolution(b: &mut Builder, x: &Value, group: usize, out_channels: usize) -> Option<Value> {
    let c = x.shape[1];
    let Window { kernel, mut attrs, out } = window(b, &x.shape[2..], false, true)?;
    let taps: usize = kernel.iter().product::<usize>() * (c / group);
    let mut shape = vec![x.shape[0], out_channels];
    shape.extend(&out);
    let len: usize = shape.iter().product();
    if !b.room(len, len * taps) {
        return None;
    }
    let mut weight = vec![out_channels, c / group];
    weight.extend(&kernel);
    let w = weights(b, &weight, taps);
    if group > 1 || b.one_in(4) {
        attrs.push(("group", Attr::Int(group as i64)));
    }
    let bias = if b.one_in(4) { None } else { Some(b.floats(&[out_channels], 0.5, 0.0)) };
    let mut inputs = vec![x.name.as_str(), &w];
    inputs.extend(bias.as_deref());
    let y = b.node("Conv", &inputs, attrs, &shape);
    let y = if b.one_in(5) { normalize(b, &y) } else { y };
    Some(if b.one_in(2) { activate(b, &y) } else { y })
}

pub(super) fn conv(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() == 3 || v.shape.len() == 4)?;
    let c = x.shape[1];
    let divisors: Vec<usize> = (1..=c).filter(|d| c % d == 0).collect();
    let group = if b.one_in(4) { b.of(&divisors) } else { 1 };
    let each = b.between(1, 12usize.div_ceil(group));
    convolution(b, &x, group, group * each)
}

pub(super) fn depthwise(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() == 3 || v.shape.len() == 4)?;
    let (c, multiplier) = (x.shape[1], b.of(&[1, 1, 1, 2]));
    convolution(b, &x, c, c * multiplier)
}

pub(super) fn gemm(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() == 2)?;
    let turned = b.one_in(6);
    let (m, k) = (x.shape[0], x.shape[1]);
    let n = b.between(1, 24);
    if !b.room(m * n, m * n * k) {
        return None;
    }
    let trans_b = b.one_in(2);
    let w = weights(b, &if trans_b { [n, k] } else { [k, n] }, k);
    let mut attrs = Vec::new();
    if trans_b {
        attrs.push(("transB", Attr::Int(1)));
    }
    let (alpha, beta) = (b.of(&[1.0, 1.0, 0.5, 2.0]), b.of(&[1.0, 1.0, 0.25]));
    if alpha != 1.0 {
        attrs.push(("alpha", Attr::Float(alpha)));
    }
    if beta != 1.0 {
        attrs.push(("beta", Attr::Float(beta)));
    }
    let bias = match b.below(5) {
        0 if b.opset() >= 11 => None,
        1 => Some(b.floats(&[1, n], 0.5, 0.0)),
        2 => Some(b.floats(&[1], 0.5, 0.0)),
        _ => Some(b.floats(&[n], 0.5, 0.0)),
    };
    let a = if turned {
        attrs.push(("transA", Attr::Int(1)));
        b.hidden("Transpose", &[&x.name], vec![("perm", Attr::Ints(vec![1, 0]))])
    } else {
        x.name.clone()
    };
    let mut inputs = vec![a.as_str(), &w];
    inputs.extend(bias.as_deref());
    let y = b.node("Gemm", &inputs, attrs, &[m, n]);
    Some(if b.one_in(2) { activate(b, &y) } else { y })
}

pub(super) fn mat_mul(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    let (k, n) = (x.shape[x.shape.len() - 1], b.between(1, 16));
    let rows = x.len() / k;
    if !b.room(rows * n, rows * n * k) {
        return None;
    }
    let w = weights(b, &[k, n], k);
    let mut shape = x.shape.clone();
    *shape.last_mut()? = n;
    let y = b.node("MatMul", &[&x.name, &w], vec![], &shape);
    if b.one_in(3) {
        return Some(y);
    }
    let c = b.floats(&[n], 0.5, 0.0);
    let inputs = if b.one_in(2) { [y.name.as_str(), c.as_str()] } else { [c.as_str(), y.name.as_str()] };
    Some(b.node("Add", &inputs, vec![], &shape))
}

/// A product of two computed values: scores of a value with itself, then a weighted sum.
pub(super) fn attention(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() == 3 && v.shape[0] == 1)?;
    let (t, d) = (x.shape[1], x.shape[2]);
    if !b.room(t * t, 2 * t * t * d) {
        return None;
    }
    let turned = b.hidden("Transpose", &[&x.name], vec![("perm", Attr::Ints(vec![0, 2, 1]))]);
    let scores = b.node("MatMul", &[&x.name, &turned], vec![], &[1, t, t]);
    let scale = b.scalar(1.0 / (d as f32).sqrt());
    let scaled = b.hidden("Mul", &[&scores.name, &scale], vec![]);
    let weights = b.node("Softmax", &[&scaled], vec![("axis", Attr::Int(2))], &[1, t, t]);
    Some(b.node("MatMul", &[&weights.name, &x.name], vec![], &x.shape))
}

fn normalize(b: &mut Builder, x: &Value) -> Value {
    let c = x.shape[1];
    let mut parameters = Vec::new();
    for (deviation, mean) in [(0.3, 1.0), (0.5, 0.0), (0.5, 0.0)] {
        parameters.push(b.floats(&[c], deviation, mean));
    }
    let variance = (0..c).map(|_| 0.2 + b.unit()).collect();
    parameters.push(b.constant(Tensor::f32(&[c], variance)));
    let mut inputs = vec![x.name.as_str()];
    inputs.extend(parameters.iter().map(String::as_str));
    let epsilon = b.of(&[1e-5, 1e-3]);
    b.node("BatchNormalization", &inputs, vec![("epsilon", Attr::Float(epsilon))], &x.shape)
}

pub(super) fn batch_norm(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    Some(normalize(b, &x))
}

fn pool(b: &mut Builder, op: &'static str, first_dilated: i64) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() == 3 || v.shape.len() == 4)?;
    let dilated = b.opset() >= first_dilated && b.one_in(4);
    let Window { mut attrs, out, .. } = window(b, &x.shape[2..], true, dilated)?;
    let mut shape = x.shape[..2].to_vec();
    shape.extend(&out);
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    if op == "AveragePool" && b.one_in(2) {
        attrs.push(("count_include_pad", Attr::Int(1)));
    }
    Some(b.node(op, &[&x.name], attrs, &shape))
}

pub(super) fn max_pool(b: &mut Builder) -> Option<Value> {
    pool(b, "MaxPool", 10)
}

pub(super) fn average_pool(b: &mut Builder) -> Option<Value> {
    pool(b, "AveragePool", 19)
}

pub(super) fn global_pool(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 3)?;
    let mut shape = vec![1; x.shape.len()];
    shape[..2].copy_from_slice(&x.shape[..2]);
    let op = b.of(&["GlobalAveragePool", "GlobalMaxPool"]);
    Some(b.node(op, &[&x.name], vec![], &shape))
}

pub(super) fn mean(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    let rank = x.shape.len();
    let mut axes: Vec<usize> = (1..rank).filter(|_| b.one_in(2)).collect();
    if axes.is_empty() {
        axes.push(rank - 1);
    }
    let keep = b.one_in(2);
    let kept = |a: &usize| keep || !axes.contains(a);
    let size = |a: usize| if axes.contains(&a) { 1 } else { x.shape[a] };
    let shape: Vec<usize> = (0..rank).filter(kept).map(size).collect();
    let spelled: Vec<i64> = axes.iter().map(|&a| spell_axis(b, a, rank)).collect();
    let mut attrs = vec![("keepdims", Attr::Int(i64::from(keep)))];
    if b.opset() < 18 {
        attrs.push(("axes", Attr::Ints(spelled)));
        return Some(b.node("ReduceMean", &[&x.name], attrs, &shape));
    }
    let axes = b.ints(&spelled);
    Some(b.node("ReduceMean", &[&x.name, &axes], attrs, &shape))
}

pub(super) fn softmax(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let rank = x.shape.len();
    if rank == 0 {
        return None;
    }
    let axis = if b.one_in(2) { rank - 1 } else { b.below(rank) };
    let op = b.of(&["Softmax", "Softmax", "LogSoftmax"]);
    let axis = spell_axis(b, axis, rank);
    Some(b.node(op, &[&x.name], vec![("axis", Attr::Int(axis))], &x.shape))
}

/// Rows of a table that an integer input names.
pub(super) fn embedding(b: &mut Builder) -> Option<Value> {
    let (rows, width, tokens) = (b.between(2, 12), b.between(1, 8), b.between(1, 9));
    if b.case.inputs.len() > 3 || !b.room(tokens * width, 0) {
        return None;
    }
    let ids = b.ids(&[1, tokens], rows);
    let table = b.floats(&[rows, width], 1.0, 0.0);
    Some(b.node("Gather", &[&table, &ids], vec![("axis", Attr::Int(0))], &[1, tokens, width]))
}
