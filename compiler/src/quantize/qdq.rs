//! Absorption of models that bring their own quantization: QuantizeLinear / DequantizeLinear
//! nodes in, a graph whose values carry [`Quant`] out.
//!
//! The value between a Q and its DQs keeps the ONNX name of the integer tensor. Unsigned tensors are shifted by half
//! of their range and become `I8` or `I16`; this changes no real value. What stands before a Q
//! is fused ([`fuse`]), because only the fused form has an integer meaning.
//! Law: no real value changes. What is quantized for some readers only, or for two in two ways,
//! stays real, and a `Requantize` stands in the place of each Q; what no layer of integers can take over
//! ([`super::kept`]) stays a node of its own.

use super::forms::{carries, moved};
use super::fuse::fuse;
use super::kept::{kept, warn_of_kept};
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId, ValueKind};
use crate::ops::{Op, PadMode, Requantize};
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeSet;

/// Replaces the Q/DQ nodes of a freshly imported graph by `Quant`s. False: there were none.
/// Refuses scales that are not positive and finite, zero points outside their type, and one
/// integer tensor read with two meanings.
pub fn absorb(graph: &mut Graph) -> Result<bool> {
    let mut errors = Vec::new();
    let mut found = false;
    for (id, node) in graph.nodes() {
        if matches!(node.op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_)) {
            found = true;
            if let Err(error) = params(graph, id) {
                errors.push(error);
            }
        }
    }
    if let Some(error) = Error::join(errors) {
        return Err(error);
    }
    if !found {
        return Ok(false);
    }
    let kept = kept(graph);
    let moving: BTreeSet<NodeId> = moving_integers(graph).difference(&kept).copied().collect();
    for id in graph.topological() {
        match graph[id].op {
            _ if kept.contains(&id) => {}
            Op::QuantizeLinear(_) => absorb_quantize(graph, id)?,
            Op::DequantizeLinear(_) => absorb_dequantize(graph, id, &moving)?,
            _ if moving.contains(&id) => carry_forward(graph, id)?,
            _ => {}
        }
    }
    for id in graph.topological() {
        if moving.contains(&id) {
            carry_forward(graph, id)?;
            stored_to_real(graph, id);
        }
    }
    states(graph)?;
    shift_unsigned(graph);
    move_constants(graph)?;
    fuse(graph);
    match super::is_quantized(graph) {
        true => warn_of_kept(graph),
        false => real_constants(graph),
    }
    Ok(true)
}

/// Integers that a run hands to the next mean there what they meant here.
fn states(graph: &Graph) -> Result<()> {
    for (&state, &next) in graph.states().iter().zip(graph.nexts()) {
        let (from, to) = (&graph[next], &graph[state]);
        if !to.dtype.is_float() && from.quant != to.quant {
            let said = |quant: &Option<Quant>| match quant {
                Some(q) => format!("scale {} and zero point {}", q.scale[0], q.zero_point[0]),
                None => "no scale".to_string(),
            };
            let why = format!(
                "the output `{}` gives integers with {}, which the input `{}` reads with {}",
                from.name,
                said(&from.quant),
                to.name,
                said(&to.quant)
            );
            return Err(Error::entry("state", &to.name, why)
                .help("quantize both alike in the model, or let its ports be floats, which are rescaled"));
        }
    }
    Ok(())
}

/// Where no activation is quantized, stored constants become the real ones that they mean: the model is one of
/// floats, and what comes behind reads no integers into it.
fn real_constants(graph: &mut Graph) {
    let stored = |v: &crate::graph::Value| v.quant.is_some() && v.constant().is_some();
    let ids: Vec<ValueId> = graph.values().filter(|(_, v)| stored(v)).map(|(id, _)| id).collect();
    for id in ids {
        let Some(real) = graph[id].real_constant().map(std::borrow::Cow::into_owned) else { continue };
        let mut patch = Patch::new(graph);
        patch.set_constant(id, real);
        patch.set_quant(id, None);
    }
}

