"""Penalties on weights, added to the loss. https://keras.io/api/layers/regularizers/"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import config
from fastcnn._identifiers import Registry
from fastcnn._lazy import nothing_called

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


def _factor(regularizer: str, name: str, value: Any, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{regularizer}: {name}: expected a finite number >= 0, received {value!r}")
    return float(value)


class Regularizer:
    """Base of the penalties: l1 * sum |x| + l2 * sum x^2, computed natively while training.

    A penalty of one's own overrides `__call__` and `gradient`, which then run once a step, between native phases; and
    `get_config` where it takes arguments.

    Attributes:
        l1: factor of the absolute values.
        l2: factor of the squares.

    Example:
        >>> class Fourth(Regularizer):
        ...     def __call__(self, x):
        ...         return float(np.sum(np.asarray(x) ** 4))
        ...     def gradient(self, x):
        ...         return 4 * np.asarray(x) ** 3
        >>> Fourth()(np.array([1.0, 2.0]))
        17.0

    See https://keras.io/api/layers/regularizers/#creating-custom-regularizers
    """

    l1: float = 0.0
    l2: float = 0.0

    def __call__(self, x: ArrayLike) -> float:
        """Returns the penalty of the weights `x`, any shape."""
        values = np.asarray(x, dtype=np.float64)
        penalty = 0.0
        if self.l1:
            penalty += self.l1 * float(np.abs(values).sum())
        if self.l2:
            penalty += self.l2 * float(np.square(values).sum())
        return penalty

    def gradient(self, x: ArrayLike) -> Any:
        """Returns the penalty's gradient, an array of the shape of `x`."""
        if not self._is_native():
            raise NotImplementedError(
                f"{type(self).__name__}: gradient: expected to be overridden beside __call__: it returns the penalty's gradient"
            )
        values = np.asarray(x, dtype=np.float64)
        return self.l1 * np.sign(values) + 2.0 * self.l2 * values

    def _is_native(self) -> bool:
        return type(self).__call__ is Regularizer.__call__

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        """Returns the regularizer that `get_config` described."""
        return cls(**config)


class HostPenalty:
    """A penalty written in Python, as the native trainer calls it.

    Raises:
        ValueError: the regularizer has no `gradient` of its own.
    """

    def __init__(self, regularizer: Regularizer, path: str) -> None:
        self._regularizer, self._path = regularizer, path
        self._name = type(regularizer).__name__
        if type(regularizer).gradient is Regularizer.gradient:
            raise ValueError(
                f"{self._name}: gradient: expected a method gradient(x) beside __call__(x), which returns the penalty's "
                "gradient by the weights, received none"
            )

    def _host_penalty(self, values: NDArray[np.float32], wants_gradient: bool) -> tuple[float, Any]:
        penalty = np.asarray(self._regularizer(values))
        if penalty.shape != () or penalty.dtype.kind not in "biuf":
            raise ValueError(f"{self._name}: result: expected a number for {self._path}, received {penalty!r}")
        if not wants_gradient:
            return float(penalty), None
        gradient = np.asarray(self._regularizer.gradient(values))
        if gradient.shape != values.shape or gradient.dtype.kind not in "biuf":
            raise ValueError(
                f"{self._name}: gradient: expected real numbers of shape {values.shape} for {self._path}, received "
                f"{gradient.dtype} of shape {gradient.shape}"
            )
        return float(penalty), np.ascontiguousarray(gradient, np.float32).reshape(values.shape)


