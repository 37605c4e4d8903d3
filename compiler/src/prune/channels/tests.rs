//! Small networks whose channels leave: which, what follows, and what becomes of the rest.

use super::super::prune;
use super::*;
use crate::graph::run;
use crate::observe::Silent;
use crate::ops::{Add, Concat, Conv, Dense, Flatten, GlobalAveragePool, Relu};
use crate::options::{Glob, LayerWish, Prune, Quantize, Share};
use crate::passes::testing::{Build, noise};
use crate::tensor::Samples;

fn options(sparsity: f64) -> Options {
    let prune =
        Prune { sparsity: Some(Share(sparsity)), pattern: Some(Pattern::Channels), ..Prune::default() };
    Options { prune: Some(prune), quantize: Quantize::None, ..Options::default() }
}

fn samples(shape: &[usize], count: usize) -> Samples {
    let all: Vec<usize> = std::iter::once(count).chain(shape[1..].iter().copied()).collect();
    let mut samples = Samples::default();
    samples.arrays.insert("x".into(), Tensor::f32(&all, noise(3, all.iter().product())));
    samples
}

fn conv(b: &mut Build, name: &str, x: ValueId, rows: usize, group: usize, relu: bool) -> ValueId {
    let columns = b.graph()[x].shape[1] / group;
    let w = b.noise(&format!("{name}.w"), &[rows, columns, 3, 3]);
    let bias = b.noise(&format!("{name}.b"), &[rows]);
    let conv = Conv { strides: vec![1, 1], pads: vec![1; 4], dilations: vec![1, 1], group };
    let y = b.node(name, conv, &[x, w, bias]);
    if relu { b.node(&format!("{name}.relu"), Relu, &[y]) } else { y }
}

/// A residual block, a depthwise convolution, a Concat of two branches, and a dense layer.
fn network() -> Graph {
    let mut b = Build::new();
    let x = b.input("x", &[1, 4, 6, 6]);
    let stem = conv(&mut b, "stem", x, 16, 1, true);
    let inner = conv(&mut b, "inner", stem, 24, 1, true);
    let back = conv(&mut b, "back", inner, 16, 1, false);
    let sum = b.node("sum", Add, &[back, stem]);
    let sum = b.node("sum.relu", Relu, &[sum]);
    let depth = conv(&mut b, "depth", sum, 16, 16, true);
    let (left, right) = (conv(&mut b, "left", depth, 8, 1, true), conv(&mut b, "right", depth, 10, 1, true));
    let both = b.node("both", Concat { axis: 1 }, &[left, right]);
    let pooled = b.node("pooled", GlobalAveragePool, &[both]);
    let flat = b.node("flat", Flatten { axis: 1 }, &[pooled]);
    let w = b.noise("last.w", &[3, 18]);
    let y = b.node("last", Dense, &[flat, w]);
    b.output(y);
    b.graph().clone()
}

fn shape(graph: &Graph, name: &str) -> Vec<usize> {
    let value = graph.values().find(|(_, v)| v.name == name).unwrap().1;
    value.shape.clone()
}

fn pruned(options: &Options) -> Result<(Graph, super::super::Outcome)> {
    let mut graph = network();
    let done =
        prune(&mut graph, Some(&samples(&[1, 4, 6, 6], 40)), (options, Pattern::Channels), &mut Silent)?;
    Ok((graph, done))
}

#[test]
fn all_that_hangs_together_shrinks_in_fours() {
    let (graph, done) = pruned(&options(0.5)).unwrap();
    for (name, channels) in [
        ("stem", 8),
        ("inner", 12),
        ("back", 8),
        ("sum", 8),
        ("depth", 8),
        ("left", 4),
        ("right", 4),
        ("both", 8),
    ] {
        assert_eq!(shape(&graph, name), [1, channels, 6, 6], "{name}");
    }
    assert_eq!((shape(&graph, "flat"), shape(&graph, "last")), (vec![1, 8], vec![1, 3]));
    let inputs = crate::samples::split(&samples(&[1, 4, 6, 6], 1), &graph, None).unwrap();
    assert_eq!(run(&graph, &inputs[0]).unwrap()[0].shape(), [1, 3]);
    // The report's numbers are those of the graph.
    let weights = |g: &Graph, name: &str| weights(g, g.nodes().find(|(_, n)| n.name == name).unwrap().0);
    let (dense, mut removed) = (network(), 0);
    for layer in &done.layers {
        assert_eq!(layer.pattern, Pattern::Channels);
        assert_eq!(layer.weights, weights(&dense, &layer.layer));
        assert_eq!(layer.weights - layer.removed, weights(&graph, &layer.layer), "{}", layer.layer);
        assert!(layer.layer == "stem" || layer.error > 0.0, "{layer:?}");
        removed += layer.removed;
    }
    let all: usize =
        ["stem", "inner", "back", "depth", "left", "right", "last"].iter().map(|n| weights(&dense, n)).sum();
    assert_eq!(done.sparsity, removed as f64 / all as f64);
    let macs = |g: &Graph| g.nodes().map(|(id, _)| g.macs(id)).sum::<u64>();
    assert_eq!(done.removed_macs, macs(&dense) - macs(&graph));
}