/// Transposes and reshapes of dequantized constants are done now, on the stored integers.
fn move_constants(graph: &mut Graph) -> Result<()> {
    for id in graph.topological() {
        let node = &graph[id];
        let output = node.outputs[0];
        let Some(x) = node.inputs.first().copied().flatten() else { continue };
        let (Some(stored), Some(quant)) = (graph[x].constant().cloned(), graph[x].quant.clone()) else {
            continue;
        };
        let (old, new) = (&graph[x].shape, &graph[output].shape);
        let axis = match (&node.op, quant.axis) {
            (Op::Transpose(_) | Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_), None) => None,
            (Op::Flatten(_) | Op::Identity(_), None) => None,
            (Op::Transpose(t), Some(a)) => t.perm.iter().position(|&p| p == a),
            // The axis of the same length with as many elements before it.
            (
                Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Flatten(_) | Op::Identity(_),
                Some(a),
            ) => {
                let before = |shape: &[usize], at: usize| shape[..at].iter().product::<usize>();
                (0..new.len()).find(|&b| new[b] == old[a] && before(new, b) == before(old, a))
            }
            _ => continue,
        };
        if axis.is_some() != quant.axis.is_some() || graph[output].quant.is_some() {
            continue;
        }
        let moved = node.op.eval(&[Some(stored.as_ref())]).map_err(|e| e.at(node.site()))?;
        let Some(moved) = moved.into_iter().next() else { continue };
        let mut patch = Patch::new(graph);
        patch.remove_node(id);
        patch.set_constant(output, moved);
        patch.set_quant(output, Some(Quant { axis, ..quant }));
    }
    Ok(())
}

/// Types of activations that layers of integers take.
const STORED: [DType; 4] = [DType::I8, DType::U8, DType::I16, DType::U16];

/// The nodes that move stored integers about, between a Q and a DQ, before anything is absorbed.
fn moving_integers(graph: &Graph) -> BTreeSet<NodeId> {
    graph
        .nodes()
        .filter(|(_, n)| carries(&n.op) && STORED.contains(&graph[n.outputs[0]].dtype))
        .map(|(id, _)| id)
        .collect()
}

/// Scale, zero point and type of a Q or DQ node; `None` where a layer of integers cannot have them.
pub(super) fn params(graph: &Graph, id: NodeId) -> Result<Option<Quant>> {
    let node = &graph[id];
    let fail = |what: String| Err(Error::model(node.site(), what));
    let value = |i: usize| node.inputs.get(i).copied().flatten().map(|v| &graph[v]);
    let Some(x) = value(0) else { return fail("input 0 is missing".into()) };
    let Some(scale_value) = value(1) else { return fail("the scale is missing".into()) };
    let Some(scale) = scale_value.constant().map(|t| t.to_f32_vec()) else { return Ok(None) };
    for &s in &scale {
        if !(s.is_finite() && s >= f32::MIN_POSITIVE) {
            return Err(Error::model(
                Site::Value(scale_value.name.clone()),
                format!("the scale of `{}` is {s}, not a positive normal number", node.name),
            ));
        }
    }
    let (dtype, axis) = match &node.op {
        Op::QuantizeLinear(q) => (q.dtype, q.axis),
        Op::DequantizeLinear(d) => (x.stored(), d.axis),
        _ => return Err(Error::internal(node.site(), "is neither Q nor DQ")),
    };
    let constant = x.constant().is_some();
    if matches!(node.op, Op::QuantizeLinear(_)) && x.dtype != DType::F32 && x.quant.is_none() {
        return fail(format!("quantizes {}, only floats are supported", x.dtype));
    }
    match dtype {
        dtype if STORED.contains(&dtype) => {}
        DType::I32 if constant => {}
        _ => return Ok(None),
    }
    let (lo, hi) = dtype.range().unwrap_or((0, 0));
    let zero_point = match value(2) {
        None => vec![0; scale.len()],
        Some(z) => match z.constant() {
            None => return Ok(None),
            Some(t) => t.to_i64_vec(),
        },
    };
    if zero_point.len() != scale.len() {
        return fail(format!("{} scales, but {} zero points", scale.len(), zero_point.len()));
    }
    if let Some(z) = zero_point.iter().find(|&&z| i128::from(z) < lo || i128::from(z) > hi) {
        return fail(format!("zero point {z} does not fit {dtype}"));
    }
    let zero_point: Vec<i32> = zero_point.iter().map(|&z| z as i32).collect();
    if scale.len() == 1 {
        return Ok(Some(Quant { dtype, scale, zero_point, axis: None }));
    }
    let Some(axis) = axis.filter(|&a| x.shape.get(a) == Some(&scale.len())) else {
        return fail(format!("{} scales fit no axis of shape {:?}", scale.len(), x.shape));
    };
    Ok(constant.then_some(Quant { dtype, scale, zero_point, axis: Some(axis) }))
}

