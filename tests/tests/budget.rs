//! What compilations cost, held against each other: levels of `--optimize`, graphs with and
//! without their dead channels, models and the memories of chips; and that a report names the code
//! that is emitted.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::error::Site;
use secateur_compiler::graph::Graph;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Optimize, Options};
use secateur_compiler::policy::most_for_size;
use secateur_compiler::program::{Layer, Program};
use secateur_compiler::report::{Report, overflow};
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::Samples;
use secateur_compiler::weigh::Needs;
use secateur_compiler::{graph, lower, onnx, passes, quantize, schedule};
use secateur_tests::engines::target;
use secateur_tests::{full, npy, repository, zoo};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LEVELS: [Optimize; 3] = [Optimize::Speed, Optimize::Balanced, Optimize::Size];

/// Models with their calibration samples, if they need any; the bundled one first.
fn models(zoo_names: &[&str]) -> Vec<(PathBuf, Option<PathBuf>)> {
    let bundled = repository().join("compiler/models/watch_cnn1d");
    let mut found = vec![(bundled.join("model.onnx"), Some(bundled.join("calib.npy")))];
    if let Some(zoo) = zoo() {
        found.extend(zoo_names.iter().map(|name| {
            let path = zoo.join(name);
            let beside = path.with_file_name("calib.npy");
            (path, beside.is_file().then_some(beside))
        }));
    }
    found
}

fn calibration(path: Option<&Path>) -> Option<Samples> {
    path.map(|path| {
        let mut samples = Samples::default();
        samples.arrays.insert(String::new(), npy(path));
        samples
    })
}