#[test]
fn layers_that_are_named_keep_theirs_or_have_a_share_of_their_own() {
    let mut wanted = options(0.5);
    wanted.keep = Some(vec![Glob("back".into())]);
    wanted.sparsities = vec![LayerWish { layers: Glob("inner".into()), value: Share(0.75) }];
    let (graph, _) = pruned(&wanted).unwrap();
    // What `back` computes is what `stem` does, as both are added.
    for (name, channels) in [("stem", 16), ("depth", 16), ("inner", 8), ("left", 4)] {
        assert_eq!(shape(&graph, name)[1], channels, "{name}");
    }
    wanted.sparsities.push(LayerWish { layers: Glob("stem".into()), value: Share(0.5) });
    let said = pruned(&wanted).unwrap_err().to_string();
    assert!(said.contains("`back` is to be kept, and `stem`"), "{said}");
    wanted.keep = None;
    wanted.sparsities.push(LayerWish { layers: Glob("back".into()), value: Share(0.25) });
    let said = pruned(&wanted).unwrap_err().to_string();
    assert!(said.contains("have their channels in common"), "{said}");
    wanted.sparsities = vec![LayerWish { layers: Glob("last".into()), value: Share(0.5) }];
    let said = pruned(&wanted).unwrap_err().to_string();
    assert!(said.contains("`last`") && said.contains("it is an output of the model"), "{said}");
}

#[test]
fn no_share_takes_nothing_and_nothing_to_take_is_refused() {
    let (graph, done) = pruned(&options(0.0)).unwrap();
    assert_eq!((graph, done), (network(), super::super::Outcome::default()));
    let mut wanted = options(0.5);
    wanted.keep = Some(vec![Glob("*".into())]);
    assert!(pruned(&wanted).unwrap_err().to_string().contains("finds no channels that may leave"));
    // Fours stay, whatever the share.
    let (graph, _) = pruned(&options(0.99)).unwrap();
    assert_eq!([shape(&graph, "stem")[1], shape(&graph, "inner")[1], shape(&graph, "both")[1]], [4, 4, 8]);
}

/// Of two channels that are the same one can go, and its reader makes up for it.
#[test]
fn one_of_two_equal_channels_leaves() {
    let mut b = Build::new();
    let x = b.input("x", &[1, 6]);
    let mut rows = noise(5, 24);
    rows.extend(rows.clone());
    let w = b.constant("first.w", &[8, 6], &rows);
    let y = b.node("first", Dense, &[x, w]);
    let y = b.node("relu", Relu, &[y]);
    let w = b.noise("last.w", &[3, 8]);
    let y = b.node("last", Dense, &[y, w]);
    b.output(y);
    let (dense, mut graph) = (b.graph().clone(), b.graph().clone());
    let all = samples(&[1, 6], 200);
    let done = prune(&mut graph, Some(&all), (&options(0.5), Pattern::Channels), &mut Silent).unwrap();
    let first = graph.nodes().find(|(_, n)| n.name == "first").unwrap().1;
    let kept = graph[first.inputs[1].unwrap()].constant().unwrap().to_f32_vec();
    let mut kept: Vec<&[f32]> = kept.chunks(6).collect();
    kept.sort_by(|a, b| a[0].total_cmp(&b[0]));
    kept.dedup();
    assert_eq!(kept.len(), 4, "of some pair both have left");
    let last = done.layers.iter().find(|l| l.layer == "last").unwrap();
    assert!(last.error < 0.02, "{last:?}");
    for x in crate::samples::split(&all, &dense, None).unwrap() {
        let (want, have) = (run(&dense, &x).unwrap(), run(&graph, &x).unwrap());
        for (w, h) in want[0].to_f64_vec().iter().zip(have[0].to_f64_vec()) {
            assert!((w - h).abs() < 0.05, "{w} {h}");
        }
    }
}
