//! BatchNormalization, and Mul, Add, Sub and Div by a per-channel constant, folded into the Conv
//! or Dense before them. A BatchNormalization without one becomes a Mul and an Add.
//!
//! Normalisation is `scale (x - mean) / sqrt(var + epsilon) + bias` (Ioffe and Szegedy 2015,
//! algorithm 2), with the statistics known.

use super::affine::{Affine, fold_into, foldable, per_channel};
use super::edit::{operand, plain_f32};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Add, Mul, Op};
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
            Some((None, map)) => split(patch, id, &map),
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
fn split(patch: &mut Patch<'_>, id: NodeId, map: &Affine) {
    let graph = patch.graph();
    let Some(x) = operand(graph, id, 0) else { return };
    let y = graph[id].outputs[0];
    let (name, dtype, shape) = (graph[y].name.clone(), graph[y].dtype, graph[y].shape.clone());
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
