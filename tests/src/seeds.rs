//! Small valid models, one for every way into the importer: each operator, each shape idiom,
//! quantizers. The fuzzer mutates them; the tests of bad input break them.

use crate::onnx::{
    Dim, FLOAT, INT8, INT32, INT64, Message, Model, UINT8, attr_float, attr_int, attr_ints, attr_str,
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
    seeds
}
