//! Post-training int8: a float graph and calibration samples in, a graph with `Quant`s out.
//!
//! Two walks over the nodes, all samples at each: the float one fills a histogram per value,
//! the second computes with the quantized values and weights so far, beside the float ones, and
//! corrects every bias by the mean error of its channel. Only values that some node still reads
//! are kept.
//! Law: the samples' order and the machine change nothing; every sum has a fixed order.

use super::calibrate::Histogram;
use super::closed;
use super::correction::{seen_by_readers, shifts};
use super::forms::integer_form;
use super::inside;
use super::recurrent;
use super::scales::choose;
use super::settle::{Constants, Spread, computes_on_integers, constants, fixed, settle_with, spread};
use super::states;
use super::weights::{self, four_bit};
use super::wide;
use super::wished::wished;
use crate::error::{Error, Fault, Result, Site};
use crate::graph::closing::closing;
use crate::graph::walk::Walk;
use crate::graph::{Clamp, Graph, NodeId, Patch, Quant, ValueId};
use crate::least_squares::{self, Layer, Steps};
use crate::observe::Observer;
use crate::ops::Op;
use crate::ops::recurrent::Spans;
use crate::options::{Options, Range};
use crate::tensor::{DType, Data, Samples, Tensor};
use crate::warning::Warning;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Post-training quantization to int8: every activation and weight gets its `Quant`.
///
/// Layers of four bits are solved anew for what the quantized layers before them give; these, and those that
/// `pruned` names, are rounded one weight after the other ([`least_squares`]); weights that are zero stay so.
///
/// The samples must fit the graph's inputs ([`crate::samples::carried`]). Errors: samples that do
/// not fit, a value that is not finite on them.
pub fn quantize(
    graph: &mut Graph,
    samples: &Samples,
    options: &Options,
    pruned: &BTreeSet<String>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let inputs = crate::samples::carried(samples, graph)?;
    divisors(graph);
    let kept = states::apart(graph);
    let mut seen = observe(graph, &inputs, observer)?;
    seen.ranges = wished(graph, &options.ranges)?;
    inside::tell(graph, &seen.spans, &seen.scores);
    closed::warn_of_empty(graph, &seen);
    let needs = closed::needs(graph, &seen);
    for (value, quant) in choose(graph, &seen, &needs) {
        Patch::new(graph).set_quant(value, Some(quant));
    }
    closed::raise(graph, &needs);
    states::widen(graph, &kept);
    let written = wide::widen(graph, &seen, &options.int16)?;
    dragged(graph, &seen);
    weights::heard(graph, options)?;
    let four = four_bit(graph, options);
    let solved = least_squares::layers(graph).into_iter();
    let solved = solved.filter(|l| four.contains(&l.node) || pruned.contains(&l.node_name));
    let solved: BTreeMap<NodeId, Layer> = solved.map(|l| (l.node, l)).collect();
    correct(graph, &inputs, (&four, &solved), observer)?;
    settle_with(graph, Constants::Rounded)?;
    wide::remove_unread(graph, &written);
    Ok(())
}

/// How [`quantize`] would store the values of a float graph, which stays as it is.
pub(crate) fn ranges(
    graph: &Graph,
    inputs: &[Vec<Tensor>],
    observer: &mut dyn Observer,
) -> Result<BTreeMap<ValueId, Quant>> {
    let seen = observe(graph, inputs, observer)?;
    let needs = closed::needs(graph, &seen);
    Ok(choose(graph, &seen, &needs).into_iter().collect())
}

/// Scales for the values of a model that brought its own quantization, but not theirs: from
/// calibration samples, where an operator and its operands' scales alone would only bound them.
/// False, and no change, when every value has one.
pub fn complete(graph: &mut Graph, samples: &Samples, observer: &mut dyn Observer) -> Result<bool> {
    let mut trial = graph.clone();
    let mut missing = false;
    spread(&mut trial, &mut |_, _| {
        missing = true;
        Spread::Bounds
    });
    if !missing {
        return Ok(false);
    }
    let inputs = crate::samples::carried(samples, graph)?;
    let seen = observe(graph, &inputs, observer)?;
    spread(graph, &mut |graph, v| {
        let Some(Some(histogram)) = seen.histograms.get(v.index()) else { return Spread::Bounds };
        let known = graph.producer(v).and_then(|p| fixed(&graph[p].op));
        Spread::Seen(known.map_or_else(|| histogram.quant(), |known| histogram.quant_or(known)))
    });
    Ok(true)
}

