//! Small valid models, one for every way into the importer: each operator, each shape idiom,
//! quantizers. The fuzzer mutates them; the tests of bad input break them.

use crate::onnx::{
    BOOL, Dim, FLOAT, INT8, INT32, INT64, Message, Model, UINT8, attr_float, attr_int, attr_ints, attr_str,
    attr_tensor, dims, floats, ints, node, port, tensor,
};

/// Numbers that are neither all alike nor large.
fn ramp(len: i64) -> Vec<f32> {
    (0..len).map(|i| (i % 7) as f32 * 0.25 - 0.75).collect()
}

fn weights(name: &str, shape: &[i64]) -> Message {
    floats(name, shape, &ramp(shape.iter().product()))
}

/// One node `y = op(x, constants...)` on an input of `shape`.
fn single(op: &str, shape: &[i64], constants: Vec<Message>, attrs: &[Message]) -> Model {
    let names: Vec<String> = (0..constants.len()).map(|i| format!("c{i}")).collect();
    let mut inputs = vec!["x"];
    inputs.extend(names.iter().map(String::as_str));
    let initializers = constants.into_iter().enumerate().map(|(i, m)| m.str(8, &format!("c{i}"))).collect();
    Model {
        nodes: vec![node("n", op, &inputs, &["y"], attrs)],
        initializers,
        inputs: vec![port("x", FLOAT, &dims(shape))],
        outputs: vec![untyped("y")],
        opset: 13,
    }
}

/// An output that claims nothing.
pub fn untyped(name: &str) -> Message {
    Message::new().str(1, name)
}

/// A small network as PyTorch exports it: convolution, pool, flatten by shape arithmetic, dense.
pub fn network() -> Model {
    Model {
        nodes: vec![
            node(
                "conv",
                "Conv",
                &["x", "w", "b"],
                &["a"],
                &[attr_ints("pads", &[1, 1]), attr_ints("kernel_shape", &[3])],
            ),
            node("relu", "Relu", &["a"], &["r"], &[]),
            node(
                "pool",
                "MaxPool",
                &["r"],
                &["p"],
                &[attr_ints("kernel_shape", &[2]), attr_ints("strides", &[2])],
            ),
            node("shape", "Shape", &["p"], &["s"], &[]),
            node("batch", "Gather", &["s", "zero"], &["s0"], &[attr_int("axis", 0)]),
            node("unsqueeze", "Unsqueeze", &["s0", "axes"], &["s1"], &[]),
            node("concat", "Concat", &["s1", "rest"], &["target"], &[attr_int("axis", 0)]),
            node("reshape", "Reshape", &["p", "target"], &["f"], &[]),
            node("fc", "Gemm", &["f", "fw", "fb"], &["y"], &[attr_int("transB", 1)]),
        ],
        initializers: vec![
            weights("w", &[4, 2, 3]),
            weights("b", &[4]),
            ints("zero", &[], &[0]),
            ints("axes", &[1], &[0]),
            ints("rest", &[1], &[-1]),
            weights("fw", &[3, 16]),
            weights("fb", &[3]),
        ],
        inputs: vec![port("x", FLOAT, &[Dim::Named("batch"), Dim::Is(2), Dim::Is(8)])],
        outputs: vec![port("y", FLOAT, &[Dim::Named("batch"), Dim::Is(3)])],
        opset: 13,
    }
}

/// A dense layer between quantizers; `scale` is that of the input.
pub fn quantized(scale: f32) -> Model {
    Model {
        nodes: vec![
            node("qx", "QuantizeLinear", &["x", "sx", "zx"], &["xq"], &[]),
            node("dx", "DequantizeLinear", &["xq", "sx", "zx"], &["xf"], &[]),
            node("dw", "DequantizeLinear", &["wq", "sw", "zw"], &["wf"], &[attr_int("axis", 1)]),
            node("mul", "MatMul", &["xf", "wf"], &["m"], &[]),
            node("qy", "QuantizeLinear", &["m", "sy", "zy"], &["yq"], &[]),
            node("dy", "DequantizeLinear", &["yq", "sy", "zy"], &["y"], &[]),
        ],
        initializers: vec![
            floats("sx", &[], &[scale]),
            tensor("zx", INT8, &[], &[3]),
            tensor("wq", INT8, &[4, 2], &[1, 2, 3, 4, 252, 253, 254, 255]),
            floats("sw", &[2], &[0.1, 0.2]),
            tensor("zw", INT8, &[2], &[0, 0]),
            floats("sy", &[], &[0.05]),
            tensor("zy", INT8, &[], &[0]),
        ],
        inputs: vec![port("x", FLOAT, &dims(&[1, 4]))],
        outputs: vec![port("y", FLOAT, &dims(&[1, 2]))],
        opset: 13,
    }
}

