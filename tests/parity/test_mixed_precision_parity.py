"""mixed_bfloat16 with AMX tiles beside a double-precision computation that rounds to bfloat16 at the same places.

Comparing with float32 says little: a rounding that turns one ReLU or maximum over changes gradients by per cents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_images import pad_images

import fastcnn as keras
from fastcnn import layers

torch = pytest.importorskip("torch")

Array = NDArray[np.float32]


@pytest.fixture(autouse=True)
def mixed_bfloat16(tiles: None) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")


class _Rounded(torch.autograd.Function):
    """Rounds on the way forward, backward or both; the derivative of rounding is 1."""

    @staticmethod
    def forward(ctx, x, forward, backward):
        ctx.backward_too = backward
        return x.float().bfloat16().double() if forward else x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (gradient.float().bfloat16().double() if ctx.backward_too else gradient), None, None


def rounded(x, forward=True, backward=False):
    return _Rounded.apply(x, forward, backward)


def reference(model: keras.Sequential, weights: list[Array], x: Array) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The last layer's output before its softmax or sigmoid, and the weights as PyTorch's parameters."""
    parameters = [torch.tensor(w, dtype=torch.double, requires_grad=True) for w in weights]
    left = list(parameters)
    # Channels first, and rounded when a layer reads it.
    value = torch.tensor(x, dtype=torch.double).permute(0, 3, 1, 2)
    last = [layer for layer in model.layers if layer.weights][-1]
    for layer in model.layers:
        if isinstance(layer, layers.MaxPooling2D):
            value = torch.nn.functional.max_pool2d(value, layer.pool_size)
        elif isinstance(layer, layers.Flatten):
            value = value.permute(0, 2, 3, 1).flatten(1)
        else:
            kernel, bias = left.pop(0), left.pop(0)
            # What a layer reads is stored as bfloat16; so is its gradient, but for the network's input.
            value = rounded(value, True, value.requires_grad)
            if isinstance(layer, layers.Conv2D):
                value = pad_images(value, layer.padding, layer.kernel_size, layer.strides, layer.dilation_rate)
                value = torch.nn.functional.conv2d(
                    value,
                    rounded(kernel).permute(3, 2, 0, 1),
                    stride=layer.strides,
                    dilation=layer.dilation_rate,
                    groups=layer.groups,
                )
                value = value + bias[:, None, None]
            else:
                value = value @ rounded(kernel) + bias
            if layer is last:
                value = rounded(value, False, True)
            elif layer.activation is keras.activations.relu:
                value = value.relu()
    return value, parameters


def relative(found: NDArray, expected: NDArray) -> float:
    """Distance relative to `expected`, or alone where that is zero."""
    return float(np.linalg.norm(found - expected) / (np.linalg.norm(expected) or 1.0))


