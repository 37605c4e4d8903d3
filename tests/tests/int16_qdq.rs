//! Models that are themselves quantized to sixteen bits: QuantizeLinear and DequantizeLinear of int16 and uint16, alone
//! and beside eight bits. Each layer computes on these integers, within one step of its float meaning, and gives the
//! same bits on every engine and core; what has no kernel for them computes in floats, and is named.

use secateur_compiler::cli::toolchain::Optimize;
use secateur_compiler::graph::{NodeId, Quant};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::Language;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::tensor::{DType, Data, Tensor};
use secateur_compiler::{Options, artifact, onnx, passes, quantize};
use secateur_tests::drawn::{Random, bits, compiled, fed};
use secateur_tests::engines::{built, evaluate, target};
use secateur_tests::onnx::{
    FLOAT, INT8, INT16, Message, Model, UINT8, UINT16, attr_int, attr_ints, dims, floats, ints, node, port,
    tensor,
};
use secateur_tests::single;
use std::collections::BTreeMap;

/// A model under construction.
#[derive(Default)]
struct Build {
    model: Model,
    random: Random,
}

/// Element type, scale and zero point of a quantizer.
type Code = (i64, f32, i32);

impl Build {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attrs: &[Message]) {
        self.model.nodes.push(node(&format!("{output}_node"), op, inputs, &[output], attrs));
    }
    fn code(&mut self, name: &str, (elem, scale, zero): Code) -> [String; 2] {
        let [s, z] = [format!("{name}_s"), format!("{name}_z")];
        let bytes = zero.to_le_bytes();
        self.model.initializers.push(floats(&s, &[], &[scale]));
        let size = if elem == INT8 || elem == UINT8 { 1 } else { 2 };
        self.model.initializers.push(tensor(&z, elem, &[], &bytes[..size]));
        [s, z]
    }
    /// `x` through a pair, whose result is called `name`.
    fn stored(&mut self, x: &str, name: &str, code: Code) {
        let [s, z] = self.code(name, code);
        let q = format!("{name}_q");
        self.node("QuantizeLinear", &[x, &s, &z], &q, &[]);
        self.node("DequantizeLinear", &[&q, &s, &z], name, &[]);
    }
    /// Weights of eight bits with a scale each row.
    fn weights(&mut self, name: &str, shape: &[i64], step: f32) {
        let n = shape.iter().product::<i64>() as usize;
        let raw: Vec<u8> = self.random.floats(n, 127.0).iter().map(|v| v.round() as i8 as u8).collect();
        let scales: Vec<f32> = (0..shape[0]).map(|row| step * (1.0 + 0.1 * row as f32)).collect();
        let q = format!("{name}_q");
        self.model.initializers.push(tensor(&q, INT8, shape, &raw));
        self.model.initializers.push(floats(&format!("{name}_s"), &[shape[0]], &scales));
        self.node("DequantizeLinear", &[&q, &format!("{name}_s")], name, &[attr_int("axis", 0)]);
    }
}

const STEP: f32 = 4.0 / 32768.0;

/// What a quantizer of that type and of values within `-far..=far` (of none below zero, where `positive`) has.
fn code(elem: i64, far: f32, positive: bool) -> Code {
    let (steps, half) = if elem == INT8 || elem == UINT8 { (255.0, 128) } else { (65535.0, 32768) };
    match (elem == UINT8 || elem == UINT16, positive) {
        (true, true) => (elem, far / steps, 0),
        (true, false) => (elem, 2.0 * far / steps, half - 5),
        (false, _) => (elem, 2.0 * far / steps, 0),
    }
}

