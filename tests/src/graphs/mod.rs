//! Random graphs for the differential fuzzer: a model that can be written, run and made smaller.
//!
//! In: a seed. Out: a [`Case`], what disagrees about it ([`check`]), and the smallest case that
//! still does ([`shrink`]). Law: everything follows from the seed; a case holds its own samples.

pub mod check;
pub mod fidelity;
mod general;
pub mod generate;
mod layers;
mod neural;
mod recurrent;
mod shapes;
pub mod shrink;
pub mod witness;

use crate::onnx::{self, Message, Model};
use secateur_compiler::tensor::{DType, Data, Samples, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// An attribute of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Str(&'static str),
    Tensor(Tensor),
}

/// A node as ONNX has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub op: &'static str,
    /// Empty names stand for operands left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attrs: Vec<(&'static str, Attr)>,
}

/// An input of a model with what it holds in each sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: String,
    pub samples: Vec<Tensor>,
}

/// A model and its samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Case {
    pub opset: i64,
    /// In an order in which they can be computed.
    pub nodes: Vec<Node>,
    pub constants: BTreeMap<String, Tensor>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<String>,
}

fn elem(dtype: DType) -> i64 {
    match dtype {
        DType::F32 => onnx::FLOAT,
        DType::U8 => onnx::UINT8,
        DType::I8 => onnx::INT8,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => onnx::INT32,
        DType::I64 => onnx::INT64,
        DType::Bool => onnx::BOOL,
        DType::U32 => 12,
        DType::U64 => 13,
    }
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

fn tensor(name: &str, t: &Tensor) -> Message {
    onnx::tensor(name, elem(t.dtype()), &sizes(t.shape()), &t.data().to_le_bytes())
}

impl Case {
    /// The element type of a value.
    pub fn dtype(&self, name: &str) -> DType {
        if let Some(t) = self.constants.get(name) {
            return t.dtype();
        }
        if let Some(input) = self.inputs.iter().find(|i| i.name == name) {
            return input.samples[0].dtype();
        }
        let Some(node) = self.nodes.iter().find(|n| n.outputs.iter().any(|o| o == name)) else {
            return DType::F32;
        };
        let of = |i: usize| node.inputs.get(i).map_or(DType::F32, |name| self.dtype(name));
        let attr = node.attrs.iter().find(|(name, _)| ["to", "value"].contains(name)).map(|(_, a)| a);
        match (node.op, attr) {
            ("ArgMax" | "Shape", _) => DType::I64,
            ("Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual", _) => DType::Bool,
            ("And" | "Or" | "Xor" | "Not" | "IsNaN" | "IsInf", _) => DType::Bool,
            ("Where", _) => of(1),
            ("Cast", Some(Attr::Int(onnx::UINT8))) => DType::U8,
            ("Cast", Some(Attr::Int(onnx::INT32))) => DType::I32,
            ("Cast", Some(Attr::Int(onnx::INT64))) => DType::I64,
            ("Constant" | "ConstantOfShape", Some(Attr::Tensor(t))) => t.dtype(),
            ("QuantizeLinear", _) => of(2),
            ("Cast" | "DequantizeLinear", _) => DType::F32,
            _ => of(0),
        }
    }

    /// The bytes of the ONNX file.
    pub fn bytes(&self) -> Vec<u8> {
        let attr = |(name, attr): &(&'static str, Attr)| match attr {
            Attr::Int(v) => onnx::attr_int(name, *v),
            Attr::Float(v) => onnx::attr_float(name, *v),
            Attr::Ints(v) => onnx::attr_ints(name, v),
            Attr::Str(v) => onnx::attr_str(name, v),
            Attr::Tensor(t) => onnx::attr_tensor(name, &tensor("", t)),
        };
        let node = |(i, n): (usize, &Node)| {
            let attrs: Vec<Message> = n.attrs.iter().map(attr).collect();
            let inputs: Vec<&str> = n.inputs.iter().map(String::as_str).collect();
            let outputs: Vec<&str> = n.outputs.iter().map(String::as_str).collect();
            onnx::node(&format!("n{i}"), n.op, &inputs, &outputs, &attrs)
        };
        let port = |i: &Input| {
            let first = &i.samples[0];
            onnx::port(&i.name, elem(first.dtype()), &onnx::dims(&sizes(first.shape())))
        };
        let output = |name: &String| {
            let elem = elem(self.dtype(name));
            let tensor = Message::new().int(1, elem);
            Message::new().str(1, name).message(2, &Message::new().message(1, &tensor))
        };
        Model {
            nodes: self.nodes.iter().enumerate().map(node).collect(),
            initializers: self.constants.iter().map(|(name, t)| tensor(name, t)).collect(),
            inputs: self.inputs.iter().map(port).collect(),
            outputs: self.outputs.iter().map(output).collect(),
            opset: self.opset,
        }
        .bytes()
    }

    pub fn samples(&self) -> usize {
        self.inputs.iter().map(|i| i.samples.len()).min().unwrap_or(0)
    }

    /// What the inputs hold in one sample.
    pub fn sample(&self, i: usize) -> Vec<Tensor> {
        self.inputs.iter().map(|input| input.samples[i].clone()).collect()
    }

    /// All samples of each input as one array, its first axis counting them.
    pub fn arrays(&self) -> Samples {
        let mut all = Samples::default();
        for input in &self.inputs {
            all.arrays.insert(input.name.clone(), stack(&input.samples));
        }
        all
    }

    /// Leaves out nodes, constants and inputs that no output depends on.
    pub fn tidy(&mut self) {
        let mut wanted: BTreeSet<String> = self.outputs.iter().cloned().collect();
        let mut kept = Vec::new();
        for node in self.nodes.drain(..).rev() {
            if node.outputs.iter().any(|o| wanted.contains(o)) {
                wanted.extend(node.inputs.iter().cloned());
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.constants.retain(|name, _| wanted.contains(name));
        self.inputs.retain(|i| wanted.contains(&i.name));
    }
}

/// Tensors of one shape under a new first axis.
pub fn stack(tensors: &[Tensor]) -> Tensor {
    let mut shape = vec![tensors.len()];
    shape.extend(tensors.first().map(Tensor::shape).unwrap_or_default());
    let bytes: Vec<u8> = tensors.iter().flat_map(|t| t.data().to_le_bytes()).collect();
    let dtype = tensors.first().map_or(DType::F32, Tensor::dtype);
    Tensor::new(shape, Data::from_le_bytes(dtype, &bytes)).expect("tensors of one shape and type")
}

/// The inverse of [`stack`].
pub fn unstack(array: &Tensor) -> Vec<Tensor> {
    let (&n, shape) = array.shape().split_first().expect("an array of samples");
    let bytes = array.data().to_le_bytes();
    let size = bytes.len() / n.max(1);
    (0..n)
        .map(|i| {
            let data = Data::from_le_bytes(array.dtype(), &bytes[i * size..(i + 1) * size]);
            Tensor::new(shape.to_vec(), data).expect("a part of the array")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_compiler::ops::Op;

    /// Operators newer than the operator sets that are drawn.
    const NEWER: [&str; 2] = ["CumProd", "Swish"];

    #[test]
    fn every_supported_operator_is_generated() {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for seed in 0..1000 {
            seen.extend(generate::case(seed, 1).nodes.iter().map(|n| n.op));
        }
        let missing: Vec<_> = Op::names()
            .filter(|n| !seen.contains(n) && !NEWER.contains(n) && Op::ours().all(|ours| ours != *n))
            .collect();
        assert!(missing.is_empty(), "never generated: {missing:?}");
    }

    #[test]
    fn a_seed_gives_the_same_case_and_it_imports() {
        let mut refused = Vec::new();
        for seed in 0..200 {
            let case = generate::case(seed, 2);
            assert_eq!(case, generate::case(seed, 2));
            if let Err(e) = secateur_compiler::onnx::import(&case.bytes(), &BTreeMap::new()) {
                refused.push(format!("{seed}: {e}"));
            }
        }
        assert!(refused.is_empty(), "{}", refused.join("\n"));
    }
}
