#!/usr/bin/env python3
"""Writes models of many small nodes of ai.onnx.ml, which say together what each attribute does.

    cases.py

Python packages: onnx==1.23.2 onnxruntime==1.32.0. Out, here: NAME.onnx, samples (NAME.x.npz) and onnxruntime's
results for them one by one (NAME.ref.npz). What onnxruntime leaves open (a second score that nothing writes) is
left out.
"""

import itertools
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).resolve().parent
FEATURES = 3
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]
random = np.random.default_rng(7)


def ensemble(what, trees, modes, targets, dense=True, negative=True, missing=True):
    """Lists of nodes, and of weights for `targets`."""
    lists = {f"nodes_{k}": [] for k in ["nodeids", "treeids", "featureids", "modes", "values", "truenodeids",
                                        "falsenodeids", "missing_value_tracks_true"]}
    lists.update({f"{what}_{k}": [] for k in ["ids", "nodeids", "treeids", "weights"]})

    def grow(tree, count, depth):
        node, at = count[0], len(lists["nodes_nodeids"])
        count[0] += 1
        leaf = depth == 3 or depth > 0 and random.random() < 0.25
        values = [node, tree, 0 if leaf else int(random.integers(FEATURES)),
                  "LEAF" if leaf else str(random.choice(modes)), 0.0 if leaf else float(random.integers(-4, 5)) / 2,
                  0, 0, int(missing and not leaf and random.random() < 0.5)]
        for key, value in zip([k for k in lists if k.startswith("nodes_")], values):
            lists[key].append(value)
        if leaf:
            for target in targets if dense else [int(random.choice(targets))]:
                weight = random.normal() if negative else random.random() * 0.4
                for key, value in zip(["ids", "nodeids", "treeids", "weights"], [target, node, tree, weight]):
                    lists[f"{what}_{key}"].append(float(np.float32(value)) if key == "weights" else value)
        else:
            lists["nodes_truenodeids"][at] = grow(tree, count, depth + 1)
            lists["nodes_falsenodeids"][at] = grow(tree, count, depth + 1)
        return node

    for tree in range(trees):
        grow(tree, [0], 0)
    if not missing:
        del lists["nodes_missing_value_tracks_true"]
    return lists


def trees():
    """Nodes of TreeEnsembleRegressor and TreeEnsembleClassifier."""
    for modes in [[m] for m in MODES] + [MODES]:
        for missing in [False, True]:
            yield "TreeEnsembleRegressor", dict(ensemble("target", 2, modes, [0], missing=missing), n_targets=1)
    for aggregate, targets in itertools.product(["SUM", "AVERAGE", "MIN", "MAX"], [1, 2]):
        for base in [[], [0.5, -0.25][:targets]]:
            lists = ensemble("target", 3, MODES[:1], range(targets), dense=targets == 1 or bool(base))
            yield "TreeEnsembleRegressor", dict(
                lists, n_targets=targets, aggregate_function=aggregate, **({"base_values": base} if base else {}))
    for transform, targets in itertools.product(TRANSFORMS, [1, 3]):
        lists = ensemble("target", 3, MODES[:2], range(targets), dense=False)
        yield "TreeEnsembleRegressor", dict(lists, n_targets=targets, post_transform=transform)
    # Two classes: weights for one of them or both, on all leaves or some; labels, base values.
    for ids, negative, base in itertools.product([[0], [1], [0, 1]], [False, True], [0, 1, 2]):
        for transform in TRANSFORMS:
            one_score = ids == [0] and base < 2
            if one_score and transform == "PROBIT":
                continue
            if (len(ids) + base + negative + TRANSFORMS.index(transform)) % 2:
                continue
            labels = [3, 7] if len(ids) == 1 else [0, 1]
            lists = ensemble("class", 2, MODES[:2], ids, negative=negative)
            values = {"base_values": [0.25, -0.5][:base]} if base else {}
            yield "TreeEnsembleClassifier", dict(
                lists, classlabels_int64s=labels, post_transform=transform, **values)
    lists = ensemble("class", 2, MODES[:2], [0, 1], dense=False)
    yield "TreeEnsembleClassifier", dict(lists, classlabels_int64s=[0, 1])
    # Several classes, some of which get no weight on some ways, or never.
    for dense, negative, base in itertools.product([False, True], [False, True], [0, 4]):
        for transform in TRANSFORMS[:4]:
            lists = ensemble("class", 3, MODES, [0, 1, 3], dense=dense, negative=negative)
            values = {"base_values": [0.25, -0.5, 0.75, 0.1]} if base else {}
            yield "TreeEnsembleClassifier", dict(
                lists, classlabels_int64s=[5, 2, 9, 0], post_transform=transform, **values)


def tensor(values, kind=TensorProto.FLOAT):
    return helper.make_tensor("t", kind, [len(values)], values)


def later_trees():
    """Nodes of TreeEnsemble, which names sets of values too."""
    for aggregate, transform in [(1, 0), (0, 0), (2, 3), (3, 0), (1, 4)]:
        yield "TreeEnsemble", dict(
            n_targets=2, aggregate_function=aggregate, post_transform=transform, tree_roots=[0, 3],
            nodes_featureids=[0, 1, 2, 1, 0],
            nodes_modes=tensor([0, 6, 6, 4, 5], TensorProto.UINT8),
            nodes_splits=tensor([0.5, 0, 0, 1.0, -1.5]),
            nodes_truenodeids=[1, 0, 2, 3, 0], nodes_trueleafs=[0, 1, 1, 1, 1],
            nodes_falsenodeids=[2, 1, 3, 4, 1], nodes_falseleafs=[0, 1, 1, 0, 1],
            nodes_missing_value_tracks_true=[0, 1, 0, 0, 1],
            membership_values=tensor([1.0, 2.0, float("nan"), 2.0, float("nan")]),
            leaf_targetids=[0, 1, 0, 1], leaf_weights=tensor([0.5, -0.25, 0.125, 0.75]))


