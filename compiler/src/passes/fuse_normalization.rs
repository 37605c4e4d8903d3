//! LayerNormalization and RMSNormalization from the operators that models spell them in: a mean, differences, their
//! squares' mean, a root, a quotient; then a product with constants and a sum with constants.
//!
//! Law: no rounding of a model's own disappears: nothing is fused across a value that carries a `Quant`. What others
//! read of a spelling stays beside the fused form.

use super::edit::{merge_into, number, operand, plain_f32, plain_producer, private_producer};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Normalization, Op};
use crate::tensor::Tensor;

pub(super) fn fuse_normalization(patch: &mut Patch<'_>) -> Result<usize> {
    let graph = patch.graph();
    let found: Vec<(NodeId, Spelled)> =
        graph.topological().into_iter().filter_map(|id| Some((id, quotient(graph, id)?))).collect();
    let changed = found.len();
    for (id, spelled) in found {
        let node = patch.node_mut(id);
        node.op = spelled.op.into();
        node.inputs = vec![Some(spelled.x)];
        for (index, word) in [(1, "scale"), (2, "bias")] {
            take_factors(patch, id, index, word);
        }
    }
    Ok(changed)
}

/// What a quotient turned out to be.
struct Spelled {
    x: ValueId,
    op: Normalization,
}

/// `difference / deviation`, or that times the reciprocal.
fn quotient(graph: &Graph, id: NodeId) -> Option<Spelled> {
    let y = *graph[id].outputs.first()?;
    plain_producer(graph, y)?;
    let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    match &graph[id].op {
        Op::Div(_) => normalized(graph, a, root(graph, b)?),
        Op::Mul(_) => {
            [(a, b), (b, a)].into_iter().find_map(|(a, b)| normalized(graph, a, inverse_root(graph, b)?))
        }
        _ => None,
    }
}

/// What stands under a root.
fn root(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let id = plain_producer(graph, value)?;
    match &graph[id].op {
        Op::Sqrt(_) => operand(graph, id, 0),
        Op::Map(map) if map.function == "Pow" && power(graph, id) == Some(0.5) => operand(graph, id, 0),
        _ => None,
    }
}

/// What stands under a root by whose reciprocal something is multiplied.
fn inverse_root(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let id = plain_producer(graph, value)?;
    match &graph[id].op {
        Op::Map(map) if map.function == "Reciprocal" => root(graph, operand(graph, id, 0)?),
        Op::Map(map) if map.function == "Pow" && power(graph, id) == Some(-0.5) => operand(graph, id, 0),
        Op::Div(_) if number(graph, operand(graph, id, 0)?) == Some(1.0) => {
            root(graph, operand(graph, id, 1)?)
        }
        _ => None,
    }
}

/// The exponent of a power, where it is known.
fn power(graph: &Graph, id: NodeId) -> Option<f32> {
    let Op::Map(map) = &graph[id].op else { return None };
    match map.tail.as_slice() {
        [exponent] => exponent.to_f32_vec().first().copied(),
        _ => number(graph, operand(graph, id, 1)?),
    }
}

/// The value that is squared.
fn squared(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let id = plain_producer(graph, value)?;
    let base = operand(graph, id, 0)?;
    let square = match &graph[id].op {
        Op::Mul(_) => operand(graph, id, 1) == Some(base),
        Op::Map(map) if map.function == "Pow" => power(graph, id) == Some(2.0),
        _ => false,
    };
    square.then_some(base)
}

/// The operand of a mean that keeps its axes, and these.
fn mean(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let id = plain_producer(graph, value)?;
    let x = operand(graph, id, 0)?;
    match &graph[id].op {
        Op::ReduceMean(mean) if mean.keepdims && !mean.axes.is_empty() => Some((x, mean.axes.clone())),
        Op::GlobalAveragePool(_) => Some((x, (2..graph[x].shape.len()).collect())),
        _ => None,
    }
}

/// `numerator / sqrt(under)`, where that is the mean of the numerator's squares and a small number, and the numerator
/// what a mean leaves of something, or anything.
fn normalized(graph: &Graph, numerator: ValueId, under: ValueId) -> Option<Spelled> {
    let sum = plain_producer(graph, under)?;
    let (variance, epsilon) = match &graph[sum].op {
        Op::Add(_) => {
            let (a, b) = (operand(graph, sum, 0)?, operand(graph, sum, 1)?);
            match (number(graph, a), number(graph, b)) {
                (None, Some(epsilon)) => (a, epsilon),
                (Some(epsilon), None) => (b, epsilon),
                _ => return None,
            }
        }
        _ => (under, 0.0),
    };
    let (square, axes) = mean(graph, variance)?;
    if epsilon < 0.0 || axes.is_empty() || squared(graph, square)? != numerator {
        return None;
    }
    if graph[numerator].quant.is_some() || graph[numerator].constant().is_some() {
        return None;
    }
    let centred =
        plain_producer(graph, numerator).filter(|&id| matches!(graph[id].op, Op::Sub(_))).and_then(|id| {
            let (x, taken) = (operand(graph, id, 0)?, mean(graph, operand(graph, id, 1)?)?);
            (taken == (x, axes.clone()) && graph[x].shape == graph[numerator].shape).then_some(x)
        });
    let op = Normalization { axes, epsilon, centred: centred.is_some() };
    Some(Spelled { x: centred.unwrap_or(numerator), op })
}

