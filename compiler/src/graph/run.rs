//! The float executor: what a graph means in real numbers, one inference at a time.
//!
//! In: a graph and its inputs. Out: its outputs, and every activation on the way for whoever
//! listens (calibration, comparison). Law: quantization changes nothing here but the weights:
//! constants stored as integers count as the real values that they stand for.

use crate::error::{Error, Result, Site};
use crate::graph::{Graph, Quant, Value, ValueId, ValueKind};
use crate::ops::limit;
use crate::tensor::{DType, Data, Tensor};
use std::borrow::Cow;

/// Runs one inference; inputs and outputs in the order of the graph.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    run_with(graph, inputs, &mut |_, _| {})
}

/// [`run`], calling `tap` with every input and every computed value, in the order of computation.
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    tap: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>> {
    if inputs.len() != graph.inputs().len() {
        return Err(Error::data(
            Site::Whole,
            format!("{} inputs are given, the model has {}", inputs.len(), graph.inputs().len()),
        ));
    }
    let mut live: Vec<Option<Cow<'_, Tensor>>> = vec![None; graph.values().count()];
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        check(&graph[id], tensor, Error::data)?;
        tap(id, tensor);
        live[id.index()] = Some(Cow::Borrowed(tensor));
    }
    for (id, value) in graph.values() {
        if let ValueKind::Constant(t) | ValueKind::State(t) = &value.kind {
            live[id.index()] = Some(match &value.quant {
                Some(quant) => Cow::Owned(dequantize(t, quant)?),
                None => Cow::Borrowed(t.as_ref()),
            });
        }
    }
    let mut readers = vec![0usize; live.len()];
    let reads = graph.nodes().flat_map(|(_, n)| n.inputs.iter().flatten());
    reads.chain(graph.outputs()).for_each(|v| readers[v.index()] += 1);
    for id in graph.topological() {
        let node = &graph[id];
        let operands: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|v| v.and_then(|v| live[v.index()].as_deref())).collect();
        let results = node.op.eval(&operands).map_err(|e| e.at(node.site()))?;
        for (&out, mut result) in node.outputs.iter().zip(results) {
            if !node.clamp.is_none() {
                let (lo, hi) = (f64::from(node.clamp.lo), f64::from(node.clamp.hi));
                result = limit(&[Some(&result)], Some(lo), Some(hi))?.remove(0);
            }
            check(&graph[out], &result, Error::internal)?;
            tap(out, &result);
            live[out.index()] = Some(Cow::Owned(result));
        }
        for v in node.inputs.iter().flatten() {
            readers[v.index()] -= 1;
            if readers[v.index()] == 0 {
                live[v.index()] = None;
            }
        }
    }
    let outputs = graph.outputs().iter().map(|&id| {
        let value = live[id.index()].as_deref().cloned();
        value.ok_or_else(|| Error::internal(Site::Value(graph[id].name.clone()), "was never computed"))
    });
    outputs.collect()
}

/// Refuses a tensor that does not have the type and shape of its value.
fn check(value: &Value, tensor: &Tensor, error: fn(Site, String) -> Error) -> Result<()> {
    if tensor.shape() != value.shape || tensor.dtype() != value.dtype {
        return Err(error(
            Site::Value(value.name.clone()),
            format!(
                "has type {}{:?}, but holds {}{:?}",
                value.dtype,
                value.shape,
                tensor.dtype(),
                tensor.shape()
            ),
        ));
    }
    Ok(())
}

/// The real values that stored integers stand for: `scale * (stored - zero_point)`.
pub fn dequantize(stored: &Tensor, quant: &Quant) -> Result<Tensor> {
    if stored.dtype() == DType::F32 {
        return Err(Error::internal(Site::Whole, "a quantized constant holds floats"));
    }
    let (inner, n) = match quant.axis {
        None => (1, 1),
        Some(axis) if axis < stored.shape().len() => {
            (stored.shape()[axis + 1..].iter().product::<usize>().max(1), stored.shape()[axis])
        }
        Some(axis) => {
            return Err(Error::internal(Site::Whole, format!("is quantized along a missing axis {axis}")));
        }
    };
    if quant.scale.len() != n || quant.zero_point.len() != n {
        return Err(Error::internal(
            Site::Whole,
            format!(
                "has {} scales and {} zero points for {n} channels",
                quant.scale.len(),
                quant.zero_point.len()
            ),
        ));
    }
    let real = |(i, &v): (usize, &i64)| {
        let c = i / inner % n;
        (v - i64::from(quant.zero_point[c])) as f32 * quant.scale[c]
    };
    let values = stored.to_i64_vec().iter().enumerate().map(real).collect();
    Tensor::new(stored.shape().to_vec(), Data::F32(values))
}
