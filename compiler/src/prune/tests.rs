//! Small layers whose answers are known: by closed forms, by trying every mask, by the pattern itself.

use super::groups::Groups;
use super::{obs, prune, scores};
use crate::graph::{Graph, Patch};
use crate::least_squares::{Matrix, Moments, Rows, Sizes, Solver};
use crate::observe::Silent;
use crate::ops::{Dense, Relu};
use crate::options::{Glob, Options, Pattern, Prune, Quantize, Score, Share};
use crate::tensor::{DType, Samples, Tensor};
use std::collections::BTreeSet;

/// Numbers between -1 and 1 that depend on the seed alone.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 / f64::from(1u32 << 30)) - 1.0
    }
    fn below(&mut self, n: usize) -> usize {
        ((self.next() + 1.0) / 2.0 * n as f64) as usize % n
    }
}

/// A layer: weights, and rows of inputs that hang together, with the outputs of the weights.
fn layer(sizes: Sizes, count: usize, seed: u64) -> (Matrix, Rows) {
    let (mut chance, columns) = (Chance(seed), sizes.columns());
    let weights: Vec<f32> = (0..sizes.weights()).map(|_| chance.next() as f32).collect();
    let trained = Matrix::from_onnx(sizes, &weights);
    let mut rows = Rows::default();
    for _ in 0..count {
        let shared = chance.next();
        let x: Vec<f32> =
            (0..columns).map(|c| (chance.next() + shared * (c % 3) as f64 + 0.5) as f32).collect();
        for row in 0..sizes.rows {
            let y: f64 = trained.row(row).iter().zip(&x).map(|(w, &x)| w * f64::from(x)).sum();
            rows.outputs.push((y + 0.25) as f32);
        }
        rows.inputs.extend(x);
    }
    (trained, rows)
}

fn moments(sizes: Sizes, rows: &Rows) -> Moments {
    Moments::of(rows, sizes.columns(), sizes.rows)
}

/// Mean square error of some weights with their best bias, computed from the rows themselves.
fn error(weights: &Matrix, moments: &Moments, rows: &Rows) -> f64 {
    let (columns, outputs) = (weights.sizes.columns(), weights.sizes.rows);
    let bias: Vec<f64> = (0..outputs).map(|r| moments.bias(r, weights.row(r))).collect();
    let mut sum = 0.0;
    for (x, y) in rows.inputs.chunks(columns).zip(rows.outputs.chunks(outputs)) {
        for r in 0..outputs {
            let have: f64 =
                weights.row(r).iter().zip(x).map(|(w, &x)| w * f64::from(x)).sum::<f64>() + bias[r];
            sum += (have - f64::from(y[r])).powi(2);
        }
    }
    sum / moments.count as f64
}

/// Solves `a x = b` by elimination with pivots: a second way to the same answer.
fn eliminate(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs())).unwrap();
        a.swap(i, pivot);
        b.swap(i, pivot);
        for r in i + 1..n {
            let by = a[r][i] / a[i][i];
            for c in i..n {
                a[r][c] -= by * a[i][c];
            }
            b[r] -= by * b[i];
        }
    }
    for i in (0..n).rev() {
        for c in i + 1..n {
            b[i] -= a[i][c] * b[c];
        }
        b[i] /= a[i][i];
    }
    b
}

