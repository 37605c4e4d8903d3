//! Functions of one float as models of one node: what the evaluator computes in the loop language is close to the
//! function itself, over all that a float can hold, and emitted C gives the same bits.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{Model, Optimize, build};
use secateur_compiler::graph::run;
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options, Quantize};
use secateur_compiler::program::machine::Machine;
use secateur_compiler::targets;
use secateur_compiler::tensor::Tensor;
use secateur_tests::onnx::{Dim, FLOAT, Model as File, attr_str, node, port};

/// Operator, its approximation, greatest relative error, greatest absolute error beside it.
const FUNCTIONS: &[(&str, &str, f64, f64)] = &[
    ("Abs", "", 0.0, 0.0),
    ("Acos", "", 1e-6, 2e-7),
    ("Acosh", "", 2e-6, 0.0),
    ("Asin", "", 1e-6, 0.0),
    ("Asinh", "", 2e-6, 0.0),
    ("Atan", "", 4e-7, 0.0),
    ("Atanh", "", 2e-6, 0.0),
    ("Ceil", "", 0.0, 0.0),
    ("Celu", "", 2e-7, 1e-7),
    ("Cos", "", 3e-7, 3e-7),
    ("Cosh", "", 2e-6, 0.0),
    ("Elu", "", 2e-7, 1e-7),
    ("Erf", "", 5e-7, 0.0),
    ("Exp", "", 3e-7, 1e-44),
    ("Floor", "", 0.0, 0.0),
    ("Gelu", "", 5e-7, 6e-7),
    ("Gelu", "tanh", 1e-6, 6e-7),
    ("Log", "", 3e-7, 0.0),
    // A hundred times the last place of what is no normal number any more.
    ("Mish", "", 2e-6, 2e-43),
    ("Neg", "", 0.0, 0.0),
    ("Reciprocal", "", 1e-7, 0.0),
    ("Round", "", 0.0, 0.0),
    ("Selu", "", 3e-7, 2e-7),
    ("Shrink", "", 1e-7, 0.0),
    ("Sign", "", 0.0, 0.0),
    ("Sin", "", 3e-7, 3e-7),
    ("Sinh", "", 2e-6, 0.0),
    ("Softplus", "", 1e-6, 0.0),
    ("Softsign", "", 2e-7, 0.0),
    ("Swish", "", 1e-6, 1e-37),
    ("Tan", "", 2e-6, 1e-6),
    ("ThresholdedRelu", "", 0.0, 0.0),
];

/// Every so many bit patterns, the neighbourhood of every power of two, and dense where functions bend.
fn inputs() -> Vec<f32> {
    let mut bits: Vec<u32> = (0..=u32::MAX).step_by(999_983).collect();
    for exponent in 0..=255u32 {
        for sign in [0, 0x8000_0000u32] {
            bits.extend((-1i32..=1).map(|d| (sign | exponent << 23).wrapping_add_signed(d)));
        }
    }
    bits.extend((-3000..3000).map(|i| (i as f32 * 2.71e-3).to_bits()));
    bits.into_iter().map(f32::from_bits).collect()
}

fn artifact(index: usize, op: &str, how: &str, n: usize) -> Artifact {
    let attrs = if how.is_empty() { vec![] } else { vec![attr_str("approximate", how)] };
    let file = File {
        nodes: vec![node("f", op, &["x"], &["y"], &attrs)],
        inputs: vec![port("x", FLOAT, &[Dim::Is(n as i64)])],
        outputs: vec![port("y", FLOAT, &[Dim::Is(n as i64)])],
        opset: 24,
        ..File::default()
    };
    let options = Options {
        name: format!("f_{index}"),
        quantize: Quantize::None,
        emit: vec![Language::C],
        ..Options::default()
    };
    let host = targets::find("host").expect("the host is a target");
    compile(&file.bytes(), &host, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{op}: {e}"))
}

#[test]
fn close_to_the_truth_and_alike_in_c() {
    let x = inputs();
    let x = Tensor::f32(&[x.len()], x);
    let all: Vec<Artifact> =
        FUNCTIONS.iter().enumerate().map(|(i, f)| artifact(i, f.0, f.1, x.len())).collect();
    let models: Vec<Model<'_>> = all.iter().map(Into::into).collect();
    let host = targets::find("host").expect("the host is a target");
    let image = build(Language::C, &models, &host, Optimize::Debug).unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = Vec::new();
    for (i, (artifact, &(op, how, relative, absolute))) in all.iter().zip(FUNCTIONS).enumerate() {
        let inputs = vec![x.clone()];
        let want = run(&artifact.imported, &inputs).unwrap_or_else(|e| panic!("{op}: {e}"));
        let mut machine = Machine::new(&artifact.program).unwrap_or_else(|e| panic!("{op}: {e}"));
        let have = machine.run(&inputs).unwrap_or_else(|e| panic!("{op}: {e}"));
        let in_c = image.run(i, &[inputs], &mut Silent).unwrap_or_else(|e| panic!("{op}: {e}"));
        let (want, have) = (want[0].to_f32_vec(), have[0].to_f32_vec());
        let mut worst = (0.0f64, 0.0f32);
        for ((&x, &w), (&h, c)) in
            x.to_f32_vec().iter().zip(&want).zip(have.iter().zip(in_c.outputs[0][0].to_f32_vec()))
        {
            if h.to_bits() != c.to_bits() && !(h.is_nan() && c.is_nan()) {
                wrong.push(format!("{op}({x:e}) is {h:e} by the evaluator, {c:e} in C"));
            }
            // Angles beyond this have no value here, and say so.
            let far = matches!(op, "Sin" | "Cos" | "Tan") && x.abs() > 100_000.0;
            if far || w.is_nan() {
                if !h.is_nan() {
                    wrong.push(format!("{op}({x:e}) is {h:e} instead of NaN"));
                }
                continue;
            }
            let error = (f64::from(h) - f64::from(w)).abs();
            let allowed = relative * f64::from(w.abs()) + absolute + 2e-45;
            let fits = h == w || error <= allowed;
            if !fits && (h.is_nan() || error / allowed > worst.0) {
                worst = (error / allowed, x);
            }
        }
        if worst.0 > 0.0 {
            wrong.push(format!("{op} {how}: {} times what is allowed at {:e}", worst.0, worst.1));
        }
    }
    wrong.truncate(60);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
