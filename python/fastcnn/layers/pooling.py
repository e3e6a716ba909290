"""Pooling layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, read_data_format, read_margins

Padding = Literal["valid", "same"]


class PoolingLayer(Layer):
    """What all poolings share. One axis is an image of height 1.

    See https://keras.io/api/layers/pooling_layers/.
    """

    _rank: ClassVar[int]
    _kind: ClassVar[Literal["max", "average"]]

    def __init__(self, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = read_data_format(type(self).__name__, data_format)
        self._input_axes = ("height", "width", "channels") if self._rank == 2 else ("steps", "channels")

    def _as_image(self, graph: _core.Graph, append: Callable[[], object]) -> None:
        if self._rank == 1:
            graph.reshape(self.name, target_shape=(1, *graph.output_shape))
        append()
        if self._rank == 1 and len(graph.output_shape) == 3:
            graph.reshape(self.name, target_shape=tuple(graph.output_shape[1:]))

    def _pair(self, values: tuple[int, ...]) -> tuple[int, int]:
        return (values[0], values[1]) if self._rank == 2 else (1, values[0])


class BasePooling(PoolingLayer):
    """What windowed poolings share.

    Args:
        pool_size: size of the window.
        strides: step of the window; `pool_size` by default.
        padding: "valid", "same", or (unlike Keras, but as PyTorch and ONNX have it) integers: of each axis, or (before,
            after) of each, below pool_size. Padding counts neither for the maximum nor for the mean.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    See https://keras.io/api/layers/pooling_layers/.
    """

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, name=name, **kwargs)
        kind = type(self).__name__
        self.pool_size = _messages.integers(kind, "pool_size", pool_size, self._rank)
        self.strides = _messages.integers(kind, "strides", pool_size if strides is None else strides, self._rank)
        self.padding: str | tuple[tuple[int, int], ...]
        if padding is None or isinstance(padding, str):
            self.padding = _messages.choice(kind, "padding", padding, ("valid", "same"))
        else:
            self.padding = read_margins(kind, "padding", padding, self._rank)
            if any(max(pair) >= size for pair, size in zip(self.padding, self.pool_size)):
                _messages.fail(kind, "padding", f"integers below pool_size {self.pool_size}", padding)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the pooling."""
        window: dict[str, Any] = {
            "kind": self._kind, "pool_size": self._pair(self.pool_size), "strides": self._pair(self.strides),
        }  # fmt: skip
        if isinstance(self.padding, str):
            self._as_image(graph, lambda: graph.pool2d(self.name, padding=cast(Padding, self.padding), **window))
        else:
            height, width = self.padding if self._rank == 2 else ((0, 0), self.padding[0])
            self._as_image(graph, lambda: graph.padded_pool2d(self.name, height=height, width=width, **window))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }


class BaseGlobalPooling(PoolingLayer):
    """What global poolings share.

    Args:
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        keepdims: whether the pooled axes stay, of size 1.

    See https://keras.io/api/layers/pooling_layers/.
    """

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.keepdims = _messages.flag(type(self).__name__, "keepdims", keepdims)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the pooling."""
        self._as_image(graph, lambda: graph.global_pool2d(self.name, kind=self._kind, keepdims=self.keepdims))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class BaseAdaptivePooling(PoolingLayer):
    """What adaptive poolings share.

    Args:
        output_size: size of the output; window o of `out` covers inputs floor(o in / out) to ceil((o + 1) in / out).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    See https://keras.io/api/layers/pooling_layers/.
    """

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.output_size = _messages.integers(type(self).__name__, "output_size", output_size, self._rank)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the pooling."""
        size = self._pair(self.output_size)
        self._as_image(graph, lambda: graph.adaptive_pool2d(self.name, kind=self._kind, output_size=size))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "output_size": self.output_size, "data_format": self.data_format}


class MaxPooling2D(BasePooling):
    """Maximum over windows of an image.

    Args:
        pool_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two; `pool_size` by default.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

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
    _rank = 2


class AveragePooling2D(BasePooling):
    """Mean over windows of an image; padding does not count.

    Args:
        pool_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two; `pool_size` by default.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

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
    _rank = 2


class MaxPooling1D(BasePooling):
    """Maximum over windows of a sequence.

    Args:
        pool_size: length of the window.
        strides: step of the window; `pool_size` by default.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, steps, channels). Output: (n, new steps, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> MaxPooling1D(2)(np.arange(4).reshape(1, 4, 1)).ravel().tolist()
        [1.0, 3.0]

    See https://keras.io/api/layers/pooling_layers/max_pooling1d/.
    """

    _kind = "max"
    _rank = 1


