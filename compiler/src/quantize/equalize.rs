//! Equalization across layers: channels of unlike ranges get like ones before they share a scale.
//!
//! In: a float graph and its samples. Out: the same function, bit for bit, whose weights are scaled by channel:
//! the rows of a layer by a power of two, the columns of those that read it by the inverse (Nagel et al.,
//! Data-Free Quantization Through Weight Equalization and Bias Correction, 2019). Law: only what passes on a
//! factor of a channel as it is lies between the layers; a pair is left alone unless the noise that rounding
//! makes in its readers falls much, and layers of four bits are, whose weights have no room for it.

use super::weights;
use super::weights::four_bit;
use crate::error::Result;
use crate::graph::walk::Walk;
use crate::graph::{Clamp, Graph, NodeId, Patch, ValueId};
use crate::observe::Observer;
use crate::ops::Op;
use crate::options::Options;
use crate::tensor::{Samples, Tensor};
use std::collections::BTreeMap;

/// How the channels of a value lie in it: the channel of element `i` is `i / inner % channels`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lie {
    channels: usize,
    inner: usize,
}

/// A layer and those that read it through nothing but what passes factors of channels on.
#[derive(Debug)]
struct Pair {
    writer: NodeId,
    lie: Lie,
    /// What lies between them.
    values: Vec<(ValueId, Lie)>,
    readers: Vec<Reader>,
    /// Whether the value between them is never negative.
    positive: bool,
}

/// How a value of the float network was scaled: the channel of element `i` is `i / inner % divisors.len()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    /// By channel.
    pub divisors: Vec<f64>,
    pub inner: usize,
}

impl Scaled {
    /// What element `i` was divided by.
    pub fn divisor(&self, i: usize) -> f64 {
        self.divisors.get(i / self.inner.max(1) % self.divisors.len().max(1)).copied().unwrap_or(1.0)
    }
}

#[derive(Debug)]
struct Reader {
    node: NodeId,
    /// The channel that each weight of a row reads, by group and place in the row.
    columns: Vec<Vec<usize>>,
}

/// What samples show of a channel.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Greatest magnitude.
    most: f64,
    /// Mean square.
    energy: f64,
}

/// What may be left of the noise, at most: by estimate, which takes channels as independent and ranges as
/// not clipped.
const WORTH: f64 = 0.6;
/// A channel is scaled by at most two to this, either way: multipliers that lie far apart need a shift each, and
/// that takes flash.
const EXPONENT: f64 = 2.0;
/// Powers of a channel's range, and of the share of its readers' greatest weights that it has, that are tried
/// as its factor. Readers of one channel a row (depthwise) lose nothing by the first power of the range.
const POWERS: [(f64, f64); 7] =
    [(0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0), (0.5, 0.0), (0.75, 0.25), (1.0, 0.0)];

