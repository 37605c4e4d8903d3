//! Program -> what it needs: per layer and in total. Data only; the command line prints it.
//!
//! Law: the JSON keys are a promise (`SCHEMA` counts their versions); sizes are bytes.

mod budget;
mod memory;

pub use budget::{Rival, hold_budgets};
pub(crate) use budget::{fits, near, rivals};
pub use memory::{Memory, overflow};

use crate::emit::{CodeParts, Outline};
use crate::graph::{Graph, NodeId};
use crate::kernel::Native;
use crate::options::Pattern;
use crate::program::cost;
use crate::program::depends_on_data;
use crate::program::{Place, Port, Program};
use crate::prune;
use crate::schedule::{Choice, Schedule};
use crate::warning::Warning;
use crate::weigh::Needs;
use secateur_targets::Target;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the JSON schema, documented in `docs/json.md`.
pub const SCHEMA: u32 = 1;

/// Totals of a model. `None`: not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// Multiply-accumulates of one inference, padded taps included.
    pub macs: u64,
    /// The same without those whose weight is zero.
    pub live_macs: u64,
    /// Share of zeros among the weights of all layers that pruning may touch, those that it left whole too.
    pub sparsity: Option<f64>,
    /// Share of the multiply-accumulates whose weight is zero.
    pub sparse_macs: f64,
    /// Predicted cycles of one inference; `None`: the core has no cost table.
    pub cycles: Option<u64>,
    /// Seconds of one inference at the chip's clock, and joules, by its current while it computes; predicted.
    /// `None`: the cycles are not known, or not what the chip does in a second or needs for it.
    pub seconds: Option<f64>,
    pub joules: Option<f64>,
    /// The same, and `weights`, with the best kernels that multiply zeros like any weight; `None`: nothing was
    /// pruned, or not known.
    pub dense_cycles: Option<u64>,
    pub dense_weights: Option<usize>,
    /// Constants in flash: weights, biases, multipliers, tables.
    pub weights: usize,
    /// Machine code of model and kernels, measured by compiling it for the target.
    pub code: Option<usize>,
    /// That of the native kernels alone, as they announce themselves.
    pub native_code: usize,
    /// What stands around them, and the machine code of all as it is predicted from that, without a build; `None`: the
    /// core has no table for it.
    pub code_parts: CodeParts,
    pub predicted_code: Option<usize>,
    /// Working memory, inputs and outputs of the model inside.
    pub arena: usize,
    /// Bytes of it that are kept between runs.
    pub states: usize,
    /// All RAM but the stack, for a caller that uses the inputs and outputs inside the arena: the
    /// arena.
    pub arena_with_io: usize,
    /// Bytes of input and output arrays that a caller has beside the arena who does not.
    pub io: usize,
    /// The arena that `--optimize balanced` takes, where `speed` or `size` was asked for.
    pub arena_balanced: Option<usize>,
    /// The same as `arena_plan_bound`, by the name of schema 1.
    pub arena_lower_bound: usize,
    /// No placement of the chosen plan's buffers, in its order, can need fewer bytes of arena.
    /// Other kernels or another order might.
    pub arena_plan_bound: usize,
    /// Bound of the stack that `run` uses.
    pub stack: Option<usize>,
    /// That of the native kernels alone, as they announce themselves.
    pub native_stack: usize,
    /// Why `code` or `stack` is not known, where a measurement was tried.
    pub not_measured: Option<NotMeasured>,
}

/// Why a figure is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotMeasured {
    /// In the project's words, the same on every machine that is set up alike.
    pub why: String,
    /// What the tool said; may be empty.
    pub said: String,
}

impl std::fmt::Display for NotMeasured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)?;
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    pub name: String,
    pub op: String,
    /// The way that a core's native kernels spell it, else the native kernels that it calls, or
    /// `portable`, or `alias` where nothing runs.
    pub family: String,
    /// Functions of the assembly that it calls, without the model's name in front.
    pub functions: Vec<String>,
    pub output_shape: Vec<usize>,
    pub macs: u64,
    pub live_macs: u64,
    /// How its zeros lie, which share of its weights they are, and the root of the square error that they make
    /// in its output (before it is quantized) against the output's variance; `None`: it was not pruned.
    pub pattern: Option<Pattern>,
    pub sparsity: Option<f64>,
    pub prune_error: Option<f64>,
    /// How a pruned layer's weights are kept: the variant that leaves zeros out, or `dense`.
    pub format: Option<String>,
    /// Predicted cycles of the layer; `None`: the core has no cost table, or nothing runs.
    pub cycles: Option<u64>,
    /// The same, and `weights`, of the best kernel that multiplies zeros like any weight; `None`: not pruned.
    pub dense_cycles: Option<u64>,
    pub dense_weights: Option<usize>,
    /// Of a pruned layer that stays dense, about the share of weights other than zero below which the best
    /// kernel that leaves zeros out would be faster; `None`: there is none, or it runs.
    pub pays_below: Option<f64>,
    pub weights: usize,
    /// Arena bytes live while the layer runs.
    pub live: usize,
    /// What of the layer's code depends on the numbers that it computes with, so that its time does;
    /// `None`: nothing.
    pub data_dependent: Option<&'static str>,
}

