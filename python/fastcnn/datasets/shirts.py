"""T-shirts against shirts: two hard-to-tell classes of Fashion-MNIST, bundled with the package.

The first 2,400 images of either class in Fashion-MNIST's training file and the first 600 in its test file, in the
files' order. Made by ``tools/make_shirts.py``; Zalando SE's licence is beside the data.
"""

from __future__ import annotations

from pathlib import Path

from fastcnn.datasets import _formats

__all__ = ["CLASS_NAMES", "load_data"]

CLASS_NAMES = ("T-shirt/top", "Shirt")


def load_data() -> _formats.Arrays:
    """Loads the bundled data set: 2,400 training and 600 test images, about half of them shirts. Needs no network.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: images uint8 (n, 28, 28), 0 to 255; labels uint8 (n,), 0 for a T-shirt
        or top and 1 for a shirt.

    Example:
        >>> from fastcnn.datasets import shirts
        >>> (x_train, y_train), (x_test, y_test) = shirts.load_data()
        >>> x_test.shape, x_test.dtype.name, int(y_test.sum())
        ((600, 28, 28), 'uint8', 298)

    Reference: https://github.com/zalandoresearch/fashion-mnist
    """
    path = Path(__file__).with_name("shirts.npz")
    return _formats.check_pairs(path, _formats.read_npz(path))
