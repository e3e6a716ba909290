"""Metrics against the installed Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import metrics

pytestmark = pytest.mark.parity

# Float32 sums in another order: a few units in the last place of the largest term.
TOLERANCE: dict[str, Any] = {"rtol": 2e-6, "atol": 2e-7}


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def array(value: Any) -> np.ndarray[Any, Any]:
    """A Keras tensor as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def metric_case(name: str, rows: int = 40, classes: int = 4) -> tuple[Any, Any]:
    generator = rng()
    if name.startswith("Sparse"):
        return generator.integers(0, classes, rows), generator.dirichlet(np.ones(classes), rows)
    if name.startswith(("Categorical", "TopK", "OneHot", "F1", "FBeta")):
        return np.eye(classes)[generator.integers(0, classes, rows)], generator.dirichlet(np.ones(classes), rows)
    if name in ("IoU", "MeanIoU"):
        return generator.integers(0, classes, rows), generator.integers(0, classes, rows)
    if name in ("R2Score", "PearsonCorrelation", "ConcordanceCorrelation", "CosineSimilarity", "LogCoshError"):
        labels = generator.normal(size=(rows, classes)).astype(np.float32)
        return labels, labels + generator.normal(size=labels.shape).astype(np.float32)
    if name in ("KLDivergence", "Poisson", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError"):
        return generator.uniform(0.1, 1, (2, rows, classes)).astype(np.float32)
    if name == "Accuracy":
        return generator.integers(0, 3, (rows, 1)), generator.integers(0, 3, (rows, 1))
    return generator.integers(0, 2, (rows, 1)).astype(np.float32), generator.uniform(size=(rows, 1)).astype(np.float32)


METRICS: list[tuple[str, dict[str, Any]]] = [
    ("Accuracy", {}),
    ("BinaryAccuracy", {}),
    ("BinaryAccuracy", {"threshold": 0.3}),
    ("CategoricalAccuracy", {}),
    ("SparseCategoricalAccuracy", {}),
    ("MeanSquaredError", {}),
    ("MeanAbsoluteError", {}),
    ("BinaryCrossentropy", {"label_smoothing": 0.1}),
    ("CategoricalCrossentropy", {}),
    ("SparseCategoricalCrossentropy", {}),
    ("TruePositives", {}),
    ("FalsePositives", {"thresholds": [0.2, 0.7]}),
    ("TrueNegatives", {"thresholds": 0.4}),
    ("FalseNegatives", {"thresholds": [0.0, 0.5, 1.0]}),
    ("Precision", {}),
    ("Precision", {"thresholds": [0.1, 0.6]}),
    ("Recall", {}),
    ("Recall", {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]}),
    ("AUC", {}),
    ("AUC", {"curve": "PR"}),
    ("AUC", {"curve": "PRGAIN"}),
    ("AUC", {"summation_method": "majoring", "num_thresholds": 7}),
    ("AUC", {"curve": "PR", "summation_method": "minoring"}),
    ("AUC", {"thresholds": [0.1, 0.4, 0.9]}),
    ("TopKCategoricalAccuracy", {"k": 2}),
    ("SparseTopKCategoricalAccuracy", {"k": 3}),
    ("SensitivityAtSpecificity", {"specificity": 0.4}),
    ("SensitivityAtSpecificity", {"specificity": 0.6, "num_thresholds": 1}),
    ("SpecificityAtSensitivity", {"sensitivity": 0.7, "num_thresholds": 20}),
    ("PrecisionAtRecall", {"recall": 0.3}),
    ("RecallAtPrecision", {"precision": 0.5, "num_thresholds": 2}),
    *(("F1Score", {"average": average}) for average in (None, "micro", "macro", "weighted")),
    ("F1Score", {"threshold": 0.4}),
    ("FBetaScore", {"beta": 2.0, "threshold": 0.3, "average": "weighted"}),
    ("BinaryIoU", {}),
    ("BinaryIoU", {"threshold": 0.3, "target_class_ids": [1], "dtype": "float32"}),
    ("IoU", {"num_classes": 4, "target_class_ids": [0, 2], "dtype": "float32"}),
    ("IoU", {"num_classes": 3, "target_class_ids": [1], "ignore_class": 0, "dtype": "float32"}),
    ("MeanIoU", {"num_classes": 4}),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [3], "dtype": "float32"}),
    ("OneHotMeanIoU", {"num_classes": 4, "dtype": "float32"}),
    *(("R2Score", {"class_aggregation": how}) for how in (None, "uniform_average", "variance_weighted_average")),
    ("R2Score", {"num_regressors": 2}),
    ("PearsonCorrelation", {}),
    ("PearsonCorrelation", {"axis": 0}),
    ("ConcordanceCorrelation", {}),
    ("CosineSimilarity", {}),
    *((name, {}) for name in ("RootMeanSquaredError", "LogCoshError", "KLDivergence", "Poisson")),
    *((name, {}) for name in ("MeanAbsolutePercentageError", "MeanSquaredLogarithmicError")),
    *((name, {}) for name in ("Hinge", "SquaredHinge", "CategoricalHinge")),
]


