"""Writes a model of products of two run-time values and of Softmax, and samples for it: `matmuls.py MODEL.onnx SAMPLES.npz`.

`secateur bench MODEL.onnx --calibrate SAMPLES.npz --target cortex-m4 --emit c --per-layer` counts them.
"""

import sys

import numpy as np
from onnx import TensorProto, helper, save

# Names, shapes of both factors, and whether the second lies above zero.
PRODUCTS = [
    ("scores", [4, 24, 32], [4, 32, 24], False),
    ("values", [4, 24, 24], [4, 24, 32], False),
    ("above", [4, 24, 32], [4, 32, 24], True),
]
SOFTMAX = [("softmax24", [48, 24]), ("softmax64", [16, 64])]


def main(path, samples):
    draw = np.random.default_rng(1)
    nodes, inputs, outputs, arrays = [], [], [], {}

    def port(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def given(name, shape, values):
        inputs.append(port(name, shape))
        arrays[name] = values.astype(np.float32)

    def done(name, shape):
        outputs.append(port(f"{name}.y", shape))

    for name, a, b, above in PRODUCTS:
        given(f"{name}.a", a, draw.normal(size=[50, *a]))
        second = draw.normal(size=[50, *b])
        given(f"{name}.b", b, np.abs(second) if above else second)
        nodes.append(helper.make_node("MatMul", [f"{name}.a", f"{name}.b"], [f"{name}.y"], name=name))
        done(name, [*a[:-1], b[-1]])
    for name, shape in SOFTMAX:
        given(f"{name}.x", shape, 3 * draw.normal(size=[50, *shape]))
        nodes.append(helper.make_node("Softmax", [f"{name}.x"], [f"{name}.y"], name=name, axis=-1))
        done(name, shape)
    graph = helper.make_graph(nodes, "matmuls", inputs, outputs)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.savez(samples, **arrays)


main(sys.argv[1], sys.argv[2])
