//! ONNX bytes -> [`crate::graph::Graph`]. `proto` is the only file that names `onnx_protobuf`.
//!
//! Law: every value of the graph has a known type and shape; what only computes shapes is
//! folded; nothing is allocated before its size is checked; every refusal names its place, and
//! all unsupported nodes are listed at once.

mod dims;
mod order;
mod proto;
mod scan;

use crate::error::{Error, Result, Site};
use crate::graph::{Graph, Patch, ValueId, ValueKind};
use crate::ops::{Op, Operand, ParseCx, ValueType};
use crate::tensor::{DType, Tensor};
use dims::Dims;
use order::{order, site};
use proto::{Dim, Model, RawNode};
use std::collections::{BTreeMap, BTreeSet};

/// IR versions that decode to what they mean. Later ones up to 14 add fields (devices) that
/// do not change the meaning of a graph, and element types that are refused by number.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;
/// Versions of the default operator set.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;
/// More nodes than this no model for a microcontroller has; passes may be quadratic in it.
const MAX_NODES: usize = 1 << 14;
/// Bounds on what folding may compute: elements of one constant, and of all together.
const MAX_FOLDED: usize = 1 << 24;
const MAX_FOLDED_TOTAL: usize = 1 << 26;
/// Multiply-accumulates of one node that may be folded.
const MAX_FOLDED_MACS: u64 = 1 << 30;

/// Reads a model: decodes, checks, fixes symbolic dimensions, infers every shape and folds what
/// only computes shapes.
///
/// `dims` fixes symbolic dimensions by name (`input[axis]` for one without a name); one not
/// named is an error, except the first axis of an input, which is 1.
pub fn import(bytes: &[u8], dims: &BTreeMap<String, usize>) -> Result<Graph> {
    let model = proto::decode(bytes)?;
    let opset = versions(&model)?;
    supported(&model)?;
    let order = order(&model.nodes)?;

    let mut graph = Graph { name: model.name.clone(), ..Graph::default() };
    let mut importer = Importer {
        patch: Patch::new(&mut graph),
        names: BTreeMap::new(),
        poisoned: BTreeSet::new(),
        folded: 0,
        opset,
    };
    let Model { initializers, inputs, outputs, nodes, .. } = model;
    let mut errors = importer.initializers(initializers)?;
    importer.inputs(&inputs, dims)?;
    importer.reserve_outputs(&nodes)?;
    for index in order {
        if let Err(e) = importer.node(&nodes[index]) {
            errors.push(e.at(site(&nodes[index])));
        }
    }
    if let Some(e) = Error::join(errors) {
        return Err(e);
    }
    importer.outputs(&outputs)?;
    Ok(graph)
}

/// Checks the versions; the version of the default operator set.
fn versions(model: &Model) -> Result<i64> {
    let (first, last) = (IR_VERSIONS.start(), IR_VERSIONS.end());
    if !IR_VERSIONS.contains(&model.ir_version) {
        return Err(Error::model(
            Site::Whole,
            format!("ONNX IR version {} is not supported, {first} to {last} are", model.ir_version),
        ));
    }
    let mut opsets = model.opsets.iter().filter(|(d, _)| d.is_empty() || d == "ai.onnx");
    let opset = match (opsets.next(), opsets.next()) {
        (Some((_, version)), None) => *version,
        (Some(_), Some(_)) => {
            return Err(Error::model(Site::Whole, "the default operator set is imported twice"));
        }
        (None, _) => {
            return Err(Error::model(Site::Whole, "the model names no version of the ONNX operator set"));
        }
    };
    let (first, last) = (OPSETS.start(), OPSETS.end());
    if !OPSETS.contains(&opset) {
        return Err(Error::model(
            Site::Whole,
            format!("ONNX operator set {opset} is not supported, {first} to {last} are"),
        )
        .help("convert it: onnx.version_converter.convert_version(model, 17)"));
    }
    Ok(opset)
}

