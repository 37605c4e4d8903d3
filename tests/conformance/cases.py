#!/usr/bin/env python3
"""Writes the node cases of the ONNX conformance suite as files.

    cases.py FOLDER

In: the Python package onnx. Out, in FOLDER: cases.json, and a folder per case with model.onnx,
in_N.npy and out_N.npy. Inputs that Secateur must know at compile time (shapes, axes, pads,
limits, scales, weights) are bound from the case's data as initializers.
"""

import json
import pathlib
import shutil
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

# The operators that Secateur supports on purpose; a case that uses others is told by operator.
LISTED = set(
    """Conv Gemm MatMul Add Sub Mul Div Relu Clip LeakyRelu HardSwish HardSigmoid Sigmoid Tanh
    BatchNormalization AveragePool MaxPool GlobalAveragePool GlobalMaxPool ReduceMean Softmax
    LogSoftmax Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Pad Identity Dropout
    Cast QuantizeLinear DequantizeLinear ArgMax""".split()
)

# Types whose elements share a byte: uint4, int4, uint2, int2.
PACKED = (21, 22, 25, 26)

# Operator -> inputs that are bound.
BOUND = {
    "ConstantOfShape": (0,),
    "Conv": (1, 2),
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConvInteger": (1, 2, 3),
    "ConvTranspose": (1, 2),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "Loop": (0, 1),
    "MatMulInteger": (1, 2, 3),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "OneHot": (1,),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 2, 3),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Upsample": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}


def nodes(graph):
    """Every node of a graph and of the graphs inside its attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes(inner)


def operator(node):
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def array(value):
    """A NumPy array that a .npy file can hold, or None."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if not isinstance(value, (np.ndarray, np.generic)):
        return None
    value = np.asarray(value)
    if value.dtype.name == "bfloat16":
        value = value.astype(np.float32)
    # Narrow floats and integers of less than a byte, and strings, stand in no .npy file.
    if value.dtype.kind not in "biuf" or value.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return None
    if value.dtype.name.startswith("float") and value.dtype.itemsize == 1:
        return None
    return np.ascontiguousarray(value).reshape(value.shape)


def write(case, folder):
    """Writes one case; gives its entry in cases.json."""
    used = sorted({operator(n) for n in nodes(case.model.graph)})
    listed = set(used) <= LISTED and not case.model.functions
    entry = {"name": case.name, "operators": used, "listed": listed}
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    folder.mkdir(parents=True)
    inputs, outputs = case.data_sets[0]
    data = dict(zip([i.name for i in graph.input], inputs))
    # What an expanded function computes shapes from, on the way to what wants it known.
    shapes = ("center_crop_pad", "affine_grid", "blackmanwindow", "hammingwindow", "hannwindow", "test_range")
    expanded = case.name.endswith("_expanded") and any(s in case.name for s in shapes)
    every = "window" in case.name or "test_range" in case.name
    bound = [i.name for i in graph.input if every or i.name in ("shape", "size")] if expanded else []
    # Integers of less than a byte are constants; no input has them.
    bound += [i.name for i in graph.input if i.type.tensor_type.elem_type in PACKED]
    bound += [n.input[i] for n in graph.node for i in BOUND.get(n.op_type, ()) if i < len(n.input)]
    for name in dict.fromkeys(b for b in bound if b in data):
        value = array(data[name])
        proto = data[name] if isinstance(data[name], onnx.TensorProto) else None
        if proto is None and value is not None:
            # The type of the input counts: bfloat16 was widened above.
            proto = numpy_helper.from_array(np.asarray(data[name]))
        if proto is None:
            continue
        tensor = graph.initializer.add()
        tensor.CopyFrom(proto)
        tensor.name = name
        for input in [i for i in graph.input if i.name == name]:
            graph.input.remove(input)
        del data[name]
    inputs, outputs = [array(v) for v in data.values()], [array(v) for v in outputs]
    entry["data"] = all(v is not None for v in inputs + outputs)
    entry["rtol"], entry["atol"] = float(case.rtol), float(case.atol)
    entry["inputs"], entry["outputs"] = len(inputs), len(outputs)
    if entry["data"]:
        for kind, values in (("in", inputs), ("out", outputs)):
            for i, value in enumerate(values):
                np.save(folder / f"{kind}_{i}.npy", value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return entry


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
        cases = sorted(collect_testcases(None), key=lambda c: c.name)
    entries = [write(case, target / case.name) for case in cases]
    (target / "cases.json").write_text(json.dumps({"onnx": onnx.__version__, "cases": entries}, indent=1))
    print(f"{len(entries)} cases, {sum(e['listed'] for e in entries)} of listed operators alone")


main()
