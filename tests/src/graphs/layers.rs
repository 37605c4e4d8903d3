//! Element-wise layers, and the table of all layers with how often each is drawn.

use super::Attr;
use super::generate::{Builder, Layer, Value};
use super::{general, neural, recurrent, shapes};
use secateur_compiler::tensor::{Data, Tensor};

/// Every layer with its weight.
pub(super) fn table() -> Vec<(usize, Layer)> {
    vec![
        (10, neural::conv),
        (5, neural::depthwise),
        (6, neural::gemm),
        (5, neural::mat_mul),
        (2, neural::attention),
        (5, recurrent::recurrent),
        (3, neural::batch_norm),
        (3, neural::max_pool),
        (4, neural::average_pool),
        (2, neural::global_pool),
        (4, neural::mean),
        (5, neural::softmax),
        (3, neural::embedding),
        (8, join),
        (5, with_constant),
        (8, activation),
        (3, gate),
        (2, root),
        (2, divide),
        (2, squares),
        (2, nothing),
        (2, quantizers),
        (8, shapes::concat),
        (3, shapes::token),
        (4, shapes::reshape),
        (2, shapes::shape_arithmetic),
        (2, shapes::flatten),
        (2, shapes::squeeze),
        (2, shapes::unsqueeze),
        (4, shapes::transpose),
        (4, shapes::split),
        (4, shapes::slice),
        (4, shapes::pad),
        (3, shapes::gather),
        (2, shapes::expand),
        (2, shapes::arg_max),
        (1, shapes::to_integers),
        (14, general::function),
        (2, general::power),
        (4, general::extreme),
        (3, general::choice),
        (3, general::reduction),
        (3, general::along),
        (3, general::bits),
    ]
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, n) | (n, 1) => Some(n),
            _ => None,
        })
        .collect()
}

fn other(b: &mut Builder, x: &Value) -> Option<Value> {
    let like = x.shape.clone();
    if b.one_in(3) {
        return b.pick(|v| broadcast(&v.shape, &like).is_some());
    }
    b.pick(|v| v.shape == like && v.name != x.name)
}

/// Two computed values: residuals, gains, differences.
fn join(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let y = other(b, &x)?;
    let shape = broadcast(&x.shape, &y.shape)?;
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    let op = b.of(&["Add", "Add", "Add", "Sub", "Mul"]);
    let (a, c) = if b.one_in(2) { (&x, &y) } else { (&y, &x) };
    Some(b.node(op, &[&a.name, &c.name], vec![], &shape))
}

/// A shape that broadcasts to that of a value without making it larger.
fn smaller(b: &mut Builder, shape: &[usize]) -> Vec<usize> {
    match b.below(4) {
        0 => vec![],
        1 => shape.to_vec(),
        2 if shape.len() > 1 => {
            let mut only = vec![1; shape.len()];
            only[1] = shape[1];
            only
        }
        _ => shape[shape.len() - shape.len().min(1)..].to_vec(),
    }
}

/// A value and a constant, on either side.
fn with_constant(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let op = b.of(&["Add", "Sub", "Mul", "Div"]);
    let like = smaller(b, &x.shape);
    let c = if op == "Div" {
        let len = like.iter().product();
        let values =
            (0..len).map(|_| (0.3 + 2.0 * b.unit()) * if b.one_in(4) { -1.0 } else { 1.0 }).collect();
        b.constant(Tensor::f32(&like, values))
    } else {
        let mean = b.of(&[0.0, 0.0, 1.0, -2.0]);
        b.floats(&like, 1.0, mean)
    };
    let swap = op != "Div" && b.one_in(2);
    let inputs = if swap { [c.as_str(), x.name.as_str()] } else { [x.name.as_str(), c.as_str()] };
    Some(b.node(op, &inputs, vec![], &x.shape))
}

