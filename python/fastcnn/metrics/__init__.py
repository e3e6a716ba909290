"""Metrics. https://keras.io/api/metrics/

Accuracies and means of losses are computed natively while a model trains; all others, and those written in Python, from
its outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastcnn._identifiers import Registry
from fastcnn._lazy import Lazy, attach, nothing_called
from fastcnn._naming import to_snake_case

if TYPE_CHECKING:
    from fastcnn.losses import binary_crossentropy as binary_crossentropy
    from fastcnn.losses import binary_focal_crossentropy as binary_focal_crossentropy
    from fastcnn.losses import categorical_crossentropy as categorical_crossentropy
    from fastcnn.losses import categorical_focal_crossentropy as categorical_focal_crossentropy
    from fastcnn.losses import categorical_hinge as categorical_hinge
    from fastcnn.losses import hinge as hinge
    from fastcnn.losses import huber as huber
    from fastcnn.losses import kl_divergence as kl_divergence
    from fastcnn.losses import log_cosh as log_cosh
    from fastcnn.losses import mean_absolute_error as mean_absolute_error
    from fastcnn.losses import mean_absolute_percentage_error as mean_absolute_percentage_error
    from fastcnn.losses import mean_squared_error as mean_squared_error
    from fastcnn.losses import mean_squared_logarithmic_error as mean_squared_logarithmic_error
    from fastcnn.losses import poisson as poisson
    from fastcnn.losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy
    from fastcnn.losses import squared_hinge as squared_hinge
    from fastcnn.metrics.accuracy import Accuracy as Accuracy
    from fastcnn.metrics.accuracy import BinaryAccuracy as BinaryAccuracy
    from fastcnn.metrics.accuracy import CategoricalAccuracy as CategoricalAccuracy
    from fastcnn.metrics.accuracy import SparseCategoricalAccuracy as SparseCategoricalAccuracy
    from fastcnn.metrics.accuracy import SparseTopKCategoricalAccuracy as SparseTopKCategoricalAccuracy
    from fastcnn.metrics.accuracy import TopKCategoricalAccuracy as TopKCategoricalAccuracy
    from fastcnn.metrics.accuracy import binary_accuracy as binary_accuracy
    from fastcnn.metrics.accuracy import categorical_accuracy as categorical_accuracy
    from fastcnn.metrics.accuracy import sparse_categorical_accuracy as sparse_categorical_accuracy
    from fastcnn.metrics.accuracy import sparse_top_k_categorical_accuracy as sparse_top_k_categorical_accuracy
    from fastcnn.metrics.accuracy import top_k_categorical_accuracy as top_k_categorical_accuracy
    from fastcnn.metrics.at_constraint import PrecisionAtRecall as PrecisionAtRecall
    from fastcnn.metrics.at_constraint import RecallAtPrecision as RecallAtPrecision
    from fastcnn.metrics.at_constraint import SensitivityAtSpecificity as SensitivityAtSpecificity
    from fastcnn.metrics.at_constraint import SpecificityAtSensitivity as SpecificityAtSensitivity
    from fastcnn.metrics.auc import AUC as AUC
    from fastcnn.metrics.confusion import FalseNegatives as FalseNegatives
    from fastcnn.metrics.confusion import FalsePositives as FalsePositives
    from fastcnn.metrics.confusion import Precision as Precision
    from fastcnn.metrics.confusion import Recall as Recall
    from fastcnn.metrics.confusion import TrueNegatives as TrueNegatives
    from fastcnn.metrics.confusion import TruePositives as TruePositives
    from fastcnn.metrics.correlation import ConcordanceCorrelation as ConcordanceCorrelation
    from fastcnn.metrics.correlation import PearsonCorrelation as PearsonCorrelation
    from fastcnn.metrics.correlation import R2Score as R2Score
    from fastcnn.metrics.correlation import concordance_correlation as concordance_correlation
    from fastcnn.metrics.correlation import pearson_correlation as pearson_correlation
    from fastcnn.metrics.f_score import F1Score as F1Score
    from fastcnn.metrics.f_score import FBetaScore as FBetaScore
    from fastcnn.metrics.iou import BinaryIoU as BinaryIoU
    from fastcnn.metrics.iou import IoU as IoU
    from fastcnn.metrics.iou import MeanIoU as MeanIoU
    from fastcnn.metrics.iou import OneHotIoU as OneHotIoU
    from fastcnn.metrics.iou import OneHotMeanIoU as OneHotMeanIoU
    from fastcnn.metrics.metric import Metric as Metric
    from fastcnn.metrics.of_losses import BinaryCrossentropy as BinaryCrossentropy
    from fastcnn.metrics.of_losses import CategoricalCrossentropy as CategoricalCrossentropy
    from fastcnn.metrics.of_losses import CategoricalHinge as CategoricalHinge
    from fastcnn.metrics.of_losses import CosineSimilarity as CosineSimilarity
    from fastcnn.metrics.of_losses import Hinge as Hinge
    from fastcnn.metrics.of_losses import KLDivergence as KLDivergence
    from fastcnn.metrics.of_losses import LogCoshError as LogCoshError
    from fastcnn.metrics.of_losses import MeanAbsoluteError as MeanAbsoluteError
    from fastcnn.metrics.of_losses import MeanAbsolutePercentageError as MeanAbsolutePercentageError
    from fastcnn.metrics.of_losses import MeanSquaredError as MeanSquaredError
    from fastcnn.metrics.of_losses import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
    from fastcnn.metrics.of_losses import Poisson as Poisson
    from fastcnn.metrics.of_losses import RootMeanSquaredError as RootMeanSquaredError
    from fastcnn.metrics.of_losses import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
    from fastcnn.metrics.of_losses import SquaredHinge as SquaredHinge
    from fastcnn.metrics.reduction import Mean as Mean
    from fastcnn.metrics.reduction import MeanMetricWrapper as MeanMetricWrapper
    from fastcnn.metrics.reduction import Sum as Sum

# Module -> the names that it brings.
_PLACES: dict[str, list[str]] = {
    "fastcnn.metrics.accuracy": [
        "Accuracy",
        "BinaryAccuracy",
        "CategoricalAccuracy",
        "SparseCategoricalAccuracy",
        "TopKCategoricalAccuracy",
        "SparseTopKCategoricalAccuracy",
        "binary_accuracy",
        "categorical_accuracy",
        "sparse_categorical_accuracy",
        "top_k_categorical_accuracy",
        "sparse_top_k_categorical_accuracy",
    ],
    "fastcnn.metrics.confusion": [
        "FalseNegatives",
        "FalsePositives",
        "Precision",
        "Recall",
        "TrueNegatives",
        "TruePositives",
    ],
    "fastcnn.metrics.auc": ["AUC"],
    "fastcnn.metrics.at_constraint": [
        "SensitivityAtSpecificity",
        "SpecificityAtSensitivity",
        "PrecisionAtRecall",
        "RecallAtPrecision",
    ],
    "fastcnn.metrics.f_score": ["F1Score", "FBetaScore"],
    "fastcnn.metrics.iou": ["IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"],
    "fastcnn.metrics.correlation": [
        "PearsonCorrelation",
        "ConcordanceCorrelation",
        "R2Score",
        "pearson_correlation",
        "concordance_correlation",
    ],
    "fastcnn.metrics.of_losses": [
        "MeanSquaredError",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredLogarithmicError",
        "RootMeanSquaredError",
        "LogCoshError",
        "CosineSimilarity",
        "Hinge",
        "SquaredHinge",
        "CategoricalHinge",
        "KLDivergence",
        "Poisson",
        "BinaryCrossentropy",
        "CategoricalCrossentropy",
        "SparseCategoricalCrossentropy",
    ],
    "fastcnn.metrics.metric": ["Metric"],
    "fastcnn.metrics.reduction": ["Mean", "MeanMetricWrapper", "Sum"],
    "fastcnn.losses": [
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "hinge",
        "huber",
        "kl_divergence",
        "log_cosh",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
        "sparse_categorical_crossentropy",
        "squared_hinge",
    ],
}
_CLASSES: dict[str, Lazy] = {
    name: Lazy(module, name)
    for module, names in _PLACES.items()
    for name in names
    if name[0].isupper() and name not in ("Metric", "MeanMetricWrapper")
}
_SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "bce": "BinaryCrossentropy",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
}


def _snake(cls: str) -> str:
    # As `Loss` and Keras call it; the words run together.
    return {"KLDivergence": "kl_divergence", "IoU": "iou"}.get(cls) or to_snake_case(cls)


_registry = Registry(
    "metrics",
    "metric",
    _CLASSES
    | {_snake(name): cls for name, cls in _CLASSES.items()}
    | {to_snake_case(name): cls for name, cls in _CLASSES.items()}
    | {short: _CLASSES[name] for short, name in _SHORT.items()}
    | {short.upper(): _CLASSES[name] for short, name in _SHORT.items()}
    | {"acc": _CLASSES["Accuracy"], "kld": _CLASSES["KLDivergence"]},
    shown=[*map(_snake, _CLASSES), "acc", *_SHORT],
)
__getattr__ = attach(
    __name__, _PLACES, nothing_called(__name__, [name for names in _PLACES.values() for name in names])
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
    from fastcnn.metrics.metric import Metric
    from fastcnn.metrics.reduction import MeanMetricWrapper

    if isinstance(identifier, str):
        known = loss is not None or output_shape is not None
        metric: Metric
        if identifier.lower() in ("accuracy", "acc") and known:
            metric = _fitting_accuracy(loss, output_shape, sparse_labels)
        else:
            metric = _registry.look_up(identifier)()
        metric.name = identifier
        return metric
    metric_or_function = _registry.get(identifier)
    if isinstance(metric_or_function, Metric):
        return metric_or_function
    given = getattr(metric_or_function, "name", None)
    name = given or to_snake_case(getattr(metric_or_function, "__name__", type(metric_or_function).__name__))
    return MeanMetricWrapper(metric_or_function, name=name)


def _fitting_accuracy(loss: Any, output_shape: Sequence[int | None] | None, sparse_labels: bool) -> Metric:
    from fastcnn import losses
    from fastcnn.metrics import accuracy
    from fastcnn.metrics.reduction import MeanMetricWrapper

    loss = losses.get(loss)
    described = {} if loss is None or loss.reduction in (None, "none") else loss.native()
    kind = described.get("kind", "")
    binary = kind == "binary_crossentropy" if output_shape is None else bool(output_shape) and output_shape[-1] == 1
    if binary:
        return accuracy.BinaryAccuracy()
    if sparse_labels or kind.startswith("sparse_") or kind == "categorical_generalized_cross_entropy":
        return accuracy.SparseCategoricalAccuracy()
    if kind != "host":
        return accuracy.CategoricalAccuracy()
    # A loss that takes any labels: their shape decides.
    fitting = MeanMetricWrapper(accuracy.fitting_accuracy)
    fitting._direction = "up"
    return fitting


def serialize(metric: Metric) -> dict[str, Any]:
    """Returns the metric's config.

    >>> serialize(get("binary_accuracy"))["config"]["threshold"]
    0.5
    """
    return _registry.serialize(metric)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Metric:
    """Returns the metric that `serialize` described.

    >>> deserialize({"class_name": "AUC", "config": {"curve": "PR"}}).curve
    'PR'
    """
    metric: Metric = _registry.deserialize(config, custom_objects)
    return metric