def compare(
    shape: tuple[int, ...], make: Callable[[], list[Any]], samples: int, seed: int
) -> tuple[dict[str, float], Array, Array]:
    """Relative errors of outputs and of each gradient, by name; outputs, and what they should be."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input(shape), *make()])
    rng = np.random.default_rng(seed)
    weights = [w + 0.1 * rng.standard_normal(w.shape).astype(np.float32) * (w.ndim == 1) for w in model.get_weights()]
    model.set_weights(weights)
    x = rng.standard_normal((samples, *shape)).astype(np.float32)
    value, parameters = reference(model, weights, x)
    outputs, expected = model.predict(x, verbose=0), value.detach().numpy()

    y = rng.standard_normal(value.shape).astype(np.float32)
    torch.nn.functional.mse_loss(value, torch.tensor(y, dtype=torch.double)).backward()
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(x, y, batch_size=samples, verbose=0)
    errors = {"outputs": relative(outputs, expected)}
    for variable, before, parameter in zip(model.weights, weights, parameters):
        gradient = before.astype(np.double) - variable.numpy()
        errors[variable.path] = relative(gradient, parameter.grad.numpy())
    return errors, outputs, expected


NETWORKS = {
    "mission": (
        (28, 28, 1),
        lambda: [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(1),
        ],
    ),
    "same padding, three channels": (
        (19, 17, 3),
        lambda: [
            layers.Conv2D(20, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(33, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(5),
        ],
    ),
    "dilation, odd windows, many channels": (
        (15, 14, 37),
        lambda: [
            layers.Conv2D(40, (2, 3), padding="same", dilation_rate=(1, 2), activation="relu"),
            layers.MaxPooling2D((3, 1)),
            layers.Conv2D(16, (1, 5), activation="relu"),
            layers.MaxPooling2D((1, 3)),
            layers.Conv2D(7, 2),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    "strides": (
        (21, 26, 3),
        lambda: [
            layers.Conv2D(24, 7, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(36, 3, strides=(2, 1), padding="same", activation="relu"),
            layers.Conv2D(40, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(10, (2, 1), strides=(1, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    "strides below a pool, few channels twice": (
        (31, 29, 20),
        lambda: [
            layers.Conv2D(17, 3, strides=2, activation="relu"),
            layers.MaxPooling2D((2, 3)),
            layers.Conv2D(35, (1, 2), strides=3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2),
        ],
    ),
    "groups": (
        (12, 11, 3),
        lambda: [
            layers.Conv2D(64, 3, activation="relu"),
            layers.Conv2D(64, 3, groups=2, padding="same", activation="relu"),
            layers.Conv2D(40, (2, 3), groups=2, activation="relu"),
            layers.Conv2D(60, 3, groups=2, strides=2, dilation_rate=1, activation="relu"),
            layers.Conv2D(22, 1, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    "first layer of eight channels under a wide pool": (
        (20, 19, 8),
        lambda: [
            layers.Conv2D(33, 2, activation="relu"),
            layers.MaxPooling2D((1, 3)),
            layers.Conv2D(40, 3, strides=2, activation="relu"),
            layers.MaxPooling2D((3, 2)),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    "first layer under a pool of sixteen": (
        (31, 26, 3),
        lambda: [
            layers.Conv2D(20, 3, activation="relu"),
            layers.MaxPooling2D(4),
            layers.Conv2D(70, 3, padding="same", activation="relu"),
            layers.MaxPooling2D((2, 1)),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    "first layer of four pixels at a time, dilated": (
        (18, 21, 2),
        lambda: [
            layers.Conv2D(48, (1, 4), strides=(1, 4), activation="relu"),
            layers.Conv2D(20, 2, dilation_rate=2, padding="same", activation="relu"),
            layers.MaxPooling2D(3),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    "padding beside pools three wide": (
        (9, 12, 10),
        lambda: [
            layers.Conv2D(20, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(3),
            layers.Conv2D(9, (2, 4), padding="same", activation="relu"),
            layers.MaxPooling2D((3, 1)),
            layers.Flatten(),
            layers.Dense(3),
        ],
    ),
    # More than 256 K weights: the whole batch at once.
    "many weights behind an image": (
        (13, 14, 5),
        lambda: [
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(40, activation="relu"),
            layers.Dense(4),
        ],
    ),
    "many weights behind channels that fill no tile": (
        (16, 17, 5),
        lambda: [
            layers.Conv2D(40, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(33, activation="relu"),
            layers.Dense(4),
        ],
    ),
    "many weights, odd": (
        (1, 1, 150),
        lambda: [
            layers.Flatten(),
            layers.Dense(2051, activation="relu"),
            layers.Dense(129, activation="relu"),
            layers.Dense(2),
        ],
    ),
    "many weights, first and last": ((1, 1, 401), lambda: [layers.Flatten(), layers.Dense(701)]),
    "dense alone": ((1, 1, 50), lambda: [layers.Flatten(), layers.Dense(70, activation="relu"), layers.Dense(4)]),
}


@pytest.mark.parametrize("samples", [1, 3, 16, 37])  # 37: blocks of 16, 16 and 5
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients(name: str, samples: int) -> None:
    shape, make = NETWORKS[name]
    # Sums in float32 and in double may lie on two sides of a rounding, which then differs by 1/256: in few samples.
    errors, outputs, expected = compare(shape, make, samples, seed=samples)
    assert all(error < 5e-3 for error in errors.values()), errors
    assert np.median(np.abs(outputs - expected)) < 1e-5 * np.abs(expected).max()


def random_network(seed: int) -> tuple[tuple[int, ...], list[Any], np.random.Generator]:
    """An image's shape, layers that can be computed on it, and the generator they were drawn from."""
    keras.utils.set_random_seed(seed)  # of the layers' initial weights
    rng = np.random.default_rng(seed)

    def any_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    def pair(*values: int) -> tuple[int, int]:
        return (any_of(*values), any_of(*values))

    shape = (*rng.integers(4, 30, 2).tolist(), any_of(1, 1, 2, 3, 3, 4, 8, 16, 20, 32, 37, 64))
    height, width, channels = shape
    body: list[Any] = []
    for _ in range(rng.integers(1, 4)):
        kernel, padding, strides, dilation = pair(1, 2, 3, 3, 3, 4, 5), any_of("valid", "same"), (1, 1), (1, 1)
        if rng.random() < 0.3:
            strides = pair(1, 2, 2, 3)
        elif rng.random() < 0.2:
            dilation = pair(1, 2, 3)
        extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
        if padding == "valid" and (extent[0] > height or extent[1] > width):
            break
        groups = 2 if channels % 64 == 0 and rng.random() < 0.4 else 1
        filters = groups * any_of(8, 16, 20, 32, 32, 33, 48, 64)
        conv = layers.Conv2D(
            filters, kernel, strides, padding, dilation_rate=dilation, groups=groups, activation=any_of("relu", None)
        )
        body.append(conv)
        height, width, channels = conv.compute_output_shape((None, height, width, channels))[1:]
        pool = pair(1, 2, 2, 3, 4) if rng.random() < 0.6 else (1, 1)
        if pool != (1, 1) and pool[0] <= height and pool[1] <= width:
            body.append(layers.MaxPooling2D(pool))
            height, width = height // pool[0], width // pool[1]
    body.append(layers.Flatten())
    if rng.random() < 0.6:
        body.append(layers.Dense(any_of(5, 16, 33, 64), activation="relu"))
    return shape, [*body, layers.Dense(any_of(1, 3, 17))], rng


