//! Quantized (QDQ) models written by hand: what absorption makes of them computes what the
//! float meaning of QuantizeLinear and DequantizeLinear says, and nonsense is refused.

use secateur_compiler::artifact::compile;
use secateur_compiler::graph::{self, print};
use secateur_compiler::options::Language;
use secateur_compiler::program::machine::Machine;
use secateur_compiler::program::{as_declared, from_port, to_port};
use secateur_compiler::tensor::{DType, Data, Samples, Tensor};
use secateur_compiler::{Options, Silent, onnx, passes, quantize, targets};
use secateur_tests::onnx::{
    FLOAT, INT8, INT32, Message, Model, UINT8, UINT16, attr_int, attr_ints, dims, floats, ints,
};
use secateur_tests::onnx::{node, port, tensor};
use secateur_tests::zoo;
use std::collections::BTreeMap;

/// A model under construction, with shorthands for quantizers.
#[derive(Default)]
struct Qdq {
    model: Model,
}

impl Qdq {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attrs: &[Message]) {
        self.model.nodes.push(node(&format!("{output}_node"), op, inputs, &[output], attrs));
    }
    fn parameters(&mut self, name: &str, scale: &[f32], elem: i64, zero: &[i32]) -> (String, String) {
        let (s, z) = (format!("{name}_s"), format!("{name}_z"));
        let shape: Vec<i64> = if scale.len() == 1 { vec![] } else { vec![scale.len() as i64] };
        let raw: Vec<u8> = match elem {
            INT32 => zero.iter().flat_map(|z| z.to_le_bytes()).collect(),
            _ => zero.iter().map(|&z| z as u8).collect(),
        };
        self.model.initializers.push(floats(&s, &shape, scale));
        self.model.initializers.push(tensor(&z, elem, &shape, &raw));
        (s, z)
    }
    /// `x` through a Q (unsigned) and a DQ; the result is called `name`.
    fn requant(&mut self, x: &str, name: &str, scale: f32, zero: i32) {
        let (s, z) = self.parameters(name, &[scale], UINT8, &[zero]);
        let q = format!("{name}_q");
        self.node("QuantizeLinear", &[x, &s, &z], &q, &[]);
        self.node("DequantizeLinear", &[&q, &s, &z], name, &[]);
    }
    /// A stored constant through a DQ.
    fn constant(&mut self, name: &str, elem: i64, shape: &[i64], values: &[i32], scale: &[f32], axis: i64) {
        let raw: Vec<u8> = match elem {
            INT32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            _ => values.iter().map(|&v| v as u8).collect(),
        };
        let stored = format!("{name}_q");
        self.model.initializers.push(tensor(&stored, elem, shape, &raw));
        let (s, z) = self.parameters(name, scale, elem, &vec![0; scale.len()]);
        self.node("DequantizeLinear", &[&stored, &s, &z], name, &[attr_int("axis", axis)]);
    }
    fn input(&mut self, name: &str, shape: &[i64]) {
        self.model.inputs.push(port(name, FLOAT, &dims(shape)));
    }
    fn output(&mut self, name: &str, shape: &[i64]) {
        self.model.outputs.push(port(name, FLOAT, &dims(shape)));
    }
}

fn noise(seed: u64, n: usize, range: i32) -> Vec<i32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as i32 % (2 * range + 1) - range
        })
        .collect()
}

