//! What can still be said of a model that is refused.
//!
//! In: a model with nodes that cannot be added. Out: a graph of all others. Law: a value is in it only with its type
//! and shape; where a node could not be added, the model's own word for its result is taken, or all that follows from
//! it is left out.

use super::super::Given;
use super::super::proto::{Dim, Model};
use super::{Importer, sweep};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::check;
use crate::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};

/// Adds what can be added of a model that `run` refuses to an empty graph. A result of a refused node that the model
/// declares with a known shape is an input of the graph, so that what follows can be added too: these inputs.
///
/// Errors: inputs without a size, and names that stand for two things.
pub(in crate::onnx) fn survey(
    model: Model,
    order: Vec<usize>,
    opset: i64,
    given: &Given<'_>,
    graph: &mut Graph,
) -> Result<Vec<ValueId>> {
    let declared = model.inside.iter().filter_map(|port| {
        let ty = port.ty.as_ref().ok()?.as_ref()?;
        let size = |d: &Dim| match d {
            Dim::Known(n) => usize::try_from(*n).ok(),
            Dim::Named(name) => given.dims.get(name).copied(),
            Dim::Unknown => None,
        };
        let shape = ty.shape.as_ref()?.iter().map(size).collect::<Option<Vec<usize>>>()?;
        check::len(&shape).ok()?;
        Some((port.name.clone(), (ty.dtype, shape)))
    });
    let declared: BTreeMap<String, (DType, Vec<usize>)> = declared.collect();
    let names: Vec<String> = declared.keys().cloned().collect();
    let (mut importer, _) = sweep(model, order, opset, given, graph, declared)?;
    for id in importer.names.values().copied().collect::<BTreeSet<_>>() {
        let unread = importer.patch.graph().consumers(id).is_empty();
        if unread && importer.patch.graph().producer(id).is_some() {
            importer.patch.add_output(id);
        }
    }
    let graph = importer.patch.graph();
    let taken = names.iter().filter_map(|name| importer.names.get(name));
    Ok(taken.copied().filter(|id| graph.inputs().contains(id)).collect())
}

impl Importer<'_> {
    /// Marks results of a node that was not added, with what it reads; those that the model declares go on as inputs.
    pub(super) fn pass_over(&mut self, outputs: &[String], known: bool, reads: Option<Vec<String>>) {
        for name in outputs.iter().filter(|n| !n.is_empty()) {
            if let Some((dtype, shape)) = self.declared.remove(name) {
                let id = self.patch.add_input(name, dtype, &shape);
                self.names.insert(name.clone(), id);
                continue;
            }
            self.poisoned.insert(name.clone(), known);
            if let Some(reads) = &reads {
                self.reads.insert(name.clone(), reads.clone());
            }
        }
    }
}
