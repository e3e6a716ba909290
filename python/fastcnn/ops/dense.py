"""Fully connected layers and their gradients. https://keras.io/api/layers/core_layers/dense/"""

from __future__ import annotations

from numpy.typing import ArrayLike

from fastcnn import _core, _messages
from fastcnn.ops._arrays import Floats, floats, keeps_bfloat16, same_shape
from fastcnn.ops.nn import apply_activation, is_relu

_MATRIX = "(inputs, units)"


def _rows(operation: str, argument: str, value: ArrayLike) -> tuple[Floats, tuple[int, ...]]:
    """`value` (..., features) as (n, features), and its leading axes."""
    array = floats(operation, argument, value)
    if array.ndim < 2:
        _messages.fail(operation, argument, "an array of shape (batch, ..., features)", array.shape)
    return array.reshape(-1, array.shape[-1]), array.shape[:-1]


def _out_rows(operation: str, out: Floats | None, shape: tuple[int, ...]) -> Floats | None:
    """`out` as rows over its last axis; the native side checks its dtype and layout."""
    if out is None or len(shape) == 2:
        return out
    same_shape(operation, "out", out, shape)
    if not out.flags.c_contiguous:  # reshape would copy
        _messages.fail(operation, "out", "a C-contiguous array", f"strides {out.strides}")
    return out.reshape(-1, shape[-1])


@keeps_bfloat16()
def dense(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    activation: str | None = None,
    *,
    out: Floats | None = None,
) -> Floats:
    """Multiplies the last axis with a matrix, adds a bias and applies an activation.

    Args:
        x: (batch, ..., inputs).
        kernel: Weights, (inputs, units).
        bias: (units,), or None.
        activation: None, "linear", "relu", "sigmoid", "tanh" or "softmax".
        out: Where to write the result, or None.

    Returns:
        float32 array (batch, ..., units).

    Raises:
        ValueError: Shapes do not fit each other, or the activation is unknown.

    >>> dense([[1, 2]], [[1, 0], [0, -1]], bias=[0.5, 0.5], activation="relu")
    array([[1.5, 0. ]], dtype=float32)

    See https://keras.io/api/layers/core_layers/dense/
    """
    name = "dense"
    relu = is_relu(name, activation)
    rows, leading = _rows(name, "x", x)
    weights = floats(name, "kernel", kernel, 2, _MATRIX)
    shape = (*leading, weights.shape[1])
    y = _core.dense(
        rows,
        weights,
        None if bias is None else floats(name, "bias", bias, 1, "(units,)"),
        relu,
        out=_out_rows(name, out, shape),
    )
    result = (y if relu else apply_activation(y, activation)).reshape(shape)
    return result if out is None else out


@keeps_bfloat16()
def dense_grad_input(dy: ArrayLike, kernel: ArrayLike, *, out: Floats | None = None) -> Floats:
    """Gradient of a dense layer with respect to its input: dy times the transposed kernel.

    Args:
        dy: Gradient of the layer's output, (batch, ..., units).
        kernel: Weights, (inputs, units).
        out: Where to write the result, or None.

    Returns:
        float32 array (batch, ..., inputs).

    Raises:
        ValueError: Shapes do not fit each other.

    >>> dense_grad_input([[1, 10]], [[1, 2], [3, 4]])
    array([[21., 43.]], dtype=float32)

    See https://keras.io/api/layers/core_layers/dense/
    """
    name = "dense_grad_input"
    rows, leading = _rows(name, "dy", dy)
    weights = floats(name, "kernel", kernel, 2, _MATRIX)
    shape = (*leading, weights.shape[0])
    dx = _core.dense_grad_input(rows, weights, out=_out_rows(name, out, shape))
    return dx.reshape(shape) if out is None else out


@keeps_bfloat16()
def dense_grad_kernel(x: ArrayLike, dy: ArrayLike, *, out: Floats | None = None) -> tuple[Floats, Floats]:
    """Gradients of a dense layer with respect to its kernel and bias, summed over all axes but the last.

    Args:
        x: The layer's input, (batch, ..., inputs).
        dy: Gradient of the layer's output, (batch, ..., units).
        out: Where to write the kernel's gradient, or None.

    Returns:
        Two float32 arrays: the kernel's gradient (inputs, units) and the bias's (units,).

    Raises:
        ValueError: Shapes do not fit each other.

    >>> dkernel, dbias = dense_grad_kernel([[1, 2], [3, 4]], [[1], [10]])
    >>> dkernel
    array([[31.],
           [42.]], dtype=float32)
    >>> dbias
    array([11.], dtype=float32)

    See https://keras.io/api/layers/core_layers/dense/
    """
    name = "dense_grad_kernel"
    rows, leading = _rows(name, "x", x)
    grads, grads_leading = _rows(name, "dy", dy)
    if leading != grads_leading:
        _messages.fail(name, "dy", f"leading axes {leading}, those of x", grads_leading)
    return _core.dense_grad_kernel(rows, grads, out=out)
