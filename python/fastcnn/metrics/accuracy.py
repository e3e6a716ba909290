"""How often predictions match labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _messages
from fastcnn.metrics.reduction import MeanMetricWrapper
from fastcnn.utils.numerical import match_ranks

Float = NDArray[np.float32]


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns 1 where the prediction equals the label, else 0.

    >>> accuracy([1, 2], [1, 3])
    array([1., 0.], dtype=float32)
    """
    target, prediction = match_ranks(np.asarray(y_true), np.asarray(y_pred))
    _check("accuracy", target.shape, prediction.shape)
    return np.asarray(target == prediction, dtype=np.float32)


def binary_accuracy(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> Float:
    """Returns 1 where (y_pred > threshold) equals the label, else 0.

    Args:
        y_true: labels 0 and 1, (batch, ...).
        y_pred: predictions of the same shape (a last axis of 1 may be missing in one of the two).
        threshold: predictions above it mean 1.

    Returns:
        float32, the shape of the two.

    Example:
        >>> binary_accuracy([[1], [1]], [[0.9], [0.1]])
        array([[1.],
               [0.]], dtype=float32)

    See https://keras.io/api/metrics/accuracy_metrics/#binaryaccuracy-class
    """
    target, prediction = match_ranks(np.asarray(y_true), np.asarray(y_pred))
    _check("binary_accuracy", target.shape, prediction.shape)
    return np.asarray(target == (prediction > threshold), dtype=np.float32)


def categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns 1 where the largest prediction is the label's class, else 0.

    Args:
        y_true: one-hot labels, (batch, ..., classes).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Example:
        >>> categorical_accuracy([[0, 1], [0, 1]], [[0.1, 0.9], [0.8, 0.2]])
        array([1., 0.], dtype=float32)

    See https://keras.io/api/metrics/accuracy_metrics/#categoricalaccuracy-class
    """
    target, prediction = np.asarray(y_true), np.asarray(y_pred)
    _check("categorical_accuracy", target.shape, prediction.shape)
    return np.asarray(target.argmax(axis=-1) == prediction.argmax(axis=-1), dtype=np.float32)


def sparse_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns 1 where the largest prediction is the label, else 0.

    Args:
        y_true: class numbers, (batch, ...) or (batch, ..., 1).
        y_pred: predictions, (batch, ..., classes).

    Returns:
        float32, (batch, ...).

    Example:
        >>> sparse_categorical_accuracy([1, 1], [[0.1, 0.9], [0.8, 0.2]])
        array([1., 0.], dtype=float32)

    See https://keras.io/api/metrics/accuracy_metrics/#sparsecategoricalaccuracy-class
    """
    target, prediction = np.asarray(y_true), np.asarray(y_pred)
    if target.ndim == prediction.ndim and target.shape[-1] == 1:
        target = target[..., 0]
    _check("sparse_categorical_accuracy", target.shape, prediction.shape[:-1])
    return np.asarray(target == prediction.argmax(axis=-1), dtype=np.float32)


def top_k_categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike, k: int = 5) -> Float:
    """Returns 1 where the label's class is among the k largest predictions (ties count), else 0.

    Args:
        y_true: one-hot labels, (batch, ..., classes).
        y_pred: predictions of the same shape.
        k: how many.

    Returns:
        float32, (batch, ...).

    Example:
        >>> top_k_categorical_accuracy([[0, 1, 0], [0, 1, 0]], [[0.3, 0.2, 0.5], [0.5, 0.4, 0.1]], k=2)
        array([0., 1.], dtype=float32)

    See https://keras.io/api/metrics/accuracy_metrics/#topkcategoricalaccuracy-class
    """
    target, prediction = np.asarray(y_true), np.asarray(y_pred)
    _check("top_k_categorical_accuracy", target.shape, prediction.shape)
    return sparse_top_k_categorical_accuracy(target.argmax(axis=-1), prediction, k)


def sparse_top_k_categorical_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, k: int = 5, from_sorted_ids: bool = False
) -> Float:
    """Returns 1 where the label is among the k largest predictions (ties count), else 0.

    Args:
        y_true: class numbers, (batch, ...) or (batch, ..., 1).
        y_pred: predictions, (batch, ..., classes); or classes, the most likely first.
        k: how many.
        from_sorted_ids: whether `y_pred` holds classes.

    Returns:
        float32, the shape of `y_true`.

    Raises:
        ValueError: the shapes do not fit, or k is not a positive integer.

    Example:
        >>> sparse_top_k_categorical_accuracy([1, 1], [[0.3, 0.2, 0.5], [0.5, 0.4, 0.1]], k=2)
        array([0., 1.], dtype=float32)

    See https://keras.io/api/metrics/accuracy_metrics/#sparsetopkcategoricalaccuracy-class
    """
    _messages.integer("sparse_top_k_categorical_accuracy", "k", k)
    prediction, given = np.asarray(y_pred), np.asarray(y_true)
    target = given[..., 0] if given.ndim == prediction.ndim and given.shape[-1] == 1 else given
    _check("sparse_top_k_categorical_accuracy", target.shape, prediction.shape[:-1])
    if from_sorted_ids:
        return np.asarray((prediction[..., :k] == target[..., None]).any(axis=-1).reshape(given.shape), np.float32)
    classes = target.astype(np.int64)
    inside = (classes >= 0) & (classes < prediction.shape[-1])
    score = np.take_along_axis(prediction, np.where(inside, classes, 0)[..., None], axis=-1)
    larger = (prediction > score).sum(axis=-1)
    return np.asarray((inside & (larger < k)).reshape(given.shape), np.float32)


