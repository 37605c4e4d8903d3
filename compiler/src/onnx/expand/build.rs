//! Writing the nodes that stand for one node.
//!
//! In: calls that name an operator and its operands. Out: nodes and constants under names that nothing else
//! has. Law: the nodes are read by the rules of one operator set ([`OPSET`]), whatever the model imports.

use super::super::proto::RawNode;
use super::super::write::element;
use crate::error::Result;
use crate::ops::check::{refuse, sizes};
use crate::ops::{Attr, Operand, ParseCx};
use crate::tensor::{DType, Data, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The operator set of the nodes that are written here.
pub(in crate::onnx) const OPSET: i64 = 21;

/// What replaces a node: constants, and nodes in an order in which they can run.
pub(in crate::onnx) struct Expanded {
    pub(in crate::onnx) constants: Vec<(String, Tensor)>,
    pub(in crate::onnx) nodes: Vec<RawNode>,
    /// What is worth knowing of the replacement, and what can be done about it.
    pub(in crate::onnx) warnings: Vec<(String, String)>,
    /// Where the first result is text in the model, the texts that its numbers stand for.
    pub(in crate::onnx) text: Option<Arc<[String]>>,
}

/// The nodes written so far.
pub(super) struct Builder<'a> {
    /// The node that is replaced.
    pub(super) cx: ParseCx<'a>,
    node: &'a RawNode,
    /// Its name.
    path: String,
    taken: &'a mut BTreeSet<String>,
    constants: Vec<(String, Tensor)>,
    nodes: Vec<RawNode>,
    warnings: Vec<(String, String)>,
    text: Option<Arc<[String]>>,
}

pub(super) fn attr(name: &str, value: Attr) -> (String, Attr) {
    (name.to_string(), value)
}

