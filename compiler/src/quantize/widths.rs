//! Which nodes have kernels for the widths of the integers that they read and give.
//!
//! In: a node all of whose real values are stored as integers. Out: what it lacks where some of these have sixteen
//! bits. Law: what this says nothing against is what `select` has kernels for; the rest computes in floats, between
//! `Requantize`s, and a warning says so.

use super::forms::{carries, integer_form};
use crate::graph::{Graph, NodeId, Quant, Value, ValueId};
use crate::ops::{Op, Reduce, Reducing};
use crate::tensor::{DType, Tensor};
use crate::warning::Warning;

/// Elements of sixteen bits whose sum, less as many zero points, fits 31 bits.
pub(super) const SUMMED: usize = 1 << 14;

/// Steps of a result in one of an operand from which on no kernel adds them.
const APART: f64 = 4096.0;

const NONE: &str = "its operator has no kernel";

/// Whether a value is stored in sixteen bits.
pub(super) fn wide(value: &Value) -> bool {
    value.quant.as_ref().is_some_and(|q| q.dtype == DType::I16)
}

/// Sixteen bits around zero that hold a constant.
pub(super) fn sixteen_bits(real: &Tensor) -> Quant {
    let far = real.to_f32_vec().iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = if far / 32767.0 >= f32::MIN_POSITIVE { far / 32767.0 } else { 1.0 };
    Quant::per_tensor(DType::I16, scale, 0)
}

/// Whether a node reads or gives integers of sixteen bits.
pub(super) fn touches_wide(graph: &Graph, id: NodeId) -> bool {
    let node = &graph[id];
    node.inputs.iter().flatten().chain(&node.outputs).any(|&v| wide(&graph[v]))
}

/// How many elements of its operand a node sums up, where it does.
pub(super) fn summed(graph: &Graph, id: NodeId) -> Option<usize> {
    let node = &graph[id];
    let x = node.inputs.first().copied().flatten();
    let shape = x.map_or(&[][..], |v| graph[v].shape.as_slice());
    let along = |axes: &[usize]| axes.iter().filter_map(|&a| shape.get(a)).product::<usize>();
    match &node.op {
        Op::AveragePool(pool) => Some(pool.kernel.iter().product()),
        Op::GlobalAveragePool(_) => Some(shape.iter().skip(2).product()),
        Op::ReduceMean(mean) => Some(along(&mean.axes)),
        Op::Reduce(Reduce { function: Reducing::Sum, axes, .. }) => Some(along(axes)),
        Op::Normalization(op) => Some(op.count(shape)),
        _ => None,
    }
}

/// What a node lacks to compute on the integers that it reads and gives; `None` where it lacks nothing, or is no node
/// of integers.
pub(super) fn lacks(graph: &Graph, id: NodeId) -> Option<&'static str> {
    if !touches_wide(graph, id) {
        return None;
    }
    let node = &graph[id];
    let operand = |i: usize| node.inputs.get(i).copied().flatten().map(|v| &graph[v]);
    let narrow = || !node.outputs.iter().any(|&v| wide(&graph[v]));
    match &node.op {
        Op::Requantize(_) | Op::ArgMax(_) | Op::Relu(_) | Op::Clip(_) | Op::Recurrent(_) => None,
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) => apart(graph, id),
        op if carries(op) => (!node.clamp.is_none()).then_some(NONE),
        Op::Conv(_) | Op::Dense(_) => layer(graph, id),
        Op::Normalization(op) => {
            let code = operand(0).and_then(|x| x.quant.as_ref());
            let code = code.and_then(|q| Some((f64::from(*q.scale.first()?), *q.zero_point.first()?)));
            let count = summed(graph, id).unwrap_or(0);
            code.and_then(|code| op.span(count, code)).is_none().then_some(NONE)
        }
        _ if summed(graph, id).is_some_and(|count| count <= SUMMED) => None,
        // A dividend that is known has sixteen bits.
        Op::Div(_) => {
            let known = operand(0).is_some_and(|x| x.constant().is_some());
            (!known || !narrow() || operand(1).is_some_and(wide)).then_some(NONE)
        }
        _ => Some(NONE),
    }
}