/// Refuses a model with operators that do not exist here, all nodes at once.
fn supported(model: &Model) -> Result<()> {
    if model.nodes.len() > MAX_NODES {
        return Err(Error::model(
            Site::Whole,
            format!("{} nodes, at most {MAX_NODES} are supported", model.nodes.len()),
        ));
    }
    if model.nodes.is_empty() && model.outputs.is_empty() {
        return Err(Error::model(Site::Whole, "the graph is empty: no nodes and no outputs"));
    }
    let refused = refusals(model);
    let errors = model.nodes.iter().zip(refused).filter_map(|(n, why)| Some(Error::model(site(n), why?)));
    Error::join(errors.collect()).map_or(Ok(()), Err)
}

/// For each node: why its operator is not supported, if it is not.
fn refusals(model: &Model) -> Vec<Option<&'static str>> {
    let functions: BTreeSet<(&str, &str)> =
        model.functions.iter().map(|(d, n)| (plain(d), n.as_str())).collect();
    let refusal = |node: &RawNode| {
        let domain = plain(&node.domain);
        if functions.contains(&(domain, &node.op_type)) {
            Some("functions of the model are not supported; inline them")
        } else if !domain.is_empty() {
            Some("operators of this domain are not supported")
        } else if !Op::NAMES.contains(&node.op_type.as_str()) || OURS.contains(&node.op_type.as_str()) {
            Some("operator is not supported")
        } else {
            None
        }
    };
    model.nodes.iter().map(refusal).collect()
}

/// An operator of a model as the file names it, how often it stands there, and why it is
/// refused, if it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// With its domain in front, unless that is the default one.
    pub op: String,
    pub count: usize,
    pub refusal: Option<&'static str>,
}

/// The operators of a model, sorted by name, without any further check: what can be said of a
/// model that `import` refuses.
pub fn survey(bytes: &[u8]) -> Result<Vec<Surveyed>> {
    let model = proto::decode(bytes)?;
    let mut found: BTreeMap<String, Surveyed> = BTreeMap::new();
    for (node, refusal) in model.nodes.iter().zip(refusals(&model)) {
        let op = match plain(&node.domain) {
            "" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        found.entry(op.clone()).or_insert(Surveyed { op, count: 0, refusal }).count += 1;
    }
    Ok(found.into_values().collect())
}

/// Operators of our own that share the list of names but are no ONNX.
const OURS: [&str; 2] = ["Dense", "Requantize"];

fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

struct Importer<'g> {
    patch: Patch<'g>,
    names: BTreeMap<String, ValueId>,
    /// Results of nodes that failed: their readers are skipped, so that one sweep reports
    /// every independent error and no consequence of another.
    poisoned: BTreeSet<String>,
    /// Elements of folded constants so far.
    folded: usize,
    opset: i64,
}

