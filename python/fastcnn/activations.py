"""Activation functions on arrays. https://keras.io/api/layers/activations/

Layers take them by name or function; the network runs them natively, fused with the layer before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn._identifiers import Registry


def _run(x: ArrayLike, kind: str) -> NDArray[np.float32]:
    from fastcnn import _core

    values = np.ascontiguousarray(x, dtype=np.float32)
    # The kernel wants samples first; a scalar and a vector become one sample.
    rows = values if values.ndim >= 2 else values.reshape(1, -1)
    return _core.activation(rows, kind).reshape(np.shape(x))


def linear(x: ArrayLike) -> NDArray[np.float32]:
    """Returns `x` as it is, in float32.

    >>> linear([-1.0, 2.0])
    array([-1.,  2.], dtype=float32)
    """
    return np.asarray(x, dtype=np.float32)


def relu(
    x: ArrayLike, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> NDArray[np.float32]:
    """Returns max(x, 0), element by element; NaN stays NaN.

    With the other arguments: `max_value` where x >= max_value, x where threshold <= x < max_value and
    negative_slope * (x - threshold) below. Inside a network only the defaults exist.

    Args:
        x: numbers, any shape.
        negative_slope: slope below the threshold.
        max_value: largest result.
        threshold: where the function starts to rise.

    Returns:
        float32, `x`'s shape.

    Example:
        >>> relu([-1.0, 2.0])
        array([0., 2.], dtype=float32)

    See https://keras.io/api/layers/activations/#relu-function
    """
    if negative_slope == 0.0 and max_value is None and threshold == 0.0:
        return _run(x, "relu")
    values = np.asarray(x, dtype=np.float32)
    top = np.inf if max_value is None else max_value
    result = np.where(values < threshold, negative_slope * (values - threshold), np.minimum(values, top))
    return np.asarray(result, dtype=np.float32)


def sigmoid(x: ArrayLike) -> NDArray[np.float32]:
    """Returns 1 / (1 + exp(-x)), element by element, in float32.

    >>> sigmoid([0.0])
    array([0.5], dtype=float32)

    See https://keras.io/api/layers/activations/#sigmoid-function
    """
    return _run(x, "sigmoid")


def tanh(x: ArrayLike) -> NDArray[np.float32]:
    """Returns the hyperbolic tangent, element by element, in float32.

    >>> tanh([0.0])
    array([0.], dtype=float32)

    See https://keras.io/api/layers/activations/#tanh-function
    """
    return _run(x, "tanh")


def softmax(x: ArrayLike, axis: int = -1) -> NDArray[np.float32]:
    """Returns exp(x) divided by its sum along `axis`: positive values that sum to 1.

    Args:
        x: numbers, rank 1 at least.
        axis: the axis of the classes.

    Returns:
        float32, `x`'s shape.

    Raises:
        ValueError: `x` is a single number.

    Example:
        >>> softmax([[1.0, 1.0]])
        array([[0.5, 0.5]], dtype=float32)

    See https://keras.io/api/layers/activations/#softmax-function
    """
    values = np.asarray(x, dtype=np.float32)
    if values.ndim == 0:
        raise ValueError("softmax: x: expected rank 1 at least, received a single number")
    return np.moveaxis(_run(np.moveaxis(values, axis, -1), "softmax"), -1, axis)


_BUILT_IN = {function.__name__: function for function in (linear, relu, sigmoid, tanh, softmax)}
_registry = Registry("activations", "activation", _BUILT_IN)


def get(identifier: Any) -> Callable[..., Any]:
    """Returns the activation for a name, a function or None (linear).

    Raises:
        ValueError: an unknown name, or something that is no function.

    Example:
        >>> get("relu").__name__, get(None).__name__
        ('relu', 'linear')

    See https://keras.io/api/layers/activations/
    """
    if identifier is None:
        return linear
    function: Callable[..., Any] = _registry.get(identifier)
    return function


def serialize(activation: Callable[..., Any]) -> str:
    """Returns the name of a built-in activation.

    Raises:
        ValueError: a function that is not built in.

    Example:
        >>> serialize(relu)
        'relu'
    """
    name = getattr(activation, "__name__", "")
    if _BUILT_IN.get(name) is not activation:
        raise ValueError(
            f"activations.serialize: activation: expected one of {', '.join(_BUILT_IN)}, received {activation!r}"
        )
    return name


def deserialize(config: str, custom_objects: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Returns the activation that `serialize` named.

    >>> deserialize("tanh").__name__
    'tanh'
    """
    function: Callable[..., Any] = _registry.deserialize(config, custom_objects)
    return function
