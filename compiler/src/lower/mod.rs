//! Graph + Schedule -> Program: spells what the schedule chose; makes no choice of its own.
//!
//! In: a scheduled graph. Out: kernels, packed constants, placed buffers, and the steps of
//! `run` in order. Operators spell themselves in their `lower`, which works on a [`Cx`]; the
//! loops of a family of operators stand in one file here.

mod copy;
mod elementwise;
mod layer;
mod linear;
mod normalize;
mod pool;
mod quant;
mod reduce;
mod region;
mod scale;
mod softmax;
mod table;

use copy::relayout;
use layer::{family, layer, spelled_by};
use scale::{requantized, ties_to_even};

use crate::error::{Error, Result, Site};
use crate::graph::{Clamp, Graph, Node, NodeId, Quant, Value, ValueId, ValueKind};
use crate::kernel::{Access, Buf, Kernel, KernelBuilder, ParamKind};
use crate::program::{
    Arg, Buffer, BufferId, Constant, ConstantId, Entry, Held, Layer, Place, Port, Program, State, Step,
};
use crate::schedule::{Choice, Family, Region, Schedule};
use crate::tensor::{DType, Data, row_major_strides};
use secateur_targets::Target;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An operand or result as a kernel sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loc {
    pub arg: Arg,
    /// Type in memory.
    pub elem: DType,
    /// Logical shape, and the stride of each logical axis in elements.
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub quant: Option<Quant>,
}

impl Loc {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Elements from the first to the last, both included: what a kernel's buffer must hold.
    pub fn span(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        1 + self.shape.iter().zip(&self.strides).map(|(&n, &s)| (n - 1) * s).sum::<usize>()
    }
    /// Declares the buffer parameter that this is passed for.
    pub fn param(&self, k: &mut KernelBuilder, name: &str, access: Access) -> Buf {
        k.buffer(name, self.elem, self.span(), access)
    }
    /// Scale and zero point of a value quantized per tensor.
    pub fn affine(&self) -> Option<(f32, i32)> {
        match &self.quant {
            Some(q) if q.axis.is_none() => Some((*q.scale.first()?, *q.zero_point.first()?)),
            _ => None,
        }
    }
    /// The integers between which a quantized result lies under a fused activation.
    /// Quantization is monotone, so clamping before it or after it is the same.
    pub fn limits(&self, clamp: Clamp) -> (i32, i32) {
        let (lo, hi) = self.elem.range().map_or((i32::MIN, i32::MAX), |(lo, hi)| {
            (lo.max(i32::MIN.into()) as i32, hi.min(i32::MAX.into()) as i32)
        });
        let Some((scale, zero)) = self.affine() else { return (lo, hi) };
        let stored = |real: f32| quantize(real, scale, zero, lo, hi);
        (stored(clamp.lo), stored(clamp.hi))
    }
}

/// `round_half_even(real / scale) + zero`, saturated: ONNX's QuantizeLinear in f32.
pub(crate) fn quantize(real: f32, scale: f32, zero: i32, lo: i32, hi: i32) -> i32 {
    let steps = libm::rintf(real / scale);
    if steps.is_nan() {
        return zero.clamp(lo, hi);
    }
    (f64::from(steps) + f64::from(zero)).clamp(lo.into(), hi.into()) as i32
}

/// What an operator's `lower` works with: one node, its operands' places, and the program
/// under construction.
#[derive(Debug)]
pub struct Cx<'a> {
    pub graph: &'a Graph,
    pub schedule: &'a Schedule,
    pub target: &'a Target,
    pub node: NodeId,
    clamp: Clamp,
    state: &'a mut Building,
}

/// The program so far and what finds duplicates in it.
#[derive(Debug, Default)]
struct Building {
    program: Program,
    steps: Vec<Step>,
    /// By value index.
    buffers: Vec<Option<BufferId>>,
    constants: BTreeMap<(DType, Vec<u8>), ConstantId>,
    kernels: Vec<Arc<Kernel>>,
    layer: usize,
}

