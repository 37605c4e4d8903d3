#!/usr/bin/env python3
"""Trains the models of this folder and asks onnxruntime for their labels and scores.

    train.py [NAME...]

Python packages: scikit-learn==1.5.2 skl2onnx==1.20.0 lightgbm==4.7.0 xgboost==3.2.0 onnxmltools==1.16.0
onnx==1.23.2 onnxruntime==1.32.0. In: data sets that come with scikit-learn. Out, here: NAME.onnx, with samples
(NAME.x.npz) and what onnxruntime gives for them one by one (NAME.ref.npz). cases.py writes the other models.
"""

import pathlib
import sys
import warnings

import numpy as np
import onnxruntime
import skl2onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import NuSVC, SVC
from sklearn.tree import DecisionTreeRegressor

HERE = pathlib.Path(__file__).resolve().parent
# Samples of each model: as many of the data set, and as many with noise on them.
SAMPLES = 60


def write(name, model, data):
    """A model, samples by the name of its input, and onnxruntime's outputs by theirs, a row a sample."""
    random = np.random.default_rng(1)
    rows = data[:: max(1, len(data) // SAMPLES)][:SAMPLES]
    noise = random.normal(size=rows.shape) * data.std(axis=0) * 0.5
    rows = np.concatenate([rows, rows + noise]).astype(np.float32)
    session = onnxruntime.InferenceSession(model)
    port = session.get_inputs()[0].name
    results = [session.run(None, {port: row[None]}) for row in rows]
    outputs = {}
    for i, output in enumerate(session.get_outputs()):
        found = [r[i] for r in results]
        if isinstance(found[0], list):
            # A dictionary by label, in the order of the labels.
            found = [np.array([[m[k] for k in sorted(m)] for m in maps], np.float32) for maps in found]
        found = np.stack(found)
        if found.dtype.kind in "UO":
            # The number of a name, in their order.
            found = np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int64)
        outputs[output.name] = found
    (HERE / f"{name}.onnx").write_bytes(model)
    np.savez_compressed(HERE / f"{name}.x.npz", **{port: rows})
    np.savez_compressed(HERE / f"{name}.ref.npz", **outputs)
    print(f"{name}: {len(model)} bytes, {len(rows)} samples")


def scikit(model, data, labels=None, zipmap=False):
    model.fit(data, labels)
    options = {} if zipmap or isinstance(model, KMeans) or not hasattr(model, "predict_proba") else {"zipmap": False}
    onnx = skl2onnx.to_onnx(model, data[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
    return onnx.SerializeToString()


def boosted(model, data, labels, convert):
    from onnxmltools.convert.common.data_types import FloatTensorType

    model.fit(data, labels)
    onnx = convert(model, initial_types=[("X", FloatTensorType([None, data.shape[1]]))])
    return onnx.SerializeToString()


def lightgbm(data, labels, **arguments):
    import lightgbm
    import onnxmltools

    model = lightgbm.LGBMClassifier(n_estimators=10, num_leaves=7, verbose=-1, **arguments)
    convert = lambda model, **rest: onnxmltools.convert_lightgbm(model, zipmap=False, **rest)
    return boosted(model, data, labels, convert)


def xgboost(data, labels):
    import onnxmltools
    import xgboost

    return boosted(xgboost.XGBClassifier(n_estimators=10, max_depth=3), data, labels, onnxmltools.convert_xgboost)


def main():
    warnings.simplefilter("ignore")
    iris, species = load_iris(return_X_y=True)
    digits, numbers = load_digits(return_X_y=True)
    cells, kind = load_breast_cancer(return_X_y=True)
    iris, digits, cells = (data.astype(np.float32) for data in (iris, digits, cells))
    forest = lambda trees, **rest: RandomForestClassifier(trees, random_state=1, **rest)
    scaled = lambda model: make_pipeline(StandardScaler(), Normalizer(), model)
    names = np.array(["setosa", "versicolor", "virginica"])[species]
    # Millimetres, told by which they are instead of by how many.
    classes = np.concatenate([np.round(10 * iris[:, :1]) % 12, iris[:, 1:2]], axis=1)
    models = {
        "forest_50": lambda: (scikit(forest(50), iris, species), iris),
        "forest_10": lambda: (scikit(forest(10, max_depth=6), cells, kind), cells),
        "forest_names": lambda: (scikit(forest(5), iris, names, zipmap=True), iris),
        "boosting": lambda: (
            scikit(GradientBoostingClassifier(n_estimators=10, random_state=1), iris, species), iris),
        "boosting_two": lambda: (
            scikit(GradientBoostingClassifier(n_estimators=10, random_state=1), cells, kind), cells),
        "boosting_number": lambda: (
            scikit(GradientBoostingRegressor(n_estimators=10, random_state=1), iris[:, :3], iris[:, 3]), iris[:, :3]),
        "svc": lambda: (scikit(SVC(), iris, species), iris),
        "svc_two": lambda: (scikit(scaled(SVC()), iris[:100], species[:100]), iris[:100]),
        "svc_shares": lambda: (scikit(SVC(probability=True, random_state=1), iris, species), iris),
        "svc_shares_two": lambda: (
            scikit(scaled(SVC(probability=True, random_state=1)), iris[:100], species[:100]), iris[:100]),
        "svc_shares_ten": lambda: (
            scikit(SVC(probability=True, random_state=1), digits[:150], numbers[:150]), digits[:150]),
        "svc_shares_nu": lambda: (
            scikit(scaled(NuSVC(nu=0.2, kernel="poly", probability=True, random_state=1)), iris, species), iris),
        "kmeans": lambda: (scikit(KMeans(10, n_init=1, random_state=1), digits), digits),
        "logistic_two": lambda: (scikit(scaled(LogisticRegression()), cells, kind, zipmap=True), cells),
        "lightgbm": lambda: (lightgbm(iris, species), iris),
        "lightgbm_two": lambda: (lightgbm(cells, kind), cells),
        # Questions for one of several categories become branches that meet.
        "lightgbm_categories": lambda: (
            lightgbm(classes, np.isin(classes[:, 0], [1, 4, 5, 8, 9]).astype(int), categorical_feature=[0],
                     min_child_samples=5, min_data_per_group=5, cat_smooth=1), classes),
        # The names stand in a constant of text.
        "names_one_each": lambda: (scikit(OneVsRestClassifier(LogisticRegression()), iris, names), iris),
        # Its result is declared with one column and has two.
        "tree_two_numbers": lambda: (
            scikit(DecisionTreeRegressor(max_depth=4, random_state=1), iris[:, :2], iris[:, 2:]), iris[:, :2]),
        "xgboost": lambda: (xgboost(iris, species), iris),
        "xgboost_two": lambda: (xgboost(cells, kind), cells),
    }
    for name in sys.argv[1:] or models:
        write(name, *models[name]())


main()
