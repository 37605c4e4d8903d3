//! The graph passes on every model that imports: the float meaning stays, and what the passes
//! promise to remove is gone.

use secateur_compiler::graph::{Graph, Node, print, run};
use secateur_compiler::ops::Op;
use secateur_compiler::{DType, Tensor, onnx, passes};
use secateur_tests::{full, relative_error, zoo_models};
use std::collections::BTreeMap;

/// A fixed sequence of numbers in -1..1: a linear congruential generator (Knuth, MMIX).
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// One input for every port; integers of quantized ports and indices become small numbers.
fn inputs(graph: &Graph) -> Vec<Tensor> {
    let value = |i: usize, shape: &[usize], dtype: DType| {
        let noise = noise(i as u64 + 1, shape.iter().product());
        match dtype {
            DType::F32 => Tensor::f32(shape, noise),
            other => {
                let ints: Vec<i64> = noise.iter().map(|v| (v * 100.0) as i64).collect();
                let data = secateur_compiler::tensor::Data::from_i64(other, &ints);
                Tensor::new(shape.to_vec(), data).expect("the shape of the port")
            }
        }
    };
    let ports = graph.inputs().iter().enumerate();
    ports.map(|(i, &v)| value(i, &graph[v].shape, graph[v].dtype)).collect()
}

/// Whether the model speaks integers itself; then passes also absorb its quantizers, whose
/// roundings the float meaning does not make.
fn is_qdq(graph: &Graph) -> bool {
    graph.nodes().any(|(_, n)| matches!(n.op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_)))
}

#[test]
fn passes_keep_the_float_meaning() {
    for (name, path) in zoo_models() {
        let bytes = std::fs::read(&path).expect("a readable model");
        let Ok(before) = onnx::import(&bytes, &BTreeMap::new()) else { continue };
        let mut after = before.clone();
        passes::run(&mut after, &mut |_, _| {}).unwrap_or_else(|e| panic!("{name}: {e}"));
        // A padding that two layers share stays, and so do zeros that a Reshape puts between elements.
        let pads = |n: &Node| {
            let readers = after.consumers(n.outputs[0]);
            readers.len() == 1 && matches!(after[readers[0]].op, Op::Conv(_))
        };
        let moves = after.nodes().filter(|(_, n)| {
            matches!(n.op, Op::Pad(_)) && pads(n)
                || matches!(
                    n.op,
                    Op::Identity(_)
                        | Op::Dropout(_)
                        | Op::Squeeze(_)
                        | Op::Unsqueeze(_)
                        | Op::Flatten(_)
                        | Op::BatchNormalization(_)
                        | Op::Gemm(_)
                        | Op::Relu(_)
                        | Op::Clip(_)
                        | Op::QuantizeLinear(_)
                        | Op::DequantizeLinear(_)
                )
        });
        let left: Vec<String> = moves.map(|(_, n)| n.name.clone()).collect();
        assert!(left.is_empty(), "{name}: {left:?} are left in\n{}", print(&after));
        // Large models only in the long run: a float inference of them takes seconds.
        let big = std::fs::metadata(&path).expect("a readable model").len() > 400_000;
        if is_qdq(&before) || (big && !full()) {
            continue;
        }
        let inputs = inputs(&before);
        let expected = run(&before, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
        let results = run(&after, &inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (y, r) in results.iter().zip(&expected) {
            assert_eq!(y.shape(), r.shape(), "{name}");
            let error = relative_error(&y.to_f32_vec(), &r.to_f32_vec());
            assert!(error < 2e-5, "{name}: {error:e}");
        }
    }
}

#[test]
fn nothing_is_moved_at_run_time() {
    // Models of tf2onnx are channels-last outside and channels-first inside: their transpositions
    // and reshapes must all be views of memory that lies right already.
    let target = secateur_compiler::targets::find("host").expect("the target `host` exists");
    for (name, path) in zoo_models() {
        let bytes = std::fs::read(&path).expect("a readable model");
        let Ok(mut graph) = onnx::import(&bytes, &BTreeMap::new()) else { continue };
        passes::run(&mut graph, &mut |_, _| {})
            .and_then(|()| passes::run_quantized(&mut graph, &mut |_, _| {}))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let schedule = secateur_compiler::schedule::schedule(
            &graph,
            &target,
            secateur_compiler::options::Optimize::Balanced,
        )
        .unwrap_or_else(|e| panic!("{name}: {e}"));
        for (id, node) in graph.nodes() {
            let choice = schedule.choices[id.index()].as_ref().expect("every node has a choice");
            let view = choice.view;
            if matches!(node.op, Op::Transpose(_) | Op::Reshape(_)) {
                assert!(view, "{name}: `{}` moves data in\n{}", node.name, print(&graph));
            }
        }
    }
}
