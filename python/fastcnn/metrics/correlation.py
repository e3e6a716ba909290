"""How predictions vary with labels: correlations and the coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _messages
from fastcnn.metrics.metric import Metric
from fastcnn.metrics.reduction import MeanMetricWrapper
from fastcnn.utils.numerical import match_ranks

Float = NDArray[np.float32]


def _centred(y_true: ArrayLike, y_pred: ArrayLike, axis: int) -> tuple[Any, Any, Any, Any]:
    target, prediction = match_ranks(np.asarray(y_true, np.float32), np.asarray(y_pred, np.float32))
    means = target.mean(axis=axis, keepdims=True), prediction.mean(axis=axis, keepdims=True)
    return target - means[0], prediction - means[1], *means


def pearson_correlation(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Float:
    """Returns the correlation of labels and predictions along `axis`; NaN where one of them is constant.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.
        axis: the axis of what is correlated.

    Returns:
        float32, the other axes.

    Example:
        >>> pearson_correlation([[0, 1, 0.5]], [[0.0, 1.0, 0.2]]).round(4)
        array([0.9449], dtype=float32)

    See https://keras.io/api/metrics/regression_metrics/
    """
    target, prediction, _, _ = _centred(y_true, y_pred, axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        target = target / target.std(axis=axis, keepdims=True)
        prediction = prediction / prediction.std(axis=axis, keepdims=True)
        return np.asarray((target * prediction).mean(axis=axis), np.float32)


def concordance_correlation(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Float:
    """Returns how near labels and predictions lie to the line of equality: 2 cov / (var + var + (difference of means)^2).

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.
        axis: the axis of what is correlated.

    Returns:
        float32, the other axes.

    Example:
        >>> concordance_correlation([[0, 1, 0.5]], [[0.0, 1.0, 0.2]]).round(4)
        array([0.9174], dtype=float32)

    See https://keras.io/api/metrics/regression_metrics/
    """
    target, prediction, target_mean, prediction_mean = _centred(y_true, y_pred, axis)
    variances = target.var(axis=axis, keepdims=True) + prediction.var(axis=axis, keepdims=True)
    norm = variances + np.square(target_mean - prediction_mean)
    return np.asarray((2 * target * prediction / (norm + np.float32(1e-7))).mean(axis=axis), np.float32)


class _Correlation(MeanMetricWrapper):
    _direction: Literal["up", "down"] | None = "up"

    @property
    def axis(self) -> int:
        """The axis of what is correlated."""
        return int(self._fn_kwargs["axis"])

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "axis": self.axis}


class PearsonCorrelation(_Correlation):
    """The mean correlation of labels and predictions.

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        axis: the axis of what is correlated.

    Example:
        >>> round(PearsonCorrelation()([[0, 1, 0.5]], [[0.0, 1.0, 0.2]]), 4)
        0.9449

    See https://keras.io/api/metrics/regression_metrics/
    """

    def __init__(self, name: str | None = "pearson_correlation", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)


class ConcordanceCorrelation(_Correlation):
    """The mean concordance of labels and predictions (Lin, 1989).

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        axis: the axis of what is correlated.

    Example:
        >>> round(ConcordanceCorrelation()([[0, 1, 0.5]], [[0.0, 1.0, 0.2]]), 4)
        0.9174

    See https://keras.io/api/metrics/regression_metrics/
    """

    def __init__(self, name: str | None = "concordance_correlation", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)


_AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


class R2Score(Metric):
    """The share of the labels' variance that predictions explain, 1 - sum (t - p)^2 / sum (t - mean t)^2.

    Labels and predictions are (batch, outputs).

    Args:
        class_aggregation: None (a score for each output), "uniform_average" (their mean) or "variance_weighted_average".
        num_regressors: of a model, for the adjusted score; 0 for the plain one.
        name: the metric's name.
        dtype: see `Metric`.

    Raises:
        ValueError: an argument outside of these values, or arrays of other shapes.

    Example:
        >>> round(R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]]), 4)
        0.5714

    See https://keras.io/api/metrics/regression_metrics/#r2score-class
    """

    _direction: Literal["up", "down"] | None = "up"
    _sums = ("squared_sum", "sum", "total_mse", "count", "num_samples")

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = "r2_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(dtype=dtype, name=name)
        if class_aggregation not in _AGGREGATIONS:
            expected = "None, 'uniform_average' or 'variance_weighted_average'"
            _messages.fail("R2Score", "class_aggregation", expected, class_aggregation)
        self.class_aggregation = class_aggregation
        self.num_regressors = _messages.integer("R2Score", "num_regressors", num_regressors, minimum=0)
        self.reset_state()

    def reset_state(self) -> None:
        self.squared_sum: Any = None
        self.sum: Any = None
        self.total_mse: Any = None
        self.count: Any = None
        self.num_samples = 0

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels and predictions, (batch, outputs), and one weight a sample."""
        target, prediction = match_ranks(np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64))
        if target.ndim != 2 or target.shape != prediction.shape:
            raise ValueError(
                f"{self.name}: y_true, y_pred: expected two arrays (batch, outputs), received shapes {np.shape(y_true)} "
                f"and {np.shape(y_pred)}"
            )
        weight = np.asarray(1.0 if sample_weight is None else sample_weight, np.float64)
        weight = np.broadcast_to(weight[:, None] if weight.ndim == 1 else weight, target.shape)
        for name, values in (
            ("squared_sum", target * target * weight),
            ("sum", target * weight),
            ("total_mse", (target - prediction) ** 2 * weight),
            ("count", weight),
        ):
            before = getattr(self, name)
            setattr(self, name, values.sum(axis=0) if before is None else before + values.sum(axis=0))
        self.num_samples += target.size

    def result(self) -> Any:
        if self.count is None:
            return 0.0
        with np.errstate(invalid="ignore", divide="ignore"):
            total = self.squared_sum - self.sum * (self.sum / self.count)
            scores = 1 - self.total_mse / total
        scores = np.where(np.isinf(scores), 0.0, scores)
        found: Any = scores
        if self.class_aggregation == "uniform_average":
            found = float(scores.mean())
        elif self.class_aggregation == "variance_weighted_average":
            found = float((total * scores).sum() / total.sum())
        if self.num_regressors == 0:
            return found
        left = self.num_samples - self.num_regressors - 1
        if left <= 0:
            warnings.warn(
                f"R2Score: num_regressors: expected fewer than the {self.num_samples} labels less one, received "
                f"{self.num_regressors}: the plain score is given",
                stacklevel=2,
            )
            return found
        return 1 - (1 - found) * (self.num_samples - 1) / left

    def get_config(self) -> dict[str, Any]:
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}
