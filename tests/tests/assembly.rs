//! The assembly of small kernels on a core of each instruction set, for a reviewer to read as a
//! diff: the longest innermost loop of a product, a depthwise convolution and a sum.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test -p secateur-tests --test assembly`,
//! and read the diff.

use secateur_compiler::artifact::compile;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Options, Quantize};
use secateur_compiler::program::kernels;
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::onnx::{FLOAT, Model, attr_int, attr_ints, dims, floats, node, port};
use std::fmt::Write;

/// Most lines of a loop that are shown.
const LINES: usize = 60;

fn wave(n: usize, step: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * step) % 17) as f32 * 0.25 - 2.0).collect()
}

/// A product for each pixel, a depthwise convolution behind it, and the sum of both.
fn model() -> Vec<u8> {
    let pads = [attr_ints("pads", &[1, 1, 1, 1]), attr_ints("kernel_shape", &[3, 3]), attr_int("group", 16)];
    let model = Model {
        nodes: vec![
            node("product", "Conv", &["x", "w", "b"], &["p"], &[]),
            node("depthwise", "Conv", &["p", "k", "b"], &["d"], &pads),
            node("sum", "Add", &["p", "d"], &["y"], &[]),
        ],
        initializers: vec![
            floats("w", &[16, 16, 1, 1], &wave(256, 5)),
            floats("k", &[16, 1, 3, 3], &wave(144, 7)),
            floats("b", &[16], &wave(16, 3)),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 16, 8, 8]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 16, 8, 8]))],
        opset: 13,
    };
    model.bytes()
}

/// A product for each pixel, channels last, of whose weights one in five is not zero.
fn sparse() -> Vec<u8> {
    product(&|i| i % 5 > 0)
}

/// The same, of whose blocks of four channels by sixteen inputs one in four is not zero.
fn blocks() -> Vec<u8> {
    product(&|i| (i / 256 + i % 64 / 16) % 4 > 0)
}

/// The same, of whose blocks of 32 channels by four inputs one in four is not zero.
fn strips() -> Vec<u8> {
    product(&|i| (i / 2048 + i % 64 / 4) % 4 > 0)
}

fn product(zero: &dyn Fn(usize) -> bool) -> Vec<u8> {
    let mut weights = wave(4096, 5);
    weights.iter_mut().enumerate().filter(|(i, _)| zero(*i)).for_each(|(_, w)| *w = 0.0);
    let model = Model {
        nodes: vec![
            node("first", "Transpose", &["x"], &["c"], &[attr_ints("perm", &[0, 3, 1, 2])]),
            node("product", "Conv", &["c", "w"], &["p"], &[]),
            node("last", "Transpose", &["p"], &["y"], &[attr_ints("perm", &[0, 2, 3, 1])]),
        ],
        initializers: vec![floats("w", &[64, 64, 1, 1], &weights)],
        inputs: vec![port("x", FLOAT, &dims(&[1, 8, 8, 64]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 8, 8, 64]))],
        opset: 13,
    };
    model.bytes()
}

/// The longest stretch from a label to the branch back to it with no other label between.
fn inner(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let label = |line: &str| {
        line.strip_suffix(':').filter(|l| l.bytes().all(|b| b.is_ascii_digit())).map(str::to_owned)
    };
    let mut longest = 0..lines.len();
    for (from, line) in lines.iter().enumerate() {
        let Some(name) = label(line) else { continue };
        let back = |line: &&str| line.ends_with(&format!(" {name}b")) || line.contains(":endloop");
        // Those of single instructions that are spelled by a branch over another one.
        let other = |line: &&str| label(line).is_some_and(|l| l != "99");
        let body = lines[from + 1..].iter().take_while(|l| !other(l));
        let Some(end) = body.clone().position(back) else { continue };
        if longest.len() == lines.len() || end + 2 > longest.len() {
            longest = from..from + end + 2;
        }
    }
    lines[longest].to_vec()
}

fn check(name: &str, core: &str, model: &[u8], shape: &[usize]) {
    let target = secateur_compiler::targets::find(core).expect("a core of ours");
    let options = Options { name: "small".into(), quantize: Quantize::Int8, ..Options::default() };
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), Tensor::f32(shape, wave(shape.iter().product(), 3)));
    let artifact = compile(model, &target, Some(&samples), &options, &mut Silent).expect("a small model");
    let mut out = String::new();
    let all = kernels(&artifact.program);
    for (kernel, native) in all.iter().filter_map(|k| Some((k, k.native.first()?))) {
        let lines = inner(&native.text);
        let cut = if lines.len() > LINES { "\n..." } else { "" };
        let shown = lines[..lines.len().min(LINES)].join("\n");
        let (bytes, stack) = (native.bytes, native.stack);
        let _ = writeln!(out, "== {}: {bytes} bytes, {stack} of stack\n{shown}{cut}", kernel.name);
    }
    assert!(all.iter().any(|k| !k.native.is_empty()), "{core} has no native kernel");
    insta::assert_snapshot!(name, out);
}

#[test]
fn inner_loops() {
    for core in [
        "cortex-m0plus",
        "cortex-m3",
        "cortex-m4",
        "cortex-m7",
        "cortex-m55",
        "rv32imc",
        "rv32imcv",
        "hexagon-v67",
    ] {
        check(core, core, &model(), &[2, 16, 8, 8]);
    }
}

/// Of products that leave zeros out.
#[test]
fn sparse_loops() {
    for core in ["cortex-m0plus", "rv32imc"] {
        check(&format!("{core}-sparse"), core, &sparse(), &[2, 8, 8, 64]);
    }
    for core in ["cortex-m4", "cortex-m55"] {
        check(&format!("{core}-sparse"), core, &blocks(), &[2, 8, 8, 64]);
    }
    check("cortex-m4-single", "cortex-m4", &sparse(), &[2, 8, 8, 64]);
    for core in ["rv32imcv", "hexagon-v67"] {
        check(&format!("{core}-sparse"), core, &strips(), &[2, 8, 8, 64]);
    }
}
