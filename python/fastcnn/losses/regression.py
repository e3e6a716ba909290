"""Losses of regression: relative, logarithmic and robust errors, cosine similarity."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastcnn.losses.functions import Float, check_axis, check_number, row_losses
from fastcnn.losses.native import NativeLoss


def mean_absolute_percentage_error(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of 100 |y_true - y_pred| / max(|y_true|, 1e-7) over the last axis.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> mean_absolute_percentage_error([[1.0, 2.0]], [[1.5, 1.0]])
        array([50.], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#meanabsolutepercentageerror-function
    """
    return row_losses("mean_absolute_percentage_error", y_true, y_pred)


class MeanAbsolutePercentageError(NativeLoss):
    """Mean of 100 |y_true - y_pred| / max(|y_true|, 1e-7).

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(MeanAbsolutePercentageError()([[1.0, 2.0]], [[1.5, 1.0]]), 4)
        50.0

    See https://keras.io/api/losses/regression_losses/#meanabsolutepercentageerror-class
    """

    function = staticmethod(mean_absolute_percentage_error)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def mean_squared_logarithmic_error(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of (log(1 + y_true) - log(1 + y_pred))^2, both at least 1e-7 over the last axis.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> mean_squared_logarithmic_error([[0.0, 1.0]], [[1.0, 1.0]])
        array([0.24022643], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#meansquaredlogarithmicerror-function
    """
    return row_losses("mean_squared_logarithmic_error", y_true, y_pred)


class MeanSquaredLogarithmicError(NativeLoss):
    """Mean of (log(1 + y_true) - log(1 + y_pred))^2, both at least 1e-7.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
        0.2402

    See https://keras.io/api/losses/regression_losses/#meansquaredlogarithmicerror-class
    """

    function = staticmethod(mean_squared_logarithmic_error)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def log_cosh(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of log(cosh(y_pred - y_true)) over the last axis.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> log_cosh([[0.0, 1.0]], [[1.0, 1.0]])
        array([0.2168904], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#logcosh-function
    """
    return row_losses("log_cosh", y_true, y_pred)


class LogCosh(NativeLoss):
    """Mean of log(cosh(y_pred - y_true)).

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(LogCosh()([[0.0, 1.0]], [[1.0, 1.0]]), 4)
        0.2169

    See https://keras.io/api/losses/regression_losses/#logcosh-class
    """

    function = staticmethod(log_cosh)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "log_cosh",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def huber(y_true: ArrayLike, y_pred: ArrayLike, delta: float = 1.0) -> Float:
    """Returns the mean over the last axis of e^2 / 2 where |e| = |y_pred - y_true| <= delta, else delta |e| - delta^2 / 2.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.
        delta: where the square becomes linear.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> huber([[0.0, 0.0]], [[1.0, 3.0]])
        array([1.5], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#huber-function
    """
    limit = check_number("huber", "delta", delta, "a number of at least 0", 0.0)
    return row_losses("huber", y_true, y_pred, a=limit)


class Huber(NativeLoss):
    """Mean of e^2 / 2 where |e| = |y_pred - y_true| <= delta, else delta |e| - delta^2 / 2.

    Args:
        delta: where the square becomes linear.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> Huber()([[0.0, 0.0]], [[1.0, 3.0]])
        1.5

    See https://keras.io/api/losses/regression_losses/#huber-class
    """

    function = staticmethod(huber)

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = check_number("Huber", "delta", delta, "a number of at least 0", 0.0)

    def _settings(self) -> dict[str, Any]:
        return {"delta": self.delta}

    def _kernel_settings(self) -> dict[str, Any]:
        return {"a": self.delta}


def cosine_similarity(y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> Float:
    """Returns minus the cosine of the angle between labels and predictions along `axis`, from -1 (the same direction) to 1.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.
        axis: the axis of the vectors.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> cosine_similarity([[0.0, 1.0]], [[0.0, 3.0]])
        array([-1.], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#cosinesimilarity-function
    """
    return row_losses("cosine_similarity", y_true, y_pred, axis)


class CosineSimilarity(NativeLoss):
    """Mean of minus the cosine of the angle between labels and predictions.

    Args:
        axis: the axis of the vectors.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> CosineSimilarity()([[0.0, 1.0]], [[0.0, 3.0]])
        -1.0

    See https://keras.io/api/losses/regression_losses/#cosinesimilarity-class
    """

    function = staticmethod(cosine_similarity)

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = check_axis("CosineSimilarity", axis)

    def _settings(self) -> dict[str, Any]:
        return {"axis": self.axis}