#[test]
fn moments_are_those_of_the_definition() {
    let sizes = Sizes { rows: 3, inputs: 5, taps: 1 };
    let (_, rows) = layer(sizes, 21, 1);
    let m = moments(sizes, &rows);
    let mean = |v: &[f32], width: usize, i: usize| {
        v.iter().skip(i).step_by(width).map(|&x| f64::from(x)).sum::<f64>() / 21.0
    };
    for i in 0..5 {
        for j in 0..5 {
            let (a, b) = (mean(&rows.inputs, 5, i), mean(&rows.inputs, 5, j));
            let want: f64 = (0..21)
                .map(|t| (f64::from(rows.inputs[t * 5 + i]) - a) * (f64::from(rows.inputs[t * 5 + j]) - b))
                .sum();
            assert!((m.hessian[i * 5 + j] - want / 21.0).abs() < 1e-12);
        }
        for o in 0..3 {
            let (a, b) = (mean(&rows.inputs, 5, i), mean(&rows.outputs, 3, o));
            let want: f64 = (0..21)
                .map(|t| (f64::from(rows.inputs[t * 5 + i]) - a) * (f64::from(rows.outputs[t * 3 + o]) - b))
                .sum();
            assert!((m.cross[i * 3 + o] - want / 21.0).abs() < 1e-12);
        }
    }
}

/// The mask that OBS finds, for a number of weights of one row that go.
fn obs_mask(
    moments: &Moments,
    trained: &Matrix,
    pattern: Pattern,
    count: usize,
) -> (Solver, Groups, Vec<bool>) {
    let solver = Solver::new(moments, trained).unwrap();
    let groups = Groups::new(trained.sizes, pattern);
    let traces = scores::traces(Score::Obs, &solver, moments, &solver.dense(trained), &groups);
    let kept = scores::kept(&traces, &groups, trained.sizes.columns(), count);
    (solver, groups, kept)
}

const SINGLE: Pattern = Pattern::Block { rows: 1, columns: 1 };

#[test]
fn for_every_mask_the_weights_that_stay_are_the_least_squares() {
    let sizes = Sizes { rows: 1, inputs: 7, taps: 1 };
    for seed in 0..5 {
        let (trained, rows) = layer(sizes, 40, seed);
        let m = moments(sizes, &rows);
        let solver = Solver::new(&m, &trained).unwrap();
        for mask in 0..1u32 << 7 {
            let kept: Vec<bool> = (0..7).map(|i| mask >> i & 1 == 1).collect();
            let stay: Vec<usize> = (0..7).filter(|&i| kept[i]).collect();
            let damp = |i: usize, j: usize| if i == j { solver.damping } else { 0.0 };
            let a = stay.iter().map(|&i| stay.iter().map(|&j| m.hessian[i * 7 + j] + damp(i, j)).collect());
            let b = stay.iter().map(|&i| m.cross[i] + solver.damping * trained.values[i]);
            let want = eliminate(a.collect(), b.collect());
            let have = solver.refit(&kept, &trained);
            for (i, w) in have.values.iter().enumerate() {
                let want = stay.iter().position(|&s| s == i).map_or(0.0, |at| want[at]);
                assert!((w - want).abs() < 1e-9, "{mask:b} {i}: {w} {want}");
            }
        }
    }
}

/// One weight: OBS is exact. More: its costs add up to the error of the refit for its mask, which no mask
/// of as many weights beats by much.
#[test]
fn the_costs_of_obs_are_those_of_the_best_weights_for_its_masks() {
    let sizes = Sizes { rows: 1, inputs: 8, taps: 1 };
    let mut ratios = Vec::new();
    for seed in 10..20 {
        let (trained, rows) = layer(sizes, 60, seed);
        let m = moments(sizes, &rows);
        let solver = Solver::new(&m, &trained).unwrap();
        let groups = Groups::new(sizes, SINGLE);
        let dense = solver.dense(&trained);
        // The damped objective, as growth over that of the dense weights.
        let objective = |w: &Matrix| {
            let far: f64 = w.values.iter().zip(&trained.values).map(|(a, b)| (a - b).powi(2)).sum();
            error(w, &m, &rows) + solver.damping * far
        };
        let least = objective(&dense);
        let trace = &scores::traces(Score::Obs, &solver, &m, &dense, &groups)[0];
        assert_eq!(trace.order.len(), 8);
        let mut spent = 0.0;
        for gone in 1..=8usize {
            spent += trace.cost[gone - 1];
            let mut kept = vec![true; 8];
            trace.order[..gone].iter().for_each(|&g| kept[g] = false);
            let have = objective(&solver.refit(&kept, &trained)) - least;
            assert!((have - spent).abs() < 1e-6 * have.max(1e-3), "{gone} gone: {have} {spent}");
            let all = (0..1u32 << 8).filter(|mask| mask.count_ones() as usize == 8 - gone).map(|mask| {
                let kept: Vec<bool> = (0..8).map(|i| mask >> i & 1 == 1).collect();
                objective(&solver.refit(&kept, &trained)) - least
            });
            let best = all.fold(f64::INFINITY, f64::min);
            assert!(best <= have + 1e-9);
            if gone == 1 || gone == 8 {
                assert!(have <= best + 1e-6, "{gone} gone: {have} {best}");
            }
            ratios.push(have / best.max(1e-12));
        }
    }
    // Greedy, so not always the best of all: on these layers nearly.
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean < 1.1, "{mean}");
}