/// Division by a constant becomes a product: eight bits hold the reciprocals of small divisors,
/// which count most, better than the divisors.
fn divisors(graph: &mut Graph) {
    for id in graph.topological() {
        let node = &graph[id];
        let (Op::Div(_), Some(Some(c))) = (&node.op, node.inputs.get(1).copied()) else { continue };
        let Some(by) = graph[c].constant().filter(|_| graph[c].quant.is_none()).cloned() else { continue };
        let Some(by) = by.as_f32().filter(|v| v.len() > 1).map(<[f32]>::to_vec) else { continue };
        let inverse: Vec<f32> = by.iter().map(|d| 1.0 / d).collect();
        if inverse.iter().any(|r| !r.is_normal()) {
            continue;
        }
        let (name, shape) = (graph[c].name.clone(), graph[c].shape.clone());
        let mut patch = Patch::new(graph);
        let inverse = patch.add_constant(&name, Tensor::f32(&shape, inverse));
        let node = patch.node_mut(id);
        node.op = crate::ops::Mul.into();
        node.inputs[1] = Some(inverse);
    }
}

/// Warns of operands that a Concat stores much coarser than they would be alone: a port of the
/// model (a recurrent state is one) from half the steps on, other values from an eighth on.
fn dragged(graph: &mut Graph, seen: &Seen) {
    let mut warnings = Vec::new();
    for (_, node) in graph.nodes().filter(|(_, n)| matches!(n.op, Op::Concat(_))) {
        for &v in node.inputs.iter().flatten() {
            let Some(all) = graph[node.outputs[0]].quant.as_ref() else { continue };
            // A constant, as a class token is, gets the scale of what it joins.
            let known = graph[v].constant().filter(|_| graph[v].quant.is_none()).and_then(|t| t.as_f32());
            let (have, own) = match (known, &graph[v].quant, seen.histograms.get(v.index())) {
                (Some(values), ..) => {
                    let mut own = Histogram::new();
                    own.add(values);
                    (all, own.quant())
                }
                (None, Some(have), Some(Some(own))) => (have, own.quant()),
                _ => continue,
            };
            let own = graph.producer(v).and_then(|p| fixed(&graph[p].op)).unwrap_or(own);
            let coarser = have.scale[0] / own.scale[0];
            let port = [graph.inputs(), graph.states(), graph.outputs()].iter().any(|all| all.contains(&v));
            let much = if port { 2.0 } else { 8.0 };
            if coarser < much || all != have {
                continue;
            }
            let text = format!(
                "is joined with wider values by `{}`, so it is stored with their scale {:.3e}, {coarser:.1} times coarser than its own range needs",
                node.name, have.scale[0]
            );
            warnings.push(Warning::new(Site::Value(graph[v].name.clone()), text).help(
                "scale the operands of the Concat to like ranges, or give each a layer of its own and add the results",
            ));
        }
    }
    warnings.into_iter().for_each(|w| graph.warn(w));
}

/// What calibration saw of the float model.
pub(super) struct Seen {
    /// By value index; `None` for what is not real or not computed.
    pub(super) histograms: Vec<Option<Histogram>>,
    /// By recurrent layer, the greatest values inside.
    spans: BTreeMap<NodeId, Spans>,
    /// By attention, the greatest score.
    pub(super) scores: BTreeMap<NodeId, f32>,
    /// Nodes that gave no numbers for rows of scores that are closed whole.
    pub(super) emptied: BTreeSet<NodeId>,
    /// For what only Softmax reads: the quantization that changes its probabilities least.
    pub(super) logits: BTreeMap<ValueId, Quant>,
    /// For ports, what the user says that they may hold.
    pub(super) ranges: BTreeMap<ValueId, Range>,
}

pub(super) fn stop(observer: &mut dyn Observer) -> Result<()> {
    if observer.cancelled() {
        return Err(Error::new(Fault::Cancelled, Site::Whole, "calibration was stopped"));
    }
    Ok(())
}

/// Applies `f` to every float of a tensor.
fn map(tensor: Tensor, mut f: impl FnMut(f32) -> f32) -> Tensor {
    let shape = tensor.shape().to_vec();
    match tensor.into_data() {
        Data::F32(mut v) => {
            v.iter_mut().for_each(|x| *x = f(*x));
            Tensor::f32(&shape, v)
        }
        other => Tensor::new(shape, other).unwrap_or_else(|_| Tensor::zeros(DType::F32, &[0])),
    }
}

