//! The instruction blocks on an emulated core against their meaning: evaluator, C and Rust give
//! the same bits on layers whose sizes, coefficients and inputs sit at the ends of their range.
//!
//! The evaluator runs a block's loops, never its instructions; C and Rust run the instructions.
//! The loops themselves are held against the portable kernels, which another target gets.
//! All layers of a language share one image and one boot.

use secateur_compiler::cli::toolchain::protocol::{Frame, read, write};
use secateur_compiler::cli::toolchain::{self, Image, Model as Built, build};
use secateur_compiler::options::{Language, Optimize, Options};
use secateur_compiler::program::{Layer, kernels};
use secateur_compiler::tensor::{Data, Tensor};
use secateur_compiler::{Artifact, Silent, artifact::compile, targets::Target};
use secateur_tests::engines::{evaluate, target};
use secateur_tests::full;
use secateur_tests::objects::mnemonics;
use secateur_tests::onnx::{
    FLOAT, INT8, INT32, Message, Model, attr_int, attr_ints, dims, floats, node, port, tensor,
};
use std::collections::{BTreeMap, BTreeSet};

/// The same numbers on every machine.
struct Random(u64);

impl Random {
    fn within(&mut self, lo: i32, hi: i32) -> i32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        lo + ((self.0 >> 33) % (i64::from(hi) - i64::from(lo) + 1) as u64) as i32
    }
    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.within(0, all.len() as i32 - 1) as usize]
    }
}

/// A layer's sizes.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// `pads`: top, left, bottom, right. Channels are those of all groups.
    Conv {
        groups: usize,
        cin: usize,
        cout: usize,
        input: [usize; 2],
        kernel: [usize; 2],
        strides: [usize; 2],
        dilations: [usize; 2],
        pads: [usize; 4],
    },
    Dense {
        rows: usize,
        inputs: usize,
        outputs: usize,
    },
}

impl Shape {
    /// Groups that are no depthwise windows, or taps apart along both axes.
    fn in_parts(self) -> bool {
        match self {
            Shape::Conv { groups, cin, cout, dilations, .. } => {
                (groups > 1 && (cin > groups || cout > groups)) || dilations.iter().all(|&d| d > 1)
            }
            Shape::Dense { .. } => false,
        }
    }
}

const fn grouped(
    groups: usize,
    (cin, cout): (usize, usize),
    input: [usize; 2],
    kernel: [usize; 2],
    (strides, dilations): ([usize; 2], [usize; 2]),
    pads: [usize; 4],
) -> Shape {
    Shape::Conv { groups, cin, cout, input, kernel, strides, dilations, pads }
}

const fn conv(
    channels: (usize, usize),
    input: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
) -> Shape {
    grouped(1, channels, input, kernel, (strides, ONE), pads)
}

const fn depthwise(
    channels: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
) -> Shape {
    grouped(channels, (channels, channels), input, kernel, (strides, ONE), pads)
}

const fn dense(rows: usize, inputs: usize, outputs: usize) -> Shape {
    Shape::Dense { rows, inputs, outputs }
}

const ONE: [usize; 2] = [1, 1];
const AROUND: [usize; 4] = [1, 1, 1, 1];
const NONE: [usize; 4] = [0, 0, 0, 0];

