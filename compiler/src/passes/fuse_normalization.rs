//! LayerNormalization and RMSNormalization from the operators that models spell them in: a mean, differences, their
//! squares' mean, a root, a quotient; then a product with constants and a sum with constants. As PyTorch writes them,
//! as Flax does (the mean of squares less the square of the mean, the scale beside the root), as Keras does (the
//! operand and its mean scaled apart).
//!
//! Law: no rounding of a model's own disappears: nothing is fused across a value that carries a `Quant`. What others
//! read of a spelling stays beside the fused form.

use super::edit::{
    floor, merge_into, number, operand, plain_f32, plain_producer, private_producer, unshaped,
};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Normalization, Op, Reducing};
use crate::tensor::Tensor;

pub(super) fn fuse_normalization(patch: &mut Patch<'_>) -> Result<usize> {
    let graph = patch.graph();
    let found: Vec<(NodeId, Spelled)> =
        graph.topological().into_iter().filter_map(|id| Some((id, spelled(graph, id)?))).collect();
    let changed = found.len();
    for (id, spelled) in found {
        let name = patch.graph()[id].name.clone();
        let mut given = |values: Option<Vec<f32>>, word: &str| {
            values.map(|v| patch.add_constant(&format!("{name}:{word}"), Tensor::f32(&[v.len()], v)))
        };
        let (scale, bias) = (given(spelled.scale, "scale"), given(spelled.bias, "bias"));
        let node = patch.node_mut(id);
        node.op = spelled.op.into();
        node.inputs = vec![Some(spelled.x)];
        match (scale, bias) {
            (_, Some(_)) => node.inputs.extend([scale, bias]),
            (Some(_), None) => {
                node.inputs.push(scale);
                take_factors(patch, id, 2, "bias");
            }
            (None, None) => {
                take_factors(patch, id, 1, "scale");
                take_factors(patch, id, 2, "bias");
            }
        }
    }
    Ok(changed)
}