/// Unsigned activations, per-channel and per-tensor weights, a moved weight, pools and a Concat
/// that change the scale, and biases of their own scale.
fn mixed() -> Vec<u8> {
    let mut m = Qdq::default();
    m.input("x", &[1, 2, 6, 6]);
    m.requant("x", "xd", 0.02, 120);
    m.constant("w", INT8, &[3, 2, 3, 3], &noise(1, 54, 127), &[0.01, 0.004, 0.007], 0);
    m.constant("b", INT32, &[3], &[400, -3000, 900], &[0.0002, 0.00008, 0.0003], 0);
    m.node("Conv", &["xd", "w", "b"], "conv", &[attr_ints("pads", &[1, 1, 1, 1])]);
    m.node("Relu", &["conv"], "relu", &[]);
    m.requant("relu", "r", 0.03, 0);
    let window = [attr_ints("kernel_shape", &[2, 2]), attr_ints("strides", &[2, 2])];
    m.node("MaxPool", &["r"], "max", &window);
    m.requant("max", "maxd", 0.04, 3);
    m.node("AveragePool", &["r"], "mean", &window);
    m.requant("mean", "meand", 0.025, 10);
    m.node("Concat", &["maxd", "meand"], "both", &[attr_int("axis", 1)]);
    m.requant("both", "bothd", 0.045, 5);
    m.node("Transpose", &["bothd"], "last", &[attr_ints("perm", &[0, 2, 3, 1])]);
    m.model.initializers.push(ints("flat_shape", &[2], &[1, 54]));
    m.node("Reshape", &["last", "flat_shape"], "flat", &[]);
    m.constant("v", INT8, &[5, 54], &noise(2, 270, 127), &[0.003], 0);
    m.node("Transpose", &["v"], "vt", &[attr_ints("perm", &[1, 0])]);
    m.node("MatMul", &["flat", "vt"], "product", &[]);
    m.constant("c", INT32, &[5], &[100, -200, 300, -400, 500], &[0.000135], 0);
    m.node("Add", &["product", "c"], "sum", &[]);
    m.requant("sum", "y", 0.06, 128);
    m.output("y", &[1, 5]);
    m.model.bytes()
}

#[test]
fn a_mixed_model_computes_its_float_meaning() {
    let bytes = mixed();
    let host = targets::find("host").expect("the host is known");
    let options = Options { name: "net".into(), ..Options::default() };
    let artifact = compile(&bytes, &host, None, &options, &mut Silent).expect("the model compiles");
    for (_, value) in artifact.graph.values().filter(|(_, v)| v.dtype == DType::F32) {
        let read = artifact
            .graph
            .nodes()
            .any(|(_, n)| n.outputs.iter().any(|&o| artifact.graph[o].name == value.name));
        assert!(!read || value.quant.is_some(), "`{}` stayed float:\n{}", value.name, print(&artifact.graph));
    }
    let mut machine = Machine::new(&artifact.program).expect("the program is sound");
    let (input, output) = (&artifact.program.inputs[0], &artifact.program.outputs[0]);
    assert_eq!((input.name.as_str(), input.elem, input.affine), ("x", DType::I8, Some((0.02, -8))));
    assert_eq!((output.name.as_str(), output.elem, output.affine), ("y", DType::I8, Some((0.06, 0))));
    let mut off = Vec::new();
    for seed in 0..200 {
        let stored: Vec<i8> = noise(seed + 10, 72, 127).iter().map(|&v| v as i8).collect();
        let real: Vec<f32> = stored.iter().map(|&q| (f32::from(q) + 8.0) * 0.02).collect();
        let want = secateur_compiler::graph::run(&artifact.imported, &[Tensor::f32(&[1, 2, 6, 6], real)])
            .expect("the float meaning");
        let have = machine
            .run(&[Tensor::new(vec![1, 2, 6, 6], Data::I8(stored)).expect("72 elements")])
            .expect("the program runs");
        for (q, y) in have[0].to_i64_vec().iter().zip(want[0].to_f32_vec()) {
            off.push((q - (y / 0.06).round() as i64).abs());
        }
    }
    // One step of a layer in between may move the result by a few; most results are exact.
    let exact = off.iter().filter(|&&d| d == 0).count();
    println!("{exact} of {} values exact, worst {}", off.len(), off.iter().max().unwrap_or(&0));
    assert!(off.iter().all(|&d| d <= 2) && exact * 10 > off.len() * 8, "{exact} of {}", off.len());
}

/// The greatest difference of real outputs from the float meaning, over inputs of -2 to 2.
fn worst(bytes: &[u8], samples: Option<&Samples>) -> (f32, Vec<String>, usize) {
    let host = targets::find("host").expect("the host is known");
    let options = Options { name: "net".into(), ..Options::default() };
    let artifact = compile(bytes, &host, samples, &options, &mut Silent).expect("the model compiles");
    let mut machine = Machine::new(&artifact.program).expect("the program is sound");
    let mut off = 0f32;
    let shape = artifact.program.inputs[0].shape.clone();
    for seed in 0..50 {
        let values = noise(seed + 3, shape.iter().product(), 200);
        let x = Tensor::f32(&shape, values.iter().map(|&v| v as f32 * 0.01).collect());
        let want = graph::run(&artifact.imported, std::slice::from_ref(&x)).expect("the float meaning");
        let have = machine.run(&[to_port(&x, &artifact.program.inputs[0])]).expect("the program runs");
        for ((have, port), want) in have.iter().zip(&artifact.program.outputs).zip(&want) {
            let pairs = from_port(have, port).to_f32_vec().into_iter().zip(want.to_f32_vec());
            off = pairs.fold(off, |m, (a, b)| m.max((a - b).abs()));
        }
    }
    let warnings = artifact.report.warnings.iter().map(ToString::to_string).collect();
    let integers = artifact.program.outputs.iter().filter(|p| p.elem == DType::I8).count();
    (off, warnings, integers)
}