const SHAPES: &[Shape] = &[
    // Pointwise: multiples of four and not, an odd number of pixels, a stride.
    conv((8, 8), [3, 4], [1, 1], ONE, NONE),
    conv((7, 5), [3, 3], [1, 1], ONE, NONE),
    conv((20, 13), [2, 3], [1, 1], ONE, NONE),
    conv((12, 6), [5, 5], [1, 1], [2, 2], NONE),
    conv((64, 4), [1, 3], [1, 1], ONE, NONE),
    // Windows with padding and strides, even on one side only.
    conv((4, 8), [5, 6], [3, 3], ONE, AROUND),
    conv((3, 8), [7, 7], [3, 3], [2, 2], [0, 0, 1, 1]),
    conv((5, 7), [4, 5], [3, 3], ONE, [1, 0, 0, 1]),
    conv((1, 4), [8, 7], [5, 4], [2, 2], [2, 1, 2, 1]),
    conv((6, 9), [5, 4], [2, 3], [3, 1], [1, 2, 0, 0]),
    conv((16, 5), [3, 5], [3, 3], [1, 2], [0, 2, 2, 0]),
    // Wide enough for tiles of outputs, whole and overlapping ones.
    conv((4, 4), [4, 8], [3, 3], ONE, AROUND),
    conv((8, 6), [5, 13], [3, 3], ONE, AROUND),
    conv((16, 2), [3, 11], [3, 3], ONE, [0, 1, 1, 0]),
    // Along one axis.
    conv((8, 4), [1, 20], [1, 5], ONE, [0, 2, 0, 2]),
    conv((7, 3), [9, 1], [5, 1], ONE, [2, 0, 2, 0]),
    conv((3, 6), [12, 1], [9, 1], [2, 1], [4, 0, 3, 0]),
    conv((9, 2), [1, 15], [1, 3], [1, 2], [0, 1, 0, 0]),
    // Rows that are cut into tiles, and sums too large for two products in one word.
    conv((60, 6), [3, 15], [3, 3], ONE, AROUND),
    // Depthwise.
    depthwise(4, [5, 5], [3, 3], ONE, AROUND),
    depthwise(8, [6, 7], [3, 3], [2, 2], [0, 0, 1, 1]),
    depthwise(12, [5, 6], [3, 3], [2, 2], AROUND),
    depthwise(16, [3, 5], [3, 3], ONE, [0, 1, 2, 0]),
    depthwise(8, [9, 1], [7, 1], [2, 1], [3, 0, 3, 0]),
    depthwise(20, [1, 9], [1, 5], ONE, [0, 2, 0, 2]),
    depthwise(4, [7, 6], [5, 5], ONE, [2, 2, 2, 2]),
    depthwise(8, [8, 8], [3, 3], [3, 3], [1, 0, 0, 1]),
    // Channels that are no multiple of anything, and just over one.
    depthwise(6, [4, 4], [3, 3], ONE, AROUND),
    depthwise(17, [5, 4], [3, 3], [2, 2], [0, 1, 1, 0]),
    depthwise(3, [1, 11], [1, 3], ONE, [0, 1, 0, 1]),
    // Signals long enough for a loop over pairs, at either stride; and one result of many taps.
    depthwise(8, [1, 40], [1, 5], ONE, [0, 2, 0, 2]),
    depthwise(7, [27, 1], [3, 1], ONE, [1, 0, 1, 0]),
    depthwise(9, [1, 41], [1, 5], [1, 2], [0, 1, 0, 2]),
    depthwise(16, [15, 1], [15, 1], ONE, NONE),
    // Long even windows over an odd number of results.
    depthwise(8, [24, 1], [10, 1], ONE, NONE),
    depthwise(5, [1, 16], [1, 6], ONE, NONE),
    // Dilated along rows and columns, grouped, and both strides three.
    grouped(1, (8, 5), [7, 7], [3, 3], (ONE, [2, 2]), [2, 2, 2, 2]),
    grouped(1, (4, 4), [1, 14], [1, 3], (ONE, [1, 4]), [0, 4, 0, 4]),
    grouped(8, (8, 8), [6, 7], [3, 3], (ONE, [2, 2]), [2, 2, 2, 2]),
    grouped(2, (8, 6), [5, 5], [3, 3], (ONE, ONE), AROUND),
    grouped(3, (9, 12), [4, 5], [1, 1], (ONE, ONE), NONE),
    grouped(1, (6, 7), [8, 9], [3, 3], ([3, 3], ONE), [1, 0, 0, 1]),
    // Groups of several channels, one channel that becomes two, and phases of unlike sizes.
    grouped(4, (16, 24), [4, 6], [3, 3], ([2, 2], ONE), [0, 0, 1, 1]),
    grouped(5, (5, 10), [5, 4], [3, 3], (ONE, ONE), AROUND),
    grouped(1, (8, 8), [9, 8], [3, 3], ([2, 1], [3, 2]), [3, 2, 2, 1]),
    // Square windows, unit stride, equal channels: what transforms take.
    conv((16, 16), [6, 6], [3, 3], ONE, AROUND),
    conv((8, 12), [5, 7], [3, 3], ONE, AROUND),
    conv((32, 40), [3, 5], [3, 3], ONE, AROUND),
    // The same in tiles of sixteen, which at odd sizes overlap: four in a row, and in a square.
    conv((16, 6), [7, 17], [3, 3], ONE, [1, 0, 1, 1]),
    conv((16, 8), [8, 10], [3, 3], ONE, [1, 0, 1, 0]),
    // And in a line, twice overlapping.
    conv((32, 6), [1, 36], [1, 3], ONE, [0, 1, 0, 0]),
    conv((16, 33), [4, 4], [1, 1], [2, 2], NONE),
    conv((16, 72), [2, 9], [1, 1], ONE, NONE),
    // Many pixels a row, which follow each other in a pipeline: far apart, long sums, odd sizes.
    conv((8, 136), [2, 30], [1, 1], ONE, NONE),
    conv((7, 13), [3, 37], [1, 1], ONE, NONE),
    conv((16, 6), [1, 33], [3, 3], ONE, AROUND),
    // Fully connected: inputs and outputs that no block divides.
    dense(1, 64, 12),
    dense(1, 37, 5),
    dense(1, 505, 3),
    dense(3, 505, 2),
    dense(1, 10, 3),
    dense(1, 150, 9),
    dense(3, 23, 7),
    dense(4, 16, 4),
    dense(1, 400, 2),
    // An even number of pixels apart from each other, in odd channels.
    conv((9, 6), [4, 7], [1, 1], [2, 2], NONE),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Weights {
    Random,
    AllGreatest,
    AllLeast,
    /// -128, which no symmetric quantizer writes but a file may hold.
    Below,
    /// 127 and -127 in turn.
    Alternating,
    /// Nothing but the two ends.
    Ends,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bias {
    Random,
    /// The sum reaches 2^23 - 1, the last one that fits the packed form.
    Brink,
    /// One more than that.
    Over,
    /// Near the ends of 32 bits.
    Huge,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scales {
    /// Results over the whole range, channels nearly alike.
    Even,
    /// Every channel its own, far enough apart that no common shift serves them.
    Apart,
    /// As large as the blocks take: results saturate.
    Large,
    /// Results around the zero point, shifts near their greatest.
    Tiny,
}

/// How many settings are drawn for each shape; more with `SECATEUR_FULL`.
fn draws() -> usize {
    if full() { 6 } else { 3 }
}

/// Everything about a layer but its sizes.
#[derive(Debug, Clone, Copy)]
struct Setting {
    weights: Weights,
    bias: Bias,
    scales: Scales,
    x_zero: i32,
    y_zero: i32,
    relu: bool,
}

fn setting(random: &mut Random, draw: usize) -> Setting {
    use Weights::{AllGreatest, AllLeast, Alternating, Below, Ends};
    // Every other draw is ordinary enough for the packed form.
    let (weights, bias, scales) = if draw.is_multiple_of(2) {
        (
            &[Weights::Random, Weights::Random, Alternating, Ends][..],
            &[Bias::Random, Bias::Random, Bias::Brink][..],
            &[Scales::Even, Scales::Even, Scales::Even, Scales::Large][..],
        )
    } else {
        (
            &[AllGreatest, AllLeast, Below, Ends, Weights::Random][..],
            &[Bias::Random, Bias::Random, Bias::Random, Bias::Brink, Bias::Over, Bias::Huge][..],
            &[Scales::Apart, Scales::Apart, Scales::Even, Scales::Large, Scales::Tiny][..],
        )
    };
    let y_zero = random.one_of(&[-128, 0, 127, -9]);
    Setting {
        weights: random.one_of(weights),
        bias: random.one_of(bias),
        scales: random.one_of(scales),
        x_zero: random.one_of(&[-128, 0, 127, 5]),
        y_zero,
        // At 127 there is nothing above the zero point.
        relu: y_zero < 127 && random.one_of(&[false, false, true]),
    }
}

const X_SCALE: f32 = 0.02;
const Y_SCALE: f32 = 0.05;

/// A layer's integers.
struct Coefficients {
    /// `[outputs][taps]`.
    weights: Vec<i32>,
    bias: Vec<i32>,
    /// Of the weights, by output.
    scales: Vec<f32>,
}

fn coefficients(random: &mut Random, s: Setting, outputs: usize, taps: usize) -> Coefficients {
    let mut weight = |i: usize| match s.weights {
        Weights::Random => random.within(-127, 127),
        Weights::AllGreatest => 127,
        Weights::AllLeast => -127,
        Weights::Below => -128,
        Weights::Alternating => [127, -127][i % 2],
        Weights::Ends => random.one_of(&[-127, 127]),
    };
    let weights: Vec<i32> = (0..outputs * taps).map(&mut weight).collect();
    let bias = weights.chunks(taps).enumerate().map(|(c, w)| {
        // How far the products alone reach.
        let ends = |w: &i32| (w * (-128 - s.x_zero), w * (127 - s.x_zero));
        let high: i32 = w.iter().map(ends).map(|(a, b)| a.max(b).max(0)).sum();
        let low: i32 = w.iter().map(ends).map(|(a, b)| a.min(b).min(0)).sum();
        let bound = (1 << 23) - 1;
        match (s.bias, c % 2) {
            (Bias::Random, _) => random.within(-5000, 5000),
            (Bias::Brink, 0) => bound - high,
            (Bias::Brink, _) => -bound - low,
            (Bias::Over, 0) => bound + 1 - high,
            (Bias::Over, _) => -bound - 1 - low,
            (Bias::Huge, 0) => 2_000_000_000,
            (Bias::Huge, _) => -2_000_000_000,
        }
    });
    let bias: Vec<i32> = bias.collect();
    let scales = bias.iter().zip(weights.chunks(taps)).enumerate().map(|(c, (&b, w))| {
        // Where sums over random inputs lie: mean, and standard deviation of 74 an input.
        let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() * (-0.5 - f64::from(s.x_zero)) + f64::from(b);
        let deviation = 74.0 * w.iter().map(|&w| f64::from(w * w)).sum::<f64>().sqrt();
        let even = (70.0 / (deviation + 0.6 * mean.abs())).min(0.2);
        let real = match s.scales {
            Scales::Even => even * (1.0 - 0.05 * (c % 7) as f64),
            Scales::Apart => [0.2, even / 37.0, even, 3e-6, 0.013][c % 5],
            Scales::Large => 0.249,
            Scales::Tiny => [0.9, 0.6][c % 2] / f64::from(1 << 21),
        };
        (real * f64::from(Y_SCALE) / f64::from(X_SCALE)) as f32
    });
    let scales: Vec<f32> = scales.collect();
    Coefficients { weights, bias, scales }
}

/// A model of one layer between quantizers, channels last on both sides as they lie inside.
#[derive(Default)]
struct Writer(Model);

impl Writer {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attrs: &[Message]) {
        self.0.nodes.push(node(&format!("{output}_node"), op, inputs, &[output], attrs));
    }
    fn parameters(&mut self, name: &str, elem: i64, scale: &[f32], zero: i32) -> (String, String) {
        let (s, z) = (format!("{name}_s"), format!("{name}_z"));
        let shape: Vec<i64> = if scale.len() == 1 { vec![] } else { vec![scale.len() as i64] };
        let zeros: Vec<u8> = scale.iter().flat_map(|_| raw(elem, zero)).collect();
        self.0.initializers.push(floats(&s, &shape, scale));
        self.0.initializers.push(tensor(&z, elem, &shape, &zeros));
        (s, z)
    }
    fn quantizer(&mut self, x: &str, name: &str, scale: f32, zero: i32) {
        let (s, z) = self.parameters(name, INT8, &[scale], zero);
        let stored = format!("{name}_q");
        self.node("QuantizeLinear", &[x, &s, &z], &stored, &[]);
        self.node("DequantizeLinear", &[&stored, &s, &z], name, &[]);
    }
    /// A stored constant, its first axis that of the scales.
    fn constant(&mut self, name: &str, elem: i64, shape: &[i64], values: &[i32], scale: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| raw(elem, v)).collect();
        let stored = format!("{name}_q");
        self.0.initializers.push(tensor(&stored, elem, shape, &bytes));
        let (s, z) = self.parameters(name, elem, scale, 0);
        self.node("DequantizeLinear", &[&stored, &s, &z], name, &[attr_int("axis", 0)]);
    }
}

fn raw(elem: i64, value: i32) -> Vec<u8> {
    if elem == INT32 { value.to_le_bytes().to_vec() } else { vec![value as u8] }
}

fn sizes(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&v| v as i64).collect()
}

