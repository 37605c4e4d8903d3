//! How well integers may be expected to follow floats: noise of a graph whose every value has 8
//! bits over the very range that it takes.
//!
//! In: the imported graph and samples. Out: what the outputs are with and without the steps of
//! ideal 8-bit values. Law: nothing of the compiler's own quantization enters. A value is rounded
//! to 255 steps between the least and the greatest number that it holds on the samples (and
//! zero); weights to 127 steps a channel; what only moves values adds nothing, and neither does
//! a value that its one reader (an activation, a normalisation) takes over in the same step.

use crate::mutate::Random;
use secateur_compiler::Result;
use secateur_compiler::graph;
use secateur_compiler::graph::{Graph, NodeId, ValueId, ValueKind};
use secateur_compiler::ops::{Op, PadMode};
use secateur_compiler::tensor::Tensor;

/// Outputs of all samples: `[sample][output]`.
pub type Outputs = Vec<Vec<Tensor>>;

/// Signal and noise of one output.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Noise {
    pub signal: f64,
    pub noise: f64,
    /// Of the values that are integers: how many differ, of how many.
    pub differ: usize,
    pub count: usize,
}

impl Noise {
    /// Signal over noise in decibels; without noise infinite.
    pub fn decibels(self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }
}

/// What one output has of it, against its reference.
pub fn noise(have: &Outputs, reference: &Outputs, output: usize) -> Noise {
    let mut sums = Noise::default();
    for (have, want) in have.iter().zip(reference) {
        let (have, want) = (have[output].to_f64_vec(), want[output].to_f64_vec());
        sums.count += want.len();
        for (a, b) in have.iter().zip(&want) {
            sums.signal += b * b;
            sums.noise += (a - b) * (a - b);
            sums.differ += usize::from(a != b);
        }
    }
    sums
}

/// Operators whose results are elements of their operand.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Transpose(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Gather(_)
            | Op::Expand(_)
            | Op::Identity(_)
            | Op::Dropout(_)
            | Op::MaxPool(_)
            | Op::GlobalMaxPool(_)
    ) || matches!(op, Op::Pad(p) if p.mode != PadMode::Constant || p.value == 0.0)
}

/// Whether a value consists of elements of another computed one; those of a constant are rounded
/// where they come to.
fn moved(graph: &Graph, v: ValueId) -> bool {
    let computed = |x: &Option<ValueId>| x.is_some_and(|x| graph[x].constant().is_none());
    graph.producer(v).is_some_and(|p| moves(&graph[p].op) && graph[p].inputs.first().is_some_and(computed))
}

/// A node that the one before it can do in the same step.
fn joins(op: &Op) -> bool {
    matches!(op, Op::Relu(_) | Op::Clip(_) | Op::BatchNormalization(_))
}

fn taken_over(graph: &Graph, v: ValueId) -> bool {
    graph.sole_reader(v).is_some_and(|(reader, _)| joins(&graph[reader].op))
}

/// Rounds to the given number of steps over `lo..=hi` and zero.
fn rounded(t: &Tensor, (lo, hi): (f32, f32)) -> Tensor {
    let Some(values) = t.as_f32() else { return t.clone() };
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let step = (hi - lo) / 255.0;
    if !(step.is_finite() && step > 0.0) {
        return t.clone();
    }
    let steps = (lo / step).round();
    let value = |x: &f32| ((x / step).round() - steps).clamp(0.0, 255.0) * step + steps * step;
    Tensor::f32(t.shape(), values.iter().map(value).collect())
}

/// Weights with 127 steps to each side, by output channel.
fn rounded_weights(t: &Tensor, axis: usize) -> Tensor {
    let Some(values) = t.as_f32() else { return t.clone() };
    let shape = t.shape();
    let inner: usize = shape[axis + 1..].iter().product();
    let channel = |i: usize| i / inner % shape[axis];
    let mut most = vec![0f32; shape[axis]];
    for (i, x) in values.iter().enumerate() {
        most[channel(i)] = most[channel(i)].max(x.abs());
    }
    let value = |(i, x): (usize, &f32)| {
        let step = most[channel(i)] / 127.0;
        if step > 0.0 { (x / step).round() * step } else { *x }
    };
    Tensor::f32(shape, values.iter().enumerate().map(value).collect())
}

/// A constant operand as 8 bits hold it.
fn constant(graph: &Graph, id: NodeId, operand: usize, t: &Tensor) -> Tensor {
    let rank = t.shape().len();
    match (&graph[id].op, operand) {
        (Op::Conv(_), 1) | (Op::Recurrent(_), 1 | 2) => rounded_weights(t, 0),
        // Biases, states and peepholes have more bits.
        (Op::Recurrent(_), _) => t.clone(),
        (Op::Gemm(g), 1) => rounded_weights(t, usize::from(!g.trans_b)),
        (Op::MatMul(_), 1) if rank >= 2 => rounded_weights(t, rank - 1),
        // Biases have 32 bits, and normalisations become part of the weights.
        (Op::Conv(_) | Op::Gemm(_), 2) | (Op::BatchNormalization(_), _) => t.clone(),
        (op, _) if moves(op) => t.clone(),
        _ => {
            let values = t.to_f32_vec();
            let fold = |f: fn(f32, f32) -> f32| values.iter().copied().fold(0.0, f);
            rounded(t, (fold(f32::min), fold(f32::max)))
        }
    }
}

