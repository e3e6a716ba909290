"""Arrays of labels and values: one-hot, normalisation, matching ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float64]:
    """Returns class numbers as one-hot rows.

    Args:
        x: integers in [0, num_classes), any shape; a last axis of 1 is dropped when there are others.
        num_classes: length of a row; by default the largest class + 1.

    Returns:
        float64, `x`'s shape with `num_classes` appended.

    Raises:
        ValueError: a class lies outside of [0, num_classes), or `x` holds no numbers.

    Example:
        >>> to_categorical([0, 2, 1], num_classes=3)
        array([[1., 0., 0.],
               [0., 0., 1.],
               [0., 1., 0.]])

    See https://keras.io/api/utils/python_utils/#tocategorical-function
    """
    try:
        classes = np.asarray(x).astype(np.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"to_categorical: x: expected integers, received {type(x).__name__} ({error})") from error
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    if not num_classes:
        if classes.size == 0:
            raise ValueError("to_categorical: x: expected at least one class where num_classes is None, received none")
        num_classes = int(classes.max()) + 1
    if classes.size and (classes.min() < 0 or classes.max() >= num_classes):
        wrong = int(classes.min()) if classes.min() < 0 else int(classes.max())
        raise ValueError(f"to_categorical: x: expected classes in [0, {num_classes}), received {wrong}")
    rows = np.zeros((classes.size, num_classes))
    rows[np.arange(classes.size), classes.ravel()] = 1.0
    return rows.reshape(*classes.shape, num_classes)


def normalize(x: ArrayLike, axis: int = -1, order: int = 2) -> NDArray[Any]:
    """Returns `x` with every vector along `axis` scaled to a norm of 1; zero vectors stay.

    Args:
        x: numbers, rank 1 at least.
        axis: the axis of the vectors.
        order: the norm's order, 2 for the Euclidean norm.

    Returns:
        An array of `x`'s shape.

    Example:
        >>> normalize([[3.0, 4.0], [0.0, 0.0]])
        array([[0.6, 0.8],
               [0. , 0. ]])

    See https://keras.io/api/utils/python_utils/#normalize-function
    """
    values = np.asarray(x)
    norm = np.linalg.norm(values, order, axis, keepdims=True)
    result: NDArray[Any] = values / np.where(norm == 0, 1, norm)
    return result


def match_ranks(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns views of equal rank where the ranks differ by a last axis of 1 only, as Keras for labels.

    (n,) beside (n, 1) becomes (n, 1); otherwise the longer one loses its last axis of 1. Other pairs stay as they are.

    >>> [v.shape for v in match_ranks(np.zeros(3), np.zeros((3, 1)))]
    [(3, 1), (3, 1)]
    >>> [v.shape for v in match_ranks(np.zeros((3, 4, 1)), np.zeros((3, 4)))]
    [(3, 4), (3, 4)]
    """
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[:, None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[:, None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b