/// What a quantizer rounds and cuts is for its readers; others, an output among them, get the
/// value as it is, and so do quantizers of other parameters.
#[test]
fn a_quantizer_changes_nothing_for_the_readers_beside_it() {
    for second in ["none", "node", "output", "quantizer"] {
        for source in ["input", "node"] {
            let mut m = Qdq::default();
            m.input("x", &[1, 12]);
            let value = if source == "node" {
                m.requant("x", "xd", 0.02, 128);
                m.node("Add", &["xd", "xd"], "v", &[]);
                "v"
            } else {
                "x"
            };
            // From -0.32 to 0.31: it cuts most of what comes.
            m.requant(value, "narrow", 0.0025, 128);
            m.node("Mul", &["narrow", "narrow"], "y", &[]);
            m.output("y", &[1, 12]);
            match second {
                "node" => {
                    m.node("Tanh", &[value], "z", &[]);
                    m.output("z", &[1, 12]);
                }
                "output" if source == "node" => m.output("v", &[1, 12]),
                "quantizer" => {
                    m.requant(value, "wide", 0.04, 128);
                    m.node("Identity", &["wide"], "z", &[]);
                    m.output("z", &[1, 12]);
                }
                _ => {}
            }
            let bytes = m.model.bytes();
            let (off, warnings, _) = worst(&bytes, None);
            // Half a step of the wide quantizer, and what one of the input makes of the narrow one.
            assert!(off <= 0.0405, "{second} after {source}: off by {off}");
            let warned = warnings.iter().any(|w| w.contains("some of its readers"));
            assert_eq!(warned, source == "node" && second != "none", "{second}: {warnings:?}");
            if source == "node" && second != "none" {
                // Samples give the value a scale, and integers are left.
                let all = (0..40).flat_map(|s| noise(s + 3, 12, 200)).map(|v| v as f32 * 0.01).collect();
                let mut samples = Samples::default();
                samples.arrays.insert("x".into(), Tensor::f32(&[40, 12], all));
                let (off, warnings, integers) = worst(&bytes, Some(&samples));
                assert!(off <= 0.06, "{second}, calibrated: off by {off}");
                assert!(!warnings.iter().any(|w| w.contains("some of its readers")), "{warnings:?}");
                assert!(integers >= 1, "{second}: {integers}");
            }
        }
    }
}

/// The refusal of a chain x -> Q -> DQ -> y with these parameters.
fn refused(q: (&[f32], &[i32]), d: (&[f32], &[i32])) -> String {
    let mut m = Qdq::default();
    m.input("x", &[1, 2]);
    let (s, z) = m.parameters("q", q.0, INT8, q.1);
    let (t, u) = m.parameters("d", d.0, INT8, d.1);
    m.node("QuantizeLinear", &["x", &s, &z], "stored", &[]);
    m.node("DequantizeLinear", &["stored", &t, &u], "read", &[]);
    m.node("Relu", &["read"], "y", &[]);
    m.output("y", &[1, 2]);
    let absorbed = onnx::import(&m.model.bytes(), &BTreeMap::new())
        .and_then(|mut graph| passes::run(&mut graph, &mut |_, _| {}));
    absorbed.expect_err("nonsense is refused").to_string()
}

#[test]
fn scales_without_meaning_are_refused_by_name() {
    for scale in [f32::NAN, f32::INFINITY, 0.0, -0.5, 1e-42] {
        let message = refused((&[scale], &[0]), (&[scale], &[0]));
        assert!(message.contains("q_s") && message.contains("scale"), "{scale}: {message}");
    }
    let message = refused((&[0.5], &[1]), (&[0.5], &[2]));
    assert!(message.contains("`read_node`") && message.contains("read with another"), "{message}");
    let message = refused((&[0.5, -0.25], &[0, 0]), (&[0.5, -0.25], &[0, 0]));
    assert!(message.contains("scale of `stored_node` is -0.25"), "{message}");
}