#[test]
fn obs_with_refit_beats_magnitude_without() {
    for seed in 0..12 {
        let mut chance = Chance(seed + 100);
        let sizes =
            Sizes { rows: 1 + chance.below(6), inputs: 2 + chance.below(9), taps: 1 + chance.below(3) };
        let (trained, rows) = layer(sizes, 200, seed);
        let m = moments(sizes, &rows);
        for pattern in ["1x1", "1x4", "2x2", "1:2"].map(|p| Pattern::parse(p).unwrap()) {
            let count = if pattern.share().is_some() { usize::MAX } else { sizes.weights() / 2 };
            let (solver, groups, kept) = obs_mask(&m, &trained, pattern, count);
            let obs = error(&solver.refit(&kept, &trained), &m, &rows);
            let traces = scores::traces(Score::L1, &solver, &m, &trained, &groups);
            let by_size = scores::kept(&traces, &groups, sizes.columns(), count);
            let values = trained.values.iter().zip(&by_size).map(|(w, k)| if *k { *w } else { 0.0 });
            let magnitude = error(&Matrix { sizes, values: values.collect() }, &m, &rows);
            assert!(obs <= magnitude + 1e-9, "{sizes:?} {pattern}: {obs} {magnitude}");
        }
    }
}

/// Whether the places of zeros are what a pattern allows.
fn holds(groups: &Groups, kept: &[bool], columns: usize) -> bool {
    groups.rows.iter().all(|rows| {
        let row = |r: usize| &kept[r * columns..(r + 1) * columns];
        let first = row(rows.start);
        rows.clone().all(|r| row(r) == first)
            && groups.columns.iter().all(|g| first[g.clone()].iter().all(|k| *k == first[g.start]))
            && groups
                .quotas
                .iter()
                .all(|(run, keep)| first[run.clone()].iter().filter(|k| **k).count() == *keep)
    })
}

#[test]
fn patterns_hold_exactly_whatever_the_shape() {
    let patterns = ["1x1", "1x4", "2x4", "4x4", "1x16", "3x5", "64x64", "1:2", "2:4", "1:4", "1:8"];
    let all = [Score::Obs, Score::L1, Score::L2, Score::Sensitivity, Score::Contribution];
    for seed in 0..30 {
        let mut chance = Chance(seed);
        let sizes =
            Sizes { rows: 1 + chance.below(9), inputs: 1 + chance.below(19), taps: 1 + chance.below(4) };
        let (mut trained, mut rows) = layer(sizes, 50, seed);
        // A row without weights, and now and then a layer without any, or one that reads constants.
        let dead = chance.below(sizes.rows) * sizes.columns();
        trained.values[dead..dead + sizes.columns()].fill(0.0);
        if seed % 7 == 3 {
            trained.values.fill(0.0);
        }
        if seed % 7 == 5 {
            rows.inputs.fill(0.5);
        }
        let m = moments(sizes, &rows);
        for pattern in patterns.map(|p| Pattern::parse(p).unwrap()) {
            let score = all[chance.below(all.len())];
            let solver = Solver::new(&m, &trained).unwrap();
            let groups = Groups::new(sizes, pattern);
            let traces = scores::traces(score, &solver, &m, &solver.dense(&trained), &groups);
            for share in [0.3, 0.75, 1.0] {
                let count = match pattern.share() {
                    Some(_) => usize::MAX,
                    None => (sizes.weights() as f64 * share) as usize,
                };
                let kept = scores::kept(&traces, &groups, sizes.columns(), count);
                assert!(holds(&groups, &kept, sizes.columns()), "{sizes:?} {pattern} {score:?}");
                let weights = solver.refit(&kept, &trained);
                assert!(weights.values.iter().all(|w| w.is_finite()));
                let wrong = weights.values.iter().zip(&kept).any(|(w, k)| !k && *w != 0.0);
                assert!(!wrong, "{sizes:?} {pattern} {score:?}: a weight that should go is there");
                if pattern.share().is_none() {
                    let gone = kept.iter().filter(|k| !**k).count();
                    let most = groups.columns.iter().map(|g| g.len()).max().unwrap() * groups.rows[0].len();
                    assert!(gone.abs_diff(count) <= most, "{sizes:?} {pattern}: {gone} of {count}");
                }
            }
        }
    }
}

