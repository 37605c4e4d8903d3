//! Fused operators of ours as the operators of ONNX that they mean.
//!
//! In: a graph. Out: the same without attention, normalizations and chains; the values between are new, real and
//! not quantized. Law: what a fused node computed is what its parts compute.

use crate::error::{Error, Result};
use crate::graph::{Clamp, Graph, NodeId, Patch, ValueId};
use crate::ops::attention::Mask;
use crate::ops::chain::Link;
use crate::ops::{
    Add, Attention, Attr, Chain, Div, Map, MatMul, Mul, Normalization, Op, ReduceMean, Softmax, Sqrt, Sub,
};
use crate::tensor::{DType, Tensor};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The graph without fused operators.
///
/// Errors: a node that lacks an operand.
pub(super) fn unfused(graph: &Graph) -> Result<Cow<'_, Graph>> {
    let fused = |op: &Op| matches!(op, Op::Attention(_) | Op::Chain(_) | Op::Normalization(_));
    let ids: Vec<NodeId> = graph.topological().into_iter().filter(|&id| fused(&graph[id].op)).collect();
    if ids.is_empty() {
        return Ok(Cow::Borrowed(graph));
    }
    let mut graph = graph.clone();
    for id in ids {
        let node = graph[id].clone();
        let mut parts = Parts {
            y: node.outputs[0],
            clamp: node.clamp,
            name: node.name.clone(),
            patch: Patch::new(&mut graph),
        };
        parts.patch.remove_node(id);
        let done = match &node.op {
            Op::Attention(op) => parts.attention(op, &node.inputs),
            Op::Chain(op) => parts.chain(op, &node.inputs),
            Op::Normalization(op) => parts.normalization(op, &node.inputs),
            _ => Ok(()),
        };
        done.map_err(|e| e.at(node.site()))?;
    }
    Ok(Cow::Owned(graph))
}

/// The parts of one node.
struct Parts<'a> {
    y: ValueId,
    clamp: Clamp,
    name: String,
    patch: Patch<'a>,
}

fn needed(inputs: &[Option<ValueId>], index: usize) -> Result<ValueId> {
    inputs.get(index).copied().flatten().ok_or_else(|| {
        Error::internal(crate::error::Site::Whole, format!("a fused operator lacks operand {index}"))
    })
}

impl Parts<'_> {
    fn number(&mut self, value: f32) -> ValueId {
        let name = format!("{}:number", self.name);
        self.patch.add_constant(&name, Tensor::f32(&[], vec![value]))
    }
    /// A node with a result of its own.
    fn step(&mut self, word: &str, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let op = op.into();
        let graph = self.patch.graph();
        let operands: Vec<_> = inputs
            .iter()
            .map(|&v| {
                let (value, data) = (&graph[v], graph[v].constant().map(|t| t.as_ref()));
                Some(crate::ops::Operand { dtype: value.dtype, shape: &value.shape, data })
            })
            .collect();
        let shape = op.infer(&operands)?.into_iter().next().map(|t| t.shape).unwrap_or_default();
        let name = format!("{}:{word}", self.name);
        let y = self.patch.add_value(&name, DType::F32, &shape);
        self.patch.add_node(&name, op, inputs.iter().map(|&v| Some(v)).collect(), vec![y]);
        Ok(y)
    }
    /// The node that computes the result.
    fn last(&mut self, op: impl Into<Op>, inputs: &[ValueId]) {
        let (name, y) = (self.name.clone(), self.y);
        let id = self.patch.add_node(&name, op.into(), inputs.iter().map(|&v| Some(v)).collect(), vec![y]);
        self.patch.node_mut(id).clamp = self.clamp;
    }

    fn normalization(&mut self, op: &Normalization, inputs: &[Option<ValueId>]) -> Result<()> {
        let mut x = needed(inputs, 0)?;
        let shape = self.patch.graph()[x].shape.clone();
        let mean = ReduceMean { axes: op.axes.clone(), keepdims: true };
        if op.centred {
            let of = self.step("mean", mean.clone(), &[x])?;
            x = self.step("difference", Sub, &[x, of])?;
        }
        let square = self.step("square", Mul, &[x, x])?;
        let variance = self.step("variance", mean, &[square])?;
        let epsilon = self.number(op.epsilon);
        let sum = self.step("sum", Add, &[variance, epsilon])?;
        let root = self.step("root", Sqrt, &[sum])?;
        let factors: Vec<(ValueId, Op)> = [(1, Op::from(Mul)), (2, Op::from(Add))]
            .into_iter()
            .filter_map(|(i, op)| Some((inputs.get(i).copied().flatten()?, op)))
            .collect();
        let along: Vec<usize> =
            shape.iter().enumerate().map(|(a, &n)| if op.axes.contains(&a) { n } else { 1 }).collect();
        let mut done = (Op::from(Div), [x, root]);
        for (by, op) in factors {
            let Some(tensor) = self.patch.graph()[by].real_constant().map(Cow::into_owned) else { continue };
            let constant = Tensor::f32(&along, tensor.to_f32_vec());
            let by = self.patch.add_constant(&format!("{}:factors", self.name), constant);
            let y = self.step("normalized", done.0, &done.1)?;
            done = (op, [y, by]);
        }
        self.last(done.0, &done.1);
        Ok(())
    }

    fn chain(&mut self, op: &Chain, inputs: &[Option<ValueId>]) -> Result<()> {
        let x = needed(inputs, 0)?;
        let mut results: Vec<ValueId> = Vec::new();
        for (i, step) in op.steps.iter().enumerate() {
            let mut operands = Vec::new();
            for link in &step.links {
                operands.push(match link {
                    Link::Input => x,
                    Link::Step(i) => needed(&results.iter().map(|&v| Some(v)).collect::<Vec<_>>(), *i)?,
                    Link::Number(v) => self.number(*v),
                });
            }
            if i + 1 == op.steps.len() {
                self.last(step.op.clone(), &operands);
            } else {
                results.push(self.step(&format!("step{i}"), step.op.clone(), &operands)?);
            }
        }
        Ok(())
    }

    fn attention(&mut self, op: &Attention, inputs: &[Option<ValueId>]) -> Result<()> {
        let (q, k, v) = (needed(inputs, 0)?, needed(inputs, 1)?, needed(inputs, 2)?);
        let product = self.step("scores", MatMul, &[q, k])?;
        let scale = self.number(op.scale);
        let mut scores = self.step("scaled", Mul, &[product, scale])?;
        match op.mask {
            Mask::All => {}
            Mask::Added => scores = self.step("masked", Add, &[scores, needed(inputs, 3)?])?,
            Mask::Chosen { kept, otherwise } => {
                let (mask, other) = (needed(inputs, 3)?, self.number(otherwise));
                let attrs: BTreeMap<String, Attr> = BTreeMap::new();
                let choice = Map { function: "Where", attrs, tail: Vec::new() };
                let (yes, no) = if kept { (scores, other) } else { (other, scores) };
                scores = self.step("masked", choice, &[mask, yes, no])?;
            }
        }
        let axis = self.patch.graph()[scores].shape.len().saturating_sub(1);
        let shares = self.step("shares", Softmax { axis, flatten: false }, &[scores])?;
        self.last(MatMul, &[shares, v]);
        Ok(())
    }
}