/// Fused operators of onnxruntime's quantizer are written as what they are made of, so that a step of the result
/// (1/256) is all that integers may differ by.
#[test]
fn fused_vendor_operators_compute_their_float_meaning() {
    let Some(zoo) = zoo() else { return };
    let bytes =
        std::fs::read(zoo.join("third_party/micro_kws_m/model_qoperator_msft.onnx")).expect("a model");
    let (off, warnings, integers) = worst(&bytes, None);
    assert_eq!((integers, warnings), (1, Vec::new()));
    assert!(off <= 1.0 / 256.0, "{off}");
}

/// onnxruntime's own forms, by hand: a product without a scale of its result gives real values, and a pool may have its
/// channels last.
#[test]
fn vendor_operators_take_their_rarer_forms() {
    let vendor = |m: Message| m.str(7, "com.microsoft");
    let initializers = vec![
        floats("xs", &[], &[0.5]),
        tensor("xz", UINT8, &[], &[10]),
        tensor("w", INT8, &[2, 3], &[1, 2, 3, 255, 0, 4]),
        floats("ws", &[], &[0.25]),
        tensor("wz", INT8, &[], &[0]),
        tensor("c", INT32, &[2], &[7, 0, 0, 0, 254, 255, 255, 255]),
        floats("ps", &[], &[0.25]),
        tensor("pz", UINT8, &[], &[3]),
    ];
    let mut m = Model { initializers, ..Model::default() };
    m.inputs.push(port("x", UINT8, &dims(&[1, 3])));
    m.inputs.push(port("p", UINT8, &dims(&[1, 2, 2, 3])));
    let inputs = ["x", "xs", "xz", "w", "ws", "wz", "c"];
    m.nodes.push(vendor(node("gemm", "QGemm", &inputs, &["y"], &[attr_int("transB", 1)])));
    let inputs = ["p", "xs", "xz", "ps", "pz"];
    let last = [attr_int("channels_last", 1)];
    m.nodes.push(vendor(node("pool", "QLinearGlobalAveragePool", &inputs, &["z"], &last)));
    m.outputs.push(port("y", FLOAT, &dims(&[1, 2])));
    m.outputs.push(port("z", UINT8, &dims(&[1, 1, 1, 3])));
    let host = targets::find("host").expect("the host is known");
    let options = Options { name: "net".into(), ..Options::default() };
    let artifact = compile(&m.bytes(), &host, None, &options, &mut Silent).expect("the model compiles");
    let bytes = |shape: &[usize], v: &[u8]| Tensor::new(shape.to_vec(), Data::U8(v.to_vec())).expect("bytes");
    let x = bytes(&[1, 3], &[12, 9, 20]);
    let p = bytes(&[1, 2, 2, 3], &[10, 20, 30, 12, 20, 34, 14, 20, 38, 16, 24, 30]);
    // 0.125 * (2 * 1 - 1 * 2 + 10 * 3 + 7), 0.125 * (-2 + 40 - 2); means 13, 21 and 33 are 1.5, 5.5 and 11.5.
    let want = [vec![4.625, 4.5], vec![9.0, 25.0, 49.0]];
    let real = graph::run(&artifact.imported, &[x.clone(), p.clone()]).expect("the float meaning");
    let mut machine = Machine::new(&artifact.program).expect("the program is sound");
    let ports = &artifact.program.inputs;
    let have = machine.run(&[to_port(&x, &ports[0]), to_port(&p, &ports[1])]).expect("the program runs");
    for (i, want) in want.iter().enumerate() {
        let (port, dtype) = (&artifact.program.outputs[i], real[i].dtype());
        assert_eq!(as_declared(&have[i], port, dtype).to_f64_vec(), *want, "output {i}");
        assert_eq!(real[i].to_f64_vec(), *want, "output {i} in floats");
    }
}