pub(super) fn clamped(tensor: Tensor, clamp: Clamp) -> Tensor {
    if clamp.is_none() { tensor } else { map(tensor, |x| x.max(clamp.lo).min(clamp.hi)) }
}

/// The real numbers that a quantized value can hold, nearest to the given ones.
pub(crate) fn rounded(tensor: Tensor, quant: &Quant) -> Tensor {
    let (scale, zero) = (quant.scale[0], quant.zero_point[0] as f32);
    let (lo, hi) = quant.stored();
    map(tensor, |x| ((x / scale).round_ties_even() + zero).clamp(lo as f32, hi as f32) * scale - zero * scale)
}

/// Axis of the output channels of a node with per-channel weights.
fn channel_axis(graph: &Graph, id: NodeId) -> Option<usize> {
    let shape = &graph[graph[id].outputs[0]].shape;
    let weights = graph[id].inputs.get(1).copied().flatten()?;
    graph[weights].constant()?;
    match graph[id].op {
        Op::Conv(_) => Some(1),
        Op::Dense(_) => Some(shape.len() - 1),
        _ => None,
    }
}

/// The first walk: the float model.
fn observe(graph: &Graph, inputs: &[Vec<Tensor>], observer: &mut dyn Observer) -> Result<Seen> {
    let mut walk = Walk::new(graph, inputs);
    let mut seen = Seen {
        histograms: vec![None; graph.values().count()],
        spans: BTreeMap::new(),
        scores: BTreeMap::new(),
        emptied: BTreeSet::new(),
        logits: BTreeMap::new(),
        ranges: BTreeMap::new(),
    };
    let closing = closing(graph);
    for &v in graph.inputs().iter().chain(graph.states()) {
        if let Some(tensors) = &walk.live[v.index()] {
            seen.histograms[v.index()] = histogram(graph, v, tensors, closing[v.index()])?;
        }
    }
    let order = graph.topological();
    for (done, &id) in order.iter().enumerate() {
        stop(observer)?;
        observer.progress("calibrate", done, 2 * order.len());
        let mut results = match &graph[id].op {
            Op::Recurrent(layer) => {
                let traced = walk.each(graph, id, inputs.len(), &[], |operands| layer.trace(operands))?;
                let mut results = vec![Vec::new(); graph[id].outputs.len()];
                let mut spans = Spans::default();
                for (computed, seen) in traced {
                    spans = spans.join(seen);
                    results.iter_mut().zip(computed).for_each(|(all, tensor)| all.push(tensor));
                }
                seen.spans.insert(id, spans);
                results
            }
            Op::Attention(attention) => {
                let traced = walk.each(graph, id, inputs.len(), &[], |operands| attention.trace(operands))?;
                let span = traced.iter().fold(0.0f32, |most, (_, span)| most.max(*span));
                seen.scores.insert(id, span);
                vec![traced.into_iter().map(|(tensor, _)| tensor).collect()]
            }
            _ => walk.eval(graph, id, inputs.len(), &[])?,
        };
        let clamp = graph[id].clamp;
        for (&v, tensors) in graph[id].outputs.iter().zip(&mut results) {
            let quant = graph[v].quant.as_ref().filter(|q| q.axis.is_none());
            let held = |t| match quant {
                None => clamped(t, clamp),
                Some(quant) => rounded(clamped(t, clamp), quant),
            };
            *tensors = std::mem::take(tensors).into_iter().map(held).collect();
            let empty = |t: &Tensor| t.as_f32().is_some_and(|values| values.iter().any(|x| x.is_nan()));
            if closed::empties(&graph[id].op) && tensors.iter().any(empty) {
                seen.emptied.insert(id);
                let filled: Vec<Tensor> =
                    tensors.iter().map(|t| map(t.clone(), |x| if x.is_nan() { 0.0 } else { x })).collect();
                seen.histograms[v.index()] = histogram(graph, v, &filled, false)?;
                continue;
            }
            seen.histograms[v.index()] = histogram(graph, v, tensors, closing[v.index()])?;
        }
        if let (Op::Softmax(_), Some(v)) = (&graph[id].op, graph[id].inputs[0])
            && graph.consumers(v) == [id]
            && let (Some(logits), Some(histogram)) = (&walk.live[v.index()], &seen.histograms[v.index()])
        {
            seen.logits.insert(v, closed::logit_quant(graph, id, logits, &results[0], histogram)?);
        }
        walk.advance(graph, id, results);
    }
    Ok(seen)
}

