"""Layers that crop, pad or enlarge images and sequences."""

from __future__ import annotations

from typing import Any, ClassVar

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, read_data_format, read_margins


class MarginLayer(Layer):
    """What cropping and padding share.

    See https://keras.io/api/layers/reshaping_layers/.
    """

    _rank: ClassVar[int]
    _argument: ClassVar[str]
    _sign: ClassVar[int]

    def __init__(self, margins: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        self._input_axes = ("height", "width", "channels") if self._rank == 2 else ("steps", "channels")
        self._margins = read_margins(kind, self._argument, margins, self._rank)
        self.data_format = read_data_format(kind, data_format)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change, of an image of height 1 where there is one axis."""
        pairs = [(self._sign * before, self._sign * after) for before, after in self._margins]
        if self._rank == 1:
            graph.reshape(self.name, target_shape=(1, *graph.output_shape))
        graph.pad2d(self.name, height=pairs[0] if self._rank == 2 else (0, 0), width=pairs[-1])
        if self._rank == 1:
            graph.reshape(self.name, target_shape=tuple(graph.output_shape[1:]))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        margins = self._margins if self._rank == 2 else self._margins[0]
        return {**super().get_config(), self._argument: margins, "data_format": self.data_format}


class Cropping1D(MarginLayer):
    """Cuts steps off both ends of a sequence.

    Args:
        cropping: steps at both ends, or (at the start, at the end).

    Input: (n, steps, channels). Output: (n, fewer steps, channels).

    Raises:
        ValueError: an argument outside its range; or, when built, nothing left.

    Example:
        >>> import numpy as np
        >>> Cropping1D((1, 2))(np.arange(5).reshape(1, 5, 1)).ravel().tolist()
        [1.0, 2.0]

    See https://keras.io/api/layers/reshaping_layers/cropping1d/.
    """

    _rank, _argument, _sign = 1, "cropping", -1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, "channels_last", **kwargs)
        self.cropping = self._margins[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        config = super().get_config()
        del config["data_format"]
        return config


class Cropping2D(MarginLayer):
    """Cuts rows and columns off the borders of an image.

    Args:
        cropping: at every border, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, height, width, channels). Output: (n, smaller height, smaller width, channels).

    Raises:
        ValueError: an argument outside its range; or, when built, nothing left.

    Example:
        >>> import numpy as np
        >>> Cropping2D(1)(np.arange(9).reshape(1, 3, 3, 1)).ravel().tolist()
        [4.0]

    See https://keras.io/api/layers/reshaping_layers/cropping2d/.
    """

    _rank, _argument, _sign = 2, "cropping", -1

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)
        self.cropping = self._margins


class ZeroPadding1D(MarginLayer):
    """Adds zeros at both ends of a sequence.

    Args:
        padding: steps at both ends, or (at the start, at the end).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, steps, channels). Output: (n, more steps, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> ZeroPadding1D((0, 2))(np.ones((1, 2, 1))).ravel().tolist()
        [1.0, 1.0, 0.0, 0.0]

    See https://keras.io/api/layers/reshaping_layers/zero_padding1d/.
    """

    _rank, _argument, _sign = 1, "padding", 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)
        self.padding = self._margins[0]


class ZeroPadding2D(MarginLayer):
    """Adds rows and columns of zeros at the borders of an image.

    Args:
        padding: at every border, (rows, columns), or ((top, bottom), (left, right)).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, height, width, channels). Output: (n, larger height, larger width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> ZeroPadding2D(1)(np.ones((1, 2, 3, 4))).shape
        (1, 4, 5, 4)

    See https://keras.io/api/layers/reshaping_layers/zero_padding2d/.
    """

    _rank, _argument, _sign = 2, "padding", 1

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)
        self.padding = self._margins


class UpSampling1D(Layer):
    """Repeats each step of a sequence.

    Args:
        size: how often.

    Input: (n, steps, channels). Output: (n, steps * size, channels).

    Raises:
        ValueError: not a positive integer.

    Example:
        >>> import numpy as np
        >>> UpSampling1D(2)(np.array([[[1.0], [2.0]]])).ravel().tolist()
        [1.0, 1.0, 2.0, 2.0]

    See https://keras.io/api/layers/reshaping_layers/up_sampling1d/.
    """

    _input_axes = ("steps", "channels")

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = _messages.integer("UpSampling1D", "size", size)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the repetition, of an image of height 1."""
        graph.reshape(self.name, target_shape=(1, *graph.output_shape))
        graph.upsample2d(self.name, size=(1, self.size), bilinear=False)
        graph.reshape(self.name, target_shape=tuple(graph.output_shape[1:]))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "size": self.size}


class UpSampling2D(Layer):
    """Makes images larger by whole factors.

    Args:
        size: factors of height and width, one integer or two.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        interpolation: "nearest" (every pixel repeated) or "bilinear".

    Input: (n, height, width, channels). Output: (n, height * factor, width * factor, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> UpSampling2D((1, 2), interpolation="bilinear")(np.array([[[[0.0], [4.0]]]])).ravel().tolist()
        [0.0, 1.0, 3.0, 4.0]

    See https://keras.io/api/layers/reshaping_layers/up_sampling2d/.
    """

    _input_axes = ("height", "width", "channels")

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size = _messages.integers("UpSampling2D", "size", size, 2)
        self.data_format = read_data_format("UpSampling2D", data_format)
        self.interpolation = _messages.choice("UpSampling2D", "interpolation", interpolation, ("nearest", "bilinear"))

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the enlargement."""
        size = (self.size[0], self.size[1])
        graph.upsample2d(self.name, size=size, bilinear=self.interpolation == "bilinear")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "size": self.size,
            "data_format": self.data_format,
            "interpolation": self.interpolation,
        }
