"""The losses that have a kernel: their base, errors and cross-entropies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn._naming import to_snake_case
from fastcnn.losses.functions import (
    SPARSE_KINDS,
    Float,
    binary_crossentropy,
    categorical_crossentropy,
    check_axis,
    check_smoothing,
    mean_absolute_error,
    mean_squared_error,
    pair,
    sparse_categorical_crossentropy,
    sparse_pair,
)
from fastcnn.losses.loss import Backward, Loss, align_weights, divisor_of

_REDUCTIONS = {"sum": "sum", "mean_with_sample_weight": "weighted_mean"}


class NativeLoss(Loss):
    """A loss that has a kernel. The trainer runs it on the last axis; along another it is a stop of the plan."""

    function: Callable[..., Float]
    axis = -1
    from_logits = False
    label_smoothing = 0.0
    ignore_class: int | None = None

    def call(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
        return type(self).function(y_true, y_pred, **self._settings())

    def _settings(self) -> dict[str, Any]:
        """The settings beside those of the base; arguments of the function too."""
        return {}

    def _kernel_settings(self) -> dict[str, Any]:
        """The kernel's settings beside from_logits and label_smoothing."""
        return {}

    @property
    def _kind(self) -> str:
        return to_snake_case(type(self).__name__)

    def _operands(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], Float]:
        """Labels as the kernel reads them, and predictions with `axis` last."""
        if self._kind not in SPARSE_KINDS:
            return pair(self._kind, y_true, y_pred, self.axis)
        target, prediction, _ = sparse_pair(self._kind, y_true, y_pred, self.axis, self.ignore_class)
        return target, prediction

    def _is_plain(self) -> bool:
        # A subclass may override anything that the kernel would not ask.
        return type(self).call is NativeLoss.call and type(self).gradient is Loss.gradient

    def _kernel(self, target: NDArray[Any], prediction: Float, weight: Any) -> tuple[float, NDArray[np.float32]]:
        """The weighted sum of the rows' losses and its gradient, rows along the last axis."""
        from fastcnn import _core

        # Each loss is a row of its own for the kernel, with its own weight.
        rows = np.ascontiguousarray(prediction).reshape(-1, prediction.shape[-1])
        labels = np.ascontiguousarray(target)
        labels = labels.reshape(rows.shape) if target.ndim == prediction.ndim else labels.reshape(-1)
        weights = None if weight is None else np.ascontiguousarray(weight, dtype=np.float32).reshape(-1)
        total, gradient, _ = _core.loss(
            rows, labels, self._kind, self.from_logits, self.label_smoothing, weights, settings=self._kernel_settings()
        )
        return total, gradient.reshape(prediction.shape)

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        if self.reduction in (None, "none") or self.ignore_class is not None or not self._is_plain():
            return super().__call__(y_true, y_pred, sample_weight)
        target, prediction = self._operands(y_true, y_pred)
        shape = prediction.shape[:-1]
        weight = None if sample_weight is None else align_weights(self._kind, sample_weight, shape)
        divisor = divisor_of(self.reduction, math.prod(shape), weight)
        if prediction.size == 0 or divisor == 0:
            return 0.0
        return self._kernel(target, prediction, weight)[0] / divisor

    def _evaluate(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> tuple[NDArray[Any], Backward]:
        if not self._is_plain():
            return super()._evaluate(y_true, y_pred)

        def backward(factors: NDArray[Any]) -> NDArray[Any]:
            target, prediction = self._operands(y_true, y_pred)
            gradient = self._kernel(target, prediction, np.broadcast_to(factors, prediction.shape[:-1]))[1]
            return self._shaped(np.moveaxis(gradient, -1, self.axis), y_pred)

        return self.call(y_true, y_pred), backward

    def native(self) -> dict[str, Any]:
        if self.axis != -1 or not self._is_plain():
            return super().native()
        self._check_trainable()
        return {
            "kind": self._kind,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "reduction": _REDUCTIONS.get(str(self.reduction), "mean"),
            "ignore_class": self.ignore_class,
            **self._kernel_settings(),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}


class MeanSquaredError(NativeLoss):
    """Mean of (y_true - y_pred)^2.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> MeanSquaredError()([[0.0], [1.0]], [[1.0], [3.0]])
        2.5

    See https://keras.io/api/losses/regression_losses/#meansquarederror-class
    """

    function = staticmethod(mean_squared_error)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class MeanAbsoluteError(NativeLoss):
    """Mean of |y_true - y_pred|.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> MeanAbsoluteError()([[0.0], [1.0]], [[1.0], [3.0]])
        1.5

    See https://keras.io/api/losses/regression_losses/#meanabsoluteerror-class
    """

    function = staticmethod(mean_absolute_error)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


class BinaryCrossentropy(NativeLoss):
    """Cross-entropy of labels 0 and 1: mean of -(t log p + (1 - t) log(1 - p)).

    Args:
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / 2.
        axis: the axis of the mean.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Raises:
        ValueError: a setting outside of its values.

    Example:
        >>> round(BinaryCrossentropy()([[0], [1]], [[0.5], [0.5]]), 4)
        0.6931

    See https://keras.io/api/losses/probabilistic_losses/#binarycrossentropy-class
    """

    function = staticmethod(binary_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.label_smoothing = check_smoothing(type(self).__name__, label_smoothing)
        self.axis = check_axis(type(self).__name__, axis)

    def _settings(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}


class CategoricalCrossentropy(NativeLoss):
    """Cross-entropy of one-hot labels: -sum t log p over the classes.

    Args:
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / classes.
        axis: the axis of the classes.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Raises:
        ValueError: a setting outside of its values.

    Example:
        >>> round(CategoricalCrossentropy()([[0, 1]], [[0.5, 0.5]]), 4)
        0.6931

    See https://keras.io/api/losses/probabilistic_losses/#categoricalcrossentropy-class
    """

    function = staticmethod(categorical_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.label_smoothing = check_smoothing(type(self).__name__, label_smoothing)
        self.axis = check_axis(type(self).__name__, axis)

    def _settings(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing, "axis": self.axis}


class SparseCategoricalCrossentropy(NativeLoss):
    """Cross-entropy of class numbers: -log p of the sample's class.

    Args:
        from_logits: whether predictions are logits instead of probabilities.
        ignore_class: a class whose samples do not count.
        reduction: see `Loss`.
        axis: the axis of the classes.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]), 4)
        0.6931

    See https://keras.io/api/losses/probabilistic_losses/#sparsecategoricalcrossentropy-class
    """

    function = staticmethod(sparse_categorical_crossentropy)

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = bool(from_logits)
        self.ignore_class = ignore_class
        self.axis = check_axis(type(self).__name__, axis)

    def _settings(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "ignore_class": self.ignore_class, "axis": self.axis}

    def _valid(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.bool_] | None:
        return sparse_pair(self._kind, y_true, y_pred, self.axis, self.ignore_class)[2]