/// Convolutions with padding, one a depthwise, a Relu, pools, a Concat, sums, products and differences of all pairs of
/// widths, constants among them, a LayerNormalization, a mean and dense layers.
fn model(wide: i64, narrow: i64) -> Model {
    let mut m = Build { random: Random(11), ..Build::default() };
    let of = |elem, far| code(elem, far, false);
    m.model.inputs.push(port("x", FLOAT, &dims(&[1, 4, 12])));
    m.stored("x", "xd", of(wide, 2.0));
    m.weights("w1", &[8, 4, 3], 0.004);
    m.model.initializers.push(floats("b1", &[8], &[0.3, -0.2, 0.1, 0.0, 1.0, -1.0, 0.5, 0.2]));
    let pads = |n| [attr_ints("pads", &[n, n])];
    m.node("Conv", &["xd", "w1", "b1"], "c1", &pads(1));
    m.node("Relu", &["c1"], "r1", &[]);
    m.stored("r1", "r1d", code(wide, 6.0, true));
    m.weights("w2", &[8, 1, 3], 0.006);
    m.node("Conv", &["r1d", "w2"], "c2", &[attr_ints("pads", &[1, 1]), attr_int("group", 8)]);
    m.stored("c2", "c2d", of(wide, 9.0));
    m.weights("w3", &[8, 8, 1], 0.003);
    m.node("Conv", &["c2d", "w3"], "c3", &pads(0));
    m.stored("c3", "c3d", of(narrow, 8.0));
    // All pairs of widths, and results of both.
    m.node("Add", &["r1d", "c3d"], "a1", &[]);
    m.stored("a1", "a1d", of(wide, 12.0));
    m.node("Sub", &["c3d", "a1d"], "a2", &[]);
    m.node("Relu", &["a2"], "a2r", &[]);
    m.stored("a2r", "a2d", code(wide, 11.0, true));
    m.node("Mul", &["a1d", "a2d"], "a3", &[]);
    m.stored("a3", "a3d", of(wide, 70.0));
    m.node("Mul", &["a3d", "c3d"], "a4", &[]);
    m.stored("a4", "a4d", of(narrow, 300.0));
    m.node("Add", &["a1d", "a2d"], "a5", &[]);
    m.stored("a5", "a5d", of(narrow, 15.0));
    // A known operand.
    let gains: Vec<f32> = (0..8).map(|i| 0.2 * i as f32 - 0.6).collect();
    m.model.initializers.push(floats("gain", &[1, 8, 1], &gains));
    m.node("Mul", &["a1d", "gain"], "a6", &[]);
    m.stored("a6", "a6d", of(wide, 10.0));
    m.node("Add", &["a6d", "a6d"], "a7", &[]);
    m.stored("a7", "a7d", of(wide, 20.0));
    // What moves and what averages.
    let window = [attr_ints("kernel_shape", &[2]), attr_ints("strides", &[2])];
    m.node("MaxPool", &["a7d"], "p1", &window);
    m.stored("p1", "p1d", of(wide, 20.0));
    m.node("AveragePool", &["a7d"], "p2", &window);
    m.stored("p2", "p2d", of(wide, 16.0));
    m.node("Concat", &["p1d", "p2d"], "both", &[attr_int("axis", 1)]);
    m.stored("both", "bothd", of(wide, 20.0));
    m.node("Transpose", &["bothd"], "turned", &[attr_ints("perm", &[0, 2, 1])]);
    m.stored("turned", "turnedd", of(wide, 20.0));
    let ones: Vec<f32> = (0..16).map(|i| 0.7 + 0.05 * i as f32).collect();
    m.model.initializers.push(floats("scale", &[16], &ones));
    m.model.initializers.push(floats("shift", &[16], &gains.repeat(2)));
    m.node("LayerNormalization", &["turnedd", "scale", "shift"], "n1", &[attr_int("axis", -1)]);
    m.stored("n1", "n1d", of(narrow, 4.0));
    m.model.initializers.push(floats("twelve", &[12], &ones[..12]));
    m.node("LayerNormalization", &["c2d", "twelve"], "n2", &[attr_int("axis", -1)]);
    m.stored("n2", "n2d", of(wide, 4.0));
    m.model.initializers.push(ints("steps", &[1], &[1]));
    m.node("ReduceMean", &["turnedd", "steps"], "mean", &[attr_int("keepdims", 0)]);
    m.stored("mean", "meand", of(wide, 15.0));
    m.model.initializers.push(ints("flat", &[2], &[1, 96]));
    m.node("Reshape", &["n1d", "flat"], "row", &[]);
    m.weights("v1", &[5, 96], 0.002);
    m.node("Transpose", &["v1"], "v1t", &[attr_ints("perm", &[1, 0])]);
    m.node("MatMul", &["row", "v1t"], "d1", &[]);
    m.stored("d1", "d1d", of(wide, 6.0));
    m.weights("v2", &[5, 16], 0.004);
    m.node("Transpose", &["v2"], "v2t", &[attr_ints("perm", &[1, 0])]);
    m.node("MatMul", &["meand", "v2t"], "d2", &[]);
    m.stored("d2", "y", of(wide, 12.0));
    // A known operand with a scale of its own.
    m.model.initializers.push(floats("known", &[1, 3], &[0.7, -1.3, 2.5]));
    m.stored("known", "knownd", of(wide, 3.0));
    m.node("Concat", &["meand", "knownd"], "joined", &[attr_int("axis", 1)]);
    m.stored("joined", "joinedd", of(wide, 15.0));
    let outputs: [(&str, &[i64]); 6] = [
        ("y", &[1, 5]),
        ("d1d", &[1, 5]),
        ("a4d", &[1, 8, 12]),
        ("a5d", &[1, 8, 12]),
        ("n2d", &[1, 8, 12]),
        ("joinedd", &[1, 19]),
    ];
    for (name, shape) in outputs {
        m.model.outputs.push(port(name, FLOAT, &dims(shape)));
    }
    m.model.opset = 21;
    m.model
}