/// Adds an activation function to a value.
pub(super) fn activate(b: &mut Builder, x: &Value) -> Value {
    let choices =
        ["Relu", "Relu", "Relu", "Clip", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh"];
    let op = b.of(&choices);
    let op = if op == "HardSwish" && b.opset() < 14 { "Relu" } else { op };
    let slope = b.of(&[0.01, 0.1, 0.3, 1.5]);
    let attrs = match op {
        "LeakyRelu" => vec![("alpha", Attr::Float(slope))],
        "HardSigmoid" if b.one_in(2) => vec![("alpha", Attr::Float(1.0 / 6.0)), ("beta", Attr::Float(0.5))],
        _ => vec![],
    };
    if op != "Clip" {
        return b.node(op, &[&x.name], attrs, &x.shape);
    }
    let (lo, hi) = b.of(&[(0.0, 6.0), (-1.0, 1.0), (0.0, 1.0), (-0.5, 2.0)]);
    if b.opset() < 11 {
        return b.node(op, &[&x.name], vec![("min", Attr::Float(lo)), ("max", Attr::Float(hi))], &x.shape);
    }
    let lo = if b.one_in(6) { String::new() } else { b.scalar(lo) };
    let hi = b.scalar(hi);
    b.node(op, &[&x.name, &lo, &hi], vec![], &x.shape)
}

fn activation(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    Some(activate(b, &x))
}

/// `x * sigmoid(x)`, by either of two gates.
fn gate(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let op = b.of(&["Sigmoid", "HardSigmoid", "Tanh"]);
    let g = b.hidden(op, &[&x.name], vec![]);
    Some(b.node("Mul", &[&x.name, &g], vec![], &x.shape))
}

/// The square root of what is not negative.
fn root(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let positive = b.of(&["Relu", "Sigmoid"]);
    let p = b.hidden(positive, &[&x.name], vec![]);
    Some(b.node("Sqrt", &[&p], vec![], &x.shape))
}

/// A quotient of two computed values, the divisor well above zero.
fn divide(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let y = other(b, &x)?;
    let shape = broadcast(&x.shape, &y.shape)?;
    if !b.room(shape.iter().product(), 0) {
        return None;
    }
    let s = b.hidden("Sigmoid", &[&y.name], vec![]);
    let half = b.scalar(0.5);
    let d = b.hidden("Add", &[&s, &half], vec![]);
    Some(b.node("Div", &[&x.name, &d], vec![], &shape))
}

/// A square: both operands are the same value.
fn squares(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    let t = b.hidden("Tanh", &[&x.name], vec![]);
    let from = if b.one_in(2) { &x.name } else { &t };
    let y = b.hidden("Mul", &[from, from], vec![]);
    // Values would grow without bound.
    let scale = b.scalar(0.2);
    Some(b.node("Mul", &[&y, &scale], vec![], &x.shape))
}

/// What does nothing at inference.
fn nothing(b: &mut Builder) -> Option<Value> {
    let x = b.pick(|_| true)?;
    Some(match b.below(3) {
        0 => b.node("Identity", &[&x.name], vec![], &x.shape),
        1 => b.node("Cast", &[&x.name], vec![("to", Attr::Int(crate::onnx::FLOAT))], &x.shape),
        _ => b.node("Dropout", &[&x.name], vec![], &x.shape),
    })
}

/// A value through 8 bits and back, as a model has it that brings its own quantization.
fn quantizers(b: &mut Builder) -> Option<Value> {
    // Rare: the whole graph counts as quantized then, and calibration does nothing.
    if !b.one_in(4) || b.opset() < 13 {
        return None;
    }
    let x = b.pick(|_| true)?;
    let (scale, signed) = (b.of(&[0.01, 0.02]), b.one_in(2));
    let zero = if signed { Data::I8(vec![3]) } else { Data::U8(vec![127]) };
    let zero = b.constant(Tensor::new(vec![], zero).expect("one element"));
    let scale = b.scalar(scale);
    let q = b.hidden("QuantizeLinear", &[&x.name, &scale, &zero], vec![]);
    Some(b.node("DequantizeLinear", &[&q, &scale, &zero], vec![], &x.shape))
}
