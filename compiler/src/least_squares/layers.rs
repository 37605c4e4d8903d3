//! The layers with weights of a graph, and what calibration shows of each.
//!
//! In: a float graph and the tensors of its samples. Out: [`Layer`]s in the order of the graph, and the
//! [`Rows`] that a layer's least squares need. A recurrent node has a layer for each of its products: `NODE.W`, which
//! reads inputs, and `NODE.R`, which reads the state ([`super::steps`]). Law: of many samples each gives as many rows
//! as any other, at places that its number decides.

use super::matrix::Sizes;
use super::moments::Rows;
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::recurrent::{BIAS, R, W};
use crate::ops::{Op, Recurrent};
use crate::options::Glob;
use crate::parallel;
use crate::tensor::Tensor;

/// What the product of a layer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The node's first operand.
    Input,
    /// A recurrent node's state before each step.
    State,
    /// The same times the reset gate.
    Reset,
}

/// A product with known weights: a Conv, a Dense, or one of a recurrent node.
#[derive(Debug, Clone)]
pub struct Layer {
    pub node: NodeId,
    /// The node's name, with the product's behind it where it has several.
    pub name: String,
    pub node_name: String,
    /// The operand that its weights are, or are some rows of, and the first of those.
    pub operand: usize,
    pub first: usize,
    /// The operand with its bias, where in it that begins, and the numbers of all of it.
    pub bias: (usize, usize, usize),
    pub reads: Reads,
    /// Sizes of the weights of one group of a grouped convolution.
    pub sizes: Sizes,
    /// Groups that compute side by side; 1 but for grouped and depthwise convolutions.
    pub groups: usize,
    pub input: ValueId,
    pub output: ValueId,
}

impl Layer {
    pub fn weights(&self) -> usize {
        self.groups * self.sizes.weights()
    }
    /// Places of a sample's output, at each of which every weight is used once: steps of all sequences of a recurrent
    /// node.
    pub fn places(&self, graph: &Graph) -> usize {
        if matches!(graph[self.node].op, Op::Recurrent(_)) {
            return graph[self.input].shape.iter().take(2).product();
        }
        graph[self.output].len() / (self.groups * self.sizes.rows).max(1)
    }
    /// What tells it from all others.
    pub fn key(&self) -> (NodeId, usize, usize) {
        (self.node, self.operand, self.first)
    }
    /// Whether a pattern of names is for it: its own name or its node's.
    pub fn is_meant(&self, glob: &Glob) -> bool {
        glob.matches(&self.name) || glob.matches(&self.node_name)
    }
    /// Its weights as they are, in ONNX's order.
    pub fn weights_in<'a>(&self, graph: &'a Graph) -> &'a [f32] {
        let all =
            graph[self.node].inputs.get(self.operand).copied().flatten().and_then(|w| graph[w].constant());
        let from = self.first * self.sizes.columns();
        let all = all.and_then(|t| t.as_f32()).unwrap_or_default();
        all.get(from..from + self.weights()).unwrap_or_default()
    }
    /// Operands of its node with these weights and biases; the rows of others stay as they are.
    pub fn operands(&self, graph: &Graph, weights: &[f32], bias: &[f32]) -> [(usize, Tensor); 2] {
        let value = |at: usize| graph[self.node].inputs.get(at).copied().flatten().map(|v| &graph[v]);
        let whole = |at: usize| value(at).and_then(|v| v.constant()).map(|t| t.to_f32_vec());
        let with = |mut all: Vec<f32>, from: usize, part: &[f32]| {
            all.iter_mut().skip(from).zip(part).for_each(|(to, from)| *to = *from);
            all
        };
        let shape = value(self.operand).map_or(Vec::new(), |v| v.shape.clone());
        let all = with(whole(self.operand).unwrap_or_default(), self.first * self.sizes.columns(), weights);
        let (at, from, len) = self.bias;
        let biases = with(whole(at).filter(|b| b.len() == len).unwrap_or_else(|| vec![0.0; len]), from, bias);
        [(self.operand, Tensor::f32(&shape, all)), (at, Tensor::f32(&[len], biases))]
    }
}

