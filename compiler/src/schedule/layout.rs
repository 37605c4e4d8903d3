//! Memory layouts: how each value lies, and which nodes are mere views of their operand.
//!
//! In: a graph. Out: a layout per value and the set of alias nodes. Ports lie row-major;
//! results of convolutions and pools lie channels-last, because their loops run over channels
//! innermost; everything else follows its operand. A Transpose permutes the order and a
//! Reshape regroups it, both without moving a byte where the order allows it.

use crate::graph::{Graph, NodeId, ValueId, ValueKind};
use crate::ops::Op;

/// How a value lies in memory: `order[i]` is the logical axis that is i-th in memory, slowest
/// first. Row-major is the identity; channels-last of NCHW is `[0, 2, 3, 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub order: Vec<usize>,
}

impl Layout {
    pub fn row_major(rank: usize) -> Self {
        Layout { order: (0..rank).collect() }
    }
    /// Batch, then spatial axes, then channels.
    pub fn channels_last(rank: usize) -> Self {
        let mut order: Vec<usize> = (0..rank).collect();
        if rank > 2 {
            order.remove(1);
            order.push(1);
        }
        Layout { order }
    }
    /// Stride of each logical axis, in elements.
    pub fn strides(&self, shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1;
        for &axis in self.order.iter().rev() {
            strides[axis] = step;
            step *= shape[axis];
        }
        strides
    }
    /// Whether two layouts put every element of `shape` at the same place.
    pub fn same(&self, other: &Layout, shape: &[usize]) -> bool {
        shape.contains(&0) || self.moving(shape).eq(other.moving(shape))
    }
    /// The order without axes of size one, which have no place.
    fn moving<'a>(&'a self, shape: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        self.order.iter().copied().filter(|&axis| shape[axis] != 1)
    }
}

/// The layout of `transpose(x, perm)` over the bytes of x.
fn transposed(x: &Layout, perm: &[usize]) -> Layout {
    let to = |axis: &usize| perm.iter().position(|p| p == axis).unwrap_or(*axis);
    Layout { order: x.order.iter().map(to).collect() }
}

/// The layout of x such that `transpose(x, perm)` over its bytes lies as `y`.
fn untransposed(y: &Layout, perm: &[usize]) -> Layout {
    Layout { order: y.order.iter().map(|&axis| perm[axis]).collect() }
}

/// The layout under which the bytes of a tensor `from`, lying as `layout`, are its reshape to
/// `to`; `None` when no order of axes says that.
///
/// Row-major reshape splits both shapes into the shortest runs of axes with equal products.
/// A run may move as a whole, but its own axes must stand together and in order.
fn reshaped(from: &[usize], layout: &Layout, to: &[usize]) -> Option<Layout> {
    if from.contains(&0) || to.contains(&0) {
        return Some(Layout::row_major(to.len()));
    }
    let moving: Vec<usize> = layout.moving(from).collect();
    let place = |axis: usize| moving.iter().position(|&a| a == axis);
    let ins: Vec<usize> = (0..from.len()).filter(|&a| from[a] != 1).collect();
    let outs: Vec<usize> = (0..to.len()).filter(|&a| to[a] != 1).collect();
    // (position in memory of the run, its axes in the result)
    let mut runs: Vec<(usize, Vec<usize>)> = Vec::new();
    let (mut i, mut o) = (0, 0);
    while i < ins.len() && o < outs.len() {
        let start = i;
        let (mut a, mut b) = (from[ins[i]], to[outs[o]]);
        let mut axes = vec![outs[o]];
        (i, o) = (i + 1, o + 1);
        while a != b {
            if a < b {
                a *= from[*ins.get(i)?];
                i += 1;
            } else {
                b *= to[*outs.get(o)?];
                axes.push(outs[o]);
                o += 1;
            }
        }
        let first = place(ins[start])?;
        for (k, &axis) in ins[start..i].iter().enumerate() {
            if place(axis)? != first + k {
                return None;
            }
        }
        runs.push((first, axes));
    }
    runs.sort();
    let mut order: Vec<usize> = (0..to.len()).filter(|&a| to[a] == 1).collect();
    order.extend(runs.into_iter().flat_map(|(_, axes)| axes));
    Some(Layout { order })
}

/// Who computes and who reads each value, looked up once.
#[derive(Debug)]
pub(crate) struct Uses {
    pub producer: Vec<Option<NodeId>>,
    pub consumers: Vec<Vec<NodeId>>,
    pub is_output: Vec<bool>,
}

