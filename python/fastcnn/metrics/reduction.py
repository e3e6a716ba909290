"""Sums and means over samples, and metrics that are the mean of a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import losses
from fastcnn.metrics.metric import Metric
from fastcnn.utils.numerical import match_ranks

_Reduce = Callable[..., Any]


def per_sample(
    name: str, values: ArrayLike, sample_weight: ArrayLike | None, reduce: _Reduce
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Returns weighted values, one a sample, and the weights: axes beyond the first are reduced with `reduce`.

    As Keras: axes of the values that the weights lack are reduced before weighting, the others after.
    """
    found = np.asarray(values, dtype=np.float64)
    weight = None
    if sample_weight is not None:
        found, weight = match_ranks(found, np.asarray(sample_weight, dtype=np.float64))
        if found.ndim > weight.ndim:
            found = reduce(found, axis=tuple(range(weight.ndim, found.ndim)))
        try:
            weight = np.broadcast_to(weight, np.shape(found))
        except ValueError:
            raise ValueError(
                f"{name}: sample_weight: expected a shape that broadcasts to {np.shape(values)}, "
                f"received {np.shape(sample_weight)}"
            ) from None
        found = found * weight
        if weight.ndim > 1:
            weight = reduce(weight, axis=tuple(range(1, weight.ndim)))
    if np.ndim(found) > 1:
        found = reduce(found, axis=tuple(range(1, found.ndim)))
    return np.asarray(found), weight


class Sum(Metric):
    """The sum of weighted values.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> metric = Sum()
        >>> metric.update_state([1, 3, 5], sample_weight=[1, 0, 1])
        >>> metric.result()
        6.0

    See https://keras.io/api/metrics/reduction_metrics/#sum-class
    """

    _sums = ("total",)

    def __init__(self, name: str | None = "sum", dtype: str | None = None) -> None:
        super().__init__(dtype=dtype, name=name)
        self.total = 0.0

    def update_state(self, values: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Adds the values, (batch, ...), each times its weight."""
        found, _ = per_sample(self.name, values, sample_weight, np.sum)
        self.total += float(found.sum())

    def result(self) -> float:
        return self.total

    def reset_state(self) -> None:
        self.total = 0.0


class Mean(Metric):
    """The mean of weighted values: sum of weight * value / sum of weights; 0 for none.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> metric = Mean()
        >>> metric.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
        >>> metric.result()
        2.0

    See https://keras.io/api/metrics/reduction_metrics/#mean-class
    """

    _sums = ("total", "count")

    def __init__(self, name: str | None = "mean", dtype: str | None = None) -> None:
        super().__init__(dtype=dtype, name=name)
        self.total = 0.0
        self.count = 0.0

    def update_state(self, values: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in values, (batch, ...) or one number, and their weights."""
        found, weight = per_sample(self.name, values, sample_weight, np.mean)
        self.total += float(found.sum())
        self.count += float(weight.sum()) if weight is not None else float(found.size)

    def update_native(self, total: float, count: float) -> None:
        """Takes in what the native trainer summed up: weighted matches and weights."""
        self.total += total
        self.count += count

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = self.count = 0.0


class MeanMetricWrapper(Mean):
    """The mean of a function f(y_true, y_pred, **kwargs) that gives one value a sample (or one a batch).

    Args:
        fn: the function.
        name: the metric's name.
        dtype: see `Metric`.
        **kwargs: further arguments of `fn`.

    Example:
        >>> metric = MeanMetricWrapper(lambda y_true, y_pred: abs(y_true - y_pred))
        >>> metric.update_state(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        >>> metric.result()
        1.0

    See https://keras.io/api/metrics/reduction_metrics/#meanmetricwrapper-class
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._fn = fn
        self._fn_kwargs = kwargs
        if losses.is_built_in(fn) or isinstance(fn, losses.Loss):
            self._direction = "down"

    def update_state(  # type: ignore[override]  # labels and predictions in place of values, as in Keras
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Takes in one batch: labels, predictions and one weight a sample."""
        values = self._fn(np.asarray(y_true), np.asarray(y_pred), **self._fn_kwargs)
        if isinstance(values, tuple) and len(values) == 2:
            values = values[0]  # a loss with its gradient
        super().update_state(values, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fn": self._fn, **self._fn_kwargs}
