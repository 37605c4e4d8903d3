//! Layers of the operators that are one row of a table: functions of one value, comparisons and choices,
//! extremes, reductions, cumulative sums, and integers' own.

use super::generate::{Builder, Value};
use super::layers::broadcast;
use super::{Attr, Node};
use secateur_compiler::tensor::{Data, Tensor};

/// A value within -0.9..0.9, within 0.1..1.1, or within 1.1..2.1.
fn within(b: &mut Builder, x: &str, domain: &str) -> String {
    let (from, gain, offset) = match domain {
        "unit" => ("Tanh", 0.9, 0.0),
        "positive" => ("Sigmoid", 1.0, 0.1),
        "above" => ("Sigmoid", 1.0, 1.1),
        _ => return x.to_string(),
    };
    let y = b.hidden(from, &[x], vec![]);
    let (gain, offset) = (b.scalar(gain), b.scalar(offset));
    let y = b.hidden("Mul", &[&y, &gain], vec![]);
    b.hidden("Add", &[&y, &offset], vec![])
}

/// Name, first operator set, and what it is defined for.
const FUNCTIONS: &[(&str, i64, &str)] = &[
    ("Abs", 6, ""),
    ("Acos", 7, "unit"),
    ("Acosh", 9, "above"),
    ("Asin", 7, "unit"),
    ("Asinh", 9, ""),
    ("Atan", 7, ""),
    ("Atanh", 9, "unit"),
    ("Ceil", 6, ""),
    ("Celu", 12, ""),
    ("Cos", 7, ""),
    ("Cosh", 9, "unit"),
    ("Elu", 6, ""),
    ("Erf", 9, ""),
    ("Exp", 6, "unit"),
    ("Floor", 6, ""),
    ("Gelu", 20, ""),
    ("Log", 6, "positive"),
    ("Mish", 18, ""),
    ("Neg", 6, ""),
    ("Reciprocal", 6, "above"),
    ("Round", 11, ""),
    ("Selu", 6, ""),
    ("Shrink", 9, ""),
    ("Sign", 9, ""),
    ("Sin", 7, ""),
    ("Sinh", 9, "unit"),
    ("Softplus", 1, ""),
    ("Softsign", 1, ""),
    ("Tan", 7, "unit"),
    ("ThresholdedRelu", 10, ""),
];

pub(super) fn function(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    // The newest is drawn seldom otherwise.
    let newest = b.opset() >= 20 && b.one_in(4);
    let drawn = if newest { "Gelu" } else { FUNCTIONS[b.below(FUNCTIONS.len())].0 };
    let &(op, since, domain) = FUNCTIONS.iter().find(|f| f.0 == drawn)?;
    if b.opset() < since {
        return None;
    }
    let from = within(b, &x.name, domain);
    let alpha = b.of(&[0.3, 1.0, 1.5]);
    let attrs = match op {
        "Elu" | "Celu" | "ThresholdedRelu" => vec![("alpha", Attr::Float(alpha))],
        "Gelu" if b.one_in(2) => vec![("approximate", Attr::Str("tanh"))],
        _ => vec![],
    };
    Some(b.node(op, &[&from], attrs, &x.shape))
}

/// A power, of one constant exponent or of many.
pub(super) fn power(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let y = if b.one_in(2) {
        let (base, exponent) = (within(b, &x.name, "unit"), b.of(&[2.0, 3.0, 4.0]));
        let exponent = b.scalar(exponent);
        b.node("Pow", &[&base, &exponent], vec![], &x.shape)
    } else {
        let (base, exponents) = (within(b, &x.name, "positive"), b.floats(&x.shape, 0.5, 0.5));
        b.node("Pow", &[&base, &exponents], vec![], &x.shape)
    };
    Some(y)
}

fn pair(b: &mut Builder) -> Option<(Value, Value, Vec<usize>)> {
    let x = b.pick(|_| true)?;
    let y = if b.one_in(3) {
        let shape = if b.one_in(2) { vec![] } else { x.shape.clone() };
        Value { name: b.floats(&shape, 1.0, 0.0), shape }
    } else {
        let like = x.shape.clone();
        b.pick(|v| broadcast(&v.shape, &like).is_some())?
    };
    let shape = broadcast(&x.shape, &y.shape)?;
    b.room(shape.iter().product(), 0).then_some((x, y, shape))
}

pub(super) fn extreme(b: &mut Builder) -> Option<Value> {
    let (x, y, shape) = pair(b)?;
    let op = b.of(&["Max", "Min", "Sum", "Mean", "PRelu"]);
    if op == "PRelu" {
        let slope = if b.one_in(2) && !x.shape.is_empty() { vec![1] } else { x.shape.clone() };
        let slope = b.floats(&slope, 0.2, 0.1);
        return Some(b.node(op, &[&x.name, &slope], vec![], &x.shape));
    }
    let third = b.floats(&[1], 1.0, 0.0);
    let inputs: &[&str] = match b.below(3) {
        0 => &[&x.name, &y.name, &third],
        1 => &[&y.name, &x.name],
        _ => &[&x.name, &y.name],
    };
    Some(b.node(op, inputs, vec![], &shape))
}

