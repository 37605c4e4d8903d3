//! Every chip and core: a small model compiles for it, the reports are a snapshot, its C builds
//! with the core's compiler, and the linked code keeps the core's rules.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{Optimize, measure};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::{Samples, Tensor};
use secateur_tests::engines::{built, evaluate, target};
use secateur_tests::objects::{broken_rules, is_dsp, is_float, is_float_symbol};
use secateur_tests::onnx::{FLOAT, Model, attr_int, attr_ints, dims, floats, node, port};

/// Numbers in -1..1 without a random generator.
fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin()).collect()
}

/// Convolution, depthwise convolution, pooling, fully connected layer and softmax.
fn model() -> Vec<u8> {
    let same = attr_ints("pads", &[1, 1, 1, 1]);
    let kernel = attr_ints("kernel_shape", &[3, 3]);
    Model {
        nodes: vec![
            node("conv", "Conv", &["x", "w0", "b0"], &["c"], &[kernel.clone(), same.clone()]),
            node("relu", "Relu", &["c"], &["r"], &[]),
            node("depthwise", "Conv", &["r", "w1", "b1"], &["d"], &[kernel, same, attr_int("group", 4)]),
            node("add", "Add", &["d", "r"], &["a"], &[]),
            node("pool", "GlobalAveragePool", &["a"], &["p"], &[]),
            node("flat", "Flatten", &["p"], &["f"], &[]),
            node("dense", "Gemm", &["f", "w2", "b2"], &["g"], &[attr_int("transB", 1)]),
            node("softmax", "Softmax", &["g"], &["y"], &[]),
        ],
        initializers: vec![
            floats("w0", &[4, 2, 3, 3], &wave(72, 0.7)),
            floats("b0", &[4], &wave(4, 1.3)),
            floats("w1", &[4, 1, 3, 3], &wave(36, 0.9)),
            floats("b1", &[4], &wave(4, 0.4)),
            floats("w2", &[3, 4], &wave(12, 1.1)),
            floats("b2", &[3], &wave(3, 2.1)),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 2, 8, 8]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 3]))],
        opset: 13,
    }
    .bytes()
}

fn compiled(target: &Target) -> Artifact {
    let mut calibration = Samples::default();
    calibration.arrays.insert(String::new(), Tensor::f32(&[16, 2, 8, 8], wave(2048, 0.37)));
    let options = Options {
        name: "small".into(),
        quantize: Quantize::Int8,
        emit: vec![Language::C, Language::Rust],
        ..Options::default()
    };
    compile(&model(), target, Some(&calibration), &options, &mut Silent)
        .unwrap_or_else(|e| panic!("{}: {e}", target.name))
}

fn inputs(artifact: &Artifact) -> Vec<Vec<Tensor>> {
    let port = &artifact.program.inputs[0];
    let sample = |s: i64| {
        let values: Vec<i64> = (0..128i64).map(|i| (i * 67 + s * 31) % 256 - 128).collect();
        let data = secateur_compiler::tensor::Data::from_i64(port.elem, &values);
        vec![Tensor::new(port.shape.clone(), data).expect("fits")]
    };
    (0..8).map(sample).collect()
}

/// The part of the report that no compiler's version changes.
fn summary(artifact: &Artifact) -> String {
    let report = &artifact.report;
    let total = &report.total;
    let mut text = format!(
        "core {}\nweights {} arena {} lower bound {} macs {} live {}\n",
        report.core, total.weights, total.arena, total.arena_lower_bound, total.macs, total.live_macs
    );
    for l in &report.layers {
        text += &format!(
            "{} {} {} {:?} macs {} weights {} live {}\n",
            l.name, l.op, l.family, l.output_shape, l.macs, l.weights, l.live
        );
    }
    text
}

/// Chips that get the same program are one entry of the snapshot, and are built once.
#[test]
fn every_chip_compiles_a_small_model() {
    let mut groups: Vec<(String, Target, Artifact, Vec<String>)> = Vec::new();
    for chip in targets::all().expect("the files parse") {
        let artifact = compiled(&chip);
        let summary = summary(&artifact);
        let same = |g: &&mut (String, Target, Artifact, Vec<String>)| {
            g.0 == summary && g.1.core == chip.core && g.2.program == artifact.program
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.3.push(chip.name),
            None => groups.push((summary, chip.clone(), artifact, vec![chip.name])),
        }
    }
    groups.sort_by(|a, b| a.1.core.name.cmp(&b.1.core.name));
    let mut text = String::new();
    for (summary, chip, artifact, chips) in &groups {
        let measured = measure(&artifact.into(), chip).unwrap_or_else(|e| panic!("{}: {e}", chip.name));
        assert!((300..12_000).contains(&measured.code), "{}: {measured:?}", chip.name);
        assert!(measured.stack.as_ref().is_ok_and(|&s| s < 1024), "{}: {measured:?}", chip.name);
        text += &format!("{}\n{summary}\n", chips.join(" "));
    }
    insta::assert_snapshot!("chips", text);
}

#[test]
fn linked_code_keeps_the_rules_of_its_core() {
    let arm = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55"];
    for core in arm.into_iter().chain(["rv32imc", "rv32imcv", "hexagon-v67"]) {
        let on = target(core);
        let artifact = compiled(&on);
        let image = built(&artifact, Language::C, &on, Optimize::Speed);
        let replies = image.run(0, &inputs(&artifact), &mut Silent).unwrap_or_else(|e| panic!("{core}: {e}"));
        assert_eq!(replies.outputs, evaluate(&artifact, &inputs(&artifact)), "{core}");
        assert_eq!(broken_rules(image.file(), &on, true), Vec::<String>::new());
    }
}

#[test]
fn linked_rust_has_no_panic_path_at_either_level() {
    let on = target("cortex-m4");
    let artifact = compiled(&on);
    for optimize in [Optimize::Speed, Optimize::Size] {
        let image = built(&artifact, Language::Rust, &on, optimize);
        let replies = image.run(0, &inputs(&artifact), &mut Silent).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(replies.outputs, evaluate(&artifact, &inputs(&artifact)));
        assert_eq!(broken_rules(image.file(), &on, true), Vec::<String>::new());
    }
}

/// The check itself notices what it is for.
#[test]
fn classes_of_instructions_are_told_apart() {
    for dsp in ["smlad", "smlabb", "sxtb16", "smmulr", "pkhbt", "uxtab16", "smlalbb", "qadd"] {
        assert!(is_dsp(dsp), "{dsp}");
    }
    for plain in ["smull", "smlal", "umull", "ssat", "usat", "sxtb", "uxth", "mla", "adds.w", "sub.w"] {
        assert!(!is_dsp(plain), "{plain}");
    }
    assert!(is_float("vmul.f32") && is_float("vcvt.f32.s32") && !is_float("vmov") && !is_float("vadd.i32"));
    assert!(is_float_symbol("__aeabi_fmul") && is_float_symbol("__mulsf3") && is_float_symbol("__addsf3"));
    assert!(!is_float_symbol("__aeabi_lmul") && !is_float_symbol("__aeabi_ldivmod"));
    assert!(!is_float_symbol("__aeabi_drsub0") && !is_float_symbol("__divdi3"));
}
