//! Layers that move values, join them or cut them, and those that end in integers.

use super::Attr;
use super::generate::{Builder, Value};
use super::neural::spell_axis;
use secateur_compiler::tensor::Tensor;

fn ints(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&v| v as i64).collect()
}

/// Values that agree but for one axis, and constants; the range of each may be its own.
pub(super) fn concat(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| !v.shape.is_empty())?;
    let rank = x.shape.len();
    let axis = if rank > 1 { b.between(1, rank - 1) } else { 0 };
    let fits = |v: &Value| v.shape.len() == rank && (0..rank).all(|a| a == axis || v.shape[a] == x.shape[a]);
    let mut parts = vec![(x.name.clone(), x.shape[axis])];
    for _ in 0..b.between(1, 3) {
        match b.below(4) {
            0 => {
                let mut shape = x.shape.clone();
                shape[axis] = b.between(1, 3);
                let deviation = b.of(&[0.5, 1.0, 4.0]);
                parts.push((b.floats(&shape, deviation, 0.0), shape[axis]));
            }
            1 => {
                let op = b.of(&["Tanh", "Sigmoid", "HardSigmoid", "Relu"]);
                parts.push((b.hidden(op, &[&x.name], vec![]), x.shape[axis]));
            }
            _ => {
                if let Some(y) = b.pick(fits) {
                    parts.push((y.name, y.shape[axis]));
                }
            }
        }
    }
    if parts.len() < 2 {
        return None;
    }
    let swap = b.below(parts.len());
    parts.swap(0, swap);
    let mut shape = x.shape.clone();
    shape[axis] = parts.iter().map(|p| p.1).sum();
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    let inputs: Vec<&str> = parts.iter().map(|p| p.0.as_str()).collect();
    let spelled = spell_axis(b, axis, rank);
    Some(b.node("Concat", &inputs, vec![("axis", Attr::Int(spelled))], &shape))
}

/// A class token before a sequence, and positions added.
pub(super) fn token(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() == 3 && v.shape[0] == 1)?;
    let (t, d) = (x.shape[1] + 1, x.shape[2]);
    if !b.room(t * d, 0) {
        return None;
    }
    let deviation = b.of(&[0.5, 3.0]);
    let token = b.floats(&[1, 1, d], deviation, 0.0);
    let all = b.node("Concat", &[&token, &x.name], vec![("axis", Attr::Int(1))], &[1, t, d]);
    let positions = b.floats(&[1, t, d], 0.3, 0.0);
    Some(b.node("Add", &[&all.name, &positions], vec![], &[1, t, d]))
}

/// A shape of as many elements.
fn regrouped(b: &mut Builder, x: &Value) -> Vec<usize> {
    let mut shape = vec![1];
    let mut left = x.len();
    for _ in 0..b.between(0, 2) {
        let divisors: Vec<usize> = (1..=left).filter(|d| left.is_multiple_of(*d)).collect();
        let d = b.of(&divisors);
        shape.push(d);
        left /= d;
    }
    shape.push(left);
    shape
}

pub(super) fn reshape(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.len() > 1)?;
    let shape = regrouped(b, &x);
    let mut spelled = ints(&shape);
    if b.one_in(2) {
        let at = b.below(shape.len());
        spelled[at] = -1;
    } else if x.shape.first() == Some(&1) {
        spelled[0] = 0;
    }
    let target = b.ints(&spelled);
    Some(b.node("Reshape", &[&x.name, &target], vec![], &shape))
}

/// A Reshape whose target an exporter computes from the shape of its operand.
pub(super) fn shape_arithmetic(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    let out = [x.shape[0], x.len() / x.shape[0]];
    if b.one_in(3) {
        // A constant made of its shape, added.
        let whole = b.hidden("Shape", &[&x.name], vec![]);
        let fill = Tensor::f32(&[1], vec![b.normal()]);
        let filled = b.hidden("ConstantOfShape", &[&whole], vec![("value", Attr::Tensor(fill))]);
        return Some(b.node("Add", &[&x.name, &filled], vec![], &x.shape));
    }
    let whole = b.hidden("Shape", &[&x.name], vec![]);
    let zero = b.constant(Tensor::i64(&[1], vec![0]));
    let first = b.hidden("Gather", &[&whole, &zero], vec![("axis", Attr::Int(0))]);
    let rest = b.ints(&[-1]);
    let target = b.hidden("Concat", &[&first, &rest], vec![("axis", Attr::Int(0))]);
    Some(b.node("Reshape", &[&x.name, &target], vec![], &out))
}

