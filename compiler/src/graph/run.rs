//! The float executor: what a graph means in real numbers, one inference at a time.
//!
//! In: a graph and its inputs. Out: its outputs, and every activation on the way for whoever
//! listens (calibration, comparison). [`Steps`] runs one inference after the other and keeps the states. Law: quantization changes nothing here but the weights:
//! constants stored as integers count as the real values that they stand for.

use crate::error::{Error, Result, Site};
use crate::graph::{Graph, Quant, Value, ValueId, ValueKind};
use crate::ops::limit;
use crate::tensor::{DType, Data, Tensor};
use std::borrow::Cow;

/// Runs one inference; inputs and outputs in the order of the graph. Behind the inputs may stand what its states
/// hold, in their order; else they hold what they begin with.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    run_with(graph, inputs, &mut |_, _| {})
}

/// [`run`], calling `tap` with every input and every computed value, in the order of computation.
pub fn run_with(
    graph: &Graph,
    inputs: &[Tensor],
    tap: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<Vec<Tensor>> {
    let all = graph.inputs().len() + graph.states().len();
    if inputs.len() != graph.inputs().len() && inputs.len() != all {
        return Err(Error::data(
            Site::Whole,
            format!("{} inputs are given, the model has {}", inputs.len(), graph.inputs().len()),
        ));
    }
    let mut live: Vec<Option<Cow<'_, Tensor>>> = vec![None; graph.values().count()];
    for (id, value) in graph.values() {
        live[id.index()] = match (&value.kind, &value.quant) {
            (ValueKind::Constant(t), Some(quant)) => Some(Cow::Owned(dequantize(t, quant)?)),
            (ValueKind::Constant(t) | ValueKind::State(t), _) => Some(Cow::Borrowed(t.as_ref())),
            _ => None,
        };
    }
    for (&id, tensor) in graph.inputs().iter().chain(graph.states()).zip(inputs) {
        check(&graph[id], tensor, Error::data)?;
        live[id.index()] = Some(Cow::Borrowed(tensor));
    }
    for &id in graph.inputs().iter().chain(graph.states()) {
        if let Some(tensor) = &live[id.index()] {
            tap(id, tensor);
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

/// Runs one inference after the other: what an output gives to a state is there in the next run.
#[derive(Debug)]
pub struct Steps<'g> {
    graph: &'g Graph,
    states: Vec<Tensor>,
}

impl<'g> Steps<'g> {
    pub fn new(graph: &'g Graph) -> Steps<'g> {
        let mut steps = Steps { graph, states: Vec::new() };
        steps.reset();
        steps
    }
    /// Begins again: every state holds what it does before the first run.
    pub fn reset(&mut self) {
        let init = |&v: &ValueId| match &self.graph[v].kind {
            ValueKind::State(init) => Some(init.as_ref().clone()),
            _ => None,
        };
        self.states = self.graph.states().iter().filter_map(init).collect();
    }
    /// The next inference; gives the [`results`](Graph::results).
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_with(inputs, &mut |_, _| {})
    }
    /// As [`run_with`] of a graph.
    pub fn run_with(
        &mut self,
        inputs: &[Tensor],
        tap: &mut dyn FnMut(ValueId, &Tensor),
    ) -> Result<Vec<Tensor>> {
        if self.states.is_empty() {
            return run_with(self.graph, inputs, tap);
        }
        let mut results = run_with(self.graph, &self.with_states(inputs), tap)?;
        self.states = results.split_off(self.graph.results().len().min(results.len()));
        Ok(results)
    }
    fn with_states(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        inputs.iter().chain(&self.states).cloned().collect()
    }
}

/// Samples, `steps` of which follow each other before the states begin again, with what the states hold before
/// each. Samples of a graph without states stay as they are.
///
/// Errors: samples that do not fit the graph's inputs.
pub fn carried(graph: &Graph, samples: Vec<Vec<Tensor>>, steps: usize) -> Result<Vec<Vec<Tensor>>> {
    if graph.states().is_empty() {
        return Ok(samples);
    }
    let mut walk = Steps::new(graph);
    let mut all = Vec::with_capacity(samples.len());
    for (i, sample) in samples.into_iter().enumerate() {
        if i.is_multiple_of(steps.max(1)) {
            walk.reset();
        }
        all.push(walk.with_states(&sample));
        walk.run(&sample)?;
    }
    Ok(all)
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
