//! `--prune` and `secateur sensitivity` on the bundled model: what is emitted has the zeros that were asked for
//! and runs the same everywhere, and what cannot be meant is refused.

use secateur_compiler::artifact::compile;
use secateur_compiler::cli::data;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Pattern, Place, Settings, declared};
use secateur_compiler::report::LayerReport;
use secateur_compiler::{Artifact, targets};
use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_x.npy");
const LABELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_y.npy");

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

/// Words of an output, whatever the width that errors were wrapped at.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(['│', '╰', '─', '▶', '×'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn artifact(flags: &[(&str, &str)]) -> Artifact {
    artifact_for("host", flags)
}

fn artifact_for(target: &str, flags: &[(&str, &str)]) -> Artifact {
    let mut settings = Settings::default();
    for (name, word) in flags {
        let raw = declared(name).unwrap().word(word, Place::Flag).unwrap();
        settings.set(name, name, &raw).unwrap();
    }
    settings.over(Settings::defaults());
    let mut options = settings.options();
    options.name = "watch".into();
    let samples = data::read_samples(Path::new(CALIBRATION)).unwrap();
    let model = std::fs::read(MODEL).unwrap();
    let target = targets::find(target).unwrap();
    compile(&model, &target, Some(&samples), &options, &mut Silent).unwrap()
}

/// Stored weights of a layer, `[outputs, inputs, taps]`, with those sizes.
fn weights(artifact: &Artifact, layer: &str) -> (Vec<i64>, [usize; 3]) {
    let node = artifact.graph.nodes().find(|(_, n)| n.name == layer).unwrap().1;
    let value = &artifact.graph[node.inputs[1].unwrap()];
    assert!(value.quant.as_ref().is_some_and(|q| q.zero_point.iter().all(|z| *z == 0)));
    let sizes = [value.shape[0], value.shape[1], value.shape[2..].iter().product()];
    (value.constant().unwrap().to_i64_vec(), sizes)
}

/// Weights in blocks that are all zero; each block counts for what it holds.
fn in_zero_blocks((w, [rows, inputs, taps]): &(Vec<i64>, [usize; 3]), r: usize, c: usize) -> usize {
    let mut zeros = 0;
    for (row, input, tap) in (0..*rows).step_by(r).flat_map(|row| {
        (0..*inputs).step_by(c).flat_map(move |input| (0..*taps).map(move |tap| (row, input, tap)))
    }) {
        let block: Vec<usize> = (row..(row + r).min(*rows))
            .flat_map(|o| (input..(input + c).min(*inputs)).map(move |i| (o * inputs + i) * taps + tap))
            .collect();
        if block.iter().all(|&at| w[at] == 0) {
            zeros += block.len();
        }
    }
    zeros
}

#[test]
fn the_integers_have_the_zeros_that_the_report_says() {
    for (text, r, c) in [("1x4", 1, 4), ("4x4", 4, 4), ("2x3", 2, 3)] {
        let artifact = artifact(&[("prune", &format!("pattern={text},sparsity=0.6"))]);
        let report = &artifact.report;
        let total = report.total.sparsity.unwrap();
        assert!((total - 0.6).abs() < 0.01, "{text}: {total}");
        let (mut zeros, mut all) = (0, 0);
        for layer in report.layers.iter().filter(|l| l.pattern.is_some()) {
            assert_eq!(layer.pattern, Pattern::parse(text));
            let weights = weights(&artifact, &layer.name);
            let said = layer.sparsity.unwrap() * weights.0.len() as f64;
            // Rounding to integers may make more zeros, never fewer.
            assert!(in_zero_blocks(&weights, r, c) as f64 >= said - 0.5, "{}", layer.name);
            assert!(layer.prune_error.is_some_and(|e| e > 0.0 && e < 1.0), "{layer:?}");
            (zeros, all) = (zeros + said.round() as usize, all + weights.0.len());
        }
        // Layers that lost none count in the total.
        assert!(zeros as f64 / all as f64 >= total - 1e-9);
        assert!(report.total.live_macs < report.total.macs * 6 / 10);
    }
}

