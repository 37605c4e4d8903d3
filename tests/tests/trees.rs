//! Models of scikit-learn, LightGBM and XGBoost: labels as onnxruntime gives them, every one, and its scores.
//!
//! In: `tests/trees/NAME.onnx` with samples (`NAME.x.npz`) and onnxruntime's outputs for them (`NAME.ref.npz`),
//! written by `train.py` and `cases.py` there. Law: labels are equal, scores within a tenth of a per mille; the
//! evaluator, C and Rust give the same bits.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::cli::toolchain::{Model, Optimize, build};
use secateur_compiler::error::Result;
use secateur_compiler::observe::Silent;
use secateur_compiler::onnx::import;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::samples;
use secateur_compiler::targets;
use secateur_compiler::tensor::{DType, Samples, Tensor};
use secateur_tests::onnx::{
    FLOAT, INT64, Message, Model as Built, attr_int, attr_ints, attr_str, dims, node, port,
};
use secateur_tests::seeds;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn path(file: &str) -> PathBuf {
    secateur_tests::repository().join("tests/trees").join(file)
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(path("")).expect("the folder of the models");
    let mut names: Vec<String> = files
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_suffix(".onnx").map(String::from))
        .collect();
    names.sort_unstable();
    names
}

fn arrays(file: &str) -> Samples {
    read_samples(&path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn model(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("{name}.onnx"))).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn compiled(name: &str, as_name: String, quantize: Quantize) -> Artifact {
    let emit = vec![Language::C, Language::Rust];
    let options = Options { name: as_name, quantize, emit, ..Options::default() };
    let host = targets::find("host").expect("the host is a target");
    compile(&model(name), &host, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Where outputs differ from the reference: integers in anything, floats in a tenth of a per mille.
fn differences(name: &str, artifact: &Artifact, outputs: &[Vec<Tensor>]) -> Vec<String> {
    let reference = arrays(&format!("{name}.ref.npz"));
    let graph = &artifact.imported;
    let mut wrong = Vec::new();
    for (index, &output) in graph.outputs().iter().enumerate() {
        let value = &graph[output];
        let Some(want) = reference.arrays.get(&value.name) else {
            wrong.push(format!("{name}: the reference has no output `{}`", value.name));
            continue;
        };
        let exact = value.dtype != DType::F32;
        let want = want.to_f64_vec();
        let got: Vec<f64> = outputs.iter().flat_map(|o| o[index].to_f64_vec()).collect();
        let same = |a: f64, b: f64| {
            a == b || !exact && (a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-4 * a.abs().max(1.0))
        };
        let different: Vec<String> = want
            .iter()
            .zip(&got)
            .enumerate()
            .filter(|(_, (a, b))| !same(**a, **b))
            .map(|(i, (a, b))| format!("{i}: {b} instead of {a}"))
            .collect();
        if want.len() != got.len() || !different.is_empty() {
            let first: Vec<&String> = different.iter().take(3).collect();
            wrong.push(format!(
                "{name}: `{}`: {} of {} differ ({} are given): {first:?}",
                value.name,
                different.len(),
                want.len(),
                got.len()
            ));
        }
    }
    wrong
}

/// Models that are trees and what surrounds them alone: these need no samples to be quantized, as they are not.
fn is_exact(name: &str) -> bool {
    ["forest", "boosting", "xgboost", "each_tree", "each_later_tree"].iter().any(|n| name.starts_with(n))
}

#[test]
fn labels_are_equal_on_every_engine() {
    let names = names();
    assert!(names.len() >= 24, "{names:?}");
    let artifacts: Vec<(&String, Artifact)> = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let quantize = if is_exact(name) { Quantize::Int8 } else { Quantize::None };
            (name, compiled(name, format!("case_{i}"), quantize))
        })
        .collect();
    let models: Vec<Model<'_>> = artifacts.iter().map(|(_, a)| a.into()).collect();
    let host = targets::find("host").expect("the host is a target");
    let mut wrong = Vec::new();
    let images = [Language::C, Language::Rust].map(|language| {
        build(language, &models, &host, Optimize::Debug).unwrap_or_else(|e| panic!("{language:?}: {e}"))
    });
    for (index, (name, artifact)) in artifacts.iter().enumerate() {
        let samples = samples::split(&arrays(&format!("{name}.x.npz")), &artifact.imported, None)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let float: Vec<Vec<Tensor>> = samples
            .iter()
            .map(|s| {
                secateur_compiler::graph::run(&artifact.imported, s).unwrap_or_else(|e| panic!("{name}: {e}"))
            })
            .collect();
        wrong
            .extend(differences(name, artifact, &float).into_iter().map(|w| format!("float meaning of {w}")));
        let mut machine = Machine::new(&artifact.program).unwrap_or_else(|e| panic!("{name}: {e}"));
        let want: Vec<Vec<Tensor>> =
            samples.iter().map(|s| machine.run(s).unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
        wrong.extend(differences(name, artifact, &want).into_iter().map(|w| format!("evaluator of {w}")));
        for (language, image) in ["C", "Rust"].iter().zip(&images) {
            let got = image.run(index, &samples, &mut Silent).unwrap_or_else(|e| panic!("{name}: {e}"));
            // Which NaN comes out is open.
            let bits = |t: &Tensor| -> Vec<u64> {
                let number = |v: f64| if v.is_nan() { u64::MAX } else { v.to_bits() };
                t.to_f64_vec().into_iter().map(number).collect()
            };
            let all = |o: &[Vec<Tensor>]| o.iter().flatten().map(bits).collect::<Vec<_>>();
            if all(&got.outputs) != all(&want) {
                wrong.push(format!("{name}: {language} differs from the evaluator"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `--emit onnx` writes trees as a node of `ai.onnx.ml`, of the meaning that the model had; what it has no words for
/// is the only thing that it names.
#[test]
fn trees_are_written_as_onnx() {
    let mut written = 0;
    let mut wrong = Vec::new();
    for name in names() {
        let emit = vec![Language::C];
        let options =
            Options { name: "case".into(), quantize: Quantize::None, emit, onnx: true, ..Options::default() };
        let host = targets::find("host").expect("the host is a target");
        let artifact = match compile(&model(&name), &host, None, &options, &mut Silent) {
            Ok(artifact) => artifact,
            Err(e) => {
                let text = e.to_string();
                if !text.contains("iteration") || text.contains("nothing computes") {
                    wrong.push(format!("{name}: {text}"));
                }
                continue;
            }
        };
        let samples = samples::split(&arrays(&format!("{name}.x.npz")), &artifact.imported, None)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let [(_, bytes)] = artifact.models.as_slice() else { panic!("{name}: one file") };
        let again = import(bytes, &BTreeMap::new()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let run = |s: &Vec<Tensor>| {
            secateur_compiler::graph::run(&again, s).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let results: Vec<Vec<Tensor>> = samples.iter().map(run).collect();
        wrong.extend(differences(&name, &artifact, &results));
        written += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(written >= 18, "{written} are written");
}

#[test]
fn trees_stay_in_floats_and_say_so() {
    let artifact = compiled("forest_10", "forest".into(), Quantize::Int8);
    let warnings = &artifact.report.warnings;
    assert!(warnings.iter().any(|w| w.message.contains("stays in floats")), "{warnings:?}");
    assert!(artifact.graph.values().all(|(_, v)| v.quant.is_none()));
}

/// Exporters declare one column for the results of trees of several.
#[test]
fn a_result_of_another_shape_than_declared_is_told() {
    let graph = import(&model("tree_two_numbers"), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    let all: Vec<String> = graph.warnings().iter().map(ToString::to_string).collect();
    let says = "declared with shape [?, 1], but the graph computes [1, 2], which holds";
    assert!(all.iter().any(|w| w.contains(says)), "{all:?}");
}

#[test]
fn names_and_dictionaries_are_told() {
    let graph = import(&model("forest_names"), &BTreeMap::new()).unwrap_or_else(|e| panic!("{e}"));
    let all: Vec<String> = graph.warnings().iter().map(ToString::to_string).collect();
    for says in ["0 is `setosa`, 1 is `versicolor`, 2 is `virginica`", "instead of as dictionaries"] {
        assert!(all.iter().any(|w| w.contains(says)), "{says}: {all:?}");
    }
}

fn attr_floats(name: &str, v: &[f32]) -> Message {
    v.iter().fold(Message::new().str(1, name), |m, &x| m.float(7, x)).int(20, 6)
}

fn attr_words(name: &str, v: &[&str]) -> Message {
    v.iter().fold(Message::new().str(1, name), |m, x| m.str(9, x)).int(20, 8)
}

/// A model of one node of `ai.onnx.ml`.
fn one(op: &str, input: i64, outputs: &[&str], attrs: &[Message]) -> Result<secateur_compiler::graph::Graph> {
    let built = Built {
        nodes: vec![node("n", op, &["x"], outputs, attrs).str(7, "ai.onnx.ml")],
        inputs: vec![port("x", input, &dims(&[2, 3]))],
        outputs: outputs.iter().map(|o| seeds::untyped(o)).collect(),
        ..Built::default()
    };
    import(&built.bytes(), &BTreeMap::new())
}

fn refused(result: Result<secateur_compiler::graph::Graph>, says: &str) {
    let error = result.map(|_| ()).expect_err(says);
    let text = error.to_string();
    assert!(text.contains("node `n` (ai.onnx.ml.") && text.contains(says), "`{says}` is missing in\n{text}");
}

/// A stump: `nodes_*` lists of a root and two leaves, each list replaced where `with` has one of its name.
fn stump(with: &[Message]) -> Vec<Message> {
    let mut lists = vec![
        attr_ints("nodes_nodeids", &[0, 1, 2]),
        attr_ints("nodes_treeids", &[0, 0, 0]),
        attr_ints("nodes_featureids", &[2, 0, 0]),
        attr_words("nodes_modes", &["BRANCH_LEQ", "LEAF", "LEAF"]),
        attr_floats("nodes_values", &[0.5, 0.0, 0.0]),
        attr_ints("nodes_truenodeids", &[1, 0, 0]),
        attr_ints("nodes_falsenodeids", &[2, 0, 0]),
        attr_ints("target_ids", &[0, 0]),
        attr_ints("target_nodeids", &[1, 2]),
        attr_ints("target_treeids", &[0, 0]),
        attr_floats("target_weights", &[1.0, 2.0]),
        attr_int("n_targets", 1),
    ];
    // The name comes first: field 1, a length, and the text.
    let name = |m: &Message| m.0.get(2..2 + usize::from(m.0[1])).map(<[u8]>::to_vec);
    lists.retain(|l| with.iter().all(|w| name(w) != name(l)));
    lists.extend(with.iter().cloned());
    lists
}

fn regressor(with: &[Message]) -> Result<secateur_compiler::graph::Graph> {
    one("TreeEnsembleRegressor", FLOAT, &["y"], &stump(with))
}

#[test]
fn trees_that_are_none_are_refused_by_what_is_wrong() {
    assert!(regressor(&[]).is_ok());
    let modes = |m: &[&str]| attr_words("nodes_modes", m);
    let cases: &[(&[Message], &str)] = &[
        (
            &[attr_ints("nodes_featureids", &[0, 0])],
            "`nodes_featureids` has 2 entries and `nodes_nodeids` has 3",
        ),
        (&[attr_floats("nodes_values", &[0.0])], "`nodes_values` has 1 entries"),
        (&[attr_floats("target_weights", &[0.0])], "`target_weights` has 1 entries and `target_ids` has 2"),
        (&[attr_ints("nodes_truenodeids", &[9, 0, 0])], "leads to node 9 of tree 0, which does not exist"),
        (&[attr_ints("nodes_truenodeids", &[0, 0, 0])], "tree 0 has no root"),
        (
            &[
                modes(&["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"]),
                attr_ints("nodes_truenodeids", &[1, 1, 0]),
                attr_ints("nodes_falsenodeids", &[2, 2, 0]),
            ],
            "node 1 of tree 0 leads back to node 1 of tree 0",
        ),
        (&[attr_ints("nodes_nodeids", &[0, 1, 1])], "node 1 of tree 0 is given twice"),
        (&[attr_ints("nodes_featureids", &[3, 0, 0])], "asks for feature 3, and a row has 3"),
        (&[attr_ints("nodes_featureids", &[-1, 0, 0])], "asks for feature -1"),
        (&[modes(&["BRANCH_OFF", "LEAF", "LEAF"])], "`BRANCH_OFF`"),
        (&[attr_ints("target_nodeids", &[1, 7])], "a weight is for node 7 of tree 0, which does not exist"),
        (&[attr_ints("target_nodeids", &[1, 1])], "two weights for one result"),
        (&[attr_ints("target_ids", &[0, 1])], "a weight is for number 1 of 1 results"),
        (&[attr_floats("base_values", &[0.0, 1.0])], "2 base values for 1 targets"),
        (&[attr_floats("target_weights", &[f32::NAN, 0.0])], "base value that is NaN"),
        (&[attr_str("aggregate_function", "MEDIAN")], "`MEDIAN`"),
        (&[attr_str("post_transform", "TANH")], "`TANH`"),
        (&[attr_int("n_targets", 0)], "0 results"),
        (&[attr_int("n_targets", -1)], "`n_targets` is -1"),
    ];
    for (with, says) in cases {
        refused(regressor(with), says);
    }
}

#[test]
fn what_is_text_or_undefined_is_refused() {
    let words = |name| attr_words(name, &["a", "b"]);
    let both = ["label", "scores"];
    let encoder = |attrs: &[Message]| one("LabelEncoder", INT64, &["y"], attrs);
    refused(encoder(&[words("keys_strings"), attr_ints("values_int64s", &[0, 1])]), "maps text");
    refused(encoder(&[words("values_strings"), attr_ints("keys_int64s", &[0])]), "1 keys for 2 values");
    refused(
        encoder(&[attr_ints("keys_int64s", &[0]), attr_ints("values_int64s", &[0, 1])]),
        "1 keys for 2 values",
    );
    refused(one("OneHotEncoder", INT64, &["y"], &[words("cats_strings")]), "maps text");
    let weights = attr_floats("coefficients", &[1.0, 2.0, 3.0]);
    let single = [
        weights.clone(),
        attr_floats("intercepts", &[0.0]),
        attr_ints("classlabels_ints", &[0, 1]),
        attr_str("post_transform", "PROBIT"),
    ];
    refused(one("LinearClassifier", FLOAT, &both, &single), "PROBIT");
    let wide = [attr_floats("coefficients", &[1.0; 4]), attr_int("targets", 1)];
    refused(one("LinearRegressor", FLOAT, &["y"], &wide), "is for 4 features, and the input has 3");
    let likely = [
        attr_ints("vectors_per_class", &[1, 1]),
        attr_floats("support_vectors", &[0.0; 6]),
        attr_floats("coefficients", &[1.0, -1.0]),
        attr_floats("rho", &[0.0]),
        attr_floats("prob_a", &[1.0]),
        attr_ints("classlabels_ints", &[0, 1]),
    ];
    refused(one("SVMClassifier", FLOAT, &both, &likely), "`prob_b` has 0 numbers, and 1 are needed");
    refused(one("Scaler", FLOAT, &["y"], &[attr_floats("offset", &[1.0; 2])]), "2 numbers for 3 features");
    refused(
        one("FeatureVectorizer", FLOAT, &["y"], &[attr_ints("inputdimensions", &[2])]),
        "says 2 of input 0",
    );
    refused(one("DictVectorizer", FLOAT, &["y"], &[]), "not supported");
}

/// Numbers stand for names wherever these come from, and what reads names reads them by the same numbers.
#[test]
fn names_are_numbers_throughout() {
    let x = Tensor::i64(&[2, 3], vec![3, 1, 5, 7, 0, 3]);
    let of = |nodes: Vec<Message>| {
        let built = Built {
            nodes,
            inputs: vec![port("x", INT64, &dims(&[2, 3]))],
            outputs: vec![seeds::untyped("y")],
            ..Built::default()
        };
        import(&built.bytes(), &BTreeMap::new())
    };
    let run = |nodes: Vec<Message>| {
        let graph = of(nodes).unwrap_or_else(|e| panic!("{e}"));
        let told: Vec<String> = graph.warnings().iter().map(ToString::to_string).collect();
        let y =
            secateur_compiler::graph::run(&graph, std::slice::from_ref(&x)).unwrap_or_else(|e| panic!("{e}"));
        (y[0].to_f64_vec(), told.join("\n"))
    };
    let ml = |name: &str, op: &str, from: &str, to: &str, attrs: &[Message]| {
        node(name, op, &[from], &[to], attrs).str(7, "ai.onnx.ml")
    };
    let mapper = |to: &str, rest: &[Message]| {
        let attrs = [attr_ints("cats_int64s", &[3, 1, 5]), attr_words("cats_strings", &["c", "a", "c"])];
        ml("m", "CategoryMapper", "x", to, &[&attrs, rest].concat())
    };
    let (y, told) = run(vec![mapper("y", &[])]);
    assert_eq!(y, [0.0, 1.0, 0.0, 2.0, 2.0, 0.0]);
    assert!(told.contains("0 is `c`, 1 is `a`, 2 is `_Unused`"), "{told}");
    let (y, _) = run(vec![mapper("y", &[attr_str("default_string", "a")])]);
    assert_eq!(y, [0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
    // Back to numbers: a key that is none of the names is left out, and what no key is gets the default.
    let keys = [attr_words("keys_strings", &["z", "c"]), attr_ints("values_int64s", &[9, 40])];
    let (y, told) = run(vec![mapper("s", &[]), ml("e", "LabelEncoder", "s", "y", &keys)]);
    assert_eq!((y, told.as_str()), (vec![40.0, -1.0, 40.0, -1.0, -1.0, 40.0], ""));
    let cats = [attr_ints("cats_int64s", &[7, 8]), attr_words("cats_strings", &["a", "c"])];
    let (y, _) = run(vec![mapper("s", &[]), ml("e", "CategoryMapper", "s", "y", &cats)]);
    assert_eq!(y, [8.0, 7.0, 8.0, -1.0, -1.0, 8.0]);
    // Numbers of names are not compared or computed with.
    for op in ["Equal", "Mul", "Where"] {
        let other = if op == "Where" { ["b", "s", "x"].as_slice() } else { &["s", "x"] };
        let mut nodes = vec![mapper("s", &[]), node("n", op, other, &["y"], &[])];
        nodes.insert(0, node("q", "Equal", &["x", "x"], &["b"], &[]));
        let error = of(nodes).map(|_| ()).expect_err(op).to_string();
        assert!(error.contains("node `n`") && error.contains("reads `s`, which is text"), "{op}: {error}");
    }
    let none = [attr_words("keys_strings", &["z"]), attr_ints("values_int64s", &[9])];
    let error = of(vec![mapper("s", &[]), ml("e", "LabelEncoder", "s", "y", &none)]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("has no key that the text it reads can be"), "{error}");
}

/// onnxruntime adds a base value to those results alone that a leaf on the way has a weight for.
#[test]
fn base_values_are_for_results_with_weights() {
    let with = [
        attr_int("n_targets", 2),
        attr_ints("target_ids", &[0, 1]),
        attr_floats("base_values", &[10.0, 20.0]),
    ];
    let graph = regressor(&with).unwrap_or_else(|e| panic!("{e}"));
    let x = Tensor::f32(&[2, 3], vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let y = secateur_compiler::graph::run(&graph, &[x]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(y[0].to_f32_vec(), [11.0, 0.0, 0.0, 22.0]);
}

#[test]
fn numbers_of_any_type_are_features_and_keys() {
    let run = |graph: secateur_compiler::graph::Graph, x: &[i64]| -> Vec<f64> {
        let x = Tensor::i64(&[2, 3], x.to_vec());
        secateur_compiler::graph::run(&graph, &[x]).unwrap_or_else(|e| panic!("{e}"))[0].to_f64_vec()
    };
    let x = [0, 1, i64::MAX, -7, 1_000_000, i64::MIN];
    let keys = |keys: &[i64]| {
        let values: Vec<i64> = (0..keys.len() as i64).map(|i| 10 + i).collect();
        let attrs = [attr_ints("keys_int64s", keys), attr_ints("values_int64s", &values)];
        one("LabelEncoder", INT64, &["y"], &attrs).unwrap_or_else(|e| panic!("{e}"))
    };
    // By a table, and by comparison where keys lie far apart; of equal keys the first counts.
    assert_eq!(run(keys(&[1, -7, 1]), &x), [-1.0, 10.0, -1.0, 11.0, -1.0, -1.0]);
    assert_eq!(run(keys(&[1_000_000, 0, i64::MIN, 0]), &x), [11.0, -1.0, -1.0, -1.0, 10.0, 12.0]);
    let scaled =
        one("Scaler", INT64, &["y"], &[attr_floats("scale", &[0.5])]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(run(scaled, &[2, 4, 6, 8, 10, 12]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let picked = one("TreeEnsembleRegressor", INT64, &["y"], &stump(&[])).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(run(picked, &[0, 0, 0, 0, 0, 1]), [1.0, 2.0]);
}