def linear():
    """Linear models, support vectors and what prepares features."""
    weights = lambda n: [float(np.float32(v)) for v in random.normal(size=n * FEATURES) / 2]
    for transform in TRANSFORMS:
        yield "LinearRegressor", dict(coefficients=weights(1), intercepts=[0.5], targets=1, post_transform=transform)
        yield "LinearRegressor", dict(coefficients=weights(2), targets=2, post_transform=transform)
        yield "LinearClassifier", dict(coefficients=weights(3), intercepts=[0.1, 0.2, -0.3],
                                       classlabels_ints=[4, 2, 7], post_transform=transform)
        if transform != "PROBIT":
            yield "LinearClassifier", dict(coefficients=weights(1), intercepts=[0.1],
                                           classlabels_ints=[3, 5], post_transform=transform)
    for kernel in ["LINEAR", "POLY", "RBF", "SIGMOID"]:
        for degree in [2.0, 3.0] if kernel == "POLY" else [3.0]:
            kernels = dict(kernel_type=kernel, kernel_params=[0.25, 0.5, degree])
            yield "SVMRegressor", dict(kernels, coefficients=[0.5, -1.0, 0.25], rho=[0.125], n_supports=3,
                                       support_vectors=weights(3))
            yield "SVMClassifier", dict(
                kernels, coefficients=[float(v) for v in random.normal(size=8)], rho=[0.1, -0.2, 0.05],
                vectors_per_class=[1, 2, 1], support_vectors=weights(4), classlabels_ints=[6, 0, 3])
    yield "SVMRegressor", dict(kernel_params=[0.0, 0.0, 0.0], coefficients=weights(1), rho=[0.5], n_supports=0)
    yield "SVMRegressor", dict(kernel_params=[0.0, 0.0, 0.0], coefficients=weights(1), rho=[0.5], one_class=1)
    for transform in TRANSFORMS[:4]:
        rest = dict(kernel_params=[0.5, 0.0, 0.0], post_transform=transform, classlabels_ints=[6, 2])
        yield "SVMClassifier", dict(rest, kernel_type="RBF", coefficients=[0.5, 0.75, -1.0], rho=[0.1],
                                    vectors_per_class=[2, 1], support_vectors=weights(3))
        yield "SVMClassifier", dict(rest, coefficients=weights(2), rho=[0.1])
        yield "SVMClassifier", dict(rest, coefficients=[abs(v) for v in weights(2)], rho=[0.1])
    rest = dict(kernel_params=[0.5, 0.0, 0.0], classlabels_ints=[6, 2, 1])
    yield "SVMClassifier", dict(rest, coefficients=weights(3), rho=[0.1])
    yield "Scaler", dict(offset=[0.5], scale=[2.0])
    yield "Scaler", dict(offset=[0.5, 1.0, -2.0], scale=[2.0, 0.5, 3.0])
    for norm in ["MAX", "L1", "L2"]:
        yield "Normalizer", dict(norm=norm)
    yield "Imputer", dict(imputed_value_floats=[9.0], replaced_value_float=0.5)
    yield "Imputer", dict(imputed_value_floats=[9.0, 8.0, 7.0], replaced_value_float=0.0)
    yield "Binarizer", dict(threshold=0.5)
    yield "OneHotEncoder", dict(cats_int64s=[0, 2, -1], zeros=1)
    yield "LabelEncoder", dict(keys_floats=[0.5, 1.0, 0.5], values_int64s=[7, 8, 9], default_int64=-3)
    yield "LabelEncoder", dict(keys_floats=[0.5, 1.0], values_floats=[0.25, 0.75])


CLASSIFIERS = {"TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier"}


def write(name, version, cases, samples):
    nodes, outputs = [], []
    for i, (op, attributes) in enumerate(cases):
        names = [f"label_{i}", f"scores_{i}"] if op in CLASSIFIERS else [f"result_{i}"]
        nodes.append(helper.make_node(op, ["X"], names, name=f"{op}_{i}", domain="ai.onnx.ml", **attributes))
        outputs += [onnx.ValueInfoProto(name=n) for n in names]
    port = helper.make_tensor_value_info("X", TensorProto.FLOAT, [1, FEATURES])
    graph = helper.make_graph(nodes, name, [port], outputs)
    imports = [helper.make_opsetid("ai.onnx.ml", version), helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
    session = onnxruntime.InferenceSession(model)
    results = [session.run(None, {"X": row[None]}) for row in samples]
    found = {o.name: np.stack([r[i] for r in results]) for i, o in enumerate(session.get_outputs())}
    (HERE / f"{name}.onnx").write_bytes(model)
    np.savez_compressed(HERE / f"{name}.x.npz", X=samples)
    np.savez_compressed(HERE / f"{name}.ref.npz", **found)
    print(f"{name}: {len(nodes)} nodes, {len(model)} bytes")


def main():
    halves = (random.integers(-5, 6, size=(40, FEATURES)) / 2).astype(np.float32)
    holes = np.where(random.random(halves.shape) < 0.1, np.float32(np.nan), halves)
    write("each_tree", 3, list(trees()), holes)
    write("each_later_tree", 5, list(later_trees()), holes)
    write("each_linear", 2, list(linear()), np.concatenate([halves, halves[:20] * np.float32(0.37)]))


main()