/// A port of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PortReport {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(rename = "type")]
    pub elem: String,
    /// Type before quantization, how far below its unsigned integers those of the port stand (else 0), and that in words.
    pub model_type: String,
    pub held_lower: i64,
    #[serde(skip)]
    pub held: Option<String>,
    pub scale: Option<f32>,
    pub zero_point: Option<i32>,
}

impl PortReport {
    /// What a port has to say beside its type.
    fn of(port: &Port) -> PortReport {
        PortReport {
            name: port.name.clone(),
            shape: port.shape.clone(),
            elem: port.elem.name().to_string(),
            model_type: port.declared.name().to_string(),
            held_lower: port.held_lower(),
            held: port.held(),
            scale: port.affine.map(|a| a.0),
            zero_point: port.affine.map(|a| a.1),
        }
    }
}

/// What the emitted code keeps between runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateReport {
    /// The input that it was.
    #[serde(flatten)]
    pub port: PortReport,
    /// The output that it takes its next value from.
    pub next: String,
    /// Bytes of the arena that are its alone.
    pub bytes: usize,
}

/// The choice and the row of each node that has both.
fn choices<'a>(
    graph: &Graph,
    schedule: &'a Schedule,
    rows: &'a mut [LayerReport],
) -> impl Iterator<Item = (&'a Choice, &'a mut LayerReport)> {
    let of = |name: &str| graph.nodes().find(|(_, node)| node.name == name).map(|(id, _)| id);
    let found: Vec<Option<NodeId>> = rows.iter().map(|row| of(&row.name)).collect();
    rows.iter_mut()
        .zip(found)
        .filter_map(|(row, id)| Some((schedule.choices.get(id?.index())?.as_ref()?, row)))
}

/// What a compiled model needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub schema: u32,
    pub name: String,
    pub target: String,
    pub core: String,
    pub memory: Memory,
    pub inputs: Vec<PortReport>,
    pub outputs: Vec<PortReport>,
    pub states: Vec<StateReport>,
    pub total: Total,
    pub layers: Vec<LayerReport>,
    /// What the user should know, each once; fronts that learn more add to it.
    pub warnings: Vec<Warning>,
}

impl Total {
    /// Bytes of machine code as well as they are known: measured, else predicted, else those of the native kernels
    /// alone.
    pub fn known_code(&self) -> usize {
        self.code.or(self.predicted_code).unwrap_or(self.native_code)
    }
}

impl Report {
    /// Adds what the text consists of: the functions of the assembly that each layer calls, and what the code is
    /// predicted to take.
    pub(crate) fn outline(&mut self, outline: Outline, target: &Target) {
        for (layer, functions) in self.layers.iter_mut().zip(outline.called) {
            layer.functions = functions;
        }
        let around = target.core.code_size.as_ref().map(|size| outline.parts.bytes(size));
        self.total.predicted_code = around.map(|around| self.total.native_code + around);
        self.total.code_parts = outline.parts;
    }

    /// Adds what the kernels of each layer were predicted to take when they were chosen.
    pub(crate) fn price(&mut self, graph: &Graph, schedule: &Schedule, target: &Target) {
        if target.core.cost.is_none() {
            return;
        }
        for (choice, row) in choices(graph, schedule, &mut self.layers) {
            row.cycles = choice.prices.chosen.map(|price| price.cycles as u64);
        }
    }

