"""The progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from fastcnn.utils.io import can_print, print_message

_BOLD, _GREEN, _WHITE, _RESET = "\x1b[1m", "\x1b[32m", "\x1b[37m", "\x1b[0m"


class Progbar:
    """Shows how far a loop is, the time it takes and averages of its metrics.

    Args:
        target: steps in all; None where unknown.
        width: characters of the bar.
        verbose: 0 silent, 1 a bar that moves, 2 one line at the end.
        interval: least time between two drawings, seconds.
        stateful_metrics: names shown as they are; all others are averaged over the steps.
        stateless_metrics: names that are averaged; all others are shown as they are. Give one of the two at most.
        unit_name: what a step is called.

    Example:
        >>> bar = Progbar(10, verbose=2)
        >>> for step in range(9):
        ...     bar.update(step + 1, [("loss", 0.5)])  # verbose=2 prints at the end only

    See https://keras.io/api/utils/python_utils/#progbar-class
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError(
                "Progbar: stateless_metrics: expected None where stateful_metrics is given, "
                f"received {list(stateless_metrics)!r}"
            )
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.unit_name = unit_name
        self.stateful_metrics = set(stateful_metrics or ())
        self.stateless_metrics = None if stateless_metrics is None else set(stateless_metrics)
        # Terminals, notebooks and every POSIX stream get the bar redrawn in place, as in Keras; others a line a time.
        self._redraws = os.name == "posix" or "ipykernel" in sys.modules or _is_terminal()
        self._values: dict[str, tuple[Any, int]] = {}  # name -> (sum, count), in the order of appearance
        self._seen_so_far = 0
        self._start = perf_counter()
        self._after_first_step: float | None = None
        self._last_drawn = float("-inf")
        self._line_width = 0

    def update(
        self, current: int, values: Sequence[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Shows that `current` steps are done.

        Args:
            current: steps done.
            values: (name, value of the last step) pairs.
            finalize: whether this is the last call; by default when `current` has reached the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        for name, value in values or ():
            self._record(name, value, max(current - self._seen_so_far, 1), finalize)
        self._seen_so_far = current
        now = perf_counter()
        step_time = self._step_time(current, now)
        if self.verbose == 1:
            if now - self._last_drawn < self.interval and not finalize:
                return
            self._draw(current, now, step_time, finalize)
        elif self.verbose == 2 and finalize and self.target:
            line = f"{self._counter(current)} - {now - self._start:.0f}s -{_duration(step_time)}/{self.unit_name}"
            print_message(line + self._metrics())
        self._last_drawn = now

    def add(self, n: int, values: Sequence[tuple[str, Any]] | None = None) -> None:
        """Shows that `n` more steps are done; `values` as for `update`."""
        self.update(self._seen_so_far + n, values)

    def _record(self, name: str, value: Any, steps: int, finalize: bool) -> None:
        if self.stateless_metrics is None:
            averaged = name not in self.stateful_metrics
        else:
            averaged = name in self.stateless_metrics
        # The last call brings the value of the whole loop, which replaces the average.
        if not averaged or finalize:
            self._values[name] = (value, 1)
        else:
            total, count = self._values.get(name, (0.0, 0))
            self._values[name] = (total + value * steps, count + steps)

    def _step_time(self, current: int, now: float) -> float:
        """Seconds a step; the first, which is slower than the others, is left out once there are more."""
        if not current:
            return 0.0
        if self._after_first_step is not None and current > 1:
            step_time = (now - self._after_first_step) / (current - 1)
        else:
            step_time = (now - self._start) / current
        if current == 1:
            self._after_first_step = now
        return step_time

    def _draw(self, current: int, now: float, step_time: float, finalize: bool) -> None:
        styled, width = self._bar(current)
        if self.target and not finalize:
            clock = _clock(step_time * (self.target - current))
        else:
            clock = f"{now - self._start:.0f}s"
        tail = f"{_duration(step_time)}/{self.unit_name}{self._metrics()}"
        width += 1 + len(clock) + len(tail)
        start = "\b" * self._line_width + "\r" if self._redraws else "\n"
        # A shorter line is filled up with spaces, so that nothing of the longer one before stays.
        padding = " " * (self._line_width - width)
        print_message(
            f"{start}{styled} {_BOLD}{clock}{_RESET}{tail}{padding}" + ("\n" if finalize else ""), line_break=False
        )
        self._line_width = width

    def _bar(self, current: int) -> tuple[str, int]:
        """The counter and the bar with colours, and their width on the screen."""
        if not self.target:
            text = f"{current:7d}/Unknown"
            return text, len(text)
        counter = self._counter(current)
        done = int(self.width * (current / self.target))
        left = self.width - done
        # In ASCII the two parts must differ without colours too.
        full, empty = ("━", "━") if can_print("━") else ("=", ".")
        bar = f"{_BOLD}{counter}{_RESET} "
        if done > 0:
            bar += f"{_GREEN}{full * done}{_RESET}"
        bar += f"{_WHITE}{empty * left}{_RESET}"
        return bar, len(counter) + 1 + max(done, 0) + max(left, 0)

    def _counter(self, current: int) -> str:
        return f"{current:{len(str(self.target))}d}/{self.target}"

    def _metrics(self) -> str:
        return "".join(f" - {name}: {_value(total, count)}" for name, (total, count) in self._values.items())


def _is_terminal() -> bool:
    return hasattr(sys.stdout, "isatty") and sys.stdout.isatty()


def _value(total: Any, count: int) -> str:
    average = float(np.mean(total)) / count
    return f"{average:.4f}" if abs(average) > 1e-3 else f"{average:.4e}"


def _duration(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f" {seconds:.0f}s"
    if seconds >= 1e-3:
        return f" {seconds * 1e3:.0f}ms"
    return f" {seconds * 1e6:.0f}us"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    if seconds > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    if seconds > 60:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole}s"
