//! Storage classes: which values share memory, how long each lives, and where it stands.
//!
//! In: layouts, choices and an order of nodes. Out: placements. Values of a class are views
//! of each other, or the results of nodes that overwrite their operand: elementwise ones, and
//! those whose kernel has read an operand before it writes there; or a state and its next value, where that is
//! written when nobody reads the state any more.

use super::layout::Uses;
use super::place::{self, Item};
use super::{Choice, Group, Layout, Mode, Placed, Placement, Region, Schedule};
use crate::graph::{Graph, NodeId, ValueId, ValueKind};
use crate::ops::Op;
use crate::ops::recurrent::{self, Part};

/// One order of the nodes with everything but the offsets.
#[derive(Debug)]
pub(crate) struct Storage {
    order: Vec<NodeId>,
    placements: Vec<Placement>,
    aligns: Vec<usize>,
    homes: Vec<Option<usize>>,
    outputs: Vec<usize>,
    states: usize,
    pub lower_bound: usize,
}

/// A node during which too many bytes are live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowded {
    pub node: NodeId,
    /// Bytes that its workspace may have.
    pub room: usize,
    /// Bytes of its result, if that stands in the place of its first operand; else 0.
    pub over: usize,
}

/// Sets of values that share storage, by their smallest member.
struct Classes {
    of: Vec<usize>,
    members: Vec<Vec<usize>>,
}

impl Classes {
    fn new(n: usize) -> Self {
        Classes { of: (0..n).collect(), members: (0..n).map(|v| vec![v]).collect() }
    }
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of[a].min(self.of[b]), self.of[a].max(self.of[b]));
        if a != b {
            let moved = std::mem::take(&mut self.members[b]);
            moved.iter().for_each(|&v| self.of[v] = a);
            self.members[a].extend(moved);
        }
    }
    /// All values of the class that `v` is in.
    fn with(&self, v: usize) -> &[usize] {
        &self.members[self.of[v]]
    }
}

pub(crate) fn plan(
    graph: &Graph,
    uses: &Uses,
    layouts: &[Option<Layout>],
    choices: &[Option<Choice>],
    order: Vec<NodeId>,
) -> Storage {
    let n = graph.values.len();
    let end = order.len();
    let mut first = vec![usize::MAX; n];
    let mut last = vec![0; n];
    for (step, &id) in order.iter().enumerate() {
        for v in &graph[id].outputs {
            first[v.index()] = step;
            last[v.index()] = step;
        }
        for v in graph[id].inputs.iter().flatten() {
            last[v.index()] = step;
        }
    }
    for (id, value) in graph.values() {
        let v = id.index();
        if matches!(value.kind, ValueKind::Input | ValueKind::State(_)) {
            first[v] = 0;
        }
        if matches!(value.kind, ValueKind::State(_)) || uses.is_output[v] {
            last[v] = end;
        }
    }
    let mut classes = Classes::new(n);
    for (id, node) in graph.nodes() {
        if is_alias(choices, id)
            && let Some(x) = node.inputs[0]
        {
            classes.join(x.index(), node.outputs[0].index());
        }
    }
    carry(graph, layouts, choices, &order, &mut classes, (&first, &last));
    for (step, &id) in order.iter().enumerate() {
        let in_place = choices[id.index()].as_ref().is_some_and(|c| c.in_place);
        let node = &graph[id];
        if is_alias(choices, id) {
            continue;
        }
        let y = node.outputs[0];
        let may = |at: usize| in_place || overwrites(&node.op, at);
        for x in node.inputs.iter().enumerate().filter(|(at, _)| may(*at)).filter_map(|(_, v)| v.as_ref()) {
            let (xv, yv) = (&graph[*x], &graph[y]);
            let same = xv.shape == yv.shape
                && xv.stored() == yv.stored()
                && match (&layouts[x.index()], &layouts[y.index()]) {
                    (Some(a), Some(b)) => a.same(b, &yv.shape),
                    _ => false,
                };
            if !same {
                continue;
            }
            let members = classes.with(x.index());
            let kept = |&m: &usize| matches!(graph.values[m].kind, ValueKind::State(_));
            let dies = members.iter().all(|m| !kept(m) && last[*m] <= step)
                && !classes.with(y.index()).iter().any(kept);
            // Another operand may be a view of the same bytes in another order.
            let others = node.inputs.iter().flatten().filter(|v| *v != x);
            let clean = others.into_iter().all(|v| !members.contains(&v.index()));
            if dies && clean {
                classes.join(x.index(), y.index());
                break;
            }
        }
    }
    place_classes(graph, choices, order, &classes, &first, &last)
}

