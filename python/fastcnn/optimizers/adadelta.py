"""Adadelta."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class Adadelta(Optimizer):
    """Steps scaled by the running means of squares of the steps and of the gradient (Zeiler, 2012).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        rho: decay of both means, in [0, 1].
        epsilon: added to both before their roots, >= 0.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Adadelta().rho
        0.95

    See https://keras.io/api/optimizers/adadelta/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
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
        self.rho = self._number("rho", rho, high=1.0)
        self.epsilon = self._number("epsilon", epsilon)

    def _settings(self) -> dict[str, Any]:
        return {"rho": self.rho, "epsilon": self.epsilon}

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "adadelta", **self._settings()}

    def _rule_layout(self) -> list[Run]:
        return [
            (
                ("v", "accumulated_grad"),
                ("u", "accumulated_delta_var"),
            )
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
