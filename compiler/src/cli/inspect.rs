//! `secateur inspect`: what a model is made of, and what of it is not supported.

use super::args::{INSPECT, ModelArgs};
use super::{model, output, print_json, table, warn};
use crate::error::{Error, Fault, Result, Site};
use crate::graph::{Graph, ValueId};
use crate::ops::ValueType;
use crate::options::Options;
use crate::{artifact, onnx, report};
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs<INSPECT>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

struct Layer {
    name: String,
    op: &'static str,
    output: Vec<usize>,
    params: usize,
    macs: u64,
}

/// Each state and its next value.
fn pairs(graph: &Graph) -> impl Iterator<Item = (ValueId, ValueId)> {
    graph.states().iter().copied().zip(graph.nexts().iter().copied())
}

fn layers(graph: &Graph) -> Vec<Layer> {
    graph
        .topological()
        .into_iter()
        .map(|id| {
            let node = &graph[id];
            let outputs: Vec<ValueType> = node
                .outputs
                .iter()
                .map(|&v| ValueType { dtype: graph[v].dtype, shape: graph[v].shape.clone() })
                .collect();
            let params = node.inputs.iter().flatten().filter(|v| graph[**v].constant().is_some());
            Layer {
                name: node.name.clone(),
                op: node.op.name(),
                output: outputs.first().map(|t| t.shape.clone()).unwrap_or_default(),
                params: params.map(|v| graph[*v].len()).sum(),
                macs: node.op.macs(&graph.operands(id), &outputs),
            }
        })
        .collect()
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let (settings, said) = args.model.settings()?;
    let wanted = settings.options();
    let bytes = model::read(&args.model.model)?;
    // Whether a model is supported depends on nothing else.
    let Options { dims, bind, states, quantize, .. } = wanted;
    let options = Options { dims, bind, states, quantize, ..Options::default() };
    let mut graph = match artifact::supported(&bytes, &options) {
        Ok(graph) => graph,
        Err(error) => {
            // What can still be said of a refused model: its operators, and which are the trouble.
            if !args.json
                && let Ok(found) = onnx::operators(&bytes)
            {
                output::print(&survey(&found, &error))?;
            }
            warn(said.as_slice());
            return Err(settings.located(error));
        }
    };
    said.into_iter().for_each(|said| graph.warn(said));
    warn(graph.warnings());
    let layers = layers(&graph);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    layers.iter().for_each(|l| *counts.entry(l.op).or_default() += 1);
    let params: usize = layers.iter().map(|l| l.params).sum();
    let macs: u64 = layers.iter().map(|l| l.macs).sum();
    let port = |id: ValueId| {
        let v = &graph[id];
        json!({ "name": v.name, "type": v.dtype.name(), "shape": v.shape })
    };
    if args.json {
        return print_json(&json!({
            "schema": report::SCHEMA,
            "name": graph.name,
            "inputs": graph.inputs().iter().map(|&i| port(i)).collect::<Vec<_>>(),
            "outputs": graph.results().iter().map(|&i| port(i)).collect::<Vec<_>>(),
            "states": pairs(&graph).map(|(state, next)| {
                let mut value = port(state);
                value["next"] = json!(graph[next].name);
                value
            }).collect::<Vec<_>>(),
            "operators": counts,
            "total": { "params": params, "macs": macs },
            "layers": layers.iter().map(|l| json!({
                "name": l.name, "op": l.op, "output_shape": l.output, "params": l.params, "macs": l.macs,
            })).collect::<Vec<_>>(),
            "warnings": graph.warnings(),
        }));
    }
    let mut text = format!("model {}\n", graph.name);
    for (word, ids) in [("input ", graph.inputs()), ("output", graph.results())] {
        for &id in ids {
            let v = &graph[id];
            text += &format!("{word} {}: {} {}\n", v.name, v.dtype, table::shape(&v.shape));
        }
    }
    for (state, next) in pairs(&graph) {
        let v = &graph[state];
        let next = &graph[next].name;
        text += &format!("state  {}: {} {}, next {next}\n", v.name, v.dtype, table::shape(&v.shape));
    }
    let rows = layers
        .iter()
        .map(|l| {
            vec![
                table::name(&l.name),
                l.op.to_string(),
                table::shape(&l.output),
                table::count(l.params as u64),
                table::count(l.macs),
            ]
        })
        .collect();
    text += &table::table(&["layer", "operator", "output", "parameters", "MACs"], rows, 3);
    let counts: Vec<String> = counts.iter().map(|(op, n)| format!("{op} {n}")).collect();
    text += &format!("operators   {}\n", counts.join(", "));
    text += &format!("parameters  {}\n", table::count(params as u64));
    text += &format!("MACs        {}\n", table::count(macs));
    text += "every operator is supported\n";
    output::print(&text)
}

/// A line for each operator: how often it stands in the model, and why it is refused, if it is.
fn survey(found: &BTreeMap<String, usize>, error: &Error) -> String {
    let mut refused: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for e in std::iter::once(error).chain(&error.others).filter(|e| e.fault == Fault::Model) {
        let (op, count) = match &e.site {
            Site::Node { op, .. } => (op, 1),
            Site::Nodes { op, names } => (op, names.len()),
            _ => continue,
        };
        refused.entry(op).or_insert((0, &e.message)).0 += count;
    }
    let verdict = |op: &str, count: usize| match refused.get(op) {
        None => "supported".to_string(),
        Some((n, why)) if *n < count => format!("{n} of {count}: {why}"),
        Some((_, why)) => (*why).to_string(),
    };
    let rows = found.iter().map(|(op, n)| vec![op.clone(), n.to_string(), verdict(op, *n)]).collect();
    table::table(&["operator", "nodes", ""], rows, usize::MAX)
}