const PAIRS: [(i64, i64); 4] = [(INT16, INT8), (UINT16, UINT8), (INT16, INT16), (UINT16, UINT16)];

/// Stored integers of all sizes, ends among them.
fn drawn(random: &mut Random, shape: &[usize], quant: &Quant) -> Tensor {
    let (lo, hi) = quant.stored();
    let far = f64::from(hi) - f64::from(lo);
    let values: Vec<i64> = (0..shape.iter().product())
        .map(|i| match i % 23 {
            7 => lo.into(),
            15 => hi.into(),
            _ => (f64::from(lo) + far * f64::from(0.5 + 0.5 * random.draw())).round() as i64,
        })
        .collect();
    Tensor::new(shape.to_vec(), Data::from_i64(quant.dtype, &values)).expect("as many as the shape says")
}

#[test]
fn each_layer_is_within_a_step_of_its_float_meaning() {
    let host = target("host");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (wide, narrow) in PAIRS {
        let bytes = model(wide, narrow).bytes();
        let mut graph = onnx::import(&bytes, &BTreeMap::new()).expect("the model imports");
        passes::run(&mut graph, &mut |_, _| {}).expect("the passes run");
        quantize::settle(&mut graph).expect("the model settles");
        let mut random = Random(5);
        for id in graph.topological() {
            let node = &graph[id];
            let real = |v: &secateur_compiler::graph::ValueId| graph[*v].quant.is_none();
            if node.outputs.iter().any(real) {
                continue;
            }
            *seen.entry(node.op.name()).or_default() += 1;
            let (layer, fed) = single::alone(&graph, &[id]);
            let program = single::program(&layer, &host).unwrap_or_else(|e| panic!("{e}"));
            let mut machine = Machine::new(&program).expect("the program is sound");
            for _ in 0..3 {
                let codes: Vec<&Quant> =
                    fed.iter().map(|&v| graph[v].quant.as_ref().expect("integers")).collect();
                let inputs: Vec<Tensor> =
                    fed.iter().zip(&codes).map(|(&v, q)| drawn(&mut random, &graph[v].shape, q)).collect();
                let have = machine.run(&inputs).expect("the program runs");
                let given: BTreeMap<_, _> =
                    fed.iter().zip(&codes).zip(&inputs).map(|((&v, q), t)| (v, q.dequantize(t))).collect();
                let want = meaning(&graph, id, &given);
                let quant = graph[node.outputs[0]].quant.as_ref().expect("integers");
                let (lo, hi) = quant.stored();
                for (h, w) in have[0].to_i64_vec().into_iter().zip(want) {
                    let steps = w / f64::from(quant.scale[0]) + f64::from(quant.zero_point[0]);
                    let off = (h as f64 - steps.clamp(lo.into(), hi.into())).abs();
                    // What is rounded once; a root that is near in a normalization.
                    let most = if node.op.name() == "LayerNormalization" { 0.75 } else { 0.55 };
                    assert!(off <= most, "{wide}, {narrow}: `{}` is off by {off} steps", node.name);
                }
            }
        }
    }
    // Nothing was left to floats.
    for (op, least) in [
        ("Conv", 12),
        ("Add", 12),
        ("Mul", 12),
        ("Sub", 4),
        ("AveragePool", 4),
        ("Dense", 8),
        ("LayerNormalization", 8),
    ] {
        assert!(seen.get(op).is_some_and(|&n| n >= least), "{op}: {seen:?}");
    }
}