impl<'a> Cx<'a> {
    /// An error that names this node.
    pub fn unsupported(&self, why: &str) -> Error {
        let node = self.graph.nodes.get(self.node.index()).and_then(Option::as_ref);
        Error::model(node.map_or(Site::Whole, Node::site), why)
    }
    /// The node being lowered.
    pub fn node(&self) -> &'a Node {
        &self.graph[self.node]
    }
    /// The activation fused into the node; none in a copy that belongs to no node.
    pub fn clamp(&self) -> Clamp {
        self.clamp
    }
    fn choice(&self) -> Option<&'a Choice> {
        self.schedule.choices.get(self.node.index())?.as_ref()
    }
    /// The family that the schedule chose.
    pub fn family(&self) -> Family {
        self.choice().map_or(Family::Portable, |c| c.family)
    }
    /// Operand `i` as a value; `None` when it is left out.
    pub fn operand(&self, i: usize) -> Option<&'a Value> {
        self.node().inputs.get(i).copied().flatten().map(|v| &self.graph[v])
    }
    /// Operand `i` as a value; refuses when it is left out.
    pub fn need(&self, i: usize) -> Result<&'a Value> {
        self.operand(i).ok_or_else(|| self.unsupported(&format!("operand {i} is missing")))
    }
    /// Where operand `i` lies. A constant becomes part of the program, stored as it is and
    /// row-major: for packed weights take [`Cx::need`] and [`Cx::constant`].
    pub fn input(&mut self, i: usize) -> Result<Loc> {
        let id = self
            .node()
            .inputs
            .get(i)
            .copied()
            .flatten()
            .ok_or_else(|| self.unsupported(&format!("operand {i} is missing")))?;
        self.loc(id)
    }
    /// Where result `i` lies.
    pub fn output(&mut self, i: usize) -> Result<Loc> {
        let id = *self.node().outputs.get(i).ok_or_else(|| self.unsupported("a result is missing"))?;
        self.loc(id)
    }
    fn loc(&mut self, id: ValueId) -> Result<Loc> {
        let graph = self.graph;
        let value = &graph[id];
        let (arg, strides) = match value.constant() {
            Some(t) => (self.constant(&value.name, t.data().clone(), 1), row_major_strides(&value.shape)),
            None => (
                Arg::Buffer { buffer: self.state.buffer(graph, id)?, offset: 0 },
                self.schedule.layouts[id.index()]
                    .as_ref()
                    .map_or_else(|| row_major_strides(&value.shape), |l| l.strides(&value.shape)),
            ),
        };
        let elem = value.constant().map_or(value.stored(), |t| t.dtype());
        Ok(Loc { arg, elem, shape: value.shape.clone(), strides, quant: value.quant.clone() })
    }
    /// Read-only data, aligned to `align` bytes and at least to its element. Equal data of one
    /// type is kept once.
    pub fn constant(&mut self, name: &str, data: Data, align: usize) -> Arg {
        let align = align.max(data.dtype().size());
        let (dtype, bytes) = (data.dtype(), data.to_le_bytes());
        let program = &mut self.state.program;
        let constant = match self.state.constants.get(&(dtype, bytes.clone())) {
            Some(&id) => {
                let known = &mut program.constants[id.0 as usize];
                known.align = known.align.max(align);
                id
            }
            None => {
                let id = ConstantId(program.constants.len() as u32);
                if let Some(layer) = program.layers.get_mut(self.state.layer) {
                    layer.weight_bytes += bytes.len();
                }
                program.constants.push(Constant {
                    name: name.to_string(),
                    dtype,
                    bytes: bytes.clone(),
                    align,
                });
                self.state.constants.insert((dtype, bytes), id);
                id
            }
        };
        Arg::Constant { constant, offset: 0 }
    }
    /// Bytes of workspace that the schedule chose.
    pub fn workspace_bytes(&self) -> usize {
        self.choice().map_or(0, |c| c.workspace)
    }
    /// Part of the workspace that the schedule gave the node: `len` elements from a byte
    /// offset on.
    pub fn workspace(&mut self, elem: DType, byte_offset: usize, len: usize) -> Result<Arg> {
        let fits = self.schedule.workspace(self.node).filter(|p| byte_offset + len * elem.size() <= p.bytes);
        let Some(home) = fits else {
            return Err(Error::internal(self.node().site(), "needs more workspace than was scheduled"));
        };
        let buffer = Buffer {
            name: format!("{} workspace", self.node().name),
            elem,
            len,
            place: Place::Arena(home.offset + byte_offset),
            holds: None,
        };
        self.state.program.buffers.push(buffer);
        let id = BufferId(self.state.program.buffers.len() as u32 - 1);
        Ok(Arg::Buffer { buffer: id, offset: 0 })
    }
    /// Appends a call. Checks that arguments fit the kernel's parameters.
    pub fn step(&mut self, kernel: Arc<Kernel>, args: Vec<Arg>) -> Result<()> {
        let wrong = |why: String| Err(Error::internal(Site::Kernel(kernel.name.clone()), why));
        if kernel.params.len() != args.len() {
            return wrong(format!("takes {} arguments, got {}", kernel.params.len(), args.len()));
        }
        for (param, arg) in kernel.params.iter().zip(&args) {
            let program = &self.state.program;
            let (name, held) = match *arg {
                Arg::Buffer { buffer, offset } => {
                    let b = &program.buffers[buffer.0 as usize];
                    (&param.name, Some((b.elem, b.len, offset)))
                }
                Arg::Constant { constant, offset } => {
                    let c = &program.constants[constant.0 as usize];
                    (&param.name, Some((c.dtype, c.bytes.len() / c.dtype.size(), offset)))
                }
                Arg::Scalar(_) => (&param.name, None),
            };
            match (&param.kind, held, arg) {
                (ParamKind::Buffer { elem, len, .. }, Some((have, total, offset)), _) => {
                    if *elem != have || offset + len > total {
                        return wrong(format!(
                            "`{name}` wants {len} of {elem}, got {total} of {have} from {offset} on"
                        ));
                    }
                }
                (ParamKind::Scalar { lo, hi }, None, Arg::Scalar(v)) => {
                    if v < lo || v > hi {
                        return wrong(format!("`{name}` is {v}, outside of {lo}..={hi}"));
                    }
                }
                _ => return wrong(format!("`{name}` is of another kind than its argument")),
            }
        }
        let kernel = match self.state.kernels.iter().find(|k| **k == kernel) {
            Some(known) => known.clone(),
            None => {
                self.state.kernels.push(kernel.clone());
                kernel
            }
        };
        self.state.steps.push(Step { layer: self.state.layer, kernel, args });
        Ok(())
    }
}

