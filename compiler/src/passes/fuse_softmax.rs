//! Softmax from the operators that models of JAX and of hand-written code spell it in: powers of e of what a greatest
//! element leaves, or of the elements themselves, divided by their sum.
//!
//! Law: no rounding of a model's own disappears: nothing is fused across a value that carries a `Quant`. What others
//! read of a spelling stays beside the fused form.

use super::edit::{floor, operand, plain_producer, unshaped};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::{Op, Reducing, Softmax};

pub(super) fn fuse_softmax(patch: &mut Patch<'_>) -> Result<usize> {
    let graph = patch.graph();
    let found: Vec<(NodeId, ValueId, usize)> = graph
        .topological()
        .into_iter()
        .filter_map(|id| softmax(graph, id).map(|(x, axis)| (id, x, axis)))
        .collect();
    let changed = found.len();
    for (id, x, axis) in found {
        let node = patch.node_mut(id);
        node.op = Softmax { axis, flatten: false }.into();
        node.inputs = vec![Some(x)];
    }
    Ok(changed)
}

/// Operand and axis of the Softmax whose last quotient a node is.
fn softmax(graph: &Graph, id: NodeId) -> Option<(ValueId, usize)> {
    let y = *graph[id].outputs.first()?;
    plain_producer(graph, y)?;
    let (powers, sum) = match &graph[id].op {
        Op::Div(_) => (operand(graph, id, 0)?, operand(graph, id, 1)?),
        Op::Mul(_) => {
            let (a, b) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
            reciprocal(graph, b).map(|sum| (a, sum)).or_else(|| reciprocal(graph, a).map(|sum| (b, sum)))?
        }
        _ => return None,
    };
    let exp = function(graph, powers, "Exp")?;
    let axis = reduced(graph, sum, powers, Reducing::Sum)?;
    let exponent = operand(graph, exp, 0)?;
    // A difference to anything but the greatest is an operand like others: the quotient is the same.
    let x = plain_producer(graph, exponent)
        .filter(|&id| matches!(graph[id].op, Op::Sub(_)))
        .and_then(|id| {
            let (x, taken) = (operand(graph, id, 0)?, operand(graph, id, 1)?);
            (graph[x].shape == graph[exponent].shape && greatest(graph, taken, x) == Some(axis)).then_some(x)
        })
        .unwrap_or(exponent);
    (graph[x].constant().is_none() && graph[x].shape == graph[y].shape).then_some((x, axis))
}

/// The node that computes a value, if it is this function of one value.
fn function(graph: &Graph, value: ValueId, name: &str) -> Option<NodeId> {
    let id = plain_producer(graph, value)?;
    matches!(&graph[id].op, Op::Map(map) if map.function == name && map.tail.is_empty()).then_some(id)
}

fn reciprocal(graph: &Graph, value: ValueId) -> Option<ValueId> {
    operand(graph, function(graph, value, "Reciprocal")?, 0)
}

/// The one axis over which a value joins the elements of `x`, its shape that of `x` with one element there.
fn reduced(graph: &Graph, value: ValueId, x: ValueId, by: Reducing) -> Option<usize> {
    let id = plain_producer(graph, unshaped(graph, value))?;
    let Op::Reduce(reduce) = &graph[id].op else { return None };
    let [axis] = reduce.axes[..] else { return None };
    let mut kept = graph[x].shape.clone();
    *kept.get_mut(axis)? = 1;
    (reduce.function == by && operand(graph, id, 0) == Some(x) && graph[value].shape == kept).then_some(axis)
}

/// The axis along which a value is the greatest element of `x`; or the greater of that and less than any number.
fn greatest(graph: &Graph, value: ValueId, x: ValueId) -> Option<usize> {
    let inner = unshaped(graph, value);
    let floored = plain_producer(graph, inner).filter(|&id| floor(graph, id) == Some(f32::NEG_INFINITY));
    let Some(id) = floored else { return reduced(graph, value, x, Reducing::Max) };
    // Shapes are those behind the maximum; the reduction itself stands before it.
    let reduction = plain_producer(graph, unshaped(graph, operand(graph, id, 0)?))?;
    let Op::Reduce(reduce) = &graph[reduction].op else { return None };
    let [axis] = reduce.axes[..] else { return None };
    let mut kept = graph[x].shape.clone();
    *kept.get_mut(axis)? = 1;
    let fits = reduce.function == Reducing::Max
        && operand(graph, reduction, 0) == Some(x)
        && graph[value].shape == kept;
    fits.then_some(axis)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Div, Map, Reduce, Reshape, Sub};
    use crate::tensor::Tensor;

    fn map(function: &'static str, tail: Vec<Tensor>) -> Map {
        Map { function, attrs: Default::default(), tail }
    }

    fn over(function: Reducing, axis: usize, keepdims: bool) -> Reduce {
        Reduce { function, axes: vec![axis], keepdims }
    }

    fn fused(patch: &mut Patch<'_>) -> Result<usize> {
        let changed = fuse_softmax(patch)?;
        super::super::drop_dead::drop_dead(patch)?;
        Ok(changed)
    }

    /// As JAX writes it: axes leave and come back, and a greatest of nothing would be minus infinity.
    #[test]
    fn a_spelled_softmax_becomes_one_node() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 5, 3]);
        let back = || Reshape { shape: vec![2, 1, 3] };
        let most = b.node("most", over(Reducing::Max, 1, false), &[x]);
        let floor = Tensor::f32(&[], vec![f32::NEG_INFINITY]);
        let most = b.node("floored", map("Max", vec![floor]), &[most]);
        let most = b.node("kept", back(), &[most]);
        let less = b.node("less", Sub, &[x, most]);
        let powers = b.node("powers", map("Exp", vec![]), &[less]);
        let sum = b.node("sum", over(Reducing::Sum, 1, false), &[powers]);
        let sum = b.node("whole", back(), &[sum]);
        let y = b.node("y", Div, &[powers, sum]);
        b.output(y);
        b.check(
            fused,
            "in  %x: f32[2x5x3]
             %y: f32[2x5x3] = Softmax { axis: 1, flatten: false }(%x)  # y
             out %y",
        );
    }

    #[test]
    fn shares_without_a_greatest_element_are_one_too() {
        let mut b = Build::new();
        let x = b.input("x", &[2, 5]);
        let powers = b.node("powers", map("Exp", vec![]), &[x]);
        let sum = b.node("sum", over(Reducing::Sum, 1, true), &[powers]);
        let y = b.node("y", Div, &[powers, sum]);
        b.output(y);
        b.check(
            fused,
            "in  %x: f32[2x5]
             %y: f32[2x5] = Softmax { axis: 1, flatten: false }(%x)  # y
             out %y",
        );
    }

    /// A sum over another axis, or of other powers, is no Softmax.
    #[test]
    fn other_quotients_stay() {
        let mut b = Build::new();
        let (x, z) = (b.input("x", &[3, 3]), b.input("z", &[3, 3]));
        let powers = b.node("powers", map("Exp", vec![]), &[x]);
        let others = b.node("others", map("Exp", vec![]), &[z]);
        let sum = b.node("sum", over(Reducing::Sum, 1, true), &[others]);
        let flat = b.node("flat", over(Reducing::Sum, 1, false), &[powers]);
        let (y, w) = (b.node("y", Div, &[powers, sum]), b.node("w", Div, &[powers, flat]));
        b.output(y);
        b.output(w);
        let mut graph = b.graph().clone();
        assert_eq!(fuse_softmax(&mut Patch::new(&mut graph)).unwrap(), 0);
    }
}
