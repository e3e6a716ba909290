"""Pooling layers."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer


class BasePooling(Layer):
    """What windowed poolings share.

    Args:
        pool_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two; `pool_size` by default.
        padding: "valid" or "same".
        data_format: None or "channels_last".

    See https://keras.io/api/layers/pooling_layers/.
    """

    _input_axes = ("height", "width", "channels")
    _kind: ClassVar[Literal["max", "average"]]

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        kind = type(self).__name__
        self.pool_size = _messages.pair(kind, "pool_size", pool_size)
        self.strides = _messages.pair(kind, "strides", pool_size if strides is None else strides)
        self.padding = cast(Literal["valid", "same"], _messages.choice(kind, "padding", padding, ("valid", "same")))
        _messages.only(kind, "data_format", data_format, (None, "channels_last"))
        self.data_format = "channels_last"

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the pooling."""
        graph.pool2d(self.name, kind=self._kind, pool_size=self.pool_size, strides=self.strides, padding=self.padding)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }


class MaxPooling2D(BasePooling):
    """Maximum over windows of an image.

    Args:
        pool_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two; `pool_size` by default.
        padding: "valid" or "same".
        data_format: None or "channels_last".

    Input: (n, height, width, channels). Output: (n, new height, new width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> MaxPooling2D(2)(np.arange(16).reshape(1, 4, 4, 1)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]

    See https://keras.io/api/layers/pooling_layers/max_pooling2d/.
    """

    _kind = "max"


class AveragePooling2D(BasePooling):
    """Mean over windows of an image; padding does not count.

    Args:
        pool_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two; `pool_size` by default.
        padding: "valid" or "same".
        data_format: None or "channels_last".

    Input: (n, height, width, channels). Output: (n, new height, new width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AveragePooling2D(2)(np.arange(16).reshape(1, 4, 4, 1)).ravel().tolist()
        [2.5, 4.5, 10.5, 12.5]

    See https://keras.io/api/layers/pooling_layers/average_pooling2d/.
    """

    _kind = "average"


class BaseGlobalPooling(Layer):
    """What global poolings share.

    Args:
        data_format: None or "channels_last".
        keepdims: whether height and width stay as axes of size 1.

    See https://keras.io/api/layers/pooling_layers/.
    """

    _input_axes = ("height", "width", "channels")
    _kind: ClassVar[Literal["max", "average"]]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        _messages.only(kind, "data_format", data_format, (None, "channels_last"))
        self.data_format = "channels_last"
        self.keepdims = _messages.flag(kind, "keepdims", keepdims)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the pooling."""
        graph.global_pool2d(self.name, kind=self._kind, keepdims=self.keepdims)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalMaxPooling2D(BaseGlobalPooling):
    """Maximum of each channel over the whole image.

    Args:
        data_format: None or "channels_last".
        keepdims: whether height and width stay as axes of size 1.

    Input: (n, height, width, channels). Output: (n, channels), or (n, 1, 1, channels).

    Example:
        >>> import numpy as np
        >>> GlobalMaxPooling2D()(np.arange(8).reshape(1, 2, 2, 2)).tolist()
        [[6.0, 7.0]]

    See https://keras.io/api/layers/pooling_layers/global_max_pooling2d/.
    """

    _kind = "max"


class GlobalAveragePooling2D(BaseGlobalPooling):
    """Mean of each channel over the whole image.

    Args:
        data_format: None or "channels_last".
        keepdims: whether height and width stay as axes of size 1.

    Input: (n, height, width, channels). Output: (n, channels), or (n, 1, 1, channels).

    Example:
        >>> import numpy as np
        >>> GlobalAveragePooling2D()(np.arange(8).reshape(1, 2, 2, 2)).tolist()
        [[3.0, 4.0]]

    See https://keras.io/api/layers/pooling_layers/global_average_pooling2d/.
    """

    _kind = "average"


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
