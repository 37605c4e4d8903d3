//! `docs/tour.md` follows one small model through the compiler; each text that it shows is what the
//! compiler makes of the model today. After an intended change:
//! `INSTA_UPDATE=always cargo test -p secateur-tests --test tour`, and read the diff.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options};
use secateur_compiler::targets;
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::onnx::{FLOAT, Model, attr_int, dims, floats, node, port};
use std::fmt::Write;

/// A fixed wave of small numbers, exact in binary.
fn wave(n: usize, step: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| ((i * step) % 17) as f32 * scale - 8.0 * scale).collect()
}

/// Eight inputs, four outputs, a Relu.
fn tiny() -> Artifact {
    let model = Model {
        nodes: vec![
            node("hidden", "Gemm", &["x", "w", "b"], &["h"], &[attr_int("transB", 1)]),
            node("relu", "Relu", &["h"], &["y"], &[]),
        ],
        initializers: vec![floats("w", &[4, 8], &wave(32, 5, 0.125)), floats("b", &[4], &wave(4, 3, 0.25))],
        inputs: vec![port("x", FLOAT, &dims(&[1, 8]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 4]))],
        opset: 13,
    };
    let stages = ["import", "canonicalize", "fuse-activation", "settle-quantization", "schedule", "lower"];
    let options = Options {
        name: "tiny".into(),
        emit: vec![Language::C],
        dump_after: stages.map(str::to_string).to_vec(),
        ..Options::default()
    };
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), Tensor::f32(&[4, 8], wave(32, 3, 0.25)));
    let target = targets::find("cortex-m4").expect("a core of ours");
    compile(&model.bytes(), &target, Some(&samples), &options, &mut Silent).unwrap_or_else(|e| panic!("{e}"))
}

/// The lines from the first that begins with `from` up to the next that begins with `to`; a closing
/// brace belongs to them.
fn lines<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    let mut found: Vec<&str> = text.lines().skip_while(|l| !l.starts_with(from)).collect();
    assert!(!found.is_empty(), "no line begins with {from:?}");
    let ends = |l: &&str| !to.is_empty() && l.starts_with(to);
    if let Some(end) = found[1..].iter().position(ends) {
        found.truncate(1 + end + usize::from(to == "}"));
    }
    found
}

/// What the page shows under a name.
fn shown(artifact: &Artifact, name: &str) -> String {
    let dump = |stage: &str| {
        let found = artifact.dumps.iter().find(|(of, _)| of == stage);
        found.map_or_else(|| panic!("no stage {stage}"), |(_, text)| text.as_str())
    };
    let file = |end: &str| {
        let found = artifact.files.iter().find(|f| f.path.ends_with(end));
        found.map_or_else(|| panic!("no file {end}"), |f| f.text.as_str())
    };
    let lines = match name {
        "program" => lines(dump("lower"), "program", "k0 kernel"),
        "meaning" => lines(dump("lower"), "k1 kernel", "  native"),
        "call" => lines(dump("lower"), "k2 kernel", "k3 kernel"),
        "weights" => lines(file("tiny.c"), "SECATEUR_ALIGN(4) static const int16_t", "}"),
        "c" => lines(file("tiny.c"), "static void tiny_dense_s8_gemm", "}"),
        "assembly" => lines(file("tiny_kernels.S"), "tiny_gemm_s8_r4q1", "    .size"),
        stage => dump(stage).lines().collect(),
    };
    lines.join("\n").trim_end().to_string()
}

#[test]
fn the_tour_shows_what_the_compiler_makes() {
    let path = secateur_tests::repository().join("docs/tour.md");
    let page = std::fs::read_to_string(&path).expect("docs/tour.md");
    let artifact = tiny();
    // A text stands between a comment with its name, a fence, and the fence's end.
    let mut right = String::new();
    let mut rest = page.as_str();
    let mut count = 0;
    while let Some(at) = rest.find("<!-- show ") {
        let (before, from) = rest.split_at(at);
        let name = from["<!-- show ".len()..].split(" -->").next().expect("a name");
        let open = from.find("```").expect("a fence");
        let body = open + from[open..].find('\n').expect("a line") + 1;
        let end = body + from[body..].find("```").expect("the fence's end");
        let _ = writeln!(right, "{before}{}{}", &from[..body], shown(&artifact, name));
        rest = &from[end..];
        count += 1;
    }
    right.push_str(rest);
    assert!(count >= 8, "{count} texts");
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") && page != right {
        std::fs::write(&path, &right).expect("docs/tour.md is written");
        return;
    }
    assert!(page == right, "docs/tour.md shows other texts than the compiler makes:\n{right}");
}
