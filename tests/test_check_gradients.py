"""The comparison of gradients with finite differences finds what is wrong, and only that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import layers, losses, utils


class Squared(losses.Loss):
    """A loss whose gradient is right where `factor` is 2."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ((y_pred - y_true) ** 2).mean(axis=-1)

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return self.factor * (y_pred - y_true) / y_pred.shape[-1]


class Scale(layers.Layer):
    """A layer whose gradients are right where `by_factor` and `by_inputs` are 1."""

    by_factor = by_inputs = 1.0

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor.value

    def backward(self, inputs: Any, gradient: Any) -> Any:
        return self.by_inputs * gradient * self.factor.value, [self.by_factor * (gradient * inputs).sum(axis=0)]


Y_TRUE, Y_PRED = np.zeros((2, 3)), np.linspace(-1.0, 2.0, 6).reshape(2, 3)


def test_right_gradients_pass() -> None:
    assert utils.check_gradients(Squared(2.0), Y_TRUE, Y_PRED) < 1e-6
    assert utils.check_gradients(lambda t, p: ((p - t) ** 2, 2 * (p - t)), Y_TRUE, Y_PRED) < 1e-6
    layer = Scale()
    assert utils.check_gradients(layer, Y_PRED) < 1e-6
    np.testing.assert_array_equal(layer.get_weights()[0], np.ones(3, np.float32))


def test_wrong_gradients_are_named() -> None:
    with pytest.raises(ValueError, match=r"check_gradients: y_pred\[0, 0\]: expected about -0\.66"):
        utils.check_gradients(Squared(3.0), Y_TRUE, Y_PRED)
    layer = Scale()
    layer.by_factor = 1.1
    with pytest.raises(ValueError, match=r"check_gradients: factor\[0\]"):
        utils.check_gradients(layer, Y_PRED)
    np.testing.assert_array_equal(layer.get_weights()[0], np.ones(3, np.float32))
    layer.by_factor, layer.by_inputs = 1.0, 2.0
    with pytest.raises(ValueError, match=r"check_gradients: inputs\[0, 0\]"):
        utils.check_gradients(layer, Y_PRED)


def test_other_subjects_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="check_gradients: subject"):
        utils.check_gradients(3, Y_TRUE, Y_PRED)
    with pytest.raises(ValueError, match="check_gradients: arrays"):
        utils.check_gradients(Scale(), Y_TRUE, Y_PRED)
    with pytest.raises(ValueError, match=r"y_pred: expected a gradient of shape \(2, 3\)"):
        utils.check_gradients(lambda t, p: ((p - t) ** 2, np.zeros(3)), Y_TRUE, Y_PRED)
