//! The graph: nodes and values by typed id, in SSA form, every shape and type known.
//!
//! Law: nothing here knows a target, and edits go through [`Patch`] only; [`verify`] runs
//! between passes. Shapes are ONNX's logical shapes (NCHW for convolutions); how a value lies
//! in memory, its [`layout`], is chosen later, by the schedule. Which [`channels`] could leave it
//! together is a question to the graph as well; whether they should is asked by passes.

pub mod channels;
pub(crate) mod closing;
pub mod layout;
mod patch;
mod run;
mod text;
mod verify;
pub(crate) mod walk;

pub use crate::arith::quant::{Clamp, Quant};
pub use patch::Patch;
pub use run::{Steps, carried, dequantize, run, run_with};
pub use text::print;
pub use verify::verify;

use crate::ops::Op;
use crate::tensor::{DType, Tensor};
use crate::warning::Warning;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A node of the graph, valid until the node is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// A value (tensor) of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl NodeId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
impl ValueId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// Given by the caller of `run`.
    Input,
    /// Known at compile time. Holds what is stored: integers of `quant.dtype` when the value
    /// has a `Quant` (I8 weights, I32 biases), else elements of `dtype`.
    Constant(Arc<Tensor>),
    /// Computed by a node.
    Activation,
    /// Kept between runs; starts as the tensor, which holds real values (elements of `dtype`), quantized or not.
    State(Arc<Tensor>),
}

/// A value: name, type, origin, and how it is quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The ONNX tensor name (unique), any characters.
    pub name: String,
    /// The type of the *real* value: `F32` for quantized activations and weights too.
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub kind: ValueKind,
    /// `Some` once the value is stored as integers.
    pub quant: Option<Quant>,
}

impl Value {
    pub fn constant(&self) -> Option<&Arc<Tensor>> {
        if let ValueKind::Constant(t) = &self.kind { Some(t) } else { None }
    }
    /// What a constant means: its elements, dequantized if it is stored as integers.
    pub fn real_constant(&self) -> Option<std::borrow::Cow<'_, Tensor>> {
        use std::borrow::Cow;
        let stored = self.constant()?;
        Some(match &self.quant {
            None => Cow::Borrowed(stored.as_ref()),
            Some(quant) => Cow::Owned(quant.dequantize(stored)),
        })
    }
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The type in memory: that of `quant`, else `dtype`.
    pub fn stored(&self) -> DType {
        self.quant.as_ref().map_or(self.dtype, |q| q.dtype)
    }
}

/// A node: one operator applied to values.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The ONNX node name, or one made from operator and first output; unique.
    pub name: String,
    pub op: Op,
    /// Operands that the operator keeps (`ops`); `None` for one left out.
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    /// Activation fused into this node; applied to its (float) result.
    pub clamp: Clamp,
}

/// A model: values, nodes, inputs and outputs in the model's order.
///
/// Where an output is tied to an input, that input is no input any more but a state, and the output that it takes
/// its next value from stands behind all others: one for each state, in their order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    pub name: String,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) values: Vec<Value>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) states: Vec<ValueId>,
    pub(crate) warnings: Vec<Warning>,
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        self.nodes[id.index()].as_ref().expect("the node was removed")
    }
}
impl std::ops::Index<ValueId> for Graph {
    type Output = Value;
    fn index(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }
}

impl Graph {
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }
    /// All that is computed for somebody: the [`results`](Graph::results), then the [`nexts`](Graph::nexts).
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }
    /// Values that are kept between runs.
    pub fn states(&self) -> &[ValueId] {
        &self.states
    }
    /// The outputs that the caller of a run is given.
    pub fn results(&self) -> &[ValueId] {
        &self.outputs[..self.outputs.len().saturating_sub(self.states.len())]
    }
    /// By state, the value that it has in the next run.
    pub fn nexts(&self) -> &[ValueId] {
        &self.outputs[self.outputs.len().saturating_sub(self.states.len())..]
    }
    /// Leaves a warning with the graph, once; it stays with the graph to the end.
    pub fn warn(&mut self, warning: Warning) {
        warning.push_to(&mut self.warnings);
    }
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
    /// All living nodes by id.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(i, n)| Some((NodeId(i as u32), n.as_ref()?)))
    }
    /// All values by id, used or not.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, v)| (ValueId(i as u32), v))
    }
    /// The node that computes a value.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.nodes().find(|(_, n)| n.outputs.contains(&value)).map(|(id, _)| id)
    }
    /// Nodes that read a value, in id order.
    pub fn consumers(&self, value: ValueId) -> Vec<NodeId> {
        self.nodes().filter(|(_, n)| n.inputs.contains(&Some(value))).map(|(id, _)| id).collect()
    }
    /// The one place that reads a value: node and operand index. `None` when it is read more
    /// than once, by nobody, or is a graph output.
    pub fn sole_reader(&self, value: ValueId) -> Option<(NodeId, usize)> {
        if self.outputs.contains(&value) {
            return None;
        }
        let mut readers = self.nodes().flat_map(|(id, node)| {
            node.inputs.iter().enumerate().filter(|(_, v)| **v == Some(value)).map(move |(i, _)| (id, i))
        });
        readers.next().filter(|_| readers.next().is_none())
    }
    /// Nodes in an order in which every operand is computed before it is read; ties by id, so
    /// the order is stable. A cycle ends the list early: `verify` reports it.
    pub fn topological(&self) -> Vec<NodeId> {
        let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); self.values.len()];
        let mut waits = vec![0usize; self.nodes.len()];
        for (id, node) in self.nodes() {
            for v in node.inputs.iter().flatten() {
                if matches!(self[*v].kind, ValueKind::Activation) {
                    waits[id.index()] += 1;
                    readers[v.index()].push(id);
                }
            }
        }
        let idle = self.nodes().filter(|(id, _)| waits[id.index()] == 0);
        let mut ready: BinaryHeap<Reverse<NodeId>> = idle.map(|(id, _)| Reverse(id)).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for v in &self[id].outputs {
                for reader in std::mem::take(&mut readers[v.index()]) {
                    waits[reader.index()] -= 1;
                    if waits[reader.index()] == 0 {
                        ready.push(Reverse(reader));
                    }
                }
            }
        }
        order
    }
}

impl Node {
    /// Where this node stands, for errors.
    pub fn site(&self) -> crate::error::Site {
        crate::error::Site::Node { name: self.name.clone(), op: self.op.name().to_string() }
    }
}

impl Graph {
    /// The operands of a node as its operator sees them. A constant that is stored as
    /// integers shows no data: its elements are not the numbers that the operator means.
    pub fn operands(&self, id: NodeId) -> Vec<Option<crate::ops::Operand<'_>>> {
        self[id]
            .inputs
            .iter()
            .map(|v| {
                v.map(|v| {
                    let value = &self[v];
                    crate::ops::Operand {
                        dtype: value.dtype,
                        shape: &value.shape,
                        data: value.constant().filter(|_| value.quant.is_none()).map(|t| t.as_ref()),
                    }
                })
            })
            .collect()
    }
    /// Multiply-accumulates of a node, padded taps included.
    pub fn macs(&self, id: NodeId) -> u64 {
        let value_type =
            |v: &ValueId| crate::ops::ValueType { dtype: self[*v].dtype, shape: self[*v].shape.clone() };
        let types: Vec<crate::ops::ValueType> = self[id].outputs.iter().map(value_type).collect();
        self[id].op.macs(&self.operands(id), &types)
    }
}