    /// Adds what pruning did, and what it saves.
    pub(crate) fn prune(&mut self, pruned: &prune::Outcome, graph: &Graph, schedule: &Schedule) {
        if pruned.layers.is_empty() {
            return;
        }
        self.total.sparsity = Some(pruned.sparsity);
        let (live, all) = (self.total.live_macs, self.total.macs + pruned.removed_macs);
        self.total.sparse_macs = all.saturating_sub(live) as f64 / all.max(1) as f64;
        for layer in &pruned.layers {
            let Some(row) = self.layers.iter_mut().find(|l| l.name == layer.layer) else { continue };
            row.pattern = Some(layer.pattern);
            row.sparsity = Some(layer.removed as f64 / layer.weights.max(1) as f64);
            row.prune_error = Some(layer.error);
        }
        let mut cycles = self.total.cycles;
        let mut weights = Some(self.total.weights);
        for (choice, row) in choices(graph, schedule, &mut self.layers) {
            if row.pattern.is_none() {
                continue;
            }
            row.format = Some(if choice.is_sparse() { choice.variant.clone() } else { "dense".to_owned() });
            // A layer that has lost channels has no dense form of these sizes.
            let known = choice.prices.chosen.zip(choice.prices.dense);
            let Some((chosen, dense)) = known.filter(|_| row.pattern != Some(Pattern::Channels)) else {
                (cycles, weights) = (None, None);
                continue;
            };
            // Of what differs alone: constants that calls share count once in `weights`.
            let more = |all: usize| (all + dense.weights).saturating_sub(chosen.weights);
            (row.dense_weights, weights) = (Some(more(row.weights)), weights.map(more));
            if let Some(own) = row.cycles {
                row.dense_cycles = Some(dense.cycles as u64);
                cycles = cycles.map(|all| (all + dense.cycles as u64).saturating_sub(own));
                // What a kernel takes that skips zeros grows a little slower than the weights that it has.
                let density = row.live_macs as f64 / row.macs.max(1) as f64;
                let rival = choice.prices.sparse.filter(|s| !choice.is_sparse() && s.cycles > dense.cycles);
                row.pays_below = rival.map(|sparse| density * dense.cycles / sparse.cycles);
            }
        }
        (self.total.dense_cycles, self.total.dense_weights) = (cycles, weights);
    }

    pub fn new(program: &Program, target: &Target) -> Report {
        let ports = |ports: &[Port]| ports.iter().map(PortReport::of).collect();
        let kept = program.states.iter().filter_map(|s| Some((program.state_port(s)?, &s.next)));
        let states: Vec<StateReport> = kept
            .map(|(port, next)| StateReport {
                port: PortReport::of(&port),
                next: next.clone(),
                bytes: port.bytes(),
            })
            .collect();
        let bytes_kept = states.iter().map(|s| s.bytes).sum();
        let io: usize = program.inputs.iter().chain(&program.outputs).map(Port::bytes).sum();
        debug_assert!(program.buffers.iter().all(|b| {
            let (Place::Arena(at) | Place::State(at)) = b.place;
            at + b.len * b.elem.size() <= program.arena
        }));
        let steps = program.entries.iter().flat_map(|e| &e.steps);
        let natives: Vec<&Native> = steps.flat_map(|s| cost::natives(&s.kernel)).collect();
        // Kernels of one text are one function.
        let texts: BTreeMap<&str, usize> =
            natives.iter().map(|n| (n.text.as_str(), n.bytes as usize)).collect();
        let cycles = target.core.cost.as_ref().map(|_| Needs::of(program, target).cycles as u64);
        let mut report = Report {
            schema: SCHEMA,
            name: program.name.clone(),
            target: target.name.clone(),
            core: target.core.name.clone(),
            memory: Memory::of(target),
            inputs: ports(&program.inputs),
            outputs: ports(&program.outputs),
            states,
            total: Total {
                macs: program.layers.iter().map(|l| l.macs).sum(),
                live_macs: program.layers.iter().map(|l| l.live_macs).sum(),
                sparsity: None,
                sparse_macs: 0.0,
                cycles,
                seconds: cycles.and_then(|cycles| target.seconds(cycles)),
                joules: cycles.and_then(|cycles| target.joules(cycles)),
                dense_cycles: None,
                dense_weights: None,
                weights: program.constants.iter().map(|c| c.bytes.len()).sum(),
                code: None,
                native_code: texts.values().sum(),
                code_parts: CodeParts::default(),
                predicted_code: None,
                arena: program.arena,
                states: bytes_kept,
                arena_with_io: program.arena,
                io,
                arena_balanced: None,
                arena_lower_bound: program.arena_lower_bound,
                arena_plan_bound: program.arena_lower_bound,
                stack: None,
                native_stack: natives.iter().map(|n| n.stack as usize).max().unwrap_or(0),
                not_measured: None,
            },
            layers: program
                .layers
                .iter()
                .map(|l| LayerReport {
                    name: l.name.clone(),
                    op: l.op.clone(),
                    family: l.family.clone(),
                    functions: Vec::new(),
                    output_shape: l.output_shape.clone(),
                    macs: l.macs,
                    live_macs: l.live_macs,
                    pattern: None,
                    sparsity: None,
                    prune_error: None,
                    format: None,
                    cycles: None,
                    dense_cycles: None,
                    dense_weights: None,
                    pays_below: None,
                    weights: l.weight_bytes,
                    live: l.live_bytes,
                    data_dependent: None,
                })
                .collect(),
            warnings: Vec::new(),
        };
        let (all, live) = (report.total.macs, report.total.live_macs);
        report.total.sparse_macs = all.saturating_sub(live) as f64 / all.max(1) as f64;
        for step in program.entries.iter().flat_map(|e| &e.steps) {
            if let (Some(layer), Some(reason)) = (report.layers.get_mut(step.layer), depends_on_data(step)) {
                layer.data_dependent.get_or_insert(reason.words());
            }
        }
        report
    }
}
