"""Activation functions on arrays. https://keras.io/api/layers/activations/

Layers take them by name or function; the network runs them natively, fused with the layer before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn._identifiers import Registry
from fastcnn._lazy import nothing_called


def _run(x: ArrayLike, kind: str) -> NDArray[np.float32]:
    from fastcnn import _core

    values = np.ascontiguousarray(x, dtype=np.float32)
    # The kernel wants samples first; a scalar and a vector become one sample.
    rows = values if values.ndim >= 2 else values.reshape(1, -1)
    return _core.activation(rows, kind).reshape(np.shape(x))


def _elementwise(x: ArrayLike, kind: str, a: float = 0.0, b: float = 0.0, c: float = 0.0) -> NDArray[np.float32]:
    from fastcnn import _core

    values = np.ascontiguousarray(x, dtype=np.float32)
    return _core.elementwise(values, kind, a, b, c).reshape(np.shape(x)) if values.size else values


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

    With the other arguments: `max_value` where x >= max_value, x where threshold < x < max_value and
    negative_slope * (x - threshold) below.

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
    return _elementwise(x, "relu", negative_slope, np.inf if max_value is None else max_value, threshold)


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


def relu6(x: ArrayLike) -> NDArray[np.float32]:
    """Returns min(max(x, 0), 6), in float32.

    >>> relu6([-1.0, 2.0, 8.0]).tolist()
    [0.0, 2.0, 6.0]

    See https://keras.io/api/layers/activations/#relu6-function
    """
    return _elementwise(x, "relu", 0.0, 6.0, 0.0)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.2) -> NDArray[np.float32]:
    """Returns x above 0 and negative_slope * x below, in float32.

    >>> leaky_relu([-1.0, 2.0], 0.5).tolist()
    [-0.5, 2.0]

    See https://keras.io/api/layers/activations/#leaky_relu-function
    """
    return _elementwise(x, "relu", negative_slope, np.inf, 0.0)


def elu(x: ArrayLike, alpha: float = 1.0) -> NDArray[np.float32]:
    """Returns x above 0 and alpha * (exp(x) - 1) below, in float32.

    >>> elu([0.0, 2.0]).tolist()
    [0.0, 2.0]

    See https://keras.io/api/layers/activations/#elu-function
    """
    return _elementwise(x, "elu", alpha, 1.0, 1.0)


def celu(x: ArrayLike, alpha: float = 1.0) -> NDArray[np.float32]:
    """Returns x above 0 and alpha * (exp(x / alpha) - 1) below, in float32.

    >>> celu([0.0, 2.0]).tolist()
    [0.0, 2.0]

    See https://keras.io/api/layers/activations/#celu-function
    """
    return _elementwise(x, "elu", alpha, 1.0 / alpha, 1.0)


def selu(x: ArrayLike) -> NDArray[np.float32]:
    """Returns ELU scaled so that layers keep mean 0 and variance 1, in float32.

    >>> round(float(selu([1.0])[0]), 4)
    1.0507

    See https://keras.io/api/layers/activations/#selu-function
    """
    return _elementwise(x, "elu", _SELU_ALPHA, 1.0, _SELU_SCALE)


def exponential(x: ArrayLike) -> NDArray[np.float32]:
    """Returns exp(x), element by element, in float32.

    >>> exponential([0.0]).tolist()
    [1.0]

    See https://keras.io/api/layers/activations/#exponential-function
    """
    return _elementwise(x, "exponential")


def gelu(x: ArrayLike, approximate: bool = False) -> NDArray[np.float32]:
    """Returns x times the probability that a standard normal number is below x (`approximate`: through tanh).

    >>> gelu([0.0]).tolist()
    [0.0]

    See https://keras.io/api/layers/activations/#gelu-function
    """
    return _elementwise(x, "gelu_tanh" if approximate else "gelu")


def silu(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x * sigmoid(x), element by element, in float32; also called swish.

    >>> silu([0.0]).tolist()
    [0.0]

    See https://keras.io/api/layers/activations/#silu-function
    """
    return _elementwise(x, "silu")


