"""The base of the metrics, and the variables of metrics written in Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastcnn import initializers
from fastcnn._naming import auto_name


class MetricVariable(NDArrayOperatorsMixin):
    """What `Metric.add_weight` returns: a number or array to sum up in. It works in formulas as an array does."""

    def __init__(self, value: NDArray[Any], name: str) -> None:
        self._value = value
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape; () for a number."""
        return self._value.shape

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return str(self._value.dtype)

    @property
    def value(self) -> NDArray[Any]:
        """The numbers, read-only."""
        view = self._value.view()
        view.flags.writeable = False
        return view

    def numpy(self) -> NDArray[Any]:
        """Returns a copy of the numbers."""
        return self._value.copy()

    def assign(self, value: ArrayLike) -> None:
        """Sets the numbers."""
        self._value[...] = value

    def assign_add(self, value: ArrayLike) -> None:
        """Adds to the numbers."""
        self._value += np.asarray(value, self._value.dtype)

    def assign_sub(self, value: ArrayLike) -> None:
        """Takes from the numbers."""
        self._value -= np.asarray(value, self._value.dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self._value, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        values = [x._value if isinstance(x, MetricVariable) else x for x in inputs]
        return getattr(ufunc, method)(*values, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __len__(self) -> int:
        return len(self._value)

    def __float__(self) -> float:
        return float(self._value)

    def __repr__(self) -> str:
        return f"<MetricVariable {self.name} {self._value!r}>"


class Metric:
    """Base of the metrics. A subclass overrides `update_state` and `result`.

    Args:
        dtype: kept for Keras's sake; built-in metrics sum in float64.
        name: the metric's name in logs.

    Example:
        >>> class Positives(Metric):
        ...     def __init__(self, name="positives"):
        ...         super().__init__(name=name)
        ...         self.count = self.add_weight(name="count", initializer="zeros")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         self.count.assign_add((y_pred > 0.5).sum())
        ...     def result(self):
        ...         return self.count
        >>> metric = Positives()
        >>> metric.update_state(None, np.array([0.2, 0.7, 0.9]))
        >>> float(metric.result())
        2.0

    See https://keras.io/api/metrics/base_metric/
    """

    # Whether more is better: what callbacks with mode="auto" ask.
    _direction: Literal["up", "down"] | None = None
    # Attributes that sum up what the batches brought.
    _sums: tuple[str, ...] = ()

    def __init__(self, dtype: str | None = None, name: str | None = None) -> None:
        self.name = name or auto_name(type(self).__name__)
        self.dtype = dtype or "float32"
        self._variables: list[MetricVariable] = []

    def add_variable(
        self,
        shape: tuple[int, ...] = (),
        initializer: Any = None,
        dtype: str | None = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> MetricVariable:
        """Returns a new variable of the metric, which `reset_state` sets to 0.

        Args:
            shape: its shape; () for a number.
            initializer: its first value, 0 by default.
            dtype: its dtype, the metric's by default.
            aggregation: kept for Keras's sake.
            name: its name.
        """
        if not hasattr(self, "_variables"):
            raise RuntimeError(f"{type(self).__name__}: __init__: expected a call of super().__init__() first")
        make = initializers.get(initializer if initializer is not None else "zeros")
        assert make is not None
        value = np.array(make(tuple(shape), dtype=dtype or self.dtype))
        variable = MetricVariable(value, name or f"variable_{len(self._variables)}")
        self._variables.append(variable)
        return variable

    def add_weight(
        self,
        shape: tuple[int, ...] = (),
        initializer: Any = None,
        dtype: str | None = None,
        name: str | None = None,
    ) -> MetricVariable:
        """The same as `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[MetricVariable]:
        """The variables made by `add_weight`."""
        return list(self._variables)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Takes in one batch: (y_true, y_pred, sample_weight=None) for metrics of models."""
        raise NotImplementedError(f"{type(self).__name__}: update_state: expected to be overridden")

    def result(self) -> Any:
        """Returns the metric of all batches since `reset_state`."""
        raise NotImplementedError(f"{type(self).__name__}: result: expected to be overridden")

    def reset_state(self) -> None:
        """Forgets all batches."""
        for variable in self._variables:
            variable.assign(0)

    def merge_state(self, metrics: Iterable[Metric]) -> None:
        """Takes over the batches of other metrics of the same class and settings; their states stay as they are.

        Args:
            metrics: the other metrics.

        Raises:
            ValueError: one of another class, or whose state has another shape.

        Example:
            >>> from fastcnn.metrics import Mean
            >>> first, second = Mean(), Mean()
            >>> first.update_state([1, 2])
            >>> second.update_state([6])
            >>> first.merge_state([second])
            >>> first.result()
            3.0
        """
        others = list(metrics)
        for other in others:
            if type(other) is not type(self):
                raise ValueError(
                    f"{self.name}: merge_state: expected metrics of {type(self).__name__}, received {other!r}"
                )
        for other in others:
            self._merge(other)

    def _merge(self, other: Any) -> None:
        for name in self._sums:
            ours, theirs = getattr(self, name), getattr(other, name)
            # A state whose shape the first batch decides is None, or of fewer axes, before it.
            if theirs is None or np.ndim(theirs) < np.ndim(ours):
                continue
            if ours is not None and np.ndim(ours) == np.ndim(theirs):
                if np.shape(ours) != np.shape(theirs):
                    raise ValueError(
                        f"{self.name}: merge_state: expected a state of shape {np.shape(ours)}, received "
                        f"{np.shape(theirs)}"
                    )
                theirs = ours + theirs
            setattr(self, name, theirs.copy() if isinstance(theirs, np.ndarray) else theirs)
        for ours, theirs in zip(self._variables, other._variables, strict=True):
            ours.assign_add(theirs.value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Takes in one batch and returns the result so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def native(self) -> dict[str, Any] | None:
        """Returns the description that the native trainer takes, or None for a metric computed in Python."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Metric:
        """Returns the metric that `get_config` described, without its batches."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"