impl Building {
    fn buffer(&self, graph: &Graph, id: ValueId) -> Result<BufferId> {
        self.buffers.get(id.index()).copied().flatten().ok_or_else(|| {
            Error::internal(Site::Value(graph[id].name.clone()), "has no place in the schedule")
        })
    }
}

/// Lowers a scheduled graph.
pub fn lower(graph: &Graph, schedule: &Schedule, target: &Target) -> Result<Program> {
    let mut state = Building { buffers: vec![None; graph.values.len()], ..Building::default() };
    state.program.name = graph.name.clone();
    let unplaced = |v: &Value| Error::internal(Site::Value(v.name.clone()), "has no place in the schedule");
    for &v in graph.inputs() {
        let home = schedule.home(v).ok_or_else(|| unplaced(&graph[v]))?;
        state.program.inputs.push(port(&graph[v], home.offset));
    }
    for (i, &v) in graph.outputs().iter().enumerate() {
        let home = schedule.output(i).ok_or_else(|| unplaced(&graph[v]))?;
        state.program.outputs.push(port(&graph[v], home.offset));
    }
    state.program.arena = schedule.arena;
    state.program.arena_lower_bound = schedule.arena_lower_bound;
    for (id, value) in graph.values() {
        if let Some(home) = schedule.home(id) {
            let layout = schedule.layouts[id.index()].as_ref();
            let strides =
                layout.map_or_else(|| row_major_strides(&value.shape), |layout| layout.strides(&value.shape));
            let holds = Held {
                value: value.name.clone(),
                shape: value.shape.clone(),
                strides,
                affine: affine(value),
            };
            let buffer = Buffer {
                name: value.name.clone(),
                elem: value.stored(),
                len: value.len(),
                place: place(home.region, home.offset),
                holds: Some(holds),
            };
            state.buffers[id.index()] = Some(BufferId(state.program.buffers.len() as u32));
            state.program.buffers.push(buffer);
        }
    }
    let mut refused = Vec::new();
    for (group, node) in
        schedule.groups.iter().enumerate().flat_map(|(g, group)| group.nodes.iter().map(move |&n| (g, n)))
    {
        state.layer = state.program.layers.len();
        let mut layer = layer(graph, node);
        layer.live_bytes = schedule.live_bytes(group);
        state.program.layers.push(layer);
        let clamp = graph[node].clamp;
        let from = state.steps.len();
        let mut cx = Cx { graph, schedule, target, node, clamp, state: &mut state };
        if cx.family() != Family::Alias
            && let Err(e) = table::spell(&mut cx)
        {
            refused.push(e.at(graph[node].site()));
        }
        let family = family(schedule, node, &state.steps[from..]);
        state.program.layers[state.layer].family = family;
    }
    if let Some(e) = Error::join(refused) {
        return Err(e);
    }
    outputs(graph, schedule, target, &mut state)?;
    for (id, value) in graph.values() {
        if let ValueKind::State(init) = &value.kind
            && schedule.home(id).is_some()
        {
            let buffer = state.buffer(graph, id)?;
            let init = state.initial(&value.name, init.data());
            state.program.states.push(State { buffer, init });
        }
    }
    state.program.entries.push(Entry { name: "run".into(), steps: state.steps });
    Ok(state.program)
}

