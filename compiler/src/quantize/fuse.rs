//! What stands before a quantizer is brought into the form that has an integer meaning.
//!
//! In: a graph whose QuantizeLinear and DequantizeLinear nodes are absorbed. Out: fully connected
//! layers with constant weights are `Dense`, added constants their bias, Relu and Clip their clamp.
//! Law: only values without a `Quant` of their own disappear.

use super::settle::limits;
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId};
use crate::ops::{Dense, Op, Transpose};
use crate::tensor::{DType, Data, Tensor};

/// Brings what stands before a quantizer into the form that has an integer meaning:
/// Gemm and MatMul with constant weights to `Dense`, an added constant to its bias, Relu and
/// Clip to its clamp. Only values without a `Quant` of their own disappear.
pub(super) fn fuse(graph: &mut Graph) {
    for id in graph.topological() {
        match graph[id].op {
            Op::Gemm(_) => gemm_to_dense(graph, id),
            Op::MatMul(_) => matmul_to_dense(graph, id),
            Op::Add(_) => add_to_bias(graph, id),
            Op::Relu(_) | Op::Clip(_) => activation_to_clamp(graph, id),
            _ => {}
        }
    }
}

/// The constant with its two axes exchanged, `Quant` included.
fn transposed(t: &Tensor, quant: Option<Quant>) -> (Tensor, Option<Quant>) {
    (t.transposed(&[1, 0]), quant.map(|q| Quant { axis: q.axis.map(|a| 1 - a), ..q }))
}

fn add_constant(graph: &mut Graph, like: ValueId, tensor: Tensor, quant: Option<Quant>) -> ValueId {
    let name = graph[like].name.clone();
    let mut patch = Patch::new(graph);
    let id = patch.add_constant(&name, tensor);
    patch.set_dtype(id, DType::F32);
    patch.set_quant(id, quant);
    id
}

/// A bias as `[n]`: from any shape whose only axis longer than one is the channel axis, or
/// from a single element.
fn bias_vector(t: &Tensor, quant: &Option<Quant>, n: usize) -> Option<(Tensor, Option<Quant>)> {
    let axis = (t.len() == n).then_some(0);
    let quant = match quant {
        None => None,
        Some(q) if q.axis.is_none() => Some(q.clone()),
        Some(q) => Some(Quant { axis: Some(axis?), ..q.clone() }),
    };
    if t.len() == n {
        return Some((t.reshaped(&[n]).ok()?, quant));
    }
    if t.len() != 1 || quant.as_ref().is_some_and(|q| q.axis.is_some()) {
        return None;
    }
    let data = match t.data() {
        Data::F32(v) => Data::F32(vec![v[0]; n]),
        other => Data::from_i64(other.dtype(), &vec![t.to_i64_vec()[0]; n]),
    };
    Some((Tensor::new(vec![n], data).ok()?, quant))
}

fn gemm_to_dense(graph: &mut Graph, id: NodeId) {
    let Op::Gemm(gemm) = graph[id].op.clone() else { return };
    let inputs = graph[id].inputs.clone();
    let (Some(a), Some(b), c) =
        (inputs[0], inputs.get(1).copied().flatten(), inputs.get(2).copied().flatten())
    else {
        return;
    };
    let Some(w) = graph[b].constant().cloned() else { return };
    if graph[a].constant().is_some() || !(gemm.alpha > 0.0 && gemm.beta > 0.0) {
        return;
    }
    let scaled =
        |q: Option<Quant>, by: f32| q.map(|q| Quant { scale: q.scale.iter().map(|s| s * by).collect(), ..q });
    let wq = scaled(graph[b].quant.clone(), gemm.alpha);
    if (wq.is_none() && gemm.alpha != 1.0) || w.shape().len() != 2 {
        return;
    }
    let (w, wq) = if gemm.trans_b { (w.as_ref().clone(), wq) } else { transposed(&w, wq) };
    let mut operands = vec![Some(a), None];
    if let Some(c) = c {
        let Some(t) = graph[c].constant().cloned() else { return };
        let cq = scaled(graph[c].quant.clone(), gemm.beta);
        let t = match t.as_f32().filter(|_| cq.is_none() && gemm.beta != 1.0) {
            Some(real) => Tensor::f32(t.shape(), real.iter().map(|v| v * gemm.beta).collect()),
            None => t.as_ref().clone(),
        };
        let Some((t, cq)) = bias_vector(&t, &cq, w.shape()[0]) else { return };
        operands.push(Some(add_constant(graph, c, t, cq)));
    }
    operands[1] = Some(add_constant(graph, b, w, wq));
    if gemm.trans_a {
        let (name, quant) = (format!("{}.transposed", graph[a].name), graph[a].quant.clone());
        let (dtype, shape) = (graph[a].dtype, graph[a].shape.iter().rev().copied().collect::<Vec<_>>());
        let mut patch = Patch::new(graph);
        let turned = patch.add_value(&name, dtype, &shape);
        patch.set_quant(turned, quant);
        patch.add_node(&name, Transpose { perm: vec![1, 0] }.into(), vec![Some(a)], vec![turned]);
        operands[0] = Some(turned);
    }
    let mut patch = Patch::new(graph);
    let node = patch.node_mut(id);
    node.op = Dense.into();
    node.inputs = operands;
}

