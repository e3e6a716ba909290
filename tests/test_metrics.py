"""Metrics: values by hand, weights, state, native descriptions, names, metrics written in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import _core, losses, metrics


def test_reductions() -> None:
    mean = metrics.Mean()
    assert mean.result() == 0.0
    mean.update_state([1, 3])
    mean.update_state(8)
    assert mean.result() == pytest.approx(4.0)
    mean.reset_state()
    assert mean.result() == 0.0
    # Columns are averaged before weighting: a sample has one weight.
    assert metrics.Mean()([[1, 3], [5, 7]], sample_weight=[1, 3]) == pytest.approx((2 + 3 * 6) / 4)
    assert metrics.Sum()([[1, 3], [5, 7]], sample_weight=[1, 3]) == pytest.approx(4 + 36)
    with pytest.raises(
        ValueError, match=r"^mean: sample_weight: expected a shape that broadcasts to \(3,\), received \(2,\)"
    ):
        metrics.Mean()([1, 2, 3], sample_weight=[1, 2])


ACCURACIES: list[tuple[metrics.Metric, Any, Any, float]] = [
    (metrics.Accuracy(), [1, 2, 3, 4], [0, 2, 3, 4], 0.75),
    (metrics.BinaryAccuracy(), [1, 1, 0, 0], [[0.98], [1], [0], [0.6]], 0.75),
    (metrics.BinaryAccuracy(threshold=0.7), [1, 1, 0, 0], [0.98, 0.7, 0, 0.6], 0.75),
    (metrics.BinaryAccuracy(), [[1, 0], [1, 1]], [[0.9, 0.9], [0.9, 0.9]], 0.75),
    (metrics.CategoricalAccuracy(), [[0, 1], [1, 0]], [[0.1, 0.9], [0.2, 0.8]], 0.5),
    (metrics.SparseCategoricalAccuracy(), [1, 0], [[0.1, 0.9], [0.2, 0.8]], 0.5),
    (metrics.SparseCategoricalAccuracy(), [[1], [0]], [[0.1, 0.9], [0.2, 0.8]], 0.5),
]


@pytest.mark.parametrize(("metric", "y_true", "y_pred", "expected"), ACCURACIES)
def test_accuracies(metric: metrics.Metric, y_true: Any, y_pred: Any, expected: float) -> None:
    metric.reset_state()
    assert metric(y_true, y_pred) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_native_accuracy_is_the_python_one(name: str, weighted: bool) -> None:
    generator = np.random.default_rng(1)
    prediction = generator.uniform(size=(50, 1 if name == "BinaryAccuracy" else 4)).astype(np.float32)
    if name == "SparseCategoricalAccuracy":
        target = generator.integers(0, 4, 50).astype(np.int32)
    else:
        target = generator.integers(0, 2, prediction.shape).astype(np.float32)
    weight = generator.uniform(size=50).astype(np.float32) if weighted else None
    python, native = getattr(metrics, name)(), getattr(metrics, name)()
    python.update_state(target, prediction, sample_weight=weight)
    described = native.native()
    native.update_native(*_core.accuracy(prediction, target, described["kind"], described["threshold"], weight))
    assert native.result() == pytest.approx(python.result(), rel=1e-6)
    assert 0 < python.result() < 1


def test_native_descriptions() -> None:
    assert metrics.BinaryAccuracy(threshold=0.3).native() == {"kind": "binary", "threshold": 0.3}
    assert metrics.CategoricalAccuracy().native() == {"kind": "categorical", "threshold": 0.5}
    assert metrics.SparseCategoricalAccuracy().native() == {"kind": "sparse_categorical", "threshold": 0.5}
    mean = metrics.BinaryCrossentropy(label_smoothing=0.1).native()
    settings = {"kind": "binary_crossentropy", "from_logits": False, "label_smoothing": 0.1}
    assert mean == {"kind": "loss", "loss": settings}
    for metric in (metrics.Accuracy(), metrics.AUC(), metrics.Hinge(), metrics.Precision()):
        assert metric.native() is None

    class Inverted(metrics.BinaryAccuracy):
        def result(self) -> float:
            return 1 - super().result()

    assert Inverted().native() is None


def test_update_native_adds_up() -> None:
    metric = metrics.BinaryAccuracy()
    metric.update_native(3.0, 4.0)
    metric.update_native(1.0, 4.0)
    assert metric.result() == 0.5


# --- confusion --------------------------------------------------------------------------------------------------------

Y_TRUE, Y_PRED = np.array([0, 1, 1, 1, 0]), np.array([0.6, 0.2, 0.7, 0.9, 0.1])


@pytest.mark.parametrize(
    ("name", "at_half", "at_both"),
    [
        ("TruePositives", 2, [2, 1]),
        ("FalsePositives", 1, [1, 0]),
        ("TrueNegatives", 1, [1, 2]),
        ("FalseNegatives", 1, [1, 2]),
        ("Precision", 2 / 3, [2 / 3, 1]),
        ("Recall", 2 / 3, [2 / 3, 1 / 3]),
    ],
)
def test_counts_and_ratios(name: str, at_half: float, at_both: list[float]) -> None:
    cls = getattr(metrics, name)
    assert cls()(Y_TRUE, Y_PRED) == pytest.approx(at_half)
    assert cls()(Y_TRUE[:, None], Y_PRED) == pytest.approx(at_half)
    np.testing.assert_allclose(cls(thresholds=[0.5, 0.8])(Y_TRUE, Y_PRED), at_both)


def test_weighted_precision_over_batches() -> None:
    metric = metrics.Precision()
    metric.update_state(Y_TRUE[:2], Y_PRED[:2], sample_weight=[2, 1])
    metric.update_state(Y_TRUE[2:], Y_PRED[2:], sample_weight=[1, 3, 1])
    assert metric.result() == pytest.approx(4 / 6)
    metric.reset_state()
    assert metric.result() == 0.0


def test_a_prediction_at_the_threshold_is_negative() -> None:
    assert metrics.TruePositives()([1], [0.5]) == 0.0


def test_classes_and_top_k() -> None:
    y_true, y_pred = np.eye(3)[[0, 1, 2]], np.array([[0.9, 0.05, 0.05], [0.5, 0.4, 0.1], [0.6, 0.3, 0.1]])
    assert metrics.Recall(class_id=0)(y_true, y_pred) == 1.0
    assert metrics.Recall(top_k=2)(y_true, y_pred) == pytest.approx(2 / 3)
    assert metrics.Precision(top_k=1)(y_true, y_pred) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"^recall\w*: class_id: expected a class of y_pred, \(3, 3\), received 3$"):
        metrics.Recall(class_id=3)(y_true, y_pred)
    with pytest.raises(ValueError, match=r"^Recall: top_k: expected a positive integer or None, received 0$"):
        metrics.Recall(top_k=0)


def test_wrong_thresholds_and_shapes() -> None:
    with pytest.raises(ValueError, match=r"^Precision: thresholds: expected numbers in \[0, 1\], received \[0.5, 2\]$"):
        metrics.Precision(thresholds=[0.5, 2])
    with pytest.raises(ValueError, match=r"^p: y_true: expected the shape of y_pred, \(2, 3\), received \(3, 2\)$"):
        metrics.Precision(name="p")(np.zeros((3, 2)), np.zeros((2, 3)))


def exact_auc(y_true: np.ndarray[Any, Any], y_pred: np.ndarray[Any, Any]) -> float:
    """The share of pairs of a positive and a negative in the right order."""
    positive, negative = y_pred[y_true == 1][:, None], y_pred[y_true == 0][None]
    return float(((positive > negative) + 0.5 * (positive == negative)).mean())


def test_auc_comes_near_the_share_of_ordered_pairs() -> None:
    generator = np.random.default_rng(4)
    y_true = generator.integers(0, 2, 2000)
    y_pred = np.clip(0.4 * y_true + 0.6 * generator.uniform(size=2000), 0, 1)
    assert metrics.AUC(num_thresholds=1000)(y_true, y_pred) == pytest.approx(exact_auc(y_true, y_pred), abs=1e-3)
    assert metrics.AUC()(y_true, np.where(y_true == 1, 0.9, 0.1)) == pytest.approx(1.0)
    assert metrics.AUC()(y_true, np.where(y_true == 0, 0.9, 0.1)) == pytest.approx(0.0)


def test_auc_bounds_of_the_sums() -> None:
    values = {
        method: metrics.AUC(num_thresholds=5, summation_method=method)(Y_TRUE, Y_PRED)
        for method in ("minoring", "interpolation", "majoring")
    }
    assert values["minoring"] < values["interpolation"] < values["majoring"]


def test_auc_of_logits() -> None:
    logits = np.log(Y_PRED / (1 - Y_PRED))
    assert metrics.AUC(from_logits=True)(Y_TRUE, logits) == pytest.approx(metrics.AUC()(Y_TRUE, Y_PRED))


def test_auc_of_several_labels_is_the_mean_of_their_areas() -> None:
    y_true, y_pred = np.stack([Y_TRUE, 1 - Y_TRUE], axis=1), np.stack([Y_PRED, Y_PRED], axis=1)
    areas = [metrics.AUC()(y_true[:, k], y_pred[:, k]) for k in range(2)]
    assert metrics.AUC(multi_label=True)(y_true, y_pred) == pytest.approx(np.mean(areas))
    weighted = metrics.AUC(multi_label=True, label_weights=[3, 1])(y_true, y_pred)
    assert weighted == pytest.approx((3 * areas[0] + areas[1]) / 4)
    with pytest.raises(ValueError, match=r"^AUC: y_pred: expected shape \(batch, 3\) where multi_label is True"):
        metrics.AUC(multi_label=True, num_labels=3)(y_true, y_pred)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"curve": "RC"}, "AUC: curve: expected one of"),
        ({"summation_method": "middle"}, "AUC: summation_method: expected one of"),
        ({"num_thresholds": 1}, "AUC: num_thresholds: expected an integer > 1, received 1"),
        ({"num_labels": 2}, "AUC: num_labels: expected None where multi_label is False"),
        ({"thresholds": [1.5]}, "AUC: thresholds: expected numbers in"),
    ],
)
def test_wrong_settings_of_auc(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        metrics.AUC(**settings)


# --- losses as metrics, functions, classes of one's own ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["MeanSquaredError", "MeanAbsoluteError", "BinaryCrossentropy", "CategoricalCrossentropy"]
)
def test_losses_as_metrics(name: str) -> None:
    y_true, y_pred = np.eye(3)[[0, 2, 1]], np.random.default_rng(0).dirichlet(np.ones(3), 3)
    assert getattr(metrics, name)()(y_true, y_pred) == pytest.approx(getattr(losses, name)()(y_true, y_pred), rel=1e-6)


def test_an_ignored_class_does_not_count() -> None:
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=2)
    assert metric([0, 2, 1], np.full((3, 2), 0.5)) == pytest.approx(np.log(2), rel=1e-6)
    metric.reset_state()
    assert metric([0, 2], [[0.5, 0.5], [0.1, 0.9]], sample_weight=[2, 7]) == pytest.approx(np.log(2), rel=1e-6)


def test_functions_are_wrapped() -> None:
    def mean_prediction(y_true: Any, y_pred: Any) -> Any:
        return y_pred.mean()

    metric = metrics.get(mean_prediction)
    assert isinstance(metric, metrics.MeanMetricWrapper)
    assert metric.name == "mean_prediction"
    metric.update_state([0], [1.0])
    metric.update_state([0, 0], [3.0, 3.0])
    assert metric.result() == 2.0  # a value a batch, batches alike


class Recount(metrics.Metric):
    """As in Keras's guide: variables made by add_weight, sums by assign_add."""

    def __init__(self, name: str = "recount", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.count = self.add_weight(name="count", initializer="zeros")
        self.by_class = self.add_variable((3,), "zeros", name="by_class")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.count.assign_add(len(y_true))
        self.by_class.assign(self.by_class + np.bincount(y_true, minlength=3))

    def result(self) -> Any:
        return self.by_class / self.count


def test_a_metric_written_in_python() -> None:
    metric = Recount()
    metric.update_state([0, 1], None)
    metric.update_state([1, 2], None)
    np.testing.assert_allclose(metric.result(), [0.25, 0.5, 0.25])
    assert float(metric.count) == 4
    assert [variable.name for variable in metric.variables] == ["count", "by_class"]
    assert np.asarray(metric.by_class).dtype == np.float32
    with pytest.raises(ValueError, match=r"read-only"):
        metric.by_class.value[0] = 1
    metric.reset_state()
    assert float(metric.count) == 0
    assert metrics.get(metric) is metric


def test_a_metric_that_forgot_super() -> None:
    class Forgetful(metrics.Metric):
        def __init__(self) -> None:
            self.count = self.add_weight()

    with pytest.raises(RuntimeError, match=r"^Forgetful: __init__: expected a call of super\(\).__init__\(\) first$"):
        Forgetful()
    with pytest.raises(NotImplementedError, match=r"^Metric: result: expected to be overridden$"):
        metrics.Metric().result()


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "shape", "cls"),
    [
        ("binary_crossentropy", (None, 1), "BinaryAccuracy"),
        ("mse", (1,), "BinaryAccuracy"),
        ("sparse_categorical_crossentropy", (None, 10), "SparseCategoricalAccuracy"),
        (losses.SparseCategoricalCrossentropy(from_logits=True), (None, 10), "SparseCategoricalAccuracy"),
        ("categorical_crossentropy", (None, 10), "CategoricalAccuracy"),
        ("binary_crossentropy", None, "BinaryAccuracy"),
        (None, (None, 10), "CategoricalAccuracy"),
        (None, None, "Accuracy"),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "acc"])
