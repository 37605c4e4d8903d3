//! `secateur fit` on the bundled model: what it finds keeps the budgets when it is compiled, a run that was stopped goes
//! on to the same end whatever the number of threads, and what cannot be meant or reached is refused.

use secateur_compiler::Tensor;
use secateur_compiler::cli::data;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/model.onnx");
const CALIBRATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/calib.npy");
const TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_x.npy");
const LABELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/watch_cnn1d/test_y.npy");

fn secateur(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secateur")).args(args).output().expect("the binary starts")
}

/// `fit` for the nRF52840, with few plans and one pattern.
fn fit(folder: &Path, more: &[&str]) -> Output {
    let folder = folder.to_str().expect("a plain path");
    let mut args = vec!["fit", MODEL, "--target", "nrf52840", "-o", folder];
    args.extend(["--calibrate", CALIBRATION, "--patterns", "4x4", "--trials", "8"]);
    args.extend(more);
    secateur(&args)
}

/// Words of an output, whatever the width that errors were wrapped at.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace(['│', '╰', '─', '▶', '×'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn half_the_flash_and_half_the_cycles_cost_no_point_a_stopped_run_ends_alike_and_trials_serve_other_goals() {
    let folder = tempfile::tempdir().unwrap();
    // Half of what the dense model takes: 32,140 bytes, 893,933 cycles of 64 MHz.
    let budgets = ["--max-flash", "16070", "--max-latency", "6.98ms", "--max-drop", "1.0"];
    let run = fit(folder.path(), &budgets);
    assert!(run.status.success(), "{}", words(&run.stderr));
    let found = text(&folder.path().join("fit.json"));
    let parsed = json(&found);
    let trials = parsed["trials"].as_array().expect("trials");
    let chosen: Vec<&Value> = trials.iter().filter(|t| t["chosen"] == true).collect();
    let [chosen] = chosen.as_slice() else { panic!("{} chosen", chosen.len()) };
    assert!(chosen["flash"].as_u64().unwrap() <= 16_070, "{chosen}");
    assert!(chosen["outcome"]["seconds"].as_f64().unwrap() <= 6.98e-3, "{chosen}");
    // The dense model and plans for the whole are among what was tried, and nothing on the front is beaten by them.
    assert!(trials.iter().any(|t| t["plan"] == "dense int8") && trials.iter().any(|t| t["plan"] == "w4a8"));

    // What it wrote compiles, keeps the budgets with all samples, and answers as the evaluator does.
    let options = folder.path().join("secateur.toml");
    let config = options.to_str().unwrap();
    let out = folder.path().join("out");
    let compiled =
        secateur(&["compile", MODEL, "--config", config, "--check", "--json", "-o", out.to_str().unwrap()]);
    assert!(compiled.status.success(), "{}", words(&compiled.stderr));
    let total = &json(&String::from_utf8_lossy(&compiled.stdout))["total"];
    assert!(total["sparsity"].as_f64().unwrap() > 0.3, "{total}");
    let data = ["--data", TEST, "--labels", LABELS, "--json"];
    let eval = secateur(&[&["eval", MODEL, "--config", config], data.as_slice()].concat());
    assert!(eval.status.success(), "{}", words(&eval.stderr));
    let drop = json(&String::from_utf8_lossy(&eval.stdout))["drop"].as_f64().unwrap();
    assert!(drop <= 0.01, "{drop} of top1 lost on samples that nobody calibrated with");

    // Some trials are lost, one is damaged: the rest stands, and one thread comes to the same end.
    let kept = text(&options);
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join("trials")).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::remove_file(&files[3]).unwrap();
    let damaged = text(&files[5]).replacen("drop", "dorp", 1);
    std::fs::write(&files[5], damaged).unwrap();
    std::fs::remove_file(&options).unwrap();
    let again = fit(folder.path(), &[budgets.as_slice(), &["--jobs", "1"]].concat());
    assert!(again.status.success(), "{}", words(&again.stderr));
    assert!(words(&again.stderr).contains("is damaged, or of another run: it is made anew"));
    assert_eq!(text(&options), kept);
    assert_eq!(text(&folder.path().join("fit.json")), found);

    // Trials serve other goals too. With a drop alone the cheapest plan is taken.
    let run = fit(folder.path(), &["--max-drop", "5", "--json"]);
    assert!(run.status.success(), "{}", words(&run.stderr));
    let found = json(&String::from_utf8_lossy(&run.stdout));
    let trials = found["trials"].as_array().unwrap();
    let cycles = |t: &Value| t["outcome"]["cycles"].as_u64().unwrap();
    let (dense, chosen) = (&trials[0], trials.iter().find(|t| t["chosen"] == true).unwrap());
    assert!(2 * cycles(chosen) < cycles(dense), "{} of {}", cycles(chosen), cycles(dense));

    // What nothing keeps leaves no options behind, and names the nearest.
    std::fs::remove_file(&options).unwrap();
    let run = fit(folder.path(), &["--max-flash", "6K"]);
    assert_eq!(run.status.code(), Some(1));
    let said = words(&run.stderr);
    assert!(
        said.contains("plans keeps `--max-flash`; the nearest (") && said.contains("B of flash"),
        "{said}"
    );
    assert!(!options.exists() && folder.path().join("fit.json").exists());

    let labels = folder.path().join("labels.csv");
    std::fs::write(&labels, "0\n1\n2\n").unwrap();
    let run = fit(folder.path(), &["--max-drop", "1", "--labels", labels.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(1));
    assert!(words(&run.stderr).contains("labels"), "{}", words(&run.stderr));
}

