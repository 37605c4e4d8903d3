//! `--emit onnx`: files that onnx and onnxruntime take, of the meaning that the model had, in floats and in
//! integers.
//!
//! In: random graphs over all operators, and the bundled model. Law: without `target/venv` what we read again
//! ourselves is compared, and onnxruntime's side says that it was skipped.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::data::read_samples;
use secateur_compiler::graph::Graph;
use secateur_compiler::options::{Pattern, Prune, Share};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{from_port, to_port};
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_compiler::{Options, Silent, graph, onnx, samples, targets};
use secateur_tests::graphs::generate;
use secateur_tests::graphs::witness::Witness;
use std::collections::BTreeMap;

fn compiled(
    model: &[u8],
    samples: Option<&Samples>,
    options: Options,
) -> secateur_compiler::error::Result<Artifact> {
    let options = Options { name: "small".into(), emit: Vec::new(), ..options };
    compile(model, &targets::find("host").unwrap(), samples, &options, &mut Silent)
}

fn exporting() -> Options {
    Options { onnx: true, ..Options::default() }
}

/// Outputs of a float graph: by port, all samples in a row.
fn float(graph: &Graph, inputs: &[Vec<Tensor>]) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new(); graph.outputs().len()];
    for x in inputs {
        let results = graph::run(graph, x).expect("a float run");
        all.iter_mut().zip(results).for_each(|(all, t)| all.extend(t.to_f64_vec()));
    }
    all
}

/// Real outputs of a program, and the step between two of them.
fn integers(artifact: &Artifact, inputs: &[Vec<Tensor>]) -> Vec<(Vec<f64>, f64)> {
    let program = &artifact.program;
    let mut machine = Machine::new(program).expect("a sound program");
    let step = |scale: Option<f32>| scale.map_or(1e-5, f64::from);
    let mut all: Vec<(Vec<f64>, f64)> =
        program.outputs.iter().map(|p| (Vec::new(), step(p.affine.map(|a| a.0)))).collect();
    for x in inputs {
        let stored: Vec<Tensor> = x.iter().zip(&program.inputs).map(|(t, p)| to_port(t, p)).collect();
        let results = machine.run(&stored).expect("a run");
        for ((all, t), p) in all.iter_mut().zip(&results).zip(&program.outputs) {
            all.0.extend(from_port(t, p).to_f64_vec());
        }
    }
    all
}

/// What onnxruntime makes of a file: by port, all samples in a row.
fn witnessed(
    witness: &mut Witness,
    model: &[u8],
    of: &Graph,
    samples: &Samples,
) -> Result<Vec<Vec<f64>>, String> {
    let names: Vec<String> = of.inputs().iter().map(|&v| of[v].name.clone()).collect();
    // A file of one unnamed array is for the only input.
    let mut named = Samples::default();
    for name in &names {
        let array = samples.arrays.get(name).or(samples.arrays.get("")).expect("samples of each input");
        named.arrays.insert(name.clone(), array.clone());
    }
    let found = witness.run(model, &names, &named).map_err(|e| format!("onnxruntime: {e}"))?;
    Ok(found.iter().map(Tensor::to_f64_vec).collect())
}

fn checked(witness: &mut Witness, model: &[u8]) -> Result<(), String> {
    witness.check(model).map_err(|e| format!("onnx refuses it: {e}"))
}

/// Numbers of all ports, as near as `off` allows by the greatest number that is wanted of a port.
fn near(have: &[Vec<f64>], want: &[Vec<f64>], off: &dyn Fn(f64) -> f64) -> Result<(), String> {
    let lens = |all: &[Vec<f64>]| -> Vec<usize> { all.iter().map(Vec::len).collect() };
    if lens(have) != lens(want) {
        return Err(format!("{:?} numbers where {:?} are wanted", lens(have), lens(want)));
    }
    for (have, want) in have.iter().zip(want) {
        let greatest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let near = |h: f64, w: f64| (h - w).abs() <= off(greatest) || (h.is_nan() && w.is_nan()) || h == w;
        if let Some((h, w)) = have.iter().zip(want).find(|(h, w)| !near(**h, **w)) {
            return Err(format!("{h} where {w} is wanted, of numbers up to {greatest}"));
        }
    }
    Ok(())
}

/// Floats in another order, as `fuzz-graphs` judges them: sums round with their greatest terms.
fn rounding(greatest: f64) -> f64 {
    1e-4 * greatest.max(1.0)
}

