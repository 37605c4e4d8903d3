//! Text forms of four small models after every stage, for a reviewer to read as a diff: graph
//! after each pass that changed it, schedule, program, emitted C and Rust, report.
//!
//! Law: the snapshots are the same on every machine. Long arrays of numbers and long texts are cut to
//! a digest, so that what is left is read; the program, the C and the Rust of one model stand whole.
//! What was cut is written to `stories/` in the target's folder for temporary files. After an intended
//! change: `INSTA_UPDATE=always cargo test -p secateur-tests --test snapshots`, and read the diff.

use secateur_compiler::artifact::compile;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::passes;
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::onnx::{
    FLOAT, INT8, Message, Model, attr_int, attr_ints, dims, floats, node, port, tensor,
};
use std::fmt::Write;

/// Lines beyond which a text is cut to its digest.
const LONG: usize = 100;

/// Everything that a compilation tells: texts and what each is.
fn story(name: &str, model: &[u8], calibration: Option<Tensor>, quantize: Quantize) -> Vec<(String, String)> {
    let mut stages = vec!["import".to_string()];
    stages.extend(passes::names().map(str::to_string));
    stages.extend(["quantize", "schedule", "lower"].map(str::to_string));
    let options = Options {
        name: name.into(),
        quantize,
        emit: vec![Language::C, Language::Rust],
        dump_after: stages,
        ..Options::default()
    };
    let samples = calibration.map(|data| {
        let mut samples = Samples::default();
        samples.arrays.insert(String::new(), data);
        samples
    });
    let target = secateur_compiler::targets::find("cortex-m3").expect("a core of ours");
    let artifact = compile(model, &target, samples.as_ref(), &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut out = Vec::new();
    let mut last = "";
    for (stage, text) in &artifact.dumps {
        // Most passes leave a small model as it is.
        if text != last {
            out.push((format!("after {stage}"), shorten(text)));
        }
        last = text;
    }
    let report = serde_json::to_string_pretty(&artifact.report).expect("a report is JSON");
    out.push(("report".to_string(), report + "\n"));
    let files = artifact.files.iter().filter(|f| f.text.contains(name));
    out.extend(files.map(|f| (f.path.clone(), shorten(&f.text))));
    out
}

/// Cuts runs of lines that hold nothing but numbers, and long literals, to their digest.
fn shorten(text: &str) -> String {
    let number = |n: &str| n.trim().trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    // Arguments of a call stand alone in their line.
    let many = |line: &str| line.matches(',').count() > 2;
    let numbers = |line: &str| line.trim().strip_suffix(',').is_some_and(|l| l.split(',').all(number));
    let numeric = |line: &str| many(line) && numbers(line);
    let mut out = String::new();
    let mut run: Vec<&str> = Vec::new();
    let flush = |run: &mut Vec<&str>, out: &mut String| {
        if run.len() > 3 {
            let _ = writeln!(out, "    [{} lines of numbers, {:08x}]", run.len(), fnv(&run.join("\n")));
        } else {
            run.iter().for_each(|line| {
                let _ = writeln!(out, "{line}");
            });
        }
        run.clear();
    };
    for line in text.lines() {
        if line.contains("Digest of model and options") || line.contains("_DIGEST ") {
            // It names the version and every option: tests of determinism look at it.
            continue;
        }
        if numeric(line) {
            run.push(line);
            continue;
        }
        flush(&mut run, &mut out);
        if line.len() > 400 {
            let head: String = line.chars().take(120).collect();
            let _ = writeln!(out, "{head} [line of {} bytes, {:08x}]", line.len(), fnv(line));
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
    flush(&mut run, &mut out);
    out
}

/// FNV-1a: enough to see that numbers changed.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// A fixed wave of small numbers, exact in binary.
fn wave(n: usize, step: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| ((i * step) % 17) as f32 * scale - 8.0 * scale).collect()
}

fn check(name: &str, model: &[u8], calibration: Option<Tensor>, quantize: Quantize) {
    let (mut cut, mut whole) = (String::new(), String::new());
    for (what, text) in story(name, model, calibration, quantize) {
        let lines = text.lines().count();
        let shown = match lines > LONG {
            true => format!("[{lines} lines, {:08x}]\n", fnv(&text)),
            false => text.clone(),
        };
        let _ = writeln!(cut, "== {what}\n{shown}");
        let _ = writeln!(whole, "== {what}\n{text}");
    }
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stories");
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(name).with_extension("txt"), whole));
    written.unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    insta::assert_snapshot!(name, cut);
}

