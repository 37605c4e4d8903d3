//! Operators without weights on emulated cores against the evaluator: sums, products, means,
//! tables and concatenations of int8 elements, over sizes that no vector and no word divides,
//! scales far apart, zero points and inputs at both ends.
//!
//! The evaluator runs the loops, C and Rust run the instructions where the core has some. All
//! models of a core share one image.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::cli::toolchain::{Model as Built, Optimize, build};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Options};
use secateur_compiler::program::kernels;
use secateur_compiler::targets::Target;
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

/// A pool over height and width.
#[derive(Debug, Clone, Copy)]
struct Pool {
    op: &'static str,
    /// Height, width and channels.
    size: [usize; 3],
    kernel: [i64; 2],
    strides: [i64; 2],
    /// Top, left, bottom, right.
    pads: [i64; 4],
    dilations: [i64; 2],
    /// Whether averages count the padding.
    counts: bool,
    /// Number of the codes of operand and result; alike where there is none.
    codes: Option<usize>,
}

const PLAIN: Pool = Pool {
    op: "MaxPool",
    size: [5, 7, 8],
    kernel: [2, 2],
    strides: [2, 2],
    pads: [0; 4],
    dilations: [1, 1],
    counts: false,
    codes: None,
};

/// Channels that no word divides, windows cut on any side, rows and columns, steps of three,
/// taps apart, sums of scales that are powers of two.
const POOLS: &[Pool] = &[
    PLAIN,
    Pool { size: [6, 9, 5], kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], ..PLAIN },
    Pool { size: [8, 8, 16], kernel: [3, 3], strides: [2, 2], pads: [0, 0, 1, 1], codes: Some(0), ..PLAIN },
    Pool { size: [1, 23, 7], kernel: [1, 4], strides: [1, 3], pads: [0, 2, 0, 1], ..PLAIN },
    Pool { size: [11, 1, 33], kernel: [5, 1], strides: [1, 1], pads: [2, 0, 2, 0], ..PLAIN },
    Pool { size: [9, 8, 6], kernel: [3, 2], pads: [2, 0, 0, 2], dilations: [2, 3], strides: [1, 1], ..PLAIN },
    Pool { size: [7, 10, 3], kernel: [3, 3], strides: [3, 3], ..PLAIN },
    Pool { size: [4, 6, 130], kernel: [4, 6], codes: Some(1), ..PLAIN },
    Pool { op: "AveragePool", ..PLAIN },
    Pool { op: "AveragePool", kernel: [3, 3], strides: [1, 1], pads: [1; 4], codes: Some(2), ..PLAIN },
    Pool { op: "AveragePool", size: [6, 5, 7], kernel: [3, 3], pads: [1; 4], counts: true, ..PLAIN },
    Pool {
        op: "AveragePool",
        size: [1, 30, 12],
        kernel: [1, 4],
        strides: [1, 3],
        pads: [0, 1, 0, 2],
        ..PLAIN
    },
    Pool { op: "AveragePool", size: [25, 5, 64], kernel: [25, 5], codes: Some(0), ..PLAIN },
    Pool { op: "AveragePool", size: [3, 18, 5], kernel: [3, 16], strides: [1, 1], codes: Some(1), ..PLAIN },
    Pool { op: "AveragePool", size: [20, 20, 4], kernel: [17, 16], strides: [3, 4], ..PLAIN },
];

