"""Small data for the programs, as plain arrays."""

from __future__ import annotations

import numpy as np


def digits(train=600, test=200):
    """Handwritten digits of 8 x 8 pixels, 0 to 255: ((x_train, y_train), (x_test, y_test))."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8) * 15).astype("uint8")
    return (x[:train], y[:train].astype("uint8")), (x[-test:], y[-test:].astype("uint8"))


def large_digits(train=600, test=200):
    """The same on 16 x 16 pixels."""
    (x_train, y_train), (x_test, y_test) = digits(train, test)
    return (x_train.repeat(2, 1).repeat(2, 2), y_train), (x_test.repeat(2, 1).repeat(2, 2), y_test)


def coloured(count=400, size=16, classes=4, seed=0):
    """Pictures of bright squares whose colour and corner tell the class: (n, size, size, 3) 0 to 255, (n, 1) labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, (count, 1))
    x = rng.integers(0, 90, (count, size, size, 3))
    half = size // 2
    for picture, label in zip(x, y[:, 0]):
        row, column = divmod(int(label) % 4, 2)
        picture[row * half : (row + 1) * half, column * half : (column + 1) * half, label % 3] += 120
    return x.astype("uint8"), y


def waves(count=300, length=64, seed=0):
    """Slow and fast noisy oscillations: (n, length, 1), labels 0 and 1."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    time = np.linspace(0, 2 * np.pi, length)
    x = np.sin((2 + 4 * y[:, None]) * time + rng.uniform(0, 6, (count, 1))) + rng.normal(0, 0.3, (count, length))
    return x[..., None].astype("float32"), y


def frauds(count=2000, seed=0):
    """A table of 10 columns of which some rows, 4 in 100, are of class 1: (n, 10), (n, 1)."""
    rng = np.random.default_rng(seed)
    y = (rng.random((count, 1)) < 0.04).astype("uint8")
    x = rng.normal(size=(count, 10)) + 2.0 * y
    return x.astype("float32"), y