def test_accuracy_fits_the_model(loss: Any, shape: Any, cls: str, name: str) -> None:
    metric = metrics.get(name, loss=loss, output_shape=shape)
    assert type(metric).__name__ == cls
    assert metric.name == name


def test_accuracy_of_class_numbers_under_another_loss() -> None:
    metric = metrics.get("acc", loss=lambda a, b: a, output_shape=(None, 3), sparse_labels=True)
    assert isinstance(metric, metrics.SparseCategoricalAccuracy)


@pytest.mark.parametrize(
    ("identifier", "cls", "name"),
    [
        ("mse", "MeanSquaredError", "mse"),
        ("AUC", "AUC", "AUC"),
        ("binary_accuracy", "BinaryAccuracy", "binary_accuracy"),
        (metrics.Recall(name="r"), "Recall", "r"),
        ({"class_name": "Precision", "config": {"name": "p"}}, "Precision", "p"),
        (losses.binary_crossentropy, "MeanMetricWrapper", "binary_crossentropy"),
        (losses.MeanSquaredError(name="squares"), "MeanMetricWrapper", "squares"),
    ],
)
def test_get(identifier: Any, cls: str, name: str) -> None:
    metric = metrics.get(identifier)
    assert (type(metric).__name__, metric.name) == (cls, name)


