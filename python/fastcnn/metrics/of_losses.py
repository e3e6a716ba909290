"""Metrics that are the mean of a loss."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import losses
from fastcnn.losses.loss import align_weights
from fastcnn.metrics.reduction import Mean, MeanMetricWrapper
from fastcnn.utils.numerical import match_ranks


class _LossMetric(MeanMetricWrapper):
    """The mean of a loss function, or of its kernel where the trainer can run it."""

    _direction: Literal["up", "down"] | None = "down"
    _kind: str | None = None  # of the kernel

    def native(self) -> dict[str, Any] | None:
        # A subclass may override anything, so only the classes of this module are known to mean what the kernel does.
        if self._kind is None or type(self).__module__ != __name__ or self._fn_kwargs.get("axis", -1) != -1:
            return None
        settings = {name: value for name, value in self._fn_kwargs.items() if name != "axis"}
        return {"kind": "loss", "loss": {"kind": self._kind, **settings}}

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self._fn_kwargs}


class MeanSquaredError(_LossMetric):
    """The mean of (y_true - y_pred)^2.

    >>> MeanSquaredError()([[0.0], [1.0]], [[1.0], [3.0]])
    2.5

    See https://keras.io/api/metrics/regression_metrics/#meansquarederror-class
    """

    _kind = "mean_squared_error"

    def __init__(self, name: str | None = "mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


class MeanAbsoluteError(_LossMetric):
    """The mean of |y_true - y_pred|.

    >>> MeanAbsoluteError()([[0.0], [1.0]], [[1.0], [3.0]])
    1.5

    See https://keras.io/api/metrics/regression_metrics/#meanabsoluteerror-class
    """

    _kind = "mean_absolute_error"

    def __init__(self, name: str | None = "mean_absolute_error", dtype: str | None = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


class BinaryCrossentropy(_LossMetric):
    """The mean of `losses.binary_crossentropy`.

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: labels t become t (1 - s) + s / 2.

    Example:
        >>> round(BinaryCrossentropy()([[0], [1]], [[0.5], [0.5]]), 4)
        0.6931

    See https://keras.io/api/metrics/probabilistic_metrics/#binarycrossentropy-class
    """

    _kind = "binary_crossentropy"

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(_LossMetric):
    """The mean of `losses.categorical_crossentropy`.

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: labels t become t (1 - s) + s / classes.
        axis: the axis of the classes.

    Example:
        >>> round(CategoricalCrossentropy()([[0, 1]], [[0.5, 0.5]]), 4)
        0.6931

    See https://keras.io/api/metrics/probabilistic_metrics/#categoricalcrossentropy-class
    """

    _kind = "categorical_crossentropy"

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(_LossMetric):
    """The mean of `losses.sparse_categorical_crossentropy`.

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        from_logits: whether predictions are logits instead of probabilities.
        ignore_class: a class whose samples do not count.
        axis: the axis of the classes.

    Example:
        >>> round(SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]), 4)
        0.6931

    See https://keras.io/api/metrics/probabilistic_metrics/#sparsecategoricalcrossentropy-class
    """

    _kind = "sparse_categorical_crossentropy"

    def native(self) -> dict[str, Any] | None:
        return None if self._fn_kwargs["ignore_class"] is not None else super().native()

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.sparse_categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )

    def update_state(  # type: ignore[override]
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        values = np.asarray(self._fn(y_true, y_pred, **self._fn_kwargs))
        ignored = self._fn_kwargs["ignore_class"]
        if ignored is not None:
            # Ignored samples do not count: weight 0.
            valid = np.asarray(np.reshape(y_true, values.shape) != ignored, dtype=np.float64)
            sample_weight = (
                valid if sample_weight is None else valid * align_weights(self.name, sample_weight, values.shape)
            )
        Mean.update_state(self, values, sample_weight)


class MeanAbsolutePercentageError(_LossMetric):
    """The mean of 100 |y_true - y_pred| / |y_true|.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(MeanAbsolutePercentageError()([[1.0], [2.0]], [[1.5], [1.0]]), 4)
        50.0

    See https://keras.io/api/metrics/regression_metrics/#meanabsolutepercentageerror-class
    """

    _kind = "mean_absolute_percentage_error"

    def __init__(self, name: str | None = "mean_absolute_percentage_error", dtype: str | None = None) -> None:
        super().__init__(losses.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(_LossMetric):
    """The mean of (log(1 + y_true) - log(1 + y_pred))^2.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(MeanSquaredLogarithmicError()([[0.0], [1.0]], [[1.0], [1.0]]), 4)
        0.2402

    See https://keras.io/api/metrics/regression_metrics/#meansquaredlogarithmicerror-class
    """

    _kind = "mean_squared_logarithmic_error"

    def __init__(self, name: str | None = "mean_squared_logarithmic_error", dtype: str | None = None) -> None:
        super().__init__(losses.mean_squared_logarithmic_error, name, dtype)


class LogCoshError(_LossMetric):
    """The mean of log(cosh(y_pred - y_true)).

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(LogCoshError()([[0.0], [1.0]], [[1.0], [1.0]]), 4)
        0.2169

    See https://keras.io/api/metrics/regression_metrics/#logcosherror-class
    """

    _kind = "log_cosh"

    def __init__(self, name: str | None = "logcosh", dtype: str | None = None) -> None:
        super().__init__(losses.log_cosh, name, dtype)


class Hinge(_LossMetric):
    """The mean of max(1 - y_true * y_pred, 0) of labels -1 and 1, or 0 and 1.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(Hinge()([[0], [1]], [[0.6], [0.4]]), 4)
        1.1

    See https://keras.io/api/metrics/hinge_metrics/#hinge-class
    """

    def __init__(self, name: str | None = "hinge", dtype: str | None = None) -> None:
        super().__init__(losses.hinge, name, dtype)


class SquaredHinge(_LossMetric):
    """The mean of max(1 - y_true * y_pred, 0)^2 of labels -1 and 1, or 0 and 1.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(SquaredHinge()([[0], [1]], [[0.6], [0.4]]), 4)
        1.46

    See https://keras.io/api/metrics/hinge_metrics/#squaredhinge-class
    """

    def __init__(self, name: str | None = "squared_hinge", dtype: str | None = None) -> None:
        super().__init__(losses.squared_hinge, name, dtype)


class CategoricalHinge(_LossMetric):
    """The mean of max(0, max((1 - y_true) * y_pred) - sum(y_true * y_pred) + 1).

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(CategoricalHinge()([[0, 1]], [[0.6, 0.4]]), 4)
        1.2

    See https://keras.io/api/metrics/hinge_metrics/#categoricalhinge-class
    """

    _kind = "categorical_hinge"

    def __init__(self, name: str | None = "categorical_hinge", dtype: str | None = None) -> None:
        super().__init__(losses.categorical_hinge, name, dtype)


class KLDivergence(_LossMetric):
    """The mean of sum t log(t / p), the divergence of the predictions p from t.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(KLDivergence()([[0.0, 1.0]], [[0.5, 0.5]]), 4)
        0.6931

    See https://keras.io/api/metrics/probabilistic_metrics/#kldivergence-class
    """

    _direction = None
    _kind = "kl_divergence"

    def __init__(self, name: str | None = "kl_divergence", dtype: str | None = None) -> None:
        super().__init__(losses.kl_divergence, name, dtype)


class Poisson(_LossMetric):
    """The mean of y_pred - y_true log(y_pred).

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> round(Poisson()([[1.0], [2.0]], [[1.0], [1.0]]), 4)
        1.0

    See https://keras.io/api/metrics/probabilistic_metrics/#poisson-class
    """

    _direction = None
    _kind = "poisson"

    def __init__(self, name: str | None = "poisson", dtype: str | None = None) -> None:
        super().__init__(losses.poisson, name, dtype)


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> NDArray[np.float32]:
    """Returns the cosine of the angle between labels and predictions along `axis`: the negative of the loss.

    >>> cosine_similarity([[0.0, 1.0]], [[0.0, 3.0]])
    array([1.], dtype=float32)
    """
    return -losses.cosine_similarity(y_true, y_pred, axis)


class CosineSimilarity(_LossMetric):
    """The mean cosine of the angle between labels and predictions, from -1 to 1 (the same direction).

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        axis: the axis of the vectors.

    Example:
        >>> round(CosineSimilarity()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
        0.7071

    See https://keras.io/api/metrics/regression_metrics/#cosinesimilarity-class
    """

    _direction = "up"

    def __init__(self, name: str | None = "cosine_similarity", dtype: str | None = None, axis: int = -1) -> None:
        super().__init__(cosine_similarity, name, dtype, axis=axis)


class RootMeanSquaredError(_LossMetric):
    """The square root of the mean of (y_true - y_pred)^2.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> RootMeanSquaredError()([[0.0], [1.0]], [[3.0], [5.0]])
        3.5355339059327378

    See https://keras.io/api/metrics/regression_metrics/#rootmeansquarederror-class
    """

    _kind = "mean_squared_error"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: str | None = None) -> None:
        super().__init__(squared_error, name, dtype)

    def result(self) -> float:
        return math.sqrt(super().result())


def squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float32]:
    """Returns (y_true - y_pred)^2, one for each element.

    >>> squared_error([1.0, 2.0], [3.0, 2.0])
    array([4., 0.], dtype=float32)
    """
    target, prediction = match_ranks(np.asarray(y_true, np.float32), np.asarray(y_pred, np.float32))
    return np.asarray(np.square(target - prediction))
