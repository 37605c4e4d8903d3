//! Decoded records -> nodes and values, one node after the other; what is known is folded.
//!
//! Law: an unsupported operator is refused only if a result of the model needs it; what depends on
//! a refused node is passed over, so that one sweep reports every independent error and no
//! consequence of another.

use super::Given;
use super::bind;
use super::dims::Dims;
use super::order::{self, site};
use super::proto::{self, Dim, Model, RawNode, Stored};
use super::support::Support;
use crate::error::{Error, Fault, Result, Site};
use crate::graph::{Graph, Patch, ValueId, ValueKind};
use crate::ops::{Narrow, Op, Operand, ParseCx, fold as early};
use crate::options::Numbers;
use crate::tensor::{DType, Tensor};
use crate::warning::Warning;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod control;
mod known;
mod narrow;
mod place;
mod sequences;
mod survey;
mod text;

use control::Step;
use known::{MAX_FOLDED, MAX_FOLDED_TOTAL, fold};
use sequences::Listed;
pub(super) use survey::survey;

/// Adds a model to an empty graph; what tied inputs hold by default.
pub(super) fn run(
    model: Model,
    order: Vec<usize>,
    opset: i64,
    given: &Given<'_>,
    graph: &mut Graph,
) -> Result<BTreeMap<String, Tensor>> {
    let (outputs, doubles) = (model.outputs.clone(), model.doubles.clone());
    let (mut importer, begin) = sweep(model, order, opset, given, graph, BTreeMap::new())?;
    importer.report(&outputs)?;
    importer.outputs(&outputs)?;
    if let Some(first) = doubles.first() {
        let others = match doubles.len() - 1 {
            0 => String::new(),
            n => format!(", and {n} more like it,"),
        };
        let message = format!("is double{others} and is computed in single precision: about seven digits");
        let warning = Warning::new(Site::Value(first.clone()), message);
        importer.patch.warn(warning.help("export the model in float32 to see what single precision gives"));
    }
    Ok(begin)
}

/// Adds all nodes that can be added; their errors wait in the importer. What tied inputs hold by default.
fn sweep<'g>(
    model: Model,
    order: Vec<usize>,
    opset: i64,
    &Given { dims, bind, ties }: &Given<'_>,
    graph: &'g mut Graph,
    declared: BTreeMap<String, (DType, Vec<usize>)>,
) -> Result<(Importer<'g>, BTreeMap<String, Tensor>)> {
    bind::check(bind, &model.inputs)?;
    let Model { initializers, inputs, nodes, functions, .. } = model;
    let support = Support::new(functions);
    let mut importer = Importer {
        patch: Patch::new(graph),
        support,
        names: BTreeMap::new(),
        listed: BTreeMap::new(),
        narrow: BTreeMap::new(),
        text: BTreeMap::new(),
        poisoned: BTreeMap::new(),
        declared,
        taken: BTreeSet::new(),
        reads: BTreeMap::new(),
        refused: Vec::new(),
        errors: Vec::new(),
        scalars: BTreeMap::new(),
        folded: 0,
        placed: 0,
        turned: 0,
        opset,
    };
    // What an input holds by default, another number may take the place of; a state begins as that.
    let (begin, initializers): (Vec<_>, Vec<_>) = initializers
        .into_iter()
        .filter(|(n, _)| !bind.contains_key(n))
        .partition(|(n, _)| ties.iter().any(|(input, _)| input == n));
    let begin = begin.into_iter().map(|(n, t)| Ok((n, t?.tensor))).collect::<Result<_>>()?;
    importer.initializers(initializers)?;
    if let Err(e) = importer.inputs(&inputs, dims, bind) {
        if e.fault == Fault::Option {
            return Err(e);
        }
        // Without the shapes of the inputs nothing can be inferred, but operators can be named.
        let known = |name: &str| importer.names.contains_key(name);
        let mut errors = importer.support.refusals(&nodes, [], &known, "");
        errors.push(e);
        return Error::join(errors).map_or(Ok((importer, BTreeMap::new())), Err);
    }
    importer.reserve_outputs(&nodes)?;
    let mut nodes: Vec<Option<RawNode>> = nodes.into_iter().map(Some).collect();
    // The next node stands last.
    let given = order.into_iter().rev().filter_map(|i| nodes[i].take());
    let mut stack: Vec<Step> = given.map(Step::from).collect();
    while let Some(step) = stack.pop() {
        let site = step.site();
        match importer.step(step) {
            Ok(more) => stack.extend(more.into_iter().rev()),
            Err(e) => importer.errors.push(e.at(site)),
        }
    }
    Ok((importer, begin))
}