pub(super) fn flatten(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    let axis = if b.one_in(2) { 1 } else { b.below(x.shape.len()) };
    let lead: usize = x.shape[..axis].iter().product();
    Some(b.node("Flatten", &[&x.name], vec![("axis", Attr::Int(axis as i64))], &[lead, x.len() / lead]))
}

/// A node whose axes are an attribute before version 13 and an input since.
fn with_axes(b: &mut Builder, op: &'static str, x: &Value, axes: &[i64], shape: &[usize]) -> Value {
    if b.opset() < 13 {
        return b.node(op, &[&x.name], vec![("axes", Attr::Ints(axes.to_vec()))], shape);
    }
    let axes = b.ints(axes);
    b.node(op, &[&x.name, &axes], vec![], shape)
}

pub(super) fn squeeze(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 3 && v.shape[1..].contains(&1))?;
    let ones: Vec<usize> = (1..x.shape.len()).filter(|&a| x.shape[a] == 1).collect();
    let axis = b.of(&ones);
    let mut shape = x.shape.clone();
    shape.remove(axis);
    let spelled = spell_axis(b, axis, x.shape.len());
    Some(with_axes(b, "Squeeze", &x, &[spelled], &shape))
}

pub(super) fn unsqueeze(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() <= 3)?;
    let axis = b.between(0, x.shape.len());
    let mut shape = x.shape.clone();
    shape.insert(axis, 1);
    let spelled = spell_axis(b, axis, shape.len());
    Some(with_axes(b, "Unsqueeze", &x, &[spelled], &shape))
}

pub(super) fn transpose(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    let rank = x.shape.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    for i in (1..rank).rev() {
        // Mostly the batch stays in front.
        let j = if i > 1 && !b.one_in(6) { b.between(1, i) } else { b.below(i + 1) };
        perm.swap(i, j);
    }
    let shape: Vec<usize> = perm.iter().map(|&p| x.shape[p]).collect();
    Some(b.node("Transpose", &[&x.name], vec![("perm", Attr::Ints(ints(&perm)))], &shape))
}

pub(super) fn split(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.iter().any(|&d| d > 1))?;
    let axes: Vec<usize> = (0..x.shape.len()).filter(|&a| x.shape[a] > 1).collect();
    let axis = b.of(&axes);
    let whole = x.shape[axis];
    let parts = b.between(2, whole.min(3));
    let equal = b.one_in(2) && (whole % parts == 0 || b.opset() >= 18);
    let mut sizes = Vec::new();
    if equal {
        let part = whole.div_ceil(parts);
        sizes = (0..parts).map(|i| part.min(whole.saturating_sub(i * part))).collect();
        if sizes.contains(&0) {
            return None;
        }
    } else {
        let mut left = whole;
        for i in 0..parts - 1 {
            sizes.push(b.between(1, left - (parts - 1 - i)));
            left -= sizes[i];
        }
        sizes.push(left);
    }
    let mut attrs = vec![("axis", Attr::Int(spell_axis(b, axis, x.shape.len())))];
    let mut inputs = vec![x.name.clone()];
    match (equal, b.opset()) {
        (true, 18..) => attrs.push(("num_outputs", Attr::Int(parts as i64))),
        (true, _) => {}
        (false, ..13) => attrs.push(("split", Attr::Ints(ints(&sizes)))),
        (false, _) => inputs.push(b.ints(&ints(&sizes))),
    }
    let mut values = Vec::new();
    for &size in &sizes {
        let mut shape = x.shape.clone();
        shape[axis] = size;
        values.push(Value { name: b.name("v"), shape });
    }
    let outputs = values.iter().map(|v| v.name.clone()).collect();
    b.case.nodes.push(super::Node { op: "Split", inputs, outputs, attrs });
    b.pool.extend(values.iter().cloned());
    values.pop()
}

pub(super) fn slice(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.iter().any(|&d| d > 1))?;
    let mut shape = x.shape.clone();
    let (mut starts, mut ends, mut axes, mut steps) = (vec![], vec![], vec![], vec![]);
    for a in 0..shape.len() {
        if shape[a] < 2 || b.one_in(2) {
            continue;
        }
        let n = shape[a];
        axes.push(spell_axis(b, a, shape.len()));
        if b.opset() >= 10 && b.one_in(4) {
            // Backwards, to the very first element.
            let (start, step) = (b.between(0, n - 1), b.between(1, 2));
            starts.push(start as i64);
            ends.push(i64::MIN + 1);
            steps.push(-(step as i64));
            shape[a] = start / step + 1;
            continue;
        }
        let start = b.below(n);
        let end = b.between(start + 1, n);
        let step = if b.opset() >= 10 && b.one_in(3) { b.between(2, 3) } else { 1 };
        starts.push(start as i64 - if b.one_in(3) { n as i64 } else { 0 });
        ends.push(if end == n && b.one_in(2) { i64::MAX } else { end as i64 });
        steps.push(step as i64);
        shape[a] = (end - start).div_ceil(step);
    }
    if axes.is_empty() {
        return None;
    }
    if b.opset() < 10 {
        let lists = [("starts", starts), ("ends", ends), ("axes", axes)];
        let attrs = lists.into_iter().map(|(name, v)| (name, Attr::Ints(v))).collect();
        return Some(b.node("Slice", &[&x.name], attrs, &shape));
    }
    let mut inputs = vec![x.name.clone(), b.ints(&starts), b.ints(&ends), b.ints(&axes)];
    if steps.iter().any(|&s| s != 1) || b.one_in(3) {
        inputs.push(b.ints(&steps));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Some(b.node("Slice", &inputs, vec![], &shape))
}