def test_unknown_metrics() -> None:
    with pytest.raises(ValueError, match=r"^metrics.get: identifier: .* one of 'precision', .* received 'precison'$"):
        metrics.get("precison", loss="mse", output_shape=(None, 1))
    with pytest.raises(ValueError, match=r"^metrics.get: identifier: expected a metric, its name .* received 7$"):
        metrics.get(7)
    with pytest.raises(ValueError, match=r"^metrics.get: identifier: expected a metric, its name .* received None$"):
        metrics.get(None)


NEEDED: dict[str, dict[str, Any]] = {
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [1]},
    "OneHotMeanIoU": {"num_classes": 3},
    "SensitivityAtSpecificity": {"specificity": 0.4},
    "SpecificityAtSensitivity": {"sensitivity": 0.4},
    "PrecisionAtRecall": {"recall": 0.4},
    "RecallAtPrecision": {"precision": 0.4},
}


def data_for(name: str) -> tuple[Any, Any]:
    """Labels and predictions that the metric takes."""
    generator = np.random.default_rng(5)
    if name in ("Mean", "Sum"):
        return generator.uniform(size=24), None
    if "IoU" in name and "OneHot" not in name:
        return generator.integers(0, 2, 24), generator.integers(0, 2, 24)
    scores = generator.uniform(size=(24, 3)).astype(np.float32)
    if name.startswith("Sparse"):
        return generator.integers(0, 3, 24), scores
    return np.eye(3)[generator.integers(0, 3, 24)], scores


