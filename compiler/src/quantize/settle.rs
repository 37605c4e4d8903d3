//! The last word on who computes on integers: values that only lack a `Quant` get the natural
//! one, constants and biases take the scale that integer arithmetic needs, `Requantize` nodes
//! stand where an operator cannot change the scale itself and where integers meet floats.
//!
//! In: a graph some of whose values carry a `Quant`. Out: one in which every node has either
//! all or none of its float values quantized.
//! Law: a value that has a `Quant` keeps it.

use super::bias::bias;
use super::calibrate::{affine, range};
use super::forms::{carries, integer_form, joins};
use super::qdq::alias;
use super::states;
use super::weights;
use super::wide;
use super::widths::{self, sixteen_bits, touches_wide};
use crate::error::{Error, Result, Site};
use crate::graph::{Clamp, Graph, NodeId, Patch, Quant, ValueId};
use crate::ops::attention;
use crate::ops::recurrent::{self, Part};
use crate::ops::{Op, PadMode, Requantize};
use crate::tensor::{DType, Tensor};
use crate::warning::Warning;

/// What becomes of a constant that an element-wise operator on integers reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Constants {
    /// As the graph has it: a model that brought its own quantization says what is rounded.
    Exact,
    /// Eight bits, as activations.
    Rounded,
}

/// How a value that only lacks a scale gets one.
pub(super) enum Spread {
    /// By its operator and the scales of the operands.
    Bounds,
    /// From what it was seen to hold.
    Seen(Quant),
}

/// Completes a quantized graph; a graph without any `Quant` stays as it is.
pub fn settle(graph: &mut Graph) -> Result<()> {
    settle_with(graph, Constants::Exact)
}

pub(super) fn settle_with(graph: &mut Graph, rule: Constants) -> Result<()> {
    if !graph.values().any(|(_, v)| v.quant.is_some() && v.constant().is_none()) {
        return Ok(());
    }
    spread(graph, &mut |_, _| Spread::Bounds);
    warn_of_partly_quantized(graph);
    widths::warn(graph);
    activations_to_requantize(graph);
    for id in graph.topological() {
        if computes_on_integers(graph, id) {
            constants(graph, id, rule)?;
            bias(graph, id)?;
        } else {
            border(graph, id);
        }
    }
    for id in graph.topological() {
        requantize_moved(graph, id);
    }
    states::rescale(graph);
    Ok(())
}

fn is_real(graph: &Graph, v: ValueId) -> bool {
    graph[v].dtype == DType::F32
}

fn is_constant(graph: &Graph, v: ValueId) -> bool {
    graph[v].constant().is_some()
}

/// Operands that a node computes with at run time, real ones only.
fn activations(graph: &Graph, id: NodeId) -> Vec<ValueId> {
    let live = |v: &ValueId| is_real(graph, *v) && !is_constant(graph, *v);
    graph[id].inputs.iter().flatten().copied().filter(live).collect()
}

/// Gives values without a `Quant` the one that follows from their neighbours; where neighbours
/// only bound it, `seen` may know better.
pub(super) fn spread(graph: &mut Graph, seen: &mut dyn FnMut(&Graph, ValueId) -> Spread) {
    loop {
        let mut changed = false;
        for id in graph.topological().into_iter().rev() {
            changed |= spread_backward(graph, id);
        }
        if changed {
            continue;
        }
        for id in graph.topological() {
            changed |= spread_forward(graph, id, seen);
        }
        if !changed {
            return;
        }
    }
}

/// What is only moved into a quantized value can be quantized before it is moved: the same
/// integers result. That holds for clamping and maxima too, because rounding is monotone.
fn spread_backward(graph: &mut Graph, id: NodeId) -> bool {
    if !carries(&graph[id].op) {
        return false;
    }
    let Some(quant) = graph[graph[id].outputs[0]].quant.clone() else { return false };
    let mut changed = false;
    for v in activations(graph, id) {
        let agrees = |c: NodeId| {
            carries(&graph[c].op) && graph[c].outputs.iter().all(|&o| graph[o].quant.as_ref() == Some(&quant))
        };
        if graph[v].quant.is_none()
            && !graph.outputs().contains(&v)
            && graph.consumers(v).into_iter().all(agrees)
        {
            Patch::new(graph).set_quant(v, Some(quant.clone()));
            changed = true;
        }
    }
    changed
}