/// The file of a layer.
fn model(random: &mut Random, shape: Shape, s: Setting) -> Vec<u8> {
    let (weights, taps, ends, window) = match shape {
        Shape::Conv { groups, cin, cout, input, kernel, strides, dilations, pads } => (
            vec![cout, cin / groups, kernel[0], kernel[1]],
            cin / groups * kernel[0] * kernel[1],
            [cin, cout],
            Some((groups, input, kernel, strides, dilations, pads)),
        ),
        Shape::Dense { inputs, outputs, .. } => (vec![outputs, inputs], inputs, [inputs, outputs], None),
    };
    let c = coefficients(random, s, weights[0], taps);
    let steps: Vec<f32> = c.scales.iter().map(|w| w * X_SCALE).collect();
    let mut m = Writer::default();
    m.quantizer("x", "xd", X_SCALE, s.x_zero);
    m.constant("w", INT8, &sizes(&weights), &c.weights, &c.scales);
    m.constant("b", INT32, &sizes(&weights[..1]), &c.bias, &steps);
    let (x_shape, y_shape) = match (shape, window) {
        (_, Some((groups, input, kernel, strides, dilations, pads))) => {
            let reach = |a: usize| (kernel[a] - 1) * dilations[a] + 1;
            let out = |a: usize| (input[a] + pads[a] + pads[a + 2] - reach(a)) / strides[a] + 1;
            m.node("Transpose", &["xd"], "first", &[attr_ints("perm", &[0, 3, 1, 2])]);
            let attrs = [
                attr_ints("kernel_shape", &sizes(&kernel)),
                attr_ints("strides", &sizes(&strides)),
                attr_ints("dilations", &sizes(&dilations)),
                attr_ints("pads", &sizes(&pads)),
                attr_int("group", groups as i64),
            ];
            m.node("Conv", &["first", "w", "b"], "sum", &attrs);
            (vec![1, input[0], input[1], ends[0]], vec![1, out(0), out(1), ends[1]])
        }
        (Shape::Dense { rows, .. }, _) => {
            m.node("Gemm", &["xd", "w", "b"], "sum", &[attr_int("transB", 1)]);
            (vec![rows, ends[0]], vec![rows, ends[1]])
        }
        _ => unreachable!("a convolution has a window"),
    };
    if s.relu {
        m.node("Relu", &["sum"], "relu", &[]);
    }
    let result = if s.relu { "relu" } else { "sum" };
    if window.is_some() {
        m.quantizer(result, "yd", Y_SCALE, s.y_zero);
        m.node("Transpose", &["yd"], "y", &[attr_ints("perm", &[0, 2, 3, 1])]);
    } else {
        m.quantizer(result, "y", Y_SCALE, s.y_zero);
    }
    m.0.inputs.push(port("x", FLOAT, &dims(&sizes(&x_shape))));
    m.0.outputs.push(port("y", FLOAT, &dims(&sizes(&y_shape))));
    m.0.bytes()
}

