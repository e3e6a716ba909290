"""Learning rates that are functions of the step. https://keras.io/api/optimizers/learning_rate_schedules/

A schedule is called with a whole array of steps before a native call that takes that many, so it costs nothing in a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn._identifiers import Registry

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

Rates = NDArray[np.float64]


class LearningRateSchedule:
    """Base of the schedules. A subclass overrides `__call__` and, to be saved, `get_config`.

    Example:
        >>> class Halved(LearningRateSchedule):
        ...     def __call__(self, step):
        ...         return 0.1 / (1 + step)
        >>> from fastcnn import optimizers
        >>> float(optimizers.SGD(Halved()).learning_rate)
        0.1

    See https://keras.io/api/optimizers/learning_rate_schedules/learning_rate_schedule/
    """

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, or of each of an array of steps; steps count from 0."""
        raise NotImplementedError(f"{type(self).__name__}: __call__: expected to be overridden")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        raise NotImplementedError(f"{type(self).__name__}: get_config: expected to be overridden")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LearningRateSchedule:
        """The schedule that `get_config` described."""
        return cls(**config)

    def _take(self, **settings: Any) -> None:
        """Keeps the settings under their names; checks numbers."""
        self._settings = settings
        for name, value in settings.items():
            if name not in ("name", "staircase", "cycle") and value is not None:
                _messages.real(type(self).__name__, name, value, "a number", -math.inf)
            setattr(self, name, value)
        steps = settings.get("decay_steps", settings.get("first_decay_steps"))
        if steps is not None and not steps > 0:
            _messages.fail(type(self).__name__, "decay_steps", "a positive number", steps)


def _as_asked(rates: Rates, step: Any) -> Any:
    """A number for a number, an array for an array."""
    return float(rates) if np.ndim(step) == 0 else rates


class _Decay(LearningRateSchedule):
    """A schedule with a formula."""

    def __call__(self, step: Any) -> Any:
        return _as_asked(self._rates(np.asarray(step, np.float64)), step)

    def _rates(self, step: Rates) -> Rates:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate ^ (step / decay_steps).

    Args:
        initial_learning_rate: the rate at the start.
        decay_steps: steps in which the rate is multiplied by
        decay_rate: this.
        staircase: whether step / decay_steps is rounded down.
        name: the schedule's name.

    Example:
        >>> ExponentialDecay(0.1, 10, 0.5)(20)
        0.025

    See https://keras.io/api/optimizers/learning_rate_schedules/exponential_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self._take(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            name=name,
        )

    def _rates(self, step: Rates) -> Rates:
        s = self._settings
        share = step / s["decay_steps"]
        rates: Rates = s["initial_learning_rate"] * np.power(
            float(s["decay_rate"]), np.floor(share) if s["staircase"] else share
        )
        return rates


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps).

    Args:
        initial_learning_rate: the rate at the start.
        decay_steps: after so many steps the divisor grows by
        decay_rate: this.
        staircase: whether step / decay_steps is rounded down.
        name: the schedule's name.

    Example:
        >>> InverseTimeDecay(0.1, 10, 1.0)(10)
        0.05

    See https://keras.io/api/optimizers/learning_rate_schedules/inverse_time_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self._take(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            name=name,
        )

    def _rates(self, step: Rates) -> Rates:
        s = self._settings
        share = step / s["decay_steps"]
        rates: Rates = s["initial_learning_rate"] / (
            1 + s["decay_rate"] * (np.floor(share) if s["staircase"] else share)
        )
        return rates


class PolynomialDecay(_Decay):
    """From initial_learning_rate to end_learning_rate as (1 - step / decay_steps) ^ power.

    Args:
        initial_learning_rate: the rate at the start.
        decay_steps: steps until the end.
        end_learning_rate: the rate then and afterwards.
        power: of the polynomial; 1 is a line.
        cycle: whether the decay begins again, longer, instead of staying at the end.
        name: the schedule's name.

    Example:
        >>> PolynomialDecay(0.1, 10, 0.0)(5)
        0.05

    See https://keras.io/api/optimizers/learning_rate_schedules/polynomial_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self._take(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            end_learning_rate=end_learning_rate,
            power=power,
            cycle=cycle,
            name=name,
        )

    def _rates(self, step: Rates) -> Rates:
        s = self._settings
        whole: Any = float(s["decay_steps"])
        if s["cycle"]:
            whole = whole * np.where(step == 0, 1.0, np.ceil(step / whole))
        else:
            step = np.minimum(step, whole)
        start, end = s["initial_learning_rate"], s["end_learning_rate"]
        rates: Rates = (start - end) * np.power(1 - step / whole, s["power"]) + end
        return rates


class CosineDecay(_Decay):
    """Half a cosine from the initial rate down to alpha times it, after a linear warm-up if wanted.

    Args:
        initial_learning_rate: the rate at the start.
        decay_steps: steps of the decay.
        alpha: the last rate as a share of the one that the decay began with.
        name: the schedule's name.
        warmup_target: the rate that the warm-up leads to, where the decay begins; None: no warm-up.
        warmup_steps: steps of the warm-up.

    Example:
        >>> CosineDecay(0.1, 10)(5)
        0.05

    See https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay/ and https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self._take(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            alpha=alpha,
            name=name,
            warmup_target=warmup_target,
            warmup_steps=warmup_steps,
        )

    def _rates(self, step: Rates) -> Rates:
        s = self._settings
        start, target, warm = s["initial_learning_rate"], s["warmup_target"], s["warmup_steps"]
        if target is None:
            return self._decayed(step, start)
        rising = start + (target - start) * step / max(warm, 1)
        rates: Rates = np.where(step < warm, rising, self._decayed(np.maximum(step - warm, 0), target))
        return rates

    def _decayed(self, step: Rates, start: float) -> Rates:
        s = self._settings
        cosine = 0.5 * (1 + np.cos(math.pi * np.minimum(step / s["decay_steps"], 1.0)))
        rates: Rates = start * ((1 - s["alpha"]) * cosine + s["alpha"])
        return rates