#[test]
fn layers_may_have_their_own_and_n_of_m_holds() {
    let layers: Vec<String> = artifact(&[]).report.layers.iter().map(|l| l.name.clone()).collect();
    let convs: Vec<&String> = layers.iter().filter(|l| l.contains("onv")).collect();
    let (second, third) = (convs[1].as_str(), convs[2].as_str());
    let artifact = artifact(&[
        ("sparsity", &format!("{second}=0.5")),
        ("pattern", &format!("{third}=2:4")),
        ("prune", "pattern=1x4,sparsity=0.3"),
    ]);
    let of = |name: &str| artifact.report.layers.iter().find(|l| l.name == name).unwrap();
    assert!((of(second).sparsity.unwrap() - 0.5).abs() < 0.01);
    assert_eq!((of(third).sparsity, of(third).pattern), (Some(0.5), Pattern::parse("2:4")));
    let (w, [rows, inputs, taps]) = weights(&artifact, third);
    for (o, i, t) in
        (0..rows).flat_map(|o| (0..inputs).step_by(4).flat_map(move |i| (0..taps).map(move |t| (o, i, t))))
    {
        let live = (i..i + 4).filter(|i| w[(o * inputs + i) * taps + t] != 0).count();
        assert!(live <= 2, "row {o}, inputs from {i}, tap {t}: {live}");
    }
}

/// Where the report says that a layer stays dense for want of zeros, a little more than those make it sparse, and a
/// little fewer do not.
#[test]
fn zeros_pay_below_the_density_that_the_report_says() {
    let of = |sparsity: f64, layer: &str| {
        let flags = [("prune", "pattern=4x4,sparsity=0.2"), ("sparsity", &format!("{layer}={sparsity}"))];
        let report = artifact_for("cortex-m4", &flags).report;
        report.layers.into_iter().find(|l| l.name == layer).unwrap()
    };
    let first = artifact_for("cortex-m4", &[("prune", "pattern=4x4,sparsity=0.1")]).report;
    let dense = |l: &&LayerReport| l.format.as_deref() == Some("dense") && l.pays_below.is_some();
    let layer = first.layers.iter().find(dense).expect("some layer has too few zeros");
    let below = layer.pays_below.unwrap();
    let density = layer.live_macs as f64 / layer.macs as f64;
    assert!(below < density, "{layer:?}");
    for (density, dense) in [(below + 0.06, true), (below - 0.06, false)] {
        let found = of(1.0 - density, &layer.name);
        assert_eq!(found.format.as_deref() == Some("dense"), dense, "{below}: {found:?}");
    }
}

#[test]
fn nothing_asked_for_changes_nothing() {
    let text = |artifact: &Artifact| {
        let file = &artifact.files[0].text;
        file.replace(&artifact.digest, "").replace(&artifact.digest[..8], "")
    };
    let (plain, none) = (artifact(&[]), artifact(&[("prune", "0")]));
    assert_eq!(plain.graph, none.graph);
    assert!(text(&plain) == text(&none), "the emitted C differs by more than its digest");
    assert_eq!(none.report.total.sparsity, None);
}

#[test]
fn the_same_samples_give_the_same_bits() {
    let again = || artifact(&[("prune", "0.5")]);
    assert_eq!(again().files, again().files);
}

/// Emitted C and Rust give the evaluator's bits (`--check`), and the accuracy of what it says it does.
#[test]
fn a_pruned_model_runs_the_same_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let base = [MODEL, "--calibrate", CALIBRATION, "--prune", "0.75"];
    let done =
        secateur(&[&["compile"], &base[..], &["-o", out, "--emit", "c,rust", "--check", "--json"]].concat());
    assert!(done.status.success(), "{}", words(&done.stderr));
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!((value["total"]["sparsity"].as_f64().unwrap() - 0.75).abs() < 0.01);
    assert!(value["layers"].as_array().unwrap().iter().any(|l| l["pattern"] == "1x4"));
    let eval = ["--data", TEST, "--labels", LABELS, "--engine", "eval", "--json"];
    let done = secateur(&[&["eval"], &base[..], &eval].concat());
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(value["drop"].as_f64().unwrap() < 0.03, "{value}");
    // Beside it the same model with all its weights, as it measures alone.
    let alone = secateur(&[&["eval", MODEL, "--calibrate", CALIBRATION], &eval[..]].concat());
    let alone: serde_json::Value = serde_json::from_slice(&alone.stdout).unwrap();
    for key in ["engine", "drop", "agree"] {
        assert_eq!(value["dense"][key], alone[key], "{key}");
    }
    assert!(alone["dense"].is_null() && value["mse"].is_null());
    let unlabelled = ["--data", TEST, "--engine", "eval", "--limit", "20"];
    let done = secateur(&[&["eval"], &base[..], &unlabelled].concat());
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let head: Vec<&str> =
        said.lines().next().unwrap().split("  ").map(str::trim).filter(|w| !w.is_empty()).collect();
    assert_eq!(head, ["20 samples, eval", "float", "dense int8", "pruned int8"], "{said}");
    let rows: Vec<&str> = said.lines().map(|l| l.trim().split("  ").next().unwrap()).collect();
    assert!(rows.contains(&"agree") && rows.contains(&"mse"), "{said}");
}