/// Stored inputs: random ones, both ends, both ends in turn, only ends.
fn inputs(random: &mut Random, artifact: &Artifact) -> Vec<Vec<Tensor>> {
    let shape = &artifact.program.inputs[0].shape;
    let of = |f: &mut dyn FnMut(usize) -> i32| {
        let stored = (0..shape.iter().product()).map(|i| f(i) as i8).collect();
        vec![Tensor::new(shape.clone(), Data::I8(stored)).expect("as many as the shape has")]
    };
    vec![
        of(&mut |_| random.within(-128, 127)),
        of(&mut |_| -128),
        of(&mut |_| 127),
        of(&mut |i| [-128, 127][i % 2]),
        of(&mut |i| [127, -128][i % 2]),
        of(&mut |_| random.one_of(&[-128, 127])),
        of(&mut |_| random.within(-128, 127)),
    ]
}

/// One layer, compiled.
struct Case {
    says: String,
    shape: Shape,
    setting: Setting,
    artifact: Artifact,
    inputs: Vec<Vec<Tensor>>,
    want: Vec<Vec<Tensor>>,
}

fn compiled(bytes: &[u8], name: &str, on: &Target, optimize: Optimize) -> Result<Artifact, String> {
    let emit = vec![Language::C, Language::Rust];
    let options = Options { name: name.into(), emit, optimize, ..Options::default() };
    compile(bytes, on, None, &options, &mut Silent).map_err(|e| e.to_string())
}

