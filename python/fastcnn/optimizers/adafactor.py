"""Adafactor."""

from __future__ import annotations

import math
from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class Adafactor(Optimizer):
    """Adam's scaling from means over rows and columns alone (Shazeer & Stern, 2018).

    A weight of a unit that has no gradient stays as it is; in Keras it becomes NaN, and all others of the kernel with it.

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        beta_2_decay: power of the step that the means' decay goes to 1 with, < 0.
        epsilon_1: added to squared gradients, >= 0.
        epsilon_2: least size of a weight that the step goes with, >= 0.
        clip_threshold: root mean square of a scaled gradient above which it is scaled down, > 0.
        relative_step: whether the rate is 1 / sqrt(step) at most; it is in either case, as in Keras.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Adafactor().beta_2_decay
        -0.8

    See https://keras.io/api/optimizers/adafactor/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            use_ema,
            ema_momentum,
            ema_overwrite_frequency,
            loss_scale_factor,
            gradient_accumulation_steps,
            name,
            **kwargs,
        )
        self.beta_2_decay = self._number("beta_2_decay", beta_2_decay, low=-math.inf)
        self.epsilon_1 = self._number("epsilon_1", epsilon_1)
        self.epsilon_2 = self._number("epsilon_2", epsilon_2)
        self.clip_threshold = self._number("clip_threshold", clip_threshold)
        self.relative_step = bool(relative_step)

    def _settings(self) -> dict[str, Any]:
        return {
            "beta_2_decay": self.beta_2_decay,
            "epsilon_1": self.epsilon_1,
            "epsilon_2": self.epsilon_2,
            "clip_threshold": self.clip_threshold,
            "relative_step": self.relative_step,
        }

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "adafactor", **self._settings()}

    def _rule_layout(self) -> list[Run]:
        return [
            (
                ("r", "r"),
                ("c", "c"),
                ("v", "velocity"),
            )
        ]

    def _slot_shape(self, slot: str, variable: Any) -> tuple[int, ...]:
        shape = super()._slot_shape(slot, variable)
        if slot == "v":
            return shape
        return () if len(shape) < 2 else (shape[:-1] if slot == "r" else (*shape[:-2], shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
