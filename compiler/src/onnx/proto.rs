//! Protobuf -> plain records of a model.
//!
//! In: the bytes of a file. Out: a [`Model`] of owned records, tensors decoded.
//! Law: what is not supported (external data, floats of a byte, strings, sparse) is an error that
//! names the tensor. The conversions that come with the crate (`as_value`) panic and misread
//! memory, so none of them is used.

mod node;
mod tensor;

pub(super) use node::{Branch, RawNode};
pub(super) use tensor::{Stored, is_external, raw_bytes, shape};
use tensor::{element_of_port, tensor};

use super::{foreign, scan};
use crate::error::{Error, Result, Site};
use crate::ops::Attr;
use crate::tensor::DType;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_shape_proto::dimension::Value as DimValue;
use onnx_protobuf::type_proto::Value as TypeValue;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, ValueInfoProto,
};
use std::collections::BTreeMap;

/// A decoded model; what could not be read is an error in its own place, so that the importer
/// can report all of them, and unsupported operators first.
pub(super) struct Model {
    pub(super) ir_version: i64,
    /// Domain and version.
    pub(super) opsets: Vec<(String, i64)>,
    /// The model's own functions.
    pub(super) functions: Vec<Function>,
    pub(super) name: String,
    pub(super) initializers: Vec<(String, Result<Stored>)>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    /// What the model says of values inside.
    pub(super) inside: Vec<Port>,
    pub(super) nodes: Vec<RawNode>,
    /// Names of ports and initializers in double precision, which we hold in single.
    pub(super) doubles: Vec<String>,
}

/// A declared graph input or output, or value inside.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) name: String,
    /// `Ok(None)` where the model says nothing.
    pub(super) ty: Result<Option<PortType>>,
}

#[derive(Clone)]
pub(super) struct PortType {
    pub(super) dtype: DType,
    /// `None`: not even the rank is known.
    pub(super) shape: Option<Vec<Dim>>,
}

#[derive(Clone)]
pub(super) enum Dim {
    Known(i64),
    Named(String),
    Unknown,
}

/// The message in a file; a file of another format is refused by that format's name.
pub(super) fn parse(bytes: &[u8]) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::model(Site::Whole, "the file is empty"));
    }
    let read = || {
        scan::scan(bytes)?;
        let proto = ModelProto::parse_from_bytes(bytes)
            .map_err(|e| Error::model(Site::Whole, format!("not a readable ONNX file: {e}")))?;
        match &proto.graph.0 {
            Some(_) => Ok(proto),
            None => Err(Error::model(Site::Whole, "not an ONNX model: it holds no graph")),
        }
    };
    read().map_err(|e| foreign::recognize(bytes).unwrap_or(e))
}

/// Scans, then decodes.
pub(super) fn decode(bytes: &[u8]) -> Result<Model> {
    let proto = parse(bytes)?;
    let Some(graph) = proto.graph.into_option() else {
        return Err(Error::internal(Site::Whole, "a model without a graph passed"));
    };
    let initializers = initializers(&graph);
    let ports = graph.input.iter().chain(&graph.output).filter(|v| is_double(v));
    let constants = graph.initializer.iter().filter(|t| t.data_type == DOUBLE);
    let doubles = ports.map(|v| v.name.clone()).chain(constants.map(|t| t.name.clone())).collect();
    let mut nodes: Vec<RawNode> = graph.node.into_iter().map(node).collect();
    nodes.iter_mut().for_each(|n| bind(n, None));
    Ok(Model {
        doubles,
        ir_version: proto.ir_version,
        opsets: proto.opset_import.into_iter().map(|o| (o.domain, o.version)).collect(),
        functions: proto.functions.into_iter().map(Function).collect(),
        name: graph.name.clone(),
        initializers,
        inputs: graph.input.iter().map(port).collect(),
        outputs: graph.output.iter().map(port).collect(),
        inside: graph.value_info.iter().map(port).collect(),
        nodes,
    })
}

