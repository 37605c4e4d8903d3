#!/usr/bin/env python3
"""Makes the decoders of this folder, with random weights, and runs them step by step in onnxruntime.

    make.py

Python packages: numpy, onnx==1.23.2, onnxruntime==1.32.0. Out, here: NAME.onnx, the tokens of sequences for
calibration (tokens.calib.npz) and of one to try (tokens.npz), and the logits that onnxruntime gives for the latter,
its caches handed from run to run (NAME.ref.npz).

Each is a causal decoder of two layers that reads one token a run. They differ in how a layer's keys and values
get into its caches: NAME is one of CASES.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
LAYERS, HEADS, DEPTH, WORDS, STEPS = 2, 2, 16, 48, 64
WIDTH, HIDDEN = HEADS * DEPTH, 64

# Tokens that a cache holds, and how they get there:
#   scatter   in a cache for all steps, keys by ScatterElements and values by ScatterND, those to come masked by
#             their position; the position is a state of the model
#   ring      in a cache that begins anew when it is full, by ScatterND both
#   window    behind the last tokens, of which the first leaves, by Slice and Concat; the caller counts
CASES = {"scatter": 64, "ring": 16, "window": 16}


class Build:
    """Nodes and weights of a graph, in the order in which they are asked for."""

    def __init__(self):
        self.nodes, self.constants = [], {}
        self.random = np.random.default_rng(7)

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def weight(self, name, *shape, size=1.0, around=0.0):
        values = self.random.normal(size=shape) * size + around
        return self.constant(name, values.astype(np.float32))

    def op(self, op, *inputs, to=None, **attributes):
        to = to or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [to], name=to, **attributes))
        return to

    def dense(self, name, x, rows, columns, size=1.0):
        w = self.weight(f"{name}.weight", rows, columns, size=size / rows**0.5)
        return self.op("Add", self.op("MatMul", x, w), self.weight(f"{name}.bias", columns, size=0.1))

    def normalized(self, name, x):
        scale = self.weight(f"{name}.scale", WIDTH, size=0.2, around=1.0)
        shift = self.weight(f"{name}.shift", WIDTH, size=0.1)
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)


def kept(b, case, cache, new, position):
    """The cache with the keys or values of this step."""
    to = cache.replace("past", "present")
    if case == "window":
        rest = b.op("Slice", cache, "one", "most", "two")
        return b.op("Concat", rest, new, to=to, axis=2)
    if case == "scatter" and "key" in cache:
        places = b.op("Expand", b.op("Reshape", position, "four"), "row")
        return b.op("ScatterElements", cache, places, new, to=to, axis=2)
    # cache[:, :, position] = new, whose axes stand in the order of what is indexed first.
    place = b.op("Reshape", position, "pair")
    first = b.op("Transpose", cache, perm=[2, 0, 1, 3])
    row = b.op("Transpose", new, perm=[2, 0, 1, 3])
    return b.op("Transpose", b.op("ScatterND", first, place, row), to=to, perm=[1, 2, 0, 3])


def model(case):
    b, length = Build(), CASES[case]
    b.constant("one", np.array([1], np.int64))
    b.constant("two", np.array([2], np.int64))
    b.constant("most", np.array([2**63 - 1], np.int64))
    b.constant("four", np.array([1, 1, 1, 1], np.int64))
    b.constant("pair", np.array([1, 1], np.int64))
    b.constant("row", np.array([1, HEADS, 1, DEPTH], np.int64))
    b.constant("apart", np.array([0, -1, HEADS, DEPTH], np.int64))
    b.constant("together", np.array([0, -1, WIDTH], np.int64))
    b.constant("keys", np.arange(length, dtype=np.int64).reshape(1, 1, 1, length))
    b.constant("length", np.array([length], np.int64))
    b.constant("last", np.array([length - 1], np.int64))
    b.constant("root", np.array(DEPTH**-0.5, np.float32))
    b.constant("zero", np.array(0.0, np.float32))
    b.constant("closed", np.array(np.finfo(np.float32).min if case == "scatter" else -np.inf, np.float32))

    # What of a cache is filled.
    if case == "window":
        seen = b.op("GreaterOrEqual", "keys", b.op("Sub", "last", "position"))
    else:
        seen = b.op("LessOrEqual", "keys", "position")
        b.op("Add", "position", "one", to="position_next")
    slot = b.op("Mod", "position", "length") if case == "ring" else "position"

    words = b.op("Gather", b.weight("words", WORDS, WIDTH), "token", axis=0)
    places = b.op("Gather", b.weight("places", STEPS, WIDTH, size=0.5), "position", axis=0)
    x = b.op("Add", words, places)
    caches = []
    for layer in range(LAYERS):
        name = f"layer{layer}"
        n = b.normalized(f"{name}.norm1", x)
        q, k, v = (b.dense(f"{name}.{part}", n, WIDTH, WIDTH, size=1.6 if part != "v" else 1.0) for part in "qkv")
        q, k, v = (b.op("Transpose", b.op("Reshape", y, "apart"), perm=[0, 2, 1, 3]) for y in (q, k, v))
        keys = kept(b, case, f"past_key_{layer}", k, slot)
        values = kept(b, case, f"past_value_{layer}", v, slot)
        caches += [f"past_key_{layer}", f"past_value_{layer}"]
        scores = b.op("Mul", b.op("MatMul", q, b.op("Transpose", keys, perm=[0, 1, 3, 2])), "root")
        if case == "window":
            scores = b.op("Where", seen, scores, "closed")
        else:
            scores = b.op("Add", scores, b.op("Where", seen, "zero", "closed"))
        heads = b.op("MatMul", b.op("Softmax", scores, axis=-1), values)
        heads = b.op("Reshape", b.op("Transpose", heads, perm=[0, 2, 1, 3]), "together")
        x = b.op("Add", x, b.dense(f"{name}.out", heads, WIDTH, WIDTH))
        h = b.dense(f"{name}.up", b.normalized(f"{name}.norm2", x), WIDTH, HIDDEN, size=1.4)
        share = b.op("Erf", b.op("Div", h, b.constant(f"{name}.sqrt2", np.array(2**0.5, np.float32))))
        share = b.op("Add", share, b.constant(f"{name}.one", np.array(1.0, np.float32)))
        h = b.op("Mul", b.op("Mul", h, share), b.constant(f"{name}.half", np.array(0.5, np.float32)))
        x = b.op("Add", x, b.dense(f"{name}.down", h, HIDDEN, WIDTH))
    head = b.weight("head", WIDTH, WORDS, size=WIDTH**-0.5)
    b.op("MatMul", b.normalized("norm", x), head, to="logits")

    info = helper.make_tensor_value_info
    shape = [1, HEADS, length, DEPTH]
    inputs = [info("token", TensorProto.INT64, [1, 1]), info("position", TensorProto.INT64, [1])]
    outputs = [info("logits", TensorProto.FLOAT, [1, 1, WORDS])]
    if case != "window":
        outputs.append(info("position_next", TensorProto.INT64, [1]))
    inputs += [info(c, TensorProto.FLOAT, shape) for c in caches]
    outputs += [info(c.replace("past", "present"), TensorProto.FLOAT, shape) for c in caches]
    read = {name for node in b.nodes for name in node.input}
    constants = [tensor for name, tensor in b.constants.items() if name in read]
    graph = helper.make_graph(b.nodes, case, inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made, tokens):
    """The logits of each step."""
    session = onnxruntime.InferenceSession(made.SerializeToString())
    zero = lambda port: np.zeros(port.shape, np.int64 if "int64" in port.type else np.float32)
    held = {port.name: zero(port) for port in session.get_inputs()}
    logits = []
    for step, token in enumerate(tokens):
        held["token"] = np.array([[token]], np.int64)
        given = {port.name: held[port.name] for port in session.get_inputs()}
        out = dict(zip([o.name for o in session.get_outputs()], session.run(None, given)))
        logits.append(out.pop("logits"))
        held["position"] = out.pop("position_next", np.array([step + 1], np.int64))
        held.update({name.replace("present", "past"): value for name, value in out.items()})
    return np.stack(logits)


def main():
    random = np.random.default_rng(3)
    calibration = random.integers(WORDS, size=(12, STEPS, 1, 1), dtype=np.int64)
    tokens = random.integers(WORDS, size=(1, STEPS, 1, 1), dtype=np.int64)
    np.savez_compressed(HERE / "tokens.calib.npz", token=calibration)
    np.savez_compressed(HERE / "tokens.npz", token=tokens)
    for case in CASES:
        made = model(case)
        logits = run(made, tokens.reshape(-1))
        onnx.save(made, HERE / f"{case}.onnx")
        np.savez_compressed(HERE / f"{case}.ref.npz", logits=logits)
        print(f"{case}: {made.ByteSize()} bytes, logits {logits.std():.3f} around {logits.mean():.3f}")


if __name__ == "__main__":
    main()