/// All seeds by name.
pub fn all() -> Vec<(String, Model)> {
    let image = [1, 2, 5, 6];
    let one = |v: f32| floats("", &[], &[v]);
    let mut seeds = vec![("network".to_string(), network()), ("quantized".to_string(), quantized(0.1))];
    let mut add = |name: &str, model: Model| seeds.push((name.to_string(), model));
    let unary = [
        "Relu",
        "LeakyRelu",
        "HardSigmoid",
        "HardSwish",
        "Sigmoid",
        "Tanh",
        "Sqrt",
        "Identity",
        "Dropout",
        "Flatten",
        "Softmax",
        "LogSoftmax",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Shape",
    ];
    for op in unary {
        let mut model = single(op, &image, vec![], &[]);
        model.opset = 14;
        add(op, model);
    }
    for op in ["Add", "Sub", "Mul", "Div"] {
        add(op, single(op, &image, vec![weights("", &[2, 1, 1])], &[]));
    }
    add(
        "Conv",
        single(
            "Conv",
            &image,
            vec![weights("", &[4, 1, 3, 3]), weights("", &[4])],
            &[
                attr_int("group", 2),
                attr_ints("strides", &[2, 1]),
                attr_ints("dilations", &[1, 2]),
                attr_str("auto_pad", "SAME_UPPER"),
            ],
        ),
    );
    add(
        "Gemm",
        single("Gemm", &[2, 3], vec![weights("", &[3, 4]), weights("", &[4])], &[attr_float("alpha", 0.5)]),
    );
    add("MatMul", single("MatMul", &[2, 3], vec![weights("", &[3, 4])], &[]));
    add("Clip", single("Clip", &image, vec![one(0.0), one(6.0)], &[]));
    add(
        "BatchNormalization",
        single(
            "BatchNormalization",
            &image,
            (0..4).map(|_| floats("", &[2], &[0.5, 1.0])).collect(),
            &[attr_float("epsilon", 1e-3)],
        ),
    );
    add(
        "AveragePool",
        single(
            "AveragePool",
            &image,
            vec![],
            &[
                attr_ints("kernel_shape", &[3, 2]),
                attr_ints("pads", &[1, 0, 1, 1]),
                attr_int("ceil_mode", 1),
                attr_int("count_include_pad", 1),
            ],
        ),
    );
    add(
        "MaxPool",
        single(
            "MaxPool",
            &image,
            vec![],
            &[attr_ints("kernel_shape", &[2, 2]), attr_ints("strides", &[2, 2])],
        ),
    );
    add(
        "ReduceMean",
        single("ReduceMean", &image, vec![], &[attr_ints("axes", &[-1, 2]), attr_int("keepdims", 0)]),
    );
    add("Reshape", single("Reshape", &image, vec![ints("", &[3], &[0, -1, 6])], &[]));
    add("Squeeze", single("Squeeze", &image, vec![ints("", &[1], &[0])], &[]));
    add("Unsqueeze", single("Unsqueeze", &image, vec![ints("", &[2], &[0, -1])], &[]));
    add("Transpose", single("Transpose", &image, vec![], &[attr_ints("perm", &[0, 2, 3, 1])]));
    add("Concat", single("Concat", &image, vec![weights("", &[1, 3, 5, 6])], &[attr_int("axis", 1)]));
    let mut split = single("Split", &image, vec![ints("", &[2], &[2, 4])], &[attr_int("axis", 3)]);
    split.nodes = vec![node("n", "Split", &["x", "c0"], &["y", "z"], &[attr_int("axis", 3)])];
    add("Split", split);
    add(
        "Slice",
        single(
            "Slice",
            &image,
            vec![
                ints("", &[2], &[1, -1]),
                ints("", &[2], &[5, i64::MIN]),
                ints("", &[2], &[2, 3]),
                ints("", &[2], &[2, -1]),
            ],
            &[],
        ),
    );
    add("Pad", single("Pad", &image, vec![ints("", &[8], &[0, 0, 1, 2, 0, 0, 0, 1]), one(0.5)], &[]));
    add("Cast", single("Cast", &image, vec![], &[attr_int("to", INT32)]));
    add("ArgMax", single("ArgMax", &image, vec![], &[attr_int("axis", 1)]));
    add("Gather", single("Gather", &image, vec![ints("", &[2], &[1, -1])], &[attr_int("axis", 2)]));
    add("Expand", single("Expand", &[1, 2, 1], vec![ints("", &[3], &[3, 1, 4])], &[]));
    add(
        "QuantizeLinear",
        single("QuantizeLinear", &image, vec![one(0.1), tensor("", UINT8, &[], &[128])], &[]),
    );
    let mut filled = single("Add", &[1, 3], vec![], &[]);
    filled.nodes = vec![
        node("f", "ConstantOfShape", &["c0"], &["fill"], &[attr_tensor("value", &floats("", &[1], &[2.0]))]),
        node("k", "Constant", &[], &["k"], &[attr_tensor("value", &weights("", &[3]))]),
        node("s", "Add", &["fill", "k"], &["sum"], &[]),
        node("n", "Add", &["x", "sum"], &["y"], &[]),
    ];
    filled.initializers = vec![ints("c0", &[2], &[1, 3])];
    add("ConstantOfShape", filled);
    let mut integers = single("Add", &[2], vec![ints("", &[2], &[1, 2])], &[]);
    integers.inputs = vec![port("x", INT64, &dims(&[2]))];
    add("integers", integers);
    add("MaxPool places", places());
    add("Loop", turning());
    add("Scan", walking());
    add("If", choosing());
    seeds
}

