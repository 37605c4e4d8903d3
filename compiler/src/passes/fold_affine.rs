//! BatchNormalization, and Mul, Add, Sub and Div by a per-channel constant, folded into the Conv
//! or Dense before them. A BatchNormalization without one becomes a depthwise convolution of one tap, which rounds
//! once where a product and a sum would twice; where there are no channels of places, it becomes those.
//!
//! Normalisation is `scale (x - mean) / sqrt(var + epsilon) + bias` (Ioffe and Szegedy 2015,
//! algorithm 2), with the statistics known.

use super::affine::{Affine, fold_into, foldable, per_channel};
use super::edit::{operand, plain_f32};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Add, Conv, Mul, Op};
use crate::tensor::Tensor;

pub(super) fn fold_affine(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
        let graph = patch.graph();
        let found = match &graph[id].op {
            Op::BatchNormalization(_) => normalization(graph, id),
            _ => binary(graph, id),
        };
        match found {
            Some((Some(producer), map)) => fold_into(patch, producer, id, &map),
            Some((None, map)) => alone(patch, id, &map),
            None => continue,
        }
        changed += 1;
    }
    Ok(changed)
}

/// The map of a BatchNormalization, and the node that it folds into, if any; `None` unless all
/// its parameters are plain constants.
fn normalization(graph: &Graph, id: NodeId) -> Option<(Option<NodeId>, Affine)> {
    let Op::BatchNormalization(op) = &graph[id].op else { return None };
    let parameter = |i: usize| {
        let t = plain_f32(graph, operand(graph, id, i)?)?;
        Some(t.as_f32()?.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>())
    };
    let (gamma, beta, mean, var) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let epsilon = f64::from(op.epsilon);
    let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / libm::sqrt(v + epsilon)).collect();
    let shift = beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    let into = foldable(graph, id, operand(graph, id, 0)?);
    Some((into.filter(|(_, axis)| *axis == 1).map(|(p, _)| p), Affine { scale, shift }))
}

/// A normalisation on its own: one product and one sum per element.
fn alone(patch: &mut Patch<'_>, id: NodeId, map: &Affine) {
    let graph = patch.graph();
    let Some(x) = operand(graph, id, 0) else { return };
    let y = graph[id].outputs[0];
    let (name, dtype, shape) = (graph[y].name.clone(), graph[y].dtype, graph[y].shape.clone());
    if let (3 | 4, group) = (shape.len(), map.scale.len()) {
        let axes = shape.len() - 2;
        let narrow = |v: &[f64], dims: &[usize]| Tensor::f32(dims, v.iter().map(|&v| v as f32).collect());
        let taps: Vec<usize> = [group].into_iter().chain(vec![1; axes + 1]).collect();
        let weights = patch.add_constant(&format!("{name}:scale"), narrow(&map.scale, &taps));
        let bias = patch.add_constant(&format!("{name}:shift"), narrow(&map.shift, &[group]));
        let node = patch.node_mut(id);
        node.op =
            Conv { strides: vec![1; axes], pads: vec![0; 2 * axes], dilations: vec![1; axes], group }.into();
        node.inputs = vec![Some(x), Some(weights), Some(bias)];
        return;
    }
    let mut dims = vec![1; shape.len()];
    if let Some(channels) = dims.get_mut(1) {
        *channels = map.scale.len();
    }
    let narrow = |v: &[f64]| Tensor::f32(&dims, v.iter().map(|&v| v as f32).collect());
    let (scale, shift) = (narrow(&map.scale), narrow(&map.shift));
    let scale = patch.add_constant(&format!("{name}:scale"), scale);
    let shift = patch.add_constant(&format!("{name}:shift"), shift);
    let product = patch.add_value(&format!("{name}:product"), dtype, &shape);
    patch.add_node(&format!("{name}:mul"), Mul.into(), vec![Some(x), Some(scale)], vec![product]);
    let node = patch.node_mut(id);
    node.op = Add.into();
    node.inputs = vec![Some(product), Some(shift)];
}

fn binary(graph: &Graph, id: NodeId) -> Option<(Option<NodeId>, Affine)> {
    let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    let found = try_order(graph, id, a, b, false).or_else(|| try_order(graph, id, b, a, true));
    found.map(|(producer, map)| (Some(producer), map))
}