class AveragePooling1D(BasePooling):
    """Mean over windows of a sequence; padding does not count.

    Args:
        pool_size: length of the window.
        strides: step of the window; `pool_size` by default.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, steps, channels). Output: (n, new steps, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AveragePooling1D(2)(np.arange(4).reshape(1, 4, 1)).ravel().tolist()
        [0.5, 2.5]

    See https://keras.io/api/layers/pooling_layers/average_pooling1d/.
    """

    _kind = "average"
    _rank = 1


class GlobalMaxPooling2D(BaseGlobalPooling):
    """Maximum of each channel over the whole image.

    Args:
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        keepdims: whether the pooled axes stay, of size 1.

    Input: (n, height, width, channels). Output: (n, channels), or (n, 1, 1, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> GlobalMaxPooling2D()(np.arange(8).reshape(1, 2, 2, 2)).tolist()
        [[6.0, 7.0]]

    See https://keras.io/api/layers/pooling_layers/global_max_pooling2d/.
    """

    _kind = "max"
    _rank = 2


class GlobalAveragePooling2D(BaseGlobalPooling):
    """Mean of each channel over the whole image.

    Args:
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        keepdims: whether the pooled axes stay, of size 1.

    Input: (n, height, width, channels). Output: (n, channels), or (n, 1, 1, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> GlobalAveragePooling2D()(np.arange(8).reshape(1, 2, 2, 2)).tolist()
        [[3.0, 4.0]]

    See https://keras.io/api/layers/pooling_layers/global_average_pooling2d/.
    """

    _kind = "average"
    _rank = 2


class GlobalMaxPooling1D(BaseGlobalPooling):
    """Maximum of each channel over the whole sequence.

    Args:
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        keepdims: whether the pooled axes stay, of size 1.

    Input: (n, steps, channels). Output: (n, channels), or (n, 1, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> GlobalMaxPooling1D()(np.arange(8).reshape(1, 4, 2)).tolist()
        [[6.0, 7.0]]

    See https://keras.io/api/layers/pooling_layers/global_max_pooling1d/.
    """

    _kind = "max"
    _rank = 1


class GlobalAveragePooling1D(BaseGlobalPooling):
    """Mean of each channel over the whole sequence.

    Args:
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        keepdims: whether the pooled axes stay, of size 1.

    Input: (n, steps, channels). Output: (n, channels), or (n, 1, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> GlobalAveragePooling1D()(np.arange(8).reshape(1, 4, 2)).tolist()
        [[3.0, 4.0]]

    See https://keras.io/api/layers/pooling_layers/global_average_pooling1d/.
    """

    _kind = "average"
    _rank = 1


class AdaptiveMaxPooling2D(BaseAdaptivePooling):
    """Maximum over as many windows as the output is to have positions.

    Args:
        output_size: height and width of the output, one integer or two; window o of `out` covers inputs floor(o in / out) to
            ceil((o + 1) in / out).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, height, width, channels). Output: (n, output height, output width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AdaptiveMaxPooling2D(1)(np.arange(4).reshape(1, 2, 2, 1)).ravel().tolist()
        [3.0]

    See https://keras.io/api/layers/pooling_layers/.
    """

    _kind = "max"
    _rank = 2


class AdaptiveAveragePooling2D(BaseAdaptivePooling):
    """Mean over as many windows as the output is to have positions.

    Args:
        output_size: height and width of the output, one integer or two; window o of `out` covers inputs floor(o in / out) to
            ceil((o + 1) in / out).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, height, width, channels). Output: (n, output height, output width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AdaptiveAveragePooling2D(1)(np.arange(4).reshape(1, 2, 2, 1)).ravel().tolist()
        [1.5]

    See https://keras.io/api/layers/pooling_layers/.
    """

    _kind = "average"
    _rank = 2


class AdaptiveMaxPooling1D(BaseAdaptivePooling):
    """Maximum over as many windows as the output is to have positions.

    Args:
        output_size: length of the output; window o of `out` covers inputs floor(o in / out) to
            ceil((o + 1) in / out).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, steps, channels). Output: (n, output steps, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AdaptiveMaxPooling1D(2)(np.arange(4).reshape(1, 4, 1)).ravel().tolist()
        [1.0, 3.0]

    See https://keras.io/api/layers/pooling_layers/.
    """

    _kind = "max"
    _rank = 1


class AdaptiveAveragePooling1D(BaseAdaptivePooling):
    """Mean over as many windows as the output is to have positions.

    Args:
        output_size: length of the output; window o of `out` covers inputs floor(o in / out) to
            ceil((o + 1) in / out).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, steps, channels). Output: (n, output steps, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AdaptiveAveragePooling1D(2)(np.arange(4).reshape(1, 4, 1)).ravel().tolist()
        [0.5, 2.5]

    See https://keras.io/api/layers/pooling_layers/.
    """

    _kind = "average"
    _rank = 1


MaxPool1D, MaxPool2D = MaxPooling1D, MaxPooling2D
AvgPool1D, AvgPool2D = AveragePooling1D, AveragePooling2D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
