//! Program -> what it needs: per layer and in total. Data only; the command line prints it.
//!
//! Law: the JSON keys are a promise (`SCHEMA` counts their versions); sizes are bytes.

use crate::program::{Place, Port, Program};
use crate::warning::Warning;
use secateur_targets::Target;
use serde::Serialize;

/// Version of the JSON schema, documented in `docs/json.md`.
pub const SCHEMA: u32 = 1;

/// Totals of a model. `None`: not known, because no compiler for the target was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// Multiply-accumulates of one inference, padded taps included.
    pub macs: u64,
    /// The same without those whose weight is zero.
    pub live_macs: u64,
    /// Constants in flash: weights, biases, multipliers, tables.
    pub weights: usize,
    /// Machine code of model and kernels, measured by compiling it for the target.
    pub code: Option<usize>,
    /// Working memory, inputs and outputs of the model inside.
    pub arena: usize,
    /// All RAM but the stack, for a caller that uses the inputs and outputs inside the arena: the
    /// arena.
    pub arena_with_io: usize,
    /// Bytes of input and output arrays that a caller has beside the arena who does not.
    pub io: usize,
    /// The arena that `--optimize balanced` takes, where `speed` was asked for.
    pub arena_balanced: Option<usize>,
    /// No placement of this schedule's buffers can need fewer bytes of arena.
    pub arena_lower_bound: usize,
    /// Bound of the stack that `run` uses.
    pub stack: Option<usize>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    pub name: String,
    pub op: String,
    pub family: String,
    pub output_shape: Vec<usize>,
    pub macs: u64,
    pub live_macs: u64,
    pub weights: usize,
    /// Arena bytes live while the layer runs.
    pub live: usize,
}

/// A port of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PortReport {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(rename = "type")]
    pub elem: String,
    pub scale: Option<f32>,
    pub zero_point: Option<i32>,
}

/// What a compiled model needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub schema: u32,
    pub name: String,
    pub target: String,
    pub core: String,
    pub inputs: Vec<PortReport>,
    pub outputs: Vec<PortReport>,
    pub total: Total,
    pub layers: Vec<LayerReport>,
    /// What the user should know, each once; fronts that learn more add to it.
    pub warnings: Vec<Warning>,
}

impl Report {
    pub fn new(program: &Program, target: &Target) -> Report {
        let ports = |ports: &[crate::program::Port]| {
            ports
                .iter()
                .map(|p| PortReport {
                    name: p.name.clone(),
                    shape: p.shape.clone(),
                    elem: p.elem.name().to_string(),
                    scale: p.affine.map(|a| a.0),
                    zero_point: p.affine.map(|a| a.1),
                })
                .collect()
        };
        let io: usize = program.inputs.iter().chain(&program.outputs).map(Port::bytes).sum();
        debug_assert!(program.buffers.iter().all(|b| {
            let (Place::Arena(at) | Place::State(at)) = b.place;
            at + b.len * b.elem.size() <= program.arena
        }));
        Report {
            schema: SCHEMA,
            name: program.name.clone(),
            target: target.name.clone(),
            core: target.core.name.clone(),
            inputs: ports(&program.inputs),
            outputs: ports(&program.outputs),
            total: Total {
                macs: program.layers.iter().map(|l| l.macs).sum(),
                live_macs: program.layers.iter().map(|l| l.live_macs).sum(),
                weights: program.constants.iter().map(|c| c.bytes.len()).sum(),
                code: None,
                arena: program.arena,
                arena_with_io: program.arena,
                io,
                arena_balanced: None,
                arena_lower_bound: program.arena_lower_bound,
                stack: None,
            },
            layers: program
                .layers
                .iter()
                .map(|l| LayerReport {
                    name: l.name.clone(),
                    op: l.op.clone(),
                    family: l.family.clone(),
                    output_shape: l.output_shape.clone(),
                    macs: l.macs,
                    live_macs: l.live_macs,
                    weights: l.weight_bytes,
                    live: l.live_bytes,
                })
                .collect(),
            warnings: Vec::new(),
        }
    }
}
