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
    if name in ("CategoricalAccuracy", "CategoricalCrossentropy"):
        return np.eye(classes)[generator.integers(0, classes, rows)], generator.dirichlet(np.ones(classes), rows)
    if name in ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"):
        return generator.integers(0, classes, rows), generator.dirichlet(np.ones(classes), rows)
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
]


@pytest.mark.parametrize(("name", "settings"), METRICS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_over_batches(keras: Any, name: str, settings: dict[str, Any], weighted: bool) -> None:
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
    np.testing.assert_allclose(ours.result(), array(theirs.result()))


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
