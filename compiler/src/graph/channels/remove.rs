//! A graph without some of its channels.
//!
//! In: a graph, its [`Channels`], groups. Out: the graph with smaller values, constants and
//! operators. Law: it is refused whole, by the name of the node that does not allow it, or
//! done whole; values and constants that lose nothing stay untouched.

use super::{Along, Channels, GroupId};
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId};
use crate::ops::Op;
use crate::tensor::{DType, Data, Tensor, row_major_strides};
use std::collections::{BTreeMap, BTreeSet};

/// Removes groups of channels. `channels` was made of this graph.
///
/// Errors: a group is fixed, or a value would have no channel left.
pub fn remove(patch: &mut Patch<'_>, channels: &Channels, leave: &BTreeSet<GroupId>) -> Result<()> {
    check(patch.graph(), channels, leave)?;
    // By node and operand: by axis, what leaves.
    let mut cuts: BTreeMap<(NodeId, usize), BTreeMap<usize, BTreeSet<usize>>> = BTreeMap::new();
    for part in leave.iter().flat_map(|&g| &channels.group(g).parts) {
        let axes = cuts.entry((part.node, part.input)).or_default();
        axes.entry(part.axis).or_default().extend(&part.indices);
    }
    for ((node, input), axes) in cuts {
        shrink_constant(patch, node, input, &axes)?;
    }
    let leaves = |g: GroupId| leave.contains(&g);
    for id in patch.graph().topological() {
        shrink_operator(patch, id, channels, &leaves);
    }
    let losing: BTreeSet<ValueId> =
        leave.iter().flat_map(|&g| &channels.group(g).members).map(|(value, _)| *value).collect();
    for value in losing {
        if let (Ok(Along { axis, .. }), Some(kept)) = (channels.along(value), channels.kept(value, &leaves)) {
            let mut shape = patch.graph()[value].shape.clone();
            shape[*axis] = kept.len();
            let quant = select_quant(patch.graph()[value].quant.as_ref(), *axis, &kept);
            patch.set_shape(value, &shape);
            patch.set_quant(value, quant);
        }
    }
    Ok(())
}

/// Refuses what cannot leave, at the node that says so.
fn check(graph: &Graph, channels: &Channels, leave: &BTreeSet<GroupId>) -> Result<()> {
    for &g in leave {
        let group = channels.group(g);
        if let Some(fixed) = &group.fixed {
            let of = group.members.first().map_or("", |(v, _)| graph[*v].name.as_str());
            return Err(Error::model(
                fixed.site.clone(),
                format!("channels of `{of}` cannot leave: {}", fixed.why),
            ));
        }
    }
    for &(value, _) in leave.iter().flat_map(|&g| &channels.group(g).members) {
        if channels.kept(value, &|g| leave.contains(&g)).is_some_and(|kept| kept.is_empty()) {
            let name = &graph[value].name;
            let site = graph.producer(value).map_or(Site::Value(name.clone()), |id| graph[id].site());
            return Err(Error::model(site, format!("no channel of `{name}` would be left")));
        }
    }
    Ok(())
}

/// A node's constant operand without some indices of its axes. Others that read the constant keep it.
fn shrink_constant(
    patch: &mut Patch<'_>,
    node: NodeId,
    input: usize,
    cuts: &BTreeMap<usize, BTreeSet<usize>>,
) -> Result<()> {
    let graph = patch.graph();
    let Some(old) = graph[node].inputs.get(input).copied().flatten() else { return Ok(()) };
    let value = &graph[old];
    let Some(tensor) = value.constant() else { return Ok(()) };
    let (name, mut quant, mut tensor) = (value.name.clone(), value.quant.clone(), tensor.as_ref().clone());
    for (&axis, gone) in cuts {
        let kept: Vec<usize> = (0..tensor.shape()[axis]).filter(|i| !gone.contains(i)).collect();
        tensor = select(&tensor, axis, &kept)?;
        quant = select_quant(quant.as_ref(), axis, &kept);
    }
    if patch.graph().sole_reader(old).is_some() {
        patch.set_constant(old, tensor);
        patch.set_quant(old, quant);
        return Ok(());
    }
    let new = patch.add_constant(&name, tensor);
    patch.set_dtype(new, DType::F32);
    patch.set_quant(new, quant);
    patch.node_mut(node).inputs[input] = Some(new);
    Ok(())
}

/// The slices of a tensor at some indices of an axis.
pub(crate) fn select(tensor: &Tensor, axis: usize, keep: &[usize]) -> Result<Tensor> {
    let shape = tensor.shape();
    let inner = row_major_strides(shape)[axis];
    let outer: usize = shape[..axis].iter().product();
    let at: Vec<usize> = (0..outer)
        .flat_map(|o| keep.iter().flat_map(move |&k| (0..inner).map(move |i| (o, k, i))))
        .map(|(o, k, i)| (o * shape[axis] + k) * inner + i)
        .collect();
    let mut new = shape.to_vec();
    new[axis] = keep.len();
    Tensor::new(
        new,
        crate::with_data!(tensor.data(), v => Data::from(at.iter().map(|&i| v[i]).collect::<Vec<_>>())),
    )
}

/// A quantization after the same selection.
fn select_quant(quant: Option<&Quant>, axis: usize, keep: &[usize]) -> Option<Quant> {
    let q = quant?;
    if q.axis != Some(axis) {
        return Some(q.clone());
    }
    Some(Quant {
        dtype: q.dtype,
        scale: keep.iter().map(|&i| q.scale[i]).collect(),
        zero_point: keep.iter().map(|&i| q.zero_point[i]).collect(),
        axis: q.axis,
    })
}

/// Fields of an operator that count channels or name them. Shapes of values are still the old ones.
fn shrink_operator(patch: &mut Patch<'_>, id: NodeId, channels: &Channels, leaves: &dyn Fn(GroupId) -> bool) {
    let node = &patch.graph()[id];
    let (operand, outputs) = (node.inputs.first().copied().flatten(), node.outputs.clone());
    let Some(Ok(along)) = outputs.first().map(|&y| channels.along(y)) else { return };
    let (axis, all) = (along.axis, along.groups.len());
    let left = |v: ValueId| channels.kept(v, leaves).unwrap_or_default();
    let kept = left(outputs[0]);
    let left_in = |from: usize, to: usize| kept.iter().filter(|&&i| (from..to).contains(&i)).count();
    match &mut patch.node_mut(id).op {
        // Rows of one group leave at once.
        Op::Conv(conv) if conv.group > 1 => conv.group = conv.group * kept.len() / all,
        Op::Reshape(reshape) => reshape.shape[axis] = kept.len(),
        Op::Slice(slice) => {
            let start = slice.starts[axis];
            slice.starts[axis] = operand.map_or(start, |x| left(x).iter().filter(|&&i| i < start).count());
            slice.sizes[axis] = kept.len();
        }
        Op::Split(split) if split.axis == axis => {
            split.sizes = outputs.iter().map(|&y| left(y).len()).collect();
        }
        Op::Pad(pad) => {
            let end = pad.pads.len() / 2 + axis;
            // Channels that are cut off are fixed: both ends are at least zero.
            let [before, after] = [pad.pads[axis], pad.pads[end]].map(|p| usize::try_from(p).unwrap_or(0));
            pad.pads[axis] = left_in(0, before) as i64;
            pad.pads[end] = left_in(all - after, all) as i64;
        }
        _ => {}
    }
}