/// Blocks of zeros are left out of the weights and of the work, on the board and in both languages, and the
/// bits stay the evaluator's.
#[test]
fn blocks_of_zeros_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let base = ["compile", MODEL, "--calibrate", CALIBRATION, "--target", "nrf52840", "--emit", "c,rust"];
    let run = |more: &[&str]| {
        let files = ["-o", out.to_str().unwrap(), "--check", "--json"];
        let done = secateur(&[&base[..], &files, more].concat());
        assert!(done.status.success(), "{}", words(&done.stderr));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap()
    };
    let (dense, pruned) = (run(&[]), run(&["--prune", "pattern=4x4,sparsity=0.75"]));
    let families: Vec<&str> =
        pruned["layers"].as_array().unwrap().iter().filter_map(|l| l["family"].as_str()).collect();
    assert!(families.contains(&"blocks4x4"), "{families:?}");
    let weights = |of: &serde_json::Value| of["total"]["weights"].as_u64().unwrap();
    assert!(weights(&pruned) * 2 < weights(&dense), "{} of {}", weights(&pruned), weights(&dense));
    // What the report says of dense kernels is what the dense model takes, but for channels of zeros.
    let (had, has) = (&dense["total"], &pruned["total"]);
    for (dense, all) in [("dense_weights", "weights"), ("dense_cycles", "cycles")] {
        let share = has[dense].as_f64().unwrap() / had[all].as_f64().unwrap();
        assert!((0.9..=1.0).contains(&share), "{dense}: {share}");
    }
    assert!(has["cycles"].as_u64().unwrap() < had["cycles"].as_u64().unwrap());
    assert!(had["dense_cycles"].is_null() && had["sparse_macs"].as_f64().unwrap() < 0.05, "{had}");
    let macs = |key: &str| has[key].as_f64().unwrap();
    assert!((macs("sparse_macs") - (1.0 - macs("live_macs") / macs("macs"))).abs() < 1e-9);
    let mut compared = 0;
    for (had, has) in dense["layers"].as_array().unwrap().iter().zip(pruned["layers"].as_array().unwrap()) {
        let family = has["family"].as_str().unwrap();
        let format = if family.starts_with("blocks") { family } else { "dense" };
        if has["pattern"].is_null() {
            assert!(has["format"].is_null() && has["dense_cycles"].is_null(), "{has}");
            continue;
        }
        assert_eq!(has["format"], format);
        if had["macs"] != has["macs"] {
            continue;
        }
        compared += 1;
        assert_eq!((&has["dense_weights"], &has["dense_cycles"]), (&had["weights"], &had["cycles"]), "{has}");
    }
    assert!(compared > 0);
}