pub(super) fn pad(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.len() >= 2)?;
    let rank = x.shape.len();
    let mode = b.of(&["constant", "constant", "edge", "reflect", "wrap"]);
    let mode = if mode == "wrap" && b.opset() < 19 { "constant" } else { mode };
    let value = if mode == "constant" { b.of(&[0.0, 0.0, 1.0, -2.5, 0.01]) } else { 0.0 };
    let mut pads = vec![0; 2 * rank];
    let mut shape = x.shape.clone();
    for a in 1..rank {
        let most = if mode == "constant" { 2 } else { (shape[a] - 1).min(2) };
        let (begin, end) = (b.below(most + 1), b.below(most + 1));
        (pads[a], pads[rank + a]) = (begin as i64, end as i64);
        shape[a] += begin + end;
    }
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    let mut attrs = vec![("mode", Attr::Str(mode))];
    if b.opset() < 11 {
        attrs.extend([("pads", Attr::Ints(pads)), ("value", Attr::Float(value))]);
        return Some(b.node("Pad", &[&x.name], attrs, &shape));
    }
    let mut inputs = vec![x.name.clone(), b.ints(&pads)];
    if value != 0.0 {
        inputs.push(b.scalar(value));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Some(b.node("Pad", &inputs, attrs, &shape))
}

pub(super) fn gather(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| !v.shape.is_empty())?;
    let rank = x.shape.len();
    let axis = b.below(rank);
    let n = x.shape[axis];
    let count = b.between(1, 4);
    let scalar = b.one_in(3) && rank > 1;
    let back = b.opset() >= 11;
    let mut rows = Vec::new();
    for _ in 0..if scalar { 1 } else { count } {
        rows.push(b.below(n) as i64 - if back && b.one_in(3) { n as i64 } else { 0 });
    }
    let mut shape = x.shape.clone();
    if scalar {
        shape.remove(axis);
    } else {
        shape[axis] = rows.len();
    }
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    let index = b.constant(Tensor::i64(&if scalar { vec![] } else { vec![rows.len()] }, rows));
    let spelled = spell_axis(b, axis, rank);
    Some(b.node("Gather", &[&x.name, &index], vec![("axis", Attr::Int(spelled))], &shape))
}

pub(super) fn expand(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.contains(&1) && v.shape.len() <= 4)?;
    let mut shape = x.shape.clone();
    let last = shape.len() - 1;
    for (a, d) in shape.iter_mut().enumerate() {
        if *d == 1 && (a > 0 || last == 0) {
            *d = b.between(1, 4);
        }
    }
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    let target = b.ints(&ints(&shape));
    Some(b.node("Expand", &[&x.name, &target], vec![], &shape))
}

/// The place of the greatest value; sometimes it is computed with.
pub(super) fn arg_max(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.iter().any(|&d| d > 1))?;
    let axes: Vec<usize> = (0..x.shape.len()).filter(|&a| x.shape[a] > 1).collect();
    let axis = b.of(&axes);
    let keep = b.one_in(2);
    let mut attrs = vec![("axis", Attr::Int(axis as i64)), ("keepdims", Attr::Int(i64::from(keep)))];
    if b.opset() >= 12 && b.one_in(3) {
        attrs.push(("select_last_index", Attr::Int(1)));
    }
    let found = b.hidden("ArgMax", &[&x.name], attrs);
    b.end(found);
    Some(x)
}

/// A value cut to integers.
pub(super) fn to_integers(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let to = b.of(&[crate::onnx::INT32, crate::onnx::INT64]);
    let scale = b.scalar(10.0);
    let scaled = b.hidden("Mul", &[&x.name, &scale], vec![]);
    let cut = b.hidden("Cast", &[&scaled], vec![("to", Attr::Int(to))]);
    b.end(cut);
    Some(x)
}
