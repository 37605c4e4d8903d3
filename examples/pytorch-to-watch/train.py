"""Trains a small network on the motion of a watch, and exports it as PyTorch does unasked.

    pip install torch onnxscript
    pip install --no-deps seglearn==1.2.5
    python train.py

Data: the `watch_dataset` of seglearn (BSD 3-clause; D. Burns et al., "Shoulder physiotherapy exercise recognition",
arXiv:1802.01489): seven exercises, the six channels of a smartwatch's motion sensor, 50 Hz. Nothing of scikit-learn is used,
hence --no-deps.

Writes into model/: watch.onnx and watch.onnx.data; calib.npy, windows to calibrate with; test_x.npy and test_y.npy, labelled
windows of people who are not among those that it was trained on; and samples.h, seven of these for main.c.
"""

import importlib.util
import pathlib
import warnings

import numpy as np
import onnx
import torch
from torch import nn

LENGTH, STEP = 128, 64
# People whose windows train the network; the others test it.
TRAINED = range(1, 8)
EPOCHS = 24


def people_and_windows():
    """Windows [n, 6, 128], their exercises [n] and people [n]."""
    found = importlib.util.find_spec("seglearn")
    if found is None:
        raise SystemExit("train.py: no seglearn, whose data it trains on: pip install --no-deps seglearn==1.2.5")
    file = pathlib.Path(found.submodule_search_locations[0], "data", "watch_dataset.npy")
    with warnings.catch_warnings():
        # The file is of an older numpy.
        warnings.simplefilter("ignore")
        data = np.load(file, allow_pickle=True).item()
    windows, exercises, people = [], [], []
    for series, exercise, person in zip(data["X"], data["y"], data["subject"]):
        for start in range(0, len(series) - LENGTH + 1, STEP):
            windows.append(np.asarray(series[start:start + LENGTH, :6], np.float32).T)
            exercises.append(int(exercise))
            people.append(int(person))
    return np.stack(windows), np.array(exercises), np.array(people)


def without_traces(file):
    """Takes out where in which source file each node came from, as the exporter notes it: paths of this machine."""
    model = onnx.load(file, load_external_data=False)
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, file)


class Watch(nn.Module):
    def __init__(self):
        super().__init__()

        def block(inputs, outputs, width):
            return nn.Sequential(
                nn.Conv1d(inputs, outputs, width, stride=2, padding=width // 2, bias=False),
                nn.BatchNorm1d(outputs),
                nn.ReLU(),
            )

        # Raw g and radians a second go in: the network scales them itself.
        self.scale = nn.BatchNorm1d(6, affine=False)
        self.body = nn.Sequential(block(6, 16, 5), block(16, 24, 5), block(24, 32, 3))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(32, 7))

    def forward(self, imu):
        return self.head(self.body(self.scale(imu)).mean(dim=-1))


def main():
    torch.manual_seed(1)
    windows, exercises, people = people_and_windows()
    mine = np.isin(people, list(TRAINED))
    x, y = torch.tensor(windows[mine]), torch.tensor(exercises[mine])
    test_x, test_y = windows[~mine], exercises[~mine]
    model = Watch()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for epoch in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        right = (model(torch.tensor(test_x)).argmax(dim=1).numpy() == test_y).mean()
    print(f"trained on {len(x)} windows; right on {right:.1%} of {len(test_x)} windows of other people")

    folder = pathlib.Path(__file__).parent / "model"
    folder.mkdir(exist_ok=True)
    # One window a run.
    torch.onnx.export(model, (x[:1],), folder / "watch.onnx", input_names=["imu"], output_names=["logits"])
    without_traces(folder / "watch.onnx")
    # Half precision resolves far more than the eight bits that the model keeps of its input.
    chosen = np.random.default_rng(1)
    np.save(folder / "calib.npy", x[chosen.choice(len(x), 48, replace=False)].numpy().astype(np.float16))
    some = chosen.choice(len(test_x), 100, replace=False)
    np.save(folder / "test_x.npy", test_x[some].astype(np.float16))
    np.save(folder / "test_y.npy", test_y[some])
    # Of each exercise the first window among these, for the program.
    shown = [int(some[np.flatnonzero(test_y[some] == kind)[0]]) for kind in range(7)]
    rows = ["    {" + ", ".join(f"{v:.5e}f" for v in test_x[i].ravel()) + "}," for i in shown]
    text = "/* Windows to show, one of each exercise: six channels of 128 samples. Made by train.py. */\n"
    text += f"static const float samples[{len(shown)}][6 * 128] = {{\n" + "\n".join(rows) + "\n};\n"
    (folder / "samples.h").write_text(text)


if __name__ == "__main__":
    main()