/// What a value held; `closing` says that minus infinity is a number of it.
///
/// Errors: it is not finite on a sample.
fn histogram(graph: &Graph, v: ValueId, tensors: &[Tensor], closing: bool) -> Result<Option<Histogram>> {
    if graph[v].dtype != DType::F32 {
        return Ok(None);
    }
    let mut histogram = Histogram::new();
    for (i, tensor) in tensors.iter().enumerate() {
        let ranged = if closing { closed::ranged(graph, v, tensor) } else { Cow::Borrowed(tensor) };
        let Some(values) = ranged.as_f32() else { continue };
        if let Some(x) = values.iter().find(|x| !x.is_finite()) {
            return Err(Error::data(
                Site::Value(graph[v].name.clone()),
                format!("is {x} on calibration sample {i}, so no range can be found"),
            )
            .help(
                "the float model must stay finite on the calibration data; are they in the model's units?",
            ));
        }
        histogram.add(values);
    }
    Ok(Some(histogram))
}

/// The second walk: weights become integers, and biases take back the mean error that rounding
/// of everything before them makes in each channel (Nagel et al., 2019, with data).
fn correct(
    graph: &mut Graph,
    inputs: &[Vec<Tensor>],
    (four, solved): (&BTreeSet<NodeId>, &BTreeMap<NodeId, Layer>),
    observer: &mut dyn Observer,
) -> Result<()> {
    let float = graph.clone();
    let (mut exact, mut walk) = (Walk::new(graph, inputs), Walk::new(graph, inputs));
    for &v in graph.inputs().iter().chain(graph.states()) {
        if let (Some(quant), Some(tensors)) = (&graph[v].quant, &mut walk.live[v.index()]) {
            *tensors = std::mem::take(tensors).into_iter().map(|t| rounded(t, quant)).collect();
        }
    }
    let order = graph.topological();
    for (done, &id) in order.iter().enumerate() {
        stop(observer)?;
        observer.progress("calibrate", order.len() + done, 2 * order.len());
        let mut want = exact.eval(&float, id, inputs.len(), &[])?;
        let mut results = match channel_axis(graph, id) {
            Some(axis) if integer_form(&graph[id].op) => {
                let most = if four.contains(&id) { weights::FOUR_BITS } else { weights::EIGHT_BITS };
                corrected(graph, &walk, id, (axis, most, solved.get(&id)), &want[0])?
            }
            _ => {
                // As integers they have errors of their own, which the biases behind take back.
                if computes_on_integers(graph, id) {
                    if solved.contains_key(&id) {
                        let most = if four.contains(&id) { weights::FOUR_BITS } else { weights::EIGHT_BITS };
                        recurrent::round(graph, &float, (&exact, &walk), id, most)?;
                    }
                    constants(graph, id, Constants::Rounded)?;
                }
                walk.eval(graph, id, inputs.len(), &[])?
            }
        };
        let clamp = graph[id].clamp;
        for tensors in &mut want {
            *tensors = std::mem::take(tensors).into_iter().map(|t| clamped(t, clamp)).collect();
        }
        exact.advance(&float, id, want);
        for (&v, tensors) in graph[id].outputs.iter().zip(&mut results) {
            let quant = graph[v].quant.clone();
            *tensors = std::mem::take(tensors)
                .into_iter()
                .map(|t| {
                    let t = clamped(t, clamp);
                    quant.as_ref().map_or(t.clone(), |q| rounded(t, q))
                })
                .collect();
        }
        walk.advance(graph, id, results);
    }
    Ok(())
}

