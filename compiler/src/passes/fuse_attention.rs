//! Attention from the operators that models spell it in: a product, a scale, a mask, a Softmax, a product.
//!
//! Zeros that a model puts where shares are no numbers, because a mask left a query no key, go behind the attention.
//! The scale may stand at the queries or the keys, or in part at both, before they are turned or after. Of two masks, of
//! which one chooses and the other is added to what it leaves, one is made.
//! Law: no rounding of a model's own disappears: nothing is fused across a value that carries a `Quant`, or that
//! others read.

use super::edit::{bypass, number, operand, plain_producer};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::attention::{MASK, Mask};
use crate::ops::{Add, Attention, Map, Op, Reduce, Reducing, broadcast};
use crate::tensor::{DType, Data, Tensor};
use std::collections::BTreeMap;

/// What a mask adds at least, or puts in a score's place, so that no share is left.
const CLOSED: f32 = -1e4;

pub(super) fn fuse_attention(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    for id in patch.graph().topological() {
        one_mask(patch, id);
        let Some((mut op, mut operands)) = attention(patch.graph(), id) else { continue };
        for factor in operands.iter_mut().take(2) {
            for (scale, by) in scales(patch.graph(), *factor) {
                let scaled = op.scale * by;
                let (graph, whole) = (patch.graph(), scaled.is_finite() && scaled > 0.0);
                let (y, x) = (graph[scale].outputs.first().copied(), scaled_operand(graph, scale));
                if let (true, Some(y), Some((x, _))) = (whole, y, x)
                    && bypass(patch, scale, x)
                {
                    op.scale = scaled;
                    if *factor == y {
                        *factor = x;
                    }
                }
            }
        }
        let guard = guarded(patch.graph(), id);
        let node = patch.node_mut(id);
        node.op = op.clone().into();
        node.inputs = operands.iter().copied().map(Some).collect();
        if guard {
            give_zeros(patch, id, &op, operands.get(MASK).copied());
        }
        changed += 1;
    }
    Ok(changed)
}

/// The shares of an attention without what puts zeros in the place of those that are no numbers, and whether that stood
/// there: `Where(IsNaN(p), 0, p)`, as PyTorch's exporter writes it for queries that a mask leaves no key.
fn unguarded(graph: &Graph, shares: ValueId) -> (ValueId, bool) {
    let guard = || {
        inner(graph, shares)?;
        let (bits, zero, plain) = choice(graph, shares)?;
        let test = graph.producer(bits)?;
        let asks = matches!(&graph[test].op, Op::Map(map) if map.function == "IsNaN" && map.tail.is_empty());
        let choose = graph.producer(shares)?;
        let readers = graph.consumers(plain);
        let alone = !graph.outputs().contains(&plain)
            && readers.len() == 2
            && readers.iter().all(|r| *r == test || *r == choose)
            && graph.sole_reader(bits).is_some();
        let fits = asks && operand(graph, test, 0) == Some(plain) && number(graph, zero) == Some(0.0);
        (fits && alone && graph[plain].shape == graph[shares].shape).then_some(plain)
    };
    guard().map_or((shares, false), |plain| (plain, true))
}

/// Whether zeros stand in the place of an attention's shares that are no numbers.
fn guarded(graph: &Graph, id: NodeId) -> bool {
    operand(graph, id, 0).is_some_and(|shares| unguarded(graph, shares).1)
}

/// Whether each row of a mask that is known leaves a key open.
fn leaves_keys(mask: &Tensor, op: &Attention) -> bool {
    let row = mask.shape().last().copied().unwrap_or(1).max(1);
    match (mask.data(), op.mask) {
        (Data::Bool(bits), Mask::Chosen { kept, .. }) => bits.chunks(row).all(|row| row.contains(&kept)),
        (Data::F32(added), _) => added.chunks(row).all(|row| row.iter().any(|x| *x > f32::NEG_INFINITY)),
        _ => false,
    }
}

