"""RMSprop."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class RMSprop(Optimizer):
    """RMSprop: steps scaled by a running mean of the gradient's square (Tieleman & Hinton, 2012).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        rho: decay of the squares' mean, in [0, 1].
        momentum: in [0, 1]; 0 for none.
        epsilon: added to the squares' mean before the root, >= 0.
        centered: whether the gradient's variance is used in place of its mean square.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> RMSprop().rho
        0.9

    See https://keras.io/api/optimizers/rmsprop/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        self.momentum = self._number("momentum", momentum, high=1.0)
        self.epsilon = self._number("epsilon", epsilon)
        self.centered = bool(centered)

    def _settings(self) -> dict[str, Any]:
        return {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon, "centered": self.centered}

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "rmsprop", **self._settings()}

    def _rule_layout(self) -> list[Run]:
        runs: list[Run] = [(("v", "velocity"),)]
        if self.momentum > 0:
            runs.append((("m", "momentum"),))
        if self.centered:
            runs.append((("u", "average_gradient"),))
        return runs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}