fn initializers(graph: &GraphProto) -> Vec<(String, Result<Stored>)> {
    let mut all: Vec<(String, Result<Stored>)> = Vec::with_capacity(graph.initializer.len());
    for t in &graph.initializer {
        all.push((t.name.clone(), tensor(t).map_err(|e| e.at(Site::Value(t.name.clone())))));
    }
    for t in &graph.sparse_initializer {
        let name = t.values.as_ref().map_or("", |v| &v.name).to_string();
        let error = Error::model(Site::Value(name.clone()), "sparse initializers are not supported");
        all.push((name, Err(error.help("store the tensor dense"))));
    }
    all
}

fn branch(attr: &str, graph: &GraphProto) -> Branch {
    let initializers = initializers(graph);
    // An input with an initializer is that constant.
    let given = |v: &&ValueInfoProto| initializers.iter().all(|(name, _)| *name != v.name);
    let rank = |v: &ValueInfoProto| port(v).ty.ok().flatten()?.shape.map(|s| s.len());
    Branch {
        attr: attr.to_string(),
        inputs: graph.input.iter().filter(given).map(|v| v.name.clone()).collect(),
        ranks: graph.input.iter().filter(given).map(rank).collect(),
        outputs: graph.output.iter().map(|v| v.name.clone()).collect(),
        types: graph.output.iter().map(|v| port(v).ty.ok().flatten()).collect(),
        initializers,
        nodes: graph.node.iter().cloned().map(node).collect(),
    }
}

fn node(n: NodeProto) -> RawNode {
    let mut attrs = Ok(BTreeMap::new());
    let mut branches = Vec::new();
    for a in &n.attribute {
        branches.extend(a.g.as_ref().into_iter().chain(&a.graphs).map(|g| branch(&a.name, g)));
        match (attr(a), &mut attrs) {
            (Ok(value), Ok(map)) => {
                if map.insert(a.name.clone(), value).is_some() {
                    attrs = Err(Error::model(Site::Whole, format!("attribute `{}` is given twice", a.name)));
                }
            }
            (Err(e), Ok(_)) => {
                attrs = Err(Error { message: format!("attribute `{}`: {}", a.name, e.message), ..e });
            }
            (_, Err(_)) => {}
        }
    }
    RawNode {
        name: n.name,
        domain: n.domain,
        op_type: n.op_type,
        inputs: n.input,
        outputs: n.output,
        attrs,
        branches,
        opset: None,
    }
}

/// A function that the model brings: nodes, some of whose attributes are those of a call.
pub(super) struct Function(FunctionProto);

impl Function {
    pub(super) fn domain(&self) -> &str {
        &self.0.domain
    }
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }
    /// The nodes of a call, with its attributes or the function's defaults in place.
    ///
    /// Errors: an attribute that cannot be read.
    pub(super) fn body(&self, call: &RawNode) -> Result<Branch> {
        let mut known: BTreeMap<String, Attr> = BTreeMap::new();
        for a in &self.0.attribute_proto {
            known.insert(a.name.clone(), attr(a)?);
        }
        known.extend(call.attrs.as_ref().map_err(Clone::clone)?.clone());
        let mut opsets = self.0.opset_import.iter().filter(|o| matches!(o.domain.as_str(), "" | "ai.onnx"));
        let opset = opsets.next().map(|o| o.version);
        let mut nodes: Vec<RawNode> = self.0.node.iter().cloned().map(node).collect();
        nodes.iter_mut().for_each(|n| bind(n, Some((&known, opset))));
        Ok(Branch {
            attr: "function".into(),
            initializers: Vec::new(),
            inputs: self.0.input.clone(),
            ranks: Vec::new(),
            outputs: self.0.output.clone(),
            types: Vec::new(),
            nodes,
        })
    }
}

/// Puts a call's attributes where nodes of a function refer to them, left out where the call leaves them out,
/// and gives the nodes the function's operator set. Nodes of the model itself have nothing to refer to.
fn bind(node: &mut RawNode, call: Option<(&BTreeMap<String, Attr>, Option<i64>)>) {
    if let Some((_, opset)) = call {
        node.opset = opset;
    }
    node.branches.iter_mut().flat_map(|b| &mut b.nodes).for_each(|n| bind(n, call));
    let Ok(attrs) = &mut node.attrs else { return };
    let refers = |(name, value): (&String, &Attr)| match value {
        Attr::Ref(to) => Some((name.clone(), to.clone())),
        _ => None,
    };
    let referring: Vec<(String, String)> = attrs.iter().filter_map(refers).collect();
    for (name, to) in referring {
        match call.map(|(known, _)| known.get(&to)) {
            Some(Some(value)) => attrs.insert(name, value.clone()),
            Some(None) => attrs.remove(&name),
            None => {
                node.attrs = Err(Error::model(Site::Whole, "refers to an attribute of a function"));
                return;
            }
        };
    }
}

