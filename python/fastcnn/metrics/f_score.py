"""F scores: the harmonic mean of precision and recall, class by class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _messages
from fastcnn.metrics.metric import Metric

_AVERAGES = (None, "micro", "macro", "weighted")
_EPSILON = 1e-7


class FBetaScore(Metric):
    """(1 + beta^2) precision * recall / (beta^2 precision + recall) of each class.

    Labels and predictions are (batch, classes).

    Args:
        average: None (a score for each class), "micro" (of all counts together), "macro" (their mean) or "weighted" (their
            mean by the number of labels).
        beta: how much more recall counts than precision.
        threshold: predictions above it are positive; by default the largest of each row.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values, or arrays of other shapes.

    Example:
        >>> metric = FBetaScore(beta=2.0, threshold=0.5)
        >>> metric([[1, 1, 1], [1, 0, 0], [1, 1, 0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]).round(4)
        array([0.3846, 0.9091, 0.8333])

    See https://keras.io/api/metrics/classification_metrics/#fbetascore-class
    """

    _direction: Literal["up", "down"] | None = "up"
    _sums = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        operation = type(self).__name__
        if average not in _AVERAGES:
            _messages.fail(operation, "average", "None, 'micro', 'macro' or 'weighted'", average)
        if not isinstance(beta, float) or not beta > 0:
            _messages.fail(operation, "beta", "a float above 0", beta)
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            _messages.fail(operation, "threshold", "None or a float in (0, 1]", threshold)
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self.reset_state()

    def reset_state(self) -> None:
        self.true_positives: Any = None
        self.false_positives: Any = None
        self.false_negatives: Any = None
        self.intermediate_weights: Any = None

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels 0 and 1, predictions, (batch, classes) both, and one weight a sample."""
        target, scores = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float32)
        if target.ndim != 2 or target.shape != scores.shape:
            raise ValueError(
                f"{self.name}: y_true, y_pred: expected two arrays (batch, classes), received shapes {target.shape} and "
                f"{scores.shape}"
            )
        if self.threshold is None:
            found = (scores >= scores.max(axis=-1, keepdims=True)) & (np.abs(scores) > 1e-9)
        else:
            found = scores > np.float32(self.threshold)
        positive = found.astype(np.float64)
        weight = 1.0 if sample_weight is None else np.reshape(np.asarray(sample_weight, np.float64), (-1, 1))
        axis = None if self.average == "micro" else 0
        for name, counted in zip(
            self._sums, (positive * target, positive * (1 - target), (1 - positive) * target, target), strict=True
        ):
            before = getattr(self, name)
            total = (counted * weight).sum(axis=axis)
            if before is not None and np.shape(before) != np.shape(total):
                raise ValueError(
                    f"{self.name}: y_pred: expected {np.size(before)} classes as before, received {scores.shape[1]}"
                )
            setattr(self, name, total if before is None else before + total)

    def result(self) -> Any:
        if self.true_positives is None:
            return 0.0
        tp = self.true_positives
        precision = tp / (tp + self.false_positives + _EPSILON)
        recall = tp / (tp + self.false_negatives + _EPSILON)
        square = self.beta**2
        scores: NDArray[Any] = (1 + square) * precision * recall / (square * precision + recall + _EPSILON)
        if self.average == "weighted":
            shares = self.intermediate_weights / (self.intermediate_weights.sum() + _EPSILON)
            return float((scores * shares).sum())
        return scores if self.average is None else float(np.mean(scores))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "beta": self.beta, "threshold": self.threshold}


class F1Score(FBetaScore):
    """2 precision * recall / (precision + recall) of each class.

    Labels and predictions are (batch, classes).

    Args:
        average: None (a score for each class), "micro" (of all counts together), "macro" (their mean) or "weighted" (their
            mean by the number of labels).
        threshold: predictions above it are positive; by default the largest of each row.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values, or arrays of other shapes.

    Example:
        >>> metric = F1Score(threshold=0.5)
        >>> metric([[1, 1, 1], [1, 0, 0], [1, 1, 0]], [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]).round(4)
        array([0.5   , 0.8   , 0.6667])

    See https://keras.io/api/metrics/classification_metrics/#f1score-class
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
