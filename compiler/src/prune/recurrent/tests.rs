//! Small recurrent layers: where their zeros are, that what stays makes up for what went, and by which names they go.

use crate::graph::{Graph, NodeId, Patch};
use crate::observe::Silent;
use crate::ops::recurrent::{Activation, BIAS, Cell, Part, R, Recurrent, W};
use crate::ops::{Dense, Op};
use crate::options::{Glob, LayerWish, Options, Pattern, Prune, Quantize, Share};
use crate::prune::{Outcome, prune};
use crate::tensor::{DType, Data, Samples, Tensor};

const STEPS: usize = 9;
const BATCH: usize = 2;
const WIDTH: usize = 8;
const HIDDEN: usize = 12;
const BLOCK: Pattern = Pattern::Block { rows: 1, columns: 4 };

const CELLS: [Cell; 4] = [
    Cell::Gru { reset_after: true },
    Cell::Gru { reset_after: false },
    Cell::Lstm { coupled: false },
    Cell::Rnn,
];

/// Numbers between -1 and 1 that depend on the seed alone.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 / f64::from(1u32 << 30)) as f32 - 1.0
    }
    fn many(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| size * self.next()).collect()
    }
}

fn layer(cell: Cell) -> Recurrent {
    let activations = match cell {
        Cell::Gru { .. } => vec![Activation::Sigmoid, Activation::Tanh],
        Cell::Lstm { .. } => vec![Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        Cell::Rnn => vec![Activation::Tanh],
    };
    let parts = vec![Part::Sequence];
    Recurrent { cell, hidden: HIDDEN, reverse: false, clip: None, activations, parts, spans: None }
}

/// A dense layer, if asked for, and a recurrent one, whose second sequence may end early.
fn network(cell: Cell, before: bool, length: Option<i32>) -> Graph {
    let mut graph = Graph::default();
    let mut patch = Patch::new(&mut graph);
    let mut chance = Chance(5);
    let rows = cell.gates() * HIDDEN;
    let mut x = patch.add_input("x", DType::F32, &[STEPS, BATCH, WIDTH]);
    if before {
        let w = patch.add_constant("d", Tensor::f32(&[WIDTH, WIDTH], chance.many(WIDTH * WIDTH, 0.6)));
        let y = patch.add_value("dense", DType::F32, &[STEPS, BATCH, WIDTH]);
        patch.add_node("dense", Dense.into(), vec![Some(x), Some(w)], vec![y]);
        x = y;
    }
    let w = patch.add_constant("w", Tensor::f32(&[rows, WIDTH], chance.many(rows * WIDTH, 0.7)));
    let r = patch.add_constant("r", Tensor::f32(&[rows, HIDDEN], chance.many(rows * HIDDEN, 0.5)));
    let b = patch.add_constant("b", Tensor::f32(&[2 * rows], chance.many(2 * rows, 0.2)));
    let mut inputs = vec![Some(x), Some(w), Some(r), Some(b)];
    if let Some(length) = length {
        let lengths = Tensor::new(vec![BATCH], Data::I32(vec![STEPS as i32, length])).unwrap();
        inputs.push(Some(patch.add_constant("lengths", lengths)));
    }
    let y = patch.add_value("y", DType::F32, &[STEPS, BATCH, HIDDEN]);
    patch.add_node("layer", layer(cell).into(), inputs, vec![y]);
    patch.add_output(y);
    graph
}

/// Samples of inputs that hang together, of which those from `copied` on are the first ones again.
fn samples(count: usize, copied: usize) -> Samples {
    let mut chance = Chance(6);
    let mut values = chance.many(count * STEPS * BATCH * WIDTH, 0.3);
    for row in values.chunks_mut(WIDTH) {
        let common = chance.many(3, 1.5);
        row.iter_mut().enumerate().for_each(|(i, x)| *x += common[i % 3] - 0.5 * common[(i + i / 3) % 3]);
        (copied..WIDTH).for_each(|i| row[i] = row[i - copied]);
    }
    let mut samples = Samples::default();
    samples.arrays.insert("x".into(), Tensor::f32(&[count, STEPS, BATCH, WIDTH], values));
    samples
}

fn options(sparsity: f64) -> Options {
    let prune = Prune { sparsity: Some(Share(sparsity)), pattern: Some(BLOCK), ..Prune::default() };
    Options { prune: Some(prune), keep: Some(Vec::new()), quantize: Quantize::None, ..Options::default() }
}

fn pruned(graph: &mut Graph, samples: &Samples, options: &Options) -> crate::Result<Outcome> {
    prune(graph, Some(samples), (options, BLOCK), &mut Silent)
}

fn node(graph: &Graph) -> NodeId {
    graph.nodes().find(|(_, n)| matches!(n.op, Op::Recurrent(_))).unwrap().0
}

fn operand(graph: &Graph, at: usize) -> Vec<f32> {
    graph[graph[node(graph)].inputs[at].unwrap()].constant().unwrap().to_f32_vec()
}

/// Blocks of 1x4 that are zero.
fn blocks(weights: &[f32]) -> usize {
    weights.chunks(4).filter(|b| b.iter().all(|w| *w == 0.0)).count()
}

/// The square error of a graph's outputs against another's, as a share of these.
fn off(have: &Graph, want: &Graph, samples: &Samples) -> f64 {
    let (mut error, mut all) = (0.0, 0.0);
    for x in crate::samples::split(samples, want, None).unwrap() {
        let (h, w) = (crate::graph::run(have, &x).unwrap(), crate::graph::run(want, &x).unwrap());
        for (h, w) in h[0].to_f64_vec().into_iter().zip(w[0].to_f64_vec()) {
            (error, all) = (error + (h - w) * (h - w), all + w * w);
        }
    }
    error / all
}

#[test]
fn both_products_lose_their_share_and_the_others_make_up_for_it() {
    for (cell, length) in CELLS.into_iter().flat_map(|c| [(c, None), (c, Some(3))]) {
        let float = network(cell, false, length);
        let mut graph = float.clone();
        let all = samples(60, WIDTH);
        let wish = LayerWish { layers: Glob("layer".into()), value: Share(0.5) };
        let wanted = Options { sparsities: vec![wish], ..options(0.5) };
        let done = pruned(&mut graph, &all, &wanted).unwrap();
        let [found] = done.layers.as_slice() else { panic!("{cell:?}: {done:?}") };
        let (w, r) = (operand(&graph, W), operand(&graph, R));
        assert_eq!((found.layer.as_str(), found.weights), ("layer", w.len() + r.len()));
        assert_eq!(4 * (blocks(&w) + blocks(&r)), found.removed, "{cell:?}");
        assert!((done.sparsity - 0.5).abs() < 0.01 && blocks(&w) > 0 && blocks(&r) > 0, "{cell:?} {done:?}");
        assert!(found.error > 0.0 && found.error < 0.5, "{cell:?}: {found:?}");
        // The same zeros in weights as they were.
        let mut plain = float.clone();
        for at in [W, R] {
            let v = float[node(&float)].inputs[at].unwrap();
            let kept = operand(&float, at).into_iter().zip(operand(&graph, at));
            let values = kept.map(|(old, new)| if new == 0.0 { 0.0 } else { old }).collect();
            Patch::new(&mut plain).set_constant(v, Tensor::f32(&float[v].shape.clone(), values));
        }
        let fresh = samples(90, WIDTH);
        let (solved, plain) = (off(&graph, &float, &fresh), off(&plain, &float, &fresh));
        assert!(solved < 0.75 * plain, "{cell:?} {length:?}: {solved} against {plain}");
    }
}

/// Inputs that say what others say can go.
#[test]
fn what_others_know_costs_nothing() {
    for cell in CELLS {
        let float = network(cell, false, None);
        let mut graph = float.clone();
        let all = samples(60, 4);
        let wish = LayerWish { layers: Glob("layer.W".into()), value: Share(0.5) };
        let wanted = Options { prune: None, keep: None, sparsities: vec![wish], ..options(0.5) };
        pruned(&mut graph, &all, &wanted).unwrap();
        assert_eq!(2 * blocks(&operand(&graph, W)), operand(&graph, W).len() / 4, "{cell:?}");
        assert_eq!(blocks(&operand(&graph, R)), 0, "{cell:?}");
        let lost = off(&graph, &float, &all);
        assert!(lost < 1e-3, "{cell:?}: {lost}");
    }
}

/// A layer that is kept has new weights behind one that is pruned, and its outputs are nearer with them.
#[test]
fn a_layer_behind_a_pruned_one_makes_up_for_it() {
    for cell in CELLS {
        let float = network(cell, true, None);
        let mut graph = float.clone();
        let wanted = Options { keep: Some(vec![Glob("layer".into())]), ..options(0.5) };
        let all = samples(120, WIDTH);
        pruned(&mut graph, &all, &wanted).unwrap();
        assert_eq!(blocks(&operand(&graph, W)) + blocks(&operand(&graph, R)), 0);
        assert_ne!(operand(&graph, W), operand(&float, W), "{cell:?}");
        let mut old = graph.clone();
        let inputs = float[node(&float)].inputs.clone();
        let id = node(&old);
        for at in [W, R, BIAS] {
            Patch::new(&mut old).node_mut(id).inputs[at] = inputs[at];
        }
        let (new, old) = (off(&graph, &float, &all), off(&old, &float, &all));
        assert!(new < 0.9 * old, "{cell:?}: {new} against {old}");
    }
}

#[test]
fn products_have_names_of_their_own() {
    let all = samples(40, WIDTH);
    let refused = |cell: Cell, wanted: &Options| {
        let error = pruned(&mut network(cell, false, None), &all, wanted).unwrap_err();
        format!("{error} {}", error.help.clone().unwrap_or_default())
    };
    let wish = |name: &str, share: f64| LayerWish { layers: Glob(name.into()), value: Share(share) };
    let unknown = Options { sparsities: vec![wish("layer.X", 0.5)], ..options(0.5) };
    for (cell, names) in
        [(CELLS[0], "`layer.W`, `layer.R`"), (CELLS[1], "`layer.W`, `layer.Rzr`, `layer.Rh`")]
    {
        let text = refused(cell, &unknown);
        assert!(text.contains(names), "{text}");
    }
    let kept = Options {
        keep: Some(vec![Glob("layer".into())]),
        sparsities: vec![wish("layer.R", 0.5)],
        ..options(0.5)
    };
    let text = refused(CELLS[0], &kept);
    assert!(text.contains("`layer.R` is to be kept, and to have a sparsity"), "{text}");
    // The node's own name means all of it; what is said later wins.
    let mut graph = network(CELLS[1], false, None);
    let both = vec![wish("layer", 0.25), wish("layer.Rh", 0.75)];
    pruned(&mut graph, &all, &Options { sparsities: both, ..options(0.5) }).unwrap();
    let (w, r) = (operand(&graph, W), operand(&graph, R));
    let (gates, last) = r.split_at(2 * HIDDEN * HIDDEN);
    let share = |w: &[f32]| 4.0 * blocks(w) as f64 / w.len() as f64;
    for (have, want) in [(share(&w), 0.25), (share(gates), 0.25), (share(last), 0.75)] {
        assert!((have - want).abs() < 0.02, "{have} {want}");
    }
}
