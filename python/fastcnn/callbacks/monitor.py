"""The base of callbacks that watch one value of the logs."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

from fastcnn.callbacks.callback import Callback, Logs


class MonitorCallback(Callback):
    """Knows whether a value of the logs got better.

    Args:
        monitor: the value's name, such as "val_loss".
        mode: "min", "max", or "auto": what the metric of that name says.
        baseline: what the first value must beat, or None.
        min_delta: the least change that counts.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__}: mode: expected 'auto', 'min' or 'max', received {mode!r}; 'auto' is used",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = abs(min_delta)
        self.monitor_op: Callable[[float, float], bool] | None = None

    def _is_improvement(self, value: float, reference: float | None) -> bool:
        """Whether the value is better than the reference by more than `min_delta`."""
        if self.monitor_op is None:
            self._set_monitor_op()
        assert self.monitor_op is not None
        if reference is None:
            return True
        delta = self.min_delta if self.monitor_op is operator.gt else -self.min_delta
        return self.monitor_op(value - delta, reference)

    def _set_monitor_op(self) -> None:
        more_is_better = self._more_is_better() if self.mode == "auto" else self.mode == "max"
        self.monitor_op = operator.gt if more_is_better else operator.lt

    def _more_is_better(self) -> bool:
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        for metric in getattr(self.model, "metrics", None) or ():
            direction: str | None = getattr(metric, "_direction", None)
            if getattr(metric, "name", None) == name and direction is not None:
                return direction == "up"
        raise ValueError(
            f"{type(self).__name__}: mode: expected 'min' or 'max', as it is not known whether more or less of "
            f"{self.monitor!r} is better, received {self.mode!r}"
        )

    def _monitored(self, logs: Logs, doing: str) -> Any:
        """The watched value, or None and a warning where the logs lack it."""
        found = (logs or {}).get(self.monitor)
        if found is None:
            names = ",".join(logs or {})
            warnings.warn(
                f"{doing} conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {names}",
                stacklevel=4,
            )
        return found
