"""Training against outside implementations: gradients of whole networks (PyTorch in float64), ten steps (Keras)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_images import pad_images

import fastcnn

torch = pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
keras = pytest.importorskip("keras", reason="needs Keras, which .[parity] installs")

# Relative distance (L2) of a float32 gradient from PyTorch's in float64.
GRADIENT_TOLERANCE = 2e-5
# Of the way the weights have gone in ten float32 steps, from Keras's in float32.
STEP_TOLERANCE = 2e-3


def network(layers: Any, norm: bool, pool: str | None, padding: str, strides: int) -> list[Any]:
    """The same layers from fastcnn or from Keras."""

    def block(filters: int, strides: int) -> list[Any]:
        made = [layers.Conv2D(filters, 3, strides=strides, padding=padding)]
        made += [layers.BatchNormalization()] if norm else []
        made += [layers.Activation("relu")]
        if pool:
            made.append({"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[pool](2))
        return made

    return [*block(14, 1), *block(17, strides), layers.Flatten(), layers.Dense(6, activation="softmax")]


def data(samples: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((samples, 17, 15, 3)).astype(np.float32), rng.integers(0, 6, samples)


def torch_gradients(
    model: Any, x: Any, y: Any, norm: bool, pool: str | None, padding: str, strides: int
) -> list[NDArray[np.float64] | None]:
    """PyTorch's gradients of the mean cross-entropy, for each variable of the model."""
    functional = torch.nn.functional
    values = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in model.get_weights()]
    left = iter(values)
    h = torch.tensor(x, dtype=torch.float64).permute(0, 3, 1, 2)
    for step in (1, strides):
        kernel, bias = next(left), next(left)
        h = functional.conv2d(pad_images(h, padding, (3, 3), (step, step)), kernel.permute(3, 2, 0, 1), bias, step)
        if norm:
            gamma, beta, _, _ = (next(left) for _ in range(4))
            h = functional.batch_norm(h, None, None, gamma, beta, True, 0.0, 1e-3)
        h = torch.relu(h)
        if pool:
            h = functional.max_pool2d(h, 2) if pool == "max" else functional.avg_pool2d(h, 2)
    kernel, bias = next(left), next(left)
    functional.cross_entropy(h.permute(0, 2, 3, 1).flatten(1) @ kernel + bias, torch.tensor(y)).backward()
    return [None if v.grad is None else v.grad.numpy() for v in values]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("pool", ["max", "average", None])
@pytest.mark.parametrize("norm", [False, True], ids=["", "norm"])
def test_gradients_agree_with_pytorch(norm: bool, pool: str | None, padding: str, strides: int) -> None:
    from fastcnn import _core

    fastcnn.utils.set_random_seed(3)
    model = fastcnn.Sequential([fastcnn.Input((17, 15, 3)), *network(fastcnn.layers, norm, pool, padding, strides)])
    x, y = data(21)
    expected = torch_gradients(model, x, y, norm, pool, padding, strides)
    built = model._current_network().native
    trainable = [v.trainable for v in model.weights]
    loss = {"kind": "sparse_categorical_crossentropy"}
    trainer = _core.Trainer(built, loss, [], None, [(0.0, 0.0)] * len(trainable), trainable)
    found = trainer.gradients(x, y.astype(np.int32), None, 0)
    largest = max(np.linalg.norm(g) for g in expected if g is not None)
    for variable, ours, theirs in zip(model.weights, found, expected):
        assert (ours is None) == (theirs is None)
        if ours is None:
            continue
        # The gradient of a bias below batch normalisation is zero but for rounding.
        error = np.linalg.norm(ours - theirs) / max(
            float(np.linalg.norm(theirs)), (0.1 if norm else 0.01) * float(largest)
        )
        assert error < GRADIENT_TOLERANCE, f"{variable.path}: {error:.1e}"


OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"learning_rate": 0.05}),
    "momentum": ("SGD", {"learning_rate": 0.02, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {"learning_rate": 1e-3}),
    "amsgrad": ("Adam", {"learning_rate": 1e-3, "amsgrad": True}),
    "adamw": ("AdamW", {"learning_rate": 1e-3, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {"learning_rate": 1e-3}),
    "rmsprop, centered, momentum": ("RMSprop", {"learning_rate": 1e-3, "centered": True, "momentum": 0.5}),
    "clipnorm": ("SGD", {"learning_rate": 0.05, "clipnorm": 0.1}),
    "global_clipnorm": ("SGD", {"learning_rate": 0.05, "global_clipnorm": 0.1}),
    "clipvalue": ("SGD", {"learning_rate": 0.05, "clipvalue": 0.01}),
}


def regularized(package: Any) -> list[Any]:
    layers = package.layers
    return [
        layers.Conv2D(8, 3, activation="relu", kernel_regularizer=package.regularizers.L2(0.01)),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(6, activation="softmax", kernel_regularizer=package.regularizers.L1(0.001)),
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_agree_with_keras(name: str) -> None:
    kind, options = OPTIMIZERS[name]
    x, y = data(64)
    weight = np.random.default_rng(2).random(64).astype(np.float32)
    models = []
    for package in (fastcnn, keras):
        model = package.Sequential([package.Input((17, 15, 3)), *regularized(package)])
        model.compile(
            getattr(package.optimizers, kind)(**options), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        models.append(model)
    ours, theirs = models
    start = ours.get_weights()
    theirs.set_weights(start)
    logs = [
        model.fit(x, y, sample_weight=weight, batch_size=16, epochs=3, shuffle=False, verbose=0).history
        for model in models
    ]
    assert list(logs[0]) == list(logs[1])
    for key in logs[0]:
        np.testing.assert_allclose(logs[0][key], logs[1][key], rtol=2e-4, err_msg=key)
    for variable, begin, a, b in zip(ours.weights, start, ours.get_weights(), theirs.get_weights()):
        moved = np.linalg.norm(b - begin)
        assert moved > 0
        assert np.linalg.norm(a - b) < STEP_TOLERANCE * moved, variable.path


def test_batch_normalisation_agrees_with_keras() -> None:
    """Training with batch statistics, moving ones at inference, class weights."""
    x, y = data(48)
    models = []
    for package in (fastcnn, keras):
        layers = network(package.layers, True, "max", "same", 1)
        model = package.Sequential([package.Input((17, 15, 3)), *layers])
        model.compile(package.optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
        models.append(model)
    ours, theirs = models
    theirs.set_weights(ours.get_weights())
    for model in models:
        model.fit(
            x, y, batch_size=20, epochs=2, shuffle=False, verbose=0, class_weight={i: 1.0 + i / 10 for i in range(6)}
        )
    for variable, a, b in zip(ours.weights, ours.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5, err_msg=variable.path)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), atol=2e-4)
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), rtol=1e-3)


# --- a weight for each position ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize(
    "name", ["MeanSquaredError", "SparseCategoricalCrossentropy", "BinaryCrossentropy", "KLDivergence"]
)
def test_weights_by_position(name: str, reduction: str) -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    classes = {"MeanSquaredError": 1, "BinaryCrossentropy": 1}.get(name, 4)
    x, weights = rng.random((20, 10, 3)).astype(np.float32), rng.random((20, 10)).astype(np.float32)
    y = rng.random((20, 10, classes)).astype(np.float32)
    if name == "SparseCategoricalCrossentropy":
        y = rng.integers(0, classes, (20, 10))

    def fitted(library: Any) -> Any:
        last = {"MeanSquaredError": None, "BinaryCrossentropy": "sigmoid"}.get(name, "softmax")
        model = library.Sequential(
            [library.Input((10, 3)), library.layers.Conv1D(classes, 3, padding="same", activation=last)]
        )
        model.set_weights([np.arange(w.size).reshape(w.shape) % 5 * 0.1 for w in model.get_weights()])
        loss = getattr(library.losses, name)(reduction=reduction)
        sparse = name == "SparseCategoricalCrossentropy"
        weighted: list[Any] = ["accuracy"] if sparse else ["mae", library.metrics.MeanSquaredError(name="m")]
        model.compile(library.optimizers.SGD(0.05), loss=loss, weighted_metrics=weighted)
        history = model.fit(
            x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, sample_weight=weights,
            validation_data=(x[:5], y[:5], weights[:5]),
        )  # fmt: skip
        measured = model.evaluate(x, y, sample_weight=weights[..., None], verbose=0, return_dict=True)
        return history.history, measured, model.get_weights()

    ours, theirs = fitted(fastcnn), fitted(keras)
    assert ours[0].keys() == theirs[0].keys()
    for key, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][key], values, rtol=2e-5, err_msg=key)
    assert ours[1] == pytest.approx(theirs[1], rel=2e-5)
    for a, b in zip(ours[2], theirs[2]):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_weights_of_another_shape_are_refused() -> None:
    model = fastcnn.Sequential([fastcnn.Input((10, 3)), fastcnn.layers.Conv1D(2, 3, padding="same")])
    model.compile("sgd", "mse")
    for shape in ((4, 9), (4, 10, 2), (3, 10)):
        with pytest.raises(
            ValueError, match=r"^fit: sample_weight: expected shape \(4,\) or \(4, 10\), received shape"
        ):
            model.fit(np.ones((4, 10, 3)), np.ones((4, 10, 2)), sample_weight=np.ones(shape), verbose=0)
