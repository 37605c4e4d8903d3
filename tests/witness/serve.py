"""Answers what onnxruntime makes of a model, as long as somebody asks.

A message is a count and that many byte strings, each after its length (little-endian, 32 bits).
A request begins with its name, a reply with `ok` or with `error` and why.

  check     model  ->  nothing, if onnx.checker finds no fault in it
  run       model, one .npy per input (first axis: sample)  ->  one .npy per output
  quantize  settings, model, one .npy per input             ->  QDQ model, names, one .npy a name

`quantize` runs onnxruntime's own static quantizer. Its settings are words: `per_channel`,
`unsigned` (activations), `unsigned_weights`, `symmetric`, `sixteen` (bits of activations). The names, one a
line, are those of all tensors inside the quantized model that are integers of 8 or 16 bits or floats; their
arrays hold the first samples only.
"""

import io
import pathlib
import struct
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

INNER = 3  # samples whose inner tensors are kept


def read(stream):
    def exactly(n):
        data = stream.read(n)
        if len(data) != n:
            sys.exit(0)
        return data

    (count,) = struct.unpack("<I", exactly(4))
    return [exactly(struct.unpack("<I", exactly(4))[0]) for _ in range(count)]


def write(stream, parts):
    stream.write(struct.pack("<I", len(parts)))
    for part in parts:
        stream.write(struct.pack("<I", len(part)) + part)
    stream.flush()


def load(data):
    return np.load(io.BytesIO(data), allow_pickle=False)


def dump(array):
    out = io.BytesIO()
    np.save(out, np.asarray(array, order="C"))
    return out.getvalue()


def session(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, ["CPUExecutionProvider"])


def every_sample(model, wanted, arrays, limit=None):
    s = session(model)
    names = [i.name for i in s.get_inputs()]
    samples = min(len(a) for a in arrays)
    samples = samples if limit is None else min(samples, limit)
    rows = [s.run(wanted, {n: a[i] for n, a in zip(names, arrays)}) for i in range(samples)]
    return [np.stack([row[k] for row in rows]) for k in range(len(rows[0]))]


def run(model, *arrays):
    return [dump(a) for a in every_sample(model, None, [load(a) for a in arrays])]


def check(data):
    # Not with shapes: onnx infers those of ragged windows wrongly.
    onnx.checker.check_model(onnx.load_from_string(data))
    return []


def quantize(settings, data, *arrays):
    from onnxruntime import quantization as q

    settings = settings.decode().split()
    model = onnx.load_from_string(data)
    arrays = [load(a) for a in arrays]
    names = [i.name for i in model.graph.input]

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.rows = iter([dict(zip(names, row)) for row in zip(*arrays)])

        def get_next(self):
            return next(self.rows, None)

    types = {
        (False, False): q.QuantType.QInt8,
        (False, True): q.QuantType.QUInt8,
        (True, False): q.QuantType.QInt16,
        (True, True): q.QuantType.QUInt16,
    }
    activation = types["sixteen" in settings, "unsigned" in settings]
    weight = q.QuantType.QUInt8 if "unsigned_weights" in settings else q.QuantType.QInt8
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder) / "float.onnx", pathlib.Path(folder) / "qdq.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), source)
        q.quantize_static(
            source,
            result,
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel="per_channel" in settings,
            activation_type=activation,
            weight_type=weight,
            extra_options={"ActivationSymmetric": "symmetric" in settings},
        )
        model = onnx.load(result)
    # onnx infers some shapes wrongly (ragged windows of pools); they claim nothing then.
    for port in model.graph.output:
        port.type.tensor_type.ClearField("shape")
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    outputs = [o.name for o in model.graph.output]
    inner = [t for n in model.graph.node for t in n.output if t]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=t) for t in inner if t not in outputs)
    wanted = list(dict.fromkeys(outputs + inner))
    found = every_sample(tapped.SerializeToString(), wanted, arrays, INNER)
    types = (np.int8, np.uint8, np.int16, np.uint16, np.float32, np.int64)
    kept = [(n, a) for n, a in zip(wanted, found) if a.dtype in types]
    return [model.SerializeToString(), "\n".join(n for n, _ in kept).encode(), *(dump(a) for _, a in kept)]


def main():
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    # What a library prints must not get between the replies.
    sys.stdout = sys.stderr
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    write(stdout, [b"ok", f"onnxruntime {ort.__version__}".encode()])
    while True:
        name, *parts = read(stdin)
        try:
            reply = [b"ok", *{b"check": check, b"run": run, b"quantize": quantize}[name](*parts)]
        except Exception as e:  # whatever it is, the caller has to hear of it
            reply = [b"error", f"{type(e).__name__}: {e}".encode()]
        write(stdout, reply)


if __name__ == "__main__":
    main()
