//! The evaluator: runs a program on this machine, exactly as the emitted code would.
//!
//! In: a [`Program`] and input tensors of the ports' element types. Out: output tensors, and
//! any buffer between two steps. Memory is laid out as the program placed it, so a wrong
//! placement shows. Everything is checked: indices, integer overflow, store ranges, divisors.
//! Law: floats are single f32 operations in program order; no result depends on this machine.

mod carry;
mod compile;
mod convert;
mod env;
mod expr;
#[cfg(test)]
mod interpret;
mod lanes;
mod legal;
mod loops;
mod memory;
mod natives;
#[cfg(test)]
mod tests;
mod uniform;

use crate::error::{Error, Result, Site};
use crate::kernel::affine::Affine;
use crate::kernel::interval::Interval;
use crate::kernel::{Kernel, ParamKind};
use crate::program::machine::compile::{Bound, Compiler, Run};
use crate::program::machine::env::{Base, Env, Failure, Fault, LANES, Mem};
use crate::program::machine::memory::{Memory, Slice};
use crate::program::{Arg, Buffer, BufferId, Initial, Place, Port, Program};
use crate::tensor::{DType, Data, Tensor};
use std::fmt;

const ARENA: usize = 0;

/// A program made ready to run, with its memory.
#[derive(Debug)]
pub struct Machine {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    buffers: Vec<Buffer>,
    /// State buffer and its initial bytes.
    states: Vec<(BufferId, Vec<u8>)>,
    steps: Vec<Step>,
    env: Env,
}

/// A kernel call, compiled for its arguments.
struct Step {
    run: Run,
    /// Kernel and statement of each place that can fail.
    sites: Vec<(String, String)>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("sites", &self.sites).finish_non_exhaustive()
    }
}

impl Machine {
    /// Checks that every buffer and argument lies where the program says there is room, and
    /// initialises the states. Refusals are defects of the lowering: `Fault::Internal`.
    pub fn new(program: &Program) -> Result<Machine> {
        Machine::with(program, Compiler::default)
    }

    /// A machine that runs native forms, on models of their cores, in the place of the bodies of
    /// kernels that have one.
    pub fn of_natives(program: &Program) -> Result<Machine> {
        Machine::with(program, || Compiler { natives: true, ..Compiler::default() })
    }

