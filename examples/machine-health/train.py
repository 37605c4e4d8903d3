#!/usr/bin/env python3
"""Trains a small autoencoder on the vibration of a healthy machine, and writes `models/`, `samples.c` and `limit.h`.

    pip install numpy onnx && python3 train.py

Vibration is that of a motor at 45 to 52 turns a second, as an accelerometer of 16 bits at +-4 g gives it 3,200 times a
second, in windows of 40 ms: three harmonics of the shaft and noise. Of three faults the network never sees one:

    bearing     a cracked race: each ball that meets it rings a resonance of the housing
    looseness   a foot that lifts: half and many whole multiples of the shaft's turns
    unbalance   the first harmonic alone, three times as strong

What an autoencoder has learned it gives back; the error on anything else is larger. The limit for it is set by what the
int8 model's error is on calibration windows: their mean and six standard deviations. The model's integers are those of
`secateur run`, the compiler of this repository. Same numpy, same bytes."""

import os
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE, LENGTH, COUNT = 3200, 128, 4 / 32768
WIDTHS = [LENGTH, 32, 10, 32, LENGTH]
rng = np.random.default_rng(11)


def window(condition):
    time = np.arange(LENGTH) / RATE
    shaft, load = rng.uniform(45, 52), rng.uniform(0.7, 1.3)
    heights = {1: 0.30, 2: 0.12, 3: 0.05}
    if condition == "unbalance":
        heights[1] *= 3
    if condition == "looseness":
        heights.update({0.5: 0.10, 1.5: 0.08, 4: 0.09, 5: 0.08, 6: 0.06, 7: 0.05})
    out = rng.normal(0, 0.025, LENGTH)
    for multiple, height in heights.items():
        out += load * height * np.sin(2 * np.pi * (multiple * shaft * time + rng.uniform()))
    if condition == "bearing":
        # One ball after the other, 3.6 times a turn, with a little slip.
        at = -rng.uniform(0, 1) / (3.6 * shaft)
        while at < LENGTH / RATE:
            since = np.maximum(time - at, 0)
            ring = np.exp(-since / 0.0012) * np.sin(2 * np.pi * 1150 * since)
            out += (time >= at) * rng.uniform(0.35, 0.6) * ring
            at += rng.uniform(0.97, 1.03) / (3.6 * shaft)
    return out


def counts(condition, many):
    """Windows in counts of the sensor."""
    windows = np.stack([window(condition) for _ in range(many)])
    return np.clip(np.round(windows / COUNT), -32768, 32767).astype(np.int16)


weights = []
for wide, narrow in zip(WIDTHS, WIDTHS[1:]):
    weights += [rng.normal(0, np.sqrt(2 / wide), (narrow, wide)), np.zeros(narrow)]


def forward(x):
    kept = [x]
    for i in range(0, len(weights), 2):
        x = x @ weights[i].T + weights[i + 1]
        # Neither the narrow layer in the middle nor the last has a Relu.
        if i in (0, 4):
            x = np.maximum(x, 0)
        kept.append(x)
    return kept


def train(x, epochs=60, batch=64, rate=2e-3):
    first, second, step = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights], 0
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), batch):
            kept = forward(x[order[begin : begin + batch]])
            g = 2 * (kept[-1] - kept[0]) / len(kept[0])
            grads = [None] * len(weights)
            for i in range(len(weights) - 2, -1, -2):
                if i in (0, 4):
                    g = g * (kept[i // 2 + 1] > 0)
                grads[i], grads[i + 1] = g.T @ kept[i // 2], g.sum(axis=0)
                g = g @ weights[i]
            step += 1
            now = rate * 0.5 * (1 + np.cos(np.pi * step / (epochs * len(x) / batch)))
            for w, g, m, v in zip(weights, grads, first, second):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                w -= now * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)


def model():
    init = [numpy_helper.from_array(w.astype(np.float32), f"{'wb'[i % 2]}{i // 2}") for i, w in enumerate(weights)]
    nodes, x = [], "vibration"
    for i in range(4):
        y = "again" if i == 3 else f"y{i}"
        nodes.append(helper.make_node("Gemm", [x, f"w{i}", f"b{i}"], [y], f"dense{i}", transB=1))
        x = y
        if i in (0, 2):
            nodes.append(helper.make_node("Relu", [y], [f"r{i}"], f"relu{i}"))
            x = f"r{i}"
    graph = helper.make_graph(
        nodes,
        "health",
        [helper.make_tensor_value_info("vibration", TensorProto.FLOAT, [1, LENGTH])],
        [helper.make_tensor_value_info("again", TensorProto.FLOAT, [1, LENGTH])],
        init,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="machine-health")
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def errors(windows):
    """The mean square error of the int8 model, in g^2, by window."""
    here = os.path.dirname(os.path.abspath(__file__))
    compiler = os.environ.get("SECATEUR", "").split() or [
        *"cargo run --quiet --release --bin secateur --manifest-path".split(), f"{here}/../../Cargo.toml", "--",
    ]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", (windows * COUNT).astype(np.float32)[:, None])
        line = ["run", "models/health.onnx", "--input", f"{folder}/x.npy", "--engine", "eval", "--output"]
        subprocess.run([*compiler, *line, f"{folder}/y.npz"], check=True)
        again = np.load(f"{folder}/y.npz")["again"].reshape(len(windows), LENGTH)
    return ((again - windows * COUNT) ** 2).mean(axis=1)


def source(windows, conditions):
    rows = ",\n".join("    {" + ", ".join(map(str, row)) + "}" for row in windows)
    names = ", ".join(f'"{c}"' for c in conditions)
    return (
        "/* Written by train.py: synthetic vibration in counts of the sensor, a window a row, and the machine's condition. */\n"
        f'#include "samples.h"\n\nconst int16_t samples[SAMPLES][SAMPLE_LENGTH] = {{\n{rows},\n}};\n\n'
        f"const char *const conditions[SAMPLES] = {{{names}}};\n"
    )


if __name__ == "__main__":
    train(counts("healthy", 4000) * COUNT)
    onnx.save(model(), "models/health.onnx")
    np.save("models/calib.npy", (counts("healthy", 96) * COUNT).astype(np.float32)[:, None])
    seen = errors(counts("healthy", 500))
    limit = seen.mean() + 6 * seen.std()
    with open("limit.h", "w") as file:
        file.write(
            "/* Written by train.py: the mean square error, in g^2, above which a window is not that of a healthy machine. */\n"
            f"#define LIMIT_G2 {limit:.6g}f\n"
        )
    for condition in ["healthy", "bearing", "looseness", "unbalance"]:
        above = (errors(counts(condition, 1000)) > limit).mean()
        print(f"{condition:<12}{100 * above:5.1f} % of 1000 windows above the limit")
    shown = ["healthy"] * 5 + ["bearing"] * 5 + ["healthy"] * 4 + ["looseness"] * 5 + ["unbalance"] * 5
    with open("samples.c", "w") as file:
        file.write(source(np.concatenate([counts(c, 1) for c in shown]), shown))