@pytest.mark.filterwarnings("ignore:You are passing weight as `float`")
@pytest.mark.parametrize(("name", "settings"), METRICS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_over_batches(keras: Any, name: str, settings: dict[str, Any], weighted: bool) -> None:
    if weighted and settings.get("axis") == 0:
        pytest.skip("there is one value for each output, not for each sample")
    ours, theirs = getattr(metrics, name)(**settings), getattr(keras.metrics, name)(**settings)
    y_true, y_pred = metric_case(name)
    weight = rng().uniform(0, 2, size=len(y_true)).astype(np.float32)
    for _ in range(2):
        for batch in (slice(0, 16), slice(16, 29), slice(29, None)):
            batch_weight = weight[batch] if weighted else None
            ours.update_state(y_true[batch], y_pred[batch], sample_weight=batch_weight)
            theirs.update_state(y_true[batch], y_pred[batch], sample_weight=batch_weight)
        np.testing.assert_allclose(ours.result(), array(theirs.result()), rtol=1e-5, atol=1e-6)
        ours.reset_state()
        theirs.reset_state()
    if name not in ("R2Score", "F1Score", "FBetaScore"):  # NaN, or one 0 a class, until a batch comes
        np.testing.assert_allclose(ours.result(), array(theirs.result()))


@pytest.mark.parametrize("name", ["F1Score", "R2Score"])
def test_metrics_of_arrays_of_other_ranks_are_refused_as_in_keras(keras: Any, name: str) -> None:
    for package in (metrics, keras.metrics):
        with pytest.raises(ValueError, match="batch"):
            getattr(package, name)().update_state(np.ones((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32))


@pytest.mark.parametrize(
    "function",
    [
        "top_k_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
        "pearson_correlation",
        "concordance_correlation",
        "categorical_accuracy",
        "sparse_categorical_accuracy",
        "binary_accuracy",
    ],
)
def test_functions_of_several_positions(keras: Any, function: str) -> None:
    scores = rng().normal(size=(5, 4, 6)).astype(np.float32)
    labels = np.eye(6, dtype=np.float32)[rng().integers(0, 6, (5, 4))]
    if function.startswith("sparse"):
        labels = labels.argmax(axis=-1)
    ours = getattr(metrics, function)(labels, scores)
    np.testing.assert_allclose(ours, array(getattr(keras.metrics, function)(labels, scores)), rtol=1e-5, atol=1e-6)


def test_top_k_of_equal_scores_and_of_sorted_classes(keras: Any) -> None:
    scores = np.array([[0.2, 0.2, 0.2, 0.4], [0.4, 0.2, 0.2, 0.2]], np.float32)
    classes = np.array([[3, 1, 0], [2, 0, 1]], np.float32)
    for labels in ([0, 1], [2, 3], [3, 0]):
        for k in (1, 2, 3):
            for more in ({}, {"from_sorted_ids": True}):
                given = classes if more else scores
                ours = metrics.sparse_top_k_categorical_accuracy(np.array(labels), given, k, **more)
                theirs = keras.metrics.sparse_top_k_categorical_accuracy(np.array(labels), given, k, **more)
                np.testing.assert_array_equal(ours, array(theirs))


@pytest.mark.parametrize("loss", ["mse", "hinge", "python"])
def test_metrics_in_compile(keras: Any, loss: str) -> None:
    """Native ones and those that are computed from outputs, with and without weights, over an uneven last batch."""
    import fastcnn

    names = ["mae", "RootMeanSquaredError", "cosine_similarity", "binary_accuracy", "mean_squared_logarithmic_error"]
    x = rng().normal(size=(21, 4)).astype(np.float32)
    y = rng().integers(0, 2, (21, 3)).astype(np.float32)
    weight = rng().uniform(0, 2, 21).astype(np.float32)

    def own(y_true: Any, y_pred: Any) -> Any:
        return ((y_pred - y_true) ** 2).mean(axis=-1), 2 * (y_pred - y_true) / 3

    found = []
    weights = None
    for package in (fastcnn, keras):
        model = package.Sequential([package.Input((4,)), package.layers.Dense(3, activation="sigmoid")])
        weights = weights or model.get_weights()
        model.set_weights(weights)
        chosen: Any = ("mse" if package is keras else own) if loss == "python" else loss
        model.compile(
            package.optimizers.SGD(0.1),
            chosen,
            metrics=names,
            weighted_metrics=[package.metrics.Precision(name="p"), package.metrics.MeanSquaredError(name="squares")],
        )
        fit = model.fit(x, y, sample_weight=weight, batch_size=8, epochs=2, shuffle=False, verbose=0).history
        found.append((fit, model.evaluate(x, y, sample_weight=weight, batch_size=8, verbose=0, return_dict=True)))
    for ours, theirs in zip(*found):
        assert list(ours) == list(theirs)
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=2e-5, atol=2e-6, err_msg=key)


@pytest.mark.parametrize("name", ["Mean", "Sum"])
@pytest.mark.parametrize(
    ("shape", "weight_shape"),
    [((5,), None), ((5,), (5,)), ((5, 1), (5,)), ((5, 3), (5,)), ((5, 3), (5, 3)), ((), None)],
)
def test_reductions(keras: Any, name: str, shape: tuple[int, ...], weight_shape: tuple[int, ...] | None) -> None:
    values = rng().normal(size=shape).astype(np.float32)
    weight = None if weight_shape is None else rng().uniform(size=weight_shape).astype(np.float32)
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    ours.update_state(values, sample_weight=weight)
    theirs.update_state(values, sample_weight=weight)
    np.testing.assert_allclose(ours.result(), array(theirs.result()), **TOLERANCE)


@pytest.mark.parametrize("name", ["Precision", "Recall"])
@pytest.mark.parametrize("settings", [{"top_k": 2}, {"class_id": 1}, {"top_k": 2, "class_id": 1}], ids=str)
def test_precision_and_recall_of_rows(keras: Any, name: str, settings: dict[str, Any]) -> None:
    y_true, y_pred = metric_case("CategoricalAccuracy")
    ours, theirs = getattr(metrics, name)(**settings), getattr(keras.metrics, name)(**settings)
    ours.update_state(y_true, y_pred)
    theirs.update_state(y_true, y_pred)
    np.testing.assert_allclose(ours.result(), array(theirs.result()), **TOLERANCE)


@pytest.mark.parametrize(
    "settings",
    [{}, {"curve": "PR"}, {"label_weights": [0.1, 0.2, 0.3, 0.4]}, {"num_labels": 4}, {"from_logits": True}],
    ids=str,
)
def test_auc_of_several_labels(keras: Any, settings: dict[str, Any]) -> None:
    y_true, y_pred = metric_case("CategoricalAccuracy")
    ours, theirs = metrics.AUC(multi_label=True, **settings), keras.metrics.AUC(multi_label=True, **settings)
    y_pred = y_pred.astype(np.float32)
    ours.update_state(y_true, y_pred)
    theirs.update_state(y_true, y_pred)
    np.testing.assert_allclose(ours.result(), array(theirs.result()), rtol=1e-5)


def test_auc_agrees_with_sorting() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(3)
    y_true = generator.integers(0, 2, 3000)
    y_pred = np.clip(y_true * 0.3 + generator.uniform(size=3000) * 0.7, 0, 1)
    ours = metrics.AUC(num_thresholds=2000)(y_true, y_pred)
    assert ours == pytest.approx(sklearn_metrics.roc_auc_score(y_true, y_pred), abs=1e-4)


@pytest.mark.parametrize("identifier", ["accuracy", "acc", "Accuracy"])
@pytest.mark.parametrize(
    ("loss", "label_shape", "output_shape"),
    [
        ("binary_crossentropy", (8,), (8, 1)),
        ("mse", (8, 1), (8, 1)),
        ("sparse_categorical_crossentropy", (8,), (8, 3)),
        ("categorical_crossentropy", (8, 3), (8, 3)),
        ("binary_crossentropy", (8, 3), (8, 3)),
    ],
)
def test_accuracy_is_resolved_as_in_keras(
    keras: Any, identifier: str, loss: str, label_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> None:
    from keras.src.trainers.compile_utils import get_metric  # the one place where Keras does it

    theirs = get_metric(identifier, np.zeros(label_shape), np.zeros(output_shape))
    ours = metrics.get(identifier, loss=loss, output_shape=output_shape)
    assert (type(ours).__name__, ours.name) == (type(theirs).__name__, theirs.name)
