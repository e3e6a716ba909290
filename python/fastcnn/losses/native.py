"""The losses that have a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn._naming import to_snake_case
from fastcnn.losses.functions import (
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
from fastcnn.losses.loss import Loss, align_weights, divisor_of


class NativeLoss(Loss):
    """A loss that has a kernel."""

    function: Callable[..., Float]
    axis = -1
    from_logits = False
    label_smoothing = 0.0

    def call(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
        return type(self).function(y_true, y_pred, **self._settings())

    def _settings(self) -> dict[str, Any]:
        """The settings beside those of the base; arguments of the function too."""
        return {}

    @property
    def _kind(self) -> str:
        return to_snake_case(type(self).__name__)

    def _operands(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], Float]:
        return pair(self._kind, y_true, y_pred, self.axis)

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        if self.reduction in (None, "none") or type(self).call is not NativeLoss.call:
            return super().__call__(y_true, y_pred, sample_weight)
        target, prediction = self._operands(y_true, y_pred)
        shape = prediction.shape[:-1]
        weight = None if sample_weight is None else align_weights(self._kind, sample_weight, shape)
        divisor = divisor_of(self.reduction, math.prod(shape), weight)
        if prediction.size == 0 or divisor == 0:
            return 0.0
        from fastcnn import _core

        # Each loss is a row of its own for the kernel, with its own weight.
        rows = np.ascontiguousarray(prediction).reshape(-1, prediction.shape[-1])
        labels = np.ascontiguousarray(target)
        labels = labels.reshape(rows.shape) if target.ndim == prediction.ndim else labels.reshape(-1)
        row_weights = None if weight is None else np.ascontiguousarray(weight).reshape(-1)
        total, _, _ = _core.loss(rows, labels, self._kind, self.from_logits, self.label_smoothing, row_weights)
        return total / divisor

    def native(self) -> dict[str, Any]:
        if type(self).call is not NativeLoss.call:
            return super().native()
        if self.reduction not in ("sum_over_batch_size", "mean"):
            raise ValueError(
                f"{type(self).__name__}: reduction: expected 'sum_over_batch_size' for training, "
                f"received {self.reduction!r}"
            )
        if self.axis != -1:
            raise ValueError(f"{type(self).__name__}: axis: expected -1 for training, received {self.axis!r}")
        return {"kind": self._kind, "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}

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
        axis: the axis of the mean; -1 for training.
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
        axis: the axis of the classes; -1 for training.
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
        ignore_class: a class whose samples do not count; None for training.
        reduction: see `Loss`.
        axis: the axis of the classes; -1 for training.
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

    def _operands(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], Float]:
        target, prediction, _ = sparse_pair(self._kind, y_true, y_pred, self.axis, None)
        return target, prediction

    def _valid(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.bool_] | None:
        return sparse_pair(self._kind, y_true, y_pred, self.axis, self.ignore_class)[2]

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        if self.ignore_class is None:
            return super().__call__(y_true, y_pred, sample_weight)
        return Loss.__call__(self, y_true, y_pred, sample_weight)  # the kernel knows no ignored class

    def native(self) -> dict[str, Any]:
        if self.ignore_class is not None:
            raise ValueError(
                f"{type(self).__name__}: ignore_class: expected None for training, received {self.ignore_class!r}"
            )
        return super().native()
