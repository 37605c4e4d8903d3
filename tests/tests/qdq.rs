//! Quantized (QDQ) models against what onnxruntime computes inside them, optimisations disabled.
//!
//! In: the folders that `tests/witness/dump.py` and `networks.py` wrote, named by `SECATEUR_WITNESS` and
//! `SECATEUR_NETWORKS`. Law: every layer alone, fed onnxruntime's own integers, is within 1 step on every value; the
//! whole network before its last Softmax within 1 step on 99 % of values and 4 steps on all, with the same greatest
//! value on 99 % of samples. Layers see one sample, three with `SECATEUR_FULL=1`.

use secateur_compiler::graph::{Quant, ValueId};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{BufferId, Program, Step};
use secateur_compiler::tensor::{DType, Tensor};
use secateur_compiler::{Options, Silent, artifact::compile, npy, onnx, quantize, targets};
use secateur_tests::single::{self, alone, steps, stored};
use secateur_tests::{full, zoo};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What onnxruntime computed in one model, by tensor name.
struct Witness {
    name: String,
    model: PathBuf,
    input: Tensor,
    /// First axis: sample.
    tensors: BTreeMap<String, Tensor>,
    logits: Option<(String, Tensor)>,
    outputs: Vec<String>,
}

/// What stands in the folder that a variable of the environment names.
fn witnesses(variable: &str) -> Vec<Witness> {
    let Some(folder) = std::env::var_os(variable).map(PathBuf::from) else {
        eprintln!("skipped: {variable} names no folder (see tests/witness/run)");
        return Vec::new();
    };
    let Some(zoo) = zoo() else { return Vec::new() };
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder of dumps").flatten().map(|e| e.path()).collect();
    folders.retain(|f| f.is_dir());
    folders.sort();
    folders.iter().map(|f| witness(&zoo, f)).collect()
}

