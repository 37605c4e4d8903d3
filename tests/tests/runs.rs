//! Operators without weights on emulated cores against the evaluator: sums, products, means,
//! tables and concatenations of int8 elements, over sizes that no vector and no word divides,
//! scales far apart, zero points and inputs at both ends.
//!
//! The evaluator runs the loops, C and Rust run the instructions where the core has some. All
//! models of a core share one image.

use secateur_compiler::artifact::{Artifact, Silent, compile};
use secateur_compiler::cli::toolchain::{Model as Built, Optimize, build};
use secateur_compiler::options::{Language, Options};
use secateur_compiler::program::kernels;
use secateur_compiler::tensor::{Data, Tensor};
use secateur_tests::engines::{evaluate, target};
use secateur_tests::onnx::{
    FLOAT, INT8, Message, Model, attr_int, attr_ints, dims, floats, node, port, tensor,
};
use std::collections::BTreeSet;

/// Height, width and channels, channels innermost.
const SIZES: &[[usize; 3]] =
    &[[1, 1, 5], [3, 5, 7], [1, 13, 16], [2, 3, 33], [4, 4, 20], [1, 2, 130], [9, 2, 64], [7, 37, 6]];
const OPERATORS: &[&str] = &["Add", "Sub", "Mul", "GlobalAveragePool", "Sigmoid", "Concat"];
/// Scale and zero point of the first operand, the second and the result.
const CODES: &[[(f32, i32); 3]] = &[
    [(0.02, -128), (0.03, 127), (0.05, 0)],
    [(0.02, 5), (0.0007, -128), (0.011, 127)],
    [(0.05, 127), (0.05, -9), (0.004, -128)],
];

#[derive(Default)]
struct Writer(Model);

impl Writer {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attrs: &[Message]) {
        self.0.nodes.push(node(&format!("{output}_node"), op, inputs, &[output], attrs));
    }
    fn quantizer(&mut self, x: &str, name: &str, (scale, zero): (f32, i32)) {
        let (s, z, stored) = (format!("{name}_s"), format!("{name}_z"), format!("{name}_q"));
        self.0.initializers.push(floats(&s, &[], &[scale]));
        self.0.initializers.push(tensor(&z, INT8, &[], &[zero as u8]));
        self.node("QuantizeLinear", &[x, &s, &z], &stored, &[]);
        self.node("DequantizeLinear", &[&stored, &s, &z], name, &[]);
    }
}

/// The operator on its input and, where it takes two, on the same in another code.
fn model(op: &str, [h, w, c]: [usize; 3], codes: [(f32, i32); 3]) -> Vec<u8> {
    let mut m = Writer::default();
    m.quantizer("x", "first", codes[0]);
    m.quantizer("first", "second", codes[1]);
    if op == "GlobalAveragePool" {
        m.node("Transpose", &["second"], "planes", &[attr_ints("perm", &[0, 3, 1, 2])]);
        m.node(op, &["planes"], "mean", &[]);
        m.quantizer("mean", "mean_d", codes[2]);
        m.node("Transpose", &["mean_d"], "y", &[attr_ints("perm", &[0, 2, 3, 1])]);
    } else {
        let operands = if op == "Sigmoid" { &["second"][..] } else { &["first", "second"] };
        let attrs = if op == "Concat" { vec![attr_int("axis", 3)] } else { vec![] };
        m.node(op, operands, "made", &attrs);
        m.quantizer("made", "y", codes[2]);
    }
    let [h, w, c] = [h, w, c].map(|n| n as i64);
    let made = match op {
        "GlobalAveragePool" => [1, 1, 1, c],
        "Concat" => [1, h, w, 2 * c],
        _ => [1, h, w, c],
    };
    m.0.inputs.push(port("x", FLOAT, &dims(&[1, h, w, c])));
    m.0.outputs.push(port("y", FLOAT, &dims(&made)));
    m.0.bytes()
}

/// Every byte in turn, scrambled, and both ends.
fn inputs(artifact: &Artifact) -> Vec<Vec<Tensor>> {
    let shape = &artifact.program.inputs[0].shape;
    let of = |f: &dyn Fn(i64) -> i64| {
        let stored = (0..shape.iter().product::<usize>() as i64).map(|i| f(i) as i8).collect();
        vec![Tensor::new(shape.clone(), Data::I8(stored)).expect("as many as the shape has")]
    };
    vec![
        of(&|i| (i * 167 + 13) % 256 - 128),
        of(&|i| i * i * 31 % 251 - 125),
        of(&|_| -128),
        of(&|_| 127),
        of(&|i| [-128, 127][(i % 2) as usize]),
    ]
}

fn alike(core: &str, languages: &[Language], native: &[&str]) {
    let on = target(core);
    let mut artifacts: Vec<(String, Artifact)> = Vec::new();
    for op in OPERATORS {
        for (i, &size) in SIZES.iter().enumerate() {
            let codes = CODES[i % CODES.len()];
            let name = format!("model{}", artifacts.len());
            let emit = vec![Language::C, Language::Rust];
            let options = Options { name, emit, ..Options::default() };
            let artifact = compile(&model(op, size, codes), &on, None, &options, &mut Silent)
                .unwrap_or_else(|e| panic!("{op} of {size:?}: {e}"));
            artifacts.push((format!("{op} of {size:?} with {codes:?}"), artifact));
        }
    }
    let with_native = |a: &Artifact| -> Vec<String> {
        kernels(&a.program).iter().filter(|k| !k.native.is_empty()).map(|k| k.name.clone()).collect()
    };
    let found: BTreeSet<String> = artifacts.iter().flat_map(|(_, a)| with_native(a)).collect();
    for name in native {
        assert!(found.iter().any(|f| f == name), "{core}: no native {name} among {found:?}");
    }
    let models: Vec<Built<'_>> = artifacts.iter().map(|(_, a)| Built::from(a)).collect();
    for &language in languages {
        let image = build(language, &models, &on, Optimize::Speed)
            .unwrap_or_else(|e| panic!("{language:?} on {core}: {e}"));
        for (number, (says, artifact)) in artifacts.iter().enumerate() {
            let inputs = inputs(artifact);
            let replies = image
                .run(number, &inputs, &mut Silent)
                .unwrap_or_else(|e| panic!("{language:?} on {core}, {says}: {e}"));
            assert_eq!(replies.outputs, evaluate(artifact, &inputs), "{language:?} on {core}: {says}");
        }
    }
}

/// The runs that have natives on the engines with the most of them.
const ALL: &[&str] = &["copy_run_s8", "mean_s8", "product_s8", "sum_s8", "table_run_s8"];

#[test]
fn cortex_m4() {
    alike("cortex-m4", &[Language::C, Language::Rust], &["mean_s8", "product_s8", "sum_s8"]);
}

#[test]
fn cortex_m0plus() {
    alike("cortex-m0plus", &[Language::C], &[]);
}

#[test]
fn cortex_m55() {
    alike("cortex-m55", &[Language::C], &["mean_s8", "product_s8", "sum_s8", "table_run_s8"]);
}

#[test]
fn riscv() {
    alike("rv32imc", &[Language::C], ALL);
}

#[test]
fn riscv_vectors() {
    alike("rv32imcv", &[Language::C, Language::Rust], ALL);
}

#[test]
fn hexagon() {
    alike("hexagon-v67", &[Language::C], &[]);
}