struct Importer<'g> {
    patch: Patch<'g>,
    support: Support,
    names: BTreeMap<String, ValueId>,
    /// Names of sequences and of empty optionals.
    listed: BTreeMap<String, Listed>,
    /// Names of values whose elements the model packs several to a byte.
    narrow: BTreeMap<String, Narrow>,
    /// Names of values that are text in the model: what their numbers count.
    text: BTreeMap<String, Arc<[String]>>,
    /// Results of nodes that failed, and whether they would have been constants.
    poisoned: BTreeMap<String, bool>,
    /// Results of nodes that failed which go on as inputs of the graph, with type and shape.
    declared: BTreeMap<String, (DType, Vec<usize>)>,
    /// Every name of the model outside of branches, and of branches that were inlined.
    taken: BTreeSet<String>,
    /// What each result that is no constant was made from.
    reads: BTreeMap<String, Vec<String>>,
    /// Unsupported nodes, with their results: errors if something needs these.
    refused: Vec<(Vec<String>, Error)>,
    errors: Vec<Error>,
    /// Single elements that a DequantizeLinear makes of constants.
    scalars: BTreeMap<ValueId, Tensor>,
    /// Elements of folded constants so far.
    folded: usize,
    /// Nodes that came in place of others so far.
    placed: usize,
    /// Nodes of iterations so far.
    turned: usize,
    opset: i64,
}