/// Puts next values where their states stand, as far as the order allows.
fn carry(
    graph: &Graph,
    layouts: &[Option<Layout>],
    choices: &[Option<Choice>],
    order: &[NodeId],
    classes: &mut Classes,
    (first, last): (&[usize], &[usize]),
) {
    for (&state, &next) in graph.states().iter().zip(graph.nexts()) {
        let (s, y) = (state.index(), next.index());
        let lies = |v: usize| layouts.get(v).and_then(Option::as_ref);
        let alike = graph[state].stored() == graph[next].stored()
            && lies(s).zip(lies(y)).is_some_and(|(a, b)| a.same(b, &graph[state].shape));
        // One place holds one value at the end of a run; and what stands there at its beginning is no input.
        let alone = graph.outputs().iter().filter(|v| **v == next).count() == 1
            && classes.with(y).iter().all(|&m| matches!(graph.values[m].kind, ValueKind::Activation));
        if !alike || !alone {
            continue;
        }
        let read = |m: usize| if m == s { reads(graph, order, state) } else { last[m] };
        let old = classes.with(s).to_vec();
        let until = old.iter().map(|&m| read(m)).max().unwrap_or(0);
        let from = classes.with(y).iter().map(|&m| first[m]).min().unwrap_or(0);
        let free = until < from
            || order.is_empty()
            || until == from
                && order.get(from).is_some_and(|&id| {
                    let written = graph[id].outputs.iter().position(|v| classes.with(y).contains(&v.index()));
                    written.is_some_and(|result| replaces(graph, layouts, choices, (id, result), &old))
                });
        if free {
            classes.join(s, y);
        }
    }
}

/// The last step that reads a state itself.
fn reads(graph: &Graph, order: &[NodeId], state: ValueId) -> usize {
    order.iter().rposition(|&id| graph[id].inputs.contains(&Some(state))).unwrap_or(0)
}

/// Whether a result of a node may stand where one of its operands does, whose class is `old`: each element is
/// written when it was read for the last time.
fn replaces(
    graph: &Graph,
    layouts: &[Option<Layout>],
    choices: &[Option<Choice>],
    (id, result): (NodeId, usize),
    old: &[usize],
) -> bool {
    let node = &graph[id];
    let among = |v: &Option<ValueId>| v.is_some_and(|v| old.contains(&v.index()));
    let at: Vec<usize> = (0..node.inputs.len()).filter(|&i| among(&node.inputs[i])).collect();
    let [at] = at[..] else { return false };
    let (Some(x), y) = (node.inputs[at], node.outputs[result]) else { return false };
    let lies = |v: ValueId| layouts.get(v.index()).and_then(Option::as_ref);
    let same = graph[x].shape == graph[y].shape
        && graph[x].stored() == graph[y].stored()
        && lies(x).zip(lies(y)).is_some_and(|(a, b)| a.same(b, &graph[y].shape));
    let in_place = choices[id.index()].as_ref().is_some_and(|c| c.in_place);
    let may = match &node.op {
        // Sequences begin when their state is read, and leave it when they end.
        Op::Recurrent(layer) => {
            let part = layer.parts.get(result);
            at == recurrent::STATE && part == Some(&Part::State)
                || at == recurrent::CELL && part == Some(&Part::Cell)
        }
        op => result == 0 && (overwrites(op, at) || in_place && at == 0),
    };
    same && may
}

fn is_alias(choices: &[Option<Choice>], id: NodeId) -> bool {
    choices[id.index()].as_ref().is_some_and(|c| c.view)
}

/// Operators whose kernels read each element of an operand before they write it, at the same place.
fn overwrites(op: &Op, at: usize) -> bool {
    match op {
        Op::BatchNormalization(_) | Op::Softmax(_) | Op::LogSoftmax(_) => true,
        Op::ScatterFlat(_) => at == 0,
        op => op.is_elementwise(),
    }
}

