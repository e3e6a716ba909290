"""Adagrad."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class Adagrad(Optimizer):
    """Steps scaled by the sum of all squared gradients so far (Duchi et al., 2011).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        initial_accumulator_value: what the sums start from, >= 0.
        epsilon: added to the sum before its root, >= 0.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Adagrad().initial_accumulator_value
        0.1

    See https://keras.io/api/optimizers/adagrad/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
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
        self.initial_accumulator_value = self._number("initial_accumulator_value", initial_accumulator_value)
        self.epsilon = self._number("epsilon", epsilon)

    def _settings(self) -> dict[str, Any]:
        return {"initial_accumulator_value": self.initial_accumulator_value, "epsilon": self.epsilon}

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "adagrad", "first_accumulator": self.initial_accumulator_value, "epsilon": self.epsilon}

    def _rule_layout(self) -> list[Run]:
        return [(("v", "accumulator"),)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
