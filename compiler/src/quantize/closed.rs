//! Scores that a mask closes: so far below the greatest of their row that a Softmax leaves nothing of them.
//!
//! In: a float graph, and what samples held. Out: which values may be minus infinity, because all that reads them adds
//! them to scores or chooses among them, and how far down each need reach. Law: what is cut off changes no share of a
//! Softmax by more than `exp(-DEPTH)`.

use super::calibrate::{Histogram, affine};
use super::ptq::{Seen, rounded};
use crate::error::Result;
use crate::graph::closing::{asks_for_open, backwards, hands_on, softmax};
use crate::graph::{Graph, NodeId, Patch, Quant, ValueId};
use crate::ops::Op;
use crate::ops::attention::{MASK, Mask};
use crate::tensor::{DType, Tensor};
use crate::warning::Warning;
use std::borrow::Cow;

/// How far below the greatest score of a row nothing is left: `exp(-16)` is a 34,000th of a step of a share.
const DEPTH: f32 = 16.0;

/// What stands for minus infinity where ends of ranges are looked for.
const ABYSS: f32 = -1e30;

/// What the range of a value is found from: scores no further below the greatest of their row than counts, and a
/// number for minus infinity where it closes scores.
pub(super) fn ranged<'a>(graph: &Graph, v: ValueId, tensor: &'a Tensor) -> Cow<'a, Tensor> {
    let Some(values) = tensor.as_f32() else { return Cow::Borrowed(tensor) };
    if let Some(id) = softmax(graph, v)
        && let Op::Softmax(softmax) = &graph[id].op
    {
        return Cow::Owned(softmax.raised(tensor, DEPTH));
    }
    if !values.contains(&f32::NEG_INFINITY) {
        return Cow::Borrowed(tensor);
    }
    Cow::Owned(Tensor::f32(tensor.shape(), values.iter().map(|x| x.max(ABYSS)).collect()))
}

/// The range for the operand of a Softmax, by the square error of the probabilities: logits far
/// below the greatest need no precision, which a histogram of logits cannot know.
pub(super) fn logit_quant(
    graph: &Graph,
    softmax: NodeId,
    logits: &[Tensor],
    probabilities: &[Tensor],
    histogram: &Histogram,
) -> Result<Quant> {
    let error = |quant: &Quant| -> Result<f64> {
        let mut sum = 0.0;
        for (x, want) in logits.iter().zip(probabilities) {
            let have = graph[softmax].op.eval(&[Some(&rounded(x.clone(), quant))])?;
            let pairs = have.first().and_then(Tensor::as_f32).into_iter().flatten();
            // Rows that are closed whole have no probabilities.
            for (a, b) in pairs.zip(want.as_f32().into_iter().flatten()).filter(|(_, b)| !b.is_nan()) {
                sum += f64::from(a - b) * f64::from(a - b);
            }
        }
        Ok(sum)
    };
    let start = histogram.quant();
    let (lo, hi) = (histogram.lo.min(0.0), histogram.hi.max(0.0));
    let mut best = (error(&start)?, start, 1.0f32, 1.0f32);
    for end in [0, 1, 0] {
        for step in 0..=24u8 {
            let keep = 1.0 - 0.03 * f32::from(step);
            let (l, h) = if end == 0 { (keep, best.3) } else { (best.2, keep) };
            let candidate = affine(lo * l, hi * h);
            let e = error(&candidate)?;
            if e < best.0 {
                best = (e, candidate, l, h);
            }
        }
    }
    Ok(best.1)
}

/// Whether a node gives no numbers for a row that is closed whole.
pub(super) fn empties(op: &Op) -> bool {
    match op {
        Op::Softmax(_) => true,
        Op::Attention(attention) => attention.mask != Mask::All,
        _ => false,
    }
}

