//! What the user says that inputs and outputs may hold.
//!
//! In: names and ranges. Out: values and ranges, and one for what shares a scale. Law: a name that is no port of real
//! numbers is refused.

use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::options::Range;
use crate::tensor::DType;
use std::collections::BTreeMap;

/// The ports of such names.
///
/// Errors: no input or output has the name, or it holds no real numbers.
pub(super) fn wished(graph: &Graph, ranges: &BTreeMap<String, Range>) -> Result<BTreeMap<ValueId, Range>> {
    let ports = || graph.inputs().iter().chain(graph.outputs()).copied();
    let mut found = BTreeMap::new();
    for (name, range) in ranges {
        let Some(port) = ports().find(|&v| graph[v].name == *name) else {
            let names: Vec<String> = ports().map(|v| format!("`{}`", graph[v].name)).collect();
            let text = format!("the model has no input or output `{name}`");
            return Err(Error::entry("range", name, text).help(format!("it has {}", names.join(", "))));
        };
        if graph[port].dtype != DType::F32 {
            let text = format!("`{name}` holds {}, which have no scale", graph[port].dtype.name());
            return Err(Error::entry("range", name, text).help("leave it out"));
        }
        found.insert(port, *range);
    }
    Ok(found)
}

/// The range of values that share a scale: what all ports among them may hold.
pub(super) fn joined<'a>(
    values: impl IntoIterator<Item = &'a ValueId>,
    wished: &BTreeMap<ValueId, Range>,
) -> Option<Range> {
    let all = values.into_iter().filter_map(|v| wished.get(v)).copied();
    all.reduce(|a, b| Range { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) })
}
