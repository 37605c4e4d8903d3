//! Which layout each value gets, and which nodes are mere views of their operand.
//!
//! In: a graph. Out: a layout per value and the set of alias nodes. Ports lie row-major;
//! results of convolutions and pools lie channels-last, because their loops run over channels
//! innermost; everything else follows its operand. A Transpose permutes the order and a
//! Reshape regroups it, both without moving a byte where the order allows it. (Which channels
//! leave together, `graph::channels`, is another question: here axes move as wholes, and what an
//! operator does to single indices of one does not matter.)

use crate::graph::layout::{Layout, reshaped, transposed, untransposed, without};
use crate::graph::{Graph, NodeId, ValueId, ValueKind};
use crate::ops::Op;

/// Who computes and who reads each value, looked up once.
#[derive(Debug)]
pub(crate) struct Uses {
    pub producer: Vec<Option<NodeId>>,
    pub consumers: Vec<Vec<NodeId>>,
    pub is_output: Vec<bool>,
    /// Whether nothing but views stand between the value and one that is kept between runs.
    pub kept: Vec<bool>,
}

impl Uses {
    pub(crate) fn of(graph: &Graph) -> Self {
        let n = graph.values.len();
        let mut uses = Uses {
            producer: vec![None; n],
            consumers: vec![Vec::new(); n],
            is_output: vec![false; n],
            kept: vec![false; n],
        };
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
        for v in graph.states() {
            uses.kept[v.index()] = true;
        }
        for id in graph.topological() {
            if let Some(x) = viewed(graph, &uses, id) {
                uses.kept[graph[id].outputs[0].index()] = uses.kept[x.index()];
            }
        }
        uses
    }
}

/// The operand that a node can be a view of, if its operator is one that moves nothing. What is kept between runs
/// changes at the end of one, so that an output is no view of it.
fn viewed(graph: &Graph, uses: &Uses, id: NodeId) -> Option<ValueId> {
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
        && graph[x].constant().is_none()
        && !(uses.kept[x.index()] && uses.is_output[y.index()]);
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
            && let Some(x) = viewed(graph, uses, id)
            && let Some(wish) = unview(graph, id, x, &Layout::row_major(graph[v].shape.len()))
        {
            wish_for(graph, uses, &mut layouts, x, &wish);
        }
    }
    for id in graph.topological() {
        if let Some(x) = viewed(graph, uses, id) {
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
        if let Some(x) = viewed(graph, uses, id)
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
        && let Some(x) = viewed(graph, uses, id)
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
    if let Some(x) = viewed(graph, uses, id) {
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
