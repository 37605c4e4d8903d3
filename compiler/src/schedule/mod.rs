//! Graph + Target -> Schedule: every choice is made here and none later.
//!
//! In: a graph after passes and quantization. Out: memory layouts, kernel variants with their calls,
//! workspaces, the order of nodes, and the placement of every buffer with a proven bound.
//! Law: two buffers whose lifetimes meet never share a byte, except where an elementwise node
//! writes over an operand that nobody reads again, or a result is its operand seen differently.
//! Inputs and outputs of the model are buffers like any other: an input is live from before the
//! first node to its last reader, an output to the end. States stand in front of all others and share their bytes
//! with nothing but their next values, which are written there if nobody reads the state any more, and else
//! copied at the end.

mod layout;
mod order;
mod place;
mod storage;
mod text;
mod variant;

pub use crate::graph::layout::Layout;
pub use text::print;

use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, ValueId};
use crate::kernels::call::Call;
pub use crate::kernels::library::Library;
use crate::kernels::offer::SPARSE;
use crate::policy::{Policy, Price, most_for_size};
use crate::select::{self, Variant};
use secateur_targets::Target;
use std::sync::Arc;

/// The choice for one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// What runs, as the report names it: a kernel variant, native kernels, `portable`, or `alias`
    /// where nothing happens at run time.
    pub variant: String,
    /// The calls, to be given places; none for a view, and where there is nothing to write.
    pub(crate) calls: Arc<[Call]>,
    /// Bytes of arena needed beside operands and results while the node runs.
    pub workspace: usize,
    /// The result may stand where the first operand stands, if nobody reads that again.
    pub in_place: bool,
    /// The result is the operand seen differently.
    pub view: bool,
    /// What runs, and what else could have.
    pub prices: Prices,
}

/// What a node costs, and what it would as it was not chosen; nothing where only one way was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Prices {
    /// Of what runs.
    pub chosen: Option<Price>,
    /// Of the best way that multiplies zeros like any weight.
    pub dense: Option<Price>,
    /// Of the best way that leaves zeros out.
    pub sparse: Option<Price>,
}

impl Choice {
    /// The result is the operand seen differently.
    fn view() -> Choice {
        let prices = Prices::default();
        Choice {
            variant: ALIAS.into(),
            calls: Arc::new([]),
            workspace: 0,
            in_place: false,
            view: true,
            prices,
        }
    }
    fn of(variant: Variant) -> Choice {
        let in_place = variant.in_place();
        let Variant { name, calls, workspace } = variant;
        let variant = if calls.is_empty() { ALIAS.into() } else { name };
        let prices = Prices::default();
        Choice { variant, calls: calls.into(), workspace, in_place, view: false, prices }
    }
    /// The same with what it and others cost.
    fn priced(self, prices: Prices) -> Choice {
        Choice { prices, ..self }
    }
    /// Whether what runs leaves zeros out.
    pub fn is_sparse(&self) -> bool {
        self.variant.starts_with(SPARSE)
    }
}

/// What the report says where no code runs.
const ALIAS: &str = "alias";

/// Nodes that run together. First only whole, one node a group; row by row comes later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub nodes: Vec<NodeId>,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Whole,
}

/// Whose memory a placement is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The arena, behind the states.
    Arena,
    /// The first bytes of the arena, which survive between runs.
    State,
}

/// Where something stands and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// What it is: a storage class of values (aliases share one), or a node's workspace.
    pub what: Placed,
    pub region: Region,
    /// Byte offset from the start of the arena.
    pub offset: usize,
    pub bytes: usize,
    /// First and last group (inclusive) during which it is live. The end of a run, when
    /// constants are copied to output ports and the caller reads these, counts as one more group.
    pub live: (usize, usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    Values(Vec<ValueId>),
    Workspace(NodeId),
}

/// All choices for a graph on a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// By value index; `None` for constants and for values that nothing computes.
    pub layouts: Vec<Option<Layout>>,
    /// By node index; `None` for removed nodes.
    pub choices: Vec<Option<Choice>>,
    /// In execution order.
    pub groups: Vec<Group>,
    pub placements: Vec<Placement>,
    /// By value index: its entry of `placements`; `None` for constants.
    pub homes: Vec<Option<usize>>,
    /// By output port: its entry of `placements`. Ports of one value share it.
    pub outputs: Vec<usize>,
    /// By output port: the copy of a constant that stands there at the end of a run.
    pub copies: Vec<Option<Choice>>,
    /// By state: the copy of its next value that is made at the end of a run, where that does not stand there already.
    pub carried: Vec<Option<Choice>>,
    /// Bytes, states included.
    pub arena: usize,
    /// The greatest sum of bytes live in one group: no placement of this order needs less.
    pub arena_lower_bound: usize,
    /// The arena of `balanced`, where the plan was held against it.
    pub arena_balanced: Option<usize>,
}

impl Schedule {
    /// Where a value lives; `None` for constants.
    pub fn home(&self, value: ValueId) -> Option<&Placement> {
        self.homes.get(value.index()).copied().flatten().map(|i| &self.placements[i])
    }
    /// Where an output port stands.
    pub fn output(&self, port: usize) -> Option<&Placement> {
        self.outputs.get(port).map(|&i| &self.placements[i])
    }
    /// The workspace of a node, if it has one.
    pub fn workspace(&self, node: NodeId) -> Option<&Placement> {
        self.placements.iter().find(|p| p.what == Placed::Workspace(node))
    }
    /// Bytes of arena that are live in a group.
    pub fn live_bytes(&self, group: usize) -> usize {
        let live = |p: &&Placement| {
            p.region == Region::State || (p.region == Region::Arena && p.live.0 <= group && group <= p.live.1)
        };
        self.placements.iter().filter(live).map(|p| p.bytes).sum()
    }
}