/// Scales the channels of all pairs of layers that gain by it. Gives the values that are not what they were, by
/// name.
///
/// Errors: samples that do not fit the graph; that the observer stops it.
pub fn equalize(
    graph: &mut Graph,
    samples: &Samples,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<BTreeMap<String, Scaled>> {
    let pairs = pairs(graph, options);
    let mut scaled = BTreeMap::new();
    if pairs.is_empty() {
        return Ok(scaled);
    }
    let inputs = crate::samples::carried(samples, graph)?;
    let seen = observe(graph, &pairs, &inputs, observer)?;
    for (pair, seen) in pairs.iter().zip(&seen) {
        if let Some(factors) = factors(graph, pair, seen) {
            apply(graph, pair, &factors);
            let of = |lie: &Lie| Scaled { divisors: factors.clone(), inner: lie.inner };
            scaled.extend(pair.values.iter().map(|(v, lie)| (graph[*v].name.clone(), of(lie))));
        }
    }
    Ok(scaled)
}

fn pairs(graph: &Graph, options: &Options) -> Vec<Pair> {
    let four = four_bit(graph, options);
    let pair = |writer: NodeId| {
        let node = &graph[writer];
        let value = *node.outputs.first()?;
        let weights = own_constant(graph, writer, 1)?;
        if node.inputs.get(2).copied().flatten().is_some() {
            own_constant(graph, writer, 2)?;
        }
        let shape = &graph[value].shape;
        let lie = match node.op {
            Op::Conv(_) => Lie { channels: shape[1], inner: shape[2..].iter().product() },
            Op::Dense(_) => Lie { channels: *shape.last()?, inner: 1 },
            _ => return None,
        };
        // Every row of the weights is a channel of the result.
        (graph[weights].shape.first() == Some(&lie.channels)).then_some(())?;
        passes_on(node.clamp).then_some(())?;
        let (mut values, mut readers) = (Vec::new(), Vec::new());
        gather(graph, (value, lie), &mut values, &mut readers)?;
        Some(Pair { writer, lie, values, readers, positive: node.clamp.lo == 0.0 })
    };
    let coarse = |p: &Pair| p.readers.iter().any(|r| four.contains(&r.node));
    let pairs = graph.topological().into_iter().filter_map(pair);
    pairs.filter(|p| !p.readers.is_empty() && !coarse(p)).collect()
}

/// Whether limits leave a positive factor as it is: none at all, or those of a Relu.
fn passes_on(clamp: Clamp) -> bool {
    [Clamp::NONE, Clamp { lo: 0.0, hi: f32::INFINITY }].contains(&clamp)
}

/// An operand that is a constant in floats and no other node's.
fn own_constant(graph: &Graph, id: NodeId, operand: usize) -> Option<ValueId> {
    let v = graph[id].inputs.get(operand).copied().flatten()?;
    graph[v].constant()?.as_f32()?;
    (graph[v].quant.is_none() && graph.consumers(v) == [id]).then_some(v)
}

/// The layers that read a value, all of them, and what lies before them; `None` where something else does, too.
fn gather(
    graph: &Graph,
    (value, lie): (ValueId, Lie),
    values: &mut Vec<(ValueId, Lie)>,
    readers: &mut Vec<Reader>,
) -> Option<()> {
    values.push((value, lie));
    if graph.outputs().contains(&value) || graph[value].quant.is_some() {
        return None;
    }
    let shape = &graph[value].shape;
    // Channels on the second axis, and nothing but places behind it.
    let planes = shape.get(1) == Some(&lie.channels) && shape[2..].iter().product::<usize>() == lie.inner;
    for id in graph.consumers(value) {
        let node = &graph[id];
        if node.inputs.iter().filter(|v| **v == Some(value)).count() != 1 || node.inputs[0] != Some(value) {
            return None;
        }
        let inner = |graph: &Graph, v: ValueId| graph[v].shape[2..].iter().product();
        let next = match &node.op {
            Op::Conv(conv) if planes => {
                let w = own_constant(graph, id, 1)?;
                let (inputs, taps) = (graph[w].shape[1], graph[w].shape[2..].iter().product::<usize>());
                let columns =
                    |group: usize| (0..inputs * taps).map(move |i| group * inputs + i / taps).collect();
                readers.push(Reader { node: id, columns: (0..conv.group).map(columns).collect() });
                continue;
            }
            Op::Dense(_) if shape.last() == Some(&(lie.channels * lie.inner)) => {
                own_constant(graph, id, 1)?;
                let columns = (0..lie.channels * lie.inner).map(|i| i / lie.inner).collect();
                readers.push(Reader { node: id, columns: vec![columns] });
                continue;
            }
            Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_)
                if planes =>
            {
                Lie { inner: inner(graph, node.outputs[0]), ..lie }
            }
            Op::Flatten(_) | Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Relu(_) => lie,
            _ => return None,
        };
        if node.outputs.len() != 1 || !passes_on(node.clamp) {
            return None;
        }
        gather(graph, (node.outputs[0], next), values, readers)?;
    }
    Some(())
}