/// Lets an attention give zeros for queries that its mask leaves no key.
fn give_zeros(patch: &mut Patch<'_>, id: NodeId, op: &Attention, mask: Option<ValueId>) {
    let graph = patch.graph();
    let (name, Some(mask)) = (graph[id].name.clone(), mask) else { return };
    let (y, rank) = (graph[id].outputs[0], graph[mask].shape.len());
    let known = graph[mask].constant().is_some_and(|known| leaves_keys(known, op));
    let ends = matches!(op.mask, Mask::Chosen { otherwise, .. } if otherwise > f32::NEG_INFINITY);
    if known || ends || (rank == 0 && op.mask != Mask::Added) {
        return;
    }
    let (shape, mut row) = (graph[y].shape.clone(), graph[mask].shape.clone());
    let result = patch.add_value(&format!("{name}.open"), DType::F32, &shape);
    patch.node_mut(id).outputs = vec![result];
    let zero = patch.add_constant(&format!("{name}.zero"), Tensor::f32(&[], vec![0.0]));
    let map = |function| Map { function, attrs: BTreeMap::new(), tail: Vec::new() };
    let (bits, of) = match op.mask {
        // Integers know of no row that is no number: a condition says which are closed.
        Mask::Chosen { kept, .. } => {
            row.pop();
            row.push(1);
            let bits = patch.add_value(&format!("{name}.sees"), DType::Bool, &row);
            let function = if kept { Reducing::Max } else { Reducing::Min };
            let reduce = Reduce { function, axes: vec![rank - 1], keepdims: true };
            patch.add_node(&format!("{name}.sees"), reduce.into(), vec![Some(mask)], vec![bits]);
            (bits, if kept { [result, zero] } else { [zero, result] })
        }
        _ => {
            let bits = patch.add_value(&format!("{name}.empty"), DType::Bool, &shape);
            patch.add_node(&format!("{name}.empty"), map("IsNaN").into(), vec![Some(result)], vec![bits]);
            (bits, [zero, result])
        }
    };
    let inputs = vec![Some(bits), Some(of[0]), Some(of[1])];
    patch.add_node(&format!("{name}.zeros"), map("Where").into(), inputs, vec![y]);
}

/// Ends so far down that nothing is left of scores beside them.
const ABYSS: f32 = -1e30;

/// Where `s` are the scores of an attention whose last product a node may be, `(c ? s : end) + m` becomes
/// `s + (c ? m : m + end)`: the same number, with one mask that is added.
fn one_mask(patch: &mut Patch<'_>, id: NodeId) {
    let Some(masks) = both_masks(patch.graph(), id) else { return };
    let Masks { add, choose, scores, bits, kept, end, mask } = masks;
    let graph = patch.graph();
    let name = graph[choose].name.clone();
    let Ok(shape) = broadcast::shape(&graph[bits].shape, &graph[mask].shape) else { return };
    let (op, least) = (graph[choose].op.clone(), graph[mask].shape.clone());
    let closed = patch.add_value(&format!("{name}.closed"), DType::F32, &least);
    patch.add_node(&format!("{name}.closed"), Add.into(), vec![Some(mask), Some(end)], vec![closed]);
    let joined = patch.add_value(&format!("{name}.mask"), DType::F32, &shape);
    let (yes, no) = if kept { (mask, closed) } else { (closed, mask) };
    patch.add_node(&format!("{name}.mask"), op, vec![Some(bits), Some(yes), Some(no)], vec![joined]);
    patch.node_mut(add).inputs = vec![Some(scores), Some(joined)];
    patch.remove_node(choose);
}

/// Two masks of the same scores.
struct Masks {
    /// The sum, and the choice that it reads.
    add: NodeId,
    choose: NodeId,
    scores: ValueId,
    bits: ValueId,
    /// Whether the scores are what stands where `bits` are true, and what stands elsewhere.
    kept: bool,
    end: ValueId,
    mask: ValueId,
}