/// What a node turned out to be.
struct Spelled {
    x: ValueId,
    op: Normalization,
    /// One for each place of the axes, as the operands have them.
    scale: Option<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

/// The normalization whose last node is this one.
fn spelled(graph: &Graph, id: NodeId) -> Option<Spelled> {
    let y = *graph[id].outputs.first()?;
    plain_producer(graph, y)?;
    let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    match &graph[id].op {
        Op::Div(_) => normalized(graph, a, Divisor { root: b, under: root(graph, b)?, scale: None }),
        Op::Mul(_) => {
            [(a, b), (b, a)].into_iter().find_map(|(a, b)| normalized(graph, a, divisor(graph, b)?))
        }
        Op::Sub(_) => apart(graph, a, b, None),
        Op::Add(_) => [(a, b), (b, a)].into_iter().find_map(|(a, b)| {
            let id = plain_producer(graph, b).filter(|&id| matches!(graph[id].op, Op::Sub(_)))?;
            apart(graph, a, operand(graph, id, 1)?, Some(operand(graph, id, 0)?))
        }),
        _ => None,
    }
}

/// What a numerator is divided by, or multiplied by the reciprocal of.
struct Divisor {
    /// The root or its reciprocal, which broadcasts along the numerator.
    root: ValueId,
    /// What stands under the root.
    under: ValueId,
    /// Constants that the reciprocal was multiplied by.
    scale: Option<ValueId>,
}

/// The reciprocal of a root, or that times constants.
fn divisor(graph: &Graph, value: ValueId) -> Option<Divisor> {
    if let Some(under) = inverse_root(graph, value) {
        return Some(Divisor { root: value, under, scale: None });
    }
    let id = plain_producer(graph, value).filter(|&id| matches!(graph[id].op, Op::Mul(_)))?;
    let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    [(a, b), (b, a)].into_iter().find_map(|(root, scale)| {
        plain_f32(graph, scale)?;
        Some(Divisor { root, under: inverse_root(graph, root)?, scale: Some(scale) })
    })
}

/// `x * divisor - mean * divisor`, and a bias.
fn apart(graph: &Graph, whole: ValueId, taken: ValueId, bias: Option<ValueId>) -> Option<Spelled> {
    let product = |v: ValueId| {
        let id = plain_producer(graph, v).filter(|&id| matches!(graph[id].op, Op::Mul(_)))?;
        Some((operand(graph, id, 0)?, operand(graph, id, 1)?))
    };
    let ((a, b), (c, d)) = (product(whole)?, product(taken)?);
    let orders = [(a, b, c, d), (a, b, d, c), (b, a, c, d), (b, a, d, c)];
    let (x, by, mean_of_x, _) = orders
        .into_iter()
        .find(|&(x, by, m, again)| by == again && mean(graph, m).is_some_and(|(of, _)| of == x))?;
    let divisor = divisor(graph, by)?;
    let spread = spread(graph, divisor.under)?;
    if !spread.centred || spread.x != x || mean(graph, mean_of_x)? != (x, spread.axes.clone()) {
        return None;
    }
    finished(graph, spread, &divisor, bias)
}

/// What stands under a root.
fn root(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let id = plain_producer(graph, unshaped(graph, value))?;
    match &graph[id].op {
        Op::Sqrt(_) => operand(graph, id, 0),
        Op::Map(map) if map.function == "Pow" && power(graph, id) == Some(0.5) => operand(graph, id, 0),
        _ => None,
    }
}

/// What stands under a root by whose reciprocal something is multiplied.
fn inverse_root(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let id = plain_producer(graph, unshaped(graph, value))?;
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

/// The operand of a mean, of whatever shape, and its axes. Some write a sum and divide it.
fn averaged(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let id = plain_producer(graph, unshaped(graph, value))?;
    let x = operand(graph, id, 0)?;
    let shares = |sum: ValueId, share: f32| {
        let id = plain_producer(graph, unshaped(graph, sum))?;
        let Op::Reduce(reduce) = &graph[id].op else { return None };
        let x = operand(graph, id, 0)?;
        let count: usize = reduce.axes.iter().filter_map(|&a| graph[x].shape.get(a)).product();
        let whole = reduce.function == Reducing::Sum && (share * count as f32 - 1.0).abs() < 1e-6;
        whole.then(|| (x, reduce.axes.clone()))
    };
    let found = match &graph[id].op {
        Op::ReduceMean(mean) => (x, mean.axes.clone()),
        Op::GlobalAveragePool(_) => (x, (2..graph[x].shape.len()).collect()),
        Op::Div(_) => shares(x, 1.0 / number(graph, operand(graph, id, 1)?)?)?,
        Op::Mul(_) => {
            let y = operand(graph, id, 1)?;
            match (number(graph, x), number(graph, y)) {
                (None, Some(share)) => shares(x, share)?,
                (Some(share), None) => shares(y, share)?,
                _ => return None,
            }
        }
        _ => return None,
    };
    (!found.1.is_empty()).then_some(found)
}

/// Whether a value has the shape of `x` with one element along the axes.
fn keeps(graph: &Graph, value: ValueId, x: ValueId, axes: &[usize]) -> bool {
    let shape = &graph[x].shape;
    let kept = (0..shape.len()).map(|a| if axes.contains(&a) { 1 } else { shape[a] });
    kept.eq(graph[value].shape.iter().copied())
}

/// The operand of a mean that keeps its axes, and these.
fn mean(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    averaged(graph, value).filter(|(x, axes)| keeps(graph, value, *x, axes))
}

/// A variance, or a mean of squares, and the small number added to it.
struct Spread {
    x: ValueId,
    axes: Vec<usize>,
    epsilon: f32,
    /// Of what its mean leaves of `x`.
    centred: bool,
}

fn spread(graph: &Graph, under: ValueId) -> Option<Spread> {
    let under = unshaped(graph, under);
    let sum = plain_producer(graph, under)?;
    let (variance, epsilon) = match &graph[sum].op {
        Op::Add(_) => {
            let (a, b) = (operand(graph, sum, 0)?, operand(graph, sum, 1)?);
            match (number(graph, a), number(graph, b)) {
                (None, Some(epsilon)) => (unshaped(graph, a), epsilon),
                (Some(epsilon), None) => (unshaped(graph, b), epsilon),
                _ => return None,
            }
        }
        _ => (under, 0.0),
    };
    if epsilon.is_nan() || epsilon < 0.0 {
        return None;
    }
    if let Some((x, axes)) = moments(graph, variance) {
        return Some(Spread { x, axes, epsilon, centred: true });
    }
    let (square, axes) = averaged(graph, variance)?;
    let base = squared(graph, square)?;
    match centred(graph, base) {
        Some((x, taken)) if taken == axes => Some(Spread { x, axes, epsilon, centred: true }),
        _ => Some(Spread { x: base, axes, epsilon, centred: false }),
    }
}

/// Operand and axes of a mean of squares less the square of the mean, not less than zero.
fn moments(graph: &Graph, variance: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let mut id = plain_producer(graph, variance)?;
    if floor(graph, id) == Some(0.0) {
        id = plain_producer(graph, unshaped(graph, operand(graph, id, 0)?))?;
    }
    if !matches!(graph[id].op, Op::Sub(_)) {
        return None;
    }
    let (square, axes) = averaged(graph, operand(graph, id, 0)?)?;
    let x = squared(graph, square)?;
    let mean = squared(graph, unshaped(graph, operand(graph, id, 1)?))?;
    (averaged(graph, mean)? == (x, axes.clone())).then_some((x, axes))
}

/// Operand and axes of a difference to a mean.
fn centred(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let id = plain_producer(graph, value).filter(|&id| matches!(graph[id].op, Op::Sub(_)))?;
    let (x, taken) = (operand(graph, id, 0)?, mean(graph, operand(graph, id, 1)?)?);
    (taken.0 == x && graph[x].shape == graph[value].shape).then_some(taken)
}

/// `numerator / sqrt(under)`, where that is the mean of the numerator's squares and a small number, and the numerator
/// what a mean leaves of something, or anything.
fn normalized(graph: &Graph, numerator: ValueId, divisor: Divisor) -> Option<Spelled> {
    let spread = spread(graph, divisor.under)?;
    let fits = match spread.centred {
        true => centred(graph, numerator)? == (spread.x, spread.axes.clone()),
        false => numerator == spread.x && graph[numerator].quant.is_none(),
    };
    if fits { finished(graph, spread, &divisor, None) } else { None }
}

fn finished(graph: &Graph, spread: Spread, divisor: &Divisor, bias: Option<ValueId>) -> Option<Spelled> {
    let Spread { x, axes, epsilon, centred } = spread;
    if !keeps(graph, divisor.root, x, &axes) || graph[x].constant().is_some() {
        return None;
    }
    let factors = |v: Option<ValueId>| match v {
        None => Some(None),
        Some(v) => factors(&*plain_f32(graph, v)?, &graph[x].shape, &axes).map(Some),
    };
    let (scale, bias) = (factors(divisor.scale)?, factors(bias)?);
    Some(Spelled { x, op: Normalization { axes, epsilon, centred }, scale, bias })
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
    use crate::ops::{Add, Div, Map, Mul, Reduce, ReduceMean, Reshape, Sqrt, Sub};

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

    fn fused(patch: &mut Patch<'_>) -> Result<usize> {
        let changed = fuse_normalization(patch)?;
        super::super::drop_dead::drop_dead(patch)?;
        Ok(changed)
    }

    /// As Flax writes it: sums that are divided, moments, axes that leave and come back, the scale beside the root.
    #[test]
    fn moments_and_a_scaled_root_become_one_node() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 3, 4]);
        let (share, epsilon) = (b.constant("share", &[], &[1.0 / 3.0]), b.constant("epsilon", &[], &[1e-2]));
        let (scale, bias) = (b.noise("scale", &[1, 3, 1]), b.noise("bias", &[1, 3, 1]));
        let sum = || Reduce { function: Reducing::Sum, axes: vec![1], keepdims: false };
        let back = || Reshape { shape: vec![2, 1, 4] };
        let total = b.node("total", sum(), &[x]);
        let mean = b.node("mean", Mul, &[total, share]);
        let squares = b.node("squares", Mul, &[x, x]);
        let total = b.node("total of squares", sum(), &[squares]);
        let moment = b.node("moment", Mul, &[total, share]);
        let square = b.node("square", Mul, &[mean, mean]);
        let variance = b.node("variance", Sub, &[moment, square]);
        let floor =
            Map { function: "Max", attrs: Default::default(), tail: vec![Tensor::f32(&[], vec![0.0])] };
        let floored = b.node("floored", floor, &[variance]);
        let kept = b.node("kept", back(), &[floored]);
        let more = b.node("more", Add, &[kept, epsilon]);
        let root = b.node("root", Sqrt, &[more]);
        let inverse = Map { function: "Reciprocal", attrs: Default::default(), tail: vec![] };
        let inverse = b.node("inverse", inverse, &[root]);
        let by = b.node("by", Mul, &[inverse, scale]);
        let mean = b.node("mean kept", back(), &[mean]);
        let off = b.node("off", Sub, &[x, mean]);
        let n = b.node("n", Mul, &[off, by]);
        let y = b.node("y", Add, &[n, bias]);
        b.output(y);
        b.check(
            fused,
            "in  %x: f32[2x3x4]
             %y: f32[2x3x4] = Normalization { axes: [1], epsilon: 0.01, centred: true }(%x, const %n:scale: f32[3], const %y:bias: f32[3])  # n
             out %y",
        );
    }

    /// As Keras writes it: the operand and its mean are scaled apart.
    #[test]
    fn an_operand_and_its_mean_scaled_apart_become_one_node() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 3, 4]);
        let epsilon = b.constant("epsilon", &[], &[1e-3]);
        let (scale, bias) = (b.noise("scale", &[4]), b.noise("bias", &[4]));
        let mean = b.node("mean", over(&[2]), &[x]);
        let off = b.node("off", Sub, &[x, mean]);
        let square = b.node("square", Mul, &[off, off]);
        let variance = b.node("variance", over(&[2]), &[square]);
        let more = b.node("more", Add, &[variance, epsilon]);
        let root = b.node("root", Sqrt, &[more]);
        let inverse = Map { function: "Reciprocal", attrs: Default::default(), tail: vec![] };
        let inverse = b.node("inverse", inverse, &[root]);
        let by = b.node("by", Mul, &[inverse, scale]);
        let whole = b.node("whole", Mul, &[x, by]);
        let taken = b.node("taken", Mul, &[mean, by]);
        let rest = b.node("rest", Sub, &[bias, taken]);
        let y = b.node("y", Add, &[whole, rest]);
        b.output(y);
        b.check(
            fused,
            "in  %x: f32[2x3x4]
             %y: f32[2x3x4] = Normalization { axes: [2], epsilon: 0.001, centred: true }(%x, const %y:scale: f32[4], const %y:bias: f32[4])  # y
             out %y",
        );
    }

    /// The mean of other axes, a sum that is not divided by how many it adds.
    #[test]
    fn other_moments_stay() {
        for (axis, share) in [(2, 0.25), (1, 0.3)] {
            let mut b = Build::new();
            let x = b.input("x", &[2, 3, 4]);
            let share = b.constant("share", &[], &[share]);
            let mean = b.node("mean", over(&[axis]), &[x]);
            let squares = b.node("squares", Mul, &[x, x]);
            let sum = Reduce { function: Reducing::Sum, axes: vec![1], keepdims: true };
            let total = b.node("total", sum, &[squares]);
            let moment = b.node("moment", Mul, &[total, share]);
            let square = b.node("square", Mul, &[mean, mean]);
            let variance = b.node("variance", Sub, &[moment, square]);
            let root = b.node("root", Sqrt, &[variance]);
            let off = b.node("off", Sub, &[x, mean]);
            let y = b.node("y", Div, &[off, root]);
            b.output(y);
            let mut graph = b.graph().clone();
            assert_eq!(fuse_normalization(&mut Patch::new(&mut graph)).unwrap(), 0);
        }
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
            fused,
            "in  %x: f32[2x3x4]
             %y: f32[2x3x4] = Normalization { axes: [2], epsilon: 1e-5, centred: true }(%x, const %m:scale: f32[4], const %y:bias: f32[4])  # n
             out %y",
        );
    }
}