#[test]
fn a_layer_that_reads_constants_keeps_its_weights_and_output() {
    let sizes = Sizes { rows: 2, inputs: 4, taps: 1 };
    let (trained, mut rows) = layer(sizes, 10, 4);
    rows.inputs.fill(2.0);
    rows.outputs = [1.0, -3.0].repeat(10);
    let m = moments(sizes, &rows);
    let solver = Solver::new(&m, &trained).unwrap();
    let same = solver.dense(&trained);
    assert!(same.values.iter().zip(&trained.values).all(|(a, b)| (a - b).abs() < 1e-12));
    // Without any weight the bias gives it all.
    let none = Matrix { sizes, values: vec![0.0; 8] };
    assert!((m.bias(0, none.row(0)) - 1.0).abs() < 1e-12);
    assert!(error(&none, &m, &rows) < 1e-12);
}

#[test]
fn fewer_samples_than_columns_are_solved_for_all_the_same() {
    let sizes = Sizes { rows: 3, inputs: 30, taps: 1 };
    let (trained, rows) = layer(sizes, 5, 9);
    let m = moments(sizes, &rows);
    let (solver, _, kept) = obs_mask(&m, &trained, Pattern::Block { rows: 1, columns: 4 }, 45);
    let weights = solver.refit(&kept, &trained);
    assert!(weights.values.iter().all(|w| w.is_finite() && w.abs() < 10.0), "{weights:?}");
}

/// A Hessian that is none, by rounding or by fault, is damped until it has a factor; numbers that are
/// none are refused.
#[test]
fn a_hessian_without_factor_is_damped_or_refused() {
    let sizes = Sizes { rows: 1, inputs: 2, taps: 1 };
    let (trained, rows) = layer(sizes, 5, 9);
    let mut m = moments(sizes, &rows);
    m.hessian = vec![1.0, 1.2, 1.2, 1.0];
    let solver = Solver::new(&m, &trained).unwrap();
    assert!(solver.raised && solver.damping >= 0.2);
    m.hessian[0] = f64::NAN;
    assert!(Solver::new(&m, &trained).is_err());
}