fn cases(on: &str, optimize: Optimize, draws: usize) -> Vec<Case> {
    let mut random = Random(7);
    let (on, host) = (target(on), target("host"));
    let mut all = Vec::new();
    for &shape in SHAPES {
        for draw in 0..draws {
            let setting = setting(&mut random, draw);
            let says = format!("{shape:?} {setting:?}");
            let bytes = model(&mut random, shape, setting);
            let name = format!("layer{}", all.len());
            let artifact = compiled(&bytes, &name, &on, optimize).unwrap_or_else(|e| panic!("{says}: {e}"));
            let inputs = inputs(&mut random, &artifact);
            let want = evaluate(&artifact, &inputs);
            // The portable kernels, which the host gets, compute the same.
            let portable = compiled(&bytes, &name, &host, optimize).unwrap_or_else(|e| panic!("{says}: {e}"));
            assert!(natives(&portable).is_empty(), "{says}: instructions for the host");
            assert!(evaluate(&portable, &inputs) == want, "{says}: the loops of the block differ");
            all.push(Case { says, shape, setting, artifact, inputs, want });
        }
    }
    all
}

/// Kernels with instructions for the core, by name.
fn natives(artifact: &Artifact) -> Vec<String> {
    kernels(&artifact.program).into_iter().filter(|k| !k.native.is_empty()).map(|k| k.name.clone()).collect()
}