def mish(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x * tanh(softplus(x)), element by element, in float32.

    >>> mish([0.0]).tolist()
    [0.0]

    See https://keras.io/api/layers/activations/#mish-function
    """
    return _elementwise(x, "mish")


def softplus(x: ArrayLike) -> NDArray[np.float32]:
    """Returns log(1 + exp(x)), element by element, in float32.

    >>> round(float(softplus([0.0])[0]), 4)
    0.6931

    See https://keras.io/api/layers/activations/#softplus-function
    """
    return _elementwise(x, "softplus")


def softsign(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x / (1 + |x|), element by element, in float32.

    >>> softsign([-1.0, 3.0]).tolist()
    [-0.5, 0.75]

    See https://keras.io/api/layers/activations/#softsign-function
    """
    return _elementwise(x, "softsign")


def log_sigmoid(x: ArrayLike) -> NDArray[np.float32]:
    """Returns log(sigmoid(x)), element by element, in float32.

    >>> round(float(log_sigmoid([0.0])[0]), 4)
    -0.6931

    See https://keras.io/api/layers/activations/#log_sigmoid-function
    """
    return _elementwise(x, "log_sigmoid")


def hard_sigmoid(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x / 6 + 1 / 2 within [0, 1], in float32.

    >>> hard_sigmoid([-4.0, 0.0]).tolist()
    [0.0, 0.5]

    See https://keras.io/api/layers/activations/#hard_sigmoid-function
    """
    return _elementwise(x, "hard_sigmoid")


def hard_silu(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x * hard_sigmoid(x), in float32; also called hard_swish.

    >>> hard_silu([-4.0, 4.0]).tolist()
    [-0.0, 4.0]

    See https://keras.io/api/layers/activations/#hard_silu-function
    """
    return _elementwise(x, "hard_silu")


def hard_tanh(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x within [-1, 1], in float32.

    >>> hard_tanh([-4.0, 0.5]).tolist()
    [-1.0, 0.5]

    See https://keras.io/api/layers/activations/#hard_tanh-function
    """
    return _elementwise(x, "hard_tanh")


def hard_shrink(x: ArrayLike, threshold: float = 0.5) -> NDArray[np.float32]:
    """Returns x where |x| is above `threshold`, else 0, in float32.

    >>> hard_shrink([-4.0, 0.5]).tolist()
    [-4.0, 0.0]

    See https://keras.io/api/layers/activations/#hard_shrink-function
    """
    return _elementwise(x, "hard_shrink", threshold)


def soft_shrink(x: ArrayLike, threshold: float = 0.5) -> NDArray[np.float32]:
    """Returns x moved towards 0 by `threshold`, and 0 where that would pass it, in float32.

    >>> soft_shrink([-4.0, 0.5]).tolist()
    [-3.5, 0.0]

    See https://keras.io/api/layers/activations/#soft_shrink-function
    """
    return _elementwise(x, "soft_shrink", threshold)


def tanh_shrink(x: ArrayLike) -> NDArray[np.float32]:
    """Returns x - tanh(x), element by element, in float32.

    >>> tanh_shrink([0.0]).tolist()
    [0.0]

    See https://keras.io/api/layers/activations/#tanh_shrink-function
    """
    return _elementwise(x, "tanh_shrink")


def threshold(x: ArrayLike, threshold: float, default_value: float) -> NDArray[np.float32]:
    """Returns x where it is above `threshold`, else `default_value`, in float32.

    >>> threshold([-4.0, 0.5], 0.0, 9.0).tolist()
    [9.0, 0.5]

    See https://keras.io/api/layers/activations/#threshold-function
    """
    return _elementwise(x, "threshold", threshold, default_value)


def squareplus(x: ArrayLike, b: float = 4) -> NDArray[np.float32]:
    """Returns (x + sqrt(x^2 + b)) / 2, element by element, in float32.

    >>> squareplus([0.0]).tolist()
    [1.0]

    See https://keras.io/api/layers/activations/#squareplus-function
    """
    return _elementwise(x, "squareplus", b)


def sparse_plus(x: ArrayLike) -> NDArray[np.float32]:
    """Returns 0 up to -1, (x + 1)^2 / 4 up to 1, then x, in float32.

    >>> sparse_plus([-2.0, 0.0, 3.0]).tolist()
    [0.0, 0.25, 3.0]

    See https://keras.io/api/layers/activations/#sparse_plus-function
    """
    return _elementwise(x, "sparse_plus")


def sparse_sigmoid(x: ArrayLike) -> NDArray[np.float32]:
    """Returns (x + 1) / 2 within [0, 1], in float32.

    >>> sparse_sigmoid([-2.0, 0.0]).tolist()
    [0.0, 0.5]

    See https://keras.io/api/layers/activations/#sparse_sigmoid-function
    """
    return _elementwise(x, "sparse_sigmoid")


def log_softmax(x: ArrayLike, axis: int = -1) -> NDArray[np.float32]:
    """Returns log(softmax(x, axis)), in float32.

    >>> log_softmax([[5.0]]).tolist()
    [[0.0]]

    See https://keras.io/api/layers/activations/#log_softmax-function
    """
    values = np.asarray(x, dtype=np.float32)
    if values.ndim == 0:
        raise ValueError("log_softmax: x: expected rank 1 at least, received a single number")
    return np.moveaxis(_run(np.moveaxis(values, axis, -1), "log_softmax"), -1, axis)


swish, hard_swish = silu, hard_silu

# Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", NIPS 2017.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


class Native(NamedTuple):
    """An activation as the native graph knows it: a kind, and the constants of an elementwise one."""

    kind: str
    constants: tuple[float, float, float] | None = None


_FUNCTIONS: dict[Callable[..., Any], Native] = {
    linear: Native("linear"),
    relu: Native("relu"),
    sigmoid: Native("sigmoid"),
    tanh: Native("tanh"),
    softmax: Native("softmax"),
    log_softmax: Native("log_softmax"),
    relu6: Native("relu", (0.0, 6.0, 0.0)),
    leaky_relu: Native("relu", (0.2, float("inf"), 0.0)),
    elu: Native("elu", (1.0, 1.0, 1.0)),
    celu: Native("elu", (1.0, 1.0, 1.0)),
    selu: Native("elu", (_SELU_ALPHA, 1.0, _SELU_SCALE)),
    hard_shrink: Native("hard_shrink", (0.5, 0.0, 0.0)),
    soft_shrink: Native("soft_shrink", (0.5, 0.0, 0.0)),
    squareplus: Native("squareplus", (4.0, 0.0, 0.0)),
    **{
        function: Native(function.__name__, (0.0, 0.0, 0.0))
        for function in (
            exponential, gelu, silu, mish, softplus, softsign, log_sigmoid, hard_sigmoid, hard_silu, hard_tanh,
            tanh_shrink, sparse_plus, sparse_sigmoid,
        )
    },
}  # fmt: skip


def native(function: Callable[..., Any]) -> Native | None:
    """How the native graph computes `function` with its default arguments; None where it cannot."""
    return _FUNCTIONS.get(function)


_BUILT_IN = {
    **{function.__name__: function for function in (*_FUNCTIONS, threshold)},
    "swish": silu,
    "hard_swish": hard_silu,
}
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


_INSTEAD = {"glu": "silu", "sparsemax": "softmax"}
__getattr__ = nothing_called(__name__, instead=_INSTEAD)
