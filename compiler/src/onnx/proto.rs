//! Protobuf -> plain records of a model.
//!
//! In: the bytes of a file. Out: a [`Model`] of owned records, tensors decoded.
//! Law: every width of integer and float is read from `raw_data` and from the typed fields;
//! what is not supported (external data, sub-byte types, strings, sparse) is an error that
//! names the tensor. The conversions that come with the crate (`as_value`) panic and misread
//! memory, so none of them is used.

mod node;

pub(super) use node::{Branch, RawNode};

use super::{foreign, scan};
use crate::error::{Error, Result, Site};
use crate::ops::Attr;
use crate::ops::check::len;
use crate::tensor::{DType, Data, Tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::tensor_shape_proto::dimension::Value as DimValue;
use onnx_protobuf::type_proto::Value as TypeValue;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto,
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
    pub(super) initializers: Vec<(String, Result<Tensor>)>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) nodes: Vec<RawNode>,
    /// Names of ports and initializers in double precision, which we hold in single.
    pub(super) doubles: Vec<String>,
}

/// A declared graph input or output.
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
        nodes,
    })
}

fn initializers(graph: &GraphProto) -> Vec<(String, Result<Tensor>)> {
    let mut all: Vec<(String, Result<Tensor>)> = Vec::with_capacity(graph.initializer.len());
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
            Some(t) => Attr::Tensor(tensor(t)?),
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
        Some(TypeValue::TensorType(t)) => element(t.elem_type).map(|(dtype, _)| {
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

fn is_double(v: &ValueInfoProto) -> bool {
    let ty = v.type_.as_ref().and_then(|t| t.value.as_ref());
    matches!(ty, Some(TypeValue::TensorType(t)) if t.elem_type == DOUBLE)
}

/// How elements lie in `raw_data`.
#[derive(Clone, Copy)]
enum Raw {
    Same,
    F16,
    Bf16,
    F64,
}

impl Raw {
    fn width(self, dtype: DType) -> usize {
        match self {
            Raw::Same => dtype.size(),
            Raw::F16 | Raw::Bf16 => 2,
            Raw::F64 => 8,
        }
    }
}

/// Our type for an ONNX element type.
fn element(data_type: i32) -> Result<(DType, Raw)> {
    let name = match data_type {
        1 => return Ok((DType::F32, Raw::Same)),
        2 => return Ok((DType::U8, Raw::Same)),
        3 => return Ok((DType::I8, Raw::Same)),
        4 => return Ok((DType::U16, Raw::Same)),
        5 => return Ok((DType::I16, Raw::Same)),
        6 => return Ok((DType::I32, Raw::Same)),
        7 => return Ok((DType::I64, Raw::Same)),
        9 => return Ok((DType::Bool, Raw::Same)),
        10 => return Ok((DType::F32, Raw::F16)),
        DOUBLE => return Ok((DType::F32, Raw::F64)),
        12 => return Ok((DType::U32, Raw::Same)),
        13 => return Ok((DType::U64, Raw::Same)),
        16 => return Ok((DType::F32, Raw::Bf16)),
        0 => "undefined",
        8 => "string",
        14 => "complex64",
        15 => "complex128",
        17..=20 | 24 => "float8",
        21 => "uint4",
        22 => "int4",
        23 => "float4",
        25 => "uint2",
        26 => "int2",
        n => return Err(Error::model(Site::Whole, format!("has the unknown element type {n}"))),
    };
    Err(Error::model(Site::Whole, format!("element type {name} is not supported")).help(match name {
        "int4" | "uint4" | "int2" | "uint2" => {
            "store the weights as 8-bit integers (in onnxruntime's quantizer: weight_type=QuantType.QInt8)"
        }
        _ => "supported are floats of 16, 32 and 64 bits, integers of 8 to 64 bits, and bool",
    }))
}

/// A shape from signed dims: refuses negative and huge ones before anything is allocated.
pub(super) fn shape(dims: &[i64]) -> Result<Vec<usize>> {
    let shape: Vec<usize> = dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Error::model(Site::Whole, format!("has the dimension {d}"))))
        .collect::<Result<_>>()?;
    len(&shape)?;
    Ok(shape)
}

/// Whether the elements of a tensor lie in a file beside the model (see [`super::external`]).
pub(super) fn is_external(t: &TensorProto) -> bool {
    t.data_location.enum_value() != Ok(DataLocation::DEFAULT) || !t.external_data.is_empty()
}

/// The bytes that the elements of a tensor take in `raw_data`.
pub(super) fn raw_bytes(t: &TensorProto) -> Result<usize> {
    let (dtype, raw) = element(t.data_type)?;
    Ok(shape(&t.dims)?.iter().product::<usize>() * raw.width(dtype))
}

fn tensor(t: &TensorProto) -> Result<Tensor> {
    let fail = |why: String| Err(Error::model(Site::Whole, why));
    if is_external(t) {
        let file = t.external_data.iter().find(|e| e.key == "location").map_or("", |e| &e.value);
        return Err(Error::model(Site::Whole, format!("its data lie in another file (`{file}`)"))
            .help("save the model as one file: onnx.save(onnx.load(path), path_of_one_file)"));
    }
    if t.segment.is_some() {
        return fail("is stored in segments, which is not supported".into());
    }
    let (dtype, raw) = element(t.data_type)?;
    let shape = shape(&t.dims)?;
    let len = shape.iter().product();
    let data = if t.raw_data.is_empty() { typed(t, dtype, raw)? } else { from_raw(t, dtype, raw, len)? };
    if data.len() != len {
        return fail(format!("shape {shape:?} needs {len} elements, the file holds {}", data.len()));
    }
    Tensor::new(shape, data)
}

fn from_raw(t: &TensorProto, dtype: DType, raw: Raw, len: usize) -> Result<Data> {
    let width = raw.width(dtype);
    let bytes = &t.raw_data;
    if bytes.len() != len * width {
        return Err(Error::model(
            Site::Whole,
            format!("shape {:?} needs {} bytes, the file holds {}", t.dims, len * width, bytes.len()),
        ));
    }
    Ok(match raw {
        Raw::Same => Data::from_le_bytes(dtype, bytes),
        Raw::F16 => Data::F32(halves(bytes).map(f16_to_f32).collect()),
        Raw::Bf16 => Data::F32(halves(bytes).map(bf16_to_f32).collect()),
        Raw::F64 => {
            let (chunks, _) = bytes.as_chunks::<8>();
            Data::F32(chunks.iter().map(|c| f64::from_le_bytes(*c) as f32).collect())
        }
    })
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|c| u16::from_le_bytes(*c))
}