/// What each channel of the pairs' values holds on the samples.
fn observe(
    graph: &Graph,
    pairs: &[Pair],
    inputs: &[Vec<Tensor>],
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<Seen>>> {
    let mut all = vec![Vec::new(); pairs.len()];
    let mut walk = Walk::new(graph, inputs);
    let order = graph.topological();
    for (done, &id) in order.iter().enumerate() {
        super::ptq::stop(observer)?;
        observer.progress("equalize", done, order.len());
        let clamp = graph[id].clamp;
        let mut results = walk.eval(graph, id, inputs.len(), &[])?;
        for tensors in &mut results {
            *tensors = std::mem::take(tensors).into_iter().map(|t| super::ptq::clamped(t, clamp)).collect();
        }
        if let Some(at) = pairs.iter().position(|p| p.writer == id) {
            all[at] = channels(pairs[at].lie, &results[0]);
        }
        walk.advance(graph, id, results);
    }
    Ok(all)
}

fn channels(lie: Lie, tensors: &[Tensor]) -> Vec<Seen> {
    let mut seen = vec![Seen::default(); lie.channels];
    let mut elements = 0usize;
    for values in tensors.iter().filter_map(Tensor::as_f32) {
        elements += values.len();
        for (i, run) in values.chunks(lie.inner.max(1)).enumerate() {
            let channel = &mut seen[i % lie.channels];
            for v in run.iter().map(|v| f64::from(*v)) {
                channel.most = channel.most.max(v.abs());
                channel.energy += v * v;
            }
        }
    }
    let each = (elements / lie.channels.max(1)).max(1) as f64;
    seen.iter_mut().for_each(|s| s.energy /= each);
    seen
}

/// By channel, what the value between the layers is divided by; `None` where that is worth little.
fn factors(graph: &Graph, pair: &Pair, seen: &[Seen]) -> Option<Vec<f64>> {
    if seen.iter().any(|s| !s.most.is_finite() || !s.energy.is_finite()) {
        return None;
    }
    let shares = shares(graph, pair);
    let ones = vec![1.0; pair.lie.channels];
    let before = noise(graph, pair, seen, &ones);
    let tried = POWERS.iter().map(|(range, share)| {
        // What is never anything but zero, or read by nobody, has no wish.
        let wish = |(seen, used): (&Seen, &f64)| {
            let meant = seen.most > 0.0 && *used > 0.0;
            meant.then(|| range * seen.most.log2() - share * used.log2())
        };
        let wishes: Vec<Option<f64>> = seen.iter().zip(&shares).map(wish).collect();
        let mut sorted: Vec<f64> = wishes.iter().flatten().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let factor = |wish: &Option<f64>| match wish {
            Some(wish) => (wish - middle).round_ties_even().clamp(-EXPONENT, EXPONENT).exp2(),
            None => 1.0,
        };
        let factors: Vec<f64> = wishes.iter().map(factor).collect();
        (noise(graph, pair, seen, &factors), factors)
    });
    let (after, factors) = tried.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (after < WORTH * before).then_some(factors)
}

/// By channel, the greatest share of a row's greatest weight that one of its weights has.
fn shares(graph: &Graph, pair: &Pair) -> Vec<f64> {
    let mut shares = vec![0f64; pair.lie.channels];
    for reader in &pair.readers {
        rows(graph, reader, |columns, row| {
            let most = row.iter().fold(0f64, |m, w| m.max(f64::from(w.abs())));
            for (c, w) in columns.iter().zip(row).filter(|_| most > 0.0) {
                shares[*c] = shares[*c].max(f64::from(w.abs()) / most);
            }
        });
    }
    shares
}

/// Each row of a reader's weights with the channels that they read.
fn rows(graph: &Graph, reader: &Reader, mut f: impl FnMut(&[usize], &[f32])) {
    let Some(w) = graph[reader.node].inputs[1] else { return };
    let Some(values) = graph[w].constant().and_then(|t| t.as_f32()) else { return };
    let width = reader.columns[0].len();
    let each = values.len() / width.max(1) / reader.columns.len();
    for (i, row) in values.chunks(width.max(1)).enumerate() {
        f(&reader.columns[(i / each.max(1)).min(reader.columns.len() - 1)], row);
    }
}

/// The noise that rounding of the value between and of its readers' weights makes in their results, as a share
/// of what these are, over all rows; errors are taken as uniform in a step, and channels as independent.
fn noise(graph: &Graph, pair: &Pair, seen: &[Seen], factors: &[f64]) -> f64 {
    let most = seen.iter().zip(factors).fold(0f64, |m, (s, f)| m.max(s.most / f));
    let step = most / if pair.positive { 255.0 } else { 127.5 };
    let mut parts = Vec::new();
    for reader in &pair.readers {
        rows(graph, reader, |columns, row| {
            let mut greatest = 0f64;
            let (mut signal, mut from_values, mut read) = (0.0, 0.0, 0.0);
            for (&c, w) in columns.iter().zip(row) {
                let (w, factor) = (f64::from(*w), factors[c]);
                greatest = greatest.max(w.abs() * factor);
                signal += w * w * seen[c].energy;
                from_values += w * w * factor * factor;
                read += seen[c].energy / (factor * factor);
            }
            let weight = greatest / f64::from(weights::EIGHT_BITS);
            parts.push((signal, (from_values * step * step + read * weight * weight) / 12.0));
        });
    }
    // Rows that say next to nothing must not decide.
    let mean = parts.iter().map(|p| p.0).sum::<f64>() / parts.len().max(1) as f64;
    parts.iter().map(|(signal, noise)| noise / (signal + 1e-3 * mean).max(f64::MIN_POSITIVE)).sum()
}

fn apply(graph: &mut Graph, pair: &Pair, factors: &[f64]) {
    let inverse: Vec<f32> = factors.iter().map(|f| (1.0 / f) as f32).collect();
    for operand in [1, 2] {
        let Some(v) = graph[pair.writer].inputs.get(operand).copied().flatten() else { continue };
        let row = graph[v].len() / pair.lie.channels.max(1);
        scale(graph, v, |i| inverse[i / row.max(1)]);
    }
    for reader in &pair.readers {
        let Some(w) = graph[reader.node].inputs[1] else { continue };
        let width = reader.columns[0].len();
        let each = graph[w].len() / reader.columns.len();
        scale(graph, w, |i| factors[reader.columns[i / each.max(1)][i % width]] as f32);
    }
}

fn scale(graph: &mut Graph, v: ValueId, factor: impl Fn(usize) -> f32) {
    let Some(tensor) = graph[v].constant().cloned() else { return };
    let Some(values) = tensor.as_f32() else { return };
    let scaled = values.iter().enumerate().map(|(i, x)| x * factor(i)).collect();
    Patch::new(graph).set_constant(v, Tensor::f32(tensor.shape(), scaled));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Silent;
    use crate::ops::Conv;
    use crate::tensor::DType;

    /// A pointwise convolution whose channels have unlike ranges, a Relu with it, and a depthwise one behind.
    fn graph(clamp: Clamp) -> Graph {
        let mut graph = Graph::default();
        let mut patch = Patch::new(&mut graph);
        let x = patch.add_input("x", DType::F32, &[1, 2, 5]);
        let w = patch.add_constant("w", Tensor::f32(&[3, 2, 1], vec![0.7, 0.3, 0.01, 0.02, 0.5, 0.6]));
        let b = patch.add_constant("b", Tensor::f32(&[3], vec![0.1, 0.003, -0.2]));
        let v = patch.add_constant("v", Tensor::f32(&[3, 1, 1], vec![0.3, 15.0, 0.4]));
        let (y, z) =
            (patch.add_value("y", DType::F32, &[1, 3, 5]), patch.add_value("z", DType::F32, &[1, 3, 5]));
        let conv = |group| Conv { strides: vec![1], pads: vec![0, 0], dilations: vec![1], group }.into();
        let first = patch.add_node("first", conv(1), vec![Some(x), Some(w), Some(b)], vec![y]);
        patch.add_node("second", conv(3), vec![Some(y), Some(v)], vec![z]);
        patch.node_mut(first).clamp = clamp;
        patch.add_output(z);
        graph
    }

    fn samples() -> Samples {
        let values = (0..60).map(|i| ((i * 37 + 11) % 41) as f32 / 20.0 - 1.0).collect();
        let mut samples = Samples::default();
        samples.arrays.insert("x".to_owned(), Tensor::f32(&[6, 1, 2, 5], values));
        samples
    }

    fn weights(graph: &Graph, name: &str) -> Vec<f32> {
        let mut values = graph.values().filter(|(_, v)| v.name == name);
        values.next().and_then(|(_, v)| v.constant()).unwrap().to_f32_vec()
    }

    const RELU: Clamp = Clamp { lo: 0.0, hi: f32::INFINITY };

    #[test]
    fn factors_are_powers_of_two_and_the_function_stays_bit_for_bit() {
        for clamp in [Clamp::NONE, RELU] {
            let before = graph(clamp);
            let mut after = before.clone();
            let scaled = equalize(&mut after, &samples(), &Options::default(), &mut Silent).unwrap();
            let factors: Vec<f32> =
                weights(&after, "v").iter().zip(weights(&before, "v")).map(|(a, b)| a / b).collect();
            // Five elements a channel.
            let said: Vec<f32> = (0..3).map(|c| scaled["y"].divisor(5 * c + 4) as f32).collect();
            assert_eq!((said, scaled.len()), (factors.clone(), 1));
            assert!(factors.iter().all(|f| f.log2().fract() == 0.0), "{factors:?}");
            assert!(factors[1] <= factors[0] / 4.0, "{factors:?}");
            for sample in crate::samples::split(&samples(), &before, None).unwrap() {
                let run = |graph: &Graph| crate::graph::run(graph, &sample).unwrap();
                assert_eq!(run(&after), run(&before));
            }
        }
    }

    #[test]
    fn what_passes_no_factor_on_keeps_its_weights() {
        // A bound that is met above, and a value that somebody else gets.
        let bounded = graph(Clamp { lo: 0.0, hi: 6.0 });
        let mut seen = graph(RELU);
        let y = seen.values().find(|(_, v)| v.name == "y").unwrap().0;
        Patch::new(&mut seen).add_output(y);
        for before in [bounded, seen] {
            let mut after = before.clone();
            equalize(&mut after, &samples(), &Options::default(), &mut Silent).unwrap();
            assert_eq!(after, before);
        }
    }

    #[test]
    fn eight_bits_lose_less_of_small_channels() {
        // What rounding of the value between costs its reader.
        let error = |mut graph: Graph| {
            let float = graph.clone();
            let options = crate::options::Options::default();
            let none = std::collections::BTreeSet::new();
            crate::quantize::quantize(&mut graph, &samples(), &options, &none, &mut Silent).unwrap();
            let (y, second) = (ValueId(4), graph.topological()[1]);
            assert_eq!(graph[y].name, "y");
            let quant = graph[y].quant.clone().unwrap();
            let mut listened = float.clone();
            Patch::new(&mut listened).add_output(y);
            let weights = graph[graph[second].inputs[1].unwrap()].real_constant().unwrap().into_owned();
            let mut sum = 0.0;
            for sample in crate::samples::split(&samples(), &float, None).unwrap() {
                let [want, y] =
                    <[Tensor; 2]>::try_from(crate::graph::run(&listened, &sample).unwrap()).unwrap();
                let y = crate::quantize::rounded(y, &quant);
                let have = float[second].op.eval(&[Some(&y), Some(&weights), None]).unwrap();
                let pairs = want.to_f64_vec().into_iter().zip(have[0].to_f64_vec());
                sum += pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            }
            sum
        };
        let before = graph(RELU);
        let mut after = before.clone();
        equalize(&mut after, &samples(), &Options::default(), &mut Silent).unwrap();
        let (before, after) = (error(before), error(after));
        assert!(after < 0.7 * before, "{after} against {before}");
    }
}
