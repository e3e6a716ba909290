"""Activation functions on arrays, by name and back."""

from __future__ import annotations

import numpy as np
import pytest

from fastcnn import activations


def test_values() -> None:
    x = np.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(activations.linear(x), x)
    np.testing.assert_array_equal(activations.relu(x), [0, 0, 3])
    np.testing.assert_allclose(activations.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(activations.tanh(x), np.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(activations.softmax(x), np.exp(x) / np.exp(x).sum(), rtol=1e-6)


@pytest.mark.parametrize("name", ["linear", "relu", "sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4, 5), (1, 1)])
def test_shape_and_dtype_whatever_the_input(name: str, shape: tuple[int, ...]) -> None:
    function = activations.get(name)
    x = np.random.default_rng(0).normal(size=shape)
    expected = function(x.astype(np.float32))
    assert expected.shape == shape
    for other in (x, x.tolist(), np.asfortranarray(x)):
        result = function(other)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "softmax"])
def test_nan_stays(name: str) -> None:
    assert np.isnan(activations.get(name)([np.nan, 1.0])[0])


def test_a_number_gives_a_number() -> None:
    assert activations.relu(-1.0).shape == ()
    with pytest.raises(ValueError, match=r"^softmax: x: expected rank 1 at least, received a single number$"):
        activations.softmax(1.0)


def test_softmax_along_another_axis() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    result = activations.softmax(x, axis=1)
    np.testing.assert_allclose(result.sum(axis=1), np.ones((2, 4)), rtol=1e-6)
    np.testing.assert_allclose(result, np.moveaxis(activations.softmax(np.moveaxis(x, 1, -1)), -1, 1))


def test_relu_s_further_arguments() -> None:
    x = [-2.0, 0.5, 1.5, 9.0]
    np.testing.assert_allclose(activations.relu(x, negative_slope=0.1, max_value=6, threshold=1), [-0.3, -0.05, 1.5, 6])


def test_by_name_and_back() -> None:
    for name in ("linear", "relu", "sigmoid", "tanh", "softmax"):
        function = activations.get(name)
        assert activations.serialize(function) == name
        assert activations.deserialize(name) is function
        assert activations.get(function) is function
    assert activations.get(None) is activations.linear


def test_unknown_names() -> None:
    expected = (
        "^activations.get: identifier: expected the name of an activation, one of 'relu', 'relu6', 'elu', 'celu', "
        ".*, received 'rellu'$"
    )
    with pytest.raises(ValueError, match=expected):
        activations.get("rellu")
    with pytest.raises(ValueError, match=r"^activations.get: identifier: expected an activation, .* received 3$"):
        activations.get(3)
    with pytest.raises(ValueError, match=r"^activations.serialize: activation: expected one of linear, relu, "):
        activations.serialize(abs)