fn spread_forward(graph: &mut Graph, id: NodeId, seen: &mut dyn FnMut(&Graph, ValueId) -> Spread) -> bool {
    let node = &graph[id];
    let lacks = |&v: &ValueId| is_real(graph, v) && graph[v].quant.is_none() && !wide::stays_real(graph, v);
    let missing: Vec<ValueId> = node.outputs.iter().copied().filter(lacks).collect();
    let operands = activations(graph, id);
    if missing.is_empty() || operands.is_empty() || operands.iter().any(|&v| graph[v].quant.is_none()) {
        return false;
    }
    let quants: Vec<&Quant> = operands.iter().filter_map(|&v| graph[v].quant.as_ref()).collect();
    let constants = joined_constants(graph, id);
    let recurrent = matches!(node.op, Op::Recurrent(_));
    let natural = match natural(&node.op, &quants, constants, &graph[operands[0]].shape) {
        // Eight bits by a rule would lose what sixteen hold.
        Some(Natural::Bound(_)) if quants.iter().any(|q| q.dtype == DType::I16) && !recurrent => {
            return false;
        }
        Some(Natural::Shrinking(quant, _)) if quant.dtype == DType::I16 => Natural::Exact(quant),
        Some(natural) => natural,
        None if integer_form(&node.op) && missing.iter().any(|&v| partly_quantized(graph, v)) => {
            match seen(graph, missing[0]) {
                Spread::Seen(seen) => Natural::Exact(seen),
                Spread::Bounds => return false,
            }
        }
        None => return false,
    };
    let (quant, warning) = match natural {
        Natural::Exact(quant) => (quant, None),
        Natural::Bound(quant) => match seen(graph, missing[0]) {
            Spread::Seen(seen) => (seen, None),
            Spread::Bounds => (quant, None),
        },
        Natural::Shrinking(quant, count) => match seen(graph, missing[0]) {
            Spread::Seen(seen) => (seen, None),
            Spread::Bounds if count <= FEW => (quant, None),
            // Floats serve where they stay few; weights would become floats too.
            Spread::Bounds if !feeds_product(graph, missing[0]) => return false,
            Spread::Bounds => {
                let warning = Warning::new(
                    Site::Value(graph[missing[0]].name.clone()),
                    format!(
                        "is a mean of {count} values without a scale of its own, and takes theirs, which may be coarse"
                    ),
                );
                (
                    quant,
                    Some(
                        warning
                            .help("give samples with `--calibrate X.npy`, or quantize the mean in the model"),
                    ),
                )
            }
        },
    };
    for v in missing {
        Patch::new(graph).set_quant(v, Some(quant.clone()));
    }
    if let Some(warning) = warning {
        graph.warn(warning);
    }
    true
}

/// Whether a value without a scale is quantized for some of its readers.
fn partly_quantized(graph: &Graph, v: ValueId) -> bool {
    graph[v].quant.is_none() && graph.consumers(v).iter().any(|&c| matches!(graph[c].op, Op::Requantize(_)))
}

/// Warns of results that would be integers if the model quantized them for all of their readers.
fn warn_of_partly_quantized(graph: &mut Graph) {
    let mut warnings = Vec::new();
    for (id, node) in graph.nodes().filter(|(_, n)| integer_form(&n.op)) {
        let operands = activations(graph, id);
        if operands.is_empty() || operands.iter().any(|&v| graph[v].quant.is_none()) {
            continue;
        }
        let asked = |v: ValueId| partly_quantized(graph, v) && !wide::stays_real(graph, v);
        for &v in node.outputs.iter().filter(|&&v| asked(v)) {
            let text =
                "is quantized for some of its readers only (or in two ways), so it is computed in floats";
            warnings.push(Warning::new(Site::Value(graph[v].name.clone()), text).help(
                "quantize it for all of its readers in the model, or give samples with `--calibrate X.npy`",
            ));
        }
    }
    warnings.into_iter().for_each(|w| graph.warn(w));
}

/// A mean of so few values keeps most of their range.
const FEW: usize = 16;