class L1L2(Regularizer):
    """l1 * sum |x| + l2 * sum x^2.

    Args:
        l1: factor of the absolute values, >= 0.
        l2: factor of the squares, >= 0.

    Raises:
        ValueError: a factor is negative or not finite.

    Example:
        >>> L1L2(l1=0.5, l2=2.0)([1.0, -2.0])
        11.5

    See https://keras.io/api/layers/regularizers/#l1l2-class
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _factor("L1L2", "l1", l1, 0.0)
        self.l2 = _factor("L1L2", "l2", l2, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """l1 * sum |x|.

    Args:
        l1: the factor, >= 0.

    Raises:
        ValueError: the factor is negative or not finite.

    Example:
        >>> L1(0.5)([1.0, -2.0])
        1.5

    See https://keras.io/api/layers/regularizers/#l1-class
    """

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _factor("L1", "l1", l1, 0.01)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(Regularizer):
    """l2 * sum x^2.

    Args:
        l2: the factor, >= 0.

    Raises:
        ValueError: the factor is negative or not finite.

    Example:
        >>> L2(0.5)([1.0, -2.0])
        2.5

    See https://keras.io/api/layers/regularizers/#l2-class
    """

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _factor("L2", "l2", l2, 0.01)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """Makes the rows, or the columns, of a matrix orthogonal to each other.

    factor * the mean, over pairs of rows, of the size of their cosine.

    Args:
        factor: >= 0.
        mode: "rows" or "columns".

    Raises:
        ValueError: another mode or factor; weights that are no matrix.

    Example:
        >>> round(OrthogonalRegularizer(0.5)([[1.0, 1.0], [0.0, 2.0]]), 4)
        0.3536

    See https://keras.io/api/layers/regularizers/#orthogonalregularizer-class
    """

    def __init__(self, factor: float | None = 0.01, mode: str = "rows") -> None:
        self.factor = _factor("OrthogonalRegularizer", "factor", factor, 0.01)
        if mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer: mode: expected 'rows' or 'columns', received {mode!r}")
        self.mode = mode

    def __call__(self, x: ArrayLike) -> float:
        _, cosines, _, scale = self._cosines(x)
        return scale * float(np.abs(cosines).sum())

    def gradient(self, x: ArrayLike) -> NDArray[np.float64]:
        """Returns the penalty's gradient, an array of the shape of `x`."""
        rows, cosines, norms, scale = self._cosines(x)
        by_rows = 2.0 * scale * np.sign(cosines) @ rows
        found: NDArray[np.float64] = (by_rows - (by_rows * rows).sum(axis=1, keepdims=True) * rows) / norms
        return found if self.mode == "rows" else found.T

    def _cosines(self, x: ArrayLike) -> tuple[Any, Any, Any, float]:
        """Unit rows, their products with each other without their own, the rows' norms, the factor of a product."""
        values = np.asarray(x, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer: x: expected weights of two axes, received shape {values.shape}")
        values = values if self.mode == "rows" else values.T
        norms = np.maximum(np.sqrt(np.square(values).sum(axis=1, keepdims=True)), config.epsilon())
        rows = values / norms
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, 0.0)
        pairs = len(rows) * (len(rows) - 1) / 2
        return rows, cosines, norms, self.factor * 0.5 / pairs if pairs else 0.0

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


# Keras's other spellings of the classes.
l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer

_registry = Registry(
    "regularizers",
    "regularizer",
    {
        "L1": L1,
        "l1": L1,
        "L2": L2,
        "l2": L2,
        "L1L2": L1L2,
        "l1l2": L1L2,
        "l1_l2": L1L2,
        "OrthogonalRegularizer": OrthogonalRegularizer,
        "orthogonal_regularizer": OrthogonalRegularizer,
    },
    shown=("l1", "l2", "l1_l2", "orthogonal_regularizer"),
)


def get(identifier: Any) -> Regularizer | None:
    """Returns the regularizer for a name, a config, a class, an object or None.

    Raises:
        ValueError: an unknown name, or something that is no `Regularizer`.

    Example:
        >>> get("l2").get_config()
        {'l2': 0.01}
    """
    if identifier is None:
        return None
    regularizer = _registry.get(identifier)
    if not isinstance(regularizer, Regularizer):
        raise _registry.not_understood(identifier)
    return regularizer


def serialize(regularizer: Regularizer) -> dict[str, Any]:
    """Returns the regularizer's config.

    >>> serialize(L2(0.5))["config"]
    {'l2': 0.5}
    """
    return _registry.serialize(regularizer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Regularizer:
    """Returns the regularizer that `serialize` described.

    >>> deserialize({"class_name": "L2", "config": {"l2": 0.5}}).l2
    0.5
    """
    regularizer: Regularizer = _registry.deserialize(config, custom_objects)
    return regularizer


__getattr__ = nothing_called(__name__, __all__)