/// The trace of a pattern with blocks of one row is that of the rows on their own; the inverse that it keeps
/// up to date is that of the columns that are left.
#[test]
fn removal_by_steps_and_all_at_once_agree() {
    let sizes = Sizes { rows: 2, inputs: 12, taps: 1 };
    let (trained, rows) = layer(sizes, 80, 3);
    let m = moments(sizes, &rows);
    let solver = Solver::new(&m, &trained).unwrap();
    let groups = Groups::new(sizes, Pattern::Block { rows: 2, columns: 4 });
    let dense = solver.dense(&trained);
    let trace = obs::trace(&solver.inverse(), &[dense.row(0), dense.row(1)], &groups);
    let objective = |w: &Matrix| {
        let far: f64 = w.values.iter().zip(&trained.values).map(|(a, b)| (a - b).powi(2)).sum();
        error(w, &m, &rows) + solver.damping * far
    };
    let mut kept = vec![true; 24];
    let mut last = objective(&dense);
    for (&group, &cost) in trace.order.iter().zip(&trace.cost) {
        for r in 0..2 {
            kept[r * 12..(r + 1) * 12][groups.columns[group].clone()].fill(false);
        }
        let now = objective(&solver.refit(&kept, &trained));
        assert!((now - last - cost * 8.0).abs() < 1e-6, "{now} {last} {cost}");
        last = now;
    }
}

/// Dense, Relu, Dense, Dense: 6 inputs, 8 and 7 hidden values, 3 outputs.
fn network(scale: f32) -> Graph {
    let mut graph = Graph::default();
    let mut patch = Patch::new(&mut graph);
    let mut chance = Chance(7);
    let mut value = patch.add_input("x", DType::F32, &[1, 6]);
    for (name, inputs, outputs) in [("first", 6, 8), ("second", 8, 7), ("last", 7, 3)] {
        let weights = (0..inputs * outputs).map(|_| chance.next() as f32 * scale).collect();
        let w = patch.add_constant("w", Tensor::f32(&[outputs, inputs], weights));
        let y = patch.add_value(name, DType::F32, &[1, outputs]);
        patch.add_node(name, Dense.into(), vec![Some(value), Some(w)], vec![y]);
        value = y;
        if name == "first" {
            let z = patch.add_value("z", DType::F32, &[1, outputs]);
            patch.add_node("relu", Relu.into(), vec![Some(value)], vec![z]);
            value = z;
        }
    }
    patch.add_output(value);
    graph
}

fn samples(count: usize) -> Samples {
    let mut chance = Chance(8);
    let x = (0..count * 6).map(|_| chance.next() as f32).collect();
    let mut samples = Samples::default();
    samples.arrays.insert("x".into(), Tensor::f32(&[count, 6], x));
    samples
}

fn options(sparsity: f64) -> Options {
    let prune = Prune { sparsity: Some(Share(sparsity)), pattern: Some(SINGLE), ..Prune::default() };
    Options { prune: Some(prune), keep: Some(Vec::new()), quantize: Quantize::None, ..Options::default() }
}

#[test]
fn a_network_is_pruned_to_the_share_that_is_asked_for() {
    for sparsity in [0.25, 0.5, 0.75] {
        let mut graph = network(1.0);
        let done = prune(&mut graph, Some(&samples(100)), (&options(sparsity), SINGLE), &mut Silent).unwrap();
        let removed: usize = done.layers.iter().map(|l| l.removed).sum();
        assert!(removed.abs_diff((sparsity * 125.0_f64).round() as usize) <= 3, "{removed} at {sparsity}");
        let zeros = graph.nodes().filter_map(|(_, n)| graph[n.inputs.get(1).copied()??].constant());
        let zeros: usize = zeros.map(|t| t.to_f32_vec().iter().filter(|w| **w == 0.0).count()).sum();
        assert_eq!(zeros, removed);
    }
}

