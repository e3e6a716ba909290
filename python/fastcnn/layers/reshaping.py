"""Layers that only change a sample's shape, or the order of its elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, read_data_format


class Flatten(Layer):
    """Puts all elements of a sample into one axis.

    Args:
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`. Elements come out in the
            order of channels last.

    Example:
        >>> import numpy as np
        >>> Flatten()(np.zeros((2, 3, 4))).shape
        (2, 12)

    See https://keras.io/api/layers/reshaping_layers/flatten/.
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = read_data_format("Flatten", data_format)

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


class Permute(Layer):
    """Gives a sample's axes another order.

    Args:
        dims: for each axis of the output, from 1, the axis of the input (1 is the first after the batch).

    Raises:
        ValueError: not every axis once.

    Example:
        >>> import numpy as np
        >>> Permute((2, 1))(np.zeros((3, 8, 5))).shape
        (3, 5, 8)

    See https://keras.io/api/layers/reshaping_layers/permute/.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        entries = tuple(dims) if isinstance(dims, Sequence) else ()
        if (
            not entries
            or not all(map(_messages.is_integer, entries))
            or sorted(entries) != [*range(1, len(entries) + 1)]
        ):
            _messages.fail("Permute", "dims", "each of the axes 1, 2, ... once", dims)
        self.dims = tuple(int(v) for v in entries)

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        if len(sample) != len(self.dims):
            _messages.fail(self.name, "input", f"a shape (batch, {len(self.dims)} further axes)", tuple(input_shape))
        return sample

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the new order."""
        graph.permute(self.name, axes=tuple(v - 1 for v in self.dims))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(Layer):
    """Repeats a vector: (n, features) becomes (n, times, features).

    Args:
        n: how often.

    Raises:
        ValueError: not a positive integer; or, when built, samples that are not vectors.

    Example:
        >>> import numpy as np
        >>> RepeatVector(3)(np.array([[1.0, 2.0]])).tolist()
        [[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]]

    See https://keras.io/api/layers/reshaping_layers/repeat_vector/.
    """

    _input_axes = ("features",)

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not _messages.is_integer(n):  # Keras's error for it
            raise TypeError(f"RepeatVector: n: expected a positive integer, received {n!r}")
        self.n = _messages.integer("RepeatVector", "n", n)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the repetition, of an image of one pixel."""
        features = graph.output_shape[0]
        graph.reshape(self.name, target_shape=(1, 1, features))
        graph.upsample2d(self.name, size=(1, self.n), bilinear=False)
        graph.reshape(self.name, target_shape=(self.n, features))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "n": self.n}


class Identity(Layer):
    """Gives its input.

    Example:
        >>> import numpy as np
        >>> Identity()(np.array([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]

    See https://keras.io/api/layers/core_layers/identity/.
    """

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends nothing."""
