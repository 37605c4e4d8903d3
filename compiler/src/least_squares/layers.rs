//! The layers with weights of a graph, and what calibration shows of each.
//!
//! In: a float graph and the tensors of its samples. Out: [`Layer`]s in the order of the graph, and the
//! [`Rows`] that a layer's least squares need. Law: of many samples each gives as many rows as any other,
//! at places that its number decides.

use super::matrix::Sizes;
use super::moments::Rows;
use crate::error::{Error, Result, Site};
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::Op;
use crate::parallel;
use crate::tensor::Tensor;

/// A Conv or Dense whose weights are known.
#[derive(Debug, Clone)]
pub struct Layer {
    pub node: NodeId,
    pub name: String,
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
    /// Places of a sample's output, at each of which every weight is used once.
    pub fn places(&self, graph: &Graph) -> usize {
        graph[self.output].len() / (self.groups * self.sizes.rows).max(1)
    }
}

/// All layers with weights, in the order in which they run.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    graph.topological().into_iter().filter_map(|id| layer(graph, id)).collect()
}

fn layer(graph: &Graph, id: NodeId) -> Option<Layer> {
    let node = &graph[id];
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    let (input, weights) = (operand(0)?, operand(1)?);
    graph[weights].constant()?.as_f32()?;
    // A bias that is computed is no bias to solve for.
    if operand(2).is_some_and(|b| graph[b].constant().is_none()) || graph[input].constant().is_some() {
        return None;
    }
    let shape = &graph[weights].shape;
    let groups = match &node.op {
        Op::Conv(conv) => conv.group,
        Op::Dense(_) => 1,
        _ => return None,
    };
    let sizes =
        Sizes { rows: shape[0].checked_div(groups)?, inputs: shape[1], taps: shape[2..].iter().product() };
    let (name, output) = (node.name.clone(), *node.outputs.first()?);
    let layer = Layer { node: id, name, sizes, groups, input, output };
    (sizes.weights() > 0).then_some(layer)
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
    let places = layer.places(graph);
    let most = (ROWS_A_COLUMN * layer.sizes.columns()).max(LEAST_ROWS);
    let each = most.div_ceil(inputs.len().max(1)).min(places);
    let parts = parallel::map(inputs.len(), |sample| -> Result<Rows> {
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
