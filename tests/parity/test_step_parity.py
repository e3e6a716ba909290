"""Weights after each of ten steps against Keras: the mission's network, and one with strides and same padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn

pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
keras = pytest.importorskip("keras", reason="needs Keras, which .[parity] installs")

STEPS, BATCH = 10, 32
# Distance of the weights from Keras's, relative to the way they have gone, both in float32. Rules that divide by the
# gradient's root mean square turn rounding of a gradient near zero into a whole step: they get more.
PLAIN, DIVIDING = 2e-4, 2e-2
# Winograd's rounding may turn the choice between two nearly equal maxima of a pool: one window's gradient goes elsewhere.
TURNED = 2e-2


def mission(package: Any) -> Any:
    layers = package.layers
    return package.Sequential(
        [
            package.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def strided(package: Any) -> Any:
    layers, regularizers = package.layers, package.regularizers
    return package.Sequential(
        [
            package.Input((28, 28, 1)),
            layers.Conv2D(12, 5, strides=2, padding="same", kernel_regularizer=regularizers.L2(1e-3)),
            layers.Activation("tanh"),
            layers.Conv2D(16, 3, padding="same", groups=2, activation="relu", bias_regularizer=regularizers.L1(1e-3)),
            layers.MaxPooling2D(3, strides=2, padding="same"),
            layers.Conv2D(20, 3, strides=2, padding="same", activation="relu"),
            layers.AveragePooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid", kernel_regularizer=regularizers.L1L2(1e-4, 1e-3)),
        ]
    )


def data() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images of two kinds that overlap: nothing saturates within ten steps."""
    rng = np.random.default_rng(8)
    y = rng.integers(0, 2, STEPS * BATCH).astype(np.float32)
    x = rng.random((len(y), 28, 28, 1), dtype=np.float32)
    x[:, 8:20, 8:20] += 0.3 * y[:, None, None, None]
    return x, y


def pair(network: Callable[[Any], Any], kind: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """The model of fastcnn and of Keras, with equal weights."""
    fastcnn.utils.set_random_seed(4)
    models = []
    for package in (fastcnn, keras):
        model = network(package)
        model.compile(getattr(package.optimizers, kind)(**options), "binary_crossentropy", metrics=["accuracy"])
        models.append(model)
    ours, theirs = models
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def check_weights(ours: Any, theirs: Any, start: list[Any], tolerance: float, when: str) -> None:
    for variable, begin, a, b in zip(ours.weights, start, ours.get_weights(), theirs.get_weights()):
        moved = float(np.linalg.norm(b - begin))
        assert moved > 0
        error = float(np.linalg.norm(a - b)) / moved
        assert error < tolerance, f"{variable.path} {when}: {error:.1e}"


OPTIMIZERS: dict[str, tuple[str, dict[str, Any], float]] = {
    "momentum": ("SGD", {"learning_rate": 0.01, "momentum": 0.9}, PLAIN),
    "nesterov": ("SGD", {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True}, PLAIN),
    "clipnorm": ("SGD", {"learning_rate": 0.05, "clipnorm": 0.05}, PLAIN),
    "global_clipnorm": ("SGD", {"learning_rate": 0.05, "global_clipnorm": 0.1}, PLAIN),
    "clipvalue": ("SGD", {"learning_rate": 0.05, "clipvalue": 0.003}, PLAIN),
    "adam": ("Adam", {}, DIVIDING),
    "adamw": ("AdamW", {"weight_decay": 0.1}, DIVIDING),
    "rmsprop": ("RMSprop", {"learning_rate": 2e-4, "centered": True, "momentum": 0.5, "epsilon": 1e-4}, DIVIDING),
}


@pytest.fixture(params=[False, True], ids=["direct", "winograd"])
def winograd(request: pytest.FixtureRequest) -> Iterator[bool]:
    before = fastcnn.config.is_winograd_enabled()
    (fastcnn.config.enable_winograd if request.param else fastcnn.config.disable_winograd)()
    yield request.param
    (fastcnn.config.enable_winograd if before else fastcnn.config.disable_winograd)()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("network", [mission, strided])
def test_weights_after_each_step(network: Callable[[Any], Any], name: str, winograd: bool) -> None:
    kind, options, tolerance = OPTIMIZERS[name]
    if winograd and network is mission:
        tolerance = max(tolerance, TURNED)
    ours, theirs = pair(network, kind, options)
    start = ours.get_weights()
    x, y = data()
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        logs = [model.train_on_batch(x[rows], y[rows], return_dict=True) for model in (ours, theirs)]
        assert logs[0] == {key: pytest.approx(float(value), rel=2e-3) for key, value in logs[1].items()}
        check_weights(ours, theirs, start, tolerance, f"after step {step + 1}")


@pytest.mark.parametrize("network", [mission, strided])
@pytest.mark.parametrize("weights", ["class", "sample"])
def test_weighted_epochs(network: Callable[[Any], Any], weights: str, winograd: bool) -> None:
    """Logs, weights, evaluation and prediction after an epoch with a smaller last batch."""
    ours, theirs = pair(network, "SGD", {"learning_rate": 0.02, "momentum": 0.9})
    start = ours.get_weights()
    x, y = data()
    x, y = x[:-13], y[:-13]
    arguments: dict[str, Any] = {}
    if weights == "class":
        arguments["class_weight"] = {0: 0.5, 1: 2.0}
    else:
        arguments["sample_weight"] = np.random.default_rng(1).random(len(y)).astype(np.float32)
    logs = [
        model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, validation_split=0.1, **arguments).history
        for model in (ours, theirs)
    ]
    assert list(logs[0]) == list(logs[1])
    for key in logs[0]:
        np.testing.assert_allclose(logs[0][key], logs[1][key], rtol=1e-4, err_msg=key)
    tolerance = TURNED if winograd and network is mission else PLAIN
    check_weights(ours, theirs, start, tolerance, "after the epochs")
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-4)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), rtol=1e-5)
