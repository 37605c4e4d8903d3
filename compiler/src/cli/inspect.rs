//! `secateur inspect`: what a model is made of, what of it is not supported, and what it would take of a chip.

use super::args::{INSPECT, Job, ModelArgs, name_of};
use super::{model, output, print_json, table, warn};
use crate::artifact::Artifact;
use crate::error::{Error, Fault, Result, Site};
use crate::graph::{Graph, ValueId};
use crate::observe::Silent;
use crate::ops::ValueType;
use crate::options::{Given, Options, Place, Quantize};
use crate::{artifact, onnx, report};
use serde_json::{Value, json};
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

/// A graph's ports, layers and sums, as JSON.
fn described(graph: &Graph, layers: &[Layer]) -> Value {
    let port = |id: ValueId| {
        let v = &graph[id];
        json!({ "name": v.name, "type": v.dtype.name(), "shape": v.shape })
    };
    json!({
        "schema": report::SCHEMA,
        "name": graph.name,
        "inputs": graph.inputs().iter().map(|&i| port(i)).collect::<Vec<_>>(),
        "outputs": graph.results().iter().map(|&i| port(i)).collect::<Vec<_>>(),
        "states": pairs(graph).map(|(state, next)| {
            let mut value = port(state);
            value["next"] = json!(graph[next].name);
            value
        }).collect::<Vec<_>>(),
        "total": { "params": params(layers), "macs": macs(layers) },
        "layers": layers.iter().map(|l| json!({
            "name": l.name, "op": l.op, "output_shape": l.output, "params": l.params, "macs": l.macs,
        })).collect::<Vec<_>>(),
    })
}

fn params(layers: &[Layer]) -> usize {
    layers.iter().map(|l| l.params).sum()
}

fn macs(layers: &[Layer]) -> u64 {
    layers.iter().map(|l| l.macs).sum()
}

/// A graph's name and ports, and a table of its layers. Inputs that are `taken` are results of nodes which are not in it.
fn shown(graph: &Graph, layers: &[Layer], taken: &[ValueId]) -> String {
    let mut text = format!("model {}\n", graph.name);
    for (word, ids) in [("input ", graph.inputs()), ("output", graph.results())] {
        for &id in ids {
            let v = &graph[id];
            let word = if taken.contains(&id) { "known " } else { word };
            text += &format!("{word} {}: {} {}\n", v.name, v.dtype, table::shape(&v.shape));
        }
    }
    for (state, next) in pairs(graph) {
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
    text + &table::table(&["layer", "operator", "output", "parameters", "MACs"], rows, 3)
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
            refused(&bytes, &options, &error, args.json)?;
            warn(said.as_slice());
            return Err(settings.located(error));
        }
    };
    said.into_iter().for_each(|said| graph.warn(said));
    warn(graph.warnings());
    let layers = layers(&graph);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    layers.iter().for_each(|l| *counts.entry(l.op).or_default() += 1);
    let outlook = outlook(args)?;
    if args.json {
        let mut value = described(&graph, &layers);
        value["operators"] = json!(counts);
        value["warnings"] = json!(graph.warnings());
        if let Some((job, artifact)) = &outlook {
            value["outlook"] = json!(artifact.report);
            value["outlook"]["made_up_samples"] = json!(job.calibration.is_none());
        }
        print_json(&value)?;
    } else {
        let mut text = shown(&graph, &layers, &[]);
        let counts: Vec<String> = counts.iter().map(|(op, n)| format!("{op} {n}")).collect();
        text += &format!("operators   {}\n", counts.join(", "));
        text += &format!("parameters  {}\n", table::count(params(&layers) as u64));
        text += &format!("MACs        {}\n", table::count(macs(&layers)));
        text += "every operator is supported\n";
        if let Some((job, artifact)) = &outlook {
            let how = match job.calibration {
                None if job.options.quantize != Quantize::None => ", with made-up samples",
                _ => "",
            };
            text += &format!("\non {}, predicted without a build{how}:\n", job.target.name);
            text += &table::report(&artifact.report);
        }
        output::print(&text)?;
    }
    match outlook {
        None => Ok(()),
        Some((job, mut artifact)) => {
            artifact.hold(job.options.allow_overflow).map_err(|e| job.settings.located(e))?;
            // What was said of the model already stands above.
            let known = graph.warnings();
            let new: Vec<_> =
                artifact.report.warnings.iter().filter(|w| !known.contains(w)).cloned().collect();
            warn(&new);
            Ok(())
        }
    }
}

/// What the model would take of the chip that flags or file name; nothing where they name none.
fn outlook(args: &Args) -> Result<Option<(Job, Artifact)>> {
    let (mut settings, said) = args.model.settings()?;
    let named = |place: Option<&Place>| place.is_some_and(|place| *place != Place::Default);
    if !named(settings.target.as_ref().map(|g| &g.place)) && !named(settings.core.as_ref().map(|g| &g.place))
    {
        return Ok(None);
    }
    // The name that `compile` gives too, of which nothing is said: no file is written under it.
    let name = name_of(&args.model.model).0;
    settings.name.get_or_insert(Given { value: name, place: Place::Default });
    let job = args.model.job_of((settings, said))?;
    let artifact = job.outlook(&mut Silent)?;
    Ok(Some((job, artifact)))
}

/// What can still be said of a refused model: its layers as far as shapes are known, its operators, and which of them
/// are the trouble.
fn refused(bytes: &[u8], options: &Options, error: &Error, as_json: bool) -> Result<()> {
    let Ok(found) = onnx::operators(bytes) else { return Ok(()) };
    let known = onnx::survey(bytes, options).ok().filter(|(graph, _)| graph.nodes().next().is_some());
    let known = known.map(|(graph, taken)| (layers(&graph), graph, taken));
    if as_json {
        let mut value = known.map_or_else(|| json!({}), |(layers, graph, _)| described(&graph, &layers));
        (value["schema"], value["operators"]) = (json!(report::SCHEMA), json!(found));
        let all = std::iter::once(error).chain(&error.others);
        value["refused"] = all.map(|e| json!({ "site": e.site.to_string(), "message": e.message })).collect();
        return print_json(&value);
    }
    let mut text = String::new();
    if let Some((layers, graph, taken)) = known {
        text += &shown(&graph, &layers, &taken);
        text += &format!("parameters  {}\n", table::count(params(&layers) as u64));
        text += &format!("MACs        {}, of these layers alone\n\n", table::count(macs(&layers)));
    }
    output::print(&(text + &survey(&found, error)))
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