/// Constants that broadcast along all but the normalized axes, one for each of their places; `None` for others.
fn factors(tensor: &Tensor, shape: &[usize], axes: &[usize]) -> Option<Vec<f32>> {
    let behind = shape.len().checked_sub(tensor.shape().len())?;
    let size = |a: usize| if a < behind { 1 } else { tensor.shape()[a - behind] };
    let fits = |a: usize| size(a) == 1 || (axes.contains(&a) && size(a) == shape[a]);
    if !(0..shape.len()).all(fits) {
        return None;
    }
    let values = tensor.to_f32_vec();
    let mut places = vec![0];
    for &a in axes {
        let step: usize = (a + 1..shape.len()).map(size).product();
        let step = if size(a) == 1 { 0 } else { step };
        places = places.iter().flat_map(|p| (0..shape[a]).map(move |i| p + i * step)).collect();
    }
    places.into_iter().map(|p| values.get(p).copied()).collect()
}

/// Takes a product with constants (operand 1) or a sum with them (operand 2) into a normalization, where that is
/// all that reads its result.
fn take_factors(patch: &mut Patch<'_>, id: NodeId, index: usize, word: &str) {
    let graph = patch.graph();
    let (y, Op::Normalization(op)) = (graph[id].outputs[0], &graph[id].op) else { return };
    let Some((reader, _)) = graph.sole_reader(y) else { return };
    let wanted = match &graph[reader].op {
        Op::Mul(_) => index == 1,
        Op::Add(_) => index == 2,
        _ => false,
    };
    let result = graph[reader].outputs[0];
    if !wanted || graph[result].shape != graph[y].shape || !graph[reader].clamp.is_none() {
        return;
    }
    if private_producer(graph, y, result) != Some(id) || graph[y].quant.is_some() {
        return;
    }
    let other = (0..2).filter_map(|i| operand(graph, reader, i)).find(|&v| v != y);
    let Some(tensor) = other.and_then(|v| plain_f32(graph, v)) else { return };
    let Some(values) = factors(&tensor, &graph[y].shape, &op.axes) else { return };
    let name = graph[reader].name.clone();
    let constant = patch.add_constant(&format!("{name}:{word}"), Tensor::f32(&[values.len()], values));
    merge_into(patch, id, reader);
    let node = patch.node_mut(id);
    node.inputs.resize(index + 1, None);
    node.inputs[index] = Some(constant);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Add, Div, Mul, ReduceMean, Sqrt, Sub};

    fn over(axes: &[usize]) -> ReduceMean {
        ReduceMean { axes: axes.to_vec(), keepdims: true }
    }

    /// `x` without its mean, by the root of the mean of its squares.
    fn spelled(b: &mut Build, x: ValueId, axes: &[usize]) -> ValueId {
        let epsilon = b.constant("epsilon", &[], &[1e-5]);
        let mean = b.node("mean", over(axes), &[x]);
        let off = b.node("off", Sub, &[x, mean]);
        let square = b.node("square", Mul, &[off, off]);
        let variance = b.node("variance", over(axes), &[square]);
        let sum = b.node("sum", Add, &[epsilon, variance]);
        let root = b.node("root", Sqrt, &[sum]);
        b.node("n", Div, &[off, root])
    }

    #[test]
    fn a_spelled_normalization_becomes_one_node() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 3, 4]);
        let scale = b.noise("scale", &[4]);
        let bias = b.noise("bias", &[1, 1, 4]);
        let n = spelled(&mut b, x, &[2]);
        let m = b.node("m", Mul, &[scale, n]);
        let y = b.node("y", Add, &[m, bias]);
        b.output(y);
        b.check(
            |patch| {
                let changed = fuse_normalization(patch)?;
                super::super::drop_dead::drop_dead(patch)?;
                Ok(changed)
            },
            "in  %x: f32[2x3x4]
             %y: f32[2x3x4] = Normalization { axes: [2], epsilon: 1e-5, centred: true }(%x, const %m:scale: f32[4], const %y:bias: f32[4])  # n
             out %y",
        );
    }
}
