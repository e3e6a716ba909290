"""The README's network and its data: the same weights and images for every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LEARNING_RATE = 1e-3
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}  # Keras's defaults

# Kernel and bias of each layer with weights, in Keras's layouts.
SHAPES = {
    "conv1": (3, 3, 1, 32),
    "conv2": (3, 3, 32, 64),
    "conv3": (3, 3, 64, 64),
    "dense1": (576, 64),
    "dense2": (64, 1),
}


def weights(seed: int = 0) -> list[Floats]:
    """Glorot-uniform kernels and zero biases, in the order of Keras's `get_weights`."""
    rng = np.random.default_rng(seed)
    arrays = []
    for shape in SHAPES.values():
        receptive = int(np.prod(shape[:-2]))
        limit = np.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
        arrays += [rng.uniform(-limit, limit, shape).astype(np.float32), np.zeros(shape[-1], np.float32)]
    return arrays


def keras_model(keras: Any) -> Any:
    """The network built with `keras`: Keras itself, or fastcnn."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
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


def images(samples: int, seed: int = 0) -> tuple[Floats, Floats, str]:
    """Training data of the mission's task, class >= 5 of Fashion-MNIST, where that is on this machine; else random images.

    Args:
        samples: How many; more than the data set's 60,000 repeat it.
        seed: For the random images.

    Returns:
        Images (samples, 28, 28, 1) from 0 to 1, labels (samples,) of 0 and 1, and a sentence that says what they are.
    """
    found = fashion_mnist()
    if found is None:
        rng = np.random.default_rng(seed)
        x = rng.random((samples, 28, 28, 1), np.float32)
        y = rng.integers(0, 2, samples).astype(np.float32)
        return x, y, "random images (Fashion-MNIST is not on this machine)"
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
