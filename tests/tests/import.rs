//! The importer on every model of the zoo.

use secateur_compiler::onnx::import;
use std::collections::BTreeMap;

/// Which models of the zoo are refused, and operators that the refusal must name.
const REFUSED: &[(&str, &[&str])] = &[
    ("ours/digits_mlp_sklearn/model.onnx", &["ai.onnx.ml.Scaler", "ai.onnx.ml.ArrayFeatureExtractor"]),
    ("ours/jv_lstm/model.onnx", &["LSTM"]),
    ("ours/snips_bert/model.onnx", &["Pow", "Erf"]),
    ("ours/watch_cnngru/model.onnx", &["GRU"]),
    ("third_party/magika/model.onnx", &["ReduceSum", "Max", "Reciprocal", "Equal", "ReduceMax", "Exp"]),
    (
        "third_party/micro_kws_m/model_qoperator_msft.onnx",
        &["com.microsoft.QLinearAveragePool", "QLinearConv"],
    ),
    ("third_party/silero_vad_if_op15/model.onnx", &["If"]),
];

#[test]
fn every_model_of_the_zoo_is_read_or_refused_by_operator() {
    for (name, path) in secateur_tests::zoo_models() {
        let bytes = std::fs::read(&path).expect("a readable model");
        let result = import(&bytes, &BTreeMap::new());
        match (REFUSED.iter().find(|(n, _)| *n == name), result) {
            (None, Ok(graph)) => {
                secateur_compiler::graph::verify(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            (None, Err(e)) => panic!("{name}: {e}"),
            (Some(_), Ok(_)) => panic!("{name} is listed as refused, but was read"),
            (Some((_, ops)), Err(e)) => {
                let text = e.to_string();
                for op in *ops {
                    assert!(text.contains(&format!("({op})")), "{name}: `{op}` is not named in\n{text}");
                }
            }
        }
    }
}
