//! Graph + Schedule -> Program: gives the calls that the schedule chose their places; makes no choice
//! of its own and writes no loops.
//!
//! In: a scheduled graph. Out: kernels, packed constants, placed buffers, and the steps of
//! `run` in order.

mod layer;

use layer::layer;

use crate::error::{Error, Result, Site};
use crate::graph::{Graph, Value, ValueId, ValueKind};
use crate::kernel::{Kernel, ParamKind};
use crate::kernels::call::{self, Bind, Call};
use crate::program::{
    Arg, Buffer, BufferId, Constant, ConstantId, Entry, Held, Initial, Layer, Place, Port, Program, State,
    Step,
};
use crate::schedule::{Placement, Region, Schedule};
use crate::tensor::{DType, Data, Tensor, row_major_strides};
use std::collections::BTreeMap;
use std::sync::Arc;

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

/// What the arguments of a call are bound to: a node's values and workspace, or those of a copy
/// that belongs to no node.
struct Bindings<'a> {
    /// Names the workspace.
    name: &'a str,
    inputs: &'a [Option<ValueId>],
    outputs: Vec<BufferId>,
    workspace: Option<&'a Placement>,
}

impl Building {
    /// Appends the calls of a choice as steps.
    fn bind(&mut self, graph: &Graph, calls: &[Call], to: &Bindings<'_>) -> Result<()> {
        for call in calls {
            if call.only_copies() && self.is_there(to) {
                continue;
            }
            let mut args = Vec::with_capacity(call.args.len());
            for (binding, param) in call.args.iter().zip(&call.kernel.params) {
                args.push(self.arg(graph, binding, &param.kind, to)?);
            }
            self.step(call.kernel.clone(), args)?;
        }
        Ok(())
    }
    /// Whether result 0 stands where operand 0 does.
    fn is_there(&self, to: &Bindings<'_>) -> bool {
        let place = |id: BufferId| self.program.buffers.get(id.0 as usize).map(|b| b.place);
        let operand = to.inputs.first().copied().flatten();
        let operand = operand.and_then(|v| self.buffers.get(v.index()).copied().flatten()).and_then(place);
        operand.is_some() && operand == to.outputs.first().copied().and_then(place)
    }
    fn arg(&mut self, graph: &Graph, binding: &Bind, kind: &ParamKind, to: &Bindings<'_>) -> Result<Arg> {
        let missing = |what: &str| Error::internal(Site::Whole, format!("{} has no {what}", to.name));
        Ok(match binding {
            Bind::Operand(i) => {
                let id = to.inputs.get(*i).copied().flatten().ok_or_else(|| missing("such operand"))?;
                let value = &graph[id];
                match value.constant() {
                    Some(t) => self.constant(&value.name, t.data(), t.dtype().size()),
                    None => Arg::Buffer { buffer: self.buffer(graph, id)?, offset: 0 },
                }
            }
            Bind::Result(_) | Bind::ResultInPlace | Bind::ResultCopied => {
                let i = if let Bind::Result(i) = binding { *i } else { 0 };
                let buffer = *to.outputs.get(i).ok_or_else(|| missing("such result"))?;
                Arg::Buffer { buffer, offset: 0 }
            }
            Bind::Scalar(v) => Arg::Scalar(*v),
            Bind::Data { name, data, align } => self.constant(name, data, *align),
            Bind::Workspace(offset) => {
                let ParamKind::Buffer { elem, len, .. } = *kind else {
                    return Err(missing("buffer for its workspace"));
                };
                let home = to.workspace.filter(|p| offset + len * elem.size() <= p.bytes);
                let home = home.ok_or_else(|| missing("workspace as large as it needs"))?;
                self.program.buffers.push(Buffer {
                    name: format!("{} workspace", to.name),
                    elem,
                    len,
                    place: Place::Arena(home.offset + offset),
                    holds: None,
                });
                Arg::Buffer { buffer: BufferId(self.program.buffers.len() as u32 - 1), offset: 0 }
            }
        })
    }
    /// Read-only data, aligned to `align` bytes. Equal data of one type is kept once, under the
    /// name that came first.
    fn constant(&mut self, name: &str, data: &Data, align: usize) -> Arg {
        let (dtype, bytes) = (data.dtype(), data.to_le_bytes());
        let program = &mut self.program;
        let constant = match self.constants.get(&(dtype, bytes.clone())) {
            Some(&id) => {
                let known = &mut program.constants[id.0 as usize];
                known.align = known.align.max(align);
                id
            }
            None => {
                let id = ConstantId(program.constants.len() as u32);
                if let Some(layer) = program.layers.get_mut(self.layer) {
                    layer.weight_bytes += bytes.len();
                }
                program.constants.push(Constant {
                    name: name.to_string(),
                    dtype,
                    bytes: bytes.clone(),
                    align,
                });
                self.constants.insert((dtype, bytes), id);
                id
            }
        };
        Arg::Constant { constant, offset: 0 }
    }
    /// Appends a step. Checks that arguments fit the kernel's parameters.
    fn step(&mut self, kernel: Arc<Kernel>, args: Vec<Arg>) -> Result<()> {
        let wrong = |why: String| Err(Error::internal(Site::Kernel(kernel.name.clone()), why));
        if kernel.params.len() != args.len() {
            return wrong(format!("takes {} arguments, got {}", kernel.params.len(), args.len()));
        }
        for (param, arg) in kernel.params.iter().zip(&args) {
            let program = &self.program;
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
        let kernel = match self.kernels.iter().find(|k| Arc::ptr_eq(k, &kernel) || **k == kernel) {
            Some(known) => known.clone(),
            None => {
                self.kernels.push(kernel.clone());
                kernel
            }
        };
        self.steps.push(Step { layer: self.layer, kernel, args });
        Ok(())
    }
    fn buffer(&self, graph: &Graph, id: ValueId) -> Result<BufferId> {
        self.buffers.get(id.index()).copied().flatten().ok_or_else(|| {
            Error::internal(Site::Value(graph[id].name.clone()), "has no place in the schedule")
        })
    }
}

/// Lowers a scheduled graph.
pub fn lower(graph: &Graph, schedule: &Schedule) -> Result<Program> {
    let mut state = Building { buffers: vec![None; graph.values.len()], ..Building::default() };
    state.program.name = graph.name.clone();
    let unplaced = |v: &Value| Error::internal(Site::Value(v.name.clone()), "has no place in the schedule");
    for &v in graph.inputs() {
        let home = schedule.home(v).ok_or_else(|| unplaced(&graph[v]))?;
        state.program.inputs.push(port(&graph[v], home.offset));
    }
    for (i, &v) in graph.results().iter().enumerate() {
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
    for (group, id) in
        schedule.groups.iter().enumerate().flat_map(|(g, group)| group.nodes.iter().map(move |&n| (g, n)))
    {
        let node = &graph[id];
        let choice = schedule.choices[id.index()].as_ref();
        let choice = choice.ok_or_else(|| Error::internal(node.site(), "has no choice in the schedule"))?;
        let outputs = node.outputs.iter().filter(|_| !choice.calls.is_empty());
        let bindings = Bindings {
            name: &node.name,
            inputs: &node.inputs,
            outputs: outputs.map(|&v| state.buffer(graph, v)).collect::<Result<_>>()?,
            workspace: schedule.workspace(id),
        };
        let family = match state.is_there(&bindings) && choice.calls.iter().any(Call::only_copies) {
            true => call::way(choice.calls.iter().filter(|call| !call.only_copies())),
            false => choice.variant.clone(),
        };
        state.layer = state.program.layers.len();
        state.program.layers.push(Layer {
            live_bytes: schedule.live_bytes(group),
            family,
            ..layer(graph, id)
        });
        state.bind(graph, &choice.calls, &bindings).map_err(|e| e.at(node.site()))?;
    }
    copies(graph, schedule, &mut state)?;
    carry(graph, schedule, &mut state)?;
    state.program.entries.push(Entry { name: "run".into(), steps: state.steps });
    Ok(state.program)
}

impl Building {
    /// What a state begins as: one byte all over, or a constant.
    fn initial(&mut self, value: &Value, init: &Tensor) -> Initial {
        let stored = crate::program::to_port(init, &port(value, 0));
        let (dtype, bytes) = (stored.dtype(), stored.data().to_le_bytes());
        match bytes.first() {
            None => Initial::Bytes(0),
            Some(&first) if bytes.iter().all(|b| *b == first) => Initial::Bytes(first),
            Some(_) => {
                let id = ConstantId(self.program.constants.len() as u32);
                self.program.constants.push(Constant {
                    name: value.name.clone(),
                    dtype,
                    bytes,
                    align: dtype.size(),
                });
                Initial::Constant(id)
            }
        }
    }
    /// A layer that belongs to no node.
    fn copy(&mut self, value: &Value, family: &str, live_bytes: usize) {
        self.layer = self.program.layers.len();
        self.program.layers.push(Layer {
            name: value.name.clone(),
            op: "Copy".into(),
            family: family.to_owned(),
            output: value.name.clone(),
            output_shape: value.shape.clone(),
            macs: 0,
            live_macs: 0,
            weight_bytes: 0,
            live_bytes,
        });
    }
}

/// States, and the copies of their next values that do not stand there.
fn carry(graph: &Graph, schedule: &Schedule, state: &mut Building) -> Result<()> {
    for (i, (&id, &next)) in graph.states().iter().zip(graph.nexts()).enumerate() {
        let (value, buffer) = (&graph[id], state.buffer(graph, id)?);
        if let Some(choice) = schedule.carried.get(i).and_then(Option::as_ref) {
            state.copy(value, &choice.variant, schedule.live_bytes(schedule.groups.len()));
            let bindings =
                Bindings { name: &value.name, inputs: &[Some(next)], outputs: vec![buffer], workspace: None };
            state.bind(graph, &choice.calls, &bindings)?;
        }
        if let ValueKind::State(init) = &value.kind {
            let init = state.initial(value, init);
            state.program.states.push(State {
                buffer,
                init,
                next: graph[next].name.clone(),
                declared: value.dtype,
            });
        }
    }
    Ok(())
}

/// Copies constants that are outputs; all other outputs stand where they were computed.
fn copies(graph: &Graph, schedule: &Schedule, state: &mut Building) -> Result<()> {
    for (i, &v) in graph.results().iter().enumerate() {
        let Some(choice) = schedule.copies.get(i).and_then(Option::as_ref) else { continue };
        let value = &graph[v];
        state.copy(value, &choice.variant, schedule.live_bytes(schedule.groups.len()));
        let buffer = BufferId(state.program.buffers.len() as u32);
        state.program.buffers.push(Buffer {
            name: value.name.clone(),
            elem: value.constant().map_or(value.stored(), |t| t.dtype()),
            len: value.len(),
            place: Place::Arena(state.program.outputs[i].at),
            holds: None,
        });
        let bindings = Bindings { name: &value.name, inputs: &[], outputs: vec![buffer], workspace: None };
        state.bind(graph, &choice.calls, &bindings)?;
    }
    Ok(())
}

/// Gives ports and states the types that they have in the model as imported, which quantization changes.
pub fn declare(program: &mut Program, imported: &Graph) {
    let ports = program.inputs.iter_mut().chain(&mut program.outputs);
    for (port, &v) in ports.zip(imported.inputs().iter().chain(imported.results())) {
        port.declared = imported[v].dtype;
    }
    for (state, &v) in program.states.iter_mut().zip(imported.states()) {
        state.declared = imported[v].dtype;
    }
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
        declared: value.dtype,
        affine: affine(value),
        at,
    }
}

#[cfg(test)]
mod tests;
