"""Quantizes float networks by onnxruntime's own static quantizer, in every form that it has, and dumps what it
computes inside of them, as dump.py does.

    python networks.py ZOO OUT

QDQ and QOperator, activations and weights signed and unsigned, per tensor and per channel: eight models of each
network. OUT gets the models (NAME-FORM.onnx) and a folder for each.
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


def forms():
    for form, kind, channels in itertools.product(("qdq", "qoperator"), ("signed", "unsigned"), ("tensor", "channel")):
        yield form, kind, channels


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
                integers = QuantType.QInt8 if kind == "signed" else QuantType.QUInt8
                quantize_static(
                    prepared,
                    path,
                    Samples(port.name, rows[:CALIBRATION]),
                    quant_format=QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator,
                    per_channel=channels == "channel",
                    activation_type=integers,
                    weight_type=integers,
                )
                dump.dump_model(out / path.stem, path, np.stack(rows[-SAMPLES:]))


if __name__ == "__main__":
    main()