/// What a node gives of real values, in floats of 64 bits where that is easy.
fn meaning(
    graph: &secateur_compiler::graph::Graph,
    id: NodeId,
    given: &BTreeMap<secateur_compiler::graph::ValueId, Tensor>,
) -> Vec<f64> {
    let node = &graph[id];
    let operands: Vec<Option<Tensor>> = node
        .inputs
        .iter()
        .map(|v| {
            v.map(|v| {
                given
                    .get(&v)
                    .cloned()
                    .unwrap_or_else(|| graph[v].real_constant().expect("known").into_owned())
            })
        })
        .collect();
    let refs: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
    let result = node.op.eval(&refs).unwrap_or_else(|e| panic!("{e}"));
    let clamp = node.clamp;
    result[0].to_f64_vec().iter().map(|v| v.max(clamp.lo.into()).min(clamp.hi.into())).collect()
}

#[test]
fn every_core_gives_the_same_bits_without_samples() {
    for (wide, narrow) in [(INT16, INT8), (UINT16, UINT8)] {
        let bytes = model(wide, narrow).bytes();
        let mut first = None;
        for on in ["host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc", "rv32imcv"] {
            let artifact = compiled(&bytes, on, None);
            let warnings: Vec<String> = artifact.report.warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings, [""; 0], "{on}");
            assert_eq!(artifact.program.inputs[0].elem, DType::I16);
            let outputs = artifact.graph.nodes().flat_map(|(_, n)| n.outputs.clone());
            let floats = outputs.map(|v| &artifact.graph[v]).filter(|v| v.quant.is_none());
            let floats: Vec<&str> = floats.map(|v| v.name.as_str()).collect();
            assert_eq!(floats, [""; 0], "{on}");
            let (_, stored) = fed(&artifact, 5, 3, 2.0);
            let want = bits(&evaluate(&artifact, &stored));
            assert_eq!(*first.get_or_insert(want.clone()), want, "the program for {on}");
            let languages: &[Language] = if on == "host" || on == "cortex-m4" {
                &[Language::C, Language::Rust]
            } else {
                &[Language::C]
            };
            for &language in languages {
                let image = built(&artifact, language, &target(on), Optimize::Speed);
                let replies = image.run(0, &stored, &mut Silent).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(bits(&replies.outputs), want, "{language:?} on {on}");
            }
        }
    }
}

