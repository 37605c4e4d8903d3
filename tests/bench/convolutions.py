"""Writes a QDQ model of equal convolutions, each with weights of its own: `convolutions.py FILE LAYERS`."""

import random
import sys

from onnx import TensorProto, helper, save

CHANNELS, SIDE = 16, 16


def main(path, layers):
    draw = random.Random(1)
    shape = [1, CHANNELS, SIDE, SIDE]
    nodes, constants = [], []

    def constant(name, kind, dims, values):
        constants.append(helper.make_tensor(name, kind, dims, values))
        return name

    zero = constant("zero", TensorProto.INT8, [], [0])
    step = constant("step", TensorProto.FLOAT, [], [0.05])
    small = constant("small", TensorProto.FLOAT, [], [0.002])

    def quantized(x, name):
        nodes.append(helper.make_node("QuantizeLinear", [x, step, zero], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", step, zero], [name]))
        return name

    x = quantized("x", "x_dq")
    for i in range(layers):
        count = CHANNELS * CHANNELS * 9
        weights = constant(
            f"w{i}", TensorProto.INT8, [CHANNELS, CHANNELS, 3, 3], [draw.randint(-127, 127) for _ in range(count)]
        )
        nodes.append(helper.make_node("DequantizeLinear", [weights, small, zero], [f"w{i}_dq"]))
        nodes.append(helper.make_node("Conv", [x, f"w{i}_dq"], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]))
        x = quantized(f"c{i}", f"y{i}")
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        constants,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


main(sys.argv[1], int(sys.argv[2]))