impl Building {
    fn initial(&mut self, name: &str, data: &Data) -> ConstantId {
        let id = ConstantId(self.program.constants.len() as u32);
        let (dtype, bytes) = (data.dtype(), data.to_le_bytes());
        self.program.constants.push(Constant { name: name.into(), dtype, bytes, align: dtype.size() });
        id
    }
}

/// Copies constants that are outputs; all other outputs stand where they were computed.
fn outputs(graph: &Graph, schedule: &Schedule, target: &Target, state: &mut Building) -> Result<()> {
    for (i, &v) in graph.outputs().iter().enumerate() {
        if schedule.home(v).is_some() {
            continue;
        }
        let value = &graph[v];
        // The copy belongs to no node.
        let node = NodeId(u32::MAX);
        state.layer = state.program.layers.len();
        state.program.layers.push(Layer {
            name: value.name.clone(),
            op: "Copy".into(),
            family: String::new(),
            output: value.name.clone(),
            output_shape: value.shape.clone(),
            macs: 0,
            live_macs: 0,
            weight_bytes: 0,
            live_bytes: schedule.live_bytes(schedule.groups.len()),
        });
        let mut cx = Cx { graph, schedule, target, node, clamp: Clamp::NONE, state };
        let first = cx.state.steps.len();
        let from = cx.loc(v)?;
        let buffer = BufferId(cx.state.program.buffers.len() as u32);
        cx.state.program.buffers.push(Buffer {
            name: value.name.clone(),
            elem: from.elem,
            len: value.len(),
            place: Place::Arena(cx.state.program.outputs[i].at),
            holds: None,
        });
        let to = Loc {
            arg: Arg::Buffer { buffer, offset: 0 },
            strides: row_major_strides(&value.shape),
            ..from.clone()
        };
        relayout(&mut cx, &from, &to)?;
        state.program.layers[state.layer].family = spelled_by(&state.steps[first..]);
    }
    Ok(())
}

fn place(region: Region, offset: usize) -> Place {
    match region {
        Region::Arena => Place::Arena(offset),
        Region::State => Place::State(offset),
    }
}

fn affine(value: &Value) -> Option<(f32, i32)> {
    let q = value.quant.as_ref().filter(|q| q.axis.is_none())?;
    Some((*q.scale.first()?, *q.zero_point.first()?))
}

fn port(value: &Value, at: usize) -> Port {
    Port {
        name: value.name.clone(),
        shape: value.shape.clone(),
        elem: value.stored(),
        real: value.dtype,
        affine: affine(value),
        at,
    }
}

#[cfg(test)]
mod tests;
