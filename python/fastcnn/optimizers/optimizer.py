"""What all optimizers share: learning rate, weight decay, gradient clipping, the count of steps."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn._naming import auto_name
from fastcnn.saving.registration import describe


class Optimizer:
    """Base of the optimizers. It holds the settings; the trainer does the steps, natively.

    Args:
        learning_rate: a number >= 0, a `schedules.LearningRateSchedule`, or a function without arguments.
        weight_decay: before each step weights are multiplied by 1 - weight_decay * learning_rate; None: not at all.
        clipnorm: each weight's gradient is scaled down to this L2 norm at most.
        clipvalue: each element of a gradient is cut to [-clipvalue, clipvalue].
        global_clipnorm: all gradients together are scaled down to this L2 norm at most. At most one of the three.
        use_ema, ema_momentum, ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps: Keras's further
            arguments, which are not available: they must be off (False or None).
        name: the optimizer's name.

    Raises:
        ValueError: an argument outside of these values.

    See https://keras.io/api/optimizers/
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        self._iterations = 0
        self._schedule: Any
        self.learning_rate = learning_rate
        self.weight_decay = self._optional("weight_decay", weight_decay)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [clip for clip, value in clips.items() if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__}: {given[1]}: expected at most one of clipnorm, clipvalue and global_clipnorm, "
                f"received {' and '.join(f'{clip}={clips[clip]!r}' for clip in given)}"
            )
        self.clipnorm = self._optional("clipnorm", clipnorm)
        self.clipvalue = self._optional("clipvalue", clipvalue)
        self.global_clipnorm = self._optional("global_clipnorm", global_clipnorm)
        if use_ema:
            raise self._error("use_ema", "False (a moving average of the weights is not available)", use_ema)
        if loss_scale_factor is not None and loss_scale_factor != 1:
            raise self._error("loss_scale_factor", "None (loss scaling is not available)", loss_scale_factor)
        if gradient_accumulation_steps is not None and gradient_accumulation_steps != 1:
            raise self._error(
                "gradient_accumulation_steps", "None (accumulation is not available)", gradient_accumulation_steps
            )
        self.use_ema = False
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = None
        self.gradient_accumulation_steps = None
        self.name = name or auto_name(type(self).__name__)

    # --- checks ---

    def _error(self, argument: str, expected: str, received: Any) -> ValueError:
        return ValueError(f"{type(self).__name__}: {argument}: expected {expected}, received {received!r}")

    def _number(self, argument: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
        """`value` as a float; a finite number of [low, high]."""
        try:
            number = float("nan") if isinstance(value, (bool, str)) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not (math.isfinite(number) and low <= number <= high):
            bounds = f">= {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
            raise self._error(argument, f"a number {bounds}", value)
        return number

    def _optional(self, argument: str, value: Any) -> float | None:
        return None if value is None else self._number(argument, value)

    # --- state ---

    @property
    def learning_rate(self) -> float:
        """The step size of the next step; settable, also while training (from a callback), where it is not a schedule's."""
        if self._schedule is None:
            return self._learning_rate
        return float(self._schedule(self._iterations))

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value) or isinstance(value, Mapping):
            value = self._as_schedule(value)
            if hasattr(self, "_schedule") and self._schedule is None:
                raise TypeError(
                    f"{type(self).__name__}: learning_rate: expected a number: this optimizer was made with one, "
                    f"received {value!r}"
                )
            self._schedule, self._learning_rate = value, 0.0
        elif getattr(self, "_schedule", None) is not None:
            raise TypeError(
                f"{type(self).__name__}: learning_rate: expected no change: a schedule says what it is, received {value!r}"
            )
        else:
            number = self._number("learning_rate", value)
            self._schedule, self._learning_rate = None, number

    def _as_schedule(self, value: Any) -> Any:
        from fastcnn.optimizers import schedules

        if isinstance(value, Mapping):
            value = schedules.deserialize(value)
        elif not isinstance(value, schedules.LearningRateSchedule):  # a function without arguments, as Keras takes it
            call = value

            class Called(schedules.LearningRateSchedule):
                def __call__(self, step: Any) -> Any:
                    return call()

            value = Called()
        return value

    @property
    def fixed_learning_rate(self) -> float | None:
        """The learning rate where it is a number, None where a schedule says what it is."""
        return self._learning_rate if self._schedule is None else None

    def rates(self, steps: int) -> NDArray[np.float64]:
        """The learning rates of the next `steps` steps, or fewer; one number where it is the same for all."""
        if self._schedule is None:
            return np.array([self._learning_rate], np.float64)
        from fastcnn.optimizers import schedules

        return schedules.rates_of(self._schedule, self._iterations, steps)

    @property
    def iterations(self) -> int:
        """Steps taken so far; settable."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: Any) -> None:
        try:
            count = operator.index(value)
        except TypeError:
            count = -1
        if count < 0:
            raise self._error("iterations", "an integer >= 0", value)
        self._iterations = count

    # --- descriptions ---

    def native(self) -> dict[str, Any]:
        """Returns the description that the native trainer takes: every setting but the learning rate."""
        settings = self._native_settings()
        if type(self).native is Optimizer.native and not settings:
            raise ValueError(
                f"{type(self).__name__}: optimizer: expected one of SGD, Adam, AdamW, RMSprop for training, "
                "received an optimizer written in Python"
            )
        return {
            "kind": "",
            "momentum": 0.0,
            "nesterov": False,
            "rho": 0.0,
            "centered": False,
            "beta_1": 0.0,
            "beta_2": 0.0,
            "epsilon": 0.0,
            "amsgrad": False,
            # Nothing is done for 0, which is what Keras does for None and 0 alike.
            "weight_decay": self.weight_decay or 0.0,
            "clipnorm": self.clipnorm or 0.0,
            "clipvalue": self.clipvalue or 0.0,
            "global_clipnorm": self.global_clipnorm or 0.0,
            **settings,
        }

    def _native_settings(self) -> dict[str, Any]:
        """The kind and the settings that it adds to those of the base."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "name": self.name,
            "learning_rate": self._learning_rate if self._schedule is None else describe(self._schedule),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Optimizer:
        """Returns the optimizer that `get_config` described."""
        return cls(**config)
