"""The base of the losses: weights, reduction, and what the trainer asks of a loss written in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn._identifiers import listing
from fastcnn._naming import auto_name
from fastcnn.utils.numerical import match_ranks

_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)
# The upstream factors of the losses -> the gradient by the predictions.
Backward = Callable[[NDArray[Any]], NDArray[Any]]


def check_reduction(operation: str, value: Any) -> str | None:
    if value not in _REDUCTIONS:
        raise ValueError(
            f"{operation}: reduction: expected one of {listing(map(str, _REDUCTIONS))}, received {value!r}"
        )
    reduction: str | None = value
    return reduction


def align_weights(operation: str, sample_weight: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The weight of each loss: one a sample, or of the losses' shape (a last axis of 1 may be missing or in excess)."""
    weight = np.asarray(sample_weight, dtype=np.float32)
    if weight.ndim == len(shape) + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    aligned = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim)) if weight.ndim else weight
    try:
        return np.broadcast_to(aligned, shape)
    except ValueError:
        raise ValueError(
            f"{operation}: sample_weight: expected shape {shape[:1]} or {shape}, received {np.shape(sample_weight)}"
        ) from None


def divisor_of(reduction: str | None, count: float, weight: NDArray[np.float32] | None) -> float:
    if reduction == "sum":
        return 1.0
    if reduction == "mean_with_sample_weight" and weight is not None:
        return float(weight.sum(dtype=np.float64))
    return count