impl Importer<'_> {
    /// Adds initializers; those that could not be read are errors, and poison what reads them.
    fn initializers(&mut self, initializers: Vec<(String, Result<Stored>)>) -> Result<()> {
        for (name, tensor) in initializers {
            if name.is_empty() {
                return Err(Error::model(Site::Whole, "an initializer has no name"));
            }
            if self.names.contains_key(&name) || self.poisoned.contains_key(&name) {
                return Err(Error::model(Site::Value(name), "two initializers share this name"));
            }
            match tensor {
                Ok(Stored { tensor, narrow, text }) => {
                    let id = self.patch.add_constant(&name, tensor);
                    self.narrow.extend(narrow.map(|narrow| (name.clone(), narrow)));
                    self.text.extend(text.map(|text| (name.clone(), text)));
                    self.names.insert(name, id);
                }
                Err(e) => {
                    self.errors.push(e);
                    self.poisoned.insert(name, true);
                }
            }
        }
        Ok(())
    }

    fn inputs(
        &mut self,
        ports: &[proto::Port],
        dims: &BTreeMap<String, usize>,
        bind: &BTreeMap<String, Numbers>,
    ) -> Result<()> {
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
        let given = || {
            ports.iter().filter(|p| !self.names.contains_key(&p.name) && !self.poisoned.contains_key(&p.name))
        };
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
            let id = match bind.get(&name) {
                Some(numbers) => {
                    let tensor = bind::tensor(&name, dtype, &shape, numbers)?;
                    self.patch.add_constant(&name, tensor)
                }
                None => self.patch.add_input(&name, dtype, &shape),
            };
            self.names.insert(name, id);
        }
        Ok(())
    }

    /// Refuses node results that share a name with an input or initializer.
    fn reserve_outputs(&mut self, nodes: &[RawNode]) -> Result<()> {
        for node in nodes {
            if let Some(name) = node.outputs.iter().find(|n| self.names.contains_key(*n)) {
                return Err(Error::model(site(node), format!("`{name}` is an input or initializer already")));
            }
        }
        self.taken = self.names.keys().chain(self.poisoned.keys()).cloned().collect();
        self.taken.extend(nodes.iter().flat_map(|n| &n.outputs).cloned());
        Ok(())
    }

    /// The constant of a name, if it is one.
    fn constant(&self, name: &str) -> Option<&Tensor> {
        let id = self.names.get(name)?;
        self.patch.graph()[*id].constant().map(|t| t.as_ref())
    }

    /// Whether a name is known at compile time, or would be if its node had not failed.
    fn known(&self, name: &str) -> bool {
        name.is_empty() || self.constant(name).is_some() || self.poisoned.get(name) == Some(&true)
    }

    /// Adds a node, or folds it; what comes in its place, if others stand for it.
    fn node(&mut self, node: RawNode) -> Result<Vec<Step>> {
        let known = node.inputs.iter().all(|name| self.known(name)) || early::reads_shape_only(&node.op_type);
        let about = |name: &str| self.known(name);
        if let Some(error) = self.support.refusal(&node, known, &about) {
            let inside = node.branches.iter().flat_map(|b| self.support.branch(&node, b, &about, ""));
            let errors: Vec<Error> = std::iter::once(error).chain(inside).collect();
            self.refused.extend(errors.into_iter().map(|e| (node.outputs.clone(), e)));
            self.poison(&node, known);
            return Ok(Vec::new());
        }
        if node.inputs.iter().any(|name| self.poisoned.contains_key(name)) {
            self.poison(&node, known);
            return Ok(Vec::new());
        }
        let outputs = node.outputs.clone();
        let added = self.place(node, known);
        if added.is_err() {
            self.pass_over(&outputs, known, None);
        }
        added
    }

    /// Marks the results of a node that gives none.
    fn poison(&mut self, node: &RawNode, known: bool) {
        let reads: Vec<String> = node.reads().map(String::from).collect();
        self.pass_over(&node.outputs, known, Some(reads));
    }

    /// Gives all errors of the sweep; refused nodes that no output needs are none.
    fn report(&mut self, outputs: &[proto::Port]) -> Result<()> {
        let mut needed = BTreeSet::new();
        let mut next: Vec<&str> = outputs.iter().map(|p| p.name.as_str()).collect();
        while let Some(name) = next.pop() {
            if needed.insert(name) {
                next.extend(self.reads.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        let refused = self
            .refused
            .iter()
            .filter(|(names, _)| outputs.is_empty() || names.iter().any(|n| needed.contains(n.as_str())));
        let mut errors: Vec<Error> = refused.map(|(_, e)| e.clone()).collect();
        errors.append(&mut self.errors);
        Error::join(errors).map_or(Ok(()), Err)
    }

    /// An error for a name that stands for no value.
    fn nothing_gives(&self, name: &str) -> Error {
        let why = match self.listed.get(name) {
            Some(_) => format!("reads `{name}`, a sequence or an empty optional, and no value"),
            None => format!("reads `{name}`, which nothing gives"),
        };
        Error::model(Site::Whole, why)
    }

    /// The values that a node reads.
    fn resolve(&self, node: &RawNode) -> Result<Vec<Option<ValueId>>> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(match self.names.get(name) {
                Some(&id) => Some(id),
                None if name.is_empty() => None,
                None => return Err(self.nothing_gives(name)),
            });
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        Ok(inputs)
    }

    /// Parses, infers, and adds a node, or folds it.
    fn add(&mut self, node: &RawNode) -> Result<()> {
        let mut inputs = self.resolve(node)?;
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
            opset: node.opset.unwrap_or(self.opset),
            attrs,
            inputs: &operands,
            outputs: outputs.len(),
        };
        let known = operands.iter().flatten().all(|o| o.data.is_some());
        if (known || early::reads_shape_only(&node.op_type))
            && let Some(results) = early::fold(&cx, MAX_FOLDED.min(MAX_FOLDED_TOTAL - self.folded))
        {
            let results = results?;
            self.constants(outputs, results);
            return Ok(());
        }
        // A parameter (the value of a Pad) may be quantized as weights are; what an operator reads
        // at run time stays the value that the DequantizeLinear gives.
        let parameters: Vec<Option<Operand<'_>>> = inputs
            .iter()
            .zip(&operands)
            .map(|(v, o)| o.map(|o| Operand { data: o.data.or(v.and_then(|v| self.scalars.get(&v))), ..o }))
            .collect();
        let Some(parsed) = Op::parse(&ParseCx { inputs: &parameters, ..cx }) else {
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
        let scalar = match (&op, types.as_slice()) {
            (Op::DequantizeLinear(_), [ty]) if ty.shape.iter().product::<usize>() == 1 => {
                let known: Vec<Option<&Tensor>> = operands.iter().map(|o| o.and_then(|o| o.data)).collect();
                let all = known.iter().all(Option::is_some);
                if all { op.eval(&known)?.into_iter().next() } else { None }
            }
            _ => None,
        };
        drop(inputs.drain(operands.len()..));

        let Some(results) = results else {
            let mut ids = Vec::with_capacity(outputs.len());
            for (name, ty) in outputs.iter().zip(&types) {
                let wish =
                    if name.is_empty() { format!("{}:unused", order::name(node)) } else { name.clone() };
                let id = self.patch.add_value(&wish, ty.dtype, &ty.shape);
                if !name.is_empty() {
                    self.names.insert(name.clone(), id);
                    self.reads.insert(name.clone(), node.inputs.clone());
                }
                if let Some(tensor) = &scalar {
                    self.scalars.insert(id, tensor.clone());
                }
                ids.push(id);
            }
            self.patch.add_node(&order::name(node), op, inputs, ids);
            return Ok(());
        };
        self.constants(outputs, results);
        Ok(())
    }

    /// Adds the results of a folded node.
    fn constants(&mut self, outputs: &[String], results: Vec<Tensor>) {
        for (name, tensor) in outputs.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
            self.folded += tensor.len();
            let id = self.patch.add_constant(name, tensor);
            self.names.insert(name.clone(), id);
        }
    }

    fn outputs(&mut self, ports: &[proto::Port]) -> Result<()> {
        if ports.is_empty() {
            return Err(Error::model(Site::Whole, "the graph has no outputs"));
        }
        let mut seen = BTreeSet::new();
        for port in ports {
            let site = || Site::Value(port.name.clone());
            let Some(&id) = self.names.get(&port.name) else {
                let why = match self.listed.get(&port.name) {
                    Some(_) => "is a graph output and no tensor, the only type supported",
                    None => "is a graph output, but nothing gives it",
                };
                return Err(Error::model(site(), why));
            };
            if !seen.insert(&port.name) {
                return Err(Error::model(site(), "is a graph output twice"));
            }
            self.no_narrow_output(&port.name)?;
            let value = &self.patch.graph()[id];
            if let Ok(Some(ty)) = &port.ty {
                let other = check_claim(ty, value.dtype, &value.shape).map_err(|e| e.at(site()))?;
                if let Some(message) = other {
                    let warning = Warning::new(site(), message);
                    self.patch.warn(warning.help(
                        "exporters that guess this shape write such files; if the inputs should have other shapes, say \
                         so with `--dim`",
                    ));
                }
            }
            self.tell_text(port);
            self.patch.add_output(id);
        }
        Ok(())
    }
}