fn witness(zoo: &Path, folder: &Path) -> Witness {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a text of the dump");
    let mut found = Witness {
        name: folder.file_name().expect("a folder has a name").to_string_lossy().into_owned(),
        model: zoo.join(text("model.txt").trim()),
        input: Tensor::zeros(DType::I8, &[0]),
        tensors: BTreeMap::new(),
        logits: None,
        outputs: Vec::new(),
    };
    for line in text("names.txt").lines() {
        let mut parts = line.splitn(3, ' ');
        let (Some(kind), Some(index), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let bytes = std::fs::read(folder.join(format!("v{index}.npy"))).expect("a tensor of the dump");
        let tensor = npy::read(&bytes).expect("a .npy file");
        match kind {
            "input" => {
                found.input = tensor.clone();
                found.tensors.insert(name.into(), tensor);
            }
            "logits" => found.logits = Some((name.into(), tensor)),
            "output" => {
                found.outputs.push(name.into());
                found.tensors.insert(name.into(), tensor);
            }
            _ => {
                found.tensors.insert(name.into(), tensor);
            }
        }
    }
    found
}

/// Layers that were compared, their values, and those that are one step off.
#[derive(Default)]
struct Compared {
    layers: usize,
    values: usize,
    off: usize,
    /// Without a witness.
    skipped: Vec<String>,
    bad: Vec<String>,
}

/// Every layer of a model alone, with what stands before it where the model has no value between, fed what onnxruntime computed: integers within one step, floats within a tenth of a
/// per mille.
fn compared(w: &Witness, samples: usize) -> Compared {
    let host = targets::find("host").expect("the host is known");
    let bytes = std::fs::read(&w.model).expect("a model of the zoo");
    let mut graph = onnx::import(&bytes, &BTreeMap::new()).unwrap_or_else(|e| panic!("{}: {e}", w.name));
    assert!(quantize::absorb(&mut graph).expect("the model is absorbed"), "{}: no QDQ nodes", w.name);
    quantize::settle(&mut graph).expect("the model settles");
    let mut all = Compared::default();
    for id in graph.topological() {
        let outputs = graph[id].outputs.clone();
        let witnessed = |v: &ValueId| w.tensors.contains_key(&graph[*v].name);
        let site = format!("{} `{}` {}", w.name, graph[id].name, graph[id].op.name());
        if !outputs.iter().all(witnessed) {
            // Between integers and floats the model has no values of its own: seen by who reads them.
            if outputs.iter().any(|&v| graph.consumers(v).is_empty()) {
                all.skipped.push(site);
            }
            continue;
        }
        let mut ids = vec![id];
        let (layer, fed) = loop {
            let (layer, fed) = alone(&graph, &ids);
            match fed.iter().find(|v| !witnessed(v)).map(|v| graph.producer(*v)) {
                Some(Some(before)) => ids.insert(0, before),
                _ => break (layer, fed),
            }
        };
        if !fed.iter().all(witnessed) {
            all.skipped.push(site);
            continue;
        }
        let program = single::program(&layer, &host).unwrap_or_else(|e| panic!("{site}: {e}"));
        let mut machine = Machine::new(&program).unwrap_or_else(|e| panic!("{site}: {e}"));
        all.layers += 1;
        for i in 0..samples {
            let tensor = |v: &ValueId| {
                let value = &graph[*v];
                stored(&w.tensors[&value.name], i, &value.shape, value.quant.as_ref())
            };
            let inputs: Vec<Tensor> = fed.iter().map(tensor).collect();
            let results = machine.run(&inputs).unwrap_or_else(|e| panic!("{site}: {e}"));
            for (have, v) in results.iter().zip(&outputs) {
                let want = tensor(v);
                assert_eq!(have.dtype(), want.dtype(), "{site}");
                all.values += have.len();
                if have.dtype() == DType::F32 {
                    let near = |(a, b): (f64, f64)| (a - b).abs() <= 1e-4 * b.abs().max(1.0);
                    let pairs = have.to_f64_vec().into_iter().zip(want.to_f64_vec());
                    let n = pairs.filter(|&pair| !near(pair)).count();
                    if n > 0 {
                        all.bad.push(format!("{site}: {n} of {} floats are off", have.len()));
                    }
                    continue;
                }
                assert!(matches!(have.dtype(), DType::I8 | DType::I16), "{site}");
                let diff = steps(have, &want);
                let worst = diff.iter().copied().max().unwrap_or(0);
                all.off += diff.iter().filter(|&&d| d > 0).count();
                if worst > 1 {
                    let n = diff.iter().filter(|&&d| d > 1).count();
                    all.bad.push(format!("{site}: {worst} steps, {n} of {} values beyond 1", diff.len()));
                }
            }
        }
    }
    println!(
        "{}: {} layers, {} of {} values one step off, {} without a witness",
        w.name,
        all.layers,
        all.off,
        all.values,
        all.skipped.len()
    );
    all
}

#[test]
fn every_layer_alone_is_within_one_step() {
    let mut bad = Vec::new();
    for w in witnesses("SECATEUR_WITNESS") {
        let found = compared(&w, if full() { 3 } else { 1 });
        bad.extend(found.bad);
        // Only what replaces a whole chain of ONNX nodes may lack a witness of its own.
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Float networks as onnxruntime's own quantizer writes them: QDQ and QOperator, signed and unsigned, per tensor and
/// per channel.
#[test]
fn every_layer_of_every_form_is_within_one_step() {
    let (mut bad, mut values, mut off, mut layers, mut skipped) = (Vec::new(), 0, 0, 0, Vec::new());
    let all = witnesses("SECATEUR_NETWORKS");
    for w in &all {
        let found = compared(w, if full() { 3 } else { 1 });
        bad.extend(found.bad);
        skipped.extend(found.skipped);
        (layers, values, off) = (layers + found.layers, values + found.values, off + found.off);
    }
    println!(
        "{} models: {layers} layers, {off} of {values} values one step off, {} beyond, {} without a witness",
        all.len(),
        bad.len(),
        skipped.len()
    );
    bad.extend(skipped);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// For the message of a failure: the first layer of the whole network that is off on a sample.
fn first_wrong(program: &Program, w: &Witness, sample: usize) -> String {
    let mut machine = Machine::new(program).expect("the program is sound");
    let port = &program.inputs[0];
    let quant = port.affine.map(|(s, z)| Quant::per_tensor(DType::I8, s, z));
    let x = stored(&w.input, sample, &port.shape, quant.as_ref());
    let steps_run = &program.entries[0].steps;
    let mut wrong = format!("every layer with a witness is exact on sample {sample}");
    let mut found = false;
    let ran = machine.run_tapped(&[x], &mut |m, step| {
        let layer = &program.layers[steps_run[step].layer];
        let last = steps_run.get(step + 1).is_none_or(|s| s.layer != steps_run[step].layer);
        let held =
            program.buffers.iter().position(|b| b.holds.as_ref().is_some_and(|h| h.value == layer.output));
        if let (false, true, Some(b), Some(want)) = (found, last, held, w.tensors.get(&layer.output))
            && let Some(have) = m.held(BufferId(b as u32))
            && have.len() == want.len() / want.shape()[0]
        {
            let quant = program.buffers[b].holds.as_ref().and_then(|h| h.affine);
            let quant = quant.map(|(s, z)| Quant::per_tensor(DType::I8, s, z));
            let diff = steps(&have, &stored(want, sample, have.shape(), quant.as_ref()));
            let worst = diff.iter().max().copied().unwrap_or(0);
            if worst > 0 {
                found = true;
                let n = diff.iter().filter(|&&d| d > 0).count();
                wrong = format!(
                    "first off: `{}` {} ({}), {n} of {} values, worst {worst}",
                    layer.name,
                    layer.op,
                    layer.family,
                    diff.len()
                );
            }
        }
        Ok(())
    });
    ran.expect("the program runs");
    wrong
}

#[test]
fn whole_networks_stay_near() {
    let host = targets::find("host").expect("the host is known");
    let mut bad = Vec::new();
    for w in witnesses("SECATEUR_WITNESS") {
        let bytes = std::fs::read(&w.model).expect("a model of the zoo");
        let options = Options { name: "net".into(), ..Options::default() };
        let artifact =
            compile(&bytes, &host, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{}: {e}", w.name));
        let mut machine = Machine::new(&artifact.program).expect("the program is sound");
        // Judged before the last Softmax where there is one, else at the output.
        let judged = w.logits.as_ref().map(|(name, _)| name.clone());
        let buffer = judged.as_ref().map(|name| {
            let held = artifact
                .program
                .buffers
                .iter()
                .position(|b| b.holds.as_ref().is_some_and(|h| h.value == *name));
            let held = held.unwrap_or_else(|| panic!("{}: `{name}` is gone", w.name));
            // The step that computes it: later ones may use its memory again.
            let (program, id) = (&artifact.program, BufferId(held as u32));
            let writes = |s: &Step| program.layers[s.layer].output == *name;
            let after = program.entries[0].steps.iter().rposition(writes);
            (id.0 as usize, after.unwrap_or_else(|| panic!("{}: nothing computes `{name}`", w.name)))
        });
        let affine = |scale: f32, zero: i32| Quant::per_tensor(DType::I8, scale, zero);
        let port = &artifact.program.inputs[0];
        let out = &artifact.program.outputs[0];
        let samples = w.input.shape()[0];
        let (mut diffs, mut same) = (Vec::new(), 0);
        for i in 0..samples {
            let quant = port.affine.map(|(s, z)| affine(s, z));
            let x = stored(&w.input, i, &port.shape, quant.as_ref());
            let mut tapped = None;
            let y = machine
                .run_tapped(&[x], &mut |m, step| {
                    if let Some((b, after)) = buffer
                        && step == after
                    {
                        tapped = m.held(BufferId(b as u32));
                    }
                    Ok(())
                })
                .expect("the program runs");
            let (have, want) = match (&w.logits, tapped) {
                (Some((_, logits)), Some(have)) => {
                    let want = stored(logits, i, have.shape(), None);
                    (have, want)
                }
                _ => {
                    let quant = out.affine.map(|(s, z)| affine(s, z));
                    let want = stored(&w.tensors[&w.outputs[0]], i, &out.shape, quant.as_ref());
                    (y[0].clone(), want)
                }
            };
            diffs.extend(steps(&have, &want));
            let (a, b) = (have.to_i64_vec(), want.to_i64_vec());
            let top = b.iter().copied().max().unwrap_or(0);
            let ours = a.iter().position(|x| Some(x) == a.iter().max());
            same += usize::from(ours.is_some_and(|at| b[at] == top));
        }
        let near = diffs.iter().filter(|&&d| d <= 1).count() as f64 / diffs.len() as f64;
        let worst = diffs.iter().copied().max().unwrap_or(0);
        let agree = same as f64 / samples as f64;
        println!(
            "{}: {samples} samples, {:.2} % within 1 step, worst {worst}, argmax {:.0} %",
            w.name,
            near * 100.0,
            agree * 100.0
        );
        if near < 0.99 || worst > 4 || agree < 0.99 {
            let where_: Vec<String> = (0..3).map(|i| first_wrong(&artifact.program, &w, i)).collect();
            bad.push(format!(
                "{}: {near:.4} within 1 step, worst {worst}, argmax {agree:.3}; {where_:?}",
                w.name
            ));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