/// Files of a folder, by name.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.sort();
    files
}

#[test]
fn jobs_on_other_machines_come_to_the_same_end_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (alone, planned) = (folder.path().join("alone"), folder.path().join("planned"));
    let asked = ["--max-flash", "26K", "--keep", "/fc/Gemm"];
    // A pattern that says its share has one level to survey.
    let few = ["--trials", "1", "--patterns", "2:4", "--target", "nrf52840", "--calibrate", CALIBRATION];
    let model = [&["fit", MODEL], asked.as_slice(), few.as_slice()].concat();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let run = |more: &[&str]| secateur(&[model.as_slice(), more].concat());
    assert!(run(&["-o", &path(&alone)]).status.success());

    let made = run(&["--plan", &path(&planned)]);
    assert!(made.status.success(), "{}", words(&made.stderr));
    let jobs = files(&planned.join("jobs"));
    assert!(jobs.len() >= 4 && words(&made.stdout).contains(&format!("{} jobs", jobs.len())), "{jobs:?}");

    // A folder that was moved serves as well; of two workers one dies in the middle of a job.
    let moved = folder.path().join("moved");
    std::fs::rename(&planned, &moved).unwrap();
    let jobs = files(&moved.join("jobs"));
    let job = |file: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secateur"));
        command
            .args(["fit", "--job"])
            .arg(file)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        command
    };
    let mut killed = job(&jobs[0]).spawn().unwrap();
    for pair in jobs[1..].chunks(2) {
        let mut workers: Vec<_> = pair.iter().map(|file| job(file).spawn().unwrap()).collect();
        assert!(workers.iter_mut().all(|worker| worker.wait().unwrap().success()), "{pair:?}");
        // It may have been done by then, which is as well.
        let _ = killed.kill();
    }
    let _ = killed.wait();
    let left = files(&moved.join("trials"));
    assert!(left.iter().all(|file| file.extension().is_some_and(|e| e == "json")), "{left:?}");

    // What is damaged, renamed or not there is refused.
    let damaged = moved.join("jobs/damaged.json");
    for (text, says) in [
        (text(&jobs[1]).replacen("layers", "leyers", 1), "is no job, or is damaged"),
        (text(&jobs[1]), "is of another compiler, or its name was changed"),
        ("{}".into(), "is no job, or is damaged"),
    ] {
        std::fs::write(&damaged, text).unwrap();
        let run = secateur(&["fit", "--job", damaged.to_str().unwrap()]);
        assert_eq!(run.status.code(), Some(1));
        assert!(words(&run.stderr).contains(says), "{}", words(&run.stderr));
    }

    let end = secateur(&["fit", "--collect", moved.to_str().unwrap()]);
    assert!(end.status.success(), "{}", words(&end.stderr));
    let trials = |folder: &Path| json(&text(&folder.join("fit.json")))["trials"].clone();
    assert_eq!(trials(&moved), trials(&alone));
    let layers =
        |folder: &Path| text(&folder.join("secateur.toml")).split_once("\n[").map(|(_, t)| t.to_owned());
    assert_eq!(layers(&moved), layers(&alone));

    let run = secateur(&["fit", "--collect", alone.to_str().unwrap()]);
    assert!(words(&run.stderr).contains("holds no plan"), "{}", words(&run.stderr));
    let inputs = files(&moved).into_iter().find(|p| p.is_dir() && path(p).contains("inputs-")).unwrap();
    std::fs::write(inputs.join("asked.json"), "{}").unwrap();
    let run = secateur(&["fit", "--collect", moved.to_str().unwrap()]);
    assert!(words(&run.stderr).contains("does not hold what it was named by"), "{}", words(&run.stderr));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("fitted");
    for (args, code, says) in [
        (vec![], 2, "there is nothing to fit"),
        (vec!["--max-drop", "-1"], 2, "can never be kept"),
        (vec!["--max-drop", "nan"], 2, "can never be kept"),
        (vec!["--max-drop", "1", "--prune", "0.5"], 2, "option `prune`: is what `fit` finds"),
        (vec!["--max-drop", "1", "--int4", "*"], 2, "option `int4`: is what `fit` finds"),
        (vec!["--max-drop", "1", "--quantize", "none"], 2, "leaves nothing to choose"),
        (vec!["--max-drop", "1", "--jobs", "0"], 2, "does nothing"),
        (vec!["--max-drop", "1", "--metric", "top1"], 2, "top1 needs labels"),
        (vec!["--max-flash", "0"], 2, "fits no model"),
        (vec!["--max-drop", "1", "--patterns", "channels"], 2, "is no pattern of blocks"),
    ] {
        let run = fit(&out, &args);
        let said = words(&run.stderr);
        assert_eq!(run.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let core =
        ["fit", MODEL, "--target", "cortex-m4", "--calibrate", CALIBRATION, "--max-latency", "5ms", "-o"];
    let run = secateur(&[core.as_slice(), &[out.to_str().unwrap()]].concat());
    assert!(words(&run.stderr).contains("option `max-latency`: on `cortex-m4` is not known"));
    let run = secateur(&["fit", MODEL, "--max-drop", "1", "-o", out.to_str().unwrap()]);
    assert!(words(&run.stderr).contains("plans are made and measured on samples"));
    // An array that no input reads may count anything: what is refused are the four samples.
    let samples = folder.path().join("few.npz");
    let all = data::read_samples(Path::new(CALIBRATION)).unwrap().arrays.into_values().next().unwrap();
    let four = Tensor::f32(&[4, 6, 128], all.as_f32().unwrap()[..4 * 6 * 128].to_vec());
    let other = Tensor::f32(&[3], vec![0.0; 3]);
    data::write_npz(&samples, &[("imu".into(), four), ("other".into(), other)].into()).unwrap();
    let few = ["fit", MODEL, "--calibrate", samples.to_str().unwrap(), "--max-drop", "1", "-o"];
    let run = secateur(&[few.as_slice(), &[out.to_str().unwrap()]].concat());
    assert!(words(&run.stderr).contains("are 4: one of 4 is held back"), "{}", words(&run.stderr));
    assert!(!out.join("secateur.toml").exists());
}
