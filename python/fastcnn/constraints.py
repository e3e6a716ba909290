"""Constraints: what weights are made to be after each step. https://keras.io/api/layers/constraints/"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import config
from fastcnn._identifiers import Registry
from fastcnn._lazy import nothing_called

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

Axis = int | Sequence[int]


class Constraint:
    """Base of the constraints. A subclass overrides `__call__`, and `get_config` where it takes arguments.

    Subclasses in Python run after each step, between native phases; the constraints of this module run natively.

    Example:
        >>> import numpy as np
        >>> class AtMostOne(Constraint):
        ...     def __call__(self, w):
        ...         return np.minimum(w, 1.0)
        >>> AtMostOne()(np.array([0.5, 2.0])).tolist()
        [0.5, 1.0]

    See https://keras.io/api/layers/constraints/#creating-custom-weight-constraints
    """

    def __call__(self, w: Any) -> Any:
        """Returns what weights `w`, any shape, are to be; `w` itself here."""
        return w

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Constraint:
        """Returns the constraint that `get_config` described."""
        return cls(**config)

    def _native(self, rank: int) -> dict[str, Any] | None:
        """What the native trainer takes for weights of so many axes; None: `__call__` is called."""
        return None


class _Norm(Constraint):
    """w * (rate * clip(n, minimum, maximum) + (1 - rate) * n) / (n + epsilon), n the L2 norm over `axis`."""

    axis: Axis

    def _limits(self) -> tuple[float, float, float]:
        """minimum, maximum, rate"""
        raise NotImplementedError

    def __call__(self, w: ArrayLike) -> NDArray[np.float32]:
        weights = np.asarray(w, np.float32)
        axis = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        minimum, maximum, rate = self._limits()
        norms = np.sqrt(np.sum(np.square(weights, dtype=np.float64), axis=axis, keepdims=True))
        wanted = rate * np.clip(norms, minimum, maximum) + (1.0 - rate) * norms
        found: NDArray[np.float32] = (weights * (wanted / (norms + config.epsilon()))).astype(np.float32)
        return found

    def _native(self, rank: int) -> dict[str, Any] | None:
        if type(self).__call__ is not _Norm.__call__:
            return None
        given = (self.axis,) if isinstance(self.axis, int) else tuple(self.axis)
        if any(not -rank <= axis < rank for axis in given):
            raise ValueError(
                f"{type(self).__name__}: axis: expected axes of weights with {rank} of them, received {self.axis!r}"
            )
        minimum, maximum, rate = self._limits()
        return {
            "kind": "norm",
            "minimum": minimum,
            "maximum": maximum,
            "rate": rate,
            "epsilon": config.epsilon(),
            "axes": sorted({axis % rank for axis in given}),
        }


class MaxNorm(_Norm):
    """Weights whose norm is above a limit are scaled down to it.

    Args:
        max_value: the limit.
        axis: axis or axes over which norms are taken: 0 for each unit of a Dense kernel (inputs, units), [0, 1, 2] for each
            filter of a Conv2D kernel (height, width, channels, filters).

    Example:
        >>> MaxNorm(1.0)([[3.0], [4.0]]).round(3).tolist()
        [[0.6000000238418579], [0.800000011920929]]

    See https://keras.io/api/layers/constraints/#maxnorm-class
    """

    def __init__(self, max_value: float = 2, axis: Axis = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def _limits(self) -> tuple[float, float, float]:
        return 0.0, float(self.max_value), 1.0

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class MinMaxNorm(_Norm):
    """Weights whose norm is outside of limits are scaled to them.

    Args:
        min_value: the lower limit.
        max_value: the upper limit.
        rate: share of the way to the limit that a step goes; 1: all of it.
        axis: as for `MaxNorm`.

    Example:
        >>> MinMaxNorm(1.0, 2.0)([[0.0], [0.5]]).round(3).tolist()
        [[0.0], [1.0]]

    See https://keras.io/api/layers/constraints/#minmaxnorm-class
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def _limits(self) -> tuple[float, float, float]:
        return float(self.min_value), float(self.max_value), float(self.rate)

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


