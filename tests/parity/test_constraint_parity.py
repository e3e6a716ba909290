"""Constraints and the orthogonal regularizer against Keras: alone, and in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.parity

ALONE: list[tuple[str, dict[str, Any]]] = [
    ("NonNeg", {}),
    *[("MaxNorm", {"max_value": 0.7, "axis": axis}) for axis in (0, 1, -1, [0, 1], [0, 1, 2], [1, 3], [0, 1, 2, 3])],
    *[("UnitNorm", {"axis": axis}) for axis in (0, 3, [0, 1, 2])],
    *[("MinMaxNorm", {"min_value": 0.6, "max_value": 0.9, "rate": rate, "axis": [0, 1, 2]}) for rate in (1.0, 0.3)],
]


def numbers(value: Any) -> Any:
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


@pytest.mark.parametrize(("name", "settings"), ALONE, ids=str)
def test_alone(name: str, settings: dict[str, Any]) -> None:
    weights = np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32)
    weights[:, :, 1] = 0.0
    ours, theirs = getattr(fastcnn.constraints, name)(**settings), getattr(keras.constraints, name)(**settings)
    np.testing.assert_allclose(ours(weights), numbers(theirs(weights)), rtol=1e-6, atol=1e-7)
    assert ours.get_config() == theirs.get_config()
    again = fastcnn.constraints.deserialize(fastcnn.constraints.serialize(ours))
    assert again.get_config() == ours.get_config()
    assert fastcnn.constraints.serialize(ours) == keras.constraints.serialize(theirs)


TRAINED: list[tuple[str, dict[str, Any]]] = [
    ("NonNeg", {}),
    ("MaxNorm", {"max_value": 0.3, "axis": 0}),
    ("MaxNorm", {"max_value": 0.3, "axis": -1}),
    ("UnitNorm", {"axis": 0}),
    ("UnitNorm", {"axis": 1}),
    ("MinMaxNorm", {"min_value": 0.2, "max_value": 0.4, "rate": 0.5}),
]


def fitted(library: Any, layer: Any, weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
    model = library.Sequential([library.Input(x.shape[1:]), layer, library.layers.Flatten(), library.layers.Dense(2)])
    if weights is not None:
        model.set_weights(weights)
    start = model.get_weights()
    model.compile(library.optimizers.SGD(0.02, momentum=0.5), loss="mse")
    history = model.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
    return start, (model.get_weights(), history.history["loss"])


def layers_with(library: Any, constraint: Any) -> dict[str, Any]:
    make = library.layers
    return {
        "Dense": make.Dense(4, kernel_constraint=constraint),
        "Conv2D": make.Conv2D(4, 3, kernel_constraint=constraint),
        "DepthwiseConv2D": make.DepthwiseConv2D(3, depth_multiplier=2, depthwise_constraint=constraint),
        "SeparableConv2D": make.SeparableConv2D(4, 3, depthwise_constraint=constraint, pointwise_constraint=constraint),
        "Conv2DTranspose": make.Conv2DTranspose(3, 2, kernel_constraint=constraint),
    }


@pytest.mark.parametrize("layer", ["Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"])
@pytest.mark.parametrize(("name", "settings"), TRAINED, ids=str)
def test_twenty_steps(layer: str, name: str, settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5, 5, 3)).astype(np.float32), rng.standard_normal((40, 2)).astype(np.float32)
    ours = layers_with(fastcnn, getattr(fastcnn.constraints, name)(**settings))[layer]
    theirs = layers_with(keras, getattr(keras.constraints, name)(**settings))[layer]
    start, mine = fitted(fastcnn, ours, None, x, y)
    _, original = fitted(keras, theirs, start, x, y)
    np.testing.assert_allclose(mine[1], original[1], rtol=1e-4)
    for a, b in zip(mine[0], original[0]):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_orthogonal_regularizer(mode: str) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((5, 4)).astype(np.float32)
    ours, theirs = (library.regularizers.OrthogonalRegularizer(0.3, mode) for library in (fastcnn, keras))
    given = torch.tensor(weights, requires_grad=True)
    penalty = theirs(given)
    penalty.backward()
    assert ours(weights) == pytest.approx(float(penalty.detach()), rel=1e-5)
    np.testing.assert_allclose(ours.gradient(weights), given.grad.numpy(), rtol=1e-4, atol=1e-6)
    x, y = rng.standard_normal((40, 5)).astype(np.float32), rng.standard_normal((40, 2)).astype(np.float32)
    start, mine = fitted(fastcnn, fastcnn.layers.Dense(6, kernel_regularizer=ours), None, x, y)
    _, original = fitted(keras, keras.layers.Dense(6, kernel_regularizer=theirs), start, x, y)
    np.testing.assert_allclose(mine[1], original[1], rtol=1e-4)
    for a, b in zip(mine[0], original[0]):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