/// Bytes of every tensor.
fn bits(outputs: &[Tensor]) -> Vec<u8> {
    outputs.iter().flat_map(|t| t.data().to_le_bytes()).collect()
}

/// Runs all cases in one boot and says which differ.
fn differing(image: &Image, cases: &[Case]) -> Vec<String> {
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for (sample, (input, want)) in case.inputs.iter().zip(&case.want).enumerate() {
            write(&Frame::Input { model: number as u32, bytes: bits(input) }, &mut requests);
            expected.push((number, sample, bits(want)));
        }
    }
    write(&Frame::End, &mut requests);
    let replies = image.exchange(&requests, 1, expected.len(), &mut Silent).unwrap_or_else(|e| panic!("{e}"));
    let (mut rest, mut wrong) = (replies.as_slice(), Vec::new());
    let mut left = expected.into_iter();
    while let Some(frame) = read(&mut rest).expect("replies are whole") {
        match frame {
            Frame::Hello(models) => assert_eq!(models.len(), cases.len()),
            Frame::Output { model, bytes, .. } => {
                let (number, sample, want) = left.next().expect("no more replies than samples");
                assert_eq!(model as usize, number);
                if bytes != want {
                    wrong.push(format!("sample {sample} of {}", cases[number].says));
                }
            }
            Frame::End => {}
            Frame::Failed(why) => panic!("{why}"),
            Frame::Input { .. } => panic!("a harness answers"),
        }
    }
    assert_eq!(left.count(), 0, "samples without a reply");
    wrong
}

