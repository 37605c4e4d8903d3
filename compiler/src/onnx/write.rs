//! Records of a model -> the bytes of an ONNX file.
//!
//! In: nodes, constants and ports by name. Out: a file of operator set [`OPSET`], which all that reads ONNX
//! knows. Law: the same records give the same bytes, and no name is given twice.

use crate::error::{Error, Result, Site};
use crate::tensor::{DType, Data, Tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use onnx_protobuf::type_proto::{Tensor as TensorType, Value as TypeValue};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};
use std::collections::BTreeSet;

/// The version of the default operator set, and of the file format that came with it.
pub(super) const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// The domain of trees, and its version, which is only named where a node is of it.
const ML: &str = "ai.onnx.ml";
const ML_OPSET: i64 = 3;

/// A model under construction.
#[derive(Default)]
pub(super) struct Writer {
    graph: GraphProto,
    /// Of tensors, and of nodes.
    names: BTreeSet<String>,
    nodes: BTreeSet<String>,
}

/// ONNX's number of an element type.
pub(super) fn element(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::U8 => 2,
        DType::I8 => 3,
        DType::U16 => 4,
        DType::I16 => 5,
        DType::I32 => 6,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::U32 => 12,
        DType::U64 => 13,
    }
}

fn named(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), type_: kind.into(), ..Default::default() }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..named(name, AttributeType::INT) }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..named(name, AttributeType::FLOAT) }
}

pub(super) fn string(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: text.as_bytes().to_vec(), ..named(name, AttributeType::STRING) }
}

pub(super) fn strings(name: &str, texts: &[&str]) -> AttributeProto {
    let strings = texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    AttributeProto { strings, ..named(name, AttributeType::STRINGS) }
}

pub(super) fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..named(name, AttributeType::FLOATS) }
}

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto { ints: signed(values), ..named(name, AttributeType::INTS) }
}

pub(super) fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&v| v as i64).collect()
}

impl Writer {
    /// Takes a name as it is. False: it is given.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.names.insert(name.to_owned())
    }
    /// A name like this that no tensor has yet.
    pub(super) fn fresh(&mut self, like: &str) -> String {
        free(&mut self.names, like)
    }
    /// A constant, by a name that was given for it.
    pub(super) fn constant(&mut self, name: &str, tensor: &Tensor) {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            dims: signed(tensor.shape()),
            data_type: element(tensor.dtype()),
            raw_data: tensor.data().to_le_bytes(),
            ..Default::default()
        });
    }
    /// Whole numbers that an operator reads: a constant of one axis.
    pub(super) fn integers(&mut self, like: &str, values: &[i64]) -> Result<String> {
        let tensor = Tensor::new(vec![values.len()], Data::I64(values.to_vec()))?;
        Ok(self.kept(like, &tensor))
    }
    /// A constant by a new name.
    pub(super) fn kept(&mut self, like: &str, tensor: &Tensor) -> String {
        let name = self.fresh(like);
        self.constant(&name, tensor);
        name
    }
    pub(super) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[String],
        outputs: &[String],
        attribute: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: free(&mut self.nodes, name),
            input: inputs.to_vec(),
            output: outputs.to_vec(),
            attribute,
            ..Default::default()
        });
    }
    /// A node of the operators of trees and linear models.
    pub(super) fn node_of_ml(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[String],
        outputs: &[String],
        attribute: Vec<AttributeProto>,
    ) {
        self.node(op, name, inputs, outputs, attribute);
        if let Some(node) = self.graph.node.last_mut() {
            node.domain = ML.into();
        }
    }
    /// A node of one result, which is called like this or so.
    pub(super) fn step(
        &mut self,
        op: &str,
        like: &str,
        inputs: &[String],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let result = self.fresh(like);
        self.node(op, &result, inputs, std::slice::from_ref(&result), attribute);
        result
    }
    pub(super) fn input(&mut self, name: &str, dtype: DType, shape: &[usize]) {
        self.graph.input.push(port(name, dtype, shape));
    }
    pub(super) fn output(&mut self, name: &str, dtype: DType, shape: &[usize]) {
        self.graph.output.push(port(name, dtype, shape));
    }
    /// The file; `about` says where it comes from.
    pub(super) fn finish(mut self, name: &str, about: &str) -> Result<Vec<u8>> {
        self.graph.name = if name.is_empty() { "model".into() } else { name.into() };
        let mut opset_import = vec![OperatorSetIdProto { version: OPSET, ..Default::default() }];
        if self.graph.node.iter().any(|node| node.domain == ML) {
            let set = OperatorSetIdProto { domain: ML.into(), version: ML_OPSET, ..Default::default() };
            opset_import.push(set);
        }
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "secateur".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: about.into(),
            opset_import,
            graph: Some(self.graph).into(),
            ..Default::default()
        };
        model.write_to_bytes().map_err(|e| Error::internal(Site::Whole, e.to_string()))
    }
}

/// A name like this that is not taken yet, and is now.
fn free(taken: &mut BTreeSet<String>, like: &str) -> String {
    let mut name = like.to_owned();
    let mut number = 1;
    while name.is_empty() || !taken.insert(name.clone()) {
        number += 1;
        name = format!("{like}_{number}");
    }
    name
}

fn port(name: &str, dtype: DType, shape: &[usize]) -> ValueInfoProto {
    let dimension =
        |d: &usize| Dimension { value: Some(DimValue::DimValue(*d as i64)), ..Default::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(dimension).collect(), ..Default::default() };
    let tensor = TensorType { elem_type: element(dtype), shape: Some(shape).into(), ..Default::default() };
    let ty = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(ty).into(), ..Default::default() }
}
