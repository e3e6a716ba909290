"""Resizing of one image, with the methods and positions of Keras's `ops.image.resize` without antialiasing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _cubic(b: float, c: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The family of Mitchell and Netravali (1988)."""

    def kernel(x: NDArray[Any]) -> NDArray[Any]:
        near = ((12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + (6 - 2 * b)) / 6
        far = ((-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + (8 * b + 24 * c)) / 6
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return kernel


def _lanczos(radius: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda x: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0.0)


# name -> (radius in pixels of the input, weight at a distance)
_KERNELS: dict[str, tuple[float, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "bilinear": (1.0, lambda x: np.maximum(1.0 - x, 0.0)),
    "bicubic": (2.0, _cubic(0.0, 0.5)),
    "mitchellcubic": (2.0, _cubic(1 / 3, 1 / 3)),
    "lanczos3": (3.0, _lanczos(3.0)),
    "lanczos5": (5.0, _lanczos(5.0)),
    "gaussian": (1.5, lambda x: np.where(x < 1.5, np.exp(-2.0 * x**2), 0.0)),
}
_BLURRING = ("mitchellcubic", "gaussian")  # change an image at its own positions too
METHODS = (
    "bilinear",
    "nearest",
    "bicubic",
    "area",
    *(name for name in _KERNELS if name not in ("bilinear", "bicubic")),
)


def taps(method: str, size: int, target: int, antialias: bool = False) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """What each position of an axis is made of when the axis gets another length.

    Args:
        method: one of `METHODS`.
        size, target: the axis's length before and after.
        antialias: whether a shorter axis averages over all that a position covers; "nearest" and "area" stay as they are.

    Returns:
        The positions before, and their weights: both (target, as many as any has). Weights of 0 belong to no position.

    Example:
        >>> index, weight = taps("bilinear", 2, 4)
        >>> index.tolist(), weight.tolist()
        ([[0, 0], [0, 1], [0, 1], [1, 1]], [[0.0, 1.0], [0.75, 0.25], [0.25, 0.75], [1.0, 0.0]])
    """
    scale = size / target
    at = np.arange(target)
    if method == "nearest":
        return np.minimum(((at + 0.5) * scale).astype(np.intp), size - 1)[:, None], np.ones((target, 1))
    if method == "area":  # how much of an input pixel an output pixel covers
        begin, end = at * scale, (at + 1) * scale
        index = np.floor(begin).astype(np.intp)[:, None] + np.arange(math.ceil(scale) + 1)
        weight = np.minimum(index + 1, end[:, None]) - np.maximum(index, begin[:, None])
        weight = np.where(index < size, np.maximum(weight, 0.0), 0.0)
    else:
        radius, kernel = _KERNELS[method]
        stretch = max(scale, 1.0) if antialias else 1.0
        radius *= stretch
        center = (at + 0.5) * scale
        index = np.floor(center - radius + 0.5).astype(np.intp)[:, None] + np.arange(math.ceil(2 * radius))
        distance = np.abs(index + 0.5 - center[:, None]) / stretch
        weight = np.where((index >= 0) & (index < size), kernel(distance), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(index, 0, size - 1), weight


@lru_cache(maxsize=64)
def _taps(method: str, size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    index, weight = taps(method, size, target)
    return index, weight.astype(np.float32)


def resize(image: NDArray[Any], height: int, width: int, method: str = "bilinear") -> NDArray[np.float32]:
    """The image at another size.

    Args:
        image: (height, width, channels), any real dtype.
        height, width: the new size.
        method: one of `METHODS`.

    Returns:
        (height, width, channels) float32.

    Example:
        >>> resize(np.array([[[0.0], [1.0]]]), 1, 4)[0, :, 0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image, dtype=np.float32)
    result = image
    # Along the axis first that leaves less to do along the other one.
    axes = ((0, height), (1, width))
    for axis, target in sorted(axes, key=lambda entry: entry[1] / image.shape[entry[0]]):
        if target == image.shape[axis] and method not in _BLURRING:
            continue
        index, weight = _taps(method, image.shape[axis], target)
        shape = [1, 1, 1]
        shape[axis] = target
        parts = (result.take(taps, axis=axis) * factors.reshape(shape) for taps, factors in zip(index.T, weight.T))
        total = next(parts)
        for part in parts:
            total += part
        result = total
    return np.ascontiguousarray(result, dtype=np.float32)


def crop_box(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest part in the middle that has the target's proportions."""
    crop_height = max(min(height, int(width * target_height / target_width)), 1)
    crop_width = max(min(width, int(height * target_width / target_height)), 1)
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def fit_image(
    image: NDArray[Any], size: tuple[int, int], method: str, crop: bool = False, pad: bool = False
) -> NDArray[np.float32]:
    """The image at `size`: stretched, or with its proportions kept by cropping it or by padding it with zeros.

    >>> fit_image(np.ones((2, 4, 1)), (2, 2), "nearest", pad=True)[:, :, 0].tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    height, width = image.shape[:2]
    if crop:
        top, left, crop_height, crop_width = crop_box(height, width, *size)
        image = image[top : top + crop_height, left : left + crop_width]
    elif pad:
        ratio = max(height / size[0], width / size[1])
        inner = max(int(height / ratio), 1), max(int(width / ratio), 1)
        padded = np.zeros((*size, image.shape[2]), np.float32)
        top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        padded[top : top + inner[0], left : left + inner[1]] = resize(image, *inner, method)
        return padded
    return resize(image, *size, method)
