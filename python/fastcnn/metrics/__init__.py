"""Metrics. https://keras.io/api/metrics/

The accuracies are computed natively while a model trains; all others, and those written in Python, from its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastcnn import losses
from fastcnn._identifiers import Registry
from fastcnn._naming import to_snake_case
from fastcnn.losses import binary_crossentropy as binary_crossentropy
from fastcnn.losses import categorical_crossentropy as categorical_crossentropy
from fastcnn.losses import mean_absolute_error as mean_absolute_error
from fastcnn.losses import mean_squared_error as mean_squared_error
from fastcnn.losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from fastcnn.metrics.accuracy import Accuracy as Accuracy
from fastcnn.metrics.accuracy import BinaryAccuracy as BinaryAccuracy
from fastcnn.metrics.accuracy import CategoricalAccuracy as CategoricalAccuracy
from fastcnn.metrics.accuracy import SparseCategoricalAccuracy as SparseCategoricalAccuracy
from fastcnn.metrics.accuracy import binary_accuracy as binary_accuracy
from fastcnn.metrics.accuracy import categorical_accuracy as categorical_accuracy
from fastcnn.metrics.accuracy import sparse_categorical_accuracy as sparse_categorical_accuracy
from fastcnn.metrics.auc import AUC as AUC
from fastcnn.metrics.confusion import FalseNegatives as FalseNegatives
from fastcnn.metrics.confusion import FalsePositives as FalsePositives
from fastcnn.metrics.confusion import Precision as Precision
from fastcnn.metrics.confusion import Recall as Recall
from fastcnn.metrics.confusion import TrueNegatives as TrueNegatives
from fastcnn.metrics.confusion import TruePositives as TruePositives
from fastcnn.metrics.metric import Metric as Metric
from fastcnn.metrics.reduction import BinaryCrossentropy as BinaryCrossentropy
from fastcnn.metrics.reduction import CategoricalCrossentropy as CategoricalCrossentropy
from fastcnn.metrics.reduction import Mean as Mean
from fastcnn.metrics.reduction import MeanAbsoluteError as MeanAbsoluteError
from fastcnn.metrics.reduction import MeanMetricWrapper as MeanMetricWrapper
from fastcnn.metrics.reduction import MeanSquaredError as MeanSquaredError
from fastcnn.metrics.reduction import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from fastcnn.metrics.reduction import Sum as Sum

_CLASSES: tuple[type[Metric], ...] = (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    Precision,
    Recall,
    AUC,
    TruePositives,
    FalsePositives,
    TrueNegatives,
    FalseNegatives,
    MeanSquaredError,
    MeanAbsoluteError,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    Mean,
    Sum,
)
_ALIASES: dict[str, type[Metric]] = {
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
}
_registry = Registry(
    "metrics",
    "metric",
    {cls.__name__: cls for cls in _CLASSES}
    | {to_snake_case(cls.__name__): cls for cls in _CLASSES}
    | _ALIASES
    | {"acc": Accuracy},
    shown=[*(to_snake_case(cls.__name__) for cls in _CLASSES), "acc", "mse", "mae", "bce"],
)


def get(
    identifier: Any, loss: Any = None, output_shape: Sequence[int | None] | None = None, sparse_labels: bool = False
) -> Metric:
    """Returns the metric for a name, a config, a class, a function f(y_true, y_pred) or a `Metric`.

    A name given as a string is the metric's name in logs. "accuracy" and "acc" stand for the accuracy that fits the
    model where `loss` or `output_shape` tell it: binary for a last axis of 1, sparse categorical for class numbers,
    otherwise categorical.

    Args:
        identifier: what is meant.
        loss: the model's loss, anything that `losses.get` takes.
        output_shape: the model's output shape, with or without the batch.
        sparse_labels: whether labels are class numbers although the loss does not tell.

    Raises:
        ValueError: an unknown name, or nothing of these.

    Example:
        >>> get("acc", loss="binary_crossentropy", output_shape=(None, 1))
        <BinaryAccuracy name=acc>

    See https://keras.io/api/metrics/
    """
    if isinstance(identifier, str):
        known = loss is not None or output_shape is not None
        if identifier.lower() in ("accuracy", "acc") and known:
            cls: type[Metric] = _fitting_accuracy(loss, output_shape, sparse_labels)
        else:
            cls = _registry.look_up(identifier)
        metric = cls()
        metric.name = identifier
        return metric
    metric_or_function = _registry.get(identifier)
    if isinstance(metric_or_function, Metric):
        return metric_or_function
    given = getattr(metric_or_function, "name", None)
    name = given or to_snake_case(getattr(metric_or_function, "__name__", type(metric_or_function).__name__))
    return MeanMetricWrapper(metric_or_function, name=name)


def _fitting_accuracy(loss: Any, output_shape: Sequence[int | None] | None, sparse_labels: bool) -> type[Metric]:
    loss = losses.get(loss)
    if output_shape is None:
        binary = isinstance(loss, losses.BinaryCrossentropy)
    else:
        binary = len(output_shape) > 0 and output_shape[-1] == 1
    if binary:
        return BinaryAccuracy
    if sparse_labels or isinstance(loss, losses.SparseCategoricalCrossentropy):
        return SparseCategoricalAccuracy
    return CategoricalAccuracy


def serialize(metric: Metric) -> dict[str, Any]:
    """Returns the metric's config.

    >>> serialize(BinaryAccuracy(threshold=0.3))["config"]["threshold"]
    0.3
    """
    return _registry.serialize(metric)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Metric:
    """Returns the metric that `serialize` described.

    >>> deserialize({"class_name": "AUC", "config": {"curve": "PR"}}).curve
    'PR'
    """
    metric: Metric = _registry.deserialize(config, custom_objects)
    return metric