/// Whether a value reaches, moved at most, a product with constant weights.
fn feeds_product(graph: &Graph, v: ValueId) -> bool {
    let mut next = vec![v];
    let mut met = std::collections::BTreeSet::new();
    while let Some(v) = next.pop() {
        for c in graph.consumers(v) {
            let weights = graph[c].inputs.get(1).copied().flatten().is_some_and(|w| is_constant(graph, w));
            match &graph[c].op {
                Op::Conv(_) | Op::Dense(_) | Op::Gemm(_) | Op::MatMul(_) if weights => return true,
                op if carries(op) && met.insert(c) => next.extend(&graph[c].outputs),
                _ => {}
            }
        }
    }
    false
}

/// The range of the constants that a node joins, stored or not; of no width without any.
fn joined_constants(graph: &Graph, id: NodeId) -> (f32, f32) {
    if !joins(&graph[id].op) {
        return (0.0, 0.0);
    }
    let reals = graph[id].inputs.iter().flatten().filter_map(|&v| graph[v].real_constant());
    reals.flat_map(|t| t.to_f32_vec()).fold((0.0, 0.0), |(lo, hi), x| (x.min(lo), x.max(hi)))
}

/// What operator and operands say of a result's quantization.
pub(super) enum Natural {
    /// No other holds the same values as well.
    Exact(Quant),
    /// No value lies outside, but all may lie well inside.
    Bound(Quant),
    /// Likewise, of a mean of so many values, which come the closer to each other the more they are.
    Shrinking(Quant, usize),
}

/// The quantization that a result has by its operator and its operands' alone; `None` when
/// only data could tell.
fn natural(op: &Op, operands: &[&Quant], constants: (f32, f32), shape: &[usize]) -> Option<Natural> {
    if let Some(fixed) = fixed(op) {
        return Some(Natural::Bound(fixed));
    }
    let (lo, hi) = operands.iter().map(|q| range(q)).fold(constants, |a, b| (a.0.min(b.0), a.1.max(b.1)));
    let first = operands[0];
    let (least, most) = range(first);
    let size = |axes: &[usize]| axes.iter().filter_map(|&a| shape.get(a)).product::<usize>();
    Some(match op {
        op if joins(op)
            && carries(op)
            && (operands.iter().any(|q| *q != first) || constants.0 < least || constants.1 > most) =>
        {
            Natural::Bound(affine(lo, hi))
        }
        op if carries(op) => Natural::Exact(first.clone()),
        Op::AveragePool(pool) => Natural::Shrinking(first.clone(), pool.kernel.iter().product()),
        Op::GlobalAveragePool(_) => Natural::Shrinking(first.clone(), shape.iter().skip(2).product()),
        Op::ReduceMean(mean) => Natural::Shrinking(first.clone(), size(&mean.axes)),
        Op::LeakyRelu(l) => {
            let ends = [lo.min(0.0) * l.alpha, hi];
            Natural::Bound(affine(
                ends.iter().copied().fold(0.0, f32::min),
                ends.iter().copied().fold(0.0, f32::max),
            ))
        }
        Op::HardSwish(_) => Natural::Bound(affine(if lo < 0.0 { -0.375 } else { 0.0 }, hi)),
        Op::LogSoftmax(_) => {
            let n: usize = shape.iter().product();
            Natural::Bound(affine(-((hi - lo) + libm::logf(n.max(1) as f32)), 0.0))
        }
        _ => return None,
    })
}

/// Results whose interval is known beforehand.
pub(super) fn fixed(op: &Op) -> Option<Quant> {
    match op {
        Op::Softmax(_) | Op::Sigmoid(_) | Op::HardSigmoid(_) => {
            Some(Quant::per_tensor(DType::I8, 1.0 / 256.0, -128))
        }
        Op::Tanh(_) => Some(Quant::per_tensor(DType::I8, 1.0 / 128.0, 0)),
        // The state, which its functions bound; a cell is not bounded.
        Op::Recurrent(layer) if layer.bounded() && !layer.parts.contains(&Part::Cell) => {
            Some(layer.state_quant())
        }
        _ => None,
    }
}

