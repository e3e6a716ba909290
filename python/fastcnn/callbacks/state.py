"""The state of callbacks and of an epoch that runs, as plain data and arrays: what a backup holds besides the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn.callbacks.callback import Callback

Arrays = dict[str, NDArray[Any]]
_NUMBERS = ("float32", "float64", "int64")


def named(callbacks: Sequence[Any]) -> Iterator[tuple[str, Callback]]:
    """The callbacks with the name that each has in a backup: its class's, and its number among those."""
    counts: Counter[str] = Counter()
    for callback in callbacks:
        if isinstance(callback, Callback):
            kind = type(callback).__name__
            counts[kind] += 1
            yield f"{kind}_{counts[kind]}", callback


def of_callbacks(callbacks: Sequence[Any], arrays: Arrays) -> dict[str, Any]:
    """Their states; lists of arrays go to `arrays`."""
    found: dict[str, Any] = {}
    for name, callback in named(callbacks):
        state = callback._get_state()
        for key, value in state.items():
            if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
                arrays |= {f"callbacks/{name}/{key}/{i}": array for i, array in enumerate(value)}
                state[key] = {"arrays": len(value)}
        if state:
            found[name] = state
    return found


def restore_callbacks(callbacks: Sequence[Any], states: Mapping[str, Any], arrays: Arrays) -> None:
    """Gives callbacks the states of those of the same names."""
    for name, callback in named(callbacks):
        state = dict(states.get(name, {}))
        for key, value in state.items():
            if isinstance(value, dict) and set(value) == {"arrays"}:
                state[key] = [arrays[f"callbacks/{name}/{key}/{i}"] for i in range(int(value["arrays"]))]
        if state:
            callback._set_state(state)


def of_metrics(metrics: Sequence[Any]) -> list[dict[str, Any]]:
    """The sums of metrics: every attribute that is a number or an array of numbers, and the variables."""
    found = []
    for metric in metrics:
        values: dict[str, Any] = {}
        for name, value in vars(metric).items():
            if isinstance(value, np.ndarray) and value.dtype.name in _NUMBERS:
                values[name] = {"dtype": value.dtype.name, "values": value.tolist()}
            elif isinstance(value, (float, np.floating)):
                values[name] = float(value)
        variables = [np.asarray(variable) for variable in getattr(metric, "variables", ())]
        values["variables"] = [{"dtype": v.dtype.name, "values": v.tolist()} for v in variables]
        found.append(values)
    return found


def restore_metrics(metrics: Sequence[Any], states: Sequence[Mapping[str, Any]]) -> None:
    """Gives the metrics the sums that `of_metrics` returned."""
    for metric, values in zip(metrics, states, strict=True):
        for name, value in values.items():
            if name == "variables":
                for variable, saved in zip(metric.variables, value, strict=True):
                    variable.assign(_array(saved))
            elif name in vars(metric):
                setattr(metric, name, _array(value) if isinstance(value, dict) else float(value))


def _array(saved: Mapping[str, Any]) -> NDArray[Any]:
    if saved["dtype"] not in _NUMBERS:
        raise ValueError(f"sums of type {saved['dtype']!r}")
    return np.array(saved["values"], saved["dtype"])
