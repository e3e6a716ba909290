"""The best of one rate where another is at least a value: sensitivity at specificity, precision at recall, ..."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastcnn import _messages
from fastcnn.metrics.confusion import Counts, _Counting, divide
from fastcnn.variables import charge_table


class _AtConstraint(_Counting):
    """The largest `_wanted` rate of the thresholds whose `_held` rate is at least the value.

    Args:
        value: the least value, in [0, 1].
        num_thresholds: evenly spaced thresholds in [0, 1].
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.
    """

    _direction: Literal["up", "down"] | None = "up"
    _argument: str
    _held: str
    _wanted: str

    def __init__(
        self, value: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: str | None
    ) -> None:
        operation = type(self).__name__
        self.value = _messages.real(operation, self._argument, value, "a number in [0, 1]", 0.0, 1.0)
        self.num_thresholds = _messages.integer(operation, "num_thresholds", num_thresholds)
        self.class_id = class_id
        count = self.num_thresholds
        charge_table(f"{count} thresholds of {operation}", 96 * count)
        self.thresholds = [0.5] if count == 1 else [0.0, *((i + 1) / (count - 1) for i in range(count - 2)), 1.0]
        super().__init__(self.thresholds, name, dtype)
        setattr(self, self._argument, self.value)

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels 0 and 1, predictions in [0, 1] of the same shape and their weights."""
        self._count(y_true, y_pred, sample_weight, top_k=None, class_id=self.class_id)

    def _rate(self, name: str) -> Counts:
        found = {
            "sensitivity": (self.true_positives, self.false_negatives),
            "specificity": (self.true_negatives, self.false_positives),
            "precision": (self.true_positives, self.false_positives),
        }[name]
        return divide(found[0], found[0] + found[1])

    def result(self) -> float:
        feasible = self._rate(self._held) >= self.value
        return float(np.max(np.where(feasible, self._rate(self._wanted), 0), initial=0))

    def get_config(self) -> dict[str, Any]:
        own = {"num_thresholds": self.num_thresholds, self._argument: self.value, "class_id": self.class_id}
        return {**super().get_config(), **own}


class SensitivityAtSpecificity(_AtConstraint):
    """The best share of positives found while at least `specificity` of the negatives are.

    Args:
        specificity: the least share of negatives found, in [0, 1].
        num_thresholds: evenly spaced thresholds in [0, 1].
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
        0.5

    See https://keras.io/api/metrics/classification_metrics/#sensitivityatspecificity-class
    """

    _argument, _held, _wanted = "specificity", "specificity", "sensitivity"

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)


class SpecificityAtSensitivity(_AtConstraint):
    """The best share of negatives found while at least `sensitivity` of the positives are.

    Args:
        sensitivity: the least share of positives found, in [0, 1].
        num_thresholds: evenly spaced thresholds in [0, 1].
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> round(SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]), 4)
        0.6667

    See https://keras.io/api/metrics/classification_metrics/#specificityatsensitivity-class
    """

    _argument, _held, _wanted = "sensitivity", "sensitivity", "specificity"

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)


class PrecisionAtRecall(_AtConstraint):
    """The best precision while the recall is at least `recall`.

    Args:
        recall: the least recall, in [0, 1].
        num_thresholds: evenly spaced thresholds in [0, 1].
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
        0.5

    See https://keras.io/api/metrics/classification_metrics/#precisionatrecall-class
    """

    _argument, _held, _wanted = "recall", "sensitivity", "precision"

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)


class RecallAtPrecision(_AtConstraint):
    """The best recall while the precision is at least `precision`.

    Args:
        precision: the least precision, in [0, 1].
        num_thresholds: evenly spaced thresholds in [0, 1].
        class_id: counts this class alone.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> RecallAtPrecision(0.8)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
        0.5

    See https://keras.io/api/metrics/classification_metrics/#recallatprecision-class
    """

    _argument, _held, _wanted = "precision", "precision", "sensitivity"

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