/// Whole channels leave a smaller dense model, the same in all engines.
#[test]
fn channels_leave_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let base = ["compile", MODEL, "--calibrate", CALIBRATION, "--target", "nrf52840", "--emit", "c,rust"];
    let run = |more: &[&str]| {
        let files = ["-o", out.to_str().unwrap(), "--check", "--json"];
        let done = secateur(&[&base[..], &files, more].concat());
        assert!(done.status.success(), "{}", words(&done.stderr));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap()
    };
    let prune = ["--prune", "pattern=channels,sparsity=0.5"];
    let (dense, pruned) = (run(&[]), run(&prune));
    let total = |of: &serde_json::Value, key: &str| of["total"][key].as_f64().unwrap();
    for (key, share) in [("macs", 0.4), ("cycles", 0.6), ("weights", 0.5)] {
        assert!(total(&pruned, key) < share * total(&dense, key), "{key}");
    }
    let gone = 1.0 - total(&pruned, "live_macs") / total(&dense, "macs");
    assert!((total(&pruned, "sparse_macs") - gone).abs() < 0.01, "{gone}");
    let convs = |of: &serde_json::Value| -> Vec<u64> {
        let layers = of["layers"].as_array().unwrap().iter().filter(|l| l["op"] == "Conv");
        layers.map(|l| l["output_shape"][1].as_u64().unwrap()).collect()
    };
    for (had, has) in convs(&dense).iter().zip(convs(&pruned)) {
        assert!(has * 2 == *had && has % 4 == 0, "{had} {has}");
    }
    assert!(pruned["layers"].as_array().unwrap().iter().any(|l| l["pattern"] == "channels"));
    let shown = secateur(&[&base[..], &["-o", out.to_str().unwrap()], &prune].concat());
    let shown = words(&shown.stdout);
    assert!(shown.contains("removed 7") && !shown.contains("zeros"), "{shown}");
    let eval = ["eval", MODEL, "--calibrate", CALIBRATION, "--data", TEST, "--labels", LABELS];
    let done = secateur(&[&eval[..], &prune, &["--engine", "eval", "--json"]].concat());
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(value["drop"].as_f64().unwrap() < 0.15, "{value}");
    let asked = secateur(&[&["sensitivity", MODEL, "--calibrate", CALIBRATION], &prune[..]].concat());
    assert_eq!(asked.status.code(), Some(2));
    assert!(words(&asked.stderr).contains("cannot be asked about by layer"));
}

/// What `--emit onnx` writes is compiled again, with integers to the same program, as floats to one with the same
/// zeros, and is one of the set of files.
#[test]
fn onnx_files_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let done = secateur(&[&["compile"], args, &["--json"]].concat());
        assert!(done.status.success(), "{args:?}: {}", words(&done.stderr));
        serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap()
    };
    let (out, again) = (place("out"), place("again"));
    let prune = ["--prune", "pattern=4x4,sparsity=0.5"];
    let base = [MODEL, "-o", &out, "--name", "watch", "--calibrate", CALIBRATION];
    let first = run(&[&base[..], &prune, &["--emit", "onnx"]].concat());
    assert_eq!(first["files"], serde_json::json!(["watch.onnx", "watch_qdq.onnx"]));
    let qdq = run(&[&place("out/watch_qdq.onnx"), "-o", &again]);
    let float =
        run(&[&place("out/watch.onnx"), "-o", &again, "--name", "watch_qdq", "--calibrate", CALIBRATION]);
    for key in ["live_macs", "weights", "arena"] {
        assert_eq!(first["total"][key], qdq["total"][key], "{key}");
        // Its weights are rounded each for itself then, and a few more or less become zero.
        let share = float["total"][key].as_f64().unwrap() / first["total"][key].as_f64().unwrap();
        assert!((0.99..=1.01).contains(&share), "{key}: {share}");
    }
    // Ours are replaced, those of another compilation of the name leave, and nobody else's are touched.
    run(&[&base[..], &["--emit", "c,onnx", "--quantize", "none"]].concat());
    let names = || -> Vec<String> {
        let all = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut all: Vec<String> = all.filter(|n| n.ends_with(".onnx")).collect();
        all.sort();
        all
    };
    assert_eq!(names(), ["watch.onnx"]);
    run(&[&base[..], &["--emit", "c"]].concat());
    assert!(names().is_empty());
    std::fs::copy(MODEL, place("out/watch.onnx")).unwrap();
    let done = secateur(&[&["compile"], &base[..], &["--emit", "onnx"]].concat());
    assert!(words(&done.stderr).contains("was not written by Secateur"), "{}", words(&done.stderr));
}