/// The real constant `t` stored with `quant`: ONNX QuantizeLinear.
fn quantize_constant(t: &Tensor, quant: &Quant) -> Tensor {
    let strides = crate::tensor::row_major_strides(t.shape());
    let (lo, hi) = quant.dtype.range().unwrap_or((0, 0));
    let stored: Vec<i64> = t
        .to_f32_vec()
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let c = quant.axis.map_or(0, |a| (i / strides[a]) % t.shape()[a]);
            let q = f64::from((x / quant.scale[c]).round_ties_even()) + f64::from(quant.zero_point[c]);
            q.clamp(lo as f64, hi as f64) as i64
        })
        .collect();
    Tensor::new(t.shape().to_vec(), Data::from_i64(quant.dtype, &stored)).unwrap_or_else(|_| t.clone())
}

/// Every reader of `old` reads `new`; a graph output keeps its name. False (and no change) when
/// `old` is an output whose name cannot move, because `new` is an input or an output itself.
pub(super) fn alias(graph: &mut Graph, old: ValueId, new: ValueId) -> bool {
    if graph.outputs().contains(&old) {
        if graph.outputs().contains(&new) || matches!(graph[new].kind, ValueKind::Input | ValueKind::State(_))
        {
            return false;
        }
        Patch::new(graph).swap_names(old, new);
    }
    Patch::new(graph).replace_uses(old, new);
    true
}

fn absorb_quantize(graph: &mut Graph, id: NodeId) -> Result<()> {
    let Some(quant) = params(graph, id)? else { return Ok(()) };
    let q = graph[id].outputs[0];
    let Some(x) = graph[id].inputs[0] else { return Ok(()) };
    if let Some(real) = graph[x].constant().cloned().filter(|_| graph[x].quant.is_none()) {
        let stored = quantize_constant(&real, &quant);
        let mut patch = Patch::new(graph);
        patch.remove_node(id);
        patch.set_constant(q, stored);
        patch.set_quant(q, Some(quant));
        return Ok(());
    }
    match (&graph[x].quant, &graph[x].kind) {
        (Some(have), _) => {
            if *have == quant && alias(graph, q, x) {
                Patch::new(graph).remove_node(id);
                return Ok(());
            }
            let mut patch = Patch::new(graph);
            let node = patch.node_mut(id);
            node.op = Requantize.into();
            node.inputs = vec![Some(x)];
            patch.set_quant(q, Some(quant));
        }
        // What also goes elsewhere as it is stays real: only this quantizer rounds and saturates.
        (None, _) if !only_quantized(graph, x, &quant) || outputs_both(graph, x, q) => {
            let mut patch = Patch::new(graph);
            let node = patch.node_mut(id);
            node.op = Requantize.into();
            node.inputs = vec![Some(x)];
            patch.set_quant(q, Some(quant));
        }
        (None, ValueKind::Activation) => {
            let Some(producer) = graph.producer(x) else {
                return Err(Error::internal(graph[id].site(), "reads a value that nothing computes"));
            };
            let mut patch = Patch::new(graph);
            for out in &mut patch.node_mut(producer).outputs {
                if *out == x {
                    *out = q;
                }
            }
            patch.remove_node(id);
            patch.replace_uses(x, q);
            patch.set_quant(q, Some(quant));
        }
        // A float input (or state): a quantized port.
        (None, _) => {
            let mut patch = Patch::new(graph);
            patch.remove_node(id);
            patch.replace_uses(q, x);
            patch.set_quant(x, Some(quant));
        }
    }
    Ok(())
}

/// Whether nothing but quantizers with these parameters reads `x`.
fn only_quantized(graph: &Graph, x: ValueId, quant: &Quant) -> bool {
    let same = |&c: &NodeId| {
        matches!(graph[c].op, Op::QuantizeLinear(_))
            && params(graph, c).is_ok_and(|other| other.as_ref() == Some(quant))
    };
    !graph.outputs().contains(&x) && graph.consumers(x).iter().all(same)
}

/// Whether a port would have to be an input and an output at once.
fn outputs_both(graph: &Graph, x: ValueId, q: ValueId) -> bool {
    !matches!(graph[x].kind, ValueKind::Activation) && graph.outputs().contains(&q)
}

