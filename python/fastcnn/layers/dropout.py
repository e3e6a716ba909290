"""Dropout."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer
from fastcnn.utils import seed as seeds


class Dropout(Layer):
    """While training, sets elements to zero with probability `rate` and scales the others by 1 / (1 - rate).

    Args:
        rate: probability of an element to be dropped, 0 <= rate <= 1.
        noise_shape: None.
        seed: integer that fixes which elements are dropped; drawn from the global stream by default.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Dropout(0.5)(np.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]

    See https://keras.io/api/layers/regularization_layers/dropout/.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = _messages.real("Dropout", "rate", rate, "a number from 0 to 1", 0.0, 1.0)
        _messages.only("Dropout", "noise_shape", noise_shape, (None,))
        self.seed = None if seed is None else _messages.integer("Dropout", "seed", seed, minimum=0)
        self._drawn_seed: int | None = None if self.seed is None else self.seed % 2**64

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Draws the seed where none was given."""
        if self._drawn_seed is None:
            self._drawn_seed = seeds.next_seed()

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the dropout."""
        graph.dropout(self.name, rate=self.rate, seed=self._drawn_seed or 0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": None}