/// What is expected of a core.
struct Expected {
    core: &'static str,
    languages: &'static [Language],
    /// Percentage of layers that native kernels compute.
    native: usize,
    /// Instructions that no compiler makes of the kernels' loops; each stands in the image.
    instructions: &'static [&'static str],
    /// Other arguments of the emulator, such as longer vectors.
    emulator: Option<&'static [&'static str]>,
}

/// Compares every layer; gives how often each native kernel is used.
fn all_alike(expected: &Expected, optimize: Optimize) -> BTreeMap<String, usize> {
    let core = expected.core;
    let cases = cases(core, optimize, draws());
    // Which native kernels the layers use, and how often.
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let mut portable: BTreeSet<String> = BTreeSet::new();
    let (mut native, mut brink, mut parts) = (0, 0, 0);
    for case in &cases {
        let natives = natives(&case.artifact);
        let family = |l: &Layer| !["alias", "portable"].contains(&l.family.as_str());
        let chosen = case.artifact.program.layers.iter().any(family);
        assert!(!chosen || !natives.is_empty(), "{}: no native kernel", case.says);
        native += usize::from(chosen);
        parts += usize::from(chosen && case.shape.in_parts());
        if !chosen {
            portable.insert(case.says.split(" Setting").next().unwrap_or_default().to_owned());
        }
        brink += usize::from(chosen && case.setting.bias == Bias::Brink);
        natives.into_iter().for_each(|n| *used.entry(n).or_default() += 1);
    }
    let samples: usize = cases.iter().map(|c| c.inputs.len()).sum();
    println!("{core}: {} layers, {native} by native kernels, {samples} samples: {used:?}", cases.len());
    for shape in portable {
        println!("{core}: portable at least once: {shape}");
    }
    let least = cases.len() * expected.native;
    assert!(native * 100 >= least, "{core}: {native} of {} layers are native", cases.len());
    let apart = cases.iter().filter(|c| c.shape.in_parts()).count();
    // A part of them has too few taps for some engines, or scales that none takes.
    assert!(parts * 3 >= apart * 2, "{core}: {parts} of {apart} grouped and dilated layers are native");
    assert!(brink >= 5, "{brink} native layers reach 2^23 with their sums");
    // Results that only saturate show little; a part of the layers is made to.
    let lively = |c: &&Case| c.want.iter().flat_map(|o| bits(o)).collect::<BTreeSet<u8>>().len() >= 8;
    let lively = cases.iter().filter(lively).count();
    assert!(lively * 2 >= cases.len(), "only {lively} of {} layers have different results", cases.len());

    let mut on = target(core);
    if let (Some(arguments), Some(emulator)) = (expected.emulator, &mut on.core.emulator) {
        emulator.arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
    }
    for &language in expected.languages {
        let mut missing = expected.instructions.to_vec();
        // Memory of the boards is short where the core has its own: several images, one after another.
        for part in cases.chunks(90) {
            let models: Vec<Built<'_>> = part.iter().map(|c| Built::from(&c.artifact)).collect();
            let image = build(language, &models, &on, toolchain::Optimize::Speed)
                .unwrap_or_else(|e| panic!("{language:?} on {core}: {e}"));
            if !missing.is_empty() {
                let code = mnemonics(image.file(), &on);
                missing.retain(|instruction| code.iter().all(|m| m != instruction));
            }
            let wrong = differing(&image, part);
            assert!(wrong.is_empty(), "{language:?} on {core}:\n{}", wrong.join("\n"));
        }
        // The images hold the instructions and not their loops.
        assert!(missing.is_empty(), "{language:?} on {core}: no {missing:?}");
    }
    used
}

