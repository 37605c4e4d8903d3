"""Dumps what onnxruntime computes inside quantized (QDQ) models, with its optimisations disabled.

    python dump.py ZOO OUT

For each model OUT gets a folder with
  model.txt    path of the model
  names.txt    one line per tensor: kind (input, inner, output), index, name
  v<index>.npy the tensor, first axis: sample (inner tensors of the first few samples only)

The Rust suite `qdq` compares every layer and the whole network with these.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort

INNER = 3  # samples whose inner tensors are kept
WHOLE = 50  # samples whose outputs are kept


def same(x):
    return x


def flat(x):
    return x.reshape(len(x), -1)


def photo(x):
    """vww photos, 0..1 NHWC, as the torch-trained vendor model wants them."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((x - mean) / std).transpose(0, 3, 1, 2)


# folder and model, data of which folder, file, how the data become the model's input
MODELS = [
    ("mlperf_kws_dscnn/model_int8_qdq", "mlperf_kws_dscnn/test_xq", same),
    ("mlperf_ic_resnet8/model_int8_qdq", "mlperf_ic_resnet8/test_xq", same),
    ("mlperf_vww_mobilenetv1/model_int8_qdq", "mlperf_vww_mobilenetv1/test_xq", same),
    ("mlperf_ad_autoencoder/model_int8_qdq", "mlperf_ad_autoencoder/test_xq", same),
    ("mlperf_sww_streaming/model_int8_qdq", "mlperf_sww_streaming/test_xq", same),
    ("tflm_micro_speech/model_int8_qdq", "tflm_micro_speech/test_x", same),
    ("micro_kws_m/model_qdq", "micro_kws_m/test_x", same),
    ("mcunet_vww/model_int8_qdq", "mcunet_vww/test_x", same),
    ("mlperf_vendor_qdq/kws_ref_model", "mlperf_kws_dscnn/test_x", flat),
    ("mlperf_vendor_qdq/resnet", "mlperf_ic_resnet8/test_x", same),
    ("mlperf_vendor_qdq/mobilenet_v1", "mlperf_vww_mobilenetv1/test_x", photo),
    ("mlperf_vendor_qdq/deep_autoencoder", "mlperf_ad_autoencoder/test_x", same),
]


def session(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def dump(zoo, out, name, data, prepare):
    path = zoo / f"{name}.onnx"
    dump_model(out / name.replace("/", "-"), path, prepare(np.load(zoo / f"{data}.npy")[:WHOLE]))


def dump_model(folder, path, samples):
    """What a model computes of some samples, in a folder."""
    model = onnx.load(path)
    outputs = [o.name for o in model.graph.output]
    inner = []
    for node in model.graph.node:
        for tensor in node.output:
            if tensor and tensor not in outputs:
                inner.append(tensor)
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=t) for t in inner)

    port = model.graph.input[0]
    shape = [d.dim_value or 1 for d in port.type.tensor_type.shape.dim]
    kind = np.int8 if port.type.tensor_type.elem_type == onnx.TensorProto.INT8 else np.float32
    x = samples.astype(kind)
    plain, full = session(model), session(tapped)

    folder.mkdir(parents=True, exist_ok=True)
    lines = []

    def keep(what, tensor, samples):
        np.save(folder / f"v{len(lines)}.npy", np.ascontiguousarray(np.stack(samples)))
        lines.append(f"{what} {len(lines)} {tensor}")

    keep("input", port.name, x)
    whole = [plain.run(outputs, {port.name: s.reshape(shape)}) for s in x]
    for i, tensor in enumerate(outputs):
        keep("output", tensor, [w[i] for w in whole])
    taps = [full.run(inner, {port.name: s.reshape(shape)}) for s in x[:INNER]]
    # The last value before a Softmax, for every sample: what the whole network is judged by.
    logits = [n.input[0] for n in model.graph.node if n.op_type == "Softmax"]
    by_output = {o: n for n in model.graph.node for o in n.output}
    if logits and by_output.get(logits[0]) is not None and by_output[logits[0]].op_type == "DequantizeLinear":
        logits = [by_output[logits[0]].input[0]]
    for tensor in logits[:1]:
        keep("logits", tensor, [full.run([tensor], {port.name: s.reshape(shape)})[0] for s in x])
    for i, tensor in enumerate(inner):
        array = [t[i] for t in taps]
        if array[0].dtype in (np.int8, np.uint8, np.int16, np.uint16, np.float32):
            keep("inner", tensor, array)
    (folder / "names.txt").write_text("\n".join(lines) + "\n")
    (folder / "model.txt").write_text(f"{path.resolve()}\n")
    print(f"{folder.name}: {len(lines)} tensors, {len(x)} samples")


def main():
    zoo, out = pathlib.Path(sys.argv[1]) / "third_party", pathlib.Path(sys.argv[2])
    for name, data, prepare in MODELS:
        dump(zoo, out, name, data, prepare)


if __name__ == "__main__":
    main()