/// A Softmax of sixteen bits, and a layer whose sums leave 32: floats between, right, and named by both commands.
#[test]
fn what_has_no_kernel_computes_in_floats_and_is_named() {
    let mut m = Build { random: Random(4), ..Build::default() };
    m.model.inputs.push(port("x", FLOAT, &dims(&[1, 2000])));
    m.stored("x", "xd", (UINT16, STEP, 32768));
    m.weights("w", &[6, 2000], 0.0002);
    m.node("Transpose", &["w"], "wt", &[attr_ints("perm", &[1, 0])]);
    m.node("MatMul", &["xd", "wt"], "h", &[]);
    m.stored("h", "hd", (UINT16, 2.0 * STEP, 30000));
    m.node("Softmax", &["hd"], "s", &[attr_int("axis", -1)]);
    m.stored("s", "y", (UINT16, 1.0 / 65536.0, 0));
    m.model.outputs.push(port("y", FLOAT, &dims(&[1, 6])));
    m.model.opset = 21;
    let bytes = m.model.bytes();
    let artifact = compiled(&bytes, "host", None);
    let warned: Vec<String> = artifact.report.warnings.iter().map(ToString::to_string).collect();
    let says = |what: &str| warned.iter().any(|w| w.contains(what));
    assert!(says("its sums leave 32 bits") && says("h_node") && says("one other node"), "{warned:?}");
    let options = Options { name: "net".into(), ..Options::default() };
    let inspected = artifact::supported(&bytes, &options).expect("inspect takes it");
    let inspected: Vec<String> = inspected.warnings().iter().map(ToString::to_string).collect();
    assert!(inspected.iter().any(|w| w.contains("its sums leave 32 bits")), "{inspected:?}");
    let (real, stored) = fed(&artifact, 6, 8, 3.0);
    for (real, have) in real.iter().zip(evaluate(&artifact, &stored)) {
        let want = secateur_compiler::graph::run(&artifact.imported, real).expect("the float meaning");
        for (h, w) in have[0].to_i64_vec().into_iter().zip(want[0].to_f64_vec()) {
            let off = (h as f64 + 32768.0 - w * 65536.0).abs();
            assert!(off <= 3.0, "{off}");
        }
    }
}

/// Weights of sixteen bits are no weights of eight: the layer computes in floats with what they mean.
#[test]
fn weights_of_sixteen_bits_keep_them() {
    let mut m = Build { random: Random(6), ..Build::default() };
    m.model.inputs.push(port("x", FLOAT, &dims(&[1, 30])));
    m.stored("x", "xd", (INT16, STEP, 0));
    let weights: Vec<u8> =
        m.random.floats(120, 32767.0).iter().flat_map(|v| (v.round() as i16).to_le_bytes()).collect();
    m.model.initializers.push(tensor("w_q", INT16, &[30, 4], &weights));
    let [s, z] = m.code("w", (INT16, STEP / 8.0, -4553));
    m.node("DequantizeLinear", &["w_q", &s, &z], "w", &[]);
    m.node("MatMul", &["xd", "w"], "h", &[]);
    m.stored("h", "y", (INT16, 2.0 * STEP, -3343));
    m.model.outputs.push(port("y", FLOAT, &dims(&[1, 4])));
    m.model.opset = 21;
    let artifact = compiled(&m.model.bytes(), "host", None);
    let warned: Vec<String> = artifact.report.warnings.iter().map(ToString::to_string).collect();
    assert!(warned.iter().any(|w| w.contains("its weights have sixteen bits")), "{warned:?}");
    let (real, stored) = fed(&artifact, 6, 8, 3.0);
    for (real, have) in real.iter().zip(evaluate(&artifact, &stored)) {
        let want = secateur_compiler::graph::run(&artifact.imported, real).expect("the float meaning");
        for (h, w) in have[0].to_i64_vec().into_iter().zip(want[0].to_f64_vec()) {
            let off = (h as f64 + 3343.0 - w / f64::from(2.0 * STEP)).abs();
            assert!(off <= 1.0, "{off}");
        }
    }
}