/// Fails where one of these kernels is in no layer.
fn among(used: &BTreeMap<String, usize>, kernels: &[&str]) {
    for kernel in kernels {
        assert!(used.contains_key(*kernel), "no layer has `{kernel}`");
    }
}

/// What transforms make of square windows at speed.
const WINOGRAD: &[&str] =
    &["winograd4_s8_rows", "winograd4_s8_columns", "winograd4_s8_products", "winograd_line_s8_products"];

/// What depthwise windows become on cores with `smlad`.
const PAIRS: &[&str] = &[
    "depthwise_s8_c4q1",
    "depthwise_s8_line1",
    "depthwise_s8_line2",
    "depthwise_s8_plane",
    "depthwise_s8_slide1",
    "depthwise_s8_slide2",
    "depthwise_s8_tiles",
];

const BOTH: &[Language] = &[Language::C, Language::Rust];
const C: &[Language] = &[Language::C];
const RUST: &[Language] = &[Language::Rust];
const DSP: &[&str] = &["smlad", "sxtab16", "smmla"];

const fn expected(
    core: &'static str,
    languages: &'static [Language],
    native: usize,
    instructions: &'static [&'static str],
) -> Expected {
    Expected { core, languages, native, instructions, emulator: None }
}

#[test]
fn cortex_m4() {
    among(&all_alike(&expected("cortex-m4", BOTH, 80, DSP), Optimize::Balanced), PAIRS);
}

#[test]
fn cortex_m4_at_speed() {
    among(&all_alike(&expected("cortex-m4", C, 80, DSP), Optimize::Speed), WINOGRAD);
}

#[test]
fn cortex_m4_at_size() {
    all_alike(&expected("cortex-m4", C, 80, DSP), Optimize::Size);
}

#[test]
fn cortex_m33() {
    among(&all_alike(&expected("cortex-m33", C, 80, DSP), Optimize::Balanced), PAIRS);
}

#[test]
fn cortex_m7() {
    among(&all_alike(&expected("cortex-m7", C, 80, DSP), Optimize::Speed), WINOGRAD);
}

/// Compilers write the same instructions, though for 64-bit sums.
#[test]
fn cortex_m0plus() {
    all_alike(&expected("cortex-m0plus", BOTH, 80, &[]), Optimize::Balanced);
}

#[test]
fn cortex_m3() {
    let used = all_alike(&expected("cortex-m3", C, 80, &[]), Optimize::Speed);
    let kernels = ["winograd4_s8_down", "winograd4_s8_across", "winograd4_s8_sums", "winograd4_s8_back"];
    among(&used, &kernels);
}

#[test]
fn hexagon() {
    all_alike(&expected("hexagon-v67", C, 90, &["vrmpy", "vlalign"]), Optimize::Balanced);
}

/// Binutils show `vmladava` and vector loads as those of a coprocessor.
#[test]
fn cortex_m55() {
    all_alike(
        &expected("cortex-m55", BOTH, 80, &["cdp", "ldc", "vqadd.s16", "vshr.u32"]),
        Optimize::Balanced,
    );
}

#[test]
fn riscv() {
    all_alike(&expected("rv32imc", BOTH, 80, &["mulh"]), Optimize::Balanced);
}

#[test]
fn riscv_vectors() {
    all_alike(&expected("rv32imcv", C, 80, &["vwmacc.vx", "vwmacc.vv", "vnclip.wx"]), Optimize::Balanced);
}

/// The same code from Rust, whose flags name no vectors, on registers of four times the length.
#[test]
fn riscv_longer_vectors() {
    let arguments = &["-cpu", "rv32,v=true,vlen=512,elen=64,vext_spec=v1.0"];
    let longer = Expected { emulator: Some(arguments), ..expected("rv32imcv", RUST, 80, &[]) };
    all_alike(&longer, Optimize::Balanced);
}
