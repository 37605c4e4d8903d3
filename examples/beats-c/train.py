#!/usr/bin/env python3
"""Trains a small network that tells three kinds of heartbeats apart, on synthetic beats, and writes `models/`.

    pip install numpy onnx && python3 train.py

Beats are sums of Gaussian waves (P, Q, R, S and T, as in McSharry et al., "A dynamical model for generating synthetic
electrocardiogram signals", IEEE Trans. Biomed. Eng. 50, 2003) in a window of one second at 128 Hz around the R wave:

    0  normal
    1  ventricular: early, wide, without a P wave, with an inverted T wave
    2  supraventricular: early, narrow, with an early and flat P wave

They differ in heights, widths, times, baseline and noise; the beat before is in the window where it is near enough.
Nothing of it is a patient's, and the network is no medical device. Same numpy, same bytes."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE, LENGTH, CENTRE = 128, 128, 72
rng = np.random.default_rng(7)

# Height, place in seconds from R, width in seconds.
WAVES = {
    0: [(0.15, -0.18, 0.022), (-0.12, -0.028, 0.010), (1.0, 0.0, 0.012), (-0.22, 0.030, 0.011), (0.30, 0.25, 0.045)],
    1: [(-0.15, -0.070, 0.025), (1.15, 0.0, 0.038), (-0.50, 0.090, 0.030), (-0.35, 0.30, 0.060)],
    2: [(0.06, -0.13, 0.018), (-0.10, -0.028, 0.010), (0.95, 0.0, 0.012), (-0.22, 0.030, 0.011), (0.27, 0.24, 0.045)],
}


def waves(kind, at, time):
    out = np.zeros_like(time)
    stretch = rng.uniform(0.9, 1.1)
    for height, place, width in WAVES[kind]:
        height = height * rng.normal(1.0, 0.12)
        out += height * np.exp(-(((time - at - place * stretch) / (width * rng.uniform(0.85, 1.15))) ** 2) / 2)
    return out


def beat(kind):
    time = (np.arange(LENGTH) - CENTRE) / RATE + rng.uniform(-0.01, 0.01)
    before = rng.uniform(0.70, 1.0) if kind == 0 else rng.uniform(0.38, 0.52)
    out = waves(kind, 0.0, time) + waves(0, -before, time)
    out += rng.uniform(-0.1, 0.1) + rng.uniform(0, 0.08) * np.sin(2 * np.pi * (rng.uniform(0.2, 0.5) * time + rng.uniform()))
    out += rng.normal(0, rng.uniform(0.01, 0.05), LENGTH)
    return out * rng.uniform(0.7, 1.4)


def beats(count):
    kinds = rng.integers(0, 3, count)
    return np.stack([beat(k) for k in kinds]).astype(np.float32)[:, None, :], kinds


# Three convolutions of stride 2, a mean over time, a dense layer.
SHAPES = [(8, 1, 7), (16, 8, 5), (16, 16, 5)]
STRIDE = 2
weights = []
for shape in SHAPES:
    weights += [rng.normal(0, np.sqrt(2 / (shape[1] * shape[2])), shape), np.zeros(shape[0])]
weights += [rng.normal(0, np.sqrt(1 / 16), (3, 16)), np.zeros(3)]


def columns(x, size):
    pad = size // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    steps = (x.shape[2] - size) // STRIDE + 1
    index = np.arange(steps)[:, None] * STRIDE + np.arange(size)[None]
    return x[:, :, index].transpose(0, 2, 1, 3).reshape(x.shape[0], steps, -1)


def scatter(gradient, channels, size, length):
    pad = size // 2
    out = np.zeros((gradient.shape[0], channels, length + 2 * pad))
    parts = gradient.reshape(gradient.shape[0], gradient.shape[1], channels, size)
    for step in range(parts.shape[1]):
        out[:, :, step * STRIDE : step * STRIDE + size] += parts[:, step]
    return out[:, :, pad : pad + length]


def forward(x):
    kept = []
    for i, (out, _, size) in enumerate(SHAPES):
        c = columns(x, size)
        y = c @ weights[2 * i].reshape(out, -1).T + weights[2 * i + 1]
        kept.append((c, y, x.shape))
        x = np.maximum(y, 0).transpose(0, 2, 1)
    mean = x.mean(axis=2)
    return mean @ weights[6].T + weights[7], kept, mean, x.shape


def backward(scores, kinds, kept, mean, shape):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(len(kinds)), kinds] + 1e-12).mean()
    d = p
    d[np.arange(len(kinds)), kinds] -= 1
    d /= len(kinds)
    grads = [None] * 8
    grads[6], grads[7] = d.T @ mean, d.sum(axis=0)
    g = np.repeat((d @ weights[6])[:, :, None], shape[2], axis=2) / shape[2]
    for i in (2, 1, 0):
        out, channels, size = SHAPES[i]
        c, y, before = kept[i]
        g = g.transpose(0, 2, 1) * (y > 0)
        grads[2 * i] = np.einsum("bto,btc->oc", g, c).reshape(SHAPES[i])
        grads[2 * i + 1] = g.sum(axis=(0, 1))
        if i:
            g = scatter(g @ weights[2 * i].reshape(out, -1), channels, size, before[2])
    return loss, grads


def train(x, kinds, epochs=14, batch=64, rate=3e-3):
    first, second, step = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights], 0
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), batch):
            pick = order[begin : begin + batch]
            scores, *rest = forward(x[pick])
            _, grads = backward(scores, kinds[pick], *rest)
            step += 1
            now = rate * 0.5 * (1 + np.cos(np.pi * step / (epochs * len(x) / batch)))
            for w, g, m, v in zip(weights, grads, first, second):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                w -= now * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)


def model():
    names = ["w0", "b0", "w1", "b1", "w2", "b2", "w3", "b3"]
    init = [numpy_helper.from_array(w.astype(np.float32), n) for w, n in zip(weights, names)]
    nodes, x = [], "ecg"
    for i, (_, _, size) in enumerate(SHAPES):
        pads = [size // 2, size // 2]
        nodes.append(helper.make_node("Conv", [x, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", strides=[STRIDE], pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
        x = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"], "mean"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], "flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "w3", "b3"], ["kind"], "dense", transB=1))
    graph = helper.make_graph(
        nodes,
        "beats",
        [helper.make_tensor_value_info("ecg", TensorProto.FLOAT, [1, 1, LENGTH])],
        [helper.make_tensor_value_info("kind", TensorProto.FLOAT, [1, 3])],
        init,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="beats-c")
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def source(x, kinds):
    rows = ",\n".join("    {" + ", ".join(f"{v:.4f}f" for v in row[0]) + "}" for row in x)
    return (
        "/* Written by train.py: synthetic beats, one a row, and what each is. */\n#include \"samples.h\"\n\n"
        f"const float samples[SAMPLES][SAMPLE_LENGTH] = {{\n{rows},\n}};\n\n"
        f"const unsigned char kinds[SAMPLES] = {{{', '.join(map(str, kinds))}}};\n"
    )


if __name__ == "__main__":
    train_x, train_kinds = beats(3000)
    train(train_x.astype(np.float64), train_kinds)
    test_x, test_kinds = beats(1000)
    right = (forward(test_x.astype(np.float64))[0].argmax(axis=1) == test_kinds).mean()
    print(f"{100 * right:.1f} % of 1000 new beats right")
    onnx.save(model(), "models/beats.onnx")
    np.save("models/calib.npy", beats(48)[0])
    shown, shown_kinds = beats(12)
    with open("samples.c", "w") as file:
        file.write(source(shown, shown_kinds))
    np.save("models/test_x.npy", test_x[:100])
    np.save("models/test_y.npy", test_kinds[:100])