fn attr(a: &AttributeProto) -> Result<Attr> {
    if !a.ref_attr_name.is_empty() {
        return Ok(Attr::Ref(a.ref_attr_name.clone()));
    }
    let utf8 = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::model(Site::Whole, "is not UTF-8"))
    };
    Ok(match a.type_.enum_value() {
        Ok(AttributeType::FLOAT) => Attr::Float(a.f),
        Ok(AttributeType::INT) => Attr::Int(a.i),
        Ok(AttributeType::STRING) => Attr::Str(utf8(&a.s)?),
        Ok(AttributeType::FLOATS) => Attr::Floats(a.floats.clone()),
        Ok(AttributeType::INTS) => Attr::Ints(a.ints.clone()),
        Ok(AttributeType::STRINGS) => Attr::Strs(a.strings.iter().map(|s| utf8(s)).collect::<Result<_>>()?),
        Ok(AttributeType::TENSOR) => match a.t.as_ref() {
            Some(t) => match tensor(t)? {
                Stored { text: Some(_), .. } => {
                    let why = "is a tensor of text, which is supported as an initializer only";
                    return Err(Error::model(Site::Whole, why));
                }
                Stored { tensor, narrow: Some(narrow), .. } => Attr::Narrow(tensor, narrow),
                Stored { tensor, narrow: None, .. } => Attr::Tensor(tensor),
            },
            None => return Err(Error::model(Site::Whole, "is said to be a tensor but holds none")),
        },
        Ok(AttributeType::TENSORS) => Attr::Other("a list of tensors"),
        Ok(AttributeType::GRAPH) => Attr::Other("a graph"),
        Ok(AttributeType::GRAPHS) => Attr::Other("a list of graphs"),
        Ok(AttributeType::SPARSE_TENSOR) => Attr::Other("a sparse tensor"),
        Ok(AttributeType::SPARSE_TENSORS) => Attr::Other("a list of sparse tensors"),
        Ok(AttributeType::TYPE_PROTO) => Attr::Other("a type"),
        Ok(AttributeType::TYPE_PROTOS) => Attr::Other("a list of types"),
        Ok(AttributeType::UNDEFINED) => return Err(Error::model(Site::Whole, "has no type")),
        Err(number) => {
            return Err(Error::model(Site::Whole, format!("has the unknown attribute type {number}")));
        }
    })
}

fn port(v: &ValueInfoProto) -> Port {
    let ty = match v.type_.as_ref().and_then(|t| t.value.as_ref()) {
        None => Ok(None),
        // Element type 0 with no shape is how "unknown" is spelled for outputs.
        Some(TypeValue::TensorType(t)) if t.elem_type == 0 => Ok(None),
        Some(TypeValue::TensorType(t)) => element_of_port(t.elem_type).map(|dtype| {
            let shape = t.shape.as_ref().map(|s| {
                s.dim
                    .iter()
                    .map(|d| match &d.value {
                        Some(DimValue::DimValue(n)) => Dim::Known(*n),
                        Some(DimValue::DimParam(name)) if !name.is_empty() => Dim::Named(name.clone()),
                        _ => Dim::Unknown,
                    })
                    .collect()
            });
            Some(PortType { dtype, shape })
        }),
        Some(_) => Err(Error::model(Site::Whole, "is not a dense tensor, the only type supported")),
    };
    let ty = ty.map_err(|e| e.at(Site::Value(v.name.clone())));
    Port { name: v.name.clone(), ty }
}

/// ONNX's number of the element type double.
const DOUBLE: i32 = 11;
/// The ONNX element type of text.
const STRING: i32 = 8;

fn is_double(v: &ValueInfoProto) -> bool {
    let ty = v.type_.as_ref().and_then(|t| t.value.as_ref());
    matches!(ty, Some(TypeValue::TensorType(t)) if t.elem_type == DOUBLE)
}