@pytest.mark.parametrize("name", metrics._CLASSES)
def test_metrics_merge_and_forget(name: str) -> None:
    y_true, y_pred = data_for(name)
    whole, *parts = (getattr(metrics, name)(**NEEDED.get(name, {})) for _ in range(4))

    def update(metric: metrics.Metric, rows: slice) -> None:
        metric.update_state(y_true[rows]) if y_pred is None else metric.update_state(y_true[rows], y_pred[rows])

    fresh = whole.result()
    update(whole, slice(None))
    for metric, rows in zip(parts, (slice(0, 7), slice(7, 20), slice(20, None))):
        update(metric, rows)
    empty = getattr(metrics, name)(**NEEDED.get(name, {}))
    empty.merge_state(parts)
    parts[0].merge_state([*parts[1:], getattr(metrics, name)(**NEEDED.get(name, {}))])
    for metric in (parts[0], empty):
        np.testing.assert_allclose(metric.result(), whole.result(), rtol=1e-9, atol=1e-12)
    whole.reset_state()
    np.testing.assert_array_equal(whole.result(), fresh)
    with pytest.raises(ValueError, match=r"merge_state: expected metrics of "):
        whole.merge_state([metrics.Mean() if name != "Mean" else metrics.Sum()])


def test_metrics_of_one_s_own_merge_their_variables() -> None:
    class Positives(metrics.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.count = self.add_weight(name="count")

        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
            self.count.assign_add((y_pred > 0.5).sum())

        def result(self) -> Any:
            return float(self.count)

    first, second = Positives(), Positives()
    first.update_state(None, np.array([0.2, 0.7]))
    second.update_state(None, np.array([0.9, 0.7]))
    first.merge_state([second])
    assert (first.result(), second.result()) == (3.0, 2.0)


@pytest.mark.parametrize("name", metrics._CLASSES)
def test_configs(name: str) -> None:
    cls = getattr(metrics, name)
    metric = cls(name="mine", **NEEDED.get(name, {}))
    again = metrics.deserialize(metrics.serialize(metric))
    assert type(again) is cls
    assert again.get_config() == metric.get_config()


def test_names_are_counted() -> None:
    first, second = metrics.AUC(), metrics.AUC()
    assert first.name.startswith("auc")
    assert first.name != second.name


def test_directions_for_callbacks() -> None:
    for name in ("BinaryAccuracy", "AUC", "Precision", "Recall", "SparseCategoricalAccuracy"):
        assert getattr(metrics, name)()._direction == "up"
    for name in ("MeanSquaredError", "BinaryCrossentropy"):
        assert getattr(metrics, name)()._direction == "down"
    wrapped = metrics.get(losses.mse)
    assert wrapped._direction == "down"