/// Ports of unsigned integers are emitted as signed ones, half of their range lower: the header, the documentation of
/// the Rust module and the report say so, of states too, and of no other port.
#[test]
fn unsigned_ports_say_how_they_are_held() {
    let mut m = Qdq::default();
    for (name, elem, half) in [("x", UINT8, 128), ("h", UINT8, 128), ("y", UINT16, 32768), ("i", INT8, 0)] {
        m.model.initializers.push(floats(&format!("{name}_s"), &[], &[0.0625]));
        let zero = i32::to_le_bytes(half);
        let size = if elem == UINT16 { 2 } else { 1 };
        m.model.initializers.push(tensor(&format!("{name}_z"), elem, &[], &zero[..size]));
    }
    for (name, elem) in [("x", UINT8), ("h", UINT8), ("i", INT8)] {
        m.model.inputs.push(port(name, elem, &dims(&[1, 4])));
        let [s, z] = [format!("{name}_s"), format!("{name}_z")];
        m.node("DequantizeLinear", &[name, &s, &z], &format!("{name}_d"), &[]);
    }
    m.node("Add", &["x_d", "h_d"], "sum", &[]);
    m.node("QuantizeLinear", &["sum", "h_s", "h_z"], "h_out", &[]);
    m.node("Sub", &["x_d", "i_d"], "less", &[]);
    m.node("QuantizeLinear", &["less", "y_s", "y_z"], "y", &[]);
    m.model.outputs.push(port("h_out", UINT8, &dims(&[1, 4])));
    m.model.outputs.push(port("y", UINT16, &dims(&[1, 4])));
    let options = Options {
        name: "net".into(),
        emit: vec![Language::C, Language::Rust],
        states: vec![("h".into(), "h_out".into())],
        ..Options::default()
    };
    let host = targets::find("host").expect("the host is known");
    let artifact = compile(&m.model.bytes(), &host, None, &options, &mut Silent).expect("the model compiles");
    let text = |ending: &str| {
        let file = artifact.files.iter().find(|f| f.path.ends_with(ending));
        file.unwrap_or_else(|| panic!("no file ends with {ending}")).text.as_str()
    };
    let (header, module) = (text(".h"), text(".rs"));
    let bytes = "u8 in the model, held as i8, 128 lower";
    let worth = "shape `[1, 4]`, worth `0.0625 * stored` each";
    for says in [
        format!("Input `x`: i8 [1, 4]; {bytes}. */"),
        format!("State `h`: i8 [1, 4], kept between runs; takes the value of `h_out`; {bytes}. */"),
        "Output `y`: i16 [1, 4]; u16 in the model, held as i16, 32768 lower. */".to_string(),
        "Input `i`: i8 [1, 4]. */".to_string(),
    ] {
        assert!(header.contains(&says), "{says}\n{header}");
    }
    for says in [
        format!("Elements of the input `x`: `i8` in the {worth}; {bytes}.\n"),
        format!("Elements of the state `h`: `i8` in the {worth}; {bytes}.\n"),
        format!(
            "Elements of the output `y`: `i16` in the {worth}; u16 in the model, held as i16, 32768 lower.\n"
        ),
        format!("Elements of the input `i`: `i8` in the {worth}.\n"),
    ] {
        assert!(module.contains(&says), "{says}\n{module}");
    }
    let report = &artifact.report;
    let ports = report.inputs.iter().chain(&report.outputs).chain(report.states.iter().map(|s| &s.port));
    let told: Vec<_> =
        ports.map(|p| (p.name.as_str(), p.elem.as_str(), p.model_type.as_str(), p.held_lower)).collect();
    let want =
        [("x", "i8", "u8", 128), ("i", "i8", "i8", 0), ("y", "i16", "u16", 32768), ("h", "i8", "u8", 128)];
    assert_eq!(told, want);
    // 5 (-7.6875 as x has it) stands as -123 in the port, and what it gives stands 32,768 lower.
    let mut machine = Machine::new(&artifact.program).expect("the program is sound");
    let held = |v: i8| Tensor::new(vec![1, 4], Data::I8(vec![v; 4])).expect("four elements");
    let have = machine.run(&[held(-123), held(0)]).expect("the program runs");
    assert_eq!(have[0].to_i64_vec(), [-123; 4]);
}

#[test]
fn a_float_model_is_left_alone() {
    let mut m = Qdq::default();
    m.input("x", &[1, 2]);
    m.node("Relu", &["x"], "y", &[]);
    m.output("y", &[1, 2]);
    let mut graph = onnx::import(&m.model.bytes(), &BTreeMap::new()).expect("the model imports");
    let before = graph.clone();
    assert!(!quantize::absorb(&mut graph).expect("nothing to absorb"));
    quantize::settle(&mut graph).expect("nothing to settle");
    assert_eq!(print(&graph), print(&before));
}