/// Whether an integer model is the same once it is read again; nothing of a float one, which gives what the
/// `original` does, in onnxruntime and here.
fn comes_back(
    original: &[u8],
    (name, model): &(String, Vec<u8>),
    artifact: &Artifact,
    samples: &Samples,
    witness: Option<&mut Witness>,
) -> Result<Option<bool>, String> {
    let inputs = samples::split(samples, &artifact.imported, None).map_err(|e| e.to_string())?;
    let again = onnx::import(model, &BTreeMap::new()).map_err(|e| e.to_string())?;
    let ports = |g: &Graph| -> Vec<(String, Vec<usize>)> {
        g.inputs().iter().chain(g.outputs()).map(|&v| (g[v].name.clone(), g[v].shape.clone())).collect()
    };
    if ports(&again) != ports(&artifact.imported) {
        return Err(format!("ports {:?}", ports(&again)));
    }
    if let Some(witness) = witness {
        checked(witness, model)?;
        let found = witnessed(witness, model, &again, samples)?;
        if !name.contains("_qdq") {
            // Some pools of `auto_pad` it does not run; what we write of them it does.
            if let Ok(want) = witnessed(witness, original, &again, samples) {
                near(&found, &want, &rounding).map_err(|e| format!("onnxruntime: {e}"))?;
            }
        }
    }
    if name.contains("_qdq") {
        let second = compiled(model, None, Options::default()).map_err(|e| e.to_string())?;
        return Ok(Some(integers(artifact, &inputs) == integers(&second, &inputs)));
    }
    let want = float(&artifact.imported, &inputs);
    near(&float(&again, &inputs), &want, &rounding).map(|()| None)
}

#[test]
fn random_graphs_come_back() {
    const SEEDS: u64 = 60;
    let mut witness = Witness::start();
    let (mut written, mut same, mut wrong) = (0, Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let case = generate::case(seed, 3);
        let all = case.arrays();
        let artifact = match compiled(&case.bytes(), Some(&all), exporting()) {
            Ok(artifact) => artifact,
            Err(e) => {
                // What is refused for its ONNX is refused by name.
                let other = compiled(&case.bytes(), Some(&all), Options::default());
                if other.is_ok() && !e.to_string().contains('`') {
                    wrong.push(format!("{seed}: {e}"));
                }
                continue;
            }
        };
        for model in &artifact.models {
            written += 1;
            match comes_back(&case.bytes(), model, &artifact, &all, witness.as_mut()) {
                Ok(back) => same.extend(back),
                Err(e) => wrong.push(format!("{seed}, {}: {e}", model.0)),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(written > SEEDS, "{written} files of {SEEDS} models");
    let alike = same.iter().filter(|s| **s).count();
    assert!(alike * 10 >= same.len() * 9, "{alike} of {} integer models are the same again", same.len());
}

/// The bundled model, dense and pruned: floats to rounding, integers to a step for each layer.
#[test]
fn onnxruntime_computes_what_we_compile() {
    let folder = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(folder.join("model.onnx")).unwrap();
    let [calibration, test] = ["calib.npy", "test_x.npy"].map(|n| read_samples(&folder.join(n)).unwrap());
    let mut witness = Witness::start();
    let pattern = |pattern: &str| Prune {
        sparsity: Some(Share(0.5)),
        pattern: Some(Pattern::parse(pattern).unwrap()),
        ..Prune::default()
    };
    for prune in [None, Some(pattern("4x4")), Some(pattern("channels"))] {
        let artifact = compiled(&model, Some(&calibration), Options { prune, ..exporting() }).unwrap();
        let inputs = samples::split(&test, &artifact.imported, Some(50)).unwrap();
        let [(name, plain), (qdq_name, qdq)] = artifact.models.as_slice() else { panic!("two files") };
        assert_eq!((name.as_str(), qdq_name.as_str()), ("small.onnx", "small_qdq.onnx"));
        let again = onnx::import(plain, &BTreeMap::new()).unwrap();
        let ours = float(&again, &inputs);
        if prune.is_none() {
            near(&ours, &float(&artifact.imported, &inputs), &rounding).unwrap();
        }
        let first = integers(&artifact, &inputs);
        let second = integers(&compiled(qdq, None, Options::default()).unwrap(), &inputs);
        assert_eq!(first, second, "read again it is another model");
        let Some(witness) = &mut witness else { continue };
        let few = |s: &Samples| {
            let of = |(name, array): (&String, &Tensor)| {
                let mut shape = array.shape().to_vec();
                // A sample is a batch of one.
                shape.splice(..1, [50, 1]);
                let len: usize = shape.iter().product();
                (name.clone(), Tensor::f32(&shape, array.to_f32_vec()[..len].to_vec()))
            };
            Samples { arrays: s.arrays.iter().map(of).collect(), ..s.clone() }
        };
        checked(witness, plain).and_then(|()| checked(witness, qdq)).unwrap();
        let found = witnessed(witness, plain, &again, &few(&test)).unwrap();
        near(&found, &ours, &rounding).unwrap();
        let found = witnessed(witness, qdq, &again, &few(&test)).unwrap();
        let layers = artifact.report.layers.iter().filter(|l| l.family != "alias").count() as f64;
        let [(want, step)] = first.as_slice() else { panic!("one output") };
        near(&found, std::slice::from_ref(want), &|_| layers * step * 1.001).unwrap();
    }
}
