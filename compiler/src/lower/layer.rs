//! What the report says of a layer.
//!
//! In: a node. Out: its sizes and its multiply-accumulates.

use crate::graph::{Graph, NodeId, Value};
use crate::ops::Op;
use crate::ops::recurrent::{R, W};
use crate::program::Layer;
use crate::tensor::{Data, Tensor};

/// What the report says of a node, but for what runs, what it reads and what is live.
pub(super) fn layer(graph: &Graph, id: NodeId) -> Layer {
    let node = &graph[id];
    let macs = graph.macs(id);
    // Each weight of a convolution or product is used equally often, padded taps included.
    let operands: &[usize] = if matches!(node.op, Op::Recurrent(_)) { &[W, R] } else { &[1] };
    let weights = operands.iter().filter_map(|&at| {
        let w = &graph[node.inputs.get(at).copied().flatten()?];
        Some((w, w.constant()?))
    });
    let (live, all) = weights.fold((0, 0), |(live, all), (w, t)| (live + nonzero(w, t), all + t.len()));
    let live_macs = match macs > 0 && all > 0 {
        true => (u128::from(macs) * live as u128 / all as u128) as u64,
        false => macs,
    };
    let output = node.outputs.first().map(|v| &graph[*v]);
    Layer {
        name: node.name.clone(),
        op: node.op.name().to_string(),
        family: String::new(),
        output: output.map_or(String::new(), |v| v.name.clone()),
        output_shape: output.map_or(Vec::new(), |v| v.shape.clone()),
        macs,
        live_macs,
        weight_bytes: 0,
        live_bytes: 0,
    }
}

/// How many of a constant's numbers are not zero.
fn nonzero(w: &Value, t: &Tensor) -> usize {
    let zero = |i: usize| -> i64 {
        w.quant.as_ref().map_or(0, |q| {
            let axis = q.axis.map_or(0, |a| {
                let inner: usize = w.shape[a + 1..].iter().product();
                i / inner % w.shape[a]
            });
            q.zero_point.get(axis).copied().unwrap_or(0).into()
        })
    };
    match t.data() {
        Data::F32(v) => v.iter().filter(|x| **x != 0.0).count(),
        _ => t.to_i64_vec().iter().enumerate().filter(|(i, x)| **x != zero(*i)).count(),
    }
}