    fn with(program: &Program, compiler: impl Fn() -> Compiler) -> Result<Machine> {
        let mut regions = vec![vec![0; program.arena]];
        regions.extend(program.constants.iter().map(|c| c.bytes.clone()));
        let memory = Memory { regions };
        let buffers = program.buffers.iter().map(|b| (&b.name, place(b)));
        let ports = program.inputs.iter().chain(&program.outputs).map(|p| (&p.name, slot(p)));
        for (name, slice) in buffers.chain(ports) {
            if !fits(&memory, slice) {
                let why = format!("buffer `{name}` lies outside of its memory: {slice:?}");
                return Err(Error::internal(Site::Whole, why));
            }
        }
        let mut env = Env { memory, ..Env::default() };
        let mut steps = Vec::new();
        for step in program.entries.iter().filter(|e| e.name == "run").flat_map(|e| &e.steps) {
            let k = &step.kernel;
            let fail = |why: String| Error::internal(Site::Kernel(k.name.clone()), why);
            if step.args.len() != k.params.len() {
                return Err(fail(format!("a step has {} arguments", step.args.len())));
            }
            let mut bound = Vec::new();
            for (arg, param) in step.args.iter().zip(&k.params) {
                let slice = match *arg {
                    Arg::Scalar(_) => None,
                    Arg::Buffer { buffer, offset } => {
                        program.buffers.get(buffer.0 as usize).and_then(|b| skip(place(b), offset))
                    }
                    Arg::Constant { constant, offset } => {
                        program.constants.get(constant.0 as usize).and_then(|c| {
                            let region = ARENA + 1 + constant.0 as usize;
                            let len = c.bytes.len() / c.dtype.size();
                            skip(Slice { region, start: 0, len, elem: c.dtype }, offset)
                        })
                    }
                };
                bound.push(match (arg, slice, &param.kind) {
                    (Arg::Scalar(v), _, ParamKind::Scalar { lo, hi }) if (lo..=hi).contains(&v) => {
                        Bound::Scalar(Affine::constant(i64::from(*v)), Interval::point(*v))
                    }
                    (_, Some(s), ParamKind::Buffer { elem, len, .. }) if s.elem == *elem && s.len >= *len => {
                        let base = Base::Fixed(s.start);
                        Bound::Buffer(Mem { region: s.region, base, len: *len, elem: *elem })
                    }
                    _ => {
                        let got = slice.map_or(format!("{arg:?}"), |s| format!("{}[{}]", s.elem, s.len));
                        return Err(fail(format!(
                            "argument `{}` is {got}, takes {:?}",
                            param.name, param.kind
                        )));
                    }
                });
            }
            steps.push(compile_step(compiler(), k, bound, &mut env)?.0);
        }
        let states = program
            .states
            .iter()
            .map(|s| {
                let (buffer, _, init) = program.state(s)?;
                let bytes = match (s.init, init) {
                    (Initial::Bytes(byte), _) => vec![byte; buffer.len * buffer.elem.size()],
                    (Initial::Constant(_), init) => init?.bytes.clone(),
                };
                Some((s.buffer, bytes))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::internal(Site::Whole, "a state and its initial value disagree"))?;
        let mut machine = Machine {
            inputs: program.inputs.clone(),
            outputs: program.outputs.clone(),
            buffers: program.buffers.clone(),
            states,
            steps,
            env,
        };
        machine.init();
        Ok(machine)
    }

    /// Gives every state its initial value.
    pub fn init(&mut self) {
        for (id, bytes) in &self.states {
            let slice = place(&self.buffers[id.0 as usize]);
            self.env.memory.regions[slice.region][slice.start..slice.start + bytes.len()]
                .copy_from_slice(bytes);
        }
    }

    /// Runs the model once: one tensor per input port, in order, of the port's element type
    /// and count (row-major in the port's shape); gives one tensor per output port.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_tapped(inputs, &mut |_, _| Ok(()))
    }

    /// As [`Machine::run`], and calls `tap` with the number of each step after it ran.
    pub fn run_tapped(
        &mut self,
        inputs: &[Tensor],
        tap: &mut dyn FnMut(&Machine, usize) -> Result<()>,
    ) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let why = format!("the model has {} inputs, got {}", self.inputs.len(), inputs.len());
            return Err(Error::data(Site::Whole, why));
        }
        for (tensor, port) in inputs.iter().zip(&self.inputs) {
            let bytes = tensor.data().to_le_bytes();
            if tensor.dtype() != port.elem || bytes.len() != port.bytes() {
                let why = format!(
                    "takes {} of shape {:?}, got {} of shape {:?}",
                    port.elem,
                    port.shape,
                    tensor.dtype(),
                    tensor.shape()
                );
                return Err(Error::data(Site::Value(port.name.clone()), why));
            }
            self.env.memory.regions[ARENA][port.at..port.at + bytes.len()].copy_from_slice(&bytes);
        }
        for i in 0..self.steps.len() {
            (self.steps[i].run)(&mut self.env);
            if let Some(failure) = self.env.failure.take() {
                return Err(explain(failure, &self.steps[i].sites));
            }
            tap(self, i)?;
        }
        self.outputs
            .iter()
            .map(|port| {
                let bytes = &self.env.memory.regions[ARENA][port.at..port.at + port.bytes()];
                Tensor::new(port.shape.clone(), Data::from_le_bytes(port.elem, bytes))
            })
            .collect()
    }

    /// The stored elements of a buffer as they lie in memory now.
    pub fn buffer(&self, id: BufferId) -> Option<Data> {
        self.env.memory.read(place(self.buffers.get(id.0 as usize)?))
    }

    /// The tensor that a buffer holds, in its logical shape, as stored (integers stay
    /// integers); `None` for a workspace.
    pub fn held(&self, id: BufferId) -> Option<Tensor> {
        let held = self.buffers.get(id.0 as usize)?.holds.as_ref()?;
        let data = self.buffer(id)?;
        let mut order: Vec<usize> = vec![0];
        for (&n, &stride) in held.shape.iter().zip(&held.strides) {
            order = order.iter().flat_map(|&at| (0..n).map(move |i| at + i * stride)).collect();
        }
        if order.iter().any(|&at| at >= data.len()) {
            return None;
        }
        let data =
            crate::with_data!(data, v => Data::from(order.iter().map(|&at| v[at]).collect::<Vec<_>>()));
        Tensor::new(held.shape.clone(), data).ok()
    }

    /// As [`Machine::held`], in real values: `scale * (stored - zero_point)` where the buffer
    /// is quantized.
    pub fn real(&self, id: BufferId) -> Option<Tensor> {
        let stored = self.held(id)?;
        let affine = self.buffers.get(id.0 as usize)?.holds.as_ref()?.affine;
        if stored.dtype() == DType::F32 {
            return Some(stored);
        }
        let (scale, zero) = affine.unwrap_or((1.0, 0));
        let real = stored.to_i64_vec().iter().map(|&v| scale * (v - i64::from(zero)) as f32).collect();
        Some(Tensor::f32(stored.shape(), real))
    }
}

