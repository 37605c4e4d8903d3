//! Products of two factors against the float meaning of their graph.

use super::*;
use crate::options::Optimize;
use crate::policy::Policy;
use crate::schedule::{Library, schedule_with};

/// A scale for each column of a product goes with the column, wherever it lies in the factor; one
/// for each index that is summed over has no integer meaning.
#[test]
fn factors_with_a_scale_for_each_column() {
    let mut r = Random(11);
    let mut tally = Tally::default();
    for (trans_b, axis) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let scale = vec![0.01, 0.2, 0.003, 0.07];
        let quant = Quant { dtype: DType::I8, scale, zero_point: vec![0; 4], axis: Some(axis) };
        let given =
            [quantized(&[3, 4], 0.05, &mut r), Given::QuantizedConstant(stored(&[4, 4], &mut r), quant)];
        let op = ops::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b };
        let result = r.quant(0.5);
        if axis == usize::from(!trans_b) {
            check_int8(op, &given, Clamp::NONE, &result, &mut r, &mut tally);
            continue;
        }
        let (graph, _) = graph(&op.into(), &given, Clamp::NONE, &[Some(result)], &mut r);
        let refused = crate::schedule::schedule(&graph, &host(), crate::options::Optimize::Balanced);
        let refusal = refused.unwrap_err().to_string();
        assert!(refusal.contains("summed over"), "{refusal}");
    }
}

/// A chain of convolutions of one shape, each with the channels of the one before it turned by one:
/// other weights, whose sums reach as far.
fn chain(layers: usize) -> Graph {
    let mut weights = stored(&[8, 8, 3, 3], &mut Random(5)).to_i64_vec();
    let mut graph = Graph::default();
    let mut p = Patch::new(&mut graph);
    let shape = [1, 8, 12, 12];
    let quant = || Some(Quant::per_tensor(DType::I8, 0.1, 3));
    let mut x = p.add_input("x", DType::F32, &shape);
    p.set_quant(x, quant());
    for i in 0..layers {
        weights.rotate_left(8 * 3 * 3);
        let w = Tensor::new(vec![8, 8, 3, 3], Data::from_i64(DType::I8, &weights)).unwrap();
        let w = p.add_constant(&format!("w{i}"), w);
        p.set_dtype(w, DType::F32);
        p.set_quant(w, Some(Quant::per_tensor(DType::I8, 0.01, 0)));
        let y = p.add_value(&format!("y{i}"), DType::F32, &shape);
        p.set_quant(y, quant());
        let op = ops::Conv { group: 1, strides: vec![1, 1], dilations: vec![1, 1], pads: vec![1, 1, 1, 1] };
        p.add_node(&format!("conv{i}"), op.into(), vec![Some(x), Some(w)], vec![y]);
        x = y;
    }
    p.add_output(x);
    graph
}

/// Registers are assigned and instructions scheduled once for each distinct function, however many
/// layers ask for it, and again by no other plan of the same compilation.
#[test]
fn each_kernel_is_generated_once() {
    for core in
        ["cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc", "rv32imcv", "hexagon-v67"]
    {
        let target = secateur_targets::find(core).unwrap();
        let generated = |layers: usize| {
            let (library, graph) = (Library::new(&target), chain(layers));
            schedule_with(&graph, &library, Policy::from(Optimize::Balanced)).unwrap();
            let first = library.generated();
            schedule_with(&graph, &library, Policy::from(Optimize::Balanced)).unwrap();
            assert_eq!(library.generated(), first, "{core}: a second plan generates again");
            first
        };
        let two = generated(3);
        assert!(two > 0, "{core}: nothing was generated");
        // The first and the last layer read and write the ports, which lie otherwise.
        assert_eq!(generated(12), two, "{core}");
    }
}