/// The interval that a Relu or a Clip leaves.
pub(super) fn limits(op: &Op) -> Option<Clamp> {
    match op {
        Op::Relu(_) => Some(Clamp { lo: 0.0, hi: f32::INFINITY }),
        Op::Clip(c) => Some(Clamp {
            lo: c.min.map_or(f32::NEG_INFINITY, |v| v as f32),
            hi: c.max.map_or(f32::INFINITY, |v| v as f32),
        }),
        _ => None,
    }
}

/// A Relu or Clip that stayed a node of its own is a `Requantize` with a clamp, or nothing where it limits no
/// integer of its operand.
fn activations_to_requantize(graph: &mut Graph) {
    for id in graph.topological() {
        let Some(clamp) = limits(&graph[id].op) else { continue };
        if !computes_on_integers(graph, id) {
            continue;
        }
        let clamp = clamp.then(graph[id].clamp);
        if let (Some(x), [y]) = (graph[id].inputs[0], graph[id].outputs.as_slice())
            && let Some(quant) = graph[x].quant.as_ref().filter(|q| q.dtype == DType::I8)
            && graph[*y].quant.as_ref() == Some(quant)
            && clamp.lo <= range(quant).0
            && clamp.hi >= range(quant).1
            && alias(graph, *y, x)
        {
            Patch::new(graph).remove_node(id);
            continue;
        }
        let mut patch = Patch::new(graph);
        let node = patch.node_mut(id);
        node.op = Requantize.into();
        node.clamp = clamp;
    }
}

/// Whether a node has an integer form and all its real values, constants aside, are quantized
/// (and there is one) in widths that it has kernels for.
pub(super) fn computes_on_integers(graph: &Graph, id: NodeId) -> bool {
    if !integer_form(&graph[id].op) || widths::lacks(graph, id).is_some() {
        return false;
    }
    let mut values = activations(graph, id);
    values.extend(graph[id].outputs.iter().copied().filter(|&v| is_real(graph, v)));
    !values.is_empty() && values.iter().all(|&v| graph[v].quant.is_some())
}

/// Real constants of an integer node become integers, or stay where the rule says so.
pub(super) fn constants(graph: &mut Graph, id: NodeId, rule: Constants) -> Result<()> {
    let node = graph[id].clone();
    let output = node.outputs[0];
    for (i, v) in node.inputs.iter().enumerate() {
        let Some(v) = *v else { continue };
        if !is_real(graph, v) || graph[v].quant.is_some() {
            continue;
        }
        let Some(real) = graph[v].constant().cloned() else { continue };
        let quant = match (&node.op, i) {
            (Op::Conv(_) | Op::Dense(_), 1) => weights::per_channel(&real, weights::EIGHT_BITS),
            (Op::Recurrent(_), recurrent::W | recurrent::R) => {
                weights::per_channel(&real, weights::EIGHT_BITS)
            }
            // A mask that is known becomes scores with the kernel.
            (Op::Attention(_), attention::MASK) => continue,
            // Biases and states become integers of their own with the kernel.
            (Op::Conv(_) | Op::Dense(_) | Op::Normalization(_) | Op::Recurrent(_), _) => continue,
            // Beside values of sixteen bits, constants have as many.
            (Op::Add(_) | Op::Sub(_) | Op::Mul(_), _) if touches_wide(graph, id) => sixteen_bits(&real),
            (Op::Add(_) | Op::Sub(_) | Op::Mul(_), _) | (Op::Div(_), 1) if rule == Constants::Exact => {
                continue;
            }
            // A dividend is divided by a table, which wants an integer; sixteen bits lose nothing.
            (Op::Div(_), 0) if rule == Constants::Exact && real.len() > 1 => sixteen_bits(&real),
            (Op::Div(_), 0) if rule == Constants::Exact => continue,
            (op, _) if carries(op) => graph[output].quant.clone().ok_or_else(|| {
                Error::internal(node.site(), "computes on integers without a scale for its result")
            })?,
            _ => {
                let data = real.to_f32_vec();
                let lo = data.iter().copied().fold(0.0, f32::min);
                let hi = data.iter().copied().fold(0.0, f32::max);
                affine(lo, hi)
            }
        };
        let stored = weights::quantize(&real, &quant);
        replace_operand(graph, id, i, stored, Some(quant));
    }
    Ok(())
}

