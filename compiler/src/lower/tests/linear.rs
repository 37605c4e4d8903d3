//! Products of two factors against the float meaning of their graph.

use super::*;

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
