"""Quantizes float networks by onnxruntime's own static quantizer, in every form that it has, and dumps what it
computes inside of them, as dump.py does.

    python networks.py ZOO OUT

QDQ and QOperator, activations and weights signed and unsigned, per tensor and per channel: eight models of each
network; and two whose activations have 16 bits, which only QDQ has. OUT gets the models (NAME-FORM.onnx) and a folder for each.
"""

import itertools
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import dump

CALIBRATION = 24  # samples that the quantizer sees
SAMPLES = 3  # samples of the witness

NETWORKS = [
    "ours/fsdd_dscnn",
    "ours/mitbih_cnn",
    "ours/watch_cnn1d",
    "ours/watch_mbv3",
    "third_party/micro_kws_m",
    "third_party/mlperf_ad_autoencoder",
    "third_party/mlperf_ic_resnet8",
    "third_party/mlperf_kws_dscnn",
    "third_party/mlperf_sww_streaming",
    "third_party/tflm_hello_world",
]


class Samples(CalibrationDataReader):
    def __init__(self, name, arrays):
        self.rows = iter([{name: x} for x in arrays])

    def get_next(self):
        return next(self.rows, None)


# Types of activations and of weights, and what the quantizer has to be told beside them.
KINDS = {
    "signed": (QuantType.QInt8, QuantType.QInt8, {}),
    "unsigned": (QuantType.QUInt8, QuantType.QUInt8, {}),
    "signed16": (QuantType.QInt16, QuantType.QInt8, {"UseQDQContribOps": True}),
    "unsigned16": (QuantType.QUInt16, QuantType.QInt8, {"UseQDQContribOps": True}),
}


def forms():
    yield from itertools.product(("qdq", "qoperator"), ("signed", "unsigned"), ("tensor", "channel"))
    yield from (("qdq", "signed16", "channel"), ("qdq", "unsigned16", "tensor"))


def main():
    zoo, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for network in NETWORKS:
        name = pathlib.Path(network).name
        data = np.load(zoo / network / "calib.npy").astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            prepared = pathlib.Path(folder) / "float.onnx"
            quant_pre_process(zoo / network / "model.onnx", prepared, skip_symbolic_shape=True)
            port = onnx.load(prepared).graph.input[0]
            shape = [d.dim_value or 1 for d in port.type.tensor_type.shape.dim]
            rows = [x.reshape(shape) for x in data]
            for form, kind, channels in forms():
                path = out / f"{name}-{form}-{kind}-{channels}.onnx"
                activations, weights, extra = KINDS[kind]
                quantize_static(
                    prepared,
                    path,
                    Samples(port.name, rows[:CALIBRATION]),
                    quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
                    per_channel=channels == "channel",
                    activation_type=activations,
                    weight_type=weights,
                    extra_options=extra,
                )
                dump.dump_model(out / path.stem, path, np.stack(rows[-SAMPLES:]))


if __name__ == "__main__":
    main()
