"""Small models for the checks of portability: the bundled one, and one with the layers that it lacks."""

import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def blocks(folder):
    """Convolutions plain, depthwise and strided, a residual sum, pools, a dense layer, Softmax."""
    random = np.random.default_rng(7)
    weights = []

    def constant(name, *shape):
        fan = int(np.prod(shape[1:])) or 1
        array = (random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(x, y, cout, cin, k, **attributes):
        inputs = [x, constant(f"{y}_w", cout, cin, k, k), constant(f"{y}_b", cout)]
        return helper.make_node("Conv", inputs, [y], name=y, **attributes)

    node = helper.make_node
    nodes = [
        conv("image", "c1", 8, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c1"], ["r1"]),
        conv("r1", "c2", 8, 1, 3, pads=[1, 1, 1, 1], group=8),
        node("HardSwish", ["c2"], ["h2"]),
        conv("h2", "c3", 8, 8, 1),
        node("Add", ["c3", "r1"], ["sum"]),
        node("MaxPool", ["sum"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "c4", 9, 8, 3, pads=[1, 1, 1, 1]),
        node("Sigmoid", ["c4"], ["s4"]),
        node("GlobalAveragePool", ["s4"], ["mean"]),
        node("Flatten", ["mean"], ["flat"]),
        node("Gemm", ["flat", constant("dense_w", 9, 5), constant("dense_b", 5)], ["dense"]),
        node("Softmax", ["dense"], ["classes"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [1, 5])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "blocks.onnx")
    np.save(folder / "blocks.npy", random.standard_normal((20, 3, 16, 16)).astype(np.float32))
    return folder / "blocks.onnx", folder / "blocks.npy"


def zoo(root):
    """Float models with calibration samples, in the order of their paths; names of at most 24 bytes."""
    for path in sorted(root.rglob("*.onnx")) if root.is_dir() else []:
        samples = path.with_name("calib.npy")
        if samples.is_file() and not {"third_party", "field"} & set(path.parts):
            name = path.parent.name if path.stem == "model" else path.stem
            yield f"zoo_{name}".replace("-", "_").replace(".", "_")[:24], path, samples


def bundled():
    folder = REPOSITORY / "compiler/models/watch_cnn1d"
    return folder / "model.onnx", folder / "calib.npy"