class UnitNorm(_Norm):
    """Weights are scaled to norm 1.

    Args:
        axis: as for `MaxNorm`.

    Example:
        >>> UnitNorm()([[0.0], [0.5]]).round(3).tolist()
        [[0.0], [1.0]]

    See https://keras.io/api/layers/constraints/#unitnorm-class
    """

    def __init__(self, axis: Axis = 0) -> None:
        self.axis = axis

    def _limits(self) -> tuple[float, float, float]:
        return 1.0, 1.0, 1.0

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class NonNeg(Constraint):
    """Weights below zero become zero.

    Example:
        >>> NonNeg()([-1.0, 2.0]).tolist()
        [0.0, 2.0]

    See https://keras.io/api/layers/constraints/#nonneg-class
    """

    def __call__(self, w: ArrayLike) -> NDArray[np.float32]:
        weights = np.asarray(w, np.float32)
        return np.where(weights < 0, np.float32(0), weights)

    def _native(self, rank: int) -> dict[str, Any] | None:
        return {"kind": "non_negative"} if type(self).__call__ is NonNeg.__call__ else None


# Keras's other spellings of the classes.
max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm

_registry = Registry(
    "constraints",
    "constraint",
    {
        "MaxNorm": MaxNorm,
        "max_norm": MaxNorm,
        "MinMaxNorm": MinMaxNorm,
        "min_max_norm": MinMaxNorm,
        "NonNeg": NonNeg,
        "non_neg": NonNeg,
        "UnitNorm": UnitNorm,
        "unit_norm": UnitNorm,
        "Constraint": Constraint,
        "constraint": Constraint,
    },
    shown=("max_norm", "min_max_norm", "non_neg", "unit_norm"),
)


def get(identifier: Any) -> Callable[[Any], Any] | None:
    """Returns the constraint for a name, a config, a class, a function, an object or None.

    Raises:
        ValueError: an unknown name, or something that cannot be called.

    Example:
        >>> get("max_norm").get_config()
        {'max_value': 2, 'axis': 0}
    """
    if identifier is None:
        return None
    if callable(identifier) and not isinstance(identifier, type):
        found: Callable[[Any], Any] = identifier
        return found
    constraint: Callable[[Any], Any] = _registry.get(identifier)
    return constraint


def serialize(constraint: Constraint) -> dict[str, Any]:
    """Returns the constraint's config.

    >>> serialize(MaxNorm(3))["config"]
    {'max_value': 3, 'axis': 0}
    """
    return _registry.serialize(constraint)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Constraint:
    """Returns the constraint that `serialize` described.

    >>> deserialize({"class_name": "NonNeg", "config": {}})([-1.0]).tolist()
    [0.0]
    """
    constraint: Constraint = _registry.deserialize(config, custom_objects)
    return constraint


class HostConstraint:
    """A constraint written in Python, as the native trainer calls it."""

    def __init__(self, constraint: Callable[[Any], Any], path: str) -> None:
        self._constraint, self._path = constraint, path

    def _host_constrain(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.asarray(self._constraint(values))
        if found.shape != values.shape or found.dtype.kind not in "biuf":
            name = getattr(self._constraint, "__name__", type(self._constraint).__name__)
            raise ValueError(
                f"{name}: result: expected real numbers of shape {values.shape} for {self._path}, received "
                f"{found.dtype} of shape {found.shape}"
            )
        return np.ascontiguousarray(found, np.float32).reshape(values.shape)


def native(variable: Any) -> Any:
    """What the native trainer takes for a variable's constraint."""
    constraint = variable.constraint
    if constraint is None:
        return None
    described = constraint._native(len(variable.shape)) if isinstance(constraint, Constraint) else None
    return HostConstraint(constraint, variable.path) if described is None else described


__getattr__ = nothing_called(__name__, __all__)