impl Importer<'_> {
    /// Adds the initializers; gives the errors of those that could not be read.
    fn initializers(&mut self, initializers: Vec<(String, Result<Tensor>)>) -> Result<Vec<Error>> {
        let mut errors = Vec::new();
        for (name, tensor) in initializers {
            if name.is_empty() {
                return Err(Error::model(Site::Whole, "an initializer has no name"));
            }
            if self.names.contains_key(&name) || self.poisoned.contains(&name) {
                return Err(Error::model(Site::Value(name), "two initializers share this name"));
            }
            match tensor {
                Ok(tensor) => {
                    let id = self.patch.add_constant(&name, tensor);
                    self.names.insert(name, id);
                }
                Err(e) => {
                    errors.push(e);
                    self.poisoned.insert(name);
                }
            }
        }
        Ok(errors)
    }

    fn inputs(&mut self, ports: &[proto::Port], dims: &BTreeMap<String, usize>) -> Result<()> {
        let mut seen = BTreeSet::new();
        for port in ports {
            if port.name.is_empty() {
                return Err(Error::model(Site::Whole, "a graph input has no name"));
            }
            if !seen.insert(&port.name) {
                return Err(Error::model(Site::Value(port.name.clone()), "two graph inputs share this name"));
            }
        }
        // An input with an initializer is that constant.
        let given =
            || ports.iter().filter(|p| !self.names.contains_key(&p.name) && !self.poisoned.contains(&p.name));
        let sizes = Dims::new(given(), dims)?;
        let mut found = Vec::new();
        for port in given() {
            let site = || Site::Value(port.name.clone());
            let ty = match &port.ty {
                Ok(Some(ty)) => ty,
                Ok(None) => return Err(Error::model(site(), "the input has no declared type")),
                Err(e) => return Err(e.clone()),
            };
            found.push((port.name.clone(), ty.dtype, sizes.resolve(port, ty.shape.as_deref())?));
        }
        for (name, dtype, shape) in found {
            let id = self.patch.add_input(&name, dtype, &shape);
            self.names.insert(name, id);
        }
        Ok(())
    }

    /// Refuses node results that share a name with an input or initializer.
    fn reserve_outputs(&self, nodes: &[RawNode]) -> Result<()> {
        for node in nodes {
            if let Some(name) = node.outputs.iter().find(|n| self.names.contains_key(*n)) {
                return Err(Error::model(site(node), format!("`{name}` is an input or initializer already")));
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &RawNode) -> Result<()> {
        if node.inputs.iter().any(|name| self.poisoned.contains(name)) {
            self.poison(node);
            return Ok(());
        }
        let added = self.add(node);
        if added.is_err() {
            self.poison(node);
        }
        added
    }

    fn poison(&mut self, node: &RawNode) {
        self.poisoned.extend(node.outputs.iter().filter(|n| !n.is_empty()).cloned());
    }

    /// Parses, infers, and adds a node, or folds it.
    fn add(&mut self, node: &RawNode) -> Result<()> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(match self.names.get(name) {
                Some(&id) => Some(id),
                None if name.is_empty() => None,
                None => {
                    return Err(Error::model(Site::Whole, format!("reads `{name}`, which nothing gives")));
                }
            });
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let mut outputs = node.outputs.as_slice();
        while let Some((last, rest)) = outputs.split_last()
            && last.is_empty()
        {
            outputs = rest;
        }
        if outputs.is_empty() {
            return Err(Error::model(Site::Whole, "has no outputs"));
        }

        let graph = self.patch.graph();
        let operands: Vec<Option<Operand<'_>>> =
            inputs.iter().map(|v| v.map(|v| operand(graph, v))).collect();
        let attrs = node.attrs.as_ref().map_err(Clone::clone)?;
        let cx = ParseCx {
            op_type: &node.op_type,
            opset: self.opset,
            attrs,
            inputs: &operands,
            outputs: outputs.len(),
        };
        let Some(parsed) = Op::parse(&cx) else {
            return Err(Error::model(Site::Whole, "operator is not supported"));
        };
        let (op, keep) = parsed?;
        let operands = &operands[..operands.len().min(keep)];
        let types = op.infer(operands)?;
        if types.len() < outputs.len() {
            return Err(Error::model(
                Site::Whole,
                format!("output {} (`{}`) is not supported", types.len(), outputs[types.len()]),
            ));
        }
        for ty in &types {
            crate::ops::check::len(&ty.shape)?;
        }
        let results = fold(&op, operands, &types, self.folded)?;
        drop(inputs.drain(operands.len()..));

        let Some(results) = results else {
            let mut ids = Vec::with_capacity(outputs.len());
            for (name, ty) in outputs.iter().zip(&types) {
                let wish =
                    if name.is_empty() { format!("{}:unused", order::name(node)) } else { name.clone() };
                let id = self.patch.add_value(&wish, ty.dtype, &ty.shape);
                if !name.is_empty() {
                    self.names.insert(name.clone(), id);
                }
                ids.push(id);
            }
            self.patch.add_node(&order::name(node), op, inputs, ids);
            return Ok(());
        };
        for (name, tensor) in outputs.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
            self.folded += tensor.len();
            let id = self.patch.add_constant(name, tensor);
            self.names.insert(name.clone(), id);
        }
        Ok(())
    }

    fn outputs(&mut self, ports: &[proto::Port]) -> Result<()> {
        if ports.is_empty() {
            return Err(Error::model(Site::Whole, "the graph has no outputs"));
        }
        let mut seen = BTreeSet::new();
        for port in ports {
            let site = || Site::Value(port.name.clone());
            let Some(&id) = self.names.get(&port.name) else {
                return Err(Error::model(site(), "is a graph output, but nothing gives it"));
            };
            if !seen.insert(&port.name) {
                return Err(Error::model(site(), "is a graph output twice"));
            }
            let value = &self.patch.graph()[id];
            if let Ok(Some(ty)) = &port.ty {
                check_claim(ty, value.dtype, &value.shape).map_err(|e| e.at(site()))?;
            }
            self.patch.add_output(id);
        }
        Ok(())
    }
}

