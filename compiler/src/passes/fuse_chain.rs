//! Element-wise operators that follow one value, and numbers, become one [`Chain`]: one loop in floats, one table of
//! 256 results in integers.
//!
//! Law: every value between is read inside of the chain only, real, and neither quantized nor limited. A Relu
//! or a Clip in front is left to the value before it, which it says the range of.

use super::edit::{operand, plain_f32};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Patch, ValueId};
use crate::ops::chain::{Link, Step};
use crate::ops::{Chain, Op, Values};
use crate::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn fuse_chain(patch: &mut Patch<'_>) -> Result<usize> {
    let mut changed = 0;
    let ids = patch.graph().topological();
    let order: BTreeMap<NodeId, usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    // The last ones first, so that a chain is as long as it can be.
    for id in ids.into_iter().rev() {
        if taken.contains(&id) {
            continue;
        }
        let Some((x, members)) = grown(patch.graph(), id, &order) else { continue };
        let Some(steps) = steps(patch.graph(), x, &members) else { continue };
        for &member in members.iter().filter(|&&m| m != id) {
            patch.remove_node(member);
        }
        let node = patch.node_mut(id);
        node.op = Chain { steps }.into();
        node.inputs = vec![Some(x)];
        taken.extend(members);
        changed += 1;
    }
    Ok(changed)
}

/// Whether a node computes each element of a real result from one element, numbers aside.
fn links(graph: &Graph, id: NodeId) -> bool {
    let node = &graph[id];
    let [y] = node.outputs.as_slice() else { return false };
    let function = match &node.op {
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => true,
        Op::Map(map) => {
            matches!(crate::ops::Map::values(map.function), Some(Values::One | Values::Several))
        }
        // What they cut off, the value before needs no steps for: that is seen where they stand apart.
        Op::Relu(_) | Op::Clip(_) => operand(graph, id, 0)
            .and_then(|x| graph.producer(x).filter(|_| graph[x].shape == graph[*y].shape))
            .is_some_and(|p| !matches!(graph[p].op, Op::Relu(_) | Op::Clip(_)) && links(graph, p)),
        op => op.unary().is_some(),
    };
    function
        && graph[*y].dtype == DType::F32
        && !node.inputs.is_empty()
        && node.inputs.iter().all(|v| {
            v.is_some_and(|v| {
                graph[v].dtype == DType::F32
                    && match graph[v].constant() {
                        Some(t) => t.len() == 1 && graph[v].quant.is_none(),
                        None => graph[v].shape == graph[*y].shape,
                    }
            })
        })
}

/// The value that all of a chain which ends in `root` reads, and its nodes, the last one first; two at least.
fn grown(graph: &Graph, root: NodeId, order: &BTreeMap<NodeId, usize>) -> Option<(ValueId, Vec<NodeId>)> {
    if !links(graph, root) || !graph[root].clamp.is_none() {
        return None;
    }
    // Whatever joins the chain, such a value is read from outside of it.
    let outside = |v: ValueId| {
        graph.producer(v).is_none_or(|id| !links(graph, id) || !graph[id].clamp.is_none())
            || graph[v].quant.is_some()
            || graph.outputs().contains(&v)
    };
    let (mut members, mut inside) = (vec![root], BTreeSet::from([root]));
    // What the chain reads: what stays so, and what may join it.
    let (mut read, mut open) = (BTreeSet::new(), BTreeSet::new());
    let mut best = None;
    let mut last = root;
    let whole = loop {
        for &v in graph[last].inputs.iter().flatten() {
            let known = graph[v].constant().is_some();
            if !known && graph.producer(v).is_none_or(|p| !inside.contains(&p)) {
                if outside(v) {
                    read.insert(v)
                } else {
                    open.insert(v)
                };
            }
        }
        if read.len() > 1 {
            break best;
        }
        let mut from = read.iter().chain(&open);
        if let (Some(x), None, 2..) = (from.next(), from.next(), members.len()) {
            best = Some((*x, members.len()));
        }
        let joins = |v: &ValueId| {
            let id = graph.producer(*v)?;
            graph.consumers(*v).iter().all(|c| inside.contains(c)).then_some((*v, id))
        };
        // The latest first: so all that can come before a value is inside before the value itself is.
        let Some((v, next)) = open.iter().filter_map(joins).max_by_key(|(_, id)| order.get(id)) else {
            break best;
        };
        open.remove(&v);
        inside.insert(next);
        members.push(next);
        last = next;
    };
    whole.map(|(x, len)| {
        members.truncate(len);
        (x, members)
    })
}

/// The steps of a chain's nodes, given the last one first.
fn steps(graph: &Graph, x: ValueId, members: &[NodeId]) -> Option<Vec<Step>> {
    let mut places: BTreeMap<ValueId, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    for &id in members.iter().rev() {
        let mut of = Vec::new();
        for v in graph[id].inputs.iter().flatten() {
            of.push(match (graph[*v].constant(), places.get(v)) {
                (Some(_), _) => Link::Number(plain_f32(graph, *v)?.as_f32()?.first().copied()?),
                (None, Some(&at)) => Link::Step(at),
                (None, None) if *v == x => Link::Input,
                (None, None) => return None,
            });
        }
        places.insert(graph[id].outputs[0], steps.len());
        steps.push(Step { op: graph[id].op.clone(), links: of });
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use crate::ops::{Add, Clip, Dense, Div, Mul, Sigmoid};

    #[test]
    fn a_spelled_function_is_one_node_that_reads_one_value() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let w = b.noise("w", &[3, 4]);
        let three = b.constant("three", &[], &[3.0]);
        let six = b.constant("six", &[], &[6.0]);
        let d = b.node("d", Dense, &[x, w]);
        let a = b.node("a", Add, &[d, three]);
        let c = b.node("c", Clip { min: Some(0.0), max: Some(6.0) }, &[a]);
        let m = b.node("m", Mul, &[d, c]);
        let y = b.node("y", Div, &[m, six]);
        b.output(y);
        b.check(
            fuse_chain,
            "in  %x: f32[1x4]
             %d: f32[1x3] = Dense(%x, const %w: f32[3x4])  # d
             %y: f32[1x3] = Chain { steps: [Step { op: Add(Add), links: [Input, Number(3.0)] }, Step { op: Clip(Clip { min: Some(0.0), max: Some(6.0) }), links: [Step(0)] }, Step { op: Mul(Mul), links: [Input, Step(1)] }, Step { op: Div(Div), links: [Step(2), Number(6.0)] }] }(%d)  # y
             out %y",
        );
    }

    #[test]
    fn what_others_read_and_sums_of_two_values_stay() {
        let mut b = Build::new();
        let x = b.input("x", &[1, 4]);
        let z = b.input("z", &[1, 4]);
        let s = b.node("s", Sigmoid, &[x]);
        let t = b.node("t", Mul, &[x, s]);
        let y = b.node("y", Add, &[t, z]);
        b.output(s);
        b.output(y);
        b.check(
            fuse_chain,
            "in  %x: f32[1x4]
             in  %z: f32[1x4]
             %s: f32[1x4] = Sigmoid(%x)  # s
             %t: f32[1x4] = Mul(%x, %s)  # t
             %y: f32[1x4] = Add(%t, %z)  # y
             out %s
             out %y",
        );
    }
}