def spread(factors: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
    """The gradients of the losses, (batch, ...) or one for all, times their factors."""
    return np.asarray(factors.reshape(factors.shape + (1,) * (gradient.ndim - factors.ndim)) * gradient)


class Loss:
    """Base of the losses. A subclass overrides `call`, and `gradient` where a model is trained with it.

    A loss written in Python is a stop of the native plan: it gets the labels and predictions of the whole batch as
    float32 arrays. Sample weights, class weights and the reduction are applied to what it returns.
    `fastcnn.utils.check_gradients` compares its gradient with finite differences.

    Args:
        name: the loss's name.
        reduction: how the samples' losses become one number: "sum_over_batch_size" and "mean" (sum of weight * loss /
            number of losses), "mean_with_sample_weight" (divided by the sum of weights), "sum", or "none" and None (not
            at all, which training refuses).
        dtype: kept for Keras's sake; computing is float32.

    Example:
        >>> class Cubed(Loss):
        ...     def call(self, y_true, y_pred):
        ...         return (abs(y_true - y_pred) ** 3).mean(axis=-1)
        ...     def gradient(self, y_true, y_pred):
        ...         error = y_pred - y_true
        ...         return 3 * error * abs(error) / y_pred.shape[-1]
        >>> Cubed()([[0.0], [0.0]], [[1.0], [2.0]])
        4.5

    See https://keras.io/api/losses/
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: str | None = None
    ) -> None:
        self.name = name or auto_name(type(self).__name__)
        self.reduction = check_reduction(type(self).__name__, reduction)
        self.dtype = dtype or "float32"

    def call(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
        """Returns one value a sample, (batch, ...)."""
        raise NotImplementedError(f"{type(self).__name__}: call: expected to be overridden")

    def gradient(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
        """Returns the derivative of each sample's value by the predictions it depends on, of the shape of `y_pred`."""
        raise NotImplementedError(
            f"{self.name}: gradient: expected a method gradient(y_true, y_pred) that returns the derivative of each "
            "sample's loss by y_pred (or a function that returns the pair (losses, gradient)) for training, received none"
        )

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Returns the reduced loss, a float; with reduction None an array, (batch, ...).

        Args:
            y_true: labels.
            y_pred: predictions.
            sample_weight: one number a sample, or an array of the losses' shape.
        """
        values, _ = self._evaluate(np.asarray(y_true), np.asarray(y_pred, dtype=np.float32))
        return self._reduce(values, sample_weight, self._valid(y_true, y_pred))

    def _evaluate(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> tuple[NDArray[Any], Backward]:
        """Each sample's value, and the function that turns factors of the values into a gradient."""
        found: Any = self.call(y_true, y_pred)
        if isinstance(found, tuple) and len(found) == 2:
            values, given = np.asarray(found[0]), np.asarray(found[1])
            return values, lambda factors: spread(factors, self._shaped(given, y_pred))
        values = np.asarray(found)
        return values, lambda factors: spread(factors, self._shaped(np.asarray(self.gradient(y_true, y_pred)), y_pred))

    def _shaped(self, gradient: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
        # Where Keras's rules gave labels or predictions a last axis of 1, or took it.
        if gradient.shape != y_pred.shape and gradient.shape in (y_pred.shape[:-1], (*y_pred.shape, 1)):
            gradient = gradient.reshape(y_pred.shape)
        if gradient.shape != y_pred.shape:
            raise ValueError(
                f"{self.name}: gradient: expected the shape of y_pred, {y_pred.shape}, received {gradient.shape}"
            )
        return gradient

    def _valid(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.bool_] | None:
        """Which losses count; None: all."""
        return None

    def _weigh(
        self, values: NDArray[Any], sample_weight: ArrayLike | None, valid: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None, float]:
        """The values, the factor of each, and what their sum is divided by."""
        if values.ndim == 0 and sample_weight is not None:
            # One loss of the whole batch counts once for each weight.
            values = np.broadcast_to(values, np.shape(sample_weight))
        weight = None if sample_weight is None else align_weights(self.name, sample_weight, values.shape)
        if valid is not None:
            # Losses that do not count leave the number of losses too, as under a mask in Keras.
            averages = self.reduction in ("sum_over_batch_size", "mean")
            scale = valid.size / max(int(valid.sum()), 1) if averages else 1.0
            weight = np.asarray(valid * (scale if weight is None else scale * weight), dtype=np.float32)
        return values, weight, divisor_of(self.reduction, values.size, weight)

    def _reduce(self, values: NDArray[Any], sample_weight: ArrayLike | None, valid: NDArray[np.bool_] | None) -> Any:
        values, weight, divisor = self._weigh(values, sample_weight, valid)
        weighted = values if weight is None else values * weight
        if self.reduction in (None, "none"):
            return weighted
        return float(weighted.sum(dtype=np.float64)) / divisor if divisor else 0.0

    def _host_loss(
        self, y_true: NDArray[np.float32], y_pred: NDArray[np.float32], weight: Any, wants_gradient: bool
    ) -> tuple[float, Any]:
        """A batch's reduced loss and its gradient, for the native trainer."""
        if y_pred.shape[-1] == 1:
            y_true, _ = match_ranks(y_true, y_pred)
        values, backward = self._evaluate(y_true, y_pred)
        if values.ndim and len(values) != len(y_pred):
            raise ValueError(
                f"{self.name}: call: expected one loss for each of the {len(y_pred)} samples, received an array of "
                f"shape {values.shape}"
            )
        single = values.ndim == 0
        values, factors, divisor = self._weigh(values, weight, self._valid(y_true, y_pred))
        if not divisor:
            return 0.0, np.zeros_like(y_pred)
        weighted = values if factors is None else values * factors
        gradient = None
        if wants_gradient:
            upstream = np.ones(values.shape, np.float32) if factors is None else factors
            gradient = backward((upstream.sum() if single else upstream) / np.float32(divisor))
        return float(weighted.sum(dtype=np.float64)) / divisor, gradient

    def native(self) -> dict[str, Any]:
        """Returns the description that the native trainer takes: a kernel's kind and settings, or this object.

        Raises:
            ValueError: the reduction leaves more than one number.
        """
        self._check_trainable()
        return {"kind": "host", "host": self}

    def _check_trainable(self) -> None:
        if self.reduction in (None, "none"):
            raise ValueError(
                f"{type(self).__name__}: reduction: expected 'sum_over_batch_size', 'mean', 'mean_with_sample_weight' "
                f"or 'sum' for training, received {self.reduction!r}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        """Returns the loss that `get_config` described."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A loss from a function f(y_true, y_pred, **kwargs).

    The function returns one value a sample, (batch, ...), or, to train with, the pair of these values and their
    derivatives by `y_pred`.

    Args:
        fn: the function.
        reduction, name, dtype: see `Loss`.
        **kwargs: further arguments of `fn`.

    Example:
        >>> def absolute(y_true, y_pred):
        ...     error = y_pred - y_true
        ...     return abs(error).mean(axis=-1), np.sign(error) / y_pred.shape[-1]
        >>> LossFunctionWrapper(absolute)([[0.0]], [[2.0]])
        2.0
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> Any:
        return self.fn(*match_ranks(y_true, y_pred), **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fn": self.fn, **self._fn_kwargs}
