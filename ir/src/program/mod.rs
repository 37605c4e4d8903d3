//! A lowered model: the only thing the emitters and the evaluator see.
//!
//! Law: everything is placed and sized; nothing here mentions ONNX.

mod border;
mod contents;
pub mod cost;
pub mod machine;
mod prove;
mod text;
mod timing;

pub use border::{as_declared, from_port, to_port};
pub use prove::{prove, prove_kernel};
pub use text::{kernels, print};
pub use timing::{Reason, depends_on_data};

use crate::kernel::Kernel;
use crate::tensor::DType;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConstantId(pub u32);

/// Read-only data in flash. Equal contents appear once.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub name: String,
    pub dtype: DType,
    /// Little-endian bytes.
    pub bytes: Vec<u8>,
    /// At least the element size; 4 where blocks read words.
    pub align: usize,
}

/// Where a buffer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Byte offset in the arena.
    Arena(usize),
    /// Byte offset in the arena too (states stand first), in the part that survives between runs.
    State(usize),
}

/// A run-time tensor or workspace. Several buffers may stand at one place: views of each other,
/// and elementwise results over their operand.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    pub name: String,
    pub elem: DType,
    /// Elements.
    pub len: usize,
    pub place: Place,
    /// Which value of the model it holds, if any: for taps (`compare`) and reports.
    pub holds: Option<Held>,
}

/// How a buffer's elements are a tensor of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// ONNX tensor name.
    pub value: String,
    /// Logical shape.
    pub shape: Vec<usize>,
    /// Stride of each logical axis, in elements.
    pub strides: Vec<usize>,
    /// Real value = scale * (stored - zero_point); `None` for floats and plain integers.
    pub affine: Option<(f32, i32)>,
}

/// An input or output of the model as the caller sees it, row-major in its logical shape. Its
/// elements stand in the arena: an input's until the step that reads it last, an output's from the
/// step that writes it to the end of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// ONNX name.
    pub name: String,
    pub shape: Vec<usize>,
    /// Element type of the caller's array.
    pub elem: DType,
    /// Type of the real value in the model (what `run` of the CLI reads and writes).
    pub real: DType,
    /// Type before quantization: `U8` or `U16` where `elem` holds its integers lower ([`Port::held_lower`]).
    pub declared: DType,
    /// Scale and zero point, when `elem` is a quantized integer.
    pub affine: Option<(f32, i32)>,
    /// Byte offset of its elements in the arena.
    pub at: usize,
}

impl Port {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes that its elements take.
    pub fn bytes(&self) -> usize {
        self.len() * self.elem.size()
    }
    /// How far below the model's own unsigned integers its elements stand: 128, 32,768, or 0 where they are not shifted.
    pub fn held_lower(&self) -> i64 {
        border::shifted(self.declared, self.elem).unwrap_or(0)
    }
    /// That in words, where it is so: `u8 in the model, held as i8, 128 lower`.
    pub fn held(&self) -> Option<String> {
        let lower = self.held_lower();
        (lower != 0).then(|| {
            format!("{} in the model, held as {}, {lower} lower", self.declared.name(), self.elem.name())
        })
    }
}

/// Argument of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// From an element offset on.
    Buffer {
        buffer: BufferId,
        offset: usize,
    },
    Constant {
        constant: ConstantId,
        offset: usize,
    },
    Scalar(i32),
}

/// One kernel call.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Index into [`Program::layers`].
    pub layer: usize,
    pub kernel: Arc<Kernel>,
    pub args: Vec<Arg>,
}

/// What the report says of a node; several steps may belong to one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    pub name: String,
    pub op: String,
    pub family: String,
    pub output: String,
    pub output_shape: Vec<usize>,
    pub macs: u64,
    /// MACs whose weight is not zero.
    pub live_macs: u64,
    pub weight_bytes: usize,
    /// Bytes of arena that are live while it runs, workspace included.
    pub live_bytes: usize,
}

/// A callable sequence of steps (`run`; `init` is implied by states).
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: String,
    pub steps: Vec<Step>,
}

/// A value kept between runs; its buffer has the name of the input that it was.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub buffer: BufferId,
    /// What it holds before the first run.
    pub init: Initial,
    /// ONNX name of what it becomes at the end of a run.
    pub next: String,
    /// Type that the model gives it, as that of a [`Port`].
    pub declared: DType,
}

/// Bytes that a state begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// All of them the same.
    Bytes(u8),
    /// A constant of its type and length.
    Constant(ConstantId),
}

/// A whole lowered model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Program {
    pub name: String,
    pub constants: Vec<Constant>,
    pub buffers: Vec<Buffer>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub states: Vec<State>,
    /// Identifiers of ports and states, by their names, where they are not made of those.
    pub renamed: BTreeMap<String, String>,
    /// Whether the arena is lent for a run, so that states stand apart from it.
    pub shares_arena: bool,
    pub layers: Vec<Layer>,
    pub entries: Vec<Entry>,
    /// Bytes of the arena, states, inputs and outputs included; alignment 8.
    pub arena: usize,
    /// No placement can need fewer bytes (greatest sum of live buffers over the steps).
    pub arena_lower_bound: usize,
}

impl Program {
    /// Whether states have memory of their own, apart from the arena.
    pub fn states_apart(&self) -> bool {
        self.shares_arena && !self.states.is_empty()
    }
    /// Where a state stands: its buffer, its offset in the arena, and what it begins with, if that fits.
    pub fn state(&self, state: &State) -> Option<(&Buffer, usize, Option<&Constant>)> {
        let buffer = self.buffers.get(state.buffer.0 as usize)?;
        let Place::State(at) = buffer.place else { return None };
        let bytes = buffer.len * buffer.elem.size();
        let init = match state.init {
            Initial::Bytes(_) => None,
            Initial::Constant(id) => {
                Some(self.constants.get(id.0 as usize).filter(|c| c.bytes.len() == bytes)?)
            }
        };
        at.checked_add(bytes).filter(|end| *end <= self.arena)?;
        Some((buffer, at, init))
    }
    /// A state as the caller sees it; `None` where it names what does not exist, or does not fit.
    pub fn state_port(&self, state: &State) -> Option<Port> {
        let (buffer, at, _) = self.state(state)?;
        let held = buffer.holds.as_ref();
        Some(Port {
            name: buffer.name.clone(),
            shape: held.map_or_else(|| vec![buffer.len], |held| held.shape.clone()),
            elem: buffer.elem,
            real: buffer.elem,
            declared: state.declared,
            affine: held.and_then(|held| held.affine),
            at,
        })
    }
}