/// Where a buffer lies.
fn place(b: &Buffer) -> Slice {
    let (Place::Arena(start) | Place::State(start)) = b.place;
    Slice { region: ARENA, start, len: b.len, elem: b.elem }
}

/// Where a port's elements lie.
fn slot(p: &Port) -> Slice {
    Slice { region: ARENA, start: p.at, len: p.len(), elem: p.elem }
}

fn fits(memory: &Memory, s: Slice) -> bool {
    let end = s.len.checked_mul(s.elem.size()).and_then(|n| n.checked_add(s.start));
    memory.regions.get(s.region).is_some_and(|r| end.is_some_and(|end| end <= r.len()))
}

/// The slice without its first elements.
fn skip(s: Slice, offset: usize) -> Option<Slice> {
    let len = s.len.checked_sub(offset)?;
    Some(Slice { start: s.start + offset * s.elem.size(), len, ..s })
}

/// Compiles a kernel for given arguments and makes room for it in the environment; also tells how many
/// loops run in lanes.
fn compile_step(
    mut compiler: Compiler,
    kernel: &Kernel,
    bound: Vec<Bound>,
    env: &mut Env,
) -> Result<(Step, usize)> {
    let (run, _) = compiler.kernel(kernel, bound).map_err(|_| {
        Error::internal(Site::Kernel(kernel.name.clone()), "is not well formed and cannot be evaluated")
    })?;
    env.ints.resize(env.ints.len().max(compiler.roots.len()), 0);
    env.floats.resize(env.floats.len().max(compiler.floats), 0.0);
    env.lane_ints.resize(env.lane_ints.len().max(compiler.lane_ints), vec![0; LANES]);
    env.lane_floats.resize(env.lane_floats.len().max(compiler.lane_floats), vec![0.0; LANES]);
    Ok((Step { run, sites: compiler.sites }, compiler.loops_in_lanes))
}

/// A failure in words.
fn explain(failure: Failure, sites: &[(String, String)]) -> Error {
    let (kernel, stmt) = sites.get(failure.site as usize).cloned().unwrap_or_default();
    let v = failure.value;
    let why = match failure.fault {
        Fault::Index => format!("index {v} is outside of its buffer"),
        Fault::Overflow if v == i64::MAX => "an integer operation overflows".to_string(),
        Fault::Overflow => format!("an integer operation overflows: {v}"),
        Fault::Divisor => "division by zero".to_string(),
        Fault::Shift => format!("a shift by {v}"),
        Fault::Store => format!("{v} does not fit the element that it is stored to"),
        Fault::Slice => format!("a slice from {v} on does not fit its buffer"),
        Fault::Scalar => format!("scalar argument {v} is outside of its range"),
    };
    Error::internal(Site::Kernel(kernel), format!("{why}, in `{stmt}`"))
}