/// Refuses a declared output type that the graph cannot give. Symbolic dimensions claim nothing.
fn check_claim(claim: &proto::PortType, dtype: DType, shape: &[usize]) -> Result<()> {
    if claim.dtype != dtype {
        return Err(Error::model(
            Site::Whole,
            format!("is declared as {}, but the graph computes {dtype}", claim.dtype),
        ));
    }
    let Some(dims) = &claim.shape else { return Ok(()) };
    let fits = dims.len() == shape.len()
        && dims.iter().zip(shape).all(|(d, &n)| match d {
            Dim::Known(d) => usize::try_from(*d) == Ok(n),
            Dim::Named(_) | Dim::Unknown => true,
        });
    if fits {
        return Ok(());
    }
    let dims: Vec<String> = dims
        .iter()
        .map(|d| match d {
            Dim::Known(n) => n.to_string(),
            Dim::Named(name) => name.clone(),
            Dim::Unknown => "?".into(),
        })
        .collect();
    Err(Error::model(
        Site::Whole,
        format!("is declared with shape [{}], but the graph computes {shape:?}", dims.join(", ")),
    ))
}

fn operand(graph: &Graph, id: ValueId) -> Operand<'_> {
    let value = &graph[id];
    let data = if let ValueKind::Constant(t) = &value.kind { Some(t.as_ref()) } else { None };
    Operand { dtype: value.dtype, shape: &value.shape, data }
}

/// The results of a node whose operands are all known; `None` for one that runs at run time.
///
/// DequantizeLinear stays although its operand may be known: a quantized model's weights are
/// the stored integers, and `quantize` reads them from there.
fn fold(
    op: &Op,
    operands: &[Option<Operand<'_>>],
    types: &[ValueType],
    already: usize,
) -> Result<Option<Vec<Tensor>>> {
    if let (Op::Shape(op), Some(Some(operand))) = (op, operands.first()) {
        // A value known only at run time still has a known shape.
        return Ok(Some(vec![op.of(operand.shape)]));
    }
    let known = operands.iter().flatten().all(|o| o.data.is_some());
    if !known || matches!(op, Op::DequantizeLinear(_)) {
        return Ok(None);
    }
    let elements = types.iter().map(|t| t.shape.iter().product::<usize>()).sum::<usize>();
    let macs = op.macs(operands, types);
    if elements > MAX_FOLDED || already + elements > MAX_FOLDED_TOTAL || macs > MAX_FOLDED_MACS {
        return Err(Error::model(
            Site::Whole,
            format!("computes a constant of {elements} elements, more than can be folded"),
        ));
    }
    let inputs: Vec<Option<&Tensor>> = operands.iter().map(|o| o.and_then(|o| o.data)).collect();
    let results = op.eval(&inputs)?;
    for (result, ty) in results.iter().zip(types) {
        if result.shape() != ty.shape || result.dtype() != ty.dtype {
            return Err(Error::internal(
                Site::Whole,
                format!(
                    "computes {} {:?} where {} {:?} was inferred",
                    result.dtype(),
                    result.shape(),
                    ty.dtype,
                    ty.shape
                ),
            ));
        }
    }
    Ok(Some(results))
}