fn absorb_dequantize(graph: &mut Graph, id: NodeId, moving: &BTreeSet<NodeId>) -> Result<()> {
    let Some(quant) = params(graph, id)? else { return Ok(()) };
    let y = graph[id].outputs[0];
    let Some(q) = graph[id].inputs[0] else { return Ok(()) };
    if let Some(stored) = graph[q].constant().cloned() {
        let mut patch = Patch::new(graph);
        patch.remove_node(id);
        patch.set_constant(y, stored.as_ref().clone());
        patch.set_quant(y, Some(quant));
        return Ok(());
    }
    match &graph[q].quant {
        None => set_backward(graph, q, &quant, moving)?,
        Some(have) if *have == quant => {}
        Some(_) => return Err(Error { site: graph[id].site(), ..two_meanings(graph, q) }),
    }
    if alias(graph, y, q) {
        Patch::new(graph).remove_node(id);
    } else {
        // An input handed through to an output: copied as it is.
        let mut patch = Patch::new(graph);
        let node = patch.node_mut(id);
        node.op = Requantize.into();
        node.inputs = vec![Some(q)];
        patch.set_quant(y, Some(quant));
    }
    Ok(())
}

fn two_meanings(graph: &Graph, value: ValueId) -> Error {
    Error::model(
        Site::Value(graph[value].name.clone()),
        "the integers are written with one scale and zero point and read with another",
    )
    .help("a DequantizeLinear must use the parameters of the QuantizeLinear before it")
}

/// Gives an integer value its meaning, and the integers that it was moved from.
fn set_backward(graph: &mut Graph, value: ValueId, quant: &Quant, moving: &BTreeSet<NodeId>) -> Result<()> {
    let mut next = vec![value];
    while let Some(v) = next.pop() {
        match &graph[v].quant {
            Some(have) if have == quant => continue,
            Some(_) => return Err(two_meanings(graph, v)),
            None => {}
        }
        Patch::new(graph).set_quant(v, Some(quant.clone()));
        if let Some(producer) = graph.producer(v)
            && moving.contains(&producer)
        {
            let node = &graph[producer];
            next.extend(moved(node));
        }
    }
    Ok(())
}

/// Integers moved by a node mean what they meant before.
fn carry_forward(graph: &mut Graph, id: NodeId) -> Result<()> {
    let node = graph[id].clone();
    let operands: Vec<ValueId> = moved(&node).collect();
    let Some(quant) = operands.iter().find_map(|&v| graph[v].quant.clone()) else { return Ok(()) };
    for &v in operands.iter().chain(&node.outputs) {
        match &graph[v].quant {
            None => Patch::new(graph).set_quant(v, Some(quant.clone())),
            Some(have) if *have == quant => {}
            Some(_) => return Err(two_meanings(graph, v)),
        }
    }
    Ok(())
}

/// Limits and fill values that a node on integers holds as stored numbers become real ones.
fn stored_to_real(graph: &mut Graph, id: NodeId) {
    let Some(x) = graph[id].inputs.first().copied().flatten() else { return };
    let Some(quant) = &graph[x].quant else { return };
    let (scale, zero) = (f64::from(quant.scale[0]), f64::from(quant.zero_point[0]));
    let real = |stored: f64| (stored - zero) * scale;
    match &mut Patch::new(graph).node_mut(id).op {
        Op::Pad(pad) if pad.mode == PadMode::Constant => pad.value = real(pad.value),
        Op::Clip(clip) => {
            clip.min = clip.min.map(real);
            clip.max = clip.max.map(real);
        }
        _ => {}
    }
}

/// From here on the `dtype` of a quantized value is that of its real value, and what was U8 or U16 is
/// I8, 128 lower, or I16, 32,768 lower.
fn shift_unsigned(graph: &mut Graph) {
    let ids: Vec<ValueId> = graph.values().filter(|(_, v)| v.quant.is_some()).map(|(id, _)| id).collect();
    for id in ids {
        let Some(mut quant) = graph[id].quant.clone() else { continue };
        let stored = graph[id].constant().cloned();
        let init = match &graph[id].kind {
            ValueKind::State(init) if !init.dtype().is_float() => Some(quant.dequantize(init)),
            _ => None,
        };
        let mut patch = Patch::new(graph);
        patch.set_dtype(id, DType::F32);
        if let Some(init) = init {
            patch.set_init(id, init);
        }
        let (signed, half) = match quant.dtype {
            DType::U8 => (DType::I8, 1 << 7),
            DType::U16 => (DType::I16, 1 << 15),
            _ => continue,
        };
        if let Some(t) = stored {
            let shifted: Vec<i64> = t.to_i64_vec().iter().map(|q| q - i64::from(half)).collect();
            if let Ok(t) = Tensor::new(t.shape().to_vec(), Data::from_i64(signed, &shifted)) {
                patch.set_constant(id, t);
            }
        }
        quant.dtype = signed;
        quant.zero_point.iter_mut().for_each(|z| *z -= half);
        patch.set_quant(id, Some(quant));
    }
}