/// `demo prune`: dense and pruned side by side, and smaller.
#[test]
fn the_demo_shows_both() {
    let done = secateur(&["demo", "prune"]);
    assert!(done.status.success(), "{}", words(&done.stderr));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let row = |name: &str| -> Vec<f64> {
        let line = said
            .lines()
            .find(|l| l.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {said}"));
        let cells = line.trim_start()[name.len()..].split("  ").map(|c| c.replace([',', '%'], ""));
        cells.filter_map(|c| c.trim().parse().ok()).collect()
    };
    let halves = |v: Vec<f64>| v.len() == 2 && v[1] < 0.6 * v[0];
    assert!(halves(row("flash: weights, B")) && halves(row("cycles, predicted")), "{said}");
    let accuracy = row("accuracy");
    assert!(accuracy.len() == 3 && accuracy.iter().all(|a| *a > 75.0), "{said}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let calibrated: &[&str] = &["--calibrate", CALIBRATION];
    for (flags, more, code, want) in [
        (&["--prune", "1"][..], calibrated, 2, "`1` is no share"),
        (&["--prune", "-0.1"], calibrated, 2, "-0"),
        (&["--prune", "nan"], calibrated, 2, "`nan` is no share"),
        (&["--prune", "pattern=3q,sparsity=0.5"], calibrated, 2, "`3q` is no pattern"),
        (&["--prune", "pattern=4x4"], calibrated, 2, "says no sparsity"),
        (&["--prune", "pattern=2:4,sparsity=0.7"], calibrated, 2, "asks for sparsity 0.7"),
        (&["--prune", "0.5"], &[], 2, "needs calibration samples"),
        (&["--prune", "0.5", "--keep", "nosuch*"], calibrated, 2, "is called `nosuch*`"),
        (&["--keep", "*"], calibrated, 2, "nothing is pruned"),
        (&["--prune", "0.5", "--keep", "*"], calibrated, 2, "finds no layer"),
        (&["--prune", "0.5", "--keep", "*", "--sparsity", "*=0.5"], calibrated, 2, "to be kept"),
        (&["--prune", "0.5", "--sparsity", "*=2"], calibrated, 2, "share of zeros"),
        (&["--prune", "0.5", "--pattern", "*=4x"], calibrated, 2, "pattern of zeros"),
        (&["--prune", "pattern=channels"], calibrated, 2, "says no sparsity"),
        (&["--prune", "pattern=channels,sparsity=1"], calibrated, 2, "`1` is no share"),
        (&["--prune", "pattern=channels,sparsity=0.5"], &[], 2, "needs calibration samples"),
        (&["--prune", "pattern=channels,sparsity=0.5,score=l1"], calibrated, 2, "score obs alone"),
        (&["--prune", "pattern=channels,sparsity=0.5", "--keep", "*"], calibrated, 2, "finds no channels"),
        (
            &["--prune", "pattern=channels,sparsity=0.5", "--keep", "nosuch"],
            calibrated,
            2,
            "is called `nosuch`",
        ),
        (
            &["--prune", "pattern=channels,sparsity=0.5", "--pattern", "*=4x4"],
            calibrated,
            2,
            "whole channels",
        ),
        (
            &["--prune", "pattern=channels,sparsity=0.5", "--keep-zeros"],
            calibrated,
            2,
            "leave one of both out",
        ),
        (&["--prune", "0.5", "--pattern", "*=channels"], calibrated, 2, "hang together over layers"),
    ] {
        let done = secateur(&[&["compile", MODEL, "-o", out], flags, more].concat());
        let said = words(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{flags:?}: {said}");
        assert!(said.contains(want), "{flags:?}: {said}");
    }
    assert!(!Path::new(out).exists());
    // In a file, at its line.
    let file = folder.path().join("secateur.toml");
    std::fs::write(&file, "prune = 0.5\n\n[layer.'nosuch']\nsparsity = 0.25\n").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let done = secateur(&[&["compile", MODEL, "-o", out], &config[..], calibrated].concat());
    let said = words(&done.stderr);
    assert!(said.contains("secateur.toml:4:12") && said.contains("`nosuch`"), "{said}");
}

#[test]
fn sensitivity_has_a_row_a_layer_and_errors_that_grow() {
    let folder = tempfile::tempdir().unwrap();
    let drawing = folder.path().join("s.svg");
    let args =
        ["sensitivity", MODEL, "--calibrate", TEST, "--labels", LABELS, "--limit", "100", "--json", "--svg"];
    let done = secateur(&[&args[..], &[drawing.to_str().unwrap()]].concat());
    assert!(done.status.success(), "{}", words(&done.stderr));
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(value["samples"], 100);
    let layers = value["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 5);
    for layer in layers {
        let errors: Vec<f64> =
            layer["levels"].as_array().unwrap().iter().map(|l| l["error"].as_f64().unwrap()).collect();
        assert_eq!(errors.len(), 4);
        assert!(errors[0] < errors[3] && errors[3] > 0.01, "{layer}");
        assert!(layer["levels"][0]["drop"].as_f64().unwrap().abs() < 0.1, "{layer}");
    }
    let drawn = std::fs::read_to_string(&drawing).unwrap();
    assert_eq!(drawn.matches("<polyline").count(), 5);
}