pub(super) fn int(name: &str, value: i64) -> (String, Attr) {
    attr(name, Attr::Int(value))
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        cx: ParseCx<'a>,
        node: &'a RawNode,
        path: String,
        taken: &'a mut BTreeSet<String>,
    ) -> Self {
        Builder {
            cx,
            node,
            path,
            taken,
            constants: Vec::new(),
            nodes: Vec::new(),
            warnings: Vec::new(),
            text: None,
        }
    }

    /// The name of an input.
    pub(super) fn input(&self, index: usize) -> Result<String> {
        match self.node.inputs.get(index) {
            Some(name) if !name.is_empty() => Ok(name.clone()),
            _ => Err(refuse(format!("input {index} is missing"))),
        }
    }
    pub(super) fn operand(&self, index: usize) -> Result<Operand<'a>> {
        self.cx.operand(index)
    }
    pub(super) fn optional(&self, index: usize) -> Option<Operand<'a>> {
        self.cx.inputs.get(index).copied().flatten()
    }
    pub(super) fn shape(&self, index: usize) -> Result<Vec<usize>> {
        Ok(self.operand(index)?.shape.to_vec())
    }
    /// An attribute of `count` sizes, all of them `default` where it is not given.
    pub(super) fn sizes_of(&self, name: &str, default: usize, count: usize) -> Result<Vec<usize>> {
        let given = self.cx.ints(name)?.map_or(Ok(vec![default; count]), |v| sizes(v, name))?;
        if given.len() == count {
            Ok(given)
        } else {
            Err(refuse(format!("`{name}` has {} numbers", given.len())))
        }
    }
    /// Whether a result of the replaced node is wanted.
    pub(super) fn wanted(&self, output: usize) -> bool {
        self.node.outputs.get(output).is_some_and(|n| !n.is_empty())
    }

    /// Leaves a warning at the replaced node.
    pub(super) fn warn(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.warnings.push((message.into(), help.into()));
    }

    /// Says that the first result is text, and what its numbers stand for.
    pub(super) fn names(&mut self, texts: impl Into<Arc<[String]>>) {
        self.text = Some(texts.into());
    }

    fn fresh(&mut self, what: &str) -> String {
        let mut name = format!("{}/{what}", self.path);
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{}/{what}.{count}", self.path);
        }
        name
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> String {
        let name = self.fresh("constant");
        self.constants.push((name.clone(), tensor));
        name
    }
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Tensor::i64(&[values.len()], values.to_vec()))
    }
    pub(super) fn sizes(&mut self, values: &[usize]) -> String {
        self.ints(&values.iter().map(|&v| v as i64).collect::<Vec<_>>())
    }
    /// A number without axes, of a type.
    pub(super) fn number(&mut self, dtype: DType, value: f64) -> Result<String> {
        let data = match dtype {
            DType::F32 => Data::F32(vec![value as f32]),
            _ => Data::from_i64(dtype, &[value as i64]),
        };
        Ok(self.constant(Tensor::new(Vec::new(), data)?))
    }
    pub(super) fn floats(&mut self, shape: &[usize], values: Vec<f32>) -> Result<String> {
        Ok(self.constant(Tensor::new(shape.to_vec(), Data::F32(values))?))
    }
    pub(super) fn float(&mut self, value: f32) -> String {
        self.constant(Tensor::f32(&[], vec![value]))
    }

    /// A node with several results.
    pub(super) fn many(
        &mut self,
        op: &str,
        inputs: &[&str],
        attrs: Vec<(String, Attr)>,
        results: usize,
    ) -> Vec<String> {
        let name = self.fresh(op);
        let outputs: Vec<String> = (0..results).map(|_| self.fresh("value")).collect();
        self.nodes.push(RawNode {
            name,
            domain: String::new(),
            op_type: op.into(),
            inputs: inputs.iter().map(ToString::to_string).collect(),
            outputs: outputs.clone(),
            attrs: Ok(attrs.into_iter().collect::<BTreeMap<_, _>>()),
            branches: Vec::new(),
            opset: Some(OPSET),
        });
        outputs
    }
    pub(super) fn with(&mut self, op: &str, inputs: &[&str], attrs: Vec<(String, Attr)>) -> String {
        self.many(op, inputs, attrs, 1).remove(0)
    }
    pub(super) fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.with(op, inputs, Vec::new())
    }

    pub(super) fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let shape = self.sizes(shape);
        // A zero is a size here, not the operand's.
        self.with("Reshape", &[x, &shape], vec![int("allowzero", 1)])
    }
    pub(super) fn transpose(&mut self, x: &str, perm: &[usize]) -> String {
        let perm = perm.iter().map(|&p| p as i64).collect();
        self.with("Transpose", &[x], vec![attr("perm", Attr::Ints(perm))])
    }
    pub(super) fn expand(&mut self, x: &str, shape: &[usize]) -> String {
        let shape = self.sizes(shape);
        self.op("Expand", &[x, &shape])
    }
    /// A reduction that keeps its axes.
    pub(super) fn reduce(&mut self, op: &str, x: &str, axes: &[usize]) -> String {
        let axes = self.sizes(axes);
        self.with(op, &[x, &axes], vec![int("keepdims", 1), int("noop_with_empty_axes", 1)])
    }
    pub(super) fn cast(&mut self, x: &str, to: DType) -> String {
        self.with("Cast", &[x], vec![int("to", element(to).into())])
    }
    pub(super) fn gather(&mut self, x: &str, index: &str, axis: usize) -> String {
        self.with("Gather", &[x, index], vec![int("axis", axis as i64)])
    }
    pub(super) fn concat(&mut self, parts: &[&str], axis: usize) -> String {
        self.with("Concat", parts, vec![int("axis", axis as i64)])
    }
    pub(super) fn slice(&mut self, x: &str, axis: usize, start: i64, end: i64, step: i64) -> String {
        let [start, end, axis, step] = [start, end, axis as i64, step].map(|v| self.ints(&[v]));
        self.op("Slice", &[x, &start, &end, &axis, &step])
    }

    /// What stands for the node: its results by their names in the model.
    pub(super) fn finish(mut self, results: Vec<String>) -> Result<Expanded> {
        let outputs = self.node.outputs.clone();
        if outputs.iter().skip(results.len()).any(|n| !n.is_empty()) {
            return Err(refuse(format!("output {} is not supported", results.len())));
        }
        let mut given: BTreeSet<String> = BTreeSet::new();
        for (result, output) in results.into_iter().zip(&outputs).filter(|(_, o)| !o.is_empty()) {
            let own = self.nodes.iter().any(|n| n.outputs.contains(&result));
            if !own || !given.insert(result.clone()) {
                // An operand, a constant, or a result that is wanted twice.
                let copy = self.op("Identity", &[&result]);
                self.rename(&copy, output);
            } else {
                self.rename(&result, output);
                given.insert(output.clone());
            }
        }
        let Builder { constants, nodes, warnings, text, .. } = self;
        Ok(Expanded { constants, nodes, warnings, text })
    }

    fn rename(&mut self, from: &str, to: &str) {
        for node in &mut self.nodes {
            for name in node.inputs.iter_mut().chain(&mut node.outputs).filter(|n| *n == from) {
                *name = to.to_string();
            }
        }
    }
}
