"""Nadam."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class Nadam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        beta_1: decay of the gradient's mean, in [0, 1].
        beta_2: decay of the squares' mean, in [0, 1].
        epsilon: added to the root of the squares' mean, >= 0.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Nadam().beta_1
        0.9

    See https://keras.io/api/optimizers/Nadam/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
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
        self.beta_1 = self._number("beta_1", beta_1, high=1.0)
        self.beta_2 = self._number("beta_2", beta_2, high=1.0)
        self.epsilon = self._number("epsilon", epsilon)

    def _settings(self) -> dict[str, Any]:
        return {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "nadam", **self._settings()}

    def _rule_layout(self) -> list[Run]:
        return [
            (
                ("m", "momentum"),
                ("v", "velocity"),
            )
        ]

    def _scalars(self) -> list[tuple[str, float]]:
        steps, product = self.iterations, 1.0
        for step in range(1, min(steps, 1000) + 1):
            product *= self.beta_1 * (1.0 - 0.5 * 0.96**step)
        product *= self.beta_1 ** max(steps - 1000, 0)  # 0.96^1000 is nothing beside 1
        return [("variable", product)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