pub(super) fn replace_operand(
    graph: &mut Graph,
    id: NodeId,
    index: usize,
    tensor: Tensor,
    quant: Option<Quant>,
) {
    let name = graph[id].inputs[index].map_or(String::new(), |v| graph[v].name.clone());
    let mut patch = Patch::new(graph);
    let constant = patch.add_constant(&name, tensor);
    patch.set_dtype(constant, DType::F32);
    patch.set_quant(constant, quant);
    patch.node_mut(id).inputs[index] = Some(constant);
}

/// A node that computes on floats reads and writes floats: `Requantize` nodes stand between it
/// and integer values, and its integer constants become real ones.
fn border(graph: &mut Graph, id: NodeId) {
    if matches!(graph[id].op, Op::Requantize(_)) {
        return;
    }
    let node = graph[id].clone();
    for (i, v) in node.inputs.iter().enumerate() {
        let Some(v) = *v else { continue };
        if graph[v].quant.is_none() || !is_real(graph, v) {
            continue;
        }
        if let Some(real) = graph[v].real_constant().map(std::borrow::Cow::into_owned) {
            replace_operand(graph, id, i, real, None);
            continue;
        }
        let (name, shape) = (format!("{}.real", graph[v].name), graph[v].shape.clone());
        let mut patch = Patch::new(graph);
        let real = patch.add_value(&name, DType::F32, &shape);
        patch.add_node(&name, Requantize.into(), vec![Some(v)], vec![real]);
        patch.node_mut(id).inputs[i] = Some(real);
    }
    for (i, &v) in node.outputs.iter().enumerate() {
        if graph[v].quant.is_none() || !is_real(graph, v) {
            continue;
        }
        let (name, shape) = (format!("{}.real", graph[v].name), graph[v].shape.clone());
        let mut patch = Patch::new(graph);
        let real = patch.add_value(&name, DType::F32, &shape);
        patch.add_node(&name, Requantize.into(), vec![Some(real)], vec![v]);
        patch.node_mut(id).outputs[i] = real;
    }
}

/// An operator that only moves integers gives back the scale that it got; where the result has
/// another, a `Requantize` follows (where operands are joined, and for Pad with a number: precedes).
fn requantize_moved(graph: &mut Graph, id: NodeId) {
    let node = graph[id].clone();
    if !carries(&node.op) || !computes_on_integers(graph, id) {
        return;
    }
    // What a Pad writes may lie outside of what its operand can hold.
    let writes = matches!(&node.op, Op::Pad(p) if p.mode == PadMode::Constant && p.value != 0.0);
    if joins(&node.op) || writes {
        let want = graph[node.outputs[0]].quant.clone();
        for (i, v) in node.inputs.iter().enumerate() {
            let Some(v) = *v else { continue };
            if graph[v].quant == want || !is_real(graph, v) {
                continue;
            }
            if let (Some(real), Some(quant)) = (graph[v].real_constant(), &want) {
                // A table of eight bits rescales what is copied; known integers of sixteen are rescaled now.
                if touches_wide(graph, id) {
                    let stored = weights::quantize(&real, quant);
                    replace_operand(graph, id, i, stored, want.clone());
                }
                continue;
            }
            let (name, shape) = (format!("{}.rescaled", graph[v].name), graph[v].shape.clone());
            let mut patch = Patch::new(graph);
            let moved = patch.add_value(&name, DType::F32, &shape);
            patch.set_quant(moved, want.clone());
            patch.add_node(&name, Requantize.into(), vec![Some(v)], vec![moved]);
            patch.node_mut(id).inputs[i] = Some(moved);
        }
        return;
    }
    let Some(x) = node.inputs[0] else { return };
    let have = graph[x].quant.clone();
    for (i, &v) in node.outputs.iter().enumerate() {
        if graph[v].quant == have {
            continue;
        }
        let (name, shape) = (format!("{}.unscaled", graph[v].name), graph[v].shape.clone());
        let mut patch = Patch::new(graph);
        let moved = patch.add_value(&name, DType::F32, &shape);
        patch.set_quant(moved, have.clone());
        let clamp = std::mem::replace(&mut patch.node_mut(id).clamp, Clamp::NONE);
        let next = patch.add_node(&name, Requantize.into(), vec![Some(moved)], vec![v]);
        patch.node_mut(next).clamp = clamp;
        patch.node_mut(id).outputs[i] = moved;
    }
}