/// Two dense layers around a Relu, quantized from samples.
#[test]
fn tiny_dense() {
    let model = Model {
        nodes: vec![
            node("hidden", "Gemm", &["x", "w1", "b1"], &["h"], &[attr_int("transB", 1)]),
            node("relu", "Relu", &["h"], &["r"], &[]),
            node("logits", "Gemm", &["r", "w2", "b2"], &["y"], &[attr_int("transB", 1)]),
        ],
        initializers: vec![
            floats("w1", &[6, 8], &wave(48, 5, 0.125)),
            floats("b1", &[6], &wave(6, 3, 0.25)),
            floats("w2", &[3, 6], &wave(18, 7, 0.25)),
            floats("b2", &[3], &wave(3, 4, 0.5)),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 8]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 3]))],
        opset: 13,
    };
    let samples = Tensor::f32(&[4, 8], wave(32, 3, 0.25));
    check("tiny_dense", &model.bytes(), Some(samples), Quantize::Int8);
}

fn residual() -> Vec<u8> {
    let conv = |name, ins: &[&str], out: &str| {
        let attrs = [attr_ints("pads", &[1, 1, 1, 1]), attr_ints("kernel_shape", &[3, 3])];
        node(name, "Conv", ins, &[out], &attrs)
    };
    let model = Model {
        nodes: vec![
            conv("stem", &["x", "w1", "b1"], "a"),
            node("relu1", "Relu", &["a"], &["b"], &[]),
            conv("branch", &["b", "w2"], "c"),
            node("add", "Add", &["b", "c"], &["d"], &[]),
            node("relu2", "Relu", &["d"], &["e"], &[]),
            node("pool", "GlobalAveragePool", &["e"], &["y"], &[]),
        ],
        initializers: vec![
            floats("w1", &[4, 2, 3, 3], &wave(72, 5, 0.0625)),
            floats("b1", &[4], &wave(4, 3, 0.125)),
            floats("w2", &[4, 4, 3, 3], &wave(144, 7, 0.03125)),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 2, 5, 5]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 4, 1, 1]))],
        opset: 13,
    };
    model.bytes()
}

/// A convolution with a skip connection, as int8 and as floats.
#[test]
fn tiny_residual() {
    let samples = Tensor::f32(&[4, 2, 5, 5], wave(200, 3, 0.25));
    check("tiny_residual", &residual(), Some(samples), Quantize::Int8);
    check("tiny_residual_float", &residual(), None, Quantize::None);
}

/// A quantized dense layer as exporters write it: QuantizeLinear and DequantizeLinear pairs.
#[test]
fn tiny_qdq() {
    let int8 = |name: &str, shape: &[i64], v: &[i8]| {
        tensor(name, INT8, shape, &v.iter().map(|&v| v as u8).collect::<Vec<_>>())
    };
    let int32 = |name: &str, shape: &[i64], v: &[i32]| {
        let raw: Vec<u8> = v.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensor(name, secateur_tests::onnx::INT32, shape, &raw)
    };
    let scale = |name: &str, v: f32| floats(name, &[], &[v]);
    let pair = |name: &str, from: &str, to: &str, scale: &str, zero: &str| -> Vec<Message> {
        let mid = format!("{to}_q");
        vec![
            node(&format!("{name}_q"), "QuantizeLinear", &[from, scale, zero], &[&mid], &[]),
            node(&format!("{name}_dq"), "DequantizeLinear", &[&mid, scale, zero], &[to], &[]),
        ]
    };
    let weights: Vec<i8> = (0..24).map(|i| (i * 37 % 255 - 127) as i8).collect();
    let mut nodes = pair("in", "x", "x1", "sx", "zx");
    nodes.push(node("w_dq", "DequantizeLinear", &["wq", "sw", "zw"], &["w"], &[]));
    nodes.push(node("b_dq", "DequantizeLinear", &["bq", "sb", "zb"], &["b"], &[]));
    nodes.push(node("dense", "Gemm", &["x1", "w", "b"], &["y1"], &[attr_int("transB", 1)]));
    nodes.extend(pair("out", "y1", "y", "sy", "zy"));
    let model = Model {
        nodes,
        initializers: vec![
            scale("sx", 0.0625),
            int8("zx", &[], &[-3]),
            scale("sw", 0.03125),
            int8("zw", &[], &[0]),
            int8("wq", &[3, 8], &weights),
            scale("sb", 0.0625 * 0.03125),
            int32("zb", &[], &[0]),
            int32("bq", &[3], &[500, -250, 4]),
            scale("sy", 0.25),
            int8("zy", &[], &[7]),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 8]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 3]))],
        opset: 13,
    };
    check("tiny_qdq", &model.bytes(), None, Quantize::Int8);
    for (what, text) in story("tiny_qdq", &model.bytes(), None, Quantize::Int8) {
        match what.as_str() {
            "after lower" => insta::assert_snapshot!("tiny_qdq_program", text),
            "tiny_qdq.c" => insta::assert_snapshot!("tiny_qdq_c", text),
            "tiny_qdq.rs" => insta::assert_snapshot!("tiny_qdq_rust", text),
            _ => {}
        }
    }
}

/// The bundled wearable model, from its calibration samples.
#[test]
fn watch_cnn1d() {
    let folder = secateur_tests::repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(folder.join("model.onnx")).expect("the bundled model");
    let calib = secateur_tests::npy(&folder.join("calib.npy"));
    check("watch_cnn1d", &model, Some(calib), Quantize::Int8);
}
