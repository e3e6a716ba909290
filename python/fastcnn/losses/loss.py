"""The base of the losses: weights and reduction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn._identifiers import listing
from fastcnn._naming import auto_name
from fastcnn.utils.numerical import match_ranks

_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)
NATIVE_LOSSES = (
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "MeanSquaredError",
    "MeanAbsoluteError",
)


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


class Loss:
    """Base of the losses. A subclass overrides `call`, which gives one value a sample.

    Args:
        name: the loss's name.
        reduction: how the samples' losses become one number: "sum_over_batch_size" and "mean" (sum of weight * loss /
            number of losses), "mean_with_sample_weight" (divided by the sum of weights), "sum", or "none" and None (not
            at all). Training knows the first two.
        dtype: kept for Keras's sake; computing is float32.

    Example:
        >>> class Cubed(Loss):
        ...     def call(self, y_true, y_pred):
        ...         return (abs(y_true - y_pred) ** 3).mean(axis=-1)
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

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Returns the reduced loss, a float; with reduction None an array, (batch, ...).

        Args:
            y_true: labels.
            y_pred: predictions.
            sample_weight: one number a sample, or an array of the losses' shape.
        """
        values = np.asarray(self.call(np.asarray(y_true), np.asarray(y_pred, dtype=np.float32)))
        return self._reduce(values, sample_weight, self._valid(y_true, y_pred))

    def _valid(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.bool_] | None:
        """Which losses count; None: all."""
        return None

    def _reduce(self, values: NDArray[Any], sample_weight: ArrayLike | None, valid: NDArray[np.bool_] | None) -> Any:
        weight = None if sample_weight is None else align_weights(self.name, sample_weight, values.shape)
        if valid is not None:
            # Losses that do not count leave the number of losses too, as under a mask in Keras.
            averages = self.reduction in ("sum_over_batch_size", "mean")
            scale = valid.size / max(int(valid.sum()), 1) if averages else 1.0
            weight = np.asarray(valid * (scale if weight is None else scale * weight), dtype=np.float32)
        weighted = values if weight is None else values * weight
        if self.reduction in (None, "none"):
            return weighted
        divisor = divisor_of(self.reduction, values.size, weight)
        return float(weighted.sum(dtype=np.float64)) / divisor if divisor else 0.0

    def native(self) -> dict[str, Any]:
        """Returns the description that the native trainer takes: kind, from_logits, label_smoothing.

        Raises:
            ValueError: the loss has no native form.
        """
        raise ValueError(
            f"{type(self).__name__}: loss: expected one of {listing(NATIVE_LOSSES)} for training, "
            "received a loss written in Python"
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        """Returns the loss that `get_config` described."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A loss from a function f(y_true, y_pred, **kwargs) that gives one value a sample.

    >>> LossFunctionWrapper(lambda y_true, y_pred: abs(y_true - y_pred).mean(axis=-1))([[0.0]], [[2.0]])
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

    def call(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self.fn(*match_ranks(y_true, y_pred), **self._fn_kwargs))
