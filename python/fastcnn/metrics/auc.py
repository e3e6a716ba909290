"""The area under the ROC or precision-recall curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastcnn.metrics.confusion import (
    Counts,
    _Counting,
    check_thresholds,
    confusion_counts,
    divide,
    evenly_spaced,
    operands,
)
from fastcnn.variables import charge_table

_CURVES = ("ROC", "PR", "PRGAIN")
_SUMMATIONS = ("interpolation", "majoring", "minoring")
_EPSILON = 1e-7  # the outer thresholds lie beyond [0, 1], so that predictions of exactly 0 and 1 count


class AUC(_Counting):
    """The area under a curve, from counts at thresholds (Riemann sums; finer with more thresholds).

    Args:
        num_thresholds: evenly spaced thresholds, 2 at least.
        curve: "ROC" (true over false positive rate), "PR" (precision over recall) or "PRGAIN" (Flach & Kull, 2015).
        summation_method: the height between two points: "interpolation" (ROC: their mean; PR: Davis & Goadrich, 2006),
            "majoring" (the larger) or "minoring" (the smaller).
        name: the metric's name.
        dtype: see `Metric`.
        thresholds: thresholds in (0, 1) in place of evenly spaced ones.
        multi_label: whether the columns of (batch, labels) get an area each, of which the mean is taken.
        num_labels: the number of columns; found from the first batch by default.
        label_weights: weights of the columns.
        from_logits: whether predictions are logits instead of probabilities.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
        0.75

    See https://keras.io/api/metrics/classification_metrics/#auc-class
    """

    _direction: Literal["up", "down"] | None = "up"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        if str(curve).upper() not in _CURVES:
            raise ValueError(f"AUC: curve: expected one of {_CURVES}, received {curve!r}")
        if str(summation_method).lower() not in _SUMMATIONS:
            raise ValueError(f"AUC: summation_method: expected one of {_SUMMATIONS}, received {summation_method!r}")
        if num_labels and not multi_label:
            raise ValueError(f"AUC: num_labels: expected None where multi_label is False, received {num_labels!r}")
        if thresholds is not None and not isinstance(thresholds, (list, tuple, np.ndarray)):
            raise TypeError(f"AUC: thresholds: expected a list of numbers, received {thresholds!r}")
        self._init_thresholds = None if thresholds is None else sorted(check_thresholds("AUC", thresholds))
        if self._init_thresholds is not None:
            inner = self._init_thresholds
        elif isinstance(num_thresholds, (int, np.integer)) and num_thresholds > 1:
            charge_table(f"{num_thresholds} thresholds of AUC", 96 * int(num_thresholds))
            inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        else:
            raise ValueError(f"AUC: num_thresholds: expected an integer > 1, received {num_thresholds!r}")
        points = [-_EPSILON, *inner, 1 + _EPSILON]
        if num_labels:
            charge_table(f"AUC of {num_labels} labels", 32 * len(points) * int(num_labels))
        super().__init__(points, name, dtype, (len(points), num_labels) if num_labels else None)
        self._even = evenly_spaced([0.0, *inner, 1.0])
        self.num_thresholds = len(points)
        self.curve = str(curve).upper()
        self.summation_method = str(summation_method).lower()
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float64)
        self.from_logits = from_logits

    @property
    def thresholds(self) -> list[float]:
        """All thresholds, the outer ones just beyond 0 and 1."""
        return [float(value) for value in self._thresholds]

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels 0 and 1, predictions of the same shape and their weights."""
        if self.from_logits:
            from fastcnn.activations import sigmoid

            y_pred = sigmoid(y_pred)
        target, prediction, weight = operands(self.name, y_true, y_pred, sample_weight, None, None)
        if self._even:
            prediction = np.clip(prediction, 0, 1)
        if self.label_weights is not None and not self.multi_label:
            by_label = np.broadcast_to(self.label_weights.astype(np.float32), prediction.shape)
            weight = by_label if weight is None else weight * by_label
        if not self.multi_label:
            self._add(confusion_counts(target, prediction, self._thresholds, weight))
            return
        if prediction.ndim != 2 or (self.num_labels and prediction.shape[1] != self.num_labels):
            raise ValueError(
                f"AUC: y_pred: expected shape (batch, {self.num_labels or 'labels'}) where multi_label is True, "
                f"received {prediction.shape}"
            )
        if self.true_positives.ndim != 2:
            self._allocate((self.num_thresholds, prediction.shape[1]))
        columns = [
            confusion_counts(target[:, k], prediction[:, k], self._thresholds, None if weight is None else weight[:, k])
            for k in range(prediction.shape[1])
        ]
        self._add([np.stack(counts, axis=1) for counts in zip(*columns, strict=True)])

    def _add(self, counts: Sequence[Counts]) -> None:
        tp, fp, fn, tn = counts
        self.true_positives += tp
        self.false_positives += fp
        self.false_negatives += fn
        self.true_negatives += tn

    def result(self) -> float:
        """Returns the area, in [0, 1]."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._interpolated_pr_area().sum(axis=0)
        else:
            x, y = self._points()
            heights = {"interpolation": (y[:-1] + y[1:]) / 2, "majoring": np.maximum(y[:-1], y[1:])}
            height = heights.get(self.summation_method, np.minimum(y[:-1], y[1:]))
            areas = ((x[:-1] - x[1:]) * height).sum(axis=0)
        if np.ndim(areas) and self.label_weights is not None:
            return float(divide((areas * self.label_weights).sum(), self.label_weights.sum()))
        return float(np.mean(areas))

    def _points(self) -> tuple[Counts, Counts]:
        """The curve's points, thresholds rising."""
        tp, fp, fn, tn = self.true_positives, self.false_positives, self.false_negatives, self.true_negatives
        recall = divide(tp, tp + fn)
        if self.curve == "ROC":
            return divide(fp, fp + tn), recall
        if self.curve == "PR":
            return recall, divide(tp, tp + fp)
        ratio = divide(tp + fn, tn + fp)  # positives over negatives
        recall_gain = np.where(tp == 0, 0.0, 1 - ratio * divide(fn, tp))
        precision_gain = np.where(tp == 0, 1.0, 1 - ratio * divide(fp, tp))
        return np.maximum(recall_gain, 0.0), precision_gain

    def _interpolated_pr_area(self) -> Counts:
        """The area between each two thresholds, where true positives rise linearly with the predicted positives p.

        With tp = slope * p + intercept, the integral of tp / p over true positives is
        slope * (dtp + intercept * log(p_a / p_b)), divided by all positives (Davis & Goadrich, 2006).
        """
        tp, predicted = self.true_positives, self.true_positives + self.false_positives
        dtp = tp[:-1] - tp[1:]
        slope = divide(dtp, np.maximum(predicted[:-1] - predicted[1:], 0))
        intercept = tp[1:] - slope * predicted[1:]
        both = (predicted[:-1] > 0) & (predicted[1:] > 0)
        ratio = np.where(both, divide(predicted[:-1], predicted[1:]), 1.0)
        return divide(slope * (dtp + intercept * np.log(ratio)), tp[1:] + self.false_negatives[1:])

    def get_config(self) -> dict[str, Any]:
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if self.label_weights is None else self.label_weights.tolist(),
            "from_logits": self.from_logits,
        }
        if self._init_thresholds is not None:
            config["thresholds"] = self._init_thresholds
        return config