/// Whether some value is brought to whole numbers: what 8 bits cost there is the luck of where their steps lie
/// between these.
pub(super) fn steps(graph: &Graph) -> bool {
    graph
        .nodes()
        .any(|(_, n)| matches!(&n.op, Op::Map(m) if ["Ceil", "Floor", "Round"].contains(&m.function)))
}

/// By how much the ranges of [`simulate`] are wider, one after the other, where [`steps`] says so.
const GRIDS: [f32; 5] = [1.0, 1.01, 1.02, 1.03, 1.04];

/// The outputs that ideal 8-bit values give, apart and with joined ranges, for each of some grids.
#[derive(Debug)]
pub struct Ideal(Vec<[Outputs; 2]>);

impl Ideal {
    pub fn of(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<Ideal> {
        let grids = if steps(graph) { &GRIDS[..] } else { &GRIDS[..1] };
        let both = |&wider: &f32| {
            Ok([simulate(graph, samples, false, wider)?, simulate(graph, samples, true, wider)?])
        };
        Ok(Ideal(grids.iter().map(both).collect::<Result<_>>()?))
    }
    /// Noise of an output on the worst of the grids; `which`: 0 apart, 1 with joined ranges.
    pub fn noise(&self, which: usize, reference: &Outputs, output: usize, integers: bool) -> Noise {
        let worse = |a: &Noise, b: &Noise| if integers { b.differ > a.differ } else { b.noise > a.noise };
        let all = self.0.iter().map(|both| noise(&both[which], reference, output));
        all.reduce(|a, b| if worse(&a, &b) { b } else { a }).unwrap_or_default()
    }
}

/// The outputs for all samples as ideal 8-bit values give them. `joined`: operands of a Concat,
/// and what they are moved from, take the range of its result, since one scale serves all. Ranges are `wider` than
/// what the samples span.
pub fn simulate(graph: &Graph, samples: &[Vec<Tensor>], joined: bool, wider: f32) -> Result<Outputs> {
    let mut ranges = vec![(0f32, 0f32); graph.values().count()];
    for sample in samples {
        graph::run_with(graph, sample, &mut |v, t| {
            let range = &mut ranges[v.index()];
            for &x in t.as_f32().unwrap_or_default() {
                *range = (range.0.min(x), range.1.max(x));
            }
        })?;
    }
    for id in graph.topological().into_iter().rev().filter(|_| joined) {
        let node = &graph[id];
        if !(moves(&node.op) || matches!(node.op, Op::Concat(_))) {
            continue;
        }
        for &out in &node.outputs {
            let whole = ranges[out.index()];
            for v in node.inputs.iter().flatten() {
                let own = &mut ranges[v.index()];
                *own = (own.0.min(whole.0), own.1.max(whole.1));
            }
        }
    }
    let rounding = |id: NodeId, i: usize, t: &Tensor| match graph[id].op {
        // The constants of a model that is quantized already are what they are.
        Op::QuantizeLinear(_) | Op::DequantizeLinear(_) => t.clone(),
        _ => constant(graph, id, i, t),
    };
    walk(graph, samples, &rounding, &mut |op, v, t, _| {
        let exact = op.is_some() && (moved(graph, v) || taken_over(graph, v));
        let (lo, hi) = ranges[v.index()];
        if exact { t } else { rounded(&t, (wider * lo, wider * hi)) }
    })
}

/// The outputs for all samples where every computed value is off by a random part of a millionth,
/// and of a ten-millionth of the greatest operand: what the order of additions may change.
///
/// Several draws where an output is an integer: one may leave a tie as it is.
pub fn shaken(graph: &Graph, samples: &[Vec<Tensor>]) -> Result<Vec<Outputs>> {
    let mut random = Random::new(1);
    let integers = graph.outputs().iter().any(|&v| !graph[v].dtype.is_float());
    (0..if integers { DRAWS } else { 1 })
        .map(|_| {
            walk(graph, samples, &|_, _, t| t.clone(), &mut |_, _, t, greatest| {
                let Some(values) = t.as_f32() else { return t };
                let mut off = || (random.below(2001) as f32 - 1000.0) * 1e-3;
                let shake = |x: &f32| x + off() * (1e-6 * x.abs() + 1e-7 * greatest);
                Tensor::f32(t.shape(), values.iter().map(shake).collect())
            })
        })
        .collect()
}

/// A tie of two survives all of them once in four thousand times.
const DRAWS: usize = 12;

/// Changes a computed value: who computes it (nobody: an input), which it is, what it holds, and
/// the greatest magnitude among the operands.
type Touch<'a> = &'a mut dyn FnMut(Option<&Op>, ValueId, Tensor, f32) -> Tensor;

/// Runs all samples; `fix` may change constant operands, `touch` inputs and results.
fn walk(
    graph: &Graph,
    samples: &[Vec<Tensor>],
    fix: &dyn Fn(NodeId, usize, &Tensor) -> Tensor,
    touch: Touch<'_>,
) -> Result<Outputs> {
    let count = graph.values().count();
    let order = graph.topological();
    let mut fixed: Vec<Vec<Option<Tensor>>> = vec![Vec::new(); order.len()];
    for (fixed, &id) in fixed.iter_mut().zip(&order) {
        for (i, v) in graph[id].inputs.iter().enumerate() {
            fixed.push(v.and_then(|v| graph[v].constant().map(|t| fix(id, i, t))));
        }
    }
    let mut all = Vec::new();
    for sample in samples {
        let mut live: Vec<Option<Tensor>> = vec![None; count];
        for (&v, t) in graph.inputs().iter().zip(sample) {
            live[v.index()] = Some(touch(None, v, t.clone(), 0.0));
        }
        for (fixed, &id) in fixed.iter().zip(&order) {
            let node = &graph[id];
            let operands: Vec<Option<&Tensor>> = node
                .inputs
                .iter()
                .zip(fixed)
                .map(|(v, fixed)| v.and_then(|v| fixed.as_ref().or(live[v.index()].as_ref())))
                .collect();
            let all = operands.iter().flatten().filter_map(|t| t.as_f32()).flatten();
            let greatest = all.fold(0f32, |m, x| m.max(x.abs()));
            let results = node.op.eval(&operands)?;
            for (&v, t) in node.outputs.iter().zip(results) {
                live[v.index()] = Some(touch(Some(&node.op), v, t, greatest));
            }
        }
        let output = |&v: &ValueId| match &graph[v].kind {
            ValueKind::Constant(t) => (**t).clone(),
            _ => live[v.index()].clone().expect("every output is computed"),
        };
        all.push(graph.outputs().iter().map(output).collect());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::{Attr, Case, Input, Node};
    use super::*;
    use std::collections::BTreeMap;

    /// `x` and what `with` makes of it, joined.
    fn joined(first: Node, constants: BTreeMap<String, Tensor>) -> Case {
        let mut random = Random::new(3);
        let mut sample =
            || Tensor::f32(&[1, 30], (0..30).map(|_| random.below(2001) as f32 * 1e-3 - 1.0).collect());
        let join = Node {
            op: "Concat",
            inputs: vec!["x".into(), "a".into()],
            outputs: vec!["y".into()],
            attrs: vec![("axis", Attr::Int(1))],
        };
        Case {
            opset: 17,
            nodes: vec![first, join],
            constants,
            inputs: vec![Input { name: "x".into(), samples: (0..20).map(|_| sample()).collect() }],
            outputs: vec!["y".into()],
        }
    }

    /// Decibels that ideal 8-bit values leave of the output, with ranges joined.
    fn ideal(case: &Case) -> f64 {
        let graph = secateur_compiler::onnx::import(&case.bytes(), &BTreeMap::new()).expect("it imports");
        let samples: Vec<_> = (0..case.samples()).map(|i| case.sample(i)).collect();
        let real = samples.iter().map(|s| graph::run(&graph, s).expect("it runs")).collect();
        noise(&simulate(&graph, &samples, true, 1.0).expect("it runs"), &real, 0).decibels()
    }

    #[test]
    fn a_join_of_unlike_ranges_excuses_nothing() {
        // An operand that the range of the result leaves out costs decibels that 8 bits do not.
        let token =
            Node { op: "Identity", inputs: vec!["c".into()], outputs: vec!["a".into()], attrs: vec![] };
        let wide = Tensor::f32(&[1, 4], vec![4.0, -3.0, 2.5, 3.5]);
        assert!(ideal(&joined(token, BTreeMap::from([("c".into(), wide)]))) > 35.0);
        for op in ["Tanh", "Sigmoid", "HardSigmoid", "Softmax"] {
            let bounded = Node { op, inputs: vec!["x".into()], outputs: vec!["a".into()], attrs: vec![] };
            assert!(ideal(&joined(bounded, BTreeMap::new())) > 35.0, "{op}");
        }
    }

    #[test]
    fn a_difference_of_near_numbers_is_excused() {
        let near_one = (0..30).map(|i| 1.0 + 0.002 * ((i * 7 % 11) as f32 - 5.0)).collect();
        let mut case = joined(
            Node {
                op: "Mul",
                inputs: vec!["x".into(), "c".into()],
                outputs: vec!["a".into()],
                attrs: vec![],
            },
            // One factor for all would be rounded in step with `x`.
            BTreeMap::from([("c".into(), Tensor::f32(&[1, 30], near_one))]),
        );
        case.nodes[1] = Node { op: "Sub", attrs: vec![], ..case.nodes[1].clone() };
        assert!(ideal(&case) < 10.0);
    }
}