fn compiled((model, samples): &(PathBuf, Option<PathBuf>), target: &Target, optimize: Optimize) -> Artifact {
    let bytes = std::fs::read(model).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
    let options = Options { name: "model".into(), optimize, emit: vec![Language::C], ..Options::default() };
    compile(&bytes, target, calibration(samples.as_deref()).as_ref(), &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{}: {e}", model.display()))
}

/// The kernel column and the functions of a layer are those of the emitted assembly.
#[test]
fn the_report_names_the_functions_of_the_assembly() {
    let models =
        models(&["ours/watch_mbv3/model.onnx", "third_party/mlperf_vww_mobilenetv1/model_int8_qdq.onnx"]);
    for core in ["cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imcv"] {
        for model in &models[..if full() { models.len() } else { models.len().min(2) }] {
            let artifact = compiled(model, &target(core), Optimize::Balanced);
            let assembly = artifact.files.iter().find(|f| f.path.ends_with(".S"));
            let text = assembly.map_or("", |f| f.text.as_str());
            let symbols: BTreeSet<&str> = text
                .lines()
                .filter_map(|l| l.trim().strip_prefix(".global model_")?.strip_suffix("_in_model_kernels_S"))
                .collect();
            assert!(!symbols.is_empty(), "{core}: no native kernels in {}", model.0.display());
            let layers = &artifact.report.layers;
            let named: BTreeSet<&str> =
                layers.iter().flat_map(|l| &l.functions).map(String::as_str).collect();
            assert_eq!(named, symbols, "{core} {}", model.0.display());
            for l in layers {
                let none = matches!(l.family.as_str(), "portable" | "alias");
                assert_eq!(none, l.functions.is_empty(), "{core}: {} {} {:?}", l.name, l.family, l.functions);
            }
        }
    }
}

/// `size` saves flash, and takes at most a stated share more RAM than `balanced`.
#[test]
fn size_takes_little_more_arena_than_balanced() {
    let models = models(&[
        "ours/fsdd_dscnn/model.onnx",
        "third_party/mlperf_kws_dscnn/model_int8_qdq.onnx",
        "ours/watch_mbv3/model.onnx",
        "ours/mitbih_cnn/model.onnx",
        "third_party/mlperf_ic_resnet8/model_int8_qdq.onnx",
        "third_party/mlperf_vww_mobilenetv1/model_int8_qdq.onnx",
    ]);
    for core in ["cortex-m0plus", "cortex-m4", "cortex-m55"] {
        for model in &models[..if full() { models.len() } else { models.len().min(3) }] {
            let [_, balanced, size] = [0, 1, 2]
                .map(|i| LEVELS[i])
                .map(|level| (level != Optimize::Speed).then(|| compiled(model, &target(core), level)));
            let (Some(balanced), Some(size)) = (balanced, size) else { unreachable!("both were compiled") };
            let says = format!("{core} {}", model.0.display());
            let (a, b) = (size.program.arena, balanced.program.arena);
            assert!(a <= most_for_size(b), "{says}: arena {a} at size, {b} at balanced");
            assert_eq!(size.report.total.arena_balanced, Some(b), "{says}");
            let flash = |artifact: &Artifact| Needs::of(&artifact.program, &target(core)).flash;
            println!("{says}: arena {b} -> {a}, flash {} -> {}", flash(&balanced), flash(&size));
            assert!(flash(&size) <= flash(&balanced), "{says}: size takes more flash");
        }
    }
}

/// A graph as `compile` sees it before its dead channels are weighed.
fn settled(model: &Path, samples: Option<&Path>) -> Graph {
    let bytes = std::fs::read(model).expect("a readable model");
    let mut graph = onnx::import(&bytes, &Default::default()).expect("the model imports");
    passes::run(&mut graph, &mut |_, _| {}).expect("the passes run");
    if !quantize::is_quantized(&graph) {
        let samples = calibration(samples).expect("a float model has samples");
        let options = Options::default();
        quantize::equalize(&mut graph, &samples, &options, &mut Silent).expect("it is equalized");
        quantize::quantize(&mut graph, &samples, &options, &BTreeSet::new(), &mut Silent)
            .expect("it is quantized");
    }
    quantize::settle(&mut graph).expect("it settles");
    graph::verify(&graph).expect("it is sound");
    graph
}

fn needs(graph: &Graph, target: &Target, optimize: Optimize) -> Needs {
    let schedule = schedule::schedule(graph, target, optimize).expect("it is scheduled");
    Needs::of(&lower::lower(graph, &schedule).expect("it is lowered"), target)
}

/// Removing dead channels costs nothing: arena, flash and cycles are at most what they are with them,
/// or little more for much that is saved of another.
#[test]
fn dead_channels_are_removed_only_where_it_pays() {
    let Some(zoo) = zoo() else { return };
    let cases = zoo.join("../cases/field");
    let fsdd = zoo.join("ours/fsdd_dscnn/calib.npy");
    let watch = repository().join("compiler/models/watch_cnn1d/calib.npy");
    let mut models = vec![(zoo.join("third_party/mlperf_vww_mobilenetv1/model_int8_qdq.onnx"), None)];
    if cases.is_dir() {
        models.push((cases.join("fsdd_unstructured_80.onnx"), Some(fsdd.clone())));
        models.push((cases.join("watch_cnn1d_unstructured_85.onnx"), Some(watch)));
        if full() {
            models.push((cases.join("fsdd_unstructured_50.onnx"), Some(fsdd.clone())));
            models.push((cases.join("fsdd_unstructured_95.onnx"), Some(fsdd)));
        }
    }
    for model in &models {
        let kept = settled(&model.0, model.1.as_deref());
        for core in ["cortex-m0plus", "cortex-m4", "cortex-m55"] {
            let target = target(core);
            for level in LEVELS {
                if !full() && level != Optimize::Balanced {
                    continue;
                }
                let before = needs(&kept, &target, level);
                let program = compiled(model, &target, level).program;
                let after = Needs::of(&program, &target);
                if model.1.is_none() {
                    let macs: u64 = program.layers.iter().map(|l| l.macs).sum();
                    assert!(macs <= 3_750_000, "{core} {level:?}: {macs} MACs of the person detector remain");
                }
                println!("{core} {level:?} {}: {before:?} -> {after:?}", model.0.display());
                assert!(
                    after.within(&before),
                    "{core} {level:?} {}: {before:?} -> {after:?}",
                    model.0.display()
                );
            }
        }
    }
}

/// Of a made-up model of three layers.
fn report(target: &Target) -> Report {
    let layer = |name: &str, weight_bytes, live_bytes| Layer {
        name: name.into(),
        op: "Conv".into(),
        family: "portable".into(),
        output: String::new(),
        output_shape: vec![1],
        macs: 0,
        live_macs: 0,
        weight_bytes,
        live_bytes,
    };
    let layers = vec![layer("small", 10, 500), layer("heavy", 3000, 400), layer("wide", 20, 3000)];
    let program = Program { layers, arena: 3000, ..Program::default() };
    let mut report = Report::new(&program, target);
    report.total.weights = 3030;
    report
}

#[test]
fn messages_say_by_how_much_and_who_is_to_blame() {
    let sized = |flash, ram| targets::core_only("cortex-m4", flash, ram).unwrap();
    assert_eq!(overflow(&report(&sized(3030, 3000))), None);
    let said = overflow(&report(&sized(3000, 2000))).unwrap();
    assert_eq!(said.site, Site::Option("flash".into()));
    let text = said.to_string();
    for word in ["30 B too many", "`heavy` (Conv) 3000 B", "1000 B too many", "at `wide`", "not measured"] {
        assert!(text.contains(word), "no {word} in {text}");
    }
    let mut measured = report(&sized(3530, 3100));
    (measured.total.code, measured.total.stack) = (Some(500), Some(100));
    assert_eq!(overflow(&measured), None);
    (measured.total.code, measured.total.stack) = (Some(501), Some(101));
    let text = overflow(&measured).unwrap().to_string();
    assert!(text.contains("code 501 B): 1 B too many") && text.contains("101 B): 1 B too many"), "{text}");
}

#[test]
fn an_arena_lies_in_one_piece() {
    let chip = |second: u64| {
        let text = format!(
            "name = \"two\"\ndescription = \"two memories\"\ncore = \"cortex-m4\"\nsources = [\"none\"]\n\
             [[memory.ram]]\nname = \"a\"\nstart = 0x20000000\nsize = \"2K\"\n\
             [[memory.ram]]\nname = \"b\"\nstart = {second:#x}\nsize = \"2K\"\n"
        );
        targets::parse(&text).unwrap()
    };
    assert_eq!(overflow(&report(&chip(0x2000_0800))), None);
    let said = overflow(&report(&chip(0x2001_0000))).unwrap();
    assert_eq!(said.site, Site::Option("target".into()));
    assert!(said.message.contains("in one piece") && said.message.contains("952 B too many"), "{said}");
}

#[test]
fn a_bare_core_has_nothing_to_overflow() {
    assert_eq!(overflow(&report(&targets::find("cortex-m4").unwrap())), None);
}
