"""Accuracy and sizes of the zoo against their limits, through the command line's JSON.

Usage: check.py SECATEUR ZOO [--only WORD]

Every row prints what was measured beside its limit; the exit code is 1 if one is missed.
Times are printed and never judged: they depend on the machine.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy

secateur, zoo = sys.argv[1], pathlib.Path(sys.argv[2])
only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
third, ours = zoo / "third_party", zoo / "ours"
missed = 0
rows = 0


def call(command, *args):
    done = subprocess.run([secateur, command, *map(str, args), "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command} {args[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def row(name, what, value, limit, ok):
    global missed, rows
    rows += 1
    missed += not ok
    print(f"{name:<34} {what:<28} {value:>14}   limit {limit:<14} {'ok' if ok else 'MISSED'}", flush=True)


def wanted(name):
    return only in name


# Top-1 drop of at most 0.5 points or 2 samples, whichever is more; agreement of at least 97 %.
for path in [third / "mlperf_kws_dscnn", third / "mlperf_ic_resnet8", ours / "watch_cnn1d",
             ours / "watch_mbv3", ours / "mitbih_cnn", ours / "fsdd_dscnn"]:
    if not wanted(path.name):
        continue
    r = call("eval", path / "model.onnx", "--calibrate", path / "calib.npy", "--data", path / "test_x.npy",
             "--labels", path / "test_y.npy", "--engine", "c")
    limit = max(0.005, 2 / r["samples"])
    row(path.name, f"int8 drop, {r['samples']} samples", f"{r['drop'] * 100:.2f}", f"{limit * 100:.2f} points",
        r["drop"] <= limit + 1e-9)
    row(path.name, "int8 agreement", f"{r['agree'] * 100:.2f}", ">= 97 %", r["agree"] >= 0.97)

# The autoencoder: within 5 % of the reference int8 model's mean squared error.
path = third / "mlperf_ad_autoencoder"
if wanted(path.name):
    r = call("eval", path / "model.onnx", "--calibrate", path / "calib.npy", "--data", path / "test_x.npy",
             "--engine", "c", "--metric", "mse")
    # 10.3129 is the reference's own figure on this data (zoo README: int8_tflite_mse).
    row(path.name, "int8 mean squared error", f"{r['engine']:.3f}", "<= 10.829", r["engine"] <= 1.05 * 10.312918)

# The visual wake word model answers like its float self on every sample.
path = third / "mlperf_vww_mobilenetv1"
if wanted(path.name):
    r = call("eval", path / "model.onnx", "--calibrate", path / "calib.npy", "--data", path / "test_x.npy",
             "--engine", "c", "--metric", "agree")
    row(path.name, f"int8 agreement, {r['samples']}", f"{r['agree'] * 100:.2f}", "100 %", r["agree"] == 1.0)

# Imported QDQ models: accuracy of the reference within 0.3 points or 1 sample. The reference is
# the graph's own meaning, with its quantize and dequantize nodes evaluated in float.
vendor = third / "mlperf_vendor_qdq"
kws, ic, sww = third / "mlperf_kws_dscnn", third / "mlperf_ic_resnet8", third / "mlperf_sww_streaming"
for name, model, data, labels in [
    ("kws qdq", kws / "model_int8_qdq.onnx", kws / "test_xq.npy", kws / "test_y.npy"),
    ("ic qdq", ic / "model_int8_qdq.onnx", ic / "test_xq.npy", ic / "test_y.npy"),
    ("sww qdq", sww / "model_int8_qdq.onnx", sww / "test_xq.npy", sww / "test_y.npy"),
    ("vendor kws qdq", vendor / "kws_ref_model.onnx", kws / "test_x.npy", kws / "test_y.npy"),
    ("vendor resnet qdq", vendor / "resnet.onnx", ic / "test_x.npy", ic / "test_y.npy"),
]:
    if not wanted(name):
        continue
    r = call("eval", model, "--data", data, "--labels", labels, "--engine", "c")
    limit = max(0.003, 1 / r["samples"])
    row(name, f"drop, {r['samples']} samples", f"{r['drop'] * 100:.2f}", f"+-{limit * 100:.2f} points",
        abs(r["drop"]) <= limit + 1e-9)

# RAM: the arena, inputs and outputs inside, in KiB.
with tempfile.TemporaryDirectory() as folder:
    for name, kib in [("mlperf_kws_dscnn", 18.5), ("mlperf_ic_resnet8", 53), ("mlperf_vww_mobilenetv1", 58),
                      ("mlperf_ad_autoencoder", 2), ("mlperf_sww_streaming", 9)]:
        if not wanted(name):
            continue
        # Sixty samples: what compile times are promised for.
        sixty = pathlib.Path(folder) / "calib60.npy"
        numpy.save(sixty, numpy.load(third / name / "calib.npy")[:60])
        for kind, model, extra in [("qdq", "model_int8_qdq.onnx", []),
                                   ("calibrated", "model.onnx", ["--calibrate", sixty])]:
            begin = time.time()
            r = call("compile", third / name / model, "--name", "m", "--target", "stm32l4r5", "-o", folder, *extra)
            seconds = time.time() - begin
            total = r["total"]
            row(name, f"{kind} arena_with_io", total["arena_with_io"], f"{int(kib * 1024)} B",
                total["arena_with_io"] <= kib * 1024)
            print(f"    {seconds:.1f} s, weights {total['weights']}, code {total['code']}, arena {total['arena']} "
                  f"(bound {total['arena_lower_bound']}), stack {total['stack']}, macs {total['macs']}, "
                  f"live {total['live_macs']}", flush=True)
            if name == "mlperf_vww_mobilenetv1" and kind == "qdq":
                row(name, "MACs left after dead channels", total["macs"], "3750000", total["macs"] <= 3_750_000)

print(f"{rows - missed} passed, {missed} failed")
sys.exit(1 if missed else 0)