/// All layers with weights, in the order in which they run.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    graph.topological().into_iter().flat_map(|id| of_node(graph, id)).collect()
}

fn of_node(graph: &Graph, id: NodeId) -> Vec<Layer> {
    match &graph[id].op {
        Op::Conv(conv) => product(graph, id, conv.group).into_iter().collect(),
        Op::Dense(_) => product(graph, id, 1).into_iter().collect(),
        Op::Recurrent(layer) => recurrent(graph, id, layer),
        _ => Vec::new(),
    }
}

/// The shape of weights that are known.
fn known(graph: &Graph, id: NodeId, at: usize) -> Option<&[usize]> {
    let weights = graph[id].inputs.get(at).copied().flatten()?;
    graph[weights].constant()?.as_f32()?;
    Some(&graph[weights].shape)
}

/// What a node reads, if that is computed; a bias that is computed is no bias to solve for.
fn reads(graph: &Graph, id: NodeId, bias: usize) -> Option<ValueId> {
    let operand = |i: usize| graph[id].inputs.get(i).copied().flatten();
    let input = operand(0)?;
    let fixed = operand(bias).is_none_or(|b| graph[b].constant().is_some_and(|t| t.as_f32().is_some()));
    (fixed && graph[input].constant().is_none()).then_some(input)
}

fn product(graph: &Graph, id: NodeId, groups: usize) -> Option<Layer> {
    let node = &graph[id];
    let (input, shape) = (reads(graph, id, 2)?, known(graph, id, 1)?);
    let sizes =
        Sizes { rows: shape[0].checked_div(groups)?, inputs: shape[1], taps: shape[2..].iter().product() };
    let layer = Layer {
        node: id,
        name: node.name.clone(),
        node_name: node.name.clone(),
        operand: 1,
        first: 0,
        bias: (2, 0, groups * sizes.rows),
        reads: Reads::Input,
        sizes,
        groups,
        input,
        output: *node.outputs.first()?,
    };
    (sizes.weights() > 0).then_some(layer)
}

/// The products of a recurrent node: with inputs, and with the state, whose last gate is apart where it reads another.
fn recurrent(graph: &Graph, id: NodeId, op: &Recurrent) -> Vec<Layer> {
    let node = &graph[id];
    let (Some(input), Some(&output)) = (reads(graph, id, BIAS), node.outputs.first()) else {
        return Vec::new();
    };
    let (hidden, rows) = (op.hidden, op.cell.gates() * op.hidden);
    let of_state = match op.reset_first() {
        true => vec![("Rzr", Reads::State, 0, 2 * hidden), ("Rh", Reads::Reset, 2 * hidden, rows)],
        false => vec![("R", Reads::State, 0, rows)],
    };
    let parts = std::iter::once(("W", Reads::Input, 0, rows)).chain(of_state);
    let layer = |(name, reads, first, end): (&str, Reads, usize, usize)| {
        let (operand, from) = if reads == Reads::Input { (W, 0) } else { (R, rows) };
        let inputs = *known(graph, id, operand)?.get(1)?;
        let sizes = Sizes { rows: end - first, inputs, taps: 1 };
        let layer = Layer {
            node: id,
            name: format!("{}.{name}", node.name),
            node_name: node.name.clone(),
            operand,
            first,
            bias: (BIAS, from + first, 2 * rows),
            reads,
            sizes,
            groups: 1,
            input,
            output,
        };
        (sizes.weights() > 0).then_some(layer)
    };
    parts.filter_map(layer).collect()
}

/// Rows that the moments of a layer are of, at most: for each column this many, and no fewer than
/// [`LEAST_ROWS`] where there are as many.
const ROWS_A_COLUMN: usize = 64;
const LEAST_ROWS: usize = 32_768;

/// A step through the places of a sample that meets all of them, spread out.
const GOLDEN: u64 = 0x9E37_79B1;