fn both_masks(graph: &Graph, id: NodeId) -> Option<Masks> {
    let shares = operand(graph, id, 0).filter(|_| matches!(graph[id].op, Op::MatMul(_)))?;
    let softmax = inner(graph, shares).filter(|&id| matches!(graph[id].op, Op::Softmax(_)))?;
    let add = inner(graph, operand(graph, softmax, 0)?).filter(|&id| matches!(graph[id].op, Op::Add(_)))?;
    let (a, b) = (operand(graph, add, 0)?, operand(graph, add, 1)?);
    let of = |chosen: ValueId, mask: ValueId| {
        let choose = inner(graph, chosen)?;
        let (bits, yes, no) = choice(graph, chosen)?;
        let (scores, kept, end) =
            if number(graph, no).is_some() { (yes, true, no) } else { (no, false, yes) };
        let (product, _) = scaled(graph, scores);
        let fits = number(graph, end)? <= ABYSS
            && graph[end].shape.len() <= graph[mask].shape.len()
            && graph[mask].dtype == DType::F32
            && graph[mask].quant.is_none()
            && graph[scores].shape == graph[chosen].shape
            && inner(graph, product).is_some_and(|p| matches!(graph[p].op, Op::MatMul(_)));
        fits.then_some(Masks { add, choose, scores, bits, kept, end, mask })
    };
    of(a, b).or_else(|| of(b, a))
}

/// The node that computes a value as it is for one reader.
fn inner(graph: &Graph, value: ValueId) -> Option<NodeId> {
    graph.sole_reader(value)?;
    plain_producer(graph, value)
}

/// The attention whose last product a node is.
fn attention(graph: &Graph, id: NodeId) -> Option<(Attention, Vec<ValueId>)> {
    if !matches!(graph[id].op, Op::MatMul(_)) {
        return None;
    }
    let (shares, values) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    let (shares, guard) = unguarded(graph, shares);
    let softmax = if guard { plain_producer(graph, shares)? } else { inner(graph, shares)? };
    let Op::Softmax(op) = &graph[softmax].op else { return None };
    let rank = graph[shares].shape.len();
    if op.flatten || op.axis + 1 != rank || rank < 2 || graph[values].shape.len() < 2 {
        return None;
    }
    let scores = operand(graph, softmax, 0)?;
    let (mask, scores, masked) = masked(graph, scores);
    let (scores, scale) = scaled(graph, scores);
    let product = inner(graph, scores)?;
    let (queries, keys) = (operand(graph, product, 0)?, operand(graph, product, 1)?);
    let fits = matches!(graph[product].op, Op::MatMul(_))
        && graph[scores].shape == graph[shares].shape
        && scale.is_finite()
        && scale > 0.0
        && [queries, keys, values].iter().all(|&v| {
            graph[v].shape.len() >= 2 && graph[v].dtype == DType::F32 && graph[v].constant().is_none()
        });
    let mut operands = vec![queries, keys, values];
    operands.extend(masked);
    fits.then_some((Attention { scale, mask, span: None }, operands))
}

/// The mask of scores, the scores without it, and the operand that says it.
fn masked(graph: &Graph, scores: ValueId) -> (Mask, ValueId, Option<ValueId>) {
    added(graph, scores).or_else(|| chosen(graph, scores)).unwrap_or((Mask::All, scores, None))
}

fn added(graph: &Graph, scores: ValueId) -> Option<(Mask, ValueId, Option<ValueId>)> {
    let id = inner(graph, scores).filter(|&id| matches!(graph[id].op, Op::Add(_)))?;
    let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    let is_product = |v: ValueId| {
        let (v, _) = scaled(graph, v);
        inner(graph, v).is_some_and(|p| matches!(graph[p].op, Op::MatMul(_)))
    };
    let (scores, mask) = if is_product(a) {
        (a, b)
    } else if is_product(b) {
        (b, a)
    } else {
        return None;
    };
    if graph[mask].dtype != DType::F32 || graph[mask].quant.is_some() {
        return None;
    }
    // Nothing where a condition holds, and what closes a key where it does not.
    if let Some((condition, yes, no)) = choice(graph, mask) {
        let (yes, no) = (number(graph, yes), number(graph, no));
        let kept = match (yes, no) {
            (Some(0.0), Some(end)) if end <= CLOSED => true,
            (Some(end), Some(0.0)) if end <= CLOSED => false,
            _ => return Some((Mask::Added, scores, Some(mask))),
        };
        let otherwise = if kept { no } else { yes }?;
        return Some((Mask::Chosen { kept, otherwise }, scores, Some(condition)));
    }
    Some((Mask::Added, scores, Some(mask)))
}

