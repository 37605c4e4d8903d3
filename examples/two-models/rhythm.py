"""Makes models/rhythm.onnx and models/beats.npy: the network of ../beats-c, and behind it a memory of the last eight beats.

    pip install numpy onnx
    python rhythm.py

`past` is a state of the model: it goes in, and comes out as `past_out` with the oldest beat left out and the newest put
behind the others. `burden` is its mean, how much of the last eight beats was of each kind.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

BEATS, KINDS = 8, 3
FLOAT = onnx.TensorProto.FLOAT

model = onnx.load("../beats-c/models/beats.onnx")
graph = model.graph
graph.name = "rhythm"
graph.node.extend([
    helper.make_node("Softmax", ["kind"], ["share"], "share", axis=1),
    helper.make_node("Unsqueeze", ["share", "one"], ["newest"], "newest"),
    helper.make_node("Slice", ["past", "one", "end", "one"], ["younger"], "younger"),
    helper.make_node("Concat", ["younger", "newest"], ["past_out"], "past_out", axis=1),
    helper.make_node("ReduceMean", ["past_out"], ["burden"], "burden", axes=[1], keepdims=0),
])
graph.initializer.extend([
    numpy_helper.from_array(np.array([1], np.int64), "one"),
    numpy_helper.from_array(np.array([BEATS], np.int64), "end"),
])
graph.input.append(helper.make_tensor_value_info("past", FLOAT, [1, BEATS, KINDS]))
graph.output.extend([
    helper.make_tensor_value_info("burden", FLOAT, [1, KINDS]),
    helper.make_tensor_value_info("past_out", FLOAT, [1, BEATS, KINDS]),
])
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "models/rhythm.onnx")

# As many beats to show as there are windows of motion.
np.save("models/beats.npy", np.load("../beats-c/models/test_x.npy")[:13])