class CosineDecayRestarts(_Decay):
    """Half cosines one after another, each longer and lower than the one before.

    Args:
        initial_learning_rate: the rate at the start.
        first_decay_steps: steps of the first one.
        t_mul: how many times as long each is as the one before.
        m_mul: how many times as high each begins.
        alpha: the lowest rate as a share of the initial one.
        name: the schedule's name.

    Example:
        >>> CosineDecayRestarts(0.1, 10)(10)
        0.1

    See https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay_restarts/ and https://arxiv.org/abs/1608.03983
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self._take(
            initial_learning_rate=initial_learning_rate,
            first_decay_steps=first_decay_steps,
            t_mul=t_mul,
            m_mul=m_mul,
            alpha=alpha,
            name=name,
        )

    def _rates(self, step: Rates) -> Rates:
        s = self._settings
        t, done = float(s["t_mul"]), step / s["first_decay_steps"]
        if t == 1.0:
            restarts = np.floor(done)
            share = done - restarts
        else:
            # The first n decays take (1 - t^n) / (1 - t) times the steps of the first one.
            restarts = np.floor(np.log(1.0 - done * (1.0 - t)) / math.log(t) + 1e-12)
            share = (done - (1.0 - t**restarts) / (1.0 - t)) / t**restarts
        cosine = 0.5 * np.power(float(s["m_mul"]), restarts) * (1 + np.cos(math.pi * share))
        rates: Rates = s["initial_learning_rate"] * ((1 - s["alpha"]) * cosine + s["alpha"])
        return rates


class PiecewiseConstantDecay(_Decay):
    """values[0] up to step boundaries[0], values[1] up to boundaries[1], ..., then the last.

    Args:
        boundaries: steps, rising.
        values: rates, one more than boundaries.
        name: the schedule's name.

    Raises:
        ValueError: another number of values.

    Example:
        >>> PiecewiseConstantDecay([10], [0.1, 0.01])(11)
        0.01

    See https://keras.io/api/optimizers/learning_rate_schedules/piecewise_constant_decay/
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            _messages.fail(type(self).__name__, "values", f"{len(boundaries) + 1} rates for {boundaries!r}", values)
        self.boundaries, self.values, self.name = boundaries, values, name
        self._settings = {"boundaries": boundaries, "values": values, "name": name}

    def _rates(self, step: Rates) -> Rates:
        values = np.asarray(self.values, np.float64)
        rates: Rates = values[np.searchsorted(np.asarray(self.boundaries, np.float64), step, side="left")]
        return rates


_registry = Registry(
    "optimizers.schedules",
    "schedule",
    {
        cls.__name__: cls
        for cls in (
            ExponentialDecay,
            InverseTimeDecay,
            PolynomialDecay,
            CosineDecay,
            CosineDecayRestarts,
            PiecewiseConstantDecay,
        )
    },
)


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The schedule's config.

    >>> serialize(CosineDecay(0.1, 10))["class_name"]
    'CosineDecay'
    """
    return _registry.serialize(learning_rate_schedule)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> LearningRateSchedule:
    """The schedule that `serialize` described.

    >>> deserialize({"class_name": "CosineDecay", "config": {"initial_learning_rate": 1.0, "decay_steps": 2}})(1)
    0.5
    """
    schedule: LearningRateSchedule = _registry.deserialize(config, custom_objects)
    return schedule


def rates_of(schedule: Any, first: int, count: int) -> Rates:
    """The rates of the steps from `first` on, at most `count` of them, for the native trainer.

    A schedule of a user's, which may work on numbers only, is called once a step, for fewer steps at a time.
    """
    if isinstance(schedule, _Decay):
        return np.ascontiguousarray(schedule(np.arange(first, first + count)), np.float64)
    return np.array([float(schedule(step)) for step in range(first, first + min(count, 64))], np.float64)