fn matmul_to_dense(graph: &mut Graph, id: NodeId) {
    let (Some(a), Some(b)) = (graph[id].inputs[0], graph[id].inputs[1]) else { return };
    let Some(w) = graph[b].constant().cloned() else { return };
    if graph[a].constant().is_some() || w.shape().len() != 2 || graph[a].shape.len() < 2 {
        return;
    }
    let (w, wq) = transposed(&w, graph[b].quant.clone());
    let w = add_constant(graph, b, w, wq);
    let mut patch = Patch::new(graph);
    let node = patch.node_mut(id);
    node.op = Dense.into();
    node.inputs = vec![Some(a), Some(w)];
}

/// The node that computes `value`, if nothing else reads the value and it has no `Quant`.
fn private_producer(graph: &Graph, value: ValueId) -> Option<NodeId> {
    let private = graph[value].quant.is_none()
        && !graph.outputs().contains(&value)
        && graph.consumers(value).len() == 1
        && graph.nodes().map(|(_, n)| n.inputs.iter().filter(|v| **v == Some(value)).count()).sum::<usize>()
            == 1;
    graph.producer(value).filter(|_| private)
}

fn add_to_bias(graph: &mut Graph, id: NodeId) {
    let (Some(l), Some(r)) = (graph[id].inputs[0], graph[id].inputs[1]) else { return };
    let (x, c) = if graph[r].constant().is_some() { (l, r) } else { (r, l) };
    let Some(t) = graph[c].constant().cloned() else { return };
    let Some(producer) = private_producer(graph, x) else { return };
    let node = &graph[producer];
    if !node.clamp.is_none() || node.inputs.get(2).copied().flatten().is_some() {
        return;
    }
    let rank = graph[x].shape.len();
    let channel = match node.op {
        Op::Dense(_) => rank - 1,
        Op::Conv(_) => 1,
        _ => return,
    };
    // The constant may be longer than one along the channel axis only (aligned at the end).
    let offset = rank.checked_sub(t.shape().len());
    let fits = offset.is_some_and(|o| t.shape().iter().enumerate().all(|(i, &d)| d == 1 || i + o == channel));
    if !fits || graph[graph[id].outputs[0]].shape != graph[x].shape {
        return;
    }
    let Some((t, q)) = bias_vector(&t, &graph[c].quant, graph[x].shape[channel]) else { return };
    let bias = add_constant(graph, c, t, q);
    let output = graph[id].outputs[0];
    let clamp = graph[id].clamp;
    let mut patch = Patch::new(graph);
    patch.remove_node(id);
    let node = patch.node_mut(producer);
    node.inputs.truncate(2);
    node.inputs.push(Some(bias));
    node.outputs[0] = output;
    node.clamp = clamp;
}

fn activation_to_clamp(graph: &mut Graph, id: NodeId) {
    let Some(x) = graph[id].inputs[0] else { return };
    let Some(clamp) = limits(&graph[id].op) else { return };
    let Some(producer) = private_producer(graph, x) else { return };
    let fusable = matches!(
        graph[producer].op,
        Op::Conv(_) | Op::Dense(_) | Op::Gemm(_) | Op::MatMul(_) | Op::Add(_) | Op::Sub(_) | Op::Mul(_)
    );
    if !fusable || clamp.lo > clamp.hi {
        return;
    }
    let output = graph[id].outputs[0];
    let then = graph[producer].clamp.then(clamp).then(graph[id].clamp);
    let mut patch = Patch::new(graph);
    patch.remove_node(id);
    let node = patch.node_mut(producer);
    node.outputs[0] = output;
    node.clamp = then;
}
