"""Activations, losses and normalisation of arrays. https://keras.io/api/ops/nn/"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _core, _messages
from fastcnn.ops._arrays import (
    Floats,
    axis_index,
    floats,
    from_last_axis_rows,
    keeps_bfloat16,
    last_axis_rows,
    same_shape,
)

_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softmax")


def is_relu(operation: str, activation: str | None) -> bool:
    """Whether the activation is ReLU, which kernels apply themselves; refuses an unknown one."""
    return activation is not None and _messages.choice(operation, "activation", activation, _ACTIVATIONS) == "relu"


def apply_activation(y: Floats, activation: str | None) -> Floats:
    """The activation of `y`, in place."""
    kind = "linear" if activation is None else activation.lower()
    return y if kind == "linear" else _core.activation(y, kind, out=y)


@keeps_bfloat16()
def relu(x: ArrayLike, *, out: Floats | None = None) -> Floats:
    """max(x, 0), element by element; NaN stays NaN.

    Args:
        x: Array of any shape.
        out: Where to write the result (may be x itself), or None.

    Returns:
        float32 array of x's shape.

    Raises:
        ValueError: x is not an array of numbers, or out does not fit.

    >>> relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)

    See https://keras.io/api/ops/nn/#relu-function
    """
    return _core.activation(floats("relu", "x", x), "relu", out=out)


@keeps_bfloat16()
def sigmoid(x: ArrayLike, *, out: Floats | None = None) -> Floats:
    """1 / (1 + exp(-x)), element by element.

    Args:
        x: Array of any shape.
        out: Where to write the result (may be x itself), or None.

    Returns:
        float32 array of x's shape.

    Raises:
        ValueError: x is not an array of numbers, or out does not fit.

    >>> sigmoid([0.0])
    array([0.5], dtype=float32)

    See https://keras.io/api/ops/nn/#sigmoid-function
    """
    return _core.activation(floats("sigmoid", "x", x), "sigmoid", out=out)


@keeps_bfloat16()
def tanh(x: ArrayLike, *, out: Floats | None = None) -> Floats:
    """Hyperbolic tangent, element by element.

    Args:
        x: Array of any shape.
        out: Where to write the result (may be x itself), or None.

    Returns:
        float32 array of x's shape.

    Raises:
        ValueError: x is not an array of numbers, or out does not fit.

    >>> tanh([0.0])
    array([0.], dtype=float32)

    See https://keras.io/api/ops/numpy/#tanh-function
    """
    return _core.activation(floats("tanh", "x", x), "tanh", out=out)


@keeps_bfloat16()
def softmax(x: ArrayLike, axis: int = -1, *, out: Floats | None = None) -> Floats:
    """exp(x) / sum(exp(x)) along an axis.

    Args:
        x: Array of rank 1 or more.
        axis: The axis along which the result sums to 1.
        out: Where to write the result, or None.

    Returns:
        float32 array of x's shape.

    Raises:
        ValueError: x is not an array of numbers, axis is none of its axes, or out does not fit.

    >>> softmax([[0.0, 0.0]])
    array([[0.5, 0.5]], dtype=float32)

    See https://keras.io/api/ops/nn/#softmax-function
    """
    array = floats("softmax", "x", x)
    axis = axis_index("softmax", axis, array.ndim)
    if axis == array.ndim - 1:
        return _core.activation(array, "softmax", out=out)
    y = from_last_axis_rows(_core.activation(last_axis_rows(array, axis), "softmax"), array.shape, axis)
    # A copy through the native check of `out`.
    return y if out is None else _core.activation(y, "linear", out=out)


@keeps_bfloat16()
def binary_crossentropy(target: ArrayLike, output: ArrayLike, from_logits: bool = False) -> Floats:
    """-(target log(output) + (1 - target) log(1 - output)), element by element.

    Args:
        target: Labels from 0 to 1.
        output: Probabilities (clipped to [1e-7, 1 - 1e-7]) or logits, of target's shape.
        from_logits: Whether `output` holds logits.

    Returns:
        float32 array of the same shape.

    Raises:
        ValueError: The shapes differ.

    >>> binary_crossentropy([1.0, 0.0], [0.0, 0.0], from_logits=True).round(4)
    array([0.6931, 0.6931], dtype=float32)

    See https://keras.io/api/ops/nn/#binarycrossentropy-function
    """
    name = "binary_crossentropy"
    predictions, labels = floats(name, "output", output), floats(name, "target", target)
    same_shape(name, "target", labels, predictions.shape)
    losses = _core.row_losses(predictions.reshape(-1, 1), labels.reshape(-1, 1), name, bool(from_logits))
    return losses.reshape(predictions.shape)


@keeps_bfloat16()
def categorical_crossentropy(target: ArrayLike, output: ArrayLike, from_logits: bool = False, axis: int = -1) -> Floats:
    """-sum(target log(output)) along an axis of classes.

    Args:
        target: Probabilities of the classes (one-hot labels).
        output: Probabilities (divided by their sum, then clipped to [1e-7, 1 - 1e-7]) or logits, of target's shape.
        from_logits: Whether `output` holds logits.
        axis: The axis of the classes.

    Returns:
        float32 array of the same shape without `axis`.

    Raises:
        ValueError: The shapes differ, or axis is none of theirs.

    >>> categorical_crossentropy([[0, 1]], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)

    See https://keras.io/api/ops/nn/#categoricalcrossentropy-function
    """
    name = "categorical_crossentropy"
    predictions, labels = floats(name, "output", output), floats(name, "target", target)
    same_shape(name, "target", labels, predictions.shape)
    axis = axis_index(name, axis, predictions.ndim)
    losses = _core.row_losses(last_axis_rows(predictions, axis), last_axis_rows(labels, axis), name, bool(from_logits))
    return losses.reshape(np.delete(predictions.shape, axis))


@keeps_bfloat16()
def sparse_categorical_crossentropy(
    target: ArrayLike, output: ArrayLike, from_logits: bool = False, axis: int = -1
) -> Floats:
    """-log(output[target]) along an axis of classes.

    Args:
        target: Numbers of the classes: output's shape without `axis`, or with 1 there.
        output: Probabilities (divided by their sum, then clipped to [1e-7, 1 - 1e-7]) or logits.
        from_logits: Whether `output` holds logits.
        axis: The axis of the classes.

    Returns:
        float32 array of output's shape without `axis`.

    Raises:
        ValueError: The shapes do not fit each other, or target holds anything but numbers of classes.

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4)
    array([0.6931], dtype=float32)

    See https://keras.io/api/ops/nn/#sparsecategoricalcrossentropy-function
    """
    name = "sparse_categorical_crossentropy"
    predictions = floats(name, "output", output)
    axis = axis_index(name, axis, predictions.ndim)
    shape = (*predictions.shape[:axis], *predictions.shape[axis + 1 :])
    labels = np.asarray(target)
    if labels.ndim == predictions.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    same_shape(name, "target", labels, shape)
    classes = _class_numbers(name, labels, predictions.shape[axis])
    losses = _core.row_losses(last_axis_rows(predictions, axis), classes, name, bool(from_logits))
    return losses.reshape(shape)


def _class_numbers(name: str, labels: NDArray[Any], classes: int) -> NDArray[np.int32]:
    expected = f"integers from 0 to {classes - 1}"
    if labels.dtype.kind not in "buif":
        _messages.fail(name, "target", expected, f"dtype {labels.dtype}")
    wrong = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if wrong.any():
        _messages.fail(name, "target", expected, labels[wrong].flat[0].item())
    return np.ascontiguousarray(labels.reshape(-1), np.int32)


@keeps_bfloat16()
def batch_normalization(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    axis: int,
    offset: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    epsilon: float = 1e-3,
) -> Floats:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset along an axis.

    Args:
        x: Array of rank 1 or more.
        mean: (size of the axis,).
        variance: (size of the axis,).
        axis: The axis that is normalised.
        offset: (size of the axis,), or None for 0.
        scale: (size of the axis,), or None for 1.
        epsilon: Added to the variance.

    Returns:
        float32 array of x's shape.

    Raises:
        ValueError: The shapes do not fit each other.

    >>> batch_normalization([[1.0], [3.0]], mean=[2.0], variance=[1.0], axis=-1, epsilon=0.0)
    array([[-1.],
           [ 1.]], dtype=float32)

    See https://keras.io/api/ops/nn/#batchnormalization-function
    """
    name = "batch_normalization"
    array = floats(name, "x", x)
    axis = axis_index(name, axis, array.ndim)
    size = array.shape[axis]

    def along_axis(argument: str, value: ArrayLike | None, default: float) -> Floats:
        if value is None:
            return np.full(size, default, np.float32)
        vector = floats(name, argument, value)
        same_shape(name, argument, vector, (size,))
        return vector

    means, variances = along_axis("mean", mean, 0.0), along_axis("variance", variance, 1.0)
    scales, offsets = along_axis("scale", scale, 1.0), along_axis("offset", offset, 0.0)
    factors = (scales / np.sqrt(variances.astype(np.float64) + epsilon)).astype(np.float32)
    y = _core.batch_norm(last_axis_rows(array, axis), means, factors, offsets)
    return from_last_axis_rows(y, array.shape, axis)