def _check(operation: str, received: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if received != expected:
        raise ValueError(f"{operation}: y_true: expected shape {expected}, which fits y_pred, received {received}")


class _Accuracy(MeanMetricWrapper):
    """An accuracy; a class of its own in the trainer has a kernel, subclasses run in Python."""

    _direction: Literal["up", "down"] | None = "up"

    def _native(self, owner: type, kind: str, threshold: float = 0.5) -> dict[str, Any] | None:
        # A subclass may override anything, so only the class itself is known to mean what the kernel computes.
        return {"kind": kind, "threshold": threshold} if type(self) is owner else None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, **self._fn_kwargs}


class Accuracy(_Accuracy):
    """How often predictions equal labels.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> Accuracy()([[1], [2], [3], [4]], [[0], [2], [3], [4]])
        0.75

    See https://keras.io/api/metrics/accuracy_metrics/#accuracy-class
    """

    def __init__(self, name: str | None = "accuracy", dtype: str | None = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(_Accuracy):
    """How often (prediction > threshold) equals the label 0 or 1.

    Args:
        name: the metric's name.
        dtype: see `Metric`.
        threshold: predictions above it mean 1.

    Example:
        >>> BinaryAccuracy()([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]])
        0.75

    See https://keras.io/api/metrics/accuracy_metrics/#binaryaccuracy-class
    """

    def __init__(self, name: str | None = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold

    def native(self) -> dict[str, Any] | None:
        return self._native(BinaryAccuracy, "binary", float(self.threshold))


class CategoricalAccuracy(_Accuracy):
    """How often the largest prediction is the class of a one-hot label.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> CategoricalAccuracy()([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        0.5

    See https://keras.io/api/metrics/accuracy_metrics/#categoricalaccuracy-class
    """

    def __init__(self, name: str | None = "categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)

    def native(self) -> dict[str, Any] | None:
        return self._native(CategoricalAccuracy, "categorical")


class SparseCategoricalAccuracy(_Accuracy):
    """How often the largest prediction is the label, a class number.

    Args:
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> SparseCategoricalAccuracy()([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
        0.5

    See https://keras.io/api/metrics/accuracy_metrics/#sparsecategoricalaccuracy-class
    """

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: str | None = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)

    def native(self) -> dict[str, Any] | None:
        return self._native(SparseCategoricalAccuracy, "sparse_categorical")


class TopKCategoricalAccuracy(_Accuracy):
    """How often the class of a one-hot label is among the k largest predictions.

    Args:
        k: how many.
        name: the metric's name.
        dtype: see `Metric`.

    Example:
        >>> TopKCategoricalAccuracy(k=1)([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        0.5

    See https://keras.io/api/metrics/accuracy_metrics/#topkcategoricalaccuracy-class
    """

    def __init__(self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: str | None = None) -> None:
        self.k = _messages.integer("TopKCategoricalAccuracy", "k", k)
        super().__init__(top_k_categorical_accuracy, name, dtype, k=self.k)


class SparseTopKCategoricalAccuracy(_Accuracy):
    """How often the label, a class number, is among the k largest predictions.

    Args:
        k: how many.
        name: the metric's name.
        dtype: see `Metric`.
        from_sorted_ids: whether predictions are classes, the most likely first.

    Example:
        >>> SparseTopKCategoricalAccuracy(k=1)([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
        0.5

    See https://keras.io/api/metrics/accuracy_metrics/#sparsetopkcategoricalaccuracy-class
    """

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: str | None = None,
        from_sorted_ids: bool = False,
    ) -> None:
        self.k = _messages.integer("SparseTopKCategoricalAccuracy", "k", k)
        self.from_sorted_ids = bool(from_sorted_ids)
        # As in Keras's configuration, what is not set is not mentioned.
        more = {"from_sorted_ids": True} if from_sorted_ids else {}
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=self.k, **more)


def fitting_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the accuracy that the shapes ask for: binary for one output, categorical for one-hot labels, or sparse.

    >>> fitting_accuracy([1, 1], [[0.1, 0.9], [0.8, 0.2]])
    array([1., 0.], dtype=float32)
    """
    target, prediction = np.asarray(y_true), np.asarray(y_pred)
    if prediction.shape[-1] == 1:
        return binary_accuracy(target, prediction)
    if target.ndim < prediction.ndim or target.shape[-1] == 1:
        return sparse_categorical_accuracy(target, prediction)
    return categorical_accuracy(target, prediction)