/// One of two values, by a comparison that is turned round or joined with another.
pub(super) fn choice(b: &mut Builder) -> Option<Value> {
    let (x, y, shape) = pair(b)?;
    if b.opset() < 12 {
        return None;
    }
    let op = b.of(&["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf"]);
    let mut by = match op {
        "IsNaN" | "IsInf" => b.hidden(op, &[&x.name], vec![]),
        _ => b.hidden(op, &[&x.name, &y.name], vec![]),
    };
    if b.one_in(2) {
        let other = b.hidden("Less", &[&y.name, &x.name], vec![]);
        let op = b.of(&["And", "Or", "Xor"]);
        by = b.hidden(op, &[&by, &other], vec![]);
    }
    if b.one_in(2) {
        by = b.hidden("Not", &[&by], vec![]);
    }
    let whole = x.shape == shape && y.shape == shape;
    if b.one_in(4) || !whole {
        b.end(by);
        return Some(x);
    }
    Some(b.node("Where", &[&by, &x.name, &y.name], vec![], &shape))
}

pub(super) fn reduction(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.iter().any(|&d| d > 1))?;
    let axes: Vec<usize> = (0..x.shape.len()).filter(|&a| x.shape[a] > 1).collect();
    let axis = b.of(&axes);
    let op = b.of(&["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"]);
    let from = match op {
        "ReduceProd" => within(b, &x.name, "above"),
        _ => x.name.clone(),
    };
    if op == "ReduceProd" && x.shape[axis] > 6 {
        return None;
    }
    let mut shape = x.shape.clone();
    shape[axis] = 1;
    let keep = ("keepdims", Attr::Int(1));
    let first = if op == "ReduceSum" { 13 } else { 18 };
    if b.opset() < first {
        return Some(b.node(op, &[&from], vec![("axes", Attr::Ints(vec![axis as i64])), keep], &shape));
    }
    let axes = b.ints(&[axis as i64]);
    Some(b.node(op, &[&from, &axes], vec![keep], &shape))
}

/// Sums up to each element, or the greatest elements and where they stand.
pub(super) fn along(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|v| v.shape.iter().any(|&d| d > 1))?;
    if b.opset() < 11 {
        return None;
    }
    let axes: Vec<usize> = (0..x.shape.len()).filter(|&a| x.shape[a] > 1).collect();
    let axis = b.of(&axes);
    if b.one_in(2) {
        let from = within(b, &x.name, "unit");
        let at = b.constant(Tensor::new(vec![], Data::I64(vec![axis as i64])).expect("one element"));
        let attrs =
            vec![("exclusive", Attr::Int(b.below(2) as i64)), ("reverse", Attr::Int(b.below(2) as i64))];
        return Some(b.node("CumSum", &[&from, &at], attrs, &x.shape));
    }
    let k = b.between(1, x.shape[axis]);
    let count = b.ints(&[k as i64]);
    let mut shape = x.shape.clone();
    shape[axis] = k;
    let attrs = vec![("axis", Attr::Int(axis as i64)), ("largest", Attr::Int(b.below(2) as i64))];
    // The places are a result that every reader wants named, used or not.
    let outputs = vec![b.name("v"), b.name("v")];
    let value = Value { name: outputs[0].clone(), shape };
    b.case.nodes.push(Node { op: "TopK", inputs: vec![x.name, count], outputs, attrs });
    b.pool.push(value.clone());
    Some(value)
}

/// What integers have of their own.
pub(super) fn bits(b: &mut Builder) -> Option<Value> {
    if b.opset() < 18 {
        return None;
    }
    let x = b.pick(|_| true)?;
    let scale = b.scalar(3.0);
    let scaled = b.hidden("Mul", &[&x.name, &scale], vec![]);
    let op = b.of(&["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift", "Mod"]);
    let to = if op == "BitShift" { crate::onnx::UINT8 } else { crate::onnx::INT32 };
    let from = if op == "BitShift" { b.hidden("Abs", &[&scaled], vec![]) } else { scaled };
    let limit = b.scalar(200.0);
    let from = b.hidden("Min", &[&from, &limit], vec![]);
    let whole = b.hidden("Cast", &[&from], vec![("to", Attr::Int(to))]);
    let other = match op {
        "BitShift" => Data::U8(vec![2]),
        _ => Data::I32(vec![5]),
    };
    let other = b.constant(Tensor::new(vec![], other).expect("one element"));
    let found = match op {
        "BitwiseNot" => b.hidden(op, &[&whole], vec![]),
        "BitShift" => b.hidden(op, &[&whole, &other], vec![("direction", Attr::Str("LEFT"))]),
        _ => b.hidden(op, &[&whole, &other], vec![]),
    };
    b.end(found);
    Some(x)
}