/// The rows of one group of a layer: what it reads (`inputs`, by sample) and what it should give
/// (`outputs`, before its activation).
///
/// Errors: an input that is no finite number.
pub fn rows(
    graph: &Graph,
    layer: &Layer,
    group: usize,
    inputs: &[Tensor],
    outputs: &[Tensor],
) -> Result<Rows> {
    let most = (ROWS_A_COLUMN * layer.sizes.columns()).max(LEAST_ROWS);
    let parts = parallel::map(inputs.len(), |sample| -> Result<Rows> {
        // A sequence may end before its last place.
        let places = outputs[sample].len() / (layer.groups * layer.sizes.rows).max(1);
        let each = most.div_ceil(inputs.len().max(1)).min(places);
        let mut part = Rows::default();
        let first = ((sample as u64).wrapping_mul(GOLDEN) % places.max(1) as u64) as usize;
        for pick in 0..each {
            let place = (first + pick * places / each) % places;
            read(graph, layer, group, place, &inputs[sample], &mut part.inputs)?;
            wanted(graph, layer, group, place, &outputs[sample], &mut part.outputs);
        }
        match part.inputs.iter().chain(&part.outputs).find(|v| !v.is_finite()) {
            None => Ok(part),
            Some(v) => Err(not_finite(graph, layer.input, *v, sample)),
        }
    });
    let mut all = Rows::default();
    for part in parts {
        let part = part?;
        all.inputs.extend(part.inputs);
        all.outputs.extend(part.outputs);
    }
    Ok(all)
}

fn not_finite(graph: &Graph, value: ValueId, v: f32, sample: usize) -> Error {
    Error::data(
        Site::Value(graph[value].name.clone()),
        format!("is {v} on calibration sample {sample}, so no weights can be solved for"),
    )
    .help("the float model must stay finite on the calibration data; are they in the model's units?")
}

/// What one output of a layer reads, tap by tap.
fn read(
    graph: &Graph,
    layer: &Layer,
    group: usize,
    place: usize,
    input: &Tensor,
    to: &mut Vec<f32>,
) -> Result<()> {
    let x = input.as_f32().unwrap_or_default();
    let Sizes { inputs, taps, .. } = layer.sizes;
    let Op::Conv(conv) = &graph[layer.node].op else {
        to.extend_from_slice(&x[place * inputs..(place + 1) * inputs]);
        return Ok(());
    };
    let weights = graph[layer.node].inputs[1].map_or(&[][..], |w| &graph[w].shape[2..]);
    let plane = conv.window(weights).plane(&input.shape()[2..])?;
    let ([ih, iw], [oh, ow], [_, kw]) = (plane.input, plane.out, plane.kernel);
    let (batch, oy, ox) = (place / (oh * ow), place / ow % oh, place % ow);
    let channels = &x[(batch * layer.groups + group) * inputs * ih * iw..][..inputs * ih * iw];
    for tap in 0..taps {
        let at = |axis: usize, o: usize, k: usize| {
            (o * plane.strides[axis] + k * plane.dilations[axis])
                .checked_sub(plane.begin[axis])
                .filter(|&i| i < plane.input[axis])
        };
        match (at(0, oy, tap / kw), at(1, ox, tap % kw)) {
            (Some(y), Some(x)) => to.extend((0..inputs).map(|i| channels[(i * ih + y) * iw + x])),
            _ => to.extend(std::iter::repeat_n(0.0, inputs)),
        }
    }
    Ok(())
}

/// The outputs of one group at a place.
fn wanted(graph: &Graph, layer: &Layer, group: usize, place: usize, output: &Tensor, to: &mut Vec<f32>) {
    let y = output.as_f32().unwrap_or_default();
    let rows = layer.sizes.rows;
    if !matches!(graph[layer.node].op, Op::Conv(_)) {
        to.extend_from_slice(&y[place * rows..(place + 1) * rows]);
        return;
    }
    let pixels: usize = output.shape()[2..].iter().product();
    let (batch, pixel) = (place / pixels, place % pixels);
    let first = (batch * layer.groups + group) * rows;
    to.extend((first..first + rows).map(|channel| y[channel * pixels + pixel]));
}