fn place_classes(
    graph: &Graph,
    choices: &[Option<Choice>],
    order: Vec<NodeId>,
    classes: &Classes,
    first: &[usize],
    last: &[usize],
) -> Storage {
    let mut placements: Vec<Placement> = Vec::new();
    let mut aligns = Vec::new();
    let mut homes = vec![None; graph.values.len()];
    let mut states = 0;
    for class in 0..graph.values.len() {
        if classes.of[class] != class {
            continue;
        }
        let mut members: Vec<usize> = classes.with(class).to_vec();
        members.retain(|&m| first[m] != usize::MAX);
        members.sort();
        let Some(&head) = members.first() else { continue };
        let align = graph.values[head].stored().size().max(4);
        let bytes = (graph.values[head].len() * graph.values[head].stored().size()).next_multiple_of(align);
        let state = members.iter().any(|&m| matches!(graph.values[m].kind, ValueKind::State(_)));
        let (region, offset) = if state { (Region::State, states) } else { (Region::Arena, 0) };
        if state {
            states += bytes.next_multiple_of(8);
        }
        let live = (
            members.iter().map(|&m| first[m]).min().unwrap_or(0),
            members.iter().map(|&m| last[m]).max().unwrap_or(0),
        );
        members.iter().for_each(|&m| homes[m] = Some(placements.len()));
        let what = Placed::Values(members.iter().map(|&m| ValueId(m as u32)).collect());
        placements.push(Placement { what, region, offset, bytes, live });
        aligns.push(align);
    }
    // A constant that is an output is copied there at the end.
    let outputs = graph.results().iter().map(|&v| {
        homes[v.index()].unwrap_or_else(|| {
            let align = graph[v].stored().size().max(4);
            let bytes = (graph[v].len() * graph[v].stored().size()).next_multiple_of(align);
            let (what, live) = (Placed::Values(vec![v]), (order.len(), order.len()));
            placements.push(Placement { what, region: Region::Arena, offset: 0, bytes, live });
            aligns.push(align);
            placements.len() - 1
        })
    });
    let outputs = outputs.collect();
    for (step, &id) in order.iter().enumerate() {
        let bytes = choices[id.index()].as_ref().map_or(0, |c| c.workspace).next_multiple_of(8);
        if bytes > 0 {
            let what = Placed::Workspace(id);
            placements.push(Placement { what, region: Region::Arena, offset: 0, bytes, live: (step, step) });
            aligns.push(8);
        }
    }
    let items = items(&placements, &aligns);
    let lower_bound = states + place::lower_bound(&items.1);
    Storage { order, placements, aligns, homes, outputs, states, lower_bound }
}

/// Placements of the arena as items, with their positions.
fn items(placements: &[Placement], aligns: &[usize]) -> (Vec<usize>, Vec<Item>) {
    placements
        .iter()
        .zip(aligns)
        .enumerate()
        .filter(|(_, (p, _))| p.region == Region::Arena)
        .map(|(i, (p, &align))| (i, Item { bytes: p.bytes, align, live: p.live }))
        .unzip()
}

impl Storage {
    /// The nodes with a workspace during which more than `budget` bytes are live.
    pub(crate) fn crowded(&self, graph: &Graph, budget: usize) -> Vec<Crowded> {
        let mut found = Vec::new();
        for (step, &id) in self.order.iter().enumerate() {
            let (mut live, mut workspace) = (self.states, 0);
            for p in &self.placements {
                if p.region == Region::Arena && p.live.0 <= step && step <= p.live.1 {
                    live += p.bytes;
                    workspace += if p.what == Placed::Workspace(id) { p.bytes } else { 0 };
                }
            }
            if workspace > 0 && live > budget {
                let home = |v: Option<ValueId>| self.homes[v?.index()];
                let (x, y) = (
                    home(graph[id].inputs.first().copied().flatten()),
                    home(graph[id].outputs.first().copied()),
                );
                let over = y.filter(|_| x == y).map_or(0, |home| self.placements[home].bytes);
                found.push(Crowded { node: id, room: budget.saturating_sub(live - workspace), over });
            }
        }
        found
    }
    /// Whether a state and its next value have one place.
    pub(crate) fn together(&self, state: ValueId, next: ValueId) -> bool {
        let home = |v: ValueId| self.homes.get(v.index()).copied().flatten();
        home(next).is_some() && home(state) == home(next)
    }
    /// Chooses the offsets.
    pub(crate) fn placed(
        mut self,
        layouts: Vec<Option<Layout>>,
        choices: Vec<Option<Choice>>,
        (copies, carried): (Vec<Option<Choice>>, Vec<Option<Choice>>),
    ) -> Schedule {
        let (positions, items) = items(&self.placements, &self.aligns);
        let (offsets, height) = place::pack(&items);
        for (&position, offset) in positions.iter().zip(offsets) {
            self.placements[position].offset = self.states + offset;
        }
        Schedule {
            layouts,
            choices,
            groups: self.order.iter().map(|&id| Group { nodes: vec![id], mode: Mode::Whole }).collect(),
            placements: self.placements,
            homes: self.homes,
            outputs: self.outputs,
            copies,
            carried,
            arena: self.states + height,
            arena_lower_bound: self.lower_bound,
            arena_balanced: None,
        }
    }
}
