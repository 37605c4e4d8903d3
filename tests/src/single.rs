//! A node of a quantized graph as a model of its own, fed with what onnxruntime computed before
//! it: so that every layer is judged alone, and rounding ties do not add up.

use secateur_compiler::Result;
use secateur_compiler::graph::{Graph, NodeId, Patch, Quant, ValueId, ValueKind};
use secateur_compiler::options::Optimize;
use secateur_compiler::program::Program;
use secateur_compiler::targets::Target;
use secateur_compiler::tensor::{Data, Tensor};
use secateur_compiler::{lower, schedule};
use std::collections::BTreeMap;

/// Sample `i` of an array as `quant` stores it: integers as they are (unsigned ones lower by half of their range
/// where they are quantized), floats rounded.
pub fn stored(array: &Tensor, i: usize, shape: &[usize], quant: Option<&Quant>) -> Tensor {
    let len: usize = shape.iter().product();
    let part = i * len..(i + 1) * len;
    let data = match (array.data(), quant) {
        (Data::I8(v), _) => Data::I8(v[part].to_vec()),
        (Data::U8(v), Some(_)) => Data::I8(v[part].iter().map(|&q| (i16::from(q) - 128) as i8).collect()),
        (Data::U16(v), Some(_)) => {
            Data::I16(v[part].iter().map(|&q| (i32::from(q) - 32768) as i16).collect())
        }
        (Data::F32(v), Some(q)) => {
            let (scale, zero) = (q.scale[0], q.zero_point[0] as f32);
            let (lo, hi) = (q.stored().0 as f32, q.stored().1 as f32);
            let round = |x: &f32| ((x / scale).round_ties_even() + zero).clamp(lo, hi) as i64;
            Data::from_i64(q.dtype, &v[part].iter().map(round).collect::<Vec<_>>())
        }
        (Data::F32(v), None) => Data::F32(v[part].to_vec()),
        (other, _) => Data::from_i64(other.dtype(), &array.to_i64_vec()[part]),
    };
    Tensor::new(shape.to_vec(), data).expect("the dump has the shape of the value")
}

/// A model of some nodes in order, and the values that have to be given to it. Its outputs are
/// those of the last node.
pub fn alone(graph: &Graph, ids: &[NodeId]) -> (Graph, Vec<ValueId>) {
    let mut single = Graph::default();
    let mut patch = Patch::new(&mut single);
    let mut fed = Vec::new();
    let mut known: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &id in ids {
        let node = &graph[id];
        let mut inputs = Vec::new();
        for v in &node.inputs {
            inputs.push(v.map(|v| {
                *known.entry(v).or_insert_with(|| {
                    let value = &graph[v];
                    let copy = match &value.kind {
                        ValueKind::Constant(t) => patch.add_constant(&value.name, t.as_ref().clone()),
                        _ => {
                            fed.push(v);
                            patch.add_input(&value.name, value.dtype, &value.shape)
                        }
                    };
                    patch.set_dtype(copy, value.dtype);
                    patch.set_quant(copy, value.quant.clone());
                    copy
                })
            }));
        }
        let mut outputs = Vec::new();
        for &v in &node.outputs {
            let copy = patch.add_value(&graph[v].name, graph[v].dtype, &graph[v].shape);
            patch.set_quant(copy, graph[v].quant.clone());
            known.insert(v, copy);
            outputs.push(copy);
        }
        let made = patch.add_node(&node.name, node.op.clone(), inputs, outputs.clone());
        patch.node_mut(made).clamp = node.clamp;
        if ids.last() == Some(&id) {
            outputs.into_iter().for_each(|v| patch.add_output(v));
        }
    }
    (single, fed)
}

/// A node with those before it whose results `known` does not know, in order; `None` where one of
/// them leads to nothing known.
pub fn with_unknown(graph: &Graph, id: NodeId, known: &dyn Fn(ValueId) -> bool) -> Option<Vec<NodeId>> {
    let mut wanted = vec![id];
    let mut at = 0;
    while at < wanted.len() {
        for &v in graph[wanted[at]].inputs.iter().flatten() {
            if graph[v].constant().is_some() || known(v) {
                continue;
            }
            let producer = graph.producer(v)?;
            if !wanted.contains(&producer) {
                wanted.push(producer);
            }
        }
        at += 1;
    }
    Some(graph.topological().into_iter().filter(|n| wanted.contains(n)).collect())
}

/// The program of a graph, without any pass before.
pub fn program(graph: &Graph, target: &Target) -> Result<Program> {
    let schedule = schedule::schedule(graph, target, Optimize::Balanced)?;
    lower::lower(graph, &schedule)
}

/// How far integers are apart, one by one.
pub fn steps(have: &Tensor, want: &Tensor) -> Vec<i64> {
    let (a, b) = (have.to_i64_vec(), want.to_i64_vec());
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).collect()
}
