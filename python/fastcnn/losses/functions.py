"""The losses as functions: one value a sample, in float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _messages
from fastcnn.utils.numerical import match_ranks

Float = NDArray[np.float32]

# Losses whose labels are class numbers.
SPARSE_KINDS = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")

_EPSILON = np.float32(1e-7)  # probabilities are clipped to [epsilon, 1 - epsilon]


def pair(operation: str, y_true: ArrayLike, y_pred: ArrayLike, axis: int = -1) -> tuple[Float, Float]:
    """Labels and predictions of one shape in float32, `axis` last."""
    prediction = np.asarray(y_pred, dtype=np.float32)
    target, prediction = match_ranks(np.asarray(y_true, dtype=np.float32), prediction)
    if target.shape != prediction.shape or prediction.ndim == 0:
        raise ValueError(
            f"{operation}: y_true: expected the shape of y_pred, {np.shape(y_pred)}, received {np.shape(y_true)}"
        )
    axis = check_axis(operation, axis)
    return np.moveaxis(target, axis, -1), np.moveaxis(prediction, axis, -1)


def sparse_pair(
    operation: str, y_true: ArrayLike, y_pred: ArrayLike, axis: int, ignore_class: int | None
) -> tuple[NDArray[np.int32], Float, NDArray[np.bool_] | None]:
    """Class numbers, predictions with the classes last, and where the class is not the ignored one."""
    prediction = np.moveaxis(np.asarray(y_pred, dtype=np.float32), check_axis(operation, axis), -1)
    target = np.asarray(y_true)
    if target.ndim == prediction.ndim and target.shape[axis] == 1:
        target = np.squeeze(target, axis)
    if target.shape != prediction.shape[:-1]:
        raise ValueError(
            f"{operation}: y_true: expected shape {prediction.shape[:-1]}, y_pred's without the classes, "
            f"received {np.shape(y_true)}"
        )
    valid = None
    if ignore_class is not None:
        valid = np.asarray(target != ignore_class)
        target = np.where(valid, target, 0)
    classes = prediction.shape[-1]
    if target.size and not (np.min(target) >= 0 and np.max(target) < classes):  # NaN fails too
        wrong = target[~((target >= 0) & (target < classes))].flat[0]
        raise ValueError(f"{operation}: y_true: expected classes in [0, {classes}), received {wrong}")
    return target.astype(np.int32), prediction, valid


def check_axis(operation: str, axis: Any) -> int:
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise ValueError(f"{operation}: axis: expected an integer, received {axis!r}")
    return int(axis)


def check_smoothing(operation: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:
        raise ValueError(f"{operation}: label_smoothing: expected a number in [0, 1], received {value!r}")
    return float(value)


def check_number(operation: str, argument: str, value: Any, expected: str, low: float, high: float = math.inf) -> float:
    return _messages.real(operation, argument, value, expected, low, high)


def row_losses(
    kind: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    axis: int = -1,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    **settings: Any,
) -> Float:
    """The kernel's losses, one for each row along `axis`; the labels of the sparse kinds are class numbers."""
    if kind in SPARSE_KINDS:
        labels, prediction, _ = sparse_pair(kind, y_true, y_pred, axis, settings.pop("ignore_class", None))
    else:
        labels, prediction = pair(kind, y_true, y_pred, axis)  # type: ignore[assignment]
    if prediction.size == 0:
        return np.zeros(prediction.shape[:-1], np.float32)
    from fastcnn import _core

    rows = np.ascontiguousarray(prediction).reshape(-1, prediction.shape[-1])
    flat = np.ascontiguousarray(labels).reshape(rows.shape if labels.ndim == prediction.ndim else -1)
    smoothing = check_smoothing(kind, label_smoothing)
    losses = _core.row_losses(rows, flat, kind, bool(from_logits), smoothing, settings=settings)
    return np.asarray(losses, dtype=np.float32).reshape(prediction.shape[:-1])


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of (y_true - y_pred)^2 over the last axis.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> mean_squared_error([[0.0, 1.0]], [[1.0, 3.0]])
        array([2.5], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#meansquarederror-function
    """
    target, prediction = pair("mean_squared_error", y_true, y_pred)
    return np.asarray(np.square(target - prediction).mean(axis=-1), dtype=np.float32)


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of |y_true - y_pred| over the last axis; arguments as for `mean_squared_error`.

    >>> mean_absolute_error([[0.0, 1.0]], [[1.0, 3.0]])
    array([1.5], dtype=float32)

    See https://keras.io/api/losses/regression_losses/#meanabsoluteerror-function
    """
    target, prediction = pair("mean_absolute_error", y_true, y_pred)
    return np.asarray(np.abs(target - prediction).mean(axis=-1), dtype=np.float32)


def binary_crossentropy(
    y_true: ArrayLike, y_pred: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Float:
    """Returns the mean of -(t log p + (1 - t) log(1 - p)) over `axis`.

    Args:
        y_true: labels t in [0, 1], (batch, ..., d).
        y_pred: probabilities p, or logits, of the same shape.
        from_logits: whether `y_pred` holds logits: p = sigmoid(y_pred), computed without overflow.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / 2.
        axis: the axis of the mean.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ, or `label_smoothing` lies outside of [0, 1].

    Example:
        >>> binary_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
        array([0.6931472], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#binarycrossentropy-function
    """
    target, prediction = pair("binary_crossentropy", y_true, y_pred, axis)
    smoothing = check_smoothing("binary_crossentropy", label_smoothing)
    if smoothing:
        target = target * np.float32(1 - smoothing) + np.float32(0.5 * smoothing)
    if from_logits:
        losses = np.maximum(prediction, 0) - prediction * target + np.log1p(np.exp(-np.abs(prediction)))
    else:
        p = np.clip(prediction, _EPSILON, 1 - _EPSILON)
        losses = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    return np.asarray(losses.mean(axis=-1), dtype=np.float32)


def categorical_crossentropy(
    y_true: ArrayLike, y_pred: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Float:
    """Returns -sum t log p over the classes.

    Args:
        y_true: one-hot rows or probabilities t, (batch, ..., classes).
        y_pred: probabilities p (each row is divided by its sum), or logits, of the same shape.
        from_logits: whether `y_pred` holds logits: p = softmax(y_pred), computed without overflow.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / classes.
        axis: the axis of the classes.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ, or `label_smoothing` lies outside of [0, 1].

    Example:
        >>> categorical_crossentropy([[0, 1]], [[0.5, 0.5]])
        array([0.6931472], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#categoricalcrossentropy-function
    """
    target, prediction = pair("categorical_crossentropy", y_true, y_pred, axis)
    smoothing = check_smoothing("categorical_crossentropy", label_smoothing)
    if smoothing:
        target = target * np.float32(1 - smoothing) + np.float32(smoothing / target.shape[-1])
    return np.asarray(-(target * _log_probabilities(prediction, from_logits)).sum(axis=-1), dtype=np.float32)


def sparse_categorical_crossentropy(
    y_true: ArrayLike, y_pred: ArrayLike, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Float:
    """Returns -log p of each sample's class.

    Args:
        y_true: class numbers, (batch, ...) or (batch, ..., 1).
        y_pred: probabilities p (each row is divided by its sum), or logits, (batch, ..., classes).
        from_logits: whether `y_pred` holds logits: p = softmax(y_pred), computed without overflow.
        ignore_class: a class whose samples get a loss of 0.
        axis: the axis of the classes.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes do not fit, or a class lies outside of [0, classes).

    Example:
        >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]])
        array([0.6931472], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#sparsecategoricalcrossentropy-function
    """
    target, prediction, valid = sparse_pair("sparse_categorical_crossentropy", y_true, y_pred, axis, ignore_class)
    logs = _log_probabilities(prediction, from_logits)
    losses = -np.take_along_axis(logs, target[..., None].astype(np.intp), axis=-1)[..., 0]
    return np.asarray(losses if valid is None else np.where(valid, losses, 0), dtype=np.float32)


def _log_probabilities(prediction: Float, from_logits: bool) -> Float:
    if from_logits:
        shifted = prediction - prediction.max(axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
    rows = prediction / prediction.sum(axis=-1, keepdims=True)
    return np.asarray(np.log(np.clip(rows, _EPSILON, 1 - _EPSILON)))