/// The layer behind a pruned one is solved anew for what it then reads: the output is nearer than with the
/// weights that it had.
#[test]
fn layers_behind_pruned_ones_make_up_for_them() {
    let float = network(1.0);
    let mut graph = float.clone();
    let keep = Some(vec![Glob("last".into()), Glob("second".into())]);
    let wanted = Options { keep, ..options(0.5) };
    prune(&mut graph, Some(&samples(200)), (&wanted, SINGLE), &mut Silent).unwrap();
    let mut old = graph.clone();
    for name in ["second", "last"] {
        let of = |g: &Graph| {
            g.nodes().find(|(_, n)| n.name == name).map(|(id, n)| (id, n.inputs.clone())).unwrap()
        };
        let (id, inputs) = of(&float);
        assert_ne!(inputs, of(&graph).1, "{name} is as it was");
        Patch::new(&mut old).node_mut(id).inputs = inputs;
    }
    let all = samples(200);
    let inputs = crate::samples::split(&all, &float, None).unwrap();
    let off = |g: &Graph| -> f64 {
        let one = |x: &Vec<Tensor>| {
            let (a, b) = (crate::graph::run(g, x).unwrap(), crate::graph::run(&float, x).unwrap());
            a[0].to_f64_vec().iter().zip(b[0].to_f64_vec()).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        };
        inputs.iter().map(one).sum()
    };
    assert!(off(&graph) < 0.9 * off(&old), "{} {}", off(&graph), off(&old));
}

#[test]
fn numbers_that_are_none_are_refused_at_their_place() {
    let mut graph = network(1e30);
    let error = prune(&mut graph, Some(&samples(20)), (&options(0.5), SINGLE), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("on calibration sample"), "{error}");
    let mut with_nan = samples(20);
    let x = Tensor::f32(&[1, 6], vec![f32::NAN; 6]);
    with_nan.arrays.insert("x".into(), x);
    let error = prune(&mut network(1.0), Some(&with_nan), (&options(0.5), SINGLE), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("no finite number"), "{error}");
}

#[test]
fn few_samples_are_warned_of() {
    let mut graph = network(1.0);
    prune(&mut graph, Some(&samples(5)), (&options(0.5), SINGLE), &mut Silent).unwrap();
    assert!(graph.warnings().iter().any(|w| w.message.contains("damping decides")), "{:?}", graph.warnings());
}

/// Zeros of the model stay where they are asked to, through what is solved anew and through int8.
#[test]
fn zeros_that_come_stay() {
    let mut sparse = network(1.0);
    let nodes: Vec<_> = sparse.nodes().filter(|(_, n)| n.inputs.len() > 1).map(|(id, _)| id).collect();
    for &id in &nodes {
        let w = sparse[id].inputs[1].unwrap();
        let (shape, mut values) = (sparse[w].shape.clone(), sparse[w].constant().unwrap().to_f32_vec());
        values.iter_mut().step_by(3).for_each(|v| *v = 0.0);
        Patch::new(&mut sparse).set_constant(w, Tensor::f32(&shape, values));
    }
    // In the integers too: nothing there moves a zero.
    let filled = |graph: &Graph| -> usize {
        let one = |id: &crate::graph::NodeId| {
            let value = &graph[graph[*id].inputs[1].unwrap()];
            assert!(value.quant.iter().all(|q| q.zero_point.iter().all(|z| *z == 0)));
            value.constant().unwrap().to_f64_vec().iter().step_by(3).filter(|w| **w != 0.0).count()
        };
        nodes.iter().map(one).sum()
    };
    let all = samples(200);
    let int8 = |graph: &Graph| {
        let mut graph = graph.clone();
        crate::quantize::quantize(&mut graph, &all, &Options::default(), &BTreeSet::new(), &mut Silent)
            .unwrap();
        graph
    };
    assert_eq!(filled(&int8(&sparse)), 0);
    for (keep_zeros, pattern) in
        [(true, SINGLE), (true, Pattern::Block { rows: 2, columns: 2 }), (false, SINGLE)]
    {
        let mut graph = sparse.clone();
        let mut wanted = Options { keep_zeros, keep: Some(vec![Glob("last".into())]), ..options(0.4) };
        wanted.prune = wanted.prune.map(|p| Prune { pattern: Some(pattern), ..p });
        let done = prune(&mut graph, Some(&all), (&wanted, SINGLE), &mut Silent).unwrap();
        assert!(done.sparsity > 0.35, "{done:?}");
        assert_eq!(filled(&graph) == 0, keep_zeros, "{pattern}");
        assert_eq!(filled(&int8(&graph)) == 0, keep_zeros, "{pattern}");
    }
}