impl Uses {
    pub(crate) fn of(graph: &Graph) -> Self {
        let n = graph.values.len();
        let mut uses =
            Uses { producer: vec![None; n], consumers: vec![Vec::new(); n], is_output: vec![false; n] };
        for (id, node) in graph.nodes() {
            for v in &node.outputs {
                uses.producer[v.index()] = Some(id);
            }
            for v in node.inputs.iter().flatten() {
                if uses.consumers[v.index()].last() != Some(&id) {
                    uses.consumers[v.index()].push(id);
                }
            }
        }
        for v in graph.outputs() {
            uses.is_output[v.index()] = true;
        }
        uses
    }
}

/// The operand that a node can be a view of, if its operator is one that moves nothing.
fn viewed(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let node = &graph[id];
    let view = matches!(
        node.op,
        Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Identity(_)
            | Op::Dropout(_)
    );
    let x = node.inputs.first().copied().flatten()?;
    let y = *node.outputs.first()?;
    let fits = graph[x].stored() == graph[y].stored()
        && graph[x].quant == graph[y].quant
        && graph[x].len() == graph[y].len()
        && node.clamp.is_none()
        && graph[x].constant().is_none();
    (view && fits).then_some(x)
}

/// The layout of a view's result over the bytes of its operand lying as `layout`.
fn view(graph: &Graph, id: NodeId, x: ValueId, layout: &Layout) -> Option<Layout> {
    let y = graph[id].outputs[0];
    match &graph[id].op {
        Op::Transpose(op) => Some(transposed(layout, &op.perm)),
        _ => reshaped(&graph[x].shape, layout, &graph[y].shape),
    }
}

/// The layout of a view's operand under which its result lies as `layout`.
fn unview(graph: &Graph, id: NodeId, x: ValueId, layout: &Layout) -> Option<Layout> {
    let y = graph[id].outputs[0];
    match &graph[id].op {
        Op::Transpose(op) => Some(untransposed(layout, &op.perm)),
        _ => reshaped(&graph[y].shape, layout, &graph[x].shape),
    }
}

/// Layouts by value index, and by node index whether the node is an alias.
pub(crate) fn choose(graph: &Graph, uses: &Uses) -> (Vec<Option<Layout>>, Vec<bool>) {
    let mut layouts: Vec<Option<Layout>> = vec![None; graph.values.len()];
    for (id, value) in graph.values() {
        if matches!(value.kind, ValueKind::Input | ValueKind::State(_)) || uses.is_output[id.index()] {
            layouts[id.index()] = Some(Layout::row_major(value.shape.len()));
        }
    }
    for &v in graph.outputs() {
        if let Some(id) = uses.producer[v.index()]
            && let Some(x) = viewed(graph, id)
            && let Some(wish) = unview(graph, id, x, &Layout::row_major(graph[v].shape.len()))
        {
            wish_for(graph, uses, &mut layouts, x, &wish);
        }
    }
    for id in graph.topological() {
        if let Some(x) = viewed(graph, id) {
            let y = graph[id].outputs[0];
            let lies = layouts[x.index()].clone().unwrap_or(Layout::row_major(graph[x].shape.len()));
            if layouts[y.index()].is_none() {
                let seen = view(graph, id, x, &lies);
                let row_major = Layout::row_major(graph[y].shape.len());
                if seen.is_none()
                    && let Some(wish) = unview(graph, id, x, &row_major)
                {
                    // The operand's producer may as well write the order that saves a copy.
                    rewish(graph, uses, &mut layouts, x, &wish);
                }
                layouts[y.index()] = Some(seen.unwrap_or(row_major));
            }
            continue;
        }
        for (k, &y) in graph[id].outputs.iter().enumerate() {
            if layouts[y.index()].is_none() {
                layouts[y.index()] = Some(preferred(graph, id, k, &layouts));
            }
        }
    }
    let mut aliases = vec![false; graph.nodes.len()];
    for (id, node) in graph.nodes() {
        if let Some(x) = viewed(graph, id)
            && let Some(lies) = &layouts[x.index()]
            && let Some(want) = &layouts[node.outputs[0].index()]
            && let Some(seen) = view(graph, id, x, lies)
        {
            aliases[id.index()] = seen.same(want, &graph[node.outputs[0]].shape);
        }
    }
    (layouts, aliases)
}

/// Asks that a value lie in a certain way, before anything else is decided. Through views the
/// wish travels up to the node that writes. A wish against channels-last is only granted when
/// nobody else reads the value.
fn wish_for(graph: &Graph, uses: &Uses, layouts: &mut [Option<Layout>], v: ValueId, wish: &Layout) {
    let channels_last = Layout::channels_last(graph[v].shape.len());
    let alone = uses.consumers[v.index()].len() == 1;
    let fits = wish.same(&channels_last, &graph[v].shape) || alone;
    if layouts[v.index()].is_some() || !fits || graph[v].constant().is_some() {
        return;
    }
    layouts[v.index()] = Some(wish.clone());
    if let Some(id) = uses.producer[v.index()]
        && let Some(x) = viewed(graph, id)
        && let Some(above) = unview(graph, id, x, wish)
    {
        wish_for(graph, uses, layouts, x, &above);
    }
}

