"""Hinge losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn.losses.functions import Float, pair, row_losses
from fastcnn.losses.native import NativeLoss


def as_signs(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels 0 and 1 as -1 and 1; others as they are.

    >>> as_signs(np.array([0, 1])), as_signs(np.array([-1, 1]))
    (array([-1,  1]), array([-1,  1]))
    """
    return 2 * labels - 1 if np.isin(labels, (0, 1)).all() else labels


class _SignedLoss(NativeLoss):
    def _operands(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], Float]:
        target, prediction = pair(self._kind, y_true, y_pred)
        return as_signs(target), prediction


def hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of max(1 - y_true * y_pred, 0) over the last axis.

    Args:
        y_true: labels -1 and 1, or 0 and 1 (which are taken for -1 and 1), (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> hinge([[0, 1]], [[0.6, 0.4]])
        array([1.1], dtype=float32)

    See https://keras.io/api/losses/hinge_losses/#hinge-function
    """
    return row_losses("hinge", as_signs(np.asarray(y_true)), y_pred)


class Hinge(_SignedLoss):
    """Mean of max(1 - y_true * y_pred, 0) of labels -1 and 1, or 0 and 1.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(Hinge()([[0, 1]], [[0.6, 0.4]]), 4)
        1.1

    See https://keras.io/api/losses/hinge_losses/#hinge-class
    """

    function = staticmethod(hinge)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def squared_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of max(1 - y_true * y_pred, 0)^2 over the last axis.

    Args:
        y_true: labels -1 and 1, or 0 and 1 (which are taken for -1 and 1), (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> squared_hinge([[0, 1]], [[0.6, 0.4]])
        array([1.46], dtype=float32)

    See https://keras.io/api/losses/hinge_losses/#squaredhinge-function
    """
    return row_losses("squared_hinge", as_signs(np.asarray(y_true)), y_pred)


class SquaredHinge(_SignedLoss):
    """Mean of max(1 - y_true * y_pred, 0)^2 of labels -1 and 1, or 0 and 1.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(SquaredHinge()([[0, 1]], [[0.6, 0.4]]), 4)
        1.46

    See https://keras.io/api/losses/hinge_losses/#squaredhinge-class
    """

    function = staticmethod(squared_hinge)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "squared_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def categorical_hinge(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns max(0, max((1 - y_true) * y_pred) - sum(y_true * y_pred) + 1) over the classes.

    Args:
        y_true: one-hot labels, (batch, ..., classes).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> categorical_hinge([[0, 1]], [[0.6, 0.4]])
        array([1.2], dtype=float32)

    See https://keras.io/api/losses/hinge_losses/#categoricalhinge-function
    """
    return row_losses("categorical_hinge", y_true, y_pred)


class CategoricalHinge(NativeLoss):
    """Mean of max(0, max((1 - y_true) * y_pred) - sum(y_true * y_pred) + 1).

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(CategoricalHinge()([[0, 1]], [[0.6, 0.4]]), 4)
        1.2

    See https://keras.io/api/losses/hinge_losses/#categoricalhinge-class
    """

    function = staticmethod(categorical_hinge)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_hinge",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
