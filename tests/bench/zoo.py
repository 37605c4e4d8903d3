"""The models of the zoo that the commands beside this file count and compare, the cores, and how one
run is counted with `secateur bench`."""

import concurrent.futures
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ZOO = pathlib.Path(os.environ.get("SECATEUR_ZOO", ROOT / ".." / "shared" / "zoo"))

# Name, folder, file, calibration samples.
MLPERF = {
    "kws": ("third_party/mlperf_kws_dscnn", "model_int8_qdq.onnx", None),
    "ic": ("third_party/mlperf_ic_resnet8", "model_int8_qdq.onnx", None),
    "vww": ("third_party/mlperf_vww_mobilenetv1", "model_int8_qdq.onnx", None),
    "ad": ("third_party/mlperf_ad_autoencoder", "model_int8_qdq.onnx", None),
}
OTHERS = {
    "watch_cnn1d": ("ours/watch_cnn1d", "model.onnx", "calib.npy"),
    "watch_mbv3": ("ours/watch_mbv3", "model.onnx", "calib.npy"),
    "mitbih_cnn": ("ours/mitbih_cnn", "model.onnx", "calib.npy"),
    "fsdd_dscnn": ("ours/fsdd_dscnn", "model.onnx", "calib.npy"),
    "micro_kws_m": ("third_party/micro_kws_m", "model_qdq.onnx", None),
    "mcunet_vww": ("third_party/mcunet_vww", "model_int8_qdq.onnx", None),
    "st_mnv1_pruned": ("third_party/st_mnv1_pruned", "model.onnx", "calib.npy"),
    "st_yamnet256": ("third_party/st_yamnet256", "model.onnx", "calib.npy"),
    "sww": ("third_party/mlperf_sww_streaming", "model_int8_qdq.onnx", None),
}
MODELS = {**MLPERF, **OTHERS}

CORES = [
    "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55",
    "rv32imc", "rv32imcv", "hexagon-v67",
]
TABLE = ["cortex-m0plus", "cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55"]


def secateur():
    found = os.environ.get("SECATEUR")
    if found:
        return found
    subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "secateur"], cwd=ROOT, check=True)
    return str(ROOT / "target" / "release" / "secateur")


def command(binary, core, model, aim, language):
    folder, file, calibration = MODELS[model]
    line = [binary, "bench", str(ZOO / folder / file), "--target", core, "--name", model]
    line += ["--optimize", aim, "--emit", language]
    if calibration:
        line += ["--calibrate", str(ZOO / folder / calibration)]
    return line


def integer_models():
    """Every model of the zoo that becomes int8: its file, and its samples where it needs some."""
    for name, (folder, file, calibration) in MODELS.items():
        yield name, ZOO / folder / file, ZOO / folder / calibration if calibration else None
    for folder in ["ours/watch_cnngru", "ours/jv_lstm", "ours/snips_bert", "third_party/st_mnv2_035_128"]:
        path = ZOO / folder
        samples = [path / name for name in ["calib.npy", "calib.npz"] if (path / name).exists()]
        if (path / "model.onnx").exists() and samples:
            yield path.name, path / "model.onnx", samples[0]


def count(binary, core, model, aim, language):
    done = subprocess.run([*command(binary, core, model, aim, language), "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{core} {model} {aim} {language}:\n{done.stderr}")
    run = json.loads(done.stdout)
    run.pop("layers", None)
    return run


def workers():
    return concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