fn pool(p: Pool) -> Vec<u8> {
    let mut m = Writer::default();
    let (from, to) = p.codes.map_or(((0.02, 5), (0.02, 5)), |i| (CODES[i][1], CODES[i][2]));
    m.quantizer("x", "first", from);
    m.node("Transpose", &["first"], "planes", &[attr_ints("perm", &[0, 3, 1, 2])]);
    let mut attrs = vec![
        attr_ints("kernel_shape", &p.kernel),
        attr_ints("strides", &p.strides),
        attr_ints("pads", &p.pads),
    ];
    if p.op == "MaxPool" {
        attrs.push(attr_ints("dilations", &p.dilations));
    } else {
        attrs.push(attr_int("count_include_pad", p.counts.into()));
    }
    m.node(p.op, &["planes"], "made", &attrs);
    m.quantizer("made", "made_d", to);
    m.node("Transpose", &["made_d"], "y", &[attr_ints("perm", &[0, 2, 3, 1])]);
    let [h, w, c] = p.size.map(|n| n as i64);
    let out = |axis: usize, n: i64| {
        let padded = n + p.pads[axis] + p.pads[axis + 2];
        (padded - (p.kernel[axis] - 1) * p.dilations[axis] - 1) / p.strides[axis] + 1
    };
    m.0.inputs.push(port("x", FLOAT, &dims(&[1, h, w, c])));
    m.0.outputs.push(port("y", FLOAT, &dims(&[1, out(0, h), out(1, w), c])));
    m.0.bytes()
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

/// `pools`: how many of the pools must be native at least.
fn alike(core: &str, languages: &[Language], native: &[&str], pools: usize) {
    let on = target(core);
    let mut models: Vec<(String, Vec<u8>)> = Vec::new();
    for op in OPERATORS {
        for (i, &size) in SIZES.iter().enumerate() {
            let codes = CODES[i % CODES.len()];
            models.push((format!("{op} of {size:?} with {codes:?}"), model(op, size, codes)));
        }
    }
    models.extend(POOLS.iter().map(|&p| (format!("{p:?}"), pool(p))));
    let compiled = |i: usize, on: &Target| {
        let emit = vec![Language::C, Language::Rust];
        let options = Options { name: format!("model{i}"), emit, ..Options::default() };
        let (says, model) = &models[i];
        compile(model, on, None, &options, &mut Silent).unwrap_or_else(|e| panic!("{says}: {e}"))
    };
    let mut artifacts: Vec<(&str, Artifact)> = Vec::new();
    for (i, (says, _)) in models.iter().enumerate() {
        let artifact = compiled(i, &on);
        if i >= models.len() - POOLS.len() {
            // Regions compute what the portable loops compute.
            let inputs = inputs(&artifact);
            let portable = evaluate(&compiled(i, &target("host")), &inputs);
            assert_eq!(evaluate(&artifact, &inputs), portable, "{core}: {says}");
        }
        artifacts.push((says, artifact));
    }
    let with_native = |a: &Artifact| -> Vec<String> {
        kernels(&a.program).iter().filter(|k| !k.native.is_empty()).map(|k| k.name.clone()).collect()
    };
    let found: BTreeSet<String> = artifacts.iter().flat_map(|(_, a)| with_native(a)).collect();
    for name in native {
        assert!(found.iter().any(|f| f == name), "{core}: no native {name} among {found:?}");
    }
    let windows = |(_, a): &&(&str, Artifact)| {
        with_native(a).iter().any(|name| name == "max_run_s8" || name == "mean_s8")
    };
    let found = artifacts[models.len() - POOLS.len()..].iter().filter(windows).count();
    assert!(found >= pools, "{core}: {found} pools are native, not {pools}");
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

/// The runs that every engine has natives of.
const ALL: &[&str] = &["copy_run_s8", "max_run_s8", "mean_s8", "product_s8", "sum_s8", "table_run_s8"];

#[test]
fn cortex_m4() {
    alike("cortex-m4", &[Language::C, Language::Rust], ALL, POOLS.len());
}

#[test]
fn cortex_m7() {
    alike("cortex-m7", &[Language::C], ALL, POOLS.len());
}

#[test]
fn cortex_m0plus() {
    alike("cortex-m0plus", &[Language::C, Language::Rust], ALL, POOLS.len());
}

#[test]
fn cortex_m3() {
    alike("cortex-m3", &[Language::C], ALL, POOLS.len());
}

#[test]
fn cortex_m55() {
    alike("cortex-m55", &[Language::C, Language::Rust], ALL, POOLS.len());
}

#[test]
fn riscv() {
    alike("rv32imc", &[Language::C], ALL, POOLS.len());
}

#[test]
fn riscv_vectors() {
    alike("rv32imcv", &[Language::C, Language::Rust], ALL, POOLS.len());
}

#[test]
fn hexagon() {
    alike("hexagon-v67", &[Language::C], ALL, POOLS.len());
}