/// The operands of a Where.
fn choice(graph: &Graph, value: ValueId) -> Option<(ValueId, ValueId, ValueId)> {
    let id = graph.producer(value)?;
    let where_ = matches!(&graph[id].op, Op::Map(map) if map.function == "Where" && map.tail.is_empty());
    let bits = operand(graph, id, 0)?;
    let plain = where_ && graph[id].clamp.is_none() && graph[bits].dtype == DType::Bool;
    plain.then_some((bits, operand(graph, id, 1)?, operand(graph, id, 2)?))
}

fn chosen(graph: &Graph, scores: ValueId) -> Option<(Mask, ValueId, Option<ValueId>)> {
    inner(graph, scores)?;
    let (condition, yes, no) = choice(graph, scores)?;
    let (scores, kept, end) = match (number(graph, yes), number(graph, no)) {
        (None, Some(end)) => (yes, true, end),
        (Some(end), None) => (no, false, end),
        _ => return None,
    };
    (end <= CLOSED).then_some((Mask::Chosen { kept, otherwise: end }, scores, Some(condition)))
}

/// Scores without the number that they are multiplied by or divided by, and that.
fn scaled(graph: &Graph, scores: ValueId) -> (ValueId, f32) {
    inner(graph, scores).and_then(|id| scaled_operand(graph, id)).unwrap_or((scores, 1.0))
}

/// What a node multiplies by a number, or divides by one, and that number.
fn scaled_operand(graph: &Graph, id: NodeId) -> Option<(ValueId, f32)> {
    let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
    match (&graph[id].op, number(graph, a), number(graph, b)) {
        (Op::Mul(_), None, Some(by)) => Some((a, by)),
        (Op::Mul(_), Some(by), None) => Some((b, by)),
        (Op::Div(_), None, Some(by)) if by != 0.0 => Some((a, 1.0 / by)),
        _ => None,
    }
}

