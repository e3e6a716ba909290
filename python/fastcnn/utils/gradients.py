"""Comparing gradients written by hand with finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _messages
from fastcnn.layers.layer import Layer
from fastcnn.losses.loss import Loss

_STEP = 1e-3  # of a central difference: its error is of the order of the step squared
Array = NDArray[np.float64]


def check_gradients(subject: Any, *arrays: ArrayLike, tolerance: float = 1e-4) -> float:
    """Compares the gradient of a loss or layer written in Python with central differences in double precision.

    Choose values where the function has no kink within 0.001: there a finite difference is not the derivative.

    Args:
        subject: a `losses.Loss` with `call` and `gradient`; a function (y_true, y_pred) -> (losses, gradient); or a built
            or unbuilt `layers.Layer` with `call` and `backward`.
        *arrays: `y_true` and `y_pred` for a loss; the inputs, (n, *one sample's shape), for a layer.
        tolerance: the largest error that is accepted, relative to the largest element of the gradient (and at least to 1).

    Returns:
        The largest error, relative in the same way.

    Raises:
        ValueError: the gradient is another one; the sentence says of what and where. Or arguments that make no sense.

    Example:
        >>> import numpy as np
        >>> from fastcnn import losses
        >>> class Cubed(losses.Loss):
        ...     def call(self, y_true, y_pred):
        ...         return (abs(y_true - y_pred) ** 3).mean(axis=-1)
        ...     def gradient(self, y_true, y_pred):
        ...         error = y_pred - y_true
        ...         return 3 * error * abs(error) / y_pred.shape[-1]
        >>> check_gradients(Cubed(), [[0.0, 1.0]], [[0.5, -1.0]]) < 1e-5
        True
    """
    values = [np.asarray(array, np.float64) for array in arrays]
    tolerance = _messages.real("check_gradients", "tolerance", tolerance, "a positive number", 1e-12)
    if isinstance(subject, Layer):
        if len(values) != 1:
            _messages.fail("check_gradients", "arrays", "the layer's inputs", f"{len(values)} arrays")
        return _check_layer(subject, values[0], tolerance)
    if not callable(subject) or len(values) != 2:
        _messages.fail("check_gradients", "subject", "a layer and its inputs, or a loss, y_true and y_pred", subject)
    y_true, y_pred = values

    def losses_of(prediction: Array) -> float:
        found = subject.call(y_true, prediction) if isinstance(subject, Loss) else subject(y_true, prediction)[0]
        return float(np.sum(found, dtype=np.float64))

    gradient = subject.gradient(y_true, y_pred) if isinstance(subject, Loss) else subject(y_true, y_pred)[1]
    return _compare("y_pred", np.asarray(gradient), y_pred, losses_of, tolerance)


def _check_layer(layer: Layer, inputs: Array, tolerance: float) -> float:
    if not layer.built:
        layer.build((None, *inputs.shape[1:]))
    outputs = np.asarray(layer.call(inputs), np.float64)
    # Another weight for each output: errors that cancel in a plain sum do not cancel here.
    upstream = np.cos(np.arange(outputs.size, dtype=np.float64)).reshape(outputs.shape)

    def result(x: Array) -> float:
        return float(np.sum(np.asarray(layer.call(x), np.float64) * upstream))

    found = layer.backward(inputs, upstream)
    by_inputs, by_variables = found if isinstance(found, tuple) else (found, [])
    worst = _compare("inputs", np.asarray(by_inputs), inputs, result, tolerance)
    for variable, gradient in zip(layer.trainable_weights, by_variables):
        before = variable.numpy()

        def with_value(value: Array, variable: Any = variable) -> float:
            variable.assign(value)
            return result(inputs)

        try:
            # Variables are float32: the difference is divided by the step that is left after rounding.
            worst = max(worst, _compare(variable.name, np.asarray(gradient), before, with_value, tolerance))
        finally:
            variable.assign(before)
    return worst


def _compare(
    name: str, gradient: NDArray[Any], at: NDArray[Any], function: Callable[[Any], float], tolerance: float
) -> float:
    if gradient.shape != at.shape:
        _messages.fail("check_gradients", name, f"a gradient of shape {at.shape}", gradient.shape)
    scale = max(1.0, float(np.max(np.abs(gradient), initial=0.0)))
    worst = 0.0
    for index in np.ndindex(*at.shape):
        above, below = at.copy(), at.copy()
        above[index] += _STEP
        below[index] -= _STEP
        expected = (function(above) - function(below)) / (float(above[index]) - float(below[index]))
        error = abs(float(gradient[index]) - expected) / scale
        if not error <= tolerance:
            received = _messages.Text(f"{float(gradient[index]):.6g}")
            _messages.fail("check_gradients", f"{name}{list(index)}", f"about {expected:.6g}", received)
        worst = max(worst, error)
    return worst
