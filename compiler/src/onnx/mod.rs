//! ONNX bytes -> [`crate::graph::Graph`], and back. `proto`, `external` and `write` alone name `onnx_protobuf`.
//!
//! Law: every value of the graph has a known type and shape; what is known at compile time is
//! folded, and needs no support; nothing is allocated before its size is checked; every refusal
//! names its place and says what to do, and all unsupported nodes are listed at once.

mod bind;
mod branch;
mod dims;
mod expand;
mod export;
mod external;
mod foreign;
mod importer;
mod order;
mod proto;
mod scan;
mod support;
mod tie;
mod write;

pub use export::export;
pub use external::embed;
pub use support::{folded, supported};

use crate::error::{Error, Fault, Result, Site};
use crate::graph::{Graph, ValueId};
use crate::options::{Numbers, Options};
use order::order;
use proto::{Model, RawNode};
use std::collections::BTreeMap;

/// IR versions that decode to what they mean. Later ones up to 14 add fields (devices) that
/// do not change the meaning of a graph, and element types that are refused by number.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;
/// Versions of the default operator set.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;
/// More nodes than this no model for a microcontroller has; passes may be quadratic in it.
const MAX_NODES: usize = 1 << 14;

/// Reads a model: decodes, checks, fixes symbolic dimensions, infers every shape and folds what
/// only computes shapes.
///
/// `dims` fixes symbolic dimensions by name (`input[axis]` for one without a name); one not
/// named is an error, except the first axis of an input, which is 1.
pub fn import(bytes: &[u8], dims: &BTreeMap<String, usize>) -> Result<Graph> {
    import_bound(bytes, dims, &BTreeMap::new())
}

/// As [`import`]; inputs that `bind` names are constants of these numbers, in row-major order.
///
/// Errors: a name in `bind` that is no input, too many or too few numbers, and such as its type does not hold.
pub fn import_bound(
    bytes: &[u8],
    dims: &BTreeMap<String, usize>,
    bind: &BTreeMap<String, Numbers>,
) -> Result<Graph> {
    import_given(bytes, &Given { dims, bind, ties: &[] })
}

/// As [`import_bound`], with all that options say of ports: inputs that [`Options::states`] ties to outputs are
/// states.
///
/// Errors: as there; ties of names that the model does not have, of ports that differ, or twice of one port.
pub fn import_with(bytes: &[u8], options: &Options) -> Result<Graph> {
    import_given(bytes, &Given { dims: &options.dims, bind: &options.bind, ties: &options.states })
}

/// What to do where nothing better is known.
pub(crate) const HELP: &str = "`python -m onnx.checker MODEL` tells whether the file keeps the rules of ONNX; the \
                               README lists what is supported";

/// What the user says of a model's ports.
struct Given<'a> {
    dims: &'a BTreeMap<String, usize>,
    bind: &'a BTreeMap<String, Numbers>,
    ties: &'a tie::Ties,
}

fn import_given(bytes: &[u8], given: &Given<'_>) -> Result<Graph> {
    let model = proto::decode(bytes)?;
    read(model, given).map_err(|e| if e.fault == Fault::Model { e.or_help(HELP) } else { e })
}

fn read(model: Model, given: &Given<'_>) -> Result<Graph> {
    let opset = versions(&model)?;
    sizes(&model)?;
    let order = order(&model.nodes)?;
    tie::check(given.ties, given.bind, (&model.inputs, &model.outputs))?;
    let outputs: Vec<String> = model.outputs.iter().map(|p| p.name.clone()).collect();
    let mut graph = Graph { name: model.name.clone(), ..Graph::default() };
    let defaults = importer::run(model, order, opset, given, &mut graph)?;
    tie::tie(&mut graph, given.ties, defaults, &outputs)?;
    Ok(graph)
}

/// What can be said of a model that `import` refuses: the nodes whose operators are supported and whose shapes are
/// known. Its inputs are those of the model, and results of refused nodes that the model declares with a shape, which
/// are given beside it; its outputs are what nothing reads.
///
/// Errors: a file that is no model, versions that are not supported, inputs without a size.
pub fn survey(bytes: &[u8], options: &Options) -> Result<(Graph, Vec<ValueId>)> {
    let model = proto::decode(bytes)?;
    let opset = versions(&model)?;
    sizes(&model)?;
    let order = order(&model.nodes)?;
    let mut graph = Graph { name: model.name.clone(), ..Graph::default() };
    let given = Given { dims: &options.dims, bind: &options.bind, ties: &[] };
    let taken = importer::survey(model, order, opset, &given, &mut graph)?;
    Ok((graph, taken))
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
        // skl2onnx writes one line twice.
        (Some((_, version)), Some((_, again))) if version == again && opsets.all(|(_, v)| v == version) => {
            *version
        }
        (Some(_), Some(_)) => {
            return Err(Error::model(Site::Whole, "the default operator set is imported twice"));
        }
        // A model of other domains alone names theirs.
        (None, _) if foreign(&model.nodes) => expand::build::OPSET,
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

/// Whether there are nodes, and none is of the default domain.
fn foreign(nodes: &[RawNode]) -> bool {
    let inside = |n: &RawNode| n.branches.iter().all(|b| b.nodes.is_empty() || foreign(&b.nodes));
    !nodes.is_empty() && nodes.iter().all(|n| !support::plain(&n.domain).is_empty() && inside(n))
}

/// Refuses a model of too many nodes, or of none.
fn sizes(model: &Model) -> Result<()> {
    let nodes = count(&model.nodes);
    if nodes > MAX_NODES {
        return Err(Error::model(Site::Whole, format!("{nodes} nodes, at most {MAX_NODES} are supported")));
    }
    if model.nodes.is_empty() && model.outputs.is_empty() {
        return Err(Error::model(Site::Whole, "the graph is empty: no nodes and no outputs"));
    }
    Ok(())
}

/// Nodes, those of branches included.
fn count(nodes: &[RawNode]) -> usize {
    nodes.iter().map(|n| 1 + n.branches.iter().map(|b| count(&b.nodes)).sum::<usize>()).sum()
}

/// How often each operator stands in a model, branches included, by its full name and without any
/// further check: what can be said of a model that `import` refuses.
pub fn operators(bytes: &[u8]) -> Result<BTreeMap<String, usize>> {
    fn visit(nodes: &[RawNode], found: &mut BTreeMap<String, usize>) {
        for node in nodes {
            *found.entry(support::full_name(node)).or_default() += 1;
            node.branches.iter().for_each(|b| visit(&b.nodes, found));
        }
    }
    let mut found = BTreeMap::new();
    visit(&proto::decode(bytes)?.nodes, &mut found);
    Ok(found)
}