def test_random_networks() -> None:
    """A tap, an edge or a channel that is wrong is seen by the few per cent that a maximum or a ReLU may be worth that
    a rounding turns over in a small network; a rounding too few or too many by most networks agreeing far better.
    """
    worst = {}
    for seed in range(60):
        shape, body, rng = random_network(seed)
        samples = int(rng.choice([2, 5, 16, 24, 33]))
        errors, _, _ = compare(shape, lambda body=body: body, samples, seed)
        worst[seed] = max(errors.values(), key=lambda error: (np.isnan(error), error))
    assert all(error < 0.02 for error in worst.values()), worst
    assert np.quantile(list(worst.values()), 0.8) < 1e-5, worst


@pytest.mark.parametrize("seed", range(60, 90))
def test_samples_of_random_networks_do_not_depend_on_their_batch(seed: int) -> None:
    shape, body, rng = random_network(seed)
    model = keras.Sequential([keras.Input(shape), *body])
    x = rng.standard_normal((33, *shape)).astype(np.float32)
    together = model.predict(x, batch_size=33, verbose=0)
    for batch in (1, 3, 16, 20):
        np.testing.assert_array_equal(model.predict(x, batch_size=batch, verbose=0), together)


STEPS, BATCH = 200, 32


def loss_curve(package: Any, policy: str, start: list[Array] | None, x: Array, y: Array) -> tuple[list[Array], Array]:
    """The initial weights and each step's loss."""
    package.config.set_dtype_policy(policy)
    model = package.Sequential(
        [
            package.Input(x.shape[1:]),
            package.layers.Conv2D(32, 3, activation="relu"),
            package.layers.MaxPooling2D(),
            package.layers.Conv2D(64, 3, activation="relu"),
            package.layers.MaxPooling2D(),
            package.layers.Conv2D(64, 3, activation="relu"),
            package.layers.Flatten(),
            package.layers.Dense(64, activation="relu"),
            package.layers.Dense(1, activation="sigmoid", dtype="float32"),
        ]
    )
    package.config.set_dtype_policy("float32")
    if start is not None:
        model.set_weights(start)
    start = model.get_weights()
    model.compile("adam", "binary_crossentropy")
    losses = []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        model.reset_metrics()
        losses.append(float(np.asarray(model.train_on_batch(x[batch], y[batch])).ravel()[0]))
    return start, np.array(losses, np.float32)


def test_loss_curve_beside_keras() -> None:
    """Two hundred steps of Adam. How far rounding alone moves a curve is what lies between Keras's own two policies."""
    theirs = pytest.importorskip("keras")
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images = np.kron(digits.images / 16, np.ones((3, 3)))[..., None].astype(np.float32)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(images)) for _ in range(4)])[: STEPS * BATCH]
    x, y = images[order], (digits.target >= 5).astype(np.float32)[order]
    keras.utils.set_random_seed(1)
    start, found = loss_curve(keras, "mixed_bfloat16", None, x, y)
    _, expected = loss_curve(theirs, "mixed_bfloat16", start, x, y)
    _, in_float32 = loss_curve(theirs, "float32", start, x, y)
    noise = np.abs(expected - in_float32).mean()
    assert 0 < noise < 0.03
    assert np.abs(found - expected).mean() < 1.5 * noise
    windows = np.abs((found - expected).reshape(4, -1).mean(axis=1))
    assert windows.max() < 0.015, windows
    assert expected[-50:].mean() < 0.25 * expected[:5].mean()  # it learns