/// By value index, how far down it need reach, where it leads to scores alone.
pub(super) fn needs(graph: &Graph, seen: &Seen) -> Vec<Option<f32>> {
    let held = |v: ValueId| seen.histograms.get(v.index()).and_then(Option::as_ref);
    let most = |v: Option<ValueId>| -> Option<f32> {
        let v = v?;
        let most = match graph[v].real_constant() {
            Some(known) => known.to_f32_vec().into_iter().fold(f32::NEG_INFINITY, f32::max),
            None => held(v)?.hi,
        };
        Some(most.max(0.0))
    };
    let mut all: Vec<Option<Option<f32>>> = vec![None; graph.values().count()];
    for (id, place, v) in backwards(graph) {
        let outputs = || {
            let of = |o: &ValueId| all[o.index()].flatten().filter(|_| !graph.outputs().contains(o));
            let each: Option<Vec<f32>> = graph[id].outputs.iter().map(of).collect();
            each?.into_iter().reduce(f32::min)
        };
        let need = match &graph[id].op {
            Op::Softmax(_) => softmax(graph, v).and(held(v)).map(|h: &Histogram| h.lo.min(0.0)),
            Op::Attention(attention) if place == MASK => attention.floor(),
            Op::Add(_) => {
                let other = graph[id].inputs.get(1 - place.min(1)).copied().flatten();
                outputs().zip(most(other)).map(|(need, most)| need - most)
            }
            Op::Map(_) if asks_for_open(graph, id) => Some(0.0),
            op if hands_on(op, place) => outputs(),
            _ => None,
        };
        let before = all[v.index()];
        all[v.index()] = Some(match before {
            None => need,
            Some(before) => before.zip(need).map(|(a, b)| a.min(b)),
        });
    }
    let port = |v: ValueId| graph.outputs().contains(&v);
    graph.values().map(|(v, _)| all[v.index()].flatten().filter(|_| !port(v))).collect()
}

/// Raises constants that close scores to what closing takes, so that eight bits hold what else they say.
pub(super) fn raise(graph: &mut Graph, needs: &[Option<f32>]) {
    for id in graph.topological() {
        let op = &graph[id].op;
        if !matches!(op, Op::Add(_)) && !hands_on(op, 1) && !hands_on(op, 0) {
            continue;
        }
        let need = |v: ValueId| needs.get(v.index()).copied().flatten();
        let Some(&result) = graph[id].outputs.first() else { continue };
        let Some(least) = need(result) else { continue };
        if let Op::Pad(pad) = op
            && pad.value < f64::from(least)
        {
            let mut pad = pad.clone();
            pad.value = f64::from(least);
            Patch::new(graph).node_mut(id).op = pad.into();
            continue;
        }
        for (place, v) in graph[id].inputs.clone().into_iter().enumerate() {
            let Some((v, least)) = v.and_then(|v| Some((v, need(v)?))) else { continue };
            let plain = graph[v].dtype == DType::F32 && graph[v].quant.is_none();
            let Some(values) = graph[v].constant().filter(|_| plain).and_then(|t| t.as_f32()) else {
                continue;
            };
            if values.iter().all(|x| *x >= least) {
                continue;
            }
            let raised = Tensor::f32(&graph[v].shape, values.iter().map(|x| x.max(least)).collect());
            let name = graph[v].name.clone();
            let mut patch = Patch::new(graph);
            let constant = patch.add_constant(&name, raised);
            patch.node_mut(id).inputs[place] = Some(constant);
        }
    }
}

/// Warns of rows that a mask closed whole, of which floats give no number: integers give the mean of what is masked.
pub(super) fn warn_of_empty(graph: &mut Graph, seen: &Seen) {
    let exact = |op: &Op| matches!(op, Op::Attention(a) if matches!(a.mask, Mask::Chosen { .. }));
    for &id in seen.emptied.iter().filter(|id| !exact(&graph[**id].op)).collect::<Vec<_>>() {
        let text = "gives no number for a row of scores that are all minus infinity, as calibration samples have: \
                    integers give all keys of such a row equal shares";
        let warning = Warning::new(graph[id].site(), text);
        graph.warn(warning.help("mask with a condition (`Where`), or leave one key open in each row"));
    }
}