/// A layer's weights as integers, chosen together for what it reads (`read`) and should give (`want`), and the
/// bias that fits them.
pub(super) fn rounded_together(
    graph: &Graph,
    (layer, read, want): (&Layer, &[Tensor], &[Tensor]),
    most: i8,
    steps: &dyn Fn(&Tensor, &[f32]) -> Quant,
) -> Result<(Quant, Tensor, Vec<f32>)> {
    let shape = graph[layer.node].inputs[1].map_or(Vec::new(), |w| graph[w].shape.clone());
    let mut groups = Vec::new();
    let (mut real, mut bias) = (Vec::new(), Vec::new());
    for group in 0..layer.groups {
        let (moments, trained, solver) = least_squares::problem(graph, layer, group, read, want)?;
        // Steps of eight bits change outputs little: what pruning solved for stays the best.
        let weights = match most {
            weights::EIGHT_BITS => trained,
            _ => solver.refit(&trained.nonzero(), &trained),
        };
        real.extend(weights.to_onnx());
        bias.extend((0..layer.sizes.rows).map(|row| moments.bias(row, weights.row(row)) as f32));
        groups.push((moments, weights, solver));
    }
    let quant = steps(&Tensor::f32(&shape, real), &bias);
    let mut integers = Vec::new();
    bias.clear();
    for ((moments, weights, solver), by_row) in groups.iter().zip(quant.scale.chunks(layer.sizes.rows.max(1)))
    {
        let rounded = least_squares::round(solver, weights, Steps { by_row, most });
        integers.extend(rounded.to_onnx().iter().map(|q| *q as i64));
        bias.extend(by_row.iter().enumerate().map(|(row, step)| {
            let weights: Vec<f64> = rounded.row(row).iter().map(|q| q * f64::from(*step)).collect();
            moments.bias(row, &weights) as f32
        }));
    }
    let stored = Tensor::new(shape, Data::from_i64(DType::I8, &integers));
    let stored =
        stored.map_err(|_| Error::internal(graph[layer.node].site(), "its weights changed their number"))?;
    Ok((quant, stored, bias))
}

/// Quantizes the weights of a node, corrects its bias towards the results that it should have before
/// its clamp, and gives those with both. `axis` is that of channels in the result, `most` the greatest
/// integer weight; a `layer` is solved anew.
fn corrected(
    graph: &mut Graph,
    walk: &Walk,
    id: NodeId,
    (axis, most, layer): (usize, i8, Option<&Layer>),
    want: &[Tensor],
) -> Result<Vec<Vec<Tensor>>> {
    let node = graph[id].clone();
    let (samples, channels) = (want.len(), graph[node.outputs[0]].shape[axis]);
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    let (Some(x), Some(w)) = (operand(0), operand(1)) else { return walk.eval(graph, id, samples, &[]) };
    let Some(real) = graph[w].constant().cloned() else { return walk.eval(graph, id, samples, &[]) };
    let bias = match operand(2) {
        None => vec![0.0; channels],
        Some(b) => graph[b].constant().map(|t| t.to_f32_vec()).unwrap_or_else(|| vec![0.0; channels]),
    };
    let steps = |real: &Tensor, bias: &[f32]| match &graph[x].quant {
        Some(input) => weights::within_accumulator(real, weights::per_channel(real, most), bias, input),
        None => weights::per_channel(real, most),
    };
    let read = walk.live[x.index()].as_deref();
    let (quant, stored, bias) = match layer.zip(read) {
        Some((layer, read)) => rounded_together(graph, (layer, read, want), most, &steps)?,
        None => {
            let quant = steps(&real, &bias);
            let stored = weights::symmetric(&real, &quant, most);
            (quant, stored, bias)
        }
    };
    let (weight_name, name) = (graph[w].name.clone(), format!("{}.bias", node.name));
    let rounded_weights = quant.dequantize(&stored);
    let mut patch = Patch::new(graph);
    let constant = patch.add_constant(&weight_name, stored);
    patch.set_dtype(constant, DType::F32);
    patch.set_quant(constant, Some(quant));
    patch.node_mut(id).inputs[1] = Some(constant);
    let name = operand(2).map_or(name, |b| graph[b].name.clone());
    let set_bias = |graph: &mut Graph, bias: &[f32]| {
        let mut patch = Patch::new(graph);
        let constant = patch.add_constant(&name, Tensor::f32(&[bias.len()], bias.to_vec()));
        let node = patch.node_mut(id);
        node.inputs.resize(3, None);
        node.inputs[2] = Some(constant);
    };
    if layer.is_some() {
        set_bias(graph, &bias);
    }

    let mut results = walk.eval(graph, id, samples, &[(1, rounded_weights)])?;
    let shift = shifts(want, &results[0], axis, &seen_by_readers(graph, id));
    if shift.iter().all(|s| *s == 0.0) {
        return Ok(results);
    }
    let inner: usize = graph[node.outputs[0]].shape[axis + 1..].iter().product();
    for tensor in &mut results[0] {
        let taken = std::mem::replace(tensor, Tensor::zeros(DType::F32, &[0]));
        let mut i = 0usize;
        *tensor = map(taken, |v| {
            let c = i / inner.max(1) % shift.len();
            i += 1;
            v + shift[c]
        });
    }
    let bias: Vec<f32> = bias.iter().zip(&shift).map(|(b, s)| b + s).collect();
    set_bias(graph, &bias);
    Ok(results)
}