/// Refuses a declared element type that the graph does not give; what is wrong with a declared shape, which
/// onnxruntime goes by no more than this. Symbolic dimensions claim nothing.
fn check_claim(claim: &proto::PortType, dtype: DType, shape: &[usize]) -> Result<Option<String>> {
    if claim.dtype != dtype {
        return Err(Error::model(
            Site::Whole,
            format!("is declared as {}, but the graph computes {dtype}", claim.dtype),
        ));
    }
    let Some(dims) = &claim.shape else { return Ok(None) };
    let fits = dims.len() == shape.len()
        && dims.iter().zip(shape).all(|(d, &n)| match d {
            Dim::Known(d) => usize::try_from(*d) == Ok(n),
            Dim::Named(_) | Dim::Unknown => true,
        });
    if fits {
        return Ok(None);
    }
    let dims: Vec<String> = dims
        .iter()
        .map(|d| match d {
            Dim::Known(n) => n.to_string(),
            Dim::Named(name) => name.clone(),
            Dim::Unknown => "?".into(),
        })
        .collect();
    let declared = dims.join(", ");
    Ok(Some(format!("is declared with shape [{declared}], but the graph computes {shape:?}, which holds")))
}

fn operand(graph: &Graph, id: ValueId) -> Operand<'_> {
    let value = &graph[id];
    let data = if let ValueKind::Constant(t) = &value.kind { Some(t.as_ref()) } else { None };
    Operand { dtype: value.dtype, shape: &value.shape, data }
}
