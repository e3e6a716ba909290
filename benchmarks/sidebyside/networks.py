"""The networks that are measured, described once as data; every framework builds its own from the description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

# Keras's defaults, for the frameworks whose own differ.
LEARNING_RATE = 1e-3
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
NORM_MOMENTUM, NORM_EPSILON = 0.99, 1e-3


@dataclass(frozen=True)
class Conv:
    """3x3 window, stride 1, no padding, with bias."""

    filters: int
    activation: str | None = "relu"


@dataclass(frozen=True)
class Norm:
    """Batch normalisation over the channels."""


@dataclass(frozen=True)
class Relu:
    """The activation as a layer of its own, where a normalisation stands before it."""


@dataclass(frozen=True)
class Pool:
    """Maximum of 2x2 windows."""


@dataclass(frozen=True)
class Flatten:
    """Images to rows, in the order height, width, channels."""


@dataclass(frozen=True)
class Dropout:
    """Sets values to zero while training."""

    rate: float


@dataclass(frozen=True)
class Dense:
    """Fully connected, with bias. "sigmoid" appears last alone: frameworks may compute the loss from its argument."""

    units: int
    activation: str


Layer = Conv | Norm | Relu | Pool | Flatten | Dropout | Dense


@dataclass(frozen=True)
class Network:
    """A chain of layers.

    Attributes:
        title: Name in reports.
        input_shape: Height, width, channels.
        layers: From input to output; the last is Dense(1, "sigmoid").
    """

    title: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def with_shapes(self) -> Iterator[tuple[Layer, Shape]]:
        """Yields each layer with the shape of one sample of its input."""
        shape: Shape = self.input_shape
        for layer in self.layers:
            yield layer, shape
            match layer:
                case Conv(filters):
                    shape = (shape[0] - 2, shape[1] - 2, filters)
                case Pool():
                    shape = (shape[0] // 2, shape[1] // 2, shape[2])
                case Flatten():
                    shape = (int(np.prod(shape)),)
                case Dense(units):
                    shape = (units,)

    def has(self, *kinds: type) -> bool:
        """Whether any layer is of one of these kinds."""
        return any(isinstance(layer, kinds) for layer in self.layers)


NETWORKS = {
    "mission": Network(
        "mission",
        (28, 28, 1),
        (Conv(32), Pool(), Conv(64), Pool(), Conv(64), Flatten(), Dense(64, "relu"), Dense(1, "sigmoid")),
    ),
    "tutorial": Network(
        "64x64x3 tutorial",
        (64, 64, 3),
        (Conv(32), Pool(), Conv(64), Pool(), Flatten(), Dense(128, "relu"), Dense(1, "sigmoid")),
    ),
    "cats-and-dogs": Network(
        "150x150x3 cats and dogs",
        (150, 150, 3),
        (
            *(part for filters in (32, 64, 128, 128) for part in (Conv(filters), Pool())),
            *(Flatten(), Dense(512, "relu"), Dense(1, "sigmoid")),
        ),
    ),
    # Normalised before the activation, so that it can be folded into its convolution for inference.
    "normalized": Network(
        "mission with normalisation and dropout",
        (28, 28, 1),
        (
            *(Conv(32, None), Norm(), Relu(), Pool(), Conv(64, None), Norm(), Relu(), Pool()),
            *(Conv(64, None), Norm(), Relu(), Flatten()),
            *(Dropout(0.25), Dense(64, "relu"), Dropout(0.5), Dense(1, "sigmoid")),
        ),
    ),
}


def weights(network: Network, seed: int = 0) -> list[list[Floats]]:
    """For each layer its arrays as Keras's `get_weights` orders them: Glorot-uniform kernels, zero biases."""
    rng = np.random.default_rng(seed)
    arrays: list[list[Floats]] = []
    for layer, shape in network.with_shapes():
        channels = shape[-1]
        match layer:
            case Conv(size) | Dense(size):
                window = (3, 3) if isinstance(layer, Conv) else ()
                limit = np.sqrt(6 / (np.prod(window) * (channels + size)))
                kernel = rng.uniform(-limit, limit, (*window, channels, size)).astype(np.float32)
                arrays.append([kernel, np.zeros(size, np.float32)])
            case Norm():
                arrays.append([np.full(channels, value, np.float32) for value in (1, 0, 0, 1)])
            case _:
                arrays.append([])
    return arrays


def keras_model(keras: Any, network: Network, values: list[list[Floats]] | None = None) -> Any:
    """The network built with `keras`: Keras itself, or fastcnn. With `values`, it gets these weights."""
    layers = keras.layers

    def built(layer: Layer) -> Any:
        match layer:
            case Conv(filters, activation):
                return layers.Conv2D(filters, (3, 3), activation=activation)
            case Norm():
                return layers.BatchNormalization()
            case Relu():
                return layers.Activation("relu")
            case Pool():
                return layers.MaxPooling2D((2, 2))
            case Flatten():
                return layers.Flatten()
            case Dropout(rate):
                return layers.Dropout(rate)
            case Dense(units, activation):
                return layers.Dense(units, activation=activation)

    model = keras.Sequential([keras.Input(network.input_shape), *map(built, network.layers)])
    if values is not None:
        model.set_weights([array for arrays in values for array in arrays])
    return model


def random_images(shape: tuple[int, int, int], samples: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Images of uniform noise and labels of 0 and 1."""
    rng = np.random.default_rng(seed)
    return rng.random((samples, *shape), np.float32), rng.integers(0, 2, samples).astype(np.float32)


def mission_images(samples: int) -> tuple[Floats, Floats, str]:
    """Data of the mission's task, class >= 5 of Fashion-MNIST, where that is on this machine; else random images.

    Args:
        samples: How many; more than the data set's 60,000 repeat it.

    Returns:
        Images (samples, 28, 28, 1) from 0 to 1, labels (samples,) of 0 and 1, and a sentence that says what they are.
    """
    found = fashion_mnist()
    if found is None:
        return *random_images((28, 28, 1), samples), "random images (Fashion-MNIST is not on this machine)"
    (pictures, labels), _ = found
    rows = np.arange(samples) % len(pictures)
    x = (pictures[rows, :, :, None] / np.float32(255)).astype(np.float32)
    y = (labels[rows] >= 5).astype(np.float32)
    return x, y, "Fashion-MNIST, class >= 5"


def fashion_mnist() -> Any:
    """Fashion-MNIST as its loader returns it, or None where it would have to be downloaded."""
    from fastcnn.datasets import _places
    from fastcnn.datasets import fashion_mnist as dataset

    if _places.find("fashion_mnist", "fashion-mnist", list(dataset._SHA256)) is None:
        return None
    return dataset.load_data()