/// Changes the layout of a value that is decided but read by one node only, and with it the
/// operand of each view on the way up. Nothing changes unless all of them can.
fn rewish(graph: &Graph, uses: &Uses, layouts: &mut [Option<Layout>], v: ValueId, wish: &Layout) -> bool {
    let free = matches!(graph[v].kind, ValueKind::Activation)
        && !uses.is_output[v.index()]
        && uses.consumers[v.index()].len() == 1;
    if layouts[v.index()].as_ref().is_some_and(|l| l.same(wish, &graph[v].shape)) {
        return true;
    }
    let Some(id) = uses.producer[v.index()] else { return false };
    if !free {
        return false;
    }
    if let Some(x) = viewed(graph, id) {
        let granted = unview(graph, id, x, wish).is_some_and(|w| rewish(graph, uses, layouts, x, &w));
        if !granted {
            return false;
        }
    }
    layouts[v.index()] = Some(wish.clone());
    true
}

/// The layout that suits the node that writes the value.
fn preferred(graph: &Graph, id: NodeId, output: usize, layouts: &[Option<Layout>]) -> Layout {
    let node = &graph[id];
    let shape = &graph[node.outputs[output]].shape;
    let rank = shape.len();
    let of = |v: ValueId| layouts[v.index()].clone();
    let first = node.inputs.first().copied().flatten();
    let follow = || {
        let operands = || node.inputs.iter().flatten().filter(|v| graph[**v].constant().is_none());
        operands()
            .find(|v| graph[**v].shape == *shape)
            .or_else(|| operands().find(|v| graph[**v].shape.len() == rank))
            .and_then(|v| of(*v))
            .unwrap_or(Layout::row_major(rank))
    };
    match &node.op {
        Op::Conv(_)
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool(_)
        | Op::GlobalMaxPool(_) => Layout::channels_last(rank),
        Op::ReduceMean(op) => first
            .and_then(of)
            .map_or(Layout::row_major(rank), |l| if op.keepdims { l } else { without(&l, &op.axes) }),
        Op::ArgMax(op) => first
            .and_then(of)
            .map_or(Layout::row_major(rank), |l| if op.keepdims { l } else { without(&l, &[op.axis]) }),
        Op::BatchNormalization(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::Concat(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::QuantizeLinear(_)
        | Op::DequantizeLinear(_)
        | Op::Expand(_) => follow(),
        op if op.is_elementwise() => follow(),
        _ => Layout::row_major(rank),
    }
}

/// The order that remains when axes are dropped.
fn without(layout: &Layout, axes: &[usize]) -> Layout {
    let kept = layout.order.iter().filter(|a| !axes.contains(a));
    let order = kept.map(|&a| a - axes.iter().filter(|&&gone| gone < a).count()).collect();
    Layout { order }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(from: &[usize], layout: &[usize], to: &[usize]) -> Option<Vec<usize>> {
        reshaped(from, &Layout { order: layout.to_vec() }, to).map(|l| l.order)
    }

    #[test]
    fn reshape_moves_runs_of_axes_whole() {
        // Row-major stays row-major.
        assert_eq!(order(&[2, 3, 4], &[0, 1, 2], &[6, 4]), Some(vec![0, 1]));
        // Channels-last [1, C, H, W] to [1, C, H*W]: the pixels come first.
        assert_eq!(order(&[1, 3, 4, 5], &[0, 2, 3, 1], &[1, 3, 20]), Some(vec![0, 2, 1]));
        // Flattening channels into pixels needs a copy.
        assert_eq!(order(&[1, 3, 4, 5], &[0, 2, 3, 1], &[1, 60]), None);
        // With one pixel there is nothing to move.
        assert_eq!(order(&[1, 3, 1, 1], &[0, 2, 3, 1], &[1, 3]), Some(vec![0, 1]));
        // A split axis stays together.
        assert_eq!(order(&[6, 5], &[1, 0], &[2, 3, 5]), Some(vec![2, 0, 1]));
    }

    #[test]
    fn transposed_orders_invert() {
        let x = Layout { order: vec![0, 2, 3, 1] };
        let perm = [0, 2, 3, 1];
        let y = transposed(&x, &perm);
        assert_eq!(y, Layout::row_major(4));
        assert_eq!(untransposed(&y, &perm), x);
    }
}
