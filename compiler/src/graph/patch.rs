//! Edits of a graph. Every pass changes the graph through a [`Patch`] and nothing else.

use super::{Clamp, Graph, Node, NodeId, Quant, Value, ValueId, ValueKind};
use crate::ops::Op;
use crate::tensor::{DType, Tensor};
use crate::warning::Warning;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A handle that edits a graph. It keeps names unique; `verify` checks the rest afterwards.
#[derive(Debug)]
pub struct Patch<'g> {
    graph: &'g mut Graph,
    /// Names in use, of values and of nodes; gathered where many new ones are needed.
    names: Option<Names>,
    /// How often it was asked whether a name is in use.
    asked: usize,
    /// Names of nodes that left since then, which stay in use until the patch ends.
    left: Vec<String>,
}

#[derive(Debug)]
struct Names {
    values: BTreeSet<String>,
    nodes: BTreeSet<String>,
}

/// Names that are looked for in the graph before all of it are gathered: most patches add few, and gathering the names
/// of a long graph costs more than all else that such a patch does.
const FEW: usize = 16;

impl<'g> Patch<'g> {
    pub fn new(graph: &'g mut Graph) -> Self {
        Patch { graph, names: None, asked: 0, left: Vec::new() }
    }
    pub fn graph(&self) -> &Graph {
        self.graph
    }
    /// Leaves a warning with the graph.
    pub fn warn(&mut self, warning: Warning) {
        self.graph.warn(warning);
    }
    /// For a pass made of several steps that each patch on their own.
    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        (self.names, self.asked) = (None, 0);
        self.left.clear();
        self.graph
    }
    fn names(&mut self) -> &mut Names {
        let graph = &*self.graph;
        let left = &self.left;
        self.names.get_or_insert_with(|| Names {
            values: graph.values.iter().map(|v| v.name.clone()).collect(),
            nodes: graph.nodes().map(|(_, n)| n.name.clone()).chain(left.iter().cloned()).collect(),
        })
    }
    /// Whether a value has the name, or a node.
    fn taken(&mut self, name: &str, of_nodes: bool) -> bool {
        self.asked += 1;
        if self.names.is_none() && self.asked <= FEW {
            return match of_nodes {
                true => {
                    self.left.iter().any(|n| n == name) || self.graph.nodes().any(|(_, n)| n.name == name)
                }
                false => self.graph.values.iter().any(|v| v.name == name),
            };
        }
        let names = self.names();
        if of_nodes { names.nodes.contains(name) } else { names.values.contains(name) }
    }
    /// `wish`, or with a number behind it when that is taken; taken from then on.
    fn fresh(&mut self, wish: &str, of_nodes: bool) -> String {
        let mut name = wish.to_string();
        let mut number = 0u64;
        while self.taken(&name, of_nodes) {
            number += 1;
            name = format!("{wish}.{number}");
        }
        if let Some(names) = &mut self.names {
            if of_nodes { &mut names.nodes } else { &mut names.values }.insert(name.clone());
        }
        name
    }
    fn fresh_value_name(&mut self, wish: &str) -> String {
        self.fresh(wish, false)
    }
    fn push_value(&mut self, value: Value) -> ValueId {
        self.graph.values.push(value);
        ValueId(self.graph.values.len() as u32 - 1)
    }
    /// A new activation; some node must produce it before the graph is verified.
    pub fn add_value(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueId {
        let name = self.fresh_value_name(name);
        self.push_value(Value {
            name,
            dtype,
            shape: shape.to_vec(),
            kind: ValueKind::Activation,
            quant: None,
        })
    }
    pub fn add_input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueId {
        let name = self.fresh_value_name(name);
        let id = self.push_value(Value {
            name,
            dtype,
            shape: shape.to_vec(),
            kind: ValueKind::Input,
            quant: None,
        });
        self.graph.inputs.push(id);
        id
    }
    pub fn add_output(&mut self, value: ValueId) {
        self.graph.outputs.push(value);
    }
    pub fn set_output(&mut self, index: usize, value: ValueId) {
        self.graph.outputs[index] = value;
    }
    /// Ties an output to an input: from now on the input is a state that begins as `init` (real values of its type
    /// and shape) and takes the output's value at the end of each run. Neither is a port any more.
    pub fn tie(&mut self, input: ValueId, port: usize, init: Tensor) {
        let graph = &mut *self.graph;
        graph.inputs.retain(|&v| v != input);
        graph.values[input.index()].kind = ValueKind::State(Arc::new(init));
        let next = graph.outputs.remove(port);
        graph.outputs.push(next);
        graph.states.push(input);
    }
    /// A new constant.
    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let name = self.fresh_value_name(name);
        self.push_value(Value {
            name,
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            kind: ValueKind::Constant(Arc::new(tensor)),
            quant: None,
        })
    }
    pub fn add_node(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<ValueId>,
    ) -> NodeId {
        let name = self.fresh(name, true);
        self.graph.nodes.push(Some(Node { name, op, inputs, outputs, clamp: Clamp::NONE }));
        NodeId(self.graph.nodes.len() as u32 - 1)
    }
    pub fn remove_node(&mut self, id: NodeId) {
        let gone = self.graph.nodes[id.index()].take();
        if self.asked > 0 && self.names.is_none() {
            self.left.extend(gone.map(|node| node.name));
        }
    }
    /// Free access to one node: operator, operands, clamp. Its name stays.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.graph.nodes[id.index()].as_mut().expect("the node was removed")
    }
    pub fn set_quant(&mut self, value: ValueId, quant: Option<Quant>) {
        self.graph.values[value.index()].quant = quant;
    }
    pub fn set_shape(&mut self, value: ValueId, shape: &[usize]) {
        self.graph.values[value.index()].shape = shape.to_vec();
    }
    pub fn set_dtype(&mut self, value: ValueId, dtype: DType) {
        self.graph.values[value.index()].dtype = dtype;
    }
    /// What a state begins as, in real values.
    pub fn set_init(&mut self, state: ValueId, init: Tensor) {
        self.graph.values[state.index()].kind = ValueKind::State(Arc::new(init));
    }
    /// Turns a value into a constant (its producer should be removed).
    pub fn set_constant(&mut self, value: ValueId, tensor: Tensor) {
        let v = &mut self.graph.values[value.index()];
        v.shape = tensor.shape().to_vec();
        v.kind = ValueKind::Constant(Arc::new(tensor));
    }
    pub fn set_name(&mut self, value: ValueId, name: &str) {
        let name = self.fresh_value_name(name);
        let old = std::mem::replace(&mut self.graph.values[value.index()].name, name);
        self.names().values.remove(&old);
    }
    /// Swaps the names of two values: a pass that replaces an output keeps the user's name.
    pub fn swap_names(&mut self, a: ValueId, b: ValueId) {
        let name = std::mem::take(&mut self.graph.values[a.index()].name);
        let other = std::mem::replace(&mut self.graph.values[b.index()].name, name);
        self.graph.values[a.index()].name = other;
    }
    /// Gives one reader of `old` another value to read, wherever it reads it.
    pub fn redirect(&mut self, reader: NodeId, old: ValueId, new: ValueId) {
        let operands = self.node_mut(reader).inputs.iter_mut().flatten();
        operands.filter(|v| **v == old).for_each(|v| *v = new);
    }
    /// Every reader of `old`, graph outputs included, reads `new` instead.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for node in self.graph.nodes.iter_mut().flatten() {
            for input in node.inputs.iter_mut().flatten() {
                if *input == old {
                    *input = new;
                }
            }
        }
        for output in &mut self.graph.outputs {
            if *output == old {
                *output = new;
            }
        }
    }
}
