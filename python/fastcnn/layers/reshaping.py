"""Layers that only change a sample's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer


class Flatten(Layer):
    """Puts all elements of a sample into one axis.

    Args:
        data_format: None or "channels_last".

    Example:
        >>> import numpy as np
        >>> Flatten()(np.zeros((2, 3, 4))).shape
        (2, 12)

    See https://keras.io/api/layers/reshaping_layers/flatten/.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _messages.only("Flatten", "data_format", data_format, (None, "channels_last"))
        self.data_format = "channels_last"

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the new shape."""
        graph.reshape(self.name, target_shape=(-1,))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """Gives a sample another shape with as many elements.

    Args:
        target_shape: one sample's new shape; one entry may be -1.

    Raises:
        ValueError: not a shape; or, when built, another number of elements.

    Example:
        >>> import numpy as np
        >>> Reshape((-1, 2))(np.zeros((3, 8))).shape
        (3, 4, 2)

    See https://keras.io/api/layers/reshaping_layers/reshape/.
    """

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        entries = tuple(target_shape) if isinstance(target_shape, Sequence) else ()
        sizes_ok = all(_messages.is_integer(v) and (v >= 1 or v == -1) for v in entries)
        if not entries or not sizes_ok or sum(v == -1 for v in entries) > 1:
            _messages.fail("Reshape", "target_shape", "positive integers, at most one of them -1", target_shape)
        self.target_shape = tuple(int(v) for v in entries)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the new shape."""
        graph.reshape(self.name, target_shape=self.target_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "target_shape": self.target_shape}
