"""Muon."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.optimizers.optimizer import Optimizer, Run


class Muon(Optimizer):
    """Momentum made orthogonal for matrices, AdamW for all other weights (Jordan et al., 2024).

    Matrices are the kernels of `Dense`; kernels of convolutions have more axes and are AdamW's.

    Args:
        learning_rate: a number >= 0, a schedule, or a function without arguments.
        adam_beta_1, adam_beta_2, epsilon: as `Adam`'s, for the other weights.
        adam_weight_decay: weight decay of the other weights, or None.
        weight_decay: that of matrices, or None; and the arguments up to `name`, see `Optimizer`.
        exclude_layers: regular expressions; a matrix whose path holds one of them is AdamW's.
        exclude_embeddings: whether a matrix with "embedding" in its path is AdamW's.
        muon_a, muon_b, muon_c: the polynomial of the Newton-Schulz steps, and
        ns_steps: how many there are.
        adam_lr_ratio: AdamW's learning rate over this one.
        momentum: decay of the sum of gradients, in [0, 1].
        nesterov: whether Nesterov's form is used.
        rms_rate: a matrix's step is multiplied by this times the root of its longer side; None: it stays as it is.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> Muon().get_config()["ns_steps"]
        5

    See https://keras.io/api/optimizers/muon/ and https://kellerjordan.github.io/posts/muon/
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.775,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
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
        self.adam_beta_1 = self._number("adam_beta_1", adam_beta_1, high=1.0)
        self.adam_beta_2 = self._number("adam_beta_2", adam_beta_2, high=1.0)
        self.adam_weight_decay = self._optional("adam_weight_decay", adam_weight_decay)
        self.epsilon = self._number("epsilon", epsilon)
        if exclude_layers is not None and not all(isinstance(pattern, str) for pattern in exclude_layers):
            raise self._error("exclude_layers", "a list of regular expressions", exclude_layers)
        self.exclude_layers = list(exclude_layers or [])
        self.exclude_embeddings = bool(exclude_embeddings)
        self.muon_a = self._number("muon_a", muon_a, low=-math.inf)
        self.muon_b = self._number("muon_b", muon_b, low=-math.inf)
        self.muon_c = self._number("muon_c", muon_c, low=-math.inf)
        self.adam_lr_ratio = adam_lr_ratio
        self._number("adam_lr_ratio", adam_lr_ratio)
        self.momentum = self._number("momentum", momentum, high=1.0)
        if not (isinstance(ns_steps, int) and 0 <= ns_steps < 2**31):
            raise self._error("ns_steps", "an integer >= 0", ns_steps)
        self.ns_steps = ns_steps
        self.nesterov = bool(nesterov)
        self.rms_rate = self._optional("rms_rate", rms_rate)

    def _is_adam_s(self, variable: Any) -> bool:
        path = getattr(variable, "path", "")
        return (
            np.ndim(variable) != 2
            or (self.exclude_embeddings and "embedding" in path.lower())
            or any(re.search(pattern, path) for pattern in self.exclude_layers)
        )

    def _decay_of(self, variable: Any) -> float:
        return (self.adam_weight_decay if self._is_adam_s(variable) else self.weight_decay) or 0.0

    def _native_settings(self) -> dict[str, Any]:
        return {
            "kind": "muon",
            "beta_1": self.adam_beta_1,
            "beta_2": self.adam_beta_2,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "muon_a": self.muon_a,
            "muon_b": self.muon_b,
            "muon_c": self.muon_c,
            "newton_schulz_steps": self.ns_steps,
            "adam_rate_ratio": self.adam_lr_ratio,
            "rms_rate": self.rms_rate or 0.0,
        }

    def _native_choices(self, variables: Sequence[Any]) -> dict[str, Any]:
        return {"orthogonal": [not self._is_adam_s(v) for v in variables]}

    def _rule_layout(self) -> list[Run]:
        return [(("m", "momentum"), ("v", "velocity"))]

    def _keeps(self, slot: str, variable: Any) -> bool:
        return slot != "v" or self._is_adam_s(variable)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "adam_beta_1": self.adam_beta_1,
            "adam_beta_2": self.adam_beta_2,
            "epsilon": self.epsilon,
            "exclude_layers": self.exclude_layers,
            "muon_a": self.muon_a,
            "muon_b": self.muon_b,
            "muon_c": self.muon_c,
            "adam_lr_ratio": self.adam_lr_ratio,
            "momentum": self.momentum,
            "ns_steps": self.ns_steps,
            "nesterov": self.nesterov,
            "exclude_embeddings": self.exclude_embeddings,
            "adam_weight_decay": self.adam_weight_decay,
            "rms_rate": self.rms_rate,
        }
