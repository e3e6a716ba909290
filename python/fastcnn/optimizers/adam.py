"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from fastcnn.optimizers.optimizer import Optimizer, Run


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square (Kingma & Ba, 2014).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        beta_1: decay of the gradient's mean, in [0, 1].
        beta_2: decay of the squares' mean, in [0, 1].
        epsilon: added to the root of the squares' mean, >= 0.
        amsgrad: whether the largest mean of squares so far is used (Reddi et al., 2018).
        weight_decay: and all further arguments, see `Optimizer`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Adam().get_config()["learning_rate"]
        0.001

    See https://keras.io/api/optimizers/adam/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        self.amsgrad = bool(amsgrad)

    def _settings(self) -> dict[str, Any]:
        return {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon, "amsgrad": self.amsgrad}

    def _native_settings(self) -> dict[str, Any]:
        return {"kind": "adam", **self._settings()}

    def _rule_layout(self) -> list[Run]:
        runs: list[Run] = [(("m", "momentum"), ("v", "velocity"))]
        return [*runs, (("u", "velocity_hat"),)] if self.amsgrad else runs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._settings()}


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter, 2019).

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        weight_decay: before each step weights are multiplied by 1 - weight_decay * learning_rate; a number >= 0.
        beta_1: and all further arguments, see `Adam`.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> AdamW().weight_decay
        0.004

    See https://keras.io/api/optimizers/adamw/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        if weight_decay is None:
            raise self._error("weight_decay", "a number >= 0", weight_decay)
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
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