/// Elements from the typed fields; narrow types share `int32_data`, u32 shares `uint64_data`.
fn typed(t: &TensorProto, dtype: DType, raw: Raw) -> Result<Data> {
    fn narrow<T: TryFrom<i32>>(values: &[i32]) -> Result<Vec<T>> {
        let unfit = |v| Error::model(Site::Whole, format!("element {v} does not fit its type"));
        values.iter().map(|&v| T::try_from(v).map_err(|_| unfit(v))).collect()
    }
    Ok(match (dtype, raw) {
        (_, Raw::F16) => Data::F32(narrow(&t.int32_data)?.into_iter().map(f16_to_f32).collect()),
        (_, Raw::Bf16) => Data::F32(narrow(&t.int32_data)?.into_iter().map(bf16_to_f32).collect()),
        (_, Raw::F64) => Data::F32(t.double_data.iter().map(|&v| v as f32).collect()),
        (DType::F32, Raw::Same) => Data::F32(t.float_data.clone()),
        (DType::I8, Raw::Same) => Data::I8(narrow(&t.int32_data)?),
        (DType::U8, Raw::Same) => Data::U8(narrow(&t.int32_data)?),
        (DType::I16, Raw::Same) => Data::I16(narrow(&t.int32_data)?),
        (DType::U16, Raw::Same) => Data::U16(narrow(&t.int32_data)?),
        (DType::I32, Raw::Same) => Data::I32(t.int32_data.clone()),
        (DType::I64, Raw::Same) => Data::I64(t.int64_data.clone()),
        (DType::U32, Raw::Same) => {
            let unfit = |v| Error::model(Site::Whole, format!("element {v} does not fit its type"));
            Data::U32(
                t.uint64_data
                    .iter()
                    .map(|&v| u32::try_from(v).map_err(|_| unfit(v)))
                    .collect::<Result<_>>()?,
            )
        }
        (DType::U64, Raw::Same) => Data::U64(t.uint64_data.clone()),
        (DType::Bool, Raw::Same) => Data::Bool(t.int32_data.iter().map(|&v| v != 0).collect()),
    })
}

/// IEEE 754 binary16 to binary32, exact.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits) & 0x3ff;
    match exponent {
        // A subnormal is its fraction times 2^-24; the product is exact.
        0 => {
            let magnitude = fraction as f32 * (1.0 / 16_777_216.0);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// bfloat16 is the upper half of binary32.
fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests;