/// The nodes that multiply a factor of the scores by a number on its way there, and these numbers. What stands between
/// moves elements for this one reader.
fn scales(graph: &Graph, factor: ValueId) -> Vec<(NodeId, f32)> {
    let (mut value, mut found) = (factor, Vec::new());
    while let Some(id) = inner(graph, value) {
        let moves =
            matches!(graph[id].op, Op::Transpose(_) | Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_));
        match (moves, operand(graph, id, 0), scaled_operand(graph, id)) {
            (true, Some(x), _) => value = x,
            (false, _, Some((x, by))) if by > 0.0 && graph[x].shape == graph[value].shape => {
                found.push((id, by));
                value = x;
            }
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Div, MatMul, Mul, Softmax, Transpose};

    fn spelled(b: &mut Build) -> (ValueId, ValueId) {
        let q = b.input("q", &[1, 2, 3, 4]);
        let k = b.input("k", &[1, 2, 4, 5]);
        let v = b.input("v", &[1, 2, 5, 6]);
        let mask = b.input("mask", &[1, 1, 1, 5]);
        let two = b.constant("two", &[], &[2.0]);
        let scores = b.node("scores", MatMul, &[q, k]);
        let scaled = b.node("scaled", Div, &[scores, two]);
        let masked = b.node("masked", Add, &[scaled, mask]);
        let shares = b.node("shares", Softmax { axis: 3, flatten: false }, &[masked]);
        (shares, b.node("y", MatMul, &[shares, v]))
    }

    #[test]
    fn spelled_attention_becomes_one_node() {
        let mut b = Build::new();
        let (_, y) = spelled(&mut b);
        b.output(y);
        b.check(
            |patch| {
                let changed = fuse_attention(patch)?;
                super::super::drop_dead::drop_dead(patch)?;
                Ok(changed)
            },
            "in  %q: f32[1x2x3x4]
             in  %k: f32[1x2x4x5]
             in  %v: f32[1x2x5x6]
             in  %mask: f32[1x1x1x5]
             %y: f32[1x2x3x6] = Attention { scale: 0.5, mask: Added, span: None }(%q, %k, %v, %mask)  # y
             out %y",
        );
    }

    #[test]
    fn a_scale_of_queries_and_keys_is_that_of_the_scores() {
        let mut b = Build::new();
        let q = b.input("q", &[3, 2, 4]);
        let k = b.input("k", &[2, 4, 5]);
        let v = b.input("v", &[2, 5, 6]);
        let (half, four) = (b.constant("half", &[], &[0.5]), b.constant("four", &[1], &[4.0]));
        let scaled = b.node("scaled", Mul, &[half, q]);
        let turned = b.node("turned", Transpose { perm: vec![1, 0, 2] }, &[scaled]);
        let less = b.node("less", Div, &[k, four]);
        let scores = b.node("scores", MatMul, &[turned, less]);
        let shares = b.node("shares", Softmax { axis: 2, flatten: false }, &[scores]);
        let y = b.node("y", MatMul, &[shares, v]);
        b.output(y);
        b.check(
            |patch| {
                let changed = fuse_attention(patch)?;
                super::super::drop_dead::drop_dead(patch)?;
                Ok(changed)
            },
            "in  %q: f32[3x2x4]
             in  %k: f32[2x4x5]
             in  %v: f32[2x5x6]
             %turned: f32[2x3x4] = Transpose { perm: [1, 0, 2] }(%q)  # turned
             %y: f32[2x3x6] = Attention { scale: 0.125, mask: All, span: None }(%turned, %k, %v)  # y
             out %y",
        );
    }

    #[test]
    fn of_two_masks_one_is_left() {
        let mut b = Build::new();
        let q = b.input("q", &[2, 3, 4]);
        let k = b.input("k", &[2, 4, 5]);
        let v = b.input("v", &[2, 5, 6]);
        let mask = b.input("mask", &[1, 1, 5]);
        let open = Data::Bool((0..15).map(|i| i % 5 <= i / 5 + 1).collect());
        let open = b.patch().add_constant("open", Tensor::new(vec![1, 3, 5], open).unwrap());
        let end = b.constant("end", &[], &[f32::MIN]);
        let scores = b.node("scores", MatMul, &[q, k]);
        let choose = Map { function: "Where", attrs: BTreeMap::new(), tail: Vec::new() };
        let chosen = b.node("chosen", choose, &[open, scores, end]);
        let masked = b.node("masked", Add, &[chosen, mask]);
        let shares = b.node("shares", Softmax { axis: 2, flatten: false }, &[masked]);
        let y = b.node("y", MatMul, &[shares, v]);
        b.output(y);
        b.check(
            |patch| {
                let changed = fuse_attention(patch)?;
                super::super::drop_dead::drop_dead(patch)?;
                Ok(changed)
            },
            "in  %q: f32[2x3x4]
             in  %k: f32[2x4x5]
             in  %v: f32[2x5x6]
             in  %mask: f32[1x1x5]
             %chosen.closed: f32[1x1x5] = Add(%mask, const %end: f32[])  # chosen.closed
             %chosen.mask: f32[1x3x5] = Map { function: \"Where\", attrs: {}, tail: [] }(const %open: bool[1x3x5], %mask, %chosen.closed)  # chosen.mask
             %y: f32[2x3x6] = Attention { scale: 1.0, mask: Added, span: None }(%q, %k, %v, %chosen.mask)  # y
             out %y",
        );
    }

    #[test]
    fn shares_that_others_read_stay() {
        let mut b = Build::new();
        let (shares, y) = spelled(&mut b);
        b.output(shares);
        b.output(y);
        let mut graph = b.graph().clone();
        assert_eq!(fuse_attention(&mut Patch::new(&mut graph)).unwrap(), 0);
    }
}
