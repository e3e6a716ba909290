"""Gradient descent."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class SGD(Optimizer):
    """Gradient descent, with momentum where wanted.

    Without momentum w -= learning_rate * g; with it v = momentum * v - learning_rate * g and w += v, or for Nesterov
    w += momentum * v - learning_rate * g.

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        momentum: in [0, 1]; 0 for none.
        nesterov: whether Nesterov's form is used.
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> optimizer = SGD(0.1, momentum=0.9)
        >>> optimizer.learning_rate = 0.01
        >>> optimizer.get_config()["momentum"]
        0.9

    See https://keras.io/api/optimizers/sgd/
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
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
        self.momentum = self._number("momentum", momentum, high=1.0)
        self.nesterov = bool(nesterov)

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "sgd", "momentum": self.momentum, "nesterov": self.nesterov}

    def _rule_layout(self) -> list[Run]:
        return [(("m", "momentum"),)] if self.momentum else []

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