/// `x` computed by a Conv or Dense, `c` constant; `swapped` when `c` stands first.
fn try_order(graph: &Graph, id: NodeId, x: ValueId, c: ValueId, swapped: bool) -> Option<(NodeId, Affine)> {
    let node = &graph[id];
    if !matches!(node.op, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_)) {
        return None;
    }
    let constant = plain_f32(graph, c)?;
    let (producer, axis) = foldable(graph, id, x)?;
    let shape = &graph[x].shape;
    if graph[node.outputs[0]].shape != *shape {
        return None;
    }
    let c = per_channel(&constant, shape, axis)?;
    let n = c.len();
    let map = match (&node.op, swapped) {
        (Op::Add(_), _) => Affine { scale: vec![1.0; n], shift: c },
        (Op::Sub(_), false) => Affine { scale: vec![1.0; n], shift: c.iter().map(|v| -v).collect() },
        (Op::Sub(_), true) => Affine { scale: vec![-1.0; n], shift: c },
        (Op::Mul(_), _) => Affine { scale: c, shift: vec![0.0; n] },
        (Op::Div(_), false) if c.iter().all(|&v| v != 0.0) => {
            Affine { scale: c.iter().map(|v| 1.0 / v).collect(), shift: vec![0.0; n] }
        }
        _ => return None,
    };
    Some((producer, map))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::graph::ValueId;
    use crate::ops::{BatchNormalization, Dense, Div, Sub};

    fn conv() -> Conv {
        Conv { strides: vec![1, 1], pads: vec![0, 0, 1, 1], dilations: vec![1, 1], group: 1 }
    }

    fn norm(b: &mut Build, x: ValueId, channels: usize) -> ValueId {
        let gamma = b.noise("gamma", &[channels]);
        let beta = b.noise("beta", &[channels]);
        let mean = b.noise("mean", &[channels]);
        let var = b.constant("var", &[channels], &vec![0.3; channels]);
        b.node("y", BatchNormalization { epsilon: 1e-3 }, &[x, gamma, beta, mean, var])
    }

    #[test]
    fn normalization_and_factors_fold_into_a_convolution() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 4, 4]);
        let w = b.noise("w", &[3, 2, 3, 3]);
        let half = b.constant("half", &[1], &[0.5]);
        let bias = b.noise("bias", &[3, 1, 1]);
        let c = b.node("c", conv(), &[x, w]);
        let d = b.node("d", Div, &[c, half]);
        let s = b.node("s", Sub, &[bias, d]);
        let y = norm(&mut b, s, 3);
        b.output(y);
        b.check(
            fold_affine,
            "in  %x: f32[1x2x4x4]
             %y: f32[1x3x3x3] = Conv { strides: [1, 1], pads: [0, 0, 1, 1], dilations: [1, 1], group: 1 }(%x, const %w: f32[3x2x3x3], const %c:2: f32[3])  # c
             out %y",
        );
    }

    #[test]
    fn a_normalization_alone_is_a_depthwise_convolution_of_one_tap() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 3, 4]);
        let y = norm(&mut b, x, 3);
        b.output(y);
        b.check(
            fold_affine,
            "in  %x: f32[1x3x4]
             %y: f32[1x3x4] = Conv { strides: [1], pads: [0, 0], dilations: [1], group: 3 }(%x, const %y:scale: f32[3x1x1], const %y:shift: f32[3])  # y
             out %y",
        );
    }

    #[test]
    fn a_normalization_without_places_is_a_product_and_a_sum() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 3]);
        let y = norm(&mut b, x, 3);
        b.output(y);
        b.check(
            fold_affine,
            "in  %x: f32[2x3]
             %y:product: f32[2x3] = Mul(%x, const %y:scale: f32[1x3])  # y:mul
             %y: f32[2x3] = Add(%y:product, const %y:shift: f32[1x3])  # y
             out %y",
        );
    }

    #[test]
    fn a_sum_becomes_the_bias_of_a_dense_layer() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 4]);
        let w = b.noise("w", &[3, 4]);
        let c = b.noise("c", &[3]);
        let d = b.node("d", Dense, &[x, w]);
        let y = b.node("y", Add, &[d, c]);
        b.output(y);
        b.check(
            fold_affine,
            "in  %x: f32[2x4]
             %y: f32[2x3] = Dense(%x, const %w: f32[3x4], const %d:2: f32[3])  # d
             out %y",
        );
    }

    #[test]
    fn what_others_read_or_what_varies_in_space_stays() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 2, 4, 4]);
        let w = b.noise("w", &[3, 2, 3, 3]);
        let plane = b.noise("plane", &[3, 3]);
        let c = b.node("c", conv(), &[x, w]);
        let y = b.node("y", Add, &[c, plane]);
        let z = b.node("z", Add, &[y, c]);
        b.output(z);
        b.check(
            fold_affine,
            "in  %x: f32[1x2x4x4]
             %c: f32[1x3x3x3] = Conv { strides: [1, 1], pads: [0, 0, 1, 1], dilations: [1, 1], group: 1 }(%x, const %w: f32[3x2x3x3])  # c
             %y: f32[1x3x3x3] = Add(%c, const %plane: f32[3x3])  # y
             %z: f32[1x3x3x3] = Add(%y, %c)  # z
             out %z",
        );
    }
}