/// What a sum, difference or product lacks whose scales are far apart.
fn apart(graph: &Graph, id: NodeId) -> Option<&'static str> {
    let scale = |v: ValueId| match (&graph[v].quant, graph[v].constant()) {
        (Some(quant), _) if quant.axis.is_none() => quant.scale.first().copied(),
        (None, Some(real)) => sixteen_bits(real).scale.first().copied(),
        _ => None,
    };
    let node = &graph[id];
    let steps: Option<Vec<f32>> =
        node.inputs.iter().flatten().chain(node.outputs.iter().take(1)).map(|&v| scale(v)).collect();
    let Some([a, b, y]) = steps.as_deref() else { return Some(NONE) };
    let (a, b, y) = (f64::from(*a), f64::from(*b), f64::from(*y));
    let far = match node.op {
        Op::Mul(_) => !(1e-12..APART).contains(&(a * b / y)),
        _ => a / y >= APART || b / y >= APART,
    };
    far.then_some("its scales are far apart")
}

/// What a convolution or dense layer lacks: its weights are constants of nine bits, and no sum of theirs with what is
/// read and the bias leaves 32 bits, whichever share of it zero points have.
fn layer(graph: &Graph, id: NodeId) -> Option<&'static str> {
    let operand = |i: usize| graph[id].inputs.get(i).copied().flatten().map(|v: ValueId| &graph[v]);
    let codes = || Some((operand(0)?.quant.as_ref()?, operand(1)?.constant()?, operand(1)?.quant.as_ref()?));
    let Some((x, weights, code)) = codes() else { return Some("its weights are no constants of integers") };
    let rows = weights.shape().first().copied().unwrap_or(1).max(1);
    let stored = weights.to_i64_vec();
    let taps = (stored.len() / rows).max(1);
    let each = |of: &[i32], row: usize| of.get(if of.len() > 1 { row } else { 0 }).copied().unwrap_or(0);
    let x_zero = x.zero_point.first().copied().unwrap_or(0);
    let far = if x.dtype == DType::I16 { (1 << 15) + i64::from(x_zero).abs() } else { 256 };
    let bias = operand(2).and_then(Value::real_constant).map(|b| b.to_f32_vec()).unwrap_or_default();
    for (row, stored) in stored.chunks(taps).enumerate() {
        let zero = i64::from(each(&code.zero_point, row));
        if stored.iter().any(|w| (w - zero).abs() > 255) {
            return Some("its weights have sixteen bits");
        }
        let size: i64 = stored.iter().map(|w| (w - zero).abs()).sum();
        let step =
            code.scale.get(if code.scale.len() > 1 { row } else { 0 }).copied().unwrap_or(1.0) * x.scale[0];
        let added = f64::from(bias.get(row).copied().unwrap_or(0.0).abs()) / f64::from(step);
        if (size * far) as f64 + added + 1.0 > f64::from(i32::MAX) {
            return Some("its sums leave 32 bits");
        }
    }
    None
}

/// Says which nodes compute in floats for the widths of what they read and give.
pub(super) fn warn(graph: &mut Graph) {
    let stored = |&v: &ValueId| graph[v].dtype != DType::F32 || graph[v].quant.is_some();
    let lacking: Vec<(NodeId, &str)> = graph
        .nodes()
        .filter(|(_, n)| {
            integer_form(&n.op)
                && n.inputs.iter().flatten().all(|v| stored(v) || graph[*v].constant().is_some())
        })
        .filter(|(_, n)| n.outputs.iter().all(stored))
        .filter_map(|(id, _)| Some((id, lacks(graph, id)?)))
        .collect();
    let Some(&(first, why)) = lacking.first() else { return };
    let others = match lacking.len() - 1 {
        0 => String::new(),
        1 => " (and so does one other node)".into(),
        n => format!(" (and so do {n} other nodes)"),
    };
    let text =
        format!("reads or gives integers of 16 bits, but {why}: it computes in floats between them{others}");
    graph.warn(
        Warning::new(graph[first].site(), text)
            .help("quantize what it reads and gives to 8 bits in the model"),
    );
}
