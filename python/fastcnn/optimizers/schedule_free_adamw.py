"""Schedule-free AdamW."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class ScheduleFreeAdamW(Optimizer):
    """AdamW whose weights are averages of its steps, which needs no schedule (Defazio et al., 2024).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        beta_1: share of the average in the weights that gradients are taken at, in (0, 1].
        beta_2: decay of the squares' mean, in [0, 1].
        epsilon: added to the root of the squares' mean, >= 0.
        warmup_steps: steps in which the rate rises linearly, >= 0.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> ScheduleFreeAdamW().warmup_steps
        0

    See https://keras.io/api/optimizers/schedule_free_adamw/
    """

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
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
        self.beta_1 = self._number("beta_1", beta_1, high=1.0)
        if self.beta_1 == 0.0:
            raise self._error("beta_1", "a number in (0, 1]", beta_1)
        self.beta_2 = self._number("beta_2", beta_2, high=1.0)
        self.epsilon = self._number("epsilon", epsilon)
        self._number("warmup_steps", warmup_steps)
        self.warmup_steps = warmup_steps

    def _settings(self) -> dict[str, Any]:
        return {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "warmup_steps": self.warmup_steps,
        }

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "schedule_free_adamw", **self._settings()}

    def _rule_layout(self) -> list[Run]:
        return [
            (
                ("m", "momentum"),
                ("v", "velocity"),
            )
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
