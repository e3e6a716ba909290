"""Penalties on weights, added to the loss. https://keras.io/api/layers/regularizers/"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastcnn._identifiers import Registry


def _factor(regularizer: str, name: str, value: Any, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{regularizer}: {name}: expected a finite number >= 0, received {value!r}")
    return float(value)


class Regularizer:
    """Base of the penalties: l1 * sum |x| + l2 * sum x^2, computed natively while training.

    Attributes:
        l1: factor of the absolute values.
        l2: factor of the squares.
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

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Regularizer:
        """Returns the regularizer that `get_config` described."""
        return cls(**config)


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


# Keras's other spellings of the classes.
l1 = L1
l2 = L2
l1_l2 = L1L2

_registry = Registry(
    "regularizers",
    "regularizer",
    {"L1": L1, "l1": L1, "L2": L2, "l2": L2, "L1L2": L1L2, "l1l2": L1L2, "l1_l2": L1L2},
    shown=("l1", "l2", "l1_l2"),
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
