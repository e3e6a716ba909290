"""Counts of true and false positives and negatives at thresholds, precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn.metrics.metric import Metric
from fastcnn.utils.numerical import match_ranks

Counts = NDArray[np.float64]

_NEVER = -1e10  # the score of classes outside of the top k, below every threshold


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Counts:
    """Returns the quotients, 0 where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    quotients: Counts = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    return quotients


def check_thresholds(name: str, thresholds: float | Sequence[float]) -> list[float]:
    """Returns the thresholds as a list of floats in [0, 1]."""
    values = list(np.atleast_1d(np.asarray(thresholds, dtype=np.float64)).ravel())
    if not values or not all(0 <= value <= 1 for value in values):
        raise ValueError(f"{name}: thresholds: expected numbers in [0, 1], received {thresholds!r}")
    return [float(value) for value in values]


def evenly_spaced(thresholds: Sequence[float]) -> bool:
    """Whether the thresholds cut [0, 1] into equal parts. Keras clips predictions to [0, 1] for those."""
    count = len(thresholds)
    return count >= 3 and bool(np.allclose(thresholds, np.arange(count) / (count - 1), atol=1e-7))


def operands(
    name: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    sample_weight: ArrayLike | None,
    top_k: int | None,
    class_id: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    """Returns labels, predictions and weights of one shape."""
    prediction, target = match_ranks(np.asarray(y_pred, np.float32), np.asarray(y_true, np.float32))
    if target.shape != prediction.shape:
        raise ValueError(
            f"{name}: y_true: expected the shape of y_pred, {np.shape(y_pred)}, received {np.shape(y_true)}"
        )
    if top_k is not None:
        prediction = _keep_top_k(prediction, top_k)
    if class_id is not None:
        if prediction.ndim < 2 or not 0 <= class_id < prediction.shape[-1]:
            raise ValueError(f"{name}: class_id: expected a class of y_pred, {np.shape(y_pred)}, received {class_id}")
        target, prediction = target[..., class_id, None], prediction[..., class_id, None]
    if sample_weight is None:
        return target, prediction, None
    weight = np.asarray(sample_weight, np.float32)
    if weight.ndim < prediction.ndim:
        weight = weight.reshape(weight.shape + (1,) * (prediction.ndim - weight.ndim))
    try:
        return target, prediction, np.broadcast_to(weight, prediction.shape)
    except ValueError:
        raise ValueError(
            f"{name}: sample_weight: expected a shape that broadcasts to {prediction.shape}, "
            f"received {np.shape(sample_weight)}"
        ) from None


def _keep_top_k(prediction: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    top = np.argsort(-prediction, axis=-1, kind="stable")[..., :k]
    kept = np.full_like(prediction, _NEVER)
    np.put_along_axis(kept, top, np.take_along_axis(prediction, top, axis=-1), axis=-1)
    return kept


def confusion_counts(
    y_true: NDArray[np.float32],
    y_pred: NDArray[np.float32],
    thresholds: ArrayLike,
    weight: NDArray[np.float32] | None,
) -> tuple[Counts, Counts, Counts, Counts]:
    """Returns weighted counts (tp, fp, fn, tn), one a threshold: a prediction above the threshold is positive."""
    from fastcnn import _core

    def flat(values: ArrayLike) -> NDArray[np.float32]:
        return np.ascontiguousarray(values, dtype=np.float32).reshape(-1)

    # Any label but 0 is positive.
    return _core.confusion_counts(
        flat(y_pred), flat(y_true != 0), flat(thresholds), None if weight is None else flat(weight)
    )


class _Counting(Metric):
    """Keeps the four counts, one a threshold."""

    _sums = ("true_positives", "false_positives", "false_negatives", "true_negatives")

    def __init__(
        self, thresholds: Sequence[float], name: str | None, dtype: str | None, shape: tuple[int, ...] | None = None
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        self._thresholds = np.asarray(thresholds, np.float64)
        self._even = evenly_spaced(thresholds)
        self._allocate(shape or (len(thresholds),))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        self.true_positives = np.zeros(shape)
        self.false_positives = np.zeros(shape)
        self.false_negatives = np.zeros(shape)
        self.true_negatives = np.zeros(shape)

    def _count(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, **choice: Any) -> None:
        target, prediction, weight = operands(self.name, y_true, y_pred, sample_weight, **choice)
        if self._even:
            prediction = np.clip(prediction, 0, 1)
        tp, fp, fn, tn = confusion_counts(target, prediction, self._thresholds, weight)
        self.true_positives += tp
        self.false_positives += fp
        self.false_negatives += fn
        self.true_negatives += tn

    def reset_state(self) -> None:
        self._allocate(self.true_positives.shape)

    def _one_or_all(self, values: Counts) -> Any:
        return float(values[0]) if len(values) == 1 else values.copy()


class _Count(_Counting):
    """One of the four counts.

    Args:
        thresholds: predictions above it are positive; a number or several in [0, 1], 0.5 by default.
        name: the metric's name.
        dtype: see `Metric`.
    """

    _counted: str

    def __init__(
        self, thresholds: float | Sequence[float] | None = None, name: str | None = None, dtype: str | None = None
    ) -> None:
        self.init_thresholds = thresholds
        self.thresholds = check_thresholds(type(self).__name__, 0.5 if thresholds is None else thresholds)
        super().__init__(self.thresholds, name, dtype)

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels, predictions of the same shape and their weights."""
        self._count(y_true, y_pred, sample_weight, top_k=None, class_id=None)

    def result(self) -> Any:
        return self._one_or_all(getattr(self, self._counted))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class TruePositives(_Count):
    """The number of positives found.

    >>> TruePositives()([0, 1, 1, 1], [1, 0, 1, 1])
    2.0

    See https://keras.io/api/metrics/classification_metrics/#truepositives-class
    """

    _counted = "true_positives"


class FalsePositives(_Count):
    """The number of negatives taken for positives.

    >>> FalsePositives()([0, 1, 0, 0], [0, 0, 1, 1])
    2.0

    See https://keras.io/api/metrics/classification_metrics/#falsepositives-class
    """

    _counted = "false_positives"


class TrueNegatives(_Count):
    """The number of negatives found.

    >>> TrueNegatives()([0, 1, 0, 0], [1, 1, 0, 0])
    2.0

    See https://keras.io/api/metrics/classification_metrics/#truenegatives-class
    """

    _counted = "true_negatives"


class FalseNegatives(_Count):
    """The number of positives taken for negatives.

    >>> FalseNegatives()([0, 1, 1, 1], [0, 1, 0, 0])
    2.0

    See https://keras.io/api/metrics/classification_metrics/#falsenegatives-class
    """

    _counted = "false_negatives"


class _Ratio(_Counting):
    """True positives divided by themselves and another count."""

    _direction: Literal["up", "down"] | None = "up"
    _other: str

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1):
            raise ValueError(f"{type(self).__name__}: top_k: expected a positive integer or None, received {top_k!r}")
        self.init_thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        if thresholds is None:
            self.thresholds = [0.5 if top_k is None else _NEVER]
        else:
            self.thresholds = check_thresholds(type(self).__name__, thresholds)
        super().__init__(self.thresholds, name, dtype)

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels, predictions of the same shape and their weights."""
        self._count(y_true, y_pred, sample_weight, top_k=self.top_k, class_id=self.class_id)

    def result(self) -> Any:
        return self._one_or_all(divide(self.true_positives, self.true_positives + getattr(self, self._other)))

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


class Precision(_Ratio):
    """The share of true ones among the predicted positives; 0 where there are none.

    Args:
        thresholds: predictions above it are positive; a number or several in [0, 1], 0.5 by default.
        top_k: counts only the k largest predictions of a row, all of them as positive unless thresholds are given.
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> round(Precision()([0, 1, 1, 1], [1, 0, 1, 1]), 4)
        0.6667

    See https://keras.io/api/metrics/classification_metrics/#precision-class
    """

    _other = "false_positives"


class Recall(_Ratio):
    """The share of positives that were found; 0 where there are none.

    Args:
        thresholds: predictions above it are positive; a number or several in [0, 1], 0.5 by default.
        top_k: counts only the k largest predictions of a row, all of them as positive unless thresholds are given.
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> round(Recall()([0, 1, 1, 1], [1, 0, 1, 1]), 4)
        0.6667

    See https://keras.io/api/metrics/classification_metrics/#recall-class
    """

    _other = "false_negatives"