/// A graph in an attribute of a node.
pub fn inner(attr: &str, nodes: &[Message], initializers: &[Message], ports: [&[Message]; 2]) -> Message {
    let graph = Message::new().messages(1, nodes).str(2, attr).messages(5, initializers);
    let graph = graph.messages(11, ports[0]).messages(12, ports[1]);
    Message::new().str(1, attr).message(6, &graph).int(20, 5)
}

/// The places of maxima, and an output that they are put back into.
fn places() -> Model {
    let window = [attr_ints("kernel_shape", &[2, 2]), attr_ints("strides", &[2, 2])];
    let mut model = single("MaxPool", &[1, 2, 4, 6], vec![], &[]);
    model.nodes = vec![
        node("n", "MaxPool", &["x"], &["m", "i"], &window),
        node("u", "MaxUnpool", &["m", "i"], &["y"], &window),
    ];
    model
}

/// A loop that collects a row and a sequence, and ends by its condition.
fn turning() -> Model {
    let nodes = [
        node("less", "Less", &["i", "two"], &["go"], &[]),
        node("twice", "Mul", &["u", "k"], &["v"], &[]),
        node("put", "SequenceInsert", &["s", "v"], &["t"], &[]),
        node("sum", "Add", &["v", "x"], &["row"], &[]),
    ];
    let inputs = ["i", "c", "u", "s"].map(untyped);
    let outputs = ["go", "v", "t", "row"].map(untyped);
    let body = inner("body", &nodes, &[weights("k", &[3]), ints("two", &[], &[2])], [&inputs, &outputs]);
    let mut model = single("Loop", &[1, 3], vec![], &[]);
    model.nodes = vec![
        node("list", "SequenceConstruct", &["x"], &["first"], &[]),
        node("n", "Loop", &["c0", "c1", "x", "first"], &["last", "all", "rows"], &[body]),
        node("join", "ConcatFromSequence", &["all"], &["joined"], &[attr_int("axis", 0)]),
        node("y", "MatMul", &["rows", "w"], &["y"], &[]),
    ];
    model.initializers = vec![ints("c0", &[], &[5]), tensor("c1", BOOL, &[], &[1]), weights("w", &[3, 2])];
    model.outputs = ["last", "joined", "y"].map(untyped).to_vec();
    model
}

/// A cell over the steps of a value, from its end.
fn walking() -> Model {
    let nodes = [
        node("w", "MatMul", &["h", "u"], &["p"], &[]),
        node("a", "Add", &["p", "t"], &["q"], &[]),
        node("f", "Tanh", &["q"], &["next"], &[]),
        node("o", "Identity", &["next"], &["out"], &[]),
    ];
    let ports = [["h", "t"].map(untyped), ["next", "out"].map(untyped)];
    let body = inner("body", &nodes, &[weights("u", &[3, 3])], [&ports[0], &ports[1]]);
    let attrs = [
        body,
        attr_int("num_scan_inputs", 1),
        attr_ints("scan_input_axes", &[1]),
        attr_ints("scan_input_directions", &[1]),
        attr_ints("scan_output_axes", &[-2]),
    ];
    let mut model = single("Scan", &[1, 4, 3], vec![], &[]);
    model.nodes = vec![node("n", "Scan", &["c0", "x"], &["last", "y"], &attrs)];
    model.initializers = vec![weights("c0", &[1, 3])];
    model.outputs = ["last", "y"].map(untyped).to_vec();
    model
}

/// A branch that the run chooses.
fn choosing() -> Model {
    let branch = |attr: &str, op: &str| {
        let nodes = [node("n", op, &["x", "k"], &["r"], &[])];
        inner(attr, &nodes, &[weights("k", &[3])], [&[], &[untyped("r")]])
    };
    let mut model = single("If", &[1, 3], vec![], &[]);
    model.nodes = vec![
        node("sum", "ReduceSum", &["x", "axis"], &["s"], &[attr_int("keepdims", 0)]),
        node("more", "Greater", &["s", "none"], &["c"], &[]),
        node("n", "If", &["c"], &["y"], &[branch("then_branch", "Add"), branch("else_branch", "Mul")]),
    ];
    model.initializers = vec![ints("axis", &[1], &[1]), floats("none", &[1], &[0.25])];
    model
}
