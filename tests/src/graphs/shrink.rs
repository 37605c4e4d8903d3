//! Makes a case smaller while it still fails in the same way.
//!
//! In: a case and a test of whether a case fails. Out: a case that fails, none of whose smaller
//! neighbours does (or as far as the trials went). Law: a neighbour that is no valid model does
//! not fail, so nothing here has to know what makes a model valid.

use super::{Attr, Case, Input, Node};
use secateur_compiler::tensor::{Data, Tensor};
use secateur_compiler::{graph, onnx, with_data};
use std::collections::BTreeMap;

/// The smallest failing case found; `fails` is asked at most `trials` times.
pub fn shrink(case: &Case, trials: usize, fails: &mut dyn FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let mut left = trials;
    loop {
        let before = left;
        let smaller = neighbours(&best).into_iter().find(|candidate| {
            left = left.saturating_sub(1);
            left > 0 && fails(candidate)
        });
        match smaller {
            Some(candidate) => best = candidate,
            None => return best,
        }
        if before == 0 {
            return best;
        }
    }
}

/// Smaller cases, the much smaller ones first.
fn neighbours(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for name in case.outputs.iter().filter(|_| case.outputs.len() > 1) {
        all.push(with_outputs(case, vec![name.clone()]));
    }
    for node in &case.nodes {
        // A value on the way as the only output: all that follows is dropped.
        for name in node.outputs.iter().filter(|o| !case.outputs.contains(o)) {
            all.push(with_outputs(case, vec![name.clone()]));
        }
    }
    all.extend(cuts(case));
    for (i, node) in case.nodes.iter().enumerate() {
        for from in node.inputs.iter().filter(|n| !n.is_empty() && !case.constants.contains_key(*n)) {
            all.push(bypassed(case, i, from));
        }
    }
    let samples = case.samples();
    for keep in [samples / 4, samples / 2, samples.saturating_sub(1)] {
        if (1..samples).contains(&keep) {
            let mut fewer = case.clone();
            fewer.inputs.iter_mut().for_each(|i| i.samples.truncate(keep));
            all.push(fewer);
        }
    }
    for size in dimensions(case) {
        for to in [1, size / 2, size - 1] {
            if (1..size).contains(&to) {
                all.push(resized(case, size, to));
            }
        }
    }
    all.dedup();
    all
}

fn with_outputs(case: &Case, outputs: Vec<String>) -> Case {
    let mut smaller = Case { outputs, ..case.clone() };
    smaller.tidy();
    smaller
}

/// Values on the way as inputs: what computes them is dropped.
fn cuts(case: &Case) -> Vec<Case> {
    let Ok(graph) = onnx::import(&case.bytes(), &BTreeMap::new()) else { return Vec::new() };
    let mut values: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for i in 0..case.samples() {
        let ran = graph::run_with(&graph, &case.sample(i), &mut |v, t| {
            values.entry(graph[v].name.clone()).or_default().push(t.clone());
        });
        if ran.is_err() {
            return Vec::new();
        }
    }
    let mut all = Vec::new();
    for node in case.nodes.iter().rev() {
        let fed: Vec<Input> = node
            .outputs
            .iter()
            .filter_map(|name| Some(Input { name: name.clone(), samples: values.get(name)?.clone() }))
            .collect();
        if fed.len() != node.outputs.len() || node.outputs.iter().any(|o| case.outputs.contains(o)) {
            continue;
        }
        let mut smaller = case.clone();
        smaller.nodes.retain(|n| n != node);
        smaller.inputs.extend(fed);
        smaller.tidy();
        all.push(smaller);
    }
    all
}

/// The readers of a node read one of its operands.
fn bypassed(case: &Case, node: usize, from: &str) -> Case {
    let mut smaller = case.clone();
    let gone = smaller.nodes.remove(node);
    let rename = |name: &mut String| {
        if gone.outputs.contains(name) {
            *name = from.to_string();
        }
    };
    smaller.nodes.iter_mut().flat_map(|n| &mut n.inputs).for_each(rename);
    smaller.outputs.iter_mut().for_each(rename);
    smaller.outputs.dedup();
    smaller.tidy();
    smaller
}

/// Sizes of axes, the greatest first.
fn dimensions(case: &Case) -> Vec<usize> {
    let inputs = case.inputs.iter().filter_map(|i| i.samples.first());
    let mut sizes: Vec<usize> =
        inputs.chain(case.constants.values()).flat_map(|t| t.shape().to_vec()).filter(|&d| d > 1).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes.reverse();
    sizes
}

/// Every axis of a size becomes shorter, in all arrays and in all lists of sizes. Often that is
/// no model any more; often enough it is.
fn resized(case: &Case, size: usize, to: usize) -> Case {
    let mut smaller = case.clone();
    let wanted = |v: &mut i64| {
        if *v == size as i64 {
            *v = to as i64;
        }
    };
    let cut = |t: &mut Tensor| *t = shortened(t, size, to);
    smaller.inputs.iter_mut().flat_map(|i| &mut i.samples).for_each(cut);
    smaller.constants.values_mut().for_each(cut);
    for Node { op, inputs, attrs, .. } in &mut smaller.nodes {
        if ["Reshape", "Expand", "Split"].contains(op)
            && let Some(t) = inputs.get(1).and_then(|name| smaller.constants.get_mut(name))
        {
            let mut values = t.to_i64_vec();
            values.iter_mut().for_each(wanted);
            *t = Tensor::i64(t.shape(), values);
        }
        for (name, attr) in attrs {
            match attr {
                Attr::Tensor(t) => cut(t),
                Attr::Ints(v) if ["kernel_shape", "split"].contains(name) => v.iter_mut().for_each(wanted),
                Attr::Int(v) if *name == "group" => wanted(v),
                _ => {}
            }
        }
    }
    smaller
}

/// The front part of every axis of length `size`.
fn shortened(t: &Tensor, size: usize, to: usize) -> Tensor {
    let shape: Vec<usize> = t.shape().iter().map(|&d| if d == size { to } else { d }).collect();
    if shape == t.shape() {
        return t.clone();
    }
    let strides = secateur_compiler::tensor::row_major_strides(t.shape());
    let mut places = vec![0];
    for (&n, stride) in shape.iter().zip(&strides) {
        places = places.iter().flat_map(|&at| (0..n).map(move |i| at + i * stride)).collect();
    }
    let data = with_data!(t.data(), v => Data::from(places.iter().map(|&at| v[at]).collect::<Vec<_>>()));
    Tensor::new(shape, data).expect("as many as the shape holds")
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::*;

    #[test]
    fn a_failing_operator_is_found_out() {
        // Whatever has a Softmax in it "fails": one node on one sample is left of it.
        let mut shrunk = 0;
        for seed in 0..60 {
            let case = generate::case(seed, 4);
            let has = |case: &Case| case.nodes.iter().any(|n| n.op == "Softmax");
            if !has(&case) {
                continue;
            }
            let fails = &mut |case: &Case| {
                has(case) && !case.inputs.is_empty() && onnx::import(&case.bytes(), &BTreeMap::new()).is_ok()
            };
            let small = shrink(&case, 2000, fails);
            assert_eq!(small.nodes.len(), 1, "{seed}: {:?}", small.nodes);
            assert_eq!(small.samples(), 1, "{seed}");
            shrunk += 1;
        }
        assert!(shrunk > 5);
    }
}