/// Chooses for every node and value.
pub fn schedule<'a>(graph: &Graph, target: &Target, policy: impl Into<Policy<'a>>) -> Result<Schedule> {
    schedule_with(graph, &Library::new(target), policy.into())
}

/// As [`schedule`], on the target of a library, which keeps what is generated.
pub fn schedule_with(graph: &Graph, library: &Library<'_>, policy: Policy<'_>) -> Result<Schedule> {
    if !policy.saves_flash() {
        return planned(graph, library, policy, None);
    }
    // Flash is not saved at any price: memory stays about what it is.
    let mut balanced = planned(graph, library, policy.balanced(), None)?;
    let most = most_for_size(balanced.arena);
    let mut least = planned(graph, library, policy, Some((most, &balanced)))?;
    (least.arena_balanced, balanced.arena_balanced) = (Some(balanced.arena), Some(balanced.arena));
    Ok(if least.arena <= most { least } else { balanced })
}

/// A plan; where it is held against another one, nodes that need more than so many bytes of arena
/// run as they do there.
fn planned(
    graph: &Graph,
    library: &Library<'_>,
    policy: Policy<'_>,
    held: Option<(usize, &Schedule)>,
) -> Result<Schedule> {
    if graph.topological().len() != graph.nodes().count() {
        return Err(Error::internal(Site::Whole, "the graph has a cycle"));
    }
    let uses = layout::Uses::of(graph);
    let (layouts, aliases) = layout::choose(graph, &uses);
    let choose = |code: &mut variant::Code| -> Result<Vec<Option<Choice>>> {
        let mut choices = vec![None; graph.nodes.len()];
        let mut refused = Vec::new();
        for id in graph.topological() {
            if aliases[id.index()] {
                choices[id.index()] = Some(Choice::view());
                continue;
            }
            match variant::choose(graph, id, &layouts, library, policy, code) {
                Ok(choice) => choices[id.index()] = Some(choice),
                Err(e) => refused.push(e),
            }
        }
        Error::join(refused).map_or(Ok(choices), Err)
    };
    let mut code = variant::Code::new(true);
    let mut choices = choose(&mut code)?;
    if code.large(policy) {
        code = variant::Code::new(false);
        choices = choose(&mut code)?;
    }
    let mut storage = least(graph, &uses, &layouts, &choices)?;
    let budget = policy.most_arena(library.target(), || {
        // What results that overwrite their operand save is left to the workspaces.
        let bare = |c: &Choice| Choice { workspace: 0, in_place: false, ..c.clone() };
        let bare: Vec<Option<Choice>> = choices.iter().map(|c| c.as_ref().map(bare)).collect();
        least(graph, &uses, &layouts, &bare).map(|storage| storage.lower_bound)
    })?;
    let budget = held.map_or(budget, |(most, _)| most.min(budget));
    // Nodes that run when memory is short get by with less workspace, where there is a way.
    loop {
        let mut shrunk = false;
        for short in storage.crowded(graph, budget) {
            let id = short.node;
            if let Some(choice) = &choices[id.index()]
                && let Some(less) =
                    variant::smaller(graph, id, &layouts, (library, policy), choice, short, code.unrolled)?
            {
                choices[id.index()] = Some(less);
                shrunk = true;
            }
        }
        if !shrunk {
            break;
        }
        storage = least(graph, &uses, &layouts, &choices)?;
    }
    if let Some((most, other)) = held {
        for short in storage.crowded(graph, most) {
            let i = short.node.index();
            choices[i].clone_from(&other.choices[i]);
        }
        storage = least(graph, &uses, &layouts, &choices)?;
    }
    let want = variant::want(library, policy);
    let copies = graph.results().iter().map(|&v| match graph[v].constant() {
        Some(_) => select::copied(graph, v, &want).map(|copy| Some(Choice::of(copy))),
        None => Ok(None),
    });
    let copies = copies.collect::<Result<_>>()?;
    let pairs = graph.states().iter().zip(graph.nexts());
    let carried = pairs.map(|(&state, &next)| match storage.together(state, next) {
        false => select::copied(graph, next, &want).map(|copy| Some(Choice::of(copy))),
        true => Ok(None),
    });
    let carried = carried.collect::<Result<_>>()?;
    Ok(storage.placed(layouts, choices, (copies, carried)))
}

/// The order of the nodes that needs least memory, among those worth trying.
fn least(
    graph: &Graph,
    uses: &layout::Uses,
    layouts: &[Option<Layout>],
    choices: &[Option<Choice>],
) -> Result<storage::Storage> {
    order::candidates(graph, uses)
        .into_iter()
        .map(|order| storage::plan(graph, uses, layouts, choices, order))
        // The first of equals: `min_by_key` keeps it.
        .min_by_key(|found| found.lower_bound)
        .ok_or_else(|| Error::internal(Site::Whole, "no order of the nodes was tried"))
}
