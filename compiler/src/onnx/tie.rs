//! Outputs that the user ties to inputs -> states of the graph.
//!
//! In: an imported graph and the user's `--state INPUT=OUTPUT`. Out: the same graph, where each of these inputs is
//! a state that takes its output's value at the end of each run. Law: a state begins as the model's own default of
//! that input, else as zeros, or as the zero point where the model declares integers with one.

use super::proto::Port;
use crate::error::{Error, Result};
use crate::graph::{Graph, Patch, ValueId};
use crate::ops::Op;
use crate::options::Numbers;
use crate::tensor::{Data, Tensor};
use std::collections::BTreeMap;

/// Outputs tied to inputs, as the user names them: input, then output.
pub(super) type Ties = [(String, String)];

fn refused(input: &str, why: impl Into<String>) -> Error {
    Error::entry("state", input, why)
}

/// Refuses names that the model does not have, with the nearest that it has, and what is named twice.
pub(super) fn check(
    ties: &Ties,
    bind: &BTreeMap<String, Numbers>,
    (inputs, outputs): (&[Port], &[Port]),
) -> Result<()> {
    let names = |ports: &[Port]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let (inputs, outputs) = (names(inputs), names(outputs));
    let unknown = |input: &str, kind: &str, name: &str, known: &[String], others: &[String]| {
        let why = format!("the model has no {kind} `{name}`");
        let listed = known.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let near = secateur_targets::nearest(name, known);
        let help = match (near, listed.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`? Its {kind}s are {listed}"),
            (None, true) => format!("it has no {kind}s"),
            (None, false) => format!("its {kind}s are {listed}"),
        };
        let swapped = others.iter().any(|n| n == name);
        let order = if swapped { "; `--state INPUT=OUTPUT` names the input first" } else { "" };
        refused(input, why).help(help + order)
    };
    for (at, (input, output)) in ties.iter().enumerate() {
        if !inputs.contains(input) {
            return Err(unknown(input, "input", input, &inputs, &outputs));
        }
        if !outputs.contains(output) {
            return Err(unknown(input, "output", output, &outputs, &inputs));
        }
        let earlier = &ties[..at];
        if let Some((_, other)) = earlier.iter().find(|(i, _)| i == input) {
            let why = format!("the input `{input}` is tied to the output `{other}` and to `{output}`");
            return Err(refused(input, why).help("a state has one next value: name one output"));
        }
        if let Some((other, _)) = earlier.iter().find(|(_, o)| o == output) {
            let why = format!("the output `{output}` is tied to the inputs `{other}` and `{input}`");
            return Err(
                refused(input, why).help("two inputs that always hold the same are one input of the model")
            );
        }
        if bind.contains_key(input) {
            let why = format!("the input `{input}` is tied to the output `{output}`, and bound to numbers");
            return Err(refused(input, why).help("leave it out of `--bind`, or out of `--state`"));
        }
    }
    Ok(())
}

/// Makes states of tied inputs; `defaults` are what inputs of the model hold where nobody gives them.
///
/// Errors: types or shapes that differ, an input that is handed through, nothing left that is computed for the
/// caller. Names were checked.
pub(super) fn tie(
    graph: &mut Graph,
    ties: &Ties,
    mut defaults: BTreeMap<String, Tensor>,
    outputs: &[String],
) -> Result<()> {
    // Before any port moves: which ones belong together.
    let mut pairs: Vec<(ValueId, ValueId, usize)> = Vec::new();
    for (input, output) in ties {
        let state = graph.inputs().iter().copied().find(|&v| graph[v].name == *input);
        let port = outputs.iter().position(|name| name == output);
        let (Some(state), Some(port)) = (state, port) else {
            return Err(refused(input, format!("the input `{input}` or the output `{output}` is missing")));
        };
        let Some(&next) = graph.outputs().get(port) else {
            return Err(refused(input, format!("the output `{output}` is missing")));
        };
        if graph.inputs().contains(&next) {
            let name = &graph[next].name;
            let why = format!("the output `{output}` is the input `{name}`, handed through as it is");
            return Err(refused(input, why).help("a state takes a value that the model computes"));
        }
        let (from, to) = (&graph[next], &graph[state]);
        if (from.dtype, &from.shape) != (to.dtype, &to.shape) {
            let why = format!(
                "the input `{input}` is {} of shape {:?}, the output `{output}` {} of shape {:?}",
                to.dtype, to.shape, from.dtype, from.shape
            );
            return Err(refused(input, why)
                .help("a state has one type and shape; `--dim NAME=N` fixes a symbolic dimension"));
        }
        pairs.push((state, next, port));
    }
    let tied = |port: usize| pairs.iter().any(|(_, _, p)| *p == port);
    let shown: Vec<(usize, ValueId)> =
        graph.outputs().iter().copied().enumerate().filter(|(port, _)| !tied(*port)).collect();
    let Some((first, ..)) = pairs.first() else { return Ok(()) };
    if shown.is_empty() {
        let why = "every output is tied to an input, so that nothing is left to compute for the caller";
        return Err(refused(&graph[*first].name, why).help("leave out the `--state` of an output to be read"));
    }
    for (state, ..) in &pairs {
        if let Some((port, _)) = shown.iter().find(|(_, v)| v == state) {
            let (name, input) = (outputs.get(*port).map_or("", String::as_str), &graph[*state].name);
            let why = format!("the output `{name}` is the input `{input}`, handed through as it is");
            return Err(refused(input, why).help("a state is no output: take that output out of the model"));
        }
    }
    let mut moved: Vec<usize> = (0..graph.outputs().len()).collect();
    for (state, _, port) in pairs {
        let init = match defaults.remove(&graph[state].name) {
            Some(init)
                if (init.dtype(), init.shape()) == (graph[state].dtype, graph[state].shape.as_slice()) =>
            {
                init
            }
            Some(_) => {
                let why = "the model's default of the input has another type or shape";
                return Err(refused(&graph[state].name, why));
            }
            None => rest(graph, state)?,
        };
        let Some(at) = moved.iter().position(|&p| p == port) else { continue };
        moved.remove(at);
        moved.push(port);
        Patch::new(graph).tie(state, at, init);
    }
    Ok(())
}

/// Zeros; the zero point, where a DequantizeLinear says that integers have one.
fn rest(graph: &Graph, state: ValueId) -> Result<Tensor> {
    let value = &graph[state];
    let reads = graph.consumers(state).into_iter().map(|id| &graph[id]);
    let zero = reads.filter(|n| matches!(n.op, Op::DequantizeLinear(_))).find_map(|n| {
        let point = n.inputs.get(2).copied().flatten()?;
        graph[point].constant()?.to_i64_vec().first().copied()
    });
    match zero {
        Some(zero) if !value.dtype.is_float() => {
            let data = Data::from_i64(value.dtype, &vec![zero; value.len()]);
            Tensor::new(value.shape.clone(), data)
        }
        _ => Ok(Tensor::zeros(value.dtype, &value.shape)),
    }
}
