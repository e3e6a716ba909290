"""FTRL."""

from __future__ import annotations

import math
from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class Ftrl(Optimizer):
    """Follow the regularized leader (McMahan et al., 2013), with shrinkage.

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        learning_rate_power: <= 0; how the rate falls with the sum of squared gradients, -0.5 for its root.
        initial_accumulator_value: what the sums start from, >= 0.
        l1_regularization_strength: of the penalty on sizes, >= 0; weights become exactly 0 by it.
        l2_regularization_strength: of the penalty on squares, >= 0, which shrinks weights once.
        l2_shrinkage_regularization_strength: of a penalty that is added to the gradient, >= 0.
        beta: of the paper, >= 0.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Ftrl().learning_rate_power
        -0.5

    See https://keras.io/api/optimizers/ftrl/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
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
        self.learning_rate_power = self._number("learning_rate_power", learning_rate_power, low=-math.inf, high=0.0)
        self.initial_accumulator_value = self._number("initial_accumulator_value", initial_accumulator_value)
        self.l1_regularization_strength = self._number("l1_regularization_strength", l1_regularization_strength)
        self.l2_regularization_strength = self._number("l2_regularization_strength", l2_regularization_strength)
        self.l2_shrinkage_regularization_strength = self._number(
            "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        )
        self.beta = self._number("beta", beta)

    def _settings(self) -> dict[str, Any]:
        return {
            "learning_rate_power": self.learning_rate_power,
            "initial_accumulator_value": self.initial_accumulator_value,
            "l1_regularization_strength": self.l1_regularization_strength,
            "l2_regularization_strength": self.l2_regularization_strength,
            "l2_shrinkage_regularization_strength": self.l2_shrinkage_regularization_strength,
            "beta": self.beta,
        }

    def _native_settings(self) -> dict[str, Any]:
        return {
            "kind": "ftrl",
            "power": -self.learning_rate_power,
            "first_accumulator": self.initial_accumulator_value,
            "l1": self.l1_regularization_strength,
            "l2": self.l2_regularization_strength,
            "shrinkage": self.l2_shrinkage_regularization_strength,
            "ftrl_beta": self.beta,
        }

    def _rule_layout(self) -> list[Run]:
        return [
            (
                ("v", "accumulator"),
                ("m", "linear"),
            )
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
