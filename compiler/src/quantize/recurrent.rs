//! Weights of a recurrent node as integers that are chosen together.
//!
//! In: the float walk and the quantized one, both at the node. Out: the weights of its products as integers, each
//! rounded in turn so that those that follow make up for what it lost ([`least_squares::round`]), and the bias that
//! fits them. The product with inputs goes first; that with the state reads the states that the node comes to with it.
//! Law: weights that are zero stay so.

use super::weights;
use crate::error::Result;
use crate::graph::walk::Walk;
use crate::graph::{Graph, NodeId, Patch, Quant};
use crate::least_squares::steps::{aims, steps};
use crate::least_squares::{self, Steps};
use crate::tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// Gives a recurrent node integer weights, `most` being the greatest; `float` is the graph as it was.
///
/// Errors: those of the node's operator; what a walk holds that is no finite number.
pub(super) fn round(
    graph: &mut Graph,
    float: &Graph,
    (exact, walk): (&Walk, &Walk),
    id: NodeId,
    most: i8,
) -> Result<()> {
    let mut scales: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for layer in least_squares::layers(float).into_iter().filter(|l| l.node == id) {
        let samples = exact.live[layer.input.index()].as_ref().map_or(0, Vec::len);
        let want = steps(exact, float, &layer, samples, &[])?;
        let have = steps(walk, graph, &layer, samples, &[])?;
        let aims = aims(float, &layer, &want, &have);
        let read: Vec<Tensor> = have.into_iter().map(|s| s.read).collect();
        let (moments, trained, solver) = least_squares::problem(float, &layer, 0, &read, &aims)?;
        // Steps of eight bits change outputs little: what pruning solved for stays the best.
        let real = match most {
            weights::EIGHT_BITS => trained,
            _ => solver.refit(&trained.nonzero(), &trained),
        };
        let shape = [layer.sizes.rows, layer.sizes.columns()];
        let scale = weights::per_channel(&Tensor::f32(&shape, real.to_onnx()), most).scale;
        let mut rounded = least_squares::round(&solver, &real, Steps { by_row: &scale, most });
        for (row, step) in rounded.values.chunks_mut(shape[1]).zip(&scale) {
            row.iter_mut().for_each(|q| *q *= f64::from(*step));
        }
        let bias: Vec<f32> = (0..shape[0]).map(|row| moments.bias(row, rounded.row(row)) as f32).collect();
        for (at, tensor) in layer.operands(graph, &rounded.to_onnx(), &bias) {
            put(graph, id, at, tensor, None);
        }
        scales.entry(layer.operand).or_default().extend(scale);
    }
    for (at, scale) in scales {
        let value = graph[id].inputs.get(at).copied().flatten();
        let Some(real) = value.and_then(|v| graph[v].constant()).cloned() else { continue };
        let zero_point = vec![0; scale.len()];
        let quant = Quant { dtype: DType::I8, scale, zero_point, axis: Some(0) };
        if real.shape().first() == Some(&quant.scale.len()) {
            let stored = weights::symmetric(&real, &quant, most);
            put(graph, id, at, stored, Some(quant));
        }
    }
    Ok(())
}

/// Another constant for an operand.
fn put(graph: &mut Graph, id: NodeId, at: usize, tensor: Tensor, quant: Option<Quant>) {
    let node = &graph[id];
    let name = node.inputs.get(at).copied().flatten().map(|v| graph[v].name.clone());
    let name = name.unwrap_or_else(|| format!("{}.bias", node.name));
    let mut patch = Patch::new(graph);
    let constant = patch.add_constant(&name, tensor);
    patch.set_dtype(constant, DType::F32);
    patch.set_quant(constant, quant);
    let node = patch.node_mut(id);
    node.inputs.resize(node.inputs.len().max(at + 1), None);
    node.inputs[at] = Some(constant);
}
